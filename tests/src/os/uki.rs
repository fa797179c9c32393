//! What is in a signed file: the first process's program, out of the initramfs. Reads PE/COFF, cpio (`newc`) and ELF as far as that
//! needs; zstd is another program's affair.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A page of memory.
pub const PAGE: usize = 4096;

/// The program of the first process.
///
/// # Errors
/// When the file is no such thing.
pub fn init(signed: &[u8]) -> Result<Vec<u8>> {
    let packed = section(signed, b".initrd").context("the signed file has no initramfs")?;
    let cpio = unpack(packed)?;
    Ok(member(&cpio, "init").context("the initramfs has no /init")?.to_vec())
}

/// Whole pages of a program that are machine code.
///
/// # Errors
/// When it is no 64-bit ELF program.
pub fn code_pages(program: &[u8]) -> Result<Vec<&[u8]>> {
    ensure!(program.starts_with(b"\x7fELF\x02\x01"), "no 64-bit program");
    let half = |at: usize| program.get(at..)?.first_chunk().map(|bytes| usize::from(u16::from_le_bytes(*bytes)));
    let word = |at: usize| {
        let bytes = program.get(at..)?.first_chunk()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    };
    let all = || {
        let (table, size, count) = (word(32)?, half(54)?, half(56)?);
        let mut pages = Vec::new();
        for entry in (0..count).map(|number| table + number * size) {
            // Loaded (type 1), executable (flag 1); sections that are not code are loaded with others' flags.
            let (kind, flags) = (half(entry)?, half(entry + 4)?);
            let (offset, length) = (word(entry + 8)?, word(entry + 32)?);
            if kind == 1 && flags & 1 == 1 {
                let whole = offset.next_multiple_of(PAGE)..offset + length;
                pages.extend(program.get(whole)?.chunks_exact(PAGE));
            }
        }
        Some(pages)
    };
    all().context("a damaged program")
}

/// A section of a program of UEFI (PE/COFF), as long as it is in memory.
fn section<'a>(file: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let half = |at: usize| file.get(at..)?.first_chunk().map(|bytes| usize::from(u16::from_le_bytes(*bytes)));
    let word = |at: usize| {
        let bytes = file.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let header = word(0x3c)?;
    let first = header + 24 + half(header + 20)?;
    let mut entries = (0..half(header + 6)?).map(|number| first + 40 * number);
    let entry = entries.find(|entry| {
        file.get(*entry..entry + 8).is_some_and(|found| found.split(|byte| *byte == 0).next() == Some(name))
    })?;
    let (length, start) = (word(entry + 8)?, word(entry + 20)?);
    file.get(start..start + length)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("zstd")
        .args(["--decompress", "--stdout", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("zstd")?;
    let mut stdin = child.stdin.take().context("no pipe")?;
    std::thread::scope(|scope| {
        scope.spawn(move || drop(stdin.write_all(packed)));
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "the initramfs cannot be unpacked");
        Ok(output.stdout)
    })
}

/// A file of an archive.
fn member<'a>(mut cpio: &'a [u8], name: &str) -> Option<&'a [u8]> {
    const HEADER: usize = 110;
    loop {
        let field = |number: usize| {
            let text = cpio.get(6 + 8 * number..6 + 8 * (number + 1))?;
            usize::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
        };
        let (length, name_length) = (field(6)?, field(11)?);
        let found = cpio.get(HEADER..HEADER + name_length.checked_sub(1)?)?;
        let start = (HEADER + name_length).next_multiple_of(4);
        let content = cpio.get(start..start + length)?;
        match found {
            b"TRAILER!!!" => return None,
            found if found.strip_prefix(b"./").unwrap_or(found) == name.as_bytes() => return Some(content),
            _ => cpio = cpio.get((start + length).next_multiple_of(4)..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_archive_is_found() {
        let one = |name: &str, content: &str| {
            let mut fields = [0; 13];
            (fields[6], fields[11]) = (content.len(), name.len() + 1);
            let mut bytes = format!("070701{}", fields.map(|field| format!("{field:08X}")).concat()).into_bytes();
            for part in [format!("{name}\0"), content.to_owned()] {
                bytes.extend(part.bytes());
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let cpio = [one("etc", ""), one("bin/x", "first"), one("init", "second"), one("TRAILER!!!", "")].concat();
        assert_eq!(member(&cpio, "init"), Some(&b"second"[..]));
        assert_eq!(member(&cpio, "none"), None);
        assert_eq!(member(&cpio[..cpio.len() - 140], "none"), None, "cut off");
    }
}
