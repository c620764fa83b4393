//! The two shapes of a shim call: one that returns a status and one that returns text.

use crate::error::Failure;
use crate::sys;
use std::ffi::CString;

/// Text that the shim allocated; freed when dropped.
pub(super) struct Text(sys::tq_text);

impl Text {
    pub(super) fn new() -> Self {
        Self(sys::tq_text {
            data: std::ptr::null_mut(),
            len: 0,
        })
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut sys::tq_text {
        &raw mut self.0
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if self.0.data.is_null() {
            return &[];
        }
        // SAFETY: `data` is non-null, so the shim filled it with `len` bytes, which live until `drop`.
        unsafe { std::slice::from_raw_parts(self.0.data.cast::<u8>(), self.0.len) }
    }

    pub(super) fn into_string(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: `self.0` is empty or was filled by the shim, and is freed only here.
        unsafe { sys::tq_text_free(&raw mut self.0) }
    }
}

/// Runs a shim call that takes an error slot.
pub(super) fn check(f: impl FnOnce(*mut sys::tq_text) -> sys::tq_status) -> Result<(), Failure> {
    let mut error = Text::new();
    match f(error.as_mut_ptr()) {
        sys::TQ_OK => Ok(()),
        status => Err(Failure {
            status,
            text: error.into_string(),
        }),
    }
}

/// Runs a shim call that returns text, and an error slot.
pub(super) fn text(f: impl FnOnce(*mut sys::tq_text, *mut sys::tq_text) -> sys::tq_status) -> Result<String, Failure> {
    let mut out = Text::new();
    check(|error| f(out.as_mut_ptr(), error))?;
    Ok(out.into_string())
}

/// A C string of `value`; a NUL inside is an invalid argument, named by `what`.
pub(super) fn c_string(what: &str, value: &str) -> Result<CString, Failure> {
    CString::new(value).map_err(|_| Failure {
        status: sys::TQ_INVALID,
        text: format!("{what} contains a NUL byte"),
    })
}
