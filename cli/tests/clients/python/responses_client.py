"""The Responses API with the Python package `openai`."""

import json

import openai
from checks import URL, VERDICT, Checks, first_model, frees_its_slot, is_verdict, refused, same, too_long, tool_prompt

client = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=120)
model = first_model()
checks = Checks("python-responses")
QUESTION = "What is turbo3?"


def ask(**fields):
    return client.responses.create(**{"model": model, "input": QUESTION, "temperature": 0, **fields})


def tool_request():
    """Tools as this API has them: flat."""
    messages, tools, call = tool_prompt()
    flat = [{"type": "function", "strict": False, **tool["function"]} for tool in tools]
    return messages, flat, call


@checks.run
def answer():
    found = ask(metadata={"a": "b"})
    assert "3-bit" in found.output_text, found
    same((found.status, found.metadata), ("completed", {"a": "b"}))
    same(found.usage.total_tokens, found.usage.input_tokens + found.usage.output_tokens)
    # O4: readers of this API reject usage without details
    assert found.usage.output_tokens_details.reasoning_tokens >= 0, found.usage
    assert found.usage.input_tokens_details.cached_tokens >= 0, found.usage


@checks.run
def stream():
    whole = ask().output_text
    with client.responses.stream(model=model, input=QUESTION, temperature=0) as events:
        kinds = [event.type for event in events]
        final = events.get_final_response()
    same(final.output_text, whole)
    same(kinds[:2], ["response.created", "response.in_progress"])
    same(kinds[-1], "response.completed")
    assert "response.output_text.delta" in kinds, kinds


@checks.run
def events_are_numbered():
    events = list(ask(stream=True))
    same([event.sequence_number for event in events], list(range(len(events))))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    same(text, events[-1].response.output_text)


@checks.run
def max_output_tokens():
    found = ask(max_output_tokens=3)
    same((found.status, found.incomplete_details.reason), ("incomplete", "max_output_tokens"))
    for last in ask(max_output_tokens=3, stream=True):
        pass
    same((last.type, last.response.incomplete_details.reason), ("response.incomplete", "max_output_tokens"))


@checks.run
def tools():
    messages, flat, call = tool_request()
    found = ask(input=messages, tools=flat).output[-1]
    same((found.type, found.name, json.loads(found.arguments)), ("function_call", *call))
    assert found.call_id, found


@checks.run
def tools_stream():
    messages, flat, call = tool_request()
    with client.responses.stream(model=model, input=messages, tools=flat, temperature=0) as events:
        pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
        found = events.get_final_response().output[-1]
    same((found.name, json.loads(found.arguments)), call)
    same("".join(pieces), found.arguments)


@checks.run
def tool_result():
    messages, flat, _ = tool_request()
    output = ask(input=messages, tools=flat).output
    history = messages + [item.model_dump(exclude_none=True) for item in output]
    history.append({"type": "function_call_output", "call_id": output[-1].call_id, "output": "-49"})
    assert ask(input=history, tools=flat, max_output_tokens=20).output_text


@checks.run
def json_schema():
    form = {"type": "json_schema", "name": "verdict", "strict": True, "schema": VERDICT}
    is_verdict(ask(text={"format": form}).output_text)


@checks.run
def logprobs():
    found = ask(include=["message.output_text.logprobs"], top_logprobs=2, max_output_tokens=2)
    pieces = found.output[0].content[0].logprobs
    same((len(pieces), len(pieces[0].top_logprobs)), (2, 2))
    assert pieces[0].logprob <= 0, pieces


@checks.run
def input_tokens():
    counted = client.responses.input_tokens.count(model=model, input=QUESTION).input_tokens
    same(counted, ask(max_output_tokens=1).usage.input_tokens)


@checks.run
def unknown_model():
    error = refused(openai.NotFoundError, lambda: ask(model="no-such-model"))
    same((error.status_code, error.code), (404, "model_not_found"))


@checks.run
def nothing_is_kept():
    error = refused(openai.BadRequestError, lambda: ask(previous_response_id="resp_1"))
    same((error.status_code, error.param), (400, "previous_response_id"))


@checks.run
def bad_request():
    error = refused(openai.BadRequestError, lambda: ask(temperature=1e9))
    same((error.status_code, error.param, error.type), (400, "temperature", "invalid_request_error"))


@checks.run
def context_overflow():
    error = refused(openai.BadRequestError, lambda: ask(input=too_long(), stream=True))
    same((error.status_code, error.code), (400, "context_length_exceeded"))


@checks.run
def cancel():
    events = ask(stream=True, max_output_tokens=100_000, extra_body={"ignore_eos": True})
    for event in events:
        if event.type == "response.output_text.delta":
            break
    frees_its_slot(events.close)


checks.end()
