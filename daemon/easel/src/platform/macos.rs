//! What macOS alone has: the sockets that launchd made. Compiled on macOS, and everywhere for the tests, which put a launchd of
//! their own in its place.

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::raw::{c_char, c_int, c_void};

use crate::exit::Failure;

unsafe extern "C" {
    /// launch(3): the descriptors of a name below `Sockets`, in an array that the caller frees.
    fn launch_activate_socket(name: *const c_char, fds: *mut *mut c_int, count: *mut usize) -> c_int;
}

/// Names below `Sockets` in the agent's property list.
const NAMES: [&CStr; 2] = [c"unix", c"tcp"];

/// The sockets of this agent; none when the process was started in another way or its agent lists none.
pub(crate) fn sockets() -> Result<Vec<OwnedFd>, Failure> {
    let mut all = Vec::new();
    for name in NAMES {
        all.extend(sockets_of(name)?);
    }
    Ok(all)
}

fn sockets_of(name: &CStr) -> Result<Vec<OwnedFd>, Failure> {
    let (mut fds, mut count) = (std::ptr::null_mut::<c_int>(), 0_usize);
    // SAFETY: the name ends with a zero, and both places are written to by the call and read by nobody else.
    let code = unsafe { launch_activate_socket(name.as_ptr(), &mut fds, &mut count) };
    match code {
        0 => {}
        // No such name in the property list, or not started by launchd.
        libc::ENOENT | libc::ESRCH => return Ok(Vec::new()),
        code => {
            let error = io::Error::from_raw_os_error(code);
            return Err(Failure::fault("launchd does not pass on the sockets", error));
        }
    }
    if fds.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: launchd gave an array of `count` open descriptors, which belong to the caller.
    let owned = (0..count).map(|index| unsafe { OwnedFd::from_raw_fd(*fds.add(index)) }).collect();
    // SAFETY: the array was allocated by launchd for the caller to free, and is not used after this.
    unsafe { libc::free(fds.cast::<c_void>()) };
    Ok(owned)
}

#[cfg(all(test, not(target_os = "macos")))]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::IntoRawFd as _;

    /// A launchd that has two sockets named `tcp` and none named `unix`.
    #[unsafe(no_mangle)]
    extern "C" fn launch_activate_socket(name: *const c_char, fds: *mut *mut c_int, count: *mut usize) -> c_int {
        // SAFETY: the caller gives a name that ends with a zero and two places to write to.
        unsafe {
            if CStr::from_ptr(name) != c"tcp" {
                return libc::ENOENT;
            }
            let array = libc::malloc(2 * size_of::<c_int>()).cast::<c_int>();
            for index in 0..2 {
                *array.add(index) = TcpListener::bind("127.0.0.1:0").expect("bound").into_raw_fd();
            }
            *fds = array;
            *count = 2;
        }
        0
    }

    #[test]
    fn the_sockets_of_launchd_are_taken_over() {
        let sockets = sockets().expect("taken over");
        assert_eq!(sockets.len(), 2);
        for socket in sockets {
            assert!(TcpListener::from(socket).local_addr().expect("a listener").ip().is_loopback());
        }
    }
}
