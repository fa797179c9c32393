//! Boots the board's operating system in QEMU, in the lab, and looks whether it does what a board should. `tests/os/run` builds what
//! this needs and starts it; figures are printed, none is asserted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use sonde_tests::lab::{Lab, LabOptions};
use sonde_tests::os::guest::Parts;
use sonde_tests::os::machine::Firmware;
use sonde_tests::scene::say;

mod cable;
mod dying_card;
mod join;
mod panics;
mod power;
mod refused;
mod settings;
mod state;

/// What every case gets.
pub struct Setting<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// What is booted.
    pub parts: Parts,
    /// A folder for this case's files.
    pub dir: PathBuf,
    /// More seeds, longer looks.
    pub long: bool,
    /// For all random choices.
    pub seed: u64,
}

/// A case: its name, whether only `--long` has it, what it does.
type Case = (&'static str, bool, fn(&Setting<'_>) -> Result<()>);

const CASES: [Case; 11] = [
    ("join-v6", false, join::v6),
    ("join-v4", false, join::v4),
    ("join-both", false, join::both),
    ("refused", false, refused::refused),
    ("state", false, state::state),
    ("cable", false, cable::cable),
    ("settings", false, settings::settings),
    ("panics", true, panics::panics),
    ("dying-card", true, dying_card::dying_card),
    ("power", true, power::power),
    ("quiet-hour", true, join::quiet_hour),
];

const USAGE: &str =
    "usage: sonde-os-boots --image FILE --firmware FILE --variables FILE --dir DIR [--seed N] [--long] [CASE …]";

struct Arguments {
    parts: Parts,
    dir: PathBuf,
    long: bool,
    seed: u64,
    names: Vec<String>,
}

fn arguments() -> Result<Arguments> {
    let (mut image, mut code, mut variables, mut dir) = (None, None, None, None);
    let (mut long, mut seed, mut names) = (false, None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value\n{USAGE}"));
        match word.as_str() {
            "--image" => image = Some(PathBuf::from(value()?)),
            "--firmware" => code = Some(PathBuf::from(value()?)),
            "--variables" => variables = Some(PathBuf::from(value()?)),
            "--dir" => dir = Some(PathBuf::from(value()?)),
            "--seed" => seed = Some(value()?.parse().context("--seed")?),
            "--long" => long = true,
            name if CASES.iter().any(|case| case.0 == name) => names.push(word),
            _ => bail!("{word}?\n{USAGE}\ncases: {}", CASES.map(|case| case.0).join(" ")),
        }
    }
    let firmware = Firmware { code: code.context(USAGE)?, variables: variables.context(USAGE)? };
    let parts = Parts { image: image.context(USAGE)?, firmware };
    let seed = match seed {
        Some(seed) => seed,
        None => {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).map_err(anyhow::Error::msg)?;
            u64::from(u32::from_le_bytes(bytes))
        }
    };
    Ok(Arguments { parts, dir: dir.context(USAGE)?, long, seed, names })
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let arguments = arguments()?;
    Lab::available().map_err(anyhow::Error::msg).context("no lab on this machine")?;
    say(&format!("seed {} (--seed)", arguments.seed));
    let chosen = |case: &&Case| match arguments.names.as_slice() {
        [] => arguments.long || !case.1,
        names => names.iter().any(|name| name == case.0),
    };
    let mut failed = Vec::new();
    for (name, _, case) in CASES.iter().filter(chosen) {
        say(&format!("-- {name}"));
        let begun = Instant::now();
        // Each has a lab of its own: a line is opened once, and nothing of another case is in the logs.
        let outcome = play(&arguments, name, *case);
        let seconds = begun.elapsed().as_secs();
        match outcome {
            Ok(()) => say(&format!("-- {name}: passed, {seconds} s")),
            Err(error) => {
                say(&format!("-- {name}: FAILED, {seconds} s: {error:?}"));
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        say(&format!("failed: {}; files are in {}", failed.join(" "), arguments.dir.display()));
    }
    Ok(failed.is_empty())
}

fn play(arguments: &Arguments, name: &str, case: fn(&Setting<'_>) -> Result<()>) -> Result<()> {
    let dir = arguments.dir.join(name);
    clear(&dir)?;
    let lab = Lab::start(LabOptions::default())?;
    // Nobody asks for it, and it grows.
    lab.set_wire_log(false)?;
    let parts = arguments.parts.clone();
    case(&Setting { lab: &lab, parts, dir: dir.clone(), long: arguments.long, seed: arguments.seed })?;
    // What passed needs no looking at, and cards are large.
    clear(&dir)
}

/// An empty folder.
fn clear(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(std::fs::create_dir_all(dir)?)
}
