//! Plays `dns` against what a file in `tests/dns_scripts` says comes, and compares the response with what the file expects.
//! A new case is a new file; `SONDE_REWRITE=1 cargo test -p sonde-engine --test dns` writes what the engine says now.
//!
//! An event is a line: milliseconds, a word, and what it takes.
//!
//! ```text
//! 10 connected                 the TCP connection is open
//! 17 secured                   the handshake of TLS or QUIC has ended
//! 18 sent                      the query has left
//! 20 head 200 text/html        an HTTP response begins; the type may be missing
//! 30 bytes MESSAGE [FROM TO]   bytes of the message, behind its length where the carrier has one
//! 31 closed                    the server has ended
//! 32 failed connect WORDS      a step has failed: connect, handshake, send, read
//! 33 timeout                   the deadline has passed
//! 14 from ADDRESS:PORT MESSAGE a datagram came (UDP, where time-outs come by themselves)
//! 15 refused                   an ICMP port unreachable from the server came (UDP)
//! 16 unreachable               an ICMP network unreachable from a router came (UDP)
//! ```
//!
//! A MESSAGE is `answer` (to the last query), `first` (to the first), `truncated`, `odd` (another id), `query` (no response),
//! `noise` (the id, and bytes that are no message), `short` (3 bytes), `empty`, `long` (1000 bytes) or `longest` (65,535).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use serde::Deserialize;
use sonde_engine::dns::{
    DnsUdp, Exchange, Query, QueryContext, StreamEvent, StreamPlan, StreamStep, UdpEnd, query, stream_response,
};
use sonde_engine::{Engine, IcmpErrorEvent, Meta};
use sonde_protocol::bounded::Text;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Transport;
use sonde_protocol::result::{DnsReply, DnsResponse, Why};
use sonde_protocol::spec::{DnsCarrier, DnsSpec};
use sonde_protocol::time::{Nanos, UnixNanos};

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 53));
const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
const WALL: UnixNanos = UnixNanos::from_secs(1_795_737_600);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Script {
    /// udp, tcp, tls, https or quic; `after udp` is TCP after a truncated answer.
    carrier: String,
    timeout: u32,
    retry: u32,
    include_abuf: bool,
    events: String,
    expect: Expect,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            carrier: "udp".into(),
            timeout: 1000,
            retry: 0,
            include_abuf: true,
            events: String::new(),
            expect: Expect::default(),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    response: String,
}

fn ms(text: &str) -> Nanos {
    let ms: f64 = text.parse().expect("milliseconds");
    Nanos((ms * 1e6).round() as i64)
}

/// The message that a word means, in answer to this query.
fn message(word: &str, query: &[u8]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] |= 0x80;
    match word {
        "answer" | "first" => {}
        "truncated" => bytes[2] |= 0x02,
        "odd" => bytes[0] ^= 0x55,
        "query" => bytes = query.to_vec(),
        "noise" => {
            bytes.truncate(3);
            bytes.resize(40, 0xff);
        }
        "short" => bytes.truncate(3),
        "empty" => bytes.clear(),
        "long" => bytes.resize(1000, 7),
        "longest" => bytes.resize(65_535, 7),
        other => panic!("{other} is no message"),
    }
    bytes
}

impl Script {
    fn spec(&self) -> DnsSpec {
        DnsSpec {
            query_argument: Text::cut("example.net"),
            protocol: if self.carrier == "tcp" { Transport::Tcp } else { Transport::Udp },
            tls: self.carrier == "tls",
            https: self.carrier == "https",
            quic: self.carrier == "quic",
            timeout: self.timeout,
            retry: self.retry,
            include_abuf: self.include_abuf,
            ..DnsSpec::default()
        }
    }

    fn query(&self) -> Query {
        query(&self.spec(), &QueryContext { probe_id: ProbeId(1), id: 0x4242, random: 7, time: WALL }).expect("a query")
    }

    fn exchange(&self) -> Exchange {
        Exchange { dst: SERVER, zone: 0, src: Some(IpAddr::from([198, 51, 100, 7])), now: Nanos(0), time: WALL }
    }

    fn lines(&self) -> impl Iterator<Item = Vec<&str>> {
        self.events.lines().map(|line| line.split_whitespace().collect()).filter(|words: &Vec<_>| !words.is_empty())
    }

    fn play(&self) -> String {
        if self.carrier == "udp" { self.play_udp() } else { text(&self.play_stream()) }
    }

    fn play_stream(&self) -> DnsResponse {
        let (spec, query) = (self.spec(), self.query());
        let plan = if self.carrier == "after udp" {
            let spec = DnsSpec { protocol: Transport::Tcp, ..spec.clone() };
            let nothing = StreamPlan::new(&spec, self.exchange(), "ns.example.net", query.clone(), 2);
            StreamPlan::after_truncation(&spec, self.exchange(), query.clone(), &stream_response(&nothing, &[]))
        } else {
            StreamPlan::new(&spec, self.exchange(), "ns.example.net", query.clone(), 0)
        };
        let event = |words: Vec<&str>| {
            let at = ms(words[0]);
            match &words[1..] {
                ["connected"] => StreamEvent::Connected { at, src: None },
                ["secured"] => StreamEvent::Secured { at, version: Some(0x0304), cipher: Some(0x1301) },
                ["sent"] => StreamEvent::Sent(at),
                ["head", status, rest @ ..] => StreamEvent::Head {
                    at,
                    status: status.parse().expect("a status"),
                    content_type: (!rest.is_empty()).then(|| Text::cut(rest.join(" "))),
                },
                ["bytes", word, range @ ..] => {
                    let message = message(word, query.bytes());
                    let mut data = Vec::new();
                    if plan.carrier != DnsCarrier::Https {
                        data.extend(u16::try_from(message.len()).expect("a length").to_be_bytes());
                    }
                    data.extend(message);
                    if let [from, to] = range {
                        let place = |text: &str| text.parse::<usize>().expect("a place").min(data.len());
                        data = data[place(from)..place(to)].to_vec();
                    }
                    StreamEvent::Bytes { at, data }
                }
                ["closed"] => StreamEvent::Closed(at),
                ["failed", step, why @ ..] => {
                    let step = match *step {
                        "connect" => StreamStep::Connect,
                        "handshake" => StreamStep::Handshake,
                        "send" => StreamStep::Send,
                        _ => StreamStep::Read,
                    };
                    StreamEvent::Failed { at, step, why: Why::cut(why.join(" ")) }
                }
                ["timeout"] => StreamEvent::TimedOut(at),
                other => panic!("{other:?} is no event of a connection"),
            }
        };
        stream_response(&plan, &self.lines().map(event).collect::<Vec<_>>())
    }

    fn play_udp(&self) -> String {
        let mut engine = DnsUdp::new(&self.spec(), self.exchange(), self.query());
        let mut queries: Vec<Vec<u8>> = Vec::new();
        let mut send = |engine: &mut DnsUdp, now| {
            while let Some(transmit) = engine.poll_transmit(now) {
                engine.handle_sent(transmit.token, now);
                queries.push(transmit.payload);
            }
            queries.clone()
        };
        send(&mut engine, Nanos(0));
        // Time-outs that come before an event, and after the last one, come by themselves.
        let mut pass = |engine: &mut DnsUdp, until: Option<Nanos>| {
            while let Some(due) = engine.poll_timeout().filter(|due| until.is_none_or(|until| *due <= until)) {
                engine.handle_timeout(due);
                send(engine, due);
            }
            send(engine, until.unwrap_or(Nanos(i64::MAX)))
        };
        for words in self.lines() {
            let at = ms(words[0]);
            let queries = pass(&mut engine, Some(at));
            match words[1..] {
                ["from", address, word] => {
                    let from: SocketAddr = address.parse().expect("an address");
                    let query = if word == "first" { queries.first() } else { queries.last() };
                    let meta = Meta {
                        received_at: at,
                        from: from.ip(),
                        from_port: from.port(),
                        hop_limit: Some(60),
                        fragment: None,
                    };
                    engine.handle_datagram(&meta, &message(word, query.expect("a query")));
                }
                ["refused"] => engine.handle_icmp_error(&icmp(at, SERVER, 3)),
                ["unreachable"] => engine.handle_icmp_error(&icmp(at, ROUTER, 0)),
                ref other => panic!("{other:?} is no event of UDP"),
            }
        }
        pass(&mut engine, None);
        match engine.take_response().expect("an end") {
            UdpEnd::Done(response) => text(&response),
            UdpEnd::Truncated(response) => format!("to be asked over TCP\n{}", text(&response)),
        }
    }
}

fn icmp(at: Nanos, from: IpAddr, code: u8) -> IcmpErrorEvent {
    IcmpErrorEvent {
        received_at: at,
        from,
        hop_limit: None,
        kind: 3,
        code,
        mtu: None,
        quoted: vec![0x42, 0x42],
        details: sonde_engine::ErrorDetails::default(),
        extensions: None,
    }
}

/// A response as lines.
fn text(response: &DnsResponse) -> String {
    let time = |nanos: u64| format!("{:?}", Duration::from_nanos(nanos));
    let mut text = String::new();
    let sent = Duration::from_nanos(u64::try_from(response.sent_at.0 - WALL.0).expect("later"));
    let mut line = |words: String| writeln!(text, "{}", words.trim_end()).expect("memory");
    line(format!(
        "{} port {}, sent at {sent:?}, {} retries",
        response.protocol.name(),
        response.dst_port,
        response.retries
    ));
    if let Some(secure) = &response.secure {
        line(format!("{} version {:04x?} cipher {:04x?}", secure.carrier.name(), secure.version, secure.cipher));
    }
    match &response.outcome {
        DnsReply::Answer(answer) => {
            let part =
                |word: &str, nanos: Option<u64>| nanos.map(|n| format!(" {word} {}", time(n))).unwrap_or_default();
            line(format!(
                "answer of {} bytes after {}{}{}{}{}",
                answer.message.len(),
                time(answer.rt),
                part("connect", answer.connect),
                part("handshake", answer.handshake),
                part("query", answer.exchange),
                if answer.truncated_first { ", truncated first" } else { "" }
            ));
        }
        DnsReply::Timeout(ms) => line(format!("silence for {ms} ms")),
        DnsReply::Connect(why) => line(format!("not connected: {why}")),
        DnsReply::SendError(why) => line(format!("not sent: {why}")),
        DnsReply::Read(why) => line(format!("not read: {why}")),
        DnsReply::NotAllowed => line("not allowed".into()),
    }
    if response.strays_seen > 0 {
        line(format!("{} strays, {} of another id", response.strays_seen, response.id_mismatches));
    }
    for stray in &response.strays {
        let shown = if stray.show_message { "" } else { ", hidden" };
        line(format!(
            "  {} from {} port {} after {}: {} bytes, {} kept{shown}",
            stray.what.name(),
            stray.from.0,
            stray.port,
            time(stray.after),
            stray.size,
            stray.message.len()
        ));
    }
    text
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dns_scripts");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("it").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_script_ends_as_it_expects() {
    let mut wrong = Vec::new();
    for path in scripts() {
        let file = fs::read_to_string(&path).expect("a script");
        let script: Script = toml::from_str(&file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let response = script.play();
        if env::var_os("SONDE_REWRITE").is_some() {
            let (head, _) = file.split_once("\n[expect]").unwrap_or((&file, ""));
            let written = format!("{}\n\n[expect]\nresponse = \"\"\"\n{response}\"\"\"\n", head.trim_end());
            fs::write(&path, written).expect("a script");
        } else if response != script.expect.response {
            wrong.push(format!("{}:\n{response}expected:\n{}", path.display(), script.expect.response));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
