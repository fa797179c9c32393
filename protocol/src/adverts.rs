//! What routers advertise beside addresses and routes: resolvers (RFC 8106) and NAT64 prefixes (RFC 8781), as Linux passes it on.
//!
//! The kernel keeps neither. It hands the options to who listens on rtnetlink(7), when an advertisement comes and never again; so
//! [`Heard`] remembers them for as long as they are good. Bytes and times are arguments. Whoever is on the link can send
//! advertisements, so it is bounded.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::time::Duration;

use ipnet::Ipv6Net;

use crate::net::Ip;
use crate::result::ipv6::Pref64;
use crate::time::Nanos;

/// `RTNLGRP_ND_USEROPT` (linux/rtnetlink.h), as a bit of the groups that a socket joins.
pub const GROUP: u32 = 1 << (20 - 1);

/// `RTM_NEWNDUSEROPT`.
const NEW_OPTION: u16 = 68;
/// Bytes of a message of netlink before what is in it (`nlmsghdr`), and of `nduseroptmsg`.
const MESSAGE_HEADER: usize = 16;
const OPTION_HEADER: usize = 16;

/// A router advertisement's type, and its bytes before the options (RFC 4861, 4.2).
const ADVERT: u8 = 134;
const ADVERT_HEADER: usize = 16;

/// Options of neighbour discovery.
const RDNSS: u8 = 25;
const PREF64: u8 = 38;

/// As many of each as a result holds, from as many links.
const MOST: usize = 8;

/// Lengths of prefixes by their code (RFC 8781, section 4).
const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];

/// What was heard, by link.
#[derive(Debug, Default)]
pub struct Heard {
    links: BTreeMap<u32, Options>,
}

#[derive(Debug, Default)]
struct Options {
    resolvers: Vec<(Ipv6Addr, Nanos)>,
    prefixes: Vec<((Ipv6Addr, u8), Nanos)>,
}

impl Heard {
    /// What came off the socket at `now`.
    pub fn hear(&mut self, mut bytes: &[u8], now: Nanos) {
        while let Some((length, kind)) = head(bytes) {
            if kind == NEW_OPTION {
                // What makes no sense is left out; the next message may.
                let _ = bytes.get(MESSAGE_HEADER..length).and_then(|message| self.message(message, now));
            }
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    /// `nduseroptmsg`: family, padding, length of the options, interface, type and code of the ICMP message, padding.
    fn message(&mut self, message: &[u8], now: Nanos) -> Option<()> {
        let (header, options) = message.split_at_checked(OPTION_HEADER)?;
        let index = u32::from_ne_bytes(*header.get(4..)?.first_chunk()?);
        let length = usize::from(u16::from_ne_bytes(*header.get(2..)?.first_chunk()?));
        self.options(index, options.get(..length)?, now)
    }

    /// A whole advertisement that came off a link at `now`, from its type on (RFC 4861, 4.2). Whether it really came from a router
    /// of the link is for the caller to say.
    pub fn advert(&mut self, index: u32, message: &[u8], now: Nanos) {
        let [ADVERT, 0, ..] = message else { return };
        let _ = message.get(ADVERT_HEADER..).and_then(|options| self.options(index, options, now));
    }

    /// Was anything heard of this link's routers? If not, nobody knows what they tell.
    pub fn has_heard(&self, index: u32) -> bool {
        self.links.contains_key(&index)
    }

    fn options(&mut self, index: u32, mut options: &[u8], now: Nanos) -> Option<()> {
        if !self.links.contains_key(&index) && self.links.len() >= MOST {
            return None;
        }
        let known = self.links.entry(index).or_default();
        while let [kind, units, ..] = *options {
            // In units of eight bytes; none would never end (RFC 4861, 4.6).
            let (option, rest) = options.split_at_checked(usize::from(units) * 8)?;
            (units > 0).then_some(())?;
            match kind {
                RDNSS => known.rdnss(option, now)?,
                PREF64 => known.pref64(option, now)?,
                _ => {}
            }
            options = rest;
        }
        Some(())
    }

    /// Forgets a link: whoever is at it next has told nothing yet.
    pub fn forget(&mut self, index: u32) {
        self.links.remove(&index);
    }

    /// When the next thing heard from a link stops being good.
    pub fn next_end(&self, index: u32, now: Nanos) -> Option<Nanos> {
        let known = self.links.get(&index)?;
        let ends =
            known.resolvers.iter().map(|(_, until)| *until).chain(known.prefixes.iter().map(|(_, until)| *until));
        ends.filter(|until| *until > now).min()
    }

    /// The resolvers of a link that are still good.
    pub fn resolvers(&self, index: u32, now: Nanos) -> Vec<Ip> {
        let known = self.links.get(&index).map(|options| options.resolvers.as_slice()).unwrap_or_default();
        known.iter().filter(|(_, until)| *until > now).map(|(address, _)| Ip((*address).into())).collect()
    }

    /// The NAT64 prefixes of a link that are still good, with what is left of their time.
    pub fn prefixes(&self, index: u32, now: Nanos) -> Vec<Pref64> {
        let known = self.links.get(&index).map(|options| options.prefixes.as_slice()).unwrap_or_default();
        let left = |until: Nanos| u32::try_from(until.since(now).as_secs()).unwrap_or(u32::MAX).max(1);
        let good = known.iter().filter(|(_, until)| *until > now);
        good.map(|((prefix, length), until)| Pref64 {
            prefix: Ip((*prefix).into()),
            length: *length,
            lifetime: left(*until),
        })
        .collect()
    }
}

impl Options {
    /// RFC 8106, 5.1: type, length, two bytes reserved, lifetime, addresses.
    fn rdnss(&mut self, option: &[u8], now: Nanos) -> Option<()> {
        let lifetime = u32::from_be_bytes(*option.get(4..)?.first_chunk()?);
        let (addresses, _) = option.get(8..)?.as_chunks::<16>();
        for octets in addresses {
            keep(&mut self.resolvers, Ipv6Addr::from(*octets), lifetime, now);
        }
        Some(())
    }

    /// RFC 8781, section 4: type, length 2, lifetime in eights of seconds with the code of the length, the first 96 bits.
    fn pref64(&mut self, option: &[u8], now: Nanos) -> Option<()> {
        let [_, 2, high, low, prefix @ ..] = option else { return Some(()) };
        let word = u16::from_be_bytes([*high, *low]);
        let Some(length) = LENGTHS.get(usize::from(word & 7)) else { return Some(()) };
        let mut octets = [0; 16];
        octets.get_mut(..12)?.copy_from_slice(prefix.first_chunk::<12>()?);
        let net = Ipv6Net::new(Ipv6Addr::from(octets), *length).ok()?;
        keep(&mut self.prefixes, (net.network(), *length), u32::from(word & !7), now);
        Some(())
    }
}

/// Remembers `one` for `lifetime` seconds, or forgets it when that is none. What is no longer good makes room.
fn keep<T: PartialEq>(all: &mut Vec<(T, Nanos)>, one: T, lifetime: u32, now: Nanos) {
    all.retain(|(known, until)| *known != one && *until > now);
    if lifetime > 0 && all.len() < MOST {
        all.push((one, now + Duration::from_secs(lifetime.into())));
    }
}

/// Length and type of the message that begins here.
fn head(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    (MESSAGE_HEADER..=bytes.len()).contains(&length).then_some((length, kind))
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    fn message(index: u32, options: &[u8]) -> Vec<u8> {
        let length = u16::try_from(options.len()).unwrap();
        let inner = [&[10, 0][..], &length.to_ne_bytes(), &index.to_ne_bytes(), &[134, 0], &[0; 6], options].concat();
        let whole = u32::try_from(inner.len() + MESSAGE_HEADER).unwrap();
        [&whole.to_ne_bytes()[..], &NEW_OPTION.to_ne_bytes(), &[0; 10], &inner].concat()
    }

    fn rdnss(lifetime: u32, addresses: &[&str]) -> Vec<u8> {
        let units = u8::try_from(1 + 2 * addresses.len()).unwrap();
        let octets = addresses.iter().flat_map(|text| text.parse::<Ipv6Addr>().unwrap().octets());
        [&[RDNSS, units, 0, 0][..], &lifetime.to_be_bytes(), &octets.collect::<Vec<_>>()].concat()
    }

    fn pref64(word: u16, prefix: &str) -> Vec<u8> {
        let octets = prefix.parse::<Ipv6Addr>().unwrap().octets();
        [&[PREF64, 2][..], &word.to_be_bytes(), &octets[..12]].concat()
    }

    fn secs(seconds: i64) -> Nanos {
        Nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn resolvers_are_good_for_their_time_and_until_the_router_takes_them_back() {
        let mut heard = Heard::default();
        heard.hear(&message(2, &rdnss(600, &["2001:db8::53", "fe80::53"])), secs(0));
        heard.hear(&message(3, &rdnss(600, &["2001:db8:3::53"])), secs(0));
        let told =
            |heard: &Heard, at| heard.resolvers(2, secs(at)).iter().map(|ip| ip.0.to_string()).collect::<Vec<_>>();
        assert_eq!(told(&heard, 599), ["2001:db8::53", "fe80::53"]);
        assert_eq!(told(&heard, 600), [""; 0]);
        heard.hear(&message(2, &rdnss(600, &["2001:db8::53"])), secs(300));
        heard.hear(&message(2, &rdnss(0, &["fe80::53"])), secs(301));
        assert_eq!(told(&heard, 800), ["2001:db8::53"]);
        assert_eq!(heard.next_end(2, secs(800)), Some(secs(900)));
        assert_eq!(heard.next_end(2, secs(900)), None);
        heard.forget(2);
        assert_eq!(told(&heard, 800), [""; 0]);
        assert_eq!(heard.resolvers(3, secs(1)).len(), 1);
    }

    #[test]
    fn prefixes_have_the_length_that_their_code_says() {
        let mut heard = Heard::default();
        for (code, length) in [(0, 96), (1, 64), (2, 56), (3, 48), (4, 40), (5, 32)] {
            heard.hear(&message(2, &pref64(1800 | code, "64:ff9b:1:fffe:ffff:ffff::")), secs(0));
            let told = *heard.prefixes(2, secs(600)).last().unwrap();
            let net = Ipv6Net::new("64:ff9b:1:fffe:ffff:ffff::".parse().unwrap(), length).unwrap();
            assert_eq!(told, Pref64 { prefix: Ip(net.network().into()), length, lifetime: 1200 });
        }
        let count = heard.prefixes(2, secs(0)).len();
        for word in [1800 | 6, 1800 | 7] {
            heard.hear(&message(2, &pref64(word, "64:ff9b:2::")), secs(0));
        }
        assert_eq!(heard.prefixes(2, secs(0)).len(), count, "codes without a meaning");
        heard.hear(&message(2, &pref64(0, "64:ff9b:1:fffe:ffff:ffff::")), secs(1));
        assert_eq!(heard.prefixes(2, secs(2)).len(), count - 1, "taken back");
    }

    #[test]
    fn a_whole_advertisement_tells_the_same_and_that_there_is_nothing_to_tell() {
        let mut heard = Heard::default();
        let advert = |options: &[u8]| [&[ADVERT, 0, 0, 0, 64, 0, 7, 8][..], &[0; 8], options].concat();
        assert!(!heard.has_heard(2));
        heard.advert(2, &[133, 0, 0, 0, 0, 0, 0, 0], secs(0));
        heard.advert(2, &advert(&[])[..15], secs(0));
        assert!(!heard.has_heard(2), "no advertisement, or not the whole of it");
        heard.advert(2, &advert(&[]), secs(0));
        assert!(heard.has_heard(2) && heard.prefixes(2, secs(0)).is_empty());
        let options =
            [[1, 1, 0, 0, 0, 0, 0, 9].to_vec(), rdnss(600, &["2001:db8::53"]), pref64(1800, "64:ff9b::")].concat();
        heard.advert(2, &advert(&options), secs(0));
        assert_eq!((heard.resolvers(2, secs(1)).len(), heard.prefixes(2, secs(1)).len()), (1, 1));
    }

    #[test]
    fn what_a_neighbour_makes_up_is_bounded_and_harmless() {
        let mut heard = Heard::default();
        for index in 0..1000 {
            heard.hear(&message(index, &rdnss(u32::MAX, &["2001:db8::1"])), secs(0));
        }
        assert_eq!(heard.links.len(), MOST);
        for n in 0..1000 {
            heard.hear(&message(2, &rdnss(u32::MAX, &[&format!("2001:db8::{n:x}")])), secs(1));
        }
        assert_eq!(heard.resolvers(2, secs(2)).len(), MOST);
        let whole = message(2, &[rdnss(60, &["2001:db8::1"]), pref64(600, "64:ff9b::")].concat());
        for length in 0..whole.len() {
            heard.hear(&whole[..length], secs(2));
            let mut longer = whole.clone();
            longer[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
            heard.hear(&longer, secs(2));
        }
        // An option of no length.
        heard.hear(&message(2, &[RDNSS, 0, 0, 0]), secs(2));
        heard.hear(&message(2, &[PREF64, 1, 7, 8, 0, 0, 0, 0]), secs(2));
    }
}
