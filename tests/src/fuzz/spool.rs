//! The spool's file, whatever a card has made of it: it is read, and everything that it seems to hold is delivered and ended.

use std::collections::BTreeMap;

use sonde_probe::spool::Keeper;
use sonde_probe::spool::format::{decode, encode, seal};
use sonde_protocol::ids::{BootId, Seq};
use sonde_protocol::message::BootRanges;
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::spool::block::BlockId;
use sonde_protocol::spool::{Lane, Spool, SpoolLimits};
use sonde_protocol::time::{Nanos, UnixNanos};

use crate::sim::disk::Card;

/// Turns after which delivering is over, whatever a short file says.
const TURNS: u32 = 2_000;

/// The first byte says whether the rest is a file, or what a block with a right checksum holds.
pub(super) fn spool_file(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    if kind & 1 == 1 {
        let _ = decode(rest);
        return deliver(rest.to_vec());
    }
    let bytes = seal(BlockId(7), rest);
    if let Some((id, block)) = decode(&bytes) {
        assert_eq!(decode(&encode(id, &block)), Some((id, block)), "what was read can be written and read again");
    }
    deliver(bytes);
}

/// What the file holds goes to a collector that keeps everything and knows nothing yet.
fn deliver(file: Vec<u8>) {
    let mut card = Card::holding(file);
    let (mut keeper, restored) = Keeper::open(&mut card, 1 << 20, UnixNanos(0)).expect("a file that can be read");
    let mut spool = Spool::new(BootId(u64::MAX), SpoolLimits::default());
    spool.restore(restored);
    let mut durable: BTreeMap<BootId, RangeSet> = BTreeMap::new();
    spool.on_welcome(&[]);
    for _ in 0..TURNS {
        let mut busy = false;
        while let Some(job) = keeper.poll(&mut spool, Nanos(0), UnixNanos(0), false) {
            let done = job.perform(&mut card);
            keeper.done(&mut spool, done, Nanos(0), UnixNanos(0));
            busy = true;
        }
        for gap in spool.poll_gaps() {
            let last = gap.last.unwrap_or(Seq(u64::MAX));
            durable.entry(gap.boot).or_default().insert(gap.first..=last);
            busy = true;
        }
        for lane in [Lane::Fresh, Lane::Backlog] {
            while let Some(frame) = spool.poll_frame(lane, Nanos(0), true) {
                for (seq, _) in frame.numbered() {
                    let known = durable.entry(frame.boot).or_default();
                    assert!(!known.contains(seq), "{seq} of a boot comes twice");
                    known.insert(seq..=seq);
                }
                busy = true;
            }
        }
        let told: Vec<BootRanges> =
            durable.iter().map(|(&boot, ranges)| BootRanges { boot, ranges: ranges.clone() }).collect();
        let before = spool.summaries().len();
        spool.acknowledge(&told);
        busy |= spool.summaries().len() < before;
        for bye in spool.poll_byes() {
            durable.entry(bye.boot).or_default().insert(Seq(1)..=Seq(u64::MAX));
            busy = true;
        }
        if !busy {
            assert_eq!((spool.depth(), spool.summaries().len()), (0, 1), "something is left for ever");
            return;
        }
    }
    panic!("there is no end to what a file holds");
}
