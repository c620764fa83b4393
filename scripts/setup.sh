#!/usr/bin/env bash
# Installs what the build needs and is missing: a C++ compiler, CMake, libclang and Rust. Prints nothing when all is
# there. Asks before it uses sudo; without a terminal to ask on (or with a "no") it prints exactly what is missing.
#
#   scripts/setup.sh             what the build needs
#   scripts/setup.sh --clients   what scripts/test-clients.sh can use besides: Python with venv, Node.js and npm. Optional:
#                                it skips the clients that need what is missing, so its caller goes on after a failure here
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

RUST_MIN=1.95

have() { command -v "$1" >/dev/null 2>&1; }

rust_is_new_enough() {
    have cargo && have rustc || return 1
    local version
    version=$(rustc --version | awk '{print $2}')
    [ "$(printf '%s\n%s\n' "$RUST_MIN" "${version%%-*}" | sort -V | head -n 1)" = "$RUST_MIN" ]
}

optional=
missing=()
if [ "${1:-}" = --clients ]; then
    optional=1
    have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(venv)
    have node || missing+=(node)
    have npm || missing+=(npm)
else
    have c++ && have cc && have make || missing+=(compiler)
    have cmake || missing+=(cmake)
    scripts/find-libclang.sh >/dev/null || missing+=(libclang)
    have rustup || have cargo || have curl || missing+=(curl)
fi

# package names by manager
packages_for() {
    local manager=$1 what
    shift
    for what in "$@"; do
        case "$manager:$what" in
            apt:compiler) echo build-essential ;;
            apt:libclang) echo libclang-dev ;;
            dnf:compiler) echo gcc gcc-c++ make ;;
            dnf:libclang) echo clang-devel ;;
            pacman:compiler) echo base-devel ;;
            pacman:libclang) echo clang ;;
            brew:compiler) ;; # comes with the command line tools, below
            brew:libclang) echo llvm ;;
            apt:venv) echo python3 python3-venv ;;
            pacman:venv | brew:venv) echo python ;;
            *:venv) echo python3 ;;
            brew:npm) ;; # comes with node
            brew:node) echo node ;;
            *:node) echo nodejs ;;
            *) echo "$what" ;;
        esac
    done
}

manager=
if [ "$(uname -s)" = Darwin ]; then
    manager=brew
elif have apt-get; then
    manager=apt
elif have dnf; then
    manager=dnf
elif have pacman; then
    manager=pacman
fi

may_install() {
    [ "$(id -u)" = 0 ] && return 0
    [ "$manager" = brew ] && return 0
    have sudo || return 1
    [ -t 0 ] || return 1
    local answer
    read -r -p "Install with sudo: $* ? [y/N] " answer
    [ "$answer" = y ] || [ "$answer" = Y ]
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(uname -s)" = Darwin ] && ! xcode-select -p >/dev/null 2>&1; then
        echo "Missing: Apple's command line tools (compiler, libclang). Run: xcode-select --install" >&2
        exit 1
    fi
    # shellcheck disable=SC2207 # package names have no blanks
    packages=($(packages_for "${manager:-unknown}" "${missing[@]}"))
    if [ -n "$manager" ] && { [ "$manager" != brew ] || have brew; } && may_install "${packages[@]}"; then
        echo "Installing: ${packages[*]}"
        case "$manager" in
            apt)
                as_root apt-get update -q
                as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
                ;;
            dnf) as_root dnf install -y "${packages[@]}" ;;
            pacman) as_root pacman -Sy --needed --noconfirm "${packages[@]}" ;;
            brew) brew install "${packages[@]}" ;;
        esac
    else
        {
            echo "Missing: ${missing[*]}${optional:+ (optional: some clients are not tested without)}"
            case "$manager" in
                apt) echo "Install with: sudo apt-get install ${packages[*]}" ;;
                dnf) echo "Install with: sudo dnf install ${packages[*]}" ;;
                pacman) echo "Install with: sudo pacman -S ${packages[*]}" ;;
                brew) echo "Install Homebrew (https://brew.sh), then: brew install ${packages[*]}" ;;
                *) echo "Install them with your system's package manager." ;;
            esac
        } >&2
        exit 1
    fi
fi

[ -z "$optional" ] || exit 0

if ! rust_is_new_enough; then
    if ! have rustup; then
        echo "Installing Rust with rustup (https://rustup.rs), into ${CARGO_HOME:-$HOME/.cargo}"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --component clippy,rustfmt --no-modify-path
        . scripts/env.sh
    else
        echo "Rust $RUST_MIN or newer is needed; updating with rustup"
        rustup toolchain install stable --profile minimal --component clippy,rustfmt
    fi
    rust_is_new_enough || { echo "Rust $RUST_MIN or newer is needed; $(rustc --version 2>&1) was found" >&2; exit 1; }
fi
