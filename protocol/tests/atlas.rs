//! Every shape of a result as RIPE Atlas JSON, against `tests/golden/atlas.jsonl`: one line per shape, with whether clients
//! must see a failed measurement. `tests/compat/sagan_check.py` feeds the same file to RIPE's own parser.
//!
//! To rewrite the file after a change that is meant: `SONDE_BLESS=1 cargo test -p sonde-protocol --features atlas`.

// The helpers are test code too, which clippy sees only inside #[test].
#![allow(clippy::unwrap_used)]

mod samples;

use std::net::IpAddr;

use proptest::prelude::*;
use sonde_protocol::atlas::{AddressView, ResultContext, result_json, write_result};
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::*;
use sonde_protocol::spec::{
    DnsCarrier, DnsSpec, HttpMethod, HttpSpec, Kind, PingSpec, Spec, SslcertSpec, TracerouteSpec,
};
use sonde_protocol::time::UnixNanos;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/atlas.jsonl");

/// The probe's own address, the address it is seen from, its first hop, its resolvers: what the public must not see.
const OWN: &str = "10.0.0.2";
const SEEN_FROM: &str = "203.0.113.9";
const FIRST_HOP: &str = "10.0.0.1";
const RESOLVER: &str = "10.0.0.3";
const SECRETS: [&str; 5] = [OWN, SEEN_FROM, FIRST_HOP, RESOLVER, "fd00::53"];

const TARGET: &str = "192.0.2.1";

fn ip(text: &str) -> Ip {
    Ip(text.parse().unwrap())
}

fn why(text: &str) -> Why {
    Why::cut(text)
}

struct Shape {
    name: &'static str,
    expect_error: bool,
    result: MeasurementResult,
    spec: Option<Spec>,
}

fn result(outcome: Outcome) -> MeasurementResult {
    MeasurementResult {
        measurement: MeasurementId(1_000_001),
        planned_at: UnixNanos(1_760_000_000_000_000_000),
        started_at: UnixNanos(1_760_000_000_001_250_000),
        ended_at: UnixNanos(1_760_000_003_000_000_000),
        timing: Timing {
            source: StampSource::Kernel,
            last_sync: Some(12),
            clock_error: Some(350_000),
            ..Timing::default()
        },
        af: Family::V4,
        dst_name: Text::new(TARGET),
        dst_addr: Some(ip(TARGET)),
        src_addr: Some(ip(OWN)),
        time_to_resolve: None,
        interval: Some(240),
        outcome,
    }
}

/// What is known when a name did not resolve.
fn unresolved(kind: Kind) -> MeasurementResult {
    MeasurementResult {
        dst_name: Text::new("nx.example"),
        dst_addr: None,
        src_addr: None,
        time_to_resolve: Some(5_000_100_000),
        interval: None,
        ..result(Outcome::Failed(Failure::Resolve(why("no such name")), kind.number()))
    }
}

fn echo(rtt: u64, hop_limit: u8) -> EchoReply {
    EchoReply { rtt, hop_limit: Some(hop_limit), size: 64, from: ip(TARGET), duplicate: false }
}

fn ping(sent: u32, replies: Vec<PingReply>) -> MeasurementResult {
    result(Outcome::Ping(PingOutcome { size: 64, sent, replies: List::cut(replies) }))
}

fn answer(from: &str, rtt: u64) -> HopAnswer {
    HopAnswer {
        rtt: Some(rtt),
        hop_limit: Some(64),
        size: Some(84),
        icmp: Some(IcmpKind { kind: 11, code: 0 }),
        ..HopAnswer::new(ip(from))
    }
}

fn arrived(rtt: u64) -> HopReply {
    HopReply::Reply(HopAnswer { icmp: None, hop_limit: Some(57), size: Some(56), ..answer(TARGET, rtt) })
}

fn traceroute(protocol: Transport, hops: Vec<(u8, Vec<HopReply>)>) -> MeasurementResult {
    let hops = hops.into_iter().map(|(hop, replies)| Hop { hop, replies: List::cut(replies) });
    result(Outcome::Traceroute(TracerouteOutcome { protocol, size: 48, paris_id: Some(3), hops: List::cut(hops) }))
}

fn unreachable(code: u8) -> Option<IcmpKind> {
    Some(IcmpKind { kind: 3, code })
}

/// A query for a TXT record of class CHAOS.
const QUERY: &[u8] = b"\x1a\x2b\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03";

/// An answer with one A record; with TXT records and an SOA.
const A_MESSAGE: &[u8] = b"\x1a\x2b\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x07example\x03net\x00\x00\x01\x00\x01\
    \xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x2c\x00\x04\xc0\x00\x02\x01";
const TXT_MESSAGE: &[u8] = b"\x1a\x2b\x84\x00\x00\x01\x00\x02\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03\
    \xc0\x0c\x00\x10\x00\x03\x00\x00\x00\x00\x00\x0b\x04name\x05\"9.x\"\
    \xc0\x0c\x00\x06\x00\x03\x00\x00\x01\x2c\x00\x24\xc0\x0c\x04host\x06master\xc0\x14\
    \x00\x00\x07\xea\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04";

fn dns_answer(message: &[u8]) -> DnsAnswer {
    DnsAnswer {
        rt: 12_500_400,
        message: Bytes::new(message).unwrap(),
        show_message: true,
        connect: None,
        truncated_first: false,
        handshake: None,
        exchange: None,
    }
}

fn response(server: &str, outcome: DnsReply) -> DnsResponse {
    DnsResponse {
        sent_at: UnixNanos(1_760_000_000_002_000_000),
        dst_addr: ip(server),
        dst_port: 53,
        src_addr: Some(ip(OWN)),
        protocol: Transport::Udp,
        retries: 0,
        query: None,
        outcome,
        secure: None,
        strays: List::default(),
        strays_seen: 0,
        id_mismatches: 0,
    }
}

/// A response over one of the encrypted carriers.
fn secured(carrier: DnsCarrier, outcome: DnsReply) -> DnsResponse {
    let cipher = (carrier != DnsCarrier::Quic).then_some(0x1302);
    DnsResponse {
        protocol: carrier.transport(),
        dst_port: u16::try_from(carrier.default_port()).unwrap(),
        secure: Some(DnsSecure { carrier, version: Some(0x0304), cipher }),
        ..response(TARGET, outcome)
    }
}

fn secured_answer(carrier: DnsCarrier) -> DnsReply {
    DnsReply::Answer(DnsAnswer {
        connect: (carrier != DnsCarrier::Quic).then_some(4_000_000),
        handshake: Some(5_000_000),
        exchange: Some(3_500_400),
        ..dns_answer(A_MESSAGE)
    })
}

fn stray(from: &str, what: StrayKind, message: &[u8]) -> DnsStray {
    DnsStray {
        from: ip(from),
        port: 53,
        what,
        after: 2_000_400,
        size: u32::try_from(message.len()).unwrap(),
        message: Bytes::new(message).unwrap(),
        show_message: true,
    }
}

/// What comes besides the answer: another id, from next to the probe, and not shown.
fn strays(response: DnsResponse) -> DnsResponse {
    let hidden = DnsStray { show_message: false, ..stray(FIRST_HOP, StrayKind::Short, b"\x1a") };
    let others = [
        stray(TARGET, StrayKind::Id, A_MESSAGE),
        stray(RESOLVER, StrayKind::Source, A_MESSAGE),
        stray(TARGET, StrayKind::NoResponse, QUERY),
        hidden,
    ];
    DnsResponse { strays: List::cut(others), strays_seen: 12, id_mismatches: 3, ..response }
}

fn dns(response: DnsResponse) -> MeasurementResult {
    MeasurementResult {
        dst_name: Text::new("ns.example.net"),
        interval: None,
        ..result(Outcome::Dns(DnsOutcome { own_resolvers: false, responses: List::cut([response]) }))
    }
}

fn own_resolvers(responses: Vec<DnsResponse>) -> MeasurementResult {
    MeasurementResult {
        dst_name: None,
        dst_addr: None,
        src_addr: None,
        ..result(Outcome::Dns(DnsOutcome { own_resolvers: true, responses: List::cut(responses) }))
    }
}

/// A server right on the hour, half a second ahead of the probe, 20 ms away.
fn ntp_answer() -> NtpAnswer {
    let at = |nanos: i64| UnixNanos(1_760_000_000_000_000_000 + nanos);
    NtpAnswer {
        origin: at(2_000_000),
        receive: at(512_000_000),
        transmit: at(512_100_000),
        last: at(22_100_000),
        rtt: 20_000_000,
        offset: 500_000_000,
    }
}

fn ntp_server() -> NtpServer {
    NtpServer {
        leap: 0,
        version: 4,
        stratum: 2,
        poll: 3,
        precision: -20,
        root_delay: 989,
        root_dispersion: 1331,
        reference_id: 0xc000_0201,
        reference_time: Some(UnixNanos(1_759_999_000_250_000_000)),
    }
}

fn ntp(server: Option<NtpServer>, replies: Vec<NtpReply>) -> MeasurementResult {
    MeasurementResult {
        interval: None,
        ..result(Outcome::Ntp(NtpOutcome { server, replies: List::cut(replies), strays: 0 }))
    }
}

fn ntp_shapes() -> Vec<(&'static str, MeasurementResult)> {
    let word = |word: &[u8; 4]| u32::from_be_bytes(*word);
    let behind = NtpAnswer { offset: -500_000_001, rtt: 20_000_001, ..ntp_answer() };
    let error = IcmpError { from: ip(TARGET), kind: 3, code: 3, rtt: Some(4_000_000), hop_limit: Some(64), mtu: None };
    let kiss = |kiss| NtpReply::NoTime(NtpNoTime { elapsed: 20_000_000, kiss });
    let mut strays = ntp(Some(ntp_server()), vec![NtpReply::Timeout, NtpReply::Answer(ntp_answer())]);
    if let Outcome::Ntp(outcome) = &mut strays.outcome {
        outcome.strays = 2;
    }
    let unsynchronised = NtpServer { leap: 3, stratum: 16, poll: -1, reference_time: None, ..ntp_server() };
    let clock = NtpServer { leap: 1, stratum: 1, reference_id: word(b"GPS\0"), ..ntp_server() };
    let odd = NtpServer { leap: 2, stratum: 200, poll: 127, precision: 127, version: 0, ..ntp_server() };
    let kissing = |code| NtpServer { leap: 3, stratum: 0, reference_id: code, reference_time: None, ..ntp_server() };
    vec![
        ("ntp: an answer, one of a server behind, silence", {
            let replies = [NtpReply::Answer(ntp_answer()), NtpReply::Answer(behind), NtpReply::Timeout];
            ntp(Some(ntp_server()), replies.to_vec())
        }),
        ("ntp: silence", ntp(None, vec![NtpReply::Timeout; 3])),
        ("ntp: silence, then an answer, and strays", strays),
        ("ntp: a reference clock before a leap second, after era 0", {
            let late = |time: UnixNanos| UnixNanos(time.0 + 400_000_000_000_000_000);
            let NtpAnswer { origin, receive, transmit, last, rtt, offset } = ntp_answer();
            let [origin, receive, transmit, last] = [origin, receive, transmit, last].map(late);
            ntp(Some(clock), vec![NtpReply::Answer(NtpAnswer { origin, receive, transmit, last, rtt, offset })])
        }),
        ("ntp: not synchronised", ntp(Some(unsynchronised), vec![NtpReply::Answer(ntp_answer())])),
        ("ntp: reserved values", ntp(Some(odd), vec![NtpReply::Answer(ntp_answer())])),
        ("ntp: kiss-o'-death", ntp(Some(kissing(word(b"RATE"))), vec![kiss(Some(word(b"RATE")))])),
        ("ntp: no time", ntp(Some(kissing(0x0102_0304)), vec![kiss(Some(0x0102_0304)), kiss(None)])),
        ("ntp: cannot be sent, nobody at the port", {
            let refused = NtpReply::SendError(why("Network is unreachable"));
            ntp(
                None,
                vec![
                    refused,
                    NtpReply::Icmp(error.clone()),
                    NtpReply::Icmp(IcmpError { from: ip(FIRST_HOP), ..error }),
                ],
            )
        }),
    ]
}

/// A certificate made for this file: CN=example.test, Ed25519, without an end.
const CERTIFICATE: &str = "MIIBRDCB96ADAgECAhRQguifcOjO7cMhfdso5b2FGzumODAFBgMrZXAwFzEVMBMGA1UEAwwMZXhhbXBsZS50ZXN0MCAXDTI2MTEy\
    NzIyMTMyOVoYDzIxMjYxMTAzMjIxMzI5WjAXMRUwEwYDVQQDDAxleGFtcGxlLnRlc3QwKjAFBgMrZXADIQDkilsn+wvLLISbLEXu\
    3gTTtdl8LpHFq8/A/BSpXe2jyKNTMFEwHQYDVR0OBBYEFMpVN4GEz5wrhxz+EU+3UGuVIibTMB8GA1UdIwQYMBaAFMpVN4GEz5wr\
    hxz+EU+3UGuVIibTMA8GA1UdEwEB/wQFMAMBAf8wBQYDK2VwA0EA5uAKB6l6fwS3l+7EQ3NzIP8l3EX6mbMuEqXrkxWhj4dswnDl\
    tAvn8A0Lv2oEQWDX4Fsr3nyMgHeTQ1GXHFDtCw==";

fn certificate() -> Bytes<65_536> {
    Bytes::new(data_encoding::BASE64.decode(CERTIFICATE.as_bytes()).unwrap()).unwrap()
}

fn sslcert(seen: SslcertOutcome) -> MeasurementResult {
    MeasurementResult { dst_name: Text::new("example.test"), ..result(Outcome::Sslcert(Box::new(seen))) }
}

fn sslcert_spec() -> Option<Spec> {
    Some(Spec::Sslcert(SslcertSpec::default()))
}

fn chain() -> SslcertOutcome {
    SslcertOutcome {
        connect: Some(10_100_000),
        rt: Some(22_200_001),
        version: Some(0x0303),
        cipher: Some(0xc02f),
        certificates: List::cut([certificate(), certificate()]),
        ..SslcertOutcome::default()
    }
}

fn sslcert_failure(failure: SslcertFailure) -> MeasurementResult {
    sslcert(SslcertOutcome { connect: Some(10_100_000), failure: Some(failure), ..SslcertOutcome::default() })
}

fn sslcert_shapes() -> Vec<(&'static str, MeasurementResult, Option<Spec>)> {
    let tls13 = SslcertOutcome { version: Some(0x0304), cipher: Some(0x1302), ..chain() };
    let wrong = SslcertFailure::Failed(why("invalid peer certificate: BadSignature"));
    vec![
        ("sslcert: a chain, TLS 1.2", sslcert(chain()), sslcert_spec()),
        (
            "sslcert: TLS 1.3, resolved by the probe, another port",
            MeasurementResult { time_to_resolve: Some(3_250_000), ..sslcert(tls13.clone()) },
            Some(Spec::Sslcert(SslcertSpec { port: 8443, ..SslcertSpec::default() })),
        ),
        (
            "sslcert: a client's certificate is wanted, too many are shown",
            sslcert(SslcertOutcome {
                client_certificate_wanted: true,
                certificates_left_out: 3,
                certificates: List::cut([certificate()]),
                ..tls13
            }),
            sslcert_spec(),
        ),
        (
            "sslcert: the signature is wrong",
            sslcert(SslcertOutcome { failure: Some(wrong), ..chain() }),
            sslcert_spec(),
        ),
    ]
}

fn http(seen: HttpOutcome) -> MeasurementResult {
    MeasurementResult { dst_name: Text::new("www.example.net"), ..result(Outcome::Http(Box::new(seen))) }
}

fn http_spec() -> HttpSpec {
    HttpSpec { path: Text::cut("/x"), query_string: Some(Text::cut("a=b")), ..HttpSpec::default() }
}

fn http_seen() -> HttpOutcome {
    HttpOutcome {
        rt: Some(30_500_000),
        head: Some(HttpHead { status: 200, version_1_1: true, size: 131 }),
        body_size: 1024,
        ..HttpOutcome::new(HttpMethod::Get)
    }
}

fn http_failure(text: &str) -> MeasurementResult {
    http(HttpOutcome { failure: Some(why(text)), ..HttpOutcome::new(HttpMethod::Get) })
}

/// In an http result Atlas has the words for a connection that failed in the element alone, which makes no error of the
/// whole.
fn http_shapes() -> Vec<(&'static str, MeasurementResult, Option<Spec>)> {
    let spec = || Some(Spec::Http(http_spec()));
    let timed = HttpOutcome {
        connect: Some(10_000_000),
        tls: Some(20_000_000),
        first_byte: Some(29_000_001),
        reads: List::cut([HttpRead { offset: 0, at: 29_000_001 }, HttpRead { offset: 131, at: 30_000_000 }]),
        ..http_seen()
    };
    let header = |bytes: &[u8]| HttpOutcome { header: Bytes::new(bytes), ..http_seen() };
    let cut_off = HttpOutcome { rt: None, failure: Some(why("timeout reading body")), ..http_seen() };
    vec![
        ("http: a response", http(http_seen()), spec()),
        ("http: the definition is not at hand", http(http_seen()), None),
        (
            "http: to a literal, HTTP/1.0, another port",
            MeasurementResult {
                dst_name: Text::new(TARGET),
                ..http(HttpOutcome {
                    head: Some(HttpHead { status: 404, version_1_1: false, size: 100 }),
                    body_size: 0,
                    ..HttpOutcome { method: HttpMethod::Head, ..http_seen() }
                })
            },
            Some(Spec::Http(HttpSpec { port: 8080, version_1_1: false, ..http_spec() })),
        ),
        (
            "http: https, every time there is, resolved by the probe",
            MeasurementResult { time_to_resolve: Some(3_250_000), ..http(timed) },
            Some(Spec::Http(HttpSpec {
                https: true,
                port: 443,
                extended_timing: true,
                more_extended_timing: true,
                ..http_spec()
            })),
        ),
        ("http: the whole header", http(header(b"Server: x\r\nX: \xff\r\n\r\n")), spec()),
        ("http: the header's beginning", http(header(b"Server: x\r\nCont")), spec()),
        ("http: more than may be read", http(HttpOutcome { truncated: true, ..http_seen() }), spec()),
        ("http: cannot connect", http_failure("connect: Connection refused"), spec()),
        ("http: connection not answered", http_failure("connect: timeout"), spec()),
        ("http: no HTTP", http_failure("bad response: no HTTP status line"), spec()),
        ("http: broken off in the body", http(cut_off), spec()),
    ]
}

fn path_mtu(seen: PathMtuOutcome) -> MeasurementResult {
    result(Outcome::PathMtu(Box::new(PathMtuOutcome { interface: Some(1500), ..seen })))
}

fn mtu_try(protocol: Transport, size: u32, answer: MtuAnswer) -> MtuTry {
    MtuTry { protocol, size, hop: None, answer }
}

fn mtu_reply(size: u32, fragment: Option<u32>) -> MtuReply {
    MtuReply { from: ip(TARGET), rtt: 10_100_000, hop_limit: Some(57), size, fragment }
}

fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut works = |name, result| shapes.push(Shape { name, expect_error: false, result, spec: None });

    let three = [10_100_000, 11_000_000, 11_900_001].map(|rtt| PingReply::Reply(echo(rtt, 57)));
    works("ping: three replies", ping(3, three.to_vec()));
    works(
        "ping: one-off to a name, resolved by the probe",
        MeasurementResult {
            dst_name: Text::new("www.example.net"),
            time_to_resolve: Some(3_250_000),
            interval: None,
            ..ping(3, three.to_vec())
        },
    );
    let bare = Timing::default();
    let told = Timing {
        rtt_error: Some(4_001),
        load: Some(Load { runs: 2, packets_per_second: 14, load_average: Some(35) }),
        ..result(Outcome::Ping(PingOutcome::default())).timing
    };
    works("ping: how good its times are", MeasurementResult { timing: told, ..ping(3, three.to_vec()) });
    works("ping: never synchronised", MeasurementResult { timing: bare, ..ping(1, vec![three[0].clone()]) });
    works(
        "ping: IPv6",
        MeasurementResult {
            af: Family::V6,
            dst_name: Text::new("2001:db8::1"),
            dst_addr: Some(ip("2001:db8::1")),
            src_addr: None,
            ..ping(1, vec![PingReply::Reply(EchoReply { from: ip("2001:db8::1"), ..echo(9_000_000, 60) })])
        },
    );
    works("ping: silence", ping(3, vec![PingReply::Timeout; 3]));
    works(
        "ping: hop limit and size change, a loss, a duplicate",
        ping(
            4,
            vec![
                PingReply::Reply(echo(10_000_000, 57)),
                PingReply::Reply(EchoReply { duplicate: true, ..echo(10_500_000, 57) }),
                PingReply::Timeout,
                PingReply::Reply(EchoReply { size: 32, ..echo(20_000_000, 58) }),
                PingReply::Reply(EchoReply { size: 32, ..echo(30_000_000, 58) }),
            ],
        ),
    );
    works("ping: some cannot be sent", {
        let refused = PingReply::SendError(why("Network is unreachable (os error 101)"));
        ping(2, vec![refused.clone(), PingReply::Timeout, refused])
    });
    works("ping: ICMP errors, and somebody else answers", {
        let error =
            IcmpError { from: ip(FIRST_HOP), kind: 3, code: 1, rtt: Some(1_500_000), hop_limit: Some(64), mtu: None };
        let bare = IcmpError { kind: 3, code: 4, rtt: None, hop_limit: None, mtu: Some(1400), ..error.clone() };
        let other = PingReply::Reply(EchoReply { from: ip("198.51.100.77"), hop_limit: None, ..echo(8_000_000, 0) });
        ping(3, vec![PingReply::Icmp(error), PingReply::Icmp(bare), other])
    });

    works(
        "traceroute: three hops, one silent packet",
        traceroute(
            Transport::Icmp,
            vec![
                (
                    1,
                    vec![
                        HopReply::Reply(answer(FIRST_HOP, 900_400)),
                        HopReply::Timeout,
                        HopReply::Reply(answer(FIRST_HOP, 1_200_500)),
                    ],
                ),
                (2, vec![HopReply::Timeout; 3]),
                (3, vec![arrived(9_900_000), arrived(9_800_000), arrived(9_700_000)]),
            ],
        ),
    );
    works("traceroute: nobody answers, hop 255 neither", {
        let silent = |hop| (hop, vec![HopReply::Timeout; 3]);
        traceroute(Transport::Udp, (1..=6).chain([255]).map(silent).collect())
    });
    works("traceroute: what an answer can say", {
        let labels = b"\x20\x00\x00\x00\x00\x08\x01\x01\x05\xdc\xdb\x01";
        let hop = answer("198.51.100.1", 5_000_000);
        let replies = [
            HopAnswer { extensions: Bytes::new(labels.as_slice()), ..hop.clone() },
            HopAnswer { extensions: Bytes::new(labels.as_slice()), extensions_unannounced: Some(true), ..hop.clone() },
            HopAnswer { quoted_hop_limit: Some(2), quoted_dst: Some(ip("192.0.2.2")), ..hop.clone() },
            HopAnswer { icmp: unreachable(4), mtu: Some(1400), ..hop.clone() },
            HopAnswer { duplicate: true, ..hop.clone() },
            HopAnswer { late: Some(2), rtt: None, ..hop.clone() },
            HopAnswer { rtt: None, hop_limit: None, ..hop.clone() },
            HopAnswer { icmp: unreachable(13), ..hop.clone() },
            HopAnswer { icmp: unreachable(9), ..hop.clone() },
        ];
        let failed = HopReply::SendError(why("Operation not permitted (os error 1)"));
        let replies = replies.into_iter().map(HopReply::Reply).chain([failed]).collect();
        traceroute(Transport::Tcp, vec![(4, replies), (255, vec![arrived(9_900_000)])])
    });
    works("traceroute: the target's port is closed", {
        let closed = HopReply::Reply(HopAnswer { icmp: unreachable(3), ..answer(TARGET, 4_000_000) });
        let other = HopReply::Reply(HopAnswer { icmp: unreachable(3), ..answer("198.51.100.9", 4_000_000) });
        traceroute(Transport::Udp, vec![(1, vec![other]), (2, vec![closed])])
    });
    works("traceroute: no capability, so no size of an error", {
        let error = HopReply::Reply(HopAnswer { size: None, ..answer("198.51.100.1", 5_000_000) });
        traceroute(Transport::Icmp, vec![(1, vec![error]), (2, vec![arrived(9_900_000)])])
    });
    works("traceroute: TCP, an open and a closed port", {
        let segment = |flags: u8, options: &[u8]| {
            let size = u32::try_from(20 + options.len()).unwrap();
            let tcp_options = Bytes::new(options).filter(|options| !options.is_empty());
            let answer = HopAnswer { icmp: None, tcp_flags: Some(flags), tcp_options, ..answer(TARGET, 9_000_000) };
            HopReply::Reply(HopAnswer { size: Some(size), ..answer })
        };
        let replies =
            vec![segment(0x12, &[2, 4, 5, 180]), segment(0x14, &[]), segment(0x12, &[2, 4, 5, 180, 4, 2, 1, 1])];
        traceroute(Transport::Tcp, vec![(1, vec![HopReply::Reply(answer("198.51.100.1", 1_000_000))]), (2, replies)])
    });
    works("traceroute: IPv6 options headers, and a traffic class changed on the way", {
        let hop = HopAnswer { icmp: Some(IcmpKind { kind: 3, code: 0 }), ..answer("2001:db8:f::1", 2_000_000) };
        let replies = [
            HopAnswer { hop_by_hop_size: Some(0), destination_size: Some(256), ..hop.clone() },
            HopAnswer { hop_by_hop_size: Some(8), quoted_traffic_class: Some(0), ..hop.clone() },
        ];
        MeasurementResult {
            af: Family::V6,
            dst_name: Text::new("2001:db8::1"),
            dst_addr: Some(ip("2001:db8::1")),
            src_addr: Some(ip("2001:db8:5::2")),
            ..traceroute(Transport::Udp, vec![(1, replies.map(HopReply::Reply).to_vec())])
        }
    });
    works("traceroute: IPv6", {
        let hop = HopAnswer { icmp: Some(IcmpKind { kind: 3, code: 0 }), ..answer("2001:db8:f::1", 2_000_000) };
        let denied = HopAnswer { icmp: Some(IcmpKind { kind: 1, code: 1 }), ..hop.clone() };
        MeasurementResult {
            af: Family::V6,
            dst_name: Text::new("2001:db8::1"),
            dst_addr: Some(ip("2001:db8::1")),
            src_addr: None,
            ..traceroute(Transport::Icmp, vec![(1, vec![HopReply::Reply(hop)]), (2, vec![HopReply::Reply(denied)])])
        }
    });

    works("dns: an answer", dns(response(TARGET, DnsReply::Answer(dns_answer(A_MESSAGE)))));
    works(
        "dns: TXT and SOA, with the query, after a retry",
        dns(DnsResponse {
            retries: 1,
            query: Bytes::new(QUERY),
            ..response(TARGET, DnsReply::Answer(dns_answer(TXT_MESSAGE)))
        }),
    );
    works(
        "dns: over TCP after truncation, to a literal",
        MeasurementResult {
            dst_name: Text::new(TARGET),
            ..dns(DnsResponse {
                protocol: Transport::Tcp,
                ..response(
                    TARGET,
                    DnsReply::Answer(DnsAnswer {
                        connect: Some(4_000_000),
                        truncated_first: true,
                        ..dns_answer(A_MESSAGE)
                    }),
                )
            })
        },
    );
    works(
        "dns: message not shown",
        dns(response(TARGET, DnsReply::Answer(DnsAnswer { show_message: false, ..dns_answer(A_MESSAGE) }))),
    );
    for (name, carrier) in [
        ("dns: over TLS", DnsCarrier::Tls),
        ("dns: over HTTPS", DnsCarrier::Https),
        ("dns: over QUIC", DnsCarrier::Quic),
    ] {
        works(name, dns(secured(carrier, secured_answer(carrier))));
    }
    works("dns: an answer among strays", dns(strays(response(TARGET, DnsReply::Answer(dns_answer(A_MESSAGE))))));
    works(
        "dns: the probe's own resolvers over TLS, one among strays",
        own_resolvers(vec![
            DnsResponse { dst_addr: ip(RESOLVER), ..secured(DnsCarrier::Tls, secured_answer(DnsCarrier::Tls)) },
            strays(response("fd00::53", DnsReply::Timeout(5000))),
        ]),
    );
    works(
        "dns: the probe's own resolvers, one silent, one forbidden",
        own_resolvers(vec![
            response(RESOLVER, DnsReply::Answer(dns_answer(A_MESSAGE))),
            DnsResponse { src_addr: None, ..response("fd00::53", DnsReply::Timeout(5000)) },
            response(FIRST_HOP, DnsReply::NotAllowed),
        ]),
    );

    for (name, result) in ntp_shapes() {
        works(name, result);
    }
    works("pathmtu: the interface's MTU passes both ways", {
        let reply = MtuAnswer::Reply(mtu_reply(1500, None));
        let tries = vec![mtu_try(Transport::Icmp, 1501, MtuAnswer::TooLong), mtu_try(Transport::Icmp, 1500, reply)];
        path_mtu(PathMtuOutcome {
            forward: Mtu::Exactly(1500),
            reverse: Mtu::AtLeast(1500),
            round_trip: Mtu::Exactly(1500),
            tries: List::cut(tries),
            ..PathMtuOutcome::default()
        })
    });
    works("pathmtu: a router names 1400, replies come in pieces of 1276", {
        let error = IcmpError {
            from: ip(FIRST_HOP),
            kind: 3,
            code: 4,
            rtt: Some(900_000),
            hop_limit: Some(64),
            mtu: Some(1400),
        };
        let limit = MtuLimit { from: error.from, mtu: error.mtu, size: 1500, hop_limit: Some(64) };
        let tries = vec![
            mtu_try(Transport::Icmp, 1500, MtuAnswer::Icmp(error.clone())),
            mtu_try(Transport::Icmp, 1400, MtuAnswer::Reply(mtu_reply(1400, Some(1276)))),
            mtu_try(Transport::Icmp, 1401, MtuAnswer::Icmp(IcmpError { rtt: None, hop_limit: None, ..error })),
        ];
        path_mtu(PathMtuOutcome {
            forward: Mtu::Exactly(1400),
            reverse: Mtu::Exactly(1280),
            round_trip: Mtu::Exactly(1400),
            limits: List::cut([limit.clone(), MtuLimit { mtu: None, hop_limit: None, ..limit }]),
            tries: List::cut(tries),
            ..PathMtuOutcome::default()
        })
    });
    works("pathmtu: a hole behind the second hop", {
        let hop = |hop, from| Some(MtuHop { hop, from: ip(from) });
        let exceeded = |from| {
            let from = ip(from);
            MtuAnswer::Icmp(IcmpError { from, kind: 11, code: 0, rtt: Some(1_000), hop_limit: Some(63), mtu: None })
        };
        let on_path = |hop, size, answer| MtuTry { hop: Some(hop), ..mtu_try(Transport::Icmp, size, answer) };
        let refused = MtuAnswer::SendError(why("Network is unreachable (os error 101)"));
        let tries = vec![
            mtu_try(Transport::Icmp, 1500, refused),
            mtu_try(Transport::Icmp, 1500, MtuAnswer::Timeout),
            mtu_try(Transport::Icmp, 1400, MtuAnswer::Reply(MtuReply { size: 548, ..mtu_reply(1400, None) })),
            mtu_try(Transport::Udp, 1401, MtuAnswer::Timeout),
            on_path(1, 1401, exceeded(FIRST_HOP)),
            on_path(2, 1401, exceeded("198.51.100.1")),
            on_path(3, 1401, MtuAnswer::Timeout),
            on_path(3, 68, exceeded("198.51.100.9")),
        ];
        path_mtu(PathMtuOutcome {
            forward: Mtu::Exactly(1400),
            reverse: Mtu::AtLeast(548),
            round_trip: Mtu::AtLeast(548),
            hole: Some(MtuHole {
                passes: 1400,
                lost: 1401,
                direction: MtuDirection::Forward,
                last_hop: hop(2, "198.51.100.1"),
                next_hop: hop(3, "198.51.100.9"),
            }),
            tries: List::cut(tries),
            ..PathMtuOutcome::default()
        })
    });
    works("pathmtu: a hole on the way back, then too much loss", {
        path_mtu(PathMtuOutcome {
            forward: Mtu::AtLeast(1500),
            reverse: Mtu::Exactly(1280),
            round_trip: Mtu::Exactly(1280),
            hole: Some(MtuHole {
                passes: 1280,
                lost: 1281,
                direction: MtuDirection::Reverse,
                last_hop: None,
                next_hop: None,
            }),
            end: MtuEnd::Loss,
            ..PathMtuOutcome::default()
        })
    });
    works("pathmtu: nobody answers", {
        let tries = [1500, 68].map(|size| mtu_try(Transport::Icmp, size, MtuAnswer::Timeout));
        path_mtu(PathMtuOutcome { tries: List::cut(tries), ..PathMtuOutcome::default() })
    });
    let ipv6 = |outcome| MeasurementResult {
        af: Family::V6,
        dst_name: None,
        dst_addr: None,
        src_addr: None,
        ..result(Outcome::Ipv6(Box::new(outcome)))
    };
    works("ipv6: a full run behind a hole", ipv6(samples::full("fd00::53", OWN, SEEN_FROM, RESOLVER, FIRST_HOP)));
    works("ipv6: nothing answers", ipv6(samples::bare()));
    for (name, result, spec) in sslcert_shapes().into_iter().chain(http_shapes()) {
        shapes.push(Shape { name, expect_error: false, result, spec });
    }

    // Where Atlas's own results say a failure inside `result`, no parser sees a failed measurement, and so none does here.
    let inside = [Kind::Ping, Kind::Traceroute, Kind::Http, Kind::Ntp].map(Kind::number);
    let mut fails = |name, result: MeasurementResult, spec| {
        let expect_error = !inside.contains(&result.outcome.kind_number());
        shapes.push(Shape { name, expect_error, result, spec });
    };
    let failed = |kind: Kind, failure| result(Outcome::Failed(failure, kind.number()));
    let ping_spec = || Some(Spec::Ping(PingSpec::default()));
    let traceroute_spec = || Some(Spec::Traceroute(TracerouteSpec { first_hop: 3, ..TracerouteSpec::default() }));
    let dns_spec = || Some(Spec::Dns(DnsSpec::default()));
    fails("ping: name does not resolve", unresolved(Kind::Ping), ping_spec());
    fails("ping: address not allowed", failed(Kind::Ping, Failure::NotAllowed), None);
    fails(
        "ping: no socket",
        failed(Kind::Ping, Failure::Socket(why("Operation not permitted (os error 1)"))),
        ping_spec(),
    );
    fails("traceroute: name does not resolve", unresolved(Kind::Traceroute), traceroute_spec());
    fails(
        "traceroute: needs a capability",
        failed(Kind::Traceroute, Failure::Unsupported(why("TCP traceroute needs CAP_NET_RAW"))),
        traceroute_spec(),
    );
    fails("traceroute: address not allowed", failed(Kind::Traceroute, Failure::NotAllowed), None);
    fails(
        "traceroute: cannot connect",
        MeasurementResult {
            src_addr: None,
            ..failed(Kind::Traceroute, Failure::Socket(why("connect failed: Network is unreachable")))
        },
        traceroute_spec(),
    );
    fails("dns: name does not resolve", unresolved(Kind::Dns), dns_spec());
    fails("dns: address not allowed", failed(Kind::Dns, Failure::NotAllowed), dns_spec());
    fails("dns: the query cannot be made", failed(Kind::Dns, Failure::Unsupported(why("a label of 64 bytes"))), None);
    fails(
        "dns: own resolvers cannot be asked",
        MeasurementResult {
            dst_name: None,
            dst_addr: None,
            src_addr: None,
            ..failed(Kind::Dns, Failure::Socket(why("Too many open files (os error 24)")))
        },
        None,
    );
    fails("dns: no resolver is configured", own_resolvers(vec![]), None);
    fails("dns: silence", dns(response(TARGET, DnsReply::Timeout(5000))), None);
    fails("dns: refused", dns(response(TARGET, DnsReply::SendError(why("connection refused")))), None);
    let tcp = |reply| dns(DnsResponse { protocol: Transport::Tcp, ..response(TARGET, reply) });
    fails("dns: cannot connect", tcp(DnsReply::Connect(why("Connection refused (os error 111)"))), None);
    fails("dns: connection closed", tcp(DnsReply::Read(why("connection closed after 3 of 40 bytes"))), None);
    fails("dns: server not allowed", dns(response(TARGET, DnsReply::NotAllowed)), None);
    fails("dns: silence but for strays", dns(strays(response(TARGET, DnsReply::Timeout(5000)))), None);
    let other_id = DnsResponse {
        strays: List::cut([stray(TARGET, StrayKind::Id, A_MESSAGE)]),
        strays_seen: 1,
        id_mismatches: 1,
        ..response(TARGET, DnsReply::Read(why("the answer's id is not the query's")))
    };
    fails("dns: another id over TCP", dns(DnsResponse { protocol: Transport::Tcp, ..other_id }), None);
    let shaken = |carrier, reply| {
        let secure = Some(DnsSecure { carrier, version: None, cipher: None });
        dns(DnsResponse { secure, ..secured(carrier, reply) })
    };
    let handshake = "TLS handshake failed: received fatal alert: HandshakeFailure";
    fails("dns: no TLS", shaken(DnsCarrier::Tls, DnsReply::Connect(why(handshake))), None);
    let handshake = "QUIC handshake failed: the cryptographic handshake failed: error 120: no application protocol";
    fails("dns: no QUIC", shaken(DnsCarrier::Quic, DnsReply::Connect(why(handshake))), None);
    let status = DnsResponse {
        strays: List::cut([stray(TARGET, StrayKind::HttpStatus, b"no")]),
        strays_seen: 1,
        ..secured(DnsCarrier::Https, DnsReply::Read(why("HTTP status 500")))
    };
    fails("dns: HTTP error", dns(status), None);
    let https = DnsSpec { https: true, port: 443, ..DnsSpec::default() };
    fails("dns: HTTPS server's name does not resolve", unresolved(Kind::Dns), Some(Spec::Dns(https)));
    fails("dns: TLS time-out", dns(secured(DnsCarrier::Tls, DnsReply::Timeout(5000))), None);
    fails("ntp: name does not resolve", unresolved(Kind::Ntp), None);
    fails("ntp: address not allowed", failed(Kind::Ntp, Failure::NotAllowed), None);
    fails("ntp: no socket", failed(Kind::Ntp, Failure::Socket(why("Too many open files (os error 24)"))), None);
    let gone = |failure| sslcert(SslcertOutcome { failure: Some(failure), ..SslcertOutcome::default() });
    let words = |text: &str| SslcertFailure::Failed(why(text));
    fails("sslcert: an alert", sslcert_failure(SslcertFailure::Alert(40)), sslcert_spec());
    fails("sslcert: connection not answered", gone(words("connect: timeout")), sslcert_spec());
    fails("sslcert: cannot connect", gone(words("connect: Connection refused")), sslcert_spec());
    fails("sslcert: silence", sslcert_failure(words("timeout reading hello")), sslcert_spec());
    let half = SslcertOutcome { certificates: List::default(), rt: None, ..chain() };
    let half = SslcertOutcome { failure: Some(words("timeout reading certificates")), ..half };
    fails("sslcert: silence behind the hello", sslcert(half), sslcert_spec());
    fails("sslcert: no TLS", sslcert_failure(words("bad type 72")), sslcert_spec());
    fails("sslcert: name does not resolve", unresolved(Kind::Sslcert), sslcert_spec());
    fails("sslcert: address not allowed", failed(Kind::Sslcert, Failure::NotAllowed), sslcert_spec());
    fails("sslcert: no socket", failed(Kind::Sslcert, Failure::Socket(why("too many open files"))), sslcert_spec());
    fails("http: name does not resolve", unresolved(Kind::Http), Some(Spec::Http(http_spec())));
    fails("http: address or host not allowed", failed(Kind::Http, Failure::NotAllowed), Some(Spec::Http(http_spec())));
    fails("http: no socket", failed(Kind::Http, Failure::Socket(why("too many open files"))), None);
    fails("sslcert: not supported", failed(Kind::Sslcert, Failure::Unsupported(why("not in this version"))), None);
    fails("ipv6: not supported", failed(Kind::Ipv6, Failure::Unsupported(why("not in this version"))), None);
    fails("pathmtu: name does not resolve", unresolved(Kind::PathMtu), None);
    fails("pathmtu: address not allowed", failed(Kind::PathMtu, Failure::NotAllowed), None);
    fails("pathmtu: no socket", failed(Kind::PathMtu, Failure::Socket(why("too many measurements at once"))), None);
    shapes
}

fn context<'a>(spec: Option<&'a Spec>, view: Option<&'a dyn AddressView>) -> ResultContext<'a> {
    let mut ctx = ResultContext::new(ProbeId(11));
    ctx.version = "0.1.0";
    ctx.from = Some(SEEN_FROM.parse().unwrap());
    ctx.group_id = Some(MeasurementId(1_000_001));
    ctx.stored_at = Some(UnixNanos::from_secs(1_760_000_042));
    ctx.boot = Some(BootId(0x00c0_ffee));
    ctx.seq = Some(Seq(7));
    ctx.spec = spec;
    ctx.view = view.unwrap_or(ctx.view);
    ctx
}

fn line(result: &MeasurementResult, ctx: &ResultContext<'_>) -> String {
    let mut out = Vec::new();
    write_result(&mut out, result, ctx);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_shape_is_as_in_the_golden_file() {
    let written: Vec<String> = shapes()
        .iter()
        .map(|shape| {
            let result = line(&shape.result, &context(shape.spec.as_ref(), None));
            format!(r#"{{"name":"{}","expect_error":{},"result":{result}}}"#, shape.name, shape.expect_error)
        })
        .collect();
    if std::env::var_os("SONDE_BLESS").is_some() {
        std::fs::write(GOLDEN, written.join("\n") + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    for (written, golden) in written.iter().zip(golden.lines()) {
        assert_eq!(written, golden);
    }
    assert_eq!(golden.lines().count(), written.len());
}

#[test]
fn a_line_is_one_line_of_json_and_the_same_as_the_value() {
    for shape in shapes() {
        let ctx = context(shape.spec.as_ref(), None);
        let text = line(&shape.result, &ctx);
        assert!(!text.contains('\n'), "{}", shape.name);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, result_json(&shape.result, &ctx), "{}", shape.name);
        // sagan refuses a result without these.
        for key in ["fw", "type", "msm_id", "prb_id", "timestamp", "from", "lts"] {
            assert!(value.get(key).is_some_and(|value| !value.is_null()), "{}: {key}", shape.name);
        }
    }
}

#[test]
fn a_line_is_appended() {
    let shapes = shapes();
    let mut out = b"[".to_vec();
    write_result(&mut out, &shapes[0].result, &context(None, None));
    assert!(out.starts_with(br#"[{"fw":6000,"#));
}

#[test]
fn of_a_measurement_by_hand_only_the_result_is_known() {
    let result = MeasurementResult { measurement: MeasurementId(0), ..ping(1, vec![PingReply::Timeout]) };
    let value = result_json(&result, &ResultContext::new(ProbeId(0)));
    assert_eq!(
        (value["msm_id"].as_u64(), value["prb_id"].as_u64(), value["fw"].as_u64()),
        (Some(0), Some(0), Some(6000))
    );
    assert_eq!(value["from"], "");
    for key in ["group_id", "stored_timestamp"] {
        assert_eq!(value.get(key), None);
    }
    for key in ["boot", "seq"] {
        assert_eq!(value["sonde"].get(key), None);
    }
}

/// A view that gives each kind of address a word of its own.
struct Public;

impl AddressView for Public {
    fn from(&self, _: IpAddr) -> IpAddr {
        "0.0.0.1".parse().unwrap()
    }
    fn own(&self, _: IpAddr) -> IpAddr {
        "0.0.0.2".parse().unwrap()
    }
    fn hop(&self, hop: u8, address: IpAddr) -> IpAddr {
        if hop == 1 { "0.0.0.3".parse().unwrap() } else { address }
    }
    fn resolver(&self, _: IpAddr) -> IpAddr {
        "0.0.0.4".parse().unwrap()
    }
}

#[test]
fn what_the_view_hides_is_nowhere_in_the_line() {
    for shape in shapes() {
        let whole = line(&shape.result, &context(shape.spec.as_ref(), None));
        let public = line(&shape.result, &context(shape.spec.as_ref(), Some(&Public)));
        assert!(whole.contains(SEEN_FROM), "{}", shape.name);
        for secret in SECRETS {
            assert!(!public.contains(&format!("\"{secret}\"")), "{}: {secret} in {public}", shape.name);
        }
    }
}

#[test]
fn names_of_interfaces_are_the_owners() {
    let shapes = shapes();
    let shape = shapes.iter().find(|shape| line(&shape.result, &context(None, None)).contains("\"if\":\"")).unwrap();
    let public = result_json(&shape.result, &context(None, Some(&Public)));
    for list in ["addr", "route"] {
        let all = public[list].as_array().unwrap();
        assert!(!all.is_empty() && all.iter().all(|one| one["if"].is_null()), "{list}: {all:?}");
    }
}

#[test]
fn each_address_goes_through_its_own_rule() {
    let shapes = shapes();
    let value = |name: &str| {
        let shape = shapes.iter().find(|shape| shape.name == name).unwrap();
        result_json(&shape.result, &context(None, Some(&Public)))
    };
    let trace = value("traceroute: three hops, one silent packet");
    assert_eq!((trace["from"].as_str(), trace["src_addr"].as_str()), (Some("0.0.0.1"), Some("0.0.0.2")));
    assert_eq!(trace["result"][0]["result"][0]["from"], "0.0.0.3");
    assert_eq!(trace["result"][2]["result"][0]["from"], TARGET);
    let closed = value("traceroute: the target's port is closed");
    assert_eq!(closed["result"][1]["result"][0]["from"], TARGET);
    let resolvers = value("dns: the probe's own resolvers, one silent, one forbidden");
    assert_eq!(resolvers["resultset"][0]["dst_addr"], "0.0.0.4");
    assert_eq!(resolvers["resultset"][0]["src_addr"], "0.0.0.2");
    // The public knows the target of a query: it is in the definition.
    assert_eq!(value("dns: an answer")["dst_addr"], TARGET);
    let errors = value("ping: ICMP errors, and somebody else answers");
    assert_eq!(errors["result"][0]["sonde"]["from"], "0.0.0.3");
    assert_eq!(errors["result"][2]["sonde"]["from"], "0.0.0.3");
}

proptest! {
    /// A round-trip time is written to the nanosecond, whatever the float makes of it.
    #[test]
    fn times_have_all_their_decimals(nanos in 0_u64..100_000_000_000_000) {
        let text = line(&ping(1, vec![PingReply::Reply(echo(nanos, 57))]), &context(None, None));
        let decimals = format!("{:06}", nanos % 1_000_000);
        let decimals = decimals.trim_end_matches('0');
        let decimals = if decimals.is_empty() { "0" } else { decimals };
        let expected = format!(r#""result":[{{"rtt":{}.{decimals}}}]"#, nanos / 1_000_000);
        prop_assert!(text.contains(&expected), "{text}");
    }

    #[test]
    fn any_numbers_and_words_give_valid_json(rtts: [u64; 3], started: i64, words in "\\PC{0,40}", kind: u8, sync: Option<u32>, error: Option<u64>) {
        let mut replies: Vec<_> = rtts.map(|rtt| PingReply::Reply(echo(rtt, 57))).to_vec();
        replies.push(PingReply::SendError(why(&words)));
        let timing = Timing { last_sync: sync, clock_error: error, ..Timing::default() };
        let ping = MeasurementResult { started_at: UnixNanos(started), planned_at: UnixNanos(started), timing, ..ping(3, replies) };
        let failed = result(Outcome::Failed(Failure::Socket(why(&words)), kind));
        for result in [ping, failed] {
            let text = line(&result, &context(None, None));
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value["msm_id"].as_u64(), Some(1_000_001));
        }
    }
}
