//! A probe's board: its own system, its updates, and what its owner wants of them. Atlas has no word for any of it.

use data_encoding::HEXLOWER;
use serde::Serialize;
use sonde_protocol::board::{BoardState, UpdateChoice};
use sonde_store::catalog::{Board, ToldBoard};
use utoipa::ToSchema;

use crate::reader::Reader;

const DAY: u64 = 86_400;

/// A delay in days if none is said, and the longest: as in a board's own `sonde.toml`.
const DEFAULT_DAYS: i64 = 7;
const MAX_DAYS: i64 = 365;

/// A probe's board, as it told last. The public sees its name alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProbeBoard)]
pub(crate) struct BoardObject {
    /// What people call the release of the board's system that runs, `0.4.1`.
    name: String,
    #[serde(flatten)]
    own: Option<OwnBoard>,
}

/// What a board's owner and the operator see of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProbeOwnBoard)]
pub(crate) struct OwnBoard {
    /// The number of that release.
    release: u64,
    /// `none`, `unknown`, `newest`, `waiting`, `refused`, `untrusted`, `fetching`, `installed`, `trial` or `broken`.
    stage: &'static str,
    /// The release that the stage is about.
    stage_release: Option<u64>,
    /// The stage in words: why it waits, what failed.
    words: String,
    /// What became of the releases that were tried, the latest last.
    attempts: Vec<AttemptObject>,
    /// What is in force there: what the owner said on the network's site or, before that, in the board's own `sonde.toml`.
    choice: ChoiceObject,
    /// When the network's files were last in order, by the board's clock.
    checked_at: Option<i64>,
    /// The log of releases as the board knows it.
    log: Option<LogObject>,
    /// When it told this.
    told_at: i64,
}

/// A release that was tried.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProbeUpdateAttempt)]
pub(crate) struct AttemptObject {
    /// Its number.
    release: u64,
    /// `installed`, `kept`, `fell-back` or `not-installed`.
    outcome: &'static str,
    /// Why.
    words: String,
    /// When that was known, by the board's clock.
    at: i64,
}

/// What an owner wants of updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProbeUpdates)]
pub(crate) struct ChoiceObject {
    /// `follow`, `delay`, `pin` or `refuse`.
    choice: &'static str,
    /// Of `delay`: so many days after a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    days: Option<u64>,
    /// Of `pin`: the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<u64>,
}

/// The head of the log of releases.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReleaseLogHead)]
pub(crate) struct LogObject {
    /// How many entries.
    size: u64,
    /// The hash over all of them, in hexadecimal digits.
    root: String,
}

impl From<UpdateChoice> for ChoiceObject {
    fn from(choice: UpdateChoice) -> Self {
        let (choice, days, release) = match choice {
            UpdateChoice::Follow => ("follow", None, None),
            UpdateChoice::Delay(seconds) => ("delay", Some(seconds.div_ceil(DAY)), None),
            UpdateChoice::Pin(release) => ("pin", None, Some(release)),
            UpdateChoice::Refuse => ("refuse", None, None),
        };
        Self { choice, days, release }
    }
}

impl BoardObject {
    /// Of a board that has told how it stands; `whole` for whoever may know it all.
    pub fn of(board: &Board, whole: bool) -> Option<Self> {
        let told = board.told.as_ref()?;
        Some(Self { name: told.state.name.to_string(), own: whole.then(|| OwnBoard::of(told)) })
    }
}

impl OwnBoard {
    fn of(ToldBoard { told_at, state }: &ToldBoard) -> Self {
        let BoardState { running, name: _, stage, release, words, attempts, choice, checked_at, log } = state;
        let attempts = attempts.iter().map(|attempt| AttemptObject {
            release: attempt.release,
            outcome: attempt.outcome.name(),
            words: attempt.words.to_string(),
            at: attempt.at.as_secs(),
        });
        Self {
            release: *running,
            stage: stage.name(),
            stage_release: *release,
            words: words.to_string(),
            attempts: attempts.collect(),
            choice: (*choice).into(),
            checked_at: checked_at.map(|at| at.as_secs()),
            log: log.map(|log| LogObject { size: log.size, root: HEXLOWER.encode(&log.root) }),
            told_at: told_at.as_secs(),
        }
    }
}

/// Reads what an owner wants: `{"choice": "delay", "days": 7}`.
pub(crate) fn read_choice(fields: &mut Reader<'_>, field: &str) -> Option<UpdateChoice> {
    let value = fields.value(field);
    let Some(value) = value else {
        fields.problem(field, "This field may not be null.");
        return None;
    };
    read(&mut fields.inner(value, field)?)
}

fn read(fields: &mut Reader<'_>) -> Option<UpdateChoice> {
    let known = ["follow", "delay", "pin", "refuse"];
    if fields.value("choice").is_none() {
        fields.required("choice");
        return None;
    }
    let choice = fields.word("choice", |word| known.into_iter().find(|known| *known == word))?;
    for (of, field) in [("delay", "days"), ("pin", "release")] {
        if choice != of && fields.value(field).is_some() {
            fields.problem(field, format!("This belongs to the choice {of}."));
            return None;
        }
    }
    match choice {
        "delay" => {
            let days = match fields.value("days") {
                None => DEFAULT_DAYS,
                Some(_) => fields.integer("days")?,
            };
            let seconds = u64::try_from(days).ok().filter(|_| (1..=MAX_DAYS).contains(&days)).map(|days| days * DAY);
            if seconds.is_none() {
                fields.problem("days", format!("Enter days between 1 and {MAX_DAYS}."));
            }
            seconds.map(UpdateChoice::Delay)
        }
        "pin" => {
            if fields.value("release").is_none() {
                fields.required("release");
                return None;
            }
            let release = u64::try_from(fields.integer("release")?).ok().filter(|release| *release > 0);
            if release.is_none() {
                fields.problem("release", "Enter the number of a release.");
            }
            release.map(UpdateChoice::Pin)
        }
        "refuse" => Some(UpdateChoice::Refuse),
        _ => Some(UpdateChoice::Follow),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Reads it from a value alone.
    fn choice_of(value: &Value) -> Result<UpdateChoice, Vec<crate::error::Problem>> {
        let mut problems = Vec::new();
        let body = serde_json::json!({ "updates": value });
        let choice =
            Reader::new(&body, String::new(), &mut problems).and_then(|mut fields| read_choice(&mut fields, "updates"));
        choice.filter(|_| problems.is_empty()).ok_or(problems)
    }

    #[test]
    fn choices_are_read_as_they_are_shown() {
        for (value, choice) in [
            (json!({"choice": "follow"}), UpdateChoice::Follow),
            (json!({"choice": "delay", "days": 7}), UpdateChoice::Delay(7 * DAY)),
            (json!({"choice": "delay", "days": 365}), UpdateChoice::Delay(365 * DAY)),
            (json!({"choice": "pin", "release": 202_611_290_220_u64}), UpdateChoice::Pin(202_611_290_220)),
            (json!({"choice": "refuse"}), UpdateChoice::Refuse),
        ] {
            assert_eq!(choice_of(&value).unwrap(), choice);
            assert_eq!(serde_json::to_value(ChoiceObject::from(choice)).unwrap(), value);
        }
        assert_eq!(choice_of(&json!({"choice": "delay"})).unwrap(), UpdateChoice::Delay(7 * DAY));
        let shown = ChoiceObject::from(UpdateChoice::Delay(DAY + 1));
        assert_eq!(shown.days, Some(2), "the part of a day that a board's own file may have is a day");
    }

    #[test]
    fn what_is_no_choice_has_its_place() {
        for (value, place) in [
            (json!(null), "/updates"),
            (json!("follow"), "/updates"),
            (json!({}), "/updates/choice"),
            (json!({"choice": 1}), "/updates/choice"),
            (json!({"choice": "Follow!"}), "/updates/choice"),
            (json!({"choice": "follow", "days": 7}), "/updates/days"),
            (json!({"choice": "delay", "release": 7}), "/updates/release"),
            (json!({"choice": "delay", "days": 0}), "/updates/days"),
            (json!({"choice": "delay", "days": 366}), "/updates/days"),
            (json!({"choice": "delay", "days": "soon"}), "/updates/days"),
            (json!({"choice": "delay", "days": i64::MIN}), "/updates/days"),
            (json!({"choice": "pin"}), "/updates/release"),
            (json!({"choice": "pin", "release": 0}), "/updates/release"),
            (json!({"choice": "pin", "release": -1}), "/updates/release"),
            (json!({"choice": "pin", "release": "0.4.1"}), "/updates/release"),
        ] {
            let problems = choice_of(&value).unwrap_err();
            let expected = crate::error::Source::Pointer(place.to_owned());
            assert!(problems.iter().any(|problem| problem.source == expected), "{value}: {problems:?}");
        }
    }
}
