#!/usr/bin/env python3
"""Writes kernels/metal/turbo_*.metal from the templates, types.def, levels.h, encode.h and kernels.def.

  generate.py            writes the files beside this script
  generate.py --check    fails when they are not current (scripts/test-metal.sh runs this)
  generate.py --list     prints the names of all kernels that the files register, one per line

The files are checked in, because upstream embeds a Metal source as text and compiles it on the user's machine: it can
include nothing of ours, and a build on a Mac should need no Python.
"""
import os, re, sys

HERE = os.path.dirname(os.path.abspath(__file__))
COMMON = os.path.join(HERE, "..", "common")


def read(*path):
    with open(os.path.join(HERE, *path)) as f:
        return f.read()


def rows(text, macro):
    """Arguments of each use of a macro in a .def file, in order; comments are skipped."""
    return [[a.strip() for a in m.group(1).split(",")] for m in re.finditer(rf"(?m)^{macro}\(([^)]*)\)", text)]


class Type:
    def __init__(self, row):
        _, _, self.name, self.family, self.bits, self.block, self.bytes = row
        self.bits, self.block, self.bytes = int(self.bits), int(self.block), int(self.bytes)


TYPES = [Type(r) for r in rows(read("..", "types.def"), "TQ_KV_TYPE")]
REGISTRY = read("kernels.def")
HEADS = [(library, int(dk), int(dv)) for library, dk, dv in rows(REGISTRY, "TQ_METAL_HEAD")]
PLAIN = [name for (name,) in rows(REGISTRY, "TQ_METAL_PLAIN")]


def defined(text, name):
    return re.search(rf"(?m)^#define {name} (.*)$", text).group(1)


def number(text):
    """A float literal that Metal's C++14 reads: hexadecimal ones become decimal."""
    text = text.strip()
    return f"{float.fromhex(text.rstrip('f')):.9g}f" if text.startswith("0x") else text


def constants():
    levels, encode = read("..", "common", "levels.h"), read("..", "common", "encode.h")
    out = []
    for name in ["TQ_GRID_POINTS", "TQ_PLAIN_MIN", "TQ_PLAIN_MAX", "TQ_HALF_MAX", "TQ_SCALE_UP", "TQ_SCALE_DOWN"]:
        out.append(f"#define {name} {number(defined(encode, name))}")
    out.append(f"constant float tq_grid[TQ_GRID_POINTS] = {defined(encode, 'TQ_GRID')};")
    for bits in sorted({t.bits for t in TYPES}):
        for name in ["LEVELS", "EDGES"]:
            values = defined(levels, f"TQ_{name}_{bits}")
            out.append(f"constant float tq_{name.lower()}_{bits}[{values.count(',') + 1}] = {values};")
    factors = {bits: defined(levels, f"TQ_FACTOR_{bits}") for bits in (2, 3, 4)}
    out += ["", "// Half levels per unit-norm coordinate (encode.h).", "template <short BITS, short BLOCK>", "inline float tq_gain() {",
            f"    const float factor = BITS == 2 ? {factors[2]} : BITS == 3 ? {factors[3]} : {factors[4]};",
            "    return BLOCK == 128 ? 2.0f*factor : 1.41421356f*factor;", "}"]
    return "\n".join(out)


def blocks():
    return "\n".join(f"static_assert(sizeof(tq_block<{t.bits}, {t.block}>) == {t.bytes}, \"{t.name}: types.def disagrees\");" for t in TYPES)


def instance(host, expression, type_name):
    return f'template [[host_name("{host}")]] kernel {type_name} {expression};'


def codec_kernels():
    out = []

    def family(type_name, example, instances):
        out.append(f"typedef decltype({example}) {type_name};")
        out.extend(instance(host, expression, type_name) for host, expression in instances)

    of = lambda t: f"{t.bits}, {t.block}"
    index = {"i64": "int64_t", "i32": "int32_t"}
    source = {"f32": "float", "f16": "half"}
    for i, ti in index.items():
        family(f"tq_set_rows_{i}_t", f"kernel_tq_set_rows<float, {ti}, 4, 128>",
               [(f"kernel_set_rows_{s}_{i}_{t.name}", f"kernel_tq_set_rows<{ts}, {ti}, {of(t)}>") for s, ts in source.items() for t in TYPES])
    family("tq_cpy_to_t", "kernel_tq_cpy_to<float, 4, 128>",
           [(f"kernel_cpy_{s}_{t.name}", f"kernel_tq_cpy_to<{ts}, {of(t)}>") for s, ts in source.items() for t in TYPES])
    family("tq_get_rows_t", "kernel_tq_get_rows<4, 128>", [(f"kernel_get_rows_{t.name}", f"kernel_tq_get_rows<{of(t)}>") for t in TYPES])
    family("tq_cpy_from_t", "kernel_tq_cpy_from<float4, 4, 128>",
           [(f"kernel_cpy_{t.name}_{s}", f"kernel_tq_cpy_from<{ts}4, {of(t)}>") for s, ts in source.items() for t in TYPES])
    family("tq_kv_f16_t", "kernel_tq_kv_f16<4, 128>", [(f"kernel_flash_attn_ext_kv_{t.name}_f16", f"kernel_tq_kv_f16<{of(t)}>") for t in TYPES])
    return "\n".join(out)


def sides(head):
    """(type name, operand of the attention template) that a side of this head size may have, turbo first."""
    families = {}
    for t in TYPES:                         # the widest block of a family comes first
        if head % t.block == 0:
            families.setdefault(t.family, t)
    turbo = [(t.name, f"tq_turbo<{t.bits}, {t.block}>", True) for t in families.values()]
    return turbo + [(name, f"tq_{name}", False) for name in PLAIN]


def attention_kernels(library):
    out = ["typedef decltype(kernel_tq_flash_attn_vec<tq_f16, tq_f16, 64, 64>) tq_flash_attn_vec_t;"]
    for lib, dk, dv in HEADS:
        if lib != library:
            continue
        for k, operand_k, turbo_k in sides(dk):
            for v, operand_v, turbo_v in sides(dv):
                if turbo_k or turbo_v:
                    out.append(instance(f"kernel_flash_attn_ext_vec_{k}_{v}_dk{dk}_dv{dv}", f"kernel_tq_flash_attn_vec<{operand_k}, {operand_v}, {dk}, {dv}>", "tq_flash_attn_vec_t"))
    return "\n".join(out)


def render(template, what, **marks):
    text = "\n".join([
        f"// {what}",
        f"// Generated by kernels/metal/generate.py from template/block.metal and template/{template}. Do not edit.",
        '#include "common.h"', "", read("template", "block.metal"), read("template", template)])
    for name, value in {"CONSTANTS": constants(), "BLOCKS": blocks(), **marks}.items():
        text = text.replace(f"@{name}@", value)
    left = re.search(r"@[A-Z]+@", text)
    if left:
        sys.exit(f"generate.py: {left.group(0)} is not filled in")
    return text


def files():
    out = {"turbo_codec.metal": render("codec.metal", "The turbo KV cache types on Metal: encoder and decoder.", KERNELS=codec_kernels())}
    for library in dict.fromkeys(h[0] for h in HEADS):
        sizes = ", ".join(f"{dk}/{dv}" for lib, dk, dv in HEADS if lib == library)
        out[f"turbo_vec_{library}.metal"] = render(
            "attention.metal", f"Attention over turbo KV caches for few queries on Metal: head sizes {sizes}.", KERNELS=attention_kernels(library))
    return out


def main():
    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    stale = []
    for name, text in files().items():
        path = os.path.join(HERE, name)
        if mode == "--list":
            print("\n".join(re.findall(r'host_name\("([^"]*)"\)', text)))
        elif mode == "--check":
            if not os.path.exists(path) or open(path).read() != text:
                stale.append(name)
        else:
            with open(path, "w") as f:
                f.write(text)
    if stale:
        sys.exit(f"kernels/metal: not current: {', '.join(stale)}; run kernels/metal/generate.py")


if __name__ == "__main__":
    main()
