//! Prints one message of every kind as `RULE HEX`, and every limit as `limit NAME NUMBER`, for
//! `tests/compat/cddl_check.py`, which holds `docs/protocol.cddl` against them. RULE is the rule of that file.
//!
//! Each message is made twice: with everything that may be absent, and without. The `match`es have no `_`, so that a new
//! variant does not compile until it is here.

#![allow(clippy::print_stdout)]

#[path = "../tests/samples/board.rs"]
mod board_samples;
#[path = "../tests/samples/mod.rs"]
mod samples;

use std::net::{Ipv4Addr, Ipv6Addr};

use sonde_protocol::board::{self, FromSystem, ToSystem};
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::condition::{Condition, Conditions, Word};
use sonde_protocol::directory::{
    Collector, Directory, Endpoint, MAX_DIRECTORY, MAX_REFERENCES, Reference, SignedDirectory,
};
use sonde_protocol::identity::{ClaimCode, KeyNotice, Rotation};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Revision, Seq};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{
    BootRanges, Bye, Down, Drain, Frame, Gap, GapReason, Health, Hello, HostPause, HostState, MAX_CONTROL,
    MAX_CONTROL_UP, MAX_FRAME, Refused, RefusedReason, SpooledBoot, TimeReply, TimeRequest, Up, VERSION, Welcome,
    to_cbor,
};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::order::{Order, OrdersUpdate, When};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::reference::echo::{TOKEN, Token};
use sonde_protocol::reference::{Ask, MAX_MESSAGE, Seen};
use sonde_protocol::result::*;
use sonde_protocol::spec::{
    DnsCarrier, DnsSpec, HttpMethod, HttpSpec, Ipv6Scope, Ipv6Spec, Kind, Spec, SslcertSpec, Target,
};
use sonde_protocol::time::UnixNanos;

const BOOT: BootId = BootId(u64::MAX);
const NOW: UnixNanos = UnixNanos(1_790_000_000_123_456_789);

fn main() {
    for (name, value) in [
        ("MAX_CONTROL_UP", MAX_CONTROL_UP),
        ("MAX_CONTROL", MAX_CONTROL),
        ("MAX_FRAME", MAX_FRAME),
        ("MAX_DIRECTORY", MAX_DIRECTORY),
        ("MAX_REPORT", MAX_REPORT),
        ("MAX_MESSAGE", MAX_MESSAGE),
        ("MAX_BOARD_MESSAGE", board::MAX_MESSAGE),
    ] {
        println!("limit {name} {value}");
    }
    for up in ups() {
        print("up", &to_cbor(&up));
    }
    for down in downs() {
        print("down", &to_cbor(&down));
    }
    for message in from_system() {
        print("from-system", &to_cbor(&message));
    }
    for message in to_system() {
        print("to-system", &to_cbor(&message));
    }
    print("directory", &directory().to_sign().1);
    print("directory", &Directory { references: references(), ..directory() }.to_sign().1);
    let ask = Ask { padding: Bytes::new([0; 8]).unwrap_or_default(), want: 8 };
    print("reference-ask", &to_cbor(&ask));
    let seen = Seen {
        src: v6(),
        src_port: 1,
        mss: Some(1440),
        hop_limit: Some(64),
        headers: List::cut([0, 60]),
        token: Token([1; TOKEN]),
        padding: ask.padding,
    };
    print("reference-seen", &to_cbor(&Seen { mss: None, hop_limit: None, ..seen.clone() }));
    print("reference-seen", &to_cbor(&seen));
    for report in reports() {
        print("report", &report.to_cbor());
    }
    let all = reports().iter().map(|report| Bytes::new(report.to_cbor()).unwrap_or_default()).collect::<Vec<_>>();
    print("frame", &to_cbor(&Frame { boot: BOOT, first: Seq(1), reports: List::cut(all), settled: NOW }));
    for spec in specs() {
        print(&format!("{}-spec", spec.kind()), &spec.to_cbor());
    }
}

fn print(rule: &str, bytes: &[u8]) {
    println!("{rule} {}", data_encoding::HEXLOWER.encode(bytes));
}

fn v4() -> Ip {
    Ip(Ipv4Addr::new(192, 0, 2, 1).into())
}

fn v6() -> Ip {
    Ip(Ipv6Addr::LOCALHOST.into())
}

fn key(byte: u8) -> PublicKey {
    PublicKey([byte; 32])
}

fn directory() -> Directory {
    let collector = Collector {
        key: key(2),
        addresses: List::cut([Endpoint::cut("a.example:8333"), Endpoint::cut("[::1]:443")]),
        tls: List::cut([Endpoint::cut("a.example:443")]),
    };
    Directory {
        serial: 7,
        network: Text::cut("example"),
        roots: List::cut([key(1)]),
        collectors: List::cut([collector]),
        http_hosts: List::cut([Text::cut("anchor.example.net")]),
        references: List::default(),
    }
}

fn references() -> List<Reference, MAX_REFERENCES> {
    let bare = Reference {
        name: Text::cut("r1"),
        key: key(3),
        v4: None,
        v6: None,
        tls: None,
        quic: None,
        echo: None,
        closed: None,
        narrow: None,
        zone: None,
    };
    let full = Reference {
        v4: Some(v4()),
        v6: Some(v6()),
        tls: Some(443),
        quic: Some(443),
        echo: Some(8334),
        closed: Some(8335),
        narrow: Some(v6()),
        zone: Some(Text::cut("r1.example.net")),
        ..bare.clone()
    };
    List::cut([bare, full])
}

fn signed() -> SignedDirectory {
    SignedDirectory::new(directory().to_sign().1, key(1), [9; 64]).expect("it is small")
}

fn ranges() -> List<BootRanges, 64> {
    let mut ranges = RangeSet::of(Seq(1)..=Seq(9));
    ranges.insert(Seq(12)..=Seq(u64::MAX));
    List::cut([BootRanges { boot: BOOT, ranges }, BootRanges { boot: BootId(0), ranges: RangeSet::new() }])
}

fn gap(reason: GapReason, last: Option<Seq>) -> Gap {
    Gap { boot: BOOT, first: Seq(1), last, reason, from: NOW, to: UnixNanos(-1) }
}

fn host(pause: Option<HostPause>) -> HostState {
    HostState { pause, kinds: List::cut([1]), hours: List::cut([Text::cut("22:00-06:00")]), ..HostState::default() }
}

fn conditions() -> Conditions {
    let holds = Condition {
        word: Word::DnsSilent.number(),
        began: 60,
        ended: None,
        detail: Text::new("192.0.2.53"),
        cut_off: false,
    };
    let over =
        Condition { word: Word::UdpBlocked.number(), ended: Some(1), detail: None, cut_off: true, ..holds.clone() };
    List::cut([holds, over])
}

fn ups() -> Vec<Up> {
    let bare = Hello {
        versions: List::cut([VERSION]),
        software: Text::cut("sonde-probe/0.1.0"),
        boot: BOOT,
        uptime: 1,
        now: NOW,
        clock_synchronised: false,
        orders: None,
        boots: List::cut([SpooledBoot { boot: BOOT, next: Seq(1), started_at: None }]),
        spool_depth: 0,
        addresses: List::default(),
        token: None,
        directory: 0,
        kinds: List::cut(Kind::ALL.map(Kind::number)),
        families: List::default(),
        conditions: None,
    };
    let full = Hello {
        orders: Some(Revision(3)),
        boots: List::cut([SpooledBoot { boot: BOOT, next: Seq(1), started_at: Some(NOW) }]),
        addresses: List::cut([v4(), v6()]),
        token: Bytes::new(*b"token"),
        families: List::cut(Family::BOTH),
        conditions: Some(conditions()),
        ..bare.clone()
    };
    let every = |up: &Up| match up {
        Up::Hello(_)
        | Up::Gaps(_)
        | Up::OrdersApplied(_)
        | Up::TimeRequest(_)
        | Up::Bye(_)
        | Up::Health(_)
        | Up::Rotate(_)
        | Up::UpdateAsk(_)
        | Up::Board(_) => {}
    };
    let reasons = [GapReason::SpoolFull, GapReason::Crash, GapReason::Stopped, GapReason::Rejected, GapReason::Damaged];
    let gaps = reasons.map(|reason| match reason {
        GapReason::SpoolFull | GapReason::Stopped | GapReason::Rejected | GapReason::Damaged => {
            gap(reason, Some(Seq(2)))
        }
        GapReason::Crash => gap(reason, None),
    });
    let mut ups = vec![
        Up::Hello(bare),
        Up::Hello(full),
        Up::Gaps(List::cut(gaps)),
        Up::OrdersApplied(None),
        Up::OrdersApplied(Some(Revision(3))),
        Up::TimeRequest(TimeRequest { sent_at: -5 }),
        Up::Bye(Bye { boot: BOOT, last: Seq(0), at: NOW, crashed: false }),
        Up::Bye(Bye { boot: BOOT, last: Seq(7), at: NOW, crashed: true }),
        Up::Health(Health::default()),
        Up::Rotate(Rotation::new(key(3), [1; 64], [2; 64]).expect("it fits")),
        Up::Health(Health { addresses: Some(List::cut([v6()])), ..Health::default() }),
        Up::Health(Health { conditions: Some(conditions()), ..Health::default() }),
        Up::Health(Health { host: Some(host(None)), ..Health::default() }),
        Up::Health(Health { host: Some(host(Some(HostPause { remaining: None }))), ..Health::default() }),
        Up::Health(Health { host: Some(host(Some(HostPause { remaining: Some(60) }))), ..Health::default() }),
    ];
    ups.extend(board_samples::asks().into_iter().map(|(_, ask)| Up::UpdateAsk(ask)));
    ups.extend(board_samples::states().into_iter().map(|(_, state)| Up::Board(state)));
    ups.iter().for_each(every);
    ups
}

fn from_system() -> Vec<FromSystem> {
    let asks = board_samples::asks().into_iter().map(|(_, ask)| FromSystem::Ask(ask));
    let states = board_samples::states().into_iter().map(|(_, state)| FromSystem::State(state));
    let all: Vec<FromSystem> = asks.chain(states).collect();
    for message in &all {
        match message {
            FromSystem::Ask(_) | FromSystem::State(_) => {}
        }
    }
    all
}

fn to_system() -> Vec<ToSystem> {
    let answers = board_samples::answers().into_iter().map(|(_, answer)| ToSystem::Answer(answer));
    let choices = board_samples::choices().into_iter().map(|(_, choice)| ToSystem::Choice(choice));
    let all: Vec<ToSystem> = answers.chain(choices).chain([true, false].map(ToSystem::Connected)).collect();
    for message in &all {
        match message {
            ToSystem::Answer(_) | ToSystem::Connected(_) | ToSystem::Choice(_) => {}
        }
    }
    all
}

fn downs() -> Vec<Down> {
    let every = |down: &Down| match down {
        Down::Welcome(_)
        | Down::Refused(_)
        | Down::Orders(_)
        | Down::Ack(_)
        | Down::Drain(_)
        | Down::TimeReply(_)
        | Down::Directory(_)
        | Down::SeenAt(_)
        | Down::Key(_)
        | Down::UpdateAnswer(_)
        | Down::UpdateChoice(_) => {}
    };
    let bare = Welcome {
        version: VERSION,
        probe: ProbeId(1),
        received_at: NOW,
        sent_at: NOW,
        durable: List::default(),
        public_address: v4(),
        directory: None,
        boot_started_at: NOW,
    };
    let full = Welcome { durable: ranges(), directory: Some(signed()), ..bare.clone() };
    let reasons = [
        RefusedReason::UnknownKey,
        RefusedReason::Token,
        RefusedReason::Version,
        RefusedReason::Busy,
        RefusedReason::Malformed,
        RefusedReason::DuplicateKey,
        RefusedReason::KeyReplaced,
    ];
    let snapshot =
        OrdersUpdate { base: None, revision: Revision(4), add: List::cut(orders()), remove: List::default() };
    let change = OrdersUpdate {
        base: Some(Revision(4)),
        revision: Revision(5),
        add: List::default(),
        remove: List::cut([MeasurementId::FIRST_USER]),
    };
    let mut downs = vec![
        Down::Welcome(bare),
        Down::Welcome(full),
        Down::Orders(snapshot),
        Down::Orders(change),
        Down::Ack(ranges()),
        Down::Drain(Drain { after_ms: 1000, spread_ms: u32::MAX }),
        Down::TimeReply(TimeReply { request_sent_at: -5, received_at: NOW, sent_at: NOW }),
        Down::Directory(signed()),
        Down::SeenAt(v6()),
    ];
    downs.extend(reasons.map(|reason| Down::Refused(Refused { reason, text: Text::cut("no"), claim_code: None })));
    let claim_code = ClaimCode::from_random(7);
    downs.push(Down::Refused(Refused {
        reason: RefusedReason::Pending,
        text: Text::cut("wait"),
        claim_code: Some(claim_code),
    }));
    let notices = [
        KeyNotice::Admitted,
        KeyNotice::Changed(key(3)),
        KeyNotice::NotChanged(Text::cut("no")),
        KeyNotice::Duplicate,
        KeyNotice::Unclaimed(claim_code),
    ];
    for notice in &notices {
        match notice {
            KeyNotice::Admitted
            | KeyNotice::Changed(_)
            | KeyNotice::NotChanged(_)
            | KeyNotice::Duplicate
            | KeyNotice::Unclaimed(_) => {}
        }
    }
    downs.extend(notices.map(Down::Key));
    downs.extend(board_samples::answers().into_iter().map(|(_, answer)| Down::UpdateAnswer(answer)));
    downs.extend(board_samples::choices().into_iter().map(|(_, choice)| Down::UpdateChoice(choice)));
    downs.iter().for_each(every);
    downs
}

fn orders() -> Vec<Order> {
    let whens = [
        When::Periodic { start: NOW, interval: 60, spread: 30, stop: None },
        When::Periodic { start: NOW, interval: 60, spread: 30, stop: Some(NOW) },
        When::Once { start: None, expires: NOW },
        When::Once { start: Some(NOW), expires: NOW },
    ];
    let order = |(n, when): (u64, When)| Order {
        measurement: MeasurementId(MeasurementId::FIRST_USER.0 + n),
        kind: Kind::Ping.number(),
        spec: Bytes::new(Spec::default_of(Kind::Ping).to_cbor()).unwrap_or_default(),
        af: Family::V6,
        target: (n > 0).then(|| Target::cut("example.net")),
        addresses: List::cut([v6()]),
        resolve_on_probe: n > 1,
        when,
        ordered_at: NOW,
    };
    (0..).zip(whens).map(order).collect()
}

fn specs() -> Vec<Spec> {
    let mut specs: Vec<Spec> = Kind::ALL
        .into_iter()
        .map(|kind| match Spec::default_of(kind) {
            Spec::Dns(dns) => Spec::Dns(DnsSpec { query_argument: Text::cut("example.net"), ..dns }),
            other => other,
        })
        .collect();
    let root = DnsSpec { query_argument: Text::cut("."), ttl: Some(3), ..DnsSpec::default() };
    let https = DnsSpec { https: true, path: Some(Text::cut("/q")), port: 443, ..root.clone() };
    specs.push(Spec::Dns(DnsSpec { quic: true, hostname: Some(Target::cut("a.example")), ..root.clone() }));
    specs.extend([Spec::Dns(root), Spec::Dns(https)]);
    specs.push(Spec::Ipv6(Ipv6Spec { scope: Ipv6Scope::Full }));
    specs.push(Spec::Sslcert(SslcertSpec { hostname: Some(Target::cut("a.example")), ..SslcertSpec::default() }));
    for method in [HttpMethod::Get, HttpMethod::Head, HttpMethod::Post] {
        let query_string = Some(Text::cut("q"));
        specs.push(Spec::Http(HttpSpec { method, query_string, max_bytes_read: Some(1), ..HttpSpec::default() }));
    }
    specs
}

fn reports() -> Vec<Report> {
    let skip = |reason| Report::Skipped(Skipped { measurement: MeasurementId(1), planned_at: NOW, runs: 2, reason });
    let mut reports: Vec<Report> = [
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
        SkipReason::Other,
    ]
    .map(skip)
    .into();
    reports.extend(outcomes().into_iter().enumerate().map(|(n, outcome)| Report::Result(result(outcome, n % 2 == 0))));
    reports
}

fn result(outcome: Outcome, full: bool) -> MeasurementResult {
    let timing = Timing {
        source: StampSource::Kernel,
        last_sync: Some(3),
        clock_error: Some(u64::MAX),
        rtt_error: Some(u64::MAX),
        load: Some(Load { runs: 1, packets_per_second: u32::MAX, load_average: Some(25) }),
    };
    MeasurementResult {
        measurement: MeasurementId(0),
        planned_at: NOW,
        started_at: NOW,
        ended_at: NOW,
        timing: if full { timing } else { Timing::default() },
        af: if full { Family::V6 } else { Family::V4 },
        dst_name: full.then(|| Target::cut("example.net")),
        dst_addr: full.then(v6),
        src_addr: full.then(v4),
        time_to_resolve: full.then_some(1),
        interval: full.then_some(60),
        outcome,
    }
}

fn outcomes() -> Vec<Outcome> {
    let why = || Why::cut("why");
    let mut outcomes: Vec<Outcome> =
        [Failure::Resolve(why()), Failure::NotAllowed, Failure::Socket(why()), Failure::Unsupported(why())]
            .map(|failure| Outcome::Failed(failure, Kind::Ping.number()))
            .into();
    let error = IcmpError { from: v4(), kind: 3, code: 1, rtt: None, hop_limit: None, mtu: None };
    let reply = EchoReply { rtt: 1, hop_limit: None, size: 48, from: v6(), duplicate: false };
    let replies = [
        PingReply::Reply(EchoReply { hop_limit: Some(64), duplicate: true, ..reply.clone() }),
        PingReply::Reply(reply),
        PingReply::Timeout,
        PingReply::SendError(why()),
        PingReply::Icmp(IcmpError { rtt: Some(1), hop_limit: Some(2), mtu: Some(1280), ..error.clone() }),
        PingReply::Icmp(error),
    ];
    for _ in 0..2 {
        outcomes.push(Outcome::Ping(PingOutcome { size: 48, sent: 3, replies: List::cut(replies.clone()) }));
    }
    let bare = HopAnswer::new(v4());
    let full = HopAnswer {
        rtt: Some(1),
        hop_limit: Some(2),
        size: Some(28),
        icmp: Some(IcmpKind { kind: 11, code: 0 }),
        late: Some(1),
        quoted_hop_limit: Some(2),
        quoted_dst: Some(v6()),
        mtu: Some(1280),
        extensions: Bytes::new([0x20, 0]),
        quoted_traffic_class: Some(8),
        hop_by_hop_size: Some(16),
        destination_size: Some(24),
        extensions_unannounced: Some(true),
        ..bare.clone()
    };
    let segment = HopAnswer { tcp_flags: Some(0x12), tcp_options: Bytes::new([2, 4, 5, 180]), ..bare.clone() };
    let answers = [bare, full, segment].map(HopReply::Reply);
    let replies = answers.into_iter().chain([HopReply::Timeout, HopReply::SendError(why())]);
    for (protocol, paris_id) in [(Transport::Icmp, None), (Transport::Tcp, None), (Transport::Udp, Some(16))] {
        let hops = List::cut([Hop { hop: 255, replies: List::cut(replies.clone()) }]);
        outcomes.push(Outcome::Traceroute(TracerouteOutcome { protocol, size: 48, paris_id, hops }));
    }
    let message = Bytes::new([0; 12]).unwrap_or_default();
    let answer = DnsAnswer {
        rt: 1,
        message,
        show_message: true,
        connect: None,
        truncated_first: false,
        handshake: None,
        exchange: None,
    };
    let all = DnsAnswer { connect: Some(1), handshake: Some(1), exchange: Some(1), ..answer.clone() };
    let replies = [
        DnsReply::Answer(DnsAnswer { truncated_first: true, ..all }),
        DnsReply::Answer(answer),
        DnsReply::Timeout(5000),
        DnsReply::Connect(why()),
        DnsReply::SendError(why()),
        DnsReply::Read(why()),
        DnsReply::NotAllowed,
    ];
    let stray = |what| DnsStray {
        from: v4(),
        port: 5353,
        what,
        after: 1,
        size: 1,
        message: Bytes::new([1]).unwrap_or_default(),
        show_message: true,
    };
    let strays = [
        StrayKind::Source,
        StrayKind::Short,
        StrayKind::NoResponse,
        StrayKind::Id,
        StrayKind::HttpStatus,
        StrayKind::ContentType,
        StrayKind::Part,
        StrayKind::Other,
    ];
    let secure = [DnsCarrier::Tls, DnsCarrier::Https, DnsCarrier::Quic].map(|carrier| DnsSecure {
        carrier,
        version: (carrier != DnsCarrier::Tls).then_some(0x0304),
        cipher: (carrier == DnsCarrier::Https).then_some(0x1302),
    });
    let responses = (0..).zip(replies).map(|(n, outcome)| DnsResponse {
        sent_at: NOW,
        dst_addr: v6(),
        dst_port: 53,
        src_addr: (n % 2 == 0).then(v6),
        protocol: Transport::Udp,
        retries: n,
        query: Bytes::new([1]).filter(|_| n % 2 == 0),
        outcome,
        secure: secure.into_iter().nth(usize::try_from(n).unwrap_or(0)),
        strays: List::cut(strays.map(stray).into_iter().filter(|_| n == 1)),
        strays_seen: if n == 1 { 8 } else { 0 },
        id_mismatches: if n == 1 { 1 } else { 0 },
    });
    outcomes.push(Outcome::Dns(DnsOutcome { own_resolvers: true, responses: List::cut(responses) }));
    outcomes.extend(sslcert_outcomes().into_iter().map(|seen| Outcome::Sslcert(Box::new(seen))));
    outcomes.extend(http_outcomes().into_iter().map(|seen| Outcome::Http(Box::new(seen))));
    outcomes.extend(ntp_outcomes().into_iter().map(Outcome::Ntp));
    outcomes.extend(path_mtu_outcomes().into_iter().map(|outcome| Outcome::PathMtu(Box::new(outcome))));
    let ipv6 = samples::full("2001:db8::2", "192.0.2.2", "192.0.2.3", "192.0.2.53", "192.0.2.254");
    outcomes.extend([samples::bare(), ipv6].map(|outcome| Outcome::Ipv6(Box::new(outcome))));
    outcomes
}

fn sslcert_outcomes() -> Vec<SslcertOutcome> {
    let why = || Why::cut("why");
    let whole = SslcertOutcome {
        connect: Some(1),
        rt: Some(2),
        version: Some(0x0304),
        cipher: Some(0x1301),
        certificates: List::cut([Bytes::new([1]).unwrap_or_default()]),
        certificates_left_out: 1,
        client_certificate_wanted: true,
        failure: None,
    };
    vec![
        SslcertOutcome { failure: Some(SslcertFailure::Alert(40)), ..SslcertOutcome::default() },
        SslcertOutcome { failure: Some(SslcertFailure::Failed(why())), ..whole.clone() },
        whole,
    ]
}

fn http_outcomes() -> Vec<HttpOutcome> {
    let methods = [HttpMethod::Get, HttpMethod::Head, HttpMethod::Post];
    let mut outcomes: Vec<HttpOutcome> = methods.into_iter().map(HttpOutcome::new).collect();
    outcomes.push(HttpOutcome {
        rt: Some(9),
        connect: Some(1),
        tls: Some(2),
        first_byte: Some(3),
        head: Some(HttpHead { status: 200, version_1_1: true, size: 100 }),
        body_size: 1000,
        truncated: true,
        header: Bytes::new([1]),
        reads: List::cut([HttpRead { offset: 0, at: 3 }]),
        failure: Some(Why::cut("why")),
        ..HttpOutcome::new(HttpMethod::Get)
    });
    outcomes
}

fn ntp_outcomes() -> Vec<NtpOutcome> {
    let server = NtpServer {
        leap: 0,
        version: 4,
        stratum: 1,
        poll: 6,
        precision: -20,
        root_delay: 1,
        root_dispersion: 1,
        reference_id: u32::from_be_bytes(*b"GPS\0"),
        reference_time: Some(NOW),
    };
    let error = IcmpError { from: v6(), kind: 1, code: 4, rtt: Some(1), hop_limit: Some(64), mtu: None };
    let replies = [
        NtpReply::Answer(NtpAnswer { origin: NOW, receive: NOW, transmit: NOW, last: NOW, rtt: -1, offset: -1 }),
        NtpReply::Timeout,
        NtpReply::SendError(Why::cut("why")),
        NtpReply::Icmp(error),
        NtpReply::NoTime(NtpNoTime { elapsed: 1, kiss: None }),
        NtpReply::NoTime(NtpNoTime { elapsed: 1, kiss: Some(u32::from_be_bytes(*b"RATE")) }),
    ];
    vec![
        NtpOutcome::default(),
        NtpOutcome { server: Some(server.clone()), replies: List::cut(replies), strays: 1 },
        NtpOutcome { server: Some(NtpServer { reference_time: None, ..server }), ..NtpOutcome::default() },
    ]
}

fn path_mtu_outcomes() -> Vec<PathMtuOutcome> {
    let hop = Some(MtuHop { hop: 3, from: v4() });
    let hole = MtuHole { passes: 1400, lost: 1401, direction: MtuDirection::Forward, last_hop: hop, next_hop: hop };
    let limit = MtuLimit { from: v6(), mtu: Some(1400), size: 1500, hop_limit: Some(62) };
    let reply = MtuReply { from: v4(), rtt: 1, hop_limit: Some(2), size: 1400, fragment: Some(1276) };
    let error = IcmpError { from: v4(), kind: 3, code: 4, rtt: Some(1), hop_limit: Some(2), mtu: Some(1400) };
    let answers = [
        MtuAnswer::Reply(reply.clone()),
        MtuAnswer::Reply(MtuReply { hop_limit: None, fragment: None, ..reply }),
        MtuAnswer::Timeout,
        MtuAnswer::SendError(Text::cut("no route")),
        MtuAnswer::Icmp(error),
        MtuAnswer::TooLong,
    ];
    let tries = answers.into_iter().enumerate().map(|(n, answer)| MtuTry {
        protocol: if n % 2 == 0 { Transport::Icmp } else { Transport::Udp },
        size: 1400,
        hop: (n % 2 == 0).then_some(3),
        answer,
    });
    let full = PathMtuOutcome {
        interface: Some(1500),
        forward: Mtu::Exactly(1400),
        reverse: Mtu::AtLeast(1400),
        round_trip: Mtu::Unknown,
        limits: List::cut([limit.clone(), MtuLimit { mtu: None, hop_limit: None, ..limit }]),
        hole: Some(hole.clone()),
        end: MtuEnd::Loss,
        tries: List::cut(tries),
    };
    let unknown = MtuHole { direction: MtuDirection::Unknown, last_hop: None, next_hop: None, ..hole.clone() };
    vec![
        PathMtuOutcome::default(),
        PathMtuOutcome { hole: Some(unknown), end: MtuEnd::Bound, ..full.clone() },
        PathMtuOutcome { hole: Some(MtuHole { direction: MtuDirection::Reverse, ..hole }), ..full.clone() },
        full,
    ]
}
