//! Makes a machine hang, as hardware and kernels do: through QEMU's door for debuggers an instruction in the kernel's idle loop becomes
//! a jump to itself. Every processor ends there with interrupts off, and nothing that runs on the machine can notice.
//!
//! Speaks as much of GDB's remote protocol as that takes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// `b .` of 64-bit Arm, as it lies in memory.
const JUMP_TO_ITSELF: &str = "00000014";
/// The numbers of registers in QEMU's description of the processor.
const PC: u8 = 32;
const CPSR: u8 = 33;
/// Of CPSR: interrupts are masked.
const MASKED: u64 = 1 << 7;
/// Of CPSR: mode and level; this is the kernel's.
const LEVEL: u64 = 0b1111;
const KERNEL: [u64; 2] = [0b0100, 0b0101];
/// How long one lets it run between two looks: other moments.
const RUN: Duration = Duration::from_millis(100);
/// How long one looks for an idle processor.
const PATIENCE: Duration = Duration::from_secs(120);

/// Hangs the machine whose debugger's socket this is. It must have started its system, which must be idle now and then.
///
/// # Errors
/// When QEMU says something else than it should, or no processor is ever seen idle.
pub fn hang(socket: &Path) -> Result<()> {
    let stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut debugger = Debugger { stream: BufReader::new(stream) };
    let begun = Instant::now();
    // It stands still from the moment somebody connects.
    debugger.ask("?")?;
    loop {
        for thread in debugger.threads()? {
            ensure!(debugger.ask(&format!("Hg{thread}"))? == "OK", "there is no processor {thread}");
            let (place, state) = (debugger.register(PC)?, debugger.register(CPSR)?);
            if state & MASKED != 0 && KERNEL.contains(&(state & LEVEL)) && debugger.is_idle(place)? {
                let answer = debugger.ask(&format!("M{place:x},4:{JUMP_TO_ITSELF}"))?;
                ensure!(answer == "OK", "the kernel's memory cannot be written: {answer}");
                ensure!(debugger.ask("D")? == "OK", "QEMU does not let go");
                return Ok(());
            }
        }
        ensure!(begun.elapsed() < PATIENCE, "no processor was ever idle");
        debugger.send("c")?;
        std::thread::sleep(RUN);
        debugger.stream.get_mut().write_all(&[0x03])?;
        debugger.read()?;
    }
}

struct Debugger {
    stream: BufReader<UnixStream>,
}

impl Debugger {
    fn threads(&mut self) -> Result<Vec<String>> {
        let (mut all, mut question) = (Vec::new(), "qfThreadInfo");
        loop {
            let answer = self.ask(question)?;
            let Some(list) = answer.strip_prefix('m') else { return Ok(all) };
            all.extend(list.split(',').map(str::to_owned));
            question = "qsThreadInfo";
        }
    }

    fn register(&mut self, number: u8) -> Result<u64> {
        let text = self.ask(&format!("p{number:x}"))?;
        let bytes =
            data_encoding::HEXLOWER.decode(text.as_bytes()).with_context(|| format!("register {number}: {text}"))?;
        // Least significant byte first; CPSR has four of them.
        Ok(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    /// Whether the instruction before this one waits for an interrupt (`wfi`).
    fn is_idle(&mut self, place: u64) -> Result<bool> {
        Ok(self.ask(&format!("m{:x},4", place.wrapping_sub(4)))? == "7f2003d5")
    }

    fn ask(&mut self, words: &str) -> Result<String> {
        self.send(words)?;
        self.read()
    }

    fn send(&mut self, words: &str) -> Result<()> {
        let packet = format!("${words}#{:02x}", checksum(words));
        Ok(self.stream.get_mut().write_all(packet.as_bytes())?)
    }

    fn read(&mut self) -> Result<String> {
        let mut packet = Vec::new();
        // What comes before are receipts.
        self.stream.read_until(b'$', &mut packet)?;
        packet.clear();
        self.stream.read_until(b'#', &mut packet)?;
        ensure!(packet.pop() == Some(b'#'), "QEMU has closed the debugger's door");
        self.stream.read_exact(&mut [0; 2])?;
        self.stream.get_mut().write_all(b"+")?;
        match String::from_utf8(packet) {
            Ok(text) => Ok(text),
            Err(error) => bail!("not text: {error}"),
        }
    }
}

fn checksum(words: &str) -> u8 {
    words.bytes().fold(0, u8::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_manual() {
        assert_eq!(checksum("OK"), 0x9a);
        assert_eq!(checksum("g"), 0x67);
    }
}
