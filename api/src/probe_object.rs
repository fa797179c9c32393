//! The object of a probe, field by field as RIPE Atlas has it, and who sees which of it.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value};
use sonde_protocol::atlas::FIRMWARE;
use sonde_protocol::ids::{Asn, ProbeId};
use sonde_protocol::net::Uplink;
use sonde_protocol::time::UnixNanos;
use sonde_store::StoreError;
use sonde_store::catalog::{Board, Catalog, Probe, ProbeHealth, ProbeState};
use sonde_store::view::{Viewer, network, snapped};
use utoipa::ToSchema;

use crate::board_object::{BoardObject, ChoiceObject};
use crate::datetimes::Datetimes;
use crate::fields::Selection;
use crate::health_object::HealthObject;
use crate::probe_filters::STATES;
use crate::times::iso;

/// A probe as it is shown. Every field is always there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Probe)]
pub(crate) struct ProbeObject {
    /// Its number.
    #[schema(value_type = u64)]
    id: ProbeId,
    /// `Probe`.
    r#type: &'static str,
    /// Its address, for whoever may see it.
    #[schema(value_type = Option<String>)]
    address_v4: Option<IpAddr>,
    /// Its address, for whoever may see it.
    #[schema(value_type = Option<String>)]
    address_v6: Option<IpAddr>,
    /// The /24 that it is in.
    prefix_v4: Option<String>,
    /// The /48 that it is in.
    prefix_v6: Option<String>,
    /// The AS that announces its address.
    #[schema(value_type = Option<u32>)]
    asn_v4: Option<Asn>,
    /// The AS that announces its address.
    #[schema(value_type = Option<u32>)]
    asn_v6: Option<Asn>,
    /// ISO 3166 code of the country it is in.
    country_code: Option<String>,
    /// What its owner says of it, for whoever may see it whole.
    description: Option<String>,
    /// Above every version of Atlas's.
    firmware_version: u32,
    /// Seconds connected in all.
    total_uptime: u64,
    /// When it was first connected.
    first_connected: Option<i64>,
    /// When it was last seen.
    last_connected: Option<i64>,
    /// Where it is; blurred for others than its owner.
    geometry: Option<Geometry>,
    /// The operator has made it an anchor.
    is_anchor: bool,
    /// Its owner shows its addresses and place to everybody.
    is_public: bool,
    /// Somebody stands for it. Others are chosen only by their number. Ours.
    is_vouched: bool,
    /// When another probe with the same key was last noticed, as a copied card has it; for whoever may see it whole. Ours.
    duplicate_key_seen: Option<i64>,
    /// Its state.
    status: ProbeStatus,
    /// Since when.
    status_since: Option<i64>,
    /// Those of its owner and those of the system.
    tags: Vec<ProbeTag>,
    /// Name and version of its software, as it last told; null for one that never connected. Ours.
    software: Option<String>,
    /// What its last connection ran over, `quic`, or `tls` where UDP is blocked; for whoever may see it whole. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    uplink: Option<&'static str>,
    /// Kinds of measurement that its host allows, as it last told; absent when it did not. It is chosen for no other. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    kinds: Option<Vec<&'static str>>,
    /// How it is, for its owner and the operator alone. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthObject>,
    /// Of a probe on a board: the board's system and its updates. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    board: Option<BoardObject>,
    /// What the owner of a board has said here that is wanted of updates, for the owner and the operator alone. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    updates: Option<ChoiceObject>,
}

/// A point, longitude first (RFC 7946).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Geometry {
    /// `Point`.
    r#type: &'static str,
    /// Longitude and latitude.
    coordinates: [f64; 2],
}

/// A probe's state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProbeStatus {
    /// Atlas's number.
    id: u8,
    /// Atlas's name.
    name: &'static str,
    /// Since when, as ISO 8601.
    since: Option<String>,
}

/// A tag of a probe.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProbeTag {
    /// What people call it.
    pub name: String,
    /// What programs call it.
    pub slug: String,
}

impl ProbeTag {
    /// The tag of this slug.
    pub fn of(slug: &str) -> Self {
        Self { name: tag_name(slug), slug: slug.to_owned() }
    }
}

impl Geometry {
    /// The point at this latitude and longitude.
    pub fn at((latitude, longitude): (f64, f64)) -> Self {
        Self { r#type: "Point", coordinates: [longitude, latitude] }
    }
}

impl ProbeObject {
    /// As this viewer may see it.
    pub fn of(probe: &Probe, viewer: Viewer, now: UnixNanos) -> Self {
        let whole = viewer.sees_whole(probe);
        let (id, name) = state(probe);
        let since = probe.connection.map(|connection| connection.since);
        let running = match probe.connection {
            Some(connection) if connection.connected => now.since(connection.since).as_secs(),
            _ => 0,
        };
        Self {
            id: probe.id,
            r#type: "Probe",
            address_v4: probe.address_v4.filter(|_| whole),
            address_v6: probe.address_v6.filter(|_| whole),
            prefix_v4: probe.address_v4.map(prefix),
            prefix_v6: probe.address_v6.map(prefix),
            asn_v4: probe.asn_v4,
            asn_v6: probe.asn_v6,
            country_code: probe.country.clone(),
            // People write where they live into it.
            description: probe.description.clone().filter(|_| whole),
            firmware_version: FIRMWARE,
            total_uptime: probe.total_uptime.saturating_add(running),
            first_connected: probe.first_connected.map(UnixNanos::as_secs),
            last_connected: probe.last_connected.map(UnixNanos::as_secs),
            geometry: place(probe, viewer).map(Geometry::at),
            is_anchor: probe.is_anchor,
            is_public: probe.address_is_public,
            is_vouched: probe.vouched,
            duplicate_key_seen: probe.duplicate_at.filter(|_| whole).map(UnixNanos::as_secs),
            status: ProbeStatus { id, name, since: since.map(iso) },
            status_since: since.map(UnixNanos::as_secs),
            tags: probe.tags.iter().map(|slug| ProbeTag::of(slug)).collect(),
            software: probe.software.clone(),
            uplink: probe.uplink.filter(|_| whole).map(Uplink::name),
            kinds: probe.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| kind.name()).collect()),
            health: None,
            board: None,
            updates: None,
        }
    }

    /// With how it is and what it runs on, as far as the viewer may know that.
    pub fn with(self, probe: &Probe, told: &Told) -> Self {
        let whole = told.health.is_some();
        Self {
            health: told.health.as_ref().map(|health| HealthObject::of(probe, health)),
            board: BoardObject::of(&told.board, whole),
            updates: told.board.choice.filter(|_| whole).map(ChoiceObject::from),
            ..self
        }
    }

    /// As JSON.
    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(object)) => object,
            // Nothing in it can fail.
            _ => Map::new(),
        }
    }
}

/// The probe's place as the viewer may know it.
pub(crate) fn place(probe: &Probe, viewer: Viewer) -> Option<(f64, f64)> {
    probe.place.map(|place| if viewer.sees_whole(probe) { place } else { snapped(place) })
}

/// What a probe told of itself.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How it is; absent for a viewer who may not know that.
    health: Option<ProbeHealth>,
    /// Its board, whole.
    board: Board,
}

/// What these probes told of themselves, in their order, as far as the viewer may know it.
pub(crate) async fn told(catalog: &dyn Catalog, viewer: Viewer, probes: &[Probe]) -> Result<Vec<Told>, StoreError> {
    let ids: Vec<ProbeId> = probes.iter().map(|probe| probe.id).collect();
    let healths = health(catalog, viewer, probes).await?;
    let boards = catalog.boards(&ids).await?;
    Ok(healths.into_iter().zip(boards).map(|(health, board)| Told { health, board }).collect())
}

/// How these probes are.
async fn health(
    catalog: &dyn Catalog,
    viewer: Viewer,
    probes: &[Probe],
) -> Result<Vec<Option<ProbeHealth>>, StoreError> {
    let visible = |probe: &&Probe| viewer.sees_health(probe);
    let ids: Vec<ProbeId> = probes.iter().filter(visible).map(|probe| probe.id).collect();
    // Nothing is asked for the public.
    let mut found = if ids.is_empty() { Vec::new() } else { catalog.health(&ids).await? }.into_iter();
    Ok(probes.iter().map(|probe| if viewer.sees_health(probe) { found.next() } else { None }).collect())
}

/// The object with what was asked for of it.
pub(crate) fn write(
    probe: &Probe,
    told: &Told,
    viewer: Viewer,
    now: UnixNanos,
    selection: &Selection,
    datetimes: Datetimes,
) -> Value {
    let mut object = ProbeObject::of(probe, viewer, now).with(probe, told).to_map();
    datetimes.apply(&mut object, &["first_connected", "last_connected", "status_since", "status.since"]);
    selection.apply(object)
}

/// A probe's state: Atlas's number and name.
pub(crate) fn state(probe: &Probe) -> (u8, &'static str) {
    let state = match probe.connection {
        None => ProbeState::NeverConnected,
        Some(connection) if connection.connected => ProbeState::Connected,
        Some(_) => ProbeState::Disconnected,
    };
    let known = STATES.into_iter().find(|(_, _, known)| *known == Some(state));
    known.map_or((0, ""), |(number, name, _)| (number, name))
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

/// The network of a probe's address, as anybody may know it.
pub(crate) fn prefix(address: IpAddr) -> String {
    format!("{}/{}", network(address), if address.is_ipv4() { 24 } else { 48 })
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
