//! Where on the path packets of a size vanish: sends packets of that size with one hop more each time, as traceroute does,
//! and small ones to the hops that do not answer them. It must not know packets or times.
//!
//! 1. A router that says of a packet of the lost size that its hop limit ran out is in front of the hole.
//! 2. One that says so of small packets only is behind it, if [`BEHIND`] in a row do; a single one may limit its errors.
//! 3. Routers that say nothing at all tell nothing; after [`DARK`] of them in a row it is enough.

use core::net::IpAddr;

use sonde_protocol::net::Ip;
use sonde_protocol::result::MtuHop;

/// Tries of each size at one hop.
const TRIES: u8 = 2;
/// Routers in a row behind the hole that end the search for it.
const BEHIND: u8 = 3;
/// Silent routers in a row that end it.
const DARK: u8 = 4;
/// The farthest hop asked.
const MAX_HOPS: u8 = 32;

/// Who answered a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// A router where its hop limit ran out.
    Router(IpAddr),
    /// The target.
    Target(IpAddr),
    /// Nobody.
    Silence,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Locate {
    hop: u8,
    long_tries: u8,
    small_tries: u8,
    behind: u8,
    dark: u8,
    done: bool,
    /// The farthest that long packets reached.
    pub last: Option<MtuHop>,
    /// The first behind it that only small ones reached.
    pub next: Option<MtuHop>,
}

impl Locate {
    pub fn new() -> Self {
        Self { hop: 1, long_tries: 0, small_tries: 0, behind: 0, dark: 0, done: false, last: None, next: None }
    }

    /// The hop limit of the next packet, and whether it is a long one; `None` when the search has ended.
    pub fn next_packet(&self) -> Option<(u8, bool)> {
        (!self.done && self.hop <= MAX_HOPS).then_some((self.hop, self.long_tries < TRIES))
    }

    /// What became of a packet with this hop limit.
    pub fn seen(&mut self, hop: u8, is_long: bool, seen: Seen) {
        if self.done || hop != self.hop {
            return;
        }
        match (is_long, seen) {
            (true, Seen::Router(from)) => {
                self.last = Some(MtuHop { hop, from: Ip(from) });
                (self.next, self.behind) = (None, 0);
                self.advance(false);
            }
            (true, Seen::Silence) => self.long_tries += 1,
            // It arrives after all: there is nothing to be found.
            (true, Seen::Target(_)) => self.done = true,
            (false, Seen::Router(from)) => {
                self.note_behind(hop, from);
                self.behind += 1;
                self.done = self.behind >= BEHIND;
                self.advance(false);
            }
            (false, Seen::Target(from)) => {
                self.note_behind(hop, from);
                self.done = true;
            }
            (false, Seen::Silence) => {
                self.small_tries += 1;
                if self.small_tries >= TRIES {
                    self.advance(true);
                }
            }
        }
    }

    fn note_behind(&mut self, hop: u8, from: IpAddr) {
        self.next.get_or_insert(MtuHop { hop, from: Ip(from) });
    }

    fn advance(&mut self, is_dark: bool) {
        self.dark = if is_dark { self.dark + 1 } else { 0 };
        self.done |= self.dark >= DARK;
        self.hop += 1;
        (self.long_tries, self.small_tries) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a path of `length` routers with a hole behind router `hole`; `dark` ones say nothing.
    fn play(length: u8, hole: u8, dark: &[u8]) -> (Option<u8>, Option<u8>, u32) {
        let mut locate = Locate::new();
        let mut packets = 0;
        while let Some((hop, is_long)) = locate.next_packet() {
            packets += 1;
            let from = IpAddr::from([10, 0, 0, hop.min(length + 1)]);
            let seen = match () {
                () if is_long && hop > hole => Seen::Silence,
                () if hop > length => Seen::Target(from),
                () if dark.contains(&hop) => Seen::Silence,
                () => Seen::Router(from),
            };
            locate.seen(hop, is_long, seen);
        }
        (locate.last.map(|hop| hop.hop), locate.next.map(|hop| hop.hop), packets)
    }

    #[test]
    fn the_hole_is_between_the_last_and_the_next() {
        assert_eq!(play(9, 3, &[]), (Some(3), Some(4), 12));
        assert_eq!(play(9, 0, &[]), (None, Some(1), 9));
        assert_eq!(play(3, 3, &[]), (Some(3), Some(4), 6));
        assert_eq!(play(9, 3, &[3, 5]).0, Some(2));
        assert_eq!(play(9, 3, &[4, 5]).1, Some(6));
    }

    #[test]
    fn it_ends_where_nobody_answers() {
        let everybody: [u8; 32] = core::array::from_fn(|i| i as u8 + 1);
        assert_eq!(play(40, 40, &everybody), (None, None, 16));
        assert_eq!(play(40, 40, &[]), (Some(32), None, 32));
    }
}
