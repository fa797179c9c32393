//! Releases that do not come up, laid on the card as a board installs them: their probe cannot run, their kernel panics, they stand still, the
//! firmware refuses them. Each ends on the old system, with its key, and the record says what happened.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use sonde_tests::os::release::Health;
use sonde_tests::scene::say;

use super::{NEW, OLD, Scene, attempt, came_to, say_attempt};
use crate::Setting;

/// How long it is tried each time, in seconds.
const SHORT_TRIAL: u32 = 40;
/// How many tries it gets: a board gives three, and each takes its time here.
const TRIES: u8 = 2;
/// Where it is cut.
const CUT: usize = 20 << 20;

pub fn panics(setting: &Setting<'_>) -> Result<()> {
    falls_back(setting, &[("panics", Health::Panics, &|_| {}, "without a word")])
}

pub fn hangs(setting: &Setting<'_>) -> Result<()> {
    falls_back(setting, &[("hangs", Health::Hangs, &|_| {}, "without a word")])
}

pub fn unreachable(setting: &Setting<'_>) -> Result<()> {
    // Which step failed is in the words.
    falls_back(setting, &[("its probe cannot run", Health::Unreachable, &|_| {}, "probe")])
}

/// Where the firmware verifies.
pub fn refused(setting: &Setting<'_>) -> Result<()> {
    let changed: Change = &|bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    falls_back(
        setting,
        &[
            ("one byte changed", Health::Well, changed, "without a word"),
            ("cut short", Health::Well, &|bytes| bytes.truncate(CUT), "without a word"),
        ],
    )
}

/// Where it does not, but still cannot start half a file.
pub fn cut_short(setting: &Setting<'_>) -> Result<()> {
    falls_back(setting, &[("cut short", Health::Well, &|bytes| bytes.truncate(CUT), "without a word")])
}

/// What is done to a signed file.
type Change = &'static dyn Fn(&mut Vec<u8>);

/// What it is, what is done to it, and what the record's words must have.
type Bad = (&'static str, Health, Change, &'static str);

fn falls_back(setting: &Setting<'_>, cases: &[Bad]) -> Result<()> {
    let scene = Scene::new(setting)?;
    let (mut board, joined) = scene.joined(setting)?;
    for (number, (what, health, change, words)) in (NEW..).zip(cases) {
        let file = setting.parts.forge.make(number, *health, Some(scene.releases.root()), SHORT_TRIAL)?;
        let mut system = fs::read(file)?;
        change(&mut system);
        board.card.put_on_trial(number, TRIES, &system)?;
        board.switch_on()?;
        let record = scene.runs(&mut board, &joined, OLD).context(*what)?;
        ensure!(record["release"] == OLD, "{what}: {record}");
        let record = scene.await_record(&mut board, joined.probe, "that it fell back", |record| {
            came_to(record, number, "fell-back")
        })?;
        say_attempt(what, &record, number);
        let said = attempt(&record, number).and_then(|attempt| attempt["words"].as_str()).unwrap_or_default();
        ensure!(said.contains(words), "{what}: the record says {said:?}");
        say(&format!(
            "{what}: {:.0} s from power-on, the card has {}",
            board.on_for().as_secs_f64(),
            board.card.slots()?.join(", ")
        ));
        ensure!(board.card.kept(OLD, "a")? == scene.old, "{what}: the old system is not what it was");
        board.cut_power()?;
    }
    Ok(())
}
