//! `sonde-probe verify-image`: what a volunteer can find out about an image of the board's operating system, about its signed
//! file, or about a card that is written already: which version it is, its digest, and whether it is what a release's signed list
//! or an own build says.
//!
//! This is the shell: it reads files and words the answer. [`efi`], [`card`] and [`sums`] are pure. It starts nothing and asks nobody.

pub mod card;
pub mod efi;
pub mod sums;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use ring::digest::{self, SHA256};

use self::card::{Card, MAX_FILE};
use self::efi::Efi;
use self::sums::Sums;

/// The largest list, key or signature.
const MAX_TEXT: u64 = 256 << 10;

/// What people, computers and U-Boot write on a card in use, none of which anything starts: `ab.env` says which of the card's own slots.
const LEFT_BEHIND: [&str; 7] = [
    "System Volume Information/",
    ".Spotlight-V100/",
    ".fseventsd/",
    ".Trashes/",
    "ubootefi.var",
    "ab.env",
    "sonde.toml",
];

/// What to look at, and what to compare it with.
#[derive(Debug, Clone, Default)]
pub struct VerifyImage {
    /// An image of a card, a card, a signed file, or a packed image.
    pub file: PathBuf,
    /// Each release's SHA256SUMS: a card that has taken an update has the systems of two.
    pub sums: Vec<PathBuf>,
    /// The key that signed them: a file, or its line.
    pub key: Option<String>,
    /// What one has built oneself: an image or a file of either sort.
    pub against: Option<PathBuf>,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was asked for holds.
    Vouched,
    /// Something is not what it should be.
    Different,
    /// There was nothing to compare with.
    Unchecked,
}

/// What a file turned out to be.
#[derive(Debug)]
enum Found {
    /// A program of its own.
    Efi(Box<Efi>),
    /// A card: each file with its sum, and the systems among them.
    Card { files: Vec<(String, [u8; 32])>, programs: Vec<(String, Efi)> },
    /// Packed by xz: only the sum of the whole says something.
    Packed,
}

/// Looks, says what it found, and judges.
///
/// # Errors
/// When something cannot be read, is nothing of ours, or a list is not signed by the key.
pub fn verify(asked: &VerifyImage, out: &mut impl Write) -> Result<Verdict> {
    let (found, sum) = look(&asked.file)?;
    say(&found, sum.as_ref(), out)?;
    let mut verdicts = Vec::new();
    let mut lists = Vec::new();
    for path in &asked.sums {
        lists.push((path.as_path(), list(path, asked.key.as_deref(), out)?));
    }
    if !lists.is_empty() {
        verdicts.push(compare_lists(&found, sum.as_ref(), &lists, out)?);
    } else if asked.key.is_some() {
        bail!("--key is that of a list: give --sums SHA256SUMS too");
    }
    if let Some(path) = &asked.against {
        verdicts.push(compare_digests(&found, path, out)?);
    }
    let verdict = match verdicts.as_slice() {
        [] => Verdict::Unchecked,
        all if all.iter().all(|vouched| *vouched) => Verdict::Vouched,
        _ => Verdict::Different,
    };
    let words = match verdict {
        Verdict::Vouched => "GOOD: everything is as it should be",
        Verdict::Different => "BAD: this is not what it should be; do not start a board with it",
        Verdict::Unchecked => {
            "NOT CHECKED: compare the digest with that of your own os-image/build (--against), or give a release's list \
             (--sums and --key)"
        }
    };
    writeln!(out, "{words}")?;
    Ok(verdict)
}

/// Reads a file or device, and the sum of the whole if it is a file.
fn look(path: &Path) -> Result<(Found, Option<[u8; 32]>)> {
    let name = path.display();
    let mut file = File::open(path).with_context(|| name.to_string())?;
    let kind = file.metadata().with_context(|| name.to_string())?.file_type();
    // A disk may be a thousand times as large as its image, and has state on it.
    let sum = if kind.is_file() { Some(sum_of(&mut file).with_context(|| name.to_string())?) } else { None };
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0)).with_context(|| name.to_string())?;
    (&mut file).take(512).read_to_end(&mut head).with_context(|| name.to_string())?;
    if head.starts_with(b"\xfd7zXZ\0") {
        return Ok((Found::Packed, sum));
    }
    if head.starts_with(b"MZ") {
        let bytes = whole(&mut file).with_context(|| name.to_string())?;
        return Ok((Found::Efi(Box::new(Efi::read(&bytes).with_context(|| name.to_string())?)), sum));
    }
    let mut card = Card::open(file).with_context(|| name.to_string())?;
    let (mut files, mut programs) = (Vec::new(), Vec::new());
    for entry in card.files().with_context(|| name.to_string())? {
        let bytes = card.read(&entry).with_context(|| format!("{name}: {}", entry.path))?;
        if is_system(&entry.path) {
            programs.push((entry.path.clone(), Efi::read(&bytes).with_context(|| format!("{name}: {}", entry.path))?));
        }
        files.push((entry.path, sha256(&bytes)));
    }
    if programs.is_empty() {
        bail!(
            "{name}: its boot partition has no signed file (EFI/Linux/*.efi, slot_a.efi), so nothing of Sonde's starts from it"
        );
    }
    Ok((Found::Card { files, programs }, sum))
}

/// Whether a board may start it: by name with systemd-boot, or as a slot with U-Boot's script. A new system that is being fetched is not yet one.
fn is_system(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    lower.starts_with("efi/linux/") && lower.ends_with(".efi") || matches!(lower.as_str(), "slot_a.efi" | "slot_b.efi")
}

fn in_folder(path: &str, folder: &str) -> bool {
    path.get(..folder.len()).is_some_and(|start| start.eq_ignore_ascii_case(folder))
}

/// The sum of what is left to read.
fn sum_of(file: &mut File) -> std::io::Result<[u8; 32]> {
    let mut context = digest::Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(array(&context.finish())),
            read => context.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    array(&digest::digest(&SHA256, bytes))
}

fn array(digest: &digest::Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

fn whole(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        bail!("it is larger than any signed file of ours");
    }
    Ok(bytes)
}

/// What was found, and the digests.
fn say(found: &Found, sum: Option<&[u8; 32]>, out: &mut impl Write) -> std::io::Result<()> {
    if let Some(sum) = sum {
        writeln!(out, "SHA-256 of the whole file: {}", HEXLOWER.encode(sum))?;
    }
    match found {
        Found::Packed => writeln!(out, "packed by xz: unpack it (xz -dk) to see what is in it"),
        Found::Efi(efi) => say_efi("signed file", efi, out),
        Found::Card { files, programs } => {
            writeln!(out, "a card with {} files on its boot partition", files.len())?;
            programs.iter().try_for_each(|(path, efi)| say_efi(path, efi, out))
        }
    }
}

fn say_efi(name: &str, efi: &Efi, out: &mut impl Write) -> std::io::Result<()> {
    let unknown = "unknown";
    writeln!(
        out,
        "{name}: Sonde {}, number {}, Linux {}, {}",
        efi.stated("VERSION_ID").unwrap_or(unknown),
        efi.version().unwrap_or(unknown),
        efi.kernel.as_deref().unwrap_or(unknown),
        if efi.signed { "signed" } else { "NOT SIGNED" }
    )?;
    writeln!(out, "  digest {}", HEXLOWER.encode(&efi.digest))
}

fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| path.display().to_string())?;
    file.take(MAX_TEXT).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    Ok(text)
}

/// The release's list, whose signature holds if there is a key.
fn list(path: &Path, key: Option<&str>, out: &mut impl Write) -> Result<Sums> {
    let list = text(path)?;
    if let Some(key) = key {
        let file = Path::new(key);
        let key = if file.is_file() { text(file)? } else { key.to_owned() };
        let mut signature = path.as_os_str().to_owned();
        signature.push(".minisig");
        sums::signed(list.as_bytes(), &text(Path::new(&signature))?, &key)
            .with_context(|| path.display().to_string())?;
        writeln!(out, "{}: signed by the key that you gave", path.display())?;
    } else {
        writeln!(
            out,
            "{}: whoever gave you the file may have written this list too: --key checks its signature",
            path.display()
        )?;
    }
    Sums::parse(&list).with_context(|| path.display().to_string())
}

/// Whether the file is one of a list, or, of a card, whether its files are those of a boot partition that a list names.
fn compare_lists(found: &Found, sum: Option<&[u8; 32]>, lists: &[(&Path, Sums)], out: &mut impl Write) -> Result<bool> {
    let known = |sum: &[u8; 32]| lists.iter().find_map(|(_, sums)| sums.name_of(sum));
    if let Some(name) = sum.and_then(known) {
        writeln!(out, "the file is {name} of the list")?;
        return Ok(true);
    }
    let Found::Card { files, .. } = found else {
        writeln!(out, "the file is NOT one of the list")?;
        return Ok(false);
    };
    // A release has a card of either sort: the one that this is must be right in everything.
    let mut closest: Option<Vec<String>> = None;
    for (path, sums) in lists {
        for name in sums.names().filter(|name| name.ends_with(".boot.sha256") && !name.contains('/')) {
            let boot =
                text(&path.with_file_name(name)).context("to check a card, its list has to be beside SHA256SUMS")?;
            if sums.sum_of(name) != Some(&sha256(boot.as_bytes())) {
                writeln!(out, "{name} beside the list is NOT the one of the list")?;
                return Ok(false);
            }
            let boot = Sums::parse(&boot).with_context(|| name.to_owned())?;
            let complaints = differences(files, &boot, |sum| known(sum).is_some());
            if closest.as_ref().is_none_or(|fewest| complaints.len() < fewest.len()) {
                closest = Some(complaints);
            }
        }
    }
    let Some(complaints) = closest else {
        bail!("no list names one of a boot partition (….boot.sha256)");
    };
    for complaint in &complaints {
        writeln!(out, "{complaint}")?;
    }
    if complaints.is_empty() {
        writeln!(out, "the boot partition has the release's files and no others, beside your sonde.toml")?;
    }
    Ok(complaints.is_empty())
}

/// What is different about a boot partition; `is_known` tells the sums of what releases have signed. Pure.
fn differences(files: &[(String, [u8; 32])], boot: &Sums, is_known: impl Fn(&[u8; 32]) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let is_released = |(path, sum): &(String, [u8; 32])| is_system(path) && is_known(sum);
    for file in files {
        let (path, sum) = file;
        if is_released(file)
            || LEFT_BEHIND.iter().any(|known| {
                if known.ends_with('/') { in_folder(path, known) } else { path.eq_ignore_ascii_case(known) }
            })
        {
            continue;
        }
        match boot.sum_of(path) {
            None if is_system(path) => found.push(format!(
                "{path}: NOT a file of the release. A card that has taken an update has the systems of two: give the other's list, too \
                 (--sums once more)"
            )),
            None => found.push(format!("{path}: NOT a file of the release, and a board may start it")),
            Some(right) if right != sum => found.push(format!("{path}: NOT the release's, but changed")),
            Some(_) => {}
        }
    }
    // A system makes room for a newer one.
    let has_system = files.iter().any(is_released);
    for name in boot.names().filter(|name| !(has_system && is_system(name))) {
        if !files.iter().any(|(path, _)| path.eq_ignore_ascii_case(name)) {
            found.push(format!("{name}: missing"));
        }
    }
    found
}

fn digests(found: &Found) -> Vec<[u8; 32]> {
    match found {
        Found::Efi(efi) => vec![efi.digest],
        Found::Card { programs, .. } => programs.iter().map(|(_, efi)| efi.digest).collect(),
        Found::Packed => Vec::new(),
    }
}

/// Whether every signed file is the one that was built.
fn compare_digests(found: &Found, against: &Path, out: &mut impl Write) -> Result<bool> {
    let (other, _) = look(against)?;
    let (ours, theirs) = (digests(&other), digests(found));
    if ours.is_empty() || theirs.is_empty() {
        bail!("a packed image has no digest: unpack it (xz -dk) first");
    }
    let same = theirs.iter().all(|digest| ours.contains(digest));
    let word = if same { "has" } else { "does NOT have" };
    writeln!(out, "the signed file {word} the digest of {}", against.display())?;
    if same && matches!(found, Found::Card { .. }) {
        writeln!(out, "(the card's other files, boot loader and firmware, are compared by --sums)")?;
    }
    Ok(same)
}

#[cfg(test)]
#[path = "verify_image/tests.rs"]
mod tests;
