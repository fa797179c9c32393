//! What really passed, from a capture outside of the measuring host: for each question when it came out and when its
//! answer went in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sonde_tests::lab::CapturedPacket;
use sonde_tests::lab::packet::{IpSummary, UDP};

/// One question and its answer as the neighbouring router saw them, by the kernel's stamps, nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Who was asked.
    pub dst: IpAddr,
    /// When the question came out of the host.
    pub asked: i64,
    /// When the first answer went in to the host.
    pub answered: Option<i64>,
}

impl Exchange {
    /// The round trip outside of the host: no honest time is shorter.
    pub fn rtt(&self) -> Option<i64> {
        self.answered.map(|answered| answered - self.asked)
    }
}

/// The echoes of a host, in the order in which the requests came out.
pub fn echoes(packets: &[CapturedPacket], host: IpAddr) -> Vec<Exchange> {
    exchanges(packets, host, |ip, outward| {
        let kinds = if outward { [8, 128] } else { [0, 129] };
        let is_it = ip.icmp_type.is_some_and(|kind| kinds.contains(&kind));
        is_it.then_some((ip.icmp_id.unwrap_or(0), ip.icmp_seq.unwrap_or(0)))
    })
}

/// The UDP questions of a host to port 53, in order.
pub fn queries(packets: &[CapturedPacket], host: IpAddr) -> Vec<Exchange> {
    exchanges(packets, host, |ip, outward| {
        let (server, client) = if outward { (ip.dst_port, ip.src_port) } else { (ip.src_port, ip.dst_port) };
        (ip.protocol == UDP && server == Some(53)).then_some((client.unwrap_or(0), 0))
    })
}

/// `key` names what belongs together, of packets out of the host (true) and into it; `None` for others.
fn exchanges<K: Ord>(
    packets: &[CapturedPacket],
    host: IpAddr,
    key: impl Fn(&IpSummary, bool) -> Option<K>,
) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    let mut places: BTreeMap<(IpAddr, K), usize> = BTreeMap::new();
    for packet in packets {
        let Some(ip) = packet.summary.ip else { continue };
        // A router has each packet several times: on the cable, on the bridge, on the way out. A question counts when it
        // is first seen, an answer when it is last seen: both are the cable to the host.
        if ip.src == host && !packet.outgoing {
            let Some(key) = key(&ip, true) else { continue };
            places.entry((ip.dst, key)).or_insert_with(|| {
                all.push(Exchange { dst: ip.dst, asked: packet.at, answered: None });
                all.len() - 1
            });
        } else if ip.dst == host && packet.outgoing {
            let Some(place) = key(&ip, false).and_then(|key| places.get(&(ip.src, key))) else { continue };
            if let Some(exchange) = all.get_mut(*place) {
                exchange.answered = Some(packet.at);
            }
        }
    }
    all.sort_by_key(|exchange| exchange.asked);
    all
}

/// The most targets with a ping under way at one moment: from a target's first request to its last answer.
pub fn most_at_once(exchanges: &[Exchange]) -> usize {
    let mut spans: BTreeMap<IpAddr, (i64, i64)> = BTreeMap::new();
    for exchange in exchanges {
        let last = exchange.answered.unwrap_or(exchange.asked);
        let span = spans.entry(exchange.dst).or_insert((exchange.asked, last));
        *span = (span.0.min(exchange.asked), span.1.max(last));
    }
    let mut changes: Vec<(i64, i32)> = spans.values().flat_map(|(from, to)| [(*from, 1), (*to, -1)]).collect();
    changes.sort_unstable();
    let mut now = 0_i32;
    let mut most = 0;
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or(0)
}
