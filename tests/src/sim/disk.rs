//! The flash of a probe's machine, as bytes: writes that a power cut tears, a disk that is full, read-only or cannot be read, and
//! garbage. The spool's own code ([`sonde_probe::spool`]) reads and writes it.

use std::io;

use sonde_probe::spool::{Disk, Job};
use sonde_protocol::seed::Rng;

/// What a card writes whole or not at all.
const SECTOR: usize = 512;

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No write fits.
    Full,
    /// No write is allowed.
    ReadOnly,
    /// Nothing can be read.
    Unreadable,
}

/// A file that outlives the process, and the power.
#[derive(Debug, Default)]
pub struct Card {
    bytes: Vec<u8>,
    /// What was there before it was emptied, until a write has made that last.
    emptied: Option<Vec<u8>>,
    /// What is wrong with it.
    pub trouble: Option<Trouble>,
}

impl Card {
    /// One that holds this.
    pub fn holding(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// One that somebody has used for something else.
    pub fn used(rng: &mut Rng) -> Self {
        let bytes = (0..rng.below(20_000)).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
        Self::holding(bytes)
    }

    /// The power goes in the middle of a job: of a write any sectors are there, in any order, and that the file was emptied
    /// may be forgotten.
    pub fn power_cut(&mut self, job: Option<&Job>, rng: &mut Rng) {
        match job {
            Some(Job::Write(offset, bytes)) if self.trouble.is_none() => {
                for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                    if rng.one_in(2) {
                        let part = if rng.one_in(8) { rng.below(sector.len() as u64) as usize } else { sector.len() };
                        self.put(*offset as usize + n * SECTOR, &sector[..part]);
                    }
                }
            }
            Some(Job::Clear) if rng.one_in(2) => drop(self.clear()),
            _ => {}
        }
        if let Some(before) = self.emptied.take().filter(|_| rng.one_in(2)) {
            self.bytes = before;
        }
    }

    /// Bits flip, or a page turns into garbage. False when there is nothing to spoil.
    pub fn spoil(&mut self, rng: &mut Rng) -> bool {
        let length = self.bytes.len();
        if length == 0 {
            return false;
        }
        let at = rng.below(length as u64) as usize;
        let run = if rng.one_in(2) { 1 } else { 4096 };
        for byte in &mut self.bytes[at..length.min(at + run)] {
            *byte ^= rng.next_u64().to_le_bytes()[0] | 1;
        }
        true
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes.resize(self.bytes.len().max(at + bytes.len()), 0);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

impl Disk for Card {
    fn length(&mut self) -> io::Result<u64> {
        match self.trouble {
            Some(Trouble::Unreadable) => Err(io::ErrorKind::Other.into()),
            _ => Ok(self.bytes.len() as u64),
        }
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if self.trouble == Some(Trouble::Unreadable) {
            return Err(io::ErrorKind::Other.into());
        }
        let from = (offset as usize).min(self.bytes.len());
        let count = buffer.len().min(self.bytes.len() - from);
        buffer[..count].copy_from_slice(&self.bytes[from..from + count]);
        Ok(count)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.trouble {
            // What fits is there nevertheless.
            Some(Trouble::Full) => {
                self.put(offset as usize, &bytes[..bytes.len() / 2]);
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(Trouble::ReadOnly | Trouble::Unreadable) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            None => {
                self.put(offset as usize, bytes);
                self.emptied = None;
                Ok(())
            }
        }
    }

    fn clear(&mut self) -> io::Result<()> {
        if matches!(self.trouble, Some(Trouble::ReadOnly | Trouble::Unreadable)) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let before = std::mem::take(&mut self.bytes);
        self.emptied.get_or_insert(before);
        Ok(())
    }
}
