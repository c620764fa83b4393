//! OpenAI's dialect, with llama-server's extensions: requests to jobs, events to answers.

pub mod chat_answer;
pub mod chat_request;
pub mod chat_stream;
pub mod completion_answer;
pub mod completion_request;
pub mod generation;
pub mod messages;
pub mod parts;
mod sampling;
pub mod tools;
