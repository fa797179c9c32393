//! What somebody could do who has taken a running probe over: enters the probe's own sandbox and then tries one thing, on a
//! thread as the probe's engines have it, by the bare system call.
//!
//! `lab-hijacked probe|none STATE ATTEMPT`: says `succeeded`, or `refused` and why; or is killed. With `none` there is no
//! sandbox, which shows that the attempt is one that works.

#![allow(unsafe_code, reason = "what it attempts has no safe wrapper")]

use std::ffi::CString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, bail};
use sonde_probe::sandbox::{Plan, enter};

/// One bare system call.
fn call(number: libc::c_long, arguments: [usize; 5]) -> io::Result<usize> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: every pointer that is passed leads to something of this function's callers that outlives the call; what the
    // call does to this process beyond that is what is tried out, and the process ends right after it.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, 0_usize) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn open(path: &str, flags: libc::c_int) -> io::Result<usize> {
    let path = CString::new(path)?;
    let flags = flags.unsigned_abs() as usize;
    call(libc::SYS_openat, [libc::AT_FDCWD as usize, path.as_ptr().addr(), flags, 0o600, 0])
}

fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<usize> {
    call(libc::SYS_socket, [domain as usize, kind as usize, protocol as usize, 0, 0])
}

/// A page of memory with these rights.
fn map(rights: libc::c_int) -> io::Result<usize> {
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    call(libc::SYS_mmap, [0, 4096, rights as usize, flags, usize::MAX])
}

fn try_it(attempt: &str, state: &str) -> io::Result<usize> {
    let empty = CString::default();
    match attempt.split_once(' ').unwrap_or((attempt, "")) {
        ("read", path) => open(path, libc::O_RDONLY),
        ("write", path) => open(path, libc::O_WRONLY | libc::O_CREAT),
        ("write-in-state", _) => open(&format!("{state}/new"), libc::O_WRONLY | libc::O_CREAT),
        ("run-from-state", _) => {
            open(&format!("{state}/new"), libc::O_WRONLY | libc::O_CREAT).and_then(|_| exec("/bin/sh"))
        }
        ("memory-of-itself", _) => open("/proc/self/mem", libc::O_RDWR),
        ("shell", _) => exec("/bin/sh"),
        ("fork", _) => call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0]),
        ("fork-by-clone3", _) => {
            let arguments = [0_u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
            call(libc::SYS_clone3, [arguments.as_ptr().addr(), size_of_val(&arguments), 0, 0, 0])
        }
        ("listen", _) => {
            socket(libc::AF_INET, libc::SOCK_STREAM, 0).and_then(|fd| call(libc::SYS_listen, [fd, 1, 0, 0, 0]))
        }
        ("bind-tcp", _) => bind_tcp(8334),
        // To connect from an address of choice; listening there is forbidden like anywhere.
        ("bind-to-connect", _) => bind_tcp(61_455),
        ("raw-socket", _) => socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        ("packet-socket", _) => socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
        ("unix-socket", _) => socket(libc::AF_UNIX, libc::SOCK_STREAM, 0),
        ("other-netlink", _) => socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER),
        ("map-code", _) => map(libc::PROT_READ | libc::PROT_EXEC),
        ("make-code", _) => {
            let page = map(libc::PROT_READ | libc::PROT_WRITE)?;
            call(libc::SYS_mprotect, [page, 4096, (libc::PROT_READ | libc::PROT_EXEC) as usize, 0, 0])
        }
        ("hidden-file", _) => call(libc::SYS_memfd_create, [empty.as_ptr().addr(), 0, 0, 0, 0]),
        ("trace", _) => call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as usize, 0, 0, 0, 0]),
        ("signal-another", _) => call(libc::SYS_kill, [std::os::unix::process::parent_id() as usize, 0, 0, 0, 0]),
        ("mount", _) => {
            let (kind, place) = (CString::new("tmpfs")?, CString::new(state)?);
            call(libc::SYS_mount, [kind.as_ptr().addr(), place.as_ptr().addr(), kind.as_ptr().addr(), 0, 0])
        }
        ("become-another", _) => call(libc::SYS_setuid, [1, 0, 0, 0, 0]),
        ("new-namespace", _) => call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0]),
        ("load-bpf", _) => call(libc::SYS_bpf, [0, 0, 0, 0, 0]),
        ("change-mode", _) => {
            let path = CString::new(state)?;
            call(libc::SYS_fchmodat, [libc::AT_FDCWD as usize, path.as_ptr().addr(), 0o777, 0, 0])
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// An address of loopback at this port.
fn bind_tcp(port: u16) -> io::Result<usize> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let (family, port) = ((libc::AF_INET as u16).to_ne_bytes(), port.to_be_bytes());
    let any = [family, port, [127, 0], [0, 1], [0; 2], [0; 2], [0; 2], [0; 2]];
    call(libc::SYS_bind, [fd, any.as_ptr().addr(), size_of_val(&any), 0, 0])
}

fn exec(path: &str) -> io::Result<usize> {
    let (path, command) = (CString::new(path)?, CString::new("-c")?);
    let words = CString::new("echo succeeded")?;
    let arguments = [path.as_ptr(), command.as_ptr(), words.as_ptr(), std::ptr::null()];
    let nothing: [*const libc::c_char; 1] = [std::ptr::null()];
    call(libc::SYS_execve, [path.as_ptr().addr(), arguments.as_ptr().addr(), nothing.as_ptr().addr(), 0, 0])
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(sandbox), Some(state), Some(attempt)) = (words.next(), words.next(), words.next()) else {
        bail!("usage: lab-hijacked probe|none STATE ATTEMPT");
    };
    if sandbox == "probe" {
        enter(&Plan { writable: vec![PathBuf::from(&state)], raw: false, required: true })?;
    }
    let done = thread::spawn(move || try_it(&attempt, &state)).join();
    let done = done.ok().context("the thread died")?;
    let mut out = io::stdout();
    match done {
        Ok(_) => writeln!(out, "succeeded")?,
        Err(error) => writeln!(out, "refused {}", error.raw_os_error().unwrap_or_default())?,
    }
    Ok(())
}
