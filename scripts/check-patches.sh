#!/usr/bin/env bash
# Applies the patch series to a pristine tree in its own order with patch(1), a second opinion on what the build
# script does with a library, and counts the upstream lines it changes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

have_patch() { command -v patch >/dev/null 2>&1; }
if ! have_patch; then
    echo "patches: patch(1) is not installed; skipped (the build itself applies them)"
    exit 0
fi
pristine=$(scripts/pristine.sh)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
for patch in patches/*.patch; do
    while read -r file; do
        mkdir -p "$tree/$(dirname "$file")"
        [ -f "$tree/$file" ] || cp "$pristine/$file" "$tree/$file"
    done < <(sed -n 's|^+++ b/||p' "$patch")
    patch --quiet --strip=1 --fuzz=0 --directory="$tree" <"$patch"
done
added=$(cat patches/*.patch | grep -c '^+[^+]')
removed=$(cat patches/*.patch | grep -c '^-[^-]')
echo "patches: $(ls patches/*.patch | wc -l) apply to a pristine tree; $added lines added, $removed removed"
