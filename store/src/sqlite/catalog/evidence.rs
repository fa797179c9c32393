//! What system tags are made of.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::time::UnixNanos;

use super::probes::{bit, tag_probe};
use super::{SqliteCatalog, measurements};
use crate::StoreError;
use crate::catalog::{Evidence, Measurement, Presence, ResolverEvidence, SessionSpan, TagChange};

const PROBLEM: &str = "system-dns-problem-suspected";

fn resolves(family: Family) -> &'static str {
    match family {
        Family::V4 => "system-resolves-a-correctly",
        Family::V6 => "system-resolves-aaaa-correctly",
    }
}

fn record(db: &Connection, evidence: &[ResolverEvidence], forget: UnixNanos) -> rusqlite::Result<()> {
    let mut touched: Vec<i64> = db
        .prepare_cached("DELETE FROM resolver_evidence WHERE at < ? RETURNING probe")?
        .query_map([forget.0], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for one in evidence.iter().filter(|one| one.at >= forget) {
        let probe = one.probe.0.cast_signed();
        let changed = db
            .prepare_cached(
                "INSERT INTO resolver_evidence (probe, family, at, works) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET at = excluded.at, works = excluded.works WHERE excluded.at > at",
            )?
            .execute(params![probe, one.family.number(), one.at.0, one.works])?;
        // What was known already changes nothing.
        if changed > 0 {
            touched.push(probe);
        }
    }
    touched.sort_unstable();
    touched.dedup();
    for number in touched {
        let probe = ProbeId(number.cast_unsigned());
        let said: Vec<(u8, bool)> = db
            .prepare_cached("SELECT family, works FROM resolver_evidence WHERE probe = ?")?
            .query_map([number], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for family in [Family::V4, Family::V6] {
            tag_probe(db, probe, resolves(family), said.contains(&(family.number(), true)))?;
        }
        tag_probe(db, probe, PROBLEM, said.iter().any(|(_, works)| !works))?;
    }
    Ok(())
}

fn presence(db: &Connection, after: Option<ProbeId>, limit: u64, since: UnixNanos) -> rusqlite::Result<Vec<Presence>> {
    let after = after.map_or(0, |probe| probe.0.cast_signed());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let probes: Vec<(i64, i64)> = db
        .prepare_cached(
            "SELECT id, first_connected FROM probe WHERE id > ? AND first_connected IS NOT NULL ORDER BY id LIMIT ?",
        )?
        .query_map([after, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut sessions = db.prepare_cached(
        "SELECT started_at, ended_at, ifnull(families, 0) FROM session
         WHERE probe = ? AND (ended_at IS NULL OR ended_at > ?) ORDER BY started_at",
    )?;
    let mut found = Vec::new();
    for (probe, first) in probes {
        let spans = sessions.query_map([probe, since.0], |row| {
            let bits: u8 = row.get(2)?;
            Ok(SessionSpan {
                from: UnixNanos(row.get(0)?),
                to: row.get::<_, Option<i64>>(1)?.map(UnixNanos),
                families: [Family::V4, Family::V6].into_iter().filter(|family| bits & bit(*family) != 0).collect(),
            })
        })?;
        found.push(Presence {
            probe: ProbeId(probe.cast_unsigned()),
            first_connected: UnixNanos(first),
            sessions: spans.collect::<rusqlite::Result<_>>()?,
        });
    }
    Ok(found)
}

#[async_trait]
impl Evidence for SqliteCatalog {
    async fn resolving_measurements(&self, since: UnixNanos, limit: u64) -> Result<Vec<Measurement>, StoreError> {
        self.read("find measurements by resolvers", |t| measurements::resolving(t, since, limit))
    }

    async fn record_resolvers(&self, evidence: &[ResolverEvidence], forget: UnixNanos) -> Result<(), StoreError> {
        self.write("record how resolvers answer", |t| record(t, evidence, forget))
    }

    async fn presence(
        &self,
        after: Option<ProbeId>,
        limit: u64,
        since: UnixNanos,
    ) -> Result<Vec<Presence>, StoreError> {
        self.read("look when probes were there", |t| presence(t, after, limit, since))
    }

    async fn change_tags(&self, changes: &[TagChange]) -> Result<(), StoreError> {
        self.write("change system tags", |t| {
            changes.iter().try_for_each(|change| tag_probe(t, change.probe, change.tag, change.has))
        })
    }
}
