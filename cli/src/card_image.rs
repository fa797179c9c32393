//! Puts a board's `sonde.toml` onto the boot partition of a card, or of a card's image. FAT is a crate's affair; what is written to is looked at
//! first, because a path may be mistaken.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use fatfs::{FileSystem, FsOptions};

/// A sector of the partition table.
const SECTOR: u64 = 512;

/// Where the first entry of a master boot record is, and its kind: FAT32 by numbers of sectors.
const ENTRY: usize = 446;
const FAT32: u8 = 0x0c;

/// What the boot partition is called.
const LABEL: &str = "SONDE";

/// The file that volunteers edit.
const SETTINGS: &str = "sonde.toml";

/// Is this a card of a board's, or its image, that can be written?
///
/// # Errors
/// In words, when it is not.
pub fn check(image: &Path) -> Result<()> {
    open(image).map(drop)
}

/// Writes the settings, in the place of those that are there.
///
/// # Errors
/// When it is no card's image, or cannot be written.
pub fn put(image: &Path, settings: &str) -> Result<()> {
    let (file, card) = open(image)?;
    let write = || -> io::Result<()> {
        let mut to = card.root_dir().create_file(SETTINGS)?;
        to.truncate()?;
        to.write_all(settings.as_bytes())?;
        to.flush()
    };
    write().with_context(|| format!("{SETTINGS} cannot be written into {}", image.display()))?;
    card.unmount()?;
    Ok(file.sync_all()?)
}

fn open(image: &Path) -> Result<(File, FileSystem<Partition>)> {
    let name = image.display();
    let mut file = OpenOptions::new().read(true).write(true).open(image).with_context(|| format!("{name}"))?;
    let mut table = [0; SECTOR as usize];
    file.read_exact(&mut table).with_context(|| format!("{name} is no image of a card"))?;
    if table.starts_with(b"\xfd7zXZ") {
        bail!("{name} is packed: unpack it first (xz --decompress --keep {name})");
    }
    let number =
        |at: usize| table.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let (start, length) = (u64::from(number(ENTRY + 8)) * SECTOR, u64::from(number(ENTRY + 12)) * SECTOR);
    ensure!(
        table.ends_with(&[0x55, 0xaa]) && table.get(ENTRY + 4) == Some(&FAT32) && start > 0 && length > 0,
        "{name} is no image of a board's card"
    );
    let partition = Partition { file: file.try_clone()?, start, length, at: 0 };
    let card = FileSystem::new(partition, FsOptions::new())
        .with_context(|| format!("the boot partition of {name} cannot be read"))?;
    let is_ours = card.volume_label() == LABEL && card.root_dir().open_dir("EFI/Linux").is_ok();
    ensure!(
        is_ours,
        "{name} is no image of a board's card: its first partition is not called {LABEL}, or has no system"
    );
    Ok((file, card))
}

/// A part of a file, as a file of its own.
struct Partition {
    file: File,
    start: u64,
    length: u64,
    at: u64,
}

impl Partition {
    /// How many of these bytes are within.
    fn within(&self, wanted: usize) -> usize {
        wanted.min(usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX))
    }
}

impl Read for Partition {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = self.within(bytes.len());
        self.file.seek(SeekFrom::Start(self.start + self.at))?;
        let read = self.file.read(bytes.get_mut(..most).unwrap_or_default())?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Partition {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.within(bytes.len());
        self.file.seek(SeekFrom::Start(self.start + self.at))?;
        let written = self.file.write(bytes.get(..most).unwrap_or_default())?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Partition {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use fatfs::{FatType, FormatVolumeOptions, format_volume};

    use super::*;

    const START: u64 = 1 << 20;
    const LENGTH: u64 = 64 << 20;

    /// A card's image with a boot partition of this name.
    fn image(folder: &Path, label: [u8; 11]) -> std::path::PathBuf {
        let path = folder.join("card.img");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let mut table = [0; SECTOR as usize];
        table[ENTRY + 4] = FAT32;
        table[ENTRY + 8..ENTRY + 12].copy_from_slice(&((START / SECTOR) as u32).to_le_bytes());
        table[ENTRY + 12..ENTRY + 16].copy_from_slice(&((LENGTH / SECTOR) as u32).to_le_bytes());
        table[510..].copy_from_slice(&[0x55, 0xaa]);
        file.write_all(&table).unwrap();
        file.set_len(START + LENGTH + 4096).unwrap();
        let part = || Partition { file: file.try_clone().unwrap(), start: START, length: LENGTH, at: 0 };
        let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).bytes_per_cluster(512).volume_label(label);
        format_volume(part(), options).unwrap();
        let card = FileSystem::new(part(), FsOptions::new()).unwrap();
        card.root_dir().create_dir("EFI").unwrap().create_dir("Linux").unwrap();
        card.root_dir().create_file(SETTINGS).unwrap().write_all(&[b'#'; 9000]).unwrap();
        card.unmount().unwrap();
        path
    }

    fn settings(path: &Path) -> String {
        let mut text = String::new();
        open(path).unwrap().1.root_dir().open_file(SETTINGS).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn settings_take_the_place_of_longer_and_shorter_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = image(folder.path(), *b"SONDE      ");
        let before = std::fs::read(&path).unwrap();
        let free = || open(&path).unwrap().1.stats().unwrap().free_clusters();
        let empty = free();
        for text in ["[network]\n", &"# long\n".repeat(3000), ""] {
            put(&path, text).unwrap();
            assert_eq!(settings(&path), text);
            assert!(free() <= empty + 9000 / 512 + 1, "nothing else was given away");
        }
        let after = std::fs::read(&path).unwrap();
        assert_eq!(before[..START as usize], after[..START as usize], "what is before the partition");
        assert_eq!(before[(START + LENGTH) as usize..], after[(START + LENGTH) as usize..], "and behind it");
    }

    #[test]
    fn what_is_no_card_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let mut packed = b"\xfd7zXZ\0".to_vec();
        packed.resize(4096, 0);
        for (path, word) in [
            (folder.path().join("none"), "none"),
            (file("short", b"x"), "no image"),
            (file("zeros", &[0; 4096]), "no image"),
            (file("packed.xz", &packed), "unpack it first"),
            (image(folder.path(), *b"OTHER      "), "not called SONDE"),
        ] {
            let before = std::fs::read(&path).ok();
            let error = format!("{:#}", put(&path, "[network]").unwrap_err());
            assert!(error.contains(word), "{error}");
            assert_eq!(std::fs::read(&path).ok(), before, "{word}");
        }
    }
}
