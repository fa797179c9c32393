//! What cards do when they wear out: the state partition zeroed, full of noise, damaged here and there. The board starts in any case,
//! makes anew what it must, and is the same probe whenever a copy of its key has survived.

use anyhow::{Context as _, Result, ensure};
use sonde_tests::os::card::{Copy, copy_is_whole};
use sonde_tests::os::guest::{Board, Network};
use sonde_tests::os::line::{HomeLine, Sort};
use sonde_tests::os::random::Random;
use sonde_tests::scene::say;

use crate::Setting;

/// How many places are damaged at a time.
const PLACES: u64 = 200;
/// Where a file system keeps what it cannot do without: every second place is in here.
const FRONT: u64 = 4 << 20;
/// The largest place, in bytes.
const LARGEST: u64 = 8192;
/// How many random cards `--long` plays.
const SEEDS: u64 = 20;

pub fn state(setting: &Setting<'_>) -> Result<()> {
    let network = Network::start(setting.lab, &setting.dir)?;
    let line = HomeLine::open(setting.lab, Sort::Both, &setting.dir)?;
    let mut board = Board::new(&network, &line, &setting.parts, &setting.dir)?;
    board.switch_on()?;
    let (probe, _) = board.await_welcome()?;
    board.await_key()?;
    board.cut_power()?;

    // Noise everywhere but in the last copy.
    let mut random = Random::new(setting.seed);
    let kept = board.card.key_copy(Copy::B)?;
    board.card.change_state(|_, bytes| bytes.chunks_mut(8).for_each(|chunk| random.fill(chunk)))?;
    board.card.set_key_copy(Copy::B, &kept)?;
    same_probe(&mut board, probe, "noise but for the second copy of the key")?;

    // The file system zeroed, the first copy left.
    let kept = board.card.key_copy(Copy::A)?;
    board.card.change_state(|_, bytes| bytes.fill(0))?;
    board.card.set_key_copy(Copy::A, &kept)?;
    same_probe(&mut board, probe, "zeros but for the first copy of the key")?;

    for seed in setting.seed..setting.seed + if setting.long { SEEDS } else { 1 } {
        damage(&board, seed)?;
        let survives = [Copy::A, Copy::B]
            .into_iter()
            .map(|copy| board.card.key_copy(copy))
            .any(|copy| copy.is_ok_and(|bytes| copy_is_whole(&bytes)));
        if survives {
            same_probe(&mut board, probe, &format!("{PLACES} damaged places, seed {seed}"))?;
        } else {
            say(&format!("seed {seed} leaves no copy of the key: not played"));
        }
    }

    if !setting.long {
        return Ok(());
    }
    // Nothing left at all: it starts, and says that its token has been used by somebody who is gone.
    board.card.change_state(|_, bytes| bytes.fill(0))?;
    board.switch_on()?;
    let said = board.machine()?.await_line("what the collector says of a used token", |line| {
        line.step == "collector" && line.text.contains("token")
    })?;
    say(&format!("zeros, with a token that was used: collector: {}", said.text));
    board.cut_power()?;
    board.card.put("sonde.toml", network.settings()?.as_bytes())?;
    board.switch_on()?;
    let (other, _) = board.await_welcome()?;
    ensure!(other != probe, "it is probe {probe} again without a key");
    Ok(())
}

/// It starts, is the same probe, and has both copies again.
fn same_probe(board: &mut Board<'_, '_>, probe: u64, what: &str) -> Result<()> {
    board.switch_on()?;
    let (now, _) = board.await_welcome().context(what.to_owned())?;
    ensure!(now == probe, "{what}: probe {probe} has become {now}");
    let words = board.machine()?.console().lines();
    let said: Vec<&str> = words.iter().filter(|line| line.step == "state").map(|line| line.text.as_str()).collect();
    say(&format!("{what}: probe {probe} again; state: {}", said.join("; ")));
    board.await_key().context(what.to_owned())?;
    board.cut_power()
}

fn damage(board: &Board<'_, '_>, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut places = Vec::new();
    for number in 0..PLACES {
        let within = if number % 2 == 0 { FRONT } else { board.card.state_length() };
        let start = random.below(within);
        places.push((start, start + 1 + random.below(LARGEST)));
    }
    board.card.change_state(|at, bytes| {
        let length = bytes.len();
        let within = |offset: u64| usize::try_from(offset.saturating_sub(at)).unwrap_or(length).min(length);
        for (from, to) in &places {
            for byte in &mut bytes[within(*from)..within(*to)] {
                *byte = random.next() as u8;
            }
        }
    })
}
