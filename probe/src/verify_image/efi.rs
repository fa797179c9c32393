//! An EFI program as far as its digest and its texts need it: PE32+ (Microsoft's "PE Format"), Authenticode's SHA-256 over it,
//! and the sections by which systemd's stub says what it carries.
//!
//! Pure: bytes in. The bytes are a stranger's.

use ring::digest::{Context, SHA256};

/// The most sections that are looked at. A signed file of ours has about a dozen.
const MAX_SECTIONS: u16 = 96;

/// The longest text that is read of a section.
const MAX_TEXT: usize = 16 * 1024;

/// Why bytes are no program that could be told apart from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotEfi {
    /// No header of a 64-bit EFI program.
    #[error("this is no EFI program for 64 bits")]
    Header,
    /// A table leads out of the file.
    #[error("its header leads beyond its end: the file is cut short or damaged")]
    Short,
    /// The signatures are not the last thing in the file: what comes behind them would be covered by nothing.
    #[error("something stands behind or around its signature that no digest would cover")]
    Tail,
}

/// What is known of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Efi {
    /// Over everything but the checksum and the signatures: the same before and after signing.
    pub digest: [u8; 32],
    /// Whether it carries a signature, whosever.
    pub signed: bool,
    /// For which machines, in the kernel's word (`aarch64`), if it is one of those that boards have.
    pub architecture: Option<&'static str>,
    /// `.osrel`, the text of os-release.
    pub os_release: Option<String>,
    /// `.uname`, the kernel's version.
    pub kernel: Option<String>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let number = u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?);
    usize::try_from(number).ok()
}

impl Efi {
    /// Reads a program.
    ///
    /// # Errors
    /// When it is none, or when its digest would not say everything about it.
    pub fn read(image: &[u8]) -> Result<Self, NotEfi> {
        let header = u32_at(image, 0x3c).ok_or(NotEfi::Header)?;
        let optional = header.checked_add(24).ok_or(NotEfi::Header)?;
        let begins = image.starts_with(b"MZ") && image.get(header..).is_some_and(|rest| rest.starts_with(b"PE\0\0"));
        // 0x20b is PE32+. The fifth of its directories is that of the signatures; without it there is no place for one.
        let directories = u32_at(image, optional.saturating_add(108)).ok_or(NotEfi::Header)?;
        if !begins || u16_at(image, optional) != Some(0x20b) || directories < 5 {
            return Err(NotEfi::Header);
        }
        let (checksum, place) = (optional + 64, optional + 112 + 4 * 8);
        let (start, size) = (u32_at(image, place), u32_at(image, place + 4));
        let (Some(start), Some(size)) = (start, size) else { return Err(NotEfi::Short) };
        let signed = size > 0;
        let end = if signed { start } else { image.len() };
        // An entry of the table is at least 8 bytes, and at a multiple of 8; the table is the end of the file.
        if signed && (start.checked_add(size) != Some(image.len()) || start % 8 != 0 || size < 8) {
            return Err(NotEfi::Tail);
        }
        let mut context = Context::new(&SHA256);
        for part in [0..checksum, checksum + 4..place, place + 8..end] {
            context.update(image.get(part).ok_or(NotEfi::Tail)?);
        }
        // Before something is appended to a file it is filled up to a multiple of eight.
        context.update(&[0; 8][..end.wrapping_neg() % 8]);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());

        let sections = Sections::of(image, header, optional).ok_or(NotEfi::Short)?;
        // PE's "machine types".
        let architecture = match u16_at(image, header + 4) {
            Some(0xaa64) => Some("aarch64"),
            Some(0x8664) => Some("x86_64"),
            Some(0x5064) => Some("riscv64"),
            _ => None,
        };
        Ok(Self {
            digest,
            signed,
            architecture,
            os_release: sections.text(b".osrel"),
            kernel: sections.text(b".uname"),
        })
    }

    /// The version by os-release.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.stated("IMAGE_VERSION")
    }

    /// A value of os-release by its name.
    #[must_use]
    pub fn stated(&self, name: &str) -> Option<&str> {
        let lines = self.os_release.as_deref()?.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        values.next().map(|value| value.trim_matches(['"', '\'']))
    }
}

/// The table of sections.
struct Sections<'a> {
    image: &'a [u8],
    table: &'a [u8],
}

impl<'a> Sections<'a> {
    fn of(image: &'a [u8], header: usize, optional: usize) -> Option<Self> {
        let count = u16_at(image, header + 6)?.min(MAX_SECTIONS);
        let from = optional + usize::from(u16_at(image, header + 20)?);
        Some(Self { image, table: image.get(from..from + usize::from(count) * 40)? })
    }

    /// The section of this name as text, without what cannot be shown.
    fn text(&self, name: &[u8]) -> Option<String> {
        let row = self.table.chunks_exact(40).find(|row| {
            let (is, rest) = row.split_at(name.len());
            is == name && (name.len() == 8 || rest.first() == Some(&0))
        })?;
        // The size in memory is the text's; the size in the file is rounded up.
        let size = u32_at(row, 8)?.min(u32_at(row, 16)?).min(MAX_TEXT);
        let from = u32_at(row, 20)?;
        let text = String::from_utf8_lossy(self.image.get(from..from.checked_add(size)?)?);
        Some(text.trim_end_matches('\0').chars().filter(|char| *char == '\n' || !char.is_control()).collect())
    }
}

#[cfg(test)]
#[path = "efi_tests.rs"]
pub(super) mod tests;
