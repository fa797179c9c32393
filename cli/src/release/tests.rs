//! A repository through its life, looked at as boards do after each single write.

use std::fs;

use sonde_update::client::Kept;
use sonde_update::release::Release;
use sonde_update::repository::METADATA;
use tempfile::TempDir;

use super::change::DAY;
use super::folder::Files;
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

    /// A command with `--keys`, where it wants keys. `@` stands for the operator's place.
    fn run(&self, words: &[&str], now: Moment) -> Result<String> {
        let mut words: Vec<&str> = [&["release"], words].concat();
        if !matches!(words[1], "root" | "status" | "check" | "mirror" | "draft" | "sign" | "key") {
            words.extend(["--keys", "@keys"]);
        }
        let place = self.place.path().to_str().unwrap();
        let words: Vec<String> = words.iter().map(|word| word.replace('@', &format!("{place}/"))).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
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
fn write_one_by_one(folder: &Folder, files: &[NewFile]) {
    let before = board(folder);
    let first = change::first_root(folder).unwrap();
    let mut known = before.clone();
    for file in files {
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
    let change = addition(operator.image(8, 0).as_ref(), 10, None, NOW).unwrap();
    let planned = |operator: &Operator| {
        let repository = Repository::load(&operator.folder()).unwrap();
        let keys = Keyring::open(&operator.path("keys")).unwrap();
        new_list(&repository, &keys, &change, None, NOW).unwrap()
    };
    let files = planned(&operator);
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
    write_one_by_one(&folder, &files);
    assert_eq!(offered(&folder), [7, 8]);
    // After each cut the operator gives the command again, and boards that saw what was cut off follow.
    for cut in 1..files.len() {
        let operator = Operator::new();
        operator.add(7).unwrap();
        let files = planned(&operator);
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

/// Carries out an exchange of keys one write after the other.
fn rotate_one_by_one(operator: &Operator, words: &[&str]) -> (Vec<String>, bool) {
    let crate::admin::AdminCommand::Release(ReleaseCommand::Rotate { exchange, .. }) =
        crate::admin::parse(&[&["release", "rotate"], words].concat()).unwrap()
    else {
        unreachable!()
    };
    let repository = Repository::load(&operator.folder()).unwrap();
    let mut keys = Keyring::open(&operator.path("keys")).unwrap();
    let mut plan = rotate::same(&repository, &Terms::default(), NOW);
    rotate::exchange(&mut plan, &exchange, Some(&operator.path("keys")), &mut keys).unwrap();
    let root = rotate::signed(&plan, &repository.root.body, &keys).unwrap();
    let (files, waits) = rotate::files(&repository, &keys, root, Terms::default(), NOW).unwrap();
    change::rehearse(&operator.folder(), &files).unwrap();
    if !waits {
        write_one_by_one(&operator.folder(), &files);
    } else {
        files.iter().for_each(|file| operator.folder().apply(file).unwrap());
    }
    (files.into_iter().map(|file| file.name).collect(), waits)
}

#[test]
fn every_key_can_be_exchanged_and_boards_are_content_after_each_write() {
    let operator = Operator::new();
    operator.add(7).unwrap();
    for (words, last) in [
        (&["timestamp"][..], "metadata/2.root.json"),
        (&["snapshot"][..], "metadata/3.root.json"),
        (&["log"][..], "metadata/4.root.json"),
        (&["targets", "--remove", "KEY"][..], "metadata/5.root.json"),
        (&["root", "--remove", "KEY"][..], "metadata/6.root.json"),
    ] {
        let old = keys::read_public(&operator.path(&format!("keys/{}-1.pem", words[0])));
        let old = old.map(|key| key.id().to_string()).unwrap_or_default();
        let words: Vec<&str> = words.iter().map(|word| if *word == "KEY" { &old[..12] } else { *word }).collect();
        let (files, waits) = rotate_one_by_one(&operator, &words);
        assert_eq!((files.last().map(String::as_str), waits), (Some(last), false), "{words:?}");
    }
    assert_eq!(
        operator.run(&["check"], NOW).unwrap().lines().next(),
        Some("in order: 1 release on the list, 3 entries in the log")
    );
    // With the new ones alone.
    for old in ["timestamp", "snapshot", "log", "targets-1", "root-1"] {
        fs::remove_file(operator.path(&format!("keys/{old}.pem"))).unwrap();
    }
    operator.add(8).unwrap();
    operator.run(&["renew", "--role", "root", "--expires", "700"], NOW).unwrap();
    let status = operator.run(&["status"], NOW).unwrap();
    assert!(status.contains("(700 days)") && !status.contains("NOT IN ORDER"), "{status}");
}

#[test]
fn a_lost_key_is_exchanged_too() {
    let operator = Operator::new();
    operator.add(7).unwrap();
    let known = board(&operator.folder());
    fs::remove_file(operator.path("keys/timestamp.pem")).unwrap();
    assert!(operator.run(&["renew", "--role", "timestamp"], NOW).is_err());
    let said = operator.run(&["rotate", "timestamp"], NOW).unwrap();
    assert!(
        said.starts_with("root 2 is in force") && said.contains("boards that looked meanwhile have to look again"),
        "{said}"
    );
    let first = change::first_root(&operator.folder()).unwrap();
    walk::walk(&operator.folder(), &first, known, NOW).unwrap();
    operator.run(&["renew"], NOW).unwrap();
    // Two root keys of three are enough; one is not.
    fs::remove_file(operator.path("keys/root-3.pem")).unwrap();
    let gone = keys::read_public(&operator.path("keys/root-3.pem.pub")).unwrap().id().to_string();
    operator.run(&["rotate", "root", "--remove", &gone], NOW).unwrap();
    fs::remove_file(operator.path("keys/root-2.pem")).unwrap();
    fs::remove_file(operator.path("keys/root-root3.pem")).unwrap();
    let said = format!("{:#}", operator.run(&["rotate", "timestamp"], NOW).unwrap_err());
    assert!(said.contains("by the keys of the root before: root.json has 1 of the 2 signatures"), "{said}");
    operator.run(&["check"], NOW).unwrap();
}

#[test]
fn what_cannot_be_exchanged_is_refused_in_words() {
    let operator = Operator::new();
    operator.run(&["key", "@other.pem"], NOW).unwrap();
    for (words, said) in [
        (&["rotate", "targets"][..], "targets has 2 keys: name the one that goes with --remove"),
        (&["rotate", "targets", "--remove", "00000000"][..], "00000000 is no key: there are"),
        (&["rotate", "targets", "--remove", "@other.pem"][..], "other.pem is no key"),
        (&["rotate", "targets", "--threshold", "3"][..], "the role targets asks for 3 of 2 keys"),
        (&["rotate", "targets", "--add", "@keys/targets-1.pem.pub"][..], "is one of targets already"),
        (&["rotate", "targets", "--add", "@data"][..], "cannot read"),
        (&["rotate", "log", "--threshold", "2"][..], "a log has one key"),
    ] {
        let error = format!("{:#}", operator.run(words, NOW).unwrap_err());
        assert!(error.contains(said), "{words:?}: {error}");
    }
    assert_eq!(operator.folder().metadata().unwrap().len(), 4, "nothing was written");
}

#[test]
fn a_release_is_signed_by_people_who_never_meet() {
    let operator = Operator::new();
    // The machine has what is renewed by itself; each person a key.
    fs::create_dir(operator.folder().keys()).unwrap();
    for machine in ["snapshot.pem", "timestamp.pem", "log.pem"] {
        fs::rename(operator.path("keys").join(machine), operator.folder().keys().join(machine)).unwrap();
    }
    fs::rename(operator.path("keys"), operator.path("people")).unwrap();
    fs::create_dir(operator.path("keys")).unwrap();
    let image = operator.image(7, 0);
    let said = operator.run(&["draft", "add", &image, "--percentage", "5", "--out", "@draft"], NOW).unwrap();
    assert!(said.contains("7 (0.7) for aarch64, 5 of a hundred"), "{said}");
    assert_eq!(offered(&operator.folder()), [0_u64; 0]);
    let unsigned = operator.run(&["publish", "@draft"], NOW).unwrap_err().to_string();
    assert!(unsigned.contains("targets.json has 0 of the 2 signatures"), "{unsigned}");
    let said = operator.run(&["sign", "@draft", "--key", "@people/targets-1.pem"], NOW).unwrap();
    assert_eq!(operator.run(&["draft", "show", "@draft"], NOW).unwrap(), said.split("signed by").next().unwrap());
    assert!(said.contains("7 (0.7)") && said.contains("signed by"), "{said}");
    // The other one has a token: it sees bytes and gives a signature.
    operator.run(&["draft", "payload", "@draft", "--out", "@bytes"], NOW).unwrap();
    let token = Keyring::of_file(&operator.path("people/targets-2.pem")).unwrap();
    let signature = token.pairs()[0].sign(&fs::read(operator.path("bytes")).unwrap());
    fs::write(operator.path("signature"), signature).unwrap();
    let attach = ["sign", "@draft", "--key", "@people/targets-2.pem.pub", "--signature", "@signature"];
    operator.run(&attach, NOW).unwrap();
    operator.run(&["publish", "@draft"], NOW).unwrap();
    assert_eq!(offered(&operator.folder()), [7]);
    let again = operator.run(&["publish", "@draft"], NOW).unwrap_err().to_string();
    assert!(again.contains("something was published since; make it again"), "{again}");
    fs::write(operator.path("signature"), [0; 64]).unwrap();
    assert!(operator.run(&attach, NOW).unwrap_err().to_string().contains("this is no signature by"));
    // A root, by two of three, with a key of somebody who gave only its public half.
    operator.run(&["key", "@people/new.pem"], NOW).unwrap();
    let draft = [
        "draft",
        "root",
        "root",
        "--remove",
        "@people/root-3.pem.pub",
        "--add",
        "@people/new.pem.pub",
        "--out",
        "@root",
    ];
    operator.run(&draft, NOW).unwrap();
    for key in ["@people/root-1.pem", "@people/new.pem"] {
        operator.run(&["sign", "@root", "--key", key], NOW).unwrap();
    }
    let said = format!("{:#}", operator.run(&["publish", "@root"], NOW).unwrap_err());
    assert!(said.contains("by the keys of the root before: root.json has 1 of the 2 signatures"), "{said}");
    operator.run(&["sign", "@root", "--key", "@people/root-2.pem"], NOW).unwrap();
    let said = operator.run(&["publish", "@root"], NOW).unwrap();
    assert!(said.contains("root, version 2"), "{said}");
    operator.run(&["check"], NOW).unwrap();
}

#[test]
fn another_networks_releases_are_copied_only_if_boards_would_take_them() {
    let (upstream, operator) = (Operator::new(), Operator::without_releases());
    upstream.add(7).unwrap();
    let from = upstream.folder().path().to_str().unwrap().to_owned();
    assert!(operator.run(&["mirror", &from], NOW).unwrap_err().to_string().contains("name the root that you trust"));
    fs::write(operator.path("root.json"), upstream.run(&["root"], NOW).unwrap()).unwrap();
    let said = operator.run(&["mirror", &from, "--root", "@root.json"], NOW).unwrap();
    assert!(said.contains("in order: 1 release on the list, 2 entries in the log"), "{said}");
    upstream.run(&["rotate", "timestamp"], NOW).unwrap();
    upstream.add(8).unwrap();
    upstream.run(&["withdraw", "7"], NOW).unwrap();
    operator.run(&["mirror", &from], NOW).unwrap();
    assert_eq!(offered(&operator.folder()), [8]);
    assert_eq!(operator.folder().list("targets").unwrap().len(), 1);
    let known = board(&operator.folder());
    // An image with one other byte, an old state, another network, files that have expired.
    upstream.add(9).unwrap();
    let name = upstream.folder().list("targets").unwrap().into_iter().find(|name| name.contains("_9_")).unwrap();
    let image = upstream.folder().path().join("targets").join(name);
    let good = fs::read(&image).unwrap();
    fs::write(&image, [&good[1..], b"."].concat()).unwrap();
    let said = format!("{:#}", operator.run(&["mirror", &from], NOW).unwrap_err());
    assert!(said.contains("the image of release 9"), "{said}");
    fs::write(&image, good).unwrap();
    assert!(
        format!("{:#}", operator.run(&["mirror", &from], NOW.plus_seconds(8 * DAY)).unwrap_err()).contains("expired")
    );
    let (_old, old) = operator.copy();
    // What has been damaged here is made good, too.
    let own = operator.folder().path().join("targets").join(&operator.folder().list("targets").unwrap()[0]);
    let length = fs::read(&own).unwrap().len();
    fs::write(&own, vec![0; length]).unwrap();
    let said = operator.run(&["mirror", &from], NOW).unwrap();
    assert!(said.contains("and 2 images copied") && said.contains("in order: 2 releases"), "{said}");
    let said = format!("{:#}", operator.run(&["mirror", old.path().to_str().unwrap()], NOW).unwrap_err());
    assert!(said.contains("would go back from version"), "{said}");
    let other = Operator::new();
    let said = operator.run(&["mirror", other.folder().path().to_str().unwrap()], NOW).unwrap_err().to_string();
    assert!(said.contains("their first roots differ"), "{said}");
    let said = other.run(&["mirror", &from, "--root", "@keys/log.pem"], NOW).unwrap_err().to_string();
    assert!(said.contains("first roots differ"), "{said}");
    let first = change::first_root(&operator.folder()).unwrap();
    walk::walk(&operator.folder(), &first, known, NOW).unwrap();
}

#[test]
fn a_server_with_keys_keeps_its_releases_fresh_and_says_what_it_cannot() {
    let operator = Operator::new();
    operator.add(7).unwrap();
    let folder = operator.folder();
    let hour = |hours: u64| NOW.plus_seconds(hours * 3600);
    // Without keys it only warns.
    assert_eq!(renew::tend(&folder, hour(1)).unwrap().warnings, [""; 0]);
    let tended = renew::tend(&folder, hour(24 * 6)).unwrap();
    assert_eq!(tended.renewed, []);
    assert!(
        tended.warnings[0]
            .starts_with("timestamp.json expires at 2026-12-08T00:00:00Z (1 day), and the server has no key"),
        "{tended:?}"
    );
    fs::create_dir(folder.keys()).unwrap();
    for machine in ["snapshot.pem", "timestamp.pem"] {
        fs::copy(operator.path("keys").join(machine), folder.keys().join(machine)).unwrap();
    }
    let (mut timestamps, mut snapshots, mut warned) = (0, 0, None);
    let mut known = board(&folder);
    let first = change::first_root(&folder).unwrap();
    for hours in (4..24 * 90).step_by(4) {
        let tended = renew::tend(&folder, hour(hours)).unwrap();
        timestamps += tended.renewed.iter().filter(|role| **role == RoleName::Timestamp).count();
        snapshots += tended.renewed.iter().filter(|role| **role == RoleName::Snapshot).count();
        if warned.is_none() && !tended.warnings.is_empty() {
            warned = Some((hours / 24, tended.warnings.clone()));
        }
        assert!(tended.expires > Some(hour(hours)), "{tended:?}");
        if hours % 100 == 0 {
            known = walk::walk(&folder, &first, known, hour(hours)).unwrap().kept;
        }
    }
    assert_eq!((timestamps, snapshots), (89, 1));
    let (day, warnings) = warned.unwrap();
    assert_eq!(day, 76);
    assert!(warnings[0].starts_with("targets.json expires at 2027-03-01T00:00:00Z (14 days)"), "{warnings:?}");
    // While somebody else writes it waits.
    let lock = folder.lock().unwrap();
    assert!(renew::tend(&folder, hour(24 * 92)).is_err());
    drop(lock);
    assert_eq!(renew::tend(&Folder::at(&operator.path("nothing")), NOW).unwrap(), renew::Tended::default());
}

#[test]
fn whoever_signs_is_shown_all_that_a_draft_holds() {
    let operator = Operator::new();
    operator.run(&["draft", "add", &operator.image(7, 0), "--out", "@draft"], NOW).unwrap();
    let draft = fs::read_to_string(operator.path("draft")).unwrap();
    let other = draft.replace("\"targets\":{", "\"targets\":{\"sonde_9.efi\":{\"hashes\":{\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"},\"length\":3},");
    assert_ne!(other, draft);
    fs::write(operator.path("draft"), other).unwrap();
    let said = operator.run(&["draft", "show", "@draft"], NOW).unwrap();
    assert!(said.contains("7 (0.7) for aarch64") && said.contains("sonde_9.efi, which is no release"), "{said}");
    fs::write(operator.path("draft"), draft.replace("\"percentage\":100", "\"percentage\":101")).unwrap();
    let said = operator.run(&["sign", "@draft", "--key", "@keys/targets-1.pem"], NOW).unwrap();
    assert!(said.contains("CANNOT BE READ") && said.contains("is above 100"), "{said}");
    operator.run(&["sign", "@draft", "--key", "@keys/targets-2.pem"], NOW).unwrap();
    let before = board(&operator.folder());
    let said = operator.run(&["publish", "@draft"], NOW).unwrap_err().to_string();
    assert!(said.contains("boards could not read a release"), "{said}");
    assert_eq!(board(&operator.folder()), before);
}
