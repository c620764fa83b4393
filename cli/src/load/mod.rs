//! Many clients at once: what a server answers under load, how fast, how fairly, and whether it is the same.
//!
//! ```text
//! Plan (seed) -> drive: closed or open loop -> client: one request over HTTP -> Outcome -> Tally -> Report
//! ```
//! The plan knows no clock and no network, and the arithmetic of the report knows neither: both are tested alone.

pub mod api;
pub mod client;
pub mod drive;
pub mod fairness;
pub mod mix;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod summary;
pub mod tally;
pub mod verify;
pub mod watch;

pub use api::Api;
pub use client::{Client, Target};
pub use drive::{Drive, Loop};
pub use mix::Mix;
pub use plan::Plan;
pub use report::Report;
