//! What a run has cost the host's line, as its evidence tells: for the budget of bytes a day.

use sonde_protocol::result::ipv6::{Attempt, Connect, Evidence, SizeTry};

/// The headers of a packet.
const HEADERS: u64 = 48;

/// Packets and bytes of a question and its answer.
const QUESTION: (u64, u64) = (2, 400);

/// Of a TCP connection, of the handshake of TLS or QUIC on it.
const CONNECTION: (u64, u64) = (8, 8 * HEADERS);
const HANDSHAKE: (u64, u64) = (8, 6000);

/// Of an echo of a small packet.
const ECHO: (u64, u64) = (1, 2 * (HEADERS + 48));

/// Pieces of 1600 bytes both ways with small ones beside them, a try each way; extension headers in two connections beside a plain
/// one; packets that provoke an ICMP error of a family; and the first routers, two packets each.
const FRAGMENTS: (u64, u64) = (6, 2 * 1800 + 4 * 2 * HEADERS);
const OPTIONS: (u64, u64) = (3 * CONNECTION.0, 3 * CONNECTION.1);
const PROVOKED: (u64, u64) = (6, 4 * 1400 + 12 * HEADERS);
const HOP: (u64, u64) = (2, 4 * (HEADERS + 48));

/// What eight thousand bytes over TCP are.
const BULK: (u64, u64) = (16, 9500);

/// Packets sent and bytes both ways, about.
pub fn spent(evidence: &Evidence) -> (u64, u64) {
    let connects = evidence.pairs.iter().flat_map(|pair| pair.connects.iter());
    let proofs = evidence.nat64.iter().flat_map(|nat64| nat64.proofs.iter());
    let echoes: u64 = evidence.echoes.iter().map(|echo| u64::from(echo.sent)).sum();
    let bound: usize = evidence.selection.iter().map(|selection| selection.bound.len()).sum();
    let sizes = evidence.sizes.iter().flat_map(|sizes| sizes.up.iter().chain(sizes.down.iter()));
    let bulks = evidence.sizes.iter().flat_map(|sizes| [&sizes.bulk_up, &sizes.bulk_down]).flatten().count();
    let headers = evidence.headers.unwrap_or_default();
    let all = [
        times(QUESTION, evidence.dns.len()),
        sum(connects.map(connect)),
        sum(proofs.map(|proof| handshake(proof.tls.as_ref()))),
        times(ECHO, usize::try_from(echoes).unwrap_or(usize::MAX)),
        times(CONNECTION, bound),
        sum(sizes.map(size)),
        times(BULK, bulks),
        times(FRAGMENTS, usize::from(headers.fragment_up.or(headers.fragment_down).is_some())),
        times(OPTIONS, usize::from(headers.destination.or(headers.hop_by_hop).is_some())),
        times(PROVOKED, evidence.icmp.iter().filter(|icmp| icmp.unreachable.or(icmp.too_big).is_some()).count()),
        times(HOP, evidence.near_hops.as_ref().map_or(0, |hops| hops.len())),
    ];
    sum(all.into_iter())
}

fn times((packets, bytes): (u64, u64), count: usize) -> (u64, u64) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    (packets.saturating_mul(count), bytes.saturating_mul(count))
}

fn sum(costs: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
    costs.fold((0, 0), |(packets, bytes), one| (packets.saturating_add(one.0), bytes.saturating_add(one.1)))
}

fn handshake(attempt: Option<&Attempt>) -> (u64, u64) {
    match attempt {
        Some(Attempt::Done(_)) => sum([CONNECTION, HANDSHAKE].into_iter()),
        Some(Attempt::Failed(_)) => CONNECTION,
        None => (0, 0),
    }
}

fn connect(connect: &Connect) -> (u64, u64) {
    let tcp = if connect.tls.is_some() { connect.tls.as_ref() } else { connect.tcp.as_ref() };
    sum([handshake(tcp), handshake(connect.quic.as_ref())].into_iter())
}

/// Packets of a size, each beside a small one, and what comes back.
fn size(one: &SizeTry) -> (u64, u64) {
    let sent = u64::from(one.sent);
    (2 * sent, sent * (u64::from(one.size) + 3 * 1280))
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::List;
    use sonde_protocol::net::Family;
    use sonde_protocol::result::ipv6::SizesSeen;

    use super::*;

    #[test]
    fn nothing_costs_nothing_and_sizes_cost_their_bytes() {
        assert_eq!(spent(&Evidence::default()), (0, 0));
        let one = SizeTry { size: 1500, sent: 4, lost: 4, controls_lost: 0, too_big: None };
        let sizes = |up| SizesSeen {
            target: 0,
            af: Family::V6,
            up: List::cut(up),
            down: List::default(),
            bulk_up: None,
            bulk_down: None,
        };
        let run = Evidence { sizes: List::cut([sizes([one])]), ..Evidence::default() };
        let (packets, bytes) = spent(&run);
        assert_eq!(packets, 8);
        assert!(bytes >= 4 * (1500 + 1280), "{bytes}");
    }
}
