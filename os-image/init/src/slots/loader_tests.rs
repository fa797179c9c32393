//! What names mean, and what is done about them, on folders in the place of cards; and every way in which a power cut can leave names.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::*;

fn found(file: &str) -> Found {
    let Some(Name::System { number, tries }) = Name::read(file) else { panic!("{file}") };
    Found { file: file.into(), number, tries, length: 60 }
}

fn files_of(names: &[&str]) -> Files {
    let length = |name: &str| if name.starts_with('0') { 0 } else { 60 };
    Files::of(names.iter().map(|name| (name.trim_start_matches('0').to_owned(), length(name))).collect())
}

fn counted(file: &str) -> Counted {
    if file.is_empty() { Counted::Nothing } else { Counted::File(file.into()) }
}

/// A leading 0 is an empty file.
#[test]
fn what_the_names_mean_to_the_system_that_runs() {
    // Files, what the loader has counted, own number; on trial, uncounted, twice, the others.
    for (names, path, own, (trial, uncounted, twice), others) in [
        (&["sonde_2.efi"][..], "", 2, (false, false, false), &[][..]),
        (&["sonde_1.efi", "sonde_2.efi"], "", 2, (false, false, false), &[(1, None)]),
        (&["sonde_1.efi", "sonde_2+2-1.efi"], "sonde_2+2-1.efi", 2, (true, false, false), &[(1, None)]),
        // Fallen back.
        (&["sonde_1.efi", "sonde_2+0-3.efi"], "", 1, (false, false, false), &[(2, Some((0, 3)))]),
        // The loader cannot rename.
        (&["sonde_1.efi", "sonde_2+3.efi"], "", 2, (true, true, false), &[(1, None)]),
        // It has counted another, which the firmware refused.
        (&["sonde_1+2-1.efi", "sonde_2+1-2.efi"], "sonde_2+1-2.efi", 1, (true, true, false), &[(2, Some((1, 2)))]),
        // U-Boot's rename was cut.
        (&["sonde_1.efi", "sonde_2+2-1.efi", "sonde_2+3.efi"], "", 2, (true, true, true), &[(1, None)]),
        // Ours was cut: before it had bytes, and after.
        (&["0sonde_2.efi", "sonde_1.efi", "sonde_2+2-1.efi"], "sonde_2+2-1.efi", 2, (true, false, false), &[(1, None)]),
        (&["sonde_1.efi", "sonde_2+2-1.efi", "sonde_2.efi"], "sonde_2+2-1.efi", 2, (false, false, true), &[(1, None)]),
        // Empty ones, what is being fetched, and others' files are no systems.
        (&["0sonde_3+3.efi", "foo.efi", "sonde_2.efi", "sonde_4.tmp"], "", 2, (false, false, false), &[]),
        (&["sonde_2.efi", "sonde_3+1-2.efi", "sonde_3+0-3.efi"], "", 2, (false, false, false), &[(3, Some((0, 3)))]),
        (&["sonde_1+2-1.efi", "sonde_1.efi", "sonde_2.efi"], "", 2, (false, false, false), &[(1, None)]),
    ] {
        let seen = files_of(names).judge(own, &counted(path)).unwrap();
        let other = |&(number, tries): &(u64, Option<(u32, u32)>)| Other {
            number,
            tries: tries.map(|(left, done)| Tries { left, done }),
        };
        let expected = Seen { trial, uncounted, twice, others: others.iter().map(other).collect() };
        assert_eq!(seen, expected, "{names:?}");
    }
    for names in [&[][..], &["sonde_1.efi"], &["0sonde_2.efi"], &["sonde_2.tmp"]] {
        assert!(matches!(files_of(names).judge(2, &Counted::Nothing), Err(SlotError::Missing(2))), "{names:?}");
    }
}

#[test]
fn only_what_does_not_run_is_deleted_and_the_least_useful_first() {
    for (names, junk, spare) in [
        (&["sonde_5.efi"][..], &[][..], &[][..]),
        (&["sonde_3.efi", "sonde_4.efi", "sonde_5.efi"], &[], &["sonde_3.efi", "sonde_4.efi"]),
        (&["sonde_4.efi", "sonde_5.efi", "sonde_6+0-3.efi"], &["sonde_6+0-3.efi"], &["sonde_4.efi", "sonde_6+0-3.efi"]),
        (&["sonde_5.efi", "sonde_6.tmp", "sonde_7.tmp", "sonde_5.tmp"], &["sonde_6.tmp", "sonde_5.tmp"], &[]),
        (&["0sonde_6+3.efi", "sonde_5.efi"], &["0sonde_6+3.efi"], &["0sonde_6+3.efi"]),
        (&["sonde_4+2-1.efi", "sonde_5.efi"], &["sonde_4+2-1.efi"], &["sonde_4+2-1.efi"]),
        (&["sonde_5.efi", "sonde_6+2-1.efi"], &[], &["sonde_6+2-1.efi"]),
        // Both names, whatever the one alone would be worth.
        (
            &["sonde_4+2-1.efi", "sonde_4.efi", "sonde_5.efi"],
            &["sonde_4.efi", "sonde_4+2-1.efi"],
            &["sonde_4+2-1.efi", "sonde_4.efi"],
        ),
        (&["EFI.efi", "readme.txt", "sonde_0.1.0.efi", "sonde_5.efi"], &[], &[]),
    ] {
        let files = files_of(names);
        let plain =
            |names: &[&str]| names.iter().map(|name| name.trim_start_matches('0').to_owned()).collect::<Vec<_>>();
        assert_eq!(files.junk(5, Some(7)), plain(junk), "{names:?}");
        assert_eq!(files.spare(5).iter().map(|one| one.file.clone()).collect::<Vec<_>>(), plain(spare), "{names:?}");
    }
    let files = files_of(&["sonde_3.efi", "sonde_5.efi", "sonde_7.tmp"]);
    assert_eq!(files.room(5, 10 * MARGIN), 9 * MARGIN + 120, "what is free, the older one, and what was fetched");
    assert_eq!(files.room(5, 0), 0);
}

/// A FAT as far as names and bytes go: each name leads to bytes, several may lead to the same, and who deletes one name frees them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Card {
    names: Vec<(String, u32)>,
    alive: Vec<u32>,
}

impl Card {
    fn mine(&self) -> Vec<Found> {
        self.names.iter().map(|(name, _)| found(name)).collect()
    }

    fn is_whole(&self, name: &str) -> bool {
        self.names.iter().any(|(other, bytes)| other == name && self.alive.contains(bytes))
    }

    /// All that a rename can leave: as before, both names, the new one.
    fn renamed(&self, from: &str, to: &str) -> Vec<Self> {
        if self.names.iter().any(|(name, _)| name == to) {
            return vec![self.clone()];
        }
        let (mut both, mut after) = (self.clone(), self.clone());
        let bytes = self.names.iter().find(|(name, _)| name == from).unwrap().1;
        both.names.push((to.into(), bytes));
        after.names.retain(|(name, _)| name != from);
        after.names.push((to.into(), bytes));
        vec![self.clone(), both, after]
    }

    fn deleted(&self, name: &str) -> Self {
        let mut after = self.clone();
        let at = after.names.iter().position(|(other, _)| other == name).unwrap();
        let (_, bytes) = after.names.remove(at);
        after.alive.retain(|&alive| alive != bytes);
        after
    }

    fn copied(&self, name: &str) -> Self {
        let (mut after, bytes) = (self.clone(), self.alive.iter().max().unwrap() + 1);
        after.alive.push(bytes);
        after.names.push((name.into(), bytes));
        after
    }

    /// All that the card can be when the power goes while [`keep`] works, and what it is when it is done.
    fn kept(&self) -> Vec<Self> {
        let mine = self.mine();
        let all: Vec<&Found> = mine.iter().collect();
        let lost: Vec<&Found> = if all.len() == 1 {
            Vec::new()
        } else {
            all.iter().copied().filter(|one| !self.is_whole(&one.file)).collect()
        };
        match towards_one_name(&all, &lost) {
            Step::One(one) if one.tries.is_none() => vec![self.clone()],
            Step::One(one) => self.renamed(&one.file, &Name::kept(2)),
            Step::Delete(some) => {
                let mut states = vec![self.clone()];
                for one in some {
                    states.push(states.last().unwrap().deleted(&one.file));
                }
                states
            }
            Step::Copy(tries) => vec![self.clone(), self.copied(&Name::on_trial(2, tries))],
            Step::Lost => panic!("{self:?} cannot be repaired"),
        }
    }

    /// All that the card can be after the loader has counted a try of one of its files.
    fn counted(&self) -> Vec<Self> {
        let mut states = Vec::new();
        for one in self.mine() {
            let Some(tries) = one.tries.filter(|tries| tries.left > 0) else { continue };
            let next = Tries { left: tries.left - 1, done: tries.done + 1 };
            states.extend(self.renamed(&one.file, &Name::on_trial(2, next)));
        }
        states
    }
}

#[test]
fn whenever_the_power_goes_the_system_has_a_whole_file_and_keeping_it_again_ends_in_one() {
    let start = Card { names: vec![("sonde_2+3.efi".into(), 0)], alive: vec![0] };
    let (mut seen, mut waiting) = (HashSet::new(), vec![start]);
    while let Some(mut card) = waiting.pop() {
        card.names.sort();
        // Copies of copies of copies need a cut at the same moment each time.
        let deepest = card.mine().iter().filter_map(|one| one.tries).map(Tries::began_with).max().unwrap_or(0);
        if deepest > 7 || !seen.insert(card.clone()) {
            continue;
        }
        assert!(card.names.iter().any(|(name, _)| card.is_whole(name)), "nothing to start in {card:?}");
        for (name, _) in card.names.iter().filter(|(name, _)| !card.is_whole(name)) {
            assert_ne!(*name, Name::kept(2), "the loader would try it for ever: {card:?}");
        }
        // Without another cut.
        let mut done = card.clone();
        for _ in 0..5 {
            done = done.kept().pop().unwrap();
        }
        assert_eq!(done.names.len(), 1, "{card:?} ended in {done:?}");
        assert!(done.is_whole(&Name::kept(2)), "{card:?} ended in {done:?}");
        waiting.extend(card.kept());
        waiting.extend(card.counted());
    }
    assert!(seen.len() > 100, "only {} states", seen.len());
}

fn system(number: u64) -> Vec<u8> {
    let mut file = crate::slots::system_for_tests(number);
    file.resize(3 * PIECE + 7, number as u8);
    file
}

fn card(files: &[(&str, u64)]) -> (tempfile::TempDir, Volume) {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join(FOLDER)).unwrap();
    for (name, number) in files {
        let bytes = if *number == 0 { Vec::new() } else { system(*number) };
        fs::write(place.path().join(FOLDER).join(name), bytes).unwrap();
    }
    let volume = Volume::new(place.path());
    (place, volume)
}

fn names(place: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(place.join(FOLDER))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_system_is_kept_under_its_plain_name_if_that_is_its_number() {
    for (before, after) in [
        (&[("sonde_1.efi", 1), ("sonde_2+2-1.efi", 2)][..], &["sonde_1.efi", "sonde_2.efi"][..]),
        (&[("sonde_1.efi", 1), ("sonde_2.efi", 2)], &["sonde_1.efi", "sonde_2.efi"]),
        (&[("sonde_1.efi", 1), ("sonde_2.efi", 0), ("sonde_2+0-3.efi", 2)], &["sonde_1.efi", "sonde_2.efi"]),
        (&[("sonde_1.efi", 1), ("sonde_2.efi", 2), ("sonde_2+2-1.efi", 2)], &["sonde_1.efi", "sonde_2.efi"]),
        (&[("sonde_1.efi", 1), ("sonde_2+3.efi", 2), ("sonde_2+2-1.efi", 2)], &["sonde_1.efi", "sonde_2.efi"]),
    ] {
        let (place, volume) = card(before);
        keep(&volume, 2, &Counted::Nothing).unwrap();
        assert_eq!(names(place.path()), after, "{before:?}");
        assert_eq!(fs::read(place.path().join(FOLDER).join("sonde_2.efi")).unwrap(), system(2), "{before:?}");
        keep(&volume, 2, &Counted::Nothing).unwrap();
        assert_eq!(names(place.path()), after, "a second time nothing happens");
    }
    // The name says 2, the system inside is 1.
    let (place, volume) = card(&[("sonde_1.efi", 1), ("sonde_2+2-1.efi", 1)]);
    assert!(matches!(keep(&volume, 2, &Counted::Nothing), Err(SlotError::OtherInside { inside: 1, .. })));
    assert_eq!(names(place.path()), ["sonde_1.efi", "sonde_2+2-1.efi"]);
    assert!(matches!(keep(&volume, 3, &Counted::Nothing), Err(SlotError::Missing(3))));
}

#[test]
fn a_system_that_nobody_counts_is_given_up_by_itself() {
    let (place, volume) = card(&[("sonde_1.efi", 1), ("sonde_2+3.efi", 2)]);
    give_up(&volume, 2, &Counted::Nothing).unwrap();
    assert_eq!(names(place.path()), ["sonde_1.efi", "sonde_2+0-3.efi"]);
    give_up(&volume, 2, &Counted::Nothing).unwrap();
    assert!(matches!(give_up(&volume, 1, &Counted::Nothing), Err(SlotError::Kept)));
    assert_eq!(names(place.path()), ["sonde_1.efi", "sonde_2+0-3.efi"]);
}
