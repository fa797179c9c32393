//! Merging a file's write-ahead log into the file, on a thread of its own. SQLite would have whoever commits do it now and
//! then, and some commits would wait for tens of megabytes to reach the disk. Commits go on meanwhile, and only make the
//! log longer.

use std::convert::Infallible;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::BUSY_TIMEOUT;

/// How often it is looked whether the log is long.
const EVERY: Duration = Duration::from_secs(1);

/// How often what was committed meanwhile is merged after the rest: the log begins anew only when a commit finds all of it
/// merged. The next look goes on.
const ROUNDS: usize = 4;

/// The thread. It ends when this is dropped; drop it before the connection that writes, whose end merges the rest.
#[derive(Debug)]
pub(super) struct Merger {
    /// Nothing is ever sent.
    end: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Merger {
    /// Merges the log of the file at `path` whenever it has become `pages` long.
    pub(super) fn start(path: &Path, pages: u32) -> std::io::Result<Self> {
        let (end, ended) = channel();
        let path = path.to_owned();
        let thread = thread::Builder::new().name("merge".into()).spawn(move || watch(&path, pages, &ended))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            // Whatever became of it, the writer still merges.
            let _ = thread.join();
        }
    }
}

fn watch(path: &Path, pages: u32, ended: &Receiver<Infallible>) {
    let mut connection = None;
    let mut failing = false;
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(EVERY) {
        let merged = match &connection {
            Some(connection) => merge(connection, pages),
            None => open(path).and_then(|opened| merge(connection.insert(opened), pages)),
        };
        match merged {
            Ok(()) => failing = false,
            // A full disk is told once, not each second.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(file = %path.display(), %error, "a log cannot be merged; it grows until it can");
            }
            Err(_) => {}
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Merges a log that is at least so long.
fn merge(connection: &Connection, pages: u32) -> rusqlite::Result<()> {
    let (long, mut merged) = state(connection, "NOOP")?;
    if long < i64::from(pages) {
        return Ok(());
    }
    for _ in 0..ROUNDS {
        let (long, _) = state(connection, "NOOP")?;
        if merged == long {
            break;
        }
        (_, merged) = state(connection, "PASSIVE")?;
    }
    Ok(())
}

/// Merges as the mode says, and gives how many pages the log has and how many of them are merged.
fn state(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get(1)?, row.get(2)?)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A file whose own connection merges nothing.
    fn file(dir: &Path) -> (PathBuf, Connection) {
        let path = dir.join("notes.db");
        let writer = Connection::open(&path).unwrap();
        let _: String = writer.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
        writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        writer.execute_batch("CREATE TABLE note (text TEXT)").unwrap();
        (path, writer)
    }

    fn write(writer: &Connection, pages: usize) {
        for _ in 0..pages {
            writer.execute("INSERT INTO note VALUES (?)", ["x".repeat(4000)]).unwrap();
        }
    }

    #[test]
    fn a_long_log_is_merged_and_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, writer) = file(dir.path());
        let merger = open(&path).unwrap();
        write(&writer, 20);
        merge(&merger, 1000).unwrap();
        let (long, merged) = state(&merger, "NOOP").unwrap();
        assert!(long > 20 && merged == 0, "{merged} of {long}: it is short");
        merge(&merger, 20).unwrap();
        assert_eq!(state(&merger, "NOOP").unwrap(), (long, long));
        write(&writer, 1);
        let (after, _) = state(&merger, "NOOP").unwrap();
        assert!(after < long, "{after} instead of {long}");
        assert_eq!(writer.query_row("SELECT count(*) FROM note", [], |row| row.get::<_, i64>(0)).unwrap(), 21);
    }

    #[test]
    fn whoever_reads_holds_back_the_merging_and_no_commit() {
        let dir = tempfile::tempdir().unwrap();
        let (path, writer) = file(dir.path());
        write(&writer, 5);
        let mut reader = open(&path).unwrap();
        let looking = reader.transaction().unwrap();
        let count = || looking.query_row("SELECT count(*) FROM note", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count(), 5);
        write(&writer, 20);
        let merger = open(&path).unwrap();
        merge(&merger, 10).unwrap();
        let (long, merged) = state(&merger, "NOOP").unwrap();
        assert!(merged < long, "what the reader does not see must not be in the file");
        write(&writer, 1);
        assert_eq!(count(), 5);
        drop(looking);
        merge(&merger, 10).unwrap();
        let (long, merged) = state(&merger, "NOOP").unwrap();
        assert_eq!(long, merged);
    }

    #[test]
    fn the_thread_merges_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (path, writer) = file(dir.path());
        let merger = Merger::start(&path, 10).unwrap();
        write(&writer, 20);
        let looker = open(&path).unwrap();
        // Awaited; a test that waits for ever has failed.
        while state(&looker, "NOOP").map(|(long, merged)| long != merged).unwrap() {
            thread::yield_now();
        }
        drop(merger);
    }
}
