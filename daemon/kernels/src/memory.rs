//! How the process gives memory back, and how it asks for what it will read.

/// Tells the C library to keep what is freed for the next allocation. By default glibc maps every large block from the kernel
/// and gives it back, and the kernel clears each page anew: for activations of 8 to 200 MB that costs as much as a kernel's
/// own work. Affects the whole process; to be called once, before the first network runs. Does nothing where the C library
/// is another one.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Top of the heap that may stay free, the largest that the parameter takes.
        const TRIM_THRESHOLD: libc::c_int = libc::c_int::MAX;
        /// By how much more than needed the heap grows.
        const TOP_PAD: libc::c_int = 64 << 20;
        for (parameter, value) in
            [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD), (libc::M_TOP_PAD, TOP_PAD)]
        {
            // SAFETY: `mallopt` takes two numbers and touches the allocator's own settings under its own lock. When it refuses
            // one, the allocator stays as it was.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}

/// Gives the system what is free, which [`keep_freed_memory`] keeps otherwise: for when a network has gone. Takes milliseconds. Does
/// nothing where the C library is another one.
pub fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `malloc_trim` takes a number and works on the allocator's own free blocks under its own locks.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Asks for memory that will soon be read, so that it is near by then; waits for nothing. Does nothing where no such instruction
/// is known.
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        const LINE: usize = 64;
        for line in bytes.chunks(LINE) {
            // SAFETY: every x86_64 has the instruction, and it neither faults nor changes anything but the caches.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}
