//! The kernel's own file systems, mounted before anything else. Nothing in them may be executed or be a device, except where
//! devices are.

use std::ffi::CStr;
use std::io;

use rustix::mount::{MountFlags, mount};

/// Neither programs nor devices.
const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

struct Mount {
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    flags: MountFlags,
    data: Option<&'static CStr>,
}

const MOUNTS: [Mount; 7] = [
    // Whoever is not root sees only his own processes.
    Mount { source: "proc", target: "/proc", kind: "proc", flags: PLAIN, data: Some(c"hidepid=invisible") },
    Mount { source: "sysfs", target: "/sys", kind: "sysfs", flags: PLAIN, data: None },
    Mount {
        source: "devtmpfs",
        target: "/dev",
        kind: "devtmpfs",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        data: Some(c"mode=755"),
    },
    Mount { source: "tmpfs", target: "/run", kind: "tmpfs", flags: PLAIN, data: Some(c"mode=755,size=4m") },
    Mount { source: "tmpfs", target: "/tmp", kind: "tmpfs", flags: PLAIN, data: Some(c"mode=1777,size=4m") },
    Mount {
        source: "securityfs",
        target: "/sys/kernel/security",
        kind: "securityfs",
        flags: PLAIN.union(MountFlags::RDONLY),
        data: None,
    },
    Mount { source: "cgroup2", target: "/sys/fs/cgroup", kind: "cgroup2", flags: PLAIN, data: None },
];

/// Mounts them. What fails is told by its place, the rest is mounted all the same.
pub fn mount_all() -> Vec<(&'static str, io::Error)> {
    let one = |wanted: &Mount| match mount(wanted.source, wanted.target, wanted.kind, wanted.flags, wanted.data) {
        // The kernel may have mounted /dev.
        Err(rustix::io::Errno::BUSY) | Ok(()) => None,
        Err(error) => Some((wanted.target, error.into())),
    };
    MOUNTS.iter().filter_map(one).collect()
}
