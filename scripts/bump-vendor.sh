#!/usr/bin/env bash
# Moves the llama.cpp pin: bump-vendor.sh VERSION. Writes the version, updates the lock file (with the new SHA-256), and
# tries each patch on the new source. docs/upgrading.md says what to do with those that fail.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
version=${1:?usage: bump-vendor.sh VERSION of llama-cpp-sys-4}

sed -i.old "s/^\(llama-cpp-sys-4 = { version = \"=\)[^\"]*/\1$version/" vendor/Cargo.toml
rm -f vendor/Cargo.toml.old
cargo update --manifest-path vendor/Cargo.toml -p llama-cpp-sys-4
source_dir=$(cargo metadata --locked --format-version 1 --manifest-path vendor/Cargo.toml |
    sed 's/.*"manifest_path":"\([^"]*llama-cpp-sys-4[^"]*\)Cargo.toml".*/\1llama.cpp/')
echo "source: $source_dir"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cp -R "$source_dir/." "$tree/"
failed=0
for patch in patches/*.patch; do
    if patch --strip=1 --dry-run --directory="$tree" <"$patch" >"$tree.log" 2>&1; then
        patch --quiet --strip=1 --directory="$tree" <"$patch"
        echo "applies: $patch"
    else
        failed=$((failed + 1))
        echo "CONFLICT: $patch"
        grep -E 'patching file|FAILED' "$tree.log" | sed 's/^/    /'
    fi
done
rm -f "$tree.log"
[ "$failed" = 0 ] && echo "All patches apply. Next: make test" || { echo "$failed of the patches need work: docs/upgrading.md"; exit 1; }
