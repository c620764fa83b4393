//! What the measuring subcommands share: default texts, records of results, progress, and the way from options to caches.

pub mod caches;
pub mod data;
pub mod progress;
pub mod record;
