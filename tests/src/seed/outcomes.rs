//! What one invented run saw, by kind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::{
    DnsAnswer, DnsOutcome, DnsReply, DnsResponse, EchoReply, Failure, HttpHead, HttpOutcome, IcmpError, Mtu, MtuAnswer,
    MtuDirection, MtuEnd, MtuHole, MtuLimit, MtuReply, MtuTry, NtpAnswer, NtpOutcome, NtpReply, NtpServer, Outcome,
    PathMtuOutcome, PingOutcome, PingReply, SslcertFailure, SslcertOutcome,
};
use sonde_protocol::seed::{Rng, mix};
use sonde_protocol::spec::{HttpMethod, Spec};
use sonde_protocol::time::UnixNanos;

use super::measurements::Planned;
use super::probes::{Invented, V6};
use super::weather::{Path, nanos};
use super::{answers, hops, texts, verdicts};

/// Makes outcomes. What takes long to make is made once.
pub struct Outcomes {
    /// In DER: the server's own, and its issuer's.
    chain: Vec<Vec<u8>>,
    /// What a box between some probes and the server shows.
    intercepted: Vec<Vec<u8>>,
}

/// A key for certificates (PKCS #8, RFC 8410): always the same one, as their bytes are to be. It protects nothing.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIHVClx/AbMpSL2ZBmfUgCWZoUO1dvxqi5hMY6ZzPf8ZG
-----END PRIVATE KEY-----
";

impl Outcomes {
    /// Makes the certificates.
    pub fn new() -> Result<Self> {
        let certificate = |name: &str, serial: u64| -> Result<Vec<u8>> {
            let key = rcgen::KeyPair::from_pem(KEY).context("read the key")?;
            let mut params = rcgen::CertificateParams::new(["sjc.example.net".to_owned()])?;
            params.serial_number = Some(serial.into());
            params.not_before = rcgen::date_time_ymd(2026, 9, 1);
            params.not_after = rcgen::date_time_ymd(2026, 12, 24);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            Ok(params.self_signed(&key)?.der().to_vec())
        };
        Ok(Self {
            chain: vec![certificate("sjc.example.net", 1)?, certificate(texts::COMPANY, 2)?],
            intercepted: vec![certificate(texts::SCRIPT, 3)?],
        })
    }

    /// What a run saw, and how long it took.
    pub fn of(
        &self,
        planned: &Planned,
        probe: &Invented,
        at: UnixNanos,
        until: UnixNanos,
        rng: &mut Rng,
    ) -> (Outcome, Duration) {
        let took = Duration::from_millis(2000 + rng.below(900));
        if matches!(planned.spec, Spec::Ipv6(_)) {
            return (Outcome::Ipv6(Box::new(verdicts::outcome(probe, at, until, rng))), took);
        }
        let Some(target) = planned.target else {
            return (Outcome::Dns(answers::by_resolvers(probe, at, rng)), took);
        };
        let path = Path { probe, target, af: planned.af, at, until };
        let outcome = match &planned.spec {
            // A probe without an address of the family cannot open a socket for it.
            spec if planned.af == Family::V6 && probe.v6 == V6::Absent => Outcome::Failed(
                Failure::Socket(Text::cut("Network is unreachable (os error 101)")),
                spec.kind().number(),
            ),
            Spec::Ping(spec) => Outcome::Ping(ping(&path, spec.packets, spec.size, rng)),
            Spec::Traceroute(spec) => Outcome::Traceroute(hops::traceroute(&path, spec, rng)),
            Spec::Dns(_) => Outcome::Dns(dns(&path, rng)),
            Spec::Sslcert(_) => Outcome::Sslcert(Box::new(self.sslcert(&path, rng))),
            Spec::Http(spec) => Outcome::Http(Box::new(http(&path, spec.method, rng))),
            Spec::Ntp(_) => Outcome::Ntp(ntp(&path, rng)),
            Spec::PathMtu(_) => Outcome::PathMtu(Box::new(path_mtu(&path, rng))),
            spec @ Spec::Ipv6(_) => {
                Outcome::Failed(Failure::Unsupported(Text::cut("it has no target")), spec.kind().number())
            }
        };
        (outcome, took)
    }

    fn sslcert(&self, path: &Path<'_>, rng: &mut Rng) -> SslcertOutcome {
        let Some(connect) = path.round_trip(rng) else {
            return SslcertOutcome {
                failure: Some(SslcertFailure::Failed(Text::cut("connect: timeout"))),
                ..SslcertOutcome::default()
            };
        };
        if path.probe.id.0 % 19 == 4 {
            return SslcertOutcome {
                connect: Some(connect),
                failure: Some(SslcertFailure::Alert(40)),
                ..SslcertOutcome::default()
            };
        }
        let shown = if path.probe.id.0 % 29 == 3 { &self.intercepted } else { &self.chain };
        SslcertOutcome {
            connect: Some(connect),
            rt: Some(connect * 2 + 900_000),
            version: Some(0x0304),
            cipher: Some(0x1301),
            certificates: List::cut(shown.iter().filter_map(|der| Bytes::new(der.clone()))),
            certificates_left_out: 0,
            client_certificate_wanted: false,
            failure: None,
        }
    }
}

fn ping(path: &Path<'_>, packets: u32, size: u32, rng: &mut Rng) -> PingOutcome {
    let from = Ip(path.target.address(path.af));
    let refused = path.target.is_silent && path.probe.id.0 % 4 == 1;
    let reply = |rng: &mut Rng| match path.round_trip(rng) {
        Some(rtt) => PingReply::Reply(EchoReply { rtt, hop_limit: Some(55), size, from, duplicate: false }),
        None if refused => {
            let router = router(path.af, path.probe.asn.0, 2);
            PingReply::Icmp(IcmpError {
                from: Ip(router),
                kind: 3,
                code: 1,
                rtt: Some(9_000_000),
                hop_limit: Some(60),
                mtu: None,
            })
        }
        None => PingReply::Timeout,
    };
    PingOutcome { size, sent: packets, replies: List::cut((0..packets).map(|_| reply(rng))) }
}

/// A router of a network.
pub fn router(af: Family, network: u32, number: u8) -> IpAddr {
    let [_, _, high, low] = mix(u64::from(network)).to_be_bytes()[4..].first_chunk().copied().unwrap_or([0; 4]);
    match af {
        Family::V4 => Ipv4Addr::new(22, high, low, number).into(),
        Family::V6 => Ipv6Addr::new(0x2a0e, u16::from(high), u16::from(low), 0, 0, 0, 0, u16::from(number)).into(),
    }
}

fn dns(path: &Path<'_>, rng: &mut Rng) -> DnsOutcome {
    let outcome = match path.round_trip(rng) {
        Some(rt) => DnsReply::Answer(DnsAnswer {
            rt,
            message: Bytes::new(answers::message(path.probe, path.at, rng)).unwrap_or_default(),
            show_message: true,
            connect: None,
            truncated_first: false,
            handshake: None,
            exchange: None,
        }),
        None => DnsReply::Timeout(5000),
    };
    let response = answers::response(path.at, path.target.address(path.af), path.probe.source(path.af), outcome);
    DnsOutcome { own_resolvers: false, responses: List::cut([response]) }
}

fn http(path: &Path<'_>, method: HttpMethod, rng: &mut Rng) -> HttpOutcome {
    let Some(connect) = path.round_trip(rng) else {
        return HttpOutcome { failure: Some(Text::cut("connect: timeout")), ..HttpOutcome::new(method) };
    };
    let first_byte = connect * 2 + nanos(3.0);
    let status = match rng.below(50) {
        0 => 503,
        1 => 302,
        _ => 200,
    };
    HttpOutcome {
        rt: Some(first_byte + connect / 2),
        connect: Some(connect),
        tls: None,
        first_byte: Some(first_byte),
        head: Some(HttpHead { status, version_1_1: true, size: 241 }),
        body_size: 4711,
        ..HttpOutcome::new(method)
    }
}

fn ntp(path: &Path<'_>, rng: &mut Rng) -> NtpOutcome {
    let server = NtpServer {
        leap: 0,
        version: 4,
        stratum: 2,
        poll: 6,
        precision: -23,
        root_delay: 900,
        root_dispersion: 300,
        reference_id: u32::from_be_bytes([21, 7, 9, 1]),
        reference_time: Some(path.at - Duration::from_secs(200)),
    };
    // By so much the probe's clock is wrong.
    let offset = i64::try_from(mix(path.probe.id.0) % 8_000_000).unwrap_or(0) - 4_000_000;
    let replies: Vec<NtpReply> = (0..3)
        .map(|n| {
            let Some(rtt) = path.round_trip(rng) else { return NtpReply::Timeout };
            let origin = path.at + Duration::from_secs(n);
            let rtt = i64::try_from(rtt).unwrap_or(0);
            let receive = UnixNanos(origin.0 + rtt / 2 + offset);
            let transmit = receive + Duration::from_micros(30);
            let last = UnixNanos(origin.0 + rtt + 30_000);
            NtpReply::Answer(NtpAnswer { origin, receive, transmit, last, rtt, offset })
        })
        .collect();
    let answered = replies.iter().any(|reply| matches!(reply, NtpReply::Answer(_)));
    NtpOutcome { server: answered.then_some(server), replies: List::cut(replies), strays: 0 }
}

fn path_mtu(path: &Path<'_>, rng: &mut Rng) -> PathMtuOutcome {
    let from = Ip(path.target.address(path.af));
    if path.is_down() {
        let silent = MtuTry { protocol: Transport::Icmp, size: 1280, hop: None, answer: MtuAnswer::Timeout };
        return PathMtuOutcome {
            end: MtuEnd::Loss,
            tries: List::cut([silent.clone(), silent]),
            ..PathMtuOutcome::default()
        };
    }
    let size = match path.probe.v6 {
        V6::Tunnel => 1480,
        _ if path.probe.id.0 % 3 == 1 => 1492,
        _ => 1500,
    };
    let passes = |size, rng: &mut Rng| {
        let rtt = path.round_trip(rng).unwrap_or(20_000_000);
        let reply = MtuReply { from, rtt, hop_limit: Some(55), size, fragment: None };
        MtuTry { protocol: Transport::Icmp, size, hop: None, answer: MtuAnswer::Reply(reply) }
    };
    if path.probe.v6 == V6::Partial {
        let lost = MtuTry { protocol: Transport::Icmp, size: 1400, hop: None, answer: MtuAnswer::Timeout };
        return PathMtuOutcome {
            interface: Some(1500),
            forward: Mtu::Exactly(1399),
            reverse: Mtu::AtLeast(1399),
            round_trip: Mtu::Exactly(1399),
            hole: Some(MtuHole {
                passes: 1399,
                lost: 1400,
                direction: MtuDirection::Forward,
                last_hop: None,
                next_hop: None,
            }),
            tries: List::cut([passes(1280, rng), lost, passes(1399, rng)]),
            ..PathMtuOutcome::default()
        };
    }
    let limit =
        MtuLimit { from: Ip(router(path.af, path.probe.asn.0, 1)), mtu: Some(size), size: 1500, hop_limit: Some(63) };
    PathMtuOutcome {
        interface: Some(1500),
        forward: Mtu::Exactly(size),
        reverse: Mtu::AtLeast(size),
        round_trip: Mtu::Exactly(size),
        limits: if size < 1500 { List::cut([limit]) } else { List::default() },
        tries: List::cut([passes(1280, rng), passes(size, rng)]),
        ..PathMtuOutcome::default()
    }
}

/// Whether and when a server was asked is the same for every way of asking.
pub fn asked(at: UnixNanos, dst: IpAddr, src: Option<IpAddr>, outcome: DnsReply) -> DnsResponse {
    DnsResponse {
        sent_at: at,
        dst_addr: Ip(dst),
        dst_port: 53,
        src_addr: src.map(Ip),
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
