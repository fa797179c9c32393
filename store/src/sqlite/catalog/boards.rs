//! Boards, as they told.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use sonde_protocol::board::{BoardState, UpdateChoice, UpdateStage};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::message::{from_cbor, to_cbor};
use sonde_protocol::time::UnixNanos;

use super::SqliteCatalog;
use crate::StoreError;
use crate::catalog::{Board, BoardCount, Boards, ToldBoard};

fn known(db: &Connection, probe: ProbeId) -> rusqlite::Result<Board> {
    let row = db
        .prepare_cached("SELECT state, told_at, choice FROM board WHERE probe = ?")?
        .query_row([probe.0.cast_signed()], |row| {
            Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, Option<Vec<u8>>>(2)?))
        })
        .optional()?;
    let Some((state, told_at, choice)) = row else { return Ok(Board::default()) };
    // What cannot be read is as good as none: the board tells again when it connects.
    let told = state
        .zip(told_at)
        .and_then(|(bytes, at)| Some(ToldBoard { told_at: UnixNanos(at), state: from_cbor(&bytes).ok()?? }));
    Ok(Board { told, choice: choice.and_then(|bytes| from_cbor(&bytes).ok()?) })
}

/// The stage as it is stored: its number in the protocol.
fn stage_number(stage: UpdateStage) -> i64 {
    match to_cbor(&stage)[..] {
        [number] => number.into(),
        // A stage is one small number.
        _ => i64::from(u8::MAX),
    }
}

fn stage(number: i64) -> Option<UpdateStage> {
    from_cbor(&[u8::try_from(number).ok()?]).ok()?
}

fn exists(db: &Connection, probe: ProbeId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM probe WHERE id = ?")?.exists([probe.0.cast_signed()])
}

/// What an owner wants. `false`: there is no such probe.
pub(super) fn choose(db: &Connection, probe: ProbeId, choice: UpdateChoice) -> rusqlite::Result<bool> {
    if !exists(db, probe)? {
        return Ok(false);
    }
    db.prepare_cached(
        "INSERT INTO board (probe, choice) VALUES (?1, ?2) ON CONFLICT (probe) DO UPDATE SET choice = ?2",
    )?
    .execute(params![probe.0.cast_signed(), to_cbor(&choice)])?;
    Ok(true)
}

#[async_trait]
impl Boards for SqliteCatalog {
    async fn record_board(&self, probe: ProbeId, state: &BoardState, now: UnixNanos) -> Result<(), StoreError> {
        let same = |board: Board| board.told.is_some_and(|told| told.state == *state);
        if self.read("find a board", |t| known(t, probe)).map(same)? {
            return Ok(());
        }
        let (bytes, release) = (to_cbor(state), state.running.cast_signed());
        self.write("record how a board stands", |t| {
            if !exists(t, probe)? {
                return Ok(());
            }
            t.prepare_cached(
                "INSERT INTO board (probe, state, told_at, release, name, stage) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (probe) DO UPDATE SET state = ?2, told_at = ?3, release = ?4, name = ?5, stage = ?6",
            )?
            .execute(params![
                probe.0.cast_signed(),
                bytes,
                now.0,
                release,
                state.name.as_str(),
                stage_number(state.stage)
            ])
            .map(drop)
        })
    }

    async fn choose_updates(&self, probe: ProbeId, choice: UpdateChoice) -> Result<bool, StoreError> {
        self.write("record what an owner wants of updates", |t| choose(t, probe, choice))
    }

    async fn boards(&self, probes: &[ProbeId]) -> Result<Vec<Board>, StoreError> {
        self.read("find boards", |t| probes.iter().map(|&probe| known(t, probe)).collect())
    }

    async fn count_boards(&self, limit: u64) -> Result<Vec<BoardCount>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read("count boards", |t| {
            let mut statement = t.prepare_cached(
                "SELECT release, name, stage, count(*) FROM board WHERE state IS NOT NULL
                 GROUP BY release, name, stage ORDER BY release DESC, name, stage LIMIT ?",
            )?;
            let rows = statement.query_map([limit], |row| {
                Ok(BoardCount {
                    release: row.get::<_, i64>(0)?.cast_unsigned(),
                    name: row.get(1)?,
                    stage: stage(row.get(2)?).unwrap_or(UpdateStage::Unknown),
                    boards: row.get::<_, i64>(3)?.cast_unsigned(),
                })
            })?;
            rows.collect()
        })
    }
}
