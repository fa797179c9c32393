//! An empty file system, written from the image's template: records of an offset (64 bits, little endian) and the 4096 bytes that belong
//! there. All other blocks are zero, so what was there before is wiped first: old blocks of a journal could pass for new ones.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::key::TAIL;

/// Bytes of a block.
const BLOCK: usize = 4096;

/// Where ext4's superblock begins. What is before is for boot loaders.
const SUPERBLOCK: usize = 1024;

/// What is wiped at once.
const CHUNK: usize = 256 * 1024;

/// Makes the file system on the device. True if something else had been there.
///
/// # Errors
/// The card's, or a template that does not fit.
pub fn write(template: &Path, device: &Path) -> io::Result<bool> {
    let mut file = OpenOptions::new().read(true).write(true).open(device)?;
    let room = file.seek(SeekFrom::End(0))?.saturating_sub(TAIL);
    let mut records = BufReader::new(File::open(template)?);
    let mut first = None;
    let mut rest = Vec::new();
    while let Some((offset, block)) = next(&mut records)? {
        match offset {
            0 => first = Some(block),
            offset => rest.push((offset, block)),
        }
    }
    let first = first.ok_or_else(|| bad("the template has no superblock"))?;
    let size = size_of_file_system(&first);
    let fits = |offset: u64| offset.is_multiple_of(BLOCK as u64) && offset.saturating_add(BLOCK as u64) <= size;
    if size == 0 || size > room || !rest.iter().all(|(offset, _)| fits(*offset)) {
        return Err(bad("the second partition is too small for the template"));
    }
    let wiped = wipe(&mut file, size)?;
    for (offset, block) in rest {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(&block[..])?;
    }
    file.sync_all()?;
    // The superblock last: without it there is no file system, and the next start begins again.
    file.seek(SeekFrom::Start(SUPERBLOCK as u64))?;
    file.write_all(&first[SUPERBLOCK..])?;
    file.sync_all()?;
    Ok(wiped)
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

type Record = (u64, Box<[u8; BLOCK]>);

fn next(records: &mut impl Read) -> io::Result<Option<Record>> {
    let mut offset = [0; 8];
    match records.read_exact(&mut offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut block = Box::new([0; BLOCK]);
    records.read_exact(&mut block[..])?;
    Ok(Some((u64::from_le_bytes(offset), block)))
}

/// In bytes: `s_blocks_count_lo` of the superblock, in blocks of 4096.
fn size_of_file_system(first: &[u8; BLOCK]) -> u64 {
    let count = first[SUPERBLOCK + 4..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    u64::from(count) * BLOCK as u64
}

/// Writes zeros wherever there is something else. True if there was.
fn wipe(file: &mut File, size: u64) -> io::Result<bool> {
    let zeros = vec![0; CHUNK];
    let mut chunk = vec![0; CHUNK];
    let mut wiped = false;
    let mut at = 0;
    while at < size {
        let length = (CHUNK as u64).min(size - at);
        let length = usize::try_from(length).unwrap_or(CHUNK);
        let (part, zeros) = (&mut chunk[..length], &zeros[..length]);
        file.seek(SeekFrom::Start(at))?;
        // What cannot be read may yet be written.
        if file.read_exact(part).is_err() || part != zeros {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(zeros)?;
            wiped = true;
        }
        at += length as u64;
    }
    Ok(wiped)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A template of a file system of so many blocks, with a superblock, its block 3, and whatever is added.
    fn template(folder: &Path, blocks: u32, more: &[u8]) -> PathBuf {
        let mut superblock = [0x11; BLOCK];
        superblock[SUPERBLOCK + 4..SUPERBLOCK + 8].copy_from_slice(&blocks.to_le_bytes());
        let mut bytes = Vec::new();
        for (offset, block) in [(0_u64, superblock), (3 * BLOCK as u64, [0x33; BLOCK])] {
            bytes.extend(offset.to_le_bytes());
            bytes.extend(block);
        }
        bytes.extend(more);
        let path = folder.join("template");
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn the_file_system_is_all_that_is_left_and_the_places_of_the_key_are_spared() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("disk");
        let template = template(folder.path(), 300, &[]);
        for (before, wiped) in [(0xaa, true), (0, false)] {
            fs::write(&device, vec![before; 301 * BLOCK + TAIL as usize]).unwrap();
            assert_eq!(write(&template, &device).unwrap(), wiped);
            let after = fs::read(&device).unwrap();
            assert_eq!(after.len(), 301 * BLOCK + TAIL as usize);
            assert!(after[..SUPERBLOCK].iter().all(|&byte| byte == 0));
            assert!(after[SUPERBLOCK + 8..BLOCK].iter().all(|&byte| byte == 0x11));
            assert!(after[BLOCK..3 * BLOCK].iter().all(|&byte| byte == 0));
            assert!(after[3 * BLOCK..4 * BLOCK].iter().all(|&byte| byte == 0x33));
            assert!(after[4 * BLOCK..300 * BLOCK].iter().all(|&byte| byte == 0));
            assert!(after[300 * BLOCK..].iter().all(|&byte| byte == before), "the tail is not the file system's");
        }
    }

    #[test]
    fn a_template_that_does_not_fit_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("disk");
        let beyond = [&(400 * BLOCK as u64).to_le_bytes()[..], &[1; BLOCK]].concat();
        for (blocks, more) in [(1000, &[][..]), (0, &[]), (300, &beyond), (300, &[1, 2, 3, 4, 5, 6, 7, 8, 9])] {
            let before = vec![0xaa; 301 * BLOCK + TAIL as usize];
            fs::write(&device, &before).unwrap();
            assert!(write(&template(folder.path(), blocks, more), &device).is_err());
            assert!(fs::read(&device).unwrap() == before, "{blocks}");
        }
        fs::write(folder.path().join("empty"), "").unwrap();
        assert!(write(&folder.path().join("empty"), &device).is_err());
    }
}
