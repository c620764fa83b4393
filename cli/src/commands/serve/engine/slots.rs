//! Slots in files, and the memory for prompts that slots had to give up.

use super::loaded::Loaded;
use super::saturate;
use crate::args::SlotArgs;
use crate::commands::serve::backend::{BackendError, SlotAction, SlotReport};
use anyhow::{Result, bail};
use llama_turboquant::scheduler::{SchedulerConfig, SlotError, SlotTransfer};
use llama_turboquant::{Error, memory};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Instant;

/// What llama-server takes when nothing is said, in MiB.
const DEFAULT_CACHE: u64 = 8192;

/// Settings about slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSettings {
    /// The folder for saved slots; `None`: slots are not saved.
    pub folder: Option<PathBuf>,
    /// Bytes of main memory for prompts, of all models or of one; `None`: no limit.
    pub prompt_cache: Option<u64>,
    /// Checkpoints a slot keeps at most.
    pub checkpoints: usize,
    /// Tokens between those on the way through a prompt.
    pub checkpoint_min_step: usize,
}

/// Nothing is saved or kept.
impl Default for SlotSettings {
    fn default() -> Self {
        Self {
            folder: None,
            prompt_cache: Some(0),
            checkpoints: 0,
            checkpoint_min_step: 0,
        }
    }
}

impl SlotSettings {
    /// What was typed.
    ///
    /// # Errors
    /// If the folder for saved slots is none.
    pub fn new(args: &SlotArgs) -> Result<Self> {
        if let Some(folder) = &args.slot_save_path
            && !folder.is_dir()
        {
            bail!(
                "--slot-save-path {} is no folder; create it, or name one that exists",
                folder.display()
            );
        }
        let prompt_cache = match args.cache_ram.map(u64::try_from) {
            Some(Ok(mib)) => Some(mib << 20),
            Some(Err(_)) => None, // -1
            None => {
                let quarter = memory::available_ram().map_or(0, |free| free / 4);
                Some(quarter.min(DEFAULT_CACHE << 20))
            }
        };
        let default = SchedulerConfig::default();
        let or_default = |given: Option<u32>, default| given.map_or(default, |given| given as usize);
        Ok(Self {
            folder: args.slot_save_path.clone(),
            prompt_cache,
            checkpoints: or_default(args.ctx_checkpoints, default.checkpoints),
            checkpoint_min_step: or_default(args.checkpoint_min_step, default.checkpoint_min_step),
        })
    }

    fn path(&self, name: &str) -> Result<PathBuf, BackendError> {
        let folder = self.folder.as_ref().ok_or_else(|| {
            BackendError::NotSupported(
                "this server does not save slots; start it with `--slot-save-path DIR` to let it".into(),
            )
        })?;
        if !is_plain(name) {
            return Err(BackendError::InvalidRequest {
                message: format!("`{name}` is no plain file name"),
                param: Some("filename".into()),
            });
        }
        Ok(folder.join(name))
    }
}

/// Whether a name from a request stays in the folder it is put into, on every system: letters, digits and `._-+ `, no dot
/// in front, none of Windows' devices.
pub fn is_plain(name: &str) -> bool {
    const LONGEST: usize = 128; // a file system takes 255 bytes, and the name of the unfinished file is longer
    let allowed = |c: char| c.is_alphanumeric() || "._-+ ".contains(c);
    let stem = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device)
            .is_some_and(|n| n.len() == 1 && n.chars().all(|c| c.is_ascii_digit()))
    };
    let device = ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str()) || numbered("COM") || numbered("LPT");
    !name.is_empty()
        && name.len() <= LONGEST
        && name.chars().all(allowed)
        && !name.starts_with(['.', ' '])
        && !name.ends_with(['.', ' '])
        && !device
}

impl Loaded {
    /// Does something with a slot. Blocks.
    pub(super) fn slot(&self, slot: u32, action: SlotAction) -> Result<SlotReport, BackendError> {
        let start = Instant::now();
        let number = slot as usize;
        let done = match &action {
            SlotAction::Save(name) => self.scheduler.save_slot(number, &self.slots.path(name)?),
            SlotAction::Restore(name) => self.scheduler.restore_slot(number, &self.slots.path(name)?),
            SlotAction::Erase => self
                .scheduler
                .erase_slot(number)
                .map(|n_tokens| SlotTransfer { n_tokens, bytes: 0 }),
        };
        let done = done.map_err(|error| refused(error, &action))?;
        Ok(SlotReport {
            n_tokens: saturate(done.n_tokens),
            bytes: done.bytes,
            took: start.elapsed(),
        })
    }
}

/// What the client is told. The folder is not its business, so paths stay in the log.
fn refused(error: SlotError, action: &SlotAction) -> BackendError {
    let (SlotAction::Save(name) | SlotAction::Restore(name)) = action else {
        return plain(error);
    };
    let about = |message: String| BackendError::InvalidRequest {
        message,
        param: Some("filename".into()),
    };
    match error {
        SlotError::Failed(Error::Io(io)) if io.kind() == ErrorKind::NotFound => {
            about(format!("there is no saved slot `{name}`"))
        }
        SlotError::Failed(error @ Error::DiskFull { .. }) => full(name, error),
        SlotError::Failed(Error::Io(io)) => BackendError::internal(
            format!("the saved slot `{name}` cannot be read or written"),
            io.to_string(),
        ),
        SlotError::Failed(error) => about(format!("`{name}` cannot be used: {error}")),
        other => plain(other),
    }
}

fn full(name: &str, error: Error) -> BackendError {
    let need = match error {
        Error::DiskFull { need, .. } => need,
        _ => 0,
    };
    BackendError::NoRoom {
        message: format!(
            "the saved slot `{name}` was not written: its disk is full, and it takes {need} bytes; make room for them and save it \
             again"
        ),
        detail: error.to_string(),
    }
}

fn plain(error: SlotError) -> BackendError {
    match error {
        SlotError::Stopped(_) => BackendError::Unavailable(error.to_string()),
        SlotError::Failed(error) => super::backend_error(error),
        other => BackendError::invalid(other.to_string()),
    }
}
