//! A long conversation with recall questions: does a cache forget, or drift, as the chat grows?
//!
//! The text is written before ([`script`]) and the same for every cache: the answers that the conversation goes on with are
//! the script's, whatever the model says to a recall question. So each token's predictions can be compared with those of the
//! first cache, and what a cache says wrong does not change what comes next. [`sessions`] holds them, appending to the caches
//! as real chats do; [`SessionRun::drift`] compares the turns after the 30th with those before.

mod drift;
mod hold;
mod script;

pub use drift::{Drift, NO_WORSE, Recall, Verdict};
pub use hold::{Conversation, SessionRun, TurnResult, sessions};
pub use script::{LEAST_TURNS, Turn, TurnKind, script};

/// Drift is what happens after this turn.
pub const DRIFT_TURN: usize = 30;
