//! Capabilities, and what else a process can lose by a word to the kernel: the way to new privileges, core dumps, being
//! looked into by others of the same user.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

use super::SandboxError;

fn failed(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> SandboxError {
    move |errno| SandboxError::Privileges { what, source: io::Error::from(errno) }
}

/// No core dumps (they would hold the key), no `ptrace` by others of the same user, no new privileges by any program.
pub(super) fn harden() -> Result<(), SandboxError> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(failed("core dumps"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("being looked into"))?;
    set_no_new_privs(true).map_err(failed("new privileges"))
}

/// Drops every capability but CAP_NET_RAW, and that too unless `raw`. What was not there does not come.
///
/// Root without capabilities is a user like any other. Where that would close him out of the directories that he has to write,
/// because they are somebody else's, CAP_DAC_OVERRIDE stays too.
pub(super) fn keep(raw: bool, writable: &[PathBuf]) -> Result<(), SandboxError> {
    // The bounding set can be emptied only with CAP_SETPCAP; without it there is nothing that could use what is in it.
    for capability in CapabilitySet::all().iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    // Kernels before 4.3 have no ambient set.
    let _ = clear_ambient_capability_set();
    let wanted = if raw { CapabilitySet::NET_RAW } else { CapabilitySet::empty() };
    let permitted = capabilities(None).map_err(failed("capabilities"))?.permitted;
    let mut kept = permitted & wanted;
    set(CapabilitySets { effective: kept, permitted, inheritable: CapabilitySet::empty() })?;
    if permitted.contains(CapabilitySet::DAC_OVERRIDE) && writable.iter().any(|path| is_closed(path)) {
        kept |= CapabilitySet::DAC_OVERRIDE;
    }
    set(CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
}

fn set(wanted: CapabilitySets) -> Result<(), SandboxError> {
    if capabilities(None).map_err(failed("capabilities"))? == wanted {
        // A service manager's filter may refuse the call to a process that has nothing to lose.
        return Ok(());
    }
    set_capabilities(None, wanted).map_err(failed("capabilities"))
}

/// Whether this directory, or a file in it, may not be written with the capabilities that are in effect.
fn is_closed(directory: &Path) -> bool {
    let refused = |path: &Path, access| {
        accessat(CWD, path, access, AtFlags::EACCESS).is_err_and(|errno| errno == rustix::io::Errno::ACCESS)
    };
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    refused(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
        || files.map(|file| file.path()).any(|file| refused(&file, Access::READ_OK | Access::WRITE_OK))
}

/// The capabilities of this thread, by the kernel's names.
pub(super) fn held() -> Vec<String> {
    let permitted = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    permitted.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

/// Whether no program can give this thread new privileges.
pub(super) fn no_new_privs() -> bool {
    rustix::thread::no_new_privs().unwrap_or(false)
}
