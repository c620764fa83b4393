#!/usr/bin/env python3
"""Markdown table of the attention kernels from the output of `MSL_VERBOSE=1 attention` on stdin: a row per pair, a column
per head size, in each cell the largest error of its checks. A kernel that is registered and was not run leaves a blank
and the exit code says so."""
import re, subprocess, sys

registered = [l for l in subprocess.run([sys.executable, sys.argv[1], "--list"], capture_output=True, text=True, check=True).stdout.split() if "_ext_vec_" in l]
worst, runs, failed = {}, {}, 0
for line in sys.stdin:
    failed += line.startswith("FAILED")
    m = re.match(r"(?:FAILED: )?(kernel_\w+): .*error (\S+)$", line.rstrip())
    if m:
        worst[m.group(1)] = max(worst.get(m.group(1), 0), float(m.group(2)))
        runs[m.group(1)] = runs.get(m.group(1), 0) + 1

cells, heads, pairs = {}, [], []
for name in registered:
    k, v, head = re.match(r"kernel_flash_attn_ext_vec_(turbo\d|q8_0|f16)(?:_64)?_(turbo\d|q8_0|f16)(?:_64)?_dk(\d+_dv\d+)", name).groups()
    head = tuple(int(x) for x in head.split("_dv"))
    if head not in heads: heads.append(head)
    if (k, v) not in pairs: pairs.append((k, v))
    cells[k, v, head] = f"{worst[name]:.1e}" if name in worst else ""
heads.sort()
print("| K / V | " + " | ".join(f"{dk}/{dv}" if dk != dv else str(dk) for dk, dv in heads) + " |\n|---|" + "---|"*len(heads))
for k, v in pairs: print(f"| {k} / {v} | " + " | ".join(cells.get((k, v, h), "") for h in heads) + " |")
blank = sum(1 for h in heads for p in pairs if not cells.get((*p, h)))
print(f"\n{len(registered)} kernels, {min(runs.values(), default=0)} checks of each against float64, {blank} blank cells, {failed} failures")
sys.exit(blank != 0 or failed != 0)
