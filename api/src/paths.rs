//! `measurements/{id}/paths/`, which Atlas does not have: the newest traceroute of each probe at a time, all of them as one graph
//! ([`graph`]), by routers or by networks (`by=as`). Every address passes the viewer's mask, as in the results.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;
use sonde_protocol::atlas::AddressView;
use sonde_protocol::ids::{Asn, MeasurementId, ProbeId};
use sonde_protocol::result::{HopAnswer, HopReply, MeasurementResult, Outcome};
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Measurement, Probe, ProbeFilter, Slice};
use sonde_store::results::{ResultQuery, StoredReport};

use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::etag;
use crate::line;
use crate::masking::{Masked, Masks};
use crate::measurements::visible;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::query::MeasurementPaths;
use crate::results::taking_part;
use crate::router::Routes;

mod graph;

use graph::{Path, Place, Step, graph};

/// Up to so many sources are shown each; more are shown by their network.
const SINGLE_SOURCES: usize = 20;

/// The most paths in one graph.
const MAX_PATHS: usize = 2_000;

/// How old a path may be at the asked time: so many intervals, and an hour at least.
const INTERVALS: i64 = 3;
const HOUR: i64 = 3_600;

/// Adds the path of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(paths));
}

/// What the nodes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Address,
    Network,
}

/// `GET measurements/{id}/paths/`: which ways packets go, and where they end.
#[utoipa::path(get, path = "/api/v2/measurements/{id}/paths/", tag = "results", params(("id" = u64, Path), MeasurementPaths), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn paths(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let viewer = access.viewer(Permission::GetNonPublicResults, Some(MeasurementId(id)));
    let measurement = visible(&api, viewer, MeasurementId(id)).await?;
    let by = match params.get("by") {
        None | Some("address") => By::Address,
        Some("as") => By::Network,
        Some(_) => return Err(ApiError::parameter("by", "Enter address or as.")),
    };
    let time = params.time("time")?.unwrap_or_else(|| api.clock.now().as_secs());
    if measurement.asked.spec.kind() != Kind::Traceroute {
        return Err(ApiError::bad_request("Only traceroute measurements have paths."));
    }
    let stored = newest(&api, &params, &measurement, time).await?;
    let known = sources(&api, &stored).await?;
    let mut masks = Masks::default();
    masks.learn(&*api.catalog, &stored).await?;
    let source = |probe: ProbeId| {
        if stored.len() <= SINGLE_SOURCES {
            return format!("probe {probe}");
        }
        let found = known.binary_search_by_key(&probe, |known| known.id).ok().and_then(|index| known.get(index));
        let asn = found.and_then(|probe| match measurement.asked.af {
            sonde_protocol::net::Family::V4 => probe.asn_v4,
            sonde_protocol::net::Family::V6 => probe.asn_v6,
        });
        asn.map_or_else(|| "other networks".to_owned(), |asn| format!("AS{}", asn.0))
    };
    let origin = |address: IpAddr| api.places.origin(address).map(|origin| origin.asn);
    let (mut all, mut targets, mut newest_at) = (Vec::new(), HashSet::new(), None);
    for report in &stored {
        let Some(result) = line::read(report) else { continue };
        targets.extend(result.dst_addr.map(|address| address.0));
        newest_at = newest_at.max(Some(result.started_at.as_secs()));
        let mask = masks.mask(viewer, report, &result);
        let path = read(report.probe, source(report.probe), &result, &mask, &origin);
        all.extend(path.map(|path| if by == By::Network { by_network(path) } else { path }));
    }
    let mut targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    targets.sort_unstable();
    let target = match targets.as_slice() {
        [one] => one.clone(),
        several => measurement.asked.target.clone().unwrap_or_else(|| format!("{} targets", several.len())),
    };
    let (nodes, edges, left_out) = graph(&all, &target);
    let body = json!({
        "id": measurement.id,
        "time": time,
        "newest": newest_at,
        "by": if by == By::Network { "as" } else { "address" },
        "probes": all.len(),
        "reached": all.iter().filter(|path| path.reached.is_some()).count(),
        "target": target,
        "nodes": nodes,
        "edges": edges,
        "left_out": left_out,
    });
    Ok(etag::respond(&headers, viewer, body.to_string().into_bytes(), "application/json", Duration::ZERO))
}

/// The newest result of each probe that is not after `time`, by probe.
async fn newest(
    api: &Api,
    params: &Params,
    measurement: &Measurement,
    time: i64,
) -> Result<Vec<StoredReport>, ApiError> {
    let mut probes = taking_part(api, measurement.id, params).await?;
    if let Some(probes) = &mut probes {
        probes.truncate(MAX_PATHS);
    }
    let age = measurement.asked.interval.map(|interval| HOUR.max(INTERVALS.saturating_mul(i64::from(interval))));
    let from = age.map(|age| UnixNanos::from_secs(time.saturating_sub(age)));
    let to = Some(UnixNanos::from_secs(time.saturating_add(1)));
    let expected = probes.as_ref().map(Vec::len);
    let query = ResultQuery { measurement: measurement.id, from, to, probes };
    let mut stored = api.results.latest(&query, 1, expected).await?;
    stored.sort_by_key(|report| report.probe);
    stored.truncate(MAX_PATHS);
    Ok(stored)
}

/// The probes of these reports, by number.
async fn sources(api: &Api, stored: &[StoredReport]) -> Result<Vec<Probe>, ApiError> {
    let ids: Vec<ProbeId> = stored.iter().map(|report| report.probe).collect();
    let slice = Slice { offset: 0, limit: ids.len() as u64, descending: false };
    let filter = ProbeFilter { ids: Some(ids), ..ProbeFilter::default() };
    Ok(api.catalog.probes(&filter, slice).await?.items)
}

/// One result's path; of a run that failed there is none.
fn read(
    probe: ProbeId,
    source: String,
    result: &MeasurementResult,
    mask: &Masked,
    origin: &impl Fn(IpAddr) -> Option<Asn>,
) -> Option<Path> {
    let Outcome::Traceroute(seen) = &result.outcome else { return None };
    let mut path = Path { probe, source, steps: Vec::new(), reached: None };
    for hop in seen.hops.iter() {
        let answers = || {
            hop.replies.iter().filter_map(|reply| match reply {
                HopReply::Reply(answer) if !answer.duplicate && answer.late.is_none() => Some(answer),
                _ => None,
            })
        };
        let rtt_of =
            |from: IpAddr| answers().filter(|answer| answer.from.0 == from).filter_map(|answer| answer.rtt).min();
        let is_target = |answer: &&HopAnswer| result.dst_addr.is_some_and(|target| target.0 == answer.from.0);
        if let Some(answer) = answers().find(is_target) {
            path.reached = Some((hop.hop, rtt_of(answer.from.0)));
            break;
        }
        let first = answers().next().map(|answer| answer.from.0);
        let place = first.map(|address| {
            let shown = mask.hop(hop.hop, address);
            Place::Router { address: shown, masked: shown != address, asn: origin(address) }
        });
        path.steps.push(Step { layer: hop.hop, place, rtt: first.and_then(rtt_of) });
    }
    Some(path)
}

/// The same by network: routers of one that follow each other are one step, and those of no known network count as silent.
fn by_network(path: Path) -> Path {
    let mut steps: Vec<Step> = Vec::new();
    let mut layer = 0_u8;
    let mut silent = 0;
    let mut here = None;
    for step in path.steps {
        let asn = match step.place {
            Some(Place::Router { asn, .. }) => asn,
            Some(Place::Network(asn)) => Some(asn),
            None => None,
        };
        match asn {
            None => silent += 1,
            Some(asn) if here == Some(asn) => {
                silent = 0;
                if let Some(last) = steps.last_mut() {
                    last.rtt = step.rtt.or(last.rtt);
                }
            }
            Some(asn) => {
                steps.extend((0..std::mem::take(&mut silent)).map(|_| Step { layer, place: None, rtt: None }));
                layer = layer.saturating_add(1);
                steps.push(Step { layer, place: Some(Place::Network(asn)), rtt: step.rtt });
                here = Some(asn);
            }
        }
    }
    steps.extend((0..silent).map(|_| Step { layer, place: None, rtt: None }));
    let reached = path.reached.map(|(_, rtt)| (layer.saturating_add(1), rtt));
    Path { steps, reached, ..path }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(layer: u8, asn: Option<u32>) -> Step {
        let place = Place::Router { address: IpAddr::from([20, 0, 0, layer]), masked: false, asn: asn.map(Asn) };
        Step { layer, place: Some(place), rtt: Some(u64::from(layer)) }
    }

    #[test]
    fn routers_of_one_network_are_one_step() {
        let silence = Step { layer: 4, place: None, rtt: None };
        let steps =
            vec![step(1, None), step(2, Some(1)), step(3, Some(1)), silence, step(5, Some(1)), step(6, Some(2))];
        let path = Path { probe: ProbeId(1), source: "probe 1".into(), steps, reached: Some((7, None)) };
        let by = by_network(path);
        let seen: Vec<(u8, Option<Place>, Option<u64>)> =
            by.steps.into_iter().map(|step| (step.layer, step.place, step.rtt)).collect();
        let network = |asn| Some(Place::Network(Asn(asn)));
        assert_eq!(seen, [(0, None, None), (1, network(1), Some(5)), (2, network(2), Some(6))]);
        assert_eq!(by.reached, Some((3, None)));
    }
}
