//! A card image, as somebody with a card reader has it: files of the boot partition, bytes of the state partition. Reads the
//! partition table with code of its own; FAT is mtools' affair.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use ring::digest;

/// A sector of the partition table.
const SECTOR: u64 = 512;
/// The end of the state partition, which is no file system's: its first and its last sector have the copies of the key.
const TAIL: u64 = 8 << 20;
/// What a copy begins with.
const MAGIC: &[u8] = b"SONDEKEY";
/// Up to its checksum: magic, version (4 bytes or fewer, whatever [`copy_is_whole`] finds), secret.
const COPY: usize = 512;

/// Where systems lie on the boot partition.
const SYSTEMS: &str = "EFI/Linux";

/// Where tries are counted for a U-Boot that cannot rename.
const COUNTER: &str = "ab.env";

/// Which of the two copies of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// In the first sector behind the file system.
    A,
    /// In the partition's last one.
    B,
}

/// A card image of one test.
#[derive(Debug)]
pub struct Card {
    path: PathBuf,
    boot: (u64, u64),
    state: (u64, u64),
}

impl Card {
    /// A copy of an image, for one test to write to.
    ///
    /// # Errors
    /// When it cannot be copied or has no such partitions.
    pub fn copy(image: &Path, path: &Path) -> Result<Self> {
        let status = Command::new("cp").args(["--reflink=auto", "--sparse=always"]).arg(image).arg(path).status()?;
        ensure!(status.success(), "{} cannot be copied", image.display());
        let file = File::open(path)?;
        let mut table = [0; SECTOR as usize];
        file.read_exact_at(&mut table, 0).context("read the partition table")?;
        ensure!(table.ends_with(&[0x55, 0xaa]), "{} has no partition table", image.display());
        let boot = partition(&table, 0).context("there is no boot partition")?;
        let state = partition(&table, 1).context("there is no state partition")?;
        Ok(Self { path: path.to_owned(), boot, state })
    }

    /// The image.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of the boot partition.
    ///
    /// # Errors
    /// When mtools does not.
    pub fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        let mut child = self.mtools("mcopy", &["-o", "-", &format!("::{name}")]).stdin(Stdio::piped()).spawn()?;
        child.stdin.take().context("no pipe")?.write_all(content)?;
        ensure!(child.wait()?.success(), "mcopy does not write {name}");
        Ok(())
    }

    /// Reads a file of the boot partition.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<Vec<u8>> {
        let output = self.mtools("mtype", &[&format!("::{name}")]).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }

    /// The system's signed file: the path of the one `sonde_NUMBER.efi`.
    ///
    /// # Errors
    /// When there is not exactly one.
    pub fn system(&self) -> Result<String> {
        match self.systems()?.as_slice() {
            [name] => Ok(format!("{SYSTEMS}/{name}")),
            names => bail!("not one system on the card: {names:?}"),
        }
    }

    /// What is in the folder of the systems, by name. While a machine writes, it may be read half.
    ///
    /// # Errors
    /// When mtools cannot read it.
    pub fn systems(&self) -> Result<Vec<String>> {
        let output = self.mtools("mdir", &["-b", &format!("::{SYSTEMS}")]).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{SYSTEMS}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().filter_map(|path| path.rsplit('/').next()).filter(|name| !name.is_empty());
        Ok(names.map(str::to_owned).collect())
    }

    /// How long a file in the folder of the systems is, if it is there. While a machine writes, it may be read half.
    ///
    /// # Errors
    /// When mtools cannot read it.
    pub fn system_length(&self, name: &str) -> Result<Option<u64>> {
        let output = self.mtools("mdir", &[&format!("::{SYSTEMS}")]).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{SYSTEMS}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        // SHORT    EXT     51314248 2026-11-29   2:20  long name
        let line = text.lines().find(|line| line.split_whitespace().next_back() == Some(name));
        let length = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let date = words.iter().position(|word| word.len() == 10 && word.as_bytes().get(4) == Some(&b'-'))?;
            words.get(date.checked_sub(1)?)?.parse().ok()
        };
        line.map(|line| length(line).with_context(|| format!("mdir says {line}"))).transpose()
    }

    /// Whether tries are counted in a file, for a U-Boot that cannot rename.
    pub fn counts_in_a_file(&self) -> bool {
        self.get(COUNTER).is_ok()
    }

    /// Takes every system off the card and puts this one on it as the one that was kept.
    ///
    /// # Errors
    /// When mtools does not.
    pub fn put_kept(&self, number: u64, system: &[u8]) -> Result<()> {
        if self.counts_in_a_file() {
            self.put("slot_a.efi", system)?;
            return self.put(COUNTER, &counter("a", "b", "good"));
        }
        for name in self.systems()? {
            self.delete(&format!("{SYSTEMS}/{name}"))?;
        }
        self.put(&format!("{SYSTEMS}/sonde_{number}.efi"), system)
    }

    /// Puts a further one beside it, on trial with so many tries, as a board installs it.
    ///
    /// # Errors
    /// When mtools does not.
    pub fn put_on_trial(&self, number: u64, tries: u8, system: &[u8]) -> Result<()> {
        if self.counts_in_a_file() {
            self.put("slot_b.efi", system)?;
            return self.put(COUNTER, &counter("b", "a", &tries.to_string()));
        }
        self.put(&format!("{SYSTEMS}/sonde_{number}+{tries}.efi"), system)
    }

    /// What the card says of which system starts, in words: names of files, or the file that counts.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn slots(&self) -> Result<Vec<String>> {
        if self.counts_in_a_file() {
            let text = String::from_utf8_lossy(&self.get(COUNTER)?).trim_end_matches('\0').to_owned();
            return Ok(text.lines().map(str::to_owned).collect());
        }
        let mut names = self.systems()?;
        names.sort();
        Ok(names)
    }

    /// The bytes of a system that was kept or is to be started when another has failed: of the loader's card by its number, of the other by
    /// its slot.
    ///
    /// # Errors
    /// When it is not there.
    pub fn kept(&self, number: u64, slot: &str) -> Result<Vec<u8>> {
        let name =
            if self.counts_in_a_file() { format!("slot_{slot}.efi") } else { format!("{SYSTEMS}/sonde_{number}.efi") };
        self.get(&name)
    }

    /// Offset and length of the boot partition in bytes.
    pub fn boot(&self) -> (u64, u64) {
        self.boot
    }

    /// Deletes a file of the boot partition.
    ///
    /// # Errors
    /// When mtools does not.
    pub fn delete(&self, name: &str) -> Result<()> {
        let output = self.mtools("mdel", &[&format!("::{name}")]).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Does this to every byte of the state partition, a megabyte at a time; `change` is given where the piece begins.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn change_state(&self, mut change: impl FnMut(u64, &mut [u8])) -> Result<()> {
        let file = self.file()?;
        let (start, length) = self.state;
        let mut piece = vec![0; 1 << 20];
        for at in (0..length).step_by(piece.len()) {
            let size = piece.len().min(usize::try_from(length - at)?);
            let piece = piece.get_mut(..size).context("the last piece")?;
            file.read_exact_at(piece, start + at)?;
            change(at, piece);
            file.write_all_at(piece, start + at)?;
        }
        Ok(())
    }

    /// The state partition's length in bytes.
    pub fn state_length(&self) -> u64 {
        self.state.1
    }

    /// A copy of the key as it lies there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn key_copy(&self, copy: Copy) -> Result<Vec<u8>> {
        let mut bytes = vec![0; COPY];
        self.file()?.read_exact_at(&mut bytes, self.copy_offset(copy))?;
        Ok(bytes)
    }

    /// Replaces a copy of the key.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_key_copy(&self, copy: Copy, bytes: &[u8]) -> Result<()> {
        ensure!(bytes.len() == COPY, "a copy has {COPY} bytes");
        Ok(self.file()?.write_all_at(bytes, self.copy_offset(copy))?)
    }

    fn copy_offset(&self, copy: Copy) -> u64 {
        let (start, length) = self.state;
        match copy {
            Copy::A => start + length - TAIL,
            Copy::B => start + length - COPY as u64,
        }
    }

    fn file(&self) -> Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.path).with_context(|| self.path.display().to_string())
    }

    fn mtools(&self, tool: &str, words: &[&str]) -> Command {
        let mut command = Command::new(tool);
        // It complains of sizes that are no disk's geometry.
        command.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(format!("{}@@{}", self.path.display(), self.boot.0));
        command.args(words);
        command
    }
}

/// The file that counts, as U-Boot writes it: one sector.
fn counter(slot: &str, alt: &str, tries: &str) -> Vec<u8> {
    let mut text = format!("alt={alt}\nslot={slot}\ntry={tries}\n").into_bytes();
    text.resize(SECTOR as usize, 0);
    text
}

/// Offset and length in bytes of a partition in the table of a master boot record.
fn partition(table: &[u8], number: usize) -> Option<(u64, u64)> {
    let entry = table.get(446 + 16 * number..)?.get(..16)?;
    let word = |at: usize| Some(u64::from(u32::from_le_bytes(entry.get(at..at + 4)?.try_into().ok()?)));
    let (start, sectors) = (word(8)? * SECTOR, word(12)? * SECTOR);
    (start > 0 && sectors > 2 * COPY as u64).then_some((start, sectors))
}

/// Whether a copy of the key bears its magic and a checksum over all before it, wherever the version puts that: the checksum is
/// the last thing before the padding of zeros.
pub fn copy_is_whole(copy: &[u8]) -> bool {
    // Version and secret follow the magic; how many bytes the version takes is the system's affair.
    copy.starts_with(MAGIC)
        && (41..=48).any(|length| {
            let (Some(covered), Some(sum)) = (copy.get(..length), copy.get(length..length + 32)) else { return false };
            digest::digest(&digest::SHA256, covered).as_ref() == sum
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_where_the_table_says() {
        let mut table = vec![0; 512];
        table[446 + 8..446 + 16].copy_from_slice(&[0, 8, 0, 0, 0, 0, 4, 0]);
        assert_eq!(partition(&table, 0), Some((0x800 * 512, 0x40000 * 512)));
        assert_eq!(partition(&table, 1), None);
    }

    #[test]
    fn a_copy_counts_while_its_bytes_are_whole() {
        let mut copy = MAGIC.to_vec();
        copy.push(1);
        copy.extend([7; 32]);
        let sum = digest::digest(&digest::SHA256, &copy);
        copy.extend(sum.as_ref());
        copy.resize(512, 0);
        assert!(copy_is_whole(&copy));
        copy[20] ^= 1;
        assert!(!copy_is_whole(&copy));
        assert!(!copy_is_whole(&[0; 512]));
    }
}
