//! A board and its releases, from the first question to the new system on its card: honest networks, lying collectors, cards that are full,
//! and the power that goes at any moment. Every row says in which words it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

#[path = "../../../update/tests/common/mod.rs"]
mod common;
mod shell;
mod world;

use std::fs;
use std::time::Duration;

use common::{DAY, EXPIRES, NOW};
use proptest::prelude::*;
use sonde_protocol::board::{
    UpdateChoice, UpdateFile, UpdateLater, UpdateOutcome, UpdatePiece, UpdateSaid, UpdateStage,
};
use sonde_protocol::bounded::{Bytes, Text};
use sonde_update::moment::Moment;
use world::{Cut, End, Liar, OLD, World, image, s};

const HOUR: Duration = s(3600);

fn outcomes(world: &World) -> Vec<(u64, UpdateOutcome, String)> {
    let all = &world.last().attempts;
    all.iter().map(|one| (one.release, one.outcome, one.words.as_str().to_owned())).collect()
}

#[track_caller]
fn stands(world: &World, stage: UpdateStage, words: &str) {
    assert_eq!((world.last().stage, world.last().words.as_str()), (stage, words));
}

/// On the card is the old system and what is named, with these bytes.
#[track_caller]
fn has(world: &World, name: &str, bytes: &[u8]) {
    let files = world.files();
    assert_eq!(files.keys().collect::<Vec<_>>(), [&format!("sonde_{OLD}.efi"), name], "on the card");
    assert!(files[name] == bytes, "the image is the one that was announced");
    assert!(files[&format!("sonde_{OLD}.efi")] == image(OLD, 10_000), "the old system is whole");
}

#[test]
fn a_newer_release_is_fetched_in_steps_checked_and_installed() {
    let mut world = World::new();
    let new = image(11, 9 << 20);
    world.release(11, new.clone());
    assert_eq!(world.run(s(5), None), End::Time);
    assert!(world.asked.is_empty(), "boards that come back together do not ask together");
    assert_eq!(world.run(s(60), None), End::Restart("to try release 11".into()));
    has(&world, "sonde_11+3.efi", &new);
    assert_eq!(world.largest, 4 << 20, "no more of it is in memory");
    let mut stages: Vec<_> = world.states.iter().map(|state| (state.stage, state.words.as_str())).collect();
    stages.dedup();
    assert_eq!(
        stages,
        [
            (UpdateStage::Unknown, "nothing has been looked at yet"),
            (UpdateStage::Fetching, "1 of 9 MiB are there"),
            (UpdateStage::Fetching, "4 of 9 MiB are there"),
            (UpdateStage::Fetching, "8 of 9 MiB are there"),
            (UpdateStage::Fetching, "9 of 9 MiB are there"),
            (UpdateStage::Installed, "it is on the card, and the board starts again with it"),
        ]
    );
    let last = world.last();
    assert_eq!((last.running, last.release, last.log.unwrap().size), (OLD, Some(11), 8));
    assert_eq!(last.checked_at.unwrap().0 / 1_000_000_000, NOW.0 + i64::from(world.now.as_secs() as u32) - 5 - 2);
    assert_eq!(outcomes(&world), [(11, UpdateOutcome::Installed, String::new())]);

    // The loader counts, the new system starts, and is kept.
    let folder = world.boot.join("EFI/Linux");
    fs::rename(folder.join("sonde_11+3.efi"), folder.join("sonde_11+2-1.efi")).unwrap();
    world.asked.clear();
    world.start(11);
    assert_eq!(world.run(HOUR, None), End::Time);
    stands(&world, UpdateStage::Trial, "it is kept once its probe has reached the collector");
    assert!(world.asked.is_empty(), "nothing is looked for before that");
    fs::rename(folder.join("sonde_11+2-1.efi"), folder.join("sonde_11.efi")).unwrap();
    world.plan.kept(world.now);
    assert_eq!(world.run(s(60), None), End::Time);
    stands(&world, UpdateStage::Newest, "there is nothing newer for this board");
    assert_eq!(outcomes(&world), [(11, UpdateOutcome::Kept, String::new())]);
    assert_eq!(world.names(), ["2.root.json", "timestamp.json"], "the files are known");
}

#[test]
fn a_release_that_fell_back_is_not_tried_again_and_the_next_one_is() {
    let mut world = World::new();
    world.release(11, image(11, 5000));
    assert!(matches!(world.run(s(60), None), End::Restart(_)));
    let folder = world.boot.join("EFI/Linux");
    fs::rename(folder.join("sonde_11+3.efi"), folder.join("sonde_11+0-3.efi")).unwrap();
    fs::write(world.state.join("os/last-words"), "11 address: no router answers\n").unwrap();
    world.start(OLD);
    assert_eq!(world.run(10 * HOUR, None), End::Time);
    stands(&world, UpdateStage::Refused, "version 11 was tried here and did not come up");
    assert_eq!(outcomes(&world), [(11, UpdateOutcome::FellBack, "address: no router answers".into())]);
    world.start(OLD);
    world.release(12, image(12, 6000));
    assert!(matches!(world.run(s(60), None), End::Restart(_)));
    has(&world, "sonde_12+3.efi", &image(12, 6000));
}

type Network = fn(&mut World);

#[test]
fn what_is_not_in_order_is_not_installed_and_the_record_says_why() {
    use UpdateStage::{Newest, Refused, Untrusted, Waiting};
    let cases: [(&str, Network, UpdateStage, &str); 12] = [
        ("an older release", |w| w.release(9, image(9, 500)), Newest, "there is nothing newer for this board"),
        ("the same", |w| w.release(OLD, image(OLD, 500)), Newest, "there is nothing newer for this board"),
        (
            "expired",
            |w| w.time = Some(Moment(EXPIRES.0 + DAY)),
            Untrusted,
            "root.json has expired at 2027-02-14T08:00:00Z, and it is at least 2027-02-15T08:00:10Z",
        ),
        (
            "wrongly signed",
            |w| w.repository.targets.signers = vec![11, 99],
            Untrusted,
            "targets.json is signed by 1 of the 2 keys that the trusted root asks for",
        ),
        (
            "not in the log",
            |w| {
                w.repository.targets.head.version += 1;
                w.repository.snapshot.head.version += 1;
                w.repository.timestamp.head.version += 1;
            },
            Untrusted,
            "there is no proof for version 4 of the targets",
        ),
        (
            "rewritten",
            |w| drop(w.repository.instead.insert("timestamp.json".into(), b"{}".to_vec())),
            Untrusted,
            "timestamp.json cannot be read: `signed` is missing",
        ),
        (
            "endless",
            |w| drop(w.repository.instead.insert("timestamp.json".into(), vec![b' '; 1 << 20])),
            Untrusted,
            "timestamp.json is longer than 16384 bytes",
        ),
        (
            "not for this board yet",
            |w| {
                w.repository.files.clear();
                w.release_for(11, image(11, 500), 0);
            },
            Waiting,
            "version 11 has reached 0 % of the probes, and this one is not among them",
        ),
        (
            "the owner wants none",
            |w| w.own_choice = Some(UpdateChoice::Refuse),
            Refused,
            "the owner wants no updates, and there is version 11",
        ),
        (
            "the owner waits",
            |w| w.own_choice = Some(UpdateChoice::Delay(7 * 86_400)),
            Waiting,
            "the owner wants version 11 to wait until 2027-01-22T08:00:00Z",
        ),
        (
            "the owner stays",
            |w| w.own_choice = Some(UpdateChoice::Pin(OLD)),
            Newest,
            "the owner wants version 10, and it runs or is not offered",
        ),
        (
            "the owner goes back",
            |w| w.own_choice = Some(UpdateChoice::Pin(3)),
            Refused,
            "the owner wants version 3, but boards do not go back",
        ),
    ];
    for (name, network, stage, words) in cases {
        let mut world = World::new();
        if stage != Newest || name == "the owner stays" {
            world.release(11, image(11, 500));
        }
        network(&mut world);
        world.start(OLD);
        assert_eq!(world.run(s(25), None), End::Time, "{name}");
        assert_eq!((world.last().stage, world.last().words.as_str()), (stage, words), "{name}");
        assert_eq!(world.files().len(), 1, "{name}: nothing was fetched");
        assert!(outcomes(&world).is_empty(), "{name}");
    }
}

#[test]
fn an_old_list_is_refused_also_after_a_restart() {
    let mut world = World::new();
    let before = world.repository.clone();
    world.release_for(11, image(11, 500), 0);
    world.run(HOUR, None);
    world.repository = before;
    world.start(OLD);
    world.run(s(25), None);
    stands(&world, UpdateStage::Untrusted, "timestamp.json would go back from version 3 to 2");
    assert!(world.last().checked_at.is_none(), "not since this start");
}

#[test]
fn a_network_without_releases_is_nothing_to_worry_about_until_it_has_had_some() {
    let mut world = World::new();
    world.liar = |_, _| Some(UpdateSaid::Missing);
    assert_eq!(world.run(s(25), None), End::Time);
    stands(&world, UpdateStage::Unknown, "the network offers no releases");
    let asked = world.asked.len();
    world.run(HOUR - s(60), None);
    assert_eq!(world.asked.len(), asked, "once an hour is enough");
    world.liar = |_, said| Some(said);
    world.run(HOUR, None);
    stands(&world, UpdateStage::Newest, "there is nothing newer for this board");
    world.liar = |_, _| Some(UpdateSaid::Missing);
    world.start(OLD);
    world.run(s(25), None);
    stands(&world, UpdateStage::Untrusted, "there is no timestamp.json");
}

#[test]
fn a_collector_that_tells_an_old_time_does_not_make_old_files_good() {
    let mut world = World::new();
    world.run(HOUR, None);
    stands(&world, UpdateStage::Newest, "there is nothing newer for this board");
    // A year in the past: the files were good later than that, so it is later.
    world.time = Some(Moment(NOW.0 - 365 * DAY));
    world.repository.timestamp.head.expires = Moment(NOW.0 - DAY);
    world.repository.timestamp.head.version += 1;
    world.start(OLD);
    world.run(s(25), None);
    assert_eq!(world.last().stage, UpdateStage::Untrusted);
    assert!(world.last().words.as_str().starts_with("timestamp.json has expired at"), "{:?}", world.last().words);
}

fn target(said: UpdateSaid, file: &UpdateFile, lie: impl FnOnce(UpdatePiece) -> UpdateSaid) -> UpdateSaid {
    match (said, file) {
        (UpdateSaid::Piece(piece), UpdateFile::Target(_)) => lie(piece),
        (said, _) => said,
    }
}

#[test]
fn a_collector_that_lies_gets_nothing_onto_the_card() {
    use UpdateStage::{Unknown, Untrusted, Waiting};
    let cases: [(&str, Liar, UpdateStage, &str); 8] = [
        (
            "another length",
            |ask, said| Some(target(said, &ask.file, |p| UpdateSaid::Piece(UpdatePiece { length: 4999, ..p }))),
            Untrusted,
            "the collector says that a file has 4999 bytes, and it had 5000",
        ),
        (
            "more than was asked",
            |_, said| match said {
                UpdateSaid::Piece(piece) => {
                    let bytes = Bytes::new([&piece.bytes[..], b"x"].concat()).unwrap();
                    Some(UpdateSaid::Piece(UpdatePiece { length: piece.length, bytes }))
                }
                other => Some(other),
            },
            Untrusted,
            "the collector sends more of a file than was asked for",
        ),
        (
            "nothing for ever",
            |ask, said| {
                Some(target(said, &ask.file, |p| UpdateSaid::Piece(UpdatePiece { bytes: Bytes::default(), ..p })))
            },
            Untrusted,
            "the collector sends nothing of a file that goes on",
        ),
        (
            "no image",
            |ask, said| Some(target(said, &ask.file, |_| UpdateSaid::Missing)),
            Untrusted,
            "the collector does not have the image that is announced",
        ),
        (
            "other bytes",
            |ask, said| {
                Some(target(said, &ask.file, |p| {
                    let mut bytes = p.bytes.to_vec();
                    bytes[0] ^= 1;
                    UpdateSaid::Piece(UpdatePiece { length: p.length, bytes: Bytes::new(bytes).unwrap() })
                }))
            },
            Untrusted,
            "the image that came is not the one that was announced: its sha256 is another than was announced",
        ),
        (
            "later, and later",
            |_, _| Some(UpdateSaid::Later(UpdateLater { seconds: 0, why: Text::cut("too many") })),
            Waiting,
            "the network holds it back: too many",
        ),
        (
            "later with the image alone",
            |ask, said| {
                let later = UpdateLater { seconds: 3600, why: Text::cut("release 11 is stopped") };
                Some(target(said, &ask.file, |_| UpdateSaid::Later(later)))
            },
            Waiting,
            "the network holds it back: release 11 is stopped",
        ),
        ("silence", |_, _| None, Unknown, "the collector does not answer questions about updates"),
    ];
    for (name, liar, stage, words) in cases {
        let mut world = World::new();
        world.release(11, image(11, 5000));
        world.liar = liar;
        assert_eq!(world.run(s(40 * 60), None), End::Time, "{name}");
        assert!(
            world.states.iter().any(|state| (state.stage, state.words.as_str()) == (stage, words)),
            "{name}: {:?}",
            world.states
        );
        assert!(world.asked.len() < 100, "{name}: {} questions", world.asked.len());
        assert!(world.files().keys().all(|file| file == "sonde_10.efi" || file == "sonde_11.tmp"), "{name}");
        // It has no power over what comes after it.
        world.liar = |_, said| Some(said);
        assert!(matches!(world.run(26 * HOUR, None), End::Restart(_)), "{name}");
        has(&world, "sonde_11+3.efi", &image(11, 5000));
    }
}

#[test]
fn spoiled_images_are_fetched_ever_more_rarely() {
    let mut world = World::new();
    world.release(11, image(11, 5000));
    world.liar = |ask, said| {
        Some(target(said, &ask.file, |p| {
            UpdateSaid::Piece(UpdatePiece { length: p.length, bytes: Bytes::new(vec![0; p.bytes.len()]).unwrap() })
        }))
    };
    assert_eq!(world.run(24 * HOUR, None), End::Time);
    let fetched = world.names().iter().filter(|name| name.ends_with("from 0")).count();
    assert!((4..=6).contains(&fetched), "{fetched} times a day: each wears out the card");
    assert_eq!(outcomes(&world).len(), 1);
    assert_eq!(outcomes(&world)[0].1, UpdateOutcome::NotInstalled);
}

#[test]
fn later_is_obeyed_but_not_for_ever() {
    let mut world = World::new();
    world.liar = |_, _| Some(UpdateSaid::Later(UpdateLater { seconds: u32::MAX, why: Text::cut("never") }));
    world.run(26 * HOUR, None);
    assert_eq!(world.asked.len(), 2);
    // Another connection is no reason to ask before the time.
    world.plan.connected(false, world.now);
    world.plan.connected(true, world.now);
    world.run(20 * HOUR, None);
    assert_eq!(world.asked.len(), 2);
}

#[test]
fn a_busy_collector_that_gives_little_at_a_time_gives_all_of_it_in_the_end() {
    let mut world = World::new();
    let new = image(11, 9 << 20);
    world.release(11, new.clone());
    // Four pieces, then a pause: far less than is worth writing.
    world.liar = |ask, said| {
        let pause = UpdateLater { seconds: 15, why: Text::cut("busy") };
        let is_time = ask.id % 5 == 0 && !BUSY.with(|said| said.replace(ask.id) == ask.id);
        Some(if is_time { UpdateSaid::Later(pause) } else { said })
    };
    assert!(matches!(world.run(2 * HOUR, None), End::Restart(_)), "{:?}", world.last());
    has(&world, "sonde_11+3.efi", &new);
    assert!(world.states.iter().all(|state| state.stage != UpdateStage::Waiting), "it is not worth a word");
}

thread_local! {
    /// The question that was put off last.
    static BUSY: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[test]
fn one_looks_every_hour_and_a_little_more_and_only_while_there_is_a_collector() {
    let mut world = World::new();
    world.run(24 * HOUR, None);
    let looks = world.names().iter().filter(|name| *name == "2.root.json").count();
    assert!((20..=24).contains(&looks), "{looks}");
    world.plan.connected(false, world.now);
    let before = world.asked.len();
    world.run(24 * HOUR, None);
    assert_eq!(world.asked.len(), before);
}

#[test]
fn what_was_fetched_before_is_not_fetched_again() {
    let new = image(11, 9 << 20);
    for (name, there, first) in [
        // The last step may be one that a power cut has left in pieces, whatever the file's length says.
        ("half of a step", new[..2_000_000].to_vec(), 0_u64),
        ("two steps", new[..8 << 20].to_vec(), 3 << 20),
        ("two steps, the second without its bytes", [&new[..4 << 20], &[0; 4 << 20]].concat(), 3 << 20),
        ("all", new.clone(), 4 << 20),
        ("more than all", vec![7; 15 << 20], 0),
    ] {
        let mut world = World::new();
        world.release(11, new.clone());
        fs::write(world.boot.join("EFI/Linux/sonde_11.tmp"), there).unwrap();
        assert!(matches!(world.run(s(60), None), End::Restart(_)), "{name}");
        let asked = world.asked.iter().find(|ask| matches!(ask.file, UpdateFile::Target(_)));
        assert_eq!(asked.map_or(u64::MAX, |ask| ask.offset), first, "{name}");
        has(&world, "sonde_11+3.efi", &new);
    }
}

#[test]
fn a_lost_connection_costs_no_more_than_a_little() {
    let mut world = World::new();
    let new = image(11, 9 << 20);
    world.release(11, new.clone());
    // Silence in the middle of a step.
    world.liar = |ask, said| {
        let is_late = matches!(ask.file, UpdateFile::Target(_)) && ask.offset > 6_000_000;
        if is_late { None } else { Some(said) }
    };
    world.run(s(60), None);
    world.plan.connected(false, world.now);
    world.run(s(60), None);
    let there = world.files()["sonde_11.tmp"].len() as u64;
    assert!(there > 6_000_000, "what had come of the step is kept: {there}");
    world.liar = |_, said| Some(said);
    world.asked.clear();
    world.plan.connected(true, world.now);
    assert!(matches!(world.run(s(60), None), End::Restart(_)));
    assert!(world.names().contains(&format!("sonde-11.efi from {there}")), "{:?}", world.names());
    has(&world, "sonde_11+3.efi", &new);
}

#[test]
fn a_release_that_is_withdrawn_or_followed_by_another_while_it_comes_is_left() {
    let mut world = World::new();
    world.release(11, image(11, 9 << 20));
    world.liar = |ask, said| {
        let is_late = matches!(ask.file, UpdateFile::Target(_)) && ask.offset > 6_000_000;
        if is_late { None } else { Some(said) }
    };
    world.run(s(60), None);
    world.plan.connected(false, world.now);
    world.repository.files.clear();
    world.release(12, image(12, 5000));
    world.plan.connected(true, world.now);
    assert!(matches!(world.run(s(60), None), End::Restart(_)));
    assert!(world.files().contains_key("sonde_12+3.efi"), "{:?}", world.files().keys());
}

#[test]
fn the_owner_changes_his_mind_over_the_network_and_the_board_remembers() {
    let mut world = World::new();
    world.release(11, image(11, 5000));
    world.plan.chosen(UpdateChoice::Refuse, world.now);
    world.run(HOUR, None);
    stands(&world, UpdateStage::Refused, "the owner wants no updates, and there is version 11");
    assert_eq!(world.last().choice, UpdateChoice::Refuse);
    // Offline, after a restart.
    world.start(OLD);
    world.plan.connected(false, world.now);
    world.run(s(1), None);
    assert_eq!(world.last().choice, UpdateChoice::Refuse);
    // What stands on the card counts most.
    world.own_choice = Some(UpdateChoice::Pin(11));
    world.start(OLD);
    world.plan.chosen(UpdateChoice::Refuse, world.now);
    assert!(matches!(world.run(s(60), None), End::Restart(_)));
    assert_eq!(world.last().choice, UpdateChoice::Pin(11));
}

#[test]
fn a_hijacked_probe_that_changes_the_owners_mind_without_end_does_not_wear_out_the_card() {
    let mut world = World::new();
    let file = world.state.join("os/updates/choice");
    let mut written = 0;
    for number in 0..1000_u64 {
        let before = fs::read(&file).ok();
        world.plan.chosen(UpdateChoice::Delay(number), world.now);
        world.run(s(1), None);
        written += usize::from(fs::read(&file).ok() != before);
    }
    assert!(written <= 18, "{written} times in {:?}", world.now);
}

#[test]
fn a_release_with_another_number_inside_is_not_installed() {
    let mut world = World::new();
    world.release(11, image(12, 5000));
    world.run(s(60), None);
    stands(
        &world,
        UpdateStage::Untrusted,
        "the image that came is not the one that was announced: sonde_11.tmp has the number 12 inside",
    );
    assert_eq!(world.files().len(), 1);
}

/// A file system of so many bytes; needs root.
struct Small(tempfile::TempDir);

impl Small {
    fn new(bytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let flags = nix::mount::MsFlags::empty();
        match nix::mount::mount(Some("tmpfs"), folder.path(), Some("tmpfs"), flags, Some(size.as_str())) {
            Ok(()) => Some(Self(folder)),
            Err(error) => {
                eprintln!("SKIPPED: a small file system cannot be mounted: {error}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_a_card_that_is_full_takes_nothing() {
    let Some(small) = Small::new(8 << 20) else { return };
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut world = World::at(folder, small.0.path().to_owned(), state);
    world.release(11, image(11, 9 << 20));
    world.run(s(60), None);
    assert_eq!(world.last().stage, UpdateStage::Refused, "{:?}", world.last().words);
    let words = world.last().words.as_str();
    assert!(words.starts_with("version 11 has 9437184 bytes, and ") && words.ends_with(" fit into a slot"), "{words}");
    // It fits when it is decided, and no more when it is written.
    world.repository.files.clear();
    world.release(12, image(12, 5 << 20));
    world.start(OLD);
    world.liar = |ask, said| {
        let is_late = matches!(ask.file, UpdateFile::Target(_)) && ask.offset > 1_000_000;
        if is_late { None } else { Some(said) }
    };
    world.run(s(60), None);
    assert_eq!(world.last().stage, UpdateStage::Fetching, "{:?}", world.last().words);
    fs::write(small.0.path().join("holiday.jpg"), vec![1; 6 << 20]).unwrap();
    world.liar = |_, said| Some(said);
    world.run(s(120), None);
    assert_eq!(world.last().stage, UpdateStage::Broken, "{:?}", world.last().words);
    assert_eq!(outcomes(&world)[0].1, UpdateOutcome::NotInstalled);
    assert!(fs::read(small.0.path().join("EFI/Linux/sonde_10.efi")).unwrap() == image(OLD, 10_000));
    fs::remove_file(small.0.path().join("holiday.jpg")).unwrap();
    assert!(matches!(world.run(2 * HOUR, None), End::Restart(_)), "{:?}", world.last());
}

#[test]
fn a_system_of_which_nobody_counts_the_tries_is_kept_and_takes_no_update() {
    let mut world = World::new();
    world.release(12, image(12, 500));
    fs::write(world.boot.join("EFI/Linux/sonde_11+2-1.efi"), image(11, 500)).unwrap();
    world.start(11);
    world.run(s(60), None);
    assert_eq!(world.last().stage, UpdateStage::Trial);
    world.plan.kept(world.now);
    world.plan.broken("nobody counts");
    world.run(24 * HOUR, None);
    stands(&world, UpdateStage::Broken, "nobody counts");
    assert_eq!(outcomes(&world), [(11, UpdateOutcome::Kept, String::new())]);
    assert!(world.asked.is_empty());
}

#[test]
fn an_image_without_a_root_never_asks() {
    let mut world = World::new();
    world.release(11, image(11, 500));
    let image = sonde_os::update::plan::Image {
        number: OLD,
        name: "0.10".into(),
        architecture: "aarch64",
        root: None,
        built: NOW,
    };
    world.plan = sonde_os::update::plan::Plan::new(image, None, 1);
    world.plan.connected(true, world.now);
    assert_eq!(world.run(24 * HOUR, None), End::Time);
    stands(&world, UpdateStage::None, "this image knows no root of updates and never takes one");
    assert!(world.asked.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_power_may_go_at_any_moment(cuts in prop::collection::vec((0_usize..14, 0..3), 1..6)) {
        let mut world = World::new();
        let new = image(11, 5 << 20);
        world.release(11, new.clone());
        let old = image(OLD, 10_000);
        for (at, kind) in cuts {
            let cut = match kind {
                0 => Cut::Before(at),
                1 => Cut::Within(at),
                _ => Cut::After(at),
            };
            let end = world.run(s(120), Some(cut));
            let files = world.files();
            prop_assert!(files["sonde_10.efi"] == old, "the old system is never touched");
            for (name, bytes) in &files {
                prop_assert!(!name.contains('+') || *bytes == new, "{}: no system that is not whole has its name", name);
            }
            if files.contains_key("sonde_11+3.efi") {
                break;
            }
            prop_assert_eq!(end, End::Cut);
            world.start(OLD);
            // It was not tried: a power cut is not its fault.
            prop_assert!(world.plan.state().attempts.is_empty(), "{:?}", world.plan.state().attempts);
        }
        if !world.files().contains_key("sonde_11+3.efi") {
            prop_assert!(matches!(world.run(s(120), None), End::Restart(_)), "{:?}", world.last());
        }
        let files = world.files();
        prop_assert_eq!(files.keys().collect::<Vec<_>>(), ["sonde_10.efi", "sonde_11+3.efi"]);
        prop_assert!(files["sonde_11+3.efi"] == new);
        // The loader starts it, and it knows where it comes from.
        world.start(11);
        let state = world.plan.state();
        prop_assert_eq!(state.stage, UpdateStage::Trial);
        prop_assert_eq!(state.attempts.len(), 1);
        prop_assert_eq!(state.attempts[0].outcome, UpdateOutcome::Installed);
    }
}
