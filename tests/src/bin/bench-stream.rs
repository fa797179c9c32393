//! How long a result takes from the bus to each of many subscribers, beside few and beside one who does not read. Prints
//! figures, asserts nothing. `tests/bench/README.md` explains every line.
//!
//! This program is both ends: `bench-stream --server` is the API over an empty store, which publishes what it is told to on
//! its standard input; the other end starts it on a core of its own, subscribes, and looks at the clock.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sonde_api::{Api, ApiConfig, NoDispatch, SystemClock, SystemResolver};
use sonde_protocol::bounded::{List, Text};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::{Family, Ip, Transport, Uplink};
use sonde_protocol::result::{Hop, HopAnswer, HopReply, MeasurementResult, Outcome, Report, Timing, TracerouteOutcome};
use sonde_protocol::time::UnixNanos;
use sonde_store::bus::local::LocalBus;
use sonde_store::bus::{Bus, Published};
use sonde_store::catalog::{Accounts, Admission, ApiKey, NewSession, Probes};
use sonde_store::places::Nowhere;
use sonde_store::results::StoredReport;
use sonde_store::sqlite::SqliteReachability;
use sonde_store::sqlite::catalog::SqliteCatalog;
use sonde_store::sqlite::results::SqliteResults;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many subscribers unless the command line says.
const SUBSCRIBERS: usize = 10_000;

/// How many results each scene hands out, one after the other.
const RESULTS: usize = 20;

/// How long one result may take to all, and everything that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between the last delivery of a result and the next result.
const PAUSE: Duration = Duration::from_millis(50);

/// What the one who does not read is sent first: more than queue and kernel hold.
const FLOOD: usize = 20_000;

/// The same secret on both ends of this program.
const KEY: &str = "11112222-3333-4444-5555-666677778888";

fn main() -> Result<()> {
    sonde_probe::net::raise_descriptor_limit()?;
    let runtime = tokio::runtime::Runtime::new()?;
    match std::env::args().nth(1).as_deref() {
        Some("--server") => runtime.block_on(serve()),
        Some(count) => runtime.block_on(measure(count.parse().context("usage: bench-stream [N]")?)),
        None => runtime.block_on(measure(SUBSCRIBERS)),
    }
}

// The server's end

async fn serve() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let catalog = Arc::new(SqliteCatalog::open(dir.path().join("catalog.db"))?);
    let (probe, session) = people(&catalog).await?;
    let bus = Arc::new(LocalBus::default());
    let api = Api {
        catalog,
        results: Arc::new(SqliteResults::open(dir.path().join("results"))?),
        reachability: Arc::new(SqliteReachability::open(dir.path().join("reachability.db"))?),
        bus: bus.clone(),
        places: Arc::new(Nowhere),
        dispatch: Arc::new(NoDispatch),
        resolver: Arc::new(SystemResolver::default()),
        clock: Arc::new(SystemClock),
        mailer: None,
        updates_expire: watch::channel(None).1,
        config: ApiConfig::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(sonde_api::serve(vec![listener], sonde_api::router(api), std::future::pending()));
    writeln!(std::io::stdout(), "{address} {probe}")?;
    std::io::stdout().flush()?;
    // Its own thread: the runtime has one.
    let publishing = std::thread::spawn(move || {
        let mut seq = 0;
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let mut words = line.split(' ').filter_map(|word| word.parse::<u64>().ok());
            let (Some(measurement), Some(count)) = (words.next(), words.next()) else { continue };
            let reports = (0..count).map(|_| {
                seq += 1;
                report(MeasurementId(measurement), probe, session, seq)
            });
            bus.publish(Arc::new(Published::Reports(reports.collect())));
        }
    });
    tokio::task::spawn_blocking(move || publishing.join()).await?.ok().context("the publisher failed")
}

async fn people(catalog: &SqliteCatalog) -> Result<(ProbeId, SessionId)> {
    let now = now();
    let account = catalog.add_account("bench@example.net", now).await?.context("no account")?.id;
    let digest = sonde_api::digest(KEY.parse()?);
    let key = ApiKey {
        digest,
        account,
        label: "bench".into(),
        created_at: now,
        enabled: true,
        valid_from: None,
        valid_to: None,
        grants: None,
    };
    catalog.add_key(&key).await?;
    catalog.add_join_token(&[1; 32], account, now, UnixNanos(i64::MAX)).await?;
    let Admission::Joined(probe) = catalog.admit(&PublicKey([1; 32]), Some(&[1; 32]), now).await? else {
        bail!("the probe was not let in");
    };
    let session = NewSession {
        probe: probe.id,
        public_address: "20.0.0.9".parse()?,
        addresses: Vec::new(),
        kinds: None,
        families: vec![Family::V4],
        software: "sonde-probe/0".into(),
        uplink: Uplink::Quic,
        at: now,
    };
    Ok((probe.id, catalog.open_session(&session).await?))
}

/// A traceroute of eight hops that began just now.
fn report(measurement: MeasurementId, probe: ProbeId, session: SessionId, seq: u64) -> StoredReport {
    let now = now();
    let ip = |last: u8| Ip(std::net::IpAddr::from([22, 0, 0, last]));
    let hop = |hop: u8| Hop {
        hop,
        replies: List::cut([HopReply::Reply(HopAnswer {
            rtt: Some(1_500_000),
            hop_limit: Some(60),
            size: Some(84),
            ..HopAnswer::new(ip(hop))
        })]),
    };
    let outcome = Outcome::Traceroute(TracerouteOutcome {
        protocol: Transport::Udp,
        size: 48,
        paris_id: Some(1),
        hops: List::cut((1..=8).map(hop)),
    });
    let result = MeasurementResult {
        measurement,
        planned_at: now,
        started_at: now,
        ended_at: now,
        timing: Timing::default(),
        af: Family::V4,
        dst_name: Text::new("1.1.1.1"),
        dst_addr: Some(ip(8)),
        src_addr: Some(ip(1)),
        time_to_resolve: None,
        interval: None,
        outcome,
    };
    let report = Report::Result(result).to_cbor();
    StoredReport { probe, session, boot: BootId(1), seq: Seq(seq), arrived_at: now, measurement, at: now, report }
}

// The subscribers' end

/// The server as a process on the first core.
struct Server {
    child: Child,
    orders: ChildStdin,
    address: SocketAddr,
    measurements: Vec<u64>,
}

impl Server {
    fn start() -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(program)
            .arg("--server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("taskset (util-linux)")?;
        let orders = child.stdin.take().context("no standard input")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no standard output")?).read_line(&mut line)?;
        let (address, probe) = line.trim().split_once(' ').context("the server did not start")?;
        let address: SocketAddr = address.parse()?;
        let measurements = (0..3).map(|_| create(address, probe)).collect::<Result<_>>()?;
        Ok(Self { child, orders, address, measurements })
    }

    fn publish(&mut self, measurement: u64, count: usize) -> Result<()> {
        Ok(writeln!(self.orders, "{measurement} {count}")?)
    }

    /// The CPU time that it has used.
    fn cpu(&self) -> Result<Duration> {
        let mut total = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            total += text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(total))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn create(address: SocketAddr, probe: &str) -> Result<u64> {
    let body = json!({
        "definitions": [{"type": "traceroute", "af": 4, "target": "1.1.1.1", "description": "bench"}],
        "probes": [{"type": "probes", "value": probe, "requested": 1}],
        "is_oneoff": true,
    });
    let mut answer = ureq::post(format!("http://{address}/api/v2/measurements/"))
        .header("Authorization", format!("Key {KEY}"))
        .send_json(&body)?;
    let answer: Value = answer.body_mut().read_json()?;
    answer["measurements"][0].as_u64().with_context(|| format!("no measurement: {answer}"))
}

/// What the subscribers of one scene have heard.
#[derive(Default)]
struct Heard {
    count: AtomicUsize,
    delays: Mutex<Vec<Duration>>,
}

async fn measure(subscribers: usize) -> Result<()> {
    let mut server = Server::start()?;
    let out = &mut std::io::stdout();
    writeln!(out, "{:<58} {:>8} {:>8} {:>8} {:>12}", "delivery, ms", "p50", "p99", "max", "CPU/result")?;
    scene(&mut server, "1 subscriber", (1, 0), false).await?;
    scene(&mut server, &format!("1 subscriber, and {subscribers} to another measurement"), (1, subscribers), false)
        .await?;
    scene(&mut server, &format!("{subscribers} subscribers"), (subscribers, 0), false).await?;
    scene(&mut server, &format!("{subscribers} subscribers, and one who does not read"), (subscribers, 0), true)
        .await?;
    Ok(())
}

async fn scene(server: &mut Server, name: &str, (here, elsewhere): (usize, usize), stalled: bool) -> Result<()> {
    let [wanted, other, flood] = server.measurements[..] else { bail!("three measurements are wanted") };
    let heard = Arc::<Heard>::default();
    let mut tasks = JoinSet::new();
    for number in 0..here + elsewhere {
        let measurement = if number < here { wanted } else { other };
        let mut subscriber = Subscriber::open(server.address, false).await?;
        subscriber.subscribe(measurement).await?;
        tasks.spawn(subscriber.listen(Arc::clone(&heard)));
    }
    let mut asleep = None;
    if stalled {
        let mut subscriber = Subscriber::open(server.address, true).await?;
        subscriber.subscribe(flood).await?;
        subscriber.subscribe(wanted).await?;
        asleep = Some(subscriber);
        server.publish(flood, FLOOD)?;
    }
    // The first finds caches cold, and comes behind the flood.
    deliver(server, wanted, here, &heard).await?;
    heard.delays.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let (before, began) = (server.cpu()?, Instant::now());
    for _ in 0..RESULTS {
        deliver(server, wanted, here, &heard).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let cpu = server.cpu()?.saturating_sub(before).as_secs_f64() * 1e3 / RESULTS as f64;
    let mut delays = std::mem::take(&mut *heard.delays.lock().unwrap_or_else(PoisonError::into_inner));
    delays.sort_unstable();
    let at = |share: f64| {
        let rank = (delays.len() as f64 * share).ceil() as usize;
        delays.get(rank.saturating_sub(1)).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    writeln!(
        std::io::stdout(),
        "{name:<58} {:8.2} {:8.2} {:8.2} {cpu:9.3} ms  ({} deliveries in {:.1} s)",
        at(0.5),
        at(0.99),
        at(1.0),
        delays.len(),
        began.elapsed().as_secs_f64(),
    )?;
    drop(asleep);
    tasks.shutdown().await;
    Ok(())
}

/// One result to all, and until all have it.
async fn deliver(server: &mut Server, measurement: u64, subscribers: usize, heard: &Heard) -> Result<()> {
    let wanted = heard.count.load(Ordering::SeqCst) + subscribers;
    server.publish(measurement, 1)?;
    let began = Instant::now();
    while heard.count.load(Ordering::SeqCst) < wanted {
        if began.elapsed() > PATIENCE {
            bail!("{} of {subscribers} have not heard", wanted - heard.count.load(Ordering::SeqCst));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// A client that does no more than it must, so that its own work is little beside the server's (RFC 6455).
struct Subscriber {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Subscriber {
    async fn open(address: SocketAddr, is_small: bool) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if is_small {
            socket.set_recv_buffer_size(4096)?;
        }
        let mut stream = socket.connect(address).await?;
        let request = "GET /stream/ HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut this = Self { stream, buffer: Vec::new() };
        let end = loop {
            if let Some(end) = this.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            this.fill().await?;
        };
        let header: Vec<u8> = this.buffer.drain(..end).collect();
        if !header.starts_with(b"HTTP/1.1 101") {
            bail!("{}", String::from_utf8_lossy(&header));
        }
        Ok(this)
    }

    async fn fill(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server has closed a stream");
        }
        Ok(())
    }

    async fn subscribe(&mut self, measurement: u64) -> Result<()> {
        let text = json!(["atlas_subscribe", {"streamType": "result", "msm": measurement}]).to_string();
        // Short enough for one byte of length; the mask is zero.
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).context("too long")?, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.stream.write_all(&frame).await?;
        let answer = self.message().await?;
        if !answer.starts_with("[\"atlas_subscribed\",") {
            bail!("{answer}");
        }
        Ok(())
    }

    async fn message(&mut self) -> Result<String> {
        loop {
            let (head, length) = match *self.buffer.as_slice() {
                [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
                [_, short, ..] if short < 126 => (2, usize::from(short)),
                [_, 127, ..] => bail!("a message of more than 64 KiB"),
                _ => (2, usize::MAX - 2),
            };
            if let Some(text) = self.buffer.get(head..head + length) {
                let text = String::from_utf8_lossy(text).into_owned();
                self.buffer.drain(..head + length);
                return Ok(text);
            }
            self.fill().await?;
        }
    }

    async fn listen(mut self, heard: Arc<Heard>) {
        while let Ok(text) = self.message().await {
            let now = now();
            // Reading the whole as JSON would cost more than the server's work.
            let started = text.split_once("\"started\":").and_then(|(_, rest)| {
                let end = rest.find([',', '}'])?;
                rest[..end].parse::<f64>().ok()
            });
            let Some(started) = started else { continue };
            let delay = (now.0 as f64 / 1e9 - started).max(0.0);
            heard.delays.lock().unwrap_or_else(PoisonError::into_inner).push(Duration::from_secs_f64(delay));
            heard.count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
