//! Models by name: a folder of them, and downloads from a hub, one test per promise. The hub is a stand-in on loopback.

mod folder;
mod program;
mod pull;
pub mod stand_in;
