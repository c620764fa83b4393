//! Rendered prompts as tokens.

use super::{ChatPrompt, Part};
use crate::engine::model::{Model, Token};
use crate::{Error, Result};

/// A prompt that was cut where images go.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The text before each place, and the number of the image that goes there.
    pub(crate) before: Vec<(Vec<Token>, usize)>,
    /// The text after the last one.
    pub(crate) rest: Vec<Token>,
}

impl ChatPrompt {
    /// The prompt as tokens of `model`.
    ///
    /// Control tokens spelled out in what the request brought (`<|im_end|>` in a user's message) stay plain text, so
    /// nobody can end their message and speak in another role.
    ///
    /// # Errors
    /// As [`Model::tokenize`].
    pub fn tokenize(&self, model: &Model) -> Result<Vec<Token>> {
        tokens(&self.applied.parts, model, true)
    }

    /// As [`tokenize`](Self::tokenize), cut at these texts, which stand for images and are no part of the tokens.
    ///
    /// # Errors
    /// Also [`Error::Template`] if the template has left one of them out.
    pub(crate) fn tokenize_between(&self, model: &Model, markers: &[String]) -> Result<Cut> {
        let (mut before, mut run) = (Vec::new(), Vec::new());
        for Part { text, input } in &self.applied.parts {
            let mut text = &text[..];
            while let Some((at, number)) = first_of(text, markers) {
                run.push(part(&text[..at], *input));
                before.push((tokens(&run, model, before.is_empty())?, number));
                run.clear();
                text = &text[at + markers[number].len()..];
            }
            run.push(part(text, *input));
        }
        if let Some(missing) = (0..markers.len()).find(|number| before.iter().all(|(_, shown)| shown != number)) {
            return Err(Error::Template(format!(
                "it leaves out image {} of {}; images belong into the messages of the user",
                missing + 1,
                markers.len()
            )));
        }
        let rest = tokens(&run, model, before.is_empty())?;
        Ok(Cut { before, rest })
    }
}

fn part(text: &str, input: bool) -> Part {
    Part {
        text: text.to_owned(),
        input,
    }
}

fn first_of(text: &str, markers: &[String]) -> Option<(usize, usize)> {
    let found = markers.iter().enumerate();
    let found = found.filter_map(|(number, marker)| Some((text.find(&marker[..])?, number)));
    found.min()
}

/// `first`: the prompt begins here, with BOS where the model wants it.
fn tokens(parts: &[Part], model: &Model, first: bool) -> Result<Vec<Token>> {
    // Cutting a text changes how it is tokenized at the cut, and models are trained on uncut prompts. So only the
    // parts that do contain control tokens are kept apart; the others are joined with the template's text.
    let mut tokens = Vec::new();
    let mut joined = String::new();
    for part in parts {
        let plain = if part.input {
            Some(model.tokenize(&part.text, false, false)?)
        } else {
            None
        };
        match plain {
            Some(plain) if plain != model.tokenize(&part.text, false, true)? => {
                tokens.extend(model.tokenize(&joined, first && tokens.is_empty(), true)?);
                tokens.extend(plain);
                joined.clear();
            }
            _ => joined.push_str(&part.text),
        }
    }
    tokens.extend(model.tokenize(&joined, first && tokens.is_empty(), true)?);
    Ok(tokens)
}
