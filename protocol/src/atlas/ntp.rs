//! `ntp` results.

use serde::ser::SerializeMap;

use super::{Line, failure_entry};
use crate::result::{Failure, NtpOutcome};

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, _seen: &NtpOutcome) -> Result<(), M::Error> {
    line.target(map)
}

/// A run that could not be carried out.
pub(super) fn write_failure<M: SerializeMap>(line: &Line<'_>, map: &mut M, failure: &Failure) -> Result<(), M::Error> {
    line.target(map)?;
    failure_entry(map, failure)
}
