//! The packets of a run: why each was sent, what came back, and what that says.

use core::net::IpAddr;

use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::{IcmpError, MtuAnswer, MtuReply, MtuTry, Why};
use sonde_protocol::time::Nanos;

use super::search::Purpose;
use crate::icmp::Problem;

/// A packet, and why it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub transport: Transport,
    pub size: u32,
    pub hop: Option<u8>,
    pub why: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Does the interface take it?
    Interface,
    /// For the search by this step's transport.
    Size(Purpose),
    /// Does its reply come in one piece?
    Reverse,
    /// Does it get so far? `true`: it is of the lost size.
    Locate(bool),
}

/// A packet that was handed out. Round-trip times are made when the run has ended: the kernel's stamp of departure may come
/// after the answer.
#[derive(Debug)]
pub(super) struct Try {
    pub step: Step,
    /// When it was handed out.
    pub made_at: Nanos,
    pub sent_at: Nanos,
    pub answer: Option<Answer>,
}

#[derive(Debug)]
pub(super) enum Answer {
    Reply { received_at: Nanos, from: IpAddr, hop_limit: Option<u8>, size: u32, fragment: Option<u32> },
    Icmp { received_at: Nanos, error: IcmpError },
    NotSent(Why),
    TooLong,
}

impl Try {
    /// As the result tells it.
    pub fn told(&self) -> MtuTry {
        // Never negative: stamps of two clocks may cross by a hair.
        let rtt = |received_at: Nanos| u64::try_from(received_at.since(self.sent_at).as_nanos()).unwrap_or(u64::MAX);
        let answer = match &self.answer {
            None => MtuAnswer::Timeout,
            Some(Answer::TooLong) => MtuAnswer::TooLong,
            Some(Answer::NotSent(why)) => MtuAnswer::SendError(why.clone()),
            Some(Answer::Icmp { received_at, error }) => {
                MtuAnswer::Icmp(IcmpError { rtt: Some(rtt(*received_at)), ..error.clone() })
            }
            Some(Answer::Reply { received_at, from, hop_limit, size, fragment }) => MtuAnswer::Reply(MtuReply {
                from: Ip(*from),
                rtt: rtt(*received_at),
                hop_limit: *hop_limit,
                size: *size,
                fragment: *fragment,
            }),
        };
        MtuTry { protocol: self.step.transport, size: self.step.size, hop: self.step.hop, answer }
    }
}

/// What an answer says, whatever it was asked for.
pub(super) enum Learned {
    /// The packet got there. For a reply: its size and its greatest piece, if it came in pieces.
    Arrived(Option<(u32, Option<u32>)>),
    TooBig(IpAddr, Option<u32>, Option<u8>),
    Exceeded(IpAddr),
    Refused,
    NotSent,
    Nothing,
}

pub(super) fn learned(dst: IpAddr, transport: Transport, answer: &Answer) -> Learned {
    match answer {
        Answer::Reply { size, fragment, .. } => Learned::Arrived(Some((*size, *fragment))),
        Answer::TooLong => Learned::Refused,
        Answer::NotSent(_) => Learned::NotSent,
        Answer::Icmp { error, .. } => match Problem::of(Family::of(dst), error.kind, error.code) {
            Problem::TooBig => Learned::TooBig(error.from.0, error.mtu, error.hop_limit),
            Problem::HopLimitExceeded => Learned::Exceeded(error.from.0),
            // A firewall before the target says the same in its own name, and the hole may be behind it.
            Problem::Unreachable if transport == Transport::Udp && error.from.0 == dst => Learned::Arrived(None),
            Problem::Unreachable | Problem::Rejected | Problem::Other => Learned::Nothing,
        },
    }
}
