//! Every write of a board to its card while it fetches, installs, tries and keeps a release is recorded; then every card that a power cut could
//! have left is built and read. In each the old system has its name, length and content until the new one is kept, and whatever a loader would
//! take for a system is whole or empty.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use sonde_tests::os::fat::{Entry, Fat};
use sonde_tests::os::random::Random;
use sonde_tests::os::release::Health;
use sonde_tests::os::writes::{self, Event};
use sonde_tests::scene::say;

use super::{LONG_TRIAL, NEW, OLD, Scene, came_to};
use crate::Setting;

pub fn writes(setting: &Setting<'_>) -> Result<()> {
    let scene = Scene::new(setting)?;
    let new = setting.parts.forge.make(NEW, Health::Well, Some(scene.releases.root()), LONG_TRIAL)?;
    let (mut board, joined) = scene.joined(setting)?;
    scene.releases.add(&scene.network, &new)?;
    let (start, length) = board.card.boot();
    let mut disk = vec![0; usize::try_from(length)?];
    File::open(board.card.path())?.read_exact_at(&mut disk, start)?;
    let record = setting.dir.join("writes");
    // QEMU wants a file that is there.
    File::create(&record)?;
    board.record = Some(record.clone());
    board.switch_on()?;
    scene.await_record(&mut board, joined.probe, "that it was kept", |record| came_to(record, NEW, "kept"))?;
    board.cut_power()?;

    let events = writes::read(&record, start..start + length)?;
    let count = events.iter().filter(|event| matches!(event, Event::Write(_))).count();
    say(&format!("{count} writes and {} flushes of the boot partition", events.len() - count));
    ensure!(count > 100, "too few writes for {} bytes", fs::metadata(&new)?.len());
    let (new, mut kept) = (fs::read(new)?, 0);
    let mut random = Random::new(setting.seed);
    let states = writes::states(&mut disk, &events, &mut random, &mut |disk| {
        kept += usize::from(check(disk, &scene.old, &new)?);
        Ok(())
    })?;
    say(&format!("{states} cards, the new system kept on {kept} of them, seed {}", setting.seed));
    ensure!(kept > 0 && kept < states, "the new one is kept on {kept} of {states} cards");
    Ok(())
}

/// Looks at one card. Gives whether the new system is kept there.
fn check(disk: &[u8], old: &[u8], new: &[u8]) -> Result<bool> {
    let fat = Fat::open(disk)?;
    let entries = fat.folder(&["EFI", "Linux"])?;
    let words = || {
        entries.iter().map(|entry| format!("{} ({} bytes)", entry.name, entry.length)).collect::<Vec<_>>().join(", ")
    };
    let is_system = |entry: &&Entry| entry.name.to_ascii_lowercase().ends_with(".efi");
    let named = |number: u64, entry: &Entry| entry.name.starts_with(&format!("sonde_{number}"));
    let mut kept = false;
    for entry in entries.iter().filter(is_system).filter(|entry| named(NEW, entry) && entry.length > 0) {
        ensure!(fat.has(entry, new)?, "{} is neither whole nor empty: {}", entry.name, words());
        kept |= entry.name == format!("sonde_{NEW}.efi");
    }
    if !kept {
        let name = format!("sonde_{OLD}.efi");
        let entry =
            entries.iter().find(|entry| entry.name == name).with_context(|| format!("no {name}: {}", words()))?;
        ensure!(fat.has(entry, old)?, "{name} is not what it was: {}", words());
    }
    Ok(kept)
}
