//! The system calls that a running probe uses, each with its reason: whatever is not here is refused. The table is what
//! `strace` shows over every kind of measurement, connecting, losing the collector and stopping, with the C libraries of
//! Debian and musl; `docs/threat-model.md` shows it to people, and a test holds the two together.
//!
//! Some calls are known on some processors only, so there are three lists. Where there is none for a processor the program
//! says so ([`known`]) and does without: a filter that nobody has tried would stop probes that nobody can reach.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use nix::libc;

/// When a call is allowed. Arguments that are pointers cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Memory that can be run as code is not to be had (W^X).
    NotExecutable,
    /// A new thread, and neither a new process nor a new namespace.
    ThreadOnly,
    /// Internet sockets and rtnetlink; raw ones only if the host wants them.
    InternetSocket,
    /// A pair of Unix sockets that know nobody else.
    UnixPair,
    /// No option by which the program could write IP headers itself.
    OrdinaryOption,
    /// What the standard library and the runtime ask of a descriptor.
    Descriptor,
    /// Only these requests.
    Requests(&'static [u64]),
    /// Only for this process itself.
    Itself,
    /// Reading limits, not setting them.
    ReadLimit,
}

/// One system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// As the kernel calls it.
    pub name: &'static str,
    /// Its number on this processor.
    pub number: i64,
    /// With which arguments.
    pub when: When,
    /// Why the probe needs it.
    pub why: &'static str,
}

/// Whether there is a table for this processor.
pub const fn known() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64"))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! calls {
    ($($why:literal: $($name:ident $(if $when:expr)?),+;)*) => {
        &[$($(Call { name: stringify!($name), number: numbers::$name, when: calls!(@when $($when)?), why: $why },)+)*]
    };
    (@when) => { When::Always };
    (@when $when:expr) => { $when };
}

/// `PR_SET_NAME` (linux/prctl.h).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const SET_NAME: &[u64] = &[15];
/// `FIONBIO`, `FIOCLEX`, `FIONREAD`, `TCGETS`, `TIOCGWINSZ` (asm-generic/ioctls.h).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const IOCTLS: &[u64] = &[0x5421, 0x5451, 0x541b, 0x5401, 0x5413];

/// Those of every processor.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub const COMMON: &[Call] = calls! {
    "memory": brk, madvise, mmap if When::NotExecutable, mprotect if When::NotExecutable, mremap, munmap;
    "threads": clone if When::ThreadOnly, clone3, exit, exit_group, futex, gettid, membarrier, prctl if When::Requests(SET_NAME),
        prlimit64 if When::ReadLimit, rseq, sched_getaffinity, sched_yield, set_robust_list, set_tid_address;
    "signals": restart_syscall, rt_sigaction, rt_sigprocmask, rt_sigreturn, rt_sigtimedwait, sigaltstack, tgkill if When::Itself;
    "time": clock_adjtime, adjtimex, clock_getres, clock_gettime, clock_nanosleep, gettimeofday, nanosleep;
    "random numbers": getrandom;
    "who and where it is": getegid, geteuid, getgid, getpid, getppid, getrusage, getuid, sysinfo, times, uname;
    "files of the state directory (Landlock holds them to it), and descriptors": close, close_range, dup, dup3, faccessat,
        faccessat2, fallocate, fchmod, fcntl if When::Descriptor, fdatasync, flock, fstat, fstatfs, fsync, ftruncate,
        getcwd, getdents64, ioctl if When::Requests(IOCTLS), lseek, mkdirat, newfstatat, openat, pread64, preadv, pwrite64,
        pwritev, read, readlinkat, readv, renameat, renameat2, statfs, statx, sync_file_range, unlinkat, write, writev;
    "waiting": epoll_create1, epoll_ctl, epoll_pwait, eventfd2, pipe2, ppoll, pselect6;
    "sockets": accept4, bind, connect, getpeername, getsockname, getsockopt, recvfrom, recvmmsg, recvmsg, sendmmsg, sendmsg,
        sendto, setsockopt if When::OrdinaryOption, shutdown, socket if When::InternetSocket,
        socketpair if When::UnixPair;
};

/// Those that came before the ones with more arguments, and are still what C libraries call.
#[cfg(target_arch = "x86_64")]
pub const OLD: &[Call] = calls! {
    "the same by their older names": access, accept, dup2, epoll_create, epoll_wait, eventfd, getdents, lstat, mkdir, open, pipe,
        poll, readlink, rename, rmdir, select, stat, time, unlink;
    "thread-local storage": arch_prctl;
};

/// Newer processors never had them.
#[cfg(not(target_arch = "x86_64"))]
pub const OLD: &[Call] = &[];

/// No list for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const COMMON: &[Call] = &[];

/// What only somebody calls who has taken the program over: the process is killed at once (SIGSYS), where every other call
/// that is not allowed fails with EPERM.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub const DEADLY: &[Call] = calls! {
    "running another program": execve, execveat;
    "looking into other processes": ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, kcmp;
    "the kernel's insides": bpf, perf_event_open, userfaultfd, io_uring_setup, init_module, finit_module, delete_module,
        kexec_load, reboot, add_key, request_key, keyctl;
    "mounts and namespaces": mount, umount2, pivot_root, chroot, unshare, setns, open_tree, move_mount, fsopen;
    "becoming somebody else": setuid, setgid, setreuid, setregid, setresuid, setresgid, setgroups, capset;
};

/// No list for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const DEADLY: &[Call] = &[];

/// All that are allowed.
pub fn allowed() -> impl Iterator<Item = &'static Call> {
    COMMON.iter().chain(OLD)
}

/// libc's names of the numbers, without their prefix.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[allow(non_upper_case_globals, reason = "they are the kernel's names")]
mod numbers {
    use super::libc;

    macro_rules! numbers {
        ($($name:ident = $number:ident),* $(,)?) => { $(pub(super) const $name: i64 = libc::$number;)* };
    }
    numbers! {
        brk = SYS_brk, madvise = SYS_madvise, mmap = SYS_mmap, mprotect = SYS_mprotect,
        mremap = SYS_mremap, munmap = SYS_munmap, clone = SYS_clone, clone3 = SYS_clone3,
        exit = SYS_exit, exit_group = SYS_exit_group, futex = SYS_futex, gettid = SYS_gettid,
        membarrier = SYS_membarrier, prctl = SYS_prctl, prlimit64 = SYS_prlimit64, rseq = SYS_rseq,
        sched_getaffinity = SYS_sched_getaffinity, sched_yield = SYS_sched_yield, set_robust_list = SYS_set_robust_list, set_tid_address = SYS_set_tid_address,
        restart_syscall = SYS_restart_syscall, rt_sigaction = SYS_rt_sigaction, rt_sigprocmask = SYS_rt_sigprocmask, rt_sigreturn = SYS_rt_sigreturn,
        rt_sigtimedwait = SYS_rt_sigtimedwait, sigaltstack = SYS_sigaltstack, tgkill = SYS_tgkill, clock_adjtime = SYS_clock_adjtime,
        adjtimex = SYS_adjtimex, clock_getres = SYS_clock_getres, clock_gettime = SYS_clock_gettime, clock_nanosleep = SYS_clock_nanosleep,
        gettimeofday = SYS_gettimeofday, nanosleep = SYS_nanosleep, getrandom = SYS_getrandom, getegid = SYS_getegid,
        geteuid = SYS_geteuid, getgid = SYS_getgid, getpid = SYS_getpid, getppid = SYS_getppid,
        getrusage = SYS_getrusage, getuid = SYS_getuid, sysinfo = SYS_sysinfo, times = SYS_times,
        uname = SYS_uname, close = SYS_close, close_range = SYS_close_range, dup = SYS_dup,
        dup3 = SYS_dup3, faccessat = SYS_faccessat, faccessat2 = SYS_faccessat2, fallocate = SYS_fallocate,
        fchmod = SYS_fchmod, fcntl = SYS_fcntl, fdatasync = SYS_fdatasync, flock = SYS_flock,
        fstat = SYS_fstat, fstatfs = SYS_fstatfs, fsync = SYS_fsync, ftruncate = SYS_ftruncate,
        getcwd = SYS_getcwd, getdents64 = SYS_getdents64, ioctl = SYS_ioctl, lseek = SYS_lseek,
        mkdirat = SYS_mkdirat, newfstatat = SYS_newfstatat, openat = SYS_openat, pread64 = SYS_pread64,
        preadv = SYS_preadv, pwrite64 = SYS_pwrite64, pwritev = SYS_pwritev, read = SYS_read,
        readlinkat = SYS_readlinkat, readv = SYS_readv, renameat = SYS_renameat, renameat2 = SYS_renameat2,
        statfs = SYS_statfs, statx = SYS_statx, sync_file_range = SYS_sync_file_range, unlinkat = SYS_unlinkat,
        write = SYS_write, writev = SYS_writev, epoll_create1 = SYS_epoll_create1, epoll_ctl = SYS_epoll_ctl,
        epoll_pwait = SYS_epoll_pwait, eventfd2 = SYS_eventfd2, pipe2 = SYS_pipe2, ppoll = SYS_ppoll,
        pselect6 = SYS_pselect6, accept4 = SYS_accept4, bind = SYS_bind, connect = SYS_connect,
        getpeername = SYS_getpeername, getsockname = SYS_getsockname, getsockopt = SYS_getsockopt, recvfrom = SYS_recvfrom,
        recvmmsg = SYS_recvmmsg, recvmsg = SYS_recvmsg, sendmmsg = SYS_sendmmsg, sendmsg = SYS_sendmsg,
        sendto = SYS_sendto, setsockopt = SYS_setsockopt, shutdown = SYS_shutdown, socket = SYS_socket,
        socketpair = SYS_socketpair, execve = SYS_execve, execveat = SYS_execveat, ptrace = SYS_ptrace,
        process_vm_readv = SYS_process_vm_readv, process_vm_writev = SYS_process_vm_writev, pidfd_getfd = SYS_pidfd_getfd, kcmp = SYS_kcmp,
        bpf = SYS_bpf, perf_event_open = SYS_perf_event_open, userfaultfd = SYS_userfaultfd, io_uring_setup = SYS_io_uring_setup,
        init_module = SYS_init_module, finit_module = SYS_finit_module, delete_module = SYS_delete_module, kexec_load = SYS_kexec_load,
        reboot = SYS_reboot, add_key = SYS_add_key, request_key = SYS_request_key, keyctl = SYS_keyctl,
        mount = SYS_mount, umount2 = SYS_umount2, pivot_root = SYS_pivot_root, chroot = SYS_chroot,
        unshare = SYS_unshare, setns = SYS_setns, open_tree = SYS_open_tree, move_mount = SYS_move_mount,
        fsopen = SYS_fsopen, setuid = SYS_setuid, setgid = SYS_setgid, setreuid = SYS_setreuid,
        setregid = SYS_setregid, setresuid = SYS_setresuid, setresgid = SYS_setresgid, setgroups = SYS_setgroups,
        capset = SYS_capset,
    }
    #[cfg(target_arch = "x86_64")]
    numbers! {
        access = SYS_access, accept = SYS_accept, dup2 = SYS_dup2, epoll_create = SYS_epoll_create,
        epoll_wait = SYS_epoll_wait, eventfd = SYS_eventfd, getdents = SYS_getdents, lstat = SYS_lstat,
        mkdir = SYS_mkdir, open = SYS_open, pipe = SYS_pipe, poll = SYS_poll,
        readlink = SYS_readlink, rename = SYS_rename, rmdir = SYS_rmdir, select = SYS_select,
        stat = SYS_stat, time = SYS_time, unlink = SYS_unlink, arch_prctl = SYS_arch_prctl,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/threat-model.md");

    /// The calls in a table of the document: rows `| reason | `a`, `b` |` below its heading.
    fn table(heading: &str) -> BTreeSet<(String, String)> {
        let (_, rest) = DOCUMENT.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
        let section = rest.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
        let calls = |(why, names): (&str, &str)| {
            let names = names.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>();
            names.into_iter().map(|name| (why.to_owned(), name)).collect::<Vec<_>>()
        };
        rows.flat_map(calls).collect()
    }

    fn set<'a>(calls: impl Iterator<Item = &'a Call>) -> BTreeSet<(String, String)> {
        calls.map(|call| (call.why.to_owned(), call.name.to_owned())).collect()
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_document_shows_what_is_allowed_and_what_kills() {
        assert_eq!(table("### System calls that are allowed"), set(allowed()));
        assert_eq!(table("### System calls that end the process"), set(DEADLY.iter()));
    }

    #[test]
    fn nothing_is_allowed_and_deadly_or_there_twice() {
        let numbers: BTreeSet<i64> = allowed().chain(DEADLY).map(|call| call.number).collect();
        assert_eq!(numbers.len(), allowed().count() + DEADLY.len());
    }
}
