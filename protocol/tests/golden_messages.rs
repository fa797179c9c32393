//! The bytes of every kind of message, as files in `tests/golden/messages`: what they say about the wire format cannot
//! change without somebody seeing it.
//!
//! `SONDE_BLESS=1` writes them anew. A change that old probes or stored results would notice shows as a changed file; a new
//! optional key shows as bytes that are added. `docs/protocol.cddl` says what they mean.

#![expect(clippy::unwrap_used, reason = "an error must end the test")]

#[path = "samples/board.rs"]
mod board_samples;
mod samples;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sonde_protocol::board::{
    FromSystem, MAX_FILE_NAME, MAX_MESSAGE, MAX_PIECE, ToSystem, UpdateAnswer, UpdatePiece, UpdateSaid,
};
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::condition::{Condition, Word};
use sonde_protocol::directory::{Collector, Directory, Reference, SignedDirectory};
use sonde_protocol::identity::{ClaimCode, KeyNotice, Rotation};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Revision, Seq};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{
    BootRanges, Bye, Down, Drain, Frame, Gap, GapReason, Health, Hello, HostPause, HostState, Refused, RefusedReason,
    SpooledBoot, TimeReply, TimeRequest, Up, Welcome, from_cbor, to_cbor,
};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::order::{Order, OrdersUpdate, When};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::result::*;
use sonde_protocol::spec::{DnsCarrier, HttpMethod, Kind, Spec};
use sonde_protocol::time::UnixNanos;

const BOOT: BootId = BootId(0x0102_0304_0506_0708);
const AT: UnixNanos = UnixNanos(1_760_000_000_123_456_789);

fn ip(text: &str) -> Ip {
    Ip(text.parse::<IpAddr>().unwrap())
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages").join(format!("{name}.hex"))
}

/// Compares bytes with their file, 32 to a line.
fn check(name: &str, bytes: &[u8]) {
    let written: String = bytes.chunks(32).map(|line| HEXLOWER.encode(line) + "\n").collect();
    let path = path(name);
    if std::env::var_os("SONDE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &written).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, golden, "{name}: SONDE_BLESS=1 writes it anew");
}

fn check_up(name: &str, message: &Up) {
    let bytes = to_cbor(message);
    assert_eq!(from_cbor::<Up>(&bytes).unwrap().as_ref(), Some(message));
    check(name, &bytes);
}

fn check_down(name: &str, message: &Down) {
    let bytes = to_cbor(message);
    assert_eq!(from_cbor::<Down>(&bytes).unwrap().as_ref(), Some(message));
    check(name, &bytes);
}

#[test]
fn what_a_probe_says() {
    let hello = Hello {
        versions: List::cut([1]),
        software: Text::cut("sonde-probe/0.1.0"),
        boot: BOOT,
        uptime: 5_000_000_000,
        now: AT,
        clock_synchronised: true,
        orders: Some(Revision(7)),
        boots: List::cut([
            SpooledBoot { boot: BootId(9), next: Seq(1000), started_at: None },
            SpooledBoot { boot: BOOT, next: Seq(42), started_at: None },
        ]),
        spool_depth: 3,
        addresses: List::cut([ip("192.0.2.9"), ip("2001:db8::9")]),
        token: Bytes::new(*b"one time"),
        directory: 2,
        // Those there were when this was written down.
        kinds: List::cut(1..=7),
        families: List::cut(Family::BOTH),
        // As probes said before there were any.
        conditions: None,
    };
    check_up("hello", &Up::Hello(hello.clone()));
    let holds = Condition {
        word: Word::DnsSilent.number(),
        began: 60,
        ended: None,
        detail: Text::new("192.0.2.53 does not answer"),
        cut_off: false,
    };
    let over =
        Condition { word: Word::UdpBlocked.number(), ended: Some(2), detail: None, cut_off: true, ..holds.clone() };
    let conditions = Some(List::cut([holds, over]));
    check_up("hello-conditions", &Up::Hello(Hello { conditions: conditions.clone(), ..hello.clone() }));
    check_up("health-conditions", &Up::Health(Health { conditions, ..Health::default() }));
    let first = Hello {
        orders: None,
        boots: List::cut([SpooledBoot { boot: BOOT, next: Seq(1), started_at: None }]),
        token: None,
        ..hello
    };
    check_up("hello-bare", &Up::Hello(first));
    let gap = |reason, last| Gap { boot: BOOT, first: Seq(3), last, reason, from: UnixNanos(-1), to: AT };
    check_up(
        "gaps",
        &Up::Gaps(List::cut([
            gap(GapReason::SpoolFull, Some(Seq(9))),
            gap(GapReason::Crash, None),
            gap(GapReason::Stopped, Some(Seq(u64::MAX))),
            gap(GapReason::Rejected, Some(Seq(3))),
        ])),
    );
    check_up("orders-applied", &Up::OrdersApplied(Some(Revision(8))));
    check_up("orders-wanted", &Up::OrdersApplied(None));
    check_up("time-request", &Up::TimeRequest(TimeRequest { sent_at: 123_456_789 }));
    check_up("bye", &Up::Bye(Bye { boot: BOOT, last: Seq(99), at: AT, crashed: false }));
    check_up("bye-crashed", &Up::Bye(Bye { boot: BOOT, last: Seq(99), at: AT, crashed: true }));
    let addresses = Some(List::cut([ip("192.0.2.9")]));
    check_up(
        "health",
        &Up::Health(Health {
            spool_depth: 12,
            running: 3,
            addresses,
            families: List::cut([Family::V4]),
            ..Health::default()
        }),
    );
    check_up("health-bare", &Up::Health(Health::default()));
    let host = HostState {
        written_today: 4096,
        measured_today: 123_456,
        pause: Some(HostPause { remaining: Some(3600) }),
        packets_per_second: 200,
        bytes_per_day: 1 << 30,
        kinds: List::cut([1, 3]),
        hours: List::cut([Text::cut("22:00-06:00")]),
    };
    check_up("health-host", &Up::Health(Health { host: Some(host), ..Health::default() }));
    let rotation = Rotation::new(PublicKey([4; 32]), [5; 64], [6; 64]).unwrap();
    check_up("rotate", &Up::Rotate(rotation));
}

fn ranges() -> List<BootRanges, 64> {
    let mut ranges = RangeSet::of(Seq(1)..=Seq(40));
    ranges.insert(Seq(44)..=Seq(44));
    ranges.insert(Seq(1 << 40)..=Seq(u64::MAX));
    List::cut([BootRanges { boot: BOOT, ranges }, BootRanges { boot: BootId(9), ranges: RangeSet::new() }])
}

fn directory() -> Directory {
    Directory {
        serial: 3,
        network: Text::cut("example"),
        roots: List::cut([PublicKey([1; 32])]),
        collectors: List::cut([Collector {
            key: PublicKey([2; 32]),
            addresses: List::cut(["collector.example.net:8333", "[2001:db8::1]:8333"].map(Text::cut)),
            tls: List::cut(["collector.example.net:443"].map(Text::cut)),
        }]),
        http_hosts: List::cut([Text::cut("www.example.net")]),
        references: List::default(),
    }
}

fn signed_directory() -> SignedDirectory {
    SignedDirectory::new(to_cbor(&directory()), PublicKey([1; 32]), [3; 64]).unwrap()
}

#[test]
fn what_a_collector_says() {
    let welcome = Welcome {
        version: 1,
        probe: ProbeId(12),
        received_at: AT,
        sent_at: UnixNanos(AT.0 + 1000),
        durable: ranges(),
        public_address: ip("198.51.100.7"),
        directory: Some(signed_directory()),
        boot_started_at: UnixNanos(AT.0 - 5_000_000_000),
    };
    check_down("welcome", &Down::Welcome(welcome.clone()));
    check_down("welcome-bare", &Down::Welcome(Welcome { durable: List::default(), directory: None, ..welcome }));
    for (name, reason) in [
        ("unknown-key", RefusedReason::UnknownKey),
        ("token", RefusedReason::Token),
        ("version", RefusedReason::Version),
        ("busy", RefusedReason::Busy),
        ("malformed", RefusedReason::Malformed),
        ("duplicate-key", RefusedReason::DuplicateKey),
        ("key-replaced", RefusedReason::KeyReplaced),
    ] {
        let refused = Refused { reason, text: Text::cut("why"), claim_code: None };
        check_down(&format!("refused-{name}"), &Down::Refused(refused));
    }
    let code = ClaimCode::from_random(12_345_678_901_234_567_890);
    let (reason, text) = (RefusedReason::Pending, Text::cut("why"));
    check_down("refused-pending", &Down::Refused(Refused { reason, text, claim_code: Some(code) }));
    for (name, notice) in [
        ("admitted", KeyNotice::Admitted),
        ("changed", KeyNotice::Changed(PublicKey([4; 32]))),
        ("not-changed", KeyNotice::NotChanged(Text::cut("why"))),
        ("duplicate", KeyNotice::Duplicate),
        ("unclaimed", KeyNotice::Unclaimed(code)),
    ] {
        check_down(&format!("key-{name}"), &Down::Key(notice));
    }
    check_down("ack", &Down::Ack(ranges()));
    check_down("drain", &Down::Drain(Drain { after_ms: 1000, spread_ms: 500 }));
    check_down("time-reply", &Down::TimeReply(TimeReply { request_sent_at: 5, received_at: AT, sent_at: AT }));
    check_down("directory", &Down::Directory(signed_directory()));
    let reference = Reference {
        name: Text::cut("r1"),
        key: PublicKey([7; 32]),
        v4: Some(ip("192.0.2.80")),
        v6: Some(ip("2001:db8::80")),
        tls: Some(443),
        quic: Some(443),
        echo: Some(8334),
        closed: Some(8335),
        narrow: Some(ip("2001:db8:0:1::80")),
        zone: Some(Text::cut("r1.example.net")),
    };
    let listed = Directory { references: List::cut([reference]), ..directory() };
    let signed = SignedDirectory::new(to_cbor(&listed), PublicKey([1; 32]), [3; 64]).unwrap();
    check_down("directory-references", &Down::Directory(signed));
}

fn order(kind: Kind, when: When) -> Order {
    let mut spec = Spec::default_of(kind);
    if let Spec::Dns(dns) = &mut spec {
        dns.query_argument = Text::cut("www.example.net");
    }
    let order = Order {
        measurement: MeasurementId(1_000_000),
        kind: kind.number(),
        spec: Bytes::new(spec.to_cbor()).unwrap(),
        af: Family::V6,
        target: Some(Text::cut("example.net")),
        addresses: List::cut([ip("2001:db8::80")]),
        resolve_on_probe: false,
        when,
        ordered_at: AT,
    };
    assert_eq!(order.spec().unwrap(), spec);
    order
}

#[test]
fn orders_of_each_kind() {
    for kind in Kind::ALL {
        let when = When::Periodic { start: AT, interval: 240, spread: 120, stop: Some(UnixNanos(AT.0 * 2)) };
        let update = OrdersUpdate {
            base: Some(Revision(4)),
            revision: Revision(5),
            add: List::cut([order(kind, when)]),
            remove: List::cut([MeasurementId(999), MeasurementId(1_000_001)]),
        };
        check_down(&format!("orders-{kind}"), &Down::Orders(update));
    }
    let once = [
        When::Once { start: None, expires: AT },
        When::Once { start: Some(UnixNanos(1)), expires: AT },
        When::Periodic { start: AT, interval: 1, spread: 0, stop: None },
    ];
    let own = Order { target: None, addresses: List::default(), resolve_on_probe: true, ..order(Kind::Dns, once[1]) };
    let add = List::cut([order(Kind::Ping, once[0]), own, order(Kind::Ping, once[2])]);
    let snapshot = OrdersUpdate { base: None, revision: Revision(1), add, remove: List::default() };
    check_down("orders-snapshot", &Down::Orders(snapshot));
}

fn result(af: Family, outcome: Outcome) -> Report {
    Report::Result(MeasurementResult {
        measurement: MeasurementId(1_000_000),
        planned_at: AT,
        started_at: UnixNanos(AT.0 + 1),
        ended_at: UnixNanos(AT.0 + 2_000_000_000),
        timing: Timing {
            source: StampSource::Kernel,
            last_sync: Some(30),
            clock_error: Some(1_500_000),
            ..Timing::default()
        },
        af,
        dst_name: Some(Text::cut("example.net")),
        dst_addr: Some(ip(if af == Family::V4 { "192.0.2.80" } else { "2001:db8::80" })),
        src_addr: Some(ip(if af == Family::V4 { "192.0.2.9" } else { "2001:db8::9" })),
        time_to_resolve: Some(12_345_678),
        interval: Some(240),
        outcome,
    })
}

fn check_report(name: &str, report: &Report) {
    let bytes = report.to_cbor();
    assert_eq!(&Report::from_cbor(&bytes).unwrap(), report);
    check(name, &bytes);
}

#[test]
fn a_ping_result() {
    let reply = |rtt, duplicate| {
        PingReply::Reply(EchoReply { rtt, hop_limit: Some(57), size: 48, from: ip("192.0.2.80"), duplicate })
    };
    let error =
        IcmpError { from: ip("192.0.2.1"), kind: 3, code: 4, rtt: Some(900_000), hop_limit: Some(64), mtu: Some(1280) };
    let replies = List::cut([
        reply(1_234_567, false),
        reply(1_334_567, true),
        PingReply::Timeout,
        PingReply::SendError(Text::cut("no buffer space")),
        PingReply::Icmp(error),
    ]);
    check_report("result-ping", &result(Family::V4, Outcome::Ping(PingOutcome { size: 48, sent: 4, replies })));
}

#[test]
fn a_pathmtu_result() {
    use sonde_protocol::result::{
        Mtu, MtuAnswer, MtuDirection, MtuEnd, MtuHole, MtuHop, MtuLimit, MtuReply, MtuTry, PathMtuOutcome,
    };
    let from = Ip("192.0.2.1".parse().unwrap());
    let reply = MtuReply { from, rtt: 10_000_000, hop_limit: Some(57), size: 1400, fragment: Some(1276) };
    let error = IcmpError { from, kind: 3, code: 4, rtt: Some(900_000), hop_limit: Some(64), mtu: Some(1400) };
    let one = |hop, answer| MtuTry { protocol: Transport::Icmp, size: 1400, hop, answer };
    let answers = [MtuAnswer::Reply(reply), MtuAnswer::Timeout, MtuAnswer::Icmp(error), MtuAnswer::TooLong];
    let outcome = PathMtuOutcome {
        interface: Some(1500),
        forward: Mtu::Exactly(1400),
        reverse: Mtu::AtLeast(1276),
        round_trip: Mtu::Unknown,
        limits: List::cut([MtuLimit { from, mtu: Some(1400), size: 1500, hop_limit: Some(64) }]),
        hole: Some(MtuHole {
            passes: 1400,
            lost: 1401,
            direction: MtuDirection::Forward,
            last_hop: Some(MtuHop { hop: 3, from }),
            next_hop: None,
        }),
        end: MtuEnd::Bound,
        tries: List::cut(answers.map(|answer| one(None, answer)).into_iter().chain([one(Some(3), MtuAnswer::Timeout)])),
    };
    check_report("result-pathmtu", &result(Family::V4, Outcome::PathMtu(Box::new(outcome))));
}

#[test]
fn a_traceroute_result() {
    let answer = HopAnswer {
        rtt: Some(1_000_000),
        hop_limit: Some(64),
        size: Some(96),
        icmp: Some(IcmpKind { kind: 3, code: 0 }),
        ..HopAnswer::new(ip("2001:db8::1"))
    };
    let odd = HopAnswer {
        rtt: None,
        hop_limit: None,
        icmp: None,
        late: Some(2),
        duplicate: true,
        quoted_hop_limit: Some(3),
        quoted_dst: Some(ip("2001:db8::bad")),
        mtu: Some(1400),
        extensions: Bytes::new([0, 8, 1, 1, 0, 1, 1, 255]),
        ..answer.clone()
    };
    let hops = List::cut([
        Hop { hop: 1, replies: List::cut([HopReply::Reply(answer), HopReply::Timeout]) },
        Hop { hop: 255, replies: List::cut([HopReply::Reply(odd), HopReply::SendError(Text::cut("unreachable"))]) },
    ]);
    let outcome = TracerouteOutcome { protocol: Transport::Udp, size: 48, paris_id: Some(5), hops };
    check_report("result-traceroute", &result(Family::V6, Outcome::Traceroute(outcome)));
}

#[test]
fn a_dns_result() {
    let response = |outcome| DnsResponse {
        sent_at: AT,
        dst_addr: ip("192.0.2.53"),
        dst_port: 53,
        src_addr: Some(ip("192.0.2.9")),
        protocol: Transport::Tcp,
        retries: 1,
        query: Bytes::new([0xab, 0xcd, 1, 0]),
        outcome,
        secure: None,
        strays: List::default(),
        strays_seen: 0,
        id_mismatches: 0,
    };
    let answer = DnsAnswer {
        rt: 7_000_000,
        message: Bytes::new([0xab, 0xcd, 0x81, 0x80, 0, 0]).unwrap(),
        show_message: true,
        connect: Some(3_000_000),
        truncated_first: true,
        handshake: None,
        exchange: None,
    };
    let why = || Text::cut("refused");
    let all = [
        DnsReply::Answer(answer),
        DnsReply::Timeout(5000),
        DnsReply::Connect(why()),
        DnsReply::SendError(why()),
        DnsReply::Read(why()),
        DnsReply::NotAllowed,
    ];
    let outcome = DnsOutcome { own_resolvers: true, responses: List::cut(all.clone().map(response)) };
    check_report("result-dns", &result(Family::V4, Outcome::Dns(outcome)));

    let [DnsReply::Answer(answer), ..] = all else { panic!("an answer") };
    let stray = DnsStray {
        from: ip("192.0.2.54"),
        port: 5353,
        what: StrayKind::Source,
        after: 2_000_000,
        size: 600,
        message: Bytes::new([0xab, 0xcd]).unwrap(),
        show_message: true,
    };
    let secured = DnsResponse {
        secure: Some(DnsSecure { carrier: DnsCarrier::Tls, version: Some(0x0304), cipher: Some(0x1301) }),
        strays: List::cut([stray]),
        strays_seen: 9,
        id_mismatches: 2,
        ..response(DnsReply::Answer(DnsAnswer { handshake: Some(2_000_000), exchange: Some(1_000_000), ..answer }))
    };
    let outcome = DnsOutcome { own_resolvers: false, responses: List::cut([secured]) };
    check_report("result-dns-tls", &result(Family::V4, Outcome::Dns(outcome)));
}

#[test]
fn an_ntp_result() {
    let server = NtpServer {
        leap: 3,
        version: 4,
        stratum: 1,
        poll: -1,
        precision: -20,
        root_delay: 1,
        root_dispersion: 70_000,
        reference_id: u32::from_be_bytes(*b"GPS\0"),
        reference_time: Some(UnixNanos::from_secs(1_795_737_600)),
    };
    let time = UnixNanos(1_795_737_600_000_000_001);
    let error = IcmpError { from: ip("192.0.2.1"), kind: 3, code: 3, rtt: Some(1), hop_limit: None, mtu: None };
    let replies = List::cut([
        NtpReply::Answer(NtpAnswer { origin: time, receive: time, transmit: time, last: time, rtt: -1, offset: -500 }),
        NtpReply::Timeout,
        NtpReply::SendError(Text::cut("no route")),
        NtpReply::Icmp(error),
        NtpReply::NoTime(NtpNoTime { elapsed: 1, kiss: Some(u32::from_be_bytes(*b"RATE")) }),
        NtpReply::NoTime(NtpNoTime { elapsed: 1, kiss: None }),
    ]);
    let outcome = NtpOutcome { server: Some(server), replies, strays: 1 };
    check_report("result-ntp", &result(Family::V4, Outcome::Ntp(outcome)));
}

#[test]
fn an_sslcert_result() {
    let seen = SslcertOutcome {
        connect: Some(3_000_000),
        rt: Some(9_000_000),
        version: Some(0x0303),
        cipher: Some(0xc02f),
        certificates: List::cut([Bytes::new([0x30, 0x03, 1, 1, 0xff]).unwrap()]),
        certificates_left_out: 2,
        client_certificate_wanted: true,
        failure: Some(SslcertFailure::Failed(Text::cut("why"))),
    };
    check_report("result-sslcert", &result(Family::V4, Outcome::Sslcert(Box::new(seen))));
    let alert = SslcertOutcome { failure: Some(SslcertFailure::Alert(40)), ..SslcertOutcome::default() };
    check_report("result-sslcert-alert", &result(Family::V6, Outcome::Sslcert(Box::new(alert))));
}

#[test]
fn an_http_result() {
    let seen = HttpOutcome {
        rt: Some(30_000_000),
        connect: Some(3_000_000),
        tls: Some(9_000_000),
        first_byte: Some(20_000_000),
        head: Some(HttpHead { status: 200, version_1_1: true, size: 131 }),
        body_size: 1_020_048,
        truncated: true,
        header: Bytes::new(*b"A: b\r\n"),
        reads: List::cut([HttpRead { offset: 0, at: 20_000_000 }]),
        failure: Some(Text::cut("why")),
        ..HttpOutcome::new(HttpMethod::Post)
    };
    check_report("result-http", &result(Family::V4, Outcome::Http(Box::new(seen))));
}

#[test]
fn an_ipv6_result() {
    let full = samples::full("2001:db8::9", "192.0.2.9", "198.51.100.7", "192.0.2.53", "192.0.2.1");
    check_report("result-ipv6", &result(Family::V6, Outcome::Ipv6(Box::new(full))));
    check_report("result-ipv6-bare", &result(Family::V6, Outcome::Ipv6(Box::new(samples::bare()))));
}

#[test]
fn what_is_said_about_a_boards_updates() {
    for (name, ask) in board_samples::asks() {
        check_up(&format!("update-ask-{name}"), &Up::UpdateAsk(ask.clone()));
        check_system(&format!("from-system-ask-{name}"), &FromSystem::Ask(ask));
    }
    for (name, state) in board_samples::states() {
        check_up(&format!("board-{name}"), &Up::Board(state.clone()));
        if name == "full" {
            check_system("from-system-state", &FromSystem::State(state));
        }
    }
    for (name, answer) in board_samples::answers() {
        check_down(&format!("update-answer-{name}"), &Down::UpdateAnswer(answer.clone()));
        check_system(&format!("to-system-answer-{name}"), &ToSystem::Answer(answer));
    }
    for (name, choice) in board_samples::choices() {
        check_down(&format!("update-choice-{name}"), &Down::UpdateChoice(choice));
        check_system(&format!("to-system-choice-{name}"), &ToSystem::Choice(choice));
    }
    check_system("to-system-connected", &ToSystem::Connected(true));
    check_system("to-system-not-connected", &ToSystem::Connected(false));
}

/// A message between the board's system and its probe.
fn check_system<T>(name: &str, message: &T)
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()> + PartialEq + std::fmt::Debug,
{
    let bytes = to_cbor(message);
    assert_eq!(from_cbor::<T>(&bytes).unwrap().as_ref(), Some(message));
    check(name, &bytes);
}

#[test]
fn the_longest_answer_fits_between_the_boards_system_and_its_probe() {
    let bytes = Bytes::new([0xff; MAX_PIECE]).unwrap();
    let said = UpdateSaid::Piece(UpdatePiece { length: u64::MAX, bytes });
    let answer = to_cbor(&ToSystem::Answer(UpdateAnswer { id: u32::MAX, said }));
    assert!(answer.len() <= MAX_MESSAGE, "{}", answer.len());
    let (_, mut state) = board_samples::states().pop().unwrap();
    let [_, _, attempt, _] = state.attempts.to_vec().try_into().unwrap();
    let attempt = sonde_protocol::board::UpdateAttempt { words: Text::cut("x".repeat(MAX_FILE_NAME)), ..attempt };
    state.words = attempt.words.clone();
    state.attempts = List::cut(vec![attempt; sonde_protocol::board::MAX_ATTEMPTS]);
    assert!(to_cbor(&FromSystem::State(state)).len() <= MAX_MESSAGE);
}

#[test]
fn failed_and_skipped_runs() {
    let why = || Text::cut("why");
    for (name, failure) in [
        ("resolve", Failure::Resolve(why())),
        ("not-allowed", Failure::NotAllowed),
        ("socket", Failure::Socket(why())),
        ("unsupported", Failure::Unsupported(why())),
    ] {
        let report = result(Family::V6, Outcome::Failed(failure, Kind::Http.number()));
        check_report(&format!("result-failed-{name}"), &report);
    }
    for reason in [
        SkipReason::Other,
        SkipReason::Paused,
        SkipReason::Limit,
        SkipReason::QuietLine,
        SkipReason::Overlap,
        SkipReason::NoRoute,
        SkipReason::Expired,
        SkipReason::LateOrder,
        SkipReason::Unsupported,
        SkipReason::Clock,
        SkipReason::Stopping,
        SkipReason::OutsideHours,
        SkipReason::KindOff,
    ] {
        let skipped = Skipped { measurement: MeasurementId(1_000_000), planned_at: AT, runs: 300, reason };
        check_report(&format!("skipped-{}", reason.name().replace(' ', "-")), &Report::Skipped(skipped));
    }
}

#[test]
fn a_frame() {
    let skipped = Skipped { measurement: MeasurementId(1_000_000), planned_at: AT, runs: 1, reason: SkipReason::Limit };
    let report = Bytes::new(Report::Skipped(skipped).to_cbor()).unwrap();
    let frame = Frame { boot: BOOT, first: Seq(41), reports: List::cut([report.clone(), report]), settled: AT };
    let bytes = to_cbor(&frame);
    assert_eq!(from_cbor::<Frame>(&bytes).unwrap(), Some(frame));
    check("frame", &bytes);
}

#[test]
fn no_file_is_left_over() {
    // Every file is the bytes of a message that can be read; one that is not any more is an old probe's message.
    for entry in std::fs::read_dir(path("x").parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
        let bytes = HEXLOWER.decode(text.as_bytes()).unwrap();
        let is_read = match name.split('-').next().unwrap() {
            "hello" | "gaps" | "time" | "bye" | "health" | "rotate" | "board" if name != "time-reply" => {
                from_cbor::<Up>(&bytes).is_ok()
            }
            "update" if name.starts_with("update-ask") => from_cbor::<Up>(&bytes).is_ok(),
            "from" => from_cbor::<FromSystem>(&bytes).is_ok(),
            "to" => from_cbor::<ToSystem>(&bytes).is_ok(),
            "orders" if name == "orders-applied" || name == "orders-wanted" => from_cbor::<Up>(&bytes).is_ok(),
            "result" | "skipped" => Report::from_cbor(&bytes).is_ok(),
            "frame" => from_cbor::<Frame>(&bytes).is_ok(),
            _ => from_cbor::<Down>(&bytes).is_ok(),
        };
        assert!(is_read, "{name}");
    }
}
