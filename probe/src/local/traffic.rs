//! Bytes that have passed interfaces, from the kernel's `/proc/net/dev` (proc(5)), in the namespace of the calling thread.

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// Where the counters are. `/proc/net` itself would show the namespace of the process's first thread.
const COUNTERS: &str = "/proc/thread-self/net/dev";

/// Bytes that these interfaces have received and sent together since they were made.
///
/// # Errors
/// When the counters cannot be read.
pub fn passed(interfaces: &BTreeSet<String>) -> io::Result<u64> {
    let text = fs::read_to_string(COUNTERS)?;
    let counted = text.lines().filter_map(parse).filter(|(name, _)| interfaces.contains(*name));
    Ok(counted.fold(0, |sum, (_, bytes)| sum.wrapping_add(bytes)))
}

/// One line: the name, and received plus sent bytes (the first and the ninth figure). The two lines of headings are none.
fn parse(line: &str) -> Option<(&str, u64)> {
    let (name, figures) = line.split_once(':')?;
    let mut figures = figures.split_ascii_whitespace();
    let received: u64 = figures.next()?.parse().ok()?;
    let sent: u64 = figures.nth(7)?.parse().ok()?;
    Some((name.trim(), received.wrapping_add(sent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_headings_are_not() {
        // From Linux 6.18.
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1234567    1000    0    0    0     0          0         0  1234567    1000    0    0    0     0       0          0
  eth0:    1000      10    0    0    0     0          0         0      234       3    0    0    0     0       0          0
";
        let found: Vec<_> = text.lines().filter_map(parse).collect();
        assert_eq!(found, [("lo", 2_469_134), ("eth0", 1_234)]);
        for odd in ["", "eth0", "eth0:", "eth0: x", "eth0: 1 2 3", "eth0: -1 0 0 0 0 0 0 0 1"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn this_machine_counts() {
        assert!(passed(&BTreeSet::from(["lo".to_owned()])).is_ok());
        assert_eq!(passed(&BTreeSet::new()).unwrap(), 0);
    }
}
