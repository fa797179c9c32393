//! Sets of report numbers as ranges: what a collector has made durable, what a probe may forget.
//!
//! Like QUIC's acknowledgements (RFC 9000, 13.2.3). In the long run every set is one range from 1, because what was lost
//! is reported as a gap and acknowledged too.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::ids::Seq;

/// The most ranges one encoded set may have. A probe that left more holes than this is not one of ours.
pub const MAX_RANGES: usize = 4096;

/// A set of [`Seq`], kept as sorted, disjoint, not adjacent, inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeSet {
    ranges: Vec<(u64, u64)>,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// The set of one range.
    pub fn of(range: RangeInclusive<Seq>) -> Self {
        let mut set = Self::new();
        set.insert(range);
        set
    }

    /// Adds every number of `range`; an empty range adds nothing.
    pub fn insert(&mut self, range: RangeInclusive<Seq>) {
        let (mut first, mut last) = (range.start().0, range.end().0);
        if first > last {
            return;
        }
        // Everything that overlaps or touches the new range melts into it.
        let from = self.ranges.partition_point(|&(_, end)| end.saturating_add(1) < first);
        let to = self.ranges.partition_point(|&(start, _)| start <= last.saturating_add(1));
        if let Some(&(start, _)) = self.ranges.get(from).filter(|_| from < to) {
            first = first.min(start);
        }
        if let Some(&(_, end)) = to.checked_sub(1).filter(|_| from < to).and_then(|i| self.ranges.get(i)) {
            last = last.max(end);
        }
        self.ranges.splice(from..to.max(from), [(first, last)]);
    }

    /// Adds every number of `other`.
    pub fn extend(&mut self, other: &RangeSet) {
        for range in other.ranges() {
            self.insert(range);
        }
    }

    /// Is `seq` in the set?
    pub fn contains(&self, seq: Seq) -> bool {
        let at = self.ranges.partition_point(|&(_, end)| end < seq.0);
        self.ranges.get(at).is_some_and(|&(start, _)| start <= seq.0)
    }

    /// The ranges in order.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<Seq>> + '_ {
        self.ranges.iter().map(|&(start, end)| Seq(start)..=Seq(end))
    }

    /// How many ranges there are.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// How many numbers are in the set.
    pub fn len(&self) -> u64 {
        self.ranges.iter().fold(0u64, |sum, &(start, end)| sum.saturating_add((end - start).saturating_add(1)))
    }

    /// Is there nothing in it?
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The greatest number in it.
    pub fn last(&self) -> Option<Seq> {
        self.ranges.last().map(|&(_, end)| Seq(end))
    }

    /// The ranges between `first` and `last` (inclusive) that are not in the set.
    pub fn missing(&self, range: RangeInclusive<Seq>) -> RangeSet {
        let mut absent = RangeSet::new();
        let (mut next, last) = (range.start().0, range.end().0);
        for &(start, end) in &self.ranges {
            if end < next {
                continue;
            }
            if start > last || next > last {
                break;
            }
            if start > next {
                absent.insert(Seq(next)..=Seq(start - 1));
            }
            match end.checked_add(1) {
                Some(after) => next = after,
                None => return absent,
            }
        }
        if next <= last {
            absent.insert(Seq(next)..=Seq(last));
        }
        absent
    }
}

impl<C> Encode<C> for RangeSet {
    /// A flat array: first, last, first, last, …
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(self.ranges.len() as u64 * 2)?;
        for &(start, end) in &self.ranges {
            e.u64(start)?.u64(end)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for RangeSet {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let count = d.array()?.ok_or_else(|| decode::Error::message("a range set has a definite length"))?;
        if count % 2 != 0 || count > 2 * MAX_RANGES as u64 {
            return Err(decode::Error::message("a range set has pairs, and not too many"));
        }
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for _ in 0..count / 2 {
            let (start, end) = (d.u64()?, d.u64()?);
            // Strictly ascending and not adjacent: one set has one encoding, and nobody can make us sort.
            let follows = ranges.last().is_none_or(|&(_, before)| before.checked_add(1).is_some_and(|b| b < start));
            if start > end || !follows {
                return Err(decode::Error::message("a range set is ascending"));
            }
            ranges.push((start, end));
        }
        Ok(Self { ranges })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(set: &RangeSet) -> BTreeSet<u64> {
        set.ranges().flat_map(|range| range.start().0..=range.end().0).collect()
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_numbers(ranges in proptest::collection::vec((0u64..80, 0u64..12), 0..40)) {
            let mut set = RangeSet::new();
            let mut model = BTreeSet::new();
            for (start, length) in ranges {
                set.insert(Seq(start)..=Seq(start + length));
                model.extend(start..=start + length);
                prop_assert_eq!(&numbers(&set), &model);
                let normal = set.ranges().collect::<Vec<_>>();
                prop_assert!(normal.windows(2).all(|w| w[0].end().0 + 1 < w[1].start().0));
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            for n in 0..100 {
                prop_assert_eq!(set.contains(Seq(n)), model.contains(&n));
            }
            let absent: BTreeSet<u64> = (5..=90).filter(|n| !model.contains(n)).collect();
            prop_assert_eq!(numbers(&set.missing(Seq(5)..=Seq(90))), absent);
            let bytes = minicbor::to_vec(&set).unwrap();
            prop_assert_eq!(minicbor::decode::<RangeSet>(&bytes).unwrap(), set);
        }
    }

    #[test]
    fn unordered_and_overlapping_encodings_are_refused() {
        for bytes in [&[0x84, 5, 6, 1, 2][..], &[0x84, 1, 5, 5, 6], &[0x84, 1, 2, 3, 4], &[0x82, 2, 1], &[0x81, 1]] {
            assert!(minicbor::decode::<RangeSet>(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn the_ends_of_the_number_range_hold() {
        let mut set = RangeSet::of(Seq(u64::MAX)..=Seq(u64::MAX));
        set.insert(Seq(0)..=Seq(0));
        assert!(set.contains(Seq(u64::MAX)) && set.contains(Seq(0)) && !set.contains(Seq(1)));
        assert_eq!(set.missing(Seq(u64::MAX - 1)..=Seq(u64::MAX)).len(), 1);
        set.insert(Seq(0)..=Seq(u64::MAX));
        assert_eq!(set.range_count(), 1);
    }
}
