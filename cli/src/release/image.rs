//! What an image of the board's system says of itself: its number, its name and for which machines it is. Others are refused in words.

use std::path::Path;

use anyhow::{Context, Result, bail};
use sonde_probe::verify_image::efi::Efi;
use sonde_update::hashes::Hashes;
use sonde_update::moment::Moment;
use sonde_update::release::Release;

use super::folder::{self, MAX_IMAGE};

/// What `ID` and `IMAGE_ID` are, always: the boot loader sorts by them before it looks at numbers.
const ID: &str = "sonde";

/// A signed file of the board's system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The release's number, which decides what is newer.
    pub number: u64,
    /// What people call it.
    pub name: String,
    /// For which machines, in the kernel's word.
    pub architecture: &'static str,
    /// The whole file.
    pub bytes: Vec<u8>,
}

impl Image {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = folder::read(path, MAX_IMAGE)?.with_context(|| format!("there is no {}", path.display()))?;
        Self::read(bytes).with_context(|| format!("{} cannot be released", path.display()))
    }

    /// Reads the bytes of a file.
    pub fn read(bytes: Vec<u8>) -> Result<Self> {
        let efi = Efi::read(&bytes)?;
        if efi.os_release.is_none() {
            bail!("it does not say what it is: there is no section .osrel");
        }
        for name in ["ID", "IMAGE_ID"] {
            match efi.stated(name) {
                Some(ID) => {}
                Some(other) => bail!("it is another system: its {name} is {other:?} and not {ID:?}"),
                None => bail!("it is another system: it has no {name}"),
            }
        }
        let number = efi.stated("IMAGE_VERSION").context("it has no number (IMAGE_VERSION)")?;
        let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        let read = number.parse::<u64>().ok().filter(|number| plain && i64::try_from(*number).is_ok());
        let number = read.with_context(|| format!("its number (IMAGE_VERSION) is {number:?}, which is none"))?;
        let name = efi.stated("VERSION_ID").context("it has no name (VERSION_ID)")?.to_owned();
        let architecture = efi.architecture.context("it is for machines that boards are not")?;
        if !efi.signed {
            bail!("it is not signed, and boards with Secure Boot would not start it");
        }
        Ok(Self { number, name, architecture, bytes })
    }

    /// The release that it is.
    pub fn release(&self, percentage: u8, not_before: Moment) -> Release {
        Release {
            path: format!("{ID}_{}_{}.efi", self.number, self.architecture),
            length: self.bytes.len() as u64,
            hashes: Hashes::sha256_of(&self.bytes),
            version: self.number,
            name: self.name.clone(),
            architecture: self.architecture.to_owned(),
            percentage,
            not_before,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The least that is an image: a PE file for 64 bits with a section `.osrel`, and something in the signature's place.
    pub fn image(os_release: &str, machine: u16, signed: bool) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        let size = u32::try_from(os_release.len()).unwrap().to_le_bytes();
        put(0, b"MZ");
        put(0x3c, &[0x40]);
        put(0x40, b"PE\0\0");
        put(0x44, &machine.to_le_bytes());
        put(0x46, &[1]);
        put(0x54, &[240]);
        put(0x58, &[0x0b, 0x02]);
        put(0x58 + 108, &[16]);
        put(0x58 + 240, b".osrel");
        put(0x58 + 248, &size);
        put(0x58 + 256, &size);
        put(0x58 + 260, &1024_u32.to_le_bytes());
        bytes.extend_from_slice(os_release.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        if signed {
            let start = u32::try_from(bytes.len()).unwrap().to_le_bytes();
            bytes[0x58 + 144..0x58 + 148].copy_from_slice(&start);
            bytes[0x58 + 148] = 16;
            bytes.extend_from_slice(&[7; 16]);
        }
        bytes
    }

    /// What an image of this number says.
    pub fn os_release(number: u64) -> String {
        format!("ID=sonde\nIMAGE_ID=sonde\nIMAGE_VERSION={number}\nVERSION_ID=\"0.{number}\"\n")
    }

    #[test]
    fn an_image_says_its_number_and_name() {
        let read = Image::read(image(&os_release(202_612_010_000), 0xaa64, true)).unwrap();
        assert_eq!((read.number, read.name.as_str()), (202_612_010_000, "0.202612010000"));
        assert_eq!(read.architecture, "aarch64");
        assert_eq!(read.release(5, Moment(0)).path, "sonde_202612010000_aarch64.efi");
    }

    #[test]
    fn wrong_files_are_refused_in_words() {
        let good = os_release(7);
        let of = |text: &str| image(text, 0xaa64, true);
        for (bytes, said) in [
            (b"#!/bin/sh\n".to_vec(), "this is no EFI program for 64 bits"),
            (of(&good)[..1100].to_vec(), "something stands behind or around its signature that no digest would cover"),
            (image(&good, 0x014c, true), "it is for machines that boards are not"),
            (image(&good, 0xaa64, false), "it is not signed, and boards with Secure Boot would not start it"),
            (of(&good.replace("IMAGE_VERSION", "VERSION")), "it has no number (IMAGE_VERSION)"),
            (of(&good.replace("=7", "=0.1.0")), "its number (IMAGE_VERSION) is \"0.1.0\", which is none"),
            (of(&good.replace("=7", "=07")), "its number (IMAGE_VERSION) is \"07\", which is none"),
            (
                of(&good.replace("=7", "=9223372036854775808")),
                "its number (IMAGE_VERSION) is \"9223372036854775808\", which is none",
            ),
            (
                of(&good.replace("ID=sonde", "ID=debian")),
                "it is another system: its ID is \"debian\" and not \"sonde\"",
            ),
            (of(&good.replace("\nIMAGE_ID=sonde", "")), "it is another system: it has no IMAGE_ID"),
            (of(&good.replace("VERSION_ID", "NAME")), "it has no name (VERSION_ID)"),
        ] {
            assert_eq!(Image::read(bytes).unwrap_err().to_string(), said);
        }
    }
}
