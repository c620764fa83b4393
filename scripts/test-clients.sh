#!/usr/bin/env bash
# The clients that people have, over loopback, against the real server with the embedded model:
#
#   scripts/test-clients.sh [PROGRAM]     PROGRAM: a built turboquant (default: the one that `cargo test` builds)
#
# One line per check: PASS or FAIL, the client, the check. A client that cannot run here (no runtime, or its packages cannot be
# had) is SKIPPED with the reason, and its checks do not count as passed. Exit code 0 only if nothing failed.
# ONLY="python-openai async-openai" runs those clients alone. What is installed goes to target/clients and is kept there.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/test-server.sh
. scripts/test-server.sh
here=cli/tests/clients
work=$PWD/target/clients
mkdir -p "$work"
results=$work/results.txt
: >"$results"

all=(python-openai python-responses python-ollama python-anthropic python-readers npm-openai npm-ollama async-openai ollama-rs)
declare -A file=(
    [python-openai]=python/openai_client.py
    [python-responses]=python/responses_client.py
    [python-ollama]=python/ollama_client.py
    [python-anthropic]=python/anthropic_client.py
    [python-readers]=python/published.py
    [npm-openai]=node/openai.mjs
    [npm-ollama]=node/ollama.mjs
    [async-openai]=rust/src/openai.rs
    [ollama-rs]=rust/src/ollama.rs
)
# the checks of a client, so that those it does not come to are noticed
checks_of() { grep -cE '^@checks\.run$|^await checks\.run\("|^    checks\.run\("' "$here/${file[$1]}"; }
for name in ${ONLY:-}; do
    [[ " ${all[*]} " == *" $name "* ]] || { echo "ONLY: there is no client \`$name\`; there are: ${all[*]}" >&2; exit 2; }
done

declare -A took
wanted() {
    local name
    for name in "$@"; do
        [[ -z ${ONLY:-} || " $ONLY " == *" $name "* ]] && return 0
    done
    return 1
}
report() { echo "$*" | tee -a "$results"; }
# skip REASON CLIENT...
skip() {
    local reason=$1 name
    shift
    for name in "$@"; do
        if wanted "$name"; then report "SKIPPED $name: $reason"; fi
    done
}
# client NAME COMMAND...: its lines go to the screen and to the results. An end before the last check is a failure.
client() {
    local name=$1 code=0 start=$SECONDS out=$work/$1.out ran
    shift
    wanted "$name" || return 0
    echo "--- $name"
    timeout 300 "$@" 2>"$work/$name.log" | tee "$out" || code=${PIPESTATUS[0]}
    cat "$out" >>"$results"
    ran=$(grep -cE '^(PASS|FAIL) ' "$out" || true)
    if ((ran != $(checks_of "$name"))) || { ((code)) && ! grep -q '^FAIL ' "$out"; }; then
        report "FAIL $name end: exit code $code after $ran of $(checks_of "$name") checks; $(tail -n 1 "$work/$name.log")"
    fi
    took[$name]=$((SECONDS - start))
}
# What an installer said, from its log: its last line, or the first of npm's, which ends with where to read more.
said() { grep -v '^\[notice\]' "$1" | tail -n 1; }
npm_said() { grep -E '^npm (ERR!|error)' "$1" | sed -E 's/^npm (ERR!|error) //' | head -n 3 | paste -sd ' '; }

# --- the server ------------------------------------------------------------------------------------------------------------
find_program "${1:-}"
leave_settings_out
folder=$(mktemp -d)
# so that an unknown name is unknown: one model alone answers to any name
second_model "$folder/untrained.gguf"
# models are loaded when they are asked for
start_server "$folder" --models-dir "$folder" --parallel 2 --threads 1 --log-format json
export TURBOQUANT_URL=$url TURBOQUANT_TOOLS=$PWD/tests/data/tools.jsonl TURBOQUANT_SERVER_LOG=$work/server.log

# --- Python ----------------------------------------------------------------------------------------------------------------
python_clients() {
    local mine=(python-openai python-responses python-ollama python-anthropic python-readers) want
    local python=$work/python/bin/python lock=$here/python/requirements.txt
    wanted "${mine[@]}" || return 0
    if ! command -v python3 >/dev/null; then
        skip "no python3 on this machine" "${mine[@]}"
        return
    fi
    if ! python3 -c 'import ensurepip, venv' 2>"$work/pip.log"; then
        skip "python3 cannot make virtual environments (install python3-venv): $(said "$work/pip.log")" "${mine[@]}"
        return
    fi
    want="$(python3 --version) $(cksum <"$lock")"
    if [[ $(cat "$work/python/installed" 2>/dev/null) != "$want" ]] || ! "$python" -c '' 2>/dev/null; then
        echo "installing Python packages into $work/python"
        rm -rf "$work/python"
        if ! { python3 -m venv "$work/python" &&
            "$python" -m pip install --quiet --disable-pip-version-check --retries 2 --requirement "$lock"; } >"$work/pip.log" 2>&1; then
            skip "the packages could not be installed: $(said "$work/pip.log")" "${mine[@]}"
            return
        fi
        echo "$want" >"$work/python/installed"
    fi
    client python-openai "$python" $here/python/openai_client.py
    client python-responses "$python" $here/python/responses_client.py
    client python-ollama "$python" $here/python/ollama_client.py
    client python-anthropic "$python" $here/python/anthropic_client.py
    client python-readers "$python" $here/python/published.py
}

# --- npm -------------------------------------------------------------------------------------------------------------------
node_clients() {
    local mine=(npm-openai npm-ollama) log=$work/npm.log
    wanted "${mine[@]}" || return 0
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        skip "no node and npm on this machine" "${mine[@]}"
        return
    fi
    if (($(node -p 'process.versions.node.split(".")[0]') < 18)); then
        skip "node $(node --version) is older than 18" "${mine[@]}"
        return
    fi
    mkdir -p "$work/node"
    cp $here/node/* "$work/node/"
    if ! cmp -s $here/node/package-lock.json "$work/node/installed.json"; then
        echo "installing npm packages into $work/node"
        if ! (cd "$work/node" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --cache "$work/npm-cache" \
            --fetch-retries 1 --fetch-retry-mintimeout 1000) >"$log" 2>&1; then
            skip "the packages could not be installed: $(npm_said "$log")" "${mine[@]}"
            return
        fi
        cp $here/node/package-lock.json "$work/node/installed.json"
    fi
    client npm-openai node "$work/node/openai.mjs"
    client npm-ollama node "$work/node/ollama.mjs"
}

# --- crates ----------------------------------------------------------------------------------------------------------------
rust_clients() {
    local mine=(async-openai ollama-rs) manifest=$here/rust/Cargo.toml log=$work/cargo.log host
    wanted "${mine[@]}" || return 0
    if ! command -v cargo >/dev/null; then
        skip "no cargo on this machine" "${mine[@]}"
        return
    fi
    host=$(rustc -vV | sed -n 's/^host: //p')
    if ! cargo fetch --quiet --locked --manifest-path $manifest --target "$host" 2>"$log"; then
        if grep -q -e --locked "$log"; then # Cargo.toml and Cargo.lock differ, which is a mistake of ours
            report "FAIL async-openai build: $(said "$log")"
        else
            skip "the crates could not be downloaded: $(grep -m 1 '^error' "$log" || said "$log")" "${mine[@]}"
        fi
        return
    fi
    echo "building the crates into $work/rust"
    if ! CARGO_TARGET_DIR=$work/rust cargo build --quiet --locked --offline --manifest-path $manifest 2>"$log"; then
        report "FAIL async-openai build: $(grep -m 1 '^error' "$log" || said "$log"); see $log"
        return
    fi
    client async-openai "$work/rust/debug/turboquant-clients" async-openai
    client ollama-rs "$work/rust/debug/turboquant-clients" ollama-rs
}

python_clients
node_clients
rust_clients
if ! kill -0 $server 2>/dev/null; then report "FAIL server end: it ended during the checks: $(tail -n 1 "$work/server.log")"; fi

# --- the sum ---------------------------------------------------------------------------------------------------------------
count() { grep -c "$@" "$results" || true; }
echo
printf '%-18s %5s %7s %7s %8s\n' client run passed failed skipped
not_run=0 clients=0
for name in "${all[@]}"; do
    wanted "$name" || continue
    passed=$(count "^PASS $name ") failed=$(count "^FAIL $name ") skipped=0
    if grep -q "^SKIPPED $name:" "$results"; then
        skipped=$(checks_of "$name")
        not_run=$((not_run + skipped)) clients=$((clients + 1))
    fi
    printf '%-18s %5d %7d %7d %8d %4d s\n' "$name" $((passed + failed)) "$passed" "$failed" "$skipped" "${took[$name]:-0}"
done
passed=$(count '^PASS ') failed=$(count '^FAIL ')
echo "clients: $((passed + failed)) checks run, $passed passed, $failed failed; $not_run checks of $clients clients skipped; $SECONDS s"
((failed == 0))
