//! The two places for a system in the boot partition, and what may happen to them: a new system is written beside the one that runs, tried,
//! and kept or given up. Nothing here can leave a card without a system that starts: what runs is never touched before another is kept,
//! and only what does not run is deleted.
//!
//! `loader` has the rules for boards with systemd-boot, `counter` for those whose U-Boot cannot rename. Everything blocks, for as long as a card takes. It must not know where a system comes
//! from or whether it is to be trusted: whoever calls [`Slots::install`] says so.

mod counter;
pub mod firmware;
mod loader;
pub mod memory;
pub mod name;
mod osrel;
pub mod trial;
mod volume;

use std::io;
use std::path::{Path, PathBuf};

use firmware::Counted;
use memory::Memory;
use name::Name;
pub use name::Tries;
pub use volume::BOOT;
use volume::{Access, Folder, Mounted, Volume};

/// What is read or copied at once.
const PIECE: usize = 1 << 20;

/// Bytes that stay free, for whatever else is written to the partition: folders, a volunteer's `sonde.toml`.
const MARGIN: u64 = 1 << 20;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The image was made without one.
    #[error("this system has no number, so nothing can be newer: write the card anew for updates")]
    NoNumber,
    /// Started from somewhere else, or renamed by hand.
    #[error("the boot partition has no file with this system's number {0}: write the card anew for updates")]
    Missing(u64),
    /// The system that runs has not been kept yet.
    #[error("the system that runs is on trial: nothing else is tried before it is kept")]
    OnTrial,
    /// Whatever is new here would run without a way back.
    #[error("this board's boot loader does not count tries, so no update is installed")]
    Uncounted,
    /// It cannot be given up any more.
    #[error("the system that runs was kept")]
    Kept,
    /// It would never be started.
    #[error("{0} is not newer than the system that runs")]
    NotNewer(u64),
    /// Bytes were left out.
    #[error("there are {there} bytes, and the next are those from {offset} on")]
    Gap {
        /// What is there.
        there: u64,
        /// What was given.
        offset: u64,
    },
    /// Full, with everything deleted that may be.
    #[error("the boot partition is too small: write the card anew")]
    NoRoom,
    /// The file is not the system that its name says.
    #[error("{file} has the number {inside} inside")]
    OtherInside {
        /// Its name.
        file: String,
        /// 0 for none.
        inside: u64,
    },
    /// What a power cut has left cannot be made one again.
    #[error(
        "the boot partition has several files with this system's number {0}, and none is whole: write the card anew"
    )]
    Names(u64),
    /// The partition cannot be mounted.
    #[error("the boot partition {} cannot be {what}: {source}; is the card locked, or worn out?", device.display())]
    Mount {
        /// Its device.
        device: PathBuf,
        /// What for.
        what: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read, written, renamed …
    #[error("{file} on the boot partition cannot be {step}: {source}")]
    Card {
        /// What was to be done.
        step: &'static str,
        /// With what.
        file: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Another system on the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// Its release's number.
    pub number: u64,
    /// Its tries, if it was not kept.
    pub tries: Option<Tries>,
}

/// What the boot partition says of the system that runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// It is on trial.
    pub trial: bool,
    /// The boot loader does not count its tries, or did not count those of an earlier one: no update must be installed here.
    pub uncounted: bool,
    /// A power cut has left two names for it. [`Slots::keep`] makes them one.
    pub twice: bool,
    /// What else there is, by number.
    pub others: Vec<Other>,
}

impl Seen {
    /// Is there a system that was kept, to fall back to?
    pub fn has_fallback(&self) -> bool {
        self.others.iter().any(|other| other.tries.is_none())
    }
}

/// Who counts tries, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    /// systemd-boot by the names of files. What it has counted at this start.
    Loader(Counted),
    /// A script of U-Boot's in a file.
    Counter,
}

/// The slots of the card that the board has started from.
#[derive(Debug, Clone)]
pub struct Slots {
    volume: Volume,
    own: u64,
    layout: Layout,
    /// The loader of this board has been seen not to count.
    never_counts: bool,
}

impl Slots {
    /// Looks what is there, without writing. `boot` is the boot partition's device, `own` the number of the system that runs.
    ///
    /// # Errors
    /// When the card cannot be read, or this system is not on it.
    pub fn look(boot: &Path, own: u64) -> Result<(Self, Seen), SlotError> {
        Self::look_with(boot, own, firmware::counted(), &Memory::of_this_board())
    }

    /// The same with what the loader says, and with what is known of it.
    fn look_with(boot: &Path, own: u64, counted: Counted, memory: &Memory) -> Result<(Self, Seen), SlotError> {
        if own == 0 {
            return Err(SlotError::NoNumber);
        }
        let volume = Volume::new(boot);
        let mounted = volume.mount(Access::Read)?;
        let has_counter = counter::is_here(&mounted.folder(counter::FOLDER));
        let layout = if has_counter { Layout::Counter } else { Layout::Loader(counted) };
        let mut slots = Self { volume, own, layout, never_counts: false };
        let folder = slots.folder(&mounted);
        let mut seen = match &slots.layout {
            Layout::Loader(counted) => loader::look(&folder, own, counted),
            Layout::Counter => counter::look(&folder, own),
        }?;
        // Where the loader has counted another, or a cut has left two names, the next one may be counted again.
        let says_nothing = matches!(slots.layout, Layout::Loader(Counted::Nothing) | Layout::Counter);
        if seen.uncounted && !seen.twice && says_nothing {
            memory.note_uncounted();
            slots.never_counts = true;
        }
        slots.never_counts |= memory.is_uncounted();
        seen.uncounted |= slots.never_counts;
        drop(mounted);
        Ok((slots, seen))
    }

    /// Has the loader of this board been seen not to count? Then no update is installed here, whichever system runs.
    pub fn never_counts(&self) -> bool {
        self.never_counts
    }

    /// Where systems lie and are fetched to.
    fn folder(&self, mounted: &Mounted) -> Folder {
        mounted.folder(match self.layout {
            Layout::Loader(_) => loader::FOLDER,
            Layout::Counter => counter::FOLDER,
        })
    }

    /// Keeps the system that runs, from now on for good. Nothing happens if it was kept already.
    ///
    /// # Errors
    /// When the card does not take part, or the file is not this system.
    pub fn keep(&self) -> Result<(), SlotError> {
        match &self.layout {
            Layout::Loader(counted) => loader::keep(&self.volume, self.own, counted),
            Layout::Counter => counter::keep(&self.volume, self.own),
        }
    }

    /// Gives up the system that runs, where the loader does not count: the next start is of the one that was kept.
    ///
    /// # Errors
    /// When the card does not take part, or this one was kept.
    pub fn give_up(&self) -> Result<(), SlotError> {
        match &self.layout {
            Layout::Loader(counted) => loader::give_up(&self.volume, self.own, counted),
            Layout::Counter => counter::give_up(&self.volume, self.own),
        }
    }

    /// How many bytes a new system may have.
    ///
    /// # Errors
    /// The card's.
    pub fn room(&self) -> Result<u64, SlotError> {
        let mounted = self.volume.mount(Access::Read)?;
        match self.layout {
            Layout::Loader(_) => loader::room(&self.folder(&mounted), self.own),
            Layout::Counter => counter::room(&self.folder(&mounted), self.own),
        }
    }

    /// How many bytes of this system have been fetched.
    ///
    /// # Errors
    /// The card's.
    pub fn fetched(&self, number: u64) -> Result<u64, SlotError> {
        part_length(&self.folder(&self.volume.mount(Access::Read)?), number)
    }

    /// Gives up the last `unsure` bytes of what was fetched of a system before this start, and gives how many are left. If the power went while they
    /// were written, the file may have its length on the card and not its bytes: FAT keeps the two apart.
    ///
    /// # Errors
    /// The card's.
    pub fn settle(&self, number: u64, unsure: u64) -> Result<u64, SlotError> {
        let there = self.fetched(number)?;
        if there == 0 {
            return Ok(0);
        }
        let left = there.saturating_sub(unsure);
        if left == 0 {
            self.discard(number)?;
        } else {
            self.folder(&self.volume.mount(Access::Write)?).shorten(&Name::part(number), left)?;
        }
        Ok(left)
    }

    /// Writes what was fetched of a system from `offset` on, at most behind what is there. It is on the card when this returns. Room is
    /// made first, if need be; never at the cost of the system that runs.
    ///
    /// # Errors
    /// When the system is not newer, this one is on trial, there is no room, or the card does not take part.
    pub fn write(&self, number: u64, offset: u64, bytes: &[u8]) -> Result<(), SlotError> {
        self.may_install(number)?;
        let mounted = self.volume.mount(Access::Write)?;
        let folder = self.folder(&mounted);
        match self.layout {
            Layout::Loader(_) => loader::make_room(&folder, self.own, number, bytes.len() as u64)?,
            Layout::Counter => counter::make_room(&folder, self.own, number, bytes.len() as u64)?,
        }
        let there = part_length(&folder, number)?;
        if offset > there {
            return Err(SlotError::Gap { there, offset });
        }
        folder.write(&Name::part(number), offset, bytes)
    }

    /// Reads all that was fetched of a system back from the card, in pieces, and if `ok` says yes after the last one makes it a system on trial:
    /// the next start is its first try. Gives what `ok` said.
    ///
    /// # Errors
    /// When the system is not newer, another is inside, this one is on trial, or the card does not take part.
    pub fn install(
        &self,
        number: u64,
        check: &mut dyn FnMut(&[u8]),
        ok: &mut dyn FnMut() -> bool,
    ) -> Result<bool, SlotError> {
        self.may_install(number)?;
        let part = Name::part(number);
        {
            // Nothing of it is in memory any more: it was unmounted after it was written.
            let mounted = self.volume.mount(Access::Read)?;
            let folder = self.folder(&mounted);
            folder.read(&part, PIECE, check)?;
            if !ok() {
                return Ok(false);
            }
            let inside = osrel::number(&mut folder.open(&part)?).unwrap_or(0);
            if inside != number {
                return Err(SlotError::OtherInside { file: part, inside });
            }
        }
        let mounted = self.volume.mount(Access::Write)?;
        match self.layout {
            Layout::Loader(_) => loader::commit(&self.folder(&mounted), self.own, number)?,
            Layout::Counter => counter::commit(&self.folder(&mounted), self.own, number)?,
        }
        Ok(true)
    }

    /// Deletes what was fetched of a system.
    ///
    /// # Errors
    /// The card's.
    pub fn discard(&self, number: u64) -> Result<(), SlotError> {
        self.folder(&self.volume.mount(Access::Write)?).delete(&Name::part(number))
    }

    fn may_install(&self, number: u64) -> Result<(), SlotError> {
        if self.never_counts {
            return Err(SlotError::Uncounted);
        }
        if number > self.own { Ok(()) } else { Err(SlotError::NotNewer(number)) }
    }
}

/// The last words of the system with this number, which was tried here: why it has failed. Without any it ended in a way of which nobody could say
/// anything, or never began.
pub fn last_words(number: u64) -> Option<String> {
    Memory::of_this_board().last_words(number)
}

fn part_length(folder: &Folder, number: u64) -> Result<u64, SlotError> {
    let is_it = |file: &str| Name::read(file) == Some(Name::Part(number));
    Ok(folder.files()?.into_iter().find(|(file, _)| is_it(file)).map_or(0, |(_, length)| length))
}

/// A system's file with nothing in it but its number.
#[cfg(test)]
pub fn system_for_tests(number: u64) -> Vec<u8> {
    osrel::tests::system(&format!("ID=sonde\nIMAGE_VERSION={number}\n"))
}

#[cfg(test)]
#[path = "slots/tests.rs"]
mod tests;
