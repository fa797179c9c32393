//! What there is to see of a repository: its newest root, a table for people, and whether boards would take it.

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use sonde_update::log::tree::Tree;
use sonde_update::metadata::RoleName;
use sonde_update::moment::Moment;
use sonde_update::release::Release;
use sonde_update::repository::TARGETS;

use super::change::DAY;
use super::folder::{Files, Folder};
use super::repository::Repository;
use super::walk;

/// How many days before the end one is told.
pub const SOON: u64 = 14;

/// The newest root, as it is.
pub fn root(folder: &Folder) -> Result<String> {
    let root = Repository::load(folder)?.root.file;
    String::from_utf8(root).context("the root is no text")
}

/// The first thing that is wrong as an error, or that all is in order, and what will soon not be.
pub fn check(folder: &Folder, now: Moment) -> Result<String> {
    if !folder.exists() {
        bail!("there are no releases in {}: `release init` begins", folder.path().display());
    }
    let walked = walk::fresh(folder, now).context("a board would say")?;
    let repository = Repository::load(folder)?;
    let (releases, problems) = Release::all(&walked.targets);
    if let Some(problem) = problems.first() {
        bail!("a board could not read a release: {problem}");
    }
    for release in &releases {
        let name = release.file_name(true);
        let image = folder.read(&format!("{TARGETS}/{name}"))?;
        let image = image.with_context(|| format!("the image of release {} is not there: {name}", release.version))?;
        let cannot = || format!("the image of release {} is damaged: {name}", release.version);
        if image.len() as u64 != release.length {
            bail!("{}: it has {} bytes instead of {}", cannot(), image.len(), release.length);
        }
        release.hashes.check(&image).with_context(cannot)?;
    }
    let mut said = format!(
        "in order: {} on the list, {} in the log\n",
        count(releases.len(), "release", "releases"),
        count(repository.entries.len(), "entry", "entries")
    );
    for (role, expires) in dates(&repository) {
        if expires <= now.plus_seconds(SOON * DAY) && role != RoleName::Timestamp {
            said += &format!("soon: {} expires at {expires} ({})\n", role.file(), left(expires, now));
        }
    }
    if repository.timestamp.body.head.expires <= now.plus_seconds(2 * DAY) {
        let expires = repository.timestamp.body.head.expires;
        said += &format!("soon: timestamp.json expires at {expires} ({})\n", left(expires, now));
    }
    let named: Vec<String> = releases.iter().map(|release| release.file_name(true)).collect();
    for name in folder.list(TARGETS)?.iter().filter(|name| !named.contains(name)) {
        said += &format!("note: {TARGETS}/{name} is on no list\n");
    }
    Ok(said)
}

/// A table for people.
pub fn status(folder: &Folder, now: Moment) -> Result<String> {
    let repository = Repository::load(folder)?;
    let mut rows = vec![["NUMBER", "NAME", "FOR", "MB", "PERCENT", "NOT BEFORE"].map(str::to_owned)];
    for release in repository.releases() {
        rows.push([
            release.version.to_string(),
            release.name.clone(),
            release.architecture.clone(),
            format!("{}.{}", release.length / 1_000_000, release.length / 100_000 % 10),
            release.percentage.to_string(),
            release.not_before.to_string(),
        ]);
    }
    let mut text = if rows.len() == 1 { "no release is on the list\n".to_owned() } else { table(&rows) };
    text.push('\n');
    text += &expiries(&repository, now);
    let tree = Tree::new(repository.entries.iter().map(Vec::as_slice));
    text += &format!(
        "\nlog        {}, root {}\n",
        count(repository.entries.len(), "entry", "entries"),
        HEXLOWER.encode(&tree.root())
    );
    if let Some(log) = &repository.root.body.log {
        text += &format!("log's key  {}\n", log.to_string().escape_default());
    }
    match walk::fresh(folder, now) {
        Ok(_) => {}
        Err(stopped) => text += &format!("\nNOT IN ORDER, boards install nothing: {stopped}\n"),
    }
    Ok(text)
}

/// When each file expires, a line each.
pub fn expiries(repository: &Repository, now: Moment) -> String {
    dates(repository)
        .map(|(role, expires)| format!("{:<10} until {expires} ({})\n", role.name(), left(expires, now)))
        .concat()
}

/// When each file expires.
pub fn dates(repository: &Repository) -> [(RoleName, Moment); 4] {
    [
        (RoleName::Root, repository.root.body.head.expires),
        (RoleName::Targets, repository.targets.body.head.expires),
        (RoleName::Snapshot, repository.snapshot.body.head.expires),
        (RoleName::Timestamp, repository.timestamp.body.head.expires),
    ]
}

/// How long that is, in words.
pub fn left(expires: Moment, now: Moment) -> String {
    let seconds = expires.0.saturating_sub(now.0);
    let day = i64::try_from(DAY).unwrap_or(i64::MAX);
    match seconds / day {
        _ if seconds <= 0 => "EXPIRED".to_owned(),
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// So many of something.
pub fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width =
                rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
            line += &format!("{cell:<width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
