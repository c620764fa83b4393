//! The engine that a command line of `serve` describes.

use clap::Parser;
use llama_turboquant_cli::args::{Args, Command, ServeArgs};
use llama_turboquant_cli::commands::serve::engine::Engine;
use llama_turboquant_cli::commands::serve::on_offer::limits;
use llama_turboquant_cli::loras::LoraFiles;
use llama_turboquant_cli::settings::ModelSettings;
use std::sync::Arc;

/// The model of these options, loaded, under the name `tiny`.
pub fn engine(options: &[&str]) -> Arc<Engine> {
    try_engine(options).unwrap()
}

/// The same where it may not load.
pub fn try_engine(options: &[&str]) -> anyhow::Result<Arc<Engine>> {
    let (args, settings) = parsed(options);
    Engine::of_model("tiny", &settings, limits(&args, &[]).unwrap()).map(Arc::new)
}

/// What `serve` makes of these options.
pub fn settings(options: &[&str]) -> ModelSettings {
    parsed(options).1
}

fn parsed(options: &[&str]) -> (Box<ServeArgs>, ModelSettings) {
    // one thread each: the tests run side by side, and waiting threads of ggml spin
    let line = ["turboquant", "serve", "--threads", "1"]
        .into_iter()
        .chain(options.iter().copied());
    let Command::Serve(args) = Args::parse_from(line).command else {
        unreachable!()
    };
    llama_turboquant::Backend::init().unwrap();
    let mut settings = ModelSettings::for_slots(&args.model, args.serving.parallel).unwrap();
    settings.loras = LoraFiles::from(&args.lora);
    (args, settings)
}
