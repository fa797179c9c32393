//! The catalog in one SQLite file.
//!
//! One connection to write and one to read, each behind a mutex: the catalog is small, and what comes often (results) never
//! touches it. Two, so that nobody who only reads waits while a commit is on its way to the disk. Every method is one
//! transaction, done when its future is polled first.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId, Revision, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::order::Order;
use sonde_protocol::time::UnixNanos;

use super::Schema;
use crate::StoreError;
use crate::catalog::{
    Account, Admission, ApiKey, Catalog, Digest, Measurement, MeasurementEdit, MeasurementFilter, NewMeasurement,
    NewSession, Page, Participant, Probe, ProbeFilter, Slice,
};

mod accounts;
mod measurements;
mod orders;
mod probes;

const SCHEMA: Schema = Schema { what: "catalog", migrations: &[include_str!("catalog/1.sql")] };

/// The catalog in one SQLite file.
#[derive(Debug)]
pub struct SqliteCatalog {
    /// Sees what was committed before a transaction of it began. Absent when the catalog is in memory, where one connection
    /// does both. Closed first, so that the writer's end merges the log.
    reader: Option<Mutex<Connection>>,
    writer: Mutex<Connection>,
    /// For errors.
    name: String,
}

impl SqliteCatalog {
    /// Opens the catalog at `path`; makes it if there is none. A newer version's is refused as unreadable.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let writer = Mutex::new(SCHEMA.open(path)?);
        let reader = Some(Mutex::new(SCHEMA.open_to_read(path)?));
        Ok(Self { reader, writer, name: path.display().to_string() })
    }

    /// A catalog that is gone when it is dropped, for tests.
    pub fn open_in_memory() -> Result<Self, StoreError> {
        Ok(Self { reader: None, writer: Mutex::new(SCHEMA.open_in_memory()?), name: ":memory:".to_owned() })
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

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn add_account(&self, email: &str, now: UnixNanos) -> Result<Option<Account>, StoreError> {
        self.write("add an account", |t| accounts::add(t, email, now))
    }

    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        self.read("find an account", |t| accounts::by_email(t, email))
    }

    async fn add_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.write("add a key", |t| accounts::add_key(t, key))
    }

    async fn key(&self, digest: &Digest) -> Result<Option<ApiKey>, StoreError> {
        self.read("find a key", |t| accounts::key(t, digest))
    }

    async fn keys(&self, account: AccountId) -> Result<Vec<ApiKey>, StoreError> {
        self.read("list keys", |t| accounts::keys(t, account))
    }

    async fn add_join_token(
        &self,
        token: &Digest,
        owner: AccountId,
        now: UnixNanos,
        expires: UnixNanos,
    ) -> Result<(), StoreError> {
        self.write("add a join token", |t| accounts::add_join_token(t, token, owner, now, expires))
    }

    async fn admit(&self, key: &PublicKey, token: Option<&Digest>, now: UnixNanos) -> Result<Admission, StoreError> {
        self.write("admit a probe", |t| probes::admit(t, key, token, now))
    }

    async fn probe(&self, id: ProbeId) -> Result<Option<Probe>, StoreError> {
        self.read("find a probe", |t| probes::by_id(t, id))
    }

    async fn probes(&self, filter: &ProbeFilter, slice: Slice) -> Result<Page<Probe>, StoreError> {
        self.read("list probes", |t| probes::list(t, filter, slice))
    }

    async fn open_session(&self, session: &NewSession) -> Result<SessionId, StoreError> {
        self.write("open a session", |t| probes::open_session(t, session))
    }

    async fn close_session(&self, session: SessionId, at: UnixNanos) -> Result<(), StoreError> {
        self.write("close a session", |t| probes::close_session(t, session, at))
    }

    async fn close_all_sessions(&self, at: UnixNanos) -> Result<(), StoreError> {
        self.write("close all sessions", |t| probes::close_all_sessions(t, at))
    }

    async fn session_addresses(&self, sessions: &[SessionId]) -> Result<Vec<(SessionId, IpAddr)>, StoreError> {
        self.read("find sessions", |t| probes::session_addresses(t, sessions))
    }

    async fn add_measurements(&self, new: &[NewMeasurement], now: UnixNanos) -> Result<Vec<MeasurementId>, StoreError> {
        self.write("add measurements", |t| measurements::add(t, new, now))
    }

    async fn measurement(&self, id: MeasurementId) -> Result<Option<Measurement>, StoreError> {
        self.read("find a measurement", |t| measurements::by_id(t, id))
    }

    async fn measurements(&self, filter: &MeasurementFilter, slice: Slice) -> Result<Page<Measurement>, StoreError> {
        self.read("list measurements", |t| measurements::list(t, filter, slice))
    }

    async fn participants(&self, id: MeasurementId) -> Result<Vec<Participant>, StoreError> {
        self.read("list participants", |t| measurements::participants(t, id))
    }

    async fn edit_measurement(&self, id: MeasurementId, edit: &MeasurementEdit) -> Result<(), StoreError> {
        self.write("edit a measurement", |t| measurements::edit(t, id, edit))
    }

    async fn stop_measurement(&self, id: MeasurementId, now: UnixNanos) -> Result<Vec<ProbeId>, StoreError> {
        self.write("stop a measurement", |t| orders::stop(t, id, now))
    }

    async fn orders(&self, probe: ProbeId, now: UnixNanos) -> Result<(Revision, Vec<Order>), StoreError> {
        self.read("list orders", |t| orders::of_probe(t, probe, now))
    }

    async fn settle_oneoffs(&self, pairs: &[(MeasurementId, ProbeId)]) -> Result<Vec<ProbeId>, StoreError> {
        self.write("settle one-offs", |t| orders::settle(t, pairs))
    }
}
