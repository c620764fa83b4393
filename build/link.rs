//! Tells Cargo what to link. Static libraries are bundled into the rlib, so a program that
//! depends on this crate needs nothing but the dependency line.

use super::{Result, backends, config::Config, engine::Engine};

pub fn emit(config: &Config, engine: &Engine) -> Result<()> {
    println!("cargo::rustc-link-search=native={}", engine.lib_dir.display());
    for library in &engine.libraries {
        println!("cargo::rustc-link-lib=static={library}");
    }
    for backend in backends::enabled(config) {
        for link in backend.links {
            println!("cargo::rustc-link-lib={link}");
        }
    }
    let cxx_runtime = if config.is_apple() || config.target_os == "freebsd" {
        "c++"
    } else {
        "stdc++"
    };
    println!("cargo::rustc-link-lib={cxx_runtime}");
    if config.target_os == "linux" {
        for library in ["pthread", "dl", "m"] {
            println!("cargo::rustc-link-lib={library}");
        }
    }
    Ok(())
}
