//! What somebody between the operator and a board can try, with some of the operator's keys or without: chapter 1.5.2 of TUF's
//! specification, a line each. An attack ends in words, leaves what is trusted as it was, and the next honest walk reaches its end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{DAY, EXPIRES, NOW, Repository, pair};
use sonde_update::client::{Kept, MAX_ROOTS};
use sonde_update::hashes::Hashes;
use sonde_update::metadata::{MetaFile, RoleName, Target};
use sonde_update::moment::Moment;

type Attack = (&'static str, fn(&mut Repository), &'static str);

/// An honest past (two walks), an attack, and an honest future.
#[track_caller]
fn check(attacks: &[Attack], honest: fn() -> Repository) {
    for (name, attack, expected) in attacks {
        let mut repository = honest();
        let kept = repository.walk(Kept::default(), NOW).good();
        repository.advance();
        let kept = repository.walk(kept, NOW).good();
        let mut attacked = repository.clone();
        attack(&mut attacked);
        let walk = attacked.walk(kept.clone(), NOW);
        assert_eq!(walk.refused(), *expected, "{name}");
        assert_eq!(walk.kept.targets, kept.targets, "{name}");
        assert_eq!(walk.kept.root, kept.root, "{name}");
        assert_eq!(walk.kept.checkpoint, kept.checkpoint, "{name}");
        assert_eq!(walk.kept.time, kept.time, "{name}");
        repository.timestamp.head.version += 10;
        repository.snapshot.head.version += 10;
        repository.targets.head.version += 10;
        repository.advance();
        assert_eq!(repository.walk(walk.kept, NOW).result.unwrap().head.version, 13, "{name}");
    }
}

#[test]
fn without_any_key() {
    check(
        &[
            (
                "endless data",
                |r| drop(r.instead.insert("timestamp.json".into(), vec![b' '; 20_000])),
                "timestamp.json is longer than 16384 bytes",
            ),
            (
                "endless root",
                |r| drop(r.instead.insert("2.root.json".into(), vec![b'['; 100_000])),
                "root.json is longer than 65536 bytes",
            ),
            (
                "nested to the end of the stack",
                |r| drop(r.instead.insert("2.root.json".into(), vec![b'['; 60_000])),
                "root.json cannot be read: not JSON that can be signed: lists and objects are nested too deep at line 1 column 17",
            ),
            (
                "nothing",
                |r| drop(r.instead.insert("timestamp.json".into(), vec![])),
                "timestamp.json cannot be read: not JSON that can be signed: EOF while parsing a value at line 1 column 0",
            ),
            (
                "another role's file",
                |r| drop(r.instead.insert("timestamp.json".into(), r.snapshot_file())),
                "timestamp.json cannot be read: it is a file of the role snapshot instead of timestamp",
            ),
            (
                "a snapshot of another time",
                |r| {
                    r.instead.insert("2.snapshot.json".into(), r.snapshot_file());
                    r.timestamp.head.version += 1;
                    r.snapshot.head.version += 1;
                    r.instead.insert("3.snapshot.json".into(), r.instead["2.snapshot.json"].clone());
                },
                "snapshot.json is not the announced one: its sha256 is another than was announced",
            ),
            (
                "targets of another time",
                |r| {
                    let old = r.targets_file();
                    r.advance();
                    r.instead.insert("3.targets.json".into(), old);
                },
                "targets.json is not the announced one: its sha256 is another than was announced",
            ),
            (
                "a longer file than announced",
                |r| {
                    r.advance();
                    r.instead.insert("3.targets.json".into(), [r.targets_file(), b" ".to_vec()].concat());
                },
                "targets.json is not the announced one: it is longer than the 662 bytes that were announced",
            ),
            (
                "a shorter file than announced",
                |r| {
                    r.advance();
                    r.instead.insert("3.targets.json".into(), b"{}".to_vec());
                },
                "targets.json is not the announced one: it has 2 bytes instead of 662",
            ),
        ],
        Repository::new,
    );
}

#[test]
fn with_too_few_keys() {
    check(
        &[
            (
                "no timestamp key",
                |r| {
                    r.timestamp.head.version += 1;
                    r.timestamp.signers.clear();
                },
                "timestamp.json is signed by 0 of the 1 keys that the trusted root asks for",
            ),
            (
                "the key of another role",
                |r| {
                    r.timestamp.head.version += 1;
                    r.timestamp.signers = vec![21];
                },
                "timestamp.json is signed by 0 of the 1 keys that the trusted root asks for",
            ),
            (
                "the timestamp key alone",
                |r| {
                    r.advance();
                    r.snapshot.signers = vec![31];
                },
                "snapshot.json is signed by 0 of the 1 keys that the trusted root asks for",
            ),
            (
                "one of two targets keys",
                |r| {
                    r.advance();
                    r.targets.signers = vec![11, 31, 21];
                },
                "targets.json is signed by 1 of the 2 keys that the trusted root asks for",
            ),
            (
                "one of two old root keys",
                |r| {
                    r.keys.insert(RoleName::Root, (vec![1, 4, 5], 2));
                    r.root.signers = vec![1, 4, 5];
                    r.publish_root();
                },
                "root.json is signed by 1 of the 2 keys that the trusted root asks for",
            ),
            (
                "old root keys alone",
                |r| {
                    r.keys.insert(RoleName::Root, (vec![1, 4, 5], 2));
                    r.root.signers = vec![1, 2, 3];
                    r.publish_root();
                },
                "root.json is signed by 1 of the 2 keys that the root itself asks for",
            ),
            (
                "a root that asks for more than it has",
                |r| {
                    r.keys.insert(RoleName::Root, (vec![1, 2, 3], 3));
                    r.publish_root();
                },
                "root.json is signed by 2 of the 3 keys that the root itself asks for",
            ),
            (
                "a root left out",
                |r| {
                    r.root.head.version += 1;
                    r.publish_root();
                },
                "the next root should have version 2 and has 3",
            ),
        ],
        Repository::new,
    );
}

#[test]
fn with_the_keys_of_the_machines() {
    // What a thief of timestamp and snapshot key can do is to announce what was signed before, and he does not get far with that.
    check(
        &[
            ("timestamp back", |r| r.timestamp.head.version -= 1, "timestamp.json would go back from version 2 to 1"),
            (
                "snapshot back",
                |r| {
                    r.timestamp.head.version += 1;
                    r.snapshot.head.version -= 1;
                },
                "snapshot.json would go back from version 2 to 1",
            ),
            (
                "targets back",
                |r| {
                    r.advance();
                    r.targets.head.version = 1;
                },
                "targets.json would go back from version 2 to 1",
            ),
            (
                "timestamp too old",
                |r| {
                    r.timestamp.head.version += 1;
                    r.timestamp.head.expires = NOW;
                },
                "timestamp.json has expired at 2027-01-15T08:00:00Z, and it is at least 2027-01-15T08:00:00Z",
            ),
            (
                "snapshot too old",
                |r| {
                    r.advance();
                    r.snapshot.head.expires = Moment(NOW.0 - 1);
                },
                "snapshot.json has expired at 2027-01-15T07:59:59Z, and it is at least 2027-01-15T08:00:00Z",
            ),
            (
                "targets too old",
                |r| {
                    r.advance();
                    r.targets.head.expires = Moment(NOW.0 - 1);
                },
                "targets.json has expired at 2027-01-15T07:59:59Z, and it is at least 2027-01-15T08:00:00Z",
            ),
            (
                "another version than announced",
                |r| {
                    r.advance();
                    r.announces = false;
                    r.listed_targets = Some(MetaFile { version: 4, length: None, hashes: None });
                },
                "targets.json has version 3, and 4 was announced",
            ),
            (
                "an endless file announced",
                |r| {
                    r.advance();
                    r.listed_targets = Some(MetaFile { version: 3, length: Some(1 << 40), hashes: None });
                },
                "targets.json is longer than 262144 bytes",
            ),
        ],
        Repository::new,
    );
}

#[test]
fn against_the_log() {
    check(
        &[
            (
                "not in the log",
                |r| {
                    r.targets.head.version += 1;
                    r.snapshot.head.version += 1;
                    r.timestamp.head.version += 1;
                },
                "there is no proof for version 3 of the targets",
            ),
            (
                "a log of its own",
                |r| {
                    r.tree = Default::default();
                    r.entries.clear();
                    for number in 0..9_u8 {
                        r.add_entry(&[number]);
                    }
                    r.advance();
                },
                "the log of releases: the log does not continue the one that was seen before: the proof leads to another root",
            ),
            (
                "a shorter log",
                |r| {
                    r.tree = Default::default();
                    r.entries.clear();
                    r.advance();
                    let proof = r.proof(3, 0).unwrap();
                    r.instead.insert("proof".into(), proof);
                },
                "the log of releases: the log has shrunk from 7 entries to 1",
            ),
            (
                "from the beginning again",
                |r| {
                    r.advance();
                    let proof = r.proof(3, 0).unwrap();
                    r.instead.insert("proof".into(), proof);
                },
                "the log of releases: the proof continues a log of 0 entries, and 7 were seen",
            ),
            (
                "another entry's proof",
                |r| {
                    r.advance();
                    let good = String::from_utf8(r.proof(3, 7).unwrap()).unwrap();
                    assert!(good.contains("\nindex 7\n"));
                    r.instead.insert("proof".into(), good.replace("\nindex 7\n", "\nindex 6\n").into_bytes());
                },
                "the log of releases: the targets do not stand in it: the proof leads to another root",
            ),
            (
                "another log's checkpoint",
                |r| {
                    r.log = Some(common::log_key("log.example/other", common::LOG_SEED));
                    r.advance();
                },
                "the log of releases: the checkpoint is not signed by log.example/sonde",
            ),
            (
                "an endless proof",
                |r| {
                    r.advance();
                    r.instead.insert("proof".into(), vec![b'A'; 40_000]);
                },
                "proof of the log is longer than 32768 bytes",
            ),
        ],
        Repository::with_log,
    );
}

#[test]
fn the_root_goes_from_version_to_version() {
    let mut repository = Repository::new();
    for new in 4..=8 {
        let (keys, threshold) = repository.keys[&RoleName::Root].clone();
        let next: Vec<u8> = keys.iter().skip(1).copied().chain([new]).collect();
        // Two old keys and the new one.
        repository.root.signers = vec![keys[1], keys[2], new];
        repository.keys.insert(RoleName::Root, (next, threshold));
        // A root between two others may have expired.
        repository.root.head.expires = if new == 8 { EXPIRES } else { Moment(0) };
        repository.publish_root();
    }
    let walk = repository.walk(Kept::default(), NOW);
    let expected = ["2.root.json", "3.root.json", "4.root.json", "5.root.json", "6.root.json", "7.root.json"];
    assert_eq!(walk.asked[..6], expected);
    assert_eq!(walk.kept.root.as_ref(), repository.roots.last());
    let kept = walk.good();
    // The next walk asks for one more root and for the timestamp, and nothing has changed.
    let next = repository.walk(kept.clone(), NOW);
    assert_eq!(next.asked, ["7.root.json", "timestamp.json"]);
    assert_eq!(next.good(), kept);
}

#[test]
fn a_last_root_that_has_expired_is_kept_and_its_successor_helps() {
    let mut repository = Repository::new();
    let kept = repository.walk(Kept::default(), NOW).good();
    repository.root.head.expires = NOW;
    repository.publish_root();
    let walk = repository.walk(kept, NOW);
    assert_eq!(
        walk.refused(),
        "root.json has expired at 2027-01-15T08:00:00Z, and it is at least 2027-01-15T08:00:00Z"
    );
    assert_eq!(walk.kept.root.as_ref(), repository.roots.last());
    repository.root.head.expires = EXPIRES;
    repository.publish_root();
    repository.walk(walk.kept, NOW).good();
}

#[test]
fn the_same_root_again_changes_nothing() {
    let mut repository = Repository::new();
    repository.instead.insert("2.root.json".to_owned(), repository.roots[0].clone());
    let kept = repository.walk(Kept::default(), NOW).good();
    assert_eq!(kept.root.as_ref(), Some(&repository.roots[0]));
}

#[test]
fn a_long_chain_is_followed_in_pieces() {
    let mut repository = Repository::new();
    let count = MAX_ROOTS as usize + 3;
    while repository.roots.len() < count {
        repository.publish_root();
    }
    let walk = repository.walk(Kept::default(), NOW);
    assert_eq!(walk.kept.root.as_ref(), Some(&repository.roots[MAX_ROOTS as usize]));
    let kept = repository.walk(walk.good(), NOW).good();
    assert_eq!(kept.root.as_ref(), repository.roots.last());
}

#[test]
fn versions_that_a_thief_drove_up_are_forgotten_with_his_keys() {
    for (role, seed) in [(RoleName::Timestamp, 31_u8), (RoleName::Snapshot, 21)] {
        let mut repository = Repository::new();
        let honest = repository.clone();
        repository.timestamp.head.version = 99_999;
        repository.snapshot.head.version = 99_999;
        let kept = repository.walk(Kept::default(), NOW).good();
        let mut recovered = honest;
        recovered.keys.insert(role, (vec![seed + 1], 1));
        match role {
            RoleName::Timestamp => recovered.timestamp.signers = vec![seed + 1],
            _ => recovered.snapshot.signers = vec![seed + 1],
        }
        recovered.publish_root();
        let kept = recovered.walk(kept, NOW).good();
        assert_eq!(kept.timestamp, Some(recovered.timestamp_file()));
        assert_eq!(kept.snapshot, Some(recovered.snapshot_file()));
    }
}

#[test]
fn a_new_key_beside_the_old_one_forgets_nothing() {
    let mut repository = Repository::new();
    repository.timestamp.head.version = 5;
    let kept = repository.walk(Kept::default(), NOW).good();
    repository.keys.insert(RoleName::Timestamp, (vec![31, 32], 1));
    repository.publish_root();
    repository.timestamp.head.version = 4;
    assert_eq!(repository.walk(kept, NOW).refused(), "timestamp.json would go back from version 5 to 4");
}

#[test]
fn a_list_of_targets_does_not_vanish() {
    let mut repository = Repository::new();
    let kept = repository.walk(Kept::default(), NOW).good();
    // A snapshot that lists another file instead, made by whoever has the keys of the machines.
    repository.advance();
    let draft = String::from_utf8(repository.snapshot_file()).unwrap().replace("targets.json", "others.json");
    let mut draft = sonde_update::sign::Draft::reopen(draft.as_bytes()).unwrap();
    draft.sign(&pair(21));
    let file = draft.file();
    repository.listed_snapshot = Some(MetaFile::of(2, &file));
    repository.instead.insert("2.snapshot.json".to_owned(), file);
    assert_eq!(repository.walk(kept, NOW).refused(), "the new snapshot no longer lists targets.json");
    assert_eq!(repository.walk(Kept::default(), NOW).refused(), "the snapshot does not list targets.json");
}

#[test]
fn the_same_timestamp_with_other_content_is_not_looked_at() {
    let mut repository = Repository::new();
    let kept = repository.walk(Kept::default(), NOW).good();
    repository.files.insert("b.efi".to_owned(), Target { length: 1, hashes: Hashes::sha256_of(b"b"), custom: None });
    repository.snapshot.head.version = 100;
    let walk = repository.walk(kept.clone(), NOW);
    assert_eq!(walk.asked, ["2.root.json", "timestamp.json"]);
    assert_eq!(walk.good(), kept);
}

#[test]
fn a_walk_that_was_cut_short_is_continued() {
    let repository = Repository::with_log();
    let kept = repository.walk(Kept::default(), NOW).good();
    let mut newer = repository.clone();
    newer.advance();
    for missing in ["2.snapshot.json", "2.targets.json", "proof"] {
        let mut broken = newer.clone();
        broken.instead.insert(missing.to_owned(), b"?".to_vec());
        let walk = broken.walk(kept.clone(), NOW);
        assert!(walk.result.is_err(), "{missing}");
        let walk = newer.walk(walk.kept, NOW);
        assert_eq!(walk.result.as_ref().unwrap().head.version, 2, "{missing}");
        // What came before it came only once.
        let again = !walk.asked.contains(&"2.snapshot.json".to_owned());
        assert_eq!(again, missing != "2.snapshot.json", "{missing}");
    }
}

#[test]
fn time_counts_from_the_latest_that_is_known() {
    let late = Moment(NOW.0 + 7 * DAY);
    let mut repository = Repository::new();
    repository.timestamp.head.expires = late;
    repository.snapshot.head.expires = late;
    let kept = repository.walk(Kept::default(), NOW).good();
    assert_eq!(kept.time, NOW);
    // A frozen board: nothing new for longer than the timestamp is good.
    let frozen = repository.walk(kept.clone(), late);
    assert!(frozen.refused().starts_with("timestamp.json has expired"));
    // A collector that lied about the year is not believed longer than it lies.
    assert_eq!(frozen.kept.time, NOW);
    assert_eq!(repository.walk(frozen.kept.clone(), Moment(NOW.0 + DAY)).good().time, Moment(NOW.0 + DAY));
    // A new timestamp alone does not help when the snapshot is as old.
    repository.timestamp.head.version += 1;
    repository.timestamp.head.expires = EXPIRES;
    assert!(repository.walk(frozen.kept, late).refused().starts_with("snapshot.json has expired"));
}

#[test]
fn a_root_from_a_new_image_or_from_the_disk_whichever_is_newer() {
    let mut repository = Repository::new();
    repository.publish_root();
    let kept = repository.walk(Kept::default(), NOW).good();
    // The image's root is version 1 and the disk's is version 2.
    assert_eq!(repository.walk(kept.clone(), NOW).asked[0], "3.root.json");
    // Now the image has version 2, and the disk has version 1, or nothing, or rubbish.
    let newer =
        Repository { roots: vec![repository.roots[1].clone(), repository.roots[1].clone()], ..repository.clone() };
    for disk in [Some(repository.roots[0].clone()), None, Some(b"rubbish".to_vec())] {
        let walk = newer.walk(Kept { root: disk, ..kept.clone() }, NOW);
        assert_eq!(walk.asked, ["3.root.json", "timestamp.json"]);
        walk.good();
    }
    // Neither is any good: there is nothing to begin with.
    let rubbish = Repository { roots: vec![b"rubbish".to_vec()], ..repository };
    let refused = rubbish.walk(Kept { root: None, ..kept }, NOW).refused();
    assert_eq!(refused, "root.json cannot be read: not JSON that can be signed: expected value at line 1 column 1");
}

#[test]
fn a_log_that_begins_later_or_changes_its_key_is_asked_once() {
    let mut repository = Repository::new();
    let kept = repository.walk(Kept::default(), NOW).good();
    repository.log = Some(common::log_key("log.example/sonde", common::LOG_SEED));
    repository.publish_root();
    assert_eq!(repository.walk(kept.clone(), NOW).refused(), "there is no proof for version 1 of the targets");
    let entry = sonde_update::log::entry(1, &repository.targets_file());
    repository.add_entry(&entry);
    let walk = repository.walk(kept, NOW);
    assert_eq!(walk.asked, ["2.root.json", "3.root.json", "timestamp.json", "proof 1 since 0"]);
    let kept = walk.good();
    assert_eq!(repository.walk(kept.clone(), NOW).asked, ["3.root.json", "timestamp.json"]);
    // Another log: what was seen of the old one says nothing of it.
    repository.log = Some(common::log_key("log.example/second", common::LOG_SEED));
    repository.publish_root();
    let walk = repository.walk(kept, NOW);
    assert_eq!(walk.asked, ["3.root.json", "4.root.json", "timestamp.json", "proof 1 since 0"]);
    walk.good();
}
