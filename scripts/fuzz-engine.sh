#!/usr/bin/env bash
# A copy of the built engine in which the parts that read other people's input report their coverage to libFuzzer: the shim,
# GGUF, vocabularies, grammars, schemas, templates, parsers of answers, projectors. Prints its directory (for
# TURBOQUANT_ENGINE_DIR). Only these files are compiled again, with clang, by the commands of the engine's own build. Not
# llama-model-loader.cpp: others use its templates, and of these clang leaves out what it has inlined.
set -euo pipefail
cd "$(dirname "$0")/.."
engine=${1:?"usage: fuzz-engine.sh ENGINE_DIR"}
copy="$PWD/target/fuzz-engine"
parts='/(ffi/[^/]*|common/(chat-[^/]*|chat|json[^/]*|peg-parser|jinja/[^/]*)|llama\.cpp/src/llama-(grammar|vocab|hparams|adapter|kv-cache)|ggml/src/gguf|tools/mtmd/clip)\.cpp$'

mkdir -p "$copy/lib" "$copy/objects"
if [ -f "$copy/made-of" ] && cmp -s "$engine/engine.stamp" "$copy/made-of"; then
    echo "$copy"
    exit
fi
command -v clang++ >/dev/null || { echo "fuzz-engine.sh: clang++ is missing; without it the engine is fuzzed blindly" >&2; exit 1; }
cp "$engine"/lib/*.a "$copy/lib/"
python3 - "$engine/build/compile_commands.json" "$copy/objects" "$parts" >"$copy/commands" <<'PYTHON'
import json, os, re, shlex, sys
commands, objects, parts = sys.argv[1:]
for entry in json.load(open(commands)):
    if not re.search(parts, entry["file"]):
        continue
    words = shlex.split(entry["command"])
    # as the archive's member is called
    member = os.path.basename(words[words.index("-o") + 1])
    folder = os.path.join(objects, re.sub(r"\W+", "_", entry["file"].split("/src/", 1)[1]))
    os.makedirs(folder, exist_ok=True)
    target = os.path.join(folder, member)
    words[words.index("-o") + 1] = target
    words[0] = "clang++"
    words[1:1] = ["-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp", "-Wno-everything"]
    print(f"cd {shlex.quote(entry['directory'])} && {shlex.join(words)}")
PYTHON
xargs -d '\n' -P "${FUZZ_JOBS:-2}" -I{} bash -c '{}' <"$copy/commands" >&2
for object in "$copy"/objects/*/*.o; do
    for archive in "$copy"/lib/*.a; do
        # names repeat between archives (unicode.cpp.o): the one that defines the same symbols is meant
        # readers that read to the end: one that stops early would end its writer, and with pipefail the script
        if ar t "$archive" | grep -xF "$(basename "$object")" >/dev/null; then
            ours=$(nm -C --defined-only "$object" 2>/dev/null | awk '/ T / && !found { found = 1; sub(/^[^ ]* T /, ""); print }')
            if nm -C --defined-only "$archive" 2>/dev/null | grep -F " T $ours" >/dev/null; then
                ar r "$archive" "$object"
            fi
        fi
    done
done >&2
cp "$engine/engine.stamp" "$copy/engine.stamp"
cp "$engine/engine.stamp" "$copy/made-of"
echo "$copy"
