//! What a board's system, its probe and the collector say about updates, for the golden files and for the check of the CDDL: each
//! variant once, with everything in it that may be there, and once without.

use sonde_protocol::board::*;
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::time::UnixNanos;

const AT: UnixNanos = UnixNanos(1_760_000_000_123_456_789);

/// The release that the samples are about.
const RELEASE: u64 = 202_611_290_220;

/// Questions, with a name for each.
pub fn asks() -> Vec<(&'static str, UpdateAsk)> {
    let ask = |file| UpdateAsk { id: 7, file, offset: 65_536, at_most: 32_768 };
    vec![
        ("metadata", ask(UpdateFile::Metadata(Text::cut("timestamp.json")))),
        ("target", ask(UpdateFile::Target(Text::cut(format!("{}.sonde_{RELEASE}.efi", "0f".repeat(32)))))),
        ("proof", ask(UpdateFile::Proof(ProofWanted { targets: 12, since: 0 }))),
    ]
}

/// Answers, with a name for each.
pub fn answers() -> Vec<(&'static str, UpdateAnswer)> {
    let answer = |said| UpdateAnswer { id: 7, said };
    let piece = UpdatePiece { length: u64::MAX, bytes: Bytes::new(*b"a piece").unwrap_or_default() };
    vec![
        ("piece", answer(UpdateSaid::Piece(piece))),
        ("missing", answer(UpdateSaid::Missing)),
        ("later", answer(UpdateSaid::Later(UpdateLater { seconds: 3600, why: Text::cut("why") }))),
    ]
}

/// What an owner may want, with a name for each.
pub fn choices() -> Vec<(&'static str, UpdateChoice)> {
    let all = [
        ("follow", UpdateChoice::Follow),
        ("delay", UpdateChoice::Delay(7 * 86_400)),
        ("pin", UpdateChoice::Pin(RELEASE)),
        ("refuse", UpdateChoice::Refuse),
    ];
    for (_, choice) in all {
        match choice {
            UpdateChoice::Follow | UpdateChoice::Delay(_) | UpdateChoice::Pin(_) | UpdateChoice::Refuse => {}
        }
    }
    all.into()
}

/// A state of each stage, bare; and one with everything in it.
pub fn states() -> Vec<(&'static str, BoardState)> {
    let stages = [
        UpdateStage::None,
        UpdateStage::Unknown,
        UpdateStage::Newest,
        UpdateStage::Waiting,
        UpdateStage::Refused,
        UpdateStage::Untrusted,
        UpdateStage::Fetching,
        UpdateStage::Installed,
        UpdateStage::Trial,
        UpdateStage::Broken,
    ];
    let bare = |stage: UpdateStage| BoardState {
        running: 1,
        name: Text::cut("0.1.0"),
        stage,
        release: None,
        words: Text::default(),
        attempts: List::default(),
        choice: UpdateChoice::Follow,
        checked_at: None,
        log: None,
    };
    let outcomes =
        [UpdateOutcome::Installed, UpdateOutcome::Kept, UpdateOutcome::FellBack, UpdateOutcome::NotInstalled];
    let attempt = |outcome| match outcome {
        UpdateOutcome::Installed | UpdateOutcome::Kept | UpdateOutcome::FellBack | UpdateOutcome::NotInstalled => {
            UpdateAttempt { release: RELEASE, outcome, words: Text::cut("why"), at: AT }
        }
    };
    let full = BoardState {
        release: Some(RELEASE),
        words: Text::cut("it is for later"),
        attempts: List::cut(outcomes.map(attempt)),
        choice: UpdateChoice::Delay(86_400),
        checked_at: Some(AT),
        log: Some(LogHead { size: 12, root: [3; 32] }),
        ..bare(UpdateStage::Waiting)
    };
    let mut states: Vec<_> = stages.into_iter().map(|stage| (stage.name(), bare(stage))).collect();
    states.push(("full", full));
    states
}
