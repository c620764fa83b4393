//! The codec, one row at a time, by a named implementation: what tests, benchmarks and
//! [`verify`](crate::verify) measure. The engine itself calls the active implementation directly.
//!
//! ```no_run
//! use llama_turboquant::engine::codec::{GgmlType, Implementation};
//! let turbo4 = GgmlType::named("turbo4")?;
//! let packed = Implementation::active()?.encode(turbo4, &[1.0; 128])?;
//! assert_eq!(packed.len(), 66);
//! # Ok::<(), llama_turboquant::Error>(())
//! ```

use super::backend::parse;
use super::call::{self, c_string};
use super::listed::Listed;
use crate::error::{Error, Result};
use crate::sys;
use serde::Deserialize;
use std::ffi::CString;

/// A type of the engine's tables: its number and the size of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GgmlType {
    id: i32,
    block: usize,
    bytes: usize,
}

impl GgmlType {
    /// The type with this name (`f16`, `q8_0`, `turbo4`, `turbo4_64`, ...).
    ///
    /// # Errors
    /// If the engine has no such type.
    pub fn named(name: &str) -> Result<Self> {
        let raw = c_string("type name", name)?;
        // SAFETY: `raw` is NUL-terminated and outlives the call, which only reads it.
        let id = unsafe { sys::tq_type_id(raw.as_ptr()) };
        Self::from_id(id).ok_or_else(|| Error::Invalid(format!("there is no type named {name}")))
    }

    /// The type with this number.
    #[must_use]
    pub fn from_id(id: i32) -> Option<Self> {
        let (mut block, mut bytes) = (0, 0);
        // SAFETY: both pointers are to live locals; any id is allowed.
        unsafe { sys::tq_type_layout(id, &raw mut block, &raw mut bytes) }.then_some(Self {
            id,
            block: block as usize,
            bytes: bytes as usize,
        })
    }

    /// The engine's number for it.
    #[must_use]
    pub fn id(self) -> i32 {
        self.id
    }

    /// Values per block.
    #[must_use]
    pub fn block(self) -> usize {
        self.block
    }

    /// Bytes per block.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        self.bytes
    }

    /// Bytes of a row of `n` values.
    ///
    /// # Errors
    /// If `n` is 0 or not a multiple of the block.
    pub fn row_bytes(self, n: usize) -> Result<usize> {
        if n == 0 || !n.is_multiple_of(self.block) {
            return Err(Error::Invalid(format!(
                "a row of {n} values: type {} has blocks of {}",
                self.id, self.block
            )));
        }
        Ok(n / self.block * self.bytes)
    }

    /// Values in a row of `bytes` bytes.
    ///
    /// # Errors
    /// If `bytes` is 0 or not a multiple of the block's size.
    pub fn row_values(self, bytes: usize) -> Result<usize> {
        if bytes == 0 || !bytes.is_multiple_of(self.bytes) {
            return Err(Error::Invalid(format!(
                "a row of {bytes} bytes: type {} has blocks of {} bytes",
                self.id, self.bytes
            )));
        }
        Ok(bytes / self.bytes * self.block)
    }
}

/// One row of the registry of turbo types (`kernels/types.def`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct TurboType {
    /// The engine's number.
    pub id: i32,
    /// The engine's name (`turbo4`, `turbo4_64`).
    pub name: String,
    /// The name that users type (`turbo4`).
    pub family: String,
    /// Width of an index.
    pub bits: u32,
    /// Values per block.
    pub block: usize,
    /// Bytes per block.
    pub bytes: usize,
}

impl TurboType {
    /// The type in the engine's tables.
    ///
    /// # Errors
    /// If the engine was linked with another registry.
    pub fn ggml(&self) -> Result<GgmlType> {
        let found = GgmlType::named(&self.name)?;
        if (found.id, found.block, found.bytes) != (self.id, self.block, self.bytes) {
            return Err(Error::Engine(format!(
                "{found:?} does not match the registry's {self:?}"
            )));
        }
        Ok(found)
    }
}

/// All turbo types, in the order of the registry.
///
/// # Errors
/// If the engine's answer cannot be read.
pub fn types() -> Result<Vec<TurboType>> {
    // SAFETY: both slots come from `call::text` and live for the call.
    let json = call::text(|out, error| unsafe { sys::tq_codec_types(out, error) })?;
    parse("list of turbo types", &json)
}

/// The implementations of this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implementations {
    /// The one in use.
    pub active: Implementation,
    /// Those this CPU can run, slowest (and first: `scalar`) first.
    pub runnable: Vec<Implementation>,
    /// Names of those it cannot.
    pub skipped: Vec<String>,
}

/// A codec implementation that this CPU can run; the object is the proof.
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
        // SAFETY: both slots come from `call::text` and live for the call.
        let json = call::text(|out, error| unsafe { sys::tq_codec_implementations(out, error) })?;
        let listed: Listed = parse("list of codec implementations", &json)?;
        let (active, runnable, skipped) = listed.named(|name| Self { name })?;
        Ok(Implementations {
            active,
            runnable,
            skipped,
        })
    }

    /// The implementation in use.
    ///
    /// # Errors
    /// If the engine's answer cannot be read.
    pub fn active() -> Result<Self> {
        Ok(Self::all()?.active)
    }

    /// The implementation with this name.
    ///
    /// # Errors
    /// If it is not compiled in, or this CPU cannot run it.
    pub fn named(name: &str) -> Result<Self> {
        let all = Self::all()?;
        let known: Vec<&str> = all.runnable.iter().map(Self::name).collect();
        let message = format!("codec implementation {name}: this CPU runs {}", known.join(", "));
        all.runnable
            .iter()
            .find(|i| i.name() == name)
            .cloned()
            .ok_or(Error::Unsupported(message))
    }

    /// Its name: `scalar`, `avx2`, ...
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    /// Makes it the one in use, for the whole process.
    ///
    /// # Errors
    /// If the engine refuses it.
    pub fn select(&self) -> Result<()> {
        // SAFETY: the name is NUL-terminated and only read during the call.
        call::check(|error| unsafe { sys::tq_codec_select(self.name.as_ptr(), error) })?;
        Ok(())
    }

    /// Packs a row. The values must be rotated already ([`rotate`]).
    ///
    /// # Errors
    /// If `ty` is no turbo type or the row is not made of whole blocks.
    pub fn encode(&self, ty: GgmlType, x: &[f32]) -> Result<Vec<u8>> {
        let mut out = vec![0; ty.row_bytes(x.len())?];
        self.encode_into(ty, x, &mut out)?;
        Ok(out)
    }

    /// [`encode`](Self::encode) into a slice of exactly the row's size.
    ///
    /// # Errors
    /// As `encode`, and if `out` has another size.
    pub fn encode_into(&self, ty: GgmlType, x: &[f32], out: &mut [u8]) -> Result<()> {
        same_size("packed row", out.len(), ty.row_bytes(x.len())?)?;
        // SAFETY: `x` has `x.len()` values and `out` was just checked to hold that row.
        call::check(|error| unsafe {
            sys::tq_codec_encode(self.name.as_ptr(), ty.id, x.as_ptr(), x.len(), out.as_mut_ptr(), error)
        })?;
        Ok(())
    }

    /// Unpacks a row; the values are still rotated.
    ///
    /// # Errors
    /// If `ty` is no turbo type or the row is not made of whole blocks.
    pub fn decode(&self, ty: GgmlType, row: &[u8]) -> Result<Vec<f32>> {
        let mut x = vec![0.0; ty.row_values(row.len())?];
        self.decode_into(ty, row, &mut x)?;
        Ok(x)
    }

    /// [`decode`](Self::decode) into a slice of exactly the row's length.
    ///
    /// # Errors
    /// As `decode`, and if `x` has another length.
    pub fn decode_into(&self, ty: GgmlType, row: &[u8], x: &mut [f32]) -> Result<()> {
        same_size("packed row", row.len(), ty.row_bytes(x.len())?)?;
        // SAFETY: `row` was just checked to be a row of `x.len()` values, and `x` takes that many.
        call::check(|error| unsafe {
            sys::tq_codec_decode(self.name.as_ptr(), ty.id, row.as_ptr(), x.len(), x.as_mut_ptr(), error)
        })?;
        Ok(())
    }

    /// Dot product of a packed row with a `q8_0` row of as many values.
    ///
    /// # Errors
    /// If `ty` is no turbo type or the sizes do not fit each other.
    pub fn dot(&self, ty: GgmlType, row: &[u8], q8_0: &[u8]) -> Result<f32> {
        let n = ty.row_values(row.len())?;
        same_size("q8_0 row", q8_0.len(), GgmlType::named("q8_0")?.row_bytes(n)?)?;
        let mut dot = 0.0;
        // SAFETY: both rows were just checked to hold `n` values.
        call::check(|error| unsafe {
            sys::tq_codec_dot(
                self.name.as_ptr(),
                ty.id,
                row.as_ptr(),
                q8_0.as_ptr(),
                n,
                &raw mut dot,
                error,
            )
        })?;
        Ok(dot)
    }
}

/// The integer levels of an index width, in index order, and the factor `f` of
/// `level ~ f * centroid`.
///
/// # Errors
/// If there is no table of that width.
pub fn levels(bits: u32) -> Result<(Vec<i8>, f32)> {
    let mut table = vec![0_i8; 256];
    let (mut count, mut factor) = (0, 0.0);
    // SAFETY: `table` has the capacity that is passed, the other two are live locals.
    call::check(|error| unsafe {
        sys::tq_codec_levels(
            bits,
            table.as_mut_ptr(),
            table.len(),
            &raw mut count,
            &raw mut factor,
            error,
        )
    })?;
    table.truncate(count);
    Ok((table, factor))
}

/// Rotates in place. The rotation is its own inverse.
///
/// # Errors
/// If the length is not a power of two in 64..=1024.
pub fn rotate(x: &mut [f32]) -> Result<()> {
    // SAFETY: `x` has `x.len()` values, exclusively borrowed.
    call::check(|error| unsafe { sys::tq_codec_rotate(x.as_mut_ptr(), x.len(), error) })?;
    Ok(())
}

/// Changes whenever the same bytes would decode differently.
#[must_use]
pub fn version() -> u32 {
    // SAFETY: takes nothing, returns a constant.
    unsafe { sys::tq_codec_version() }
}

fn same_size(what: &str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        Ok(())
    } else {
        Err(Error::Invalid(format!("{what}: {got} bytes, expected {expected}")))
    }
}
