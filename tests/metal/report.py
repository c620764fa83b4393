#!/usr/bin/env python3
"""Runs the programs of tests/metal and writes what they say as a page of docs/results (scripts/test-metal.sh report).

  report.py OUT GENERATE.PY COMPILER

Every number is a program's. A kernel that is registered and was not checked leaves a blank; a blank or a failed check is an error.
"""
import collections, os, re, subprocess, sys

OUT, GENERATE, COMPILER = sys.argv[1:4]
failed, blank = 0, 0


def run(program):
    """(kernel, text) of every check that the program reports."""
    global failed
    done = subprocess.run([os.path.join(OUT, program)], env={**os.environ, "MSL_VERBOSE": "1"}, capture_output=True, text=True)
    failed += done.returncode != 0
    failed += len(re.findall(r"(?m)^FAILED", done.stdout))
    return re.findall(r"(?m)^(?:FAILED: )?([\w/ ]+?): (.*)$", done.stdout)


def table(header, rows):
    global blank
    blank += sum(not cell for row in rows for cell in row)
    print("| " + " | ".join(header) + " |\n|" + "---|"*len(header))
    for row in rows: print("| " + " | ".join(row) + " |")
    print()


def spread(values):
    return f"{min(values):.1e}" if min(values) == max(values) else f"{min(values):.1e} .. {max(values):.1e}"


def plain(name): return name.replace("_64", "")


def attention(names, program):
    """Largest error and number of checks: a row per pair, a column per head size."""
    worst, checks, other = {}, collections.Counter(), collections.Counter()
    for kernel, text in run(program):
        m = re.search(r"error (\S+)$", text)
        if m:
            worst[kernel] = max(worst.get(kernel, 0), float(m.group(1)))
            checks[kernel] += 1
        elif "other bits" in text: other[kernel] += 1
    cells, heads, pairs = {}, [], []
    for name in names:
        k, v, dk, dv = re.match(r"kernel_flash_attn_ext_vec_(\w+?(?:_64)?|q8_0)_((?:turbo\d)(?:_64)?|q8_0|f16)_dk(\d+)_dv(\d+)", name).groups()
        head, pair = (int(dk), int(dv)), (plain(k), plain(v))
        if head not in heads: heads.append(head)
        if pair not in pairs: pairs.append(pair)
        cells[(*pair, head)] = f"{worst[name]:.1e}" if name in worst else ""
    heads.sort()
    table(["K / V"] + [f"{dk}/{dv}" if dk != dv else str(dk) for dk, dv in heads],
          [[f"{k} / {v}"] + [cells.get((k, v, h), "") for h in heads] for k, v in pairs])
    counts, bits = sorted({checks[n] for n in names}), sorted({other[n] for n in names})
    print(f"{len(names)} kernels; of each {'..'.join(map(str, counts))} runs against float64 and {'..'.join(map(str, bits))} comparisons of bits between "
          f"schedules; largest error {max(worst.values()):.1e}.\n")


def codec(names):
    """Checks per kernel: a row per operation, a column per type."""
    checks, ops, types = collections.Counter(kernel for kernel, _ in run("codec") if kernel in names), [], []
    cells = {}
    for name in names:
        m = re.match(r"kernel_(?:(set_rows_f\d+_i\d+|cpy_f\d+|get_rows)_(turbo\d(?:_64)?)|(cpy)_(turbo\d(?:_64)?)_(f\d+)|flash_attn_ext_kv_(\w+)_f16)$", name)
        if m.group(1): op, kind = m.group(1).replace("cpy_", "cpy from "), m.group(2)
        elif m.group(3): op, kind = f"cpy to {m.group(5)}", m.group(4)
        else: op, kind = "copy of K or V to f16", m.group(6)
        if kind == "f16": continue  # a plain copy, beside a turbo side
        if op not in ops: ops.append(op)
        if kind not in types: types.append(kind)
        cells[op, kind] = str(checks[name] or "")
    table(["kernel"] + types, [[op.replace("_", " ")] + [cells.get((op, t), "") for t in types] for op in ops])
    plain_copy = "kernel_flash_attn_ext_kv_f16_f16"
    print(f"{len(names)} kernels, {sum(checks.values())} checks (`{plain_copy}`, for an f16 side: {checks[plain_copy]}).\n")


def host():
    """Every pair through upstream's host code: one query, twenty."""
    rows = collections.OrderedDict()
    for pair, text in run("backend"):
        m = re.match(r"(\d+)/(\d+), ([\w ,]+): error (\S+), (\S+) (in float|with its half roundings)", text)
        if not m or m.group(1, 2) != ("128", "128"): continue
        if m.group(3) in ("one query", "twenty queries"): rows.setdefault(pair, {})[m.group(3)] = m.group(4, 5)
    table(["K / V", "one query", "twenty queries", "the same against float64 on halves"],
          [[pair.replace("/", " / "), r.get("one query", [""])[0], r.get("twenty queries", [""])[0], r.get("twenty queries", ["", ""])[1]] for pair, r in rows.items()])


def upstream():
    errors, halves, bytes_, checks = collections.OrderedDict(), {}, set(), collections.Counter()
    for kernel, text in run("upstream"):
        checks[kernel] += 1
        m = re.search(r"error (\S+?)(?:, (\S+) with its half roundings)? \(", text)
        if not m: bytes_.add(kernel)
        else:
            errors.setdefault(kernel, []).append(float(m.group(1)))
            if m.group(2): halves.setdefault(kernel, []).append(float(m.group(2)))
    table(["kernel", "checks", "error to float64", "with its half roundings"],
          [[f"`{k}`", str(checks[k]), "the bytes of ggml's reference" if k in bytes_ else spread(errors[k]), spread(halves[k]) if k in halves else "-"] for k in sorted(checks)])


def written(name):
    with open(os.path.join(OUT, name + ".md")) as f: print(f.read())


def main():
    names = subprocess.run([sys.executable, GENERATE, "--list"], capture_output=True, text=True, check=True).stdout.split()
    vec = [n for n in names if "_ext_vec_" in n]
    print(f"""# Metal kernels on the executor

Written by `scripts/test-metal.sh report` with {COMPILER}, on Linux x86-64. No GPU took part: these are results and counts of the .metal
sources, executed on a CPU ([docs/metal.md](../metal.md)). Errors are the largest difference to float64 over the largest result.

## Attention, few queries: kernel x pair x head size

Cells: largest error over all runs of the kernel (sinks, softcap, ALiBi, masks, shared heads, tails; every schedule; denormals flushed).
""")
    attention(vec, "attention")
    print("The same kernels compiled under fast math, Metal's default:\n")
    attention(vec, "attention_fast")
    print("""## Attention through upstream's host code, head size 128

Twenty queries and more are upstream's matrix kernel on copies in f16; its error is that of its half roundings, as the last column shows.
""")
    host()
    print("""What rounding costs many queries, by what is rounded to half (float64 otherwise; largest error of random cases, logits up to 8). The queries
are upstream's for every type; K and V are the copies.
""")
    written("rounding")
    print("""## Encoder and decoder: checks of each kernel

All bytes and bits identical to `kernels/common/ref.c`, ties included, in every schedule and with denormals flushed.
""")
    codec([n for n in names if "_ext_vec_" not in n])
    print("""## Upstream's kernels: the executor's own proof

Through upstream's host code, in every schedule. A check is of all kernels that an op dispatched, so helpers carry the error of their op.
""")
    upstream()
    print("""## Cost of one decoded token

Head size 128, one query, 512 positions; per KV head position: bytes of K and V that threadgroups fetch; per query head and cached value:
arithmetic instructions, loads of threadgroup memory, table lookups, simd functions of the optimized LLVM code with function constants fixed.
Upstream's kernels in their base variant decode for every query head; ours decode once for the query heads that share a KV head.
""")
    written("cost_1")
    written("cost_4")
    print(f"{blank} blank cells, {failed} failures.")
    sys.exit(blank != 0 or failed != 0)


if __name__ == "__main__":
    main()
