//! Keeps account of whose stamps a run's times rest on. Pure; time is an argument.

use std::collections::BTreeMap;
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
    /// Packets without a kernel stamp as yet, with their ICMP sequence number.
    unstamped: BTreeMap<Token, Option<u16>>,
    /// Those among them that may have been answered, and how long to wait for their stamp.
    awaited: BTreeMap<Token, Nanos>,
    /// A socket without stamps was used, or something arrived without one.
    user: bool,
}

impl StampLedger {
    /// A packet has left through a socket that gets stamps, or (`stamping` false) does not.
    pub fn sent(&mut self, token: Token, sequence: Option<u16>, stamping: bool) {
        self.user |= !stamping;
        if stamping {
            self.unstamped.insert(token, sequence);
        }
    }

    /// The kernel's stamp of a packet has come.
    pub fn stamped(&mut self, token: Token) {
        self.unstamped.remove(&token);
        self.awaited.remove(&token);
    }

    /// An answer or an ICMP error has come, with the kernel's stamp or without. Without a sequence number it may belong to
    /// any packet.
    pub fn received(&mut self, sequence: Option<u16>, kernel: bool, now: Nanos) {
        self.user |= !kernel;
        for (token, sent) in &self.unstamped {
            if sequence.is_none() || *sent == sequence {
                self.awaited.entry(*token).or_insert(now + GRACE);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = Nanos(1_000);

    #[test]
    fn all_stamps_make_the_kernel_the_source() {
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), Some(7), true);
        ledger.stamped(Token(0));
        ledger.received(Some(7), true, NOW);
        assert_eq!(ledger.wait_until(), None);
        assert_eq!(ledger.source(), StampSource::Kernel);
    }

    #[test]
    fn a_late_stamp_is_waited_for() {
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), Some(7), true);
        ledger.received(Some(7), true, NOW);
        assert_eq!(ledger.wait_until(), Some(NOW + GRACE));
        assert_eq!(ledger.source(), StampSource::KernelReceive);
        ledger.stamped(Token(0));
        assert_eq!(ledger.wait_until(), None);
        assert_eq!(ledger.source(), StampSource::Kernel);
    }

    #[test]
    fn a_packet_that_nobody_answered_needs_no_stamp() {
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), Some(7), true);
        ledger.sent(Token(1), Some(8), true);
        ledger.stamped(Token(1));
        ledger.received(Some(8), true, NOW);
        assert_eq!(ledger.source(), StampSource::Kernel);
    }

    #[test]
    fn an_answer_that_names_no_packet_may_belong_to_any() {
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), None, true);
        ledger.received(None, true, NOW);
        assert_eq!(ledger.source(), StampSource::KernelReceive);
    }

    #[test]
    fn one_arrival_without_a_stamp_makes_the_user_the_source() {
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), Some(7), true);
        ledger.stamped(Token(0));
        ledger.received(Some(7), false, NOW);
        assert_eq!(ledger.source(), StampSource::User);
        let mut ledger = StampLedger::default();
        ledger.sent(Token(0), Some(7), false);
        assert_eq!(ledger.source(), StampSource::User);
        assert_eq!(ledger.wait_until(), None);
    }
}
