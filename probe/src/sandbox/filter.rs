//! The filter of system calls (seccomp(2)), made from the table in [`super::calls`] by seccompiler.
//!
//! It is three filters on top of each other, because each can answer in one way only: what is deadly kills the process, what
//! is not in the table fails with EPERM, and `clone3` says ENOSYS. The flags of `clone3` lie in memory, where no filter can
//! look; the C library then takes `clone`, whose flags are looked at.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use nix::libc;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use super::SandboxError;
use super::calls::{self, Call, When};

/// Filters the system calls of this thread and of those that it starts. `false` where there is no table for this processor
/// or the kernel has no such filters.
pub(super) fn set(raw: bool) -> Result<bool, SandboxError> {
    if !calls::known() {
        return Ok(false);
    }
    let whole = |calls: &mut dyn Iterator<Item = &Call>| calls.map(|call| (call.number, Vec::new())).collect();
    let clone3: Rules = whole(&mut calls::allowed().filter(|call| call.name == "clone3"));
    let filters = [
        program(clone3, SeccompAction::Allow, SeccompAction::Errno(errno(libc::ENOSYS)))?,
        program(whole(&mut calls::DEADLY.iter()), SeccompAction::Allow, SeccompAction::KillProcess)?,
        // Last, because no more can be added under it.
        program(table(raw)?, SeccompAction::Errno(errno(libc::EPERM)), SeccompAction::Allow)?,
    ];
    for filter in &filters {
        match apply_filter(filter) {
            Ok(()) => {}
            // A kernel without filters, or an emulator: EINVAL of `seccomp(2)`.
            Err(seccompiler::Error::Seccomp(error))
                if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(SandboxError::Seccomp(error)),
        }
    }
    Ok(true)
}

/// For the process that reads the list of resolvers: it answers, and that is all.
pub(super) fn set_for_reader() -> Result<bool, SandboxError> {
    const READER: [&str; 20] = [
        "read",
        "write",
        "openat",
        "open",
        "close",
        "recvfrom",
        "sendto",
        "fstat",
        "newfstatat",
        "statx",
        "brk",
        "mmap",
        "munmap",
        "mremap",
        "exit_group",
        "rt_sigreturn",
        "restart_syscall",
        "sigaltstack",
        "futex",
        "fcntl",
    ];
    if !calls::known() {
        return Ok(false);
    }
    let mut rules = Rules::new();
    for call in calls::allowed().filter(|call| READER.contains(&call.name)) {
        rules.insert(call.number, conditions(call, false)?);
    }
    let filter = program(rules, SeccompAction::KillProcess, SeccompAction::Allow)?;
    apply_filter(&filter).map(|()| true).or(Ok(false))
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn errno(number: i32) -> u32 {
    number.unsigned_abs()
}

fn program(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> Result<BpfProgram, SandboxError> {
    let processor = TargetArch::try_from(ARCH).map_err(SandboxError::Filter)?;
    let filter = SeccompFilter::new(rules, otherwise, matching, processor).map_err(SandboxError::Filter)?;
    BpfProgram::try_from(filter).map_err(SandboxError::Filter)
}

fn table(raw: bool) -> Result<Rules, SandboxError> {
    calls::allowed().map(|call| Ok((call.number, conditions(call, raw)?))).collect()
}

/// An argument, by its place, and what it must be.
type Condition = (u8, SeccompCmpOp, u64);

/// The rules of one call, of which one must hold; none for a call that is always allowed.
fn conditions(call: &Call, raw: bool) -> Result<Vec<SeccompRule>, SandboxError> {
    const EXEC: u64 = libc::PROT_EXEC as u64;
    const THREAD: u64 =
        (libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD) as u64;
    const NAMESPACES: u64 = (libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET) as u64;
    /// Beside `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
    const TYPE: u64 = !((libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) as u64) & 0xffff_ffff;
    let equal = |place, value: i32| (place, Eq, u64::from(value.unsigned_abs()));
    let of_type = |value: i32| (1, MaskedEq(TYPE), u64::from(value.unsigned_abs()));
    let alternatives: Vec<Vec<Condition>> = match call.when {
        When::Always => Vec::new(),
        When::NotExecutable => vec![vec![(2, MaskedEq(EXEC), 0)]],
        When::ThreadOnly => vec![vec![(0, MaskedEq(THREAD | NAMESPACES), THREAD)]],
        When::InternetSocket => {
            let mut sockets =
                vec![vec![equal(0, libc::AF_NETLINK), of_type(libc::SOCK_RAW), equal(2, libc::NETLINK_ROUTE)]];
            for family in [libc::AF_INET, libc::AF_INET6] {
                sockets.push(vec![equal(0, family), of_type(libc::SOCK_STREAM)]);
                sockets.push(vec![equal(0, family), of_type(libc::SOCK_DGRAM)]);
                for protocol in [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6, libc::IPPROTO_TCP] {
                    if raw {
                        sockets.push(vec![equal(0, family), of_type(libc::SOCK_RAW), equal(2, protocol)]);
                    }
                }
            }
            sockets
        }
        When::UnixPair => vec![vec![equal(0, libc::AF_UNIX)]],
        // Not (level and name): either is another.
        When::OrdinaryOption => {
            let other = |place, value: i32| (place, Ne, u64::from(value.unsigned_abs()));
            let mut options = Vec::new();
            for v4 in [other(1, libc::IPPROTO_IP), other(2, libc::IP_HDRINCL)] {
                for v6 in [other(1, libc::IPPROTO_IPV6), other(2, libc::IPV6_HDRINCL)] {
                    options.push(vec![v4.clone(), v6]);
                }
            }
            options
        }
        When::Descriptor => [
            libc::F_GETFD,
            libc::F_SETFD,
            libc::F_GETFL,
            libc::F_SETFL,
            libc::F_DUPFD_CLOEXEC,
            libc::F_GETLK,
            libc::F_SETLK,
            libc::F_OFD_SETLK,
        ]
        .map(|command| vec![equal(1, command)])
        .into(),
        When::Requests(requests) => {
            // `prctl` has it first, `ioctl` second.
            let place = u8::from(call.name == "ioctl");
            requests.iter().map(|request| vec![(place, Eq, *request)]).collect()
        }
        When::Itself => vec![vec![(0, Eq, u64::from(std::process::id()))]],
        When::ReadLimit => vec![vec![(0, Eq, 0), (2, Eq, 0)]],
    };
    let rule = |conditions: Vec<Condition>| {
        let condition = |(place, operator, value)| {
            // A pointer is nothing only if all of it is.
            let length = if call.when == When::ReadLimit { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
            SeccompCondition::new(place, length, operator, value)
        };
        SeccompRule::new(conditions.into_iter().map(condition).collect::<Result<_, _>>()?)
    };
    alternatives.into_iter().map(rule).collect::<Result<_, _>>().map_err(SandboxError::Filter)
}
