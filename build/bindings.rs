//! Rust declarations of the shim (`ffi/tq.h`), and of nothing else: llama.cpp's own headers stay
//! behind it, so that a new release cannot change what Rust sees without a compile error in C++.

use super::{Result, config::Config};

pub fn generate(config: &Config) -> Result<()> {
    let header = config.path("ffi/tq.h");
    let bindings = bindgen::Builder::default()
        .header(header.display().to_string())
        .allowlist_item("(tq|TQ)_.*")
        .prepend_enum_name(false)
        .derive_default(true)
        .generate_comments(true)
        .layout_tests(true)
        .generate()
        .map_err(|e| {
            format!(
                "bindgen could not read {}: {e}\nIs libclang installed? scripts/setup.sh installs it \
                 (Debian: apt install libclang-dev, macOS: xcode-select --install).",
                header.display()
            )
        })?;
    let out = config.out_dir.join("bindings.rs");
    bindings
        .write_to_file(&out)
        .map_err(|e| format!("writing {}: {e}", out.display()))
}
