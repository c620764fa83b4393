//! Pictures for `turboquant run`.

use crate::args::RunArgs;
use crate::projector::ProjectorSettings;
use anyhow::{Context as _, Result, bail};
use llama_turboquant::engine::chat::ChatPrompt;
use llama_turboquant::vision::{EncodedImage, Image, ImageLimits, MediaPrompt, markers, part};
use llama_turboquant::{CancelToken, Model};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The pictures of a chat, which go into its first message.
#[derive(Debug, Default)]
pub struct Pictures {
    markers: Vec<String>,
    encoded: Vec<Arc<EncodedImage>>,
    shown: bool,
}

/// Reads the files, before anything is loaded.
///
/// # Errors
/// A file that is no picture; pictures without a projector, or without a template to put them in.
pub fn read(args: &RunArgs, projector: Option<&ProjectorSettings>) -> Result<Vec<Image>> {
    if args.image.is_empty() {
        return Ok(Vec::new());
    }
    if projector.is_none() {
        bail!("--image needs the model's projector; name its file with --mmproj");
    }
    if args.raw {
        bail!("--image goes into a chat; leave out --raw");
    }
    args.image.iter().map(|file| open(file)).collect()
}

fn open(file: &Path) -> Result<Image> {
    let limits = ImageLimits::default();
    let opened = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut bytes = Vec::new();
    // one byte more, so that too long a file is seen to be
    let read = opened.take(limits.bytes as u64 + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read {}", file.display()))?;
    Image::decode(&bytes, limits).with_context(|| file.display().to_string())
}

impl Pictures {
    /// Encodes the pictures for `model`.
    ///
    /// # Errors
    /// A projector that does not load, pictures that the model does not take.
    pub fn encode(
        images: &[Image],
        model: &Model,
        projector: Option<&ProjectorSettings>,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let Some(projector) = projector.filter(|_| !images.is_empty()) else {
            return Ok(Self::default());
        };
        if !model.meta().chat_template {
            bail!("--image goes into a chat, and this model has no chat template");
        }
        let projector = projector.load(model)?;
        let encoded = images.iter().map(|image| projector.encode(image, Some(cancel)));
        Ok(Self {
            markers: markers(images.len()),
            encoded: encoded.collect::<Result<_, _>>()?,
            shown: false,
        })
    }

    /// The message of the user: the first one begins with the pictures.
    pub fn message(&mut self, text: &str) -> Value {
        if self.markers.is_empty() || self.shown {
            return json!({ "role": "user", "content": text });
        }
        self.shown = true;
        let parts = self.markers.iter().map(|marker| part(marker));
        let parts: Vec<Value> = parts.chain([json!({ "type": "text", "text": text })]).collect();
        json!({ "role": "user", "content": parts })
    }

    /// The conversation began anew: the pictures come again.
    pub fn forget(&mut self) {
        self.shown = false;
    }

    /// A rendered conversation with its pictures.
    ///
    /// # Errors
    /// A template that leaves them out.
    pub fn prompt(&self, prompt: &ChatPrompt, model: &Model) -> Result<MediaPrompt> {
        Ok(MediaPrompt::of_chat(prompt, model, &self.markers, &self.encoded)?)
    }
}
