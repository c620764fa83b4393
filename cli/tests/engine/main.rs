//! The server over the real engine: what the scripted backend of the tests beside it cannot show. One program for all of
//! these tests, because each program carries the whole engine.

#[path = "../../../tests/support/adapter.rs"]
mod adapter;
mod aliases;
mod chat;
mod checkpoints;
mod contract;
mod counts;
mod load;
mod lora;
mod ollama;
mod pool;
mod pool_http;
mod pool_offers;
mod served;
mod slots;
mod vectors;
mod vision;
mod zoo;
