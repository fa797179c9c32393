//! The slots of a board whose own U-Boot cannot rename files: `slot_a.efi` and `slot_b.efi`, and `ab.env`, which says which of them is started
//! and how many tries it has. U-Boot's script `os-image/card/boot.cmd` counts; it and this file must say the same.
//!
//! `ab.env` is one sector: three lines, and zeros up to its end. It is only ever written in place, so a power cut leaves the old text or the
//! new one. What is pure comes first.

use super::name::{Name, TRIES, Tries};
use super::volume::{Access, Folder, Volume};
use super::{MARGIN, Other, Seen, SlotError, osrel};

/// Everything lies in the partition itself: the script knows no folders.
pub const FOLDER: &str = "";

/// The counter.
const ENV: &str = "ab.env";

/// Its length, and the most that is read of it.
const LENGTH: usize = 512;

/// What it says of a slot that was kept.
const KEPT: &str = "good";

/// One of the two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    A,
    B,
}

impl Slot {
    const BOTH: [Self; 2] = [Self::A, Self::B];

    const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    fn file(self) -> String {
        format!("slot_{}.efi", self.letter())
    }
}

/// What the counter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Env {
    /// The slot that is started while it was kept or has tries left; with none left, the other.
    slot: Slot,
    /// Its tries left; `None` if it was kept.
    left: Option<u32>,
}

impl Env {
    /// Reads it as the script does: what makes no sense is a slot `a` that was kept.
    fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let value = |key: &str| text.split(['\n', '\0']).find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let left = value("try").and_then(|digit| digit.parse().ok()).filter(|&left| left <= TRIES);
        Self { slot: if value("slot") == Some("b") { Slot::B } else { Slot::A }, left }
    }

    /// The text, in the order in which U-Boot writes it.
    fn write(self) -> Vec<u8> {
        let left = self.left.map_or_else(|| KEPT.to_owned(), |left| left.to_string());
        let (alt, slot) = (self.slot.other().letter(), self.slot.letter());
        let mut text = format!("alt={alt}\nslot={slot}\ntry={left}\n").into_bytes();
        text.resize(LENGTH, 0);
        text
    }
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Card {
    env: Env,
    /// The numbers inside the files and their lengths.
    systems: [Option<(u64, u64)>; 2],
}

impl Card {
    fn of(folder: &Folder) -> Result<Self, SlotError> {
        let files = folder.files()?;
        let length_of =
            |name: &str| files.iter().find(|(file, _)| file.eq_ignore_ascii_case(name)).map(|(_, length)| *length);
        let mut bytes = Vec::new();
        if length_of(ENV).is_some() {
            folder.read(ENV, LENGTH, &mut |piece| {
                bytes.extend(piece.iter().take(LENGTH.saturating_sub(bytes.len())));
            })?;
        }
        let mut systems = [None; 2];
        for (system, slot) in systems.iter_mut().zip(Slot::BOTH) {
            if let Some(length) = length_of(&slot.file()).filter(|length| *length > 0) {
                *system = Some((osrel::number(&mut folder.open(&slot.file())?).unwrap_or(0), length));
            }
        }
        Ok(Self { env: Env::read(&bytes), systems })
    }

    fn system(&self, slot: Slot) -> Option<(u64, u64)> {
        self.systems[slot as usize]
    }

    /// Where the system that runs lies. If it is in both, the counter says in which.
    fn mine(&self, own: u64) -> Result<Slot, SlotError> {
        let is_mine = |slot: &Slot| self.system(*slot).is_some_and(|(number, _)| number == own);
        [self.env.slot, self.env.slot.other()].into_iter().find(is_mine).ok_or(SlotError::Missing(own))
    }

    fn is_on_trial(&self, slot: Slot) -> bool {
        self.env.slot == slot && self.env.left.is_some()
    }

    fn judge(&self, own: u64) -> Result<Seen, SlotError> {
        let mine = self.mine(own)?;
        let trial = self.is_on_trial(mine);
        let other = mine.other();
        let tries = self.env.left.filter(|_| self.is_on_trial(other));
        let others = self.system(other).map(|(number, _)| Other {
            number,
            tries: tries.map(|left| Tries { left, done: TRIES.saturating_sub(left) }),
        });
        // The script has taken one of the tries, if it can write.
        let uncounted = trial && self.env.left == Some(TRIES);
        Ok(Seen { trial, uncounted, twice: false, others: others.into_iter().collect() })
    }

    /// The slot of the system that runs, which must have been kept: nothing else is tried, and nothing deleted, before.
    fn kept(&self, own: u64) -> Result<Slot, SlotError> {
        let mine = self.mine(own)?;
        if self.is_on_trial(mine) { Err(SlotError::OnTrial) } else { Ok(mine) }
    }
}

/// Is this a card with a counter?
pub fn is_here(folder: &Folder) -> bool {
    folder.has(ENV) || Slot::BOTH.iter().any(|slot| folder.has(&slot.file()))
}

/// Looks, without writing.
pub fn look(folder: &Folder, own: u64) -> Result<Seen, SlotError> {
    Card::of(folder)?.judge(own)
}

/// How many bytes a new system may have.
pub fn room(folder: &Folder, own: u64) -> Result<u64, SlotError> {
    let card = Card::of(folder)?;
    let other = card.system(card.mine(own)?.other()).map_or(0, |(_, length)| length);
    let parts: u64 = parts(folder)?.iter().map(|(_, length)| length).sum();
    Ok((folder.free()? + other + parts).saturating_sub(MARGIN))
}

/// What was fetched, of whatever system.
fn parts(folder: &Folder) -> Result<Vec<(String, u64)>, SlotError> {
    let is_part = |file: &str| matches!(Name::read(file), Some(Name::Part(_)));
    Ok(folder.files()?.into_iter().filter(|(file, _)| is_part(file)).collect())
}

fn set(folder: &Folder, card: &Card, env: Env) -> Result<(), SlotError> {
    if card.env == env { Ok(()) } else { folder.write(ENV, 0, &env.write()) }
}

/// Keeps the system that runs.
pub fn keep(volume: &Volume, own: u64) -> Result<(), SlotError> {
    let mounted = volume.mount(Access::Write)?;
    let folder = mounted.folder(FOLDER);
    let card = Card::of(&folder)?;
    let mine = card.mine(own)?;
    if card.is_on_trial(mine) { set(&folder, &card, Env { slot: mine, left: None }) } else { Ok(()) }
}

/// Takes the tries of the system that runs, which the script does not count.
pub fn give_up(volume: &Volume, own: u64) -> Result<(), SlotError> {
    let mounted = volume.mount(Access::Write)?;
    let folder = mounted.folder(FOLDER);
    let card = Card::of(&folder)?;
    let mine = card.mine(own)?;
    if card.is_on_trial(mine) { set(&folder, &card, Env { slot: mine, left: Some(0) }) } else { Err(SlotError::Kept) }
}

/// Deletes the system that does not run; the script must not look for it first.
fn clear(folder: &Folder, card: &Card, mine: Slot) -> Result<Card, SlotError> {
    let card_after = Card { env: Env { slot: mine, left: None }, ..*card };
    set(folder, card, card_after.env)?;
    folder.delete(&mine.other().file())?;
    Ok(card_after)
}

/// Makes room for so many bytes of the system that is being fetched.
pub fn make_room(folder: &Folder, own: u64, fetching: u64, bytes: u64) -> Result<(), SlotError> {
    let card = Card::of(folder)?;
    let mine = card.kept(own)?;
    for (file, _) in parts(folder)? {
        if Name::read(&file) != Some(Name::Part(fetching)) {
            folder.delete(&file)?;
        }
    }
    if folder.free()? < bytes + MARGIN {
        clear(folder, &card, mine)?;
    }
    if folder.free()? >= bytes { Ok(()) } else { Err(SlotError::NoRoom) }
}

/// Makes what was fetched a system on trial.
pub fn commit(folder: &Folder, own: u64, number: u64) -> Result<(), SlotError> {
    let card = Card::of(folder)?;
    let mine = card.kept(own)?;
    let card = clear(folder, &card, mine)?;
    folder.rename(&Name::part(number), &mine.other().file())?;
    set(folder, &card, Env { slot: mine.other(), left: Some(TRIES) })
}

#[cfg(test)]
#[path = "counter_tests.rs"]
mod tests;
