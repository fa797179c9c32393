//! Signs anew what expires: by hand, or by itself where a server has the keys.

use anyhow::{Result, bail};
use sonde_update::metadata::{RoleName, Root};
use sonde_update::moment::Moment;

use super::change::{Maker, Terms, publish};
use super::folder::{Folder, NewFile};
use super::keys::Keyring;
use super::repository::Repository;

/// Renews these roles, or without any what the keys at hand are enough for.
pub fn by_hand(
    folder: &Folder,
    keys: &Keyring,
    roles: &[RoleName],
    expires: Option<u64>,
    now: Moment,
) -> Result<String> {
    let _lock = super::lock(folder)?;
    let repository = Repository::load(folder)?;
    let able = |role: &RoleName| can_sign(keys, &repository.root.body, *role);
    let renewable = [RoleName::Targets, RoleName::Snapshot, RoleName::Timestamp];
    let roles: Vec<RoleName> =
        if roles.is_empty() { renewable.into_iter().filter(able).collect() } else { roles.to_vec() };
    if roles.is_empty() {
        bail!("no key is at hand that could renew anything: name a folder of keys with --keys");
    }
    let terms = Terms::of(&roles, expires);
    let maker = Maker { repository: &repository, keys, next_root: None, now, terms };
    let files = renewed(&maker, &roles)?;
    let said = publish(&repository, &files, now)?;
    Ok(format!("{}{said}", super::look::expiries(&Repository::load(folder)?, now)))
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
