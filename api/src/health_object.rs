//! How a probe is, for its owner and the operator: what it told of itself and of its host's limits, and what the server itself knows. In the words of
//! [`sonde_protocol::condition`], each with its meaning and what to do.

use std::time::Duration;

use serde::Serialize;
use sonde_protocol::condition::board::is_board;
use sonde_protocol::condition::{Level, Word};
use sonde_protocol::message::HostState;
use sonde_protocol::spec::Kind;
use sonde_store::catalog::{Probe, ProbeHealth, ToldCondition, ToldHost};
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
    /// What its host allows, and what of it is used; absent for a probe that never told.
    host: Option<HostObject>,
}

/// What a probe's host allows, as the probe told last. Days are UTC, by the probe's clock.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProbeHost)]
pub(crate) struct HostObject {
    /// When it told. It does so when it connects after a start, when something changes, and each hour.
    told_at: i64,
    /// The host has paused it.
    paused: bool,
    /// When the pause ends; absent without one, and when it lasts until the host says otherwise.
    paused_until: Option<i64>,
    /// Packets a second at most.
    packets_per_second: u32,
    /// Bytes a day at most, in both directions.
    bytes_per_day: u64,
    /// Bytes that counted against that on the day when it told.
    measured_today: u64,
    /// Bytes that its spool had written to the disk on that day.
    written_today: u64,
    /// The kinds that may be measured.
    kinds: Vec<String>,
    /// When measurements may begin, by the probe's local time; empty means always.
    hours: Vec<String>,
}

impl HostObject {
    fn of(told: &ToldHost) -> Self {
        let HostState { written_today, measured_today, pause, packets_per_second, bytes_per_day, kinds, hours } =
            &told.state;
        let until = |seconds: u32| (told.told_at + Duration::from_secs(seconds.into())).as_secs();
        // A probe may be newer than its server.
        let kind = |number: &u8| {
            Kind::from_number(*number).map_or_else(|| format!("unknown-{number}"), |kind| kind.name().to_owned())
        };
        Self {
            told_at: told.told_at.as_secs(),
            paused: pause.is_some(),
            paused_until: pause.and_then(|pause| pause.remaining).map(until),
            packets_per_second: *packets_per_second,
            bytes_per_day: *bytes_per_day,
            measured_today: *measured_today,
            written_today: *written_today,
            kinds: kinds.iter().map(kind).collect(),
            hours: hours.iter().map(ToString::to_string).collect(),
        }
    }
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
    fn told(told: &ToldCondition, board: bool) -> Self {
        let word = Word::from_number(told.word);
        Self {
            // A probe may be newer than its server.
            word: word.map_or_else(|| format!("unknown-{}", told.word), |word| word.name().to_owned()),
            level: word.map_or(Level::Warning, Word::level).name(),
            meaning: word.map_or("The probe says something that this server does not know yet.", Word::meaning),
            detail: told.detail.clone(),
            advice: word.map_or("Update the server.", |word| word.advice_on(board)),
            since: Some(told.since.as_secs()),
            ended: told.ended.map(|ended| ended.as_secs()),
            was_disconnected: told.cut_off,
        }
    }

    fn known(word: Word, since: Option<i64>, board: bool) -> Self {
        Self {
            word: word.name().to_owned(),
            level: word.level().name(),
            meaning: word.meaning(),
            detail: String::new(),
            advice: word.advice_on(board),
            since,
            ended: None,
            was_disconnected: false,
        }
    }
}

impl HealthObject {
    /// Of this probe.
    pub fn of(probe: &Probe, health: &ProbeHealth) -> Self {
        let board = probe.software.as_deref().is_some_and(is_board);
        let server_knows = match probe.connection {
            None => Some((Word::NeverConnected, None)),
            Some(connection) if !connection.connected => Some((Word::NotConnected, Some(connection.since.as_secs()))),
            Some(_) => None,
        };
        let (holding, over): (Vec<_>, Vec<_>) = health.conditions.iter().partition(|one| one.ended.is_none());
        let mut words: Vec<(Option<Word>, ConditionObject)> =
            holding.into_iter().map(|one| (Word::from_number(one.word), ConditionObject::told(one, board))).collect();
        words.extend(server_knows.map(|(word, since)| (Some(word), ConditionObject::known(word, since, board))));
        words.sort_by_key(|(word, _)| (word.is_none(), *word));
        let level = words.iter().map(|(word, _)| word.map_or(Level::Warning, Word::level)).max();
        Self {
            level: level.map_or("ok", Level::name),
            told_at: health.told_at.map(|at| at.as_secs()),
            conditions: words.into_iter().map(|(_, object)| object).collect(),
            past: over.into_iter().map(|one| ConditionObject::told(one, board)).collect(),
            host: health.host.as_ref().map(HostObject::of),
        }
    }
}
