//! Who joins and leaves a measurement that is there already, and what groups and tags put measurements together.

use async_trait::async_trait;
use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::time::UnixNanos;

use super::{Page, Slice};
use crate::StoreError;

/// What somebody asked for: more probes, or fewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewParticipationRequest {
    /// Probes leave; otherwise they join.
    pub removes: bool,
    /// How many.
    pub requested: u32,
    /// The kind of source.
    pub source: String,
    /// Its value.
    pub value: String,
    /// Tags that the probes have, with commas between.
    pub tags_include: String,
    /// Tags that they do not have.
    pub tags_exclude: String,
}

/// A request that was carried out. Those a measurement was made with are among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipationRequest {
    /// Its number.
    pub id: u64,
    /// Of which measurement.
    pub measurement: MeasurementId,
    /// When.
    pub created_at: UnixNanos,
    /// What was asked for.
    pub asked: NewParticipationRequest,
}

/// A probe came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParticipantEvent {
    /// Which.
    pub probe: ProbeId,
    /// When.
    pub at: UnixNanos,
    /// It joined; otherwise it left.
    pub joined: bool,
}

/// Joining and leaving as it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The requests, for the record.
    pub requests: &'a [NewParticipationRequest],
    /// Who joins.
    pub join: &'a [ProbeId],
    /// Who leaves; this comes first.
    pub leave: &'a [ProbeId],
    /// How many may take part afterwards.
    pub most: u32,
}

/// What came of a change: the requests' numbers, and whose orders are others now.
pub type Changed = (Vec<u64>, Vec<ProbeId>);

/// Joining and leaving, groups and tags.
#[async_trait]
pub trait Participation: Send + Sync {
    /// Records requests and carries them out: probes join that never took part or have left (of a one-off only the
    /// former, since it runs once), and others leave. `None`, and nothing has changed: there is no such measurement, or more
    /// than [`Change::most`] would take part.
    async fn change_participation(
        &self,
        id: MeasurementId,
        change: Change<'_>,
        now: UnixNanos,
    ) -> Result<Option<Changed>, StoreError>;

    /// The requests of a measurement, of one kind of source if one is named, by number.
    async fn participation_requests(
        &self,
        id: MeasurementId,
        source: Option<&str>,
        slice: Slice,
    ) -> Result<Page<ParticipationRequest>, StoreError>;

    /// One request.
    async fn participation_request(&self, id: u64) -> Result<Option<ParticipationRequest>, StoreError>;

    /// Who came and went, in order.
    async fn participant_log(&self, id: MeasurementId) -> Result<Vec<ParticipantEvent>, StoreError>;

    /// The groups of measurements that are visible (as in [`super::MeasurementFilter::visible_to`]), by number.
    async fn measurement_groups(
        &self,
        visible_to: Option<Option<AccountId>>,
        slice: Slice,
    ) -> Result<Page<MeasurementId>, StoreError>;

    /// The tags of visible measurements that begin so, each with how many measurements have it, by name; of one owner's
    /// measurements only, if one is named.
    async fn measurement_tags(
        &self,
        visible_to: Option<Option<AccountId>>,
        owner: Option<AccountId>,
        prefix: &str,
        slice: Slice,
    ) -> Result<Page<(String, u64)>, StoreError>;
}
