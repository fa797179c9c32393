//! What a process does between being started by PID 1 and being the probe: it gives up everything that the probe does not need, as the
//! service's unit does on other machines, and becomes `/bin/sonde-probe`.
//!
//! A process of its own does this (`/init launch`), because between fork and exec nothing safe can be done.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
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

/// Where control groups are, and the probe's one there.
const CGROUPS: &str = "/sys/fs/cgroup";
const CGROUP: &str = "probe";

/// As in the unit.
const MEMORY: u64 = 128 << 20;
const TASKS: u64 = 64;
const FILES: u64 = 16_384;

/// Makes the probe's control group, with its bounds. For PID 1, once.
///
/// # Errors
/// When the kernel has none, or not the bounds that are wanted.
pub fn prepare_cgroup() -> io::Result<()> {
    prepare_cgroup_in(Path::new(CGROUPS))
}

fn prepare_cgroup_in(all: &Path) -> io::Result<()> {
    fs::write(all.join("cgroup.subtree_control"), "+memory +pids")?;
    let group = all.join(CGROUP);
    match fs::create_dir(&group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::write(group.join("memory.max"), MEMORY.to_string())?;
    fs::write(group.join("pids.max"), TASKS.to_string())
}

/// Becomes the probe, with these arguments.
///
/// # Errors
/// When something cannot be given up, or there is no program.
pub fn become_probe(raw: bool, arguments: &[String]) -> io::Result<Infallible> {
    // PID 1 has said already what it could not prepare; the other walls stand.
    let group = Path::new(CGROUPS).join(CGROUP);
    if group.exists()
        && let Err(error) = fs::write(group.join("cgroup.procs"), "0")
    {
        eprintln!("the probe cannot join its control group ({error}) and runs without bounds for memory and tasks");
    }
    for (resource, most) in [(Resource::Core, 0), (Resource::Nofile, FILES), (Resource::Nproc, TASKS)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    umask(rustix::fs::Mode::from_bits_truncate(0o077));
    chdir("/")?;
    give_up(raw)?;
    Err(Command::new(PROGRAM).args(arguments).exec())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_bounds_are_written_and_what_is_missing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            prepare_cgroup_in(folder.path()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+memory +pids");
        assert_eq!((read("probe/memory.max").as_str(), read("probe/pids.max").as_str()), ("134217728", "64"));
        assert!(prepare_cgroup_in(&folder.path().join("none")).is_err());
    }
}
