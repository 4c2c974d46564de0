//! The user that this process runs as.

/// The numeric id of the user.
pub(crate) fn uid() -> u32 {
    // SAFETY: the call takes nothing, touches no memory and cannot fail.
    unsafe { libc::getuid() }
}
