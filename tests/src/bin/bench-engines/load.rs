//! A thousand pings at once and a hundred traceroutes a minute by the real `sonde-probe`, ordered through the API and held to
//! one core: do its times stay right, and what does it take? Beside it `fping` and surge-ping with the same targets.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sonde_tests::lab::{Family, Host, Lab, Link, LinkParams, Router};
use sonde_tests::scene::{COLLECTOR_PORT, address, collector_addresses};
use sonde_tests::world::{Client, EMAIL, Place, Probe, Server, wait_for};

use super::Effort;
use super::figures::{Errors, P99_SATURATED, error_head, error_row, met_or_not};
use super::machine::{CORE, State, Usage, output, pin};
use super::rtt::{OUTSIDE, PROBE};
use super::tools::{Said, fping_line, rtts, surge_line};
use super::truth::{Exchange, echoes, most_at_once};

/// How many targets there are, half of them of each family.
const TARGETS: u16 = 1_000;
/// Traceroutes, one a minute each.
const TRACEROUTES: usize = 100;
/// Definitions that the API takes at once.
const AT_ONCE: usize = 100;
/// Memory of the loaded probe (docs: 16 MB), in kB.
const MEMORY_BUDGET_KB: u64 = 16 * 1024;
/// One way to the targets: one link of the wire, so that the wire's own work stays small.
const DELAY: Duration = Duration::from_millis(10);
/// Where the targets are: whole networks that the router takes for its own.
const NETWORKS: [&str; 2] = ["20.99.0.0/22", "2a0e:5a00:990::/64"];
/// What the probe is told of limits: more than is asked of it.
const LIMITS: &str = "[limits]\npackets_per_second = 10000\nconcurrent = 1200\ntarget_interval_ms = 0\n\
                      target_packets_per_second = 1000\nbytes_per_day = 1000000000000\n";

const API_PORT: u16 = 8080;

/// The section.
pub fn run(lab: &Lab, effort: Effort, out: &mut impl Write) -> Result<()> {
    let routes: String = NETWORKS.iter().map(|network| format!("route add local {network} dev lo\n")).collect();
    lab.router(Router::R1).feed("ip", &["-batch", "-"], &routes)?;
    lab.set_link(Link::HomeR1, LinkParams::delay(DELAY))?;

    let folder = tempfile::tempdir()?;
    let place = Place::In(lab.host(Host::Server));
    let collectors = collector_addresses();
    ensure!(collectors.iter().all(|address| address.port() == COLLECTOR_PORT), "the collector's port");
    let api = SocketAddr::new(collectors.first().context("the server has no address")?.ip(), API_PORT);
    let server = Server::start(place, &folder.path().join("server"), api, &collectors, "")?;
    let owner = server.researcher(EMAIL)?;
    let dir = folder.path().join("probe");
    std::fs::create_dir(&dir)?;
    server.network_file(EMAIL, &dir.join("network.toml"))?;
    let mut probe = Probe::start(Place::In(lab.host(PROBE)), &dir, LIMITS)?;
    let number = probe.wait_connected()?;
    let pid = probe.process()?.id();
    pin(pid, CORE)?;
    let idle_kb = Usage::of(pid).peak_kb;

    let began = Instant::now();
    let traceroutes = order_traceroutes(&owner, number)?;
    let mut budgets = Vec::new();
    for state in State::ALL.into_iter().take(effort.load_states) {
        let load = state.enter();
        let (mut errors, truth, usage, wall) = wave(lab, effort, &owner, (number, pid))?;
        let (fping, fping_used) = beside(lab, Beside::Fping, effort)?;
        let (surge, surge_used) = beside(lab, Beside::SurgePing, effort)?;
        drop(load);
        errors.missed += (usize::from(TARGETS) * effort.load_packets as usize).saturating_sub(truth.len());
        error_head(out, &format!("{TARGETS} pings at once on one core, {}", state.name()))?;
        error_row(out, "sonde-probe", &errors)?;
        for (name, errors, used) in [("fping", &fping, fping_used), ("surge-ping", &surge, surge_used)] {
            let name = if used.stopped { format!("{name}, stopped: too slow") } else { name.to_owned() };
            error_row(out, &name, errors)?;
        }
        writeln!(
            out,
            "sonde-probe: {} pings at once, {:.1} s of CPU in {:.1} s ({:.1} s a minute); fping {:.1} s, surge-ping {:.1} s",
            most_at_once(&truth),
            usage.as_secs_f64(),
            wall.as_secs_f64(),
            60.0 * usage.as_secs_f64() / wall.as_secs_f64(),
            fping_used.cpu.as_secs_f64(),
            surge_used.cpu.as_secs_f64(),
        )?;
        budgets.push(errors.verdict(P99_SATURATED));
    }
    let (done, reached) = count_traceroutes(&owner, &traceroutes)?;
    writeln!(
        out,
        "traceroutes meanwhile: {done} in {:.0} s ({TRACEROUTES} a minute were ordered), {reached} reached the target",
        began.elapsed().as_secs_f64()
    )?;
    budgets.iter().try_for_each(|budget| writeln!(out, "{budget}"))?;
    let usage = Usage::of(pid);
    writeln!(
        out,
        "budget: loaded memory <= {} MB: {}: {:.1} MB at most, {:.1} MB before the load; now {:.1} MB are its own, the \
         rest is the program's file",
        MEMORY_BUDGET_KB / 1024,
        met_or_not(usage.peak_kb > 0 && usage.peak_kb <= MEMORY_BUDGET_KB),
        usage.peak_kb as f64 / 1024.0,
        idle_kb as f64 / 1024.0,
        usage.anonymous_kb as f64 / 1024.0,
    )?;
    probe.stop()?;
    Ok(())
}

/// The targets, the families in turn.
fn targets() -> Vec<IpAddr> {
    let v4 = |n: u16| Ipv4Addr::from_bits(Ipv4Addr::new(20, 99, 0, 1).to_bits() + u32::from(n));
    let v6 = |n: u16| Ipv6Addr::new(0x2a0e, 0x5a00, 0x990, 0, 0, 0, 0, n + 1);
    (0..TARGETS).map(|n| if n.is_multiple_of(2) { v4(n).into() } else { v6(n).into() }).collect()
}

fn source(number: u64) -> Value {
    json!([{"type": "probes", "value": number.to_string(), "requested": 1}])
}

fn af(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

/// A hundred, one a minute each, over the whole path to the target; UDP and ICMP in turn.
fn order_traceroutes(owner: &Client<'_>, number: u64) -> Result<Vec<u64>> {
    let ends: Vec<IpAddr> = Family::ALL.into_iter().flat_map(|family| Host::Target.addresses(family)).collect();
    let definitions: Vec<Value> = ends.iter().cycle().zip(0..TRACEROUTES).map(|(dst, n)| {
        let protocol = if (n / ends.len()).is_multiple_of(2) { "UDP" } else { "ICMP" };
        json!({"type": "traceroute", "af": af(*dst), "target": dst.to_string(), "protocol": protocol, "interval": 60,
               "description": "load"})
    }).collect();
    owner.measure(&json!(definitions), &source(number), false)
}

/// How many ran, and how many of them saw the target.
fn count_traceroutes(owner: &Client<'_>, ids: &[u64]) -> Result<(usize, usize)> {
    let (mut done, mut reached) = (0, 0);
    for id in ids {
        for result in owner.results(*id)? {
            done += 1;
            let last = result["result"].as_array().and_then(|hops| hops.last()?["result"].as_array());
            let seen = last.is_some_and(|replies| replies.iter().any(|reply| reply["from"] == result["dst_addr"]));
            reached += usize::from(seen);
        }
    }
    Ok((done, reached))
}

/// All targets at once by the probe: errors, what passed, CPU time and how long it took.
fn wave(
    lab: &Lab,
    effort: Effort,
    owner: &Client<'_>,
    (number, pid): (u64, u32),
) -> Result<(Errors, Vec<Exchange>, Duration, Duration)> {
    let capture = lab.capture_at(OUTSIDE)?;
    let (began, before) = (Instant::now(), Usage::of(pid).cpu);
    let mut ids = Vec::new();
    for some in targets().chunks(AT_ONCE) {
        let definitions: Vec<Value> = some
            .iter()
            .map(|dst| {
                json!({"type": "ping", "af": af(*dst), "target": dst.to_string(), "packets": effort.load_packets,
                       "packet_interval": 1000, "description": "load"})
            })
            .collect();
        ids.extend(owner.measure(&json!(definitions), &source(number), true)?);
    }
    thread::sleep(Duration::from_secs(u64::from(effort.load_packets)));
    // The last one asked for ends last, nearly.
    let last = *ids.last().context("no measurements")?;
    wait_for("the last ping", || Ok((!owner.results(last)?.is_empty()).then_some(())))?;
    let (wall, used) = (began.elapsed(), Usage::of(pid).cpu.saturating_sub(before));
    let mut said = Vec::new();
    for id in &ids {
        let results = owner.wait_results(*id, 1)?;
        let result = results.first().context("no result")?;
        let dst = address(result, "dst_addr")?;
        let times = rtts(result)?;
        said.extend((0..).zip(times).filter_map(|(seq, time)| Some((dst, seq, time?))));
    }
    let truth = ours(capture.stop()?)?;
    Ok((compare(said.into_iter(), &truth), truth, used, wall))
}

/// The echoes of the probe's host with the thousand targets.
fn ours(packets: Vec<sonde_tests::lab::CapturedPacket>) -> Result<Vec<Exchange>> {
    let targets = targets();
    let mut all = Vec::new();
    for family in Family::ALL {
        all.extend(echoes(&packets, PROBE.address(family).context("the probe has both families")?));
    }
    all.retain(|exchange| targets.contains(&exchange.dst));
    all.sort_by_key(|exchange| exchange.asked);
    Ok(all)
}

/// By target, the `seq`th time against the `seq`th exchange.
fn compare(said: impl Iterator<Item = (IpAddr, usize, Said)>, truth: &[Exchange]) -> Errors {
    let mut by_target: BTreeMap<IpAddr, Vec<Exchange>> = BTreeMap::new();
    for exchange in truth {
        by_target.entry(exchange.dst).or_default().push(*exchange);
    }
    let mut errors = Errors::default();
    for (dst, seq, said) in said {
        if let Some(rtt) = by_target.get(&dst).and_then(|all| all.get(seq)?.rtt()) {
            errors.add(said.nanos, rtt, said.resolution);
        }
    }
    let answered = truth.iter().filter(|exchange| exchange.answered.is_some()).count();
    errors.missed = answered.saturating_sub(errors.count());
    errors
}

#[derive(Clone, Copy)]
enum Beside {
    Fping,
    SurgePing,
}

/// The same targets by another program on the same core.
fn beside(lab: &Lab, tool: Beside, effort: Effort) -> Result<(Errors, Usage)> {
    let packets = effort.load_packets.to_string();
    let mut command = lab.host(PROBE).command("taskset");
    command.args(["-c", &CORE.to_string()]);
    match tool {
        Beside::Fping => command.args(["fping", "-t", "1000", "-p", "1000", "-i", "0.9", "-c", &packets, "-f", "-"]),
        Beside::SurgePing => command.arg(std::env::current_exe()?).args([super::child::SURGE, &packets, "1000", "-"]),
    };
    let input: String = targets().iter().map(|target| format!("{target}\n")).collect();
    let capture = lab.capture_at(OUTSIDE)?;
    let (text, usage) = output(&mut command, &input, Duration::from_secs(u64::from(effort.load_packets) + 15))?;
    let truth = ours(capture.stop()?)?;
    let lines = text.lines().filter_map(|line| match tool {
        Beside::Fping => fping_line(line),
        Beside::SurgePing => surge_line(line),
    });
    Ok((compare(lines, &truth), usage))
}
