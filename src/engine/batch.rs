//! Tokens to be computed together.

use super::model::Token;

/// A list of tokens with their positions and sequences. Reused between calls to keep its memory.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(super) tokens: Vec<Token>,
    pub(super) positions: Vec<i32>,
    pub(super) sequences: Vec<i32>,
    pub(super) logits: Vec<i8>,
}

impl Batch {
    /// An empty batch with room for `capacity` tokens.
    pub fn new(capacity: usize) -> Self {
        Self {
            tokens: Vec::with_capacity(capacity),
            positions: Vec::with_capacity(capacity),
            sequences: Vec::with_capacity(capacity),
            logits: Vec::with_capacity(capacity),
        }
    }

    /// Appends a token of sequence `seq` at position `pos`; `logits` asks for its output. Returns its entry
    /// number, by which [`Context::logits`](super::Context::logits) finds the output.
    pub fn push(&mut self, token: Token, pos: i32, seq: i32, logits: bool) -> usize {
        self.tokens.push(token);
        self.positions.push(pos);
        self.sequences.push(seq);
        self.logits.push(i8::from(logits));
        self.tokens.len() - 1
    }

    /// Empties the batch.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.logits.clear();
    }

    /// Tokens in the batch.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}
