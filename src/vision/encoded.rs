//! An image as a model reads it.

use crate::engine::vision::{Chunk, Chunks, Embeddings};
use crate::{Context, Error, Result, Token};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};

/// Marks the first placeholder of a run of embeddings.
const FIRST: u32 = 1 << 30;
/// Fewer placeholders than this hold too little of the hash to tell images apart.
const TELLING: usize = 5;

/// What a projector has made of an image: embeddings, and the tokens that the model wants around them.
#[derive(Debug)]
pub struct EncodedImage {
    chunks: Chunks,
    /// By chunk; those of tokens have none.
    values: Vec<Vec<f32>>,
    n_embd: usize,
    hash: [u8; 32],
}

impl EncodedImage {
    pub(super) fn new(mut chunks: Chunks, values: Vec<Vec<f32>>, n_embd: usize, hash: [u8; 32]) -> Self {
        chunks.strip();
        Self {
            chunks,
            values,
            n_embd,
            hash,
        }
    }

    /// Tokens it takes in the context, those around the embeddings included.
    pub fn n_tokens(&self) -> usize {
        let tokens = |chunk: &Chunk| match chunk {
            Chunk::Tokens { tokens } => tokens.len(),
            Chunk::Image { n_tokens, .. } => *n_tokens,
        };
        self.chunks.list().iter().map(tokens).sum()
    }

    /// Positions it takes: fewer than tokens with M-RoPE, where all of a picture has the same time.
    pub fn n_positions(&self) -> usize {
        let positions = |chunk: &Chunk| match chunk {
            Chunk::Tokens { tokens } => tokens.len(),
            Chunk::Image { n_positions, .. } => *n_positions,
        };
        self.chunks.list().iter().map(positions).sum()
    }

    /// Bytes of the embeddings.
    pub fn bytes(&self) -> u64 {
        self.values.iter().map(|values| size_of_val(&values[..]) as u64).sum()
    }

    pub(super) fn list(&self) -> &[Chunk] {
        self.chunks.list()
    }

    pub(super) fn positions(&self, number: usize, first: i32) -> Result<Vec<i32>> {
        self.chunks.positions(number, first)
    }

    /// Stand-ins for the positions of a chunk among tokens: negative, with parts of the hash, so that what holds for tokens
    /// (equal prefixes are computed equally) holds for images.
    pub(super) fn placeholders(&self, number: usize, n: usize) -> Vec<Token> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let once = match n {
            0..TELLING => 1 + NEXT.fetch_add(1, Ordering::Relaxed), // equal to nothing, not even to itself again
            _ => 0,
        };
        let mut words = Vec::with_capacity(n + 8);
        for block in 0_u64.. {
            if words.len() >= n {
                break;
            }
            let mut hash = Sha256::new();
            hash.update(self.hash);
            for part in [number as u64, once, block] {
                hash.update(part.to_le_bytes());
            }
            let digest = hash.finalize();
            words.extend(
                digest
                    .chunks_exact(4)
                    .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            );
        }
        words.truncate(n);
        let placeholder = |(i, word): (usize, u32)| {
            let first = if i == 0 { FIRST } else { 0 };
            ((word & (FIRST - 1)) | first | 1 << 31).cast_signed()
        };
        words.into_iter().enumerate().map(placeholder).collect()
    }

    /// Computes `n` of a chunk's embeddings, from `from` on, and appends them to the cache. `positions` are those of the
    /// whole chunk.
    pub(super) fn decode(
        &self,
        context: &mut Context,
        seq: i32,
        (number, positions): (usize, &[i32]),
        (from, n): (usize, usize),
    ) -> Result<()> {
        let Some(&Chunk::Image {
            n_tokens, non_causal, ..
        }) = self.chunks.list().get(number)
        else {
            return Err(Error::Invalid(format!("chunk {number} is no image")));
        };
        if n == 0 || from + n > n_tokens {
            return Err(Error::Invalid(format!(
                "{n} embeddings from {from} on were asked for, there are {n_tokens}"
            )));
        }
        let sections = positions.chunks_exact(n_tokens);
        let positions: Vec<i32> = sections.flat_map(|section| section[from..from + n].to_vec()).collect();
        context.decode_embeddings(
            seq,
            Embeddings {
                values: &self.values[number][from * self.n_embd..(from + n) * self.n_embd],
                positions: &positions,
                n_tokens: n,
                non_causal,
            },
        )
    }
}

/// Whether a token stands for a part of an image.
pub(super) fn is_placeholder(token: Token) -> bool {
    token < 0
}

/// Whether a token stands for the beginning of one.
pub(super) fn begins(token: Token) -> bool {
    is_placeholder(token) && token.cast_unsigned() & FIRST != 0
}
