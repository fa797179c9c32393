//! Measurements as they were asked for, who takes part in them, and lists of them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value as Json;
use sonde_protocol::bounded::Bytes;
use sonde_protocol::ids::{AccountId, Asn, MeasurementId, ProbeId};
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::spec::{Kind, Spec, Target};
use sonde_protocol::time::UnixNanos;

use super::super::columns::field;
use super::super::filter::{Filter, address_key, address_range, numbers};
use super::super::{damaged, refused};
use super::{SqliteCatalog, builtins, orders, participation, text_search};
use crate::StoreError;
use crate::catalog::{
    Limit, Measurement, MeasurementEdit, MeasurementFilter, MeasurementOrder, Measurements, NewMeasurement,
    NumberField, ONEOFF_ONGOING_BASE_SECS, Origin, Page, Participant, Slice, Status, TextField, TextMatch, TopUp,
};

const COLUMNS: [&str; 32] = [
    "id",
    "group_id",
    "created_at",
    "owner",
    "kind",
    "spec",
    "af",
    "target",
    "resolved",
    "resolve_on_probe",
    "is_oneoff",
    "interval",
    "spread",
    "start",
    "start_given",
    "stop",
    "description",
    "is_public",
    "tags",
    "probes_requested",
    "probe_sources",
    "stopped_at",
    "forced",
    "participants",
    "settled",
    "departed",
    "target_asn",
    "target_prefix",
    "top_up_days",
    "top_up_similarity",
    "target_update_hours",
    "target_update_error",
];

/// What is read of a measurement, in SQL.
static SELECT: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM measurement", COLUMNS.join(", ")));

/// One hour.
const HOUR_NANOS: i64 = 3_600_000_000_000;

fn read(row: &Row<'_>) -> rusqlite::Result<Measurement> {
    let number: u8 = row.get(field!("kind"))?;
    let kind = Kind::from_number(number).ok_or_else(|| damaged(format!("unknown kind of measurement {number}")))?;
    Ok(Measurement {
        id: MeasurementId(row.get::<_, i64>(field!("id"))?.cast_unsigned()),
        group: MeasurementId(row.get::<_, i64>(field!("group_id"))?.cast_unsigned()),
        created_at: UnixNanos(row.get(field!("created_at"))?),
        asked: NewMeasurement {
            owner: AccountId(row.get::<_, i64>(field!("owner"))?.cast_unsigned()),
            spec: Spec::from_cbor(kind, &row.get::<_, Vec<u8>>(field!("spec"))?).map_err(damaged)?,
            af: family(row.get(field!("af"))?)?,
            target: row.get(field!("target"))?,
            resolved: serde_json::from_str(&row.get::<_, String>(field!("resolved"))?).map_err(damaged)?,
            resolve_on_probe: row.get(field!("resolve_on_probe"))?,
            is_oneoff: row.get(field!("is_oneoff"))?,
            interval: row.get(field!("interval"))?,
            spread: row.get(field!("spread"))?,
            start: UnixNanos(row.get(field!("start"))?),
            start_given: row.get(field!("start_given"))?,
            stop: row.get::<_, Option<i64>>(field!("stop"))?.map(UnixNanos),
            description: row.get(field!("description"))?,
            is_public: row.get(field!("is_public"))?,
            tags: serde_json::from_str(&row.get::<_, String>(field!("tags"))?).map_err(damaged)?,
            probes_requested: row.get(field!("probes_requested"))?,
            probe_sources: row.get(field!("probe_sources"))?,
            probes: Vec::new(),
            group: None,
            origin: match row.get::<_, Option<u32>>(field!("target_asn"))? {
                Some(asn) => Some(Origin { asn: Asn(asn), prefix: row.get(field!("target_prefix"))? }),
                None => None,
            },
            top_up: match row.get::<_, Option<u32>>(field!("top_up_days"))? {
                Some(days_off) => Some(TopUp { days_off, similarity: row.get(field!("top_up_similarity"))? }),
                None => None,
            },
            target_update_hours: row.get(field!("target_update_hours"))?,
        },
        target_update_error: row.get(field!("target_update_error"))?,
        stopped_at: row.get::<_, Option<i64>>(field!("stopped_at"))?.map(UnixNanos),
        forced: row.get(field!("forced"))?,
        participants: row.get(field!("participants"))?,
        departed: row.get(field!("departed"))?,
        settled: row.get(field!("settled"))?,
    })
}

pub(super) fn family(number: u8) -> rusqlite::Result<Family> {
    Family::from_number(u64::from(number)).ok_or_else(|| damaged("an address family that is neither 4 nor 6"))
}

/// What could be stored but never be read or ordered again is refused.
fn check(new: &NewMeasurement) -> rusqlite::Result<()> {
    if let Some(problem) = new.spec.problems().first() {
        return Err(refused(format!("{}: {}", problem.field, problem.detail)));
    }
    if Bytes::<4096>::new(new.spec.to_cbor()).is_none() {
        return Err(refused("the definition is too long for an order"));
    }
    match &new.target {
        Some(target) if Target::new(target.as_str()).is_none() => Err(refused("the target is too long")),
        _ => Ok(()),
    }
}

pub(super) fn add(db: &Connection, new: &[NewMeasurement], now: UnixNanos) -> rusqlite::Result<Vec<MeasurementId>> {
    let mut ids: Vec<MeasurementId> = Vec::new();
    let mut chosen = BTreeSet::new();
    for one in new {
        let probes: BTreeSet<ProbeId> = one.probes.iter().copied().collect();
        let id = insert(db, None, one, now, probes.len())?;
        let group = one.group.or(ids.first().copied()).unwrap_or(id);
        db.prepare_cached("UPDATE measurement SET group_id = ? WHERE id = ?")?
            .execute([group.0.cast_signed(), id.0.cast_signed()])?;
        let mut join = db.prepare_cached("INSERT INTO participant (measurement, probe, since) VALUES (?, ?, ?)")?;
        for probe in &probes {
            join.execute(params![id.0.cast_signed(), probe.0.cast_signed(), now.0])?;
        }
        participation::record_first(db, id)?;
        ids.push(id);
        chosen.extend(probes);
    }
    orders::changed(db, chosen)?;
    Ok(ids)
}

/// Without a number it gets the next one.
pub(super) fn insert(
    db: &Connection,
    id: Option<MeasurementId>,
    new: &NewMeasurement,
    now: UnixNanos,
    participants: usize,
) -> rusqlite::Result<MeasurementId> {
    check(new)?;
    let addresses: Vec<String> = new.resolved.iter().map(ToString::to_string).collect();
    let id: i64 = db
        .prepare_cached(
            "INSERT INTO measurement (id, group_id, created_at, owner, kind, spec, af, target, resolved, resolve_on_probe,
                is_oneoff, interval, spread, start, start_given, stop, description, is_public, tags, probes_requested,
                probe_sources, participants, target_folded, description_folded, target_asn, target_prefix, address_key,
                protocol, top_up_days, top_up_similarity, target_update_hours, target_update_at)
             VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        )?
        .query_row(
            params![
                id.map(|id| id.0.cast_signed()),
                now.0,
                new.owner.0.cast_signed(),
                new.spec.kind().number(),
                new.spec.to_cbor(),
                new.af.number(),
                new.target,
                Json::from(addresses).to_string(),
                new.resolve_on_probe,
                new.is_oneoff,
                new.interval,
                new.spread,
                new.start.0,
                new.start_given,
                new.stop.map(|stop| stop.0),
                new.description,
                new.is_public,
                Json::from(new.tags.as_slice()).to_string(),
                new.probes_requested,
                new.probe_sources,
                i64::try_from(participants).map_err(refused)?,
                new.target.as_deref().map(folded),
                new.description.as_deref().map(folded),
                new.origin.as_ref().map(|origin| origin.asn.0),
                new.origin.as_ref().and_then(|origin| origin.prefix.as_deref()),
                first_key(new),
                protocol(&new.spec),
                new.top_up.map(|top_up| top_up.days_off),
                new.top_up.map(|top_up| top_up.similarity),
                new.target_update_hours,
                new.target_update_hours.map(|hours| now.0.saturating_add(i64::from(hours) * HOUR_NANOS)),
            ],
            |row| row.get(0),
        )?;
    Ok(MeasurementId(id.cast_unsigned()))
}

pub(super) fn edit(db: &Connection, id: MeasurementId, edit: &MeasurementEdit) -> rusqlite::Result<()> {
    let id = id.0.cast_signed();
    if let Some(description) = &edit.description {
        db.prepare_cached("UPDATE measurement SET description = ?, description_folded = ? WHERE id = ?")?
            .execute(params![description, description.as_deref().map(folded), id])?;
    }
    if let Some(is_public) = edit.is_public {
        db.prepare_cached("UPDATE measurement SET is_public = ? WHERE id = ?")?.execute(params![is_public, id])?;
    }
    if let Some(tags) = &edit.tags {
        db.prepare_cached("UPDATE measurement SET tags = ? WHERE id = ?")?
            .execute(params![Json::from(tags.as_slice()).to_string(), id])?;
    }
    if edit.add_tag.is_some() || edit.remove_tag.is_some() {
        let Some(measurement) = by_id(db, MeasurementId(id.cast_unsigned()))? else { return Ok(()) };
        let mut tags = measurement.asked.tags;
        tags.retain(|tag| Some(tag) != edit.remove_tag.as_ref());
        let new = edit.add_tag.clone().filter(|tag| !tags.contains(tag));
        tags.extend(new);
        db.prepare_cached("UPDATE measurement SET tags = ? WHERE id = ?")?
            .execute(params![Json::from(tags.as_slice()).to_string(), id])?;
    }
    Ok(())
}

/// Lower case character by character, so that a part of a text folds to a part of the folded text.
pub(super) fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

pub(super) fn by_id(db: &Connection, id: MeasurementId) -> rusqlite::Result<Option<Measurement>> {
    db.prepare_cached(&format!("{} WHERE id = ?", *SELECT))?.query_row([id.0.cast_signed()], read).optional()
}

/// Those that ask the probes' own resolvers, and may have been running after `since`.
pub(super) fn resolving(db: &Connection, since: UnixNanos, limit: u64) -> rusqlite::Result<Vec<Measurement>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    db.prepare_cached(&format!(
        "{} INDEXED BY measurement_resolving WHERE (target IS NULL OR resolve_on_probe = 1)
            AND (stop IS NULL OR stop > ?1) AND (stopped_at IS NULL OR stopped_at > ?1) ORDER BY id DESC LIMIT ?2",
        *SELECT
    ))?
    .query_map([since.0, limit], read)?
    .collect()
}

/// The rule of [`Measurement::status`] in SQL, which must give the same state for every row and time; the conformance
/// suite compares them. Bound: now, now in seconds, [`ONEOFF_ONGOING_BASE_SECS`], now, the states.
///
/// Comparing seconds is the same as comparing nanoseconds here, since that end is at a whole second. SQLite's division
/// rounds towards zero, the protocol's down; the comparison with 0 makes up for it.
macro_rules! status {
    () => {
        "CASE
    WHEN participants = 0 AND id >= 1000000 THEN 6
    WHEN stopped_at IS NOT NULL THEN 4 + forced
    WHEN ? < start THEN 1
    WHEN is_oneoff AND settled >= participants
        AND ? >= start / 1000000000 - (start % 1000000000 < 0) + ? + probes_requested / 4 THEN 4
    WHEN stop IS NOT NULL AND ? >= stop THEN 4
    ELSE 2 END"
    };
}

const HAS_STATUS: &str = concat!(status!(), " IN (SELECT value FROM json_each(?))");

/// True of whatever begins or runs, and false of most that is over: narrows lists of the former to an index. Bound: now.
const NOT_PAST: &str = "stopped_at IS NULL AND max(start, ifnull(stop, 9223372036854775807)) > ?";

/// Not over, and not without probes. Binds as [`status`].
pub(super) const IS_RUNNING: &str = concat!(status!(), " IN (0, 1, 2)");

/// What [`status`] binds.
pub(super) fn status_values(now: UnixNanos) -> [Value; 4] {
    [Value::from(now.0), Value::from(now.as_secs()), Value::from(ONEOFF_ONGOING_BASE_SECS), Value::from(now.0)]
}

/// The end that the object of a measurement shows, in seconds. Bound: as [`status`], and the seconds over which a one-off
/// counts as ongoing.
const SHOWN_STOP: &str = concat!(
    "CASE ",
    status!(),
    " WHEN 4 THEN CASE
        WHEN stopped_at IS NOT NULL THEN stopped_at / 1000000000
        WHEN is_oneoff AND settled >= participants
            THEN min(ifnull(stop, 9223372036854775807) / 1000000000, start / 1000000000 + ? + probes_requested / 4)
        ELSE stop / 1000000000 END
    WHEN 5 THEN stopped_at / 1000000000
    ELSE CASE WHEN is_oneoff THEN NULL ELSE stop / 1000000000 END END"
);

fn stop_values(now: UnixNanos) -> impl IntoIterator<Item = Value> {
    status_values(now).into_iter().chain([Value::from(ONEOFF_ONGOING_BASE_SECS)])
}

/// The states' names in the order of the alphabet, as numbers to sort by.
const STATUS_NAME: &str = concat!(
    "CASE ",
    status!(),
    " WHEN 9 THEN 0 WHEN 8 THEN 1 WHEN 7 THEN 2 WHEN 5 THEN 3 WHEN 6 THEN 4 WHEN 2 THEN 5 WHEN 1 THEN 6 WHEN 0 THEN 7
    ELSE 8 END"
);

fn more_conditions(db: &Connection, conditions: &mut Filter, filter: &MeasurementFilter) -> rusqlite::Result<()> {
    if let Some(is_public) = filter.is_public {
        conditions.and("is_public = ?", [Value::from(is_public)]);
    }
    if let Some(group) = filter.group {
        conditions.and("group_id = ?", [Value::from(group.0.cast_signed())]);
    }
    for (field, limit) in &filter.limits {
        number_condition(conditions, *field, limit);
    }
    for (field, how, text) in &filter.texts {
        let column = match field {
            TextField::Target => "target_folded",
            TextField::Description => "description_folded",
            TextField::Protocol => "protocol",
        };
        let text = folded(text);
        if *field != TextField::Protocol && *how != TextMatch::Is {
            contains(db, conditions, &text)?;
        }
        let text = Value::from(text);
        match how {
            TextMatch::Is => conditions.and(format!("{column} = ?"), [text]),
            TextMatch::Contains => conditions.and(format!("instr({column}, ?) > 0"), [text]),
            TextMatch::StartsWith => {
                conditions.and(format!("substr({column}, 1, length(?)) = ?"), [text.clone(), text]);
            }
            TextMatch::EndsWith => conditions.and(
                format!("length({column}) >= length(?) AND substr({column}, length({column}) - length(?) + 1) = ?"),
                [text.clone(), text.clone(), text],
            ),
        }
    }
    if let Some((address, bits)) = filter.target_in {
        let (low, high) = address_range(address, bits);
        conditions.and("address_key BETWEEN ? AND ?", [Value::from(low), Value::from(high)]);
    }
    if let Some(asns) = &filter.target_asn {
        conditions
            .and("target_asn IN (SELECT value FROM json_each(?))", [numbers(asns.iter().map(|asn| u64::from(asn.0)))]);
    }
    for tag in &filter.tags {
        conditions.and("id IN (SELECT measurement FROM measurement_tag WHERE tag = ?)", [Value::from(tag.clone())]);
    }
    if let Some(probes) = &filter.current_probes {
        conditions.and(
            "id IN (SELECT measurement FROM participant WHERE left_at IS NULL AND settled = 0
                AND probe IN (SELECT value FROM json_each(?)))",
            [numbers(probes.iter().map(|probe| probe.0))],
        );
    }
    Ok(())
}

fn number_condition(conditions: &mut Filter, field: NumberField, limit: &Limit) {
    let (column, values) = match field {
        NumberField::Id => ("id", Vec::new()),
        NumberField::Start => ("start", Vec::new()),
        NumberField::Interval => ("interval", Vec::new()),
        NumberField::Stop(now) => (SHOWN_STOP, Vec::from_iter(stop_values(now))),
    };
    conditions.limit(column, values, limit, field == NumberField::Start);
}

fn order_by(conditions: &mut Filter, key: MeasurementOrder, descending: bool) {
    let none = Vec::new();
    match key {
        MeasurementOrder::Id => conditions.order_by("id", descending, none),
        MeasurementOrder::Start => conditions.order_by("start", descending, none),
        MeasurementOrder::IsOneoff => conditions.order_by("is_oneoff", descending, none),
        MeasurementOrder::Interval => conditions.order_by("interval", descending, none),
        MeasurementOrder::Kind => conditions.order_by("kind_name", descending, none),
        MeasurementOrder::Af => conditions.order_by("af", descending, none),
        MeasurementOrder::Stop(now) => conditions.order_by(SHOWN_STOP, descending, stop_values(now)),
        MeasurementOrder::StatusNumber(now) => conditions.order_by(status!(), descending, status_values(now)),
        MeasurementOrder::StatusName(now) => conditions.order_by(STATUS_NAME, descending, status_values(now)),
    }
}

/// The key of the first of the target's addresses; empty when there is none.
pub(super) fn first_key(new: &NewMeasurement) -> String {
    new.resolved.first().map_or_else(String::new, |&address| address_key(address))
}

/// The protocol of a definition, in lower case; empty where its kind has no choice.
fn protocol(spec: &Spec) -> &'static str {
    let transport = match spec {
        Spec::Traceroute(traceroute) => traceroute.protocol,
        Spec::Dns(dns) => dns.protocol,
        _ => return "",
    };
    match transport {
        Transport::Icmp => "icmp",
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

/// Fills in what rows of the first version could not say in SQL alone.
pub(super) fn fill_in(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    {
        let mut select =
            transaction.prepare("SELECT id, kind, spec, resolved FROM measurement WHERE address_key IS NULL")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let resolved: Vec<IpAddr> = serde_json::from_str(&row.get::<_, String>(3)?).map_err(damaged)?;
            let spec = Kind::from_number(row.get(1)?)
                .map(|kind| Spec::from_cbor(kind, &row.get::<_, Vec<u8>>(2)?).map_err(damaged));
            let protocol = spec.transpose()?.map_or("", |spec| protocol(&spec));
            transaction.execute(
                "UPDATE measurement SET address_key = ?, protocol = ? WHERE id = ?",
                params![
                    resolved.first().map_or_else(String::new, |&a| address_key(a)),
                    protocol,
                    row.get::<_, i64>(0)?
                ],
            )?;
        }
    }
    transaction.commit()
}

/// What a filter comes to. Looks into the database for which way is the quickest.
pub(super) fn conditions(db: &Connection, filter: &MeasurementFilter) -> rusqlite::Result<Filter> {
    let mut conditions = Filter::default();
    if let Some(ids) = &filter.ids {
        conditions.and("id IN (SELECT value FROM json_each(?))", [numbers(ids.iter().map(|id| id.0))]);
    }
    if let Some(owner) = filter.owner {
        conditions.and("owner = ?", [Value::from(owner.0.cast_signed())]);
    }
    match filter.visible_to {
        Some(Some(account)) => conditions.and("is_public OR owner = ?", [Value::from(account.0.cast_signed())]),
        // Nearly all are: said, so that an index of something rarer is preferred.
        Some(None) => conditions.and("likelihood(is_public = 1, 0.95)", []),
        None => {}
    }
    if let Some(kind) = filter.kind {
        conditions.and("kind = ?", [Value::from(kind.number())]);
    }
    if let Some(af) = filter.af {
        conditions.and("af = ?", [Value::from(af.number())]);
    }
    if let Some(is_oneoff) = filter.is_oneoff {
        conditions.and("is_oneoff = ?", [Value::from(is_oneoff)]);
    }
    if let Some((states, now)) = &filter.status {
        if states.iter().all(|state| !state.is_over()) {
            conditions.and(NOT_PAST, [Value::from(now.0)]);
        }
        conditions.and(
            HAS_STATUS,
            status_values(*now)
                .into_iter()
                .chain([numbers(states.iter().map(|&state: &Status| u64::from(state.number())))]),
        );
    }
    if let Some(text) = &filter.search {
        let text = folded(text);
        contains(db, &mut conditions, &text)?;
        conditions.and(
            "instr(target_folded, ?) > 0 OR instr(description_folded, ?) > 0",
            [Value::from(text.clone()), Value::from(text)],
        );
    }
    more_conditions(db, &mut conditions, filter)?;
    if let Some(tops_up) = filter.tops_up {
        conditions.and(if tops_up { "top_up_days IS NOT NULL" } else { "top_up_days IS NULL" }, []);
    }
    for &(key, descending) in &filter.order {
        order_by(&mut conditions, key, descending);
    }
    Ok(conditions)
}

/// Narrows a list to what may have this text, folded, somewhere. Whoever asks compares the texts.
fn contains(db: &Connection, conditions: &mut Filter, text: &str) -> rusqlite::Result<()> {
    if let Some((condition, values)) = text_search::candidates(db, text)? {
        conditions.and(condition, values);
    }
    Ok(())
}

pub(super) fn list(db: &Connection, filter: &MeasurementFilter, slice: Slice) -> rusqlite::Result<Page<Measurement>> {
    let conditions = conditions(db, filter)?;
    // Numbers first, then row by row, so that what is sorted and left out is never read whole.
    let page = conditions
        .page(db, "id", "measurement", slice, |row| Ok(MeasurementId(row.get::<_, i64>(0)?.cast_unsigned())))?;
    let mut one = db.prepare_cached(&format!("{} WHERE id = ?", *SELECT))?;
    let items = page.items.iter().map(|id| one.query_row([id.0.cast_signed()], read));
    Ok(Page { total: page.total, items: items.collect::<rusqlite::Result<_>>()? })
}

pub(super) fn participants(db: &Connection, id: MeasurementId) -> rusqlite::Result<Vec<Participant>> {
    if id.is_builtin() {
        return builtins::participants(db, id);
    }
    db.prepare_cached("SELECT probe, since, settled, left_at FROM participant WHERE measurement = ? ORDER BY probe")?
        .query_map([id.0.cast_signed()], |row| {
            Ok(Participant {
                probe: ProbeId(row.get::<_, i64>(0)?.cast_unsigned()),
                since: UnixNanos(row.get(1)?),
                settled: row.get(2)?,
                left_at: row.get::<_, Option<i64>>(3)?.map(UnixNanos),
            })
        })?
        .collect()
}

#[async_trait]
impl Measurements for SqliteCatalog {
    async fn add_measurements(&self, new: &[NewMeasurement], now: UnixNanos) -> Result<Vec<MeasurementId>, StoreError> {
        self.write("add measurements", |t| add(t, new, now))
    }

    async fn measurement(&self, id: MeasurementId) -> Result<Option<Measurement>, StoreError> {
        self.read("find a measurement", |t| by_id(t, id))
    }

    async fn measurements(&self, filter: &MeasurementFilter, slice: Slice) -> Result<Page<Measurement>, StoreError> {
        self.read("list measurements", |t| list(t, filter, slice))
    }

    async fn participants(&self, id: MeasurementId) -> Result<Vec<Participant>, StoreError> {
        self.read("list participants", |t| participants(t, id))
    }

    async fn edit_measurement(&self, id: MeasurementId, edit: &MeasurementEdit) -> Result<(), StoreError> {
        self.write("edit a measurement", |t| self::edit(t, id, edit))
    }

    async fn index_texts(&self) -> Result<bool, StoreError> {
        self.write("index texts", |t| text_search::index(t))
    }
}
