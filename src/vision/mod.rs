//! Images in prompts: reading picture files, the projector that makes of them what a model reads in place of tokens, and
//! prompts of text and images.
//!
//! ```no_run
//! # fn main() -> llama_turboquant::Result<()> {
//! use llama_turboquant::generate::{GenParams, Session};
//! use llama_turboquant::vision::{Image, ImageLimits, MediaPrompt, Projector, ProjectorConfig};
//! use llama_turboquant::{ContextConfig, Model};
//! let model = Model::load("model.gguf")?;
//! let projector = Projector::load(&model, "mmproj.gguf", &ProjectorConfig::default())?;
//! let image = Image::decode(&std::fs::read("cat.jpg")?, ImageLimits::default())?;
//! let mut prompt = MediaPrompt::default();
//! prompt.push_tokens(&model.tokenize("What is this? ", true, true)?);
//! prompt.push_image(&projector.encode(&image, None)?)?;
//! prompt.push_tokens(&model.tokenize("\nAnswer:", false, true)?);
//! let mut session = Session::new(model.context(ContextConfig::default())?);
//! session.prompt(prompt)?;
//! println!("{}", session.generate(&GenParams::greedy().max_tokens(64))?.text()?.0);
//! # Ok(())
//! # }
//! ```

mod chat;
mod encoded;
mod image;
mod projector;
mod prompt;

pub use crate::engine::vision::{ProjectorConfig, ProjectorInfo, ProjectorPlan};
pub use chat::{markers, part};
pub use encoded::EncodedImage;
pub use image::{Image, ImageLimits};
pub use projector::Projector;
pub use prompt::{MediaPrompt, PlacedImage};
pub(crate) use prompt::{Next, check, extra, next, whole_images, without_images};
