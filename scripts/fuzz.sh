#!/usr/bin/env bash
# Fuzzes one target with libFuzzer: fuzz.sh TARGET [SECONDS [libFuzzer options...]]. Without a target, names them all.
#
# Any Rust toolchain will do: the coverage comes from options that a stable compiler takes. Inputs that were found to reach
# new code are kept in target/fuzz/TARGET, inputs that break a promise in target/fuzz/found/TARGET-*; docs/fuzzing.md says
# what to do with those.
#
#   FUZZ_BLIND=1   do not compile the engine's readers again with coverage (no clang, or no time)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
host=$(rustc -vV | sed -n 's/^host: //p')
engine="$PWD/target/turboquant-engine/$host+native"
[ -f "$engine/engine.stamp" ] || cargo build --features native
[ -n "${FUZZ_BLIND:-}" ] || engine=$(scripts/fuzz-engine.sh "$engine")

coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
TURBOQUANT_ENGINE_DIR="$engine" CARGO_TARGET_DIR="$PWD/target/fuzz-build" RUSTFLAGS="$coverage" \
    cargo build --manifest-path fuzz/Cargo.toml --release --features native --target "$host" --locked
program="$PWD/target/fuzz-build/$host/release/turboquant-fuzz"

export FUZZ_TARGET=${1:-}
seconds=${2:-60}
[ -n "$FUZZ_TARGET" ] || exec "$program" # says which targets there are
kept="$PWD/target/fuzz/$FUZZ_TARGET"
mkdir -p "$kept" "$PWD/target/fuzz/found" "fuzz/corpus/$FUZZ_TARGET"
FUZZ_SEEDS="$kept" "$program"
exec nice -n 19 "$program" "$kept" "fuzz/corpus/$FUZZ_TARGET" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 \
    -max_len=262144 -artifact_prefix="$PWD/target/fuzz/found/$FUZZ_TARGET-" -print_final_stats=1 "${@:3}"
