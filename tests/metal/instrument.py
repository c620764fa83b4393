#!/usr/bin/env python3
"""Adds counting calls to LLVM assembly of a translated kernel (clang -O2 -S -emit-llvm), for tests/metal/cost.cpp.

  instrument.py IN.ll OUT.ll

In functions of a kernel's namespace (metal::tu_*), every basic block calls msl_count_alu(n) with the number of its
arithmetic instructions: float and integer arithmetic, logic, shifts, comparisons, selections, conversions between float,
half and integer, mathematical functions. Not counted: address computation by getelementptr, changes of an integer's width, moves, branches.
Every load calls msl_count_load(address, bytes), which knows what memory the address belongs to.
"""
import re, sys

ALU = {"fadd", "fsub", "fmul", "fdiv", "frem", "fneg", "fcmp", "add", "sub", "mul", "udiv", "sdiv", "urem", "srem", "shl", "lshr", "ashr", "and", "or", "xor",
       "icmp", "select", "fpext", "fptrunc", "sitofp", "uitofp", "fptosi", "fptoui"}
FREE = ("llvm.lifetime", "llvm.dbg", "llvm.assume", "llvm.memcpy", "llvm.memset", "llvm.experimental", "llvm.expect", "llvm.stack")
MATH = re.compile(r"@(exp2?f?|logf?|powf?|tanhf?|sqrtf?|fminf?|fmaxf?|fabsf?|roundf?|nearbyintf?)\(")
SIZE = {"half": 2, "bfloat": 2, "float": 4, "double": 8, "ptr": 8}


def width(type_):
    m = re.match(r"<(\d+) x (.*)>", type_)
    return (int(m.group(1)), m.group(2)) if m else (1, type_)


def size(type_):
    n, element = width(type_)
    return n*(SIZE[element] if element in SIZE else (int(element[1:]) + 7)//8)


def cost(line):
    """ALU instructions of one line of assembly."""
    m = re.match(r"\s+(?:%\S+ = )?(?:tail |musttail |notail )?(\w+)\s*(.*)", line)
    if not m: return 0
    op, rest = m.groups()
    if op in ALU:
        vector = re.search(r"<(\d+) x \w+>", rest)
        return int(vector.group(1)) if vector else 1
    if op == "call":
        called = re.search(r"@(llvm\.[\w.]+)\(", line)
        if called: return 0 if called.group(1).startswith(FREE) else 1
        return 1 if MATH.search(line) else 0
    return 0


def main():
    with open(sys.argv[1]) as f: lines = f.read().split("\n")
    out, block, inside = [], None, False

    def flush():
        n = sum(cost(l) for l in block)
        at = next(i for i, l in enumerate(block) if not re.match(r"\s+%\S+ = (phi|landingpad)\b", l) and l.strip())
        out.extend(block[:at])
        if n: out.append(f"  call void @msl_count_alu(i32 {n})")
        for l in block[at:]:
            m = re.match(r"\s+%\S+ = load (?:volatile )?(<[^>]*>|\w+), ptr (\S+?),", l)
            if m: out.append(f"  call void @msl_count_load(ptr {m.group(2)}, i32 {size(m.group(1))})")
            out.append(l)

    for line in lines:
        if line.startswith("define "):
            # only the kernel's own functions: what stands for the machine is not the kernel's work
            inside = re.search(r"@_ZN[K]?5metal\d+tu_", line) is not None
            out.append(line)
            block = [] if inside else None
            continue
        if inside and (line == "}" or re.match(r"[\w.$-]+:", line)):
            if block: flush()
            out.append(line)
            block = []
            if line == "}": inside = False
            continue
        (block if inside else out).append(line)
    out += ["declare void @msl_count_alu(i32)", "declare void @msl_count_load(ptr, i32)"]
    with open(sys.argv[2], "w") as f: f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
