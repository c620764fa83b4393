//! What `make` checks before it builds. On a machine where a check is wrong the first build fails, and nobody here sees it.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

/// What scripts/find-libclang.sh prints for a directory with these files; `None` if it finds nothing.
fn libclang_among(files: &[&str]) -> Option<String> {
    let dir = tempfile::tempdir().expect("a directory");
    for file in files {
        std::fs::write(dir.path().join(file), "").expect("a file");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/find-libclang.sh");
    let output = Command::new("bash").arg(script).arg(dir.path()).output().expect("bash");
    let path = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.success(), !path.is_empty(), "{files:?}");
    Path::new(path.trim())
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
}

#[test]
fn the_cpp_interface_is_not_taken_for_libclang() {
    assert_eq!(libclang_among(&["libclang-cpp.so.14", "libclang-cpp.so"]), None);
    assert_eq!(libclang_among(&[]), None);
}

#[test]
fn every_name_that_distributions_give_libclang_is_found() {
    for name in [
        "libclang.so",
        "libclang.so.1",
        "libclang-14.so.1",
        "libclang-14.so",
        "libclang.so.18.1",
        "libclang.dylib",
    ] {
        assert_eq!(libclang_among(&["libclang-cpp.so.14", name]).as_deref(), Some(name));
    }
}
