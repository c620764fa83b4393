# Sourced by make: finds a Rust that rustup has just installed, without asking for a new shell.
[ -f "${CARGO_HOME:-$HOME/.cargo}/env" ] && . "${CARGO_HOME:-$HOME/.cargo}/env"
true
