//! A whole update on a folder in the place of a card.

use std::fs;
use std::path::PathBuf;

use super::*;

fn system(number: u64) -> Vec<u8> {
    let mut file = super::system_for_tests(number);
    file.resize(2 * PIECE + 5, number as u8);
    file
}

struct Card {
    place: tempfile::TempDir,
}

impl Card {
    fn new(files: &[(&str, u64)]) -> Self {
        let card = Self { place: tempfile::tempdir().unwrap() };
        fs::create_dir_all(card.folder()).unwrap();
        for (name, number) in files {
            fs::write(card.folder().join(name), system(*number)).unwrap();
        }
        card
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join(loader::FOLDER)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn look(&self, own: u64, counted: &str) -> (Slots, Seen) {
        let counted = if counted.is_empty() { Counted::Nothing } else { Counted::File(counted.into()) };
        Slots::look_with(self.place.path(), own, counted, &Memory::at(self.place.path())).unwrap()
    }
}

#[test]
fn a_system_is_fetched_installed_tried_and_kept() {
    let card = Card::new(&[("sonde_1.efi", 1), ("sonde_2.efi", 2), ("sonde_3+0-3.efi", 3), ("sonde_3.tmp", 3)]);
    let (slots, seen) = card.look(2, "");
    assert!(!seen.trial && seen.has_fallback());
    let image = system(4);
    assert_eq!(slots.fetched(4).unwrap(), 0, "what was fetched of another does not count");
    slots.write(4, 0, &image[..PIECE]).unwrap();
    assert_eq!(card.names(), ["sonde_1.efi", "sonde_2.efi", "sonde_4.tmp"], "what failed has made room");
    // A restart.
    let (slots, _) = card.look(2, "");
    assert_eq!(slots.fetched(4).unwrap(), PIECE as u64);
    assert!(matches!(slots.write(4, PIECE as u64 + 1, b"x"), Err(SlotError::Gap { .. })));
    slots.write(4, PIECE as u64, &image[PIECE..]).unwrap();
    assert!(slots.room().unwrap() > image.len() as u64);

    let mut read = Vec::new();
    assert!(!slots.install(4, &mut |piece| read.extend_from_slice(piece), &mut || false).unwrap());
    assert_eq!(read, image);
    assert_eq!(card.names(), ["sonde_1.efi", "sonde_2.efi", "sonde_4.tmp"], "nobody has said yes");
    assert!(slots.install(4, &mut |_| {}, &mut || true).unwrap());
    assert_eq!(card.names(), ["sonde_1.efi", "sonde_2.efi", "sonde_4+3.efi"]);

    // What the loader does.
    fs::rename(card.folder().join("sonde_4+3.efi"), card.folder().join("sonde_4+2-1.efi")).unwrap();
    let (slots, seen) = card.look(4, "sonde_4+2-1.efi");
    assert!(seen.trial && !seen.uncounted && seen.has_fallback());
    for refused in [slots.write(5, 0, b"x"), slots.install(5, &mut |_| {}, &mut || true).map(drop)] {
        assert!(refused.is_err(), "nothing is tried during a trial");
    }
    slots.keep().unwrap();
    assert_eq!(card.names(), ["sonde_1.efi", "sonde_2.efi", "sonde_4.efi"]);
    slots.write(5, 0, b"x").unwrap();
    slots.discard(5).unwrap();
    slots.discard(5).unwrap();
    assert_eq!(card.names(), ["sonde_1.efi", "sonde_2.efi", "sonde_4.efi"]);
}

#[test]
fn what_is_not_newer_or_not_what_it_says_is_never_installed() {
    let card = Card::new(&[("sonde_4.efi", 4)]);
    let (slots, _) = card.look(4, "");
    for number in [0, 3, 4] {
        assert!(matches!(slots.write(number, 0, b"x"), Err(SlotError::NotNewer(_))), "{number}");
        assert!(slots.install(number, &mut |_| {}, &mut || true).is_err(), "{number}");
    }
    assert!(matches!(slots.install(5, &mut |_| {}, &mut || true), Err(SlotError::Card { .. })), "nothing was fetched");
    slots.write(5, 0, &system(6)).unwrap();
    assert!(matches!(slots.install(5, &mut |_| {}, &mut || true), Err(SlotError::OtherInside { inside: 6, .. })));
    assert_eq!(card.names(), ["sonde_4.efi", "sonde_5.tmp"]);
    assert!(matches!(Slots::look(card.place.path(), 0), Err(SlotError::NoNumber)));
    assert!(matches!(Slots::look(card.place.path(), 9), Err(SlotError::Missing(9))));
}

#[test]
fn what_the_loader_would_start_instead_goes_first() {
    let card = Card::new(&[("sonde_2.efi", 2), ("sonde_4+0-3.efi", 4), ("sonde_6.efi", 6)]);
    let (slots, _) = card.look(2, "");
    fs::write(card.folder().join("sonde_4.tmp"), system(4)).unwrap();
    assert!(slots.install(4, &mut |_| {}, &mut || true).unwrap());
    assert_eq!(card.names(), ["sonde_2.efi", "sonde_4+3.efi"]);
}

#[test]
fn nothing_is_installed_where_nobody_counts_and_that_is_remembered() {
    let card = Card::new(&[("sonde_1.efi", 1), ("sonde_2+3.efi", 2)]);
    let (slots, seen) = card.look(2, "");
    assert!(seen.trial && seen.uncounted && slots.never_counts());
    slots.keep().unwrap();
    assert!(matches!(slots.write(3, 0, b"x"), Err(SlotError::Uncounted)), "in the same start");
    let (slots, seen) = card.look(2, "");
    assert!(!seen.trial && seen.uncounted, "and in the next");
    assert!(matches!(slots.write(3, 0, b"x"), Err(SlotError::Uncounted)));
    assert!(matches!(slots.install(3, &mut |_| {}, &mut || true), Err(SlotError::Uncounted)));

    // A cut that has left two names says nothing of the loader.
    let card = Card::new(&[("sonde_1.efi", 1), ("sonde_2+3.efi", 2), ("sonde_2+2-1.efi", 2)]);
    let (slots, seen) = card.look(2, "");
    assert!(seen.uncounted && seen.twice && !slots.never_counts());
    slots.keep().unwrap();
    slots.write(3, 0, b"x").unwrap();
}
