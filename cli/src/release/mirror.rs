//! Another network's releases, such as upstream's: copied after they were checked as a board would, with a root that the operator trusts.
//! Nothing is signed here, so nothing can be changed either; the copy is as old as the last time that it was made.

use std::path::Path;

use anyhow::{Context, Result, bail};
use sonde_update::client::Kept;
use sonde_update::log;
use sonde_update::metadata::{RoleName, Root, Signed};
use sonde_update::moment::Moment;
use sonde_update::release::Release;
use sonde_update::repository::{LOG_CHECKPOINT, LOG_ENTRIES, METADATA, MetadataName, TARGETS};

use super::change::{first_root, publish};
use super::folder::{self, After, Files, Folder, NewFile};
use super::look;
use super::repository::Repository;
use super::walk::{self, NO_TIME};

/// Copies what is in `from`, if it is in order and continues what was copied before.
pub fn mirror(folder: &Folder, from: &Path, root: Option<&Path>, now: Moment) -> Result<String> {
    let theirs = Folder::at(from);
    let ours = folder.exists();
    let (kept, known) = match ours {
        true if first_root(folder)? != first_root(&theirs)? => {
            bail!("{} has other releases than {}: their first roots differ", from.display(), folder.path().display())
        }
        true => (
            walk::fresh(folder, NO_TIME).map(|walked| walked.kept).unwrap_or_default(),
            Repository::load(folder)?.releases(),
        ),
        false => (Kept::default(), Vec::new()),
    };
    match root {
        Some(path) => trusts(&theirs, path)?,
        None if ours => {}
        None => bail!("name the root that you trust with --root: it came to you with the image, or by hand"),
    }
    let theirs_in_order = walk::walk(&theirs, &first_root(&theirs)?, kept, now);
    let walked = theirs_in_order.with_context(|| format!("what is in {} is not taken", from.display()))?;
    folder.make()?;
    let _lock = folder.lock()?;
    let mut images = 0;
    for release in Release::all(&walked.targets).0 {
        images += copy_image(&theirs, folder, &release)?;
    }
    let files = files(&theirs, folder, &Repository::load(&theirs)?)?;
    let said = publish(folder, &known, &files, now)?;
    let images = look::count(images, "image", "images");
    Ok(format!("{} files and {images} copied\n{said}{}", files.len(), look::check(folder, now)?))
}

/// Is this root one of the chain?
fn trusts(theirs: &Folder, path: &Path) -> Result<()> {
    let bytes =
        folder::read(path, RoleName::Root.most_bytes())?.with_context(|| format!("there is no {}", path.display()))?;
    let version =
        Signed::<Root>::parse(&bytes).with_context(|| format!("{} is no root", path.display()))?.body.head.version;
    let name = MetadataName::new(RoleName::Root, version);
    if theirs.read(&format!("{METADATA}/{name}"))?.as_deref() != Some(&bytes) {
        bail!("{} is none of the roots there: it differs from {name}", path.display());
    }
    Ok(())
}

/// Copies an image that is not here, or damaged, one at a time: they are large, and announced by nothing yet.
fn copy_image(theirs: &Folder, ours: &Folder, release: &Release) -> Result<usize> {
    let name = format!("{TARGETS}/{}", release.file_name(true));
    if ours.read(&name)?.is_some_and(|image| release.hashes.check(&image).is_ok()) {
        return Ok(0);
    }
    let bytes = theirs.read(&name)?.with_context(|| format!("there is no {name}"))?;
    release.hashes.check(&bytes).with_context(|| format!("the image of release {}", release.version))?;
    ours.apply(&NewFile { name, bytes })?;
    Ok(1)
}

/// What has to be copied beside the images, in the order in which boards that ask meanwhile are content.
fn files(theirs: &Folder, ours: &Folder, there: &Repository) -> Result<Vec<NewFile>> {
    let read = |name: String| -> Result<NewFile> {
        let bytes = theirs.read(&name)?.with_context(|| format!("there is no {name}"))?;
        Ok(NewFile { name, bytes })
    };
    let mut files = Vec::new();
    files.push(read(LOG_ENTRIES.to_owned())?);
    files.push(read(LOG_CHECKPOINT.to_owned())?);
    let mut roots = Vec::new();
    for name in theirs.metadata()? {
        let path = format!("{METADATA}/{name}");
        let is_new = ours.read(&path)?.is_none();
        match (name.role, name.version) {
            (RoleName::Root, Some(version)) if is_new && version <= there.root.body.head.version => {
                roots.push(read(path)?)
            }
            // Old lists are for people who read the log: only what stands in it.
            (RoleName::Targets, Some(version)) if is_new => {
                let list = read(path)?;
                let entry = log::entry(version, &list.bytes);
                if there.entries.contains(&entry) || list.bytes == there.targets.file {
                    files.push(list);
                }
            }
            (RoleName::Snapshot, Some(version)) if version == there.snapshot.body.head.version => {
                files.push(read(path)?)
            }
            _ => {}
        }
    }
    files.push(read(format!("{METADATA}/{}", MetadataName::new(RoleName::Timestamp, 0)))?);
    if !ours.exists() {
        // Without the first root there are no releases: it comes last.
        files.extend(roots.into_iter().rev());
        return Ok(files);
    }
    let after = After { folder: ours, writes: &files };
    if walk::fresh(&after, NO_TIME).is_ok() {
        files.extend(roots);
    } else {
        files.splice(0..0, roots);
    }
    Ok(files)
}
