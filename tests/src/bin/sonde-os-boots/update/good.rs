//! A release that works: added by the operator's command, fetched through the probe, installed, tried, kept, and still there after another start.

use std::fs;

use anyhow::{Result, ensure};
use sonde_tests::os::release::Health;
use sonde_tests::scene::say;

use super::{Joined, LONG_TRIAL, NEW, OLD, Scene, await_key, came_to, say_attempt};
use crate::Setting;

pub fn good(setting: &Setting<'_>) -> Result<()> {
    let scene = Scene::new(setting)?;
    let new = setting.parts.forge.make(NEW, Health::Well, Some(scene.releases.root()), LONG_TRIAL)?;
    let mut board = scene.board(setting)?;
    scene.releases.add(&scene.network, &new)?;
    board.switch_on()?;
    let (probe, _) = board.await_welcome()?;
    let joined = Joined { probe, key: await_key(&mut board)?, owed: None };
    scene.await_record(&mut board, probe, "the old release in the record", |record| record["release"] == OLD)?;
    scene.await_record(&mut board, probe, "the fetching", |record| record["stage"] == "fetching")?;
    say(&format!("it fetches, {:.0} s after power-on", board.on_for().as_secs_f64()));
    scene.await_record(&mut board, probe, "the new release in the record", |record| record["release"] == NEW)?;
    say(&format!("the new release has reached the collector, {:.0} s after power-on", board.on_for().as_secs_f64()));
    let record = scene.await_record(&mut board, probe, "that it was kept", |record| came_to(record, NEW, "kept"))?;
    say_attempt("update", &record, NEW);
    let slots = board.card.slots()?;
    say(&format!("the card has {}", slots.join(", ")));
    ensure!(board.card.kept(NEW, "b")? == fs::read(&new)?, "what is on the card is not what was released");
    ensure!(board.card.kept(OLD, "a")? == scene.old, "the old system is not there any more");
    ensure!(!slots.iter().any(|name| name.contains('+') || name.ends_with(".tmp")), "{slots:?}");

    board.cut_power()?;
    board.switch_on()?;
    scene.runs(&mut board, &joined, NEW)?;
    ensure!(board.card.slots()? == slots, "after another start the card has {:?}", board.card.slots()?);
    Ok(())
}
