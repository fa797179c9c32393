//! What the owner wants of updates, as text: `[updates]` of `sonde.toml`, whose word counts most, and what the network said last, which is
//! kept on the card so that a board that is offline knows it.

use sonde_protocol::board::UpdateChoice;
use sonde_update::policy::Choice;
use toml::{Table, Value};

/// The section of `sonde.toml`.
pub const SECTION: &str = "updates";

/// A delay in days if none is named, and the longest.
const DEFAULT_DAYS: i64 = 7;
const MAX_DAYS: i64 = 365;

/// Reads the section. Whatever is wrong with it makes all of it no choice at all: half of an owner's word might be its opposite.
///
/// # Errors
/// In words.
pub fn read_section(section: &Value) -> Result<UpdateChoice, String> {
    let table: &Table = section.as_table().ok_or("updates is a section, [updates]")?;
    if let Some(other) = table.keys().find(|key| !matches!(key.as_str(), "choice" | "days" | "release")) {
        return Err(format!("{other}: is no setting; there are choice, days and release"));
    }
    let number = |key: &str| match table.get(key) {
        None => Ok(None),
        Some(Value::Integer(number)) => Ok(Some(*number)),
        Some(_) => Err(format!("{key}: is not a number")),
    };
    let (days, release) = (number("days")?, number("release")?);
    let choice = match table.get("choice") {
        Some(Value::String(choice)) => choice.as_str(),
        Some(_) => return Err("choice: is not \"follow\", \"delay\", \"pin\" or \"refuse\"".into()),
        None if table.is_empty() => "follow",
        None => return Err("choice: is missing; it is \"follow\", \"delay\", \"pin\" or \"refuse\"".into()),
    };
    if choice != "delay" && days.is_some() {
        return Err("days: belongs to choice = \"delay\"".into());
    }
    if choice != "pin" && release.is_some() {
        return Err("release: belongs to choice = \"pin\"".into());
    }
    match choice {
        "follow" => Ok(UpdateChoice::Follow),
        "refuse" => Ok(UpdateChoice::Refuse),
        "delay" => match u64::try_from(days.unwrap_or(DEFAULT_DAYS)) {
            Ok(days @ 1..) if days <= MAX_DAYS.unsigned_abs() => Ok(UpdateChoice::Delay(days * 86_400)),
            _ => Err(format!("days: is not between 1 and {MAX_DAYS}")),
        },
        "pin" => match release.map(u64::try_from) {
            Some(Ok(release @ 1..)) => Ok(UpdateChoice::Pin(release)),
            Some(_) => Err("release: is not a release's number, such as 202611290211".into()),
            None => Err("release: is missing; choice = \"pin\" needs a release's number, such as 202611290211".into()),
        },
        _ => Err("choice: is not \"follow\", \"delay\", \"pin\" or \"refuse\"".into()),
    }
}

/// As a line of a file.
pub fn write(choice: UpdateChoice) -> String {
    match choice {
        UpdateChoice::Follow => "follow\n".into(),
        UpdateChoice::Delay(seconds) => format!("delay {seconds}\n"),
        UpdateChoice::Pin(release) => format!("pin {release}\n"),
        UpdateChoice::Refuse => "refuse\n".into(),
    }
}

/// From that line. Damage is no choice.
pub fn read(text: &str) -> Option<UpdateChoice> {
    let text = text.strip_suffix('\n')?;
    match text.split_once(' ') {
        None if text == "follow" => Some(UpdateChoice::Follow),
        None if text == "refuse" => Some(UpdateChoice::Refuse),
        Some(("delay", seconds)) => seconds.parse().ok().map(UpdateChoice::Delay),
        Some(("pin", release)) => release.parse().ok().map(UpdateChoice::Pin),
        _ => None,
    }
}

/// For those who decide.
pub fn decided(choice: UpdateChoice) -> Choice {
    match choice {
        UpdateChoice::Follow => Choice::Follow,
        UpdateChoice::Delay(seconds) => Choice::Delay(seconds),
        UpdateChoice::Pin(release) => Choice::Pin(release),
        UpdateChoice::Refuse => Choice::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_understood_or_told_what_is_wrong() {
        let cases: [(&str, Result<UpdateChoice, &str>); 17] = [
            ("", Ok(UpdateChoice::Follow)),
            ("choice = \"follow\"", Ok(UpdateChoice::Follow)),
            ("choice = \"refuse\"", Ok(UpdateChoice::Refuse)),
            ("choice = \"delay\"", Ok(UpdateChoice::Delay(7 * 86_400))),
            ("choice = \"delay\"\ndays = 30", Ok(UpdateChoice::Delay(30 * 86_400))),
            ("choice = \"pin\"\nrelease = 202611290211", Ok(UpdateChoice::Pin(202_611_290_211))),
            ("choice = \"delay\"\ndays = 0", Err("days: is not between 1 and 365")),
            ("choice = \"delay\"\ndays = -1", Err("days: is not between 1 and 365")),
            ("choice = \"delay\"\ndays = 366", Err("days: is not between 1 and 365")),
            ("choice = \"delay\"\ndays = \"7\"", Err("days: is not a number")),
            (
                "choice = \"pin\"",
                Err("release: is missing; choice = \"pin\" needs a release's number, such as 202611290211"),
            ),
            ("choice = \"pin\"\nrelease = 0", Err("release: is not a release's number, such as 202611290211")),
            ("choice = \"Follow\"", Err("choice: is not \"follow\", \"delay\", \"pin\" or \"refuse\"")),
            ("choice = false", Err("choice: is not \"follow\", \"delay\", \"pin\" or \"refuse\"")),
            ("days = 7", Err("choice: is missing; it is \"follow\", \"delay\", \"pin\" or \"refuse\"")),
            ("choice = \"follow\"\nrelease = 7", Err("release: belongs to choice = \"pin\"")),
            ("chioce = \"refuse\"", Err("chioce: is no setting; there are choice, days and release")),
        ];
        for (text, expected) in cases {
            let table: Table = text.parse().unwrap();
            assert_eq!(read_section(&Value::Table(table)), expected.map_err(str::to_owned), "{text}");
        }
        assert!(read_section(&Value::Boolean(false)).unwrap_err().contains("[updates]"));
    }

    #[test]
    fn a_kept_choice_is_read_as_it_was_written_and_damage_is_none() {
        for choice in [UpdateChoice::Follow, UpdateChoice::Delay(1), UpdateChoice::Pin(u64::MAX), UpdateChoice::Refuse]
        {
            assert_eq!(read(&write(choice)), Some(choice));
        }
        for damaged in ["", "\n", "follow", "refuse 1\n", "pin\n", "pin x\n", "delay -1\n", "later 5\n"] {
            assert_eq!(read(damaged), None, "{damaged}");
        }
    }
}
