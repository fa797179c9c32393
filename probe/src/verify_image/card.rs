//! The boot partition of a card, or of a card's image: an MBR, and the FAT32 that its first entry names, read only.
//!
//! The bytes are a stranger's: every number is checked against the size of what it counts in, and what is read is bounded. What a
//! card of ours never has is an error, not a guess: other sizes of sectors, FAT12 and FAT16, GPT.

use std::io::{self, Read, Seek, SeekFrom};

/// The only size of a sector.
const SECTOR: u64 = 512;

/// The largest FAT that is read: that of 4 GiB in clusters of ours.
const MAX_FAT: u64 = 8 << 20;

/// The largest file that is read: more than any signed file of ours.
pub const MAX_FILE: u64 = 256 << 20;

/// The most files and folders together. A card has some twenty.
const MAX_ENTRIES: usize = 2_000;

/// How deep folders may lie in each other.
const MAX_DEPTH: usize = 8;

/// The largest folder, in bytes. A longer one is none that a computer has made of a card.
const MAX_FOLDER: u64 = 256 << 10;

/// Why a card cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NotCard {
    /// The file or device.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// Something is not as on a card of ours.
    #[error("this is no card of Sonde's, or it is damaged: {0}")]
    Form(&'static str),
}

/// A file on the boot partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From the root, with `/`.
    pub path: String,
    /// In bytes.
    pub size: u64,
    cluster: u32,
}

/// An open boot partition.
#[derive(Debug)]
pub struct Card<R> {
    reader: R,
    /// Where the data begin, in bytes from the start of the card.
    data: u64,
    cluster_bytes: u64,
    /// The FAT: the next cluster of each.
    next: Vec<u32>,
    root: u32,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let part = bytes.get(at..).and_then(|rest| rest.first_chunk());
    part.copied().unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

impl<R: Read + Seek> Card<R> {
    /// Finds the boot partition.
    ///
    /// # Errors
    /// When it cannot be read, or is none of ours.
    pub fn open(mut reader: R) -> Result<Self, NotCard> {
        let mbr: [u8; 512] = sector(&mut reader, 0)?;
        if mbr.get(510..) != Some(&[0x55, 0xaa]) {
            return Err(NotCard::Form("it has no table of partitions"));
        }
        let start = u64::from(u32_at(&mbr, 446 + 8)) * SECTOR;
        let length = u64::from(u32_at(&mbr, 446 + 12)) * SECTOR;
        if start == 0 || length == 0 {
            return Err(NotCard::Form("its first partition is empty"));
        }
        let boot: [u8; 512] = sector(&mut reader, start)?;
        let (per_cluster, reserved) = (u64::from(boot[13]), u64::from(u16_at(&boot, 14)));
        let (fats, fat_sectors) = (u64::from(boot[16]), u64::from(u32_at(&boot, 36)));
        let sectors = u64::from(u32_at(&boot, 32));
        // FAT12 and FAT16 have their size, and the size of their root, in other fields.
        if boot.get(510..) != Some(&[0x55, 0xaa])
            || u64::from(u16_at(&boot, 11)) != SECTOR
            || u16_at(&boot, 17) != 0
            || u16_at(&boot, 22) != 0
        {
            return Err(NotCard::Form("its first partition is no FAT32"));
        }
        if !per_cluster.is_power_of_two() || reserved == 0 || !(1..=2).contains(&fats) || fat_sectors * SECTOR > MAX_FAT
        {
            return Err(NotCard::Form("the head of its FAT32 makes no sense"));
        }
        let before = reserved + fats * fat_sectors;
        if sectors * SECTOR > length || before >= sectors {
            return Err(NotCard::Form("its FAT32 is larger than its partition"));
        }
        // Clusters count from 2.
        let clusters = ((sectors - before) / per_cluster + 2).min(fat_sectors * SECTOR / 4);
        let mut table = vec![0; usize::try_from(clusters * 4).unwrap_or(0)];
        fill(&mut reader, start + reserved * SECTOR, &mut table)?;
        // The upper four bits are nobody's.
        let next = table.chunks_exact(4).map(|four| u32_at(four, 0) & 0x0fff_ffff).collect();
        let data = start + before * SECTOR;
        Ok(Self { reader, data, cluster_bytes: per_cluster * SECTOR, next, root: u32_at(&boot, 44) })
    }

    /// Every file, folder by folder.
    ///
    /// # Errors
    /// When a folder cannot be followed, or there are more than a card can have.
    pub fn files(&mut self) -> Result<Vec<Entry>, NotCard> {
        let (mut files, mut seen) = (Vec::new(), 0);
        let mut folders = vec![(String::new(), self.root, 0)];
        while let Some((prefix, cluster, depth)) = folders.pop() {
            let bytes = self.chain(cluster, MAX_FOLDER, None)?;
            for (name, folder, row) in entries(&bytes) {
                seen += 1;
                if seen > MAX_ENTRIES || depth > MAX_DEPTH {
                    return Err(NotCard::Form("it has more files or deeper folders than a card of ours"));
                }
                let path = format!("{prefix}{name}");
                let cluster = u32::from(u16_at(row, 20)) << 16 | u32::from(u16_at(row, 26));
                if folder {
                    folders.push((format!("{path}/"), cluster, depth + 1));
                } else {
                    files.push(Entry { path, size: u32_at(row, 28).into(), cluster });
                }
            }
        }
        // Each cluster belongs to one file at most.
        if files.iter().map(|file| file.size).sum::<u64>() > self.capacity() {
            return Err(NotCard::Form("its files together are larger than it is"));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// The contents of a file.
    ///
    /// # Errors
    /// When its clusters do not lead to its end, or it is larger than [`MAX_FILE`].
    pub fn read(&mut self, entry: &Entry) -> Result<Vec<u8>, NotCard> {
        if entry.size > MAX_FILE {
            return Err(NotCard::Form("a file on it is larger than any of ours"));
        }
        self.chain(entry.cluster, MAX_FILE, Some(entry.size))
    }

    /// What all clusters hold, in bytes.
    fn capacity(&self) -> u64 {
        self.next.len() as u64 * self.cluster_bytes
    }

    /// What a chain of clusters holds: to its end, or `size` bytes of it.
    fn chain(&mut self, first: u32, most: u64, size: Option<u64>) -> Result<Vec<u8>, NotCard> {
        let mut bytes = Vec::new();
        let mut cluster = first;
        let most = most.min(self.capacity());
        while size.is_none_or(|size| (bytes.len() as u64) < size) {
            // From here on a chain is over.
            if cluster >= 0x0fff_fff8 && size.is_none() {
                break;
            }
            let known = usize::try_from(cluster).ok().filter(|_| cluster >= 2).and_then(|index| self.next.get(index));
            let Some(&next) = known else {
                return Err(NotCard::Form("the clusters of a file lead nowhere"));
            };
            // A chain that runs in a circle ends here too.
            if bytes.len() as u64 >= most {
                return Err(NotCard::Form("a folder or file on it has no end"));
            }
            let from = bytes.len();
            bytes.resize(from + usize::try_from(self.cluster_bytes).unwrap_or(0), 0);
            fill(&mut self.reader, self.data + u64::from(cluster - 2) * self.cluster_bytes, &mut bytes[from..])?;
            cluster = next;
        }
        if let Some(size) = size {
            bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        }
        Ok(bytes)
    }
}

/// Reads all of `bytes` from there.
fn fill<R: Read + Seek>(reader: &mut R, at: u64, bytes: &mut [u8]) -> Result<(), NotCard> {
    reader.seek(SeekFrom::Start(at))?;
    match reader.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(NotCard::Form("it is shorter than it says")),
        other => Ok(other?),
    }
}

fn sector<R: Read + Seek>(reader: &mut R, at: u64) -> Result<[u8; 512], NotCard> {
    let mut bytes = [0; 512];
    fill(reader, at, &mut bytes)?;
    Ok(bytes)
}

/// The entries of a folder: name, whether it is a folder, the row. Long names lie in rows before their file's, last piece first.
fn entries(folder: &[u8]) -> Vec<(String, bool, &[u8])> {
    let mut found = Vec::new();
    let mut long: Vec<u16> = Vec::new();
    let mut sum = 0;
    for row in folder.chunks_exact(32) {
        let (first, attributes) = (row[0], row[11]);
        match (first, attributes & 0x3f) {
            (0, _) => break,
            (0xe5, _) => long.clear(),
            (_, 0x0f) => {
                if first & 0x40 != 0 {
                    long.clear();
                }
                sum = row[13];
                let pieces = [&row[1..11], &row[14..26], &row[28..32]].concat();
                long.splice(0..0, pieces.chunks_exact(2).map(|two| u16_at(two, 0)));
            }
            // The name of the disk.
            (_, kind) if kind & 0x08 != 0 => long.clear(),
            (_, kind) => {
                let short = short_name(row);
                let name = if !long.is_empty() && checksum(&row[..11]) == sum { long_name(&long) } else { short };
                long.clear();
                if name != "." && name != ".." {
                    found.push((name, kind & 0x10 != 0, row));
                }
            }
        }
    }
    found
}

/// Without what moves a terminal, and without what would make two names out of one.
fn harmless(name: &str) -> String {
    name.chars().map(|char| if char.is_control() || char == '/' { '?' } else { char }).collect()
}

fn long_name(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    harmless(&String::from_utf16_lossy(units.get(..end).unwrap_or_default()))
}

fn short_name(row: &[u8]) -> String {
    // Two bits say that base or ending is meant in small letters.
    let part = |bytes: &[u8], small: bool| {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if small { text.to_ascii_lowercase() } else { text }
    };
    let (base, ending) = (part(&row[..8], row[12] & 0x08 != 0), part(&row[8..11], row[12] & 0x10 != 0));
    harmless(&if ending.is_empty() { base } else { format!("{base}.{ending}") })
}

/// Ties a long name to its short one.
fn checksum(short: &[u8]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
#[path = "card_tests.rs"]
pub(super) mod tests;
