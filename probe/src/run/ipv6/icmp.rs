//! ICMP messages that networks must let pass (RFC 4890, section 4.3.1): each is provoked, and either comes back or does not.

use std::net::{IpAddr, SocketAddr};

use sonde_engine::ipv6::gather::Event;
use sonde_engine::ipv6::paths::TRIES;
use sonde_engine::ipv6::plan::ECHO_TIMEOUT;
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::IcmpSeen;
use tokio::time::{Instant, timeout_at};

use super::asking::{Asking, Became, Wanted};
use super::fragments::verdict;
use super::tools::Tools;
use crate::net::datagrams::{Datagrams, Fit, Heard};

/// Tries of a packet that must be answered by an error.
const ASKED: u32 = 3;

/// The packet that does not fit through the narrow link, which takes 1280 bytes.
const TOO_LONG: u32 = 1400;

/// What such a packet says: nothing.
const NOTHING: [u8; 8] = *b"sonde\0\0\0";

fn none(af: Family) -> IcmpSeen {
    IcmpSeen { af, unreachable: None, time_exceeded: None, echo: None, too_big: None }
}

/// A packet that is too long for the link in front of this address: somebody must say so.
pub async fn narrow(tools: &Tools<'_>, dst: SocketAddr) {
    let Ok(socket) = Datagrams::open(dst, Fit::Whole, None) else { return };
    let mut asking = Asking::new(tools, dst, socket, None);
    let small = Wanted { up: asking.least(), down: asking.least(), in_pieces: false };
    let mut controls = 0;
    let mut too_big = None;
    for _ in 0..TRIES {
        let enough = |became: &Became| became.back.is_some() || became.too_big.is_some();
        let Ok(became) = asking.both(Wanted { up: TOO_LONG, ..small }, small, enough).await else { return };
        // The own link does not take it, or the other is not narrow: there is nothing to be said about what comes back.
        if became.own_link || became.back.is_some() {
            return;
        }
        if became.too_big.is_some() {
            too_big = Some(true);
            break;
        }
        controls += u8::from(became.control.is_some());
    }
    let af = Family::of(dst.ip());
    if let Some(too_big) = too_big.or(verdict(controls)) {
        tools.tell(Event::Icmp(IcmpSeen { too_big: Some(too_big), ..none(af) }));
    }
}

/// A packet to a closed port: the target must say so.
pub async fn closed(tools: &Tools<'_>, dst: SocketAddr) {
    let Some(answer) = provoke(tools, dst, None).await else { return };
    let unreachable = Some(matches!(answer, Answer::Closed));
    tools.tell(Event::Icmp(IcmpSeen { unreachable, ..none(Family::of(dst.ip())) }));
}

/// A packet whose hop limit ends it on the way: a router must say so. On a short path it reaches the target; then it goes less
/// far.
pub async fn hop_limit(tools: &Tools<'_>, dst: SocketAddr, most: u8) {
    for limit in (1..=most).rev() {
        let Some(answer) = provoke(tools, dst, Some(limit)).await else { return };
        if answer != Answer::Closed {
            let time_exceeded = Some(answer == Answer::Exceeded);
            tools.tell(Event::Icmp(IcmpSeen { time_exceeded, ..none(Family::of(dst.ip())) }));
            return;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Closed,
    Exceeded,
    Other,
    Silence,
}

/// `None`: the machine cannot send it.
async fn provoke(tools: &Tools<'_>, dst: SocketAddr, hop_limit: Option<u8>) -> Option<Answer> {
    let mut socket = Datagrams::open(dst, Fit::Whole, hop_limit).ok()?;
    let mut last = Answer::Silence;
    for _ in 0..ASKED {
        tools.room(1).await;
        socket.send(&NOTHING).ok()?;
        let end = Instant::now() + tools.limit(ECHO_TIMEOUT);
        while let Ok(heard) = timeout_at(end, socket.next()).await {
            let Heard::Icmp { kind, code, .. } = heard.ok()? else { continue };
            last = answer(dst.ip(), kind, code);
            if last != Answer::Other {
                return Some(last);
            }
        }
    }
    Some(last)
}

const fn answer(dst: IpAddr, kind: u8, code: u8) -> Answer {
    match (dst, kind, code) {
        (IpAddr::V6(_), 1, 4) | (IpAddr::V4(_), 3, 3) => Answer::Closed,
        (IpAddr::V6(_), 3, 0) | (IpAddr::V4(_), 11, 0) => Answer::Exceeded,
        _ => Answer::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_says_depends_on_its_family() {
        let (v6, v4): (IpAddr, IpAddr) = ("2a00:1::1".parse().unwrap(), "20.0.0.1".parse().unwrap());
        for (dst, kind, code, expected) in [
            (v6, 1, 4, Answer::Closed),
            (v4, 3, 3, Answer::Closed),
            (v6, 3, 0, Answer::Exceeded),
            (v4, 11, 0, Answer::Exceeded),
            (v6, 3, 3, Answer::Other),
            (v4, 3, 13, Answer::Other),
            (v6, 1, 1, Answer::Other),
        ] {
            assert_eq!(answer(dst, kind, code), expected, "{kind} {code}");
        }
    }

    #[test]
    fn silence_counts_only_where_small_ones_pass() {
        assert_eq!((0..=4).map(verdict).collect::<Vec<_>>(), [None, None, None, Some(false), Some(false)]);
    }
}
