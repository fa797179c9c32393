//! A release repository that is not in order, from one start of the board to the next: older than it was, expired, signed by somebody else. The
//! board says so, installs nothing, and goes on when it is in order again.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sonde_tests::os::guest::Board;
use sonde_tests::os::release::Health;
use sonde_tests::scene::say;
use sonde_tests::world::program;

use super::{LONG_TRIAL, NEW, OLD, Scene};
use crate::Setting;

pub fn untrusted(setting: &Setting<'_>) -> Result<()> {
    let scene = Scene::new(setting)?;
    let mut board = scene.board(setting)?;
    let data = scene.network.server.borrow().data().to_owned();
    let (live, first, good) = (data.join("updates"), setting.dir.join("first"), setting.dir.join("good"));
    replace(&first, &live)?;
    scene.releases.admin(&scene.network, &["renew"])?;
    replace(&good, &live)?;
    board.switch_on()?;
    let (probe, _) = board.await_welcome()?;
    scene.await_record(&mut board, probe, "a first look", |record| record["stage"] == "newest")?;
    let slots = board.card.slots()?;

    // What is live changes while nobody looks; a board looks soon after its start, and then once an hour.
    let again = |board: &mut Board<'_, '_>, change: &dyn Fn() -> Result<()>| -> Result<()> {
        board.cut_power()?;
        scene.network.server.borrow_mut().stop()?;
        change()?;
        scene.network.server.borrow_mut().restart()?;
        board.switch_on()
    };
    let look = |board: &mut Board<'_, '_>, what: &str, word: &str, change: &dyn Fn() -> Result<()>| -> Result<()> {
        again(board, change)?;
        let record = scene.await_record(board, probe, what, |record| {
            record["stage"] == "untrusted" && record["words"].as_str().is_some_and(|words| words.contains(word))
        })?;
        say(&format!("{what}: {}", record["words"]));
        Ok(())
    };
    look(&mut board, "older than before", "go back", &|| replace(&live, &first))?;
    // A release that the board would take, were it not of last week and good for a day.
    let new = setting.parts.forge.make(NEW, Health::Well, Some(scene.releases.root()), LONG_TRIAL)?;
    look(&mut board, "expired", "expired", &|| {
        replace(&live, &good)?;
        let mut command = Command::new("faketime");
        command.args(["-f", "-7d"]).arg(program("sonde")?).arg("admin").arg("--data").arg(&data);
        command.args(["release", "add"]).arg(&new).args(["--expires", "1", "--keys", scene.releases.keys()]);
        run(command)
    })?;
    look(&mut board, "signed by somebody else", "signed by", &|| {
        replace(&live, &good)?;
        let other = setting.dir.join("other");
        let mut command = Command::new(program("sonde")?);
        command
            .arg("admin")
            .arg("--data")
            .arg(&other)
            .args(["release", "init", "--keys"])
            .arg(setting.dir.join("other-keys"));
        run(command)?;
        fs::copy(other.join("updates/metadata/timestamp.json"), live.join("metadata/timestamp.json"))?;
        Ok(())
    })?;
    ensure!(board.card.slots()? == slots, "the card has {:?}", board.card.slots()?);

    again(&mut board, &|| replace(&live, &good))?;
    scene.await_record(&mut board, probe, "that all is in order again", |record| record["stage"] == "newest")?;
    ensure!(scene.record(probe)?["release"] == OLD, "{}", scene.record(probe)?);
    Ok(())
}

/// Makes `to` a copy of `from`.
fn replace(to: &Path, from: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let mut command = Command::new("cp");
    command.arg("--recursive").arg(from).arg(to);
    run(command)
}

fn run(mut command: Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
