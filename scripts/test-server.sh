# Sourced by the scripts that test a real server: test-clients.sh, test-web.sh. They are bash, in the repository's root, with -euo pipefail.

# find_program [PROGRAM]: sets `program` to it, or to the one that `cargo test` builds.
find_program() {
    program=${1:-}
    [[ -z $program ]] || return 0
    # shellcheck source=scripts/env.sh
    . scripts/env.sh
    # as `cargo test` builds it, for a test that needs it: `cargo build` would compile half of the dependencies again
    cargo test --quiet --workspace --features "${FEATURES:-native}" --test program --no-run
    program=${CARGO_TARGET_DIR:-target}/debug/turboquant
}

# Settings of whoever tests must not reach the server or its clients, and no proxy stands between them.
leave_settings_out() {
    local name
    for name in $(compgen -e | grep -E '^(OLLAMA|LLAMA|TURBO|TURBOQUANT|OPENAI|ANTHROPIC)_|^RUST_LOG$' || true); do unset "$name"; done
    export TURBOQUANT_CONFIG='' NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost
}

# second_model FILE: one beside the embedded model, tiny and untrained.
second_model() {
    "$program" model synth "$1" --layers 1 --embd 64 --heads 1 --kv-heads 1 --ff 64 2>/dev/null >&2
}

# start_server FOLDER OPTION...: serves both APIs on one free port, sets `url` when it listens. Its output goes to $work/server.{out,log};
# with the script it ends, and FOLDER goes.
start_server() {
    server_folder=$1
    shift
    : >"$work/server.out" # the last run's address must not be taken for this one's
    "$program" serve --ollama --host 127.0.0.1 --port 0 "$@" >"$work/server.out" 2>"$work/server.log" &
    server=$!
    trap 'kill "$server" 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf "$server_folder"' EXIT
    url=
    for _ in $(seq 600); do
        url=$(sed -n 's/^listening on \(http:[^ ]*\).*/\1/p' "$work/server.out" | head -n 1)
        [[ -z $url ]] || return 0
        kill -0 $server 2>/dev/null || { cat "$work/server.log" >&2; echo "the server ended before it listened" >&2; exit 1; }
        sleep 0.1
    done
    echo "the server did not listen within a minute" >&2
    exit 1
}
