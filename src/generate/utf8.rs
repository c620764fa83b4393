//! Bytes of tokens to text: a character may be spread over several tokens.

/// Turns byte pieces into whole characters.
///
/// Bytes that may still become a character are held back; bytes that no longer can become one U+FFFD for each maximal
/// invalid part, as `String::from_utf8_lossy` has it. So the text does not depend on where the bytes are cut.
#[derive(Debug, Clone, Default)]
pub struct Utf8Decoder {
    /// The beginning of a character: at most three bytes.
    held: Vec<u8>,
}

impl Utf8Decoder {
    /// A decoder that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes; returns the characters that are complete now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.held.len());
        let mut from = 0;
        loop {
            let rest = &self.held[from..];
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    from = self.held.len();
                    break;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&rest[..valid]));
                    from += valid;
                    match error.error_len() {
                        Some(len) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            from += len;
                        }
                        None => break, // cut off, not wrong
                    }
                }
            }
        }
        self.held.drain(..from);
        text
    }

    /// Nothing more comes: what is held is no character.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `bytes` cut into `pieces`.
    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut decoder = Utf8Decoder::new();
        let mut text = String::new();
        for piece in pieces {
            text += &decoder.push(piece);
        }
        text + &decoder.finish()
    }

    const TEXTS: [&[u8]; 7] = [
        b"plain",
        "Gr\u{fc}\u{df}e, \u{4e16}\u{754c} \u{1f980}!".as_bytes(),
        b"\xff\xfe",
        b"a\xe4\xb8b\xf0\x9f\xa6",
        b"\xed\xa0\x80\xf4\x90\x80\x80", // a surrogate, and beyond the last code point
        b"\xc3\xa9\xc3",
        b"",
    ];

    #[test]
    fn every_split_in_three_gives_the_same_text() {
        for bytes in TEXTS {
            let whole = String::from_utf8_lossy(bytes);
            for a in 0..=bytes.len() {
                for b in a..=bytes.len() {
                    assert_eq!(
                        decode([&bytes[..a], &bytes[a..b], &bytes[b..]]),
                        whole,
                        "{bytes:x?} cut at {a} and {b}"
                    );
                }
            }
        }
    }

    #[test]
    fn byte_by_byte_gives_the_same_text() {
        for bytes in TEXTS {
            assert_eq!(decode(bytes.chunks(1)), String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_character_is_held_until_it_is_complete() {
        let mut decoder = Utf8Decoder::new();
        assert_eq!(decoder.push(b"\xf0\x9f"), "");
        assert_eq!(decoder.push(b"\xa6"), "");
        assert_eq!(decoder.push(b"\x80x"), "\u{1f980}x");
        assert_eq!(decoder.finish(), "");
    }

    #[test]
    fn bytes_that_cannot_become_a_character_are_replaced_at_once() {
        let mut decoder = Utf8Decoder::new();
        assert_eq!(decoder.push(b"\xe4\xb8"), "");
        assert_eq!(decoder.push(b"b"), "\u{fffd}b");
    }
}
