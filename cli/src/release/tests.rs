//! A repository through its life, looked at as boards do after each single write.

use std::fs;

use sonde_update::client::Kept;
use sonde_update::repository::METADATA;
use tempfile::TempDir;

use super::change::DAY;
use super::folder::{Files, NewFile};
use super::image::tests::{image, os_release};
use super::*;

/// 2026-12-01.
const NOW: Moment = Moment(1_796_083_200);

/// An operator's data directory and keys.
struct Operator {
    place: TempDir,
}

impl Operator {
    /// With releases, and none on the list.
    fn new() -> Self {
        let operator = Self::without_releases();
        operator.run(&["init"], NOW).unwrap();
        operator
    }

    fn without_releases() -> Self {
        Self { place: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn folder(&self) -> Folder {
        Folder::of_data(&self.path("data"))
    }

    /// A command with `--keys`, where it wants keys.
    fn run(&self, words: &[&str], now: Moment) -> Result<String> {
        let keys = self.path("keys");
        let mut words: Vec<&str> = [&["release"], words].concat();
        if !matches!(words[1], "root" | "status" | "check" | "mirror") {
            words.extend(["--keys", keys.to_str().unwrap()]);
        }
        let crate::admin::AdminCommand::Release(command) = crate::admin::parse(&words).map_err(anyhow::Error::new)?
        else {
            unreachable!()
        };
        super::run(&self.path("data"), &command, now)
    }

    /// A file with the image of this number, and with other bytes for another `build`.
    fn image(&self, number: u64, build: u8) -> String {
        let path = self.path(&format!("sonde_{number}-{build}.efi"));
        fs::write(&path, image(&format!("{}BUILD={build}\n", os_release(number)), 0xaa64, true)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn add(&self, number: u64) -> Result<String> {
        self.run(&["add", &self.image(number, 0)], NOW)
    }

    /// A copy of the repository as it is.
    fn copy(&self) -> (TempDir, Folder) {
        let place = TempDir::new().unwrap();
        let folder = Folder::of_data(place.path());
        folder.make().unwrap();
        for part in ["metadata", "targets", "log"] {
            for name in self.folder().list(part).unwrap() {
                fs::copy(self.folder().path().join(part).join(&name), folder.path().join(part).join(&name)).unwrap();
            }
        }
        (place, folder)
    }
}

/// The numbers that a board which knows nothing yet would find.
fn offered(folder: &Folder) -> Vec<u64> {
    Release::all(&walk::fresh(folder, NOW).unwrap().targets).0.iter().map(|release| release.version).collect()
}

/// What a board keeps that has walked through this.
fn board(folder: &Folder) -> Kept {
    walk::fresh(folder, NOW).unwrap().kept
}

/// Writes one file after the other, and looks after each as two boards: a new one, and one that knows what there was.
fn write_one_by_one(folder: &Folder, files: &[NewFile], after_each: impl Fn(&Folder, usize)) {
    let before = board(folder);
    let first = change::first_root(folder).unwrap();
    let mut known = before.clone();
    for (written, file) in files.iter().enumerate() {
        after_each(folder, written);
        folder.apply(file).unwrap();
        let what = &file.name;
        walk::fresh(folder, NOW).unwrap_or_else(|stopped| panic!("a new board after {what}: {stopped}"));
        walk::walk(folder, &first, before.clone(), NOW)
            .unwrap_or_else(|stopped| panic!("a board after {what}: {stopped}"));
        // And one that looks after each write.
        known = walk::walk(folder, &first, known, NOW).unwrap_or_else(|stopped| panic!("after {what}: {stopped}")).kept;
        look::check(folder, NOW).unwrap_or_else(|error| panic!("check after {what}: {error:#}"));
    }
    assert_eq!(known.targets, board(folder).targets);
}

#[test]
fn a_release_is_added_rolled_out_and_withdrawn() {
    let operator = Operator::new();
    assert_eq!(offered(&operator.folder()), [0_u64; 0]);
    let said = operator.run(&["add", &operator.image(7, 0), "--percentage", "5"], NOW).unwrap();
    assert_eq!(said, "release 7 (0.7) is on the list, for 5 of a hundred probes\n");
    operator.add(8).unwrap();
    operator.run(&["roll-out", "7", "50"], NOW).unwrap();
    assert_eq!(offered(&operator.folder()), [7, 8]);
    let status = operator.run(&["status"], NOW).unwrap();
    assert!(status.contains("7       0.7   aarch64  0.0  50       2026-12-01T00:00:00Z"), "{status}");
    assert!(status.contains("timestamp  until 2026-12-08T00:00:00Z (7 days)"), "{status}");
    assert!(status.contains("4 entries"), "{status}");
    assert_eq!(operator.run(&["check"], NOW).unwrap(), "in order: 2 releases on the list, 4 entries in the log\n");
    assert_eq!(operator.folder().list("targets").unwrap().len(), 2);
    operator.run(&["withdraw", "7"], NOW).unwrap();
    assert_eq!(offered(&operator.folder()), [8]);
    assert_eq!(operator.folder().list("targets").unwrap().len(), 1, "the image of what is withdrawn is gone");
    let root = operator.run(&["root"], NOW).unwrap();
    assert_eq!(root.as_bytes(), change::first_root(&operator.folder()).unwrap());
}

#[test]
fn a_new_repository_that_is_cut_off_is_none_and_is_begun_again() {
    let operator = Operator::without_releases();
    let files = init::files(&operator.path("keys"), None, NOW);
    assert!(files.is_err(), "the folder for keys is not there yet");
    fs::create_dir(operator.path("keys")).unwrap();
    let files = init::files(&operator.path("keys"), None, NOW).unwrap();
    for written in 0..files.len() {
        operator.folder().make().unwrap();
        for file in &files[..written] {
            operator.folder().apply(file).unwrap();
        }
        let said = operator.run(&["check"], NOW).unwrap_err().to_string();
        assert!(said.contains("`release init` begins"), "{said}");
    }
    let said = operator.run(&["init"], NOW).unwrap();
    assert!(said.contains("root-1.pem") && said.contains("--update-root"), "{said}");
    assert_eq!(operator.run(&["check"], NOW).unwrap(), "in order: 0 releases on the list, 1 entry in the log\n");
    assert!(operator.run(&["init"], NOW).unwrap_err().to_string().contains("already"));
}

#[test]
fn a_crash_between_any_two_writes_leaves_what_boards_take_and_is_repaired_by_the_same_command() {
    let operator = Operator::new();
    operator.add(7).unwrap();
    let image = Image::open(operator.image(8, 0).as_ref()).unwrap();
    let release = image.release(10, NOW);
    let repository = Repository::load(&operator.folder()).unwrap();
    let hands = Hands { keys: Some(operator.path("keys")), expires: None };
    let keys = hands.open(&operator.folder()).unwrap();
    let files = new_list(&repository, &keys, &hands, NOW, |_, targets| {
        targets.targets.insert(release.path.clone(), release.to_target());
        Ok(vec![change::image(&release, image.bytes.clone())])
    })
    .unwrap();
    let order: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(
        order[1..],
        [
            "log/entries",
            "log/checkpoint",
            "metadata/3.targets.json",
            "metadata/3.snapshot.json",
            "metadata/timestamp.json"
        ]
    );
    let (_place, folder) = operator.copy();
    write_one_by_one(&folder, &files, |_, _| {});
    assert_eq!(offered(&folder), [7, 8]);
    // After each cut the operator gives the command again, and boards that saw what was cut off follow.
    for cut in 1..files.len() {
        let operator = Operator::new();
        operator.add(7).unwrap();
        let repository = Repository::load(&operator.folder()).unwrap();
        let hands = Hands { keys: Some(operator.path("keys")), expires: None };
        let keys = hands.open(&operator.folder()).unwrap();
        let files = new_list(&repository, &keys, &hands, NOW, |_, targets| {
            targets.targets.insert(release.path.clone(), release.to_target());
            Ok(vec![change::image(&release, image.bytes.clone())])
        })
        .unwrap();
        for file in &files[..cut] {
            operator.folder().apply(file).unwrap();
        }
        let known = board(&operator.folder());
        operator.add(8).unwrap();
        let first = change::first_root(&operator.folder()).unwrap();
        let walked = walk::walk(&operator.folder(), &first, known, NOW).unwrap();
        assert_eq!(Release::all(&walked.targets).0.len(), 2, "cut after {cut}");
        assert!(operator.run(&["check"], NOW).unwrap().starts_with("in order: 2 releases"));
    }
}

#[test]
fn a_number_means_one_image_and_never_goes_back() {
    let operator = Operator::new();
    operator.add(7).unwrap();
    let before = board(&operator.folder());
    for (image, said) in [
        (operator.image(7, 0), "release 7 is on the list already"),
        (operator.image(7, 1), "there was another image with the number 7"),
        (operator.image(6, 0), "its number is 6, and there was 7 already"),
    ] {
        let error = format!("{:#}", operator.run(&["add", &image], NOW).unwrap_err());
        assert!(error.contains(said), "{error}");
        assert_eq!(board(&operator.folder()), before, "nothing was written");
    }
    operator.run(&["withdraw", "7"], NOW).unwrap();
    // What was withdrawn counts all the same; the very same image may come back.
    assert!(operator.run(&["add", &operator.image(7, 1)], NOW).is_err());
    assert!(operator.run(&["add", &operator.image(6, 0)], NOW).is_err());
    operator.add(7).unwrap();
    assert_eq!(offered(&operator.folder()), [7]);
    for words in [["roll-out", "9", "5"], ["withdraw", "9", "--expires=5"]] {
        let error = operator.run(&words, NOW).unwrap_err().to_string();
        assert!(error.contains("there is no release 9 on the list"), "{error}");
    }
    assert!(operator.run(&["roll-out", "7", "101"], NOW).is_err());
}

#[test]
fn without_enough_keys_nothing_is_written_and_it_says_whose_are_missing() {
    let operator = Operator::new();
    operator.add(7).unwrap();
    let before = board(&operator.folder());
    fs::rename(operator.path("keys/targets-2.pem"), operator.path("elsewhere.pem")).unwrap();
    let missing = sonde_update::key::Key::id(&keys::read_public(&operator.path("elsewhere.pem")).unwrap());
    let said = operator.add(8).unwrap_err().to_string();
    assert_eq!(said, format!("targets.json has 1 of the 2 signatures that it needs; not signed yet by {missing}"));
    fs::rename(operator.path("elsewhere.pem"), operator.path("keys/targets-2.pem")).unwrap();
    fs::rename(operator.path("keys/log.pem"), operator.path("log.pem")).unwrap();
    assert!(operator.add(8).unwrap_err().to_string().starts_with("the key of the log sonde-releases-"));
    assert_eq!(board(&operator.folder()), before);
    // The server's own keys are taken too.
    fs::create_dir(operator.folder().keys()).unwrap();
    fs::rename(operator.path("log.pem"), operator.folder().keys().join("log.pem")).unwrap();
    operator.add(8).unwrap();
}

#[test]
fn two_writers_at_once_are_locked_out() {
    let operator = Operator::new();
    let lock = operator.folder().lock().unwrap();
    let said = operator.add(7).unwrap_err().to_string();
    assert!(said.contains("another sonde changes the releases"), "{said}");
    drop(lock);
    operator.add(7).unwrap();
}

#[test]
fn what_expires_is_renewed_as_far_as_keys_are_at_hand() {
    let operator = Operator::new();
    operator.add(7).unwrap();
    let later = |days: u64| NOW.plus_seconds(days * DAY);
    let said = operator.run(&["check"], later(6)).unwrap();
    assert!(said.contains("soon: timestamp.json expires at 2026-12-08T00:00:00Z (1 day)"), "{said}");
    let said = format!("{:#}", operator.run(&["check"], later(8)).unwrap_err());
    assert!(said.contains("timestamp.json has expired at 2026-12-08T00:00:00Z"), "{said}");
    assert!(operator.run(&["status"], later(8)).unwrap().contains("NOT IN ORDER"));
    for other in ["targets-1", "targets-2", "snapshot"] {
        fs::rename(operator.path(&format!("keys/{other}.pem")), operator.path(&format!("{other}.pem"))).unwrap();
    }
    let said = operator.run(&["renew"], later(8)).unwrap();
    assert!(said.contains("timestamp  until 2026-12-16T00:00:00Z (7 days)"), "{said}");
    assert!(operator.run(&["check"], later(8)).unwrap().starts_with("in order"));
    let said = operator.run(&["renew", "--role", "snapshot"], later(8)).unwrap_err().to_string();
    assert!(said.contains("snapshot.json has 0 of the 1 signatures"), "{said}");
    let said = operator.run(&["renew"], later(95)).unwrap();
    assert!(said.contains("note: boards still install nothing: snapshot.json has expired"), "{said}");
    for other in ["targets-1", "targets-2", "snapshot"] {
        fs::rename(operator.path(&format!("{other}.pem")), operator.path(&format!("keys/{other}.pem"))).unwrap();
    }
    operator.run(&["renew", "--expires", "30"], later(95)).unwrap();
    let said = operator.run(&["status"], later(95)).unwrap();
    for role in ["targets ", "snapshot", "timestamp"] {
        assert!(said.lines().any(|line| line.starts_with(role) && line.ends_with("(30 days)")), "{said}");
    }
    assert_eq!(offered(&operator.folder()), [7]);
}

#[test]
fn check_says_the_first_thing_that_is_wrong() {
    let operator = Operator::new();
    operator.add(7).unwrap();
    let image = operator.folder().list("targets").unwrap().remove(0);
    let path = |name: &str| operator.folder().path().join(name);
    let snapshot = format!("{METADATA}/2.snapshot.json");
    for (file, from, to, said) in [
        (format!("targets/{image}"), "BUILD", "BUILT", "the image of release 7 is damaged"),
        (
            "metadata/timestamp.json".to_owned(),
            "\"version\":2",
            "\"version\":3",
            "timestamp.json is signed by 0 of the 1 keys",
        ),
        (snapshot, "2027-03-01", "2027-03-02", "snapshot.json is not the announced one"),
        ("log/checkpoint".to_owned(), "sonde-releases", "sande-releases", "is not signed by sonde-releases"),
        ("log/entries".to_owned(), "targets 2\n", "targets 3\n", "there is no proof for version 2 of the targets"),
    ] {
        let good = operator.folder().read(&file).unwrap().unwrap();
        let text: String = good.iter().map(|byte| char::from(*byte)).collect();
        assert!(text.contains(from), "{file} has no {from}");
        let bad: Vec<u8> = text.replace(from, to).chars().map(|letter| u8::try_from(letter).unwrap()).collect();
        fs::write(path(&file), bad).unwrap();
        let error = format!("{:#}", operator.run(&["check"], NOW).unwrap_err());
        assert!(error.contains(said), "{file}: {error}");
        fs::write(path(&file), good).unwrap();
    }
    operator.run(&["check"], NOW).unwrap();
    fs::remove_file(path(&format!("targets/{image}"))).unwrap();
    let error = operator.run(&["check"], NOW).unwrap_err().to_string();
    assert!(error.contains("the image of release 7 is not there"), "{error}");
}
