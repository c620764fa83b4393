#!/usr/bin/env python3
"""Breaks the Metal kernels and what the host decides about them on purpose, one line at a time, and demands that the tests notice.

  mutations.py OUT FILES MAKE...     OUT: a scratch directory; FILES: a regular expression of the files to break, or nothing;
                                     MAKE: the make command line of scripts/test-metal.sh

Not part of `make test`: run it after a change to the tests (scripts/test-metal.sh mutations).
"""
import os, re, shutil, subprocess, sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

# (file below kernels/, or a .metal file; what is replaced, by what, test that must fail)
MUTATIONS = [
    ("turbo_codec", "x += simd_shuffle_xor(x, 4);", "x += simd_shuffle_xor(x, 2);", "codec"),
    ("turbo_codec", "square += x*x;", "square = fma(x, x, square);", "codec"),
    ("turbo_codec", "constant float tq_edges_4[7] = { 20,", "constant float tq_edges_4[7] = { 21,", "codec"),
    ("turbo_codec", "rank += u2 >=", "rank += u2 >", "codec"),
    ("turbo_codec", "other_score > best_score ||", "", "codec"),
    ("turbo_codec", "g < TQ_GRID_POINTS && score > best_score", "g < TQ_GRID_POINTS && score >= best_score", "codec"),
    ("turbo_codec", "mag == 0x7f800000u ? bits[k] - 1u :", "", "codec"),
    ("turbo_codec", "(float) mag*as_type<float>(104u << 23)*small", "0.0f", "codec"),
    ("turbo_codec", "clamp(top >> 23, 1u, 253u)", "clamp(top >> 23, 1u, 254u)", "codec"),
    ("turbo_codec", "some ? (bits[k]", "true ? (bits[k]", "codec"),
    ("turbo_codec", "const bool high = (h ? index[2*k + 1] : index[2*k]) & 4;", "const bool high = (h ? index[2*k] : index[2*k]) & 4;", "codec"),
    ("turbo_codec", "i |= ushort4(h & 1, (h >> 1) & 1,", "i |= ushort4(h & 1, (h >> 2) & 1,", "codec"),
    ("turbo_codec", "scale > TQ_HALF_MAX ? TQ_HALF_MAX : scale", "scale", "codec"),
    ("turbo_vec_128", "const ushort h = xb->qs[BLOCK/4 + u/2] >> (4*(u%2));", "const ushort h = xb->qs[BLOCK/4 + u/2];", "attention"),
    ("turbo_vec_128", "const float send = upper ? s[r][i] : s[r][i + w];", "const float send = upper ? s[r][i + w] : s[r][i];", "attention"),
    ("turbo_vec_128", "        simdgroup_barrier(mem_flags::mem_threadgroup);\n\n        // O = O + P*V", "\n        // O = O + P*V", "attention"),
    ("turbo_vec_128", "            S[r] = S[r]*ms + vs;", "            S[r] = S[r] + vs;", "attention"),
    ("turbo_vec_128", "                o[r][i] *= ms;\n            }\n        }\n        simdgroup_barrier", "                o[r][i] *= 1.0f;\n            }\n        }\n        simdgroup_barrier", "attention"),
    ("turbo_vec_128", "const float vs = inside ? exp(score - M[r]) : 0.0f;", "const float vs = exp(score - M[r]);", "attention"),
    ("turbo_vec_128", "(ic + min(NL*ty + cc, last))", "(ic + NL*ty + cc)", "attention"),
    ("turbo_vec_128", "score = args.logit_softcap*precise::tanh(score);", "score = precise::tanh(score);", "attention"),
    ("turbo_vec_128", "sgitg == 0 && iwg == 0) {", "sgitg == 0) {", "attention"),
    ("turbo_vec_128", "2*(iq2 - args.n_head_log2) + 1", "2*(iq2 - args.n_head_log2)", "attention"),
    ("turbo_vec_128", "S[r] = S[r]*e0 + rs[2*r + 0]*e1;", "S[r] = S[r]*e0 + rs[2*r + 0];", "attention"),
    ("turbo_vec_128", "    for (short n = NSG/2; n > 0; n /= 2) {\n        threadgroup_barrier(mem_flags::mem_threadgroup);", "    for (short n = NSG/2; n > 0; n /= 2) {", "attention"),
    ("turbo_vec_128", "const int iq2 = ikv2*group + (row0 + r)%group;\n        pm", "const int iq2 = ikv2*group + r%group;\n        pm", "attention"),
    ("hooks/metal_pipelines.cpp", "libraries.insert(library);", "", "backend"),
    ("hooks/metal_pipelines.cpp", 'strncmp(library, "turbo_", 6) != 0', "false", "backend"),
    ("hooks/metal_pipelines.cpp", "kernels.insert(kernel);", "", "backend"),
    ("hooks/metal_pipelines.cpp", "return room >= COPY_THREADS;", "return true;", "backend"),
    ("hooks/metal_pipelines.cpp", "vec.plan.nsg*32 <= ggml_metal_pipeline_max_theads_per_threadgroup(vec.pipeline)", "true", "backend"),
    ("hooks/metal_pipelines.cpp", "{ op->src[1], op->src[2] }", "{ op->src[1] }", "backend"),
    ("hooks/metal_pipelines.cpp", '!lib || misses_library("turbo_codec")', "!lib", "backend"),
    ("hooks/metal.cpp", " && tq_metal_has_pipelines(dev, op)", "", "backend"),
    ("hooks/metal_attention.h", "n_kv && p.nsg < most_nsg", "n_kv && p.nsg < 4", "backend"),
    ("hooks/faults.cpp", "if (fault.first == part) {", "if (false) {", "backend"),
    ("hooks/faults.cpp", "lines < MOST_LINES", "true", "backend"),
]

# The kernels that the tests of the kernels run; the host's run them all.
ONLY = "ONLY=turbo[34]_turbo[34]_dk128|reduce|set_rows|cpy|get_rows|kv_"


def main():
    out, files, make = sys.argv[1], sys.argv[2], sys.argv[3:]
    chosen = [m for m in MUTATIONS if re.search(files, m[0])]
    missed = 0
    mutant = f"{out}/mutant"

    def run(test):
        command = [*make, test, f"TURBO={mutant}"] + ([f"OUT={out}/host"] if test == "backend" else [f"OUT={out}", ONLY])
        return subprocess.run(command, capture_output=True, text=True)

    def restore(broken):
        shutil.rmtree(mutant, ignore_errors=True)
        shutil.copytree(f"{ROOT}/kernels", mutant)
        if broken: os.utime(f"{mutant}/{broken}")  # make goes by times: what was built from it is newer than the file

    # what is not broken must pass, or everything would be noticed
    os.makedirs(f"{out}/host", exist_ok=True)
    broken = None
    restore(broken)
    for test in sorted({m[3] for m in chosen}):
        if run(test).returncode != 0: sys.exit(f"{test} fails without a mutation")

    for n, (name, old, new, test) in enumerate(chosen):
        path = name if "/" in name else f"metal/{name}.metal"
        with open(f"{ROOT}/kernels/{path}") as f: text = f.read()
        if text.count(old) == 0: sys.exit(f"mutation {n}: {path} has no {old!r}")
        restore(broken)
        with open(f"{mutant}/{path}", "w") as f: f.write(text.replace(old, new))
        built = run(test)
        noticed = built.returncode != 0 and ("FAILED" in built.stdout or "msl:" in built.stderr or "its pipeline has" in built.stderr)
        missed += not noticed
        print(f"{'noticed' if noticed else 'MISSED '}  {name}: {' '.join(old.split())}  ->  {' '.join(new.split())}", flush=True)
        if not noticed and built.returncode != 0: print(built.stderr[-2000:])
        broken = path
    print(f"{len(chosen) - missed} of {len(chosen)} mutations noticed")
    sys.exit(missed != 0)


if __name__ == "__main__":
    main()
