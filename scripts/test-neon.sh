#!/usr/bin/env bash
# Compiles the codec for aarch64 and runs its check under qemu-user, with and without the dot-product instructions.
# On an aarch64 machine it runs natively. Says so and succeeds where neither is possible; CI installs both packages.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags=(-O2 -std=c11 -ffp-contract=off -Wall -Wextra -Ikernels)
sources=(kernels/check/codec_check.c kernels/common/*.c)

if [ "$(uname -m)" = aarch64 ] || [ "$(uname -m)" = arm64 ]; then
    cc "${flags[@]}" "${sources[@]}" -o "$out/check" -lm
    "$out/check" tests/data/codec_golden.txt
    exit
fi
if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64 >/dev/null; then
    if [ "${CI:-}" = true ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        apt-get update -q >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user >/dev/null
    else
        echo "NEON: SKIPPED, needs aarch64-linux-gnu-gcc and qemu-aarch64 (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)"
        exit 0
    fi
fi
aarch64-linux-gnu-gcc -static "${flags[@]}" "${sources[@]}" -o "$out/check" -lm
for cpu in cortex-a53 max; do
    echo "NEON on qemu $cpu"
    qemu-aarch64 -cpu "$cpu" "$out/check" tests/data/codec_golden.txt | tail -n 1
done
# The same seeded vectors must encode to the same bytes on both architectures.
cc "${flags[@]}" "${sources[@]}" -o "$out/host" -lm
"$out/host" --digest | sort -u -k1,1 >"$out/host.digest"
qemu-aarch64 -cpu max "$out/check" --digest | sort -u -k1,1 >"$out/arm.digest"
