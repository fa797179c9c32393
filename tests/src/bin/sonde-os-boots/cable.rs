//! The cable is pulled and put back: the board says so, and goes on by itself.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use sonde_tests::lab::{Family, Host};
use sonde_tests::os::console::Console;
use sonde_tests::os::guest::{Board, Network, definition};
use sonde_tests::os::line::{HomeLine, Sort};
use sonde_tests::scene::say;

use crate::Setting;

pub fn cable(setting: &Setting<'_>) -> Result<()> {
    let network = Network::start(setting.lab, &setting.dir)?;
    let line = HomeLine::open(setting.lab, Sort::Both, &setting.dir)?;
    let mut board = Board::new(&network, &line, &setting.parts, &setting.dir)?;
    board.switch_on()?;
    let (probe, _) = board.await_welcome()?;
    let machine = board.machine()?;
    let links = |console: &Console| console.lines().into_iter().filter(|line| line.step == "link").collect::<Vec<_>>();
    let before = links(machine.console()).len();
    machine.set_cable(false)?;
    let said = machine.await_that("a word about the cable", |console| Ok(links(console).get(before).cloned()))?;
    say(&format!("without a cable: link: {}", said.text));
    // Both families, which come one after the other.
    let addresses = |console: &Console| {
        let is_both = |text: &str| text.contains('.') && text.contains(':');
        console.lines().iter().filter(|line| line.step == "address" && is_both(&line.text)).count()
    };
    let had = addresses(machine.console());
    machine.set_cable(true)?;
    // What is wrong is said again each minute: another word is news.
    let news = |console: &Console| links(console).into_iter().skip(before).find(|line| line.text != said.text);
    let returned = machine.await_that("a word about the cable's return", |console| Ok(news(console)))?;
    say(&format!("with the cable again: link: {}", returned.text));
    machine.await_that("addresses of both families", |console| Ok((addresses(console) > had).then_some(())))?;
    for family in Family::ALL {
        let target = Host::Target.address(family).context("the target has no address")?;
        let results = board.measure(probe, &[definition("ping", family, &json!({"target": target, "packets": 1}))])?;
        ensure!(results.first().is_some_and(|result| result["rcvd"] == 1), "after the cable's return: {results:?}");
    }
    Ok(())
}
