//! The copies of the probe's key in raw sectors of the state partition, where no file system ever writes: in the first and the last sector of
//! what is left behind it. Not in the sectors that ext4 leaves to boot loaders: they are in one block with the superblock, and a journal that
//! is played back after a power cut writes the whole block as it was.
//!
//! A copy is `SONDEKEY`, the version 1, the secret of 32 bytes, and SHA-256 over all of that; zeros behind it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// Bytes of a copy.
const SECTOR: usize = 512;

/// The end of the partition, which is no file system's.
pub const TAIL: u64 = 8 << 20;

const MAGIC: &[u8; 8] = b"SONDEKEY";
const VERSION: u8 = 1;
const SECRET_AT: usize = MAGIC.len() + 1;
const DIGEST_AT: usize = SECRET_AT + 32;

/// What stands before the secret in PKCS #8, and between it and the public key (RFC 8410, RFC 5958).
const PKCS8_START: [u8; 16] = [0x30, 0x51, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const PKCS8_MIDDLE: [u8; 3] = [0x81, 0x21, 0];
/// The same as ring wrote it before it followed RFC 5958: the public key as [1] EXPLICIT.
const OLD_START: [u8; 16] = [0x30, 0x53, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The secret half of the probe's key (Ed25519).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The secret in a key's file, if the file is whole: its two halves must belong together.
    pub fn from_pkcs8(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&PKCS8_START).or_else(|| bytes.strip_prefix(&OLD_START))?;
        let secret = Self(*rest.first_chunk()?);
        Ed25519KeyPair::from_pkcs8(bytes).ok().map(|_| secret)
    }

    /// The file.
    ///
    /// # Errors
    /// Never for 32 bytes.
    pub fn to_pkcs8(self) -> io::Result<Vec<u8>> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.0).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok([&PKCS8_START[..], &self.0, &PKCS8_MIDDLE, pair.public_key().as_ref()].concat())
    }

    fn to_sector(self) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        sector[..MAGIC.len()].copy_from_slice(MAGIC);
        sector[MAGIC.len()] = VERSION;
        sector[SECRET_AT..DIGEST_AT].copy_from_slice(&self.0);
        let sum = digest(&SHA256, &sector[..DIGEST_AT]);
        sector[DIGEST_AT..DIGEST_AT + 32].copy_from_slice(sum.as_ref());
        sector
    }

    fn from_sector(sector: &[u8; SECTOR]) -> Option<Self> {
        let secret = Self(*sector[SECRET_AT..].first_chunk()?);
        // Every byte is what it has to be, the padding too.
        (secret.to_sector() == *sector).then_some(secret)
    }
}

/// Both copies.
///
/// # Errors
/// When the partition cannot be read at all. A place that cannot be read holds no copy.
pub fn read(device: &mut (impl Read + Seek)) -> io::Result<[Option<Secret>; 2]> {
    Ok(places(device)?.map(|place| {
        let mut sector = [0; SECTOR];
        device.seek(SeekFrom::Start(place)).and_then(|_| device.read_exact(&mut sector)).ok()?;
        Secret::from_sector(&sector)
    }))
}

/// Writes both, one after the other, so that one is whole at any time.
///
/// # Errors
/// The card's.
pub fn write(device: &Path, secret: &Secret) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(device)?;
    for place in places(&mut file)? {
        write_one(&mut file, place, secret)?;
    }
    Ok(())
}

fn places(device: &mut impl Seek) -> io::Result<[u64; 2]> {
    let first = device.seek(SeekFrom::End(-TAIL.cast_signed()))?;
    Ok([first, first + TAIL - SECTOR as u64])
}

fn write_one(file: &mut File, place: u64, secret: &Secret) -> io::Result<()> {
    file.seek(SeekFrom::Start(place))?;
    file.write_all(&secret.to_sector())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_keys_file_gives_its_secret_and_is_made_of_it_again() {
        let made = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let secret = Secret::from_pkcs8(made.as_ref()).unwrap();
        let again = secret.to_pkcs8().unwrap();
        let public = |bytes: &[u8]| Ed25519KeyPair::from_pkcs8(bytes).unwrap().public_key().as_ref().to_vec();
        assert_eq!(public(&again), public(made.as_ref()));
        assert_eq!(Secret::from_pkcs8(&again), Some(secret));
    }

    #[test]
    fn a_damaged_file_holds_no_secret() {
        let whole = Secret([7; 32]).to_pkcs8().unwrap();
        for damaged in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[damaged] ^= 0x40;
            assert_eq!(Secret::from_pkcs8(&bytes), None, "byte {damaged}");
            assert_eq!(Secret::from_pkcs8(&whole[..damaged]), None, "cut to {damaged}");
        }
        assert_eq!(Secret::from_pkcs8(&[0; 200]), None);
    }

    #[test]
    fn either_copy_is_enough_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let blank = vec![0xaa; 64 * 1024 + 8 * 1024 * 1024];
        let first = 64 * 1024;
        fs::write(&path, &blank).unwrap();
        let copies = || read(&mut File::open(&path).unwrap()).unwrap();
        assert_eq!(copies(), [None, None]);
        let secret = Secret([9; 32]);
        write(&path, &secret).unwrap();
        assert_eq!(copies(), [Some(secret), Some(secret)]);
        let written = fs::read(&path).unwrap();
        let last = blank.len() - SECTOR;
        let changed = |at: usize| (first..first + SECTOR).contains(&at) || at >= last;
        assert!((0..blank.len()).all(|at| changed(at) || written[at] == blank[at]));
        for at in [0, 8, 9, 40, 41, 72, 188, 511] {
            let mut damaged = written.clone();
            damaged[first + at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert_eq!(copies(), [None, Some(secret)], "byte {at}");
        }
    }

    #[test]
    fn a_partition_without_room_is_an_error() {
        assert!(read(&mut io::Cursor::new(vec![0; 100])).is_err());
    }
}
