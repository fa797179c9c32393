//! One byte that is another: anywhere on the way, or on the board's own disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::LazyLock;

use common::{NOW, Repository};
use proptest::prelude::*;
use sonde_update::client::Kept;

/// A repository of which a board has seen the first version, with a new root, new targets and a log.
fn moved() -> (Repository, Kept) {
    static MOVED: LazyLock<(Repository, Kept)> = LazyLock::new(make);
    MOVED.clone()
}

fn make() -> (Repository, Kept) {
    let mut repository = Repository::with_log();
    let kept = repository.walk(Kept::default(), NOW).good();
    repository.publish_root();
    repository.advance();
    // Signed once, not at each of thousands of walks.
    let proof = repository.proof(2, 6).unwrap();
    for name in FILES {
        let file = repository.fetch(name).unwrap();
        repository.instead.insert(name.to_owned(), file);
    }
    repository.instead.insert("proof".to_owned(), proof);
    (repository, kept)
}

const FILES: [&str; 4] = ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"];

fn with_changed_byte(mut file: Vec<u8>, position: usize, change: u8) -> Vec<u8> {
    let position = position % file.len();
    file[position] ^= change;
    file
}

#[test]
fn no_file_with_a_changed_byte_is_trusted() {
    let (repository, kept) = moved();
    repository.walk(kept.clone(), NOW).good();
    for name in FILES {
        let file = repository.fetch(name).unwrap();
        for position in 0..file.len() {
            // Letters become capitals, which hexadecimal digits must not be; all others become their neighbours.
            let change = if file[position].is_ascii_lowercase() { 0x20 } else { 1 };
            let mut changed = repository.clone();
            changed.instead.insert(name.to_owned(), with_changed_byte(file.clone(), position, change));
            let walk = changed.walk(kept.clone(), NOW);
            assert!(walk.result.is_err(), "{name}, byte {position} changed by {change}");
            assert_eq!(walk.kept.targets, kept.targets);
        }
    }
}

#[test]
fn no_proof_with_a_changed_byte_is_trusted() {
    let (repository, kept) = moved();
    let proof = repository.instead["proof"].clone();
    for position in 0..proof.len() {
        let mut changed = repository.clone();
        changed.instead.insert("proof".to_owned(), with_changed_byte(proof.clone(), position, 1));
        assert!(changed.walk(kept.clone(), NOW).result.is_err(), "byte {position} of {}", proof.len());
    }
}

proptest! {
    #[test]
    fn no_change_of_a_byte_gets_through(file in 0..FILES.len(), position in any::<usize>(), change in 1_u8..=255) {
        let (mut repository, kept) = moved();
        let changed = with_changed_byte(repository.fetch(FILES[file]).unwrap(), position, change);
        repository.instead.insert(FILES[file].to_owned(), changed);
        prop_assert!(repository.walk(kept, NOW).result.is_err());
    }

    /// Damage on the disk costs at most what was known of the past; it never stops a board.
    #[test]
    fn a_damaged_disk_stops_nothing(part in 0..5_usize, position in any::<usize>(), change in any::<u8>(), cut in any::<bool>()) {
        let (mut repository, mut kept) = moved();
        // Whoever has forgotten the log asks for a proof from its beginning.
        repository.instead.remove("proof");
        let file = match part {
            0 => &mut kept.root,
            1 => &mut kept.timestamp,
            2 => &mut kept.snapshot,
            3 => &mut kept.targets,
            _ => &mut kept.checkpoint,
        };
        *file = file.take().map(|file| match cut {
            true => file[..position % file.len()].to_vec(),
            false => with_changed_byte(file, position, change),
        });
        let walk = repository.walk(kept, NOW);
        prop_assert_eq!(walk.result.map(|targets| targets.head.version), Ok(2));
    }

    #[test]
    fn any_answer_is_refused_in_words(answer in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut repository, kept) = moved();
        for name in FILES.iter().chain(&["proof"]) {
            repository.instead.insert((*name).to_owned(), answer.clone());
        }
        prop_assert!(!repository.walk(kept, NOW).refused().is_empty());
    }
}
