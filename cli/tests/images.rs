//! Images on the command line.

#[path = "../../tests/support/mmproj.rs"]
mod mmproj;
#[path = "support/mod.rs"]
mod support;

use mmproj::{Kind, picture, write};
use std::path::{Path, PathBuf};
use support::{fails, says, succeeds};
use tempfile::TempDir;

/// Values of the embedded model's embeddings.
const N_EMBD: u64 = 256;

/// A folder with a projector of the embedded model and two pictures.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("mmproj.gguf"), Kind::Mlp, N_EMBD);
    for seed in [1, 2] {
        std::fs::write(dir.path().join(format!("{seed}.bmp")), picture(32, 32, seed)).unwrap();
    }
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The answer of `run` about a picture.
fn said(dir: &TempDir, picture: &str) -> String {
    let (projector, picture): (PathBuf, PathBuf) = (dir.path().join("mmproj.gguf"), dir.path().join(picture));
    let question = ["run", "-t", "1", "-p", "What is it?", "--temp", "0", "-n", "16"];
    let cache = ["-ctk", "f16", "-ctv", "f16"];
    let images = ["--mmproj", text(&projector), "--image", text(&picture)];
    succeeds(&[&question[..], &cache, &images].concat()).0
}

#[test]
fn run_answers_about_the_picture_it_is_given() {
    let dir = folder();
    let first = said(&dir, "1.bmp");
    assert_eq!(said(&dir, "1.bmp"), first);
    assert_ne!(said(&dir, "2.bmp"), first);
}

#[test]
fn a_picture_without_what_it_takes_is_refused_before_anything_is_loaded() {
    let dir = folder();
    let (projector, picture) = (dir.path().join("mmproj.gguf"), dir.path().join("1.bmp"));
    let (projector, picture) = (text(&projector), text(&picture));
    says(&fails(&["run", "-p", "x", "--image", picture], 1), &["--mmproj"]);
    let raw = ["run", "-p", "x", "--raw", "--mmproj", projector, "--image", picture];
    says(&fails(&raw, 1), &["--raw"]);
    let wrong = ["run", "-p", "x", "--mmproj", projector, "--image", projector];
    says(&fails(&wrong, 1), &["mmproj.gguf", "no PNG, JPEG"]);
    let missing = ["run", "-p", "x", "--mmproj", projector, "--image", "no-such.png"];
    says(&fails(&missing, 1), &["cannot read no-such.png"]);
}

#[test]
fn a_projector_needs_the_model_it_belongs_to() {
    let dir = folder();
    let projector = dir.path().join("mmproj.gguf");
    let options = [
        "serve",
        "--port",
        "0",
        "--models-dir",
        text(dir.path()),
        "--mmproj",
        text(&projector),
    ];
    says(
        &fails(&options, 1),
        &["--mmproj is the projector of the model that -m", "[models.\"NAME\"]"],
    );
}
