//! The power is cut while the spool writes, at any byte: whatever the last flush that was finished held is delivered after the
//! restart, exactly once. Ten thousand cuts; `SONDE_LONG=1` makes a hundred thousand, `SONDE_SEED=n` plays one.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::collections::BTreeMap;
use std::io;

use sonde_probe::spool::{Disk, Keeper};
use sonde_protocol::ids::{BootId, Seq};
use sonde_protocol::message::{BootRanges, GapReason};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::seed::{Rng, mix};
use sonde_protocol::spool::{Lane, NewReport, Spool, SpoolLimits};
use sonde_protocol::time::{Nanos, UnixNanos};

const MINUTE: i64 = 60_000_000_000;

/// A file whose power can go: of the write that it hits, any sectors may be there, in any order.
#[derive(Default)]
struct Card {
    bytes: Vec<u8>,
    /// Bytes until the cut.
    left: usize,
    dead: bool,
    full: bool,
    seed: u64,
}

impl Disk for Card {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let from = (offset as usize).min(self.bytes.len());
        let count = buffer.len().min(self.bytes.len() - from);
        buffer[..count].copy_from_slice(&self.bytes[from..from + count]);
        Ok(count)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.dead || self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (offset, torn) = (offset as usize, bytes.len() > self.left);
        let mut rng = Rng::new(self.seed);
        for (n, sector) in bytes.chunks(512).enumerate() {
            let at = offset + n * 512;
            let mut there = sector.len();
            if torn && n * 512 + 512 > self.left && !rng.one_in(3) {
                there = self.left.saturating_sub(n * 512).min(512);
            }
            if there > 0 {
                self.bytes.resize(self.bytes.len().max(at + there), 0);
                self.bytes[at..at + there].copy_from_slice(&sector[..there]);
            }
        }
        self.left = self.left.saturating_sub(bytes.len());
        self.dead = torn;
        if torn { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    }
    fn clear(&mut self) -> io::Result<()> {
        if !self.dead {
            self.bytes.clear();
        }
        Ok(())
    }
}

/// A collector that keeps everything.
#[derive(Default)]
struct Collector {
    durable: BTreeMap<BootId, RangeSet>,
    reports: BTreeMap<(BootId, u64), Vec<u8>>,
    gaps: Vec<(BootId, u64, u64, GapReason)>,
    ended: Vec<(BootId, bool)>,
}

impl Collector {
    fn known(&self) -> Vec<BootRanges> {
        self.durable.iter().map(|(&boot, ranges)| BootRanges { boot, ranges: ranges.clone() }).collect()
    }

    /// Takes what the spool has, until it has nothing more; `patience` is how many frames come before the line breaks.
    fn serve(&mut self, spool: &mut Spool, keeper: &mut Keeper, card: &mut Card, now: Nanos, mut patience: usize) {
        spool.on_welcome(&self.known());
        loop {
            let mut busy = false;
            while let Some(job) = keeper.poll(spool, now, UnixNanos(now.0), false) {
                let done = job.perform(card);
                keeper.done(spool, done, now, UnixNanos(now.0));
                busy = true;
            }
            for gap in spool.poll_gaps() {
                let last = gap.last.unwrap();
                assert!(gap.from <= gap.to, "{gap:?}");
                self.gaps.push((gap.boot, gap.first.0, last.0, gap.reason));
                self.durable.entry(gap.boot).or_default().insert(gap.first..=last);
                busy = true;
            }
            for lane in [Lane::Fresh, Lane::Backlog] {
                while patience > 0
                    && let Some(frame) = spool.poll_frame(lane, now, true)
                {
                    for (seq, bytes) in frame.numbered() {
                        let durable = self.durable.entry(frame.boot).or_default();
                        assert!(!durable.contains(seq), "{} {seq} comes though it was durable", frame.boot.0);
                        durable.insert(seq..=seq);
                        assert!(self.reports.insert((frame.boot, seq.0), bytes.to_vec()).is_none());
                    }
                    patience -= 1;
                    busy = true;
                }
            }
            if patience == 0 {
                return spool.on_disconnect();
            }
            let before = spool.summaries().len();
            spool.acknowledge(&self.known());
            busy |= spool.summaries().len() < before;
            for bye in spool.poll_byes() {
                let durable = self.durable.entry(bye.boot).or_default();
                assert!(durable.missing(Seq(1)..=bye.last).is_empty(), "{bye:?} with {durable:?}");
                durable.insert(Seq(1)..=Seq(u64::MAX));
                self.ended.push((bye.boot, bye.crashed));
                busy = true;
            }
            if !busy {
                return;
            }
        }
    }
}

struct Life {
    spool: Spool,
    keeper: Keeper,
    boot: BootId,
    clock: i64,
}

impl Life {
    fn begin(boot: u64, card: &mut Card, clock: i64) -> Self {
        let boot = BootId(boot);
        let mut spool = Spool::new(boot, SpoolLimits::default());
        let (keeper, restored) = Keeper::open(card, 1 << 20, UnixNanos(clock)).unwrap();
        spool.restore(restored);
        spool.set_started(UnixNanos(clock));
        Self { spool, keeper, boot, clock }
    }

    /// Writes what is due. True when all of it is on the disk.
    fn keep(&mut self, card: &mut Card, flush: bool) -> bool {
        while let Some(job) = self.keeper.poll(&mut self.spool, Nanos(self.clock), UnixNanos(self.clock), flush) {
            let done = job.perform(card);
            self.keeper.done(&mut self.spool, done, Nanos(self.clock), UnixNanos(self.clock));
            if card.dead || card.full {
                return false;
            }
        }
        !self.spool.wants_keeping()
    }
}

fn play(seed: u64) {
    let mut rng = Rng::new(mix(seed));
    let mut card = Card { left: rng.below(160_000) as usize, seed, ..Card::default() };
    if rng.one_in(4) {
        // Somebody else's leavings.
        card.bytes = (0..rng.below(20_000)).map(|_| rng.next_u64() as u8).collect();
    }
    let mut collector = Collector::default();
    let mut pushed = BTreeMap::new();
    let mut flushed = Vec::new();
    let mut clock = 0;
    for boot in 1..=2 {
        let mut life = Life::begin(boot, &mut card, clock);
        for _ in 0..1 + rng.below(8) {
            for _ in 0..rng.below(25) {
                let size = if rng.one_in(12) { 9_000 } else { 110 };
                let bytes: Vec<u8> = (0..size).map(|n| (n as u64 * 7 + seed + life.spool.last().0) as u8).collect();
                let at = UnixNanos(life.clock);
                let (from, to) = (at, UnixNanos(life.clock + 1));
                let report = NewReport { bytes: bytes.clone(), from, to, settled: at, urgent: false };
                let seq = life.spool.push(report, Nanos(life.clock));
                pushed.insert((life.boot, seq.0), bytes);
                life.clock += 1_000_000;
            }
            life.clock += MINUTE;
            if rng.one_in(4) {
                let (now, patience) = (Nanos(life.clock), rng.below(6) as usize);
                collector.serve(&mut life.spool, &mut life.keeper, &mut card, now, patience);
                life.spool.on_disconnect();
            }
            if life.keep(&mut card, false) {
                flushed = pushed.keys().copied().collect();
            }
            if card.dead {
                break;
            }
        }
        if !card.dead && rng.one_in(2) {
            life.spool.close(UnixNanos(life.clock));
            if life.keep(&mut card, true) {
                flushed = pushed.keys().copied().collect();
            }
        }
        clock = life.clock + MINUTE;
        if card.dead {
            break;
        }
    }
    // The power is back.
    card.dead = false;
    card.left = usize::MAX;
    let mut life = Life::begin(9, &mut card, clock);
    for patience in [rng.below(4) as usize, usize::MAX] {
        collector.serve(&mut life.spool, &mut life.keeper, &mut card, Nanos(clock), patience);
    }
    for name in &flushed {
        assert_eq!(collector.reports.get(name), pushed.get(name), "seed {seed}: report {name:?} of the last flush");
    }
    for (name, bytes) in &collector.reports {
        assert_eq!(pushed.get(name), Some(bytes), "seed {seed}: report {name:?} was never made like that");
    }
    assert_eq!(life.spool.depth(), 0, "seed {seed}");
    assert_eq!(life.spool.summaries().len(), 1, "seed {seed}: every earlier boot is ended: {:?}", collector.ended);
    assert!(card.bytes.is_empty(), "seed {seed}: nothing is needed any more");
}

#[test]
fn whatever_the_last_flush_held_is_delivered_once_wherever_the_power_is_cut() {
    if let Some(seed) = std::env::var("SONDE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return play(seed);
    }
    let cuts = if std::env::var_os("SONDE_LONG").is_some() { 100_000 } else { 10_000 };
    (0..cuts).for_each(|seed| {
        if std::panic::catch_unwind(|| play(seed)).is_err() {
            panic!("to play it again: SONDE_SEED={seed}");
        }
    });
}

#[test]
fn a_full_ring_loses_its_oldest_and_says_so_and_a_full_disk_costs_nothing_while_there_is_memory() {
    let mut card = Card { left: usize::MAX, full: true, ..Card::default() };
    let mut life = Life::begin(1, &mut card, 0);
    let report = |n: i64| {
        let (from, to) = (UnixNanos(n), UnixNanos(n + 1));
        NewReport { bytes: vec![n as u8; 20_000], from, to, settled: from, urgent: false }
    };
    life.spool.push(report(1), Nanos(0));
    life.clock = MINUTE;
    assert!(!life.keep(&mut card, false) && life.keeper.trouble().is_some());
    card.full = false;
    life.clock += MINUTE;
    assert!(life.keep(&mut card, false) && life.keeper.trouble().is_none());
    for n in 2..=150 {
        life.spool.push(report(n), Nanos(life.clock));
        life.clock += MINUTE;
        assert!(life.keep(&mut card, false));
    }
    assert!(card.bytes.len() <= 1 << 20, "no larger than asked: {}", card.bytes.len());
    let (mut life, mut collector) = (Life::begin(2, &mut card, life.clock), Collector::default());
    collector.serve(&mut life.spool, &mut life.keeper, &mut card, Nanos(life.clock), usize::MAX);
    let lost: u64 = collector.gaps.iter().map(|(_, first, last, _)| last - first + 1).sum();
    assert_eq!(collector.reports.len() as u64 + lost, 150);
    assert!(collector.reports.len() > 30 && collector.reports.contains_key(&(BootId(1), 150)));
    assert!(collector.gaps.iter().any(|(.., reason)| *reason == GapReason::SpoolFull), "{:?}", collector.gaps);
}

#[test]
fn what_the_disk_spoils_is_a_gap_of_its_own_kind_and_the_rest_arrives() {
    let mut card = Card { left: usize::MAX, ..Card::default() };
    let mut life = Life::begin(1, &mut card, 0);
    for n in 1..=5 {
        let (from, to) = (UnixNanos(life.clock), UnixNanos(life.clock + 1));
        let report = NewReport { bytes: vec![n; 100], from, to, settled: from, urgent: false };
        life.spool.push(report, Nanos(life.clock));
        life.clock += MINUTE;
        assert!(life.keep(&mut card, false));
    }
    card.bytes[4096 * 2 + 100] ^= 1;
    let (mut life, mut collector) = (Life::begin(2, &mut card, life.clock), Collector::default());
    collector.serve(&mut life.spool, &mut life.keeper, &mut card, Nanos(life.clock), usize::MAX);
    assert_eq!(collector.gaps, [(BootId(1), 3, 3, GapReason::Damaged)]);
    assert_eq!(collector.reports.len(), 4);
    assert_eq!(collector.ended, [(BootId(1), true)]);
}
