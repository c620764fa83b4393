#!/usr/bin/env bash
# The kernels' own checks, codec and attention, without the engine: on this machine, and compiled for aarch64 under
# qemu-user, with and without the dot-product instructions. Says what it skips where there is no cross compiler; CI
# installs one.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags=(-O2 -std=gnu11 -ffp-contract=off -Wall -Wextra -Ikernels)
codec=(kernels/check/codec_check.c kernels/common/*.c)
attention=(kernels/check/attention_check.c kernels/attention/*.c kernels/common/*.c)
golden=tests/data/codec_golden.txt

# Everything a check has to say but its successes.
check() { "$@" | grep -v '^ok '; }

# The hash of what each implementation makes of 20,000 seeded vectors per type must be one per type, on every machine.
one_hash_per_type() {
    awk '($2 in hash) && hash[$2] != $3 { print "codec: " $1 " disagrees on " $2; bad = 1 }
         { hash[$2] = $3 }
         END { for (type in hash) print "hash of " type ": " hash[type]; exit bad + 0 }' "$@"
}

cc "${flags[@]}" "${codec[@]}" -o "$out/host" -lm
cc "${flags[@]}" "${attention[@]}" -o "$out/host-attention" -lm
check "$out/host" "$golden"
check "$out/host-attention"
"$out/host" --digest >"$out/host.digest"
if [ "$(uname -m)" = aarch64 ] || [ "$(uname -m)" = arm64 ]; then
    one_hash_per_type "$out/host.digest"
    exit
fi
if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64 >/dev/null; then
    if [ "${CI:-}" = true ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        apt-get update -q >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
            gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user >/dev/null
    else
        echo "NEON: SKIPPED, needs aarch64-linux-gnu-gcc and qemu-aarch64"
        echo "      (Debian: apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)"
        one_hash_per_type "$out/host.digest"
        exit
    fi
fi
aarch64-linux-gnu-gcc -static "${flags[@]}" "${codec[@]}" -o "$out/arm" -lm
aarch64-linux-gnu-gcc -static "${flags[@]}" "${attention[@]}" -o "$out/arm-attention" -lm
for cpu in cortex-a53 max; do # without and with the dot-product instructions
    echo "NEON on qemu's $cpu:"
    check qemu-aarch64 -cpu "$cpu" "$out/arm" --quick "$golden"
    check qemu-aarch64 -cpu "$cpu" "$out/arm-attention" --quick
done
qemu-aarch64 -cpu max "$out/arm" --digest >"$out/arm.digest"
one_hash_per_type "$out/host.digest" "$out/arm.digest"
