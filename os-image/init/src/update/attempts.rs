//! What became of the releases that were installed here: kept on the card, told to the network, and decided at each start from what lies
//! on the card. Pure.
//!
//! The file is text, a line for each release, and an old and a new release read each other's: a line that is not understood is skipped.

use sonde_protocol::board::{MAX_ATTEMPTS, UpdateAttempt, UpdateOutcome};
use sonde_protocol::bounded::{List, Text};
use sonde_protocol::time::UnixNanos;

/// What is said of a system that left no word.
const SILENT: &str = "it ended without a word: it stood still, or the board's firmware refused it";

/// Of one that the loader has never begun.
const NOT_STARTED: &str = "the boot loader did not start it";

/// Of one that was kept once.
const NO_LONGER: &str = "it had been kept, and the boot loader starts it no longer";

/// A system that lies on the card and does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// Its number.
    pub release: u64,
    /// How many tries of it were made; none counts a system that was kept.
    pub tries: Option<u32>,
}

/// How the system that runs came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running<'a> {
    /// Its number.
    pub release: u64,
    /// It has not been kept yet.
    pub trial: bool,
    /// What else lies there.
    pub others: &'a [Other],
    /// What systems on trial said last.
    pub last_words: &'a [(u64, String)],
}

/// The releases by their numbers, at most as many as may be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempts(Vec<UpdateAttempt>);

impl Attempts {
    /// Reads the file.
    pub fn read(text: &str) -> Self {
        let mut read = Self::default();
        for attempt in text.lines().filter_map(read_line) {
            read.put(attempt);
        }
        read
    }

    /// The file.
    pub fn write(&self) -> String {
        let line = |attempt: &UpdateAttempt| {
            let outcome = attempt.outcome.name();
            let words = attempt.words.as_str().replace(char::is_control, " ");
            format!("{} {outcome} {} {words}\n", attempt.release, attempt.at.0)
        };
        self.0.iter().map(line).collect()
    }

    /// To be told.
    pub fn list(&self) -> List<UpdateAttempt, MAX_ATTEMPTS> {
        List::cut(self.0.iter().cloned())
    }

    /// What became of a release, if it is known.
    pub fn outcome(&self, release: u64) -> Option<UpdateOutcome> {
        self.0.iter().find(|attempt| attempt.release == release).map(|attempt| attempt.outcome)
    }

    /// Those that are not tried again.
    pub fn fell_back(&self) -> Vec<u64> {
        let fell_back = self.0.iter().filter(|attempt| attempt.outcome == UpdateOutcome::FellBack);
        fell_back.map(|attempt| attempt.release).collect()
    }

    /// Takes note; the latest is the last. What was known of the release before is forgotten. True if it is news.
    pub fn note(&mut self, release: u64, outcome: UpdateOutcome, words: &str, at: UnixNanos) -> bool {
        let words = Text::cut(words);
        let known = self.0.iter().find(|known| known.release == release);
        if known.is_some_and(|known| known.outcome == outcome && known.words == words) {
            return false;
        }
        self.put(UpdateAttempt { release, outcome, words, at });
        true
    }

    /// Makes up for what could not be noted because the power went or the system ended. True if anything is new.
    pub fn settle(&mut self, running: Running<'_>, at: UnixNanos) -> bool {
        let before = self.clone();
        let own = running.release;
        if running.trial {
            self.note(own, UpdateOutcome::Installed, "", at);
        } else if self.outcome(own).is_some() {
            self.note(own, UpdateOutcome::Kept, "", at);
        }
        for other in running.others.iter().filter(|other| other.release > own) {
            let last = running.last_words.iter().find(|(release, _)| *release == other.release);
            let words = match (other.tries, last) {
                (None, _) => NO_LONGER,
                (Some(_), Some((_, words))) => words,
                (Some(0), None) => NOT_STARTED,
                (Some(_), None) => SILENT,
            };
            if self.outcome(other.release) != Some(UpdateOutcome::FellBack) {
                self.note(other.release, UpdateOutcome::FellBack, words, at);
            }
        }
        // It never got its name on the card: the power went just before, and it is fetched on.
        let is_there = |release| running.others.iter().any(|other| other.release == release);
        self.0.retain(|attempt| {
            let open = matches!(attempt.outcome, UpdateOutcome::Installed | UpdateOutcome::Kept);
            !(open && attempt.release > own && !is_there(attempt.release))
        });
        *self != before
    }

    /// The oldest release goes first where there are too many: what is older than what runs is never tried again anyway.
    fn put(&mut self, attempt: UpdateAttempt) {
        self.0.retain(|known| known.release != attempt.release);
        self.0.push(attempt);
        if self.0.len() > MAX_ATTEMPTS
            && let Some(oldest) = self.0.iter().map(|attempt| attempt.release).min()
        {
            self.0.retain(|attempt| attempt.release != oldest);
        }
    }
}

fn read_line(line: &str) -> Option<UpdateAttempt> {
    let mut parts = line.splitn(4, ' ');
    let release = parts.next()?.parse().ok()?;
    let outcome = parts.next()?;
    let outcome = [UpdateOutcome::Installed, UpdateOutcome::Kept, UpdateOutcome::FellBack, UpdateOutcome::NotInstalled]
        .into_iter()
        .find(|known| known.name() == outcome)?;
    let at = UnixNanos(parts.next()?.parse().ok()?);
    Some(UpdateAttempt { release, outcome, words: Text::cut(parts.next()?), at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use UpdateOutcome::{FellBack, Installed, Kept, NotInstalled};

    const AT: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

    fn attempts(list: &[(u64, UpdateOutcome, &str)]) -> Attempts {
        let mut attempts = Attempts::default();
        for (release, outcome, words) in list {
            attempts.note(*release, *outcome, words, AT);
        }
        attempts
    }

    fn shown(attempts: &Attempts) -> Vec<(u64, UpdateOutcome, &str)> {
        attempts.0.iter().map(|one| (one.release, one.outcome, one.words.as_str())).collect()
    }

    #[test]
    fn what_became_of_a_release_is_known_at_the_next_start() {
        let other = |release, tries| Other { release, tries };
        let said = [(5, "address: no router answers".to_owned())];
        type Known<'a> = &'a [(u64, UpdateOutcome, &'a str)];
        let cases: [(&str, Known<'_>, Running<'_>, Known<'_>); 13] = [
            ("a fresh board", &[], Running { release: 4, trial: false, others: &[], last_words: &[] }, &[]),
            (
                "the new system's first start",
                &[(5, Installed, "")],
                Running { release: 5, trial: true, others: &[other(4, None)], last_words: &[] },
                &[(5, Installed, "")],
            ),
            (
                "the same where the state was made anew",
                &[],
                Running { release: 5, trial: true, others: &[other(4, None)], last_words: &[] },
                &[(5, Installed, "")],
            ),
            (
                "the power went between keeping it and noting that",
                &[(5, Installed, "")],
                Running { release: 5, trial: false, others: &[other(4, None)], last_words: &[] },
                &[(5, Kept, "")],
            ),
            (
                "it said why",
                &[(5, Installed, "")],
                Running { release: 4, trial: false, others: &[other(5, Some(3))], last_words: &said },
                &[(5, FellBack, "address: no router answers")],
            ),
            (
                "it said nothing",
                &[(5, Installed, "")],
                Running { release: 4, trial: false, others: &[other(5, Some(3))], last_words: &[] },
                &[(5, FellBack, SILENT)],
            ),
            (
                "another's words",
                &[(6, Installed, "")],
                Running { release: 4, trial: false, others: &[other(6, Some(1))], last_words: &said },
                &[(6, FellBack, SILENT)],
            ),
            (
                "the loader passed it over",
                &[(5, Installed, "")],
                Running { release: 4, trial: false, others: &[other(5, Some(0))], last_words: &[] },
                &[(5, FellBack, NOT_STARTED)],
            ),
            (
                "it was kept, and then the card went bad",
                &[(5, Kept, "")],
                Running { release: 4, trial: false, others: &[other(5, None)], last_words: &[] },
                &[(5, FellBack, NO_LONGER)],
            ),
            (
                "it fell back, and the state was made anew",
                &[],
                Running { release: 4, trial: false, others: &[other(5, Some(3))], last_words: &[] },
                &[(5, FellBack, SILENT)],
            ),
            (
                "the power went before it had its name",
                &[(5, Installed, "")],
                Running { release: 4, trial: false, others: &[], last_words: &[] },
                &[],
            ),
            (
                "what is known stays known",
                &[(5, FellBack, "its words"), (6, NotInstalled, "the card is full")],
                Running { release: 4, trial: false, others: &[other(3, None)], last_words: &[] },
                &[(5, FellBack, "its words"), (6, NotInstalled, "the card is full")],
            ),
            (
                "and is not said anew",
                &[(5, FellBack, "its words"), (3, Kept, "")],
                Running { release: 4, trial: false, others: &[other(5, Some(3))], last_words: &[] },
                &[(5, FellBack, "its words"), (3, Kept, "")],
            ),
        ];
        for (name, known, running, expected) in cases {
            let mut attempts = attempts(known);
            let news = attempts.settle(running, AT);
            assert_eq!(shown(&attempts), expected, "{name}");
            assert_eq!(news, known != expected, "{name}");
            assert!(!attempts.settle(running, AT), "{name}: once is enough");
        }
    }

    #[test]
    fn the_file_is_read_as_it_was_written_and_a_line_that_makes_no_sense_is_skipped() {
        let known = attempts(&[(7, Kept, ""), (8, NotInstalled, "two\nlines"), (9, FellBack, "ä word")]);
        let text = known.write();
        let mut again = known.clone();
        again.note(8, NotInstalled, "two lines", AT);
        assert_eq!(Attempts::read(&text).0.len(), 3);
        assert_eq!(shown(&Attempts::read(&text))[1], (8, NotInstalled, "two lines"));
        let damaged = format!("9\n\u{0}\n12 hatched 5 an outcome of a later release\nx kept 1 \n{text}10 kept");
        assert_eq!(Attempts::read(&damaged), Attempts::read(&text));
    }

    #[test]
    fn the_newest_releases_are_remembered() {
        let mut attempts = attempts(&[(100, FellBack, "why")]);
        for release in 1..50 {
            attempts.note(release, NotInstalled, "full", AT);
        }
        assert_eq!(attempts.0.len(), MAX_ATTEMPTS);
        assert_eq!(attempts.fell_back(), [100], "it is not tried again");
        assert!(!attempts.note(100, FellBack, "why", UnixNanos(0)), "no news");
        assert_eq!(attempts.list().len(), MAX_ATTEMPTS);
    }
}
