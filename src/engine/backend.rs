//! Process-wide start of the engine: its log, its devices.

use super::call;
use crate::kv::KvType;
use crate::{Error, Result, sys};
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

/// The engine, started. Zero-sized proof that [`Backend::init`] succeeded.
#[derive(Debug, Clone, Copy)]
pub struct Backend(());

/// What kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// A graphics card with memory of its own.
    Gpu,
    /// A graphics processor that shares main memory.
    Igpu,
    /// A helper such as a BLAS library; holds no layers.
    Accel,
}

/// A device the engine can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The engine's name of it ("CPU", "Metal", "CUDA0").
    pub name: String,
    /// The hardware's name.
    pub description: String,
    /// What kind of device.
    pub kind: DeviceKind,
    /// The backend that drives it.
    pub backend: String,
    /// Bytes free, as the device reports them.
    pub memory_free: u64,
    /// Bytes in all.
    pub memory_total: u64,
    /// What the device could not build of the turbo kernels (a library that its compiler refuses, with the first lines
    /// of the compiler's text); caches that need it are refused there. Empty where all is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// What the engine was built from and runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// llama.cpp's version.
    pub llama_cpp: String,
    /// The C++ compiler.
    pub compiler: String,
    /// What it compiled for.
    pub target: String,
    /// Version of our codec; part of every saved state.
    pub codec_version: u32,
    /// The codec implementation in use.
    pub codec: String,
    /// The backends compiled in.
    pub backends: Vec<String>,
    /// Instruction sets the CPU backend was compiled with.
    pub cpu_features: serde_json::Map<String, serde_json::Value>,
}

impl Backend {
    /// Starts the engine once per process; later calls return the first result. llama.cpp's log goes to
    /// `tracing` under the target `llama_cpp`.
    ///
    /// # Errors
    /// A CPU that this build does not run on, or an engine without backends.
    pub fn init() -> Result<Backend> {
        static STARTED: OnceLock<Result<Backend, String>> = OnceLock::new();
        STARTED
            .get_or_init(|| start().map_err(|e| e.to_string()))
            .clone()
            .map_err(Error::Engine)
    }

    /// The devices, in the engine's order.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn devices(&self) -> Result<Vec<DeviceInfo>> {
        // SAFETY: both slots are valid for the call.
        let json = call::text(|out, error| unsafe { sys::tq_devices(out, error) })?;
        parse("device list", &json)
    }

    /// What the engine was built from.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn describe(&self) -> Result<EngineInfo> {
        // SAFETY: both slots are valid for the call.
        let json = call::text(|out, error| unsafe { sys::tq_process_describe(out, error) })?;
        parse("engine description", &json)
    }

    /// Whether device number `device` of [`devices`](Self::devices) can by itself write and attend over a `k`/`v`
    /// cache of heads of `head_dim` values. `false` for a type that cannot store such heads.
    ///
    /// # Errors
    /// A device that does not exist.
    pub fn runs_attention(&self, device: usize, k: KvType, v: KvType, head_dim: (u32, u32)) -> Result<bool> {
        let (Some(layout_k), Some(layout_v)) = (k.layout(head_dim.0), v.layout(head_dim.1)) else {
            return Ok(false);
        };
        let mut runs = false;
        call::check(|error| {
            // SAFETY: `runs` and `error` are valid for the call; the shim checks the device number and the types.
            unsafe {
                sys::tq_device_runs_attention(
                    device,
                    layout_k.id,
                    layout_v.id,
                    head_dim.0,
                    head_dim.1,
                    &raw mut runs,
                    error,
                )
            }
        })?;
        Ok(runs)
    }
}

impl Backend {
    /// From now on, a mapped model file that becomes shorter while it is in use ends the process with a line on standard error
    /// that says so, and not only by SIGBUS: for programs; a library should leave the signals of its process alone. Linux only,
    /// elsewhere nothing changes.
    ///
    /// # Errors
    /// If the system refuses the handler.
    pub fn explain_faults(&self) -> Result<()> {
        // SAFETY: the handler that is installed only writes constant text and restores the one before it; the slot is valid.
        call::check(|error| unsafe { sys::tq_process_explain_faults(error) })?;
        Ok(())
    }
}

/// Ends the process at once with this exit code, also while contexts compute. [`std::process::exit`] is not for that: it runs the
/// destructors of C++'s static objects, which the engine's threads still use.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: takes a number and does not come back.
    unsafe { sys::tq_process_exit(code.into()) };
    std::process::abort() // not reached; the shim's declaration cannot say so
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(what: &str, json: &str) -> Result<T> {
    serde_json::from_str(json)
        .map_err(|e| Error::Engine(format!("the engine's {what} is not what this crate expects: {e}")))
}

fn start() -> Result<Backend> {
    // The default build assumes this much (build/engine.rs); a clear text is better than SIGILL.
    #[cfg(target_arch = "x86_64")]
    if !(std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c"))
    {
        return Err(Error::Unsupported(
            "this CPU lacks AVX2, FMA or F16C, which the engine is compiled for; build on this machine with `--features native`"
                .into(),
        ));
    }
    // SAFETY: `on_log` is a function for the life of the process and ignores its user pointer; `OnceLock` makes this
    // the only call.
    call::check(|error| unsafe { sys::tq_process_init(Some(on_log), std::ptr::null_mut(), error) })?;
    Ok(Backend(()))
}

/// llama.cpp is talkative: what it calls information is detail here.
pub(super) unsafe extern "C" fn on_log(level: sys::tq_log_level, line: *const c_char, _user: *mut c_void) {
    // SAFETY: the shim passes a NUL-terminated line that lives until this function returns.
    let line = unsafe { CStr::from_ptr(line) }.to_string_lossy();
    // `tracing` may run foreign code (a subscriber); a panic there must not unwind into C++.
    let _ = std::panic::catch_unwind(|| match level {
        sys::TQ_LOG_ERROR => tracing::error!(target: "llama_cpp", "{line}"),
        sys::TQ_LOG_WARN => tracing::warn!(target: "llama_cpp", "{line}"),
        sys::TQ_LOG_INFO => tracing::debug!(target: "llama_cpp", "{line}"),
        _ => tracing::trace!(target: "llama_cpp", "{line}"),
    });
}
