#!/usr/bin/env bash
# Kills a server N times (default 200) at random moments while it saves slots, downloads a model and writes, copies and deletes
# names, and checks after each that everything is whole or absent. `make test` does the same 20 times.
#
#     scripts/kill-test.sh [N]
set -euo pipefail
cd "$(dirname "$0")/.."
TURBOQUANT_KILLS="${1:-200}" cargo test -p llama-turboquant-cli --features native --test program -- \
    --nocapture faults::kills
