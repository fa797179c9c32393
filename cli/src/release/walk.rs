//! Walks through a repository as a board does, with the board's own code ([`client::Update`]): what it says is in order is what boards
//! take.
//!
//! [`client::Update`]: sonde_update::client::Update

use anyhow::{Context, Result, anyhow};
use sonde_update::client::{Kept, Update, UpdateError, Want};
use sonde_update::log::proof::Evidence;
use sonde_update::log::tree::Tree;
use sonde_update::log::{self, Checkpoint};
use sonde_update::metadata::{RoleName, Root, Targets};
use sonde_update::moment::Moment;
use sonde_update::repository::{self, LOG_CHECKPOINT, LOG_ENTRIES, METADATA, MetadataName};

use super::folder::Files;

/// What a board would trust at the end.
#[derive(Debug)]
pub struct Walked {
    /// What it would write down.
    pub kept: Kept,
    /// The newest root.
    pub root: Root,
    /// What it may install.
    pub targets: Targets,
}

/// Where a walk ended early.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// A board would say this.
    #[error(transparent)]
    Refused(#[from] UpdateError),
    /// The files could not be read.
    #[error("{0:#}")]
    Files(anyhow::Error),
}

/// A time before everything expires: a walk then sees everything but dates.
pub const NO_TIME: Moment = Moment(i64::MIN);

/// Walks from the repository's first root on.
pub fn fresh(files: &dyn Files, now: Moment) -> Result<Walked, Stopped> {
    let first = format!("{METADATA}/{}", MetadataName::new(RoleName::Root, 1));
    let root = files.read(&first).and_then(|root| root.with_context(|| format!("there is no {first}")));
    walk(files, &root.map_err(Stopped::Files)?, Kept::default(), now)
}

/// Walks with the image's root and what was kept.
pub fn walk(files: &dyn Files, built_in: &[u8], kept: Kept, now: Moment) -> Result<Walked, Stopped> {
    let mut update = Update::begin(built_in, kept, now)?;
    loop {
        let file = match update.want() {
            Want::Nothing => break,
            Want::File { name, at_most, .. } => {
                let file = files.read(&format!("{METADATA}/{name}")).map_err(Stopped::Files)?;
                // As the reader of a board does.
                match file {
                    Some(file) if file.len() as u64 > at_most => {
                        return Err(UpdateError::TooLong { file: name, at_most }.into());
                    }
                    other => other,
                }
            }
            Want::Proof { targets, since, .. } => prove(files, targets, since).map_err(Stopped::Files)?,
        };
        match file {
            Some(file) => update.give(&file)?,
            None => update.missing()?,
        }
    }
    let (kept, root) = (update.kept().clone(), update.root().clone());
    let targets = update.targets().cloned().ok_or_else(|| Stopped::Files(anyhow!("the walk ended without targets")))?;
    Ok(Walked { kept, root, targets })
}

/// What the log says of a list of targets, as a server tells it.
fn prove(files: &dyn Files, targets: u64, since: u64) -> Result<Option<Vec<u8>>> {
    let name = MetadataName::new(RoleName::Targets, targets);
    let (Some(checkpoint), Some(entries), Some(file)) =
        (files.read(LOG_CHECKPOINT)?, files.read(LOG_ENTRIES)?, files.read(&format!("{METADATA}/{name}"))?)
    else {
        return Ok(None);
    };
    let size = Checkpoint::size_of(&checkpoint).context("the log's checkpoint has no size")?;
    let entries = repository::entries(&entries, size).context("the log has fewer entries than its checkpoint says")?;
    let entry = log::entry(targets, &file);
    let Some(index) = entries.iter().position(|other| **other == entry) else { return Ok(None) };
    let tree = Tree::new(entries);
    Ok(Evidence::of(&tree, since, index as u64, checkpoint).map(|evidence| evidence.write()))
}
