//! The system calls that neither nix nor socket2 offers for what we need: `setsockopt` and `getsockopt` with any option. The only module
//! of the socket layer with `unsafe`.

#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// `IP_RECVERR_RFC4884` (linux/in.h, since 5.9).
pub(super) const IP_RECVERR_RFC4884: libc::c_int = 26;
/// `IPV6_RECVERR_RFC4884` (linux/in6.h, since 5.9).
pub(super) const IPV6_RECVERR_RFC4884: libc::c_int = 31;
/// `SOL_RAW` (linux/socket.h).
pub(super) const SOL_RAW: libc::c_int = 255;
/// `ICMP_FILTER` (linux/icmp.h): a mask of the types to drop.
pub(super) const ICMP_FILTER: libc::c_int = 1;
/// `ICMPV6_FILTER` (linux/icmpv6.h): a mask of 256 types to drop.
pub(super) const ICMPV6_FILTER: libc::c_int = 1;
/// `SCM_TSTAMP_SND` (linux/errqueue.h): the stamp of the driver's taking the packet.
pub(super) const SCM_TSTAMP_SND: u32 = 0;
/// `SO_EE_RFC4884_FLAG_INVALID` (linux/errqueue.h).
pub(super) const EE_RFC4884_INVALID: u8 = 1;

/// A type that is plain integers without padding, so that its bytes may be handed to the kernel.
pub(super) trait OptionValue: Copy {}
impl OptionValue for libc::c_int {}
impl OptionValue for libc::c_uint {}
impl OptionValue for [u32; 8] {}

/// Sets one socket option to these bytes; without any it is taken away, where the option has such a meaning.
pub(super) fn set_bytes(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel reads `length` initialised bytes of `value`,
    // which outlives the call, and keeps no pointer to it.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets one socket option.
pub(super) fn set<T: OptionValue>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel reads `size_of::<T>()` initialised bytes of
    // `value`, which outlives the call, and keeps no pointer to it.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<T>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads one socket option into `value`, and gives how many bytes of it the kernel has filled.
pub(super) fn get_bytes(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes at most `length` bytes into `value`, which
    // outlives the call, says in `length` how many, and keeps no pointer to either.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length) };
    if result == 0 {
        Ok(usize::try_from(length).unwrap_or(0).min(value.len()))
    } else {
        Err(io::Error::last_os_error())
    }
}
