//! What is fuzzed: functions that take any bytes, and panic when a promise is broken.
//!
//! The fuzzer (`fuzz/src/main.rs`) calls one of them millions of times; `make test` calls all of them with the corpus and with
//! mutations of it (`cli/tests/serve/fuzz.rs`). Both include this folder as their module `targets`, beside the modules
//! `support` (of the tests of `serve`) and `serve` that it uses.

mod chat;
pub mod gguf_fields;
mod grammar;
mod http;
mod model;
pub mod mutate;
mod settings;
mod slot;
mod store;
mod text;

use mutate::Shape;

/// Something that reads what others wrote.
pub struct Target {
    /// What `scripts/fuzz.sh` and the corpus call it.
    pub name: &'static str,
    /// How its inputs are built, for mutations that keep to it.
    pub shape: Shape,
    /// Calls it, and checks what it promises.
    pub run: fn(&[u8]),
    /// Valid inputs that are made, besides those in `fuzz/corpus`.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Whether C++ reads the input: a crash there takes the process with it.
    pub engine: bool,
}

const fn target(name: &'static str, shape: Shape, run: fn(&[u8])) -> Target {
    Target {
        name,
        shape,
        run,
        seeds: Vec::new,
        engine: false,
    }
}

const fn engine(name: &'static str, shape: Shape, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target {
        name,
        shape,
        run,
        seeds,
        engine: true,
    }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("http", Shape::Request, http::request),
    target("config", Shape::Text, settings::config),
    target("facts", Shape::Json, settings::facts),
    target("profile", Shape::Text, settings::profile),
    target("modelfile", Shape::Text, store::modelfile),
    target("manifest", Shape::Json, store::manifest),
    target("hub", Shape::Json, store::hub_listing),
    target("image", Shape::Bytes, model::image),
    target("text", Shape::Bytes, text::stops_and_utf8),
    engine("schema", Shape::Json, grammar::schema, Vec::new),
    engine("gbnf", Shape::Text, grammar::gbnf, Vec::new),
    engine("template", Shape::Text, chat::template, Vec::new),
    engine("chat", Shape::Json, chat::request, Vec::new),
    engine("answer", Shape::Text, chat::answer, Vec::new),
    engine("gguf", Shape::Gguf, model::gguf, model::gguf_seeds),
    engine("lora", Shape::Gguf, model::lora, model::lora_seeds),
    engine("mmproj", Shape::Gguf, model::mmproj, model::mmproj_seeds),
    engine("slot", Shape::Bytes, slot::restore, slot::seeds),
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// A folder for this process's files, in memory where the system has such a place.
fn scratch() -> &'static std::path::Path {
    static FOLDER: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let memory = std::path::Path::new("/dev/shm");
        let made = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        made.expect("a folder for scratch files")
    });
    folder.path()
}
