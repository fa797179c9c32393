//! `dns`: one question to one server, over UDP, TCP, TLS, HTTPS or QUIC.
//!
//! The parts, in the order a run uses them:
//! - [`query`] makes the message from the definition. It is one question and at most one OPT record, so it is written by
//!   hand; the tests read it back with a DNS library. Answers are not decoded here at all: a result carries their bytes.
//! - [`DnsUdp`] is the UDP exchange with one server, an [`Engine`](crate::Engine).
//! - [`StreamPlan`], [`StreamReader`] and [`stream_response`] are the exchange over a connection of any other kind: the
//!   shell connects, sends, reads, and hands back what happened when.
//! - [`gather`] makes one outcome of the responses of all servers.
//!
//! A shell composes a run of them. For a target: one server. For the probe's own resolvers: every configured one, in
//! parallel. For each server over UDP: drive a [`DnsUdp`] until [`DnsUdp::take_response`] gives its end; after
//! [`UdpEnd::Truncated`] make [`StreamPlan::after_truncation`] and report what [`stream_response`] says (RFC 7766, 5).
//! Over a connection: a [`StreamPlan`] a try, again after a time-out as often as the definition's `retry` says. Nothing is
//! kept for the next try, so that each measures all of it.
//!
//! This module must not know about resolvers' configuration, policies, sockets or clocks.

mod name;
mod query;
mod strays;
mod stream;
mod udp;

use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;

use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::net::{Ip, Transport};
use sonde_protocol::result::{DnsAnswer, DnsOutcome, DnsReply, DnsResponse, DnsStray, MAX_REPORT, Why};
use sonde_protocol::spec::DnsSpec;
use sonde_protocol::time::{Nanos, UnixNanos};

pub use query::{Query, QueryContext, query};
pub use stream::{MEDIA_TYPE, StreamEvent, StreamPlan, StreamReader, StreamStep, stream_response};
pub use udp::{DnsUdp, UdpEnd};

/// Bytes of a DNS header (RFC 1035, 4.1.1): what is shorter is no answer.
const HEADER: usize = 12;

/// What a report needs beside the messages of a dns outcome, generously.
const REPORT_OVERHEAD: usize = 16 * 1024;

/// What the shell knows of one exchange before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// The server.
    pub dst: IpAddr,
    /// The number of the link on which a link-local server is; 0 of every other.
    pub zone: u32,
    /// The probe's own address towards it, when known.
    pub src: Option<IpAddr>,
    /// The moment the exchange begins; for a connection right before it is opened.
    pub now: Nanos,
    /// The same moment on the wall clock, so that stamps can be written as time of day.
    pub time: UnixNanos,
}

impl Exchange {
    /// A stamp as time of day.
    fn wall(&self, at: Nanos) -> UnixNanos {
        UnixNanos(self.time.0.saturating_add(at.nanos_since(self.now)))
    }
}

/// What of the definition goes into a response, whatever carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    exchange: Exchange,
    port: u16,
    timeout_ms: u32,
    show_message: bool,
    keep_query: bool,
}

impl Shape {
    fn new(spec: &DnsSpec, exchange: Exchange) -> Self {
        Self {
            exchange,
            // The definition was checked when it was decoded; a port out of range cannot come here.
            port: u16::try_from(spec.port).unwrap_or(53),
            timeout_ms: spec.timeout,
            show_message: spec.include_abuf,
            keep_query: spec.include_qbuf,
        }
    }

    fn response(
        &self,
        protocol: Transport,
        sent_at: Nanos,
        retries: u32,
        query: &Query,
        outcome: DnsReply,
    ) -> DnsResponse {
        DnsResponse {
            sent_at: self.exchange.wall(sent_at),
            dst_addr: Ip(self.exchange.dst),
            dst_port: self.port,
            src_addr: self.exchange.src.map(Ip),
            protocol,
            retries,
            query: if self.keep_query { Bytes::new(query.bytes()) } else { None },
            outcome,
            secure: None,
            strays: List::default(),
            strays_seen: 0,
            id_mismatches: 0,
        }
    }
}

/// One outcome of the responses of all servers asked, in the order given.
///
/// A report has a greatest size. Answers that would not fit any more are replaced by [`DnsReply::Read`], which says how
/// long they were: sixteen resolvers that all send 64 KiB are rarer than a cut message would be confusing. Strays that would
/// not fit lose their bytes.
pub fn gather(own_resolvers: bool, responses: impl IntoIterator<Item = DnsResponse>) -> DnsOutcome {
    let mut room = MAX_REPORT.saturating_sub(REPORT_OVERHEAD);
    let fitted = responses.into_iter().map(|mut response| {
        let query = response.query.as_ref().map_or(0, |query| query.len());
        let message = match &response.outcome {
            DnsReply::Answer(answer) => answer.message.len(),
            _ => 0,
        };
        if query + message > room {
            response.outcome =
                DnsReply::Read(Why::cut(format!("an answer of {message} bytes did not fit into the report")));
            room = room.saturating_sub(query);
        } else {
            room -= query + message;
        }
        let strays = response.strays.iter().map(|stray| stray.message.len()).sum();
        match room.checked_sub(strays) {
            Some(left) => room = left,
            None => {
                let bare = |stray| DnsStray { message: Bytes::default(), ..stray };
                response.strays = List::cut(response.strays.into_iter().map(bare));
            }
        }
        response
    });
    DnsOutcome { own_resolvers, responses: List::cut(fitted) }
}

/// What an answer's header says that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    id: u16,
    is_response: bool,
    is_truncated: bool,
}

impl Head {
    fn parse(message: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = message.first_chunk()?;
        let [id0, id1, flags, ..] = *header;
        Some(Self {
            id: u16::from_be_bytes([id0, id1]),
            is_response: flags & 0x80 != 0,
            is_truncated: flags & 0x02 != 0,
        })
    }
}

fn answer(shape: &Shape, rt: u64, message: &[u8]) -> Option<DnsAnswer> {
    Some(DnsAnswer {
        rt,
        message: Bytes::new(message)?,
        show_message: shape.show_message,
        connect: None,
        truncated_first: false,
        handshake: None,
        exchange: None,
    })
}

/// Whole nanoseconds from one stamp to a later one; zero when the stamps are the wrong way round.
fn nanos_between(earlier: Nanos, later: Nanos) -> u64 {
    u64::try_from(later.nanos_since(earlier)).unwrap_or(0)
}

/// The responses as a list, for a run with one server.
fn single(own_resolvers: bool, response: DnsResponse) -> DnsOutcome {
    gather(own_resolvers, Vec::from([response]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(message: usize) -> DnsResponse {
        let shape = Shape::new(
            &DnsSpec::default(),
            Exchange { dst: IpAddr::from([192, 0, 2, 53]), zone: 0, src: None, now: Nanos(0), time: UnixNanos(0) },
        );
        let query = Query::from_bytes(alloc::vec![0; HEADER]);
        let answer = answer(&shape, 1, &alloc::vec![0; message]).unwrap();
        shape.response(Transport::Tcp, Nanos(0), 0, &query, DnsReply::Answer(answer))
    }

    #[test]
    fn sixteen_resolvers_with_the_longest_answers_still_fit_into_a_report() {
        let outcome = gather(true, (0..20).map(|_| response(65_535)));
        assert_eq!(outcome.responses.len(), 16);
        let answers = outcome.responses.iter().filter(|r| matches!(r.outcome, DnsReply::Answer(_))).count();
        assert_eq!(answers, 2);
        assert!(outcome.responses.iter().skip(2).all(
            |r| matches!(&r.outcome, DnsReply::Read(why) if &**why == "an answer of 65535 bytes did not fit into the report")
        ));
        assert!(minicbor_len(&outcome) < MAX_REPORT);
    }

    #[test]
    fn strays_that_do_not_fit_are_named_without_their_bytes() {
        let with_stray = |size: usize| {
            let mut strays = strays::Strays::default();
            let from = (IpAddr::from([192, 0, 2, 54]), 53);
            let what = sonde_protocol::result::StrayKind::Id;
            strays.keep(from, what, 1, &alloc::vec![0; size], size, true);
            strays.into_response(response(1000))
        };
        let outcome = gather(true, [60_000, 60_000, 60_000, 100].map(with_stray));
        let kept: Vec<_> =
            outcome.responses.iter().map(|r| r.strays.iter().map(|s| s.message.len()).sum::<usize>()).collect();
        assert_eq!(kept, [60_000, 60_000, 0, 100]);
        assert!(outcome.responses.iter().all(|r| r.strays_seen == 1 && matches!(r.outcome, DnsReply::Answer(_))));
        assert!(minicbor_len(&outcome) < MAX_REPORT);
    }

    #[test]
    fn small_answers_behind_a_big_one_are_kept() {
        let sizes = [65_535, 65_535, 65_535, 100];
        let outcome = gather(true, sizes.map(response));
        let kept: Vec<_> = outcome.responses.iter().map(|r| matches!(r.outcome, DnsReply::Answer(_))).collect();
        assert_eq!(kept, [true, true, false, true]);
    }

    fn minicbor_len(outcome: &DnsOutcome) -> usize {
        use sonde_protocol::ids::MeasurementId;
        use sonde_protocol::net::Family;
        use sonde_protocol::result::{MeasurementResult, Outcome, Report, Timing};
        let result = MeasurementResult {
            measurement: MeasurementId(1),
            planned_at: UnixNanos(0),
            started_at: UnixNanos(0),
            ended_at: UnixNanos(0),
            timing: Timing::default(),
            af: Family::V4,
            dst_name: None,
            dst_addr: None,
            src_addr: None,
            time_to_resolve: None,
            interval: None,
            outcome: Outcome::Dns(outcome.clone()),
        };
        Report::Result(result).to_cbor().len()
    }
}
