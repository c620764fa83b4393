//! The engine's log belongs to the process: it arrives in `tracing`, and what it says about a failure is in the error too.

mod support;

use llama_turboquant::{Error, KvCacheConfig, KvType, LayerPolicy, Model};
use std::fmt::{Debug, Write};
use std::sync::{Mutex, Once, PoisonError};
use support::{child, context, scratch, tiny_path};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// What arrived: level, target, text.
static EVENTS: Mutex<Vec<(Level, String, String)>> = Mutex::new(Vec::new());

struct Recorder;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").expect("memory");
        }
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let (level, target) = (*event.metadata().level(), event.metadata().target().to_owned());
        EVENTS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((level, target, text.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn record() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Recorder).expect("the only subscriber"));
}

fn arrived(level: Level, target: &str, part: &str) -> bool {
    let events = EVENTS.lock().unwrap_or_else(PoisonError::into_inner);
    events
        .iter()
        .any(|(l, t, text)| *l == level && t.starts_with(target) && text.contains(part))
}

#[test]
fn the_engines_log_arrives_line_by_line_under_its_own_target() {
    record();
    let model = Model::load(tiny_path()).expect("a model");
    let _context = context(&model, 512, KvCacheConfig::uniform(KvType::Turbo4));
    assert!(
        arrived(Level::DEBUG, "llama_cpp", "general.architecture"),
        "what the loader says"
    );
    assert!(
        arrived(Level::DEBUG, "llama_cpp", "KV buffer size"),
        "what the cache says"
    );
    let events = EVENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<_> = events.iter().filter(|(_, target, _)| target == "llama_cpp").collect();
    assert!(
        lines.len() > 20
            && lines
                .iter()
                .all(|(_, _, text)| !text.contains('\n') && !text.is_empty())
    );
    assert!(
        lines
            .iter()
            .all(|(level, _, text)| *level > Level::WARN || text.len() > 3),
        "dots of a progress bar are no warning"
    );
}

#[test]
fn the_reason_of_a_failed_load_is_in_the_error_and_in_the_log() {
    record();
    let path = scratch("cut.gguf");
    let bytes = std::fs::read(tiny_path()).expect("the model");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("half a model");
    let error = Model::load(&path).expect_err("half a model");
    std::fs::remove_file(&path).expect("the file");
    let Error::Load { path: named, reason } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(named, &path);
    assert!(reason.contains("not within the file bounds"), "{reason}");
    assert!(arrived(Level::ERROR, "llama_cpp", "not within the file bounds"));
}

#[test]
fn what_a_context_changes_is_said_in_the_log() {
    record();
    let model = support::tiny();
    drop(context(&model, 256, KvCacheConfig::uniform(KvType::Turbo2)));
    assert!(arrived(Level::INFO, "llama_turboquant", "layer-adaptive mode 7"));
    let qwen2 = support::synth(&support::shape("qwen2", 2, 1, 64));
    drop(context(
        &qwen2,
        256,
        KvCacheConfig::uniform(KvType::Turbo4).with_layers(LayerPolicy::Uniform),
    ));
    assert!(arrived(Level::WARN, "llama_turboquant", "--no-kv-guard"));
}

#[test]
fn a_subscriber_that_panics_does_not_take_the_engine_down() {
    struct Panics;
    impl Subscriber for Panics {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "llama_cpp"
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &Event<'_>) {
            panic!("a subscriber's bug");
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
    const NAME: &str = "a_subscriber_that_panics_does_not_take_the_engine_down";
    if child::is_child(NAME) {
        std::panic::set_hook(Box::new(|_| {}));
        tracing::subscriber::with_default(Panics, || {
            let model = Model::load(tiny_path()).expect("a model");
            context(&model, 256, KvCacheConfig::uniform(KvType::Turbo4));
        });
        println!("\nalive=yes");
        return;
    }
    assert_eq!(child::value(NAME, &[], "alive"), "yes");
}

/// Whoever installs no subscriber gets a silent library.
#[test]
fn without_a_subscriber_nothing_is_printed() {
    const NAME: &str = "without_a_subscriber_nothing_is_printed";
    if child::is_child(NAME) {
        context(
            &Model::load(tiny_path()).expect("a model"),
            256,
            KvCacheConfig::uniform(KvType::Turbo4),
        );
        return;
    }
    let output = child::rerun(NAME, &[]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("llama"));
}
