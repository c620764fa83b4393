//! The program `turboquant`, as a library so that its tests reach every part.
#![forbid(unsafe_code)]

pub mod args;
pub mod auto;
pub mod commands;
pub mod console;
pub mod decide;
pub mod doctor;
pub mod embedded;
pub mod hub;
pub mod interrupt;
pub mod load;
pub mod loras;
pub mod measuring;
pub mod options;
pub mod profile;
pub mod projector;
pub mod report;
pub mod settings;
pub mod store;
