//! The first process ends, which no kernel survives: the board starts again by itself, is the same probe, and says that it had ended
//! without a word.

use anyhow::{Result, ensure};
use sonde_tests::os::crash::overwrite;
use sonde_tests::os::guest::{Board, Network};
use sonde_tests::os::line::{HomeLine, Sort};
use sonde_tests::os::uki;
use sonde_tests::scene::say;

use crate::Setting;

pub fn panics(setting: &Setting<'_>) -> Result<()> {
    let network = Network::start(setting.lab, &setting.dir)?;
    let line = HomeLine::open(setting.lab, Sort::Both, &setting.dir)?;
    let mut board = Board::new(&network, &line, &setting.parts, &setting.dir)?;
    let init = uki::init(&board.card.get(&board.card.system()?)?)?;
    board.switch_on()?;
    let (probe, _) = board.await_welcome()?;
    let pages = overwrite(board.machine()?, &init, &setting.dir)?;
    say(&format!("{pages} pages of the first process are no code any more"));
    board.machine()?.await_text("the kernel's last words", |text| text.contains("Kernel panic"))?;
    let text = board.machine()?.console().text();
    let said = text.lines().find(|line| line.contains("Kernel panic")).unwrap_or_default();
    say(&format!("the kernel: {}", said.trim()));
    ensure!(said.contains("Attempted to kill init"), "it was something else that ended");
    let word =
        board.machine()?.await_line("a word about the last time", |line| line.text.contains("without a word"))?;
    say(&format!("after the next start: {}: {}", word.step, word.text));
    let again = board.machine()?.await_that("the second welcome", |_| Ok(network.welcomes().get(1).copied()))?;
    ensure!(again.0 == probe, "probe {probe} has become {}", again.0);
    Ok(())
}
