"""The Python package `openai` against the server."""

import json

import openai
import pydantic
from checks import URL, VERDICT, Checks, frees_its_slot, is_verdict, length, refused, same, too_long, tool_prompt

client = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=120)
model = client.models.list().data[0].id
checks = Checks("python-openai")
QUESTION = [{"role": "user", "content": "What is turbo3?"}]


@checks.run
def list_and_retrieve_models():
    same(client.models.retrieve(model).id, model)
    assert client.models.list().data[0].created > 0


@checks.run
def chat():
    answer = client.chat.completions.create(model=model, messages=QUESTION, temperature=0)
    assert "3-bit" in answer.choices[0].message.content, answer
    same(answer.choices[0].finish_reason, "stop")
    same(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)


@checks.run
def chat_stream():
    whole = client.chat.completions.create(model=model, messages=QUESTION, temperature=0)
    chunks = list(
        client.chat.completions.create(
            model=model, messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    same(text, whole.choices[0].message.content)
    same(len({c.id for c in chunks}), 1)
    same(chunks[-1].choices, [])
    same(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)


@checks.run
def completion():
    answer = client.completions.create(model=model, prompt="turbo3 is", max_tokens=4, temperature=0, logprobs=2)
    same(answer.choices[0].finish_reason, "length")
    same(len(answer.choices[0].logprobs.tokens), answer.usage.completion_tokens)


@checks.run
def completion_stream():
    chunks = client.completions.create(model=model, prompt=["turbo3 is", "turbo4 is"], max_tokens=4, stream=True)
    same({c.choices[0].index for c in chunks if c.choices}, {0, 1})


@checks.run
def tools():
    messages, tool_list, call = tool_prompt()
    answer = client.chat.completions.create(model=model, messages=messages, tools=tool_list, temperature=0)
    same(answer.choices[0].finish_reason, "tool_calls")
    function = answer.choices[0].message.tool_calls[0].function
    same((function.name, json.loads(function.arguments)), call)


@checks.run
def tools_stream():
    messages, tool_list, call = tool_prompt()
    stream = client.chat.completions.create(
        model=model, messages=messages, tools=tool_list, temperature=0, stream=True, tool_choice="required"
    )
    name, arguments = "", ""
    for chunk in stream:
        for delta in chunk.choices[0].delta.tool_calls or []:
            same(delta.index, 0)
            name += delta.function.name or ""
            arguments += delta.function.arguments or ""
    same((name, json.loads(arguments)), call)


@checks.run
def tool_result():
    messages, tool_list, (name, arguments) = tool_prompt()
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    history = messages + [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "-49"},
    ]
    answer = client.chat.completions.create(model=model, messages=history, tools=tool_list, temperature=0)
    assert answer.choices[0].message.content, answer


@checks.run
def several_choices():
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, n=2, max_tokens=3, logprobs=True, top_logprobs=2
    )
    same([choice.index for choice in answer.choices], [0, 1])
    for choice in answer.choices:
        same([len(piece.top_logprobs) for piece in choice.logprobs.content], [2, 2, 2])


@checks.run
def stop():
    answer = client.chat.completions.create(model=model, messages=QUESTION, temperature=0, stop=["3-bit"])
    same((answer.choices[0].message.content, answer.choices[0].finish_reason), ("turbo3 is a ", "stop"))


@checks.run
def parsed():
    """The package makes the schema from the class, and the object from the answer."""

    class Verdict(pydantic.BaseModel):
        sure: bool

    answer = client.chat.completions.parse(model=model, messages=QUESTION, response_format=Verdict)
    assert isinstance(answer.choices[0].message.parsed.sure, bool)


@checks.run
def json_schema():
    schema = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": VERDICT, "strict": True}}
    answer = client.chat.completions.create(model=model, messages=QUESTION, response_format=schema)
    is_verdict(answer.choices[0].message.content)


@checks.run
def embeddings():
    # without a format the package asks for base64 and decodes it
    packed = client.embeddings.create(model=model, input=["a cat", "a dog"])
    plain = client.embeddings.create(model=model, input=["a cat", "a dog"], encoding_format="float")
    same([e.index for e in packed.data], [0, 1])
    for a, b in zip(packed.data, plain.data):
        same(len(a.embedding), len(b.embedding))
        assert all(abs(x - y) < 1e-6 for x, y in zip(a.embedding, b.embedding))
        assert abs(length(a.embedding) - 1) < 1e-3, length(a.embedding)
    assert packed.usage.prompt_tokens > 0


@checks.run
def embeddings_of_tokens():
    made = client.embeddings.create(model=model, input=[[1, 2, 3], [4]], dimensions=64)
    same([(e.index, len(e.embedding)) for e in made.data], [(0, 64), (1, 64)])
    error = refused(openai.BadRequestError, lambda: client.embeddings.create(model=model, input=[]))
    same((error.status_code, error.param), (400, "input"))


@checks.run
def unknown_model():
    error = refused(openai.NotFoundError, lambda: client.models.retrieve("no/such-model"))
    same((error.status_code, error.code, error.type), (404, "model_not_found", "not_found_error"))
    error = refused(
        openai.NotFoundError, lambda: client.chat.completions.create(model="gpt-0", messages=QUESTION, stream=True)
    )
    same((error.status_code, error.code), (404, "model_not_found"))


@checks.run
def bad_request():
    error = refused(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model=model, messages=QUESTION, temperature=1e9),
    )
    same((error.status_code, error.param, error.type), (400, "temperature", "invalid_request_error"))


@checks.run
def context_overflow():
    long = [{"role": "user", "content": too_long()}]
    error = refused(
        openai.BadRequestError, lambda: client.chat.completions.create(model=model, messages=long, stream=True)
    )
    same((error.status_code, error.code, error.type), (400, "context_length_exceeded", "exceed_context_size_error"))
    assert error.body["n_prompt_tokens"] > error.body["n_ctx"] > 0


@checks.run
def cancel():
    stream = client.chat.completions.create(
        model=model, messages=QUESTION, stream=True, max_tokens=100_000, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    frees_its_slot(stream.close)


checks.end()
