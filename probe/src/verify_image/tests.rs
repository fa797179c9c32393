use tempfile::TempDir;

use super::card::tests::card;
use super::efi::tests::{program, sign};
use super::*;

const UKI: &str = "EFI/Linux/sonde_7.efi";

/// A release in a folder: the image, the signed file, the lists.
struct Release {
    folder: TempDir,
    boot: Vec<(&'static str, Vec<u8>)>,
}

impl Release {
    fn new() -> Self {
        let uki = program(&[(b".osrel", b"VERSION_ID=0.1.0\nIMAGE_VERSION=7\n"), (b".uname", b"6.12")]);
        let boot =
            vec![(UKI, sign(uki, &[1; 64])), ("config.txt", b"arm_64bit=1\n".to_vec()), ("sonde.toml", b"".to_vec())];
        let release = Self { folder: TempDir::new().unwrap(), boot };
        let list = release.boot.iter().filter(|(name, _)| *name != "sonde.toml").map(|(name, bytes)| line(name, bytes));
        release.write("sonde-os.boot.sha256", list.collect::<String>().as_bytes());
        release.write("sonde-os.img", &release.image(&release.boot));
        release.write("sonde.efi", &release.boot[0].1);
        let names = ["sonde-os.boot.sha256", "sonde-os.img", "sonde.efi"];
        let list = names.map(|name| line(name, &std::fs::read(release.path(name)).unwrap()));
        release.write("SHA256SUMS", list.concat().as_bytes());
        release
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn image(&self, files: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        card(&files)
    }

    /// Its own list is always asked.
    fn judge(&self, file: PathBuf) -> (Verdict, String) {
        judge(&VerifyImage { file, sums: vec![self.path("SHA256SUMS")], ..VerifyImage::default() })
    }
}

fn line(name: &str, bytes: &[u8]) -> String {
    format!("{}  {name}\n", HEXLOWER.encode(&sha256(bytes)))
}

fn judge(asked: &VerifyImage) -> (Verdict, String) {
    let mut out = Vec::new();
    let verdict = verify(asked, &mut out).unwrap();
    (verdict, String::from_utf8(out).unwrap())
}

#[test]
fn what_the_list_has_is_vouched_for() {
    let release = Release::new();
    for name in ["sonde-os.img", "sonde.efi"] {
        let (verdict, words) = release.judge(release.path(name));
        assert_eq!(verdict, Verdict::Vouched, "{words}");
        assert!(
            words.contains("Sonde 0.1.0, number 7, Linux 6.12, signed")
                && words.contains(&format!("the file is {name} of the list")),
            "{words}"
        );
    }
}

#[test]
fn a_card_with_settings_is_compared_file_by_file() {
    let release = Release::new();
    type Files = Vec<(&'static str, Vec<u8>)>;
    let with = |change: &dyn Fn(&mut Files)| {
        let mut files = release.boot.clone();
        change(&mut files);
        release.judge(release.write("card", &release.image(&files)))
    };
    let (verdict, words) = with(&|files| files[2].1 = b"[network]\n".to_vec());
    assert_eq!(verdict, Verdict::Vouched, "{words}");
    let (verdict, words) = with(&|files| files.push(("System Volume Information/x", vec![1])));
    assert_eq!(verdict, Verdict::Vouched, "{words}");
    let (verdict, words) = with(&|files| files[1].1.push(b'#'));
    assert!(verdict == Verdict::Different && words.contains("config.txt: NOT the release's, but changed"), "{words}");
    let (verdict, words) = with(&|files| files.push(("boot.scr", vec![1])));
    assert!(verdict == Verdict::Different && words.contains("boot.scr: NOT a file of the release"), "{words}");
    let (verdict, words) = with(&|files| drop(files.remove(1)));
    assert!(verdict == Verdict::Different && words.contains("config.txt: missing"), "{words}");
}

#[test]
fn a_card_that_has_taken_updates_is_compared_with_the_lists_of_its_releases() {
    let release = Release::new();
    let system = |number: u32| {
        let stated = format!("VERSION_ID=0.{number}.0\nIMAGE_VERSION={number}\n");
        sign(program(&[(b".osrel", stated.as_bytes()), (b".uname", b"6.12")]), &[1; 64])
    };
    let (old, new) = ("EFI/Linux/sonde_8.efi", "EFI/Linux/sonde_9+3.efi");
    let list = [line("sonde_8.efi", &system(8)), line("sonde_9.efi", &system(9))].concat();
    let later = release.write("LATER", list.as_bytes());
    let judge = |files: &[(&'static str, Vec<u8>)], lists: &[&PathBuf]| {
        let first = release.path("SHA256SUMS");
        let sums = [&first].into_iter().chain(lists.iter().copied()).cloned().collect();
        let file = release.write("card", &release.image(files));
        judge(&VerifyImage { file, sums, ..VerifyImage::default() })
    };
    let once = [release.boot.clone(), vec![(old, system(8))]].concat();
    let (verdict, words) = judge(&once, &[]);
    assert!(verdict == Verdict::Different && words.contains("give the other's list, too"), "{words}");
    let (verdict, words) = judge(&once, &[&later]);
    assert_eq!(verdict, Verdict::Vouched, "{words}");
    let often = [release.boot[1..].to_vec(), vec![(old, system(8)), (new, system(9))]].concat();
    let (verdict, words) = judge(&often, &[&later]);
    assert_eq!(verdict, Verdict::Vouched, "{words}");
    let (verdict, words) = judge(&[release.boot.clone(), vec![(old, system(10))]].concat(), &[&later]);
    assert!(verdict == Verdict::Different && words.contains("sonde_8.efi: NOT a file of the release"), "{words}");
    // Only a system may be another release's.
    let (verdict, words) = judge(&[release.boot.clone(), vec![("boot.scr", system(8))]].concat(), &[&later]);
    assert!(verdict == Verdict::Different && words.contains("boot.scr: NOT a file of the release"), "{words}");
    let (verdict, words) = judge(&[(old, system(8)), ("sonde.toml", Vec::new())], &[&later]);
    assert!(verdict == Verdict::Different && words.contains("config.txt: missing"), "{words}");
}

#[test]
fn a_card_may_be_of_either_sort_but_not_of_both() {
    let release = Release::new();
    let uki = release.boot[0].1.clone();
    let counter: Vec<(&'static str, Vec<u8>)> = vec![("slot_a.efi", uki.clone()), ("boot.scr", vec![7])];
    let list = counter.iter().map(|(name, bytes)| line(name, bytes)).collect::<String>();
    release.write("sonde-os-counter.boot.sha256", list.as_bytes());
    let sums = std::fs::read_to_string(release.path("SHA256SUMS")).unwrap();
    release.write("SHA256SUMS", (line("sonde-os-counter.boot.sha256", list.as_bytes()) + &sums).as_bytes());
    let with = |files: &[(&'static str, Vec<u8>)]| release.judge(release.write("card", &release.image(files)));
    let used = [counter.clone(), vec![("ab.env", b"slot=a\n".to_vec())]].concat();
    assert_eq!(with(&used).0, Verdict::Vouched);
    assert_eq!(with(&release.boot[..2]).0, Verdict::Vouched);
    let (verdict, words) = with(&[counter.clone(), release.boot.clone()].concat());
    assert!(verdict == Verdict::Different && words.contains("NOT a file of the release"), "{words}");
}

#[test]
fn a_list_of_the_card_that_the_list_does_not_know_is_not_believed() {
    let release = Release::new();
    let mut files = release.boot.clone();
    files[1].1 = b"evil".to_vec();
    let list = files.iter().map(|(name, bytes)| line(name, bytes)).collect::<String>();
    release.write("sonde-os.boot.sha256", list.as_bytes());
    let (verdict, words) = release.judge(release.write("card", &release.image(&files)));
    assert!(verdict == Verdict::Different && words.contains("is NOT the one of the list"), "{words}");
}

#[test]
fn an_own_build_vouches_whoever_signed() {
    let release = Release::new();
    let unsigned = program(&[(b".osrel", b"VERSION_ID=0.1.0\nIMAGE_VERSION=7\n"), (b".uname", b"6.12")]);
    let own = release.write("own.unsigned.efi", &unsigned);
    let against = |file: &str| {
        judge(&VerifyImage { file: release.path(file), against: Some(own.clone()), ..VerifyImage::default() })
    };
    assert_eq!(against("sonde-os.img").0, Verdict::Vouched);
    assert_eq!(against("sonde.efi").0, Verdict::Vouched);
    let mut other = unsigned;
    *other.last_mut().unwrap() ^= 1;
    release.write("other.efi", &other);
    let (verdict, words) = against("other.efi");
    assert!(verdict == Verdict::Different && words.contains("does NOT have"), "{words}");
}

#[test]
fn with_nothing_to_compare_nothing_is_vouched_for() {
    let release = Release::new();
    let (verdict, words) = judge(&VerifyImage { file: release.path("sonde.efi"), ..VerifyImage::default() });
    assert_eq!(verdict, Verdict::Unchecked);
    assert!(words.contains("NOT CHECKED"), "{words}");
}

#[test]
fn a_signature_by_another_key_or_over_another_list_ends_it() {
    // Made with minisign 0.10; the second over the same list by another key.
    let release = Release::new();
    let sums = release.write("LIST", MINISIGN_LIST.as_bytes());
    let ask = |signature: &str, key: &str, list: &str| {
        std::fs::write(&sums, list).unwrap();
        release.write("LIST.minisig", signature.as_bytes());
        let key = Some(key.to_owned());
        let asked = VerifyImage { file: release.path("sonde.efi"), sums: vec![sums.clone()], key, against: None };
        let mut out = Vec::new();
        verify(&asked, &mut out).map(|_| String::from_utf8(out).unwrap()).map_err(|error| format!("{error:#}"))
    };
    let said = ask(MINISIGN, MINISIGN_KEY, MINISIGN_LIST).unwrap();
    assert!(said.contains("signed by the key that you gave") && said.contains("NOT one of the list"), "{said}");
    let file = release.write("key.pub", format!("untrusted comment: minisign public key\n{MINISIGN_KEY}\n").as_bytes());
    ask(MINISIGN, file.to_str().unwrap(), MINISIGN_LIST).unwrap();
    let forged = |result: Result<String, String>| {
        assert!(result.as_ref().unwrap_err().contains("NOT by this key"), "{result:?}")
    };
    forged(ask(MINISIGN, OTHER_KEY, MINISIGN_LIST));
    forged(ask(MINISIGN, MINISIGN_KEY, &MINISIGN_LIST.replace('a', "b")));
    assert!(ask("nonsense", MINISIGN_KEY, MINISIGN_LIST).unwrap_err().contains("no signature of minisign"));
    assert!(ask(MINISIGN, "RWnonsense", MINISIGN_LIST).unwrap_err().contains("no key of minisign"));
}

const MINISIGN_LIST: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d  sonde.img\n";

const MINISIGN_KEY: &str = "RWRgtRuNelIROE900NdFFfv4L+hEPl0Zn+VIsaJGXiHfu7QH9xIJPPme";

const OTHER_KEY: &str = "RWQDs9oaFMjGfeSZJEb8nw236dDMlqWyxCgKCncqWXmCUX3uk/hU1HFm";

const MINISIGN: &str = "\
untrusted comment: signature from minisign secret key\n\
RURgtRuNelIRONWqUFPxVcZKQ4fvTeN/7/PBC1UfZkawfRs7lmD3qSFpNr06DqzyARAh6EAJI+EcqG5pWyJFdd+/ruGicHeUXQE=\n\
trusted comment: a release\n\
4ANEV/hG/jBaB2SzJZauHvxvEtQF8gs38nhqUuP74geX+BZ0tsjVJFmScz1CTWXqhnPf+9wLv/L1NfIiak0jBg==\n";
