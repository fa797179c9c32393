//! The power is cut while results are in the spool, the collector away for minutes: after the next start what was on the card arrives.

use anyhow::{Result, ensure};
use sonde_tests::os::guest::{Board, Network};
use sonde_tests::os::line::{HomeLine, Sort};

use crate::Setting;
use crate::owed::Owed;

pub fn power(setting: &Setting<'_>) -> Result<()> {
    let network = Network::start(setting.lab, &setting.dir)?;
    let line = HomeLine::open(setting.lab, Sort::Both, &setting.dir)?;
    let mut board = Board::new(&network, &line, &setting.parts, &setting.dir)?;
    board.switch_on()?;
    let (probe, _) = board.await_welcome()?;
    let owed = Owed::to_be(&network, &mut board, probe)?;
    board.switch_on()?;
    let (now, _) = board.await_welcome()?;
    ensure!(now == probe, "probe {probe} has become {now}");
    owed.arrives(&network, &mut board)
}
