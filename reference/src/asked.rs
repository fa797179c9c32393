//! Who asked for echoes in the last minutes, and what routers complained about replies to them. Of bounded size. Pure: time
//! is an argument.
//!
//! Only who has shown a token gets a place, and only for him are complaints kept: an ICMP message can be forged.

use std::collections::HashMap;
use std::mem::take;
use std::net::SocketAddr;

use sonde_protocol::reference::echo::TooBig;

/// How long an asker is remembered at least, in seconds; at most twice as long.
const PERIOD: u64 = 120;

/// Askers of one period. More push the older ones out early.
const MOST: usize = 8192;

/// The memory: this period and the one before.
#[derive(Default)]
pub(crate) struct Asked {
    young: HashMap<SocketAddr, Option<TooBig>>,
    old: HashMap<SocketAddr, Option<TooBig>>,
    /// When `young` began, in seconds since the beginning.
    since: u64,
}

impl Asked {
    /// Somebody with a right token asks, at `now` seconds since the beginning. Gives what was complained about earlier replies.
    pub(crate) fn ask(&mut self, asker: SocketAddr, now: u64) -> Option<TooBig> {
        self.age(now);
        let known = self.young.get(&asker).or_else(|| self.old.get(&asker)).copied().flatten();
        self.young.insert(asker, known);
        known
    }

    /// A router complains about a reply to `asker`.
    pub(crate) fn complain(&mut self, asker: SocketAddr, too_big: TooBig, now: u64) {
        self.age(now);
        if let Some(place) = self.young.get_mut(&asker).or_else(|| self.old.get_mut(&asker)) {
            *place = Some(too_big);
        }
    }

    fn age(&mut self, now: u64) {
        if now >= self.since + PERIOD || self.young.len() >= MOST {
            self.old = take(&mut self.young);
            if now >= self.since + 2 * PERIOD {
                self.old.clear();
            }
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(port: u16) -> SocketAddr {
        SocketAddr::new("192.0.2.1".parse().unwrap(), port)
    }

    #[test]
    fn complaints_are_told_to_who_asked_for_a_while() {
        let too_big = TooBig { from: "192.0.2.9".parse().unwrap(), mtu: 1280 };
        let mut asked = Asked::default();
        asked.complain(asker(1), too_big, 0);
        assert_eq!(asked.ask(asker(1), 0), None, "nobody had asked: it may be forged");
        asked.complain(asker(1), too_big, 1);
        assert_eq!(asked.ask(asker(1), 2), Some(too_big));
        assert_eq!(asked.ask(asker(2), 2), None);
        assert_eq!(asked.ask(asker(1), PERIOD + 1), Some(too_big), "asking keeps it");
        assert_eq!(asked.ask(asker(1), 10 * PERIOD), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut asked = Asked::default();
        for port in 0..=u16::MAX {
            asked.ask(asker(port), 0);
        }
        assert!(asked.young.len() <= MOST && asked.old.len() <= MOST);
    }
}
