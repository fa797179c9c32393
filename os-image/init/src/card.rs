//! The card (or stick, or disk) that the board has started from: the disk whose first partition is a FAT file system with our label.
//! Its second partition holds the state, whatever is in it.
//!
//! Of several the first is taken in the order in which the firmware of small boards looks for something to start: cards, then what is at
//! USB, then other disks. The firmware's own word cannot tell two cards apart: all are written of one image, so their partition tables
//! and file systems bear the same numbers, and systemd-boot names partitions of a GPT alone.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// The label of the boot partition, as FAT writes it.
const LABEL: &[u8; 11] = b"SONDE      ";

/// Where it is mounted while it is read.
const BOOT: &str = "/boot";

/// More of `sonde.toml` is not read.
const MAX_SETTINGS: u64 = 64 * 1024;

/// A card that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The device of the boot partition.
    pub boot: PathBuf,
    /// The device of the state partition, if the card has one.
    pub state: Option<PathBuf>,
}

/// The cards that are there now, the one to take first. `block` is `/sys/class/block`, `dev` is `/dev`.
pub fn find(block: &Path, dev: &Path) -> Vec<Card> {
    let mut found: Vec<Card> = fs::read_dir(block)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let boot = dev.join(entry.file_name());
            if partition_number(&entry.path())? != 1 || !is_ours(&first_sector(&boot).ok()?) {
                return None;
            }
            Some(Card { state: sibling(&entry.path()).map(|name| dev.join(name)), boot })
        })
        .collect();
    found.sort_by_cached_key(|card| (rank(&card.boot), card.boot.clone()));
    found
}

/// What is taken first: Linux calls cards `mmcblk…`; `sd…` is at USB, or a disk.
fn rank(boot: &Path) -> u8 {
    let name = boot.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.starts_with("mmcblk") {
        0
    } else if name.starts_with("sd") {
        1
    } else {
        2
    }
}

/// Which card is taken, and which others there are.
pub fn words(taken: &Card, others: &[Card]) -> String {
    let taken = taken.boot.display();
    if others.is_empty() {
        return taken.to_string();
    }
    let others: Vec<String> = others.iter().map(|card| card.boot.display().to_string()).collect();
    format!(
        "{taken} is taken; {} is called SONDE too and left alone: only one should be in the board",
        others.join(", ")
    )
}

fn partition_number(about: &Path) -> Option<u32> {
    fs::read_to_string(about.join("partition")).ok()?.trim().parse().ok()
}

/// The second partition of the disk that a first one is on.
fn sibling(about: &Path) -> Option<std::ffi::OsString> {
    let disk = fs::canonicalize(about).ok()?.parent()?.to_owned();
    let second = |entry: &fs::DirEntry| partition_number(&entry.path()) == Some(2);
    fs::read_dir(disk).ok()?.filter_map(Result::ok).find(second).map(|entry| entry.file_name())
}

fn first_sector(device: &Path) -> io::Result<[u8; 512]> {
    let mut sector = [0; 512];
    File::open(device)?.read_exact(&mut sector)?;
    Ok(sector)
}

/// A FAT boot sector with our label (Microsoft's FAT specification, "Boot Sector").
fn is_ours(sector: &[u8; 512]) -> bool {
    let fat32 = &sector[71..82] == LABEL && sector[82..].starts_with(b"FAT32");
    let fat16 = &sector[43..54] == LABEL && sector[54..].starts_with(b"FAT1");
    sector[510..] == [0x55, 0xaa] && (fat32 || fat16)
}

/// Reads `sonde.toml`.
///
/// # Errors
/// In words, with what to do.
pub fn read_settings(card: &Card) -> Result<String, String> {
    let device = card.boot.display();
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(&card.boot, BOOT, "vfat", flags, c"iocharset=ascii,codepage=437")
        .map_err(|error| format!("the boot partition {device} cannot be mounted ({error}); write the card anew"))?;
    let text = read_text(Path::new(BOOT));
    // Nobody has anything open in it; and if so, it stays there read-only.
    let _ = unmount(BOOT, UnmountFlags::empty());
    text
}

fn read_text(boot: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(boot.join("sonde.toml")).and_then(|file| file.take(MAX_SETTINGS + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(format!("sonde.toml cannot be read ({error}); write it anew to the boot partition"));
        }
        Err(_) if boot.join("sonde.toml.txt").exists() => {
            return Err("the file on the boot partition is called sonde.toml.txt; call it sonde.toml".into());
        }
        Err(_) => return Err("there is no sonde.toml on the boot partition; put the one of your network there".into()),
    }
    if bytes.len() as u64 > MAX_SETTINGS {
        return Err(format!("sonde.toml is larger than {} KiB", MAX_SETTINGS / 1024));
    }
    // What some editors put in front of UTF-8.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = std::str::from_utf8(text).map_err(|_| "sonde.toml is not UTF-8; save it as UTF-8 text".to_owned())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot_sector(label: &[u8; 11], fat: &[u8; 8]) -> [u8; 512] {
        let mut sector = [0; 512];
        let place = if fat.starts_with(b"FAT32") { 71 } else { 43 };
        sector[place..place + 11].copy_from_slice(label);
        sector[place + 11..place + 19].copy_from_slice(fat);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    #[test]
    fn the_card_is_the_disk_whose_first_partition_has_our_label() {
        let folder = tempfile::tempdir().unwrap();
        let (block, dev) = (folder.path().join("class"), folder.path().join("dev"));
        fs::create_dir_all(&block).unwrap();
        fs::create_dir_all(&dev).unwrap();
        let disk = |name: &str, first: Option<[u8; 512]>, partitions: u32| {
            for number in 0..=partitions {
                let part = if number == 0 { name.to_owned() } else { format!("{name}{number}") };
                let place = folder.path().join("devices").join(name);
                let place = if number == 0 { place } else { place.join(&part) };
                fs::create_dir_all(&place).unwrap();
                if number > 0 {
                    fs::write(place.join("partition"), format!("{number}\n")).unwrap();
                }
                std::os::unix::fs::symlink(&place, block.join(&part)).unwrap();
                let sector = first.filter(|_| number == 1).unwrap_or([0; 512]);
                fs::write(dev.join(part), sector).unwrap();
            }
        };
        disk("sda", Some(boot_sector(b"OTHER      ", b"FAT32   ")), 2);
        disk("vda", Some(boot_sector(b"SONDE      ", b"FAT32   ")), 2);
        disk("sdb", Some(boot_sector(b"SONDE      ", b"FAT16   ")), 1);
        disk("mmcblk1", Some(boot_sector(b"SONDE      ", b"FAT32   ")), 2);
        disk("nvme0", None, 2);
        let found = find(&block, &dev);
        assert_eq!(
            found,
            [
                Card { boot: dev.join("mmcblk11"), state: Some(dev.join("mmcblk12")) },
                Card { boot: dev.join("sdb1"), state: None },
                Card { boot: dev.join("vda1"), state: Some(dev.join("vda2")) },
            ]
        );
        let said = words(&found[0], &found[1..]);
        assert!(said.contains("mmcblk11 is taken") && said.contains("sdb1") && said.contains("vda1"), "{said}");
        assert_eq!(words(&found[1], &[]), dev.join("sdb1").display().to_string());
    }

    #[test]
    fn settings_are_bounded_text_and_a_wrong_name_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sonde.toml");
        assert!(read_text(folder.path()).unwrap_err().contains("no sonde.toml"));
        fs::write(folder.path().join("sonde.toml.txt"), "").unwrap();
        assert!(read_text(folder.path()).unwrap_err().contains("call it sonde.toml"));
        fs::write(&file, "\u{feff}[address]\r\n").unwrap();
        assert_eq!(read_text(folder.path()).unwrap(), "[address]\r\n");
        fs::write(&file, [0xff, 0xfe, b'[', 0]).unwrap();
        assert!(read_text(folder.path()).unwrap_err().contains("UTF-8"));
        fs::write(&file, vec![b'#'; 65_537]).unwrap();
        assert!(read_text(folder.path()).unwrap_err().contains("64 KiB"));
    }
}
