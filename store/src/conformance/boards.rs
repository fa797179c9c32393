//! Boards, what they told, and what becomes of releases on them.

use sonde_protocol::board::{BoardState, LogHead, UpdateAttempt, UpdateChoice, UpdateOutcome, UpdateStage};
use sonde_protocol::bounded::{List, Text};
use sonde_protocol::ids::ProbeId;

use super::accounts::{account, probe};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{Board, BoardCount, Came, Fetched, ProbeEdit, ReleaseStop, RollOut, RollOutCounts, ToldBoard};

fn state(running: u64, stage: UpdateStage) -> BoardState {
    let attempt = UpdateAttempt {
        release: u64::MAX,
        outcome: UpdateOutcome::FellBack,
        words: Text::cut("it ended without a word"),
        at: at(1),
    };
    BoardState {
        running,
        name: Text::cut("0.4.1"),
        stage,
        release: Some(u64::MAX),
        words: Text::cut("\u{e4} word"),
        attempts: List::cut([attempt]),
        choice: UpdateChoice::Refuse,
        checked_at: Some(at(2)),
        log: Some(LogHead { size: 3, root: [7; 32] }),
    }
}

pub(super) async fn how_boards_stand_is_kept(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two, three) =
        (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await, probe(&catalog, ada, 3).await);
    let nobody = ProbeId(three.0 + 9);
    let newest = state(u64::MAX, UpdateStage::Newest);
    catalog.record_board(one, &newest, at(10)).await.unwrap();
    catalog.record_board(two, &state(7, UpdateStage::Trial), at(10)).await.unwrap();
    catalog.record_board(nobody, &newest, at(10)).await.unwrap();
    assert!(catalog.choose_updates(two, UpdateChoice::Delay(86_400)).await.unwrap());
    let pin = ProbeEdit { updates: Some(UpdateChoice::Pin(u64::MAX)), ..ProbeEdit::default() };
    catalog.edit_probe(three, &pin).await.unwrap();
    catalog.edit_probe(nobody, &pin).await.unwrap();
    catalog.edit_probe(two, &ProbeEdit::default()).await.unwrap();
    assert!(!catalog.choose_updates(nobody, UpdateChoice::Refuse).await.unwrap());
    drop(catalog);
    let catalog = place.open().await;
    let told = |state: &BoardState, second| Some(ToldBoard { told_at: at(second), state: state.clone() });
    let found = catalog.boards(&[three, one, two, nobody]).await.unwrap();
    assert_eq!(found[0], Board { told: None, choice: Some(UpdateChoice::Pin(u64::MAX)) });
    assert_eq!(found[1], Board { told: told(&newest, 10), choice: None });
    let trial = state(7, UpdateStage::Trial);
    assert_eq!(found[2], Board { told: told(&trial, 10), choice: Some(UpdateChoice::Delay(86_400)) });
    assert_eq!(found[3], Board::default());
    let count = |release, stage, boards| BoardCount { release, name: "0.4.1".into(), stage, boards };
    let counted = catalog.count_boards(9).await.unwrap();
    // Numbers have 64 bits; the highest are not in use, and their order is that of a signed number.
    assert_eq!(counted, [count(7, UpdateStage::Trial, 1), count(u64::MAX, UpdateStage::Newest, 1)]);
    // What is told again is no news; what is new replaces it, and leaves the choice alone.
    catalog.record_board(two, &trial, at(20)).await.unwrap();
    assert_eq!(catalog.boards(&[two]).await.unwrap()[0].told, told(&trial, 10));
    let kept = state(7, UpdateStage::Newest);
    catalog.record_board(two, &kept, at(30)).await.unwrap();
    catalog.record_board(one, &kept, at(30)).await.unwrap();
    let expected = Board { told: told(&kept, 30), choice: Some(UpdateChoice::Delay(86_400)) };
    assert_eq!(catalog.boards(&[two]).await.unwrap(), [expected]);
    assert_eq!(catalog.count_boards(9).await.unwrap(), [count(7, UpdateStage::Newest, 2)]);
    assert_eq!(catalog.count_boards(0).await.unwrap(), []);
}

pub(super) async fn what_becomes_of_releases_is_counted(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let mut probes = Vec::new();
    for n in 1..=6 {
        probes.push(probe(&catalog, ada, n).await);
    }
    for (second, probe) in (100..).zip(&probes) {
        catalog.release_fetched(12, *probe, at(second)).await.unwrap();
    }
    catalog.release_fetched(12, ProbeId(99), at(100)).await.unwrap();
    catalog.release_fetched(11, probes[0], at(50)).await.unwrap();
    for (probe, came) in [(0, Came::Well), (1, Came::Badly), (2, Came::NotInstalled)] {
        catalog.release_came(12, probes[probe], came).await.unwrap();
    }
    catalog.release_came(13, probes[0], Came::Badly).await.unwrap();
    catalog.release_fetched(12, probes[0], at(190)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    let fetched = |release, second, came| Fetched { release, at: at(second), came };
    assert_eq!(
        catalog.releases_of(probes[0]).await.unwrap(),
        [fetched(12, 100, Some(Came::Well)), fetched(11, 50, None)]
    );
    assert_eq!(catalog.releases_of(probes[5]).await.unwrap(), [fetched(12, 105, None)]);
    let counts = |well, badly, lost, out| RollOutCounts { well, badly, lost, out };
    let roll_out = |release, counts, stop| RollOut { release, counts, stop };
    let both = [roll_out(12, counts(1, 1, 2, 1), None), roll_out(11, counts(0, 0, 1, 0), None)];
    assert_eq!(catalog.roll_outs(at(105), 9).await.unwrap(), both);
    assert_eq!(catalog.roll_outs(at(105), 1).await.unwrap(), both[..1]);
    assert_eq!(catalog.roll_out(12, at(103)).await.unwrap(), roll_out(12, counts(1, 1, 0, 3), None));
    assert_eq!(catalog.roll_out(9, at(103)).await.unwrap(), roll_out(9, RollOutCounts::default(), None));

    assert!(!catalog.resume_release(12, at(110)).await.unwrap(), "it is not stopped");
    catalog.stop_release(12, "they did not come back", at(120)).await.unwrap();
    let stopped = |stopped_at, resumed_at: Option<i64>| ReleaseStop {
        stopped_at: at(stopped_at),
        why: "they did not come back".into(),
        resumed_at: resumed_at.map(at),
    };
    let found = catalog.roll_out(12, at(103)).await.unwrap();
    assert_eq!((found.stop.clone(), found.stopped()), (Some(stopped(120, None)), Some("they did not come back")));
    assert!(catalog.resume_release(12, at(130)).await.unwrap());
    assert!(!catalog.resume_release(12, at(131)).await.unwrap());
    let found = catalog.roll_out(12, at(140)).await.unwrap();
    assert_eq!(found, roll_out(12, counts(0, 0, 0, 0), Some(stopped(120, Some(130)))));
    assert_eq!(found.stopped(), None);
    // Whoever fetches it from then on is counted, also whoever had it before.
    catalog.release_fetched(12, probes[1], at(135)).await.unwrap();
    assert_eq!(catalog.roll_out(12, at(135)).await.unwrap().counts, counts(0, 0, 0, 1));
    catalog.stop_release(12, "they did not come back", at(150)).await.unwrap();
    assert_eq!(catalog.roll_out(12, at(135)).await.unwrap().stop, Some(stopped(150, None)));
}
