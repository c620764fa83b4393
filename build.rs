//! Builds llama.cpp with our KV cache types and binds the shim. The steps live in `build/`.

#[path = "build/mod.rs"]
mod build;

fn main() {
    if let Err(error) = build::run() {
        // One `cargo::error` per line: Cargo shows only the first line of a multi-line directive.
        for line in error.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}
