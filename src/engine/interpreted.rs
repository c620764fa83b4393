//! What the wrappers do with memory and callbacks of the shim, under Miri, which runs no C++: the functions of the shim
//! that these tests reach are written here again, as `ffi/` has them.

use super::backend::on_log;
use super::call::{self, Text};
use super::synth::SynthParams;
use crate::Error;
use crate::sys;
use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn layout(len: usize) -> Layout {
    Layout::array::<u8>(len + 1).expect("a small text")
}

/// `tq::put_text`: a copy, NUL-terminated, that `tq_text_free` frees.
fn put_text(out: *mut sys::tq_text, text: &str) {
    // SAFETY: the slot is valid; the block is as long as what is written to it.
    unsafe {
        let data = alloc(layout(text.len()));
        data.copy_from_nonoverlapping(text.as_ptr(), text.len());
        data.add(text.len()).write(0);
        (*out).data = data.cast();
        (*out).len = text.len();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn tq_text_free(text: *mut sys::tq_text) {
    // SAFETY: the slot is valid, and holds nothing or what `put_text` put there.
    unsafe {
        if !(*text).data.is_null() {
            dealloc((*text).data.cast(), layout((*text).len));
        }
        (*text).data = std::ptr::null_mut();
        (*text).len = 0;
    }
}

/// Reports three times, then says that the disk is full.
#[unsafe(no_mangle)]
unsafe extern "C" fn tq_model_synth(
    _path: *const c_char,
    _params: *const c_char,
    progress: sys::tq_progress_callback,
    user: *mut c_void,
    error: *mut sys::tq_text,
) -> sys::tq_status {
    for step in [0.25, 0.5, 1.0] {
        // SAFETY: the caller's callback, with what the caller gave for it.
        if let Some(report) = progress
            && !unsafe { report(step, user) }
        {
            put_text(error, "writing was stopped");
            return sys::TQ_ABORTED;
        }
    }
    put_text(error, "no space left");
    sys::TQ_ENGINE
}

#[test]
fn text_of_the_shim_is_copied_and_given_back() {
    let text = call::text(|out, _| {
        put_text(out, "gr\u{fc}n");
        sys::TQ_OK
    });
    assert_eq!(text.expect("a text"), "gr\u{fc}n");
    let both = call::text(|out, error| {
        put_text(out, "half a text");
        put_text(error, "and then a failure");
        sys::TQ_INVALID
    });
    assert_eq!(both.expect_err("a failure").text, "and then a failure");
    assert!(Text::new().bytes().is_empty());
}

#[test]
fn a_callback_borrows_what_it_was_given() {
    let mut seen = Vec::new();
    let written = SynthParams::of("llama").write_with("model.gguf", |progress| {
        seen.push(progress);
        ControlFlow::Continue(())
    });
    assert!(matches!(written, Err(Error::Engine(text)) if text == "no space left"));
    assert_eq!(seen, [0.25, 0.5, 1.0]);
    let stopped = SynthParams::of("llama").write_with("model.gguf", |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::Cancelled)));
}

#[test]
fn a_panic_is_carried_over_the_shim() {
    let write = || SynthParams::of("llama").write_with("model.gguf", |_| panic!("in the callback"));
    let panic = catch_unwind(AssertUnwindSafe(write)).expect_err("a panic");
    assert_eq!(panic.downcast_ref(), Some(&"in the callback"));
}

#[test]
fn a_line_of_the_log_is_read_up_to_its_end() {
    let line = c"not UTF-8: \xff";
    // SAFETY: the line is NUL-terminated.
    unsafe { on_log(sys::TQ_LOG_WARN, line.as_ptr(), std::ptr::null_mut()) };
}
