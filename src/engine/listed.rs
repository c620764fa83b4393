//! The engine's lists of implementations: of the codec and of attention.

use super::call::c_string;
use crate::error::Result;
use serde::Deserialize;
use std::ffi::CString;

/// As `tq_codec_implementations` and `tq_attention_implementations` write them.
#[derive(Deserialize)]
pub(super) struct Listed {
    active: String,
    runnable: Vec<String>,
    skipped: Vec<String>,
}

impl Listed {
    /// The active one and those that this CPU runs, each made from its name, and the names of the others.
    pub(super) fn named<T>(self, make: impl Fn(CString) -> T) -> Result<(T, Vec<T>, Vec<String>)> {
        let named = |name: &String| -> Result<T> { Ok(make(c_string("implementation", name)?)) };
        Ok((
            named(&self.active)?,
            self.runnable.iter().map(named).collect::<Result<_>>()?,
            self.skipped,
        ))
    }
}
