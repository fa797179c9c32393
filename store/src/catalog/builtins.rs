//! Built-in measurements: what the operator's file asks of every probe. Their numbers are below
//! [`MeasurementId::FIRST_USER`], nobody owns them, and nobody pays for them.

use async_trait::async_trait;
use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::NewMeasurement;
use crate::StoreError;

/// Whose built-in measurements are: an account that nobody has a key of.
pub const NOBODY: AccountId = AccountId(0);

/// A built-in measurement as the operator's file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Builtin {
    /// Its number.
    pub id: MeasurementId,
    /// What is asked for: periodic, public, [`NOBODY`]'s, without probes or requests.
    pub asked: NewMeasurement,
    /// Probes that have all of these tags take part, those that join later too.
    pub include: Vec<String>,
    /// Probes that have one of these do not.
    pub exclude: Vec<String>,
    /// This probe does not take part either: it is the target.
    pub not_by: Option<ProbeId>,
}

/// What came of comparing the file with the catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// New ones.
    pub made: Vec<MeasurementId>,
    /// Those that are ordered or described differently now, or go on after they were stopped.
    pub changed: Vec<MeasurementId>,
    /// Those that are no longer in the file.
    pub stopped: Vec<MeasurementId>,
    /// Those that would measure something else under the same number, and what. If there are any, nothing has happened.
    pub refused: Vec<(MeasurementId, &'static str)>,
}

/// The measurements that every probe makes.
#[async_trait]
pub trait Builtins: Send + Sync {
    /// Makes the built-in measurements be exactly these. What one measures (type, af, target and the kind's own fields) must
    /// stay, so that its results mean the same for ever; all else may change. One that is missing is stopped, its results
    /// stay, and it goes on when it is there again. The orders of all probes count as changed if any are.
    ///
    /// A probe takes part as long as it has the tags and is not the target; its orders and [`super::Measurements::participants`] say so at once,
    /// and when its tags change, its order revision grows.
    async fn reconcile_builtins(&self, wanted: &[Builtin], now: UnixNanos) -> Result<Reconciled, StoreError>;
}
