#!/usr/bin/env bash
# Prints where the pinned llama.cpp lies, as published; fetches and checks it if need be.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
pristine=$(cargo metadata --locked --format-version 1 --manifest-path vendor/Cargo.toml |
    sed 's/.*"manifest_path":"\([^"]*llama-cpp-sys-4[^"]*\)Cargo.toml".*/\1llama.cpp/')
[ -f "$pristine/src/llama.cpp" ] || { echo "no llama.cpp at '$pristine'" >&2; exit 1; }
echo "$pristine"
