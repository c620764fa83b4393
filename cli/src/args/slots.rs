//! Options about slots and what is kept of them.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Clone, Default, Args)]
pub struct SlotArgs {
    /// Folder for saved slots (POST /slots/{id}?action=save or restore); without it they are refused.
    #[arg(long, value_name = "DIR")]
    pub slot_save_path: Option<PathBuf>,
    /// MiB of main memory for prompts that slots had to give up, for all models together; 0: none, -1: no limit. Models share
    /// it evenly: as many as may be loaded at the same time (--models-max), or as are on offer where these are fewer. Default:
    /// 8192, but at most a quarter of the memory that is free. [-cram]
    #[arg(
        long,
        value_name = "MIB",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i64).range(-1..=1 << 30)
    )]
    pub cache_ram: Option<i64>,
}
