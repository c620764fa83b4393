//! The build recipe, one call a step: configuration, bindings, source, tree, CMake, link.

mod backends;
mod bindings;
mod config;
mod engine;
mod link;
mod patch;
mod registry;
mod sanitize;
mod source;
mod tree;

/// Every step reports failure as text that says what was attempted, on what, and what to do.
pub type Result<T> = std::result::Result<T, String>;

pub fn run() -> Result<()> {
    let config = config::Config::read()?;
    registry::generate(&config)?;
    bindings::generate(&config)?;
    if config.docs_rs || config.interpreted {
        return Ok(()); // documentation and Miri need signatures, not an engine
    }
    let engine = match &config.prebuilt_engine {
        Some(dir) => engine::Engine::open_prebuilt(&config, dir)?,
        None => engine::Engine::build(&config)?,
    };
    link::emit(&config, &engine)
}
