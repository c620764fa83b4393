//! The patch series, applied by the code that the build applies it with: `build/patch.rs`, in a small program of its
//! own, because what it needs is a build dependency.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// More than this many changed upstream lines, and moving to another release stops being an afternoon's work.
const MOST_CHANGED_LINES: usize = 80;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The pristine llama.cpp, as `build/source.rs` finds it.
fn pristine() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let output = cargo()
            .args(["metadata", "--locked", "--format-version", "1", "--manifest-path"])
            .arg(root().join("vendor/Cargo.toml"))
            .output()
            .expect("cargo");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("metadata");
        let packages = metadata["packages"].as_array().expect("packages");
        let carrier = packages
            .iter()
            .find(|package| package["name"] == "llama-cpp-sys-4")
            .expect("the carrier");
        Path::new(carrier["manifest_path"].as_str().expect("a path")).with_file_name("llama.cpp")
    })
}

/// `apply PATCHES PRISTINE OUT`: writes the patched files below OUT, or the build's error text to stderr.
fn apply(patches: &Path, pristine: &Path, out: &Path) -> Output {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory").keep();
        let source = root().join("build/patch.rs");
        let manifest = format!(
            "[package]\nname = \"apply\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{}\n",
            dependency("diffy")
        );
        let main = format!(
            "type Result<T> = std::result::Result<T, String>;\n#[path = {source:?}]\nmod patch;\n{}",
            r#"
            fn main() {
                let args: Vec<_> = std::env::args_os().map(std::path::PathBuf::from).collect();
                match patch::apply_series(&args[1], &args[2]) {
                    Err(error) => { eprintln!("{error}"); std::process::exit(1) }
                    Ok(patched) => for (file, text) in patched {
                        let to = args[3].join(file);
                        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                        std::fs::write(to, text).unwrap();
                    }
                }
            }"#
        );
        std::fs::create_dir(dir.join("src")).expect("a directory");
        std::fs::write(dir.join("Cargo.toml"), manifest).expect("a manifest");
        std::fs::write(dir.join("src/main.rs"), main).expect("a program");
        std::fs::copy(root().join("Cargo.lock"), dir.join("Cargo.lock")).expect("the same versions");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apply-patches");
        let built = cargo()
            .args(["build", "--offline"])
            .current_dir(&dir)
            .env("CARGO_TARGET_DIR", &target)
            .output()
            .expect("cargo");
        assert!(built.status.success(), "{}", text(&built.stderr));
        std::fs::remove_dir_all(&dir).expect("the sources");
        target
            .join("debug/apply")
            .with_extension(std::env::consts::EXE_EXTENSION)
    });
    Command::new(program)
        .args([patches, pristine, out])
        .output()
        .expect("the program")
}

/// A dependency line of our own manifest.
fn dependency(name: &str) -> String {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    manifest
        .lines()
        .find(|line| line.starts_with(&format!("{name} =")))
        .expect("the dependency")
        .to_owned()
}

fn series() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("patches"))
        .expect("patches/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "patch"))
        .collect();
    files.sort();
    files
}

/// Lines added and removed by a patch.
fn changes(patch: &str) -> (usize, usize) {
    let count = |sign: char, header: &str| {
        patch
            .lines()
            .filter(|line| line.starts_with(sign) && !line.starts_with(header))
            .count()
    };
    (
        count('+', "+++ "),
        count('-', "--- ") - patch.lines().filter(|line| *line == "---").count(),
    )
}

#[test]
fn the_series_applies_to_a_pristine_tree_in_order() {
    let out = tempfile::tempdir().expect("a directory");
    let applied = apply(&root().join("patches"), pristine(), out.path());
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    for patch in series() {
        let content = std::fs::read_to_string(&patch).expect("a patch");
        for file in content.lines().filter_map(|line| line.strip_prefix("+++ b/")) {
            let (before, after) = (pristine().join(file), out.path().join(file));
            let read =
                |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_ne!(
                read(&before),
                read(&after),
                "{} changes nothing in {file}",
                patch.display()
            );
        }
    }
}

#[test]
fn each_patch_applies_on_top_of_those_before_it() {
    let files = series();
    for n in 1..=files.len() {
        let first = tempfile::tempdir().expect("a directory");
        for file in &files[..n] {
            std::fs::copy(file, first.path().join(file.file_name().expect("a name"))).expect("a copy");
        }
        let applied = apply(
            first.path(),
            pristine(),
            tempfile::tempdir().expect("a directory").path(),
        );
        assert!(
            applied.status.success(),
            "{}: {}",
            files[n - 1].display(),
            text(&applied.stderr)
        );
    }
}

#[test]
fn the_series_changes_few_upstream_lines() {
    let (mut added, mut removed) = (0, 0);
    for patch in series() {
        let (plus, minus) = changes(&std::fs::read_to_string(&patch).expect("a patch"));
        println!(
            "{}: {plus} added, {minus} removed",
            patch.file_name().expect("a name").to_string_lossy()
        );
        added += plus;
        removed += minus;
    }
    println!("in all: {added} added, {removed} removed");
    assert!(added + removed < MOST_CHANGED_LINES, "{added} added, {removed} removed");
}

#[test]
fn every_patch_gives_its_reason_and_its_true_size() {
    for patch in series() {
        let content = std::fs::read_to_string(&patch).expect("a patch");
        let (reason, _) = content.split_once("\n---\n").expect("a header");
        assert!(
            reason.starts_with("Subject: ") && reason.lines().count() >= 3,
            "{}: why?",
            patch.display()
        );
        let (plus, minus) = changes(&content);
        for (count, word) in [(plus, "insertion"), (minus, "deletion")] {
            let stated = if count == 0 {
                !content.contains(&format!("{word}s("))
            } else {
                content.contains(&format!("{count} {word}"))
            };
            assert!(
                stated,
                "{}: {count} {word}s, but the header says otherwise",
                patch.display()
            );
        }
    }
}

#[test]
fn a_hunk_that_does_not_apply_names_file_hunk_and_remedy() {
    let tree = tempfile::tempdir().expect("a directory");
    let patches = tempfile::tempdir().expect("a directory");
    std::fs::write(
        tree.path().join("a.txt"),
        (1..=40).map(|n| format!("line {n}\n")).collect::<String>(),
    )
    .expect("a file");
    let patch = |second: &str| {
        format!(
            "Subject: test\n---\ndiff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,4 @@\n line 1\n line 2\n+new\n line 3\n\
             @@ -30,3 +31,4 @@\n {second}\n line 31\n+newer\n line 32\n"
        )
    };
    let run = |second| {
        std::fs::write(patches.path().join("0001-test.patch"), patch(second)).expect("a patch");
        let out = tempfile::tempdir().expect("a directory");
        let output = apply(patches.path(), tree.path(), out.path());
        (
            output.status.success(),
            text(&output.stderr),
            std::fs::read_to_string(out.path().join("a.txt")).unwrap_or_default(),
        )
    };
    let (good, error, patched) = run("line 30");
    assert!(good && patched.contains("line 31\nnewer\nline 32"), "{error}");
    let (good, error, _) = run("line thirty");
    assert!(!good);
    for part in [
        "0001-test.patch",
        "hunk #2",
        "line 30",
        "a.txt",
        "scripts/refresh-patches.sh",
        "docs/upgrading.md",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn a_patch_of_a_file_that_is_gone_says_which() {
    let (tree, patches) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let patch = "Subject: test\n---\ndiff --git a/gone.txt b/gone.txt\n--- a/gone.txt\n+++ b/gone.txt\n@@ -1 +1 @@\n-old\n+new\n";
    std::fs::write(patches.path().join("0001-gone.patch"), patch).expect("a patch");
    let output = apply(patches.path(), tree.path(), tree.path());
    let error = text(&output.stderr);
    assert!(
        !output.status.success() && error.contains("0001-gone.patch") && error.contains("gone.txt"),
        "{error}"
    );
}
