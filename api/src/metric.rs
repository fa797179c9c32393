//! One number out of one result: what alert rules compare, and what the status check looks at.
//!
//! Times are milliseconds, shares percent, as in Atlas's JSON. A result that has no such number (an RTT when nothing came
//! back) gives none: silence is told by `loss` and `failed`, never by a made-up time.

use std::net::IpAddr;

use sonde_protocol::net::Ip;
use sonde_protocol::result::{
    DnsOutcome, DnsReply, HopReply, MeasurementResult, NtpOutcome, NtpReply, Outcome, PingOutcome, PingReply,
    TracerouteOutcome,
};
use sonde_protocol::spec::Kind;

/// Something that can be read off a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// 1 when the run could not be carried out or nothing came back, else 0.
    Failed,
    /// Share of the requests without a reply.
    Loss,
    /// Least round-trip time; of traceroute, to the target.
    Rtt,
    /// Mean of the round-trip times.
    RttAvg,
    /// Greatest round-trip time.
    RttMax,
    /// Number of the last hop that answered.
    Hops,
    /// 1 when the target answered the traceroute, else 0.
    Reached,
    /// The response code of the first answer (0 is NOERROR, 3 NXDOMAIN; RFC 1035, 4.1.1).
    Rcode,
    /// The status of the response.
    Status,
    /// How far the server's clock is ahead of the probe's, by the exchange with the least round trip.
    Offset,
    /// How far the server is from a reference clock.
    Stratum,
    /// The greatest packet known to pass towards the target, in bytes.
    Mtu,
    /// Seconds since the probe's newest result; of no single result.
    Age,
}

use Metric::{Age, Failed, Hops, Loss, Mtu, Offset, Rcode, Reached, Rtt, RttAvg, RttMax, Status, Stratum};

impl Metric {
    /// All there are.
    pub const ALL: [Metric; 13] =
        [Failed, Loss, Rtt, RttAvg, RttMax, Hops, Reached, Rcode, Status, Offset, Stratum, Mtu, Age];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Failed => "failed",
            Loss => "loss",
            Rtt => "rtt",
            RttAvg => "rtt_avg",
            RttMax => "rtt_max",
            Hops => "hops",
            Reached => "reached",
            Rcode => "rcode",
            Status => "status",
            Offset => "offset",
            Stratum => "stratum",
            Mtu => "mtu",
            Age => "age",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Its unit; absent where it is a number without one.
    pub const fn unit(self) -> Option<&'static str> {
        match self {
            Rtt | RttAvg | RttMax | Offset => Some("ms"),
            Loss => Some("%"),
            Mtu => Some("bytes"),
            Age => Some("s"),
            Failed | Hops | Reached | Rcode | Status | Stratum => None,
        }
    }

    /// Can results of this kind have it?
    pub const fn is_of(self, kind: Kind) -> bool {
        match self {
            Failed | Age => true,
            Loss => matches!(kind, Kind::Ping | Kind::Dns | Kind::Ntp),
            Rtt => !matches!(kind, Kind::PathMtu | Kind::Ipv6),
            RttAvg | RttMax => matches!(kind, Kind::Ping | Kind::Ntp),
            Hops | Reached => matches!(kind, Kind::Traceroute),
            Rcode => matches!(kind, Kind::Dns),
            Status => matches!(kind, Kind::Http),
            Offset | Stratum => matches!(kind, Kind::Ntp),
            Mtu => matches!(kind, Kind::PathMtu),
        }
    }

    /// The number, if this result has it.
    pub fn of(self, result: &MeasurementResult) -> Option<f64> {
        match (&result.outcome, self) {
            (_, Age) => None,
            (Outcome::Failed(..), Failed) => Some(1.0),
            (Outcome::Failed(..), Loss) => Some(100.0),
            (Outcome::Failed(..), Reached) => Some(0.0),
            (Outcome::Failed(..), _) => None,
            (Outcome::Ping(ping), _) => self.of_requests(&ping_rtts(ping), ping_requests(ping)),
            (Outcome::Ntp(ntp), Offset | Stratum) => self.of_clock(ntp),
            (Outcome::Ntp(ntp), _) => self.of_requests(&ntp_rtts(ntp), ntp.replies.len()),
            (Outcome::Dns(dns), Rcode) => dns_answers(dns).next().and_then(|(_, answer)| rcode(answer)),
            (Outcome::Dns(dns), _) => {
                let times: Vec<f64> = dns_answers(dns).map(|(rt, _)| rt).collect();
                self.of_requests(&times, dns.responses.len())
            }
            (Outcome::Traceroute(path), _) => self.of_path(path, result.dst_addr),
            (Outcome::Sslcert(seen), Failed) => Some(flag(seen.failure.is_some() || seen.certificates.is_empty())),
            (Outcome::Sslcert(seen), Rtt) => seen.rt.map(ms),
            (Outcome::Http(seen), Failed) => Some(flag(seen.failure.is_some())),
            (Outcome::Http(seen), Rtt) => seen.rt.map(ms),
            (Outcome::Http(seen), Status) => seen.head.as_ref().map(|head| f64::from(head.status)),
            (Outcome::PathMtu(seen), Failed) => Some(flag(seen.forward.size().is_none())),
            (Outcome::PathMtu(seen), Mtu) => seen.forward.size().map(f64::from),
            (Outcome::Ipv6(seen), Failed) => Some(flag(!seen.verdicts.iter().any(|verdict| verdict.raw.votes()))),
            (Outcome::Sslcert(_) | Outcome::Http(_) | Outcome::PathMtu(_) | Outcome::Ipv6(_), _) => None,
        }
    }

    /// Of requests that were answered after so many milliseconds, and how many there were.
    fn of_requests(self, times: &[f64], requests: usize) -> Option<f64> {
        match self {
            Failed => Some(flag(times.is_empty())),
            Loss if requests == 0 => Some(100.0),
            Loss => Some(100.0 * requests.saturating_sub(times.len()) as f64 / requests as f64),
            Rtt => times.iter().copied().reduce(f64::min),
            RttMax => times.iter().copied().reduce(f64::max),
            RttAvg => (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64),
            _ => None,
        }
    }

    fn of_clock(self, ntp: &NtpOutcome) -> Option<f64> {
        match self {
            Stratum => ntp.server.as_ref().map(|server| f64::from(server.stratum)),
            _ => {
                let answers = ntp.replies.iter().filter_map(|reply| match reply {
                    NtpReply::Answer(answer) => Some(answer),
                    _ => None,
                });
                answers.min_by_key(|answer| answer.rtt).map(|answer| answer.offset as f64 / 1e6)
            }
        }
    }

    fn of_path(self, path: &TracerouteOutcome, target: Option<Ip>) -> Option<f64> {
        let answers = path.hops.iter().flat_map(|hop| {
            hop.replies.iter().filter_map(move |reply| match reply {
                HopReply::Reply(answer) => Some((hop.hop, answer)),
                _ => None,
            })
        });
        let of_target = |from: IpAddr| target.is_some_and(|target| target.0 == from);
        match self {
            Failed => Some(flag(answers.count() == 0)),
            Hops => answers.map(|(hop, _)| f64::from(hop)).reduce(f64::max),
            Reached => Some(flag(answers.into_iter().any(|(_, answer)| of_target(answer.from.0)))),
            Rtt => {
                let times = answers.filter(|(_, answer)| of_target(answer.from.0)).filter_map(|(_, answer)| answer.rtt);
                times.min().map(ms)
            }
            _ => None,
        }
    }
}

/// The round-trip times of the replies that are no duplicates, in milliseconds.
pub(crate) fn ping_rtts(ping: &PingOutcome) -> Vec<f64> {
    let times = ping.replies.iter().filter_map(|reply| match reply {
        PingReply::Reply(echo) if !echo.duplicate => Some(ms(echo.rtt)),
        _ => None,
    });
    times.collect()
}

/// How many requests a run made, and how many of them were answered. A run that could not be carried out made none; an exchange
/// (sslcert, http) and a path are one.
pub(crate) fn requests(result: &MeasurementResult) -> (u64, u64) {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    match &result.outcome {
        Outcome::Failed(..) => (0, 0),
        Outcome::Ping(ping) => (count(ping_requests(ping)), count(ping_rtts(ping).len())),
        Outcome::Ntp(ntp) => (count(ntp.replies.len()), count(ntp_rtts(ntp).len())),
        Outcome::Dns(dns) => (count(dns.responses.len()), count(dns_answers(dns).count())),
        Outcome::Traceroute(_) => (1, u64::from(Metric::Reached.of(result) == Some(1.0))),
        Outcome::Sslcert(_) | Outcome::Http(_) | Outcome::PathMtu(_) | Outcome::Ipv6(_) => {
            (1, u64::from(Metric::Failed.of(result) == Some(0.0)))
        }
    }
}

/// How many requests there were, sent or not.
fn ping_requests(ping: &PingOutcome) -> usize {
    ping.replies.iter().filter(|reply| !matches!(reply, PingReply::Reply(echo) if echo.duplicate)).count()
}

fn ntp_rtts(ntp: &NtpOutcome) -> Vec<f64> {
    let times = ntp.replies.iter().filter_map(|reply| match reply {
        NtpReply::Answer(answer) => Some(answer.rtt as f64 / 1e6),
        _ => None,
    });
    times.collect()
}

/// The answers: response time in milliseconds, and the message.
fn dns_answers(dns: &DnsOutcome) -> impl Iterator<Item = (f64, &[u8])> {
    dns.responses.iter().filter_map(|response| match &response.outcome {
        DnsReply::Answer(answer) => Some((ms(answer.rt), &answer.message[..])),
        _ => None,
    })
}

/// How many answers a run could have had, and how long those that it had took, in milliseconds. Of the kinds that ask only once
/// that is one; of those that are about something else than answers, none.
pub(crate) fn exchanges(result: &MeasurementResult) -> (u64, Vec<f64>) {
    match &result.outcome {
        Outcome::Failed(..) | Outcome::PathMtu(_) | Outcome::Ipv6(_) => (0, Vec::new()),
        Outcome::Ping(ping) => (ping_requests(ping) as u64, ping_rtts(ping)),
        Outcome::Ntp(ntp) => (ntp.replies.len() as u64, ntp_rtts(ntp)),
        Outcome::Dns(dns) => (dns.responses.len() as u64, dns_answers(dns).map(|(rt, _)| rt).collect()),
        Outcome::Traceroute(_) | Outcome::Sslcert(_) | Outcome::Http(_) => (1, Rtt.of(result).into_iter().collect()),
    }
}

/// The low four bits of the header's fourth byte.
fn rcode(message: &[u8]) -> Option<f64> {
    message.get(3).map(|byte| f64::from(byte & 0x0f))
}

fn ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::{List, Text};
    use sonde_protocol::ids::MeasurementId;
    use sonde_protocol::net::{Family, Transport};
    use sonde_protocol::result::{EchoReply, Failure, Hop, HopAnswer, Timing};
    use sonde_protocol::time::UnixNanos;

    use super::*;

    fn result(outcome: Outcome) -> MeasurementResult {
        MeasurementResult {
            measurement: MeasurementId(1),
            planned_at: UnixNanos(0),
            started_at: UnixNanos(0),
            ended_at: UnixNanos(0),
            timing: Timing::default(),
            af: Family::V4,
            dst_name: None,
            dst_addr: Some(ip("20.0.0.1")),
            src_addr: None,
            time_to_resolve: None,
            interval: None,
            outcome,
        }
    }

    fn ip(text: &str) -> Ip {
        Ip(text.parse().unwrap())
    }

    fn echo(rtt: u64, duplicate: bool) -> PingReply {
        PingReply::Reply(EchoReply { rtt, hop_limit: None, size: 48, from: ip("20.0.0.1"), duplicate })
    }

    fn ping(replies: Vec<PingReply>) -> MeasurementResult {
        result(Outcome::Ping(PingOutcome { size: 48, sent: 3, replies: List::cut(replies) }))
    }

    fn numbers(result: &MeasurementResult, metrics: &[Metric]) -> Vec<Option<f64>> {
        metrics.iter().map(|metric| metric.of(result)).collect()
    }

    #[test]
    fn of_a_ping() {
        let metrics = [Failed, Loss, Rtt, RttAvg, RttMax, Hops];
        let some =
            ping(vec![echo(3_000_000, false), echo(9_000_000, true), PingReply::Timeout, echo(1_000_000, false)]);
        let loss = 100.0 / 3.0;
        assert_eq!(numbers(&some, &metrics), [Some(0.0), Some(loss), Some(1.0), Some(2.0), Some(3.0), None]);
        let none = ping(vec![PingReply::Timeout, PingReply::SendError(Text::cut("no route"))]);
        assert_eq!(numbers(&none, &metrics), [Some(1.0), Some(100.0), None, None, None, None]);
        let failed = result(Outcome::Failed(Failure::NotAllowed, Kind::Ping.number()));
        assert_eq!(numbers(&failed, &metrics), [Some(1.0), Some(100.0), None, None, None, None]);
    }

    #[test]
    fn of_a_path() {
        let answer = |from, rtt| HopReply::Reply(HopAnswer { rtt: Some(rtt), ..HopAnswer::new(ip(from)) });
        let path = |last| {
            let hops = [
                Hop { hop: 1, replies: List::cut([answer("20.9.9.9", 500_000)]) },
                Hop { hop: 2, replies: List::cut([HopReply::Timeout]) },
                Hop { hop: 3, replies: List::cut([answer(last, 2_500_000), answer(last, 2_000_000)]) },
            ];
            let hops = List::cut(hops);
            result(Outcome::Traceroute(TracerouteOutcome { protocol: Transport::Udp, size: 48, paris_id: None, hops }))
        };
        let metrics = [Failed, Hops, Reached, Rtt];
        assert_eq!(numbers(&path("20.0.0.1"), &metrics), [Some(0.0), Some(3.0), Some(1.0), Some(2.0)]);
        assert_eq!(numbers(&path("20.7.7.7"), &metrics), [Some(0.0), Some(3.0), Some(0.0), None]);
    }

    #[test]
    fn names_are_told_apart_and_every_kind_can_fail() {
        for metric in Metric::ALL {
            assert_eq!(Metric::named(metric.name()), Some(metric));
        }
        assert!(Kind::ALL.into_iter().all(|kind| Failed.is_of(kind) && Age.is_of(kind)));
        assert_eq!(Metric::named("RTT"), None);
    }
}
