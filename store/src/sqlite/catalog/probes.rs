//! Probes and their sessions.

use std::net::IpAddr;
use std::sync::LazyLock;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::address::special;
use sonde_protocol::ids::{AccountId, Asn, ProbeId, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::{Family, Uplink};
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;

use super::super::columns::field;
use super::super::damaged;
use super::super::filter::{address_key, numbers};
use super::accounts::TokenUse;
use super::{SqliteCatalog, accounts, probe_edits, probe_filter};
use crate::StoreError;
use crate::catalog::{
    Admission, Connection as Connected, Consent, Digest, GridPlace, NewSession, Page, Probe, ProbeEdit, ProbeFilter,
    ProbeOrigin, Probes, Ranking, Slice,
};
use crate::view::snapped;

const COLUMNS: [&str; 29] = [
    "id",
    "key",
    "owner",
    "created_at",
    "description",
    "connected",
    "connection_since",
    "session",
    "first_connected",
    "last_connected",
    "address_v4",
    "address_v6",
    "address_is_public",
    "asn_v4",
    "asn_v6",
    "country",
    "latitude",
    "longitude",
    "software",
    "uplink",
    "kinds",
    "uptime",
    "country_given",
    "vouched",
    "consent",
    "consented_at",
    "duplicate_at",
    "is_anchor",
    "tags",
];

/// What is read of a probe, in SQL.
static SELECT: LazyLock<String> = LazyLock::new(|| {
    let columns = COLUMNS.map(|column| match column {
        "is_anchor" => "EXISTS (SELECT 1 FROM anchor WHERE anchor.probe = probe.id AND removed_at IS NULL)",
        "tags" => "(SELECT json_group_array(tag ORDER BY tag) FROM probe_tag WHERE probe_tag.probe = probe.id)",
        column => column,
    });
    format!("SELECT {} FROM probe", columns.join(", "))
});

fn read(row: &Row<'_>) -> rusqlite::Result<Probe> {
    let time = |column: usize| -> rusqlite::Result<Option<UnixNanos>> {
        Ok(row.get::<_, Option<i64>>(column)?.map(UnixNanos))
    };
    let connection = match (
        row.get(field!("connected"))?,
        time(field!("connection_since"))?,
        row.get::<_, Option<i64>>(field!("session"))?,
    ) {
        (Some(connected), Some(since), Some(session)) => {
            Some(Connected { connected, since, session: SessionId(session.cast_unsigned()) })
        }
        _ => None,
    };
    let place = match (row.get(field!("latitude"))?, row.get(field!("longitude"))?) {
        (Some(latitude), Some(longitude)) => Some((latitude, longitude)),
        _ => None,
    };
    Ok(Probe {
        id: ProbeId(row.get::<_, i64>(field!("id"))?.cast_unsigned()),
        key: PublicKey(row.get(field!("key"))?),
        owner: AccountId(row.get::<_, i64>(field!("owner"))?.cast_unsigned()),
        created_at: UnixNanos(row.get(field!("created_at"))?),
        description: row.get(field!("description"))?,
        connection,
        first_connected: time(field!("first_connected"))?,
        last_connected: time(field!("last_connected"))?,
        address_v4: address(row.get(field!("address_v4"))?)?,
        address_v6: address(row.get(field!("address_v6"))?)?,
        address_is_public: row.get(field!("address_is_public"))?,
        asn_v4: row.get::<_, Option<u32>>(field!("asn_v4"))?.map(Asn),
        asn_v6: row.get::<_, Option<u32>>(field!("asn_v6"))?.map(Asn),
        country: row.get(field!("country"))?,
        country_given: row.get(field!("country_given"))?,
        place,
        software: row.get(field!("software"))?,
        uplink: row.get::<_, Option<String>>(field!("uplink"))?.as_deref().and_then(Uplink::from_name),
        kinds: row.get::<_, Option<i64>>(field!("kinds"))?.map(kinds_in),
        tags: serde_json::from_str(&row.get::<_, String>(field!("tags"))?).map_err(damaged)?,
        is_anchor: row.get(field!("is_anchor"))?,
        total_uptime: u64::try_from(row.get::<_, i64>(field!("uptime"))?).unwrap_or(0) / 1_000_000_000,
        vouched: row.get(field!("vouched"))?,
        consent: row
            .get::<_, Option<String>>("consent")?
            .zip(time(field!("consented_at"))?)
            .map(|(version, at)| Consent { version, at }),
        duplicate_at: time(field!("duplicate_at"))?,
    })
}

fn address(text: Option<String>) -> rusqlite::Result<Option<IpAddr>> {
    text.map(|text| text.parse().map_err(damaged)).transpose()
}

pub(super) fn by_id(db: &Connection, id: ProbeId) -> rusqlite::Result<Option<Probe>> {
    db.prepare_cached(&format!("{} WHERE id = ?", *SELECT))?.query_row([id.0.cast_signed()], read).optional()
}

pub(super) fn by_key(db: &Connection, key: &PublicKey) -> rusqlite::Result<Option<Probe>> {
    db.prepare_cached(&format!("{} WHERE key = ?", *SELECT))?.query_row([key.0], read).optional()
}

pub(super) fn admit(
    db: &Connection,
    key: &PublicKey,
    token: Option<&Digest>,
    now: UnixNanos,
) -> rusqlite::Result<Admission> {
    let retired = db
        .prepare_cached("SELECT probe, at FROM retired_key WHERE key = ?")?
        .query_row([key.0], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
        .optional()?;
    if let Some((probe, at)) = retired {
        return Ok(Admission::Replaced { probe: ProbeId(probe.cast_unsigned()), at: UnixNanos(at) });
    }
    if let Some(probe) = by_key(db, key)? {
        return Ok(Admission::Known(Box::new(probe)));
    }
    let Some(token) = token else { return Ok(Admission::UnknownKey) };
    let owner = match accounts::use_join_token(db, token, &key.0, now)? {
        TokenUse::Good(owner) => owner,
        TokenUse::Used(owner) => return Ok(Admission::UsedToken(owner)),
        TokenUse::Bad => return Ok(Admission::BadToken),
    };
    db.prepare_cached("INSERT INTO probe (key, owner, created_at) VALUES (?, ?, ?)")?.execute(params![
        key.0,
        owner.0.cast_signed(),
        now.0
    ])?;
    let probe = by_key(db, key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Admission::Joined(Box::new(probe)))
}

pub(super) fn list(db: &Connection, filter: &ProbeFilter, slice: Slice) -> rusqlite::Result<Page<Probe>> {
    let page = probe_filter::list(db, filter, slice)?;
    // Read one by one, so that what is sorted and left out is never read whole.
    let mut one = db.prepare_cached(&format!("{} WHERE id = ?", *SELECT))?;
    let items = page.items.iter().map(|id| one.query_row([id.0.cast_signed()], read));
    Ok(Page { total: page.total, items: items.collect::<rusqlite::Result<_>>()? })
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

/// The families that work, in bits.
fn families(session: &NewSession) -> u8 {
    let works = |family: &Family| shown(session, *family).is_some() || session.families.contains(family);
    [Family::V4, Family::V6].iter().filter(|family| works(family)).fold(0, |bits, &family| bits | bit(family))
}

/// How a family is kept in `session.families`.
pub(super) fn bit(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 2,
    }
}

/// How a kind is kept in `probe.kinds`.
pub(super) fn bit_of(kind: Kind) -> i64 {
    1 << kind.number()
}

/// The kinds in `probe.kinds`.
fn kinds_in(bits: i64) -> Vec<Kind> {
    Kind::ALL.into_iter().filter(|kind| bits & bit_of(*kind) != 0).collect()
}

/// Gives a probe a tag, or takes it away.
pub(super) fn tag_probe(db: &Connection, probe: ProbeId, tag: &str, has: bool) -> rusqlite::Result<()> {
    let change = match has {
        true => "INSERT INTO probe_tag (probe, tag) VALUES (?, ?) ON CONFLICT DO NOTHING",
        false => "DELETE FROM probe_tag WHERE probe = ? AND tag = ?",
    };
    db.prepare_cached(change)?.execute(params![probe.0.cast_signed(), tag])?;
    Ok(())
}

pub(super) fn open_session(db: &Connection, session: &NewSession) -> rusqlite::Result<SessionId> {
    let probe = session.probe.0.cast_signed();
    let at = session.at.0;
    let id: i64 = db
        .prepare_cached(
            "INSERT INTO session (probe, public_address, started_at, families) VALUES (?, ?, ?, ?) RETURNING id",
        )?
        .query_row(params![probe, session.public_address.to_canonical().to_string(), at, families(session)], |row| {
            row.get(0)
        })?;
    let (v4, v6) = (shown(session, Family::V4), shown(session, Family::V6));
    // A session that is still open ends here as far as the uptime goes, so that no second counts twice.
    db.prepare_cached(
        "UPDATE probe SET
            uptime = uptime + CASE WHEN connected = 1 THEN max(0, ?2 - connection_since) ELSE 0 END,
            connected = 1, connection_since = ?2, session = ?3,
            first_connected = coalesce(first_connected, ?2), last_connected = max(coalesce(last_connected, ?2), ?2),
            address_v4 = ?4, address_v6 = ?5, software = ?6, address_v4_key = ?7, address_v6_key = ?8,
            uplink = ?9, kinds = ?10,
            -- Built-in measurements look at the kinds.
            order_revision = order_revision + (kinds IS NOT ?10)
         WHERE id = ?1",
    )?
    .execute(params![
        probe,
        at,
        id,
        v4.map(|a| a.to_string()),
        v6.map(|a| a.to_string()),
        session.software,
        v4.map(address_key),
        v6.map(address_key),
        session.uplink.name(),
        session.kinds.as_ref().map(|kinds| kinds.iter().fold(0, |bits, &kind| bits | bit_of(kind)))
    ])?;
    for family in [Family::V4, Family::V6] {
        for word in ["works", "capable"] {
            let tag = format!("system-ipv{family}-{word}");
            tag_probe(db, session.probe, &tag, families(session) & bit(family) != 0)?;
        }
    }
    let has = |is: fn(IpAddr) -> bool| session.addresses.iter().any(|own| is(own.to_canonical()));
    tag_probe(db, session.probe, "system-ipv4-rfc1918", has(|own| matches!(own, IpAddr::V4(v4) if v4.is_private())))?;
    tag_probe(db, session.probe, "system-ipv6-ula", has(|own| matches!(own, IpAddr::V6(v6) if v6.is_unique_local())))?;
    Ok(SessionId(id.cast_unsigned()))
}

/// Ends the present connection of the probes that meet a condition on `?1`, at the time `?2`.
const DISCONNECT: &str = "UPDATE probe SET connected = 0, uptime = uptime + max(0, ?2 - connection_since),
    connection_since = ?2, last_connected = max(coalesce(last_connected, ?2), ?2)
    WHERE connected = 1 AND (?1 IS NULL OR session = ?1)";

/// Fills in what rows of earlier versions could not say in SQL alone.
pub(super) fn fill_in(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    {
        let mut select = transaction.prepare(
            "SELECT id, address_v4, address_v6, latitude, longitude FROM probe
             WHERE (address_v4 IS NOT NULL AND address_v4_key IS NULL) OR (address_v6 IS NOT NULL AND address_v6_key IS NULL)
                OR (latitude IS NOT NULL AND latitude_snapped IS NULL)",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (v4, v6) = (address(row.get(1)?)?, address(row.get(2)?)?);
            let place = row.get::<_, Option<f64>>(3)?.zip(row.get::<_, Option<f64>>(4)?).map(snapped);
            transaction.execute(
                "UPDATE probe SET address_v4_key = ?2, address_v6_key = ?3, latitude_snapped = ?4, longitude_snapped = ?5
                 WHERE id = ?1",
                params![row.get::<_, i64>(0)?, v4.map(address_key), v6.map(address_key), place.map(|p| p.0), place.map(|p| p.1)],
            )?;
        }
    }
    transaction.commit()
}

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

    async fn probe_places(&self, filter: &ProbeFilter) -> Result<Vec<GridPlace>, StoreError> {
        self.read("count probes by place", |t| probe_filter::on_grid(t, filter))
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

    async fn edit_probe(&self, id: ProbeId, edit: &ProbeEdit) -> Result<(), StoreError> {
        self.write("change a probe", |t| probe_edits::edit(t, id, edit))
    }

    async fn set_origins(&self, origins: &[ProbeOrigin]) -> Result<(), StoreError> {
        self.write("set probes' origins", |t| probe_edits::set_origins(t, origins))
    }

    async fn probe_tags(&self, slice: Slice) -> Result<Page<(String, u64)>, StoreError> {
        self.read("list probes' tags", |t| probe_edits::tags(t, slice))
    }

    async fn probe_ranking(&self, by: Ranking, limit: u64) -> Result<Vec<(String, u64)>, StoreError> {
        self.read("count probes", |t| probe_edits::ranking(t, by, limit))
    }
}
