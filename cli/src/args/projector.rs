//! Options about images.

use clap::{ArgAction, Args as ClapArgs};
use std::path::PathBuf;

/// Which projector, and how it is used.
#[derive(Debug, Clone, ClapArgs)]
pub struct ProjectorArgs {
    /// Projector (mmproj GGUF file) with which the model sees images; it must have been made for the model of -m. [-mm]
    #[arg(long, value_name = "FILE")]
    pub mmproj: Option<PathBuf>,
    /// Load no projector, even where one is named.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set, hide_possible_values = true, hide_default_value = true)]
    pub no_mmproj: bool,
    /// Encode images on the GPU, where there is one; --no-mmproj-offload: on the CPU.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = true, action = ArgAction::Set, hide_possible_values = true)]
    pub mmproj_offload: bool,
    /// Tokens an image takes at least, with models that see images of any size; more show more detail.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub image_min_tokens: Option<u32>,
    /// Tokens an image takes at most, likewise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub image_max_tokens: Option<u32>,
}
