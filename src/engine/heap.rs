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

/// Keeps the number of the heap's arenas at `n`, where the C library makes more for threads: with glibc, which otherwise has
/// eight for each core. Each keeps what was freed in it. To be called before threads are started.
pub(crate) fn limit_arenas(n: i32) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// `M_ARENA_MAX` of glibc's malloc.h.
        const ARENA_MAX: std::ffi::c_int = -8;
        unsafe extern "C" {
            /// glibc since 2.10 has this parameter; returns 0 where it is refused, and all stays as it was.
            fn mallopt(param: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        // SAFETY: the function takes the allocator's own locks and touches no block that is in use.
        unsafe { mallopt(ARENA_MAX, n) };
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = n; // other allocators are left as they are
}
