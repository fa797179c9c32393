//! Landlock (landlock(7)): which files the process may open from now on. As much of it as the kernel knows.
//!
//! `stat`, `access` and the like are not Landlock's business: that a file exists can still be seen.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::Plan;
use crate::net::opening::FROM_PORTS;

/// The newest interface whose every right has been thought about. What a kernel lacks of it is left out.
const NEWEST: ABI = ABI::V9;

/// What a run reads beside its state: its own memory and waiting times, the network's routes and counters as it sees them
/// (all below `/proc/self`), and how busy the machine is.
const READABLE: [&str; 4] = ["/proc/self", "/proc/loadavg", "/proc/meminfo", "/proc/uptime"];

/// What was closed.
pub(super) struct Closed {
    /// The version of the kernel's interface, when it is in force.
    pub abi: Option<i32>,
    pub tcp_bind_denied: bool,
}

/// Closes all files but those of the plan and [`READABLE`].
pub(super) fn close(plan: &Plan) -> Result<Closed, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // Plain files and directories; no devices, no links, no sockets, and nothing that could be run.
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?;
    if !plan.raw {
        // A raw TCP run holds its source port with a bound socket. Nobody can listen in any case: see `calls`.
        rules = rules.handle_access(AccessNet::BindTcp)?;
    }
    let mut rules = rules.create()?;
    if !plan.raw {
        // A run of ipv6 connects from each of the machine's addresses; which one is chosen by binding.
        let ports = FROM_PORTS.map(|port| Ok::<_, RulesetError>(NetPort::new(port, AccessNet::BindTcp)));
        rules = rules.add_rules(ports)?;
    }
    for path in READABLE.map(Path::new) {
        rules = allow(rules, path, read)?;
    }
    for path in &plan.writable {
        rules = allow(rules, path, write)?;
    }
    let status = rules.restrict_self()?;
    let abi = match status.landlock {
        _ if status.ruleset == RulesetStatus::NotEnforced => None,
        LandlockStatus::Available { effective_abi, kernel_abi } => Some(kernel_abi.unwrap_or(effective_abi as i32)),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    };
    Ok(Closed { abi, tcp_bind_denied: !plan.raw && abi.is_some_and(|abi| abi >= ABI::V4 as i32) })
}

/// What is not there needs no rule.
fn allow(
    rules: landlock::RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    rules.add_rule(PathBeneath::new(opened, access))
}

/// Closes all files but what can be read in these directories; for the process that reads for the probe.
pub(super) fn close_but(directories: impl Iterator<Item = PathBuf>) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
        .create()?;
    for directory in directories {
        rules = allow(rules, &directory, BitFlags::from(AccessFs::ReadFile))?;
    }
    rules.restrict_self()?;
    Ok(())
}
