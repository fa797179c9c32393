//! Which job owns which ICMP sequence numbers of a shared socket. Pure; time is an argument.
//!
//! A block never wraps past 65535, so that `first + i` is right without care. A block rests after its job, so that a late
//! reply cannot be taken for one to the next job.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sonde_protocol::time::Nanos;

/// One past the last sequence number.
const END: u32 = 0x1_0000;

/// The blocks of one socket, `J` being what names a job.
#[derive(Debug)]
pub struct SequenceBlocks<J> {
    /// By first number.
    blocks: BTreeMap<u32, Block<J>>,
    /// The first number of each job's block.
    owned: BTreeMap<J, u32>,
    /// When which block is free again, in order.
    resting: VecDeque<(Nanos, u32)>,
    /// Where to look first: blocks go round, so that a number stays unused for as long as possible.
    cursor: u32,
    rest: Duration,
}

#[derive(Debug)]
struct Block<J> {
    end: u32,
    state: State<J>,
}

#[derive(Debug)]
enum State<J> {
    Owned(J),
    Rests,
}

impl<J: Copy + Ord> SequenceBlocks<J> {
    /// All numbers free; blocks rest for `rest`, and the first one begins at `start`.
    pub fn new(start: u16, rest: Duration) -> Self {
        Self {
            blocks: BTreeMap::new(),
            owned: BTreeMap::new(),
            resting: VecDeque::new(),
            cursor: u32::from(start),
            rest,
        }
    }

    /// Reserves `count` numbers in a row and gives the first; `None` when there is no room now. A block of 0 numbers is
    /// nobody's. A job has one block.
    pub fn reserve(&mut self, job: J, count: u16, now: Nanos) -> Option<u16> {
        while let Some((_, first)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            self.blocks.remove(&first);
        }
        if count == 0 {
            return Some(0);
        }
        let count = u32::from(count);
        let first = self.gap(self.cursor, count).or_else(|| self.gap(0, count))?;
        self.cursor = (first + count) % END;
        self.owned.insert(job, first);
        self.blocks.insert(first, Block { end: first + count, state: State::Owned(job) });
        u16::try_from(first).ok()
    }

    /// The lowest start at or above `from` of `count` free numbers.
    fn gap(&self, from: u32, count: u32) -> Option<u32> {
        let mut start = from;
        if let Some((_, before)) = self.blocks.range(..=from).next_back() {
            start = start.max(before.end);
        }
        for (first, block) in self.blocks.range(start..) {
            if start + count <= *first {
                break;
            }
            start = block.end;
        }
        (start + count <= END).then_some(start)
    }

    /// The job that this number belongs to now.
    pub fn owner(&self, sequence: u16) -> Option<J> {
        let sequence = u32::from(sequence);
        let (_, block) = self.blocks.range(..=sequence).next_back()?;
        match block.state {
            State::Owned(job) if sequence < block.end => Some(job),
            _ => None,
        }
    }

    /// The job has ended: its numbers rest, then become free.
    pub fn release(&mut self, job: J, now: Nanos) {
        let Some(first) = self.owned.remove(&job) else { return };
        if let Some(block) = self.blocks.get_mut(&first) {
            block.state = State::Rests;
            self.resting.push_back((now + self.rest, first));
        }
    }

    /// When the next block that rests becomes free.
    pub fn free_at(&self) -> Option<Nanos> {
        self.resting.front().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(10);

    #[test]
    fn numbers_find_their_job() {
        let mut blocks = SequenceBlocks::new(100, REST);
        assert_eq!(blocks.reserve('a', 3, Nanos(0)), Some(100));
        assert_eq!(blocks.reserve('b', 2, Nanos(0)), Some(103));
        let owners: Vec<_> = (99..106).map(|sequence| blocks.owner(sequence)).collect();
        assert_eq!(owners, [None, Some('a'), Some('a'), Some('a'), Some('b'), Some('b'), None]);
    }

    #[test]
    fn blocks_go_round_without_wrapping_inside() {
        let mut blocks = SequenceBlocks::new(65_530, REST);
        assert_eq!(blocks.reserve('a', 6, Nanos(0)), Some(65_530), "up to the very last number");
        assert_eq!(blocks.owner(65_535), Some('a'));
        assert_eq!(blocks.reserve('b', 4, Nanos(0)), Some(0));
        let mut blocks = SequenceBlocks::new(65_530, REST);
        assert_eq!(blocks.reserve('a', 7, Nanos(0)), Some(0), "does not fit before the end");
    }

    #[test]
    fn a_block_rests_before_it_is_used_again() {
        let mut blocks = SequenceBlocks::new(0, REST);
        assert_eq!(blocks.reserve('a', u16::MAX, Nanos(0)), Some(0));
        assert_eq!(blocks.reserve('b', 2, Nanos(0)), None, "one number is left");
        blocks.release('a', Nanos(5));
        assert_eq!(blocks.owner(7), None, "a late reply is nobody's");
        let rested = Nanos(5) + REST;
        assert_eq!(blocks.reserve('b', 2, rested - Duration::from_nanos(1)), None);
        assert_eq!(blocks.reserve('b', 2, rested), Some(0));
    }

    #[test]
    fn a_gap_between_others_is_found() {
        let mut blocks = SequenceBlocks::new(0, Duration::ZERO);
        for job in ['a', 'b', 'c', 'd'] {
            assert!(blocks.reserve(job, 16_384, Nanos(0)).is_some());
        }
        assert_eq!(blocks.reserve('e', 1, Nanos(0)), None);
        blocks.release('c', Nanos(0));
        assert_eq!(blocks.reserve('e', 16_384, Nanos(0)), Some(32_768));
        blocks.release('b', Nanos(0));
        blocks.release('a', Nanos(0));
        assert_eq!(blocks.reserve('f', 32_768, Nanos(0)), Some(0), "two neighbours make one gap");
    }

    #[test]
    fn no_numbers_need_no_room() {
        let mut blocks = SequenceBlocks::new(0, REST);
        assert!(blocks.reserve('a', u16::MAX, Nanos(0)).is_some());
        assert_eq!(blocks.reserve('b', 0, Nanos(0)), Some(0));
        assert_eq!(blocks.owner(0), Some('a'));
    }

    /// What a busy probe is meant to carry: a thousand pings at a time, one after the other, and a hundred traceroutes over
    /// ICMP a minute (three packets to each of 32 hops, a silent hop's time-out in each).
    #[test]
    fn a_thousand_pings_and_a_hundred_traceroutes_a_minute_have_room() {
        const MS: i64 = 1_000_000;
        let mut blocks = SequenceBlocks::new(4_711, REST);
        let mut ends = BTreeMap::new();
        let mut job = 0_u32;
        for ms in (0..180_000).step_by(20) {
            let now = Nanos(ms * MS);
            while ends.first_key_value().is_some_and(|((at, _), _)| *at <= now)
                && let Some(((_, done), count)) = ends.pop_first()
            {
                blocks.release(done, now);
                if count == 3 {
                    job += 1;
                    assert!(blocks.reserve(job, count, now).is_some(), "a ping after {ms} ms");
                    ends.insert((now + Duration::from_millis(2_100), job), count);
                }
            }
            let new_pings = if ms < 2_000 { 10 } else { 0 };
            let new_traces = u16::from(ms % 600 == 0);
            for (count, lasts, how_many) in [(3, 2_100, new_pings), (102, 9_000, new_traces)] {
                for _ in 0..how_many {
                    job += 1;
                    assert!(blocks.reserve(job, count, now).is_some(), "{count} after {ms} ms");
                    ends.insert((now + Duration::from_millis(lasts), job), count);
                }
            }
        }
    }
}
