//! The search for the greatest size that passes, by one transport: which size to try next, given what passed and what did
//! not. It must not know packets, times or how an answer looks.
//!
//! 1. The greatest size first: on most paths it passes, and that is all.
//! 2. A size that a router named next, and when it passes one byte more. A named size narrows what is tried, never what is
//!    reported: it may be a lie.
//! 3. Where nothing has passed yet, a small size, to know whether the target answers at all.
//! 4. Then the sizes that links really have ([`CLASSIC`]), by thirds, and one byte more than the greatest that passes.
//! 5. Then every size, by halves.
//! 6. A size counts as lost after several tries. When the search ends at a lost size, that is confirmed by as many rounds
//!    again of a packet of that size and one of the size that passes: packets that are lost for other reasons are lost in
//!    both sizes.
//! 7. When a size passes that was beyond the end, the end was wrong (a router lied, packets were lost, the path changed) and
//!    the search begins again above it, with twice as many tries; [`MAX_REOPENED`] times at most.

/// The longest packet that is tried: what the jumbo frames of usual switches carry.
pub const MAX_SIZE: u32 = 9216;

/// How often a search may begin again.
pub const MAX_REOPENED: u32 = 2;

/// MTUs of real links and tunnels, in order (RFC 1191, section 7.1, and what came after: PPPoE 1492, 6in4 1480, both 1472,
/// GRE and IPsec below, WireGuard 1420, LTE 1428 to 1440, IPv6's least 1280, Ethernet's jumbo frames).
pub const CLASSIC: [u32; 24] = [
    68, 296, 508, 576, 1006, 1280, 1360, 1380, 1392, 1400, 1420, 1428, 1440, 1452, 1454, 1460, 1472, 1480, 1492, 1500,
    2002, 4352, 9000, MAX_SIZE,
];

/// What is known of the least size that does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wall {
    /// Nothing: longer packets are not tried.
    NotTried,
    /// The own interface does not take it.
    Refused,
    /// Somebody said that it is too big.
    TooBig,
    /// It vanishes.
    Lost,
}

/// Why a packet is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To find out whether this size passes.
    Search,
    /// To confirm that the size behind the end is lost and the end is not.
    Confirm,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Search {
    /// The least size that is worth a try.
    small: u32,
    /// The greatest size at all, and what is behind it.
    top: (u32, Wall),
    /// The greatest that passed.
    passed: Option<u32>,
    /// The greatest that may pass.
    open: u32,
    wall: Wall,
    /// Has any size been found not to pass?
    narrowed: bool,
    named: Option<u32>,
    /// A named size that passed: one byte more is next.
    edge: Option<u32>,
    /// Not even the small size passes.
    dead: bool,
    /// Tries of one size that stayed without an answer.
    silent: (u32, u32),
    /// How many make it lost.
    needed: u32,
    /// How many rounds confirm it.
    rounds: u32,
    reopened: u32,
    /// Rounds of confirmation: those where only the long packet was lost, and those where both were.
    confirmed: u32,
    unsteady: u32,
    /// The long packet of this round is lost; the short one is next.
    control_due: bool,
}

impl Search {
    /// A search from `small` to `top`, behind which is `wall`; `tries` make a size lost.
    pub fn new(small: u32, top: u32, wall: Wall, tries: u32) -> Self {
        Self {
            small,
            top: (top, wall),
            passed: None,
            open: top,
            wall,
            narrowed: false,
            named: None,
            edge: None,
            dead: false,
            silent: (0, 0),
            needed: tries,
            rounds: tries,
            reopened: 0,
            confirmed: 0,
            unsteady: 0,
            control_due: false,
        }
    }

    /// One that knows where to look, and needs less to be sure: packets of this size pass by another transport, and one byte
    /// more does not.
    pub fn around(edge: u32, top: u32, wall: Wall, tries: u32) -> Self {
        Self { edge: Some(edge), rounds: 1, ..Self::new(edge, top, wall, tries) }
    }

    /// The greatest size that passed.
    pub fn passed_size(&self) -> Option<u32> {
        self.passed
    }

    /// What is behind the greatest size that passed, once the search has ended there and is sure of it.
    pub fn end(&self) -> Option<(u32, Wall)> {
        let passed = self.passed.filter(|passed| *passed == self.open)?;
        (self.wall != Wall::Lost || self.is_confirmed()).then_some((passed, self.wall))
    }

    /// Does nobody answer?
    pub fn is_dead(&self) -> bool {
        self.dead && self.passed.is_none()
    }

    /// Are so many packets lost that sizes cannot be told apart?
    pub fn is_hopeless(&self) -> bool {
        self.reopened > MAX_REOPENED || self.unsteady > self.needed
    }

    /// The next size to try and why; `None` when nothing is left to find out.
    pub fn next(&self) -> Option<(u32, Purpose)> {
        if self.is_hopeless() {
            return None;
        }
        if let Some(size) = self.next_size() {
            return Some((size, Purpose::Search));
        }
        let passed = self.passed.filter(|_| self.wall == Wall::Lost && !self.is_confirmed())?;
        Some((if self.control_due { passed } else { passed + 1 }, Purpose::Confirm))
    }

    fn next_size(&self) -> Option<u32> {
        let named = self.named.filter(|named| *named <= self.open);
        let Some(passed) = self.passed else {
            return match named {
                Some(named) if !self.dead => Some(named),
                _ if !self.narrowed => Some(self.open),
                _ if !self.dead => Some(self.small),
                _ => None,
            };
        };
        if passed >= self.open {
            return None;
        }
        if !self.narrowed {
            return Some(self.open);
        }
        if let Some(named) = named.filter(|named| *named > passed) {
            return Some(named);
        }
        if self.edge == Some(passed) {
            return Some(passed + 1);
        }
        let is_between = |size: &&u32| **size > passed && **size <= self.open;
        let between = CLASSIC.iter().filter(is_between).count();
        // Below the middle: a size that is lost takes several time-outs to know, one that passes a round trip.
        if let Some(size) = CLASSIC.iter().filter(is_between).nth(between / 3) {
            return Some(*size);
        }
        if CLASSIC.contains(&passed) {
            return Some(passed + 1);
        }
        Some(passed + (self.open - passed).div_ceil(2))
    }

    /// A packet of this size arrived.
    pub fn passes(&mut self, size: u32) {
        if size > self.open {
            self.reopened += 1;
            self.needed = self.needed.saturating_mul(2);
            self.rounds = self.rounds.saturating_mul(2);
            (self.open, self.wall) = self.top;
            self.open = self.open.max(size);
            (self.narrowed, self.named) = (false, None);
            (self.confirmed, self.unsteady, self.control_due) = (0, 0, false);
        }
        if self.named == Some(size) {
            (self.edge, self.named) = (self.named, None);
        }
        self.passed = self.passed.max(Some(size));
        if self.control_due && Some(size) == self.passed {
            self.control_due = false;
            self.confirmed += 1;
        }
        self.silent = (0, 0);
    }

    /// Somebody said that this size is too big, and perhaps which is not.
    pub fn too_big(&mut self, size: u32, named: Option<u32>) {
        self.fails(size, Wall::TooBig);
        if let Some(named) = named.filter(|named| *named < size && *named >= self.small) {
            self.named = Some(self.named.map_or(named, |before| before.min(named)));
        }
    }

    /// The own interface does not take this size. That says nothing about the greatest size that it does take.
    pub fn refused(&mut self, size: u32) {
        let end = (size.saturating_sub(1), Wall::Refused);
        if size <= self.top.0 {
            self.top = end;
        }
        if size <= self.open && self.passed.is_none_or(|passed| passed < size) {
            (self.open, self.wall) = end;
        }
    }

    /// A try of this size stayed without an answer.
    pub fn silent(&mut self, size: u32, purpose: Purpose) {
        match purpose {
            Purpose::Search => {
                let before = if self.silent.0 == size { self.silent.1 } else { 0 };
                self.silent = (size, before + 1);
                if self.silent.1 >= self.needed {
                    self.fails(size, Wall::Lost);
                }
            }
            Purpose::Confirm if self.passed.is_some_and(|passed| size > passed) => self.control_due = true,
            Purpose::Confirm => {
                self.control_due = false;
                self.unsteady += 1;
            }
        }
    }

    fn fails(&mut self, size: u32, wall: Wall) {
        if self.passed.is_some_and(|passed| size <= passed) {
            return;
        }
        if size <= self.small {
            self.dead = true;
        }
        if size <= self.open {
            (self.open, self.wall) = (size.saturating_sub(1), wall);
            self.narrowed = true;
        } else if size == self.open + 1 && self.wall == Wall::Lost {
            // There is a word after all.
            self.wall = wall;
        }
    }

    /// Where packets were lost for other reasons as well, twice as many rounds.
    fn is_confirmed(&self) -> bool {
        let rounds = if self.unsteady > 0 { self.rounds.saturating_mul(2) } else { self.rounds };
        self.confirmed >= rounds
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// Searches where all up to `mtu` passes and the rest is `wall`. Gives the end and the sizes tried.
    fn search(mtu: u32, named: Option<u32>, wall: Wall) -> (Option<(u32, Wall)>, Vec<u32>) {
        let mut search = Search::new(68, 1500, Wall::Refused, 1);
        let mut tried = Vec::new();
        while let Some((size, purpose)) = search.next() {
            tried.push(size);
            match (size <= mtu, wall) {
                (true, _) => search.passes(size),
                (false, Wall::Lost) => search.silent(size, purpose),
                (false, _) => search.too_big(size, named),
            }
        }
        (search.end(), tried)
    }

    #[test]
    fn every_mtu_is_found_to_the_byte() {
        for mtu in 68..=1500 {
            for (named, wall) in [(Some(mtu), Wall::TooBig), (None, Wall::TooBig), (None, Wall::Lost)] {
                let (end, tried) = search(mtu, named, wall);
                let expected = if mtu == 1500 { Wall::Refused } else { wall };
                assert_eq!(end, Some((mtu, expected)), "{named:?}");
                assert!(tried.len() <= 18, "{mtu} {named:?} {wall:?}: {tried:?}");
            }
        }
    }

    #[test]
    fn a_named_mtu_takes_three_packets() {
        assert_eq!(search(1400, Some(1400), Wall::TooBig).1, [1500, 1400, 1401]);
        assert_eq!(search(1500, None, Wall::TooBig).1, [1500]);
    }

    #[test]
    fn a_lie_is_found_out() {
        for lie in [0, 67, 68, 1000, 1399, 1401, 1450, 1500, 9000, u32::MAX] {
            assert_eq!(search(1400, Some(lie), Wall::TooBig).0, Some((1400, Wall::TooBig)), "{lie}");
        }
    }

    #[test]
    fn whoever_answers_nothing_is_dead_after_two_sizes() {
        assert_eq!(search(0, None, Wall::Lost), (None, [1500, 68].to_vec()));
    }

    #[test]
    fn a_size_that_passes_after_all_opens_the_search_again() {
        let mut search = Search::new(68, 1500, Wall::Refused, 2);
        for _ in 0..2 {
            search.silent(1500, Purpose::Search);
        }
        search.passes(68);
        assert!(search.next().is_some_and(|(size, _)| size < 1500));
        search.passes(1500);
        assert_eq!((search.next(), search.end()), (None, Some((1500, Wall::Refused))));
    }

    #[test]
    fn a_hole_that_small_packets_fall_into_as_well_is_none() {
        let mut search = Search::new(68, 69, Wall::Refused, 2);
        search.passes(68);
        let mut rounds = 0;
        while let Some((size, purpose)) = search.next() {
            search.silent(size, purpose);
            rounds += 1;
        }
        assert!(search.is_hopeless() && search.end().is_none() && rounds < 20, "{rounds}");
    }
}
