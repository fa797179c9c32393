//! A machine that hangs is started again by its watchdog, and is the same probe.

use anyhow::{Result, ensure};
use sonde_tests::os::guest::{Board, Network};
use sonde_tests::os::line::{HomeLine, Sort};
use sonde_tests::scene::say;

use crate::Setting;

pub fn hang(setting: &Setting<'_>) -> Result<()> {
    let network = Network::start(setting.lab, &setting.dir)?;
    let line = HomeLine::open(setting.lab, Sort::V4, &setting.dir)?;
    let mut board = Board::new(&network, &line, &setting.parts, &setting.dir)?;
    board.switch_on()?;
    let (probe, _) = board.await_welcome()?;
    let starts = |text: &str| text.matches("BdsDxe: starting").count();
    let before = starts(&board.machine()?.console().text());
    board.machine()?.hang()?;
    let begun = board.on_for();
    board.machine()?.await_text("the watchdog", |text| starts(text) > before)?;
    say(&format!("{:.0} s from the hang to the firmware", (board.on_for() - begun).as_secs_f64()));
    let (now, _) = board.await_another_welcome()?;
    ensure!(now == probe, "probe {probe} has become {now}");
    Ok(())
}
