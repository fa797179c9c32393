//! What one core can do, for information: pings a second of our driver and of `fping`, towards a neighbour that answers at
//! once. The CPU time includes the neighbour's kernel, which answers within the sender's system call.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sonde_tests::lab::{Lab, Router};

use super::Effort;
use super::machine::output;
use super::rtt::PROBE;

/// A network that the probe's own router takes for its own: no wire between.
const NETWORK: &str = "20.97.0.0/24";
/// Targets in it.
const TARGETS: u8 = 250;
/// Rounds of fping a second, about what it gets done.
const FPING_ROUNDS: u32 = 300;

/// The section.
pub fn run(lab: &Lab, effort: Effort, out: &mut impl Write) -> Result<()> {
    lab.router(Router::Home).feed("ip", &["-batch", "-"], &format!("route add local {NETWORK} dev lo\n"))?;
    let targets: String = (1..=TARGETS).map(|n| format!("20.97.0.{n}\n")).collect();
    let limit = Duration::from_secs(u64::from(effort.rate_seconds) * 5 + 10);
    writeln!(out, "\n{:<44} {:>12} {:>14} {:>12}", "pings on one core, neighbour", "answers/s", "per CPU second", "CPU us each")?;

    let mut command = lab.host(PROBE).command("taskset");
    command.args(["-c", "0"]).arg(std::env::current_exe()?);
    command.args([super::child::DRIVER, &effort.rate_seconds.to_string()]);
    let (text, _) = output(&mut command, &targets, limit)?;
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [answers, wall, cpu] = figures.try_into().ok().with_context(|| format!("the driver said {text}"))?;
    line(out, "sonde's driver, 500 pings at once", answers, wall / 1e9, cpu / 1e9)?;

    let mut command = lab.host(PROBE).command("taskset");
    let rounds = (effort.rate_seconds * FPING_ROUNDS).to_string();
    command.args(["-c", "0", "fping", "-q", "-t", "200", "-p", "1", "-i", "0.001", "-c", &rounds, "-f", "-"]);
    let began = Instant::now();
    let (text, usage) = output(&mut command, &targets, limit)?;
    let wall = began.elapsed().as_secs_f64();
    let answers = text.lines().filter_map(|line| line.split_once("xmt/rcv/%loss = ")?.1.split('/').nth(1)?.parse::<f64>().ok());
    line(out, "fping", answers.sum(), wall, usage.cpu.as_secs_f64())
}

fn line(out: &mut impl Write, name: &str, answers: f64, wall: f64, cpu: f64) -> Result<()> {
    writeln!(out, "{name:<44} {:>12.0} {:>14.0} {:>12.1}", answers / wall, answers / cpu, cpu / answers * 1e6)?;
    Ok(())
}
