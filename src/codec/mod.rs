//! The numbers behind the codec, derived instead of pasted.
//!
//! The kernels under `kernels/` read their level tables from `kernels/common/levels.h`. That
//! header is rendered by [`lloyd::render_levels_header`], and a unit test compares it byte for
//! byte with the committed file, so a table that is not a converged Lloyd-Max codebook cannot
//! reach a kernel.

pub mod lloyd;
