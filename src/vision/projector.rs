//! A projector, and the images it has encoded lately.

use super::encoded::EncodedImage;
use super::image::Image;
use crate::engine::vision::{Chunk, ProjectorConfig, ProjectorInfo, RawProjector};
use crate::{CancelToken, Error, Model, Result};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of encoded images that are kept: in a conversation the same ones come with every turn.
const KEPT: u64 = 256 << 20;

/// The encoder of a model's images, from an mmproj file. Clones share it.
#[derive(Debug, Clone)]
pub struct Projector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    raw: RawProjector,
    /// Encoded images by hash, the one used last at the end.
    kept: Mutex<VecDeque<([u8; 32], Arc<EncodedImage>)>>,
}

impl Projector {
    /// Loads the projector in `path`, which must have been made for `model`.
    ///
    /// # Errors
    /// [`Error::Load`] with the path and the reason: no projector, one of another model, one that takes no images.
    pub fn load(model: &Model, path: impl AsRef<Path>, config: &ProjectorConfig) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            raw: RawProjector::load(model, path.as_ref(), config)?,
            kept: Mutex::default(),
        })))
    }

    /// What it takes and makes.
    pub fn info(&self) -> ProjectorInfo {
        self.0.raw.info()
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        self.0.raw.path()
    }

    /// The model it belongs to.
    pub fn model(&self) -> &Model {
        self.0.raw.model()
    }

    /// Encodes an image, or takes it from those that were encoded lately. Blocks: of several threads one encodes at a time.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an image that the model cannot take, [`Error::Cancelled`], [`Error::Engine`].
    pub fn encode(&self, image: &Image, cancel: Option<&CancelToken>) -> Result<Arc<EncodedImage>> {
        let hash = image.hash();
        if let Some(kept) = self.kept(hash) {
            return Ok(kept);
        }
        let raw = &self.0.raw;
        let chunks = raw.prepare(image.width(), image.height(), image.rgb())?;
        let mut values = Vec::new();
        for (number, chunk) in chunks.list().iter().enumerate() {
            if cancel.is_some_and(CancelToken::is_cancelled) {
                return Err(Error::Cancelled);
            }
            values.push(match chunk {
                Chunk::Tokens { .. } => Vec::new(),
                Chunk::Image { .. } => raw.encode(&chunks, number)?,
            });
        }
        let n_embd = raw.info().n_embd as usize;
        let encoded = Arc::new(EncodedImage::new(chunks, values, n_embd, hash));
        self.keep(hash, &encoded);
        Ok(encoded)
    }

    fn kept(&self, hash: [u8; 32]) -> Option<Arc<EncodedImage>> {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| *known == hash)?;
        let found = kept.remove(at)?;
        let image = Arc::clone(&found.1);
        kept.push_back(found);
        Some(image)
    }

    fn keep(&self, hash: [u8; 32], image: &Arc<EncodedImage>) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != hash);
        kept.push_back((hash, Arc::clone(image)));
        while kept.iter().map(|(_, image)| image.bytes()).sum::<u64>() > KEPT {
            kept.pop_front();
        }
    }
}
