//! A new board on a line with IPv6 alone, IPv4 alone, both: it joins, measures, its clock is right, nothing of it is open, and it sends
//! nothing but what has a reason.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sonde_tests::lab::{Capture, DnsServer, Family, Host, Lab};
use sonde_tests::os::guest::{Board, Network, definition};
use sonde_tests::os::line::{HomeLine, Sort, TAP};
use sonde_tests::os::scan;
use sonde_tests::os::seldom::Seldom;
use sonde_tests::os::traffic::{Account, Expected};
use sonde_tests::scene::{self, say};

use crate::Setting;

/// How far a result's time may be from ours, in seconds: results have whole seconds.
const CLOCK_TOLERANCE: u64 = 2;

/// How long the long look at the traffic takes.
const LONG_LOOK: Duration = Duration::from_secs(3600);

pub fn v6(setting: &Setting<'_>) -> Result<()> {
    join(setting, Sort::V6, None)
}

pub fn v4(setting: &Setting<'_>) -> Result<()> {
    join(setting, Sort::V4, None)
}

pub fn both(setting: &Setting<'_>) -> Result<()> {
    join(setting, Sort::Both, None)
}

/// The same, and then an hour in which it has nothing to do but what it does by itself and one ping a minute.
pub fn quiet_hour(setting: &Setting<'_>) -> Result<()> {
    join(setting, Sort::Both, Some(LONG_LOOK))
}

fn join(setting: &Setting<'_>, sort: Sort, look: Option<Duration>) -> Result<()> {
    let lab = setting.lab;
    lab.add_to_zone(DnsServer::Lab, "board.lab.example TXT 60 \"a board asks\"")?;
    let network = Network::start(lab, &setting.dir)?;
    let line = HomeLine::open(lab, sort, &setting.dir)?;
    let mut board = Board::new(&network, &line, &setting.parts, &setting.dir)?;
    let capture = line.capture()?;
    board.switch_on()?;
    let (probe, address) = board.await_welcome()?;
    let on_for = board.on_for();
    ensure!(sort.families().contains(&Family::of(address)), "on a line with {} it came from {address}", sort.name());
    let mut addresses = Vec::new();
    for &family in sort.families() {
        addresses.push(measures(lab, &mut board, probe, sort, family)?);
    }
    let collector = board
        .machine()?
        .await_line("the collector's line", |line| line.step == "collector" && line.text.contains(": connected"))?;
    say(&format!(
        "{}: {:.1} s from the kernel's start to the collector, {:.1} s from power-on; from {address}",
        sort.name(),
        collector.at,
        on_for.as_secs_f64()
    ));
    let clock = board
        .machine()?
        .await_line("the clock's line", |line| line.step == "clock" && line.text.contains(" ms off"))?;
    let memory = board.machine()?.await_line("the memory's line", |line| line.step == "memory")?;
    say(&format!("{}: memory: {}; clock: {}", sort.name(), memory.text, clock.text));
    // Both families at once, as one scan takes its time.
    let scanners =
        if sort == Sort::Both || setting.long { look_for_ports(&network, &line, &addresses)? } else { Vec::new() };
    if !scanners.is_empty() {
        let line = board.machine()?.await_that("the memory's line without the drivers' files", |console| {
            Ok(console.lines().into_iter().filter(|line| line.step == "memory").nth(1))
        })?;
        say(&format!("{}: memory {:.0} s after the kernel's start: {}", sort.name(), line.at, line.text));
    }
    if let Some(look) = look {
        idle(&network, &mut board, probe, look)?;
    }
    traffic(&network, &line, sort, scanners, capture)
}

/// Ping, traceroute and dns, against what the lab knows. Gives the board's address.
fn measures(lab: &Lab, board: &mut Board<'_, '_>, probe: u64, sort: Sort, family: Family) -> Result<IpAddr> {
    let target = Host::Target.address(family).context("the target has no address")?;
    let begun = unix_now()?;
    let results = board.measure(
        probe,
        &[
            definition("ping", family, &json!({"target": target, "packets": 3})),
            definition("traceroute", family, &json!({"target": target, "protocol": "UDP", "packets": 1})),
            definition(
                "dns",
                family,
                &json!({"use_probe_resolver": true, "query_class": "IN", "query_type": "TXT", "query_argument": "board.lab.example"}),
            ),
        ],
    )?;
    let ended = unix_now()?;
    let [ping, traceroute, dns] = results.as_slice() else { anyhow::bail!("{} results", results.len()) };
    ensure!(ping["rcvd"] == 3 && ping["dst_addr"] == json!(target), "ping over {family:?}: {ping}");
    let hops: Vec<IpAddr> = traceroute["result"].as_array().into_iter().flatten().filter_map(hop_address).collect();
    let truth: Vec<IpAddr> = lab.path(sort.host(), Host::Target, family).iter().map(|hop| hop.address).collect();
    ensure!(hops == truth, "traceroute over {family:?}: {hops:?} instead of {truth:?}: {traceroute}");
    let answers: Vec<&Value> = dns["resultset"].as_array().into_iter().flatten().chain([dns]).collect();
    ensure!(answers.iter().any(|answer| answer["result"]["ANCOUNT"] == 1), "dns over {family:?}: {dns}");
    for result in &results {
        let at = result["timestamp"].as_u64().with_context(|| format!("no time in {result}"))?;
        ensure!(
            (begun - CLOCK_TOLERANCE..=ended + CLOCK_TOLERANCE).contains(&at),
            "measured between {begun} and {ended}, the result says {at}"
        );
    }
    say(&format!("{}: ping, traceroute of {} hops and dns over {family:?}", sort.name(), hops.len()));
    scene::address(ping, "src_addr")
}

fn hop_address(hop: &Value) -> Option<IpAddr> {
    hop["result"].as_array()?.first()?["from"].as_str()?.parse().ok()
}

fn unix_now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// From the same household, and from far away. Gives who looked.
fn look_for_ports(network: &Network<'_>, line: &HomeLine<'_>, addresses: &[IpAddr]) -> Result<Vec<IpAddr>> {
    let server = network.lab.host(Host::Server);
    // A scan that finds nothing where something is would prove nothing.
    let api = network.owner.base().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let control = Host::Server.address(Family::V4).context("the server has no address")?;
    let found = scan::tcp(line.neighbour(), control)?;
    ensure!(found.open.contains(&api), "the scan does not even find the server's API: {found:?}");
    for &address in addresses {
        let begun = Instant::now();
        let tcp = scan::tcp(line.neighbour(), address)?;
        let udp = scan::udp(line.neighbour(), address)?;
        let far = scan::udp(server, address)?;
        say(&format!(
            "scan of {address}: TCP {} refused, {} silent; UDP of {}: {} refused, {} silent; {:.0} s",
            tcp.refused,
            tcp.silent,
            scan::UDP_PORTS.len(),
            udp.refused,
            udp.silent,
            begun.elapsed().as_secs_f64()
        ));
        for (how, found) in [("TCP", &tcp), ("UDP", &udp), ("UDP from afar", &far)] {
            ensure!(found.open.is_empty(), "{address} has open ports, {how}: {:?}", found.open);
        }
    }
    let mut scanners: Vec<IpAddr> = Family::ALL.into_iter().filter_map(|family| Host::Server.address(family)).collect();
    scanners.extend(Family::ALL.into_iter().filter_map(|family| Host::Neighbour.address(family)));
    scanners.extend(line.gateways());
    Ok(scanners)
}

/// Waits, with one ping a minute that proves it alive.
fn idle(network: &Network<'_>, board: &mut Board<'_, '_>, probe: u64, look: Duration) -> Result<()> {
    let target = Host::Target.address(Family::V6).context("the target has no address")?;
    let ping = definition("ping", Family::V6, &json!({"target": target, "packets": 1, "interval": 60}));
    let source = json!([{"type": "probes", "value": probe.to_string(), "requested": 1}]);
    let id = *network.owner.measure(&json!([ping]), &source, false)?.first().context("no measurement")?;
    let wanted = usize::try_from(look.as_secs() / 60)?;
    for count in 1..=wanted {
        let mut seldom = Seldom::default();
        board.machine()?.await_that(&format!("result {count} of {id}"), |_| {
            Ok((seldom.is_due() && network.owner.results(id)?.len() >= count).then_some(()))
        })?;
    }
    Ok(())
}

/// Every frame it sent since it was switched on.
fn traffic(
    network: &Network<'_>,
    line: &HomeLine<'_>,
    sort: Sort,
    scanners: Vec<IpAddr>,
    capture: Capture,
) -> Result<()> {
    let families = sort.families().iter().copied();
    let mut mac = [0; 6];
    for (byte, text) in mac.iter_mut().zip(sort.mac().split(':')) {
        *byte = u8::from_str_radix(text, 16)?;
    }
    let expected = Expected {
        mac,
        gateways: line.gateways(),
        resolvers: families.clone().filter_map(|family| Host::Dns.address(family)).collect(),
        collectors: network.collectors(),
        targets: families.filter_map(|family| Host::Target.address(family)).collect(),
        scanners,
    };
    let account = Account::of(&capture.stop()?, TAP, &expected);
    say(&format!("{}: all that it sent, by reason\n{}", sort.name(), account.table().trim_end()));
    ensure!(!account.explained.is_empty(), "the capture has seen nothing");
    ensure!(
        account.unexplained.is_empty(),
        "{} frames have no reason:\n{}",
        account.unexplained.len(),
        account.unexplained.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
    Ok(())
}
