#!/usr/bin/env bash
# Re-makes patches/ through a git tree with one commit per patch.
#   refresh-patches.sh --checkout DIR   pristine source in DIR (LLAMA_CPP_DIR or the pinned crate), each patch a commit;
#                                       stops at the first that does not apply, leaving .rej files to mend and commit
#   refresh-patches.sh --export DIR     writes the commits of DIR back to patches/, names and texts kept
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
root=$PWD
mode=${1:-}
dir=${2:-}
[ -n "$dir" ] || { sed -n '2,6p' "$0" >&2; exit 2; }

source_dir() {
    if [ -n "${LLAMA_CPP_DIR:-}" ]; then echo "$LLAMA_CPP_DIR"; else scripts/pristine.sh; fi
}

as_us() { git -C "$dir" -c user.name=llama-turboquant -c user.email=patches@invalid "$@"; }

case "$mode" in
    --checkout)
        [ ! -e "$dir" ] || { echo "$dir exists already" >&2; exit 1; }
        mkdir -p "$dir"
        cp -R "$(source_dir)/." "$dir/"
        git -C "$dir" init -q
        as_us add -A -f
        as_us commit -q -m pristine
        as_us tag pristine
        for patch in patches/*.patch; do
            if ! patch --quiet --strip=1 --directory="$dir" <"$patch"; then
                echo "$patch does not apply; mend the .rej files in $dir, then: git add -A; git commit -F <the patch's text>" >&2
                exit 1
            fi
            sed -n '/^---$/q;p' "$patch" | sed '1s/^Subject: //' >"$dir/.git/MESSAGE"
            as_us add -A
            as_us commit -q -F "$dir/.git/MESSAGE"
            echo "applied $patch"
        done
        ;;
    --export)
        number=0
        rm -f patches/*.patch
        for commit in $(git -C "$dir" rev-list --reverse pristine..HEAD); do
            number=$((number + 1))
            title=$(git -C "$dir" log -1 --format=%s "$commit")
            name=$(printf '%04d-%s' "$number" "$(echo "$title" | tr 'A-Z' 'a-z' | sed 's/[^a-z0-9]\{1,\}/-/g; s/^-//; s/-$//')")
            {
                echo "Subject: $title"
                echo
                git -C "$dir" log -1 --format=%b "$commit" | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
                echo "---"
                git -C "$dir" diff --stat "$commit~1" "$commit"
                echo
                git -C "$dir" diff -U2 --no-color --no-renames "$commit~1" "$commit" | grep -v '^index '
            } >"$root/patches/$name.patch"
            echo "patches/$name.patch"
        done
        ;;
    *)
        sed -n '2,6p' "$0" >&2
        exit 2
        ;;
esac
