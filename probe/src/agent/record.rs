//! Keeps the host's record of what was measured.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sonde_protocol::result::{MeasurementResult, Outcome};
use sonde_protocol::spec::Kind;
use tracing::warn;

use crate::activity::{Day, files};
use crate::policy::cost::Cost;

/// The least time between two writes in seconds, so that flash does not wear out.
const WRITE_EVERY: u64 = 600;

/// Today's table, and when to write it.
#[derive(Debug)]
pub(super) struct Record {
    state: PathBuf,
    today: Day,
    /// Not to be written before this Unix second; 0 before the first run.
    write_from: u64,
    is_new: bool,
    /// A write has failed, and nobody was told yet.
    failed: bool,
}

impl Record {
    /// Goes on with what the state directory has of this day.
    pub(super) fn open(state: &Path, today: i64) -> Self {
        Self { state: state.to_owned(), today: files::read(state, today), write_from: 0, is_new: false, failed: false }
    }

    /// A run has ended at this Unix second. One that sent nothing is not mentioned.
    pub(super) fn run_ended(&mut self, result: &MeasurementResult, cost: Cost, now: u64) {
        let Some(kind) = Kind::from_number(result.outcome.kind_number()).filter(|_| cost.packets > 0) else { return };
        let number = i64::try_from(now / 86_400).unwrap_or(0);
        if number != self.today.number {
            self.write();
            self.today = files::read(&self.state, number);
        }
        let own_resolvers = matches!(&result.outcome, Outcome::Dns(dns) if dns.own_resolvers);
        let address = result.dst_addr.map(|address| address.0.to_string());
        let target = result.dst_name.as_deref().or(address.as_deref()).filter(|_| !own_resolvers);
        self.today.count(kind, target, cost, now);
        self.is_new = true;
        if self.write_from == 0 {
            self.write_from = now.saturating_add(WRITE_EVERY);
        }
        if now >= self.write_from {
            self.write();
            self.write_from = now.saturating_add(WRITE_EVERY);
        }
    }

    /// Writes it, if there is something new.
    pub(super) fn write(&mut self) {
        if std::mem::take(&mut self.is_new)
            && let Err(error) = files::write(&self.state, &self.today)
        {
            self.failed = true;
            warn!(%error, "the record of what was measured cannot be written");
        }
    }

    /// Has a write failed since somebody last asked?
    pub(super) fn take_failed(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// So many days up to today, the newest first, as far as something was measured on them.
    pub(super) fn recent(&self, days: i64) -> Vec<Value> {
        let before = files::recent(&self.state, self.today.number.saturating_sub(1), days.saturating_sub(1));
        let all = [&self.today].into_iter().chain(&before).filter(|day| !day.rows().is_empty());
        all.map(|day| json!({"day": files::date(day.number), "rows": day.rows()})).collect()
    }

    /// Today, for whoever asks.
    pub(super) fn answer(&self) -> Result<Value, String> {
        Ok(json!({"day": self.today.number, "rows": self.today.rows()}))
    }
}
