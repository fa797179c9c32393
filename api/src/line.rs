//! One stored report as the line of JSON that a viewer sees: for the endpoints and the streams alike.

use sonde_protocol::atlas::{ResultContext, VERSION, write_result};
use sonde_protocol::result::{MeasurementResult, Report};
use sonde_store::catalog::Measurement;
use sonde_store::results::StoredReport;
use sonde_store::view::Viewer;

use crate::masking::Masks;

/// The result in a report; `None` for runs that did not take place.
pub(crate) fn read(stored: &StoredReport) -> Option<MeasurementResult> {
    match Report::from_cbor(&stored.report) {
        Ok(Report::Result(result)) => Some(result),
        Ok(Report::Skipped(_)) => None,
        Err(error) => {
            // The collector has read it before it was stored, so this is damage, or a newer version's work. One such
            // report must not hide all the others.
            let (probe, boot, seq) = (stored.probe.0, stored.boot.0, stored.seq.0);
            tracing::error!(%error, probe, boot, seq, "a stored report cannot be read and is left out");
            None
        }
    }
}

/// Appends the line, without its end. The `masks` have learned of the report.
pub(crate) fn write(
    out: &mut Vec<u8>,
    viewer: Viewer,
    masks: &Masks,
    measurement: &Measurement,
    stored: &StoredReport,
    result: &MeasurementResult,
) {
    let view = masks.mask(viewer, stored, result);
    let software = masks.probe(stored).and_then(|probe| probe.software.as_deref());
    let context = ResultContext {
        from: masks.from(stored),
        group_id: Some(measurement.group),
        stored_at: Some(stored.arrived_at),
        boot: Some(stored.boot),
        seq: Some(stored.seq),
        // "sonde-probe/0.1.0", in other programs' words "probe 0.1.0": the version stands last.
        version: software.and_then(|software| software.rsplit(['/', ' ']).next()).unwrap_or(VERSION),
        spec: Some(&measurement.asked.spec),
        view: &view,
        ..ResultContext::new(stored.probe)
    };
    write_result(out, result, &context);
}
