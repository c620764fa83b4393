//! What the server tells about itself: metrics, request ids, the access log.
//!
//! Jobs are measured where their events leave for the client ([`JobWatch`], held by
//! [`Choices`](super::choices::Choices)), requests in one middleware ([`access`]), and what the engine occupies is read
//! when somebody asks ([`gauges`]).

pub mod access;
pub mod gauges;
mod job;
mod meter;
mod request;
mod subject;

pub use job::JobWatch;
pub use meter::{CONTENT_TYPE, Meter};
pub use request::{RequestId, RequestTally};
pub use subject::Subject;
