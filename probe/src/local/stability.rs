//! How often the machine's IPv6 addresses and default routes change. Pure bookkeeping: what is there, and when, are arguments.
//!
//! It counts what it is shown. Show it the tables at every look, and whenever the kernel says that something has changed: what
//! comes and goes in between is not seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ipnet::Ipv6Net;
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{AddressClass, AddressSeen, RouteSeen, Stability};
use sonde_protocol::time::Nanos;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

/// The most prefixes and changes that are remembered. More in a day is a line that flaps whatever the number.
const MOST: usize = 1024;

/// What changed in the last day.
#[derive(Debug, Default)]
pub struct Changes {
    /// Each /64 and when it was last there.
    prefixes: BTreeMap<Ipv6Addr, Nanos>,
    /// When the last default route went.
    gaps: VecDeque<Nanos>,
    /// When the prefixes or the default routes became others.
    changes: VecDeque<Nanos>,
    now: Option<State>,
}

/// What is compared.
#[derive(Debug, PartialEq, Eq)]
struct State {
    prefixes: BTreeSet<Ipv6Addr>,
    routes: BTreeSet<(Option<IpAddr>, String)>,
}

impl Changes {
    /// This is there at `now`. The first look changes nothing.
    pub fn note(&mut self, addresses: &[AddressSeen], routes: &[RouteSeen], now: Nanos) {
        let state = State { prefixes: prefixes(addresses), routes: default_routes(routes) };
        for prefix in &state.prefixes {
            if self.prefixes.len() < MOST || self.prefixes.contains_key(prefix) {
                self.prefixes.insert(*prefix, now);
            }
        }
        if let Some(before) = &self.now
            && *before != state
        {
            push(&mut self.changes, now);
            if !before.routes.is_empty() && state.routes.is_empty() {
                push(&mut self.gaps, now);
            }
        }
        self.now = Some(state);
        self.prefixes.retain(|_, last| now.since(*last) <= DAY);
        self.gaps.retain(|at| now.since(*at) <= DAY);
        self.changes.retain(|at| now.since(*at) <= HOUR);
    }

    /// The counts at `now`; `None` before the first look.
    pub fn counts(&self, now: Nanos) -> Option<Stability> {
        self.now.as_ref()?;
        let in_a_day = self.prefixes.iter().filter(|(_, last)| now.since(**last) <= DAY).map(|(prefix, _)| *prefix);
        let prefixes: Vec<Ipv6Addr> = in_a_day.collect();
        let sites: BTreeSet<[u16; 3]> =
            prefixes.iter().filter_map(|prefix| prefix.segments().first_chunk().copied()).collect();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let within = |times: &VecDeque<Nanos>, span| count(times.iter().filter(|at| now.since(**at) <= span).count());
        Some(Stability {
            prefixes_64: count(prefixes.len()),
            prefixes_48: count(sites.len()),
            route_gaps: within(&self.gaps, DAY),
            changes: within(&self.changes, HOUR),
        })
    }
}

/// The /64 of each global address. A deprecated one was there before, and lingers.
fn prefixes(addresses: &[AddressSeen]) -> BTreeSet<Ipv6Addr> {
    let usable = addresses.iter().filter(|one| one.is_usable() && one.flags & AddressSeen::DEPRECATED == 0);
    usable
        .filter(|one| one.class() == AddressClass::Global)
        .filter_map(|one| match one.address.0 {
            IpAddr::V6(v6) => Ipv6Net::new(v6, 64).ok().map(|net| net.network()),
            IpAddr::V4(_) => None,
        })
        .collect()
}

fn default_routes(routes: &[RouteSeen]) -> BTreeSet<(Option<IpAddr>, String)> {
    let v6 = routes.iter().filter(|route| route.af == Family::V6);
    v6.map(|route| (route.gateway.map(|ip| ip.0), route.interface.to_string())).collect()
}

fn push(times: &mut VecDeque<Nanos>, now: Nanos) {
    if times.len() >= MOST {
        times.pop_front();
    }
    times.push_back(now);
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::Text;
    use sonde_protocol::net::Ip;
    use sonde_protocol::result::ipv6::LinkKind;

    use super::*;

    fn own(text: &str, flags: u32) -> AddressSeen {
        AddressSeen {
            address: Ip(text.parse().unwrap()),
            length: 64,
            interface: Text::cut("eth0"),
            flags,
            preferred: None,
            valid: None,
            origin: None,
        }
    }

    fn route(gateway: &str) -> RouteSeen {
        RouteSeen {
            af: Family::V6,
            gateway: Some(Ip(gateway.parse().unwrap())),
            interface: Text::cut("eth0"),
            link: LinkKind::Ether,
            origin: None,
            expires: None,
            neighbour: None,
            lease: None,
        }
    }

    fn minutes(minutes: i64) -> Nanos {
        Nanos(minutes * 60_000_000_000)
    }

    #[test]
    fn a_quiet_line_has_no_changes() {
        let mut changes = Changes::default();
        assert_eq!(changes.counts(minutes(0)), None);
        for n in 0..200 {
            // Lifetimes count down and privacy addresses come and go in the same prefix.
            let addresses = [own("2a00:1:2:3::9", 0), own(&format!("2a00:1:2:3::{n:x}"), 1), own("fe80::1", 0)];
            changes.note(&addresses, &[route("fe80::1")], minutes(15 * n));
        }
        let counts = Stability { prefixes_64: 1, prefixes_48: 1, route_gaps: 0, changes: 0 };
        assert_eq!(changes.counts(minutes(15 * 200)), Some(counts));
    }

    #[test]
    fn prefixes_gaps_and_changes_are_counted_for_their_time() {
        let mut changes = Changes::default();
        changes.note(&[own("2a00:1:2:3::9", 0)], &[route("fe80::1")], minutes(0));
        changes.note(&[own("2a00:1:2:3::9", 0)], &[], minutes(10));
        changes.note(
            &[own("2a00:1:2:4::9", 0), own("2a00:1:2:3::9", AddressSeen::DEPRECATED)],
            &[route("fe80::1")],
            minutes(20),
        );
        changes.note(&[own("2a00:1:9:4::9", 0)], &[route("fe80::1")], minutes(30));
        let counts = Stability { prefixes_64: 3, prefixes_48: 2, route_gaps: 1, changes: 3 };
        assert_eq!(changes.counts(minutes(30)), Some(counts));
        assert_eq!(changes.counts(minutes(75)).unwrap().changes, 2, "the first is over an hour ago");
        changes.note(&[own("2a00:1:9:4::9", 0)], &[route("fe80::1")], minutes(60 * 25));
        let counts = Stability { prefixes_64: 1, prefixes_48: 1, route_gaps: 0, changes: 0 };
        assert_eq!(changes.counts(minutes(60 * 25)), Some(counts));
    }

    #[test]
    fn a_line_that_never_rests_is_bounded() {
        let mut changes = Changes::default();
        for n in 0..5000_u16 {
            changes.note(&[own(&format!("2a00:1:{n:x}:4::9"), 0)], &[], Nanos(i64::from(n)));
        }
        assert_eq!(changes.prefixes.len(), MOST);
        assert_eq!(changes.counts(Nanos(5000)).unwrap().changes, u32::try_from(MOST).unwrap());
    }
}
