//! Invented answers of DNS servers (RFC 1035): mostly the same, some from a cache that is old, some lies, some failures.

use std::net::{IpAddr, Ipv4Addr};

use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::result::{DnsAnswer, DnsOutcome, DnsReply, DnsResponse};
use sonde_protocol::seed::Rng;
use sonde_protocol::time::UnixNanos;

use super::outcomes::asked;
use super::probes::Invented;
use super::weather::{exponential, nanos};

/// Response codes.
const NOERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// What became of the query to one server.
pub fn response(at: UnixNanos, dst: IpAddr, src: Option<IpAddr>, outcome: DnsReply) -> DnsResponse {
    asked(at, dst, src, outcome)
}

/// What a probe's own resolvers say.
pub fn by_resolvers(probe: &Invented, at: UnixNanos, rng: &mut Rng) -> DnsOutcome {
    let near = IpAddr::from([192, 168, 1, 1]);
    let far = IpAddr::from([23, 4, 4, 4]);
    let servers = if probe.id.0.is_multiple_of(3) { vec![near, far] } else { vec![near] };
    let ask = |server: IpAddr, rng: &mut Rng| {
        let is_silent = probe.id.0 % 41 == 7 && server == near;
        let outcome = if is_silent || rng.one_in(90) {
            DnsReply::Timeout(5000)
        } else {
            DnsReply::Answer(DnsAnswer {
                rt: nanos(1.2 + exponential(rng, 9.0)),
                message: Bytes::new(message(probe, at, rng)).unwrap_or_default(),
                show_message: true,
                connect: None,
                truncated_first: false,
                handshake: None,
                exchange: None,
            })
        };
        response(at, server, Some(IpAddr::from([192, 168, 1, 23])), outcome)
    };
    DnsOutcome { own_resolvers: true, responses: List::cut(servers.into_iter().map(|server| ask(server, rng))) }
}

/// An answer to "www.example.net A" as this probe gets it.
pub fn message(probe: &Invented, at: UnixNanos, rng: &mut Rng) -> Vec<u8> {
    let new = [Ipv4Addr::new(21, 7, 1, 80), Ipv4Addr::new(21, 7, 2, 80)];
    // The zone has changed six hours before the end of a day; some caches hold on.
    let old = [Ipv4Addr::new(21, 7, 1, 79)];
    let is_old = at.as_secs().rem_euclid(86_400) < 43_200 && probe.id.0 % 5 == 2;
    let id = u16::try_from(rng.below(65_536)).unwrap_or(0);
    match (probe.id.0 % 37, rng.below(100)) {
        // A resolver that sends people elsewhere.
        (8, _) => encode(id, NOERROR, &[Ipv4Addr::new(24, 1, 1, 1)], 60),
        (9, _) => encode(id, NXDOMAIN, &[], 0),
        (_, 0) => encode(id, SERVFAIL, &[], 0),
        _ if is_old => encode(id, NOERROR, &old, 86_000),
        _ => encode(id, NOERROR, &new, 300 - u32::try_from(rng.below(300)).unwrap_or(0)),
    }
}

fn encode(id: u16, rcode: u8, addresses: &[Ipv4Addr], ttl: u32) -> Vec<u8> {
    let mut bytes = Vec::from(id.to_be_bytes());
    // A response with recursion desired and available; one question.
    bytes.extend([0x81, 0x80 | rcode, 0, 1, 0, u8::try_from(addresses.len()).unwrap_or(0), 0, 0, 0, 0]);
    for label in ["www", "example", "net"] {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    for address in addresses {
        // The name of the question, type A, class IN.
        bytes.extend([0xc0, 12, 0, 1, 0, 1]);
        bytes.extend(ttl.to_be_bytes());
        bytes.extend([0, 4]);
        bytes.extend(address.octets());
    }
    bytes
}
