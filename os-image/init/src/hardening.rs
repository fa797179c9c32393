//! What the kernel is told to refuse: at the start, and, once the drivers are loaded, new modules. All by files of /proc/sys, which are
//! written once; a kernel without one of them has nothing to be closed there.

use std::fs;
use std::io;

/// At the start. What a board has no use for, or what would tell a hijacked probe about the kernel.
const SETTINGS: [(&str, &str); 35] = [
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("net/core/bpf_jit_harden", "2"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/yama/ptrace_scope", "3"),
    ("user/max_user_namespaces", "0"),
    ("kernel/io_uring_disabled", "2"),
    ("vm/unprivileged_userfaultfd", "0"),
    ("dev/tty/ldisc_autoload", "0"),
    ("kernel/sysrq", "0"),
    ("kernel/core_pattern", "|/nonexistent"),
    ("kernel/core_uses_pid", "0"),
    ("fs/suid_dumpable", "0"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_symlinks", "1"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_regular", "2"),
    // A board that hangs or goes wrong starts again.
    ("kernel/panic", "5"),
    ("kernel/panic_on_oops", "1"),
    ("vm/panic_on_oom", "0"),
    // Pings without a capability, for the probe's group alone.
    ("net/ipv4/ping_group_range", "900 900"),
    // It forwards nothing, and nobody sends it elsewhere.
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    ("net/ipv6/conf/all/accept_source_route", "0"),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1"),
    ("net/ipv4/tcp_rfc1337", "1"),
];

/// Closes what can be closed before drivers are loaded. Gives what the kernel would not do.
pub fn close_early() -> Vec<(&'static str, io::Error)> {
    let refused = |(name, value): &(&'static str, &str)| match fs::write(format!("/proc/sys/{name}"), value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Some((*name, error)),
        _ => None,
    };
    SETTINGS.iter().filter_map(refused).collect()
}

/// From now on no module is loaded, by anybody, until the next start.
///
/// Their files go too: the system runs from memory, and they take a tenth of what a small board has.
///
/// # Errors
/// The kernel's.
pub fn close_modules() -> io::Result<()> {
    fs::write("/proc/sys/kernel/modules_disabled", "1")?;
    fs::remove_dir_all("/lib/modules")
}

/// How far the kernel is locked down against root (kernel_lockdown(7)): the word in brackets.
pub fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    chosen(&text).map(str::to_owned)
}

fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_in_brackets_is_in_force() {
        assert_eq!(chosen("none [integrity] confidentiality\n"), Some("integrity"));
        assert_eq!(chosen("none\n"), None);
    }
}
