//! Every write and flush of a disk, as QEMU's `blklogwrites` records them (the format of Linux's dm-log-writes,
//! `Documentation/admin-guide/device-mapper/log-writes.rst`), and every card that a power cut in between could have left.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::random::Random;

/// What a record begins with.
const MAGIC: u64 = 0x006a_7366_7773_6872;
/// A sector, of the disk and of the record.
const SECTOR: usize = 512;
/// What was written before is on the disk from here on.
const FLUSH: u64 = 1;
/// So is this very write.
const THROUGH: u64 = 2;
/// The sectors were given up; there is no data.
const DISCARD: u64 = 4;
/// With so few writes between two flushes every subset is built.
const ALL_SUBSETS: usize = 8;
/// Of more, all beginnings and so many subsets by chance.
const RANDOM_SUBSETS: usize = 60;

/// One write to a part of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// From which byte of the part on.
    pub at: usize,
    /// What.
    pub bytes: Vec<u8>,
}

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A write, which may be on the disk or not until the next flush.
    Write(Write),
    /// Everything before is on the disk.
    Flush,
}

/// Reads a record; of all writes only what falls into this part of the disk (in bytes).
///
/// # Errors
/// When it is no record, or is cut short.
pub fn read(path: &Path, part: Range<u64>) -> Result<Vec<Event>> {
    let mut file = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
    let [magic, _, count, size] = words(&mut file)?;
    // The size has 32 bits, and nothing of ours behind it.
    ensure!(magic == MAGIC && size & 0xffff_ffff == SECTOR as u64, "{} is no record of writes", path.display());
    let mut events = Vec::new();
    for _ in 0..count {
        let [at, length, flags, _] = words(&mut file).context("the record is cut short")?;
        let (at, length) = (at * SECTOR as u64, length * SECTOR as u64);
        if flags & FLUSH != 0 {
            events.push(Event::Flush);
        }
        if flags & DISCARD != 0 || length == 0 {
            continue;
        }
        let (from, to) = (at.max(part.start), (at + length).min(part.end));
        if from >= to {
            file.seek(SeekFrom::Current(i64::try_from(length)?))?;
            continue;
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        file.read_exact(&mut bytes).context("the record is cut short")?;
        let inside = usize::try_from(from - at)?..usize::try_from(to - at)?;
        let bytes = bytes.get(inside).context("a piece of it")?.to_vec();
        events.push(Event::Write(Write { at: usize::try_from(from - part.start)?, bytes }));
        if flags & THROUGH != 0 {
            events.push(Event::Flush);
        }
    }
    Ok(events)
}

/// The four numbers that a sector of the record begins with.
fn words(file: &mut impl Read) -> Result<[u64; 4]> {
    let mut sector = [0; SECTOR];
    file.read_exact(&mut sector)?;
    let (words, _) = sector.as_chunks();
    let mut found = words.iter().map(|word| u64::from_le_bytes(*word));
    Ok([(); 4].map(|()| found.next().unwrap_or_default()))
}

/// Builds every state that the disk can have been left in and shows it to `look`: after each flush, and in between with some of the
/// writes since. A write of several sectors counts as one: what tears one is the card's own affair. Gives how many states there were.
///
/// # Errors
/// The first of `look`.
pub fn states(
    disk: &mut [u8],
    events: &[Event],
    random: &mut Random,
    look: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<usize> {
    let (mut count, mut pending) = (0, Vec::new());
    for event in events.iter().chain([&Event::Flush]) {
        match event {
            Event::Write(write) => pending.push(write),
            Event::Flush => {
                count += between(disk, &pending, random, look)?;
                for write in pending.drain(..) {
                    put(disk, write)?;
                }
            }
        }
    }
    look(disk)?;
    Ok(count + 1)
}

fn between(
    disk: &mut [u8],
    pending: &[&Write],
    random: &mut Random,
    look: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<usize> {
    let mut subsets: Vec<Vec<bool>> = Vec::new();
    if pending.is_empty() {
        return Ok(0);
    } else if pending.len() <= ALL_SUBSETS {
        let all = 0..1u32 << pending.len();
        subsets.extend(all.map(|bits| (0..pending.len()).map(|number| bits >> number & 1 == 1).collect()));
    } else {
        subsets.extend((0..pending.len()).map(|end| (0..pending.len()).map(|number| number < end).collect()));
        subsets.extend((0..RANDOM_SUBSETS).map(|_| pending.iter().map(|_| random.next() & 1 == 1).collect()));
    }
    for subset in &subsets {
        let chosen = pending.iter().zip(subset).filter(|(_, is)| **is).map(|(write, _)| *write);
        let mut undo = Vec::new();
        for write in chosen {
            let old = disk.get(write.at..write.at + write.bytes.len()).context("a write beyond the end")?.to_vec();
            undo.push(Write { at: write.at, bytes: old });
            put(disk, write)?;
        }
        let seen = look(disk);
        for write in undo.iter().rev() {
            put(disk, write)?;
        }
        seen?;
    }
    Ok(subsets.len())
}

fn put(disk: &mut [u8], write: &Write) -> Result<()> {
    let place = disk.get_mut(write.at..write.at + write.bytes.len()).context("a write beyond the end")?;
    place.copy_from_slice(&write.bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subset_of_what_was_not_flushed_is_seen() {
        let write = |at, byte| Event::Write(Write { at, bytes: vec![byte] });
        let events = [write(0, 1), Event::Flush, write(1, 2), write(2, 3)];
        let (mut disk, mut seen) = (vec![0; 3], Vec::new());
        let count = states(&mut disk, &events, &mut Random::new(1), &mut |disk| {
            seen.push(disk.to_vec());
            Ok(())
        });
        let wanted =
            [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 2, 0], [1, 0, 3], [1, 2, 3], [1, 2, 3]].map(|state| state.to_vec());
        assert_eq!((count.unwrap(), seen), (7, wanted.to_vec()));
    }

    #[test]
    fn a_record_is_read_for_one_part_of_the_disk() {
        let sector = |words: [u64; 4]| {
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.resize(SECTOR, 0);
            bytes
        };
        let record = [
            sector([MAGIC, 1, 4, SECTOR as u64]),
            sector([1, 2, 0, 0]),
            vec![5; 1024],
            sector([9, 1, 0, 0]),
            vec![6; 512],
            sector([0, 0, FLUSH, 0]),
            sector([3, 1, FLUSH | THROUGH, 0]),
            vec![7; 512],
        ];
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("record");
        std::fs::write(&path, record.concat()).unwrap();
        let written = |at, byte| Event::Write(Write { at, bytes: vec![byte; 512] });
        let wanted = [written(0, 5), Event::Flush, Event::Flush, written(512, 7), Event::Flush];
        assert_eq!(read(&path, 1024..2048).unwrap(), wanted);
        std::fs::write(&path, &record.concat()[..3000]).unwrap();
        assert!(read(&path, 1024..2048).is_err());
    }
}
