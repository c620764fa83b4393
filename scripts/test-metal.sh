#!/usr/bin/env bash
# Runs the Metal kernels, upstream's and ours, on this CPU (tests/metal, docs/metal.md). Needs clang 17 or newer for its
# half type, was tried with 17, 18 and 19; says what it skips where there is none.
#
#   scripts/test-metal.sh [TARGET...]    targets of tests/metal/Makefile, "all" without
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

CLANG_MIN=17
OUT=target/metal

skip() {
    echo "Metal: SKIPPED, all $(sed -n 's/^all: //p' tests/metal/Makefile | wc -w) programs of tests/metal: $1"
    exit 0
}

major() { "$1" -dumpversion 2>/dev/null | cut -d. -f1; }

find_clang() {
    local candidate
    for candidate in ${CLANGXX:+"$CLANGXX"} clang++ clang++-{22,21,20,19,18,17}; do
        if command -v "$candidate" >/dev/null 2>&1 && [ "$(major "$candidate")" -ge $CLANG_MIN ]; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# The executor's switch of stacks is for x86-64; its portable one was never run elsewhere. The kernels are the same.
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || skip "they run on Linux on x86-64, this is $(uname -s) on $(uname -m)"
lacking() { # what this machine has not, or nothing
    local tool
    find_clang >/dev/null || echo "clang $CLANG_MIN or newer"
    for tool in python3 patch make cc; do
        command -v $tool >/dev/null 2>&1 || echo "$tool"
    done
}

# In CI, as root, on Debian and its like (12 has clang 19; 13 has 17 to 19) nobody is asked. A mirror that does not have it is no
# failure of the kernels: it is a skip, and says so.
if [ -n "$(lacking)" ] && [ "${CI:-}" = true ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -q >/dev/null 2>&1 || true
    for version in 19 18 17; do
        ! DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends clang-$version python3 patch make gcc >/dev/null 2>&1 || break
    done
fi
[ -z "$(lacking)" ] || skip "this machine lacks: $(lacking | paste -sd, | sed 's/,/, /g') (Debian: apt install clang-19 python3 patch make gcc)"
clang=$(find_clang)

# Upstream's Metal sources as the build sees them: with our patches.
tree=$OUT/tree
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
metal=ggml/src/ggml-metal
pristine=$(scripts/pristine.sh)
mkdir -p "$fresh/ggml/src" "$OUT"
cp -R "$pristine/ggml/include" "$fresh/ggml/"
cp -R "$pristine/$metal" "$fresh/$metal"
find "$pristine/ggml/src" -maxdepth 1 -type f -name '*.[ch]*' -exec cp {} "$fresh/ggml/src/" \;
mkdir "$fresh/ggml/src/ggml-cpu" # ggml-quants.c includes a header there
cp "$pristine"/ggml/src/ggml-cpu/*.h "$fresh/ggml/src/ggml-cpu/"
chmod -R u+w "$fresh"
for patch in patches/*.patch; do
    # only the parts that touch the core of ggml and Metal
    awk -v metal="a/$metal/" '/^diff --git /{ on = index($3, metal) == 1 || $3 ~ /^a\/ggml\/(src|include)\/[^\/]*$/ } on' "$patch" >"$fresh/part"
    [ ! -s "$fresh/part" ] || patch --quiet --strip=1 --fuzz=0 --directory="$fresh" <"$fresh/part"
done
rm "$fresh/part"
# unchanged files keep their times, so that make does not build anew
(cd "$fresh" && find . -type f) | while read -r file; do
    cmp -s "$fresh/$file" "$tree/$file" || install -D -m 644 "$fresh/$file" "$tree/$file"
done

exec make --no-print-directory -C tests/metal -j"$(nproc)" -O \
    GGML="$PWD/$tree/ggml" OUT="$PWD/$OUT" CXX="$clang" ARCH=-march=x86-64-v3 "${@:-all}"
