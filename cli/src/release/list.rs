//! Changes of the list of releases: what each makes of the list that there is.

use anyhow::{Result, bail};
use sonde_update::metadata::Targets;
use sonde_update::release::Release;

use super::change;
use super::folder::NewFile;
use super::image::Image;
use super::repository::Repository;

/// A change of the list.
#[derive(Debug)]
pub enum ListChange {
    /// Another image.
    Add(Box<Image>, Release),
    /// How many of a hundred take a release.
    RollOut(u64, u8),
    /// A release goes.
    Withdraw(u64),
    /// The same list with another expiry.
    Same,
}

impl ListChange {
    /// Changes the list, and gives what has to be there before it is published.
    pub fn apply(&self, repository: &Repository, targets: &mut Targets) -> Result<Vec<NewFile>> {
        match self {
            Self::Add(image, release) => {
                repository.admits(release)?;
                targets.targets.insert(release.path.clone(), release.to_target());
                return Ok(vec![change::image(release, image.bytes.clone())]);
            }
            Self::RollOut(number, percentage) => {
                for release in numbered(targets, *number)? {
                    let release = Release { percentage: *percentage, ..release };
                    targets.targets.insert(release.path.clone(), release.to_target());
                }
            }
            Self::Withdraw(number) => {
                for release in numbered(targets, *number)? {
                    targets.targets.remove(&release.path);
                }
            }
            Self::Same => {}
        }
        Ok(Vec::new())
    }

    /// What has changed, once it has.
    pub fn said(&self) -> String {
        match self {
            Self::Add(_, Release { version, name, percentage, .. }) => {
                format!("release {version} ({name}) is on the list, for {percentage} of a hundred probes\n")
            }
            Self::RollOut(number, percentage) => {
                format!("release {number} is for {percentage} of a hundred probes now\n")
            }
            Self::Withdraw(number) => format!("release {number} is off the list; boards that run it keep it\n"),
            Self::Same => "the list is the same\n".to_owned(),
        }
    }
}

/// The releases of this number, one for each architecture.
fn numbered(targets: &Targets, number: u64) -> Result<Vec<Release>> {
    let (mut releases, _) = Release::all(targets);
    releases.retain(|release| release.version == number);
    if releases.is_empty() {
        bail!("there is no release {number} on the list: `release status` shows them");
    }
    Ok(releases)
}
