"""The Python package `anthropic` against the server."""

import anthropic
from checks import URL, Checks, first_model, frees_its_slot, refused, same, too_long, tool_prompt

# no `/v1`: the package adds it
client = anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0, timeout=120)
model = first_model()
checks = Checks("python-anthropic")
QUESTION = [{"role": "user", "content": "What is turbo3?"}]
# newer models of Anthropic's have no temperature, nor has the package
GREEDY = {"temperature": 0}


def request(**fields):
    fields.setdefault("extra_body", GREEDY)
    return {"model": model, "max_tokens": 100, "messages": QUESTION, **fields}


def ask(**fields):
    return client.messages.create(**request(**fields))


def tool_request():
    """Tools as this API has them, and the system message apart."""
    messages, tools, call = tool_prompt()
    renamed = [
        {
            "name": tool["function"]["name"],
            "description": tool["function"]["description"],
            "input_schema": tool["function"]["parameters"],
        }
        for tool in tools
    ]
    same(messages[0]["role"], "system")
    return {"system": messages[0]["content"], "messages": messages[1:], "tools": renamed}, call


@checks.run
def message():
    found = ask()
    assert "3-bit" in found.content[0].text, found
    same((found.role, found.stop_reason, found.stop_sequence), ("assistant", "end_turn", None))
    assert found.usage.input_tokens >= 0 and found.usage.output_tokens > 0, found.usage


@checks.run
def stream():
    whole = ask().content[0].text
    with client.messages.stream(**request()) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    same((text, final.content[0].text), (whole, whole))
    same(final.stop_reason, "end_turn")
    assert final.usage.output_tokens > 0, final.usage


@checks.run
def stream_events():
    with client.messages.create(**request(), stream=True) as events:
        kinds = [event.type for event in events if event.type != "ping"]
    same(kinds[:3], ["message_start", "content_block_start", "content_block_delta"])
    same(kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])


@checks.run
def max_tokens():
    found = ask(max_tokens=3)
    same((found.stop_reason, found.usage.output_tokens), ("max_tokens", 3))


@checks.run
def stop_sequence():
    found = ask(stop_sequences=["3-bit"])
    same((found.stop_reason, found.stop_sequence), ("stop_sequence", "3-bit"))
    assert "3-bit" not in found.content[0].text, found


@checks.run
def tools():
    fields, call = tool_request()
    found = ask(**fields)
    same(found.stop_reason, "tool_use")
    use = found.content[-1]
    same((use.type, use.name, use.input), ("tool_use", *call))


@checks.run
def tools_stream():
    fields, call = tool_request()
    with client.messages.stream(**request(**fields, tool_choice={"type": "any"})) as events:
        kinds = {event.type for event in events}
        final = events.get_final_message()
    same((final.content[-1].name, final.content[-1].input), call)
    same(final.stop_reason, "tool_use")
    assert "input_json" in kinds, kinds


@checks.run
def tool_result():
    fields, _ = tool_request()
    found = ask(**fields)
    result = {"type": "tool_result", "tool_use_id": found.content[-1].id, "content": "-49"}
    fields["messages"] = fields["messages"] + [
        {"role": "assistant", "content": found.content},
        {"role": "user", "content": [result]},
    ]
    assert ask(**fields, max_tokens=20).content, "no answer"


@checks.run
def prefill():
    """An answer that the client has begun is gone on with."""
    found = ask(messages=QUESTION + [{"role": "assistant", "content": "turbo3 is"}], max_tokens=10)
    assert found.content[0].text.startswith(" a 3-bit"), found


@checks.run
def count_tokens():
    counted = client.messages.count_tokens(model=model, messages=QUESTION).input_tokens
    usage = ask(max_tokens=1).usage
    same(counted, usage.input_tokens + (usage.cache_read_input_tokens or 0))


@checks.run
def list_models():
    same(client.models.list().data[0].id, model)


@checks.run
def unknown_model():
    error = refused(anthropic.NotFoundError, lambda: ask(model="no-such-model"))
    same((error.status_code, error.body["error"]["type"]), (404, "not_found_error"))


@checks.run
def bad_request():
    error = refused(anthropic.BadRequestError, lambda: ask(messages=[]))
    same((error.status_code, error.body["type"], error.body["error"]["type"]), (400, "error", "invalid_request_error"))
    error = refused(anthropic.BadRequestError, lambda: ask(extra_body={"temperature": 1e9}))
    assert "temperature" in error.body["error"]["message"], error


@checks.run
def context_overflow():
    long = [{"role": "user", "content": too_long()}]
    error = refused(anthropic.BadRequestError, lambda: ask(messages=long, stream=True))
    same((error.status_code, error.body["error"]["type"]), (400, "invalid_request_error"))


@checks.run
def cancel():
    events = ask(stream=True, max_tokens=100_000, extra_body={"ignore_eos": True})
    for event in events:
        if event.type == "content_block_delta":
            break
    frees_its_slot(events.close)


checks.end()
