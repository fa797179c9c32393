//! Socket options that no safe library offers: any option that is an int, and the SYN that a connection began with. The only
//! module of the reference server with `unsafe`.

#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// Room for the headers of any SYN: 60 bytes of TCP after as many extension headers as a small path lets through.
const SYN: usize = 1024;

/// Sets an option whose value is an int.
pub(crate) fn set(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel reads the bytes of `value`, which outlives the
    // call, and keeps no pointer to it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The packet with which this connection was opened, from its IP header to the end of its TCP header. The listening socket
/// must have had `TCP_SAVE_SYN`. The kernel gives it once and forgets it.
pub(crate) fn saved_syn(socket: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; SYN];
    let mut length = SYN as libc::socklen_t;
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes at most `length` bytes into `bytes`,
    // which has as many, and says in `length` how many it wrote. Both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    bytes.truncate(usize::try_from(length).unwrap_or(0));
    Ok(bytes)
}
