#!/usr/bin/env python3
"""Checks a .metal file of ours as C++ for OpenCL, whose address spaces are types, with clang's strictest front end for it.

  address_spaces.py FILE.metal --clang CLANG -I DIR...

Every kernel is instantiated. Only what OpenCL has no word for is rewritten: function constants get a value, attributes go, an instantiation
by host name becomes a use, vectors are converted by a function. The check is checked: with one address space exchanged it must fail.
"""
import argparse, os, re, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


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

    done = compile(a, text, None)
    if done.returncode: sys.exit(f"{a.file}: FAILED as C++ for OpenCL")
    if compile(a, text.replace(right, wrong), subprocess.DEVNULL).returncode == 0: sys.exit(f"{a.file}: FAILED, a wrong address space was not noticed")
    if os.environ.get("MSL_VERBOSE"): print(f"address spaces: {os.path.basename(a.file)}: {kernels} kernels")


def compile(a, text, errors):
    with tempfile.TemporaryDirectory() as dir:
        source = os.path.join(dir, os.path.basename(a.file) + ".clcpp")
        with open(source, "w") as f: f.write(text)
        command = [a.clang, "-x", "clcpp", "-cl-std=clc++2021", "-target", "spir64", "-Xclang", "-finclude-default-header", "-fsyntax-only", "-ferror-limit=20",
                   "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unknown-pragmas", "-Wno-sign-compare", "-Wno-unused-variable", "-D__METAL_VERSION__=320",
                   "-I", os.path.join(HERE, "address_spaces")] + [x for i in a.I for x in ("-I", i)]
        return subprocess.run(command + [source], stderr=errors)


if __name__ == "__main__":
    main()
