//! The power goes while a release is fetched, installed, tried or kept: the next start goes on where the card is, and ends on a system that works.

use std::fs;

use anyhow::{Result, ensure};
use sonde_tests::os::guest::Board;
use sonde_tests::os::random::Random;
use sonde_tests::os::release::Health;
use sonde_tests::scene::say;

use super::{Joined, LONG_TRIAL, NEW, OLD, Scene, await_key, came_to, say_attempt};
use crate::Setting;

/// How much is to be there when the power goes, in bytes.
const FETCHED: u64 = 8 << 20;
/// How much of it a board does not count on after a start.
const UNSURE: u64 = 5 << 20;
/// How often the power goes in the long case.
const CUTS: u32 = 20;

pub fn cut_fetch(setting: &Setting<'_>) -> Result<()> {
    let scene = Scene::new(setting)?;
    let new = setting.parts.forge.make(NEW, Health::Well, Some(scene.releases.root()), LONG_TRIAL)?;
    let mut board = scene.board(setting)?;
    scene.releases.add(&scene.network, &new)?;
    board.switch_on()?;
    let (probe, _) = board.await_welcome()?;
    let joined = Joined { probe, key: await_key(&mut board)?, owed: None };
    await_fetched(&mut board, NEW, FETCHED)?;
    board.cut_power()?;
    let had = fetched(&board, NEW).unwrap_or_default();
    ensure!(had >= FETCHED, "of {FETCHED} bytes the power cut has left {had}");

    board.switch_on()?;
    let part = part(NEW);
    // From here on the file only grows, until it gets its new name.
    board.await_card("more of the file", |card| {
        let Ok(Some(length)) = card.system_length(&part) else { return Ok(false) };
        ensure!(length + UNSURE >= had, "it has begun anew: {length} bytes instead of {had}");
        Ok(length > had)
    })?;
    say(&format!("fetching went on at {} MiB", had >> 20));
    let record = scene.await_record(&mut board, probe, "that it was kept", |record| came_to(record, NEW, "kept"))?;
    say_attempt("cut while it fetched", &record, NEW);
    ensure!(board.card.kept(NEW, "b")? == fs::read(&new)?, "what is on the card is not what was released");
    scene.runs(&mut board, &joined, NEW)?;
    Ok(())
}

/// Many cuts, at random moments of fetching, installing, trying and keeping. A release whose every try is cut off is given up, as it should be.
pub fn power(setting: &Setting<'_>) -> Result<()> {
    let scene = Scene::new(setting)?;
    let (mut board, joined) = scene.joined(setting)?;
    let mut random = Random::new(setting.seed);
    let (mut number, mut running) = (NEW, OLD);
    let mut new = setting.parts.forge.make(number, Health::Well, Some(scene.releases.root()), LONG_TRIAL)?;
    scene.releases.add(&scene.network, &new)?;
    let whole = fs::metadata(&new)?.len();
    for cut in 1..=CUTS {
        board.switch_on()?;
        let (probe, _) = board.await_welcome()?;
        ensure!(probe == joined.probe, "probe {} has become {probe}", joined.probe);
        let slots = board.card.slots()?.join(", ");
        let moment = match random.below(4) {
            0 => {
                let wanted = random.below(whole);
                await_change(&mut board, number, |card_has| card_has.is_none_or(|length| length >= wanted))?;
                format!("{} MiB fetched, or on trial", wanted >> 20)
            }
            1 => {
                await_change(&mut board, number, |card_has| card_has.is_none())?;
                "its name given".to_owned()
            }
            2 => {
                let name = format!("sonde_{number}.efi");
                board.await_card("that it is kept", |card| {
                    Ok(card.systems().is_ok_and(|names| names.contains(&name)))
                })?;
                "kept just now".to_owned()
            }
            _ => {
                let record =
                    scene.await_record(&mut board, probe, "a new release", |record| record["release"] == number)?;
                format!("it runs: {}", record["stage"])
            }
        };
        board.cut_power()?;
        say(&format!("cut {cut}: {moment}; the card had {slots}"));
        ensure!(board.card.key_copy(sonde_tests::os::card::Copy::B)? == joined.key, "the key is another");
        ensure!(board.card.kept(running, "a")? == scene.old || running != OLD, "the old system is not what it was");
        let slots = board.card.slots()?;
        let was_kept = slots.contains(&format!("sonde_{number}.efi"));
        // The power went during each of its tries, so the board gives it up.
        let was_given_up = slots.iter().any(|name| name.starts_with(&format!("sonde_{number}+0-")));
        if was_kept || was_given_up {
            // The next one is on its way.
            running = if was_kept { number } else { running };
            number += 1;
            new = setting.parts.forge.make(number, Health::Well, Some(scene.releases.root()), LONG_TRIAL)?;
            scene.releases.add(&scene.network, &new)?;
        }
    }
    board.switch_on()?;
    let record = scene
        .await_record(&mut board, joined.probe, "that the last was kept", |record| came_to(record, number, "kept"))?;
    say_attempt(&format!("after {CUTS} power cuts, seed {}", setting.seed), &record, number);
    scene.runs(&mut board, &joined, number)?;
    Ok(())
}

/// What is being fetched.
fn part(number: u64) -> String {
    format!("sonde_{number}.tmp")
}

/// How much of it is on the card; none without such a file, or while it cannot be read.
fn fetched(board: &Board<'_, '_>, number: u64) -> Option<u64> {
    board.card.system_length(&part(number)).ok().flatten()
}

fn await_fetched(board: &mut Board<'_, '_>, number: u64, bytes: u64) -> Result<()> {
    let part = part(number);
    board.await_card("bytes of the release", |card| {
        Ok(card.system_length(&part).ok().flatten().is_some_and(|length| length >= bytes))
    })
}

/// Waits until the file that is being fetched is so; it is none before and after.
fn await_change(board: &mut Board<'_, '_>, number: u64, is: impl Fn(Option<u64>) -> bool) -> Result<()> {
    let part = part(number);
    let name = format!("sonde_{number}");
    board.await_card("a moment of the update", |card| {
        let (Ok(length), Ok(names)) = (card.system_length(&part), card.systems()) else { return Ok(false) };
        let begun = names.iter().any(|found| found.starts_with(&name));
        Ok(begun && is(length))
    })
}
