//! Boots the board's operating system in QEMU, in the lab, and looks whether it does what a board should. `tests/os/run` builds what
//! this needs and starts it; figures are printed, none is asserted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use sonde_tests::lab::{Lab, LabOptions};
use sonde_tests::os::guest::Parts;
use sonde_tests::os::machine::Firmware;
use sonde_tests::os::release::Forge;
use sonde_tests::scene::say;

mod cable;
mod dying_card;
mod join;
mod owed;
mod panics;
mod power;
mod refused;
mod settings;
mod state;
mod update;

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

/// On what a case is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// UEFI with Secure Boot, or what `--firmware` says.
    Any,
    /// UEFI with Secure Boot: it is about signatures.
    Uefi,
    /// A U-Boot that can rename files.
    UBoot,
    /// One that cannot, and the card that counts tries in a file.
    Counter,
}

/// A case.
struct Case {
    name: &'static str,
    /// Whether only `--long` has it.
    is_long: bool,
    stage: Stage,
    play: fn(&Setting<'_>) -> Result<()>,
}

const fn short(name: &'static str, stage: Stage, play: fn(&Setting<'_>) -> Result<()>) -> Case {
    Case { name, is_long: false, stage, play }
}

const fn long(name: &'static str, stage: Stage, play: fn(&Setting<'_>) -> Result<()>) -> Case {
    Case { name, is_long: true, stage, play }
}

const CASES: &[Case] = &[
    short("join-v6", Stage::Any, join::v6),
    short("join-v4", Stage::Any, join::v4),
    short("join-both", Stage::Any, join::both),
    short("refused", Stage::Uefi, refused::refused),
    short("state", Stage::Any, state::state),
    short("cable", Stage::Any, cable::cable),
    short("settings", Stage::Any, settings::settings),
    long("panics", Stage::Any, panics::panics),
    long("dying-card", Stage::Any, dying_card::dying_card),
    short("update-good", Stage::Any, update::good),
    short("update-panics", Stage::Any, update::panics),
    long("update-hangs", Stage::Any, update::hangs),
    long("update-unreachable", Stage::Any, update::unreachable),
    long("update-refused", Stage::Uefi, update::refused),
    long("update-cut-fetch", Stage::Any, update::cut_fetch),
    long("update-untrusted", Stage::Any, update::untrusted),
    long("update-power", Stage::Any, update::power),
    long("update-writes", Stage::Any, update::writes),
    short("u-boot-panics", Stage::UBoot, update::panics),
    long("u-boot-good", Stage::UBoot, update::good),
    long("u-boot-hangs", Stage::UBoot, update::hangs),
    long("u-boot-cut-short", Stage::UBoot, update::cut_short),
    long("u-boot-writes", Stage::UBoot, update::writes),
    long("counter-good", Stage::Counter, update::good),
    long("counter-panics", Stage::Counter, update::panics),
    long("counter-hangs", Stage::Counter, update::hangs),
    long("power", Stage::Any, power::power),
    long("quiet-hour", Stage::Any, join::quiet_hour),
];

const USAGE: &str = "usage: sonde-os-boots --image FILE --uefi FILE --variables FILE --ill FILE --dir DIR [--u-boot FILE] \
    [--old-u-boot FILE --counter-image FILE] [--firmware uefi|u-boot] [--seed N] [--long] [CASE …]";

struct Arguments {
    image: PathBuf,
    counter_image: Option<PathBuf>,
    uefi: Firmware,
    u_boot: Option<PathBuf>,
    old_u_boot: Option<PathBuf>,
    on_u_boot: bool,
    ill: PathBuf,
    dir: PathBuf,
    long: bool,
    seed: u64,
    names: Vec<String>,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut files = HashMap::new();
        let (mut on_u_boot, mut long, mut seed, mut names) = (false, false, None, Vec::new());
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value\n{USAGE}"));
            match word.as_str() {
                "--image" | "--uefi" | "--variables" | "--ill" | "--dir" | "--u-boot" | "--old-u-boot"
                | "--counter-image" => {
                    let file = PathBuf::from(value()?);
                    files.insert(word, file);
                }
                "--firmware" => {
                    on_u_boot = match value()?.as_str() {
                        "uefi" => false,
                        "u-boot" => true,
                        other => bail!("--firmware {other}: uefi or u-boot"),
                    }
                }
                "--seed" => seed = Some(value()?.parse().context("--seed")?),
                "--long" => long = true,
                name if CASES.iter().any(|case| case.name == name) => names.push(word),
                _ => {
                    let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
                    bail!("{word}?\n{USAGE}\ncases: {}", known.join(" "))
                }
            }
        }
        let mut wanted = |name: &str| files.remove(name).context(USAGE);
        let uefi = Firmware::Uefi { code: wanted("--uefi")?, variables: wanted("--variables")? };
        let (image, ill, dir) = (wanted("--image")?, wanted("--ill")?, wanted("--dir")?);
        let seed = match seed {
            Some(seed) => seed,
            None => {
                let mut bytes = [0; 4];
                getrandom::fill(&mut bytes).map_err(anyhow::Error::msg)?;
                u64::from(u32::from_le_bytes(bytes))
            }
        };
        let mut maybe = |name: &str| files.remove(name);
        let (u_boot, old_u_boot, counter_image) = (maybe("--u-boot"), maybe("--old-u-boot"), maybe("--counter-image"));
        Ok(Self { image, counter_image, uefi, u_boot, old_u_boot, on_u_boot, ill, dir, long, seed, names })
    }

    /// What this stage is made of; none where the machine that tests lacks it.
    fn parts(&self, stage: Stage, dir: &Path) -> Option<Parts> {
        let forge = Forge { ill: self.ill.clone(), dir: dir.join("systems") };
        let on_u_boot = stage == Stage::UBoot || stage == Stage::Any && self.on_u_boot;
        let (image, firmware) = if stage == Stage::Counter {
            (self.counter_image.clone()?, Firmware::UBoot { program: self.old_u_boot.clone()? })
        } else if on_u_boot {
            (self.image.clone(), Firmware::UBoot { program: self.u_boot.clone()? })
        } else {
            (self.image.clone(), self.uefi.clone())
        };
        Some(Parts { image, firmware, forge })
    }
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
    let arguments = Arguments::read()?;
    Lab::available().map_err(anyhow::Error::msg).context("no lab on this machine")?;
    say(&format!("seed {} (--seed)", arguments.seed));
    let chosen = |case: &&Case| match arguments.names.as_slice() {
        [] => arguments.long || !case.is_long,
        names => names.iter().any(|name| name == case.name),
    };
    let mut failed = Vec::new();
    for case in CASES.iter().filter(chosen) {
        let name = case.name;
        say(&format!("-- {name}"));
        let begun = Instant::now();
        // Each has a lab of its own: a line is opened once, and nothing of another case is in the logs.
        let outcome = play(&arguments, case);
        let seconds = begun.elapsed().as_secs();
        match outcome {
            Ok(()) => say(&format!("-- {name}: passed, {seconds} s")),
            Err(error) => {
                say(&format!("-- {name}: FAILED, {seconds} s: {error:?}"));
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        say(&format!("failed: {}; files are in {}", failed.join(" "), arguments.dir.display()));
    }
    Ok(failed.is_empty())
}

fn play(arguments: &Arguments, case: &Case) -> Result<()> {
    let dir = arguments.dir.join(case.name);
    let Some(parts) = arguments.parts(case.stage, &dir) else {
        say("SKIPPED: its U-Boot or its card is not here");
        return Ok(());
    };
    clear(&dir)?;
    let lab = Lab::start(LabOptions::default())?;
    // Nobody asks for it, and it grows.
    lab.set_wire_log(false)?;
    (case.play)(&Setting { lab: &lab, parts, dir: dir.clone(), long: arguments.long, seed: arguments.seed })?;
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
