//! Six days without a collector: everything that the built-in measurements of `docs/builtins.toml` report in them fits into the
//! spool's file as it is by default. In virtual time, with the spool's own code and reports of the forms that probes write; and
//! what a probe holds in memory that starts with a full file. Prints the figures.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

#[expect(dead_code, reason = "one of its two samples is of use here")]
#[path = "../../protocol/tests/samples/mod.rs"]
mod samples;

use std::collections::BinaryHeap;
use std::fs;
use std::io;
use std::path::Path;

use sonde_collector::Network;
use sonde_probe::config::Config;
use sonde_probe::spool::{Disk, FileDisk, Keeper};
use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::ids::{BootId, MeasurementId};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::{
    DnsAnswer, DnsOutcome, DnsReply, DnsResponse, EchoReply, Hop, HopAnswer, HopReply, IcmpKind, Load,
    MeasurementResult, Outcome, PingOutcome, PingReply, Report, StampSource, Timing, TracerouteOutcome,
};
use sonde_protocol::seed::Rng;
use sonde_protocol::spec::{Kind, Target};
use sonde_protocol::spool::{NewReport, Spool, SpoolLimits};
use sonde_protocol::time::{Nanos, UnixNanos};
use sonde_tests::scene::say;
use sonde_tests::world::{Place, Probe};

const S: i64 = 1_000_000_000;
const DAYS: i64 = 6;

/// Longer than fits.
const TOO_LONG: i64 = 7;

/// Now, in seconds, when the collector goes away.
const EPOCH: i64 = 1_795_219_200;

/// A built-in measurement, as far as it matters here.
struct Builtin {
    id: u64,
    kind: Kind,
    af: Family,
    interval: u32,
    /// It asks for the whole of a zone's SOA, not for a name of a few bytes.
    asks_soa: bool,
}

fn builtins() -> Vec<Builtin> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/builtins.toml");
    let file: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
    let one = |entry: &toml::Value| Builtin {
        id: entry["id"].as_integer().unwrap().unsigned_abs(),
        kind: Kind::ALL.into_iter().find(|kind| kind.name() == entry["type"].as_str().unwrap()).unwrap(),
        af: if entry["af"].as_integer() == Some(6) { Family::V6 } else { Family::V4 },
        interval: u32::try_from(entry["interval"].as_integer().unwrap()).unwrap(),
        asks_soa: entry.get("query_type").is_some_and(|kind| kind.as_str() == Some("SOA")),
    };
    file["measurement"].as_array().unwrap().iter().map(one).collect()
}

fn address(family: Family, n: u8) -> Ip {
    Ip(match family {
        Family::V4 => format!("198.41.{n}.4").parse().unwrap(),
        Family::V6 => format!("2001:503:ba3e:{n:x}::2:30").parse().unwrap(),
    })
}

/// A path of twelve hops, the answers of one of them missing.
fn path(af: Family, rng: &mut Rng) -> Outcome {
    let answer = |hop: u8, rng: &mut Rng| {
        HopReply::Reply(HopAnswer {
            rtt: Some(1_000_000 + rng.below(90_000_000)),
            hop_limit: Some(255 - hop),
            size: Some(56),
            icmp: Some(IcmpKind { kind: 11, code: 0 }),
            ..HopAnswer::new(address(af, hop))
        })
    };
    let hops = (1..=12).map(|hop| {
        let replies: Vec<HopReply> =
            (0..3).map(|_| if hop == 7 { HopReply::Timeout } else { answer(hop, rng) }).collect();
        Hop { hop, replies: List::cut(replies) }
    });
    let hops: Vec<Hop> = hops.collect();
    Outcome::Traceroute(TracerouteOutcome {
        protocol: Transport::Udp,
        size: 40,
        paris_id: Some(7),
        hops: List::cut(hops),
    })
}

/// A look at IPv6, as wordy as a full one (most are light). The sample has one reference of the network's four.
fn reachability() -> Outcome {
    let mut seen = samples::full("2001:db8::2", "192.0.2.2", "192.0.2.3", "192.0.2.53", "192.0.2.254");
    let evidence = &mut seen.evidence;
    evidence.targets = four(&evidence.targets);
    evidence.dns = four(&evidence.dns);
    evidence.pairs = four(&evidence.pairs);
    evidence.echoes = four(&evidence.echoes);
    evidence.sizes = four(&evidence.sizes);
    Outcome::Ipv6(Box::new(seen))
}

fn four<T: Clone, const MAX: usize>(list: &List<T, MAX>) -> List<T, MAX> {
    List::cut((0..4).flat_map(|_| list.iter().cloned()).collect::<Vec<_>>())
}

/// What a probe reports of a run: everything answers.
fn report(of: &Builtin, at: UnixNanos, rng: &mut Rng) -> Vec<u8> {
    let outcome = match of.kind {
        Kind::Ping => {
            let reply = |rng: &mut Rng| {
                let rtt = 1_000_000 + rng.below(90_000_000);
                PingReply::Reply(EchoReply {
                    rtt,
                    hop_limit: Some(55),
                    size: 48,
                    from: address(of.af, 0),
                    duplicate: false,
                })
            };
            let replies: Vec<PingReply> = (0..3).map(|_| reply(rng)).collect();
            Outcome::Ping(PingOutcome { size: 48, sent: 3, replies: List::cut(replies) })
        }
        Kind::Traceroute => path(of.af, rng),
        Kind::Dns => {
            // The root's SOA with its servers behind it fills what fits without EDNS; a name server's own name is short.
            let length = if of.asks_soa { 492 } else { 68 };
            let answer = DnsAnswer {
                rt: 1_000_000 + rng.below(90_000_000),
                message: Bytes::new((0..length).map(|_| rng.next_u64().to_le_bytes()[0]).collect::<Vec<u8>>()).unwrap(),
                show_message: true,
                connect: None,
                truncated_first: false,
                handshake: None,
                exchange: None,
            };
            let response = DnsResponse {
                sent_at: at,
                dst_addr: address(of.af, 0),
                dst_port: 53,
                src_addr: Some(address(of.af, 1)),
                protocol: Transport::Udp,
                retries: 0,
                query: None,
                outcome: DnsReply::Answer(answer),
                secure: None,
                strays: List::default(),
                strays_seen: 0,
                id_mismatches: 0,
            };
            Outcome::Dns(DnsOutcome { own_resolvers: false, responses: List::cut([response]) })
        }
        Kind::Ipv6 => reachability(),
        other => panic!("no built-in measurement is a {other:?}"),
    };
    let load = Load { runs: 2, packets_per_second: 9, load_average: Some(17) };
    let result = MeasurementResult {
        measurement: MeasurementId(of.id),
        planned_at: at,
        started_at: UnixNanos(at.0 + 1_234_567),
        ended_at: UnixNanos(at.0 + 2_000_000_000),
        timing: Timing {
            source: StampSource::Kernel,
            last_sync: Some(17),
            clock_error: Some(1_200_000),
            rtt_error: Some(1_500),
            load: Some(load),
        },
        af: of.af,
        dst_name: Some(Target::cut("a.root-servers.net")),
        dst_addr: Some(address(of.af, 0)),
        src_addr: Some(address(of.af, 1)),
        time_to_resolve: None,
        interval: Some(of.interval),
        outcome,
    };
    Report::Result(result).to_cbor()
}

/// A disk that forgets everything but how much it was.
#[derive(Default)]
struct Counter {
    length: u64,
    written: u64,
    writes: u64,
}

impl Disk for Counter {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.length)
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.length = self.length.max(offset + bytes.len() as u64);
        self.written += bytes.len() as u64;
        self.writes += 1;
        Ok(())
    }
    fn clear(&mut self) -> io::Result<()> {
        self.length = 0;
        Ok(())
    }
}

/// So many days without a collector, and how many reports and bytes were made in them.
fn live(disk: &mut dyn Disk, capacity: u64, days: i64) -> (Spool, u64, u64) {
    let mut spool = Spool::new(BootId(1), SpoolLimits::default());
    let (mut keeper, restored) = Keeper::open(disk, capacity, UnixNanos::from_secs(EPOCH)).unwrap();
    spool.restore(restored);
    let mut rng = Rng::new(1);
    let builtins = builtins();
    // When each is due next, the earliest first.
    let mut due: BinaryHeap<(i64, usize)> = BinaryHeap::new();
    for (n, builtin) in builtins.iter().enumerate() {
        due.push((-rng.below(u64::from(builtin.interval)).cast_signed(), n));
    }
    let (mut reports, mut bytes) = (0, 0);
    while let Some((at, n)) = due.pop().filter(|(at, _)| -at < days * 86_400) {
        let builtin = &builtins[n];
        due.push((at - i64::from(builtin.interval), n));
        let (now, wall) = (Nanos(-at * S), UnixNanos::from_secs(EPOCH - at));
        let encoded = report(builtin, wall, &mut rng);
        reports += 1;
        bytes += encoded.len() as u64;
        let (from, to) = (wall, UnixNanos(wall.0 + 1));
        spool.push(NewReport { bytes: encoded, from, to, settled: wall, urgent: false }, now);
        while let Some(job) = keeper.poll(&mut spool, now, wall, false) {
            let done = job.perform(disk);
            keeper.done(&mut spool, done, now, wall);
        }
    }
    (spool, reports, bytes)
}

#[test]
fn six_days_of_the_built_in_measurements_fits_into_the_file() {
    let capacity = Config::default().spool.bytes;
    let mut disk = Counter::default();
    let (mut spool, reports, bytes) = live(&mut disk, capacity, DAYS);
    let (depth, memory) = (spool.depth(), spool.in_memory());
    say(&format!(
        "{DAYS} days: {reports} reports of {} bytes on average; {} of {capacity} bytes used, {} written a day in {} writes; \
         {memory} reports in memory too",
        bytes / reports,
        disk.length,
        disk.written / DAYS.unsigned_abs(),
        disk.writes / DAYS.unsigned_abs(),
    ));
    spool.on_welcome(&[]);
    assert_eq!(spool.poll_gaps(), [], "nothing had to make room");
    assert_eq!(depth, reports);
}

#[test]
fn a_probe_that_starts_with_a_full_file_knows_every_report_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::open_or_create(&folder.path().join("network"), "away", &["127.0.0.1:9".into()]).unwrap();
    fs::write(folder.path().join("network.toml"), toml::to_string(&network.network_file(None)).unwrap()).unwrap();
    let state = folder.path().join("state");
    let mut probe = Probe::start(Place::Here, folder.path(), "").unwrap();
    let empty = probe.wait_status("to be there", |status| status["spool"] == 0).unwrap();
    assert!(empty["spool_trouble"].is_null(), "{empty}");
    let before = probe.process().unwrap().resident_kb().unwrap();
    probe.stop().unwrap();
    let (mut file, capacity) = FileDisk::open(&state, Config::default().spool.bytes).unwrap();
    // The oldest make room.
    let (spool, reports, _) = live(&mut file, capacity, TOO_LONG);
    let kept = spool.depth();
    assert!(kept < reports, "the file is not full");
    drop(file);
    probe.restart().unwrap();
    let waited = probe.wait_status("to have read its file", |status| status["spool"].as_u64() > Some(0)).unwrap();
    let after = probe.process().unwrap().resident_kb().unwrap();
    let length = fs::metadata(state.join("spool.ring")).unwrap().len();
    say(&format!(
        "a full file, {length} bytes, {} of {kept} reports: {after} KB resident, {before} KB with an empty one",
        waited["spool"]
    ));
    // Those of the last minute were in memory alone.
    let found = waited["spool"].as_u64().unwrap();
    assert!(found <= kept && kept - found < 100, "{found} of {kept}");
}
