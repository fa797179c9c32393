//! With Secure Boot on nothing starts that is not signed by a key of the firmware's: the system without its signature, the system with
//! one byte changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sonde_tests::os::guest::{Board, Network};
use sonde_tests::os::line::{HomeLine, Sort};
use sonde_tests::scene::say;

use crate::Setting;

/// What firmware and loader say of it, in lower case.
const REFUSALS: [&str; 3] = ["access denied", "security violation", "security policy violation"];

pub fn refused(setting: &Setting<'_>) -> Result<()> {
    let network = Network::start(setting.lab, &setting.dir)?;
    let line = HomeLine::open(setting.lab, Sort::V4, &setting.dir)?;
    let loader = "EFI/BOOT/BOOTAA64.EFI";
    let mut cases =
        vec![("the system without a signature", None, true), ("the system with one byte changed", None, false)];
    if setting.long {
        cases.push(("the loader without a signature", Some(loader), true));
        cases.push(("the loader with one byte changed", Some(loader), false));
    }
    for (number, (what, file, strip)) in cases.into_iter().enumerate() {
        let dir = setting.dir.join(number.to_string());
        let mut board = Board::new(&network, &line, &setting.parts, &dir)?;
        let file = match file {
            Some(file) => file.to_owned(),
            None => board.card.system()?,
        };
        let signed = board.card.get(&file)?;
        let changed = if strip { without_signature(&signed, &dir)? } else { with_one_byte_changed(signed)? };
        board.card.put(&file, &changed)?;
        board.switch_on()?;
        board.machine()?.await_text("the refusal", is_refused)?;
        // It is over when the firmware has nothing left to try, or the machine has begun anew and was refused again.
        board
            .machine()?
            .await_text("the end of it", |text| refusals(text) > 1 || text.contains("No bootable option"))?;
        let text = board.machine()?.console().text();
        ensure!(!text.contains("EFI stub:") && !text.contains("sonde-os ["), "{what} has started:\n{text}");
        let said = text.lines().find(|line| is_refused(line)).unwrap_or_default();
        say(&format!("{what}: {}", said.trim()));
        board.cut_power()?;
    }
    Ok(())
}

fn refusals(text: &str) -> usize {
    let text = text.to_lowercase();
    REFUSALS.iter().map(|refusal| text.matches(refusal).count()).sum()
}

fn is_refused(text: &str) -> bool {
    refusals(text) > 0
}

fn without_signature(signed: &[u8], dir: &Path) -> Result<Vec<u8>> {
    let path = dir.join("unsigned.efi");
    fs::write(&path, signed)?;
    // Each call takes one off, and the last one fails.
    let mut removed = 0;
    while Command::new("sbattach")
        .arg("--remove")
        .arg(&path)
        .output()
        .context("sbattach (Debian: sbsigntool)")?
        .status
        .success()
    {
        let now = fs::read(&path)?;
        removed += 1;
        ensure!(removed < 10, "signatures without end");
        if !is_signed(&now) {
            break;
        }
    }
    let unsigned = fs::read(&path)?;
    ensure!(removed > 0 && !is_signed(&unsigned) && is_signed(signed), "it bore no signature to take off");
    Ok(unsigned)
}

/// Whether the header of this program of UEFI points to a table of certificates (PE/COFF, "Attribute Certificate Table").
fn is_signed(program: &[u8]) -> bool {
    let word = |at: usize| Some(u32::from_le_bytes(program.get(at..at + 4)?.try_into().ok()?));
    let length = || {
        let header = usize::try_from(word(0x3c)?).ok()?;
        // Behind signature (4), file header (20); of a 64-bit optional header the fifth directory lies at 112 + 4 * 8.
        word(header + 24 + 112 + 4 * 8 + 4)
    };
    length().is_some_and(|length| length > 0)
}

fn with_one_byte_changed(mut signed: Vec<u8>) -> Result<Vec<u8>> {
    let middle = signed.len() / 2;
    *signed.get_mut(middle).context("an empty file")? ^= 0x01;
    Ok(signed)
}
