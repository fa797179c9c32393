//! What `probes/` can be filtered and sorted by: Atlas's parameters, read into the catalog's words. The catalog looks at
//! addresses and places as the viewer may know them.

use std::net::IpAddr;

use ipnet::IpNet;
use sonde_protocol::atlas::FIRMWARE;
use sonde_protocol::ids::{Asn, ProbeId};
use sonde_protocol::net::Family;
use sonde_store::catalog::{Circle, Coordinate, Limit, ProbeFilter, ProbeNumber, ProbeOrder, ProbeState};
use sonde_store::view::Viewer;

use crate::error::ApiError;
use crate::params::Params;

/// The most tags, numbers, countries or sort keys one parameter may name.
const MAX_NAMES: usize = 500;

/// The most keys of an order.
const MAX_KEYS: usize = 9;

/// Half the way round the earth and more: everything is within it.
const MAX_KM: f64 = 25_000.0;

/// The states of a probe: Atlas's numbers and names, and ours. The last two a probe here is never in.
pub(crate) const STATES: [(u8, &str, Option<ProbeState>); 5] = [
    (0, "Never Connected", Some(ProbeState::NeverConnected)),
    (1, "Connected", Some(ProbeState::Connected)),
    (2, "Disconnected", Some(ProbeState::Disconnected)),
    (3, "Abandoned", None),
    (4, "Written Off", None),
];

/// The endings that compare, and how.
const ENDINGS: [&str; 5] = ["", "__lt", "__lte", "__gt", "__gte"];

fn limit<T>(ending: &str, value: T) -> Limit<T> {
    match ending {
        "__lt" => Limit::Below(value),
        "__lte" => Limit::AtMost(value),
        "__gt" => Limit::Above(value),
        "__gte" => Limit::AtLeast(value),
        _ => Limit::OneOf(vec![value]),
    }
}

/// Reads the filters of a list and its order.
pub(crate) fn read(params: &Params, viewer: Viewer) -> Result<ProbeFilter, ApiError> {
    let ids = match params.ids("id__in")? {
        None => params.ids("id")?,
        some => some,
    };
    let mut filter = ProbeFilter {
        viewer,
        ids: ids.map(|ids| ids.into_iter().map(ProbeId).collect()),
        states: states(params)?,
        is_public: params.flag("is_public")?,
        is_anchor: params.flag("is_anchor")?,
        near: circle(params)?,
        order: order(params)?,
        ..ProbeFilter::default()
    };
    if let Some(codes) = either(params, "country_code") {
        let (name, codes) = codes;
        filter.countries = Some(names(name, codes)?);
    }
    if let Some(tags) = params.csv("tags") {
        filter.tags = names("tags", tags)?;
        filter.tags.iter_mut().for_each(|tag| tag.make_ascii_lowercase());
    }
    for (stem, family) in [("asn", None), ("asn_v4", Some(Family::V4)), ("asn_v6", Some(Family::V6))] {
        if let Some((name, words)) = either(params, stem) {
            filter.asns.push((family, asns(name, &words)?));
        }
    }
    for (name, family) in [("prefix", None), ("prefix_v4", Some(Family::V4)), ("prefix_v6", Some(Family::V6))] {
        filter.networks.extend(network(params, name, family)?);
    }
    numbers(params, &mut filter)?;
    // Every probe here has the same.
    if params.parsed::<u32>("firmware_version")?.is_some_and(|version| version != FIRMWARE) {
        filter.ids = Some(Vec::new());
    }
    // What somebody has marked for themselves in Atlas's pages; nobody here can.
    for mark in ["favourite", "hidden"] {
        if params.flag(mark)? == Some(true) {
            filter.ids = Some(Vec::new());
        }
    }
    Ok(filter)
}

/// A list, as `name__in` or as `name`.
fn either<'a>(params: &'a Params, stem: &'static str) -> Option<(String, Vec<&'a str>)> {
    [format!("{stem}__in"), stem.to_owned()].into_iter().find_map(|name| Some((name.clone(), params.csv(&name)?)))
}

fn names(parameter: impl AsRef<str>, words: Vec<&str>) -> Result<Vec<String>, ApiError> {
    if words.len() > MAX_NAMES {
        return Err(ApiError::parameter(parameter.as_ref(), format!("At most {MAX_NAMES} can be named.")));
    }
    Ok(words.into_iter().map(str::to_owned).collect())
}

fn asns(parameter: String, words: &[&str]) -> Result<Vec<Asn>, ApiError> {
    let number = |word: &&str| word.trim_start_matches(['A', 'S', 'a', 's']).parse().ok().map(Asn);
    let asns: Option<Vec<Asn>> = words.iter().map(number).collect();
    asns.filter(|asns| asns.len() <= MAX_NAMES)
        .ok_or_else(|| ApiError::parameter(&parameter, "Enter numbers of ASes, separated by commas."))
}

/// An address or a prefix, of this family if one is named.
fn network(params: &Params, name: &str, family: Option<Family>) -> Result<Option<(IpAddr, u8)>, ApiError> {
    let Some(words) = params.get(name) else { return Ok(None) };
    let network = words.parse::<IpAddr>().map(IpNet::from).or_else(|_| words.parse::<IpNet>()).ok();
    let network = network.filter(|network| family.is_none_or(|family| Family::of(network.addr()) == family));
    match network {
        Some(network) => Ok(Some((network.addr(), network.prefix_len()))),
        None => Err(ApiError::parameter(name, "Enter a prefix such as 192.0.2.0/24 or 2001:db8::/32.")),
    }
}

/// The numbers and coordinates with their endings.
fn numbers(params: &Params, filter: &mut ProbeFilter) -> Result<(), ApiError> {
    let times = [("first_connected", ProbeNumber::FirstConnected), ("last_connected", ProbeNumber::LastConnected)];
    let degrees = [("latitude", Coordinate::Latitude, 90.0), ("longitude", Coordinate::Longitude, 180.0)];
    for ending in ENDINGS {
        let id = format!("id{ending}");
        // `id` alone is read above, where it may be a list.
        if !ending.is_empty()
            && let Some(number) = params.parsed(&id)?
        {
            filter.limits.push((ProbeNumber::Id, limit(ending, number)));
        }
        for (stem, field) in times {
            if let Some(seconds) = params.time(&format!("{stem}{ending}"))? {
                filter.limits.push((field, limit(ending, seconds)));
            }
        }
        for (stem, coordinate, most) in degrees {
            let name = format!("{stem}{ending}");
            let Some(words) = params.get(&name) else { continue };
            let value = degree(words, most)
                .ok_or_else(|| ApiError::parameter(&name, format!("Enter degrees between -{most} and {most}.")))?;
            filter.coordinates.push((coordinate, limit(ending, value)));
        }
    }
    Ok(())
}

fn degree(words: &str, most: f64) -> Option<f64> {
    words.trim().parse().ok().filter(|value: &f64| value.abs() <= most)
}

/// `radius=lat,lon:km`.
fn circle(params: &Params) -> Result<Option<Circle>, ApiError> {
    let Some(words) = params.get("radius") else { return Ok(None) };
    let read = || {
        let (centre, km) = words.split_once(':')?;
        let (latitude, longitude) = centre.split_once(',')?;
        Some(Circle {
            latitude: degree(latitude, 90.0)?,
            longitude: degree(longitude, 180.0)?,
            km: km.trim().parse().ok().filter(|km| (0.0..=MAX_KM).contains(km))?,
        })
    };
    let refusal = || ApiError::parameter("radius", "Enter latitude,longitude:kilometres, such as 52.37,4.89:50.");
    read().map(Some).ok_or_else(refusal)
}

/// The states that `status`, `status__in` or `status_name` name, by number or by name in any case.
fn states(params: &Params) -> Result<Option<Vec<ProbeState>>, ApiError> {
    for parameter in ["status__in", "status", "status_name", "status_name__in"] {
        let Some(words) = params.csv(parameter) else { continue };
        let mut states = Vec::new();
        for word in words {
            let is = |number: u8, name: &str| word == number.to_string() || word.eq_ignore_ascii_case(name);
            match STATES.into_iter().find(|(number, name, _)| is(*number, name)) {
                Some((_, _, state)) => states.extend(state),
                None => return Err(ApiError::parameter(parameter, "This is not a status.")),
            }
        }
        return Ok(Some(states));
    }
    Ok(None)
}

fn order(params: &Params) -> Result<Vec<(ProbeOrder, bool)>, ApiError> {
    let words = params.csv("sort").unwrap_or_default();
    if words.len() > MAX_KEYS {
        return Err(ApiError::parameter("sort", format!("At most {MAX_KEYS} keys can be named.")));
    }
    let key = |word: &str| {
        let (name, descending) = word.strip_prefix('-').map_or((word, false), |name| (name, true));
        let key = match name {
            "id" => ProbeOrder::Id,
            "country_code" => ProbeOrder::Country,
            "asn_v4" => ProbeOrder::AsnV4,
            "asn_v6" => ProbeOrder::AsnV6,
            "status" | "status.id" => ProbeOrder::State,
            "status_since" => ProbeOrder::Since,
            "first_connected" => ProbeOrder::FirstConnected,
            "last_connected" => ProbeOrder::LastConnected,
            "is_public" => ProbeOrder::IsPublic,
            _ => return None,
        };
        Some((key, descending))
    };
    let keys: Option<Vec<_>> = words.into_iter().map(key).collect();
    keys.ok_or_else(|| {
        ApiError::parameter(
            "sort",
            "Probes are sorted by id, country_code, asn_v4, asn_v6, status, status_since, first_connected, last_connected \
             or is_public, each with a - before it for descending.",
        )
    })
}
