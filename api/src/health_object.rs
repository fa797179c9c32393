//! How a probe is, for its owner and the operator: what it told, and what the server itself knows. In the words of
//! [`sonde_protocol::condition`], each with its meaning and what to do.

use serde::Serialize;
use sonde_protocol::condition::{Level, Word};
use sonde_store::catalog::{Probe, ProbeHealth, ToldCondition};
use utoipa::ToSchema;

/// How a probe is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProbeHealth)]
pub(crate) struct HealthObject {
    /// The worst level of what holds: `ok`, `note`, `warning` or `problem`.
    level: &'static str,
    /// When the probe last told; absent for one that never did.
    told_at: Option<i64>,
    /// What is wrong, the first to be repaired first. Of a probe that is not connected: as it told last.
    conditions: Vec<ConditionObject>,
    /// What was wrong and is over, the newest first.
    past: Vec<ConditionObject>,
}

/// Something that is wrong, or was.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProbeCondition)]
pub(crate) struct ConditionObject {
    /// A word that does not change, for programs.
    word: String,
    /// `problem`, `warning` or `note`.
    level: &'static str,
    /// What it means.
    meaning: &'static str,
    /// Which address, how far off; may be empty.
    detail: String,
    /// What to do.
    advice: &'static str,
    /// Since when; absent when the server does not know.
    since: Option<i64>,
    /// When it ended; absent while it holds.
    ended: Option<i64>,
    /// The probe had no connection because of it.
    was_disconnected: bool,
}

impl ConditionObject {
    fn told(told: &ToldCondition) -> Self {
        let word = Word::from_number(told.word);
        Self {
            // A probe may be newer than its server.
            word: word.map_or_else(|| format!("unknown-{}", told.word), |word| word.name().to_owned()),
            level: word.map_or(Level::Warning, Word::level).name(),
            meaning: word.map_or("The probe says something that this server does not know yet.", Word::meaning),
            detail: told.detail.clone(),
            advice: word.map_or("Update the server.", Word::advice),
            since: Some(told.since.as_secs()),
            ended: told.ended.map(|ended| ended.as_secs()),
            was_disconnected: told.cut_off,
        }
    }

    fn known(word: Word, since: Option<i64>) -> Self {
        Self {
            word: word.name().to_owned(),
            level: word.level().name(),
            meaning: word.meaning(),
            detail: String::new(),
            advice: word.advice(),
            since,
            ended: None,
            was_disconnected: false,
        }
    }
}

impl HealthObject {
    /// Of this probe.
    pub fn of(probe: &Probe, health: &ProbeHealth) -> Self {
        let server_knows = match probe.connection {
            None => Some((Word::NeverConnected, None)),
            Some(connection) if !connection.connected => Some((Word::NotConnected, Some(connection.since.as_secs()))),
            Some(_) => None,
        };
        let (holding, over): (Vec<_>, Vec<_>) = health.conditions.iter().partition(|one| one.ended.is_none());
        let mut words: Vec<(Option<Word>, ConditionObject)> =
            holding.into_iter().map(|one| (Word::from_number(one.word), ConditionObject::told(one))).collect();
        words.extend(server_knows.map(|(word, since)| (Some(word), ConditionObject::known(word, since))));
        words.sort_by_key(|(word, _)| (word.is_none(), *word));
        let level = words.iter().map(|(word, _)| word.map_or(Level::Warning, Word::level)).max();
        Self {
            level: level.map_or("ok", Level::name),
            told_at: health.told_at.map(|at| at.as_secs()),
            conditions: words.into_iter().map(|(_, object)| object).collect(),
            past: over.into_iter().map(ConditionObject::told).collect(),
        }
    }
}
