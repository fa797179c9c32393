//! What the boot loader says of this start: the variable `LoaderBootCountPath`, which names the file whose tries it has counted. It says
//! nothing when it could not rename the file (U-Boot before 2025.07), and then nothing is ever counted.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::name::{Name, Tries};

/// Where the kernel offers the firmware's variables, where there are any.
const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// The variable, with the Boot Loader Interface's identifier.
const COUNTED: &str = "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// More of a variable is not read.
const MOST: u64 = 2048;

/// What the loader has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// A try of the file of this name.
    File(String),
    /// Nothing.
    Nothing,
    /// Nobody knows: the variables cannot be read, in words.
    Unknown(String),
}

impl Counted {
    /// The tries of the system with this number, if it was one of its that was counted.
    pub fn tries_of(&self, number: u64) -> Option<Tries> {
        let Self::File(file) = self else { return None };
        match Name::read(file) {
            Some(Name::System { number: counted, tries }) if counted == number => tries,
            _ => None,
        }
    }
}

/// Asks the firmware.
pub fn counted() -> Counted {
    let place = Path::new(VARIABLES);
    if !place.is_dir() {
        return Counted::Nothing;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    if let Err(error) = mount("efivarfs", place, "efivarfs", flags, None) {
        return Counted::Unknown(format!("the firmware's variables cannot be read: {error}"));
    }
    let read = read(&place.join(COUNTED));
    let _ = unmount(place, UnmountFlags::DETACH);
    match read {
        Ok(bytes) => decode(&bytes).map_or(Counted::Nothing, Counted::File),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Counted::Nothing,
        Err(error) => Counted::Unknown(format!("the loader's variable cannot be read: {error}")),
    }
}

fn read(variable: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(variable)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file's name in a variable: four bytes of attributes, then a path in UTF-16 up to a zero.
fn decode(bytes: &[u8]) -> Option<String> {
    let words: Vec<u16> = bytes.get(4..)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let path = String::from_utf16(words.split(|&word| word == 0).next()?).ok()?;
    path.rsplit(['\\', '/']).next().filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(path: &str) -> Vec<u8> {
        let text = path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(text).collect()
    }

    #[test]
    fn the_counted_file_is_read_of_the_variable() {
        let file = |path: &str| decode(&variable(path)).map(Counted::File);
        let counted = file("\\EFI\\Linux\\sonde_7+2-1.efi").unwrap();
        assert_eq!(counted, Counted::File("sonde_7+2-1.efi".into()));
        assert_eq!(counted.tries_of(7), Some(Tries { left: 2, done: 1 }));
        assert_eq!(counted.tries_of(2), None);
        assert!(file("/EFI/Linux/sonde_7+0-3.efi").unwrap().tries_of(7).is_some());
        assert_eq!(file("\\EFI\\Linux\\sonde_7.efi").unwrap().tries_of(7), None, "no try is counted of it");
        assert_eq!(Counted::Nothing.tries_of(7).or(Counted::Unknown(String::new()).tries_of(7)), None);
    }

    #[test]
    fn a_damaged_variable_counts_nothing() {
        for bytes in
            [&b""[..], b"\x06\0\0\0", b"\x06\0", b"\x06\0\0\0\0\xd8\0\0", b"\x06\0\0\0\x5c\0\0\0", b"\x06\0\0\0a"]
        {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }
}
