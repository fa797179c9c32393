//! Makes the first process of a running machine end, from outside: its code in the machine's memory is overwritten, and whatever it does
//! next is no instruction. Nothing in a board can be asked to do that, and nothing should.
//!
//! Speaks to QEMU's debugger (GDB's remote serial protocol), as far as writing to memory needs.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::machine::{Machine, PATIENCE};
use super::uki::{PAGE, code_pages};

/// Where memory begins on QEMU's `virt`, and how much the machine has.
const MEMORY: u64 = 0x4000_0000;
const LENGTH: u64 = 512 << 20;

/// Overwrites the code of this program wherever it is in memory; files go to `dir`.
///
/// # Errors
/// When it is not there, or QEMU does not do it.
pub fn overwrite(machine: &mut Machine, program: &[u8], dir: &Path) -> Result<usize> {
    // A page that is all the same is not known from others.
    let pages: HashSet<&[u8]> =
        code_pages(program)?.into_iter().filter(|page| page.iter().any(|byte| *byte != page[0])).collect();
    let dump = dir.join("memory");
    machine.save_memory(MEMORY, LENGTH, &dump)?;
    let mut file = BufReader::with_capacity(1 << 20, File::open(&dump)?);
    fs::remove_file(&dump)?;
    let (mut page, mut places) = ([0; PAGE], Vec::new());
    for place in (MEMORY..MEMORY + LENGTH).step_by(PAGE) {
        file.read_exact(&mut page)?;
        if pages.contains(&page[..]) {
            places.push(place);
        }
    }
    ensure!(!places.is_empty(), "none of the {} pages of the program is in memory", pages.len());
    let mut debugger = Debugger::open(machine, &dir.join("debugger"))?;
    debugger.ask("Qqemu.PhyMemMode:1")?;
    // Zeros are an undefined instruction (`UDF`).
    let zeros = "00".repeat(PAGE / 4);
    for place in &places {
        for part in 0..4 {
            debugger.ask(&format!("M{:x},{:x}:{zeros}", place + part * (PAGE as u64 / 4), PAGE / 4))?;
        }
    }
    debugger.let_go()?;
    Ok(places.len())
}

/// A debugger; the machine stands still while it is there.
struct Debugger(UnixStream);

impl Debugger {
    fn open(machine: &mut Machine, socket: &Path) -> Result<Self> {
        machine.listen_for_debugger(socket)?;
        let stream = UnixStream::connect(socket).context("QEMU's debugger")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut debugger = Self(stream);
        debugger.say("?")?;
        debugger.answer()?;
        Ok(debugger)
    }

    fn ask(&mut self, packet: &str) -> Result<()> {
        self.say(packet)?;
        // That the machine has stopped may be said once more, whenever that is.
        let answer = loop {
            let answer = self.answer()?;
            if !answer.starts_with('T') {
                break answer;
            }
        };
        let name: String = packet.chars().take(20).collect();
        ensure!(answer == "OK", "QEMU's debugger says {answer:?} to {name}");
        Ok(())
    }

    /// The machine goes on.
    fn let_go(mut self) -> Result<()> {
        self.ask("D")
    }

    fn say(&mut self, packet: &str) -> Result<()> {
        Ok(self.0.write_all(framed(packet).as_bytes())?)
    }

    /// The next packet; what acknowledges ours is passed over.
    fn answer(&mut self) -> Result<String> {
        let mut packet = Vec::new();
        let mut inside = false;
        loop {
            let byte = self.byte()?;
            match byte {
                b'$' => (inside, packet) = (true, Vec::new()),
                b'#' if inside => {
                    // Two digits of a checksum: the way is a socket.
                    self.byte()?;
                    self.byte()?;
                    self.0.write_all(b"+")?;
                    return Ok(String::from_utf8_lossy(&packet).into_owned());
                }
                b'-' if !inside => bail!("QEMU's debugger has not understood"),
                byte if inside => packet.push(byte),
                _ => {}
            }
        }
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

fn framed(packet: &str) -> String {
    let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
    format!("${packet}#{sum:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_bears_the_sum_of_its_bytes() {
        assert_eq!(framed("OK"), "$OK#9a");
        assert_eq!(framed(""), "$#00");
    }
}
