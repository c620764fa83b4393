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

/// Prepares the heap for a program that runs for long, where the C library is glibc: `n` arenas instead of eight for each core,
/// because each keeps what was freed in it; and blocks of `large` bytes and more are mapped one by one and given back when they
/// are freed, instead of leaving holes of all sizes (glibc raises that limit up to 32 MiB by itself). To be called before
/// threads are started.
pub(crate) fn prepare_to_last(n: i32, large: i32) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        /// `M_MMAP_THRESHOLD` of glibc's malloc.h.
        const MMAP_THRESHOLD: c_int = -3;
        /// `M_ARENA_MAX`, since glibc 2.10.
        const ARENA_MAX: c_int = -8;
        unsafe extern "C" {
            /// Returns 0 where the parameter is refused, and all stays as it was.
            fn mallopt(param: c_int, value: c_int) -> c_int;
        }
        // SAFETY: the function takes the allocator's own locks and touches no block that is in use.
        unsafe {
            mallopt(ARENA_MAX, n);
            mallopt(MMAP_THRESHOLD, large);
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = (n, large); // other allocators are left as they are
}
