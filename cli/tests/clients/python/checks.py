"""What the scripts share: one line per check, and what the server says about itself."""

import json
import os
import time
import urllib.request

URL = os.environ["TURBOQUANT_URL"]
TOOLS_FILE = os.environ["TURBOQUANT_TOOLS"]


class Checks:
    """Runs checks and prints `PASS client check` or `FAIL client check: why`."""

    def __init__(self, client):
        self.client = client
        self.failed = 0

    def run(self, check):
        name = check.__name__
        try:
            check()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is a failed check
            self.failed += 1
            text = f"{type(error).__name__}: {error}".replace("\n", " ")
            print(f"FAIL {self.client} {name}: {text[:400]}", flush=True)
        else:
            print(f"PASS {self.client} {name}", flush=True)
        return check

    def end(self):
        raise SystemExit(1 if self.failed else 0)


def same(found, expected):
    assert found == expected, f"{found!r} instead of {expected!r}"


def refused(kind, call):
    """The error that `call` raises; no error, or another one, fails the check."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def get(path):
    with urllib.request.urlopen(URL + path, timeout=30) as reply:
        return reply.read().decode()


def first_model():
    """The model that is served, by the other API: a list that fails should not fail all that comes after it."""
    return json.loads(get("/v1/models"))["data"][0]["id"]


def n_ctx():
    return json.loads(get(f"/props?model={first_model()}"))["default_generation_settings"]["n_ctx"]


def too_long():
    """A prompt that does not fit: each word is at least a token."""
    return "hello " * (n_ctx() + 100)


def busy_slots():
    return sum(slot["is_processing"] for slot in json.loads(get("/slots")))


def cancelled_jobs():
    for line in get("/metrics").splitlines():
        if line.startswith('turboquant_jobs_total{outcome="cancelled"}'):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def wait_until(what, condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def frees_its_slot(leave):
    """`leave` is called while a job runs, and must hang up. The job must be gone within the second that O17 allows."""
    before = cancelled_jobs()
    wait_until("a slot at work", lambda: busy_slots() > 0, 10)
    leave()
    wait_until("the slot is free", lambda: busy_slots() == 0, 1)
    # not just done by chance
    wait_until("the job counts as cancelled", lambda: cancelled_jobs() > before, 1)


def tool_prompt():
    """A prompt with tools that the embedded model was trained on, and the call it should make."""
    with open(TOOLS_FILE, encoding="utf-8") as file:
        line = json.loads(file.readline())
    same(line["messages"][-1]["content"], "Use the calculator: 554 - 603")
    return line["messages"], line["tools"], ("calculator", {"expression": "554 - 603"})


def length(vector):
    return sum(x * x for x in vector) ** 0.5


VERDICT = {
    "type": "object",
    "properties": {"verdict": {"enum": ["yes", "no"]}, "sure": {"type": "boolean"}},
    "required": ["verdict", "sure"],
    "additionalProperties": False,
}

# No answer that fits this is short: for requests that are to be left.
ENDLESS = {"type": "array", "minItems": 500, "items": {"type": "string", "minLength": 30}}


def is_verdict(text):
    value = json.loads(text)
    same(set(value), {"verdict", "sure"})
    assert value["verdict"] in ("yes", "no") and isinstance(value["sure"], bool), value
