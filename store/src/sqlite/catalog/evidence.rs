//! What system tags are made of.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::time::UnixNanos;

use super::probes::{bit, tag_probe};
use super::{SqliteCatalog, measurements};
use crate::StoreError;
use crate::catalog::{Evidence, MOST_SESSIONS, Measurement, Presence, ResolverEvidence, SessionSpan, TagChange};

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

/// At most so many sessions of a probe.
fn presence(
    db: &Connection,
    after: Option<ProbeId>,
    limit: u64,
    since: UnixNanos,
    most: u64,
) -> rusqlite::Result<Vec<Presence>> {
    let after = after.map_or(0, |probe| probe.0.cast_signed());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let probes: Vec<(i64, i64)> = db
        .prepare_cached(
            "SELECT id, first_connected FROM probe WHERE id > ? AND first_connected IS NOT NULL ORDER BY id LIMIT ?",
        )?
        .query_map([after, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    // The newest by their number, which the index of probes has in order: no more are looked at.
    let mut sessions = db.prepare_cached(
        "SELECT started_at, ended_at, ifnull(families, 0) FROM session WHERE probe = ? ORDER BY id DESC LIMIT ?",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    for (probe, first) in probes {
        let spans = sessions.query_map([probe, most], |row| {
            let bits: u8 = row.get(2)?;
            Ok(SessionSpan {
                from: UnixNanos(row.get(0)?),
                to: row.get::<_, Option<i64>>(1)?.map(UnixNanos),
                families: [Family::V4, Family::V6].into_iter().filter(|family| bits & bit(*family) != 0).collect(),
            })
        })?;
        let mut sessions: Vec<SessionSpan> = spans.collect::<rusqlite::Result<_>>()?;
        let is_cut = i64::try_from(sessions.len()).is_ok_and(|count| count >= most);
        let cut_before = sessions.last().filter(|_| is_cut).map(|oldest| oldest.from).filter(|from| *from > since);
        sessions.retain(|span| span.to.is_none_or(|to| to > since));
        sessions.sort_by_key(|span| span.from);
        found.push(Presence {
            probe: ProbeId(probe.cast_unsigned()),
            first_connected: UnixNanos(first),
            sessions,
            cut_before,
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
        self.read("look when probes were there", |t| presence(t, after, limit, since, MOST_SESSIONS))
    }

    async fn change_tags(&self, changes: &[TagChange]) -> Result<(), StoreError> {
        self.write("change system tags", |t| {
            changes.iter().try_for_each(|change| tag_probe(t, change.probe, change.tag, change.has))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_sessions_the_newest_are_told() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE probe (id INTEGER PRIMARY KEY, first_connected INTEGER) STRICT;
             CREATE TABLE session (id INTEGER PRIMARY KEY, probe INTEGER NOT NULL, started_at INTEGER NOT NULL,
                 ended_at INTEGER, families INTEGER) STRICT;
             INSERT INTO probe VALUES (1, 5), (2, 6);
             INSERT INTO session VALUES (1, 1, 10, 15, 3), (2, 1, 20, 25, 3), (3, 2, 22, 23, 1), (4, 1, 30, 35, 3),
                 (5, 1, 40, NULL, 3);",
        )
        .unwrap();
        let found = |since, most| -> Vec<(Vec<i64>, Option<i64>)> {
            let found = presence(&db, None, 9, UnixNanos(since), most).unwrap();
            let told = |one: &Presence| {
                (one.sessions.iter().map(|span| span.from.0).collect(), one.cut_before.map(|before| before.0))
            };
            found.iter().map(told).collect()
        };
        assert_eq!(found(0, 9), [(vec![10, 20, 30, 40], None), (vec![22], None)]);
        assert_eq!(found(0, 3), [(vec![20, 30, 40], Some(20)), (vec![22], None)]);
        assert_eq!(found(27, 3), [(vec![30, 40], None), (vec![], None)], "those that matter are all there");
        assert_eq!(found(27, 1), [(vec![40], Some(40)), (vec![], None)]);
    }
}
