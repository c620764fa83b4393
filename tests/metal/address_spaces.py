#!/usr/bin/env python3
"""Checks a .metal file of ours as C++ for OpenCL, whose address spaces are types, with clang's strictest front end for it.

  address_spaces.py FILE.metal --clang CLANG -I DIR...

Every kernel is instantiated. Only what OpenCL has no word for is rewritten: function constants get a value, attributes go, an instantiation
by host name becomes a use, vectors are converted by a function. What Metal's C++ lacks is looked for by its words, recursion in the
calls of the compiled code. The check is checked: with a wrong address space, and with each of these, it must fail.
"""
import argparse, os, re, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

# What Metal's C++ lacks (Metal Shading Language Specification 1.5.4): the words, and a text with each, which must not pass.
LACKS = re.compile(r"\b(virtual|throw|try|catch|new|delete|dynamic_cast|typeid|goto|noexcept|register|thread_local)\b"
                   r"|\b(?:struct|class)\s+\w+\s*:(?!:)|[(=,]\s*\[[&=]?\w*\]\s*\(")
FORBIDDEN = {
    "an exception": "void planted(int n) { if (n) throw n; }",
    "a virtual function": "struct planted { virtual int f() { return 0; } };",
    "a derived class": "struct a { int x; }; struct planted : a {};",
    "new": "int * planted() { return new int; }",
    "goto": "void planted() { again: goto again; }",
    "a lambda": "int planted(int n) { auto f = [&](int m) { return n + m; }; return f(1); }",
    "recursion": "int planted(int n) { return n > 0 ? planted(n - 1) : 0; }",
    "mutual recursion": "int other(int n); int planted(int n) { return n > 0 ? other(n - 1) : 0; } int other(int n) { return planted(n); }",
}


def main():
    a = argparse.ArgumentParser()
    a.add_argument("file"); a.add_argument("--clang", default="clang++"); a.add_argument("-I", action="append", default=[])
    a = a.parse_args()
    with open(a.file) as f: text = f.read()
    # upstream's common.h has C++ of its own that OpenCL rejects; of it we use a macro and the argument structures
    text = text.replace('#include "common.h"', '#include <metal_stdlib>\n#include "ggml-metal-impl.h"\nusing namespace metal;\n#define FOR_UNROLL(x) _Pragma("clang loop unroll(full)") for (x)\n#line 4')
    text = re.sub(r"\bconstant (\w+)\s+(\w+)\s*\[\[function_constant\([^)]*\)\]\];", r"constant \1 \2 = 1;", text)
    kernels = len(re.findall(r"host_name", text))
    text = re.sub(r'template \[\[host_name\("\w+"\)\]\] kernel \w+ (.*);', lambda m: f"void use_{m.start()}() {{ auto f = &{m.group(1)}; (void) f; }}", text)
    text = re.sub(r"\[\[[^][]*\]\]", "", text)
    text = re.sub(r"\bT4\(", "msl_convert<T4>(", text)
    right, wrong = "inline ushort4 tq_low_bits(device const uchar * qs,", "inline ushort4 tq_low_bits(threadgroup const uchar * qs,"
    if right not in text: sys.exit(f"{a.file}: the address space to exchange is gone")

    if not compiles(a, text, None): sys.exit(f"{a.file}: FAILED as C++ for OpenCL")
    if compiles(a, text.replace(right, wrong), subprocess.DEVNULL): sys.exit(f"{a.file}: FAILED, a wrong address space was not noticed")
    head = text[:text.index("using namespace metal;")]
    for what, planted in FORBIDDEN.items():
        if compiles(a, f"{head}\n{planted}\n", subprocess.DEVNULL): sys.exit(f"{a.file}: FAILED, {what} was not noticed")
    if os.environ.get("MSL_VERBOSE"): print(f"address spaces: {os.path.basename(a.file)}: {kernels} kernels")


def recursion(code):
    """A function of LLVM code that calls itself, directly or through others; None without one."""
    calls, inside = {}, None
    for line in code.splitlines():
        if line.startswith("define "):
            inside = re.search(r"@([\w.$]+)\(", line).group(1)
            calls[inside] = set()
        elif line.startswith("}"):
            inside = None
        elif inside:
            calls[inside].update(re.findall(r"\bcall\b.*?@([\w.$]+)\(", line))
    done = set()
    while True:  # functions that only call what ends, round by round
        ends = {f for f in calls if f not in done and all(g in done or g not in calls for g in calls[f])}
        if not ends: return next((f for f in calls if f not in done), None)
        done |= ends


def compiles(a, text, errors):
    lacks = LACKS.search(re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S))
    if lacks:
        if errors is None: print(f"{a.file}: Metal has no {lacks.group(0)!r}")
        return False
    with tempfile.TemporaryDirectory() as dir:
        source, code = os.path.join(dir, os.path.basename(a.file) + ".clcpp"), os.path.join(dir, "code.ll")
        with open(source, "w") as f: f.write(text)
        command = [a.clang, "-x", "clcpp", "-cl-std=clc++2021", "-target", "spir64", "-Xclang", "-finclude-default-header", "-ferror-limit=20",
                   "-S", "-emit-llvm", "-O0", "-o", code,
                   "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unknown-pragmas", "-Wno-sign-compare", "-Wno-unused-variable", "-D__METAL_VERSION__=320",
                   "-I", os.path.join(HERE, "address_spaces")] + [x for i in a.I for x in ("-I", i)]
        if subprocess.run(command + [source], stderr=errors).returncode: return False
        with open(code) as f: found = recursion(f.read())
        if found and errors is None: print(f"{a.file}: {found} is recursive")
        return not found


if __name__ == "__main__":
    main()
