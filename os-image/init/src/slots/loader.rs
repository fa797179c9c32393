//! The slots of a board with systemd-boot: files in `EFI/Linux`, whose names count their tries. The newest that has tries left or was
//! kept is started; one without tries only if there is nothing else.
//!
//! The first half is pure: what the files mean, what may go, how two names for one system become one. The second does it.
//!
//! Two names for the same bytes are what a power cut leaves of a rename: U-Boot's, or Linux's on a FAT. To delete one of them frees what
//! the other is made of. So a third, a copy of its own, is made first, and only then both go.

use std::collections::BTreeMap;

use super::firmware::Counted;
use super::name::{Name, TRIES, Tries};
use super::volume::{Access, Folder, Volume};
use super::{MARGIN, Other, PIECE, Seen, SlotError, osrel};

/// Where systems lie.
pub const FOLDER: &str = "EFI/Linux";

/// A system's file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    file: String,
    number: u64,
    tries: Option<Tries>,
    length: u64,
}

/// What lies in the folder: systems and what is being fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    systems: Vec<Found>,
    parts: Vec<(String, u64)>,
}

impl Files {
    fn of(files: Vec<(String, u64)>) -> Self {
        let mut read = Self::default();
        for (file, length) in files {
            match Name::read(&file) {
                Some(Name::System { number, tries }) => read.systems.push(Found { file, number, tries, length }),
                Some(Name::Part(_)) => read.parts.push((file, length)),
                None => {}
            }
        }
        read
    }

    /// The files of a system that have something in them. An empty one is what a power cut leaves of a rename, and the loader passes it over.
    fn of_number(&self, number: u64) -> Vec<&Found> {
        self.systems.iter().filter(|found| found.number == number && found.length > 0).collect()
    }

    /// What they mean to the system that runs.
    fn judge(&self, own: u64, counted: &Counted) -> Result<Seen, SlotError> {
        let mine = self.of_number(own);
        if mine.is_empty() {
            return Err(SlotError::Missing(own));
        }
        let trial = mine.iter().all(|found| found.tries.is_some());
        let mut others: BTreeMap<u64, Option<Tries>> = BTreeMap::new();
        for found in self.systems.iter().filter(|found| found.number != own && found.length > 0) {
            // Of two names the plain one counts, else the one with less left.
            let tries = others.entry(found.number).or_insert(found.tries);
            *tries = (*tries).zip(found.tries).map(|(one, other)| one.min(other));
        }
        Ok(Seen {
            trial,
            uncounted: trial && counted.tries_of(own).is_none(),
            twice: mine.len() > 1,
            others: others.into_iter().map(|(number, tries)| Other { number, tries }).collect(),
        })
    }

    /// Nothing else is tried, and nothing deleted, before the system that runs has its plain name.
    fn must_be_kept(&self, own: u64) -> Result<(), SlotError> {
        match self.of_number(own)[..] {
            [] => Err(SlotError::Missing(own)),
            [one] if one.tries.is_none() => Ok(()),
            _ => Err(SlotError::OnTrial),
        }
    }

    /// What nobody has a use for: a system that has failed, that is empty or has two names, an older one that was never kept, and
    /// whatever was fetched of others than `fetching`. It goes before anything is written: one of two names that has stayed behind alone has
    /// lost its bytes, and would take those of a new file with it later.
    fn junk(&self, own: u64, fetching: Option<u64>) -> Vec<&str> {
        let others = self.systems.iter().filter(|found| found.number != own);
        let useless = others.filter(|found| {
            let failed = found.tries.is_some_and(|tries| tries.left == 0 || found.number < own);
            found.length == 0 || failed || self.of_number(found.number).len() > 1
        });
        let fetching = fetching.map(Name::Part);
        let parts = self.parts.iter().filter(|(file, _)| Name::read(file) != fetching);
        let mut junk: Vec<&Found> = useless.collect();
        // A plain name first: what has lost its bytes shall be something that the loader gives up.
        junk.sort_by_key(|found| found.tries);
        junk.iter().map(|found| found.file.as_str()).chain(parts.map(|(file, _)| file.as_str())).collect()
    }

    /// What else may go, in this order, where there is no room: everything that does not run.
    fn spare(&self, own: u64) -> Vec<&Found> {
        let mut spare: Vec<&Found> = self.systems.iter().filter(|found| found.number != own).collect();
        spare.sort_by_key(|found| found.number);
        spare
    }

    /// How many bytes a new system may have where so many are free.
    fn room(&self, own: u64, free: u64) -> u64 {
        let systems = self.spare(own).iter().map(|found| found.length).sum::<u64>();
        let parts = self.parts.iter().map(|(_, length)| length).sum::<u64>();
        (free + systems + parts).saturating_sub(MARGIN)
    }

    /// What the loader would start rather than the system `number`, or under its name, and what is not the system that runs.
    fn rivals(&self, own: u64, number: u64) -> Vec<&str> {
        let rivals = self.systems.iter().filter(|found| found.number != own && found.number >= number);
        rivals.map(|found| found.file.as_str()).collect()
    }
}

/// What is to be done next so that a system has one name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step<'a> {
    /// Nothing: it has one.
    One(&'a Found),
    /// Delete these, in this order. None of them has bytes that another needs.
    Delete(Vec<&'a Found>),
    /// Copy one of them to a new file with these tries.
    Copy(Tries),
    /// Nothing helps.
    Lost,
}

/// Decides. `lost` are those of which not all can be read.
fn towards_one_name<'a>(mine: &[&'a Found], lost: &[&'a Found]) -> Step<'a> {
    let whole: Vec<&Found> = mine.iter().copied().filter(|one| !lost.contains(one)).collect();
    match whole[..] {
        [] => Step::Lost,
        // What has lost its bytes goes before anything is written to where they were.
        _ if !lost.is_empty() => Step::Delete(lost.to_vec()),
        [one] => Step::One(one),
        _ => match copy_of_its_own(&whole) {
            Some(copy) => {
                let mut rest: Vec<&Found> = whole.into_iter().filter(|one| *one != copy).collect();
                // The plain one first. If the power goes then, the loader meets a counted name without bytes, refuses it until its tries
                // are used up, and starts the copy; of a plain name it would never tire.
                rest.sort_by_key(|one| one.tries);
                Step::Delete(rest)
            }
            None => Step::Copy(tries_of_copy(&whole)),
        },
    }
}

/// Of several files of one system the one that surely shares its bytes with none of the others: the latest copy that was made here. Copies
/// begin with more tries than any file before them, and the loader keeps that sum; so names that came of one another have the same.
fn copy_of_its_own<'a>(mine: &[&'a Found]) -> Option<&'a Found> {
    let sum = |found: &Found| found.tries.map(Tries::began_with);
    let latest = mine.iter().copied().max_by_key(|found| sum(found))?;
    let alone = mine.iter().filter(|found| sum(found) == sum(latest)).count() == 1;
    let others_counted = mine.iter().any(|found| found.tries.is_some() && *found != latest);
    // A plain name beside a single counted one came of that.
    let plain = mine.iter().any(|found| found.tries.is_none());
    (alone && sum(latest)? > TRIES && (others_counted || !plain)).then_some(latest)
}

/// The tries with which a new copy begins: one left, and a sum that none has.
fn tries_of_copy(mine: &[&Found]) -> Tries {
    let most = mine.iter().filter_map(|found| found.tries).map(Tries::began_with).max().unwrap_or(0).max(TRIES);
    Tries { left: 1, done: most }
}

/// Looks, without writing.
pub fn look(folder: &Folder, own: u64, counted: &Counted) -> Result<Seen, SlotError> {
    files(folder)?.judge(own, counted)
}

/// How many bytes a new system may have.
pub fn room(folder: &Folder, own: u64) -> Result<u64, SlotError> {
    Ok(files(folder)?.room(own, folder.free()?))
}

fn files(folder: &Folder) -> Result<Files, SlotError> {
    Ok(Files::of(folder.files()?))
}

/// Keeps the system that runs: one file, with its plain name.
pub fn keep(volume: &Volume, own: u64, counted: &Counted) -> Result<(), SlotError> {
    let mounted = volume.mount(Access::Write)?;
    let folder = mounted.folder(FOLDER);
    let one = one_name(&folder, own, counted)?;
    if one.tries.is_none() {
        return Ok(());
    }
    carries(&folder, &one.file, own)?;
    // What a cut has left of this very step.
    folder.delete(&Name::kept(own))?;
    folder.rename(&one.file, &Name::kept(own))
}

/// Sees to it that the system that runs has one name, and gives that.
fn one_name(folder: &Folder, own: u64, counted: &Counted) -> Result<Found, SlotError> {
    // A deletion, a copy, a deletion; one more to see that it is so.
    for _ in 0..4 {
        let found = files(folder)?;
        let mine = found.of_number(own);
        if mine.is_empty() {
            return Err(SlotError::Missing(own));
        }
        let unreadable = |one: &&Found| folder.read(&one.file, PIECE, &mut |_| {}).is_err();
        // One alone is what runs, and needs no minute's reading.
        let lost: Vec<&Found> =
            if mine.len() == 1 { Vec::new() } else { mine.iter().copied().filter(unreadable).collect() };
        match towards_one_name(&mine, &lost) {
            Step::One(one) => return Ok(one.clone()),
            Step::Delete(some) => some.iter().try_for_each(|one| folder.delete(&one.file))?,
            Step::Copy(tries) => {
                let running = |one: &&&Found| matches!(counted, Counted::File(file) if *file == one.file);
                let source = mine.iter().find(running).or(mine.first()).ok_or(SlotError::Missing(own))?;
                carries(folder, &source.file, own)?;
                for file in found.junk(own, None) {
                    folder.delete(file)?;
                }
                copy(folder, source, own, tries)?;
            }
            Step::Lost => break,
        }
    }
    Err(SlotError::Names(own))
}

/// Copies a file of the system that runs to one of its own, with these tries.
fn copy(folder: &Folder, source: &Found, own: u64, tries: Tries) -> Result<(), SlotError> {
    if folder.free()? < source.length + MARGIN {
        return Err(SlotError::NoRoom);
    }
    let part = Name::part(own);
    let (mut offset, mut written) = (0, Ok(()));
    folder.read(&source.file, PIECE, &mut |piece| {
        if written.is_ok() {
            written = folder.write(&part, offset, piece);
            offset += piece.len() as u64;
        }
    })?;
    written?;
    folder.rename(&part, &Name::on_trial(own, tries))
}

/// The file has this number inside as well: the loader may have named another than it started.
fn carries(folder: &Folder, file: &str, own: u64) -> Result<(), SlotError> {
    let inside = osrel::number(&mut folder.open(file)?);
    if inside.as_ref().is_ok_and(|number| *number == own) {
        return Ok(());
    }
    Err(SlotError::OtherInside { file: file.to_owned(), inside: inside.unwrap_or(0) })
}

/// Takes the tries of the system that runs, which has failed and which no loader counts, so that the kept one is started.
pub fn give_up(volume: &Volume, own: u64, counted: &Counted) -> Result<(), SlotError> {
    let mounted = volume.mount(Access::Write)?;
    let folder = mounted.folder(FOLDER);
    let one = one_name(&folder, own, counted)?;
    match one.tries {
        Some(tries) if tries.left > 0 => {
            folder.rename(&one.file, &Name::on_trial(own, Tries { left: 0, done: tries.began_with() }))
        }
        Some(_) => Ok(()),
        None => Err(SlotError::Kept),
    }
}

/// Makes room for so many bytes of the system that is being fetched.
pub fn make_room(folder: &Folder, own: u64, fetching: u64, bytes: u64) -> Result<(), SlotError> {
    let found = files(folder)?;
    found.must_be_kept(own)?;
    for file in found.junk(own, Some(fetching)) {
        folder.delete(file)?;
    }
    let found = files(folder)?;
    for spare in found.spare(own) {
        if folder.free()? >= bytes + MARGIN {
            return Ok(());
        }
        folder.delete(&spare.file)?;
    }
    if folder.free()? >= bytes { Ok(()) } else { Err(SlotError::NoRoom) }
}

/// Makes what was fetched a system on trial.
pub fn commit(folder: &Folder, own: u64, number: u64) -> Result<(), SlotError> {
    let found = files(folder)?;
    found.must_be_kept(own)?;
    for file in found.rivals(own, number) {
        folder.delete(file)?;
    }
    folder.rename(&Name::part(number), &Name::on_trial(number, Tries { left: TRIES, done: 0 }))
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
