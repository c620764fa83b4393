# The README's commands. `make serve` and `make test` install what is missing (scripts/setup.sh asks before sudo).
#
#   make serve [ARGS="-m model.gguf -c 32768"]   build and serve (the embedded model without -m)
#   make test                                    everything CI checks
#   make test-clients                            real clients (Python, npm, crates) against the server; ONLY="python-openai" picks
#   make test-web                                the web page in headless Chromium (needs Chromium and Node.js)
#   make build | make lint | make setup
#   make bench-kernels                           the codec's and the attention kernels' speed and instruction counts here
#   make test-codec                              the kernels alone: this CPU, and NEON under qemu-user
#   make sanitize [PARTS="kernels asan tsan miri"]   sanitizers and Miri (docs/sanitizers.md); all of it takes an hour
#   make test-metal                              the Metal kernels, executed on this CPU (needs clang)

# These commands build where they run, so they use every instruction of this CPU. `cargo build` without features
# makes a portable engine (x86-64-v3 or armv8-a) instead.
FEATURES ?= native
ARGS     ?=
SHELL    := /bin/bash
CARGO_ENV := . scripts/env.sh;
CARGO     := $(CARGO_ENV) cargo

.DEFAULT_GOAL := build
.PHONY: setup build serve test lint test-clients test-web test-codec test-metal sanitize bench-kernels doc

setup:
	@scripts/setup.sh

build: setup
	@$(CARGO) build --release --features $(FEATURES)

serve: setup
	@$(CARGO) run --release --features $(FEATURES) -- serve $(ARGS)

# One engine build serves all of these: debug tests, clippy, documentation.
test: setup lint
	@$(CARGO) test --workspace --features $(FEATURES) --all-targets
	@$(CARGO) test --workspace --features $(FEATURES) --doc
	@$(MAKE) --no-print-directory doc
	@scripts/check-patches.sh
	@scripts/test-codec.sh
	@scripts/sanitize.sh --quick kernels
	@scripts/test-metal.sh
	@$(MAKE) --no-print-directory test-clients
	@$(MAKE) --no-print-directory test-web

doc: setup
	@$(CARGO_ENV) RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --features $(FEATURES)

lint: setup
	@$(CARGO) fmt --all --check
	@$(CARGO) update --quiet --workspace --locked --manifest-path fuzz/Cargo.toml
	@$(CARGO) clippy --workspace --all-targets --features $(FEATURES) -- -D warnings

# Runtimes of clients are optional: a client without its runtime is skipped, and said to be.
test-clients: setup
	@scripts/setup.sh --clients || true
	@FEATURES=$(FEATURES) scripts/test-clients.sh

test-web: setup
	@FEATURES=$(FEATURES) scripts/test-web.sh

test-codec: setup
	@scripts/test-codec.sh

test-metal: setup
	@scripts/test-metal.sh

sanitize: setup
	@scripts/sanitize.sh $(PARTS)

bench-kernels: setup
	@scripts/bench-kernels.sh
