//! Operators of the built engine, run alone on the CPU: the seam at which tests and
//! [`verify`](crate::verify) compare it with a reference.

use super::call::{self, c_string};
use super::codec::GgmlType;
use crate::error::{Error, Result};
use crate::sys;

/// The problem that [`attention`] solves. Tensors are in ggml's order, fastest dimension first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Values per head of queries and keys.
    pub head_dim_k: u32,
    /// Values per head of values and output.
    pub head_dim_v: u32,
    /// Query heads, a multiple of `n_kv_heads`.
    pub n_heads: u32,
    /// KV heads.
    pub n_kv_heads: u32,
    /// Queries per head.
    pub n_queries: u32,
    /// Cached positions.
    pub n_keys: u32,
    /// Independent sequences.
    pub n_sequences: u32,
    /// Factor on the logits.
    pub scale: f32,
    /// ALiBi: largest slope; 0 for none. Needs a mask.
    pub max_bias: f32,
    /// Logits become `cap * tanh(logit / cap)`; 0 for none.
    pub logit_softcap: f32,
    /// Type of the cached keys.
    pub type_k: GgmlType,
    /// Type of the cached values.
    pub type_v: GgmlType,
    /// Threads to compute with.
    pub n_threads: i32,
}

impl AttentionShape {
    /// One query, one head, one sequence, the usual scale.
    #[must_use]
    pub fn new(head_dim: u32, n_keys: u32, type_k: GgmlType, type_v: GgmlType) -> Self {
        Self {
            head_dim_k: head_dim,
            head_dim_v: head_dim,
            n_heads: 1,
            n_kv_heads: 1,
            n_queries: 1,
            n_keys,
            n_sequences: 1,
            scale: 1.0 / (head_dim as f32).sqrt(),
            max_bias: 0.0,
            logit_softcap: 0.0,
            type_k,
            type_v,
            n_threads: 1,
        }
    }

    /// Values in `q`: `[head_dim_k, n_queries, n_heads, n_sequences]`.
    #[must_use]
    pub fn q_len(&self) -> usize {
        product(&[self.head_dim_k, self.n_queries, self.n_heads, self.n_sequences])
    }

    /// Values in `k`: `[head_dim_k, n_keys, n_kv_heads, n_sequences]`.
    #[must_use]
    pub fn k_len(&self) -> usize {
        product(&[self.head_dim_k, self.n_keys, self.n_kv_heads, self.n_sequences])
    }

    /// Values in `v`: `[head_dim_v, n_keys, n_kv_heads, n_sequences]`.
    #[must_use]
    pub fn v_len(&self) -> usize {
        product(&[self.head_dim_v, self.n_keys, self.n_kv_heads, self.n_sequences])
    }

    /// Values in the mask: `[n_keys, n_queries, 1, n_sequences]`.
    #[must_use]
    pub fn mask_len(&self) -> usize {
        product(&[self.n_keys, self.n_queries, self.n_sequences])
    }

    /// Values in the output: `[head_dim_v, n_heads, n_queries, n_sequences]`.
    #[must_use]
    pub fn out_len(&self) -> usize {
        product(&[self.head_dim_v, self.n_heads, self.n_queries, self.n_sequences])
    }

    /// That these have the lengths the engine reads.
    pub(super) fn fits_mask_and_sinks(&self, mask: Option<&[f32]>, sinks: Option<&[f32]>) -> Result<()> {
        mask.map_or(Ok(()), |m| same_len("mask", m.len(), self.mask_len()))?;
        sinks.map_or(Ok(()), |s| same_len("sinks", s.len(), self.n_heads as usize))
    }

    pub(super) fn raw(&self) -> sys::tq_attention_shape {
        sys::tq_attention_shape {
            head_dim_k: self.head_dim_k,
            head_dim_v: self.head_dim_v,
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            n_queries: self.n_queries,
            n_keys: self.n_keys,
            n_sequences: self.n_sequences,
            scale: self.scale,
            max_bias: self.max_bias,
            logit_softcap: self.logit_softcap,
            type_k: self.type_k.id(),
            type_v: self.type_v.id(),
            n_threads: self.n_threads,
        }
    }

    /// Room for the output; no abort where a shape is absurd.
    pub(super) fn new_output(&self) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        out.try_reserve_exact(self.out_len())
            .map_err(|e| Error::Invalid(format!("the output: {e}")))?;
        out.resize(self.out_len(), 0.0);
        Ok(out)
    }
}

/// Attention over a cache of `shape`'s types, computed by the engine's CPU backend. `k` and `v` are
/// quantized first; `mask` is added to the logits (`-inf` hides a key); `sinks` is one logit per
/// head that takes part in the softmax without a value.
///
/// # Errors
/// If a slice has another length than `shape` says, or the engine cannot run the shape.
pub fn attention(
    shape: &AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    mask: Option<&[f32]>,
    sinks: Option<&[f32]>,
) -> Result<Vec<f32>> {
    same_len("q", q.len(), shape.q_len())?;
    same_len("k", k.len(), shape.k_len())?;
    same_len("v", v.len(), shape.v_len())?;
    shape.fits_mask_and_sinks(mask, sinks)?;
    let raw = shape.raw();
    let mut out = shape.new_output()?;
    // SAFETY: the lengths of all slices were just compared with what `raw` says.
    call::check(|error| unsafe {
        sys::tq_probe_attention(
            &raw const raw,
            q.as_ptr(),
            k.as_ptr(),
            v.as_ptr(),
            or_null(mask),
            or_null(sinks),
            out.as_mut_ptr(),
            error,
        )
    })?;
    Ok(out)
}

/// Converts a row to `ty` as the engine does when it writes its cache or rounds a query.
///
/// # Errors
/// If the row is not made of whole blocks or the engine cannot write the type.
pub fn quantize(ty: GgmlType, x: &[f32]) -> Result<Vec<u8>> {
    let mut out = vec![0; ty.row_bytes(x.len())?];
    let mut written = 0;
    // SAFETY: `x` has `x.len()` values and `out` the capacity that is passed.
    call::check(|error| unsafe {
        sys::tq_probe_quantize(
            ty.id(),
            x.as_ptr(),
            x.len(),
            out.as_mut_ptr(),
            out.len(),
            &raw mut written,
            error,
        )
    })?;
    Ok(out)
}

/// Converts a row of `ty` to floats by the engine's tables.
///
/// # Errors
/// If the row is not made of whole blocks or the engine cannot read the type.
pub fn dequantize(ty: GgmlType, row: &[u8]) -> Result<Vec<f32>> {
    let mut x = vec![0.0; ty.row_values(row.len())?];
    // SAFETY: `row` holds exactly the `x.len()` values that `x` takes.
    call::check(|error| unsafe { sys::tq_probe_dequantize(ty.id(), row.as_ptr(), x.len(), x.as_mut_ptr(), error) })?;
    Ok(x)
}

/// Names of the buffer types in which the CPU can hold an `[m, k]` matrix of `ty`, the model
/// loader's choice first. Each has its own matrix product (AMX, repacked, plain).
///
/// # Errors
/// If the CPU cannot multiply by such a matrix at all.
pub fn matmul_buffers(ty: GgmlType, m: usize, k: usize) -> Result<Vec<String>> {
    // SAFETY: both slots come from `call::text` and live for the call.
    let json = call::text(|out, error| unsafe { sys::tq_probe_matmul_buffers(ty.id(), m, k, out, error) })?;
    serde_json::from_str(&json).map_err(|e| Error::Engine(format!("the buffer types {json:?}: {e}")))
}

/// `b * a^T`: `a` has `m` rows and `b` has `n` rows of `k` values, the result `n` rows of `m`.
/// `a` is converted to `ty` and held in the named buffer type, or in the model loader's choice.
///
/// # Errors
/// If the sizes do not fit each other, or the CPU cannot multiply by such a matrix.
pub fn matmul(ty: GgmlType, buffer: Option<&str>, k: usize, a: &[f32], b: &[f32], n_threads: i32) -> Result<Vec<f32>> {
    if k == 0 || !a.len().is_multiple_of(k) || !b.len().is_multiple_of(k) {
        return Err(Error::Invalid(format!(
            "{} and {} values are not rows of {k}",
            a.len(),
            b.len()
        )));
    }
    let (m, n) = (a.len() / k, b.len() / k);
    let buffer = buffer.map(|name| c_string("buffer type", name)).transpose()?;
    let name = buffer.as_ref().map_or(std::ptr::null(), |name| name.as_ptr());
    let mut c = vec![0.0; m.saturating_mul(n)];
    // SAFETY: `a`, `b` and `c` have m*k, n*k and n*m values by the lines above; `buffer` outlives the call.
    call::check(|error| unsafe {
        sys::tq_probe_matmul(
            ty.id(),
            name,
            m,
            n,
            k,
            a.as_ptr(),
            b.as_ptr(),
            c.as_mut_ptr(),
            n_threads,
            error,
        )
    })?;
    Ok(c)
}

/// Saturates: no slice is that long, so an absurd shape fails its length check.
fn product(sizes: &[u32]) -> usize {
    sizes
        .iter()
        .fold(1_usize, |all, size| all.saturating_mul(*size as usize))
}

/// As C has what may be missing.
pub(super) fn or_null(values: Option<&[f32]>) -> *const f32 {
    values.map_or(std::ptr::null(), <[f32]>::as_ptr)
}

pub(super) fn same_len(what: &str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        Ok(())
    } else {
        Err(Error::Invalid(format!("{what}: {got} values, expected {expected}")))
    }
}
