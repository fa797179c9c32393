//! Making measurements within what an account may have, and doing what a request asks once however often it is sent.

use async_trait::async_trait;
use sonde_protocol::ids::{AccountId, MeasurementId};
use sonde_protocol::time::UnixNanos;

use super::{Change, Changed, Digest, NewMeasurement};
use crate::StoreError;

/// For how long a request with a key of its own is remembered, in seconds.
pub const ONCE_SECS: i64 = 86_400;

/// A one-off's packets count as if they came within so many seconds.
pub const ONEOFF_BURST_SECS: u32 = 60;

/// A request that has a key of its own, so that it takes effect once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// Who asks.
    pub account: AccountId,
    /// Digest of the key.
    pub key: Digest,
    /// Digest of everything that is asked.
    pub request: Digest,
}

/// What is remembered of a request with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remembered {
    /// It was carried out and made these.
    Same(Vec<u64>),
    /// The key came with another request.
    Other,
}

/// What a measurement is charged and how much it sends, fixed when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Credits a result.
    pub credits: u32,
    /// Packets that one run of one probe sends to the target.
    pub packets: u32,
}

/// What an account has and does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Its credits.
    pub balance: i64,
    /// What one-offs of the last hour may still cost.
    pub reserved: i64,
    /// Measurements that run or are going to.
    pub measurements: u64,
    /// Results a day: those of running measurements, and of one-offs made within a day.
    pub results_per_day: u64,
    /// What these cost.
    pub credits_per_day: u64,
    /// For each new measurement, in their order.
    pub targets: Vec<TargetUse>,
}

/// What is measured already where a new measurement would measure.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TargetUse {
    /// The account's running measurements of the same kind to the same target, one-offs or not as the new one.
    pub alike: u64,
    /// Everybody's packets a second to the same address.
    pub address_packets: f64,
    /// Everybody's packets a second to its /24 or /48.
    pub network_packets: f64,
}

/// Looks at what an account has and does, and says what speaks against doing more; nothing if nothing does.
pub type Check<'a> = &'a (dyn Fn(&Usage) -> Vec<String> + Send + Sync);

/// What came of a request that is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked<T> {
    /// It was carried out, now or when the same request came before.
    Done(T),
    /// Nothing has happened, for these reasons.
    Refused(Vec<String>),
    /// The key of the request came before, with another request.
    OtherRequest,
}

/// Doing what may be done, once.
#[async_trait]
pub trait Quotas: Send + Sync {
    /// What an account has and does, and what is measured where `new` would measure.
    async fn usage(&self, account: AccountId, new: &[NewMeasurement], now: UnixNanos) -> Result<Usage, StoreError>;

    /// Makes measurements as [`super::Measurements::add_measurements`] does, each with its price, if `check` has nothing
    /// against it. It sees the state that the measurements are added to: of two requests at once the second sees the
    /// first's. All are one account's. What was made is remembered under the request's key, if it has one.
    async fn add_checked_measurements(
        &self,
        new: &[NewMeasurement],
        prices: &[Price],
        check: Check<'_>,
        once: Option<&Once>,
        now: UnixNanos,
    ) -> Result<Checked<Vec<MeasurementId>>, StoreError>;

    /// Changes who takes part as [`super::Participation::change_participation`] does (`None` as there), if `check` has
    /// nothing against it. It is shown `as_new` as a new measurement. Changed probes are told only to who made the change.
    async fn change_checked_participation(
        &self,
        id: MeasurementId,
        change: Change<'_>,
        as_new: &NewMeasurement,
        check: Check<'_>,
        once: Option<&Once>,
        now: UnixNanos,
    ) -> Result<Checked<Option<Changed>>, StoreError>;

    /// What a request with a key has made before.
    async fn remembered(&self, once: &Once, now: UnixNanos) -> Result<Option<Remembered>, StoreError>;

    /// The price of a measurement; none when it is nobody's to pay.
    async fn price(&self, id: MeasurementId) -> Result<Option<Price>, StoreError>;
}
