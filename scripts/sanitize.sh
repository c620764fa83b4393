#!/usr/bin/env bash
# The sanitizers (docs/sanitizers.md): what runs under which of them, and what was found.
#
#   scripts/sanitize.sh [--quick] [PART...]     "all" without a part
#
#   kernels   the kernels' check programs under AddressSanitizer + UndefinedBehaviorSanitizer, and attention by many
#             threads under ThreadSanitizer. With --quick about a tenth of the cases; that is what `make test` runs
#   asan      the engine, the shim and the Rust layer under AddressSanitizer, LeakSanitizer and
#             UndefinedBehaviorSanitizer: the library's own tests (and the program's that use a real engine)
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
export ASAN_OPTIONS="exitcode=$STATUS:detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
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
    if finds $ADDRESS address undefined leak; then
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

# Tests that start builds, or measure what a sanitizer's own heap changes.
NOT_ASAN="downstream leaks kv_memory resident"

# Library tests one by one: each program links the whole engine, and is removed when it has run.
library_tests() {
    local name names=${TESTS:-lib $(cd tests && for t in *.rs; do echo "${t%.rs}"; done) choices} failed=()
    for name in $names; do
        case " $1 " in *" $name "*) echo "$name: not under this sanitizer"; continue ;; esac
        local which=(--test "$name")
        [ "$name" != lib ] || which=(--lib)
        echo "== $name"
        "${engine_cargo[@]}" test -q -p llama-turboquant --features native --target "$host" "${which[@]}" -- --test-threads=2 ||
            failed+=("$name")
        rm -f "$CARGO_TARGET_DIR/$host/debug/deps/$name"-*
    done
    [ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; return 1; }
}

# Rust is instrumented too, by the stable compiler, and linked with the C++ compiler's runtime: the engine's objects are
# made for that one, and UndefinedBehaviorSanitizer has none in Rust.
asan() {
    if ! finds $ADDRESS address undefined leak; then
        skip "the engine under AddressSanitizer" "cc has no runtime for it"
        return
    fi
    (
        host=$(rustc -vV | sed -n 's/^host: //p')
        engine_cargo=(cargo)
        export CARGO_TARGET_DIR=$OUT/cargo TURBOQUANT_SANITIZE=address RUSTC_BOOTSTRAP=1
        export RUSTFLAGS="-Zsanitizer=address -Zexternal-clangrt -Cdefault-linker-libraries=yes -Clink-arg=${ADDRESS}"
        library_tests "$NOT_ASAN"
    )
}
