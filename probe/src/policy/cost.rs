//! What runs cost in packets and bytes: at the most beforehand, and as far as their results tell afterwards. Pure.
//!
//! Results do not count packets of TCP and TLS; those are taken as they commonly are. What counts for the host's budget is
//! the greater of the two, so that no answer is free for being larger than expected.

use sonde_protocol::result::{
    DnsReply, DnsResponse, HopReply, MeasurementResult, MtuAnswer, NtpReply, Outcome, PingReply,
};
use sonde_protocol::spec::Spec;

/// Bytes of the headers of one packet: IPv6 and ICMP or UDP.
const HEADERS: u64 = 48;

/// Bytes of one ICMP error with what it quotes, most often.
const ICMP_ERROR: u64 = 48 + 56;

/// Packets and bytes that opening and closing a connection takes, handshake of TLS included, certificates not.
const CONNECTION: Cost = Cost { packets: 12, bytes: 12 * HEADERS + 2_000 };

/// Payload bytes of a full packet of a connection.
const SEGMENT: u64 = 1_400;

/// Packets sent, and bytes in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Packets that this machine sent.
    pub packets: u64,
    /// Bytes on the line, both directions.
    pub bytes: u64,
}

impl Cost {
    const fn plus(self, packets: u64, bytes: u64) -> Self {
        Self { packets: self.packets.saturating_add(packets), bytes: self.bytes.saturating_add(bytes) }
    }

    /// So many payload bytes that came over a connection, with the acknowledgements.
    const fn stream(self, received: u64) -> Self {
        let segments = received.div_ceil(SEGMENT);
        let headers = segments.saturating_add(segments / 2).saturating_mul(HEADERS);
        self.plus(CONNECTION.packets + segments / 2, received.saturating_add(headers).saturating_add(CONNECTION.bytes))
    }
}

/// What so many packets of a kind are on the line, with answers of the same size.
pub fn at_most(spec: &Spec, packets: u32) -> u64 {
    (u64::from(spec.packet_size()) + HEADERS).saturating_mul(u64::from(packets)).saturating_mul(2)
}

/// What a run has cost.
pub fn spent(result: &MeasurementResult) -> Cost {
    let none = Cost::default();
    match &result.outcome {
        Outcome::Failed(..) => none,
        Outcome::Ping(ping) => {
            let sent = u64::from(ping.sent);
            let back = ping.replies.iter().map(|reply| match reply {
                PingReply::Reply(echo) => u64::from(echo.size) + HEADERS,
                PingReply::Icmp(_) => ICMP_ERROR,
                PingReply::Timeout | PingReply::SendError(_) => 0,
            });
            none.plus(sent, sent * (u64::from(ping.size) + HEADERS) + back.sum::<u64>())
        }
        Outcome::Traceroute(trace) => trace.hops.iter().flat_map(|hop| hop.replies.iter()).fold(none, |cost, reply| {
            let packet = u64::from(trace.size) + HEADERS;
            match reply {
                // It answers a packet that was counted where it should have come.
                HopReply::Reply(answer) if answer.duplicate || answer.late.is_some() => cost.plus(0, ICMP_ERROR),
                HopReply::Reply(_) => cost.plus(1, packet + ICMP_ERROR),
                HopReply::Timeout => cost.plus(1, packet),
                HopReply::SendError(_) => cost,
            }
        }),
        Outcome::Dns(dns) => dns.responses.iter().map(dns_response).fold(none, |a, b| a.plus(b.packets, b.bytes)),
        Outcome::Sslcert(tls) => {
            let certificates = tls.certificates.iter().map(|one| one.len() as u64).sum::<u64>();
            if tls.connect.is_some() { none.stream(certificates) } else { none.plus(1, HEADERS) }
        }
        Outcome::Http(http) => {
            let head = http.head.as_ref().map_or(0, |head| u64::from(head.size));
            if http.connect.is_some() {
                none.stream(head.saturating_add(http.body_size))
            } else {
                none.plus(1, HEADERS)
            }
        }
        Outcome::Ntp(ntp) => {
            let strays = u64::from(ntp.strays) * (48 + HEADERS);
            ntp.replies.iter().fold(none.plus(0, strays), |cost, reply| match reply {
                NtpReply::Answer(_) | NtpReply::NoTime(_) => cost.plus(1, 2 * (48 + HEADERS)),
                NtpReply::Icmp(_) => cost.plus(1, 48 + HEADERS + ICMP_ERROR),
                NtpReply::Timeout => cost.plus(1, 48 + HEADERS),
                NtpReply::SendError(_) => cost,
            })
        }
        Outcome::PathMtu(mtu) => mtu.tries.iter().fold(none, |cost, one| match &one.answer {
            // Sizes of path MTU count the headers.
            MtuAnswer::Reply(reply) => cost.plus(1, u64::from(one.size) + u64::from(reply.size)),
            MtuAnswer::Icmp(_) => cost.plus(1, u64::from(one.size) + ICMP_ERROR),
            MtuAnswer::Timeout => cost.plus(1, u64::from(one.size)),
            MtuAnswer::SendError(_) | MtuAnswer::TooLong => cost,
        }),
        Outcome::Ipv6(seen) => {
            let (packets, bytes) = sonde_engine::ipv6::cost::spent(&seen.evidence);
            none.plus(packets, bytes)
        }
    }
}

fn dns_response(response: &DnsResponse) -> Cost {
    let asked = u64::from(response.retries) + 1;
    let query = response.query.as_ref().map_or(64, |query| query.len() as u64) + HEADERS;
    let strays = response.strays.iter().map(|stray| u64::from(stray.size) + HEADERS).sum::<u64>();
    let none = Cost::default();
    let answer = match &response.outcome {
        DnsReply::NotAllowed | DnsReply::SendError(_) => return none,
        DnsReply::Answer(answer) => {
            let length = answer.message.len() as u64;
            if response.secure.is_some() || answer.connect.is_some() || answer.truncated_first {
                none.stream(length)
            } else {
                none.plus(0, length + length.div_ceil(SEGMENT).max(1) * HEADERS)
            }
        }
        DnsReply::Timeout(_) | DnsReply::Connect(_) | DnsReply::Read(_) => none,
    };
    answer.plus(asked, asked * query + strays)
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::{Bytes, List};
    use sonde_protocol::ids::MeasurementId;
    use sonde_protocol::net::{Family, Ip, Transport};
    use sonde_protocol::result::{DnsAnswer, DnsOutcome, EchoReply, Failure, PingOutcome, Timing};
    use sonde_protocol::spec::{DnsSpec, Kind, Target};
    use sonde_protocol::time::UnixNanos;

    use super::*;

    fn result(outcome: Outcome) -> MeasurementResult {
        let at = UnixNanos(0);
        MeasurementResult {
            measurement: MeasurementId(1),
            planned_at: at,
            started_at: at,
            ended_at: at,
            timing: Timing::default(),
            af: Family::V6,
            dst_name: None,
            dst_addr: None,
            src_addr: None,
            time_to_resolve: None,
            interval: None,
            outcome,
        }
    }

    #[test]
    fn a_ping_costs_what_it_sent_and_what_came_back() {
        let from = Ip([192, 0, 2, 1].into());
        let reply = PingReply::Reply(EchoReply { rtt: 1, hop_limit: None, size: 48, from, duplicate: false });
        let replies = List::cut([reply, PingReply::Timeout, PingReply::Timeout]);
        let ping = Outcome::Ping(PingOutcome { size: 48, sent: 3, replies });
        assert_eq!(spent(&result(ping)), Cost { packets: 3, bytes: 4 * 96 });
        let failed = Outcome::Failed(Failure::NotAllowed, Kind::Ping.number());
        assert_eq!(spent(&result(failed)), Cost::default());
    }

    #[test]
    fn an_answer_that_is_larger_than_expected_costs_what_it_is() {
        let answer = DnsAnswer {
            rt: 1,
            message: Bytes::new(vec![0; 60_000]).unwrap(),
            show_message: false,
            connect: None,
            truncated_first: false,
            handshake: None,
            exchange: None,
        };
        let response = DnsResponse {
            sent_at: UnixNanos(0),
            dst_addr: Ip([192, 0, 2, 1].into()),
            dst_port: 53,
            src_addr: None,
            protocol: Transport::Udp,
            retries: 0,
            query: None,
            outcome: DnsReply::Answer(answer),
            secure: None,
            strays: List::default(),
            strays_seen: 0,
            id_mismatches: 0,
        };
        let dns = Outcome::Dns(DnsOutcome { own_resolvers: false, responses: List::cut([response]) });
        let spec = Spec::Dns(DnsSpec { query_argument: Target::cut("example.net"), ..DnsSpec::default() });
        let cost = spent(&result(dns));
        assert!(cost.bytes > 60_000 && cost.packets == 1, "{cost:?}");
        assert!(at_most(&spec, spec.packets_at_most()) < 60_000);
    }
}
