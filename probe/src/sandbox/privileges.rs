//! Capabilities, and what else a process can lose by a word to the kernel: the way to new privileges, core dumps, being
//! looked into by others of the same user.

use std::io;

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
pub(super) fn keep(raw: bool) -> Result<(), SandboxError> {
    // The bounding set can be emptied only with CAP_SETPCAP; without it there is nothing that could use what is in it.
    for capability in CapabilitySet::all().iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    // Kernels before 4.3 have no ambient set.
    let _ = clear_ambient_capability_set();
    let wanted = if raw { CapabilitySet::NET_RAW } else { CapabilitySet::empty() };
    let present = capabilities(None).map_err(failed("capabilities"))?;
    let kept = present.permitted & wanted;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    if sets == present {
        // A service manager's filter may refuse the call to a process that has nothing to lose.
        return Ok(());
    }
    set_capabilities(None, sets).map_err(failed("capabilities"))
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
