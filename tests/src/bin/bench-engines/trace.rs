//! Traceroutes over the longest path of the lab: how long each tool takes, how many packets it sends, when every hop has
//! answered for the first time, and how exact our times are.

use std::io::Write;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use sonde_tests::lab::topology::Branch;
use sonde_tests::lab::{CapturedPacket, Family, HopTruth, Host, Lab, Namespace};
use sonde_tests::world::program;

use super::Effort;
use super::figures::{Errors, P99_IDLE, error_head, error_row, met_or_not, nearest_rank};
use super::rtt::{OUTSIDE, PROBE};
use super::tools::{Said, bounded, exact, printed};

/// The first reply of every hop may take this many of the largest round trips.
const BUDGET: f64 = 1.5;

/// What the capture has of one packet, on each interface that it crosses there, is within this of each other; packets of
/// one hop are farther apart.
const SAME: i64 = 10_000_000;

/// How a traceroute asks, in our words.
const PROTOCOLS: [&str; 3] = ["UDP", "ICMP", "TCP"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tracer {
    Sonde,
    Traceroute,
    Scamper,
}

impl Tracer {
    const ALL: [Self; 3] = [Self::Sonde, Self::Traceroute, Self::Scamper];

    const fn name(self) -> &'static str {
        match self {
            Self::Sonde => "sonde",
            Self::Traceroute => "traceroute",
            Self::Scamper => "scamper",
        }
    }

    /// With its own defaults, names aside.
    fn command(self, from: &Namespace, dst: &str, protocol: &str) -> Result<Command> {
        Ok(match self {
            Self::Sonde => {
                let mut command = bounded(from, program("sonde-probe")?);
                command.args(["measure", "traceroute", dst, "--protocol", protocol]);
                command
            }
            Self::Traceroute => {
                let mut command = bounded(from, "traceroute");
                let method: &[&str] = match protocol {
                    "ICMP" => &["-I"],
                    "TCP" => &["-T"],
                    _ => &[],
                };
                command.arg("-n").args(method).arg(dst);
                command
            }
            Self::Scamper => {
                let method = match protocol {
                    "ICMP" => "icmp-paris",
                    "TCP" => "tcp",
                    _ => "udp-paris",
                };
                let mut command = bounded(from, "scamper");
                command.args(["-p", "1000", "-c", &format!("trace -P {method}"), "-i", dst]);
                command
            }
        })
    }
}

/// What one traceroute did, by the capture in its host.
struct Run {
    wall: Duration,
    packets: usize,
    /// How many of the hops answered.
    hops: usize,
    /// From its first packet until the last hop to answer had answered once.
    complete: Duration,
}

/// The section.
pub fn run(lab: &Lab, effort: Effort, out: &mut impl Write) -> Result<()> {
    let (from, to) = longest_path(lab);
    let hops = lab.path(from, to, Family::V4).len();
    let title = format!("traceroute {} -> {}, {hops} hops, v4 and v6", from.name(), to.name());
    writeln!(
        out,
        "\n{title:<44} {:>8} {:>8} {:>9} {:>8} {:>8} {:>8}",
        "wall ms", "packets", "all hops", "of RTT", "at worst", "hops"
    )?;
    let mut errors = Errors::default();
    let mut worst: f64 = 0.0;
    let mut all_answered = true;
    for protocol in PROTOCOLS {
        for tracer in Tracer::ALL {
            let name = format!("{} {protocol}", tracer.name());
            let mut runs = Vec::new();
            let mut refused = None;
            for round in 0..effort.traceroutes * 2 {
                let family = if round.is_multiple_of(2) { Family::V4 } else { Family::V6 };
                match one(lab, (from, to, family), tracer, protocol, &mut errors) {
                    Ok((run, _)) if run.packets == 0 => refused = Some("sent nothing".to_owned()),
                    Ok(run) => runs.push(run),
                    // Ours may not have this protocol yet, and an old tool not this family.
                    Err(error) => refused = error.to_string().lines().next().map(ToOwned::to_owned),
                }
            }
            if runs.is_empty() {
                writeln!(out, "{name:<44} {}", refused.unwrap_or_default())?;
                continue;
            }
            let ratio = print(out, &name, &runs)?;
            if tracer == Tracer::Sonde {
                worst = worst.max(ratio);
                all_answered &= runs.iter().all(|(run, truth)| run.hops == truth.len());
            }
        }
    }
    error_head(out, "a hop's RTT - capture, idle")?;
    error_row(out, "sonde", &errors)?;
    writeln!(out, "{}", errors.verdict(P99_IDLE))?;
    writeln!(
        out,
        "budget: first reply of every hop < {BUDGET} x the largest RTT: {}: {worst:.2} at worst",
        met_or_not(all_answered && worst > 0.0 && worst < BUDGET)
    )?;
    Ok(())
}

/// Medians; gives the worst ratio.
fn print(out: &mut impl Write, name: &str, runs: &[(Run, Vec<HopTruth>)]) -> Result<f64> {
    let ratio = |(run, truth): &(Run, Vec<HopTruth>)| {
        let floor = truth.iter().map(HopTruth::rtt_floor).max().unwrap_or_default();
        run.complete.as_secs_f64() / floor.as_secs_f64()
    };
    let median = |of: &dyn Fn(&Run) -> Duration| {
        let values: Vec<i64> =
            runs.iter().map(|(run, _)| i64::try_from(of(run).as_nanos()).unwrap_or(i64::MAX)).collect();
        nearest_rank(&values, 0.5) as f64 / 1e6
    };
    let packets: usize = runs.iter().map(|(run, _)| run.packets).sum::<usize>() / runs.len();
    let fewest = runs.iter().map(|(run, _)| run.hops).min().unwrap_or(0);
    let mut ratios: Vec<f64> = runs.iter().map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let middle = ratios.get((ratios.len() - 1) / 2).copied().unwrap_or_default();
    let worst = ratios.last().copied().unwrap_or_default();
    writeln!(
        out,
        "{name:<44} {:>8.1} {packets:>8} {:>9.1} {middle:>8.2} {worst:>8.2} {fewest:>8}",
        median(&|run| run.wall),
        median(&|run| run.complete),
    )?;
    Ok(worst)
}

fn one(
    lab: &Lab,
    (from, to, family): (Host, Host, Family),
    tracer: Tracer,
    protocol: &str,
    errors: &mut Errors,
) -> Result<(Run, Vec<HopTruth>)> {
    let dst = to.address(family).context("the path's end has an address")?;
    let ways = Branch::ALL.map(|branch| lab.path_over(branch, from, to, family));
    let mut command = tracer.command(lab.host(from), &dst.to_string(), protocol)?;
    let capture = lab.capture(from)?;
    let outside = lab.capture_at(OUTSIDE)?;
    let began = Instant::now();
    let text = printed(&mut command, false)?;
    let wall = began.elapsed();
    let packets = capture.stop()?;
    let outside = outside.stop()?;
    // The way that most of its packets took.
    let seen =
        |way: &&Vec<HopTruth>| way.iter().filter(|hop| packets.iter().any(|packet| is_answer(packet, hop))).count();
    let truth = ways.iter().rev().max_by_key(seen).cloned().unwrap_or_default();
    if let (Tracer::Sonde, true, Some(src)) = (tracer, from == PROBE, PROBE.address(family)) {
        let result = serde_json::from_str(&text)?;
        truth.iter().zip(1..).for_each(|(hop, number)| compare(&outside, (src, dst), (hop, number), &result, errors));
    }
    let sent: Vec<&CapturedPacket> = packets.iter().filter(|packet| packet.left_to(dst)).collect();
    let Some(first) = sent.first() else {
        return Ok((Run { wall, packets: 0, hops: 0, complete: Duration::ZERO }, truth));
    };
    // A tool whose flow varies sees both branches of a fork, and a hop has answered if one of them has.
    let answers = (0..truth.len()).filter_map(|place| {
        let here = ways.iter().filter_map(|way| way.get(place));
        here.filter_map(|hop| packets.iter().find(|packet| is_answer(packet, hop)))
            .map(|packet| packet.at - first.at)
            .min()
    });
    let answers: Vec<i64> = answers.collect();
    let complete = Duration::from_nanos(u64::try_from(answers.iter().max().copied().unwrap_or(0))?);
    Ok((Run { wall, packets: sent.len(), hops: answers.len(), complete }, truth))
}

/// The times of one hop in our result against the capture's: the first packet with this hop limit against the first answer,
/// and so on. Left out is a hop where the numbers differ, and the destination, where hop limits do not tell packets apart.
fn compare(
    outside: &[CapturedPacket],
    (src, dst): (IpAddr, IpAddr),
    (hop, number): (&HopTruth, u8),
    result: &Value,
    errors: &mut Errors,
) {
    if hop.address == dst {
        return;
    }
    // In at its first interface, out at its last.
    let asked = times(outside, false, |packet| {
        !packet.outgoing && packet.summary.ip.is_some_and(|ip| (ip.src, ip.dst, ip.hop_limit) == (src, dst, number))
    });
    let answered = times(outside, true, |packet| {
        packet.outgoing
            && packet.summary.ip.is_some_and(|ip| (ip.src, ip.dst) == (hop.address, src))
            && packet.summary.quoted.is_some_and(|ip| ip.dst == dst)
    });
    let hops = result["result"].as_array().into_iter().flatten();
    let said: Vec<Said> = hops
        .filter(|hop| hop["hop"] == number)
        .flat_map(|hop| hop["result"].as_array().into_iter().flatten())
        .filter_map(|reply| Some(Said { resolution: 1_000, ..exact(reply["rtt"].as_f64()?) }))
        .collect();
    if asked.len() != answered.len() || asked.len() != said.len() {
        errors.missed += answered.len();
        return;
    }
    for ((asked, answered), said) in asked.iter().zip(&answered).zip(&said) {
        errors.add(said.nanos, answered - asked, said.resolution);
    }
}

/// When such packets passed, each once: at its first interface or its last.
fn times(packets: &[CapturedPacket], last: bool, wanted: impl Fn(&CapturedPacket) -> bool) -> Vec<i64> {
    let mut times: Vec<i64> = Vec::new();
    for at in packets.iter().filter(|packet| wanted(packet)).map(|packet| packet.at) {
        match times.last_mut() {
            Some(time) if at - *time < SAME => {
                if last {
                    *time = at;
                }
            }
            _ => times.push(at),
        }
    }
    times
}

/// Anything from the hop that is an ICMP error, or from the destination itself whatever it is, Neighbour Discovery aside.
fn is_answer(packet: &CapturedPacket, hop: &HopTruth) -> bool {
    let quotes = packet.summary.quoted.is_some();
    !packet.outgoing
        && packet
            .summary
            .ip
            .is_some_and(|ip| ip.src == hop.address && (quotes || !matches!(ip.icmp_type, Some(135 | 136))))
}

/// The pair of hosts, both with both families, whose path has the most hops; the usual one among equals.
fn longest_path(lab: &Lab) -> (Host, Host) {
    let length = |from, to| {
        let of = |family| lab.path(from, to, family).len();
        of(Family::V4).min(of(Family::V6))
    };
    let mut best = (PROBE, Host::Target);
    for from in Host::ALL {
        for to in Host::ALL {
            if length(from, to) > length(best.0, best.1) {
                best = (from, to);
            }
        }
    }
    best
}
