//! A `sonde.toml` that is none: the board says so and waits; when somebody has put a right one on the card it goes on by itself.

use anyhow::{Result, ensure};
use sonde_tests::os::guest::{Board, Network};
use sonde_tests::os::line::{HomeLine, Sort};
use sonde_tests::scene::say;

use crate::Setting;

pub fn settings(setting: &Setting<'_>) -> Result<()> {
    let network = Network::start(setting.lab, &setting.dir)?;
    let line = HomeLine::open(setting.lab, Sort::Both, &setting.dir)?;
    let mut board = Board::new(&network, &line, &setting.parts, &setting.dir)?;
    let good = board.card.get("sonde.toml")?;
    board.card.put("sonde.toml", b"[network\nname = \"no end")?;
    board.switch_on()?;
    let said = board.machine()?.await_line("a word about sonde.toml", |line| line.step == "settings")?;
    say(&format!("a broken file: settings: {}", said.text));
    ensure!(said.text.contains("sonde.toml") && said.text.contains("line 1"), "it does not say where: {}", said.text);

    // As a hand does that takes the stick out, edits it and puts it back: the board looks again each half minute. What makes no sense under
    // [address] is named, and the rest counts.
    let more = b"\n[address]\ngateway4 = \"nonsense\"\n";
    board.card.put("sonde.toml", &[&good[..], more].concat())?;
    let read = board.machine()?.await_line("the right file", |line| line.text == "sonde.toml read")?;
    let lines = board.machine()?.console().lines();
    let named = lines.iter().find(|line| line.step == "settings" && line.text.contains("gateway4"));
    say(&format!("{:.0} s later: settings: {}; {named:?}", read.at - said.at, read.text));
    ensure!(named.is_some(), "the gateway that is none is passed over without a word");
    let early = lines.iter().find(|line| line.at < read.at && ["state", "link", "probe"].contains(&line.step.as_str()));
    ensure!(early.is_none(), "something began without settings: {early:?}");
    board.await_welcome()?;
    Ok(())
}
