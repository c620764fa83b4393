#!/usr/bin/env bash
# The clients that people have, over loopback, against the real server with the embedded model:
#
#   scripts/test-clients.sh [PROGRAM]     PROGRAM: a built turboquant (default: the debug build, made if need be)
#
# One line per check: PASS or FAIL, the client, the check. A client whose runtime is missing is SKIPPED with the reason, and
# is not counted as passed. Exit code 1 if a check failed, or if no client ran.
# ONLY="python-openai async-openai" runs those clients alone. What is installed goes to target/clients.
set -euo pipefail
cd "$(dirname "$0")/.."
here=cli/tests/clients
work=$PWD/target/clients
mkdir -p "$work"
results=$work/results.txt
: >"$results"

wanted() { [[ -z ${ONLY:-} || " $ONLY " == *" $1 "* ]]; }
skip() { echo "SKIPPED $1: $2" | tee -a "$results"; }
# Lines of the client go to the screen and to the results. Silence is a failure, and so is an end without a FAIL line.
client() {
    local name=$1 code=0 before
    shift
    wanted "$name" || return 0
    before=$(wc -l <"$results")
    timeout 600 "$@" > >(tee -a "$results") 2>"$work/$name.log" || code=$?
    sleep 0.2 # tee
    local lines
    lines=$(tail -n "+$((before + 1))" "$results")
    if [[ -z $lines ]] || { ((code)) && ! grep -q '^FAIL' <<<"$lines"; }; then
        echo "FAIL $name: ended with exit code $code after $(wc -l <<<"$lines") lines; $(tail -n 1 "$work/$name.log")" | tee -a "$results"
    fi
}

# --- the server ------------------------------------------------------------------------------------------------------------
program=${1:-}
if [[ -z $program ]]; then
    # shellcheck source=scripts/env.sh
    . scripts/env.sh
    cargo build --quiet --package llama-turboquant-cli --features "${FEATURES:-native}"
    program=${CARGO_TARGET_DIR:-target}/debug/turboquant
fi
options=(serve --host 127.0.0.1 --port 0 --parallel 2 --log-format json)
# both APIs on one port, where that has to be asked for
if "$program" serve --help | grep -q -- '--ollama\b'; then options+=(--ollama); fi
"$program" "${options[@]}" >"$work/server.out" 2>"$work/server.log" &
server=$!
trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true' EXIT
url=
for _ in $(seq 600); do
    url=$(sed -n 's/^listening on \(http:[^ ]*\).*/\1/p' "$work/server.out" | head -n 1)
    [[ -n $url ]] && break
    kill -0 $server 2>/dev/null || { cat "$work/server.log" >&2; echo "the server ended before it listened" >&2; exit 1; }
    sleep 0.1
done
[[ -n $url ]] || { echo "the server did not listen within a minute" >&2; exit 1; }
export TURBOQUANT_URL=$url TURBOQUANT_TOOLS=$PWD/tests/data/tools.jsonl TURBOQUANT_SERVER_LOG=$work/server.log
# clients must not go through a proxy to reach loopback
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost

# --- Python ----------------------------------------------------------------------------------------------------------------
python_clients() {
    local python=$work/python/bin/python lock=$here/python/requirements.txt
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        skip python "no python3 with venv (python3-venv)"
        return
    fi
    if ! cmp -s "$lock" "$work/python/installed.txt"; then
        rm -rf "$work/python"
        if ! { python3 -m venv "$work/python" && "$python" -m pip install --quiet --requirement "$lock"; } >"$work/pip.log" 2>&1; then
            skip python "the packages could not be installed: $(tail -n 1 "$work/pip.log")"
            return
        fi
        cp "$lock" "$work/python/installed.txt"
    fi
    client python-openai "$python" $here/python/openai_client.py
    client python-ollama "$python" $here/python/ollama_client.py
    client python-readers "$python" $here/python/published.py
}

# --- npm -------------------------------------------------------------------------------------------------------------------
node_clients() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        skip npm "no node and npm"
        return
    fi
    if (($(node -p 'process.versions.node.split(".")[0]') < 20)); then
        skip npm "node $(node --version) is older than 20"
        return
    fi
    mkdir -p "$work/node"
    cp $here/node/* "$work/node/"
    if ! cmp -s $here/node/package-lock.json "$work/node/installed.json"; then
        if ! (cd "$work/node" && npm ci --ignore-scripts --no-audit --no-fund) >"$work/npm.log" 2>&1; then
            skip npm "the packages could not be installed: $(tail -n 1 "$work/npm.log")"
            return
        fi
        cp $here/node/package-lock.json "$work/node/installed.json"
    fi
    client npm-openai node "$work/node/openai.mjs"
    client npm-ollama node "$work/node/ollama.mjs"
}

# --- crates ----------------------------------------------------------------------------------------------------------------
rust_clients() {
    wanted async-openai || wanted ollama-rs || return 0
    if ! CARGO_TARGET_DIR=$work/rust cargo build --quiet --locked --manifest-path $here/rust/Cargo.toml 2>"$work/cargo.log"; then
        echo "FAIL rust: the clients do not build, see $work/cargo.log" | tee -a "$results"
        return
    fi
    client async-openai "$work/rust/debug/turboquant-clients" async-openai
    client ollama-rs "$work/rust/debug/turboquant-clients" ollama-rs
}

if wanted python-openai || wanted python-ollama || wanted python-readers; then python_clients; fi
if wanted npm-openai || wanted npm-ollama; then node_clients; fi
rust_clients

# --- the sum ---------------------------------------------------------------------------------------------------------------
echo
awk '$1 != "SKIPPED" { sub(/:$/, "", $2); count[$2, $1]++; clients[$2] }
     END { for (c in clients) printf "%-16s %3d passed %3d failed\n", c, count[c, "PASS"], count[c, "FAIL"] }' "$results" | sort
passed=$(grep -c '^PASS' "$results" || true)
failed=$(grep -c '^FAIL' "$results" || true)
skipped=$(grep -c '^SKIPPED' "$results" || true)
echo "clients: $passed passed, $failed failed, $skipped runtimes not run"
kill -0 $server 2>/dev/null || { echo "the server ended during the tests: $(tail -n 3 "$work/server.log")"; exit 1; }
((failed == 0 && passed > 0))
