//! From packets of many sizes to what a family's paths take, and whether long packets vanish there (RFC 8899, RFC 8201).

use alloc::vec::Vec;

use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{Attempt, Evidence, FamilyPath, PathFacts, SizeTry, SizesSeen, TroubleKind};

/// What every IPv6 link must take (RFC 8200, section 5), and the size of the control packets.
pub const LEAST_MTU: u32 = 1280;

/// So many packets of a size must be lost before the size counts as lost. RFC 8899 says three; the fourth is against false
/// alarms: with 2 % loss each way one size in 400,000 is then lost by chance.
pub const TRIES: u8 = 4;

/// What this run says about paths; a family of which no sizes were tried is as it was `before`.
pub fn path_facts(evidence: &Evidence, before: &PathFacts) -> PathFacts {
    PathFacts {
        v6: family_path(evidence, Family::V6).unwrap_or(before.v6),
        v4: family_path(evidence, Family::V4).unwrap_or(before.v4),
    }
}

fn family_path(evidence: &Evidence, af: Family) -> Option<FamilyPath> {
    let seen: Vec<&SizesSeen> = evidence.sizes.iter().filter(|sizes| sizes.af == af).collect();
    if seen.is_empty() {
        return None;
    }
    let ways = seen.iter().map(|sizes| (Way::new(af, &sizes.up), Way::new(af, &sizes.down)));
    let ways: Vec<(Way, Way)> = ways.collect();
    let holes = |bulk: fn(&SizesSeen) -> Option<&Attempt>, way: fn(&(Way, Way)) -> Way| {
        let found = seen.iter().zip(&ways).filter_map(|(sizes, both)| {
            let way = way(both);
            let hangs = bulk(sizes).and_then(Attempt::trouble).is_some_and(|t| t.kind == TroubleKind::Timeout);
            way.hole.or(hangs.then_some(way.passes.unwrap_or(LEAST_MTU).min(LEAST_MTU)))
        });
        let found: Vec<u32> = found.collect();
        // One reference may be behind a hole of its own; what is near the probe shows towards most of them.
        (found.len() * 2 >= seen.len()).then(|| found.into_iter().min()).flatten()
    };
    let icmp = evidence.icmp.iter().find(|icmp| icmp.af == af);
    let hole_up = holes(|sizes| sizes.bulk_up.as_ref(), |(up, _)| *up);
    let hole_down = holes(|sizes| sizes.bulk_down.as_ref(), |(_, down)| *down);
    let below_1280 = ways.iter().any(|(up, down)| up.below_1280 || down.below_1280);
    // Where long packets vanish anyway, that a long piece does, or one that a router was to complain about, says nothing more.
    let vanishes = |hole: Option<u32>| hole.is_some() || below_1280;
    let fragments = evidence.headers.filter(|_| af == Family::V6).and_then(|headers| {
        let of = |came: Option<bool>, hole| came.filter(|came| *came || !vanishes(hole));
        match (of(headers.fragment_up, hole_up), of(headers.fragment_down, hole_down)) {
            (None, None) => None,
            (up, down) => Some(up == Some(false) || down == Some(false)),
        }
    });
    let complaint = icmp.and_then(|icmp| icmp.too_big).filter(|came| *came || !vanishes(hole_up));
    let narrower = |(up, down): &(Way, Way)| match (up.mtu(), down.mtu()) {
        (Some(up), Some(down)) => Some(up.min(down)),
        (one, other) => one.or(other),
    };
    Some(FamilyPath {
        // A narrow link near the probe is on every path, one that is far away only on some.
        mtu: ways.iter().filter_map(narrower).max(),
        hole_up,
        hole_down,
        below_1280,
        too_big_filtered: complaint.map(|came_back| !came_back),
        fragments_lost: fragments,
    })
}

/// One direction.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// The longest that passed.
    passes: Option<u32>,
    /// The least MTU that somebody named.
    named: Option<u32>,
    /// Longer packets than this vanish.
    hole: Option<u32>,
    below_1280: bool,
}

impl Way {
    fn new(af: Family, tries: &[SizeTry]) -> Self {
        let passes = tries.iter().filter(|one| one.passed()).map(|one| one.size).max();
        // A smaller one than IPv6 allows is not to be believed (RFC 8201, section 4).
        let least = if af == Family::V6 { LEAST_MTU } else { 68 };
        let named_by = |one: &SizeTry| one.too_big.and_then(|too_big| too_big.mtu).filter(|mtu| *mtu >= least);
        let named = tries.iter().filter_map(named_by).min();
        let is_lost = |one: &&SizeTry| !one.passed() && one.sent >= TRIES;
        // Where the small ones are lost too it is not the size.
        let vanished = |one: &&SizeTry| {
            is_lost(one) && one.size > LEAST_MTU && one.controls_lost < one.sent && one.too_big.is_none()
        };
        let first_lost = tries.iter().filter(vanished).map(|one| one.size).min();
        let hole = first_lost.map(|lost| {
            let below = tries.iter().filter(|one| one.passed() && one.size < lost).map(|one| one.size).max();
            below.unwrap_or(LEAST_MTU)
        });
        // Beside 1280 bytes goes the smallest packet that there is; if that passes, it is the size.
        let below_1280 = tries.iter().filter(is_lost).any(|one| one.size == LEAST_MTU && one.controls_lost < one.sent);
        Self { passes, named, hole, below_1280 }
    }

    fn mtu(&self) -> Option<u32> {
        self.hole.or(self.named).or(self.passes)
    }
}
