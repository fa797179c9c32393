//! The files that updates keep on the state partition: TUF's as they were last trusted, the log's checkpoint, the time, what became of
//! releases, and what the owner wants. Each is replaced as a whole, so that a power cut leaves the old or the new one. A file that is
//! damaged or too long counts for nothing, and each is looked at for itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use sonde_protocol::board::UpdateChoice;
use sonde_update::client::{Kept, MAX_PROOF};
use sonde_update::metadata::RoleName;
use sonde_update::moment::Moment;

use super::attempts::Attempts;
use super::choice;

/// Where they are.
pub const FOLDER: &str = "/state/os/updates";

const CHECKPOINT: &str = "checkpoint";
const TIME: &str = "time";
const ATTEMPTS: &str = "attempts";
const CHOICE: &str = "choice";

/// More of the small files is not read.
const MOST_WORDS: u64 = 16 * 1024;

/// The folder.
#[derive(Debug, Clone)]
pub struct Keep(PathBuf);

impl Keep {
    /// In this folder, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// What a walk begins with.
    pub fn load(&self) -> Kept {
        let file = |role: RoleName| self.read(role.file(), role.most_bytes());
        Kept {
            root: file(RoleName::Root),
            timestamp: file(RoleName::Timestamp),
            snapshot: file(RoleName::Snapshot),
            targets: file(RoleName::Targets),
            checkpoint: self.read(CHECKPOINT, MAX_PROOF),
            time: self.read(TIME, MOST_WORDS).and_then(|bytes| read_time(&bytes)).unwrap_or_default(),
        }
    }

    /// Writes what of it has changed since `before`. What a new root no longer trusts goes before that root comes, the checkpoint comes
    /// before the targets, and the time last: so whatever a power cut leaves is whole for itself.
    ///
    /// # Errors
    /// The card's.
    pub fn save(&self, before: &Kept, now: &Kept) -> io::Result<()> {
        let mut files = [
            (RoleName::Root.file(), &before.root, &now.root),
            (RoleName::Timestamp.file(), &before.timestamp, &now.timestamp),
            (RoleName::Snapshot.file(), &before.snapshot, &now.snapshot),
            (CHECKPOINT, &before.checkpoint, &now.checkpoint),
            (RoleName::Targets.file(), &before.targets, &now.targets),
        ];
        files.sort_by_key(|(_, _, now)| now.is_some());
        for (name, before, now) in files {
            match now {
                _ if before == now => {}
                Some(bytes) => self.write(name, bytes)?,
                None => self.remove(name)?,
            }
        }
        if before.time == now.time { Ok(()) } else { self.write(TIME, &write_time(now.time)) }
    }

    /// What became of releases.
    pub fn attempts(&self) -> Attempts {
        let bytes = self.read(ATTEMPTS, MOST_WORDS).unwrap_or_default();
        Attempts::read(&String::from_utf8_lossy(&bytes))
    }

    /// Writes it.
    ///
    /// # Errors
    /// The card's.
    pub fn save_attempts(&self, attempts: &Attempts) -> io::Result<()> {
        self.write(ATTEMPTS, attempts.write().as_bytes())
    }

    /// What the network said last that the owner wants.
    pub fn choice(&self) -> Option<UpdateChoice> {
        choice::read(std::str::from_utf8(&self.read(CHOICE, MOST_WORDS)?).ok()?)
    }

    /// Writes it.
    ///
    /// # Errors
    /// The card's.
    pub fn save_choice(&self, choice: UpdateChoice) -> io::Result<()> {
        self.write(CHOICE, choice::write(choice).as_bytes())
    }

    fn read(&self, name: &str, most: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.0.join(name)).ok()?.take(most + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= most).then_some(bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let (path, new) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(new, path)?;
        File::open(&self.0)?.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The seconds, and a sum over them: a bit that turned on the card would otherwise put all that is signed into the past, for good.
fn write_time(time: Moment) -> Vec<u8> {
    format!("{} {}\n", time.0, sum(time)).into_bytes()
}

fn read_time(bytes: &[u8]) -> Option<Moment> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (seconds, _) = text.split_once(' ')?;
    let time = Moment(seconds.parse().ok()?);
    (write_time(time) == bytes).then_some(time)
}

fn sum(time: Moment) -> String {
    let sum = digest(&SHA256, &time.0.to_be_bytes());
    HEXLOWER.encode(sum.as_ref().get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sonde_protocol::board::UpdateOutcome;
    use sonde_protocol::time::UnixNanos;

    fn kept(number: u8) -> Kept {
        let some = |add: u8| Some(vec![number + add; 100]);
        Kept {
            root: some(0),
            timestamp: some(1),
            snapshot: some(2),
            targets: some(3),
            checkpoint: some(4),
            time: Moment(1_800_000_000 + i64::from(number)),
        }
    }

    #[test]
    fn everything_is_there_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::new(&folder.path().join("os/updates"));
        assert_eq!((keep.load(), keep.choice(), keep.attempts()), (Kept::default(), None, Attempts::default()));
        keep.save(&Kept::default(), &kept(1)).unwrap();
        assert_eq!(keep.load(), kept(1));
        let forgotten = Kept { timestamp: None, snapshot: None, ..kept(2) };
        keep.save(&kept(1), &forgotten).unwrap();
        assert_eq!(keep.load(), forgotten);
        keep.save_choice(UpdateChoice::Pin(7)).unwrap();
        assert_eq!(keep.choice(), Some(UpdateChoice::Pin(7)));
        let mut attempts = Attempts::default();
        attempts.note(7, UpdateOutcome::FellBack, "why", UnixNanos(1));
        keep.save_attempts(&attempts).unwrap();
        assert_eq!(keep.attempts(), attempts);
    }

    #[test]
    fn what_is_damaged_or_too_long_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::new(folder.path());
        keep.save(&Kept::default(), &kept(1)).unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::write(place("timestamp.json"), vec![b' '; 16 * 1024 + 1]).unwrap();
        fs::write(place("attempts"), vec![b'\xff'; 20_000]).unwrap();
        fs::write(place("choice"), b"refu").unwrap();
        fs::remove_file(place("snapshot.json")).unwrap();
        fs::create_dir(place("snapshot.json")).unwrap();
        let mut time = fs::read(place("time")).unwrap();
        time[0] ^= 1;
        fs::write(place("time"), time).unwrap();
        let expected = Kept { timestamp: None, snapshot: None, time: Moment(0), ..kept(1) };
        assert_eq!((keep.load(), keep.choice(), keep.attempts()), (expected, None, Attempts::default()));
    }

    #[test]
    fn a_card_that_cannot_be_written_is_said() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let keep = Keep::new(&folder.path().join("file/updates"));
        assert!(keep.save(&Kept::default(), &kept(1)).is_err());
        assert!(keep.save_choice(UpdateChoice::Refuse).is_err());
        assert_eq!(keep.load(), Kept::default());
    }
}
