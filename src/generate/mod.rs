//! From tokens to text: the loop that the command line, the library and the scheduler share.
//!
//! [`Session`] is the simple way: one conversation over one context. [`Generation`] is the state of one answer without the
//! decoding, for callers that decode several answers in one batch.

mod cache;
mod params;
mod session;
mod state;
mod stop;
mod utf8;

pub(crate) use cache::{keep_prefix, prefix_to_keep};
pub use params::GenParams;
pub use session::{GenStats, PrefillStats, Prompt, Session, TokenStream};
pub use state::{FinishReason, Generation, Piece};
pub use stop::{StopMatcher, StopOutcome};
pub use utf8::Utf8Decoder;
