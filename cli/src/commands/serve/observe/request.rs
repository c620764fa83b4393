//! A request's name and what it used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::HeaderValue;

use crate::commands::serve::ids::new_id;

/// Longest id that is taken from a request: it is repeated in every line of the log.
const LONGEST_ID: usize = 128;

/// The name of a request in the log and in `x-request-id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The client's, when it has at most 128 of the characters `A-Z a-z 0-9 - _ . : / + =`; else a new one. An odd id is no
    /// reason to refuse a request, but must not forge lines of the log.
    pub fn accept(given: Option<&HeaderValue>) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
        let given = given.and_then(|value| value.to_str().ok());
        let given = given.filter(|id| (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(plain));
        Self(given.map_or_else(|| new_id("req_"), str::to_owned))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

tokio::task_local! {
    static CURRENT: Arc<RequestTally>;
}

/// Tokens that the jobs of a request used, for its line in the access log.
#[derive(Debug, Default)]
pub struct RequestTally {
    prompt: AtomicU32,
    completion: AtomicU32,
}

impl RequestTally {
    /// The tally of the request whose handler calls this; None outside of one, and in tasks that a handler started.
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Runs a handler with this tally as the current one.
    pub async fn scope<T>(self: Arc<Self>, handler: impl Future<Output = T>) -> T {
        CURRENT.scope(self, handler).await
    }

    /// Adds what a job used.
    pub fn add(&self, prompt: u32, completion: u32) {
        self.prompt.fetch_add(prompt, Ordering::Relaxed);
        self.completion.fetch_add(completion, Ordering::Relaxed);
    }

    /// Tokens of prompts and of answers so far.
    pub fn tokens(&self) -> (u32, u32) {
        (
            self.prompt.load(Ordering::Relaxed),
            self.completion.load(Ordering::Relaxed),
        )
    }
}
