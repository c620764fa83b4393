//! Tiny random models in a folder, and the engine that serves them.

use clap::Parser;
use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant_cli::args::{Args, Command, ServeArgs};
use llama_turboquant_cli::commands::serve::backend::{
    Backend, BackendError, CancelToken, KeepAlive, Opened, Running, Wanted,
};
use llama_turboquant_cli::commands::serve::engine::{Engine, Limits};
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use llama_turboquant_cli::settings::ModelSettings;
use llama_turboquant_cli::store::Store;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const SOON: Duration = Duration::from_secs(10);

/// A folder of models and the engine that serves them.
pub struct Zoo {
    pub dir: TempDir,
    pub engine: Arc<Engine>,
}

pub fn write_model(path: &Path) {
    SynthParams::default().write(path).unwrap();
}

/// These options of `serve`.
pub fn args(options: &[&str]) -> Box<ServeArgs> {
    // one thread: the tests run side by side, and waiting threads of ggml spin
    let line = [
        "turboquant",
        "serve",
        "--threads",
        "1",
        "--cache-type-k",
        "f16",
        "--cache-type-v",
        "f16",
    ];
    let line = line.iter().chain(options);
    let Command::Serve(args) = Args::parse_from(line).command else {
        unreachable!()
    };
    args
}

/// What `serve` makes of these options.
pub fn settings(options: &[&str]) -> ModelSettings {
    let args = args(options);
    ModelSettings::for_slots(&args.model, args.serving.parallel).unwrap()
}

impl Zoo {
    /// Models `a` to `d` with a context of 512 tokens.
    pub fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let first = dir.path().join("a.gguf");
        write_model(&first);
        for name in ["b", "c", "d"] {
            std::fs::copy(&first, dir.path().join(format!("{name}.gguf"))).unwrap();
        }
        let mut limits = Limits::default();
        change(&mut limits);
        let catalog = Store::open(dir.path().to_owned()).unwrap();
        let engine = Engine::new(Arc::new(catalog), settings(&["-c", "512"]), limits, None).unwrap();
        Self {
            dir,
            engine: Arc::new(engine),
        }
    }

    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn open(&self, name: &str) -> Result<Opened, BackendError> {
        self.open_as(Wanted::named(Some(name)))
    }

    pub fn open_as(&self, wanted: Wanted) -> Result<Opened, BackendError> {
        self.engine.open(&wanted, &CancelToken::new())
    }

    /// Opens and lets go.
    pub fn touch(&self, name: &str) -> Opened {
        let mut opened = self.open(name).unwrap();
        opened.lease = llama_turboquant_cli::commands::serve::backend::Lease::new(());
        opened
    }

    /// Names of the loaded models.
    pub fn loaded(&self) -> Vec<String> {
        self.engine
            .running()
            .into_iter()
            .map(|running| running.card.id)
            .collect()
    }

    pub fn running(&self, name: &str) -> Running {
        let running = self.engine.running();
        running.into_iter().find(|running| running.card.id == name).unwrap()
    }

    pub fn app(&self) -> axum::Router {
        app(AppState::new(self.engine.clone(), Settings::default()))
    }
}

#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn lasting(time: Duration) -> Option<KeepAlive> {
    Some(KeepAlive::For(time))
}

/// Holds up every load at the point where it asks for memory, until it is opened.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    asked: AtomicUsize,
}

impl Gate {
    pub fn pass(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.changed.wait(open).unwrap();
        }
    }

    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A zoo whose loads wait at a gate.
pub fn gated() -> (Zoo, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let passed = Arc::clone(&gate);
    let zoo = Zoo::with(|limits| {
        limits.available = Arc::new(move || {
            passed.pass();
            None
        });
    });
    (zoo, gate)
}
