#!/usr/bin/env python3
"""Turn one .metal file into a C++ translation unit for executor/metal.h.

  translate.py FILE.metal -o OUT.cpp -I DIR... [-D NAME=VALUE...] [--only REGEX] [--constant NAME=VALUE...] [--clang CLANG] [--keep-unroll] [--lockstep] [--lint]

Steps: run the C preprocessor (includes and macros are gone afterwards, line markers stay, so that errors and
divergence reports name the .metal line); rewrite what C++ has no word for; wrap all in metal::tu_<name>.
--lockstep lets the lanes of a simdgroup meet before every `if (<lane index> ==`: for kernels that count on lanes moving
together where the language asks for a barrier. Do not use it for new kernels.
--lint reports what C++ takes and Metal's compiler does not: pointers and references without an address space, double,
static locals and the like. It reads words, not types: a net with holes, but without false alarms on upstream's kernels.
--only keeps the kernels whose host name matches: instantiations are what costs compile time.
--constant fixes a function constant before compilation, for the instruction counts of tests/metal/cost.cpp.
"""
import argparse, os, re, subprocess, sys, tempfile

KINDS = {
    "threadgroup_position_in_grid": "P_TG_POS", "threadgroups_per_grid": "P_TG_COUNT",
    "thread_position_in_threadgroup": "P_TID3", "threads_per_threadgroup": "P_TG_SIZE", "dispatch_threads_per_threadgroup": "P_TG_SIZE",
    "thread_position_in_grid": "P_GRID_POS", "threads_per_grid": "P_GRID_SIZE",
    "thread_index_in_threadgroup": "P_TID", "thread_index_in_simdgroup": "P_LANE",
    "simdgroup_index_in_threadgroup": "P_SG", "simdgroups_per_threadgroup": "P_SG_COUNT", "dispatch_simdgroups_per_threadgroup": "P_SG_COUNT",
    "threads_per_simdgroup": "P_SG_SIZE", "thread_execution_width": "P_SG_SIZE",
}
OPEN, CLOSE = "([{", ")]}"


def closing(text, i):
    """Index of the bracket that closes the one at i."""
    depth = 0
    for j in range(i, len(text)):
        if text[j] in OPEN: depth += 1
        elif text[j] in CLOSE:
            depth -= 1
            if depth == 0: return j
    sys.exit("translate: unbalanced brackets")


def closing_angle(text, i):
    """Index of the > that closes the < at i; brackets inside are skipped."""
    depth = 0
    while i < len(text):
        c = text[i]
        if c in OPEN: i = closing(text, i)
        elif c == "<": depth += 1
        elif c == ">":
            depth -= 1
            if depth == 0: return i
        i += 1
    sys.exit("translate: unbalanced <>")


def split_params(text):
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c in OPEN + "<": depth += 1
        elif c in CLOSE + ">": depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i]); start = i + 1
    if text[start:].strip(): parts.append(text[start:])
    return parts


def describe(params, where):
    """Parameter list -> [(kind, index)]; Metal numbers buffers in order where no attribute says otherwise."""
    out, next_buffer, next_tg = [], 0, 0
    for p in split_params(params):
        attr = re.search(r"\[\[\s*(\w+)\s*(?:\(\s*(\d+)\s*\))?\s*\]\]", p)
        name = attr.group(1) if attr else None
        if name in KINDS: out.append((KINDS[name], 0))
        elif name == "threadgroup": out.append(("P_TGMEM", int(attr.group(2))))
        elif name == "buffer": out.append(("P_BUFFER", int(attr.group(2)))); next_buffer = int(attr.group(2)) + 1
        elif name: sys.exit(f"translate: {where}: unknown attribute [[{name}]]")
        elif re.search(r"\bthreadgroup\b", p): out.append(("P_TGMEM", next_tg)); next_tg += 1
        else: out.append(("P_BUFFER", next_buffer)); next_buffer += 1
    return out


SPACES = {"device", "constant", "threadgroup", "thread", "ray_data", "object_data", "threadgroup_imageblock"}
FORBIDDEN = {"double": "no double", "virtual": "no virtual functions", "new": "no new", "delete": "no delete", "try": "no exceptions", "throw": "no exceptions",
             "goto": "no goto", "thread_local": "no thread_local", "dynamic_cast": "no RTTI", "typeid": "no RTTI", "std": "no standard library"}


def lint(text):
    """[(file, line, message)] for preprocessed text."""
    where, file, line, body = [], "", 0, []
    for row in text.split("\n"):
        mk = re.match(r'# (\d+) "([^"]*)"', row)
        if mk: line, file = int(mk.group(1)) - 1, mk.group(2); row = ""
        elif row.startswith("#"): row = ""
        line += not mk
        where.append((os.path.basename(file), line)); body.append(row)
    text = re.sub(r'"(?:[^"\\\n]|\\.)*"', lambda q: '"' + " "*(len(q.group(0)) - 2) + '"', "\n".join(body))
    base = r"bool|char|uchar|short|ushort|int|uint|long|ulong|float|half|bfloat|size_t|void|auto|u?int(?:8|16|32|64)_t|atomic_\w+"
    types = set(re.findall(r"\b(?:struct|class|typename|union)\s+(\w+)", text)) | set(re.findall(r"\btypedef\b[^;]*?\b(\w+)\s*;", text)) | set(re.findall(r"\busing\s+(\w+)\s*=", text))
    types |= set(re.findall(r"\}\s*(\w+)\s*;", text))
    is_type = lambda w: re.fullmatch(rf"(?:packed_)?(?:{base})(?:[234](?:x[234])?)?", w) or w in types
    found = []
    say = lambda at, msg: found.append((*where[text.count("\n", 0, at)], msg))
    words = r"((?:\b(?!return\b|case\b|else\b)[A-Za-z_]\w*(?:<[^<>;(){}=]*>)?\s*)+?)"
    for mt in re.finditer(rf"(?<![\w)\]])(?:(?<=[;{{}}(,<])|(?<=\n)|^)\s*{words}\s*[*&]+\s*(?:(?:const|restrict|__restrict)\s*)*(\w+)?\s*(?=[=;,)\[{{:]|\[\[)", text):
        ws = re.findall(r"[A-Za-z_]\w*", re.sub(r"<[^<>]*>", "", mt.group(1)))
        if any(is_type(w) for w in ws) and not SPACES & set(ws): say(mt.start(1), f"pointer or reference without an address space: {' '.join(mt.group(0).split())}")
    for mt in re.finditer(r"\b(" + "|".join(FORBIDDEN) + r")\b", text): say(mt.start(), FORBIDDEN[mt.group(1)])
    depth = 0
    for mt in re.finditer(r"[{}]|\bstatic\b(?!_)", text):
        if mt.group(0) == "static":
            if depth and not re.match(r"static\s+(?:constexpr|const(?:ant)?|inline|[\w\s<>,*&]+\()", text[mt.start():mt.start() + 200]): say(mt.start(), "static local")
        else: depth += 1 if mt.group(0) == "{" else -1
    return found


def rewrite(text, tu, only, keep_unroll, lockstep, fixed):
    keep = lambda n: only is None or re.search(only, n)
    lines = lambda s: "\n"*s.count("\n")       # keep the line count: markers stay right

    # function constants: plain variables, set by name before a launch
    def function_constant(mt):
        kind, name, index = mt.groups()
        if name in fixed:                       # the compiler sees its value, as after Metal's specialization
            return f'static constexpr {kind} {name} = {fixed[name]}; static ::msl::ConstantReg {name}__reg("{tu}", "{name}", ({index}), &{name});'
        return f'static {kind} {name}; static ::msl::ConstantReg {name}__reg("{tu}", "{name}", ({index}), &{name});'
    text = re.sub(r"\bconstant\s+(\w+)\s+(\w+)\s*\[\[\s*function_constant\((.*?)\)\s*\]\]\s*;", function_constant, text, flags=re.S)

    # kernel definitions: note the parameters
    kernels, plain = {}, []
    for mt in re.finditer(r"(\[\[\s*host_name\(\s*\"([^\"]*)\"\s*\)\s*\]\]\s*)?\bkernel\s+void\s+(\w+)\s*\(", text):
        o = mt.end() - 1
        c = closing(text, o)
        if not re.match(r"\s*\{", text[c + 1:c + 200]): continue
        name = mt.group(3)
        d = describe(text[o + 1:c], name)
        if kernels.get(name, d) != d: sys.exit(f"translate: {name} is defined twice with different parameters")
        kernels[name] = d
        before = text[:mt.start()].rstrip()
        if not before.endswith(">"): plain.append((mt.group(2) or name, name))

    if lockstep:
        lanes = set(re.findall(r"\b(\w+)\s*\[\[\s*thread_index_in_simdgroup\s*\]\]", text))
        for v in sorted(lanes): text = re.sub(rf"\bif\s*\((?=\s*{v}\s*==)", "if (::msl::converge() && ", text)

    # explicit instantiations -> registrations (which instantiate)
    used, count = set(), 0
    def instantiate(mt):
        nonlocal count
        host = "".join(re.findall(r'"([^"]*)"', mt.group(1)))
        body = mt.group(2)
        if not keep(host): return lines(mt.group(0))
        i = 0
        while i < len(body):
            if body[i] in OPEN: i = closing(body, i) + 1; continue
            w = re.match(r"\w+", body[i:])
            if not w: i += 1; continue
            j = i + w.end()
            k = j + len(body[j:]) - len(body[j:].lstrip())
            if w.group(0) in kernels and k < len(body) and body[k] == "<":
                expr = body[i:closing_angle(body, k) + 1]
                used.add(w.group(0)); count += 1
                flat = " ".join(expr.split())
                return f'static ::msl::KernelReg reg_{count}("{tu}", "{host}", &{flat}, {w.group(0)}__params, {len(kernels[w.group(0)])});' + lines(mt.group(0))
            i = j
        sys.exit(f"translate: cannot read the instantiation of {host}")
    text = re.sub(r"\btemplate\s*\[\[\s*host_name\((.*?)\)\s*\]\]\s*kernel\s+(.*?);", instantiate, text, flags=re.S)

    tail = ""
    for host, name in plain:
        if keep(host):
            used.add(name); count += 1
            tail += f'static ::msl::KernelReg reg_{count}("{tu}", "{host}", &{name}, {name}__params, {len(kernels[name])});\n'

    # threadgroup variables in a body: shared storage, announced to the machine
    text = re.sub(r"(?m)^(\s*)threadgroup\s+(\w+)\s+(\w+)\s*((?:\[[^;=]*\])?)\s*;",
                  r"\1static \2 \3\4; ::msl::tg_static(&\3, sizeof(\3));", text)

    # Metal has no double: an unsuffixed literal is a float (a compiler switch would be lost inside templates)
    number = r"(?<![\w.])(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])|(?<![\w.])\d+[eE][-+]?\d+(?![\w.])"
    text = re.sub(rf'^#.*$|"(?:[^"\\\n]|\\.)*"|{number}', lambda q: q.group(0) + ("f" if q.group(0)[0] in ".0123456789" else ""), text, flags=re.M)

    # the remaining attributes, pragmas and swizzles
    text = re.sub(r"\[\[\s*\w+\s*(?:\([^][]*\))?\s*\]\]", "", text)
    text = re.sub(r"(?m)^\s*#pragma METAL.*$", "", text)
    if not keep_unroll: text = re.sub(r"(?m)^\s*#pragma (?:clang loop )?unroll.*$", "", text)
    swz = lambda s: ",".join(str({"x": 0, "y": 1, "z": 2, "w": 3, "r": 0, "g": 1, "b": 2, "a": 3}[c]) for c in s)
    text = re.sub(r"\.([xyzw]{2,4}|[rgba]{2,4})\b(?=\s*[-+*]?=[^=])", lambda q: f".template swzref<{swz(q.group(1))}>()", text)
    text = re.sub(r"\.([xyzw]{2,4}|[rgba]{2,4})\b(?!\s*[(\w\"])", lambda q: f".template swz<{swz(q.group(1))}>()", text)

    head = "".join(f"static const ::msl::Param {n}__params[] = {{ {', '.join('{ ::msl::%s, %d }' % p for p in kernels[n])} }};\n" for n in sorted(used))
    return head, text, tail, count


def main():
    a = argparse.ArgumentParser()
    a.add_argument("file"); a.add_argument("-o", required=True); a.add_argument("-I", action="append", default=[]); a.add_argument("-D", action="append", default=[])
    a.add_argument("--only"); a.add_argument("--constant", action="append", default=[], metavar="NAME=VALUE"); a.add_argument("--clang", default="clang++"); a.add_argument("--keep-unroll", action="store_true"); a.add_argument("--lockstep", action="store_true"); a.add_argument("--lint", action="store_true")
    a = a.parse_args()
    tu = re.sub(r"\W", "_", os.path.basename(a.file).rsplit(".", 1)[0])
    with tempfile.TemporaryDirectory() as stub:
        open(os.path.join(stub, "metal_stdlib"), "w").close()
        cmd = [a.clang, "-E", "-x", "c++", "-std=c++20", "-nostdinc", "-D__METAL__", "-D__METAL_VERSION__=320", "-I", stub]
        for i in a.I: cmd += ["-I", i]
        for d in a.D: cmd += ["-D" + d]
        text = subprocess.run(cmd + [a.file], check=True, stdout=subprocess.PIPE, text=True).stdout
    bad = lint(text) if a.lint else []
    for b in bad: print("%s:%d: %s" % b, file=sys.stderr)
    if bad: sys.exit(1)
    head, text, tail, count = rewrite(text, tu, a.only, a.keep_unroll, a.lockstep, dict(c.split("=") for c in a.constant))
    with open(a.o, "w") as f:
        f.write(f'#define MSL_KERNEL_TU\n#include "executor/metal.h"\nnamespace metal {{ namespace tu_{tu} {{\n{head}{text}\n{tail}}}}}\n')
    if os.environ.get('MSL_VERBOSE'): print(f"{tu}: {count} kernels")


if __name__ == "__main__":
    main()
