//! A card that dies: it can only be read any more, while the board runs and from the start. The probe measures on, the console and the
//! probe's record say what is wrong, and the key is kept.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use sonde_tests::lab::{Family, Host};
use sonde_tests::os::guest::{Board, Network, definition};
use sonde_tests::os::line::{HomeLine, Sort};
use sonde_tests::scene::say;

use crate::Setting;

/// Writes fail behind this place: in the state partition, which begins at 257 MiB. Everything else that QEMU writes is shorter.
const WRITABLE: u64 = 200 << 20;

pub fn dying_card(setting: &Setting<'_>) -> Result<()> {
    let network = Network::start(setting.lab, &setting.dir)?;
    let line = HomeLine::open(setting.lab, Sort::Both, &setting.dir)?;
    let mut board = Board::new(&network, &line, &setting.parts, &setting.dir)?;
    board.switch_on()?;
    let (probe, _) = board.await_welcome()?;
    board.await_key()?;

    board.machine()?.limit_writes(WRITABLE)?;
    let said = board
        .machine()?
        .await_line("a word about the card", |line| line.step == "state" && line.text.contains("can only be read"))?;
    say(&format!("while it runs: state: {}", said.text));
    let path = format!("/api/v2/probes/{probe}/");
    let word = board.machine()?.await_that("the probe's record to say so", |_| {
        let record = network.owner.get(&path)?;
        let conditions = record["health"]["conditions"].as_array().cloned().unwrap_or_default();
        Ok(conditions.into_iter().find(|one| one["word"].as_str().is_some_and(|word| word.starts_with("disk-"))))
    })?;
    say(&format!("the probe's record: {}: {}", word["word"], word["advice"]));
    ensure!(word["advice"].as_str().is_some_and(|advice| advice.contains("card")), "no advice for a board: {word}");
    measures(&mut board, probe, "with a card that died meanwhile")?;
    board.cut_power()?;

    // From the first moment: nothing can be mended, so the state is in memory, with the key that the card still has.
    board.switch_on()?;
    board.machine()?.limit_writes(WRITABLE)?;
    let said = board.machine()?.await_line("the state in memory", |line| {
        line.step == "state" && line.text.contains("nothing outlives a restart")
    })?;
    say(&format!("from the start: state: {}", said.text));
    let (now, _) = board.await_welcome()?;
    ensure!(now == probe, "probe {probe} has become {now}");
    measures(&mut board, probe, "with a state in memory")?;
    board.cut_power()?;

    // And a card that takes writing again has kept the key.
    board.switch_on()?;
    let (now, _) = board.await_welcome()?;
    ensure!(now == probe, "probe {probe} has become {now} on a card that works again");
    board.await_key()?;
    Ok(())
}

fn measures(board: &mut Board<'_, '_>, probe: u64, what: &str) -> Result<()> {
    let target = Host::Target.address(Family::V4).context("the target has no address")?;
    let results = board.measure(probe, &[definition("ping", Family::V4, &json!({"target": target, "packets": 1}))])?;
    ensure!(results.first().is_some_and(|result| result["rcvd"] == 1), "{what}: {results:?}");
    Ok(())
}
