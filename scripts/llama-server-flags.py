#!/usr/bin/env python3
"""Writes cli/tests/data/llama_server_flags.txt: every option of llama-server of the pinned llama.cpp.

Run it after `scripts/bump-vendor.sh`; the test `every_flag_of_llama_server_has_a_meaning` then names the new ones.
The crate carries no README of the server, so its argument parser (common/arg.cpp) is read.
"""

import pathlib
import re
import subprocess

root = pathlib.Path(__file__).resolve().parent.parent
source = pathlib.Path(subprocess.check_output([root / "scripts/pristine.sh"], text=True).strip())
version = re.search(r'llama-cpp-sys-4 = \{ version = "=([^"]+)"', (root / "vendor/Cargo.toml").read_text()).group(1)

text = (source / "common/arg.cpp").read_text()
text = re.sub(r"(?m)^\s*//.*$", "", text[text.index("common_params_context common_params_parser_init(") :])
rows = set()
for option in text.split("add_opt(")[1:]:
    start = re.match(r"\s*common_arg\(\s*", option)
    if not start:
        continue
    names = re.match(r"\{([^}]*)\}\s*,?\s*(?:\{([^}]*)\})?", option[start.end() :])
    rest = option[start.end() + names.end() :]
    examples = re.search(r"\.set_examples\(\{([^}]*)\}\)", option)
    examples = examples.group(1) if examples else "COMMON"
    excluded = re.search(r"\.set_excludes\(\{([^}]*)\}\)", option)
    if not re.search("SERVER|COMMON", examples) or (excluded and "SERVER" in excluded.group(1)):
        continue
    handler = re.search(r"\]\(common_params & ?\w*(?:, *([^)]*))?\)", rest)
    values = 0
    if handler and handler.group(1) and "bool" not in handler.group(1):
        values = handler.group(1).count(",") + 1
    env = re.findall(r'\.set_env\("([^"]*)"\)', option)
    quoted = [" ".join(re.findall(r'"([^"]*)"', group or "")) for group in names.groups()]
    rows.add("\t".join([*quoted, str(values), *env]).rstrip())

out = root / "cli/tests/data/llama_server_flags.txt"
out.parent.mkdir(exist_ok=True)
header = [
    f"# llama-cpp-sys-4 {version}",
    "# Options of its llama-server: names, names that negate, number of values, environment variable. Made by",
    "# scripts/llama-server-flags.py.",
]
out.write_text("\n".join(header + sorted(rows)) + "\n")
print(f"{out}: {len(rows)} options")
