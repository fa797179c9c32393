//! What a process does between being started by PID 1 and being the probe: it gives up everything that the probe does not need, as the
//! service's unit does on other machines, and becomes `/bin/sonde-probe`.
//!
//! A process of its own does this (`/init launch`), because between fork and exec nothing safe can be done.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Gid, Resource, Rlimit, Uid, chdir, setrlimit, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::state::PROBE_USER;

/// The probe's program.
pub const PROGRAM: &str = "/bin/sonde-probe";

/// The argument of `/init` that leads here.
pub const ARGUMENT: &str = "launch";

/// A second one: the probe keeps CAP_NET_RAW.
pub const RAW: &str = "raw";

const CGROUP: &str = "/sys/fs/cgroup/probe";

/// As in the unit.
const MEMORY: u64 = 128 << 20;
const TASKS: u64 = 64;
const FILES: u64 = 16_384;

/// Becomes the probe, with these arguments.
///
/// # Errors
/// When something cannot be given up, or there is no program.
pub fn become_probe(raw: bool, arguments: &[String]) -> io::Result<Infallible> {
    // A kernel without control groups has no walls of this sort; the others stand.
    let _ = join_cgroup();
    for (resource, most) in [(Resource::Core, 0), (Resource::Nofile, FILES), (Resource::Nproc, TASKS)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    umask(rustix::fs::Mode::from_bits_truncate(0o077));
    chdir("/")?;
    give_up(raw)?;
    Err(Command::new(PROGRAM).args(arguments).exec())
}

fn join_cgroup() -> io::Result<()> {
    fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids")?;
    match fs::create_dir(CGROUP) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::write(format!("{CGROUP}/memory.max"), MEMORY.to_string())?;
    fs::write(format!("{CGROUP}/pids.max"), TASKS.to_string())?;
    fs::write(format!("{CGROUP}/cgroup.procs"), "0")
}

fn give_up(raw: bool) -> io::Result<()> {
    let kept = if raw { CapabilitySet::NET_RAW } else { CapabilitySet::empty() };
    clear_ambient_capability_set()?;
    for capability in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << capability);
        if capability != kept {
            match remove_capability_from_bounding_set(capability) {
                // Beyond the last one of this kernel.
                Err(rustix::io::Errno::INVAL) => break,
                other => other?,
            }
        }
    }
    set_keep_capabilities(raw)?;
    let (user, group) = (Uid::from_raw(PROBE_USER), Gid::from_raw(PROBE_USER));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: kept })?;
    if raw {
        configure_capability_in_ambient_set(CapabilitySet::NET_RAW, true)?;
    }
    Ok(set_no_new_privs(true)?)
}
