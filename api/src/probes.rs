//! `probes/`: who measures. Addresses and places only as [`sonde_store::view`] allows.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use sonde_protocol::atlas::FIRMWARE;
use sonde_protocol::ids::{Asn, ProbeId};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Probe, ProbeFilter};
use sonde_store::view::{Viewer, network, snapped};
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::fields::Selection;
use crate::here::Here;
use crate::paging::Paging;
use crate::params::Params;
use crate::path::Id;
use crate::permission::Permission;
use crate::query::{OneProbe, ProbeList};
use crate::router::Routes;
use crate::times::iso;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(list));
    routes.add(routes!(mine));
    routes.add(routes!(show));
}

/// Atlas's filters that the catalog has no answer to yet.
const NOT_YET: &[&str] = &[
    "id__lt",
    "id__lte",
    "id__gt",
    "id__gte",
    "asn_v4",
    "asn_v6",
    "prefix",
    "prefix_v4",
    "prefix_v6",
    "is_public",
    "radius",
    "latitude",
    "longitude",
    "firmware_version",
    "first_connected",
    "last_connected",
    "favourite",
    "hidden",
];

/// The states of a probe: Atlas's numbers and names. The last two a probe here is never in.
const STATES: [(u8, &str); 5] =
    [(0, "Never Connected"), (1, "Connected"), (2, "Disconnected"), (3, "Abandoned"), (4, "Written Off")];

/// `GET probes/`.
#[utoipa::path(get, path = "/api/v2/probes/", tag = "probes", params(ProbeList), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::ListProbes, None);
    page(&api, viewer, filter(&params)?, &params, &here).await
}

/// `GET probes/my/`.
#[utoipa::path(get, path = "/api/v2/probes/my/", tag = "probes", params(ProbeList), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn mine(
    State(api): State<Arc<Api>>,
    access: Access,
    params: Params,
    here: Here,
) -> Result<Json<Value>, ApiError> {
    let account = access.may(Permission::ListProbes, None)?;
    let filter = ProbeFilter { owner: Some(account), ..filter(&params)? };
    page(&api, Viewer::Account(account), filter, &params, &here).await
}

/// `GET probes/{id}/`.
#[utoipa::path(get, path = "/api/v2/probes/{id}/", tag = "probes", params(("id" = u64, Path), OneProbe), responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    access: Access,
    Id(id): Id,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let viewer = access.viewer(Permission::ListProbes, None);
    let probe = api.catalog.probe(ProbeId(id)).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(Selection::read(&params).apply(object(&probe, viewer, api.clock.now()))))
}

async fn page(
    api: &Api,
    viewer: Viewer,
    filter: ProbeFilter,
    params: &Params,
    here: &Here,
) -> Result<Json<Value>, ApiError> {
    let (paging, selection) = (Paging::read(params)?, Selection::read(params));
    let found = api.catalog.probes(&filter, paging.slice()).await?;
    let now = api.clock.now();
    let results = found.items.iter().map(|probe| selection.apply(object(probe, viewer, now))).collect();
    paging.envelope(found.total, results, here).map(Json)
}

/// Reads the filters of a list.
fn filter(params: &Params) -> Result<ProbeFilter, ApiError> {
    params.refuse(NOT_YET)?;
    let ids = match params.ids("id__in")? {
        None => params.ids("id")?,
        some => some,
    };
    let mut filter =
        ProbeFilter { ids: ids.map(|ids| ids.into_iter().map(ProbeId).collect()), ..ProbeFilter::default() };
    for name in ["country_code", "country_code__in"] {
        match params.csv(name).as_deref() {
            None => {}
            Some([country]) => filter.country = Some((*country).to_owned()),
            Some(_) => return Err(ApiError::parameter(name, "This server filters by one country at a time.")),
        }
    }
    if let Some(text) = params.get("asn") {
        let asn = text.parse().map_err(|_| ApiError::parameter("asn", "Enter the number of an AS."))?;
        filter.asn = Some(Asn(asn));
    }
    if let Some(tags) = params.csv("tags") {
        filter.tags = tags.into_iter().map(str::to_ascii_lowercase).collect();
    }
    // There are no anchors yet.
    if params.flag("is_anchor")? == Some(true) {
        filter.ids = Some(Vec::new());
    }
    for name in ["status", "status__in", "status_name"] {
        if let Some(words) = params.csv(name) {
            states(name, &words, &mut filter)?;
        }
    }
    Ok(filter)
}

/// The states that a filter names, by number or by name in any case.
fn states(parameter: &str, words: &[&str], filter: &mut ProbeFilter) -> Result<(), ApiError> {
    let mut wanted = [false; STATES.len()];
    for word in words {
        let known = STATES.iter().find(|(number, name)| *word == number.to_string() || word.eq_ignore_ascii_case(name));
        match known.and_then(|(number, _)| wanted.get_mut(usize::from(*number))) {
            Some(wanted) => *wanted = true,
            None => return Err(ApiError::parameter(parameter, "This is not a status.")),
        }
    }
    let [never, connected, disconnected, ..] = wanted;
    (filter.connected, filter.never_connected) = match (never, connected, disconnected) {
        (true, true, true) => (None, None),
        (false, true, true) => (None, Some(false)),
        (true, false, true) => (Some(false), None),
        (true, false, false) => (None, Some(true)),
        (false, true, false) => (Some(true), None),
        (false, false, true) => (Some(false), Some(false)),
        // What is abandoned or written off only.
        (false, false, false) => {
            filter.ids = Some(Vec::new());
            (None, None)
        }
        (true, true, false) => {
            return Err(ApiError::parameter(parameter, "This combination is not offered yet by this server."));
        }
    };
    Ok(())
}

/// A probe as JSON: RIPE Atlas's object, every field of it present.
pub(crate) fn object(probe: &Probe, viewer: Viewer, now: UnixNanos) -> Map<String, Value> {
    let whole = viewer.sees_whole(probe);
    let address = |address: Option<IpAddr>| address.filter(|_| whole);
    let prefix = |address: Option<IpAddr>| {
        address.map(|address| format!("{}/{}", network(address), if address.is_ipv4() { 24 } else { 48 }))
    };
    let place = probe.place.map(|place| if whole { place } else { snapped(place) });
    let (number, name) = state(probe);
    let since = probe.connection.map(|connection| connection.since);
    let running = match probe.connection {
        Some(connection) if connection.connected => now.since(connection.since).as_secs(),
        _ => 0,
    };
    let object = json!({
        "id": probe.id,
        "type": "Probe",
        "address_v4": address(probe.address_v4),
        "address_v6": address(probe.address_v6),
        "prefix_v4": prefix(probe.address_v4),
        "prefix_v6": prefix(probe.address_v6),
        "asn_v4": probe.asn_v4,
        "asn_v6": probe.asn_v6,
        "country_code": probe.country,
        // People write where they live into it.
        "description": probe.description.as_ref().filter(|_| whole),
        "firmware_version": FIRMWARE,
        "total_uptime": probe.total_uptime.saturating_add(running),
        "first_connected": probe.first_connected.map(UnixNanos::as_secs),
        "last_connected": probe.last_connected.map(UnixNanos::as_secs),
        "geometry": place.map(|(latitude, longitude)| json!({ "type": "Point", "coordinates": [longitude, latitude] })),
        "is_anchor": false,
        "is_public": probe.address_is_public,
        "status": { "id": number, "name": name, "since": since.map(iso) },
        "status_since": since.map(UnixNanos::as_secs),
        "tags": probe.tags.iter().map(|slug| json!({ "name": tag_name(slug), "slug": slug })).collect::<Value>(),
    });
    match object {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// A probe's state: Atlas's number and name.
pub(crate) fn state(probe: &Probe) -> (u8, &'static str) {
    let [never, connected, disconnected, ..] = STATES;
    match probe.connection {
        None => never,
        Some(connection) if connection.connected => connected,
        Some(_) => disconnected,
    }
}

/// What people call a tag: `system: IPv4 Works` for `system-ipv4-works`, others as they are.
fn tag_name(slug: &str) -> String {
    let Some(rest) = slug.strip_prefix("system-") else { return slug.replace('-', " ") };
    let word = |word: &str| match word {
        "ipv4" => "IPv4".to_owned(),
        "ipv6" => "IPv6".to_owned(),
        "aaaa" | "dns" | "ula" | "rfc1918" => word.to_ascii_uppercase(),
        _ => {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
        }
    };
    let words: Vec<String> = rest.split('-').map(word).collect();
    format!("system: {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_by_name() {
        assert_eq!(tag_name("system-ipv4-works"), "system: IPv4 Works");
        assert_eq!(tag_name("system-resolves-aaaa-correctly"), "system: Resolves AAAA Correctly");
        assert_eq!(tag_name("home-network"), "home network");
    }
}
