//! Ours and others: how each is started and what it prints. Every answer is in nanoseconds with the step in which the tool
//! printed it, so that a coarse print is not taken for an error.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sonde_tests::lab::Namespace;
use sonde_tests::world::program;

/// No program of a section may take longer, in seconds.
const LIMIT: &str = "20";

/// scamper takes part in one round of so many; odd, so that both families come up.
const SCAMPER_EVERY: u32 = 5;

/// A time that a tool printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Nanoseconds.
    pub nanos: i64,
    /// What its last digit is worth.
    pub resolution: i64,
}

impl Said {
    /// From a number as printed and the nanoseconds of its unit; the digits after the point are its resolution.
    pub fn parse(text: &str, unit: i64) -> Option<Self> {
        let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
        let value: f64 = text.parse().ok()?;
        let mut resolution = unit;
        for _ in 0..digits {
            resolution /= 10;
        }
        Some(Self { nanos: (value * unit as f64).round() as i64, resolution: resolution.max(1) })
    }
}

const MS: i64 = 1_000_000;
const US: i64 = 1_000;

/// A command in a namespace on the core of what measures, ended when it takes too long.
pub fn bounded(from: &Namespace, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = from.command("taskset");
    command.args(["-c", &super::machine::CORE.to_string(), "timeout", "-k", "1", LIMIT]).arg(program);
    command
}

/// What a command printed on its standard output. Its exit status counts unless `may_fail`: some tools fail when an answer
/// is missing.
pub fn printed(command: &mut Command, may_fail: bool) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() && !may_fail {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pinger {
    /// `sonde-probe measure ping`.
    Sonde,
    /// `ping` of iputils, its lines.
    Ping,
    /// `ping -q -c 1` again and again: its summary has microseconds where its lines have none.
    PingSummary,
    /// `fping`.
    Fping,
    /// `scamper -c ping`.
    Scamper,
    /// The crate surge-ping, in a process of its own.
    SurgePing,
}

impl Pinger {
    /// The name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sonde => "sonde",
            Self::Ping => "ping",
            Self::PingSummary => "ping, one at a time, its summary",
            Self::Fping => "fping",
            Self::Scamper => "scamper",
            Self::SurgePing => "surge-ping",
        }
    }

    /// Whether it takes part in this round. scamper cannot be hurried and takes seconds for what the others do in a fifth of
    /// one.
    pub fn is_due(self, round: u32) -> bool {
        !matches!(self, Self::Scamper) || round.is_multiple_of(SCAMPER_EVERY)
    }

    /// Sends `count` echo requests `interval` milliseconds apart; the times in the order of the requests, absent where no
    /// answer came.
    pub fn run(self, from: &Namespace, dst: IpAddr, count: usize, interval: u32) -> Result<Vec<Option<Said>>> {
        let dst_text = dst.to_string();
        let packets = count.to_string();
        let family = if dst.is_ipv4() { "-4" } else { "-6" };
        let seconds = (f64::from(interval) / 1e3).to_string();
        match self {
            Self::Sonde => {
                let mut command = bounded(from, program("sonde-probe")?);
                command.args(["measure", "ping", &dst_text, "--packets", &packets]);
                let text = printed(command.args(["--packet-interval", &interval.to_string()]), false)?;
                sonde_ping(&text)
            }
            Self::Ping => {
                let mut command = bounded(from, "ping");
                let text = printed(command.args(["-n", "-W", "1", "-c", &packets, "-i", &seconds, &dst_text]), true)?;
                // icmp_seq counts from 1.
                let lines = text.lines().filter_map(|line| {
                    let seq: usize = word(line, "icmp_seq=")?.parse().ok()?;
                    Some((seq.checked_sub(1)?, Said::parse(word(line, "time=")?, MS)?))
                });
                Ok(in_order(lines, count))
            }
            Self::PingSummary => (0..count)
                .map(|_| {
                    let mut command = bounded(from, "ping");
                    let text = printed(command.args(["-n", "-q", "-W", "1", "-c", "1", &dst_text]), true)?;
                    let least = text.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "));
                    Ok(least.and_then(|rest| Said::parse(rest.split('/').next()?, MS)))
                })
                .collect(),
            Self::Fping => {
                let mut command = bounded(from, "fping");
                command.args([family, "-t", "1000", "-c", &packets, "-p", &interval.to_string(), &dst_text]);
                let text = printed(&mut command, true)?;
                Ok(in_order(text.lines().filter_map(fping_line).map(|(_, seq, said)| (seq, said)), count))
            }
            Self::Scamper => {
                let mut command = bounded(from, "scamper");
                // Tenths of a second are the least it knows.
                let ping = format!("ping -c {packets} -i 0.1");
                let text = printed(command.args(["-p", "1000", "-c", &ping, "-i", &dst_text]), false)?;
                let lines = text.lines().filter_map(|line| {
                    Some((word(line, "seq=")?.parse().ok()?, Said::parse(word(line, "time=")?, MS)?))
                });
                Ok(in_order(lines, count))
            }
            Self::SurgePing => {
                let mut command = bounded(from, std::env::current_exe()?);
                command.args([super::child::SURGE, &packets, &interval.to_string(), &dst_text]);
                let text = printed(&mut command, false)?;
                Ok(in_order(text.lines().filter_map(surge_line).map(|(_, seq, said)| (seq, said)), count))
            }
        }
    }
}

/// The times of a result of ours, in order.
pub fn sonde_ping(json: &str) -> Result<Vec<Option<Said>>> {
    let result: Value = serde_json::from_str(json).with_context(|| json.to_owned())?;
    rtts(&result)
}

/// The same of a result that is read already.
pub fn rtts(result: &Value) -> Result<Vec<Option<Said>>> {
    let packets = result["result"].as_array().with_context(|| format!("no packets in {result}"))?;
    Ok(packets.iter().map(|packet| packet["rtt"].as_f64().map(exact)).collect())
}

/// Milliseconds of our JSON, which has six digits after the point.
pub fn exact(millis: f64) -> Said {
    Said { nanos: (millis * 1e6).round() as i64, resolution: 1 }
}

/// `ADDRESS : [SEQ], 64 bytes, 0.037 ms (…)`.
pub fn fping_line(line: &str) -> Option<(IpAddr, usize, Said)> {
    let (address, rest) = line.split_once(" : [")?;
    let (seq, rest) = rest.split_once(']')?;
    let time = rest.split(", ").nth(2)?.split_once(" ms")?.0;
    Some((address.trim().parse().ok()?, seq.parse().ok()?, Said::parse(time, MS)?))
}

/// `ADDRESS SEQ NANOSECONDS`, as [`super::child`] prints.
pub fn surge_line(line: &str) -> Option<(IpAddr, usize, Said)> {
    let mut words = line.split(' ');
    let (address, seq, nanos) = (words.next()?, words.next()?, words.next()?);
    Some((address.parse().ok()?, seq.parse().ok()?, Said { nanos: nanos.parse().ok()?, resolution: 1 }))
}

fn in_order(lines: impl Iterator<Item = (usize, Said)>, count: usize) -> Vec<Option<Said>> {
    let mut times = vec![None; count];
    for (seq, said) in lines {
        if let Some(time) = times.get_mut(seq) {
            *time = time.or(Some(said));
        }
    }
    times
}

/// What follows `key` in a line, up to the next space.
fn word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_once(key)?.1.split_whitespace().next()
}

/// What asks DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// `sonde-probe measure dns`.
    Sonde,
    /// `dig -u` of BIND.
    Dig,
    /// `kdig` of Knot.
    Kdig,
}

impl Asker {
    /// All.
    pub const ALL: [Self; 3] = [Self::Sonde, Self::Dig, Self::Kdig];

    /// The name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sonde => "sonde",
            Self::Dig => "dig -u",
            Self::Kdig => "kdig",
        }
    }

    /// Asks for the IPv4 address of `name` once, over UDP; the time it took.
    pub fn ask(self, from: &Namespace, server: IpAddr, name: &str) -> Result<Option<Said>> {
        let at = format!("@{server}");
        match self {
            Self::Sonde => {
                let mut command = bounded(from, program("sonde-probe")?);
                command.args(["measure", "dns", name, "--server", &server.to_string(), "--query-type", "A"]);
                let result: Value = serde_json::from_str(&printed(&mut command, false)?)?;
                Ok(result["result"]["rt"].as_f64().map(exact))
            }
            Self::Dig => {
                let mut command = bounded(from, "dig");
                let text = printed(command.args(["-u", "+tries=1", "+time=2", &at, name, "A"]), true)?;
                let time = text.lines().find_map(|line| line.strip_prefix(";; Query time: "));
                Ok(time.and_then(|rest| Said::parse(rest.split(' ').next()?, US)))
            }
            Self::Kdig => {
                let mut command = bounded(from, "kdig");
                let text = printed(command.args(["+retry=0", "+time=2", &at, name, "A"]), true)?;
                let time = text.lines().find(|line| line.starts_with(";; From "));
                Ok(time.and_then(|line| Said::parse(word(line, " in ")?, MS)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_digit_is_the_resolution() {
        assert_eq!(Said::parse("20.1", MS), Some(Said { nanos: 20_100_000, resolution: 100_000 }));
        assert_eq!(Said::parse("0.037", MS), Some(Said { nanos: 37_000, resolution: 1_000 }));
        assert_eq!(Said::parse("7123", US), Some(Said { nanos: 7_123_000, resolution: 1_000 }));
        assert_eq!(Said::parse("*", US), None);
    }

    #[test]
    fn lines_are_read() {
        let (address, seq, said) = fping_line("20.0.0.1 : [2], 64 bytes, 0.035 ms (0.036 avg, 0% loss)").unwrap();
        assert_eq!((address.to_string().as_str(), seq, said.nanos), ("20.0.0.1", 2, 35_000));
        assert!(fping_line("20.0.0.1 : [2], timed out (NaN avg, 100% loss)").is_none());
        assert_eq!(word("84 bytes from 127.0.0.1, seq=0 ttl=64 time=0.256 ms", "time="), Some("0.256"));
        assert_eq!(in_order([(1, exact(1.0))].into_iter(), 2), [None, Some(exact(1.0))]);
    }
}
