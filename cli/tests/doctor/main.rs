//! `turboquant doctor`: each finding from facts that are made up, and the program on this machine.

#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/mod.rs"]
mod support;

mod findings;
mod healthy;
mod program;
mod wired;
