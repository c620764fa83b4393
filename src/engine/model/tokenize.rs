//! From text to tokens, on a stack that is large enough for it.
//!
//! For vocabularies without a splitter of its own (DeepSeek's, Falcon's, ...) llama.cpp splits text by `std::regex`, which calls
//! itself for each character that a piece goes on: 330 bytes of stack each with libstdc++. A word of 7000 letters was the end
//! of a server's thread, and with it of the process.

use super::{Model, Token};
use crate::engine::call;
use crate::error::Failure;
use crate::{Error, Result, sys};
use std::thread;

/// Bytes of stack for a byte of a piece, with room to spare.
const STACK_PER_BYTE: usize = 512;

/// Pieces up to here fit into half of the smallest stacks that threads usually have (2 MiB).
const SHORT: usize = 2048;

/// Longer lines are refused: 2 GiB of stack, of which only those vocabularies use some.
const MAX_LINE: usize = 4 << 20;

impl Model {
    /// Tokens of `text`. `add_special` adds BOS/EOS where the model wants them; `parse_special` reads control tokens
    /// spelled out in the text (never for text from a user).
    ///
    /// # Errors
    /// A text too long to count; [`Error::Invalid`] for a line of more than 4 MiB.
    pub fn tokenize(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<Token>> {
        let piece = longest_piece(text);
        if piece <= SHORT {
            return self.split(text, add_special, parse_special);
        }
        if piece > MAX_LINE {
            return Err(Error::Invalid(format!(
                "the text has a line of {piece} bytes, which cannot be split into tokens; at most {MAX_LINE} are taken, break it up"
            )));
        }
        thread::scope(|scope| {
            let split = thread::Builder::new()
                .name("tokenize".into())
                .stack_size(STACK_PER_BYTE * piece + (1 << 20))
                .spawn_scoped(scope, || self.split(text, add_special, parse_special))
                .map_err(|error| {
                    Error::Engine(format!(
                        "starting a thread to tokenize a line of {piece} bytes: {error}"
                    ))
                })?;
            split.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn split(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<Token>> {
        let mut tokens: Vec<Token> = vec![0; text.len() / 2 + 16];
        loop {
            let mut count = 0;
            // SAFETY: the text and the token slots are valid for the lengths given, `count` and `error` for the call.
            call::check(|error| unsafe {
                sys::tq_model_tokenize(
                    self.raw(),
                    text.as_ptr().cast(),
                    text.len(),
                    add_special,
                    parse_special,
                    tokens.as_mut_ptr(),
                    tokens.len(),
                    &raw mut count,
                    error,
                )
            })
            .map_err(|failure: Failure| Error::from(failure))?;
            let fits = count <= tokens.len();
            tokens.resize(count, 0);
            if fits {
                return Ok(tokens);
            }
        }
    }
}

/// Bytes that a piece may have at most: a line, as some vocabularies take it whole, and the white space that may follow it.
fn longest_piece(text: &str) -> usize {
    let longest = |pieces: &mut dyn Iterator<Item = &str>| pieces.map(str::len).max().unwrap_or(0);
    let line = longest(&mut text.split('\n'));
    let space = longest(&mut text.split(|char: char| !char.is_whitespace()));
    line + space
}

#[cfg(test)]
mod tests {
    use super::longest_piece;

    #[test]
    fn a_piece_is_a_line_or_white_space_of_many() {
        assert_eq!(longest_piece(""), 0);
        assert_eq!(longest_piece("ab\nabc\na"), 3 + 1);
        assert_eq!(longest_piece("a\n\n\n \n b"), 2 + 6);
        assert_eq!(longest_piece("über all"), 9 + 1);
    }
}
