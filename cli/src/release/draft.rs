//! Files on their way from hand to hand: for keys that lie with different people. A draft is the file itself with the signatures that it
//! has so far; whoever signs sees what it says first.

use std::path::Path;

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use sonde_update::metadata::{RoleName, Root, Signed, Targets};
use sonde_update::moment::Moment;
use sonde_update::release::Release;
use sonde_update::repository::TARGETS;
use sonde_update::sign::{Draft, public};

use super::change::{Maker, Terms, enough, publish};
use super::folder::{self, Folder};
use super::keys::{self, Keyring};
use super::list::ListChange;
use super::repository::Repository;
use super::rotate::{self, Exchange};

/// Somebody's draft.
enum Carried {
    Root(Signed<Root>),
    Targets(Signed<Targets>),
}

/// Writes a list that nobody has signed. The image of a new release is put in its place already, and announced by nothing yet.
pub fn list(folder: &Folder, change: &ListChange, expires: Option<u64>, out: &Path, now: Moment) -> Result<String> {
    let _lock = super::lock(folder)?;
    let repository = Repository::load(folder)?;
    let mut targets = repository.targets.body.clone();
    let images = change.apply(&repository, &mut targets)?;
    let keys = Keyring::default();
    let terms = Terms::of(&[RoleName::Targets], expires);
    let maker = Maker { repository: &repository, keys: &keys, next_root: None, now, terms };
    let draft = maker.targets_draft(&targets.targets)?;
    for image in &images {
        folder.apply(image)?;
    }
    write(out, &draft.file())
}

/// Writes a root that nobody has signed.
pub fn root(folder: &Folder, asked: &Exchange, expires: Option<u64>, out: &Path, now: Moment) -> Result<String> {
    let repository = Repository::load(folder)?;
    let mut plan = rotate::same(&repository, &Terms::of(&[RoleName::Root], expires), now);
    rotate::exchange(&mut plan, asked, None, &mut Keyring::default())?;
    write(out, &Draft::root(&plan)?.file())
}

fn write(out: &Path, file: &[u8]) -> Result<String> {
    folder::write(out, file).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(format!("{}\nto be signed: {}\n", describe(&read(file)?), out.display()))
}

fn open(path: &Path) -> Result<Vec<u8>> {
    let at_most = RoleName::Targets.most_bytes();
    folder::read(path, at_most)?.with_context(|| format!("there is no {}", path.display()))
}

fn read(file: &[u8]) -> Result<Carried> {
    match (Signed::parse(file), Signed::parse(file)) {
        (Ok(root), _) => Ok(Carried::Root(root)),
        (_, Ok(targets)) => Ok(Carried::Targets(targets)),
        (Err(_), Err(error)) => Err(error).context("this is neither a root nor a list of releases"),
    }
}

/// What somebody signs, in words.
fn describe(carried: &Carried) -> String {
    match carried {
        Carried::Targets(Signed { body, .. }) => {
            let mut text = format!("list of releases, version {}, until {}\n", body.head.version, body.head.expires);
            let (releases, problems) = Release::all(body);
            for release in &releases {
                let hash = release.hashes.named().map(|(name, hash)| format!("{name} {hash}")).collect::<Vec<_>>();
                text += &format!(
                    "  {} ({}) for {}, {} of a hundred from {} on\n    {} bytes, {}\n",
                    release.version,
                    release.name,
                    release.architecture,
                    release.percentage,
                    release.not_before,
                    release.length,
                    hash.join(", ")
                );
            }
            if releases.is_empty() {
                text += "  no release\n";
            }
            // Nobody signs what he is not shown.
            for path in body.targets.keys().filter(|path| releases.iter().all(|release| release.path != **path)) {
                text += &format!("  {path}, which is no release\n");
            }
            problems.iter().for_each(|problem| text += &format!("  CANNOT BE READ: {problem}\n"));
            text
        }
        Carried::Root(Signed { body, .. }) => {
            let mut text = format!("root, version {}, until {}\n", body.head.version, body.head.expires);
            for role in RoleName::ALL {
                let of_role = body.role(role);
                text += &format!("  {}: {} of {} must sign\n", role.name(), of_role.threshold, of_role.keys.len());
                of_role.keys.iter().for_each(|id| text += &format!("    {id}\n"));
            }
            match &body.log {
                Some(log) => text += &format!("  log: {}\n", log.to_string().escape_default()),
                None => text += "  no log\n",
            }
            if !body.consistent_snapshot {
                text += "  names of files without versions, which is not how this program writes them\n";
            }
            text
        }
    }
}

/// Says what a draft is.
pub fn show(path: &Path) -> Result<String> {
    Ok(describe(&read(&open(path)?)?))
}

/// Signs a draft with a key.
pub fn sign(path: &Path, key: &Path) -> Result<String> {
    let file = open(path)?;
    let described = describe(&read(&file)?);
    let ring = Keyring::of_file(key)?;
    let mut draft = Draft::reopen(&file)?;
    let mut said = described;
    for pair in ring.pairs() {
        draft.sign(pair);
        said += &format!("signed by {}\n", public(pair).id());
    }
    folder::write(path, &draft.file()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(said)
}

/// The very bytes that a signature is over, for a token that signs outside of this program.
pub fn payload(path: &Path, out: &Path) -> Result<String> {
    let file = open(path)?;
    let described = describe(&read(&file)?);
    folder::write(out, &Draft::reopen(&file)?.to_sign()).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(format!("{described}to be signed by the token: {}\n", out.display()))
}

/// Adds a signature that was made outside of this program.
pub fn attach(path: &Path, key: &Path, signature: &Path) -> Result<String> {
    let file = open(path)?;
    read(&file)?;
    let key = keys::read_public(key)?;
    let signature = folder::read(signature, 1024)?.with_context(|| format!("there is no {}", signature.display()))?;
    let mut draft = Draft::reopen(&file)?;
    if !key.verify(&draft.to_sign(), &signature) {
        bail!("this is no signature by {} over {}: {}", key.id(), path.display(), HEXLOWER.encode(&signature));
    }
    draft.attach(key.id(), &signature);
    folder::write(path, &draft.file()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("signed by {}\n", key.id()))
}

/// Publishes a draft that enough have signed; what must follow it is made with the keys at hand.
pub fn publish_draft(folder: &Folder, keys: &Keyring, path: &Path, now: Moment) -> Result<String> {
    let _lock = super::lock(folder)?;
    let file = open(path)?;
    let carried = read(&file)?;
    let repository = Repository::load(folder)?;
    match &carried {
        Carried::Root(_) => {
            let (files, waits) = rotate::files(&repository, keys, file, Terms::default(), now)?;
            let said = publish(&repository.folder, &repository.releases(), &files, now)?;
            Ok(format!("{}published\n{}{said}", describe(&carried), if waits { rotate::WAITED } else { "" }))
        }
        Carried::Targets(list) => {
            let expected = repository.next_version(RoleName::Targets);
            if list.body.head.version != expected {
                bail!(
                    "this list has version {}, and the next one is {expected}: something was published since; make it again",
                    list.body.head.version
                );
            }
            enough(RoleName::Targets, &file, &repository.root.body)?;
            let listed = repository.releases();
            for release in Release::all(&list.body).0 {
                let is_known = |other: &Release| other.path == release.path && other.hashes == release.hashes;
                if !listed.iter().any(is_known) {
                    repository.admits(&release)?;
                }
                if folder.target_length(&release.file_name(true)).is_none() {
                    bail!("the image of release {} is not in {TARGETS}/: {}", release.version, release.file_name(true));
                }
            }
            let maker = Maker { repository: &repository, keys, next_root: None, now, terms: Terms::default() };
            let files = maker.with_targets(file, expected)?;
            let said = publish(&repository.folder, &listed, &files, now)?;
            Ok(format!("{}published\n{said}", describe(&carried)))
        }
    }
}
