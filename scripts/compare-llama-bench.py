#!/usr/bin/env python3
"""Our `bench` against llama-bench on the same file, processes taking turns: ratio of the medians, ours over theirs.

  scripts/build-peers.sh
  scripts/compare-llama-bench.py target/release/turboquant target/peers/build/bin/llama-bench MODEL.gguf [ROUNDS [OPTION ...]]

Standard library only. OPTIONs go to both programs (-t 2, -ctk q8_0 ...).
"""
import json
import statistics
import subprocess
import sys

if len(sys.argv) < 4:
    sys.exit(__doc__)
ours, peer, model = sys.argv[1:4]
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 8
options = sys.argv[5:]
programs = {"ours": [ours, "bench"], "peer": [peer]}
samples = {}
for number in range(rounds):
    # A B, B A, ...: whoever runs second meets a warmer machine
    for who in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
        command = programs[who] + ["-m", model, "-p", "512", "-n", "64", "-r", "3", "-o", "json"] + options
        rows = json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)
        for row in rows:
            test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
            samples.setdefault(test, {"ours": [], "peer": []})[who].extend(row["samples_ts"])
for test, arms in samples.items():
    print(f"{test}: ratio of medians {statistics.median(arms['ours']) / statistics.median(arms['peer']):.3f}")
    for who, values in arms.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"  {who}: median {median:.1f} t/s, quartiles {low:.1f} .. {high:.1f}, {len(values)} runs")
