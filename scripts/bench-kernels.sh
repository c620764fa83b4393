#!/usr/bin/env bash
# Times the codec and the attention kernels on this CPU, each answer checked first, and compares the attention kernels'
# instruction counts with those recorded for this compiler (tests/data/attention_instructions.txt). No engine needed.
#   bench-kernels.sh            everything, about three minutes
#   bench-kernels.sh --record   records this compiler's instruction counts anew
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
recorded=tests/data/attention_instructions.txt
flags=(-O3 -std=gnu11 -ffp-contract=off -Wall -Wextra -Ikernels)
cc "${flags[@]}" kernels/check/codec_check.c kernels/common/*.c -o "$out/codec" -lm
cc "${flags[@]}" kernels/check/attention_check.c kernels/common/*.c kernels/attention/*.c -o "$out/attention" -lm
if [ "${1:-}" = --record ]; then
    "$out/attention" --instructions | tee "$recorded"
    exit
fi
"$out/codec" --bench
"$out/attention" --bench
"$out/attention" --instructions "$recorded"
