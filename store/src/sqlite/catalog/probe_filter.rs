//! Lists of probes: what they can be filtered and sorted by.
//!
//! The condition [`SEEN_WHOLE`] is [`crate::view::Viewer::sees_whole`] in SQL; a condition on what is hidden from others
//! goes through it. For an address that is all: a hidden one is inside a network of up to /24 or /48 exactly if its own
//! /24 or /48 is, and inside no finer one as far as others can know.

use std::collections::BTreeSet;

use rusqlite::Connection;
use rusqlite::types::Value;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;

use super::super::filter::{Filter, address_range, numbers, texts};
use super::probes::bit_of;
use crate::catalog::{
    Circle, Coordinate, GridPlace, Limit, Page, ProbeFilter, ProbeNumber, ProbeOrder, ProbeState, Slice,
};
use crate::view::Viewer;

/// Binds what [`account`] gives.
const SEEN_WHOLE: &str = "(address_is_public OR owner IS ?)";

/// The state's number, as [`ProbeState`] and Atlas count.
const STATE: &str = "CASE WHEN connected = 1 THEN 1 WHEN connected IS NULL THEN 0 ELSE 2 END";

/// As many probes as are few.
const FEW: i64 = 3000;

/// The account that sees more than others; none of a real one for the public.
fn account(viewer: Viewer) -> Value {
    viewer.account().map_or(Value::Null, |account| Value::from(account.0.cast_signed()))
}

fn number(state: ProbeState) -> u64 {
    match state {
        ProbeState::NeverConnected => 0,
        ProbeState::Connected => 1,
        ProbeState::Disconnected => 2,
    }
}

/// The numbers of the probes of one part of a list, and how long the whole is.
pub(super) fn list(db: &Connection, filter: &ProbeFilter, slice: Slice) -> rusqlite::Result<Page<ProbeId>> {
    let mut conditions = conditions(db, filter)?;
    for &(key, descending) in &filter.order {
        let column = match key {
            ProbeOrder::Id => "id",
            ProbeOrder::Country => "country",
            ProbeOrder::AsnV4 => "asn_v4",
            ProbeOrder::AsnV6 => "asn_v6",
            ProbeOrder::State => STATE,
            ProbeOrder::Since => "connection_since",
            ProbeOrder::FirstConnected => "first_connected",
            ProbeOrder::LastConnected => "last_connected",
            ProbeOrder::IsPublic => "address_is_public",
        };
        conditions.order_by(column, descending, []);
    }
    conditions.page(db, "id", "probe", slice, |row| Ok(ProbeId(row.get::<_, i64>(0)?.cast_unsigned())))
}

/// How many probes of a filter are where, on the public grid.
pub(super) fn on_grid(db: &Connection, filter: &ProbeFilter) -> rusqlite::Result<Vec<GridPlace>> {
    let mut conditions = conditions(db, filter)?;
    conditions.and("latitude_snapped IS NOT NULL", []);
    let read = |row: &rusqlite::Row<'_>| {
        Ok(GridPlace {
            place: (row.get(0)?, row.get(1)?),
            connected: row.get::<_, i64>(2)?.cast_unsigned(),
            probes: row.get::<_, i64>(3)?.cast_unsigned(),
        })
    };
    let columns = "latitude_snapped, longitude_snapped, count(*) FILTER (WHERE connected = 1), count(*)";
    let end = "GROUP BY latitude_snapped, longitude_snapped ORDER BY latitude_snapped, longitude_snapped";
    conditions.groups(db, columns, "probe", end, read)
}

fn conditions(db: &Connection, filter: &ProbeFilter) -> rusqlite::Result<Filter> {
    let mut conditions = Filter::default();
    who(&mut conditions, filter);
    tags(db, &mut conditions, filter)?;
    places(db, &mut conditions, filter)?;
    Ok(conditions)
}

/// Conditions on what everybody may know.
fn who(conditions: &mut Filter, filter: &ProbeFilter) {
    if let Some(ids) = &filter.ids {
        conditions.and("id IN (SELECT value FROM json_each(?))", [numbers(ids.iter().map(|id| id.0))]);
    }
    if let Some(owner) = filter.owner {
        conditions.and("owner = ?", [Value::from(owner.0.cast_signed())]);
    }
    match filter.connected {
        Some(true) => conditions.and("connected = 1", []),
        Some(false) => conditions.and("connected IS NOT 1", []),
        None => {}
    }
    if let Some(states) = &filter.states {
        let states = numbers(states.iter().copied().map(number));
        conditions.and(format!("{STATE} IN (SELECT value FROM json_each(?))"), [states]);
    }
    if let Some(is_public) = filter.is_public {
        conditions.and("address_is_public = ?", [Value::from(is_public)]);
    }
    if let Some(vouched) = filter.vouched {
        conditions.and("vouched = ?", [Value::from(vouched)]);
    }
    if let Some(kind) = filter.allows {
        conditions.and("kinds IS NULL OR kinds & ? <> 0", [Value::from(bit_of(kind))]);
    }
    if let Some(is_anchor) = filter.is_anchor {
        let not = if is_anchor { "" } else { "NOT " };
        conditions.and(format!("id {not}IN (SELECT probe FROM anchor WHERE removed_at IS NULL)"), []);
    }
    for (field, limit) in &filter.limits {
        let (column, is_time) = match field {
            ProbeNumber::Id => ("id", false),
            ProbeNumber::FirstConnected => ("first_connected", true),
            ProbeNumber::LastConnected => ("last_connected", true),
        };
        conditions.limit(column, Vec::new(), limit, is_time);
    }
}

/// Conditions on tags. Most probes have most system tags, so a tag is looked up for each probe, except where few have it:
/// then those are looked at alone.
fn tags(db: &Connection, conditions: &mut Filter, filter: &ProbeFilter) -> rusqlite::Result<()> {
    for tag in BTreeSet::from_iter(&filter.tags) {
        let count = "SELECT count(*) FROM (SELECT 1 FROM probe_tag WHERE tag = ? LIMIT ?)";
        let probes: i64 = db.prepare_cached(count)?.query_row((tag, FEW), |row| row.get(0))?;
        let condition = match probes < FEW {
            true => "id IN (SELECT probe FROM probe_tag WHERE tag = ?)",
            false => "EXISTS (SELECT 1 FROM probe_tag WHERE probe_tag.probe = probe.id AND probe_tag.tag = ?)",
        };
        conditions.and(condition, [Value::from(tag.clone())]);
    }
    if !filter.without_tags.is_empty() {
        conditions.and(
            "id NOT IN (SELECT probe FROM probe_tag WHERE tag IN (SELECT value FROM json_each(?)))",
            [texts(&filter.without_tags)],
        );
    }
    Ok(())
}

/// Conditions on where it is.
fn places(db: &Connection, conditions: &mut Filter, filter: &ProbeFilter) -> rusqlite::Result<()> {
    if let Some(countries) = &filter.countries {
        let countries: Vec<String> = countries.iter().map(|country| country.to_uppercase()).collect();
        conditions.and("country IN (SELECT value FROM json_each(?))", [texts(&countries)]);
    }
    for (family, asns) in &filter.asns {
        let asns = numbers(asns.iter().map(|asn| u64::from(asn.0)));
        const OF: [&str; 2] =
            ["asn_v4 IN (SELECT value FROM json_each(?))", "asn_v6 IN (SELECT value FROM json_each(?))"];
        match family {
            Some(Family::V4) => conditions.and(OF[0], [asns]),
            Some(Family::V6) => conditions.and(OF[1], [asns]),
            None => conditions.and(OF.join(" OR "), [asns.clone(), asns]),
        }
    }
    for &(address, bits) in &filter.networks {
        let (column, shown) = if address.is_ipv4() { ("address_v4_key", 24) } else { ("address_v6_key", 48) };
        let (low, high) = address_range(address, bits);
        conditions.and(format!("{column} BETWEEN ? AND ?"), [Value::from(low), Value::from(high)]);
        if bits > shown && filter.viewer != Viewer::Operator {
            conditions.and(SEEN_WHOLE, [account(filter.viewer)]);
        }
    }
    for (coordinate, limit) in &filter.coordinates {
        let (column, mut values) = match coordinate {
            Coordinate::Latitude => seen(filter.viewer, "latitude"),
            Coordinate::Longitude => seen(filter.viewer, "longitude"),
        };
        let comparison = match limit {
            Limit::Below(_) => "< ?",
            Limit::AtMost(_) => "<= ?",
            Limit::Above(_) => "> ?",
            Limit::AtLeast(_) => ">= ?",
            Limit::OneOf(_) => "IN (SELECT value FROM json_each(?))",
        };
        values.push(match limit {
            Limit::Below(at) | Limit::AtMost(at) | Limit::Above(at) | Limit::AtLeast(at) => Value::from(*at),
            Limit::OneOf(all) => Value::Text(serde_json::Value::from(all.as_slice()).to_string()),
        });
        conditions.and(format!("{column} {comparison}"), values);
    }
    if let Some(circle) = &filter.near {
        let ids = within(db, circle, filter.viewer)?;
        conditions.and("id IN (SELECT value FROM json_each(?))", [numbers(ids)]);
    }
    Ok(())
}

/// A coordinate as the viewer may know it, and what that binds.
fn seen(viewer: Viewer, column: &str) -> (String, Vec<Value>) {
    match viewer {
        Viewer::Operator => (column.to_owned(), Vec::new()),
        _ => (format!("(CASE WHEN {SEEN_WHOLE} THEN {column} ELSE {column}_snapped END)"), vec![account(viewer)]),
    }
}

/// The probes within a circle. Counted here: SQLite has no sines.
fn within(db: &Connection, circle: &Circle, viewer: Viewer) -> rusqlite::Result<Vec<u64>> {
    let (latitude, mut values) = seen(viewer, "latitude");
    let (longitude, more) = seen(viewer, "longitude");
    values.extend(more);
    let (south, north) = circle.latitudes();
    // The grid is as wide as a tenth of a degree; the exact look comes below.
    values.extend([Value::from(south - 0.1), Value::from(north + 0.1)]);
    let sql = format!("SELECT id, {latitude}, {longitude} FROM probe WHERE latitude BETWEEN ? AND ?");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<f64>>(1)?, row.get::<_, Option<f64>>(2)?))
    })?;
    let mut ids = Vec::new();
    for row in rows {
        if let (id, Some(latitude), Some(longitude)) = row?
            && circle.holds((latitude, longitude))
        {
            ids.push(id.cast_unsigned());
        }
    }
    Ok(ids)
}
