//! LoRA adapters that the options or the configuration file name.

use crate::args::lora::{LoraArgs, ServeLoraArgs};
use llama_turboquant::{Error, LoraAdapter, Model};
use std::path::PathBuf;

/// The file of an adapter, and how strongly it is applied.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraFile {
    /// The file.
    pub path: PathBuf,
    /// Its scale where requests and POST /lora-adapters say nothing; finite.
    pub scale: f32,
}

/// Scale 1 is what an adapter was trained for.
impl From<PathBuf> for LoraFile {
    fn from(path: PathBuf) -> Self {
        Self { path, scale: 1.0 }
    }
}

impl LoraFile {
    /// Reads `FNAME:SCALE`.
    ///
    /// # Errors
    /// A text that is none, a scale that is not finite.
    pub fn scaled(text: &str) -> Result<Self, String> {
        // the last colon: a path on Windows has one of its own
        let (path, scale) = text
            .rsplit_once(':')
            .filter(|(path, _)| !path.is_empty())
            .ok_or_else(|| format!("`{text}` is no FNAME:SCALE, as in style.gguf:0.5"))?;
        let scale: f32 = scale
            .trim()
            .parse()
            .map_err(|_| format!("the scale `{scale}` of `{path}` is no number"))?;
        if !scale.is_finite() {
            return Err(format!("the scale `{scale}` of `{path}` must be finite"));
        }
        let path = path.into();
        Ok(Self { path, scale })
    }
}

/// The adapters of one model, in the order of their numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoraFiles(Vec<LoraFile>);

impl LoraFiles {
    /// Adapters of scale 1, then those with scales of their own.
    pub fn new(full: Vec<PathBuf>, scaled: Vec<LoraFile>) -> Self {
        Self(full.into_iter().map(LoraFile::from).chain(scaled).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of their files; those that cannot be read count nothing, loading says what is wrong with them.
    pub fn size(&self) -> u64 {
        let sizes = self.0.iter().filter_map(|file| file.path.metadata().ok());
        sizes.map(|file| file.len()).sum()
    }

    /// Loads them for a model, each with its scale. Two entries may name one file; each is an adapter with a number of its own.
    ///
    /// # Errors
    /// As [`Model::load_lora`]; an activated LoRA, which is not for whole texts.
    pub fn load(&self, model: &Model) -> Result<Vec<(LoraAdapter, f32)>, Error> {
        let one = |file: &LoraFile| {
            let adapter = model.load_lora(&file.path)?;
            if !adapter.info().invocation_tokens.is_empty() {
                return Err(Error::LoadLora {
                    path: file.path.clone(),
                    reason: "it is an activated one (aLoRA), meant for what follows certain tokens of a prompt; only adapters for \
                             whole texts are possible here"
                        .into(),
                });
            }
            Ok((adapter, file.scale))
        };
        self.0.iter().map(one).collect()
    }
}

impl From<&LoraArgs> for LoraFiles {
    fn from(args: &LoraArgs) -> Self {
        Self::new(args.lora.clone(), args.lora_scaled.clone())
    }
}

impl From<&ServeLoraArgs> for LoraFiles {
    fn from(args: &ServeLoraArgs) -> Self {
        let mut files = Self::from(&args.adapters);
        if args.lora_init_without_apply {
            files.0.iter_mut().for_each(|file| file.scale = 0.0);
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::LoraFile;

    #[test]
    fn a_scale_follows_the_last_colon_and_is_finite() {
        let read = |text| LoraFile::scaled(text).map(|file| (file.path.display().to_string(), file.scale));
        assert_eq!(read("a.gguf:0.5"), Ok(("a.gguf".into(), 0.5)));
        assert_eq!(read(r"C:\a.gguf:-2"), Ok((r"C:\a.gguf".into(), -2.0)));
        for wrong in [
            "a.gguf",
            "a.gguf:",
            "a.gguf:x",
            "a.gguf:nan",
            "a.gguf:inf",
            "a.gguf:1e99",
            ":1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
