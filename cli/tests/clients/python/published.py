"""What the server publishes, read by others' readers: metrics and the description of its API."""

import json
import os
import urllib.request

from checks import URL, Checks, first_model, get, same, wait_until
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

checks = Checks("python-readers")


@checks.run
def metrics():
    # some figures are there only while a model is loaded
    load = json.dumps({"model": first_model()}).encode()
    urllib.request.urlopen(URL + "/api/generate", load, timeout=60).read()
    families = {family.name: family for family in text_string_to_metric_families(get("/metrics"))}
    for name, kind in [
        ("llamacpp:prompt_tokens", "counter"),
        ("llamacpp:kv_cache_usage_ratio", "gauge"),
        ("turboquant_time_to_first_token_seconds", "histogram"),
        ("turboquant_kv_bytes_total", "gauge"),
    ]:
        same(families[name].type, kind)
    cells = families["turboquant_kv_cells_total"].samples[0]
    assert cells.labels["model"] and cells.value > 0, cells


@checks.run
def log():
    request = urllib.request.Request(URL + "/v1/models", headers={"x-request-id": "client-suite/1"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        reply.read()
        same(reply.headers["x-request-id"], "client-suite/1")

    def lines():
        with open(os.environ["TURBOQUANT_SERVER_LOG"], encoding="utf-8") as file:
            log = [json.loads(line) for line in file]
        return [line for line in log if line.get("span", {}).get("id") == "client-suite/1"]

    wait_until("the line of the request", lines, 2)
    (line,) = lines()
    same((line["method"], line["path"], line["status"]), ("GET", "/v1/models", 200))
    assert line["ms"] > 0 and line["timestamp"], line


@checks.run
def openapi():
    OpenAPIV31SpecValidator(json.loads(get("/openapi.json"))).validate()


checks.end()
