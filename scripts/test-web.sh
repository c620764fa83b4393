#!/usr/bin/env bash
# The web page in headless Chromium, driven by Playwright, against the real server with the embedded model (docs/web.md):
#
#   scripts/test-web.sh [PROGRAM]     PROGRAM: a built turboquant (default: the one that `cargo test` builds)
#
# One line per check: PASS or FAIL. Where there is no Chromium, Node.js or npm, or the packages cannot be had, all checks are
# SKIPPED with the reason and counted. Exit code 0 only if nothing failed. CHECK=TEXT runs the checks whose name holds it,
# CHROMIUM names the browser, WEB_DIR=cli/web takes the page from its files instead of the program, to work on it without
# building. Packages go to target/web; no browser is downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/test-server.sh
. scripts/test-server.sh
here=cli/tests/web
work=$PWD/target/web
mkdir -p "$work"
total=$(cat $here/*.mjs | grep -c '^await checks.run("')
NODE_MIN=18

skip() {
    echo "SKIPPED web: $1"
    echo "web page: 0 checks run; $total skipped"
    exit 0
}

find_chromium() {
    local candidate
    for candidate in ${CHROMIUM:+"$CHROMIUM"} chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$candidate" >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# where nobody is asked anyway; a mirror that does not have them is no failure of the page
if [ "${CI:-}" = true ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    missing=()
    find_chromium >/dev/null || missing+=(chromium fonts-dejavu-core) # it brings no font of its own
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    if [ ${#missing[@]} -gt 0 ]; then
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" &&
            apt-get clean; } >"$work/apt.log" 2>&1 || true
    fi
fi
chromium=$(find_chromium) || skip "needs Chromium (Debian: apt install chromium), or its path in CHROMIUM"
command -v node >/dev/null || skip "needs Node.js $NODE_MIN or newer (Debian: apt install nodejs)"
command -v npm >/dev/null || skip "needs npm (Debian: apt install npm)"
(($(node -p 'process.versions.node.split(".")[0]') >= NODE_MIN)) || skip "node $(node --version) is older than $NODE_MIN"

cp $here/*.mjs $here/package.json $here/package-lock.json "$work/"
if ! cmp -s $here/package-lock.json "$work/installed.json"; then
    echo "installing npm packages into $work"
    if ! (cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --cache "$work/npm-cache" \
        --fetch-retries 1 --fetch-retry-mintimeout 1000) >"$work/npm.log" 2>&1; then
        skip "the packages could not be installed: $(grep -E '^npm (ERR!|error)' "$work/npm.log" | head -n 2 | paste -sd ' ')"
    fi
    rm -rf "$work/npm-cache"
    cp $here/package-lock.json "$work/installed.json"
fi

find_program "${1:-}"
leave_settings_out
folder=$(mktemp -d)
mkdir "$folder/models"
second_model "$folder/models/untrained.gguf" # to switch to
start_server "$folder" --models-dir "$folder/models" --results cli/tests/data/report --parallel 2 --threads 1 --ctx-size 8192

code=0
TURBOQUANT_URL=$url CHROMIUM=$chromium WEB_DIR=${WEB_DIR:+$PWD/$WEB_DIR} timeout 600 node "$work/${SCRIPT:-web.mjs}" 2>"$work/browser.log" | tee "$work/results.txt" || code=${PIPESTATUS[0]}
count() { grep -c "$1" "$work/results.txt" || true; }
passed=$(count '^PASS ') failed=$(count '^FAIL ')
if [[ -z ${CHECK:-}${SCRIPT:-} ]] && ((passed + failed != total)); then
    echo "FAIL web end: exit code $code after $((passed + failed)) of $total checks; $(tail -n 1 "$work/browser.log")"
    failed=$((failed + 1))
elif ((code)) && ((failed == 0)); then
    echo "FAIL web end: exit code $code; $(tail -n 1 "$work/browser.log")"
    failed=1
fi
echo "web page: $((passed + failed)) checks run, $passed passed, $failed failed; 0 skipped; $SECONDS s"
((failed == 0))
