//! Errors of round-trip times: each tool pings, the router next to the host captures, and packet by packet the tool's time
//! is compared with the capture's. The tools take turns in small blocks, so that all meet the same moods of the machine.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use sonde_tests::lab::{Family, Host, Lab, Link, LinkParams, Node, Router};

use super::Effort;
use super::figures::{Errors, P99_IDLE, P99_SATURATED, error_head, error_row};
use super::machine::State;
use super::tools::{Pinger, Said};
use super::truth::{Exchange, echoes};

/// Packets a block: the most that one ping of ours can have.
pub const PACKETS: usize = 16;

/// Milliseconds from one packet to the next.
const INTERVAL: u32 = 10;

/// Where the probe is: its cable ends in a router that is not behind the wire, so the capture there misses nothing but the
/// cable.
pub const PROBE: Host = Host::Dual;
/// Where the capture is.
pub const OUTSIDE: Node = Node::Router(Router::Home);

/// The links of the near path, and what they are set to: less than a millisecond in all, since `ping` and `fping` print
/// microseconds only below that.
const NEAR: (Host, [Link; 3], Duration) =
    (Host::Server, [Link::HomeR1, Link::R1R2, Link::R2Server], Duration::from_micros(80));

/// What pings the near path.
const NEAR_TOOLS: [Pinger; 5] = [Pinger::Sonde, Pinger::Ping, Pinger::Fping, Pinger::Scamper, Pinger::SurgePing];
/// What pings the far path, as the lab has it.
const FAR_TOOLS: [Pinger; 5] = [Pinger::Sonde, Pinger::PingSummary, Pinger::Fping, Pinger::Scamper, Pinger::SurgePing];

/// The longest round trip here.
pub fn longest(lab: &Lab) -> Result<Duration> {
    lab.rtt_floor(PROBE, Host::Target, Family::V4).context("no path")
}

/// The section.
pub fn run(lab: &Lab, effort: Effort, out: &mut impl Write) -> Result<()> {
    for state in State::ALL {
        let _load = state.enter();
        section(lab, effort, out, Host::Target, &FAR_TOOLS, state)?;
        let (host, links, delay) = NEAR;
        let before = links.map(|link| lab.link(link, sonde_tests::lab::Direction::Forward));
        links.into_iter().try_for_each(|link| lab.set_link(link, LinkParams::delay(delay)))?;
        section(lab, effort, out, host, &NEAR_TOOLS, state)?;
        links.into_iter().zip(before).try_for_each(|(link, params)| lab.set_link(link, params))?;
    }
    Ok(())
}

fn section(
    lab: &Lab,
    effort: Effort,
    out: &mut impl Write,
    target: Host,
    tools: &[Pinger],
    state: State,
) -> Result<()> {
    let mut errors: BTreeMap<Pinger, Errors> = BTreeMap::new();
    let mut spoilt = 0;
    for round in 0..effort.rtt_rounds {
        let family = if round.is_multiple_of(2) { Family::V4 } else { Family::V6 };
        for tool in tools.iter().filter(|tool| tool.is_due(round)) {
            let (said, truth) = block(lab, target, *tool, family)?;
            if !compare(&said, &truth, errors.entry(*tool).or_default()) {
                spoilt += 1;
            }
        }
    }
    let floor = lab.rtt_floor(PROBE, target, Family::V4).context("no path")?;
    error_head(out, &format!("RTT - capture, floor {:.2} ms, {}", super::figures::millis(floor), state.name()))?;
    for tool in tools {
        error_row(out, tool.name(), errors.get(tool).context("a tool that was not run")?)?;
    }
    if spoilt > 0 {
        writeln!(out, "{spoilt} blocks left out: the tool sent another number of packets than it was told")?;
    }
    let p99 = match state {
        State::Idle => P99_IDLE,
        State::Loaded => P99_SATURATED,
    };
    writeln!(out, "{}", errors.get(&Pinger::Sonde).context("ours was not run")?.verdict(p99))?;
    Ok(())
}

/// One tool, one block, with its capture.
fn block(lab: &Lab, target: Host, tool: Pinger, family: Family) -> Result<(Vec<Option<Said>>, Vec<Exchange>)> {
    let dst = target.address(family).context("the target has both families")?;
    let probe = PROBE.address(family).context("the probe has both families")?;
    let capture = lab.capture_at(OUTSIDE)?;
    let said = tool.run(lab.host(PROBE), dst, PACKETS, INTERVAL).with_context(|| tool.name())?;
    let packets = capture.stop()?;
    let mut truth = echoes(&packets, probe);
    truth.retain(|exchange| exchange.dst == dst);
    Ok((said, truth))
}

/// Compares one by one; false, and nothing is counted, when the numbers differ.
fn compare(said: &[Option<Said>], truth: &[Exchange], errors: &mut Errors) -> bool {
    if said.len() != truth.len() {
        return false;
    }
    for (said, exchange) in said.iter().zip(truth) {
        match (said, exchange.rtt()) {
            (Some(said), Some(rtt)) => errors.add(said.nanos, rtt, said.resolution),
            (None, Some(_)) => errors.missed += 1,
            (_, None) => {}
        }
    }
    true
}
