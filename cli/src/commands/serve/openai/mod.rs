//! OpenAI's dialect, with llama-server's extensions: requests to jobs, events to answers.

pub mod chat_answer;
pub mod chat_request;
pub mod chat_stream;
pub mod completion_answer;
pub mod completion_request;
pub mod embeddings;
pub mod generation;
pub mod infill;
pub mod lora;
pub mod messages;
pub mod parts;
pub mod prompts;
pub mod rerank;
mod sampling;
pub mod tools;
