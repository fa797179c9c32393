//! How long a one-off takes from its `POST` to its result in the API, in the lab, with the real programs. Prints figures
//! beside those of the lab and of a bare request; asserts nothing. `tests/bench/README.md` explains every line.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use sonde_tests::lab::packet::{PacketSummary, UDP};
use sonde_tests::lab::{Direction, Family, Host, Lab, LabOptions, Link, WireLog, WireRecord, reach};
use sonde_tests::world::{EMAIL, PATIENCE, Place, Probe, Server};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

mod crowd;

/// What may be lost beside the target's round trip (docs: one-off ping of one packet to a literal).
const BUDGET: Duration = Duration::from_millis(20);

/// How many one-offs unless the command line says.
const RUNS: usize = 300;

/// How many with RIPE Atlas's defaults.
const DEFAULT_RUNS: usize = 10;

/// How long the client waits between an answer without the result and the next question.
const POLL: Duration = Duration::from_millis(1);

/// From one `POST` to the next at least, and up to how much more: the probe's own limit is one run in 100 ms towards one
/// target, and a fixed distance would always meet the same phase of every timer.
const PAUSE: (u64, u64) = (120, 80);

const API_PORT: u16 = 8080;
const COLLECTOR_PORT: u16 = 8333;

fn main() -> Result<()> {
    let mut runs = RUNS;
    let mut keep = None;
    let mut stream = false;
    let mut probes: u64 = 1;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--keep" => keep = Some(PathBuf::from(arguments.next().context("--keep DIR")?)),
            "--stream" => stream = true,
            "--probes" => probes = arguments.next().and_then(|number| number.parse().ok()).context("--probes P")?,
            count => {
                runs = count.parse().context("usage: bench-oneoff [--stream] [--probes P] [--keep DIR] [N]")?;
            }
        }
    }
    Lab::available().map_err(anyhow::Error::msg).context("no lab on this machine")?;
    let lab = Lab::start(LabOptions::default())?;
    let scratch = tempfile::tempdir()?;
    let dir = keep.as_deref().unwrap_or(scratch.path());

    let address = |host: Host, family| host.address(family).context("the host has no such address");
    let here = Place::In(lab.host(Host::Server));
    let api = SocketAddr::new(address(Host::Server, Family::V4)?, API_PORT);
    let collector = [
        SocketAddr::new(address(Host::Server, Family::V6)?, COLLECTOR_PORT),
        SocketAddr::new(address(Host::Server, Family::V4)?, COLLECTOR_PORT),
    ];
    // The client asks more often than people may.
    let more = crowd::allowance() + "[limits]\naddress_per_minute = 0\naccount_per_minute = 0\ncreate_per_minute = 0\n";
    let server = Server::start(here, &dir.join("server"), api, &collector, &more)?;
    let researcher = server.researcher(EMAIL)?;
    let key = researcher.key().context("the researcher has no key")?.to_owned();
    let crowd = match probes.saturating_sub(1) {
        0 => Vec::new(),
        others => crowd::gather(&lab, &server, &researcher, &dir.join("crowd"), others)?,
    };
    let probe_dir = dir.join("probe");
    std::fs::create_dir_all(&probe_dir)?;
    server.network_file(EMAIL, &probe_dir.join("network.toml"))?;
    let mut probe = Probe::start(Place::In(lab.host(Host::Dual)), &probe_dir, "")?;
    let id = probe.wait_connected()?;

    let pings = lab.host(Host::Server).run(|| ping_many(address(Host::Dual, Family::V6)?))?;
    lab.clear_wire_log()?;
    lab.reset_wire_stats()?;
    let scrap = File::options().create(true).append(true).open(dir.join("scrap"))?;
    let bench = Bench { api, key, probe: id, stream, scrap };
    let single = json!({"packets": 1});
    let (quick, usual) = here.run(|| -> Result<_> {
        let client = Http::new(&bench)?;
        // The first requests find caches cold and connections closed; they are not what this is about.
        for n in 0..4 {
            client.one(n, &single)?;
        }
        let quick = (0..runs).map(|n| client.one(n, &single)).collect::<Result<Vec<_>>>()?;
        let usual = (0..DEFAULT_RUNS.min(runs)).map(|n| client.one(n, &json!({}))).collect::<Result<Vec<_>>>()?;
        Ok((quick, usual))
    })?;

    let truth = |to: Host| -> Result<Duration> {
        Family::ALL.into_iter().filter_map(|family| lab.rtt_floor(Host::Dual, to, family)).max().context("no path")
    };
    let (target, path) = (truth(Host::Target)?, truth(Host::Server)?);
    let log = lab.wire_log()?;
    let stages: Vec<Stages> = quick.iter().filter_map(|run| Stages::of(&log, run)).collect();
    let out = &mut io::stdout();
    let connected = researcher.get("/api/v2/probes/?status=1&page_size=0")?;
    writeln!(
        out,
        "\n{} probes connected, {} of them with {} pings each, every {} s",
        connected["count"],
        crowd.len(),
        if crowd.is_empty() { 0 } else { crowd::ORDERS },
        crowd::INTERVAL
    )?;
    let seen = if stream { "POST -> result on an open WebSocket" } else { "POST -> result in the API" };
    report(out, seen, (&quick, &usual), (target, path))?;
    report_stages(out, &stages, quick.len())?;
    report_around(out, &quick, &pings, path)?;
    let wire = lab.wire_stats()?;
    writeln!(
        out,
        "wire: late p50 {:?}, p99 {:?}, max {:?} over {} frames, {} failed{}; CPU stolen {:.1} %",
        wire.late_median,
        wire.late_p99,
        wire.late_max,
        wire.frames,
        wire.failed,
        if wire.real_time { "" } else { ", without real-time priority" },
        lab.steal()? * 100.0
    )?;
    let beside = Figures::of(quick.iter().map(|run| run.total.saturating_sub(target)));
    let verdict = if beside.p99 <= BUDGET { "met" } else { "not met" };
    writeln!(
        out,
        "budget: p99 <= {} ms + target RTT: {verdict}: {:.2} ms beside the target's {:.2} ms",
        BUDGET.as_millis(),
        millis(beside.p99),
        millis(target)
    )?;
    probe.stop()?;
    Ok(())
}

/// What is asked, of whom.
struct Bench {
    api: SocketAddr,
    key: String,
    probe: u64,
    /// Wait for the result on a WebSocket instead of asking for it.
    stream: bool,
    /// On the disk of the server's data, for a look at how fast that is.
    scrap: File,
}

/// One one-off.
struct Run {
    target: IpAddr,
    /// Just before the `POST` was written, and when the answer with the result had been read; nanoseconds since 1970, the
    /// wire's clock.
    span: (i64, i64),
    /// The same by the monotonic clock.
    total: Duration,
    /// The `POST` alone.
    post: Duration,
    /// Every question for results.
    polls: Vec<Duration>,
    /// 4 KiB appended to a file and made durable, just before.
    disk: Duration,
    /// `GET /healthz` on the same connection, just before.
    bare: Duration,
}

/// A client with one connection that is kept open; made on a thread inside the namespace, and used there alone.
struct Http<'a> {
    bench: &'a Bench,
    agent: ureq::Agent,
    /// Open, and subscribed to all of the probe's results.
    stream: Option<RefCell<WebSocket<TcpStream>>>,
}

impl<'a> Http<'a> {
    fn new(bench: &'a Bench) -> Result<Self> {
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
        let stream = bench.stream.then(|| subscribe(bench)).transpose()?.map(RefCell::new);
        Ok(Self { bench, agent: config.into(), stream })
    }

    fn get(&self, path: &str) -> Result<String> {
        let url = format!("http://{}{path}", self.bench.api);
        let mut response = self.agent.get(&url).header("Authorization", format!("Key {}", self.bench.key)).call()?;
        let text = response.body_mut().read_to_string()?;
        if response.status() != 200 {
            bail!("GET {path}: {} {text}", response.status());
        }
        Ok(text)
    }

    /// The `n`th: `POST`, then questions until the result is there.
    fn one(&self, n: usize, options: &Value) -> Result<Run> {
        let noise = getrandom::u64().map_or(0, |bits| bits % PAUSE.1);
        sleep(Duration::from_millis(PAUSE.0 + noise));
        let family = if n.is_multiple_of(2) { Family::V6 } else { Family::V4 };
        let target = Host::Target.address(family).context("the target is dual stack")?;
        let mut definition = json!({
            "type": "ping", "af": if family == Family::V6 { 6 } else { 4 }, "target": target.to_string(),
            "description": "bench",
        });
        for (name, value) in options.as_object().into_iter().flatten() {
            definition[name] = value.clone();
        }
        let body = json!({
            "definitions": [definition], "is_oneoff": true,
            "probes": [{"type": "probes", "value": self.bench.probe.to_string(), "requested": 1}],
        });
        let body = serde_json::to_vec(&body)?;
        let url = format!("http://{}/api/v2/measurements/", self.bench.api);

        let began = Instant::now();
        (&self.bench.scrap).write_all(&[0x5a; 4096])?;
        self.bench.scrap.sync_all()?;
        let disk = began.elapsed();

        let began = Instant::now();
        self.get("/healthz")?;
        let bare = began.elapsed();

        let (began, began_at) = (Instant::now(), now());
        let mut response = self
            .agent
            .post(&url)
            .header("Authorization", format!("Key {}", self.bench.key))
            .header("Content-Type", "application/json")
            .send(&body[..])?;
        let answer = response.body_mut().read_to_string()?;
        let post = began.elapsed();
        if response.status() != 201 {
            bail!("POST: {} {answer}", response.status());
        }
        let answer: Value = serde_json::from_str(&answer)?;
        let id = answer["measurements"][0].as_u64().context("no number in the answer")?;
        if let Some(stream) = &self.stream {
            let result = await_result(&mut stream.borrow_mut(), id)?;
            let (total, ended_at) = (began.elapsed(), now());
            check(&json!([result]), target)?;
            return Ok(Run { target, span: (began_at, ended_at), total, post, polls: Vec::new(), disk, bare });
        }
        let path = format!("/api/v2/measurements/{id}/results/");
        let mut polls = Vec::new();
        loop {
            let asked = Instant::now();
            let results = self.get(&path)?;
            let (total, ended_at) = (began.elapsed(), now());
            polls.push(asked.elapsed());
            if results != "[]" {
                check(&serde_json::from_str(&results)?, target)?;
                return Ok(Run { target, span: (began_at, ended_at), total, post, polls, disk, bare });
            }
            if total > PATIENCE {
                bail!("no result of {id} after {PATIENCE:?}");
            }
            sleep(POLL);
        }
    }
}

/// Opens a WebSocket for all results of the probe, made before there are any.
fn subscribe(bench: &Bench) -> Result<WebSocket<TcpStream>> {
    let stream = TcpStream::connect(bench.api)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut socket, _) = client(format!("ws://{}/stream/", bench.api), stream).map_err(|_| anyhow!("no WebSocket"))?;
    let subscription = json!(["atlas_subscribe", {"streamType": "result", "prb": bench.probe}]);
    socket.send(Message::text(subscription.to_string()))?;
    let answer = socket.read()?;
    if !answer.to_text()?.starts_with("[\"atlas_subscribed\",") {
        bail!("{answer}");
    }
    Ok(socket)
}

/// The result of this measurement from the stream.
fn await_result(stream: &mut WebSocket<TcpStream>, id: u64) -> Result<Value> {
    loop {
        let text = stream.read()?;
        let (name, payload): (String, Value) = serde_json::from_str(text.to_text()?)?;
        match (name.as_str(), payload["msm_id"].as_u64()) {
            ("atlas_result", Some(found)) if found == id => return Ok(payload),
            ("atlas_result", _) => {}
            _ => bail!("{name} {payload}"),
        }
    }
}

/// A figure about a measurement that failed would be no figure.
fn check(results: &Value, target: IpAddr) -> Result<()> {
    let result = &results[0];
    let rtt = result["result"][0]["rtt"].as_f64();
    if rtt.is_none() || result["dst_addr"] != target.to_string() {
        bail!("not the result that was expected: {results}");
    }
    Ok(())
}

/// Where the time of one run went, as the wire saw it: the frames on the server's own link and on the probe's own.
struct Stages {
    /// From the `POST` to the order's packet leaving the server.
    order: Duration,
    /// The order's way to the probe.
    order_way: Duration,
    /// From there to the echo request leaving the probe.
    start: Duration,
    /// To the echo reply at the probe.
    echo: Duration,
    /// To the result's packet leaving the probe.
    finish: Duration,
    /// The result's way to the server.
    result_way: Duration,
    /// To the answer that has it.
    visible: Duration,
}

impl Stages {
    /// `None` when the wire's log does not show all of them.
    fn of(log: &WireLog, run: &Run) -> Option<Self> {
        let (from, to) = run.span;
        // The probe speaks to nobody else by UDP: targets are literals.
        let quic = |frame: &PacketSummary| frame.ip.is_some_and(|ip| ip.protocol == UDP);
        let request = |frame: &PacketSummary| {
            frame.ip.is_some_and(|ip| ip.dst == run.target && matches!(ip.icmp_type, Some(8 | 128)))
        };
        let reply = |frame: &PacketSummary| {
            frame.ip.is_some_and(|ip| ip.src == run.target && matches!(ip.icmp_type, Some(0 | 129)))
        };
        let first = |link: Link, direction: Direction, after: i64, wanted: &dyn Fn(&PacketSummary) -> bool| {
            log.matching(wanted)
                .filter(|record| (record.link, record.direction) == (link, direction))
                .filter(|record| record.received_at >= after && record.received_at <= to)
                .min_by_key(|record| record.received_at)
        };
        let (near, far) = (Link::HomeR1, Link::R2Server);
        let ordered: &WireRecord = first(far, Direction::Backward, from, &quic)?;
        let arrived = first(near, Direction::Backward, ordered.received_at, &quic)?.sent_at()?;
        let asked = first(near, Direction::Forward, ordered.received_at, &request)?.received_at;
        let answered = first(near, Direction::Backward, asked, &reply)?.sent_at()?;
        let reported = first(near, Direction::Forward, answered, &quic)?.received_at;
        let taken = first(far, Direction::Forward, reported, &quic)?.sent_at()?;
        let between = |from: i64, to: i64| Duration::from_nanos(u64::try_from(to - from).unwrap_or(0));
        Some(Self {
            order: between(from, ordered.received_at),
            order_way: between(ordered.received_at, arrived),
            start: between(arrived, asked),
            echo: between(asked, answered),
            finish: between(answered, reported),
            result_way: between(reported, taken),
            visible: between(taken, to),
        })
    }
}

/// Quantiles by the nearest rank.
struct Figures {
    p50: Duration,
    p90: Duration,
    p99: Duration,
    max: Duration,
}

impl Figures {
    fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut all: Vec<Duration> = durations.collect();
        all.sort_unstable();
        let at = |share: f64| {
            let rank = (all.len() as f64 * share).ceil() as usize;
            all.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p90, p99, max] = [self.p50, self.p90, self.p99, self.max].map(millis);
        write!(f, "{p50:9.2} {p90:9.2} {p99:9.2} {max:9.2}")
    }
}

fn row(out: &mut impl Write, name: &str, durations: impl Iterator<Item = Duration>) -> io::Result<()> {
    writeln!(out, "{name:<52} {}", Figures::of(durations))
}

fn report(
    out: &mut impl Write,
    seen: &str,
    (quick, usual): (&[Run], &[Run]),
    truth: (Duration, Duration),
) -> io::Result<()> {
    let (target, path) = truth;
    let less = |runs: &[Run], what: Duration| -> Vec<_> {
        runs.iter().map(move |run| run.total.saturating_sub(what)).collect()
    };
    let title = |out: &mut dyn Write, text: &str| {
        writeln!(out, "\n{text:<52} {:>9} {:>9} {:>9} {:>9}", "p50", "p90", "p99", "max ms")
    };
    title(out, &format!("one-off ping, 1 packet, {} runs, v6 and v4 in turn", quick.len()))?;
    row(out, seen, quick.iter().map(|run| run.total))?;
    let name = format!("  less target RTT floor ({:.2} ms)", millis(target));
    row(out, &name, less(quick, target).into_iter())?;
    let name = format!("  less server-probe RTT floor too ({:.2} ms)", millis(path));
    row(out, &name, less(quick, target + path).into_iter())?;
    for (name, af) in [("  of these IPv6", 6), ("  of these IPv4", 4)] {
        let of_family = quick.iter().filter(|run| run.target.is_ipv6() == (af == 6));
        row(out, name, of_family.map(|run| run.total.saturating_sub(target + path)))?;
    }
    title(out, &format!("Atlas's defaults (3 packets, 1000 ms), {} runs", usual.len()))?;
    row(out, seen, usual.iter().map(|run| run.total))?;
    let packets = Duration::from_millis(2 * 1000);
    row(out, "  less 2 x packet_interval", less(usual, packets).into_iter())?;
    row(out, "  less target RTT floor too", less(usual, packets + target).into_iter())
}

fn report_stages(out: &mut impl Write, stages: &[Stages], runs: usize) -> io::Result<()> {
    let title = format!("where it went, as the wire saw it ({} of {runs} runs)", stages.len());
    writeln!(out, "\n{title:<52} {:>9} {:>9} {:>9} {:>9}", "p50", "p90", "p99", "max ms")?;
    row(out, "client, server: POST -> order's packet", stages.iter().map(|s| s.order))?;
    row(out, "path: order's packet to the probe", stages.iter().map(|s| s.order_way))?;
    row(out, "probe: order -> echo request", stages.iter().map(|s| s.start))?;
    row(out, "path: echo request -> reply", stages.iter().map(|s| s.echo))?;
    row(out, "probe: reply -> result's packet", stages.iter().map(|s| s.finish))?;
    row(out, "path: result's packet to the server", stages.iter().map(|s| s.result_way))?;
    row(out, "server, client: result's packet -> in the answer", stages.iter().map(|s| s.visible))
}

fn report_around(out: &mut impl Write, quick: &[Run], pings: &[Duration], path: Duration) -> io::Result<()> {
    writeln!(
        out,
        "\n{:<52} {:>9} {:>9} {:>9} {:>9}",
        "in the same run, for comparison", "p50", "p90", "p99", "max ms"
    )?;
    row(out, "GET /healthz on the same connection", quick.iter().map(|run| run.bare))?;
    row(out, "the POST alone", quick.iter().map(|run| run.post))?;
    let polls: usize = quick.iter().map(|run| run.polls.len()).sum();
    if polls > 0 {
        row(out, "one question for results", quick.iter().flat_map(|run| run.polls.iter().copied()))?;
    }
    row(out, "4 KiB appended and flushed to the server's disk", quick.iter().map(|run| run.disk))?;
    let name = format!("ping server -> probe (floor {:.2} ms)", millis(path));
    row(out, &name, pings.iter().copied())?;
    if polls == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "polled {} ms after each answer without a result: {:.1} questions a run",
        POLL.as_millis(),
        polls as f64 / quick.len().max(1) as f64
    )
}

fn ping_many(to: IpAddr) -> Result<Vec<Duration>> {
    let replies = (1..=50).map(|seq| reach::ping(to, seq, PATIENCE).map(|reply| reply.map(|reply| reply.rtt)));
    Ok(replies.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
