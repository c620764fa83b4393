//! Generated declarations of the shim (`ffi/tq.h`). Private: the safe layer is `engine`.
#![allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    dead_code,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]

// Must-have symbols, named one by one: if one of these lines does not compile, `ffi/tq.h` and this
// crate come from different versions (a stale TURBOQUANT_ENGINE_DIR, or an edited header).
#[allow(unused_imports)]
use self::{
    tq_attention_select as _, tq_codec_version as _, tq_context_new as _, tq_model_load as _, tq_process_init as _,
};

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
