//! Files that are no model: each is refused with its path and a reason, and none takes the process down.

mod support;

use llama_turboquant::{Error, Model};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::{child, scratch, shape, tiny_path};

/// The reason of a refusal, which must name the path.
fn reason(path: &Path) -> String {
    match Model::load(path) {
        Err(error @ Error::Load { .. }) => {
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            let Error::Load { reason, .. } = error else {
                unreachable!()
            };
            assert!(
                !reason.is_empty() && reason != "the engine gave no reason",
                "{}",
                path.display()
            );
            reason
        }
        other => panic!("{}: {other:?}", path.display()),
    }
}

fn reason_of(name: &str, content: &[u8]) -> String {
    let path = scratch(name);
    std::fs::write(&path, content).expect("a file");
    let reason = reason(&path);
    std::fs::remove_file(path).expect("the file");
    reason
}

#[test]
fn common_mistakes_are_named() {
    assert_eq!(reason(Path::new("no/such/model.gguf")), "no such file");
    assert!(reason(Path::new(env!("CARGO_MANIFEST_DIR"))).contains("directory"));
    assert!(reason_of("empty.gguf", b"").contains("empty"));
    assert!(reason_of("three.gguf", b"GGU").contains("shorter"));
    assert!(reason_of("zip.gguf", b"PK\x03\x04 and more").contains("not a GGUF file"));
    assert!(reason_of("text.gguf", b"<html>Not found</html>").contains("<htm"));
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_or_is_a_dead_link_says_so() {
    let link = scratch("dead-link.gguf");
    std::os::unix::fs::symlink("nowhere", &link).expect("a link");
    assert_eq!(reason(&link), "no such file");
    std::fs::remove_file(link).expect("the link");
}

/// A GGUF file of these parts: counts, then raw bytes.
fn gguf(version: u32, n_tensors: u64, n_kv: u64, rest: &[u8]) -> Vec<u8> {
    [
        b"GGUF",
        &version.to_le_bytes()[..],
        &n_tensors.to_le_bytes(),
        &n_kv.to_le_bytes(),
        rest,
    ]
    .concat()
}

/// A string as GGUF writes it, with any length in front.
fn string(len: u64, text: &str) -> Vec<u8> {
    [&len.to_le_bytes()[..], text.as_bytes()].concat()
}

const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

fn malformed() -> Vec<(String, Vec<u8>)> {
    let whole = std::fs::read(tiny_path()).expect("the model");
    let architecture = |rest: &[u8]| [string(20, "general.architecture"), rest.to_vec()].concat();
    let named = |name: &str| [&STRING.to_le_bytes()[..], &string(name.len() as u64, name)].concat();
    let mut files: Vec<(String, Vec<u8>)> = [4, 5, 8, 15, 16, 23, 24, 25, 40, 100, 1000, 20_000, 80_000, 150_000]
        .into_iter()
        .chain([whole.len() / 2, whole.len() - 1])
        .map(|len| (format!("cut after {len} bytes"), whole[..len].to_vec()))
        .collect();
    for version in [0, 1, 99, 3_u32.swap_bytes()] {
        files.push((format!("version {version}"), gguf(version, 0, 0, &[])));
    }
    for count in [1, 1 << 20, 1 << 40, u64::MAX / 2, u64::MAX] {
        files.push((format!("{count} tensors"), gguf(3, count, 0, &[0; 64])));
        files.push((format!("{count} keys"), gguf(3, 0, count, &[0; 64])));
        files.push((format!("a key of {count} bytes"), gguf(3, 0, 1, &string(count, "k"))));
        files.push((
            format!("a text of {count} bytes"),
            gguf(
                3,
                0,
                1,
                &architecture(&[&STRING.to_le_bytes()[..], &string(count, "llama")].concat()),
            ),
        ));
        let array = [&ARRAY.to_le_bytes()[..], &STRING.to_le_bytes(), &count.to_le_bytes()].concat();
        files.push((
            format!("an array of {count} texts"),
            gguf(3, 0, 1, &architecture(&array)),
        ));
    }
    files.push(("no keys at all".into(), gguf(3, 0, 0, &[])));
    files.push((
        "a value of an unknown type".into(),
        gguf(3, 0, 1, &architecture(&77_u32.to_le_bytes())),
    ));
    files.push((
        "an architecture that is a number".into(),
        gguf(3, 0, 1, &architecture(&[U32.to_le_bytes(), [1, 0, 0, 0]].concat())),
    ));
    files.push((
        "an unknown architecture".into(),
        gguf(3, 0, 1, &architecture(&named("nonsense"))),
    ));
    files.push((
        "an architecture without hyperparameters".into(),
        gguf(3, 0, 1, &architecture(&named("llama"))),
    ));
    files.push((
        "the same key twice".into(),
        gguf(
            3,
            0,
            2,
            &architecture(&[named("llama"), architecture(&named("llama"))].concat()),
        ),
    ));
    let tensor = |dims: &[u64], ty: u32| {
        let mut bytes = [string(1, "t"), (dims.len() as u32).to_le_bytes().to_vec()].concat();
        bytes.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        bytes.extend(ty.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes
    };
    for (name, dims, ty) in [
        ("a tensor of 2^62 values", &[1 << 62][..], 0),
        ("a tensor whose size overflows", &[1 << 40, 1 << 40, 1 << 40], 0),
        ("a tensor of negative size", &[u64::MAX], 0),
        ("a tensor of 9 dimensions", &[1; 9], 0),
        ("a tensor of an unknown type", &[32], 12_345),
        ("a tensor of a reserved type", &[32], 77),
        ("half a block", &[16], 8),
    ] {
        files.push((name.into(), gguf(3, 1, 0, &tensor(dims, ty))));
    }
    files
}

/// In a process of their own: what the engine does with such a file may end it.
#[test]
fn malformed_files_are_refused_without_a_crash() {
    const NAME: &str = "malformed_files_are_refused_without_a_crash";
    let files = malformed();
    if child::is_child(NAME) {
        for (name, content) in files {
            println!("file: {name}");
            println!("reason: {}", reason_of("malformed.gguf", &content));
        }
        return;
    }
    let output = child::rerun(NAME, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    let last: Vec<&str> = text.lines().filter(|line| line.contains("file: ")).collect();
    assert!(
        output.status.success(),
        "{} at {:?}\n{}",
        output.status,
        last.last(),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(last.len(), files.len());
}

/// Where a GGUF file says how it is built: counts, lengths, keys and value types, up to the vocabulary. Values are left
/// out: a model of other hyperparameters is another model, whose limits are the engine's own assertions.
fn structure(gguf: &[u8]) -> Vec<usize> {
    let u64_at = |at: usize| u64::from_le_bytes(gguf[at..at + 8].try_into().expect("eight bytes")) as usize;
    let (mut at, mut found): (usize, Vec<usize>) = (24, (4..24).collect());
    loop {
        let key = at + 8..at + 8 + u64_at(at);
        let kind = u32::from_le_bytes(gguf[key.end..key.end + 4].try_into().expect("four bytes"));
        found.extend(at..key.end + 4);
        at = key.end + 4;
        if kind == STRING {
            found.extend(at..at + 8);
            at += 8 + u64_at(at);
        } else if kind == ARRAY {
            found.extend(at..at + 12);
            return found;
        } else {
            at += 4; // a synthetic model has u32 and f32 before its vocabulary
        }
    }
}

/// Single damaged bytes in the structure of a good model: an error or a model, never a crash.
#[test]
fn damaged_structure_never_crashes() {
    const NAME: &str = "damaged_structure_never_crashes";
    if child::is_child(NAME) {
        let path = scratch("damaged.gguf");
        shape("llama", 2, 1, 64).write(&path).expect("a model");
        let mut bytes = std::fs::read(&path).expect("the model");
        for at in structure(&bytes) {
            let good = bytes[at];
            bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
            std::fs::write(&path, &bytes).expect("the damaged model");
            println!("byte {at}");
            if let Ok(model) = Model::builder(&path).mmap(false).load() {
                assert!(model.meta().n_vocab > 0);
            }
            bytes[at] = good;
        }
        std::fs::remove_file(path).expect("the file");
        return;
    }
    let output = child::rerun(NAME, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rfind(|line| line.starts_with("byte "));
    assert!(
        output.status.success(),
        "{} at {last:?}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A synthetic llama whose u32 under `key` is `value`.
fn with_number(key: &str, value: u32) -> std::path::PathBuf {
    let path = scratch("hyperparameter.gguf");
    llama_turboquant::engine::synth::SynthParams::of("llama")
        .write(&path)
        .expect("a model");
    let mut bytes = std::fs::read(&path).expect("the model");
    let at = bytes
        .windows(key.len())
        .position(|window| window == key.as_bytes())
        .expect("the key")
        + key.len();
    assert_eq!(bytes[at..at + 4], 4_u32.to_le_bytes(), "{key} is a u32");
    bytes[at + 4..at + 8].copy_from_slice(&value.to_le_bytes());
    std::fs::write(&path, bytes).expect("the model");
    path
}

#[test]
fn hyperparameters_that_the_engine_asserts_on_are_errors() {
    for (key, value) in [
        ("llama.block_count", 0),
        ("llama.block_count", 1 << 20),
        ("llama.block_count", u32::MAX),
        ("llama.attention.head_count", 0),
        ("llama.rope.dimension_count", 6),
    ] {
        let path = with_number(key, value);
        let outcome = Model::load(&path).and_then(|model| model.context(llama_turboquant::ContextConfig::default()));
        assert!(outcome.is_err(), "{key} = {value} was accepted");
        std::fs::remove_file(path).expect("the model");
    }
    // and the process is well: a good model still loads
    Model::load(tiny_path()).expect("the embedded model");
}

/// The embedded model with a vocabulary that is split by `std::regex`, which calls itself for each character of a word.
fn split_by_regex() -> Model {
    let mut bytes = std::fs::read(tiny_path()).expect("the model");
    let key = b"tokenizer.ggml.pre";
    let at = bytes
        .windows(key.len())
        .position(|window| window == key)
        .expect("the key");
    let value = at + key.len() + 12; // behind type and length
    assert_eq!(&bytes[value..value + 5], b"qwen2");
    bytes[value..value + 5].copy_from_slice(b"bloom");
    let path = scratch("regex.gguf");
    std::fs::write(&path, bytes).expect("the model");
    let model = Model::builder(&path).mmap(false).load().expect("a model");
    std::fs::remove_file(path).expect("the weights are in memory");
    model
}

#[test]
fn words_of_any_length_are_tokenized() {
    const NAME: &str = "words_of_any_length_are_tokenized";
    if child::is_child(NAME) {
        let model = split_by_regex();
        for text in [
            "a".repeat(50_000),
            " ".repeat(50_000),
            "\u{4f60}\u{597d}".repeat(10_000),
        ] {
            let tokens = model.tokenize(&text, false, false).expect("tokens");
            assert_eq!(model.detokenize(&tokens, false).expect("text"), text);
        }
        let error = model
            .tokenize(&"a".repeat(5 << 20), false, false)
            .expect_err("a line of 5 MiB");
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        return;
    }
    let output = child::rerun(NAME, &[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
}

#[test]
fn a_progress_function_stops_loading() {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let stopped = Model::builder(tiny_path()).progress(move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Break(())
    });
    assert!(matches!(stopped.load(), Err(Error::Cancelled)));
    assert_eq!(calls.load(Ordering::Relaxed), 1, "once is enough");
}

#[test]
fn a_progress_function_sees_the_whole_way() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let steps = Arc::clone(&seen);
    let model = Model::builder(tiny_path()).progress(move |progress| {
        steps.lock().expect("steps").push(progress);
        ControlFlow::Continue(())
    });
    model.load().expect("a model");
    let seen = seen.lock().expect("steps");
    assert!(
        seen.is_sorted() && seen.first() >= Some(&0.0) && seen.last() == Some(&1.0),
        "{seen:?}"
    );
}

#[test]
fn a_progress_function_that_panics_stops_loading() {
    let model = Model::builder(tiny_path()).progress(|_| panic!("a caller's bug"));
    assert!(model.load().is_err());
}

#[test]
fn metadata_alone_describes_a_model_as_loading_it_does() {
    let mut planned = Model::builder(tiny_path())
        .metadata_only(true)
        .load()
        .expect("metadata")
        .meta()
        .clone();
    let loaded = support::tiny().meta().clone();
    // the fingerprint covers a tensor, which is not read; the device may only be known when the weights go there
    planned.fingerprint.clone_from(&loaded.fingerprint);
    planned
        .layers
        .iter_mut()
        .zip(&loaded.layers)
        .for_each(|(planned, loaded)| planned.device.clone_from(&loaded.device));
    assert_eq!(planned, loaded);
}
