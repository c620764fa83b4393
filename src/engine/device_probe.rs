//! Operators run alone on any device, over packed rows: the seam at which [`verify`](crate::verify::device) compares a
//! graphics processor with the codec and with float64 arithmetic. [`probe`](super::probe) is the same on the CPU alone.

use super::backend::parse;
use super::call;
use super::codec::GgmlType;
use super::probe::{AttentionShape, or_null, same_len};
use crate::error::{Error, Result};
use crate::sys;
use serde::Deserialize;
use std::ptr::NonNull;

/// Which attention kernels the build claims for its graphics backends: K and V are any of the turbo families and of `plain`,
/// with a turbo type on at least one side (`kernels/metal/kernels.def`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KernelRegistry {
    /// Values per head of K and of V.
    pub heads: Vec<(u32, u32)>,
    /// The engine's own types that may stand beside a turbo type.
    pub plain: Vec<String>,
}

/// The registry that the engine was built with.
///
/// # Errors
/// If the engine's answer cannot be read.
pub fn kernel_registry() -> Result<KernelRegistry> {
    // SAFETY: both slots come from `call::text` and live for the call.
    let json = call::text(|out, error| unsafe { sys::tq_kernel_registry(out, error) })?;
    parse("registry of attention kernels", &json)
}

/// An operator that moves rows and converts them on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsOp {
    /// `SET_ROWS`: row i of the source becomes row `ids[i]` of the destination.
    Set {
        /// Row numbers of 64 bits, as llama.cpp's caches have them, instead of 32.
        wide_ids: bool,
    },
    /// `CPY`: row by row.
    Copy,
    /// `GET_ROWS`: row `ids[i]` of the source becomes row i of the destination.
    Get,
}

/// The problem that [`Probe::rows`] solves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsShape {
    /// The operator.
    pub op: RowsOp,
    /// Type of the source.
    pub from: GgmlType,
    /// Type of the destination.
    pub to: GgmlType,
    /// Values per row.
    pub n: usize,
    /// Rows of the source.
    pub rows_from: usize,
    /// Rows of the destination.
    pub rows_to: usize,
}

impl RowsShape {
    fn ids(&self) -> usize {
        match self.op {
            RowsOp::Set { .. } => self.rows_from,
            RowsOp::Copy => 0,
            RowsOp::Get => self.rows_to,
        }
    }
}

/// A device, opened to run single operators.
#[derive(Debug)]
pub struct Probe {
    raw: NonNull<sys::tq_probe>,
}

impl Probe {
    /// Opens device number `device` of [`Backend::devices`](crate::Backend::devices); `n_threads` is for the CPU.
    ///
    /// # Errors
    /// A device that does not exist or does not start.
    pub fn open(device: usize, n_threads: u32) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        let n_threads = i32::try_from(n_threads).unwrap_or(i32::MAX);
        // SAFETY: `raw` and `error` are valid for the call; the shim checks both numbers.
        call::check(|error| unsafe { sys::tq_probe_open(device, n_threads, &raw mut raw, error) })?;
        NonNull::new(raw)
            .map(|raw| Self { raw })
            .ok_or_else(|| Error::Engine(format!("device {device} was opened without a handle")))
    }

    /// Moves the rows of `from` into `to`, which keeps what the operator does not write; both are packed rows of their types.
    /// `ids` are the row numbers of `SET_ROWS` and `GET_ROWS`, none for `CPY`. Returns whether the device runs the operator;
    /// if not, nothing was done.
    ///
    /// # Errors
    /// Slices of another length than `shape` says, a shape that the operator does not have, or a device that fails.
    pub fn rows(&mut self, shape: &RowsShape, from: &[u8], ids: &[i32], to: &mut [u8]) -> Result<bool> {
        let bytes = |ty: GgmlType, rows: usize| ty.row_bytes(shape.n).map(|bytes| bytes.saturating_mul(rows));
        same_len("the source's bytes", from.len(), bytes(shape.from, shape.rows_from)?)?;
        same_len("the destination's bytes", to.len(), bytes(shape.to, shape.rows_to)?)?;
        same_len("the row numbers", ids.len(), shape.ids())?;
        let raw = sys::tq_rows_shape {
            op: match shape.op {
                RowsOp::Set { .. } => sys::TQ_ROWS_SET,
                RowsOp::Copy => sys::TQ_ROWS_COPY,
                RowsOp::Get => sys::TQ_ROWS_GET,
            },
            type_from: shape.from.id(),
            type_to: shape.to.id(),
            n: shape.n,
            rows_from: shape.rows_from,
            rows_to: shape.rows_to,
            wide_ids: shape.op == RowsOp::Set { wide_ids: true },
        };
        let mut ran = false;
        // SAFETY: `self.raw` lives as long as `self`; the lengths of all slices were just compared with what `raw` says.
        call::check(|error| unsafe {
            sys::tq_probe_rows(
                self.raw.as_ptr(),
                &raw const raw,
                from.as_ptr(),
                ids.as_ptr(),
                to.as_mut_ptr(),
                &raw mut ran,
                error,
            )
        })?;
        Ok(ran)
    }

    /// Attention over a packed cache: `q` is `[head_dim_k, n_heads, n_queries, n_sequences]`, `k` and `v` are packed rows
    /// `[head_dim, n_kv_heads, n_keys, n_sequences]`, the rest is as in [`attention`](super::probe::attention). `None` if the
    /// device does not run it.
    ///
    /// # Errors
    /// Slices of another length than `shape` says, or a device that fails.
    pub fn attend(
        &mut self,
        shape: &AttentionShape,
        q: &[f32],
        k: &[u8],
        v: &[u8],
        mask: Option<&[f32]>,
        sinks: Option<&[f32]>,
    ) -> Result<Option<Vec<f32>>> {
        same_len("q", q.len(), shape.q_len())?;
        same_len("k's bytes", k.len(), shape.type_k.row_bytes(shape.k_len())?)?;
        same_len("v's bytes", v.len(), shape.type_v.row_bytes(shape.v_len())?)?;
        shape.fits_mask_and_sinks(mask, sinks)?;
        let raw = shape.raw();
        let mut out = shape.new_output()?;
        let mut ran = false;
        // SAFETY: `self.raw` lives as long as `self`; the lengths of all slices were just compared with what `raw` says.
        call::check(|error| unsafe {
            sys::tq_probe_attend(
                self.raw.as_ptr(),
                &raw const raw,
                q.as_ptr(),
                k.as_ptr(),
                v.as_ptr(),
                or_null(mask),
                or_null(sinks),
                out.as_mut_ptr(),
                &raw mut ran,
                error,
            )
        })?;
        Ok(ran.then_some(out))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // SAFETY: `self.raw` came from `tq_probe_open` and is closed only here.
        unsafe { sys::tq_probe_close(self.raw.as_ptr()) }
    }
}
