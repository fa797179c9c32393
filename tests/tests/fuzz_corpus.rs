//! Every input of the corpus through its parser, and thousands of changed ones, on every build and without a fuzzer. A failure
//! prints the input: put it into `tests/fuzz/corpus/NAME`, repair the parser, and it stays repaired.
//!
//! `SONDE_LONG=1` plays many more; `SONDE_SEED=N` others. `SONDE_BLESS=1` writes the inputs that are made here ([`seeds`]).
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

#[path = "fuzz_corpus/seeds.rs"]
mod seeds;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sonde_protocol::seed::Rng;
use sonde_tests::fuzz::{TARGETS, Target};

/// Changed inputs for each input of the corpus.
const CHANGED: u32 = 1000;

/// The longest input, as of cargo-fuzz.
const LONGEST: usize = 4096;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)
}

fn inputs(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no inputs in {}", folder.display());
    paths.iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

/// Changes an input as fuzzers do: bits, bytes, pieces cut out, doubled, or taken from another input.
fn change(rng: &mut Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=rng.below(6) {
        let length = bytes.len() as u64;
        let at = usize::try_from(rng.below(length + 1)).unwrap();
        let to = at + usize::try_from(rng.below(length + 1 - at as u64)).unwrap().min(16);
        let byte = rng.next_u64().to_le_bytes()[0];
        match rng.below(8) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|b| *b ^= 1 << (byte % 8)),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|b| *b = byte),
            2 => bytes.iter_mut().skip(at).take(1).for_each(|b| *b = [0, 1, 0x7f, 0x80, 0xff][usize::from(byte % 5)]),
            3 => bytes.insert(at, byte),
            4 => drop(bytes.drain(at..to)),
            5 => bytes.truncate(at),
            6 => {
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = usize::try_from(rng.below(other.len() as u64 + 1)).unwrap();
                let piece: Vec<u8> = other.iter().skip(from).take(usize::from(byte % 32)).copied().collect();
                bytes.splice(at..at, piece);
            }
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

fn feed((name, function): &Target, input: &[u8], from: &str) {
    if catch_unwind(|| function(input)).is_err() {
        panic!("{name} fails on this, from {from}:\n{}", HEXLOWER.encode(input));
    }
}

#[test]
fn no_input_of_the_corpus_and_nothing_like_it_breaks_a_parser() {
    if std::env::var_os("SONDE_BLESS").is_some() {
        seeds::write(&corpus(""));
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SONDE_SEED").unwrap_or(1);
    let rounds = if number("SONDE_LONG").is_some() { CHANGED * 50 } else { CHANGED };
    eprintln!("seed {seed}");
    for target in TARGETS {
        let inputs = inputs(target.0);
        feed(target, &[], "nothing");
        for (index, (from, input)) in inputs.iter().enumerate() {
            feed(target, input, from);
            let mut rng = Rng::new(seed.wrapping_mul(1_000_003).wrapping_add(index as u64));
            for _ in 0..rounds {
                let (_, other) = &inputs[usize::try_from(rng.below(inputs.len() as u64)).unwrap()];
                feed(target, &change(&mut rng, input, other), from);
            }
        }
    }
}

/// cargo-fuzz's programs are the same list.
#[test]
fn every_parser_has_its_program_and_its_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in tests/fuzz/Cargo.toml");
        let program = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("sonde_tests::fuzz::run(\"{name}\", data)")), "{name}: {program}");
    }
    let folders = fs::read_dir(folder.join("corpus")).unwrap().count();
    assert_eq!((folders, manifest.matches("[[bin]]").count()), (TARGETS.len(), TARGETS.len()));
}
