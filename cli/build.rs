//! Tells the program which commit it was built from: a measurement without it cannot be repeated.

use std::process::Command;

fn main() {
    // What the answer depends on: the commit, the index, and every file that ends up in the program.
    for path in [
        "../.git/logs/HEAD",
        "../.git/index",
        "src",
        "../src",
        "../ffi",
        "../kernels",
        "../patches",
        "../build",
    ] {
        if std::path::Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty=+changes", "--abbrev=9", "--exclude=*"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    // a package from a registry has no history
    println!(
        "cargo::rustc-env=TURBOQUANT_COMMIT={}",
        described.unwrap_or_else(|| "unknown".into())
    );
}
