//! The number that a system's file carries inside: `IMAGE_VERSION` of the section `.osrel`, in which systemd's stub has os-release (PE32+,
//! Microsoft's "PE Format"). The loader sorts by it, and a system that runs compares it with the file's name.
//!
//! Pure but for reading where the header leads. The bytes are a stranger's until their signature has been checked.

use std::io::{self, Read, Seek, SeekFrom};

use crate::release::Release;

/// The most sections that are looked at. Ours have about a dozen.
const MAX_SECTIONS: usize = 96;

/// The longest os-release.
const MAX_TEXT: u64 = 16 * 1024;

/// The number inside a file; 0 where it says none.
///
/// # Errors
/// The reader's; `UnexpectedEof` or `InvalidData` where this is no system's file.
pub fn number(file: &mut (impl Read + Seek)) -> io::Result<u64> {
    let word = |bytes: &[u8], at: usize| -> io::Result<u32> {
        let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
        four.map(u32::from_le_bytes).ok_or(io::ErrorKind::InvalidData.into())
    };
    let dos = read_at(file, 0, 64)?;
    let header = u64::from(word(&dos, 0x3c)?);
    let coff = read_at(file, header, 24)?;
    if !dos.starts_with(b"MZ") || !coff.starts_with(b"PE\0\0") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let sections = (word(&coff, 6)? & 0xffff) as usize;
    let optional = u64::from(word(&coff, 20)? & 0xffff);
    let table = read_at(file, header + 24 + optional, sections.min(MAX_SECTIONS) * 40)?;
    let row = table.chunks_exact(40).find(|row| row.starts_with(b".osrel\0")).ok_or(io::ErrorKind::InvalidData)?;
    // The size in memory is the text's; the size in the file is rounded up.
    let size = u64::from(word(row, 8)?.min(word(row, 16)?)).min(MAX_TEXT);
    let text = read_at(file, u64::from(word(row, 20)?), size as usize)?;
    Ok(Release::read(&String::from_utf8_lossy(&text)).number)
}

fn read_at(file: &mut (impl Read + Seek), at: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub mod tests {
    use std::io::Cursor;

    use super::*;

    /// A system's file as small as can be, with this os-release.
    pub fn system(os_release: &str) -> Vec<u8> {
        let mut file = vec![0; 0x40];
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 0x40;
        file.extend(b"PE\0\0");
        file.extend([0x64, 0xaa, 2, 0]);
        file.extend([0; 12]);
        file.extend([8, 0, 0, 0]);
        file.extend([0; 8]);
        let text = (0x40 + 24 + 8 + 80) as u32;
        for (name, size) in [(b".text\0\0\0", 0u32), (b".osrel\0\0", os_release.len() as u32)] {
            file.extend(name);
            for number in [size, 0, size, text, 0, 0, 0, 0] {
                file.extend(number.to_le_bytes());
            }
        }
        file.extend(os_release.as_bytes());
        file
    }

    #[test]
    fn the_number_is_read_and_nonsense_is_none() {
        let whole = system("ID=sonde\nIMAGE_VERSION=202611290220\nVERSION_ID=0.1.0\n");
        assert_eq!(number(&mut Cursor::new(&whole)).unwrap(), 202_611_290_220);
        assert_eq!(number(&mut Cursor::new(&system("IMAGE_VERSION=0.1.0\n"))).unwrap(), 0);
        for length in 0..whole.len() {
            assert!(number(&mut Cursor::new(&whole[..length])).is_err(), "cut at {length}");
        }
        // Whatever a byte is, it ends in an answer.
        for at in 0..0xa8 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = number(&mut Cursor::new(broken));
            }
        }
    }
}
