//! Which sizes to try in one direction: the longest first, then by halves between what passes and what does not.

use sonde_protocol::bounded::List;
use sonde_protocol::result::ipv6::{SizeTry, TooBig};

use super::paths::TRIES;

/// The sizes that say something: IPv6's least, and what Ethernet leaves behind the usual tunnels (WireGuard 1420, PPPoE and
/// 6in4 1472 to 1492). Whole packets.
pub const SIZES: [u32; 9] = [1280, 1400, 1420, 1452, 1460, 1472, 1480, 1492, 1500];

/// Below what IPv6 allows: tried when 1280 is lost, to tell a link that is too narrow from one that is dead.
pub const SMALL: u32 = 1200;

/// A search in one direction. Ask for the next packet, say what became of it, until there is none.
#[derive(Debug, Clone)]
pub struct Search {
    tries: List<SizeTry, 16>,
    /// So many of [`SIZES`], from the least on, are known to pass.
    passing: usize,
    /// Those from this place on are known not to.
    lost: usize,
    /// Not even the small packets beside the last size came: the least is tried next.
    try_least: bool,
    trying: Option<SizeTry>,
}

/// What became of a packet and of the small one beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// It arrived.
    pub arrived: bool,
    /// The small one did.
    pub control_arrived: bool,
    /// Somebody said that it was too big.
    pub too_big: Option<TooBig>,
}

impl Search {
    /// A search that has not begun.
    pub fn new() -> Self {
        Self { tries: List::default(), passing: 0, lost: SIZES.len(), try_least: false, trying: None }
    }

    /// The size of the next packet; `None`: it is known what passes.
    pub fn next_size(&mut self) -> Option<u32> {
        if self.trying.is_none() {
            let size = self.choose()?;
            self.trying = Some(SizeTry { size, sent: 0, lost: 0, controls_lost: 0, too_big: None });
        }
        self.trying.as_ref().map(|one| one.size)
    }

    fn choose(&self) -> Option<u32> {
        if self.tries.is_empty() {
            return SIZES.last().copied();
        }
        if self.try_least && self.passing == 0 && self.lost > 0 {
            return SIZES.first().copied();
        }
        if self.passing < self.lost {
            return SIZES.get(self.passing.midpoint(self.lost)).copied();
        }
        // Not even the least passes: would less?
        let tried = self.tries.iter().any(|one| one.size == SMALL);
        (self.lost == 0 && !tried).then_some(SMALL)
    }

    /// What became of the packet that was asked for last.
    pub fn handle(&mut self, fate: Fate) {
        let Some(mut one) = self.trying.take() else { return };
        one.sent = one.sent.saturating_add(1);
        one.lost = one.lost.saturating_add(u8::from(!fate.arrived));
        one.controls_lost = one.controls_lost.saturating_add(u8::from(!fate.control_arrived));
        one.too_big = one.too_big.or(fate.too_big);
        // Who says that it is too big need not be asked again; silence is asked until it is no chance.
        if !fate.arrived && one.too_big.is_none() && one.sent < TRIES {
            self.trying = Some(one);
            return;
        }
        let place = SIZES.iter().position(|size| *size == one.size);
        let passed = one.passed();
        // What goes beside is of the least size. Where it is lost as well there is no use in what lies between: so a run that has
        // little time sees what is wrong.
        self.try_least = !passed && one.sent >= TRIES && one.controls_lost == one.sent;
        // A list of sixteen has room for every size.
        let _ = self.tries.push(one);
        match place {
            Some(place) if passed => self.passing = place + 1,
            Some(place) => self.lost = place,
            None => {}
        }
    }

    /// What was tried.
    pub fn into_tries(self) -> List<SizeTry, 16> {
        self.tries
    }
}

impl Default for Search {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::net::Ip;

    use super::*;

    /// Searches on a path that takes so much; returns the longest that passed, and how many packets it took.
    fn search(takes: u32, tells: bool) -> (List<SizeTry, 16>, u32) {
        let mut search = Search::new();
        let mut packets = 0;
        while let Some(size) = search.next_size() {
            packets += 1;
            assert!(packets < 100, "it ends");
            let arrived = size <= takes;
            let told = (!arrived && tells).then(|| TooBig { from: Some(Ip([192, 0, 2, 1].into())), mtu: Some(takes) });
            search.handle(Fate { arrived, control_arrived: takes >= 1280, too_big: told });
        }
        (search.into_tries(), packets)
    }

    #[test]
    fn every_path_is_found_with_few_packets() {
        for tells in [true, false] {
            for takes in [1300, 1400, 1410, 1420, 1452, 1460, 1472, 1480, 1492, 1500, 1600] {
                let (tries, packets) = search(takes, tells);
                let passes = SIZES.into_iter().filter(|size| *size <= takes).max();
                let found = tries.iter().filter(|one| one.passed()).map(|one| one.size).max();
                assert_eq!(found, passes, "{takes}: {tries:?}");
                let lost = tries.iter().filter(|one| !one.passed()).map(|one| one.size).min();
                assert_eq!(lost, SIZES.into_iter().find(|size| *size > takes), "{takes}");
                assert!(packets <= if tells { 5 } else { 20 }, "{takes}: {packets}");
            }
        }
        assert_eq!(search(1500, false).1, 1, "nothing more is asked where the longest passes");
    }

    #[test]
    fn a_link_that_is_too_narrow_is_told_from_a_dead_one() {
        let (narrow, _) = search(1250, false);
        assert!(narrow.iter().any(|one| one.size == 1280 && !one.passed()));
        assert!(narrow.iter().any(|one| one.size == SMALL && one.passed()));
        assert!(narrow.iter().map(|one| one.size).eq([1500, 1280, SMALL]), "straight to the least: {narrow:?}");
        let (dead, _) = search(0, false);
        assert!(dead.iter().all(|one| !one.passed()));
    }

    #[test]
    fn small_packets_that_are_lost_for_a_while_do_not_end_the_search() {
        let mut search = Search::new();
        while let Some(size) = search.next_size() {
            // Nothing comes while the longest is tried.
            let out = size == 1500;
            search.handle(Fate { arrived: !out && size <= 1472, control_arrived: !out, too_big: None });
        }
        let passed = search.into_tries().iter().filter(|one| one.passed()).map(|one| one.size).max();
        assert_eq!(passed, Some(1472));
    }

    #[test]
    fn what_is_lost_is_asked_four_times() {
        let (tries, _) = search(1400, false);
        assert!(tries.iter().filter(|one| !one.passed()).all(|one| (one.sent, one.lost) == (4, 4)));
        assert!(tries.iter().filter(|one| one.passed()).all(|one| one.sent == 1));
    }
}
