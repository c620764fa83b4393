"""The Python package `ollama` against the server."""

import ollama
from checks import (
    ENDLESS,
    URL,
    VERDICT,
    Checks,
    first_model,
    frees_its_slot,
    is_verdict,
    length,
    n_ctx,
    refused,
    same,
    too_long,
    tool_prompt,
    wait_until,
)

client = ollama.Client(host=URL)
checks = Checks("python-ollama")
QUESTION = [{"role": "user", "content": "What is turbo3?"}]
GREEDY = {"temperature": 0}
model = first_model()


def loaded():
    return [found.model.removesuffix(":latest") for found in client.ps().models]


@checks.run
def list_models():
    models = client.list().models
    same(models[0].model.removesuffix(":latest"), model.removesuffix(":latest"))
    assert models[0].size > 0 and models[0].modified_at and len(models[0].digest) >= 64, models


@checks.run
def show():
    shown = client.show(model)
    architecture = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{architecture}.context_length"] > 0
    assert "completion" in shown.capabilities, shown.capabilities


@checks.run
def chat():
    answer = client.chat(model, QUESTION, options=GREEDY)
    assert "3-bit" in answer.message.content, answer
    same((answer.done, answer.done_reason), (True, "stop"))
    assert answer.eval_count > 0 and answer.total_duration >= answer.eval_duration > 0, answer


@checks.run
def chat_stream():
    whole = client.chat(model, QUESTION, options=GREEDY).message.content
    parts = list(client.chat(model, QUESTION, options=GREEDY, stream=True))
    same("".join(part.message.content for part in parts), whole)
    same([part.done for part in parts], [False] * (len(parts) - 1) + [True])


@checks.run
def generate():
    answer = client.generate(model, "What is turbo3?", options=GREEDY)
    assert answer.response and answer.done and answer.context, answer
    parts = list(client.generate(model, "What is turbo3?", options=GREEDY, stream=True))
    same("".join(part.response for part in parts), answer.response)


@checks.run
def num_predict():
    answer = client.generate(model, "What is turbo3?", options={"num_predict": 3})
    same((answer.eval_count, answer.done_reason), (3, "length"))


@checks.run
def load():
    answer = client.generate(model, "")
    same((answer.response, answer.done_reason), ("", "load"))


@checks.run
def running():
    client.generate(model, "hi", options={"num_predict": 1})
    loaded = client.ps().models
    same(loaded[0].model.removesuffix(":latest"), model.removesuffix(":latest"))
    assert loaded[0].size > 0 and loaded[0].context_length > 0, loaded


@checks.run
def another_model():
    """It is loaded when it is asked for, beside the other, and unloaded when it is done with."""
    answer = client.generate("untrained", "hi", options={"num_predict": 2}, keep_alive=0)
    same((answer.done, answer.model), (True, "untrained"))
    assert answer.load_duration > 0, answer
    wait_until("the other model is unloaded", lambda: "untrained" not in loaded(), 5)
    same(loaded(), [model.removesuffix(":latest")])


@checks.run
def copy_and_delete():
    client.copy("untrained", "mine")
    assert "mine:latest" in [found.model for found in client.list().models]
    client.delete("mine")
    assert "mine:latest" not in [found.model for found in client.list().models]
    same(refused(ollama.ResponseError, lambda: client.delete("mine")).status_code, 404)


@checks.run
def create():
    client.create("brief", from_=model, system="Be brief.", parameters={"temperature": 0, "num_predict": 3})
    same(client.show("brief").parameters.split(), ["temperature", "0", "num_predict", "3"])
    same(client.chat("brief", QUESTION).eval_count, 3)
    # as `ollama rm` does
    same(client.generate("brief", "", keep_alive=0).done_reason, "unload")
    client.delete("brief")
    same(loaded(), [model.removesuffix(":latest")])


@checks.run
def context():
    """What one answer returns goes on in the next."""
    first = client.generate(model, "What is turbo3?", options=GREEDY)
    second = client.generate(model, "What is turbo3?", context=first.context, options={"num_predict": 1})
    assert second.prompt_eval_count > len(first.context), (second.prompt_eval_count, len(first.context))


@checks.run
def long_chat():
    """The oldest messages are dropped, unless that is forbidden."""
    turns = [{"role": "user", "content": "hello " * 100}, {"role": "assistant", "content": "hi " * 20}]
    answer = client.chat(model, turns * 200 + QUESTION, options={"num_predict": 1})
    assert 0 < answer.prompt_eval_count <= n_ctx(), answer
    one = [{"role": "user", "content": too_long()}]
    same(refused(ollama.ResponseError, lambda: client.chat(model, one)).status_code, 400)


@checks.run
def thinking_is_refused():
    error = refused(ollama.ResponseError, lambda: client.chat(model, QUESTION, think=True))
    same((error.status_code, error.error), (400, f'"{model}" does not support thinking'))


@checks.run
def tools():
    messages, tool_list, call = tool_prompt()
    answer = client.chat(model, messages, tools=tool_list, options=GREEDY)
    function = answer.message.tool_calls[0].function
    same((function.name, dict(function.arguments)), call)


@checks.run
def tools_stream():
    messages, tool_list, call = tool_prompt()
    parts = client.chat(model, messages, tools=tool_list, options=GREEDY, stream=True)
    calls = [c.function for part in parts for c in part.message.tool_calls or []]
    same([(c.name, dict(c.arguments)) for c in calls], [call])


@checks.run
def schema():
    is_verdict(client.chat(model, QUESTION, format=VERDICT).message.content)


@checks.run
def embed():
    answer = client.embed(model, ["a cat", "a dog"])
    same(len(answer.embeddings), 2)
    for vector in answer.embeddings:
        assert abs(length(vector) - 1) < 1e-3, length(vector)
    one = client.embeddings(model, "a cat").embedding
    same(len(one), len(answer.embeddings[0]))


@checks.run
def unknown_model():
    error = refused(ollama.ResponseError, lambda: client.chat("no-such-model", QUESTION))
    same((error.status_code, error.error), (404, "model 'no-such-model' not found"))


@checks.run
def bad_request():
    error = refused(ollama.ResponseError, lambda: client.chat(model, QUESTION, options={"temperature": 1e9}))
    same(error.status_code, 400)


@checks.run
def cancel():
    parts = client.generate(model, "hello", stream=True, format=ENDLESS)
    next(iter(parts))
    frees_its_slot(parts.close)


checks.end()
