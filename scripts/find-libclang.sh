#!/usr/bin/env bash
# Prints the libclang that bindgen would load, or fails. Looks in the directories given, else where systems keep it.
# libclang-cpp is another library (the C++ interface) and no use to bindgen.
set -euo pipefail

if [ $# -eq 0 ]; then
    set -- /usr/lib/llvm*/lib /usr/lib64/llvm*/lib /usr/lib64 /usr/lib /usr/lib/*-linux-gnu /usr/local/lib \
        /Library/Developer/CommandLineTools/usr/lib \
        /Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib \
        /opt/homebrew/opt/llvm/lib /usr/local/opt/llvm/lib
    [ -z "${LIBCLANG_PATH:-}" ] || set -- "$LIBCLANG_PATH" "$@"
    if command -v llvm-config >/dev/null 2>&1; then set -- "$@" "$(llvm-config --libdir)"; fi
fi

shopt -s nullglob
for dir in "$@"; do
    for file in "$dir" "$dir"/libclang.so "$dir"/libclang.so.* "$dir"/libclang-[0-9]*.so* "$dir"/libclang.dylib; do
        # the directory itself is there for LIBCLANG_PATH, which may name the file
        if [ -f "$file" ]; then
            echo "$file"
            exit 0
        fi
    done
done
exit 1
