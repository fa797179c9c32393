//! A FAT32 partition in memory, read as Microsoft's "FAT File System Specification" (2005) says it: the card of a power cut, which is in no
//! file that mtools could be given. Whoever reads it wants to know what a firmware would find there.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};

/// Bytes of an entry of a folder.
const ENTRY: usize = 32;
/// What a long name's pieces have as their attribute.
const LONG: u8 = 0x0f;
/// The label's attribute.
const LABEL: u8 = 0x08;
/// A folder's.
const FOLDER: u8 = 0x10;
/// Cluster numbers have 28 bits; from here on they mean the end.
const END: u32 = 0x0fff_fff8;

/// The partition.
#[derive(Debug, Clone, Copy)]
pub struct Fat<'a> {
    bytes: &'a [u8],
    table: usize,
    data: usize,
    cluster: usize,
    root: u32,
}

/// What a folder says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its long name, or the short one if it has none that belongs to it.
    pub name: String,
    /// Its first cluster; 0 for an empty file.
    pub first: u32,
    /// Its length in bytes.
    pub length: u32,
    /// Whether it is a folder.
    pub is_folder: bool,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl<'a> Fat<'a> {
    /// Of the bytes of a partition.
    ///
    /// # Errors
    /// When they are no FAT32.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let byte = |at: usize| bytes.get(at).copied().map(usize::from);
        let header = || {
            let sector = usize::from(u16_at(bytes, 11)?);
            let table = usize::from(u16_at(bytes, 14)?) * sector;
            let tables = byte(16)? * usize::try_from(u32_at(bytes, 36)?).ok()? * sector;
            Some((table, table + tables, byte(13)? * sector, u32_at(bytes, 44)?))
        };
        let (table, data, cluster, root) = header().context("too short")?;
        ensure!(cluster >= 512 && table > 0 && data > table && root >= 2, "no header of FAT32");
        Ok(Self { bytes, table, data, cluster, root })
    }

    /// Where in the partition a cluster lies, in bytes.
    pub fn place(&self, cluster: u32) -> Result<std::ops::Range<usize>> {
        let start = self.data + (usize::try_from(cluster)?.checked_sub(2).context("cluster 0 or 1")?) * self.cluster;
        ensure!(start + self.cluster <= self.bytes.len(), "cluster {cluster} lies beyond the end");
        Ok(start..start + self.cluster)
    }

    /// The clusters of a file.
    ///
    /// # Errors
    /// When they run in circles or end nowhere.
    pub fn chain(&self, first: u32) -> Result<Vec<u32>> {
        let (mut found, mut seen, mut next) = (Vec::new(), BTreeSet::new(), first);
        if first == 0 {
            return Ok(found);
        }
        while next < END {
            self.place(next)?;
            ensure!(seen.insert(next), "cluster {next} comes twice");
            found.push(next);
            next = u32_at(self.bytes, self.table + usize::try_from(next)? * 4).context("the table ends")? & 0x0fff_ffff;
        }
        Ok(found)
    }

    /// A folder of this path; none is the root.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn folder(&self, path: &[&str]) -> Result<Vec<Entry>> {
        let mut entries = self.entries(self.root)?;
        for name in path {
            let found = entries.iter().find(|entry| entry.is_folder && entry.name.eq_ignore_ascii_case(name));
            entries = self.entries(found.with_context(|| format!("no folder {name}"))?.first)?;
        }
        Ok(entries)
    }

    fn entries(&self, first: u32) -> Result<Vec<Entry>> {
        let (mut found, mut long) = (Vec::new(), LongName::default());
        for cluster in self.chain(first)? {
            let bytes = self.bytes.get(self.place(cluster)?).context("a folder's cluster")?;
            for entry in bytes.chunks_exact(ENTRY) {
                match (entry[0], entry[11]) {
                    (0, _) => return Ok(found),
                    (0xe5, _) => long = LongName::default(),
                    (_, LONG) => long.add(entry),
                    (_, attributes) if attributes & LABEL != 0 => long = LongName::default(),
                    (_, attributes) => {
                        let name = std::mem::take(&mut long).of(&entry[..11]).unwrap_or_else(|| short(&entry[..11]));
                        let half = |at: usize| u32::from(u16_at(entry, at).unwrap_or_default());
                        let (first, length) = (half(20) << 16 | half(26), u32_at(entry, 28).unwrap_or_default());
                        found.push(Entry { name, first, length, is_folder: attributes & FOLDER != 0 });
                    }
                }
            }
        }
        Ok(found)
    }

    /// Whether a file has this content, from its first byte to its last.
    ///
    /// # Errors
    /// When its clusters cannot be followed, or are fewer than its length wants.
    pub fn has(&self, entry: &Entry, content: &[u8]) -> Result<bool> {
        if usize::try_from(entry.length)? != content.len() {
            return Ok(false);
        }
        let chain = self.chain(entry.first)?;
        let mut pieces = content.chunks(self.cluster);
        for &cluster in &chain {
            let Some(piece) = pieces.next() else { break };
            let place = self.place(cluster)?;
            if self.bytes.get(place.start..place.start + piece.len()) != Some(piece) {
                return Ok(false);
            }
        }
        if pieces.next().is_some() {
            bail!("{} has {} clusters, too few for {} bytes", entry.name, chain.len(), entry.length);
        }
        Ok(true)
    }
}

/// `NAME    EXT` as `name.ext`.
fn short(bytes: &[u8]) -> String {
    let text = |part: &[u8]| String::from_utf8_lossy(part).trim_end().to_ascii_lowercase();
    let (name, extension) = bytes.split_at(8);
    let (name, extension) = (text(name), text(extension));
    if extension.is_empty() { name } else { format!("{name}.{extension}") }
}

/// The pieces of a long name, which stand before its short one, the last piece first.
#[derive(Debug, Default)]
struct LongName {
    units: Vec<u16>,
    checksum: u8,
    next: u8,
}

impl LongName {
    fn add(&mut self, entry: &[u8]) {
        let number = entry[0] & 0x3f;
        if entry[0] & 0x40 != 0 {
            *self = Self { units: Vec::new(), checksum: entry[13], next: number };
        }
        if number != self.next || entry[13] != self.checksum || number == 0 {
            *self = Self::default();
            return;
        }
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        let mut units: Vec<u16> = places.filter_map(|at| u16_at(entry, at)).collect();
        units.append(&mut self.units);
        (self.units, self.next) = (units, number - 1);
    }

    /// The name, if all of it is there and belongs to this short one.
    fn of(self, short: &[u8]) -> Option<String> {
        let sum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let whole = !self.units.is_empty() && self.next == 0 && self.checksum == sum;
        let end = self.units.iter().position(|unit| *unit == 0).unwrap_or(self.units.len());
        whole.then(|| String::from_utf16_lossy(&self.units[..end]))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A partition with these files, made by other people's tools; none where they are missing.
    fn mtools_fat(files: &[(&str, &[u8])]) -> Option<Vec<u8>> {
        let folder = tempfile::TempDir::new().unwrap();
        let image = folder.path().join("fat");
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let run = |program: &str, words: &[&str]| {
            let mut command = Command::new(program);
            command.args(words).env("MTOOLS_SKIP_CHECK", "1").env("MTOOLSRC", "/dev/null");
            command.output().ok().map(|output| assert!(output.status.success(), "{program}: {output:?}"))
        };
        let image_text = image.display().to_string();
        run("/usr/sbin/mkfs.vfat", &["-F", "32", "-s", "1", &image_text])?;
        run("mmd", &["-i", &image_text, "::EFI", "::EFI/Linux"])?;
        for (name, content) in files {
            let file = folder.path().join("file");
            std::fs::write(&file, content).unwrap();
            run("mcopy", &["-i", &image_text, &file.display().to_string(), &format!("::{name}")])?;
        }
        Some(std::fs::read(image).unwrap())
    }

    #[test]
    fn reads_what_mtools_writes() {
        let long: Vec<u8> = (0..5000u32).flat_map(u32::to_le_bytes).collect();
        let files: [(&str, &[u8]); 3] =
            [("EFI/Linux/sonde_202611290220+3-0.efi", &long), ("EFI/Linux/sonde_1.tmp", b""), ("CONFIG.TXT", b"hello")];
        let Some(bytes) = mtools_fat(&files) else {
            eprintln!("SKIPPED: mkfs.vfat or mtools is missing");
            return;
        };
        let fat = Fat::open(&bytes).unwrap();
        let systems = fat.folder(&["efi", "linux"]).unwrap();
        let names: Vec<&str> =
            systems.iter().map(|entry| entry.name.as_str()).filter(|name| !name.starts_with('.')).collect();
        assert_eq!(names, ["sonde_202611290220+3-0.efi", "sonde_1.tmp"]);
        let system = systems.iter().find(|entry| entry.length > 0).unwrap();
        assert!(fat.has(system, &long).unwrap());
        assert!(!fat.has(system, &long[..10]).unwrap());
        assert!(fat.folder(&[]).unwrap().iter().any(|entry| entry.length == 5 && fat.has(entry, b"hello").unwrap()));
        assert!(fat.folder(&["EFI", "Windows"]).is_err());
        assert!(Fat::open(&bytes[..40]).is_err());
    }
}
