//! Both sides of TUF for `tests/compat/tuf`, which holds them against python-tuf.
//!
//! `walk` is one walk of the client. Line by line: standard input first says, as JSON, the built-in root, what was kept (both in base 64)
//! and the time in seconds; then the program prints what it wants and reads what came, and prints after each step what to keep.
//!
//! `make DIRECTORY` writes a repository as an operator makes it: three roots with changing keys, two signatures on the targets.

use std::io::{self, BufRead, Write};
use std::path::Path;

use data_encoding::BASE64;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};
use sonde_update::client::{Kept, Update, UpdateError, Want};
use sonde_update::hashes::Hashes;
use sonde_update::metadata::{Head, MetaFile, RoleName};
use sonde_update::moment::Moment;
use sonde_update::release::Release;
use sonde_update::sign::{Draft, RootPlan, public};

type Anything = Box<dyn std::error::Error>;

fn main() -> Result<(), Anything> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["walk"] => walk(&mut io::stdin().lock().lines(), &mut io::stdout().lock()),
        ["make", directory] => make(Path::new(directory)),
        _ => Err("usage: interop walk | interop make DIRECTORY".into()),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Anything> {
    BASE64.decode(text.as_bytes()).map_err(|error| error.to_string().into())
}

type Lines<'a> = dyn Iterator<Item = io::Result<String>> + 'a;

fn walk(lines: &mut Lines<'_>, out: &mut impl Write) -> Result<(), Anything> {
    let mut next = move || lines.next().ok_or("the input ended early")?.map_err(Anything::from);
    let start: Value = serde_json::from_str(&next()?)?;
    let file = |name: &str| -> Result<Option<Vec<u8>>, Anything> { start[name].as_str().map(decode).transpose() };
    let kept = Kept {
        root: file("root")?,
        timestamp: file("timestamp")?,
        snapshot: file("snapshot")?,
        targets: file("targets")?,
        ..Kept::default()
    };
    let now = Moment(start["now"].as_i64().ok_or("no time")?);
    let mut update = match Update::begin(&file("built_in")?.unwrap_or_default(), kept, now) {
        Ok(update) => update,
        Err(error) => return fail(out, &error),
    };
    loop {
        let base64 = |file: &Option<Vec<u8>>| file.as_ref().map(|file| BASE64.encode(file));
        let kept = update.kept();
        let kept = json!({
            "root": base64(&kept.root), "timestamp": base64(&kept.timestamp),
            "snapshot": base64(&kept.snapshot), "targets": base64(&kept.targets),
        });
        writeln!(out, "kept {kept}")?;
        match update.want() {
            Want::Nothing => break,
            Want::File { name, at_most, .. } => writeln!(out, "want {name} {at_most}")?,
            Want::Proof { targets, since, .. } => writeln!(out, "proof {targets} {since}")?,
        }
        out.flush()?;
        let answer = next()?;
        let step = match answer.strip_prefix("file ") {
            Some(file) => update.give(&decode(file)?),
            None => update.missing(),
        };
        if let Err(error) = step {
            return fail(out, &error);
        }
    }
    let targets = update.targets().ok_or("the walk ended without targets")?;
    let (releases, problems) = Release::all(targets);
    let lengths: Value = targets.targets.iter().map(|(path, target)| (path.clone(), json!(target.length))).collect();
    let releases: Vec<String> = releases.into_iter().map(|release| release.name).collect();
    writeln!(out, "done {}", json!({ "targets": lengths, "releases": releases, "problems": problems.len() }))?;
    Ok(())
}

/// The kind of the error, which the caller turns into python-tuf's, and its words.
fn fail(out: &mut impl Write, error: &UpdateError) -> Result<(), Anything> {
    let kind = match error {
        UpdateError::Missing(_) => "missing",
        UpdateError::TooLong { .. } => "too-long",
        UpdateError::Format { .. } | UpdateError::Removed(_) | UpdateError::NotListed | UpdateError::Unasked => {
            "repository"
        }
        UpdateError::Signatures { .. } => "unsigned",
        UpdateError::RootVersion { .. } | UpdateError::Rollback { .. } | UpdateError::OtherVersion { .. } => "version",
        UpdateError::NotAnnounced { .. } => "announced",
        UpdateError::Expired { .. } => "expired",
        UpdateError::Log(_) => "log",
    };
    writeln!(out, "error {kind} {error}")?;
    Ok(())
}

fn pair(seed: u8) -> Result<Ed25519KeyPair, Anything> {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).map_err(|_| "not a seed".into())
}

fn make(directory: &Path) -> Result<(), Anything> {
    let expires = Moment::parse("2126-01-01T00:00:00Z").ok_or("not a date")?;
    let head = |version| Head { version, expires };
    let signed = |mut draft: Draft, seeds: &[u8]| -> Result<Vec<u8>, Anything> {
        for seed in seeds {
            draft.sign(&pair(*seed)?);
        }
        Ok(draft.file())
    };
    let (metadata, images) = (directory.join("metadata"), directory.join("targets"));
    std::fs::create_dir_all(&metadata)?;
    std::fs::create_dir_all(&images)?;
    // The first root's keys, then one of them exchanged, then all but one, and three of three.
    let roots: [(&[u8], usize, &[u8]); 3] =
        [(&[1, 2, 3], 2, &[1, 2]), (&[2, 3, 4], 2, &[2, 3]), (&[4, 5, 6], 3, &[2, 4, 5, 6, 3])];
    for (version, (keys, threshold, signers)) in (1..).zip(roots) {
        let publics =
            |seeds: &[u8]| seeds.iter().map(|seed| Ok(public(&pair(*seed)?))).collect::<Result<Vec<_>, Anything>>();
        let roles = [
            (RoleName::Root, (publics(keys)?, threshold)),
            (RoleName::Targets, (publics(&[11, 12, 13])?, 2)),
            (RoleName::Snapshot, (publics(&[21])?, 1)),
            (RoleName::Timestamp, (publics(&[31])?, 1)),
        ];
        let plan = RootPlan { head: head(version), roles: roles.into(), log: None };
        std::fs::write(metadata.join(format!("{version}.root.json")), signed(Draft::root(&plan)?, signers)?)?;
    }
    let image = b"an image".repeat(1000);
    let release = Release {
        path: "aarch64/sonde-12.efi".to_owned(),
        length: image.len() as u64,
        hashes: Hashes::sha256_of(&image),
        version: 12,
        name: "0.4.1".to_owned(),
        architecture: "aarch64".to_owned(),
        percentage: 10,
        not_before: expires,
    };
    let place = images.join(release.file_name(true));
    std::fs::create_dir_all(place.parent().ok_or("no folder")?)?;
    std::fs::write(place, image)?;
    let targets = signed(Draft::targets(head(7), &[(release.path.clone(), release.to_target())].into())?, &[11, 13])?;
    let snapshot = signed(Draft::snapshot(head(8), &MetaFile::of(7, &targets))?, &[21])?;
    let timestamp = signed(Draft::timestamp(head(9), &MetaFile::of(8, &snapshot))?, &[31])?;
    std::fs::write(metadata.join("7.targets.json"), targets)?;
    std::fs::write(metadata.join("8.snapshot.json"), snapshot)?;
    std::fs::write(metadata.join("timestamp.json"), timestamp)?;
    Ok(())
}
