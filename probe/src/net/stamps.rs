//! Keeps account of whose stamps a run's times rest on, and of how wrong its round-trip times can be for them. Pure; time is
//! an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sonde_engine::Token;
use sonde_protocol::result::StampSource;
use sonde_protocol::time::Nanos;

/// How long a run that is over waits for the kernel's stamp of a packet that was answered. Where stamps exist they come
/// before the answer does; some drivers give none.
const GRACE: Duration = Duration::from_millis(50);

/// The stamps of one run.
#[derive(Debug, Default)]
pub struct StampLedger {
    packets: BTreeMap<Token, Packet>,
    by_sequence: BTreeMap<u16, Token>,
    /// Packets without a kernel stamp as yet.
    unstamped: BTreeSet<Token>,
    /// Those among them that may have been answered, and how long to wait for their stamp.
    awaited: BTreeMap<Token, Nanos>,
    /// A socket without stamps was used, or something arrived without one.
    user: bool,
    /// The greatest error of an arrival that may answer any packet.
    any: Option<u64>,
}

/// How wrong a packet's times can be, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Packet {
    departure: u64,
    /// The greatest over its answers.
    arrival: Option<u64>,
}

impl StampLedger {
    /// A packet has left through a socket that gets stamps, or (`stamping` false) does not. Until its stamp comes, its
    /// departure can be wrong by `error`.
    pub fn sent(&mut self, token: Token, sequence: Option<u16>, stamping: bool, error: u64) {
        self.user |= !stamping;
        self.packets.insert(token, Packet { departure: error, arrival: None });
        if let Some(sequence) = sequence {
            self.by_sequence.insert(sequence, token);
        }
        if stamping {
            self.unstamped.insert(token);
        }
    }

    /// The kernel's stamp of a packet has come; its time can be wrong by `error`.
    pub fn stamped(&mut self, token: Token, error: u64) {
        self.unstamped.remove(&token);
        self.awaited.remove(&token);
        if let Some(packet) = self.packets.get_mut(&token) {
            packet.departure = error;
        }
    }

    /// An answer or an ICMP error has come, with the kernel's stamp or without, at a time that can be wrong by `error`.
    /// Without a sequence number it may belong to any packet.
    pub fn received(&mut self, sequence: Option<u16>, kernel: bool, error: u64, now: Nanos) {
        self.user |= !kernel;
        let until = now + GRACE;
        match sequence {
            Some(sequence) => {
                let Some(token) = self.by_sequence.get(&sequence) else { return };
                if let Some(packet) = self.packets.get_mut(token) {
                    packet.arrival = packet.arrival.max(Some(error));
                }
                if self.unstamped.contains(token) {
                    self.awaited.entry(*token).or_insert(until);
                }
            }
            None => {
                self.any = self.any.max(Some(error));
                for token in &self.unstamped {
                    self.awaited.entry(*token).or_insert(until);
                }
            }
        }
    }

    /// Until when the run should not end, because a stamp it needs is missing.
    pub fn wait_until(&self) -> Option<Nanos> {
        self.awaited.values().max().copied()
    }

    /// What the times of the run rest on. Packets without an answer do not count: their times are not used.
    pub fn source(&self) -> StampSource {
        if self.user {
            StampSource::User
        } else if self.awaited.is_empty() {
            StampSource::Kernel
        } else {
            StampSource::KernelReceive
        }
    }

    /// How wrong a round-trip time of the run can be, in nanoseconds; `None` when nothing was answered.
    pub fn rtt_error(&self) -> Option<u64> {
        let of = |packet: &Packet| Some(packet.departure.saturating_add(packet.arrival.max(self.any)?));
        self.packets.values().filter_map(of).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = Nanos(1_000);

    #[test]
    fn all_stamps_make_the_kernel_the_source() {
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), Some(7), true, 900);
        ledger.stamped(Token(0), 3);
        ledger.received(Some(7), true, 4, NOW);
        assert_eq!(ledger.wait_until(), None);
        assert_eq!((ledger.source(), ledger.rtt_error()), (StampSource::Kernel, Some(7)));
    }

    #[test]
    fn a_late_stamp_is_waited_for() {
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), Some(7), true, 900);
        ledger.received(Some(7), true, 4, NOW);
        assert_eq!(ledger.wait_until(), Some(NOW + GRACE));
        assert_eq!((ledger.source(), ledger.rtt_error()), (StampSource::KernelReceive, Some(904)));
        ledger.stamped(Token(0), 3);
        assert_eq!(ledger.wait_until(), None);
        assert_eq!((ledger.source(), ledger.rtt_error()), (StampSource::Kernel, Some(7)));
    }

    #[test]
    fn a_packet_that_nobody_answered_needs_no_stamp() {
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), Some(7), true, 900);
        ledger.sent(Token(1), Some(8), true, 900);
        assert_eq!(ledger.rtt_error(), None);
        ledger.stamped(Token(1), 3);
        ledger.received(Some(8), true, 4, NOW);
        assert_eq!((ledger.source(), ledger.rtt_error()), (StampSource::Kernel, Some(7)));
    }

    #[test]
    fn an_answer_that_names_no_packet_may_belong_to_any() {
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), None, true, 900);
        ledger.sent(Token(1), None, true, 900);
        ledger.stamped(Token(1), 3);
        ledger.received(None, true, 4, NOW);
        assert_eq!((ledger.source(), ledger.rtt_error()), (StampSource::KernelReceive, Some(904)));
    }

    #[test]
    fn the_worst_answer_counts() {
        let mut ledger = StampLedger::default();
        for (token, sequence, error) in [(0, 7, 10), (1, 8, 20)] {
            ledger.sent(Token(token), Some(sequence), true, 900);
            ledger.stamped(Token(token), error);
        }
        ledger.received(Some(7), true, 100, NOW);
        ledger.received(Some(7), true, 50, NOW);
        ledger.received(Some(8), true, 5, NOW);
        assert_eq!(ledger.rtt_error(), Some(110));
    }

    #[test]
    fn one_arrival_without_a_stamp_makes_the_user_the_source() {
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), Some(7), true, 900);
        ledger.stamped(Token(0), 3);
        ledger.received(Some(7), false, 4, NOW);
        assert_eq!(ledger.source(), StampSource::User);
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), Some(7), false, 900);
        assert_eq!(ledger.source(), StampSource::User);
        assert_eq!(ledger.wait_until(), None);
    }
}
