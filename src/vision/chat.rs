//! Images in conversations: a marker stands for each while the template is applied.

use super::encoded::EncodedImage;
use super::prompt::MediaPrompt;
use crate::engine::chat::ChatPrompt;
use crate::{Error, Model, Result};
use serde_json::{Value, json};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

/// Texts to stand for `n` images. They are new each time, so that nobody can write one into a message.
pub fn markers(n: usize) -> Vec<String> {
    let random = || RandomState::new().build_hasher().finish();
    let (a, b) = (random(), random());
    (0..n).map(|i| format!("<__image_{a:016x}{b:016x}_{i}__>")).collect()
}

/// The part of a message's content that is to be an image: `{"type": "media_marker", "text": marker}`.
pub fn part(marker: &str) -> Value {
    json!({ "type": "media_marker", "text": marker })
}

impl MediaPrompt {
    /// A rendered conversation with images in place of their markers.
    ///
    /// # Errors
    /// [`Error::Template`] if the template has left a marker out; otherwise as [`ChatPrompt::tokenize`].
    pub fn of_chat(
        prompt: &ChatPrompt,
        model: &Model,
        markers: &[String],
        images: &[Arc<EncodedImage>],
    ) -> Result<Self> {
        if markers.len() != images.len() {
            return Err(Error::Invalid(format!(
                "{} images for {} markers",
                images.len(),
                markers.len()
            )));
        }
        let cut = prompt.tokenize_between(model, markers)?;
        let mut media = Self::default();
        for (tokens, number) in cut.before {
            media.push_tokens(&tokens);
            media.push_image(&images[number])?;
        }
        media.push_tokens(&cut.rest);
        Ok(media)
    }
}
