//! Which kernels compute attention over compressed KV caches on the CPU, and how often they did.
//!
//! A cache is compressed if its K or its V is a quantized type (turbo or llama.cpp's own). This crate has fused kernels for
//! such caches, one implementation per instruction set; `upstream` is llama.cpp's own path, for comparisons. Attention over
//! a cache of plain types (f16, bf16, f32) is always llama.cpp's, and so is that of other devices.
//!
//! The choice and the counts belong to the process, not to a context.
//!
//! ```no_run
//! use llama_turboquant::engine::attention::{Implementation, Ops};
//! let before = Ops::counted()?;
//! // ... decode with a turbo cache ...
//! let ops = Ops::counted()?.since(before);
//! println!("{} by {}, {} by llama.cpp", ops.turboquant, Implementation::active()?.name(), ops.upstream);
//! # Ok::<(), llama_turboquant::Error>(())
//! ```

use super::backend::parse;
use super::call;
use super::listed::Listed;
use crate::error::{Error, Result};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::ffi::CString;

/// The name of llama.cpp's own path.
pub const UPSTREAM: &str = "upstream";

/// The implementations of this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implementations {
    /// The one in use.
    pub active: Implementation,
    /// Those that can be selected here: ours, slowest (and first: `scalar`) first, then `upstream`.
    pub runnable: Vec<Implementation>,
    /// Names of those that this CPU cannot run.
    pub skipped: Vec<String>,
}

/// Attention kernels that this CPU can run; the object is the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implementation {
    name: CString,
}

impl Implementation {
    /// All implementations compiled into this build.
    ///
    /// # Errors
    /// If the engine's answer cannot be read.
    pub fn all() -> Result<Implementations> {
        let (active, runnable, skipped) = listed()?.names.named(|name| Self { name })?;
        Ok(Implementations {
            active,
            runnable,
            skipped,
        })
    }

    /// The implementation in use: the fastest that this CPU runs, unless another was selected.
    ///
    /// # Errors
    /// If the engine's answer cannot be read.
    pub fn active() -> Result<Self> {
        Ok(Self::all()?.active)
    }

    /// The implementation with this name: `scalar`, `avx2`, ..., or [`UPSTREAM`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that no implementation has, [`Error::Unsupported`] for one that this CPU cannot run;
    /// both texts list the names that can be used.
    pub fn named(name: &str) -> Result<Self> {
        let all = Self::all()?;
        if let Some(found) = all.runnable.iter().find(|it| it.name() == name) {
            return Ok(found.clone());
        }
        let known: Vec<&str> = all.runnable.iter().map(Self::name).collect();
        let known = known.join(", ");
        Err(if all.skipped.iter().any(|skipped| skipped == name) {
            Error::Unsupported(format!(
                "attention kernels {name}: this CPU cannot run them; it runs {known}"
            ))
        } else {
            Error::Invalid(format!(
                "there are no attention kernels named {name}; this CPU runs {known}"
            ))
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    /// Whether it is llama.cpp's own path.
    #[must_use]
    pub fn is_upstream(&self) -> bool {
        self.name() == UPSTREAM
    }

    /// Makes it the one in use, for all contexts of the process, those that exist included. Not while one of them decodes:
    /// the memory and the threads of that step were planned for the implementation before, and the engine may abort.
    ///
    /// # Errors
    /// If the engine refuses it.
    pub fn select(&self) -> Result<()> {
        // SAFETY: the name is NUL-terminated and only read during the call.
        call::check(|error| unsafe { sys::tq_attention_select(self.name.as_ptr(), error) })?;
        Ok(())
    }
}

/// Attention operators (one per layer and graph) over compressed caches that the CPU has computed. Others are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ops {
    /// By this crate's kernels.
    pub turboquant: u64,
    /// By llama.cpp's own.
    pub upstream: u64,
}

impl Ops {
    /// Those of all contexts since the process started. Decoding returns when its operators are computed, so the difference
    /// around it is exact as long as no other context decodes meanwhile.
    ///
    /// # Errors
    /// If the engine's answer cannot be read.
    pub fn counted() -> Result<Self> {
        Ok(listed()?.calls)
    }

    /// Those that were computed since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            turboquant: self.turboquant.saturating_sub(earlier.turboquant),
            upstream: self.upstream.saturating_sub(earlier.upstream),
        }
    }
}

impl std::ops::AddAssign for Ops {
    fn add_assign(&mut self, other: Self) {
        self.turboquant += other.turboquant;
        self.upstream += other.upstream;
    }
}

#[derive(Deserialize)]
struct Counted {
    #[serde(flatten)]
    names: Listed,
    calls: Ops,
}

fn listed() -> Result<Counted> {
    // SAFETY: both slots come from `call::text` and live for the call.
    let json = call::text(|out, error| unsafe { sys::tq_attention_implementations(out, error) })?;
    parse("list of attention kernels", &json)
}
