//! Images that come in the messages of a chat.

use super::loaded::Loaded;
use super::request::room;
use super::{backend_error, remote};
use crate::commands::serve::backend::{BackendError, CancelToken};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use llama_turboquant::vision::{EncodedImage, Image, ImageLimits, markers, part};
use serde_json::Value;
use std::sync::Arc;

/// Images of one request; more than that is a mistake, or meant badly.
const MOST: usize = 64;

/// Clients leave padding out, or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Images taken out of messages, with the texts that stand for them there.
#[derive(Default)]
pub(super) struct Images {
    pub(super) markers: Vec<String>,
    urls: Vec<Url>,
}

struct Url {
    /// Which of the request's images it is, from 1.
    number: usize,
    text: String,
}

impl Images {
    /// Takes the images out of `messages`.
    pub(super) fn take(messages: &mut Value) -> Result<Self, BackendError> {
        let messages = messages.as_array_mut().into_iter().flatten();
        let contents = messages.filter_map(|message| message.get_mut("content").and_then(Value::as_array_mut));
        let parts: Vec<&mut Value> = contents.flatten().filter(|part| part["type"] == "image_url").collect();
        if parts.len() > MOST {
            return Err(BackendError::invalid(format!(
                "the request has {} images; at most {MOST} are taken",
                parts.len()
            )));
        }
        let markers = markers(parts.len());
        let mut urls = Vec::new();
        for (image, marker) in parts.into_iter().zip(&markers) {
            let number = urls.len() + 1;
            // some clients send the URL itself
            let url = image["image_url"]["url"].as_str().or(image["image_url"].as_str());
            let text = url
                .ok_or_else(|| refuse(number, "must have a string as 'image_url.url'"))?
                .to_owned();
            *image = part(marker);
            urls.push(Url { number, text });
        }
        Ok(Self { markers, urls })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    /// Reads and encodes them. Blocks.
    ///
    /// # Errors
    /// A 400 for an image that cannot be taken, and for more of them than the context has room for.
    pub(super) fn encode(&self, loaded: &Loaded, cancel: &CancelToken) -> Result<Vec<Arc<EncodedImage>>, BackendError> {
        let (mut all, mut n_tokens) = (Vec::new(), 0);
        for url in &self.urls {
            let image = url.encode(loaded, cancel)?;
            n_tokens += image.n_tokens();
            // before the next one takes memory
            room(loaded.card.n_ctx, n_tokens)?;
            all.push(image);
        }
        Ok(all)
    }
}

impl Url {
    fn encode(&self, loaded: &Loaded, cancel: &CancelToken) -> Result<Arc<EncodedImage>, BackendError> {
        let Some(projector) = &loaded.projector else {
            return Err(refuse(
                self.number,
                "cannot be seen: this model was loaded without a projector (--mmproj)",
            ));
        };
        let file = self.file(loaded.remote_images)?;
        // one at a time: an open picture takes a lot of memory, and the projector has one set of buffers
        loaded.images.run(cancel, |()| {
            let image = Image::decode(&file, ImageLimits::default());
            let encoded = image.and_then(|image| projector.encode(&image, Some(cancel)));
            encoded.map_err(|error| self.named(error))
        })
    }

    fn named(&self, error: llama_turboquant::Error) -> BackendError {
        match error {
            llama_turboquant::Error::Invalid(text) => refuse(self.number, &format!("cannot be taken: {text}")),
            other => backend_error(other),
        }
    }

    /// The bytes of the picture file. `remote`: it may be fetched from elsewhere.
    fn file(&self, remote: bool) -> Result<Vec<u8>, BackendError> {
        let scheme = self.text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("data") => self.data(),
            Some("http" | "https") if remote => remote::fetch(&self.text).map_err(|error| refuse(self.number, &error)),
            Some("http" | "https") => Err(refuse(
                self.number,
                "is elsewhere, and this server fetches none; send it as a data: URL with base64 (or start the server with \
                 --allow-remote-images)",
            )),
            _ => Err(refuse(
                self.number,
                "must be a data: URL with base64; files of the server are not read",
            )),
        }
    }

    /// `data:image/png;base64,...`
    fn data(&self) -> Result<Vec<u8>, BackendError> {
        let rest = &self.text["data:".len()..];
        let data = rest
            .split_once(',')
            .filter(|(kind, _)| kind.to_ascii_lowercase().ends_with(";base64"))
            .map(|(_, data)| data);
        let Some(data) = data else {
            return Err(refuse(
                self.number,
                "must be a data: URL of the form data:image/png;base64,...",
            ));
        };
        let decoded = match data.bytes().any(|byte| byte.is_ascii_whitespace()) {
            true => {
                let data: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
                BASE64.decode(data)
            }
            false => BASE64.decode(data),
        };
        decoded.map_err(|error| refuse(self.number, &format!("is no base64: {error}")))
    }
}

fn refuse(number: usize, message: &str) -> BackendError {
    BackendError::invalid(format!("image {number} of the request {message}"))
}
