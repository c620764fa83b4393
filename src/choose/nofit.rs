//! Why nothing could be chosen, and what could be.

use super::{Rejected, gib};
use serde::Serialize;

/// Why nothing could be chosen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoFit {
    /// A wish that nothing can fulfil.
    #[error("{0}")]
    Invalid(String),
    /// Two wishes that exclude each other.
    #[error("{first} and {second} contradict each other: {why}")]
    Contradiction {
        /// The one, with its value.
        first: String,
        /// The other, with its value.
        second: String,
        /// How they collide, and what to do.
        why: String,
    },
    /// This model or its device can have none of the caches that the wishes leave.
    #[error("no KV cache is left to choose from: {}", list(.0))]
    Unsupported(Vec<Rejected>),
    /// There is not enough memory.
    #[error("{0}")]
    Memory(Box<Advice>),
}

/// What does not fit, and what would.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// The smallest that was tried.
    pub tried: String,
    /// The pool of memory that is short, by name.
    pub pool: String,
    /// Bytes it would take there, what is kept free included.
    pub need: u64,
    /// Bytes there are.
    pub capacity: u64,
    /// Bytes of weights that would fit, with [`context`](Self::context) tokens of the same cache; 0: none.
    pub weights_that_fit: u64,
    /// The context that figure is for.
    pub context: u32,
    /// The longest context that would fit with this model; `None`: not even the shortest does.
    pub longest: Option<u32>,
    /// What was considered.
    pub rejected: Vec<Rejected>,
}

/// Bits per weight of Q4_K_M, the usual size of downloads: 8.54 GB for the 14.8 thousand million parameters of Qwen2.5-14B.
const Q4_K_M: f64 = 4.85;

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "this model does not fit: {} needs {} of {}, which has {}",
            self.tried,
            gib(self.need),
            self.pool,
            gib(self.capacity)
        )?;
        write!(f, " ({} too little).", gib(self.need.saturating_sub(self.capacity)))?;
        if let Some(longest) = self.longest {
            write!(
                f,
                " The longest context that fits is {longest} tokens: accept it with a smaller least context."
            )?;
        }
        if self.weights_that_fit == 0 {
            return write!(f, " No model fits beside what the program itself takes.");
        }
        write!(
            f,
            " A model of up to {} would fit with {} tokens, which is about {:.1} thousand million parameters at Q4_K_M; or free memory.",
            gib(self.weights_that_fit),
            self.context,
            self.weights_that_fit as f64 * 8.0 / Q4_K_M / 1e9
        )
    }
}

fn list(rejected: &[Rejected]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    // where the user asked for a type, only that one is of interest
    let asked = rejected.iter().any(|r| r.reason.code != "asked");
    for rejected in rejected.iter().filter(|r| !asked || r.reason.code != "asked") {
        reasons.push(format!("{}: {}", rejected.name, rejected.reason.text));
    }
    reasons.join("; ")
}
