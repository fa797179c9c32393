//! The catalog in one SQLite file.
//!
//! One connection to write and one to read, each behind a mutex: the catalog is small, and what comes often (results) never
//! touches it. Two, so that nobody who only reads waits while a commit is on its way to the disk. Every method is one
//! transaction, done when its future is polled first.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::Schema;
use super::merge::Merger;
use crate::StoreError;

mod accounts;
mod alerts;
mod anchors;
mod boards;
mod builtins;
mod charging;
mod credits;
mod enrolment;
mod evidence;
mod health;
mod measurements;
mod orders;
mod participation;
mod people;
#[cfg(test)]
mod plans;
mod probe_edits;
mod probe_filter;
mod probes;
mod quotas;
mod roll_outs;
mod target_updates;
mod text_search;

const SCHEMA: Schema = Schema {
    what: "catalog",
    migrations: &[
        include_str!("catalog/1.sql"),
        include_str!("catalog/2_keys.sql"),
        include_str!("catalog/3_measurements.sql"),
        include_str!("catalog/4_places.sql"),
        include_str!("catalog/5_accounts.sql"),
        include_str!("catalog/6_credits.sql"),
        include_str!("catalog/7_alerts.sql"),
        include_str!("catalog/8_builtins.sql"),
        include_str!("catalog/9_uplink.sql"),
        include_str!("catalog/10_lists.sql"),
        include_str!("catalog/11_anchor_builtins.sql"),
        include_str!("catalog/12_identity.sql"),
        include_str!("catalog/13_health.sql"),
        include_str!("catalog/14_searches.sql"),
        include_str!("catalog/15_kinds.sql"),
        include_str!("catalog/16_target_updates.sql"),
        include_str!("catalog/17_host_state.sql"),
        include_str!("catalog/18_boards.sql"),
    ],
};

/// The catalog in one SQLite file.
#[derive(Debug)]
pub struct SqliteCatalog {
    /// Sees what was committed before a transaction of it began. Absent when the catalog is in memory, where one connection
    /// does both. Closed first, so that the writer's end merges the log.
    reader: Option<Mutex<Connection>>,
    /// Absent when there is no file. Ends before the writer.
    _merger: Option<Merger>,
    writer: Mutex<Connection>,
    /// For errors.
    name: String,
}

impl SqliteCatalog {
    /// Opens the catalog at `path`; makes it if there is none. A newer version's is refused as unreadable.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let (merger, mut writer) = SCHEMA.open_for_long(path)?;
        let name = path.display().to_string();
        for fill_in in [measurements::fill_in, probes::fill_in] {
            fill_in(&mut writer).map_err(|error| SCHEMA.error("bring up to date", &name, error))?;
        }
        let writer = Mutex::new(writer);
        let reader = Some(Mutex::new(SCHEMA.open_to_read(path)?));
        Ok(Self { reader, _merger: Some(merger), writer, name })
    }

    /// A catalog that is gone when it is dropped, for tests.
    pub fn open_in_memory() -> Result<Self, StoreError> {
        Ok(Self {
            reader: None,
            _merger: None,
            writer: Mutex::new(SCHEMA.open_in_memory()?),
            name: ":memory:".to_owned(),
        })
    }

    /// Does `work` in a transaction that may write. It takes effect whole, or not at all when there is an error.
    fn write<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        // Work that panicked was rolled back when its transaction was dropped, so the connection is good.
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let done = connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|transaction| {
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        done.map_err(|error| SCHEMA.error(step, &self.name, error))
    }

    /// Does `work` on one unchanging state of the catalog.
    fn read<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self.reader.as_ref().unwrap_or(&self.writer);
        let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let done = connection.transaction().and_then(|transaction| work(&transaction));
        done.map_err(|error| SCHEMA.error(step, &self.name, error))
    }
}
