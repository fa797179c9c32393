//! The power is cut while results are in the spool, the collector away for minutes: after the next start what was on the card arrives.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sonde_tests::lab::{Family, Host, Lab};
use sonde_tests::os::guest::{Board, Network, definition};
use sonde_tests::os::line::{HomeLine, Sort};
use sonde_tests::scene::say;

use crate::Setting;

/// Seconds between runs.
const INTERVAL: u64 = 10;
/// How many runs the collector misses.
const RUNS: u64 = 25;
/// What may be lost: a result waits for a minute before it goes to the card, which happens once a minute; and some seconds' grace for
/// an emulated board.
const UNWRITTEN: u64 = 130;

pub fn power(setting: &Setting<'_>) -> Result<()> {
    let network = Network::start(setting.lab, &setting.dir)?;
    let line = HomeLine::open(setting.lab, Sort::Both, &setting.dir)?;
    let mut board = Board::new(&network, &line, &setting.parts, &setting.dir)?;
    board.switch_on()?;
    let (probe, _) = board.await_welcome()?;
    let target = Host::Target.address(Family::V4).context("the target has no address")?;
    let ping = definition(
        "ping",
        Family::V4,
        &json!({"target": target, "packets": 1, "interval": INTERVAL, "spread": INTERVAL}),
    );
    let source = json!([{"type": "probes", "value": probe.to_string(), "requested": 1}]);
    let id = *network.owner.measure(&json!([ping]), &source, false)?.first().context("no measurement")?;
    board.machine()?.await_that("the first result", |_| Ok((!network.owner.results(id)?.is_empty()).then_some(())))?;

    network.server.borrow_mut().stop()?;
    let away = unix_now()?;
    let before = echoes(setting.lab)?;
    board.machine()?.await_that("runs while the collector is away", |_| {
        Ok((echoes(setting.lab)? >= before + RUNS).then_some(()))
    })?;
    board.cut_power()?;
    let cut = unix_now()?;
    network.server.borrow_mut().restart()?;
    board.switch_on()?;
    let (now, _) = board.await_welcome()?;
    ensure!(now == probe, "probe {probe} has become {now}");

    let safe = away + 1..cut.saturating_sub(UNWRITTEN);
    let wanted = usize::try_from((safe.end.saturating_sub(safe.start) / INTERVAL).saturating_sub(1))?;
    ensure!(wanted > 0, "too short a time");
    let of_then = |results: Vec<Value>| {
        results.iter().filter(|result| result["timestamp"].as_u64().is_some_and(|at| safe.contains(&at))).count()
    };
    let arrived = board.machine()?.await_that("results from before the power cut", |_| {
        let arrived = of_then(network.owner.results(id)?);
        Ok((arrived >= wanted).then_some(arrived))
    })?;
    say(&format!("{arrived} results, measured while the collector was away, outlived the power cut; {wanted} had to"));
    Ok(())
}

/// Echo requests that the target has had.
fn echoes(lab: &Lab) -> Result<u64> {
    let text = lab.host(Host::Target).run(|| std::fs::read_to_string("/proc/net/snmp"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let place = names.split_whitespace().position(|name| name == "InEchos").context("no InEchos")?;
    Ok(values.split_whitespace().nth(place).context("no value")?.parse()?)
}

fn unix_now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
