//! The heap of the process, which the engine and Rust share.

/// Gives the pages of freed blocks back to the system, where the C library keeps them for later: with glibc. What a process
/// occupies afterwards is what it uses.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            /// glibc since 2.8; returns whether anything was given back.
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: the function takes the allocator's own locks and touches no block that is in use.
        unsafe { malloc_trim(0) };
    }
}
