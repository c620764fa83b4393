//! The texts that are measured on when none are named: held out from the embedded model's training.

use anyhow::{Context, Result, bail};
use std::borrow::Cow;
use std::path::Path;

/// Plain text, 300 KB.
pub const EVAL: &str = include_str!("../../../tests/data/eval.txt");
/// Prompts that end with a question about a fact in them, one JSON object per line.
pub const NEEDLES: &str = include_str!("../../../tests/data/needles.jsonl");
/// Requests that a tool call answers, one JSON object per line.
pub const TOOLS: &str = include_str!("../../../tests/data/tools.jsonl");

/// The text of `file`, or `default`.
///
/// # Errors
/// A file that cannot be read, is empty, or is not text.
pub fn text(file: Option<&Path>, default: &'static str) -> Result<Cow<'static, str>> {
    let Some(path) = file else {
        return Ok(Cow::Borrowed(default));
    };
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.is_empty() {
        bail!("{} is empty", path.display());
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(Cow::Owned(text)),
        Ok(_) => bail!("{} is not text: it has zero bytes", path.display()),
        Err(error) => bail!(
            "{} is not text: byte {} is not UTF-8",
            path.display(),
            error.utf8_error().valid_up_to()
        ),
    }
}

/// The name a record gives to the text of `file`: no directories, they are nobody's business.
pub fn name(file: Option<&Path>, default: &str) -> String {
    file.map_or_else(
        || format!("{default} (built in)"),
        |path| {
            path.file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_text_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes, part) in [
            ("empty", &b""[..], "is empty"),
            ("zero", &b"a\0b"[..], "zero bytes"),
            ("latin1", &b"caf\xe9"[..], "byte 3"),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let message = format!("{:#}", text(Some(&path), EVAL).unwrap_err());
            assert!(message.contains(name) && message.contains(part), "{message}");
        }
        let message = format!("{:#}", text(Some(&dir.path().join("none")), EVAL).unwrap_err());
        assert!(message.contains("cannot read"), "{message}");
        assert_eq!(text(None, EVAL).unwrap().len(), EVAL.len());
    }
}
