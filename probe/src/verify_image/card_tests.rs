use std::collections::BTreeMap;
use std::io::Cursor;

use super::*;

/// A small card with clusters of one sector, and these files. Names that need it have long entries.
pub(crate) fn card(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder { clusters: vec![vec![]; 2], next: vec![0x0fff_fff8, 0x0fff_ffff] };
    let root = builder.take(1);
    let rows = builder.folder(files);
    builder.put(root, &rows);
    builder.image(root)
}

struct Builder {
    clusters: Vec<Vec<u8>>,
    next: Vec<u32>,
}

impl Builder {
    fn take(&mut self, count: usize) -> u32 {
        let first = u32::try_from(self.next.len()).unwrap();
        for number in 0..count {
            let following = first + u32::try_from(number).unwrap() + 1;
            self.next.push(if number + 1 == count { 0x0fff_ffff } else { following });
            self.clusters.push(vec![0; 512]);
        }
        first
    }

    fn put(&mut self, first: u32, bytes: &[u8]) {
        for (number, part) in bytes.chunks(512).enumerate() {
            self.clusters[usize::try_from(first).unwrap() + number][..part.len()].copy_from_slice(part);
        }
    }

    fn store(&mut self, bytes: &[u8]) -> u32 {
        if bytes.is_empty() {
            return 0;
        }
        let first = self.take(bytes.len().div_ceil(512));
        self.put(first, bytes);
        first
    }

    /// The rows of a folder with these files, whose names are from there.
    fn folder(&mut self, files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut rows = Vec::new();
        let mut inner: BTreeMap<&str, Vec<(&str, &[u8])>> = BTreeMap::new();
        for (name, bytes) in files {
            match name.split_once('/') {
                Some((folder, rest)) => inner.entry(folder).or_default().push((rest, bytes)),
                None => rows.extend(self.file(name, bytes)),
            }
        }
        for (name, files) in inner {
            let content = self.folder(&files);
            let at = self.store(&content);
            rows.extend(row(name, 0x10, at, 0));
        }
        rows
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Vec<u8> {
        let at = self.store(bytes);
        row(name, 0x20, at, u32::try_from(bytes.len()).unwrap())
    }

    fn image(&self, root: u32) -> Vec<u8> {
        let fat_sectors = (self.next.len() * 4).div_ceil(512);
        let sectors = u32::try_from(1 + fat_sectors + self.clusters.len() - 2).unwrap();
        let mut image = vec![0; 512];
        image[454..458].copy_from_slice(&1u32.to_le_bytes());
        image[458..462].copy_from_slice(&sectors.to_le_bytes());
        image[510..].copy_from_slice(&[0x55, 0xaa]);
        let mut boot = vec![0; 512];
        boot[11..17].copy_from_slice(&[0, 2, 1, 1, 0, 1]);
        boot[32..36].copy_from_slice(&sectors.to_le_bytes());
        boot[36..40].copy_from_slice(&u32::try_from(fat_sectors).unwrap().to_le_bytes());
        boot[44..48].copy_from_slice(&root.to_le_bytes());
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        image.extend(boot);
        let mut fat: Vec<u8> = self.next.iter().flat_map(|next| next.to_le_bytes()).collect();
        fat.resize(fat_sectors * 512, 0);
        image.extend(fat);
        image.extend(self.clusters.concat());
        image
    }
}

/// An entry of a folder, with a long name before it where the name does not fit into a short one.
fn row(name: &str, attributes: u8, cluster: u32, size: u32) -> Vec<u8> {
    let (base, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = base.len() <= 8 && ending.len() <= 3 && name == name.to_ascii_uppercase();
    let mut short = [b' '; 11];
    let text = if fits { base.to_owned() } else { format!("L{:05}~1", name.len()) };
    short[..text.len()].copy_from_slice(text.as_bytes());
    if fits {
        short[8..8 + ending.len()].copy_from_slice(ending.as_bytes());
    }
    let mut rows = Vec::new();
    if !fits {
        let units: Vec<u16> = name.encode_utf16().chain([0]).collect();
        let pieces: Vec<&[u16]> = units.chunks(13).collect();
        for (number, piece) in pieces.iter().enumerate().rev() {
            let mut long = [0xff; 32];
            long[0] = u8::try_from(number + 1).unwrap() | if number + 1 == pieces.len() { 0x40 } else { 0 };
            long[11..14].copy_from_slice(&[0x0f, 0, checksum(&short)]);
            long[26..28].fill(0);
            let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
            for (place, unit) in places.zip(*piece) {
                long[place..place + 2].copy_from_slice(&unit.to_le_bytes());
            }
            rows.extend(long);
        }
    }
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(&short);
    entry[11] = attributes;
    entry[20..22].copy_from_slice(&cluster.to_le_bytes()[2..]);
    entry[26..28].copy_from_slice(&cluster.to_le_bytes()[..2]);
    entry[28..].copy_from_slice(&size.to_le_bytes());
    rows.extend(entry);
    rows
}

fn all(image: &[u8]) -> Result<Vec<(String, Vec<u8>)>, NotCard> {
    let mut card = Card::open(Cursor::new(image))?;
    let entries = card.files()?;
    entries.into_iter().map(|entry| Ok((entry.path.clone(), card.read(&entry)?))).collect()
}

const FILES: &[(&str, &[u8])] = &[
    ("CONFIG.TXT", b"arm_64bit=1\n"),
    ("EFI/sonde_0.1.0.efi", &[7; 1500]),
    ("EFI/empty.efi", b""),
    ("loader/loader-of-a-name-that-needs-three-entries.conf", b"timeout 0\n"),
];

#[test]
fn files_are_found_by_their_short_and_long_names() {
    let found = all(&card(FILES)).unwrap();
    let mut want: Vec<(String, Vec<u8>)> =
        FILES.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    want.sort();
    assert_eq!(found, want);
}

#[test]
fn a_name_moves_no_terminal_and_pretends_no_folder() {
    let found = all(&card(&[("a\x1b[2Jb.efi", b"x"), ("EFI\u{2}x.toml", b"y")])).unwrap();
    assert!(found.iter().all(|(name, _)| !name.contains(char::is_control)), "{found:?}");
}

#[test]
fn damage_is_an_error_and_ends() {
    let image = card(FILES);
    let complaint = |image: &[u8]| match all(image) {
        Err(NotCard::Form(words)) => words,
        other => panic!("{other:?}"),
    };
    assert_eq!(complaint(&[0; 4096]), "it has no table of partitions");
    assert_eq!(complaint(&image[..700]), "it is shorter than it says");
    let change = |at: usize, bytes: &[u8]| {
        let mut image = image.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    };
    assert_eq!(complaint(&change(454, &[0; 4])), "its first partition is empty");
    assert_eq!(complaint(&change(512 + 22, &[9])), "its first partition is no FAT32");
    assert_eq!(complaint(&change(512 + 13, &[3])), "the head of its FAT32 makes no sense");
    assert_eq!(complaint(&change(512 + 36, &[0xff; 4])), "the head of its FAT32 makes no sense");
    assert_eq!(complaint(&change(512 + 32, &[0xff; 4])), "its FAT32 is larger than its partition");
    // The chain of the root leads to itself.
    assert_eq!(complaint(&change(1024 + 8, &2u32.to_le_bytes())), "a folder or file on it has no end");
    // The root lies beyond the end.
    assert_eq!(complaint(&change(512 + 44, &9_999u32.to_le_bytes())), "the clusters of a file lead nowhere");
}

#[test]
fn folders_in_a_circle_end() {
    // A folder that is its own root.
    let mut image = card(&[("EFI/x", b"")]);
    let folder = image.windows(11).position(|name| name == b"EFI        ").unwrap();
    image[folder + 26..folder + 28].copy_from_slice(&2u16.to_le_bytes());
    assert!(matches!(all(&image), Err(NotCard::Form("it has more files or deeper folders than a card of ours"))));
}
