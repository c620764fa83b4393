//! The dialect of OpenAI's `/v1/responses`: items in, items out, named events.
//!
//! Nothing is stored: each request brings its whole conversation, and what refers to an earlier
//! response is refused.

pub mod input;
pub mod output;
pub mod request;
pub mod response;
pub mod stream;
pub mod tools;
