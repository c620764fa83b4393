//! Pieces that several answers are made of.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::commands::serve::backend::{Alternative, Done, Finish, Progress, Timings, TokenLogprob, Usage};
use crate::commands::serve::ids::new_id;
use crate::commands::serve::state::{AppState, unix_time};

/// What all parts of an answer repeat. Made once per request: clients group chunks by it.
#[derive(Clone, Debug, Serialize)]
pub struct Head {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    system_fingerprint: String,
}

impl Head {
    /// A head for a new answer, whose id begins with `prefix`.
    pub fn new(prefix: &str, object: &'static str, model: &str, state: &AppState) -> Self {
        Self {
            id: new_id(prefix),
            object,
            created: unix_time(),
            model: model.to_owned(),
            system_fingerprint: state.settings.fingerprint.clone(),
        }
    }
}

/// The `usage` block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UsageBlock {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct PromptDetails {
    cached_tokens: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u32,
}

/// Adds up the jobs of a request.
#[derive(Clone, Debug)]
pub struct Tally {
    usage: UsageBlock,
    timings: Option<TimingsBlock>,
    jobs: usize,
    per_prompt: usize,
}

impl Tally {
    /// A sum over `jobs`, of which each run of `per_prompt` shares a prompt, counted once.
    pub fn new(jobs: usize, per_prompt: usize) -> Self {
        Self {
            usage: UsageBlock::default(),
            timings: None,
            jobs,
            per_prompt,
        }
    }

    /// Adds the end of the job at `choice`.
    pub fn add(&mut self, choice: usize, done: &Done) {
        let Usage {
            prompt,
            cached,
            completion,
            reasoning,
        } = done.usage;
        let sum = &mut self.usage;
        if choice.is_multiple_of(self.per_prompt) {
            sum.prompt_tokens += prompt;
            sum.prompt_tokens_details.cached_tokens += cached;
        }
        sum.completion_tokens += completion;
        sum.completion_tokens_details.reasoning_tokens += reasoning;
        sum.total_tokens = sum.prompt_tokens + sum.completion_tokens;
        // Times of jobs that ran side by side overlap; a sum would mean nothing.
        if self.jobs == 1 {
            self.timings = Some(TimingsBlock::from(done.timings));
        }
    }

    /// The tokens so far.
    pub fn usage(&self) -> UsageBlock {
        self.usage
    }

    /// The times, of a request with one job.
    pub fn timings(&self) -> Option<TimingsBlock> {
        self.timings
    }
}

/// The `prompt_progress` block, as llama-server has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProgressBlock {
    total: u32,
    cache: u32,
    processed: u32,
    time_ms: f64,
}

impl From<Progress> for ProgressBlock {
    fn from(progress: Progress) -> Self {
        Self {
            total: progress.total,
            cache: progress.cached,
            processed: progress.processed,
            time_ms: progress.time_ms,
        }
    }
}

/// The `timings` block, as llama-server has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimingsBlock {
    cache_n: u32,
    prompt_n: u32,
    prompt_ms: f64,
    prompt_per_token_ms: f64,
    prompt_per_second: f64,
    predicted_n: u32,
    predicted_ms: f64,
    predicted_per_token_ms: f64,
    predicted_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    draft_n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draft_n_accepted: Option<u32>,
}

impl From<Timings> for TimingsBlock {
    fn from(t: Timings) -> Self {
        // Nothing done in no time is a rate of 0: JSON has no NaN.
        let ratio = |over: f64, under: f64| if under > 0.0 { over / under } else { 0.0 };
        let (prompt_n, predicted_n) = (f64::from(t.prompt_n), f64::from(t.predicted_n));
        Self {
            cache_n: t.cache_n,
            prompt_n: t.prompt_n,
            prompt_ms: t.prompt_ms,
            prompt_per_token_ms: ratio(t.prompt_ms, prompt_n),
            prompt_per_second: ratio(prompt_n * 1e3, t.prompt_ms),
            predicted_n: t.predicted_n,
            predicted_ms: t.predicted_ms,
            predicted_per_token_ms: ratio(t.predicted_ms, predicted_n),
            predicted_per_second: ratio(predicted_n * 1e3, t.predicted_ms),
            draft_n: t.draft_n,
            draft_n_accepted: t.draft_n_accepted,
        }
    }
}

/// Why a choice ended. Clients reject other words than `stop`, `length` and `tool_calls`.
///
/// A cut answer is `length` even when it holds tool calls, since their arguments may be cut too.
pub fn finish_reason(finish: Finish, has_calls: bool, named_tool: bool) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::Stop | Finish::ToolCalls if has_calls && !named_tool => "tool_calls",
        Finish::Stop | Finish::ToolCalls => "stop",
    }
}

/// Log probabilities of a chat.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatLogprobs {
    content: Vec<ChatToken>,
}

/// A token with its log probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatToken {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
    top_logprobs: Vec<ChatAlternative>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct ChatAlternative {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl ChatLogprobs {
    /// None when the piece carries none.
    pub fn new(tokens: Vec<TokenLogprob>) -> Option<Self> {
        if tokens.is_empty() {
            return None;
        }
        let alternative = |Alternative { token, bytes, logprob }| ChatAlternative {
            token,
            logprob: finite(logprob),
            bytes,
        };
        let content = tokens.into_iter().map(
            |TokenLogprob {
                 token,
                 bytes,
                 logprob,
                 top,
             }| ChatToken {
                token,
                logprob: finite(logprob.unwrap_or(f32::NEG_INFINITY)),
                bytes,
                top_logprobs: top.into_iter().map(alternative).collect(),
            },
        );
        Some(Self {
            content: content.collect(),
        })
    }

    /// The tokens alone.
    pub fn into_tokens(self) -> Vec<ChatToken> {
        self.content
    }
}

/// Log probabilities of a completion: parallel lists.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LegacyLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<Top>>,
    text_offset: Vec<usize>,
}

impl LegacyLogprobs {
    /// None when the piece carries none. `offset` counts the characters of the answer, and is moved
    /// on.
    pub fn new(tokens: Vec<TokenLogprob>, offset: &mut usize) -> Option<Self> {
        if tokens.is_empty() {
            return None;
        }
        let mut lists = Self::default();
        for TokenLogprob {
            token, logprob, top, ..
        } in tokens
        {
            lists.text_offset.push(*offset);
            *offset += token.chars().count();
            lists.tokens.push(token);
            lists.token_logprobs.push(logprob.map(finite));
            lists.top_logprobs.push(logprob.map(|_| Top(top)));
        }
        Some(lists)
    }
}

/// Alternatives as a map from token to log probability, best first.
#[derive(Clone, Debug, PartialEq)]
struct Top(Vec<Alternative>);

impl Serialize for Top {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (at, Alternative { token, logprob, .. }) in self.0.iter().enumerate() {
            // Different bytes can have the same text, where they are not UTF-8. The likelier one
            // keeps the key.
            if !self.0[..at].iter().any(|earlier| earlier.token == *token) {
                map.serialize_entry(token, &finite(*logprob))?;
            }
        }
        map.end()
    }
}

/// JSON has no infinity. OpenAI writes this number for a token that cannot come.
fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}
