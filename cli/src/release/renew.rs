//! Signs anew what expires: by hand, or by itself where a server has the keys.
//!
//! [`tend`] is one look, with the time as an argument; [`keep`] is the loop around it.

use std::time::Duration;

use anyhow::{Result, bail};
use sonde_protocol::time::UnixNanos;
use sonde_update::metadata::{RoleName, Root};
use sonde_update::moment::Moment;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use super::change::{DAY, Maker, Terms, publish};
use super::folder::{Folder, NewFile};
use super::keys::Keyring;
use super::look::{self, SOON};
use super::repository::Repository;
use super::{rotate, walk};

/// How often a server looks.
const BEAT: Duration = Duration::from_secs(10 * 60);

/// A timestamp is renewed when it is good for no longer than this: it is made for seven days, so that is each day, and after six days without
/// the server there is a day to notice.
const TIMESTAMP_LEFT: u64 = 6 * DAY;

/// A snapshot is renewed when it is good for no longer than this, and with it the timestamp.
const SNAPSHOT_LEFT: u64 = 30 * DAY;

/// Renews these roles, or without any what the keys at hand are enough for, roots aside.
pub fn by_hand(
    folder: &Folder,
    keys: &Keyring,
    roles: &[RoleName],
    expires: Option<u64>,
    now: Moment,
) -> Result<String> {
    let _lock = super::lock(folder)?;
    let mut repository = Repository::load(folder)?;
    let able = |role: &RoleName| can_sign(keys, &repository.root.body, *role);
    let renewable = [RoleName::Targets, RoleName::Snapshot, RoleName::Timestamp];
    let mut roles: Vec<RoleName> =
        if roles.is_empty() { renewable.into_iter().filter(able).collect() } else { roles.to_vec() };
    if roles.is_empty() {
        bail!("no key is at hand that could renew anything: name a folder of keys with --keys");
    }
    let terms = Terms::of(&roles, expires);
    let mut said = String::new();
    if roles.contains(&RoleName::Root) {
        let root = rotate::signed(&rotate::same(&repository, &terms, now), &repository.root.body, keys)?;
        let (files, _) = rotate::files(&repository, keys, root, terms.clone(), now)?;
        said = publish(folder, &repository.releases(), &files, now)?;
        repository = Repository::load(folder)?;
        roles.retain(|role| *role != RoleName::Root);
    }
    if !roles.is_empty() {
        let maker = Maker { repository: &repository, keys, next_root: None, now, terms };
        said = publish(folder, &repository.releases(), &renewed(&maker, &roles)?, now)?;
    }
    Ok(format!("{}{said}", look::expiries(&Repository::load(folder)?, now)))
}

/// Are enough keys of a role at hand?
pub fn can_sign(keys: &Keyring, root: &Root, role: RoleName) -> bool {
    let of_role = root.role(role);
    let here = of_role.keys.iter().filter_map(|id| root.keys.get(id)).filter(|key| keys.of(key).is_some());
    here.count() >= of_role.threshold
}

/// New files of the first of these roles in the chain, and of all that must follow it.
pub fn renewed(maker: &Maker<'_>, roles: &[RoleName]) -> Result<Vec<NewFile>> {
    let repository = maker.repository;
    if roles.contains(&RoleName::Targets) {
        let draft = maker.targets_draft(&repository.targets.body.targets)?;
        let file = maker.sign(RoleName::Targets, draft)?;
        maker.with_targets(file, maker.head(RoleName::Targets).version)
    } else if roles.contains(&RoleName::Snapshot) {
        maker.with_snapshot(&maker.same_targets())
    } else {
        maker.with_timestamp(&maker.same_snapshot())
    }
}

/// What one look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tended {
    /// What was renewed.
    pub renewed: Vec<RoleName>,
    /// What a person has to look after.
    pub warnings: Vec<String>,
    /// When the first of the files expires that a board needs.
    pub expires: Option<Moment>,
}

/// Renews what is due and for which the server has keys, and says what will soon expire without one. Nothing where there are no releases.
pub fn tend(folder: &Folder, now: Moment) -> Result<Tended> {
    if !folder.exists() {
        return Ok(Tended::default());
    }
    let mut renewed = Vec::new();
    let keys = Keyring::open_if_there(&folder.keys())?;
    let repository = Repository::load(folder)?;
    let able = RoleName::ALL.map(|role| (role, can_sign(&keys, &repository.root.body, role)));
    let able = |role| able.contains(&(role, true));
    // The timestamp's key alone keeps boards going until the snapshot expires.
    let due = due(&repository, now).into_iter().find(|role| able(*role) && able(RoleName::Timestamp));
    if let Some(role) = due {
        renewed = renew_one(folder, &keys, role, now)?;
    }
    let repository = if renewed.is_empty() { repository } else { Repository::load(folder)? };
    let mut warnings: Vec<String> = look::dates(&repository)
        .into_iter()
        .filter(|(role, expires)| {
            // What is renewed by itself has no more than that.
            let by_itself = match role {
                RoleName::Timestamp => able(RoleName::Timestamp),
                RoleName::Snapshot => able(RoleName::Snapshot) && able(RoleName::Timestamp),
                _ => false,
            };
            let soon = if *role == RoleName::Timestamp { 2 * DAY } else { SOON * DAY };
            !by_itself && *expires <= now.plus_seconds(soon)
        })
        .map(|(role, expires)| {
            format!(
                "{} expires at {expires} ({}), and the server has no key to renew it",
                role.file(),
                look::left(expires, now)
            )
        })
        .collect();
    if let Err(stopped) = walk::fresh(folder, now) {
        warnings.push(format!("boards install nothing: {stopped}"));
    }
    let expires = look::dates(&repository).into_iter().map(|(_, expires)| expires).min();
    Ok(Tended { renewed, warnings, expires })
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn left(repository: &Repository, role: RoleName, now: Moment) -> i64 {
    let expires = look::dates(repository).into_iter().find(|(other, _)| *other == role).map(|(_, expires)| expires);
    expires.unwrap_or(now).0.saturating_sub(now.0)
}

/// The roles that are to be renewed; the first one that can be takes the others with it.
fn due(repository: &Repository, now: Moment) -> Vec<RoleName> {
    let bounds = [(RoleName::Snapshot, SNAPSHOT_LEFT), (RoleName::Timestamp, TIMESTAMP_LEFT)];
    bounds
        .into_iter()
        .filter(|(role, bound)| left(repository, *role, now) <= seconds(*bound))
        .map(|(role, _)| role)
        .collect()
}

fn renew_one(folder: &Folder, keys: &Keyring, role: RoleName, now: Moment) -> Result<Vec<RoleName>> {
    let _lock = folder.lock()?;
    // Anew, under the lock: somebody may just have published.
    let repository = Repository::load(folder)?;
    let maker = Maker { repository: &repository, keys, next_root: None, now, terms: Terms::default() };
    publish(folder, &repository.releases(), &renewed(&maker, &[role])?, now)?;
    Ok(if role == RoleName::Snapshot { vec![RoleName::Snapshot, RoleName::Timestamp] } else { vec![role] })
}

/// Looks after the releases for as long as the server runs, and tells when the first file will expire. A warning is said when it is new, and
/// again each day.
pub async fn keep(folder: Folder, expire: watch::Sender<Option<UnixNanos>>) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said: Option<(Vec<String>, Moment)> = None;
    loop {
        beat.tick().await;
        let (folder, now) = (folder.clone(), super::now());
        let tended = match tokio::task::spawn_blocking(move || tend(&folder, now)).await {
            Ok(Ok(tended)) => tended,
            Ok(Err(error)) => {
                Tended { warnings: vec![format!("releases cannot be looked after: {error:#}")], ..Tended::default() }
            }
            Err(error) => {
                debug!(%error, "a look at the releases ended");
                continue;
            }
        };
        expire.send_replace(tended.expires.map(|at| UnixNanos(at.0.saturating_mul(1_000_000_000))));
        for role in &tended.renewed {
            info!(role = role.name(), "renewed for boards");
        }
        let is_new = said
            .as_ref()
            .is_none_or(|(warnings, at)| words(warnings) != words(&tended.warnings) || now >= at.plus_seconds(DAY));
        if is_new {
            tended.warnings.iter().for_each(|warning| warn!("{warning}"));
            said = Some((tended.warnings, now));
        }
    }
}

/// Warnings without the days that they count down.
fn words(warnings: &[String]) -> Vec<&str> {
    warnings.iter().map(|warning| warning.split(" (").next().unwrap_or(warning)).collect()
}
