//! The few system calls that nix and socket2 do not cover, each behind a safe function.
#![allow(unsafe_code)] // pre_exec, sockaddr_ll, PACKET_* options, SIOCETHTOOL, TUNSETIFF and sched_setscheduler have no safe wrapper.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use socket2::SockAddr;

/// Receive no copies of what this machine sends on the interface.
pub(super) const PACKET_IGNORE_OUTGOING: c_int = libc::PACKET_IGNORE_OUTGOING;
/// Hand frames to the driver without a queueing discipline.
pub(super) const PACKET_QDISC_BYPASS: c_int = libc::PACKET_QDISC_BYPASS;

/// Lets `enter` run in the child between fork and exec. It must do nothing but system calls: no allocation, no locks.
pub(super) fn before_exec(command: &mut Command, enter: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: the callers in this module's parent pass closures that only make system calls on values prepared before
    // the fork (setns, unshare, mount, umount2 by CStr).
    unsafe { command.pre_exec(enter) };
}

/// Sets an integer option of an AF_PACKET socket.
pub(super) fn set_packet_option(socket: BorrowedFd<'_>, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Frames that an AF_PACKET socket had no room for since the last call.
pub(super) fn packet_drops(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `stats`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast::<c_void>(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(u64::from(stats.tp_drops)) } else { Err(io::Error::last_os_error()) }
}

/// The address that makes an AF_PACKET socket send whole frames out of an interface.
pub(super) fn link_layer_address(interface_index: u32) -> io::Result<SockAddr> {
    // SAFETY: a sockaddr_ll fits into the storage that socket2 hands out, is plain data, and the length set is its own.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as u16;
            (*address).sll_ifindex = interface_index as c_int;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    Ok(address)
}

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Turns off checksum and segmentation offloads of an interface of the current namespace, so that quoted checksums are
/// whole and no frame exceeds the MTU. Fails if one stays on.
pub(super) fn offloads_off(interface: &str) -> io::Result<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // linux/ethtool.h: (get, set) of rx and tx checksums, scatter-gather, TSO, GSO, GRO.
    const FEATURES: [(u32, u32); 6] =
        [(0x14, 0x15), (0x16, 0x17), (0x18, 0x19), (0x1e, 0x1f), (0x23, 0x24), (0x2b, 0x2c)];
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"))?;
    let call = |command, data| -> io::Result<u32> {
        let mut value = EthtoolValue { command, data };
        // SAFETY: ifreq is plain data for which all zero bytes are valid.
        let mut request: libc::ifreq = unsafe { zeroed() };
        // The last byte stays zero.
        for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: the kernel reads and writes only `request` and the `value` it points to; both outlive the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if result == 0 { Ok(value.data) } else { Err(io::Error::last_os_error()) }
    };
    for (get, set) in FEATURES {
        // A driver that lacks a feature refuses the set; what counts is what the get says.
        let _ = call(set, 0);
        if call(get, 0)? != 0 {
            return Err(io::Error::other(format!("offload {set:#x} of {interface} stays on")));
        }
    }
    Ok(())
}

/// Attaches to a TUN device of the current namespace that is there already: whole IP packets are read and written, nothing
/// before them. Reading does not wait.
pub(super) fn attach_tun(interface: &str) -> io::Result<File> {
    let device = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: ifreq is plain data for which all zero bytes are valid.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays zero.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the kernel reads and writes only `request`, which outlives the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result == 0 { Ok(device) } else { Err(io::Error::last_os_error()) }
}

/// Makes the calling thread run before all ordinary ones, wake up exactly, and never wait for a page.
pub(super) fn real_time() -> io::Result<()> {
    // SAFETY: sched_param is plain data, and the pointers outlive the calls.
    let results = unsafe {
        let mut parameter: libc::sched_param = zeroed();
        parameter.sched_priority = 50;
        [
            libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0),
            libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter),
            libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE),
        ]
    };
    if results.contains(&-1) { Err(io::Error::last_os_error()) } else { Ok(()) }
}
