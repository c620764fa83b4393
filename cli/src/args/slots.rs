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
    /// Checkpoints that each slot keeps of models with sliding windows or recurrent layers, whose cache cannot be cut back: an
    /// edited turn, an answer written anew or one without its reasoning goes on from the last checkpoint before it instead
    /// of from the beginning. They are made before the last turn and the end of a prompt, and on the way through a long one;
    /// of more than N those go that are nearest to others. They take at most half of --cache-ram, and none are kept with
    /// --cache-ram 0. Other models need none. 0: none. Default: 32. [-ctxcp]
    #[arg(
        long,
        alias = "swa-checkpoints",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(..=4096)
    )]
    pub ctx_checkpoints: Option<u32>,
    /// Tokens between the checkpoints on the way through a long prompt; 0: one after each step (--ubatch-size). Those before
    /// its last turn and its end are made anyway. Default: 8192. [-cms]
    #[arg(long, value_name = "TOKENS")]
    pub checkpoint_min_step: Option<u32>,
}
