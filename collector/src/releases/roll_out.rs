//! When a release is stopped by itself: too many boards that fetched it did not come back with it. Pure; times and counts are arguments.
//!
//! A board that fetched the last piece starts again with the release. It comes back with it, or with the old one after some tries, or not
//! at all. Natural losses (somebody pulls the plug) are few and do not come together; a bad release loses nearly all. What cannot be
//! stopped: whoever fetched it before the first boards failed to come back.

use sonde_protocol::board::{BoardState, UpdateOutcome, UpdateStage};
use sonde_store::catalog::{Came, RollOutCounts};

/// Fewer boards than this stop nothing, except among the first.
const ENOUGH: u64 = 3;

/// More than one in so many.
const ONE_IN: u64 = 10;

/// Among the first so many boards fewer are enough.
const FIRST: u64 = 5;

/// See [`FIRST`].
const ENOUGH_OF_FIRST: u64 = 2;

/// What a board's state says about a release that it fetched; `None` if nothing yet.
pub fn came(state: &BoardState, release: u64) -> Option<Came> {
    let last = state.attempts.iter().rev().find(|attempt| attempt.release == release).map(|attempt| attempt.outcome);
    match (state.running, last) {
        (running, _) if running > release => Some(Came::Well),
        // It has reached its collector, or it could not say so. Whether it is kept is seen half a minute later.
        (running, _) if running == release => (state.stage != UpdateStage::Trial).then_some(Came::Well),
        (_, Some(UpdateOutcome::FellBack)) => Some(Came::Badly),
        (_, Some(UpdateOutcome::NotInstalled)) => Some(Came::NotInstalled),
        // It has it, and has not started again yet.
        _ if matches!(state.stage, UpdateStage::Fetching | UpdateStage::Installed)
            && state.release == Some(release) =>
        {
            None
        }
        // The old system runs and knows nothing of an attempt, or knows no more than that there was one.
        _ => Some(Came::Badly),
    }
}

/// Why a release has to be stopped, in words for the operator; `None` if it need not be.
pub fn must_stop(counts: &RollOutCounts) -> Option<String> {
    let RollOutCounts { well, badly, lost, out: _ } = *counts;
    let gone = badly + lost;
    let judged = gone + well;
    let early = judged <= FIRST && gone >= ENOUGH_OF_FIRST;
    let many = gone >= ENOUGH && gone * ONE_IN > judged;
    (early || many).then(|| {
        format!("of {judged} boards that fetched it {badly} came back with another system, and {lost} not at all")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sonde_protocol::board::{UpdateAttempt, UpdateChoice};
    use sonde_protocol::bounded::{List, Text};
    use sonde_protocol::seed::Rng;
    use sonde_protocol::time::UnixNanos;
    use sonde_store::catalog::LOST_AFTER;

    use super::*;

    fn state(running: u64, stage: UpdateStage, attempts: &[(u64, UpdateOutcome)]) -> BoardState {
        let attempt =
            |&(release, outcome)| UpdateAttempt { release, outcome, words: Text::default(), at: UnixNanos(0) };
        BoardState {
            running,
            name: Text::cut("0.4.1"),
            stage,
            release: matches!(stage, UpdateStage::Fetching | UpdateStage::Installed).then_some(12),
            words: Text::default(),
            attempts: List::cut(attempts.iter().map(attempt)),
            choice: UpdateChoice::Follow,
            checked_at: None,
            log: None,
        }
    }

    #[test]
    fn what_a_board_says_is_what_became_of_its_release() {
        use UpdateOutcome::{FellBack, Installed, Kept, NotInstalled};
        use UpdateStage::{Fetching, Newest, Trial, Unknown, Waiting};
        for (said, expected) in [
            // The connection was another one for a moment, before the board started again.
            (state(11, Fetching, &[]), None),
            (state(11, UpdateStage::Installed, &[(12, Installed)]), None),
            (state(12, Trial, &[(12, Installed)]), None),
            (state(12, Newest, &[(12, Kept)]), Some(Came::Well)),
            (state(12, Unknown, &[]), Some(Came::Well)),
            (state(13, Trial, &[(12, Kept), (13, Installed)]), Some(Came::Well)),
            (state(11, Waiting, &[(12, FellBack)]), Some(Came::Badly)),
            (state(11, Fetching, &[(12, FellBack)]), Some(Came::Badly)),
            (state(11, Unknown, &[(12, Installed)]), Some(Came::Badly)),
            // Its owner has put an old card into it.
            (state(11, Newest, &[(10, Kept)]), Some(Came::Badly)),
            (state(11, Waiting, &[(12, NotInstalled)]), Some(Came::NotInstalled)),
            (state(11, Waiting, &[(12, FellBack), (12, NotInstalled)]), Some(Came::NotInstalled)),
        ] {
            assert_eq!(came(&said, 12), expected, "{said:?}");
        }
    }

    #[test]
    fn few_losses_stop_nothing_and_many_do() {
        for ((well, badly, lost), stops) in [
            ((0, 0, 0), false),
            ((0, 1, 0), false),
            ((4, 0, 1), false),
            ((0, 1, 1), true),
            ((3, 1, 1), true),
            ((4, 1, 1), false),
            ((4, 2, 1), true),
            ((27, 3, 0), false),
            ((26, 3, 0), true),
            ((26, 0, 3), true),
            ((900, 50, 50), false),
            ((899, 50, 51), true),
        ] {
            for out in [0, 1000] {
                let why = must_stop(&RollOutCounts { well, badly, lost, out });
                assert_eq!(why.is_some(), stops, "{well} well, {badly} badly, {lost} lost");
            }
        }
        let why = must_stop(&RollOutCounts { well: 1, badly: 2, lost: 3, out: 9 }).unwrap();
        assert_eq!(why, "of 6 boards that fetched it 2 came back with another system, and 3 not at all");
    }

    /// What becomes of one board's release.
    #[derive(Clone, Copy)]
    struct Fate {
        /// When it fetches it, in seconds.
        fetches: u64,
        /// When it comes back, if it does, and how.
        back: Option<(u64, Came)>,
    }

    /// Lets the boards of a network fetch a release. Gives how many did, and whether it was stopped.
    fn play(fates: &[Fate]) -> (usize, bool) {
        // What happens when: a board fetches, is back, or is given up.
        let mut events: BTreeMap<(u64, u8, usize), ()> = BTreeMap::new();
        for (board, fate) in fates.iter().enumerate() {
            events.insert((fate.fetches, 0, board), ());
        }
        let (mut counts, mut fetched, mut known) = (RollOutCounts::default(), 0, vec![None; fates.len()]);
        while let Some(((second, what, board), ())) = events.pop_first() {
            match what {
                0 => {
                    fetched += 1;
                    counts.out += 1;
                    events.insert((second + LOST_AFTER.as_secs(), 1, board), ());
                    if let Some((back, _)) = fates[board].back {
                        events.insert((back, 2, board), ());
                    }
                }
                1 => {
                    if known[board].is_none() {
                        counts.out -= 1;
                        counts.lost += 1;
                        known[board] = Some("lost");
                    }
                }
                _ => {
                    match known[board] {
                        Some(_) => counts.lost -= 1,
                        None => counts.out -= 1,
                    }
                    known[board] = Some("back");
                    match fates[board].back {
                        Some((_, Came::Well)) => counts.well += 1,
                        _ => counts.badly += 1,
                    }
                }
            }
            if must_stop(&counts).is_some() {
                return (fetched, true);
            }
        }
        (fetched, false)
    }

    /// A thousand boards that ask at any moment of a day, each with its fate.
    fn network(rng: &mut Rng, fate: impl Fn(u64, u64) -> Option<(u64, Came)>) -> Vec<Fate> {
        (0..1000)
            .map(|_| {
                let fetches = rng.next_u64() % 86_400;
                Fate { fetches, back: fate(fetches, rng.next_u64() % 10_000) }
            })
            .collect()
    }

    #[test]
    fn a_good_release_reaches_a_thousand_boards_though_some_are_unplugged() {
        let mut stopped = Vec::new();
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            // One in a hundred is never seen again; the others are back after three minutes.
            let boards = network(&mut rng, |at, dice| (dice >= 100).then_some((at + 180, Came::Well)));
            let (fetched, stops) = play(&boards);
            if stops {
                stopped.push(seed);
            } else {
                assert_eq!(fetched, 1000, "seed {seed}");
            }
        }
        // Two of the first five unplugged, or three of the first thirty: the operator looks and goes on.
        assert!(stopped.len() <= 6, "stopped without need with the seeds {stopped:?}");
    }

    #[test]
    fn a_bad_release_is_stopped_before_more_than_a_few_per_cent_took_it() {
        // How long a board takes until it is known that it did not work: it panics at once, is killed by the watchdog, or does not reach
        // its collector in three times ten minutes.
        for (what, after) in [("panics", 120), ("hangs", 300), ("does not reach its collector", 2000)] {
            for seed in 0..100 {
                let mut rng = Rng::new(seed);
                let boards = network(&mut rng, |at, _| Some((at + after, Came::Badly)));
                let (fetched, stops) = play(&boards);
                assert!(stops, "{what}, seed {seed}");
                assert!(fetched <= 60, "{what}, seed {seed}: {fetched} of 1000 took it");
            }
        }
        // It kills boards for good.
        for seed in 0..100 {
            let (fetched, stops) = play(&network(&mut Rng::new(seed), |_, _| None));
            assert!(stops && fetched <= 60, "seed {seed}: {fetched} of 1000 took it");
        }
        // It works on most, and not on a third of them.
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let boards = network(&mut rng, |at, dice| {
                Some(if dice < 3333 { (at + 300, Came::Badly) } else { (at + 180, Came::Well) })
            });
            let (fetched, stops) = play(&boards);
            assert!(stops && fetched <= 60, "seed {seed}: {fetched} of 1000 took it");
        }
    }
}
