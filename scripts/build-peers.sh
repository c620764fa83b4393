#!/usr/bin/env bash
# Builds llama-bench and llama-perplexity from the pinned llama.cpp, without our types, to compare our measurements with:
# the same compiler and options as our engine's `native` build, and of our patches only the AMX fix, without which a
# native GCC 12 build dies on a CPU with AMX. Prints where they are.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
out=${1:-target/peers}
mkdir -p "$out/src"
cp -R "$(scripts/pristine.sh)/." "$out/src"
chmod -R u+w "$out/src"
patch --quiet --strip=1 --forward --directory="$out/src" <patches/0001-amx-tile-configuration-barrier.patch
cmake -S "$out/src" -B "$out/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON -DGGML_OPENMP=OFF \
    -DGGML_CCACHE=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF >"$out/cmake.log" 2>&1
cmake --build "$out/build" --parallel "$(getconf _NPROCESSORS_ONLN)" --target llama-bench llama-perplexity >"$out/build.log" 2>&1
ls "$out"/build/bin/llama-bench "$out"/build/bin/llama-perplexity
