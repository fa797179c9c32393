//! What is written to the spool's file, read from it and overwritten, and when. Decides; [`Job::perform`] does.
//!
//! Blocks follow one another in the file and begin again at its start when the end is reached. Before a block is written,
//! everything that it could reach is given up: what was not yet delivered of it becomes a gap.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use sonde_protocol::message::GapReason;
use sonde_protocol::spool::block::{Block, BlockId};
use sonde_protocol::spool::{Restored, Spool};
use sonde_protocol::time::{Nanos, UnixNanos};

use super::disk::Disk;
use super::format::{MAX_ON_DISK, PAGE, decode, encode, header};

/// How long after a failed write the next is tried.
const RETRY: Duration = Duration::from_secs(60);

const DAY: i64 = 86_400;

/// The longest file that is read at the start: more than any configuration asks for.
const MAX_FILE: u64 = 2 << 30;

/// What is to be done to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Write this there.
    Write(u64, Vec<u8>),
    /// Read so many bytes from there.
    Read(u64, usize),
    /// Empty it.
    Clear,
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// Of a write or of emptying it.
    Finished(io::Result<()>),
    /// Of a read.
    Read(io::Result<Vec<u8>>),
}

impl Job {
    /// Does it.
    pub fn perform(&self, disk: &mut dyn Disk) -> Done {
        match self {
            Job::Write(offset, bytes) => Done::Finished(disk.write(*offset, bytes)),
            Job::Clear => Done::Finished(disk.clear()),
            Job::Read(offset, length) => {
                let mut bytes = vec![0; *length];
                Done::Read(disk.read(*offset, &mut bytes).map(|read| {
                    bytes.truncate(read);
                    bytes
                }))
            }
        }
    }
}

#[derive(Debug)]
enum Doing {
    Write { id: BlockId, block: Box<Block>, offset: u64, length: usize },
    Read(BlockId),
    Clear,
}

/// The ring's state.
#[derive(Debug)]
pub struct Keeper {
    capacity: u64,
    /// Where each block lies, and how long it is.
    blocks: BTreeMap<BlockId, (u64, usize)>,
    head: u64,
    next: u64,
    /// There is something in the file, whole or not.
    used: bool,
    doing: Option<Doing>,
    /// All that is in memory alone is being written.
    flushing: bool,
    retry_at: Option<Nanos>,
    trouble: Option<String>,
    day: i64,
    written: u64,
}

impl Keeper {
    /// Reads what the file holds. `capacity` is what it may become, `today` the machine's clock.
    ///
    /// # Errors
    /// When it cannot be read at all. What is in it is never an error.
    pub fn open(disk: &mut dyn Disk, capacity: u64, today: UnixNanos) -> io::Result<(Self, Restored)> {
        let mut keeper = Self {
            capacity,
            blocks: BTreeMap::new(),
            head: 0,
            next: 1,
            used: false,
            doing: None,
            flushing: false,
            retry_at: None,
            trouble: None,
            day: today.as_secs().div_euclid(DAY),
            written: 0,
        };
        let mut restored = Restored::default();
        let length = disk.length()?.min(MAX_FILE);
        keeper.used = length > 0;
        let (mut offset, mut page) = (0, vec![0; PAGE]);
        while offset < length {
            // A page that cannot be read is a page without a block.
            let read = disk.read(offset, &mut page).unwrap_or(0);
            let found = header(page.get(..read).unwrap_or_default()).and_then(|header| {
                let mut bytes = vec![0; header.on_disk];
                let read = disk.read(offset, &mut bytes).ok()?;
                let (id, block) = decode(bytes.get(..read)?)?;
                Some((id, block, header.on_disk))
            });
            match found {
                Some((id, block, on_disk)) => {
                    restored.add(id, &block);
                    keeper.blocks.insert(id, (offset, on_disk));
                    if block.written_at.as_secs().div_euclid(DAY) == keeper.day {
                        keeper.written += on_disk as u64;
                    }
                    offset += on_disk as u64;
                }
                None => offset += PAGE as u64,
            }
        }
        if let Some((id, (offset, on_disk))) = keeper.blocks.last_key_value() {
            keeper.next = id.0 + 1;
            keeper.head = offset + *on_disk as u64;
        }
        Ok((keeper, restored))
    }

    /// What is to be done next, if anything. `flush`: the process ends, so whatever is in memory alone has to go now.
    /// Every job is answered with [`Keeper::done`] before the next one.
    pub fn poll(&mut self, spool: &mut Spool, now: Nanos, realtime: UnixNanos, flush: bool) -> Option<Job> {
        if self.doing.is_some() {
            return None;
        }
        while let Some(id) = spool.wanted() {
            if let Some(&(offset, length)) = self.blocks.get(&id) {
                self.doing = Some(Doing::Read(id));
                return Some(Job::Read(offset, length));
            }
            spool.lost(id, GapReason::Damaged);
        }
        if spool.needs_no_disk() && self.used {
            self.doing = Some(Doing::Clear);
            return Some(Job::Clear);
        }
        let due = flush || self.flushing || spool.keep_at().is_some_and(|at| at <= now);
        let may = flush || self.retry_at.is_none_or(|at| at <= now);
        self.flushing = due && may && spool.wants_keeping();
        if !self.flushing {
            return None;
        }
        let most = MAX_ON_DISK as u64;
        if self.head + most > self.capacity {
            self.head = 0;
        }
        let reach = self.head..self.head + most;
        let hit = |(offset, length): &(u64, usize)| *offset < reach.end && offset + *length as u64 > reach.start;
        let gone: Vec<BlockId> = self.blocks.iter().filter(|(_, place)| hit(place)).map(|(&id, _)| id).collect();
        for id in gone {
            self.blocks.remove(&id);
            spool.lost(id, GapReason::SpoolFull);
        }
        let (id, block) = (BlockId(self.next), spool.block(realtime));
        let bytes = encode(id, &block);
        self.used = true;
        self.doing = Some(Doing::Write { id, block: Box::new(block), offset: self.head, length: bytes.len() });
        Some(Job::Write(self.head, bytes))
    }

    /// What came of the job.
    pub fn done(&mut self, spool: &mut Spool, done: Done, now: Nanos, realtime: UnixNanos) {
        match (self.doing.take(), done) {
            (Some(Doing::Write { id, block, offset, length }), Done::Finished(outcome)) => {
                // Written or not, the next has a higher number: what is there of this one can never pass for it.
                self.next += 1;
                self.count(length, realtime);
                match outcome {
                    Ok(()) => {
                        self.trouble = None;
                        self.retry_at = None;
                        self.blocks.insert(id, (offset, length));
                        self.head = offset + length as u64;
                        spool.kept(id, &block);
                    }
                    Err(error) => self.fail(&error, now),
                }
            }
            (Some(Doing::Clear), Done::Finished(outcome)) => {
                // What could not be emptied is written over sooner or later.
                self.blocks.clear();
                self.used = false;
                self.head = 0;
                if let Err(error) = outcome {
                    self.fail(&error, now);
                }
            }
            (Some(Doing::Read(id)), Done::Read(outcome)) => {
                match outcome.ok().and_then(|bytes| decode(&bytes)).filter(|(found, _)| *found == id) {
                    Some((_, block)) => spool.loaded(id, block),
                    None => {
                        self.blocks.remove(&id);
                        spool.lost(id, GapReason::Damaged);
                    }
                }
            }
            _ => {}
        }
    }

    fn fail(&mut self, error: &io::Error, now: Nanos) {
        self.trouble = Some(error.to_string());
        self.retry_at = Some(now + RETRY);
        self.flushing = false;
    }

    fn count(&mut self, bytes: usize, realtime: UnixNanos) {
        let day = realtime.as_secs().div_euclid(DAY);
        if day != self.day {
            (self.day, self.written) = (day, 0);
        }
        self.written = self.written.saturating_add(bytes as u64);
    }

    /// When [`Keeper::poll`] may have something to do, though nothing else happens.
    pub fn poll_timeout(&self, spool: &Spool) -> Option<Nanos> {
        let at = spool.keep_at().filter(|_| self.doing.is_none())?;
        Some(self.retry_at.map_or(at, |retry| at.max(retry)))
    }

    /// Why nothing can be written, when that is so.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Bytes written on this UTC day by the machine's clock, in whole pages: by this process, and what the file still shows
    /// of earlier ones.
    pub fn written_today(&self, realtime: UnixNanos) -> u64 {
        if realtime.as_secs().div_euclid(DAY) == self.day { self.written } else { 0 }
    }
}
