//! Packets of one socket that wait for the kernel's stamp of their departure, by the kernel's own count of sends
//! (`SOF_TIMESTAMPING_OPT_ID`). Pure; time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sonde_protocol::time::{Nanos, UnixNanos};

use super::clock::{Placed, StampConverter};

/// Sends that may wait for their stamp; the oldest ones lose it beyond. Five seconds of a fast probe.
const LIMIT: usize = 8192;

/// A packet without a stamp for so long was dropped on its way out (no neighbour, for instance).
const LIFE: Duration = Duration::from_secs(5);

/// The count, and which restart of it.
type Key = (u32, u32);

/// The packets. A `T` of the caller names each.
#[derive(Debug)]
pub struct Departures<T> {
    waiting: BTreeMap<Key, Departure<T>>,
    /// In the order of sending, with those that have their stamp by now.
    order: VecDeque<(Nanos, Key)>,
    /// The kernel's count as we believe it to be.
    next: u32,
    restart: u32,
}

#[derive(Debug, Clone, Copy)]
struct Departure<T> {
    tag: T,
    before: Nanos,
}

impl<T: Copy> Departures<T> {
    /// None, and the kernel counts from 0.
    pub fn new() -> Self {
        Self { waiting: BTreeMap::new(), order: VecDeque::new(), next: 0, restart: 0 }
    }

    /// The kernel's count begins anew. Stamps of older sends may still come; [`Self::claim`] sorts them out.
    pub fn restart(&mut self) {
        self.next = 0;
        self.restart = self.restart.wrapping_add(1);
    }

    /// A packet was sent by a call that began at `before`.
    pub fn sent(&mut self, tag: T, before: Nanos) {
        let too_old = before - LIFE;
        while let Some((_, key)) = self.order.pop_front_if(|(at, _)| *at < too_old) {
            self.waiting.remove(&key);
        }
        while self.order.len() >= LIMIT
            && let Some((_, key)) = self.order.pop_front()
        {
            self.waiting.remove(&key);
        }
        let key = (self.next, self.restart);
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(key, Departure { tag, before });
        self.order.push_back((before, key));
    }

    /// The send that the kernel counted as `number` and stamped at `stamp`, with that time for engines.
    ///
    /// After [`Self::restart`] several sends may have the number. Those that began after the stamp cannot be meant; if that
    /// leaves more than one, all stay without a stamp, because a wrong one is worse than none.
    pub fn claim(&mut self, clock: &StampConverter, number: u32, stamp: UnixNanos, now: Nanos) -> Option<(T, Placed)> {
        let mut claimed = None;
        let mut candidates = 0;
        let keys: Vec<Key> = self.waiting.range((number, 0)..=(number, u32::MAX)).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(departure) = self.waiting.get(&key).copied() else { continue };
            let Some(placed) = clock.place(stamp, departure.before, now) else { continue };
            self.waiting.remove(&key);
            candidates += 1;
            claimed = Some((departure.tag, placed));
        }
        claimed.filter(|_| candidates == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::fake::FakeClock;
    use super::*;

    /// Sends a packet and gives the kernel's stamp of it.
    fn send(departures: &mut Departures<char>, clock: &FakeClock, converter: &StampConverter, tag: char) -> UnixNanos {
        converter.look();
        let before = converter.now();
        clock.pass(2_000);
        let stamp = clock.stamp();
        clock.pass(2_000);
        converter.look();
        departures.sent(tag, before);
        stamp
    }

    #[test]
    fn stamps_find_their_packets_in_any_order() {
        let clock = FakeClock::new();
        let converter = StampConverter::new(clock.clone());
        let mut departures = Departures::new();
        let stamps = ['a', 'b', 'c'].map(|tag| send(&mut departures, &clock, &converter, tag));
        for (number, tag) in [(2, 'c'), (0, 'a'), (1, 'b')] {
            let claimed = departures.claim(&converter, number, stamps[number as usize], converter.now());
            assert_eq!(claimed.map(|(tag, _)| tag), Some(tag));
            assert_eq!(departures.claim(&converter, number, stamps[number as usize], converter.now()), None);
        }
    }

    #[test]
    fn after_a_restart_a_stamp_goes_to_the_packet_that_can_be_meant_or_to_none() {
        let clock = FakeClock::new();
        let converter = StampConverter::new(clock.clone());
        let mut departures = Departures::new();
        let old = send(&mut departures, &clock, &converter, 'o');
        departures.restart();
        let new = send(&mut departures, &clock, &converter, 'n');
        let mut claim = |stamp| departures.claim(&converter, 0, stamp, converter.now()).map(|(tag, _)| tag);
        assert_eq!(claim(old), Some('o'), "the new one had not begun");
        assert_eq!(claim(new), Some('n'));
        send(&mut departures, &clock, &converter, 'o');
        departures.restart();
        let new = send(&mut departures, &clock, &converter, 'n');
        assert_eq!(departures.claim(&converter, 2, new, converter.now()), None, "no such number");
        assert_eq!(departures.claim(&converter, 0, new, converter.now()).map(|(tag, _)| tag), Some('n'));
    }

    #[test]
    fn what_waits_is_bounded() {
        let clock = FakeClock::new();
        let converter = StampConverter::new(clock.clone());
        let mut departures = Departures::new();
        for _ in 0..LIMIT + 10 {
            departures.sent('x', converter.now());
        }
        assert_eq!((departures.waiting.len(), departures.order.len()), (LIMIT, LIMIT));
        clock.pass(6_000_000_000);
        departures.sent('x', converter.now());
        assert_eq!((departures.waiting.len(), departures.order.len()), (1, 1));
    }
}
