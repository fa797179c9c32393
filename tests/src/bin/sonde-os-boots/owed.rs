//! Results that a board owes its collector: measured while that was away, on the card when the power goes. Whatever happens next, they arrive.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sonde_tests::lab::{Family, Host, Lab};
use sonde_tests::os::guest::{Board, Network, definition};
use sonde_tests::os::seldom::Seldom;
use sonde_tests::scene::say;

/// Seconds between runs.
const INTERVAL: u64 = 10;
/// How many runs the collector misses.
const RUNS: u64 = 25;
/// What may be lost: a result waits for a minute before it goes to the card, which happens once a minute; and some seconds' grace for
/// an emulated board.
const UNWRITTEN: u64 = 130;

/// What a board owes.
pub struct Owed {
    measurement: u64,
    /// When what must be on the card was measured, in seconds since 1970.
    safe: std::ops::Range<u64>,
}

impl Owed {
    /// Has a board that has joined measure while the collector is away, and pulls its plug. The server runs again at the end.
    pub fn to_be(network: &Network<'_>, board: &mut Board<'_, '_>, probe: u64) -> Result<Self> {
        let target = Host::Target.address(Family::V4).context("the target has no address")?;
        let ping = definition(
            "ping",
            Family::V4,
            &json!({"target": target, "packets": 1, "interval": INTERVAL, "spread": INTERVAL}),
        );
        let source = json!([{"type": "probes", "value": probe.to_string(), "requested": 1}]);
        let ids = network.owner.measure(&json!([ping]), &source, false)?;
        let measurement = *ids.first().context("no measurement")?;
        let mut seldom = Seldom::default();
        board.machine()?.await_that("the first result", |_| {
            Ok((seldom.is_due() && !network.owner.results(measurement)?.is_empty()).then_some(()))
        })?;
        network.server.borrow_mut().stop()?;
        let away = unix_now()?;
        let before = echoes(network.lab)?;
        board.machine()?.await_that("runs while the collector is away", |_| {
            Ok((echoes(network.lab)? >= before + RUNS).then_some(()))
        })?;
        board.cut_power()?;
        let cut = unix_now()?;
        network.server.borrow_mut().restart()?;
        Ok(Self { measurement, safe: away + 1..cut.saturating_sub(UNWRITTEN) })
    }

    /// Waits until it has arrived.
    pub fn arrives(&self, network: &Network<'_>, board: &mut Board<'_, '_>) -> Result<()> {
        let span = self.safe.end.saturating_sub(self.safe.start);
        let wanted = usize::try_from((span / INTERVAL).saturating_sub(1))?;
        ensure!(wanted > 0, "too short a time");
        let of_then = |results: Vec<Value>| {
            results.iter().filter(|one| one["timestamp"].as_u64().is_some_and(|at| self.safe.contains(&at))).count()
        };
        let mut seldom = Seldom::default();
        let arrived = board.machine()?.await_that("results from before the power cut", |_| {
            if !seldom.is_due() {
                return Ok(None);
            }
            let arrived = of_then(network.owner.results(self.measurement)?);
            Ok((arrived >= wanted).then_some(arrived))
        })?;
        say(&format!(
            "{arrived} results, measured while the collector was away, were on the card all the time; {wanted} had to"
        ));
        Ok(())
    }
}

/// Echo requests that the target has had.
fn echoes(lab: &Lab) -> Result<u64> {
    let text = lab.host(Host::Target).run(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let place = names.split_whitespace().position(|name| name == "InEchos").context("no InEchos")?;
    Ok(values.split_whitespace().nth(place).context("no value")?.parse()?)
}

fn unix_now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
