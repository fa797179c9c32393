//! `anchors/` and `anchor-measurements/`: the probes that are targets too, and who measures them all the time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sonde_protocol::ids::{Asn, MeasurementId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Anchor, AnchorFilter, Probe, ProbeFilter, Slice};
use sonde_store::view::Viewer;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::datetimes::Datetimes;
use crate::error::ApiError;
use crate::fields::Selection;
use crate::here::Here;
use crate::measurement_object;
use crate::paging::{MAX_SIZE, Paging};
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::probe_object::{Geometry, place};
use crate::query::{AnchorList, AnchorMeasurementList, OneAnchor, OneAnchorMeasurement};
use crate::router::Routes;
use crate::times::iso;

/// The longest text that is searched for, in bytes.
const MAX_SEARCH: usize = 200;

/// A page of measurements of anchors is this short when it has the measurements in it.
const PAGE_WITH_MEASUREMENTS: u64 = 50;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list));
    routes.add(routes!(show));
    routes.add(routes!(measurements));
    routes.add(routes!(measurement));
}

/// An anchor as it is shown. Every field is always there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Anchor)]
struct AnchorObject {
    /// Its number.
    id: u64,
    /// `Anchor`.
    r#type: &'static str,
    /// Its host name.
    hostname: String,
    /// Its host name.
    fqdn: String,
    /// The number of its probe.
    #[schema(value_type = u64)]
    probe: ProbeId,
    /// It has an address of IPv4 and none of IPv6.
    is_ipv4_only: bool,
    /// Its address, for whoever may see the probe's.
    #[schema(value_type = Option<String>)]
    ip_v4: Option<IpAddr>,
    /// The AS that announces it.
    #[schema(value_type = Option<u32>)]
    as_v4: Option<Asn>,
    /// Not known here.
    ip_v4_gateway: Option<String>,
    /// Not known here.
    ip_v4_netmask: Option<String>,
    /// Its address, for whoever may see the probe's.
    #[schema(value_type = Option<String>)]
    ip_v6: Option<IpAddr>,
    /// The AS that announces it.
    #[schema(value_type = Option<u32>)]
    as_v6: Option<Asn>,
    /// Not known here.
    ip_v6_gateway: Option<String>,
    /// Not known here.
    ip_v6_prefix: Option<u8>,
    /// Where it stands.
    city: Option<String>,
    /// ISO 3166 code of where it stands.
    country: Option<String>,
    /// Who has it.
    company: Option<String>,
    /// Not known here.
    nic_handle: Option<String>,
    /// The probe's place, as the probe's object shows it.
    geometry: Option<Geometry>,
    /// Not known here.
    tlsa_record: Option<String>,
    /// It is none any more.
    is_disabled: bool,
    /// Never so here.
    is_replacement: bool,
    /// Never one here.
    replaces_anchor: Option<u64>,
    /// Since when it is one, as ISO 8601.
    date_live: String,
    /// Since when it is none any more, as ISO 8601.
    date_decommissioned: Option<String>,
    /// Not known here.
    hardware_version: Option<u32>,
}

impl AnchorObject {
    /// As this viewer may see it. `probe` is absent when nobody knows it any more.
    fn of(anchor: &Anchor, probe: Option<&Probe>, viewer: Viewer) -> Self {
        let whole = probe.filter(|probe| viewer.sees_whole(probe));
        let said = &anchor.said;
        // Atlas's anchors have times without a zone.
        let date = |at: UnixNanos| iso(at).trim_end_matches('Z').to_owned();
        Self {
            id: anchor.id,
            r#type: "Anchor",
            hostname: said.hostname.clone(),
            fqdn: said.hostname.clone(),
            probe: said.probe,
            is_ipv4_only: probe.is_some_and(|probe| probe.address_v4.is_some() && probe.address_v6.is_none()),
            ip_v4: whole.and_then(|probe| probe.address_v4),
            as_v4: probe.and_then(|probe| probe.asn_v4),
            ip_v4_gateway: None,
            ip_v4_netmask: None,
            ip_v6: whole.and_then(|probe| probe.address_v6),
            as_v6: probe.and_then(|probe| probe.asn_v6),
            ip_v6_gateway: None,
            ip_v6_prefix: None,
            city: said.city.clone(),
            country: said.country.clone(),
            company: said.company.clone(),
            nic_handle: None,
            geometry: probe.and_then(|probe| place(probe, viewer)).map(Geometry::at),
            tlsa_record: None,
            is_disabled: anchor.removed_at.is_some(),
            is_replacement: false,
            replaces_anchor: None,
            date_live: date(anchor.created_at),
            date_decommissioned: anchor.removed_at.map(date),
            hardware_version: None,
        }
    }

    fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(object)) => object,
            // Nothing in it can fail.
            _ => Map::new(),
        }
    }
}

/// Some anchors as objects.
async fn objects(api: &Api, anchors: &[Anchor], viewer: Viewer) -> Result<Vec<Map<String, Value>>, ApiError> {
    let ids: Vec<ProbeId> = anchors.iter().map(|anchor| anchor.said.probe).collect();
    let slice = Slice { offset: 0, limit: ids.len() as u64, descending: false };
    let probes = api.catalog.probes(&ProbeFilter { ids: Some(ids), ..ProbeFilter::default() }, slice).await?.items;
    let probes: HashMap<ProbeId, Probe> = probes.into_iter().map(|probe| (probe.id, probe)).collect();
    let object = |anchor: &Anchor| AnchorObject::of(anchor, probes.get(&anchor.said.probe), viewer).to_map();
    Ok(anchors.iter().map(object).collect())
}

/// `GET anchors/`: probes that are targets too.
#[utoipa::path(get, path = "/api/v2/anchors/", tag = "anchors", params(AnchorList),
    responses((status = 200, body = serde_json::Value)))]
async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::ListProbes, None);
    let (paging, selection) = (Paging::read(&params)?, Selection::read(&params));
    let filter = filter(&api, &params, viewer).await?;
    let found = api.catalog.anchors(&filter, paging.slice()).await?;
    let objects = objects(&api, &found.items, viewer).await?;
    let results = objects.into_iter().map(|object| selection.apply(object)).collect();
    paging.envelope(found.total, results, &here).map(Json)
}

/// Reads the filters. What is asked of the probes' ASes and addresses is answered by the list of probes, which knows what the
/// viewer may know.
async fn filter(api: &Api, params: &Params, viewer: Viewer) -> Result<AnchorFilter, ApiError> {
    let search = params.get("search").map(str::to_owned);
    if search.as_ref().is_some_and(|search| search.len() > MAX_SEARCH) {
        return Err(ApiError::parameter("search", format!("Enter at most {MAX_SEARCH} bytes.")));
    }
    let country = params.get("country").map(str::to_owned);
    let mut probes = ProbeFilter { viewer, ..ProbeFilter::default() };
    for (name, family) in [("as_v4", Family::V4), ("as_v6", Family::V6)] {
        probes.asns.extend(params.parsed(name)?.map(|asn| (Some(family), vec![Asn(asn)])));
    }
    for (name, family) in [("ip_v4", Family::V4), ("ip_v6", Family::V6)] {
        let Some(words) = params.get(name) else { continue };
        let address = words.parse().ok().filter(|address| Family::of(*address) == family);
        let address: IpAddr = address.ok_or_else(|| ApiError::parameter(name, "Enter an address."))?;
        probes.networks.push((address, if address.is_ipv4() { 32 } else { 128 }));
    }
    if probes.asns.is_empty() && probes.networks.is_empty() {
        return Ok(AnchorFilter { country, search, ..AnchorFilter::default() });
    }
    let all = Slice { offset: 0, limit: u64::MAX, descending: false };
    probes.is_anchor = Some(true);
    let found = api.catalog.probes(&probes, all).await?.items.iter().map(|probe| probe.id).collect();
    Ok(AnchorFilter { country, search, probes: Some(found), ..AnchorFilter::default() })
}

async fn one(api: &Api, id: u64, viewer: Viewer) -> Result<Option<Map<String, Value>>, ApiError> {
    let filter = AnchorFilter { id: Some(id), ..AnchorFilter::default() };
    let found = api.catalog.anchors(&filter, Slice { offset: 0, limit: 1, descending: false }).await?.items;
    Ok(objects(api, &found, viewer).await?.pop())
}

/// `GET anchors/{id}/`: one of them.
#[utoipa::path(get, path = "/api/v2/anchors/{id}/", tag = "anchors", params(("id" = u64, Path), OneAnchor), responses((status = 200, body = serde_json::Value)))]
async fn show(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::ListProbes, None);
    let object = one(&api, id, viewer).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(Selection::read(&params).apply(object)))
}

/// What of a measurement of an anchor is shown in place.
struct Includes {
    measurement: bool,
    target: bool,
}

impl Includes {
    fn read(params: &Params) -> Self {
        let named = params.csv("include").unwrap_or_default();
        Self { measurement: named.contains(&"measurement"), target: named.contains(&"target") }
    }
}

/// `GET anchor-measurements/`: the public periodic measurements whose target is an anchor's host name.
#[utoipa::path(get, path = "/api/v2/anchor-measurements/", tag = "anchors",
    params(AnchorMeasurementList),
    responses((status = 200, body = serde_json::Value)))]
async fn measurements(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let includes = Includes::read(&params);
    let most = if includes.measurement { PAGE_WITH_MEASUREMENTS } else { MAX_SIZE };
    let paging = Paging::read_at_most(&params, most)?;
    let found = api.catalog.anchor_measurements(None, paging.slice()).await?;
    let mut results = Vec::new();
    for pair in &found.items {
        results.push(pair_object(&api, &access, *pair, &includes, &here).await?);
    }
    paging.envelope(found.total, results, &here).map(Json)
}

/// `GET anchor-measurements/{id}/`, by the number of the measurement.
#[utoipa::path(get, path = "/api/v2/anchor-measurements/{id}/", tag = "anchors",
    params(("id" = u64, Path), OneAnchorMeasurement), responses((status = 200, body = serde_json::Value)))]
async fn measurement(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let first = Slice { offset: 0, limit: 1, descending: false };
    let found = api.catalog.anchor_measurements(Some(MeasurementId(id)), first).await?.items;
    let pair = found.first().ok_or_else(ApiError::not_found)?;
    pair_object(&api, &access, *pair, &Includes::read(&params), &here).await.map(Json)
}

async fn pair_object(
    api: &Api,
    access: &Access,
    (measurement, anchor): (MeasurementId, u64),
    includes: &Includes,
    here: &Here,
) -> Result<Value, ApiError> {
    let mut shown = json!({
        "id": measurement,
        "type": "AnchorMeasurement",
        "measurement": here.api(&format!("measurements/{measurement}/")),
        "target": here.api(&format!("anchors/{anchor}/")),
    });
    if includes.measurement {
        let viewer = access.viewer(Permission::GetMeasurement, Some(measurement));
        if let Some(found) = api.catalog.measurement(measurement).await?.filter(|found| viewer.sees_measurement(found))
        {
            let (selection, datetimes) = (Selection::default(), Datetimes::Plain);
            shown["measurement"] = measurement_object::write(api, viewer, &found, &selection, here, datetimes).await?;
        }
    }
    if includes.target
        && let Some(object) = one(api, anchor, access.viewer(Permission::ListProbes, None)).await?
    {
        shown["target"] = Value::Object(object);
    }
    Ok(shown)
}
