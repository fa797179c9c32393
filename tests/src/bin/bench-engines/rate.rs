//! What one ping costs, for information: our driver at the highest pace that a host can allow, and `fping` as fast as it
//! goes, towards a neighbour that answers at once. The CPU time includes the neighbour's kernel, which answers within the sender's system call.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sonde_tests::lab::{Lab, Router};

use super::Effort;
use super::machine::{CORE, output};
use super::rtt::PROBE;

/// A network that the probe's own router takes for its own: no wire between.
const NETWORK: &str = "20.97.0.0/24";
/// Targets in it.
const TARGETS: u8 = 250;
/// Packets a second that our driver may send: the most that a host can allow (`limits.packets_per_second`).
const PACE: u32 = 10_000;
/// Packets to each target by fping, which has no more sequence numbers.
const FPING_ROUNDS: &str = "200";

/// The section.
pub fn run(lab: &Lab, effort: Effort, out: &mut impl Write) -> Result<()> {
    lab.router(Router::Home).feed("ip", &["-batch", "-"], &format!("route add local {NETWORK} dev lo\n"))?;
    let targets: String = (1..=TARGETS).map(|n| format!("20.97.0.{n}\n")).collect();
    let limit = Duration::from_secs(u64::from(effort.rate_seconds) * 5 + 20);
    let title = "pings on one core, to a neighbour";
    writeln!(out, "\n{title:<44} {:>8} {:>12} {:>12} {:>14}", "lost", "answers/s", "CPU us each", "a CPU second")?;

    let mut command = lab.host(PROBE).command("taskset");
    command.args(["-c", &CORE.to_string()]).arg(std::env::current_exe()?);
    command.args([super::child::DRIVER, &effort.rate_seconds.to_string(), &PACE.to_string()]);
    let (text, _) = output(&mut command, &targets, limit)?;
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [sent, answers, wall, cpu] = figures.try_into().ok().with_context(|| format!("the driver said {text}"))?;
    line(out, "sonde's driver, 500 pings at once", (sent, answers), wall / 1e9, cpu / 1e9)?;

    let mut command = lab.host(PROBE).command("taskset");
    command.args([
        "-c",
        &CORE.to_string(),
        "fping",
        "-q",
        "-t",
        "200",
        "-p",
        "1",
        "-i",
        "0.001",
        "-c",
        FPING_ROUNDS,
        "-f",
        "-",
    ]);
    let began = Instant::now();
    let (text, usage) = output(&mut command, &targets, limit)?;
    let wall = began.elapsed().as_secs_f64();
    let counts = text.lines().filter_map(|line| {
        let mut counts = line.split_once("xmt/rcv/%loss = ")?.1.split('/');
        Some((counts.next()?.parse::<f64>().ok()?, counts.next()?.parse::<f64>().ok()?))
    });
    let counts = counts.fold((0.0, 0.0), |sum, (sent, answers)| (sum.0 + sent, sum.1 + answers));
    line(out, "fping", counts, wall, usage.cpu.as_secs_f64())
}

fn line(out: &mut impl Write, name: &str, (sent, answers): (f64, f64), wall: f64, cpu: f64) -> Result<()> {
    let (per_second, each, per_core) = (answers / wall, cpu / answers * 1e6, answers / cpu);
    writeln!(out, "{name:<44} {:>8.0} {per_second:>12.0} {each:>12.1} {per_core:>14.0}", sent - answers)?;
    Ok(())
}
