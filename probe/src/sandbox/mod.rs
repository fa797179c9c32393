//! The sandbox of `sonde-probe run` (`[sandbox] enabled` in `sonde.toml`): what the program gives up before it hears the first
//! word from outside, so that whoever takes it over has little in his hands. `docs/threat-model.md` says against whom, and what
//! remains.
//!
//! Four walls, each of which stands by itself: no capability (`privileges`), no file but its own (`files`, Landlock), no
//! system call but those that it uses (`calls`, seccomp), and the list of resolvers read by a process apart (`reader`).
//!
//! All of them act on the calling thread and on what it starts later. So `enter` is called before any thread exists, and
//! refuses otherwise. What needs more than the sandbox allows is opened before: the status socket, the report log, the state
//! directory, a listener if there ever is one.
//!
//! This module must not know what a measurement is.

pub mod calls;
mod files;
mod filter;
mod privileges;
pub mod reader;

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::run::with_causes;

/// Kept where the state directory is somebody else's.
const FOREIGN_FILES: &str = "CAP_DAC_OVERRIDE";

/// What the probe keeps.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Directories in which it may read, write, make and remove files.
    pub writable: Vec<PathBuf>,
    /// Whether CAP_NET_RAW stays, if it is there.
    pub raw: bool,
    /// Whether a missing wall is an error.
    pub required: bool,
}

/// What is in force, for `status` and `doctor`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Whether the host wants the sandbox at all.
    pub enabled: bool,
    /// The version of Landlock's interface by which files are closed; absent when they are not.
    pub landlock_abi: Option<i32>,
    /// Whether TCP ports cannot be bound (Landlock since version 4, and only without raw sockets).
    pub tcp_bind_denied: bool,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// The capabilities that are left, by the kernel's names.
    pub capabilities: Vec<String>,
    /// Whether no program can give the process new privileges.
    pub no_new_privs: bool,
    /// Walls that the kernel has and would not set up, and what it said.
    pub refused: Vec<String>,
}

impl Report {
    /// What is missing of what the host has asked for, for people; nothing when all walls stand, or none is wanted.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.enabled {
            return missing;
        }
        missing.extend(self.refused.iter().cloned());
        if self.landlock_abi.is_none() {
            let why = "files are not closed: this kernel has no Landlock (Linux 5.13, and `landlock` among its LSMs)";
            missing.push(why.to_owned());
        }
        if !self.seccomp {
            let why = if calls::known() {
                "system calls are not filtered: this kernel has no seccomp filters"
            } else {
                "system calls are not filtered: the program has no list for this processor"
            };
            missing.push(why.to_owned());
        }
        if self.capabilities.iter().any(|name| name == FOREIGN_FILES) {
            missing.push(format!(
                "{FOREIGN_FILES} is kept: files of the state directory belong to another user than the one that the probe runs as"
            ));
        }
        missing
    }

    /// One line for people.
    pub fn line(&self) -> String {
        if !self.enabled {
            return "off (`[sandbox] enabled = true` in sonde.toml switches it on)".into();
        }
        let landlock = self.landlock_abi.map_or_else(|| "no Landlock".into(), |abi| format!("Landlock {abi}"));
        let seccomp = if self.seccomp { "seccomp" } else { "no seccomp" };
        let capabilities = match self.capabilities.as_slice() {
            [] => "no capabilities".to_owned(),
            some => some.join(", "),
        };
        format!("{landlock}, {seccomp}, {capabilities}")
    }
}

/// Why the sandbox cannot be entered. That a kernel does not have a wall is no error: [`Report`] tells.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// There are threads which it would not hold.
    #[error("the sandbox has to be entered before there are threads, and there are {0}")]
    Threads(usize),
    /// A privilege could not be given up.
    #[error("cannot give up {what}")]
    Privileges {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Landlock has refused.
    #[error("cannot close the files")]
    Files(#[from] landlock::RulesetError),
    /// The filter of system calls could not be made.
    #[error("cannot make the filter of system calls")]
    Filter(#[source] seccompiler::BackendError),
    /// The filter of system calls could not be set.
    #[error("cannot set the filter of system calls")]
    Seccomp(#[source] seccompiler::Error),
    /// The process that reads the list of resolvers could not be started.
    #[error("cannot start the process that reads the list of resolvers")]
    Reader {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A wall is missing, and the host has said that none may be.
    #[error("`[sandbox] required = true` in sonde.toml, and a wall is missing: {0}")]
    Missing(String),
    /// Without its privileges the process cannot write where it has to: somebody else owns the directory.
    #[error("{} belongs to another user: run the probe as that user, or give the directory to this one", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
}

/// Gives up whatever the plan does not name, for this process and for good. What a kernel does not have, or will not set up, is left
/// out and told, unless the plan requires it: a probe that measures with three walls is worth more than one that does not run.
///
/// # Errors
/// When there are threads already, the process cannot write where it has to, or a wall is missing that is required. The process
/// may be half closed then and has to end.
pub fn enter(plan: &Plan) -> Result<Report, SandboxError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(SandboxError::Threads(threads));
    }
    let mut refused = Vec::new();
    let mut note = |error: SandboxError| refused.push(with_causes(&error));
    privileges::harden().unwrap_or_else(&mut note);
    let files = files::close(plan).unwrap_or_else(|error| {
        note(error.into());
        files::Closed { abi: None, tcp_bind_denied: false }
    });
    privileges::keep(plan.raw, &plan.writable).unwrap_or_else(&mut note);
    for path in &plan.writable {
        let access = rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
        // A disk that nobody can write says nothing of whose the directory is.
        if access.is_err_and(|errno| errno != rustix::io::Errno::ROFS) {
            return Err(SandboxError::NotOurs { path: path.clone() });
        }
    }
    let capabilities = privileges::held();
    let no_new_privs = privileges::no_new_privs();
    let seccomp = filter::set(plan.raw).unwrap_or_else(|error| {
        note(error);
        false
    });
    let report = Report {
        enabled: true,
        landlock_abi: files.abi,
        tcp_bind_denied: files.tcp_bind_denied,
        seccomp,
        capabilities,
        no_new_privs,
        refused,
    };
    let missing = report.missing();
    if plan.required && !missing.is_empty() {
        return Err(SandboxError::Missing(missing.join("; ")));
    }
    info!(sandbox = %report.line(), "sandbox entered");
    for missing in missing {
        warn!("sandbox: {missing}");
    }
    Ok(report)
}
