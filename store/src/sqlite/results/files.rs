//! The directory: which days have a file, between which times their runs began, and connections to read them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::{Connection, OptionalExtension, params};
use sonde_protocol::time::UnixNanos;

use super::super::Schema;
use super::super::merge::Merger;
use super::bookkeeping;
use super::day::Day;
use super::known::Known;
use crate::StoreError;

const SCHEMA: Schema = Schema { what: "results", migrations: &[include_str!("1.sql")] };

/// How many connections wait for the next reader.
const MAX_IDLE: usize = 4;

/// What SQLite puts beside a file.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What an error of SQLite in a day's file means.
pub(super) fn error(day: Day, step: &'static str, error: rusqlite::Error) -> StoreError {
    SCHEMA.error(step, &file_name(day), error)
}

/// Something in a day's file that makes no sense.
pub(super) fn unreadable(day: Day, why: &str) -> StoreError {
    StoreError::Unreadable { what: SCHEMA.what, why: format!("{}: {why}", file_name(day)) }
}

fn file_name(day: Day) -> String {
    format!("{day}.db")
}

/// From the beginning of the first run to that of the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) min_at: UnixNanos,
    pub(super) max_at: UnixNanos,
}

impl Span {
    /// The least span that holds both.
    pub(super) fn with(self, other: Self) -> Self {
        Self { min_at: self.min_at.min(other.min_at), max_at: self.max_at.max(other.max_at) }
    }

    /// Is there a time in it that is not before `from` and before `to`?
    pub(super) fn touches(self, from: Option<UnixNanos>, to: Option<UnixNanos>) -> bool {
        from.is_none_or(|from| self.max_at >= from) && to.is_none_or(|to| self.min_at < to)
    }

    /// Widens the span of the file.
    pub(super) fn insert(self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached(
            "INSERT INTO span (one, min_at, max_at) VALUES (1, ?, ?)
             ON CONFLICT DO UPDATE SET min_at = min(span.min_at, excluded.min_at),
                max_at = max(span.max_at, excluded.max_at)
             WHERE excluded.min_at < span.min_at OR excluded.max_at > span.max_at",
        )?
        .execute(params![self.min_at.0, self.max_at.0])?;
        Ok(())
    }

    fn read(db: &Connection) -> rusqlite::Result<Option<Self>> {
        db.query_row("SELECT min_at, max_at FROM span", [], |row| {
            Ok(Self { min_at: UnixNanos(row.get(0)?), max_at: UnixNanos(row.get(1)?) })
        })
        .optional()
    }
}

/// What is known of a day that has a file.
#[derive(Debug, Clone, Copy)]
struct File {
    /// Tells the file from a later one of the same name.
    generation: u64,
    /// Absent while it has no reports.
    span: Option<Span>,
}

/// The directory.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    /// Held for reading while a file is opened to be read, and for writing while one is removed. Taken before `idle`.
    days: RwLock<BTreeMap<Day, File>>,
    /// Connections without a reader. The one used last is at the back.
    idle: Mutex<VecDeque<Idle>>,
    next_generation: AtomicU64,
}

#[derive(Debug)]
struct Idle {
    day: Day,
    generation: u64,
    connection: Connection,
}

impl Files {
    /// Opens a directory, and reads what every file knows of range sets and boots.
    pub(super) fn open(dir: &Path) -> Result<(Self, Known), StoreError> {
        make_durably(dir).map_err(|error| StoreError::backend("make the directory of results", error))?;
        let files = Self {
            dir: dir.to_owned(),
            days: RwLock::default(),
            idle: Mutex::default(),
            next_generation: AtomicU64::new(0),
        };
        let mut known = Known::default();
        for day in files.find().map_err(|error| StoreError::backend("list the directory of results", error))? {
            let connection = SCHEMA.open(&files.path(day))?;
            files.note(day, &connection)?;
            let failed = |e| error(day, "read the range sets", e);
            known.add_ranges(&bookkeeping::ranges(&connection).map_err(failed)?);
            known.add_boots(bookkeeping::boots(&connection).map_err(failed)?);
        }
        Ok((files, known))
    }

    /// The days that have a file, in order. Removes what a crash during retention left beside files that are gone: it
    /// would be taken for part of a new file of that name.
    fn find(&self) -> std::io::Result<Vec<Day>> {
        let (mut days, mut companions) = (BTreeSet::new(), BTreeSet::new());
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let Some((name, suffix)) = name.to_str().and_then(|name| name.split_once(".db")) else { continue };
            let Ok(day) = name.parse::<Day>() else { continue };
            if suffix.is_empty() {
                days.insert(day);
            } else if COMPANIONS.contains(&suffix) {
                companions.insert(day);
            }
        }
        for &day in companions.difference(&days) {
            self.remove_companions(day)?;
        }
        Ok(days.into_iter().collect())
    }

    fn path(&self, day: Day) -> PathBuf {
        self.dir.join(file_name(day))
    }

    fn days(&self) -> RwLockReadGuard<'_, BTreeMap<Day, File>> {
        self.days.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn days_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<Day, File>> {
        self.days.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a day's file for the writer; makes it if there is none.
    pub(super) fn open_for_long(&self, day: Day) -> Result<(Merger, Connection), StoreError> {
        let (merger, connection) = SCHEMA.open_for_long(&self.path(day))?;
        self.note(day, &connection)?;
        Ok((merger, connection))
    }

    /// Notes that a day has a file.
    fn note(&self, day: Day, connection: &Connection) -> Result<(), StoreError> {
        let span = Span::read(connection).map_err(|e| error(day, "open", e))?;
        self.days_mut()
            .entry(day)
            .or_insert_with(|| File { generation: self.next_generation.fetch_add(1, Ordering::Relaxed), span });
        Ok(())
    }

    /// Notes that runs of this span are in a day's file now.
    pub(super) fn widen(&self, day: Day, span: Span) {
        if let Some(file) = self.days_mut().get_mut(&day) {
            file.span = Some(file.span.map_or(span, |known| known.with(span)));
        }
    }

    /// The days that have a file, in order.
    pub(super) fn all(&self) -> Vec<Day> {
        self.days().keys().copied().collect()
    }

    /// The days with runs that began at `from` or later and before `to`, in order, and all their runs' span.
    pub(super) fn touching(&self, from: Option<UnixNanos>, to: Option<UnixNanos>) -> Vec<(Day, Span)> {
        let days = self.days();
        let spans = days.iter().filter_map(|(&day, file)| Some((day, file.span?)));
        spans.filter(|(_, span)| span.touches(from, to)).collect()
    }

    /// A connection to read a day's file; `None` when it has gone out of retention meanwhile.
    pub(super) fn reader(&self, day: Day) -> Result<Option<Reader<'_>>, StoreError> {
        let mut idle = self.idle();
        let waiting = idle.iter().rposition(|idle| idle.day == day).and_then(|at| idle.remove(at));
        drop(idle);
        let idle = match waiting {
            Some(idle) => idle,
            None => {
                let days = self.days();
                let Some(file) = days.get(&day) else { return Ok(None) };
                Idle { day, generation: file.generation, connection: SCHEMA.open_to_read(&self.path(day))? }
            }
        };
        Ok(Some(Reader { files: self, idle: Some(idle) }))
    }

    fn give_back(&self, idle: Idle) {
        let days = self.days();
        let mut waiting = self.idle();
        let is_current = days.get(&idle.day).is_some_and(|file| file.generation == idle.generation);
        let mut superfluous = if is_current {
            waiting.push_back(idle);
            None
        } else {
            Some(idle)
        };
        if waiting.len() > MAX_IDLE {
            superfluous = waiting.pop_front();
        }
        // Closing may take a while: not under the locks.
        drop(waiting);
        drop(days);
        drop(superfluous);
    }

    /// Removes a day's file. The writer must have closed it. Readers that are at it go on with what they have open.
    pub(super) fn remove(&self, day: Day) -> Result<(), StoreError> {
        let failed = |error| StoreError::backend("remove a day of results", error);
        let mut days = self.days_mut();
        // The file first: without its log it could be inconsistent, and the directory would no longer open.
        ignore_missing(fs::remove_file(self.path(day))).map_err(failed)?;
        self.remove_companions(day).map_err(failed)?;
        days.remove(&day);
        // SQLite sees that these files have moved, and leaves what has their name alone when it closes them.
        self.idle().retain(|idle| idle.day != day);
        Ok(())
    }

    fn remove_companions(&self, day: Day) -> std::io::Result<()> {
        for suffix in COMPANIONS {
            ignore_missing(fs::remove_file(self.dir.join(format!("{}{suffix}", file_name(day)))))?;
        }
        Ok(())
    }
}

fn ignore_missing(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes a directory so that it is there after a power cut: SQLite flushes the directory of its files, not the one above.
fn make_durably(dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    match dir.canonicalize()?.parent() {
        Some(above) => fs::File::open(above)?.sync_all(),
        None => Ok(()),
    }
}

/// A connection on loan to a reader.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    files: &'a Files,
    /// Present until it is dropped.
    idle: Option<Idle>,
}

impl Reader<'_> {
    /// Does `work` on one unchanging state of the file.
    pub(super) fn read<T>(
        &mut self,
        step: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let Idle { day, connection, .. } = self.idle.as_mut().expect("a reader has its connection until it is dropped");
        let done = connection.transaction().and_then(|transaction| work(&transaction));
        done.map_err(|e| error(*day, step, e))
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(idle) = self.idle.take() {
            self.files.give_back(idle);
        }
    }
}
