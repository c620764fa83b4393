//! Server-sent events, byte for byte.
//!
//! Written by hand, because clients compare bytes: some match a line against `data: [DONE]`
//! exactly.

use axum::body::Bytes;
use serde::Serialize;

/// Content type of a stream.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// The last event of a stream that went well.
pub const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// A comment, which clients skip.
pub const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// An event without a name.
pub fn data(value: &impl Serialize) -> Bytes {
    write(b"data: ".to_vec(), value)
}

/// An event with a name.
pub fn event(name: &str, value: &impl Serialize) -> Bytes {
    write(format!("event: {name}\ndata: ").into_bytes(), value)
}

fn write(mut event: Vec<u8>, value: &impl Serialize) -> Bytes {
    // Fails only for maps with keys that are not strings, and none of our shapes has one.
    serde_json::to_writer(&mut event, value).expect("answers are serializable");
    event.extend_from_slice(b"\n\n");
    event.into()
}
