//! Whether a board installs what it is offered. TUF has said by now that the offer is genuine; here speak the roll-out, the board and
//! its owner, who may always say no.

use std::cmp::Reverse;
use std::fmt;

use sonde_protocol::key::PublicKey;

use crate::moment::Moment;
use crate::release::Release;

/// What the owner has decided about updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// Take them as they come.
    #[default]
    Follow,
    /// Take them so many seconds after their release, when others have tried them.
    Delay(u64),
    /// Go to this version and stay there.
    Pin(u64),
    /// Take none.
    Refuse,
}

/// The board that decides.
#[derive(Debug, Clone, Copy)]
pub struct Board<'a> {
    /// The version that runs.
    pub running: u64,
    /// What machine it is, such as `aarch64`.
    pub architecture: &'a str,
    /// Its probe's key, by which the roll-out tells probes apart.
    pub probe: &'a PublicKey,
    /// The most bytes that an image may have: what fits into a slot.
    pub room: u64,
    /// Versions that were tried here and did not come up. They are not tried again: the next release may be better.
    pub failed: &'a [u64],
    /// What the owner wants.
    pub choice: Choice,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Install this.
    Install(&'a Release),
    /// Nothing now; the reason may pass by itself.
    Wait(Wait),
    /// Nothing, until somebody decides otherwise.
    Refuse(Refusal),
}

/// Why a board waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// There is nothing newer for this machine.
    Newest,
    /// The release is for later.
    NotBefore(u64, Moment),
    /// It has not reached this probe in its roll-out.
    RollOut(u64, u8),
    /// The owner lets others go first.
    Delayed(u64, Moment),
    /// The owner wants the version that runs, or one that is not offered yet.
    Pinned(u64),
}

/// Why a board refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The owner wants no updates.
    Owner(u64),
    /// The owner has pinned a version before the one that runs, and boards do not go back: an old version may have holes that are known.
    PinnedBack(u64),
    /// It was tried here before and did not come up.
    Failed(u64),
    /// It does not fit.
    Room {
        /// The release.
        version: u64,
        /// Its bytes.
        length: u64,
        /// How many fit.
        room: u64,
    },
}

/// Decides at the time `now`. Of several releases the newest that nothing speaks against is installed; if something speaks against all of
/// them, it is said of the newest.
pub fn decide<'a>(releases: &'a [Release], board: &Board<'_>, now: Moment) -> Decision<'a> {
    if let Choice::Pin(pinned) = board.choice
        && pinned < board.running
    {
        return Decision::Refuse(Refusal::PinnedBack(pinned));
    }
    let newer = |release: &&Release| release.version > board.running && release.architecture == board.architecture;
    let mut newer: Vec<&Release> = releases.iter().filter(newer).collect();
    newer.sort_by_key(|release| Reverse(release.version));
    if let Choice::Pin(pinned) = board.choice {
        newer.retain(|release| release.version == pinned);
        if newer.is_empty() {
            return Decision::Wait(Wait::Pinned(pinned));
        }
    }
    let mut first = None;
    for release in newer {
        match judge(release, board, now) {
            install @ Decision::Install(_) => return install,
            other => first = first.or(Some(other)),
        }
    }
    first.unwrap_or(Decision::Wait(Wait::Newest))
}

/// The order is that of whose word counts most: the owner, the board, the roll-out.
fn judge<'a>(release: &'a Release, board: &Board<'_>, now: Moment) -> Decision<'a> {
    let version = release.version;
    if board.choice == Choice::Refuse {
        return Decision::Refuse(Refusal::Owner(version));
    }
    if board.failed.contains(&version) {
        return Decision::Refuse(Refusal::Failed(version));
    }
    if release.length > board.room {
        return Decision::Refuse(Refusal::Room { version, length: release.length, room: board.room });
    }
    if now < release.not_before {
        return Decision::Wait(Wait::NotBefore(version, release.not_before));
    }
    // Whoever pins a version has chosen it: the draw is for those who follow.
    if !matches!(board.choice, Choice::Pin(_)) && !release.has_reached(board.probe) {
        return Decision::Wait(Wait::RollOut(version, release.percentage));
    }
    if let Choice::Delay(seconds) = board.choice {
        let until = release.not_before.plus_seconds(seconds);
        if now < until {
            return Decision::Wait(Wait::Delayed(version, until));
        }
    }
    Decision::Install(release)
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("there is nothing newer for this board"),
            Self::NotBefore(version, from) => write!(f, "version {version} is not to be installed before {from}"),
            Self::RollOut(version, percentage) => {
                write!(f, "version {version} has reached {percentage} % of the probes, and this one is not among them")
            }
            Self::Delayed(version, until) => write!(f, "the owner wants version {version} to wait until {until}"),
            Self::Pinned(version) => write!(f, "the owner wants version {version}, and it runs or is not offered"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(version) => write!(f, "the owner wants no updates, and there is version {version}"),
            Self::PinnedBack(version) => write!(f, "the owner wants version {version}, but boards do not go back"),
            Self::Failed(version) => write!(f, "version {version} was tried here and did not come up"),
            Self::Room { version, length, room } => {
                write!(f, "version {version} has {length} bytes, and {room} fit into a slot")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashes::Hashes;

    const PROBE: PublicKey = PublicKey([7; 32]);
    const DAY: u64 = 86_400;

    fn release(version: u64, percentage: u8) -> Release {
        Release {
            path: format!("sonde-{version}.efi"),
            length: 40,
            hashes: Hashes::sha256_of(b""),
            version,
            name: format!("0.{version}"),
            architecture: "aarch64".to_owned(),
            percentage,
            not_before: Moment(1000),
        }
    }

    #[test]
    fn who_decides_what() {
        let other_machine = Release { architecture: "x86_64".to_owned(), ..release(9, 100) };
        let later = Release { not_before: Moment(3000), ..release(7, 100) };
        let large = Release { length: 41, ..release(8, 100) };
        let all = [release(4, 100), other_machine, release(5, 100), later, large, release(6, 0)];
        let board =
            Board { running: 4, architecture: "aarch64", probe: &PROBE, room: 40, failed: &[], choice: Choice::Follow };
        let some = |versions: &[u64]| -> Vec<Release> {
            all.iter().filter(|release| versions.contains(&release.version)).cloned().collect()
        };
        let (wait, refuse) = (|wait| Err(Ok(wait)), |refusal| Err(Err(refusal)));
        type Case<'a> = (&'a str, &'a [u64], Board<'a>, Result<u64, Result<Wait, Refusal>>);
        let cases: [Case<'_>; 18] = [
            ("the newest that may be", &[4, 5, 6, 7, 8, 9], board, Ok(5)),
            ("nothing at all", &[], board, wait(Wait::Newest)),
            ("what runs already", &[4], board, wait(Wait::Newest)),
            ("never back", &[4, 5], Board { running: 6, ..board }, wait(Wait::Newest)),
            ("another machine's", &[9], board, wait(Wait::Newest)),
            ("not yet", &[7], board, wait(Wait::NotBefore(7, Moment(3000)))),
            ("not reached", &[6], board, wait(Wait::RollOut(6, 0))),
            ("too large", &[8], board, refuse(Refusal::Room { version: 8, length: 41, room: 40 })),
            ("of the newest it is said", &[6, 7, 8], board, refuse(Refusal::Room { version: 8, length: 41, room: 40 })),
            ("tried before", &[5], Board { failed: &[5], ..board }, refuse(Refusal::Failed(5))),
            ("no updates", &[5], Board { choice: Choice::Refuse, ..board }, refuse(Refusal::Owner(5))),
            ("no updates, none there", &[4], Board { choice: Choice::Refuse, ..board }, wait(Wait::Newest)),
            (
                "a day later",
                &[5],
                Board { choice: Choice::Delay(DAY), ..board },
                wait(Wait::Delayed(5, Moment(87_400))),
            ),
            ("a second later", &[5], Board { choice: Choice::Delay(1000), ..board }, Ok(5)),
            ("pinned and offered, before its turn", &[5, 6], Board { choice: Choice::Pin(6), ..board }, Ok(6)),
            ("pinned and running", &[5, 6], Board { choice: Choice::Pin(4), ..board }, wait(Wait::Pinned(4))),
            ("pinned and not there", &[5, 6], Board { choice: Choice::Pin(70), ..board }, wait(Wait::Pinned(70))),
            ("pinned back", &[5, 6], Board { choice: Choice::Pin(3), ..board }, refuse(Refusal::PinnedBack(3))),
        ];
        for (name, versions, board, expected) in cases {
            let releases = some(versions);
            let found = match decide(&releases, &board, Moment(2000)) {
                Decision::Install(release) => Ok(release.version),
                Decision::Wait(why) => Err(Ok(why)),
                Decision::Refuse(why) => Err(Err(why)),
            };
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn reasons_are_sentences() {
        assert_eq!(
            Wait::RollOut(6, 10).to_string(),
            "version 6 has reached 10 % of the probes, and this one is not among them"
        );
        assert_eq!(Refusal::PinnedBack(3).to_string(), "the owner wants version 3, but boards do not go back");
        assert_eq!(
            Wait::Delayed(5, Moment(87_400)).to_string(),
            "the owner wants version 5 to wait until 1970-01-02T00:16:40Z"
        );
    }
}
