//! Probes and their sessions.

use std::net::IpAddr;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::address::special;
use sonde_protocol::ids::{AccountId, Asn, ProbeId, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::Family;
use sonde_protocol::time::UnixNanos;

use super::super::damaged;
use super::super::filter::{Filter, numbers, texts};
use super::{SqliteCatalog, accounts};
use crate::StoreError;
use crate::catalog::{Admission, Connection as Connected, Digest, NewSession, Page, Probe, ProbeFilter, Probes, Slice};

const COLUMNS: &str = "id, key, owner, created_at, description, connected, connection_since, session, first_connected,
    last_connected, address_v4, address_v6, address_is_public, asn_v4, asn_v6, country, latitude, longitude, software,
    uptime, (SELECT json_group_array(tag ORDER BY tag) FROM probe_tag WHERE probe_tag.probe = probe.id) AS tags";

fn read(row: &Row<'_>) -> rusqlite::Result<Probe> {
    let time = |name| -> rusqlite::Result<Option<UnixNanos>> { Ok(row.get::<_, Option<i64>>(name)?.map(UnixNanos)) };
    let connection = match (row.get("connected")?, time("connection_since")?, row.get::<_, Option<i64>>("session")?) {
        (Some(connected), Some(since), Some(session)) => {
            Some(Connected { connected, since, session: SessionId(session.cast_unsigned()) })
        }
        _ => None,
    };
    let place = match (row.get("latitude")?, row.get("longitude")?) {
        (Some(latitude), Some(longitude)) => Some((latitude, longitude)),
        _ => None,
    };
    Ok(Probe {
        id: ProbeId(row.get::<_, i64>("id")?.cast_unsigned()),
        key: PublicKey(row.get("key")?),
        owner: AccountId(row.get::<_, i64>("owner")?.cast_unsigned()),
        created_at: UnixNanos(row.get("created_at")?),
        description: row.get("description")?,
        connection,
        first_connected: time("first_connected")?,
        last_connected: time("last_connected")?,
        address_v4: address(row.get("address_v4")?)?,
        address_v6: address(row.get("address_v6")?)?,
        address_is_public: row.get("address_is_public")?,
        asn_v4: row.get::<_, Option<u32>>("asn_v4")?.map(Asn),
        asn_v6: row.get::<_, Option<u32>>("asn_v6")?.map(Asn),
        country: row.get("country")?,
        place,
        software: row.get("software")?,
        tags: serde_json::from_str(&row.get::<_, String>("tags")?).map_err(damaged)?,
        total_uptime: u64::try_from(row.get::<_, i64>("uptime")?).unwrap_or(0) / 1_000_000_000,
    })
}

fn address(text: Option<String>) -> rusqlite::Result<Option<IpAddr>> {
    text.map(|text| text.parse().map_err(damaged)).transpose()
}

pub(super) fn by_id(db: &Connection, id: ProbeId) -> rusqlite::Result<Option<Probe>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM probe WHERE id = ?"))?
        .query_row([id.0.cast_signed()], read)
        .optional()
}

fn by_key(db: &Connection, key: &PublicKey) -> rusqlite::Result<Option<Probe>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM probe WHERE key = ?"))?.query_row([key.0], read).optional()
}

pub(super) fn admit(
    db: &Connection,
    key: &PublicKey,
    token: Option<&Digest>,
    now: UnixNanos,
) -> rusqlite::Result<Admission> {
    if let Some(probe) = by_key(db, key)? {
        return Ok(Admission::Known(Box::new(probe)));
    }
    let Some(token) = token else { return Ok(Admission::UnknownKey) };
    let Some(owner) = accounts::use_join_token(db, token, &key.0, now)? else { return Ok(Admission::BadToken) };
    db.prepare_cached("INSERT INTO probe (key, owner, created_at) VALUES (?, ?, ?)")?.execute(params![
        key.0,
        owner.0.cast_signed(),
        now.0
    ])?;
    let probe = by_key(db, key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Admission::Joined(Box::new(probe)))
}

pub(super) fn list(db: &Connection, filter: &ProbeFilter, slice: Slice) -> rusqlite::Result<Page<Probe>> {
    let mut conditions = Filter::default();
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
    match filter.never_connected {
        Some(true) => conditions.and("first_connected IS NULL", []),
        Some(false) => conditions.and("first_connected IS NOT NULL", []),
        None => {}
    }
    if let Some(country) = &filter.country {
        conditions.and("country = ?", [Value::from(country.to_uppercase())]);
    }
    if let Some(asn) = filter.asn {
        conditions.and("asn_v4 = ? OR asn_v6 = ?", [Value::from(asn.0), Value::from(asn.0)]);
    }
    if !filter.tags.is_empty() {
        conditions.and(
            "NOT EXISTS (SELECT 1 FROM json_each(?) AS wanted WHERE NOT EXISTS
                (SELECT 1 FROM probe_tag WHERE probe_tag.probe = probe.id AND probe_tag.tag = wanted.value))",
            [texts(&filter.tags)],
        );
    }
    if !filter.without_tags.is_empty() {
        conditions.and(
            "NOT EXISTS (SELECT 1 FROM json_each(?) AS unwanted JOIN probe_tag
                ON probe_tag.probe = probe.id AND probe_tag.tag = unwanted.value)",
            [texts(&filter.without_tags)],
        );
    }
    conditions.page(db, COLUMNS, "probe", slice, read)
}

/// The address by which a probe shows a family: the one it was seen from, else a global one of its own.
fn shown(session: &NewSession, family: Family) -> Option<IpAddr> {
    let seen = session.public_address.to_canonical();
    if Family::of(seen) == family {
        return Some(seen);
    }
    let own = session.addresses.iter().map(IpAddr::to_canonical);
    own.into_iter().find(|&own| Family::of(own) == family && special(own, &[]).is_none())
}

pub(super) fn open_session(db: &Connection, session: &NewSession) -> rusqlite::Result<SessionId> {
    let probe = session.probe.0.cast_signed();
    let at = session.at.0;
    let id: i64 = db
        .prepare_cached("INSERT INTO session (probe, public_address, started_at) VALUES (?, ?, ?) RETURNING id")?
        .query_row(params![probe, session.public_address.to_canonical().to_string(), at], |row| row.get(0))?;
    let (v4, v6) = (shown(session, Family::V4), shown(session, Family::V6));
    // A session that is still open ends here as far as the uptime goes, so that no second counts twice.
    db.prepare_cached(
        "UPDATE probe SET
            uptime = uptime + CASE WHEN connected = 1 THEN max(0, ?2 - connection_since) ELSE 0 END,
            connected = 1, connection_since = ?2, session = ?3,
            first_connected = coalesce(first_connected, ?2), last_connected = max(coalesce(last_connected, ?2), ?2),
            address_v4 = ?4, address_v6 = ?5, software = ?6
         WHERE id = ?1",
    )?
    .execute(params![probe, at, id, v4.map(|a| a.to_string()), v6.map(|a| a.to_string()), session.software])?;
    for (family, is_shown) in [(Family::V4, v4.is_some()), (Family::V6, v6.is_some())] {
        let change = match is_shown || session.families.contains(&family) {
            true => "INSERT INTO probe_tag (probe, tag) VALUES (?, ?) ON CONFLICT DO NOTHING",
            false => "DELETE FROM probe_tag WHERE probe = ? AND tag = ?",
        };
        for word in ["works", "capable"] {
            db.prepare_cached(change)?.execute(params![probe, format!("system-ipv{family}-{word}")])?;
        }
    }
    Ok(SessionId(id.cast_unsigned()))
}

/// Ends the present connection of the probes that meet a condition on `?1`, at the time `?2`.
const DISCONNECT: &str = "UPDATE probe SET connected = 0, uptime = uptime + max(0, ?2 - connection_since),
    connection_since = ?2, last_connected = max(coalesce(last_connected, ?2), ?2)
    WHERE connected = 1 AND (?1 IS NULL OR session = ?1)";

pub(super) fn close_session(db: &Connection, session: SessionId, at: UnixNanos) -> rusqlite::Result<()> {
    let session = session.0.cast_signed();
    let ended = db
        .prepare_cached("UPDATE session SET ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL RETURNING probe")?
        .query_row(params![session, at.0], |row| row.get::<_, i64>(0))
        .optional()?;
    let Some(probe) = ended else { return Ok(()) };
    db.prepare_cached(&format!("{DISCONNECT} AND id = ?3"))?.execute(params![session, at.0, probe])?;
    Ok(())
}

pub(super) fn close_all_sessions(db: &Connection, at: UnixNanos) -> rusqlite::Result<()> {
    db.execute("UPDATE session SET ended_at = ? WHERE ended_at IS NULL", [at.0])?;
    db.execute(DISCONNECT, params![None::<i64>, at.0])?;
    Ok(())
}

pub(super) fn session_addresses(db: &Connection, sessions: &[SessionId]) -> rusqlite::Result<Vec<(SessionId, IpAddr)>> {
    db.prepare_cached(
        "SELECT id, public_address FROM session WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
    )?
    .query_map([numbers(sessions.iter().map(|id| id.0))], |row| {
        let id = SessionId(row.get::<_, i64>(0)?.cast_unsigned());
        Ok((id, row.get::<_, String>(1)?.parse().map_err(damaged)?))
    })?
    .collect()
}

#[async_trait]
impl Probes for SqliteCatalog {
    async fn admit(&self, key: &PublicKey, token: Option<&Digest>, now: UnixNanos) -> Result<Admission, StoreError> {
        self.write("admit a probe", |t| admit(t, key, token, now))
    }

    async fn probe(&self, id: ProbeId) -> Result<Option<Probe>, StoreError> {
        self.read("find a probe", |t| by_id(t, id))
    }

    async fn probes(&self, filter: &ProbeFilter, slice: Slice) -> Result<Page<Probe>, StoreError> {
        self.read("list probes", |t| list(t, filter, slice))
    }

    async fn open_session(&self, session: &NewSession) -> Result<SessionId, StoreError> {
        self.write("open a session", |t| open_session(t, session))
    }

    async fn close_session(&self, session: SessionId, at: UnixNanos) -> Result<(), StoreError> {
        self.write("close a session", |t| close_session(t, session, at))
    }

    async fn close_all_sessions(&self, at: UnixNanos) -> Result<(), StoreError> {
        self.write("close all sessions", |t| close_all_sessions(t, at))
    }

    async fn session_addresses(&self, sessions: &[SessionId]) -> Result<Vec<(SessionId, IpAddr)>, StoreError> {
        self.read("find sessions", |t| session_addresses(t, sessions))
    }
}
