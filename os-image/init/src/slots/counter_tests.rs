//! What the counter means, and a whole update with it on a folder in the place of a card.

use std::fs;
use std::path::Path;

use super::*;
use crate::slots::system_for_tests as system;

const fn env(slot: Slot, left: Option<u32>) -> Env {
    Env { slot, left }
}

#[test]
fn the_counter_is_read_as_the_script_reads_it_and_keeps_its_length() {
    for (text, expected) in [
        (&b"alt=a\nslot=b\ntry=3\n\0"[..], env(Slot::B, Some(3))),
        (b"slot=b\nalt=a\ntry=0", env(Slot::B, Some(0))),
        (b"alt=b\nslot=a\ntry=good\n\0", env(Slot::A, None)),
        (b"slot=b\n", env(Slot::B, None)),
        (b"", env(Slot::A, None)),
        (b"slot=c\ntry=4\n", env(Slot::A, None)),
        (b"\xff\xff\xff\xff", env(Slot::A, None)),
        (b"xslot=b\ntry=-1\n", env(Slot::A, None)),
        (b"try=\nslot=", env(Slot::A, None)),
    ] {
        assert_eq!(Env::read(text), expected, "{}", String::from_utf8_lossy(text));
    }
    for written in [env(Slot::A, None), env(Slot::B, Some(3)), env(Slot::B, Some(0))] {
        assert_eq!(Env::read(&written.write()), written);
        assert_eq!(written.write().len(), 512, "one sector, whatever it says");
    }
    assert!(env(Slot::B, Some(3)).write().starts_with(b"alt=a\nslot=b\ntry=3\n\0"), "as U-Boot itself writes it");
}

#[test]
fn what_the_counter_means_to_the_system_that_runs() {
    let kept = |number| Other { number, tries: None };
    let tried = |number, left| Other { number, tries: Some(Tries { left, done: TRIES - left }) };
    // Number in a, in b, counter, own number; on trial, uncounted, the others.
    for (a, b, env, own, trial, uncounted, others) in [
        (1, 0, env(Slot::A, None), 1, false, false, vec![]),
        (1, 2, env(Slot::B, Some(2)), 2, true, false, vec![kept(1)]),
        (1, 2, env(Slot::B, Some(0)), 2, true, false, vec![kept(1)]),
        (1, 2, env(Slot::B, Some(3)), 2, true, true, vec![kept(1)]),
        (1, 2, env(Slot::B, None), 2, false, false, vec![kept(1)]),
        // Fallen back.
        (1, 2, env(Slot::B, Some(0)), 1, false, false, vec![tried(2, 0)]),
        // Installed, not started yet.
        (1, 2, env(Slot::B, Some(3)), 1, false, false, vec![tried(2, 3)]),
        // The kept one was refused, and the script went on to the other.
        (1, 2, env(Slot::B, None), 1, false, false, vec![kept(2)]),
        (3, 2, env(Slot::A, Some(1)), 3, true, false, vec![kept(2)]),
    ] {
        let systems = [a, b].map(|number| (number > 0).then_some((number, 60)));
        let card = Card { env, systems };
        let seen = Seen { trial, uncounted, twice: false, others };
        assert_eq!(card.judge(own).unwrap(), seen, "{card:?} {own}");
        assert!(matches!(card.judge(9), Err(SlotError::Missing(9))));
    }
}

fn text(place: &Path) -> String {
    let text = fs::read_to_string(place.join(ENV)).unwrap();
    assert_eq!(text.len(), 512, "one sector");
    text.trim_end_matches('\0').to_owned()
}

#[test]
fn a_system_is_installed_counted_kept_and_falls_back() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path();
    fs::write(at.join("slot_a.efi"), system(1)).unwrap();
    fs::write(at.join(ENV), env(Slot::A, None).write()).unwrap();
    let volume = Volume::new(at);
    let install = |own: u64, number: u64| {
        let mounted = volume.mount(Access::Write).unwrap();
        let folder = mounted.folder(FOLDER);
        make_room(&folder, own, number, 100).unwrap();
        folder.write(&Name::part(number), 0, &system(number)).unwrap();
        commit(&folder, own, number)
    };
    install(1, 2).unwrap();
    assert_eq!(text(at), "alt=a\nslot=b\ntry=3\n");
    assert_eq!(fs::read(at.join("slot_b.efi")).unwrap(), system(2));
    assert!(!at.join("sonde_2.tmp").exists());

    // The script's first try.
    fs::write(at.join(ENV), env(Slot::B, Some(2)).write()).unwrap();
    let mounted = volume.mount(Access::Write).unwrap();
    assert!(matches!(make_room(&mounted.folder(FOLDER), 2, 3, 1), Err(SlotError::OnTrial)));
    drop(mounted);
    keep(&volume, 2).unwrap();
    assert_eq!(text(at), "alt=a\nslot=b\ntry=good\n");
    keep(&volume, 2).unwrap();
    assert!(matches!(give_up(&volume, 2), Err(SlotError::Kept)));

    // The next goes where the older lies, fails, and its place is taken by the one after it.
    install(2, 3).unwrap();
    assert_eq!(text(at), "alt=b\nslot=a\ntry=3\n");
    give_up(&volume, 3).unwrap();
    assert_eq!(text(at), "alt=b\nslot=a\ntry=0\n");
    assert!(fs::read(at.join("slot_b.efi")).unwrap() == system(2), "it is what runs");
    keep(&volume, 2).unwrap();
    assert_eq!(text(at), "alt=b\nslot=a\ntry=0\n", "it was kept long ago");
    install(2, 4).unwrap();
    assert_eq!(text(at), "alt=b\nslot=a\ntry=3\n");
    assert_eq!(fs::read(at.join("slot_a.efi")).unwrap(), system(4));
}
