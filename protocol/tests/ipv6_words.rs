//! `docs/ipv6.md` has every word of a verdict on IPv6, with the sentence and the advice of the code, and no others.

use sonde_protocol::result::ipv6::{FamilyState, Reason};

const DOCUMENT: &str = include_str!("../../docs/ipv6.md");

/// The cells of the rows whose first cell is a code, below this heading until the next of its level or a higher one.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let level = heading.split(' ').next().unwrap_or_default().len();
    let is_end = |line: &str| {
        let hashes = line.bytes().take_while(|byte| *byte == b'#').count();
        (1..=level).contains(&hashes)
    };
    let (_, below) = DOCUMENT.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let lines = below.lines().take_while(|line| !is_end(line)).filter(|line| line.starts_with("| `"));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_reason_is_explained_as_the_code_does() {
    let told = rows("## Reasons");
    let reasons = Reason::ALL.iter().filter(|reason| **reason != Reason::Other);
    let ours: Vec<Vec<String>> = reasons
        .map(|reason| {
            [&format!("`{}`", reason.word()), reason.sentence(), reason.advice().unwrap_or("—")]
                .map(str::to_owned)
                .into()
        })
        .collect();
    assert_eq!(told, ours);
}

#[test]
fn every_verdict_is_explained() {
    let rows = rows("## Verdicts");
    let mut told: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let mut ours: Vec<&str> = FamilyState::ALL.iter().map(|state| state.word()).collect();
    told.sort_unstable();
    ours.sort_unstable();
    assert_eq!(told, ours);
    assert!(rows.iter().all(|row| row.len() == 2 && row[1].len() > 10), "{rows:?}");
}
