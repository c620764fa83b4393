#!/usr/bin/env bash
# The sanitizers (docs/sanitizers.md): what runs under which of them, and what was found.
#
#   scripts/sanitize.sh [--quick] [PART...]     "all" without a part
#
#   kernels   the kernels' check programs under AddressSanitizer + UndefinedBehaviorSanitizer, and attention by many
#             threads under ThreadSanitizer. With --quick about a tenth of the cases; that is what `make test` runs
#   asan      the engine, the shim and the Rust layer under AddressSanitizer, LeakSanitizer and
#             UndefinedBehaviorSanitizer: the library's own tests
#   ubsan     the same: one build finds both
#   tsan      the same layers under ThreadSanitizer, tests with threads of their own (a nightly Rust)
#   miri      the parts of the library that need no engine, interpreted (a nightly Rust)
#
# Everything is built below target/sanitize; the usual build is not touched. TESTS="generation kshift" picks test
# programs of asan and tsan.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

OUT=$PWD/target/sanitize
LISTS=$PWD/scripts/sanitizers
HOST_FLAGS=(-O1 -g1 -std=gnu11 -ffp-contract=off -Wall -Wextra -Ikernels -fno-omit-frame-pointer)
ADDRESS=-fsanitize=address,undefined,float-cast-overflow
THREAD=-fsanitize=thread

# A finding ends the program with this status, so that no test can take it for a failure it expected.
STATUS=86
leaks=1 faults="address undefined leak"
if [ "$(uname -s)" = Darwin ]; then
    leaks=0 faults="address undefined" # there is no LeakSanitizer
fi
export ASAN_OPTIONS="exitcode=$STATUS:detect_leaks=$leaks:detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
export LSAN_OPTIONS="suppressions=$LISTS/leaks.txt:print_suppressions=0"
export UBSAN_OPTIONS="halt_on_error=1:exitcode=$STATUS:print_stacktrace=1:suppressions=$LISTS/undefined.txt"
export TSAN_OPTIONS="exitcode=$STATUS:halt_on_error=1:second_deadlock_stack=1:suppressions=$LISTS/threads.txt"

skipped=()
skip() {
    echo "$1: SKIPPED, $2"
    skipped+=("$1")
}

# Does this compiler have the sanitizer, and does it find what was planted? `finds FLAG FAULT...`
finds() {
    local flag=$1 program=$OUT/planted fault
    shift
    cc -O1 -g1 "$flag" -pthread "$LISTS/planted.c" -o "$program" >/dev/null 2>&1 || return 1
    "$program" >/dev/null 2>&1 || return 1
    for fault in "$@"; do
        if "$program" "$fault" >/dev/null 2>&1; then
            echo "$flag: a planted fault ($fault) was not found" >&2
            exit 1
        fi
    done
}

# Everything a check has to say but its successes.
check() { "$@" 2>&1 | { grep -v '^ok ' || true; }; }

kernels() {
    local common=(kernels/common/*.c) attention=(kernels/attention/*.c) dir=$OUT/kernels
    mkdir -p "$dir"
    if finds $ADDRESS $faults; then
        cc "${HOST_FLAGS[@]}" $ADDRESS kernels/check/attention_check.c "${attention[@]}" "${common[@]}" -o "$dir/attention" -lm &
        local other=$!
        cc "${HOST_FLAGS[@]}" $ADDRESS kernels/check/codec_check.c "${common[@]}" -o "$dir/codec" -lm
        echo "codec under AddressSanitizer and UndefinedBehaviorSanitizer:"
        check "$dir/codec" $quick tests/data/codec_golden.txt
        wait "$other"
        echo "attention under AddressSanitizer and UndefinedBehaviorSanitizer:"
        check "$dir/attention" $quick
    else
        skip "kernels under AddressSanitizer" "cc has no runtime for it (Debian: apt install gcc)"
    fi
    if finds $THREAD thread; then
        cc "${HOST_FLAGS[@]}" $THREAD -pthread kernels/check/attention_threads.c "${attention[@]}" "${common[@]}" -o "$dir/threads" -lm
        echo "attention by 2, 3, 5 and 8 threads under ThreadSanitizer:"
        check "$dir/threads" $quick
    else
        skip "attention under ThreadSanitizer" "cc has no runtime for it, or this system's addresses do not fit it"
    fi
}


# ---- the engine ---------------------------------------------------------------------------------------------------

host() { rustc -vV | sed -n 's/^host: //p'; }

# Not under a sanitizer: a test that builds with Cargo, and tests of the memory that a process occupies, which is
# another one here (the runtime's shadow, freed blocks that are kept back).
LEFT_OUT="downstream leaks plan_memory"

# Every test program links the whole engine, so they are built, run and removed one by one.
library_tests() {
    local name names=${TESTS:-lib $(cd tests && for t in *.rs */main.rs; do t=${t%/main.rs}; echo "${t%.rs}"; done)} failed=()
    for name in $names; do
        local which=(--test "$name")
        [ "$name" != lib ] || which=(--lib)
        if [ -z "${TESTS:-}" ] && [[ " $LEFT_OUT " == *" $name "* ]]; then
            skip "tests/$name" "it measures or builds what a sanitizer changes"
            continue
        fi
        echo "== $name"
        "$@" "${which[@]}" -- --test-threads=2 || failed+=("$name")
        rm -f "$CARGO_TARGET_DIR/$(host)/debug/deps/$name"-*
    done
    [ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; return 1; }
}

# Rust is instrumented too, by the compiler that is here, and linked with the C++ compiler's runtime: the engine's objects
# were made for that one, and UndefinedBehaviorSanitizer has no other.
asan() {
    if ! finds $ADDRESS $faults; then
        skip "the engine under AddressSanitizer" "cc has no runtime for it"
        return
    fi
    export CARGO_TARGET_DIR=$OUT/cargo TURBOQUANT_SANITIZE=address RUSTC_BOOTSTRAP=1
    export RUSTFLAGS="-Zsanitizer=address -Zexternal-clangrt -Cdefault-linker-libraries=yes -Clink-arg=-fsanitize=address,undefined"
    library_tests cargo test -q -p llama-turboquant --features native --target "$(host)"
    unset CARGO_TARGET_DIR TURBOQUANT_SANITIZE RUSTC_BOOTSTRAP RUSTFLAGS
}

# ggml with our hooks, alone: its sources lie where the usual build put them, and CMake compiles them once more.
tsan_graph() {
    local tree dir=$OUT/thread
    tree=$(ls -td target/turboquant-engine/*/src target/sanitize/cargo/*/turboquant-engine/*/src 2>/dev/null | head -n 1) || true
    if [ -z "$tree" ]; then
        cargo build -q -p llama-turboquant --features native
        tree=$(ls -td target/turboquant-engine/*/src | head -n 1)
    fi
    cmake -S "$tree" -B "$dir" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_OPENMP=OFF -DGGML_CCACHE=OFF \
        -DCMAKE_C_FLAGS_RELEASE="-O1 -g1 -DNDEBUG $THREAD" -DCMAKE_CXX_FLAGS_RELEASE="-O1 -g1 -DNDEBUG $THREAD" \
        -DCMAKE_ARCHIVE_OUTPUT_DIRECTORY="$dir/lib" -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_MTMD=ON -DMTMD_VIDEO=OFF -DLLAMA_OPENSSL=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF >"$OUT/thread.log" 2>&1 &&
        cmake --build "$dir" --target ggml-base ggml-cpu --parallel "${JOBS:-2}" >>"$OUT/thread.log" 2>&1 ||
        { tail -n 20 "$OUT/thread.log" >&2; return 1; }
    c++ -std=c++17 -O1 -g1 -Wall -Wextra $THREAD -Ikernels -I"$tree/llama.cpp/ggml/include" kernels/check/graph_threads.cpp \
        -o "$dir/graph" -L"$dir/lib" -lggml-cpu -lggml-base -pthread -lm -ldl
    echo "a layer's graph by the CPU backend's thread pool under ThreadSanitizer:"
    check "$dir/graph"
}

# The whole engine and the Rust layer. ThreadSanitizer must see the standard library's atomics, so that is compiled with
# it, which a nightly compiler does; that brings its own runtime.
tsan() {
    if ! finds $THREAD thread; then
        skip "the CPU backend under ThreadSanitizer" "cc has no runtime for it, or this system's addresses do not fit it"
        return
    fi
    tsan_graph
    if ! has_nightly rust-src; then
        skip "Rust and the engine under ThreadSanitizer" "needs rustup toolchain install nightly --component rust-src"
        return
    fi
    export CARGO_TARGET_DIR=$OUT/cargo-thread TURBOQUANT_SANITIZE=thread RUSTFLAGS=-Zsanitizer=thread
    local TESTS=${TESTS:-scheduler lora lora_slots lifetimes generation vision checkpoints}
    library_tests cargo +nightly test -q -Zbuild-std -p llama-turboquant --features native --target "$(host)"
    unset CARGO_TARGET_DIR TURBOQUANT_SANITIZE RUSTFLAGS
}

# ---- Rust without the engine --------------------------------------------------------------------------------------

has_nightly() {
    command -v rustup >/dev/null && rustup component list --toolchain nightly 2>/dev/null | grep -q "^$1.*(installed)"
}

# build.rs compiles no engine for Miri. Tests that reach it are listed, one a line.
miri() {
    if ! has_nightly miri; then
        skip "Miri" "needs rustup toolchain install nightly --component miri,rust-src"
        return
    fi
    local modules args=()
    read -r -a modules <<<"$(grep -v '^#' "$LISTS/miri-modules.txt" | tr '\n' ' ')"
    while read -r test _; do
        case "$test" in '' | '#'*) ;; *) args+=(--skip "$test") ;; esac
    done <"$LISTS/miri-skipped.txt"
    # isolation off: some of these tests write and read files
    CARGO_TARGET_DIR=$OUT/miri MIRIFLAGS=-Zmiri-disable-isolation \
        cargo +nightly miri test -q -p llama-turboquant --features native --lib -- "${modules[@]}" "${args[@]}"
    echo "Miri: $((${#args[@]} / 2)) entries of scripts/sanitizers/miri-skipped.txt were left out"
}

# -------------------------------------------------------------------------------------------------------------------

quick=
parts=()
for argument in "$@"; do
    case "$argument" in
        --quick) quick=--quick ;;
        kernels | asan | tsan | miri) parts+=("$argument") ;;
        ubsan) parts+=(asan) ;;
        all) parts+=(kernels asan tsan miri) ;;
        *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
    esac
done
[ ${#parts[@]} -gt 0 ] || parts=(kernels asan tsan miri)
mkdir -p "$OUT"
for part in "${parts[@]}"; do
    "$part"
done
echo "sanitizers: ${#skipped[@]} skipped${skipped[*]:+ (${skipped[*]})}, nothing found in the rest"
