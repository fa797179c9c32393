//! The embedded backends: one file for the [`catalog`], one file per day of arrival for the [`results`], one for
//! [`reachability`].
//!
//! Here is what both share: how a file is opened, how its schema grows, and what an error of SQLite means to callers.
//! Nothing outside this module speaks SQL.
//!
//! Numbers of 64 bits are stored as SQLite's signed integers with the same bits; none of them is compared by size.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::StoreError;
use merge::Merger;

pub mod catalog;
mod columns;
mod filter;
mod merge;
pub mod reachability;
pub mod results;

pub use catalog::SqliteCatalog;
pub use reachability::SqliteReachability;
pub use results::SqliteResults;

/// How long a statement waits for a lock that another connection holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many pages of 4 KiB the log beside a file holds before they are merged into the file. A page that changes with every
/// commit is then merged once in many; SQLite's default of 1000 wrote twice as much. Opening after a crash reads as much.
const LOG_PAGES: u32 = 8000;

/// How many it holds before a commit merges them itself, because the thread that should ([`merge`]) does not come by.
const LOG_PAGES_MAX: u32 = 4 * LOG_PAGES;

/// How many prepared statements a connection keeps: all that come often.
const STATEMENTS: usize = 64;

/// What a kind of file holds, and how it came to its present form.
struct Schema {
    /// What such a file is, for errors.
    what: &'static str,
    /// Step `n` leads from version `n` to `n + 1`. Steps are never changed, only added.
    migrations: &'static [&'static str],
}

impl Schema {
    /// Opens the file at `path`, makes it if there is none, and brings it to the present version. What is committed over
    /// this connection is durable.
    fn open(&self, path: &Path) -> Result<Connection, StoreError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |error| self.error("open", &name, error);
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        // A file of a newer version stays as it is: look before anything is set.
        self.check_version(&connection, &name)?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX).map_err(failed)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
        if mode != "wal" {
            return Err(StoreError::backend(
                "open",
                format!("{name}: no write-ahead log on this file system ({mode})"),
            ));
        }
        self.prepare(&mut connection, &name)?;
        Ok(connection)
    }

    /// As [`Schema::open`], for a file that is written to for long: its log is merged beside the commits.
    fn open_for_long(&self, path: &Path) -> Result<(Merger, Connection), StoreError> {
        let connection = self.open(path)?;
        let merger = Merger::start(path, LOG_PAGES).map_err(|error| StoreError::backend("start a thread", error))?;
        Ok((merger, connection))
    }

    /// A file that is nowhere, for tests.
    fn open_in_memory(&self) -> Result<Connection, StoreError> {
        let name = ":memory:";
        let mut connection = Connection::open_in_memory().map_err(|error| self.error("open", name, error))?;
        self.prepare(&mut connection, name)?;
        Ok(connection)
    }

    /// Opens a file that exists, only to read it. In WAL mode even readers write into the index beside the file, so the
    /// connection may write and promises not to.
    fn open_to_read(&self, path: &Path) -> Result<Connection, StoreError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |error| self.error("open", &name, error);
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "query_only", true).map_err(failed)?;
        // SQLite opens files at the first statement that needs them; this one also opens the log beside it.
        self.check_version(&connection, &name)?;
        Ok(connection)
    }

    fn check_version(&self, connection: &Connection, name: &str) -> Result<usize, StoreError> {
        let version: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(|error| self.error("read the version", name, error))?;
        match usize::try_from(version) {
            Ok(version) if version <= self.migrations.len() => Ok(version),
            _ => Err(StoreError::Unreadable {
                what: self.what,
                why: format!("{name} has version {version}, and this program knows up to {}", self.migrations.len()),
            }),
        }
    }

    fn prepare(&self, connection: &mut Connection, name: &str) -> Result<(), StoreError> {
        let failed = |error| self.error("prepare", name, error);
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;").map_err(failed)?;
        if self.check_version(connection, name)? == self.migrations.len() {
            return Ok(());
        }
        // Looked at again under the write lock, so that two programs cannot both migrate.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let version = self.check_version(&transaction, name)?;
        for step in self.migrations.iter().skip(version) {
            transaction.execute_batch(step).map_err(failed)?;
        }
        transaction.pragma_update(None, "user_version", self.migrations.len() as i64).map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    /// What an error of SQLite in the file `name` means: a damaged file or value, or a backend that failed.
    fn error(&self, step: &'static str, name: &str, error: rusqlite::Error) -> StoreError {
        let damaged = match &error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => true,
            other => matches!(other.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)),
        };
        if damaged {
            let why = match &error {
                // Ours, from `damaged`: the rest of what rusqlite would say is about a column there is not.
                rusqlite::Error::FromSqlConversionFailure(_, rusqlite::types::Type::Null, why) => why.to_string(),
                other => other.to_string(),
            };
            StoreError::Unreadable { what: self.what, why: format!("{name}: {step}: {why}") }
        } else {
            StoreError::backend(step, Failed { name: name.to_owned(), source: error })
        }
    }
}

/// An error of SQLite and the file it is about.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {source}")]
struct Failed {
    name: String,
    source: rusqlite::Error,
}

/// A stored value that makes no sense, as an error of reading a row.
fn damaged(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Null, why.into())
}

/// A value that must not be stored, as an error of writing it.
fn refused(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: Schema = Schema { what: "notebook", migrations: &["CREATE TABLE note (text TEXT) STRICT;"] };
    const NEWER: Schema = Schema {
        what: "notebook",
        migrations: &["CREATE TABLE note (text TEXT) STRICT;", "ALTER TABLE note ADD COLUMN author TEXT;"],
    };

    #[test]
    fn a_file_grows_with_the_schema_and_is_then_refused_by_the_older_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.db");
        NOTES.open(&path).unwrap().execute("INSERT INTO note VALUES ('kept')", []).unwrap();
        let newer = NEWER.open(&path).unwrap();
        let kept: (String, Option<String>) =
            newer.query_row("SELECT text, author FROM note", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(kept, ("kept".to_owned(), None));
        drop(newer);
        for error in [NOTES.open(&path).unwrap_err(), NOTES.open_to_read(&path).unwrap_err()] {
            assert!(matches!(error, StoreError::Unreadable { what: "notebook", .. }), "{error:?}");
            assert!(error.to_string().contains("notes.db has version 2"), "{error}");
        }
    }

    #[test]
    fn a_migration_that_fails_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.db");
        drop(NOTES.open(&path).unwrap());
        let broken = Schema { what: "notebook", migrations: &["", "CREATE TABLE half (a TEXT) STRICT; nonsense;"] };
        broken.open(&path).unwrap_err();
        let again = NOTES.open(&path).unwrap();
        let tables: i64 =
            again.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'half'", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 0);
    }

    #[test]
    fn commits_are_flushed_to_the_log_of_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let connection = NOTES.open(&dir.path().join("notes.db")).unwrap();
        let pragma = |name: &str| -> String {
            connection
                .query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal");
        assert_eq!(pragma("synchronous"), "2", "FULL: a commit returns after the flush");
        assert_eq!(pragma("foreign_keys"), "1");
    }
}
