//! The dialect of Anthropic's `/v1/messages`: blocks in, blocks out, events with names.

pub mod answer;
pub mod error;
pub mod messages;
pub mod request;
pub mod stream;
pub mod tools;
