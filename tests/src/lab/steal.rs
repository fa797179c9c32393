//! How much CPU time the hypervisor took away, from /proc/stat: while it does, no timing made here is worth much.

use std::fs;

use anyhow::Context as _;

/// The machine's CPU time since boot, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTimes {
    all: u64,
    stolen: u64,
}

impl CpuTimes {
    /// Reads them.
    pub(super) fn now() -> anyhow::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").context("read /proc/stat")?).context("understand /proc/stat")
    }

    /// The first line of proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; the guest times that follow
    /// are part of the first two.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times: Vec<u64> = line.split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
        Some(Self { all: times.iter().sum(), stolen: *times.get(7)? })
    }

    /// The share stolen since `earlier`, 0 to 1.
    pub(super) fn stolen_since(&self, earlier: &Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all);
        let stolen = self.stolen.saturating_sub(earlier.stolen);
        if all == 0 { 0.0 } else { stolen as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_all_time_but_guests() {
        let earlier = CpuTimes::parse("cpu  1 1 1 1 1 1 1 1 50 50\ncpu0 9").unwrap();
        let later = CpuTimes::parse("cpu  21 1 1 61 1 1 1 21 99 99\n").unwrap();
        assert_eq!(later.stolen_since(&earlier), 0.2);
        assert_eq!(earlier.stolen_since(&earlier), 0.0);
    }
}
