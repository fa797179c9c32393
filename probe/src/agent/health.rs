//! What is wrong, kept and told: surveys of the network when there is a reason for one, the clock, refusals; to the
//! collector when it changes.
//!
//! A quiet probe on which all is well does nothing here: a survey follows a failure, a new connection or a change of the
//! machine's network, and is repeated while something is wrong.

use std::net::SocketAddr;
use std::time::Duration;

use sonde_protocol::condition::{Level, Word};
use sonde_protocol::message::RefusedReason;
use sonde_protocol::net::Uplink;
use sonde_protocol::time::{Nanos, UnixNanos};
use tracing::{info, warn};

use super::Agent;
use crate::condition::diagnosis::{Found, diagnose, is_surveyed};
use crate::condition::survey::{Asking, survey};
use crate::status::Shown;

/// The least time between two surveys.
const LEAST_GAP: Duration = Duration::from_secs(5);

/// How long a change is given to be followed by others.
const SETTLE: Duration = Duration::from_millis(500);

/// How often the network is looked at again while something is wrong with it.
const WATCH: Duration = Duration::from_secs(60);

/// The machine's clock may be off by this much before anybody is told.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);

/// A board's system sets the clock once its collector has told the time; until then nothing is wrong.
const CLOCK_IS_SET: Duration = Duration::from_secs(30);

/// Since when the machine's clock has been off.
#[derive(Debug, Default)]
pub(super) struct ClockWatch(Option<Nanos>);

impl ClockWatch {
    /// At an exchange of time with the collector the machine's clock was off, or not. Is that worth a word?
    fn is_wrong(&mut self, off: bool, on_board: bool, now: Nanos) -> bool {
        if !off {
            self.0 = None;
            return false;
        }
        let since = *self.0.get_or_insert(now);
        !on_board || now.since(since) >= CLOCK_IS_SET
    }
}

/// A survey under way.
pub(super) struct Surveying {
    task: tokio::task::JoinHandle<Vec<Found>>,
    /// How many connections there had been when it began: a newer one makes it worthless.
    links: u64,
}

impl Surveying {
    /// What it found; nothing when it died.
    pub(super) async fn done(&mut self) -> Option<Vec<Found>> {
        (&mut self.task).await.ok()
    }
}

impl Agent {
    /// There is a reason to look at the network.
    pub(super) fn want_survey(&mut self, now: Nanos) {
        let earliest = self.surveyed_at.map_or(now, |at| (at + LEAST_GAP).max(now)) + SETTLE;
        self.survey_due = Some(self.survey_due.map_or(earliest, |due| due.min(earliest)));
    }

    /// When this part wants to be woken.
    pub(super) fn health_due(&self) -> Option<Nanos> {
        let survey = self.survey_due.filter(|_| self.surveying.is_none() && !self.closing);
        let news = self.conditions.news_due().filter(|_| self.session.is_open());
        survey.into_iter().chain(news).min()
    }

    /// Begins what is due.
    pub(super) fn advance_health(&mut self, now: Nanos) {
        if self.surveying.is_none() && !self.closing && self.survey_due.is_some_and(|due| due <= now) {
            self.survey_due = None;
            self.surveyed_at = Some(now);
            let asking = Asking {
                endpoints: Some(self.endpoints()),
                keys: self.identity.collector_keys(),
                translators: self.translators(),
                remembered: self.identity.remembered(),
                connected: self.link.as_ref().map(|(link, _)| (link.remote(), link.uplink())),
                large: None,
            };
            let (runner, key) = (self.runner.clone(), self.identity.key().clone());
            let task = tokio::spawn(async move { diagnose(&survey(&asking, &key, &runner.resolver).await) });
            self.surveying = Some(Surveying { task, links: self.links });
        }
        if self.session.is_open() && self.conditions.take_news(now) {
            let running = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
            let host = self.host_to_tell(now);
            self.session.conditions_changed(self.conditions.to_tell(now), host, running);
            self.conditions.told();
        }
    }

    /// A survey has ended.
    pub(super) fn surveyed(&mut self, found: Option<Vec<Found>>, now: Nanos) {
        let Some(ended) = self.surveying.take() else { return };
        let Some(found) = found else { return };
        if ended.links != self.links {
            // A connection came or went meanwhile, so that half of it was seen before and half after.
            self.want_survey(now);
            return;
        }
        for one in &found {
            if self.conditions.held().all(|held| held.word != one.word) {
                warn!(word = %one.word, detail = one.detail, "{}", one.word.meaning());
            }
        }
        let before: Vec<Word> = self.conditions.held().map(|held| held.word).collect();
        self.conditions.replace(is_surveyed, &found, now);
        for word in before.into_iter().filter(|word| self.conditions.held().all(|held| held.word != *word)) {
            info!(%word, "over");
        }
        if self.link.is_none() {
            self.conditions.cut_off(|word| word.level() == Level::Problem);
        }
        if !found.is_empty() && self.survey_due.is_none() {
            self.survey_due = Some(now + WATCH);
        }
    }

    /// A connection stands, before hello: what it disproves is over.
    pub(super) fn reached(&mut self, remote: SocketAddr, uplink: Uplink, now: Nanos) {
        self.links += 1;
        self.conditions.clear_all(|word| word.ends_with_connection() && !survives(word, uplink), now);
        if uplink == Uplink::Quic
            && let Err(error) = self.identity.remember(remote)
        {
            warn!(%error, "the collector's address cannot be kept");
            self.look_at_disk();
        }
    }

    /// The collector has welcomed the probe, so it has read hello.
    pub(super) fn heard(&mut self, now: Nanos) {
        self.conditions.told();
        let uplink = self.last_uplink.unwrap_or(Uplink::Quic);
        self.conditions.clear_all(|word| word.ends_with_welcome() && !survives(word, uplink), now);
        // The other family, and the resolvers, may still be broken.
        self.want_survey(now);
    }

    /// A connection is gone, or could not be made.
    pub(super) fn away(&mut self, now: Nanos) {
        self.links += 1;
        self.want_survey(now);
    }

    /// The collector will not have the probe.
    pub(super) fn note_refusal(&mut self, reason: RefusedReason, text: &str, now: Nanos) {
        self.conditions.set(Word::of_refusal(reason), text, now);
        self.conditions.cut_off(|word| word == Word::of_refusal(reason));
    }

    /// A collector's clock showed `remote` when our monotonic one showed `local`. What did the machine's show?
    pub(super) fn note_clock(&mut self, local: Nanos, remote: UnixNanos, error: Duration, now: Nanos) {
        let machine = self.runner.clock.realtime();
        let then = machine.0.saturating_sub(now.nanos_since(local));
        let ahead = then.saturating_sub(remote.0);
        let off = Duration::from_nanos(ahead.unsigned_abs());
        if self.clock_watch.is_wrong(off > CLOCK_TOLERANCE + error, self.on_board, now) {
            let which = if ahead > 0 { "fast" } else { "slow" };
            self.conditions.set(Word::ClockWrong, format!("{} {which}, by the collector's clock", span(off)), now);
        } else {
            self.conditions.clear(Word::ClockWrong, now);
        }
    }

    /// What holds, as `status` shows it; times by the machine's clock.
    pub(super) fn shown_conditions(&self, now: Nanos) -> Vec<Shown> {
        self.conditions.held().map(|held| Shown::of(held, now, self.on_board)).collect()
    }
}

/// A connection over TCP proves nothing of what keeps QUIC from passing.
fn survives(word: Word, uplink: Uplink) -> bool {
    uplink == Uplink::Tls && matches!(word, Word::UdpBlocked | Word::MtuHole)
}

/// A time in words, coarse.
pub(crate) fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_waits_for_its_collectors_time_has_no_wrong_clock() {
        let at = |seconds: u64| Nanos(0) + Duration::from_secs(seconds);
        for (on_board, said) in [(true, [false, false, true, false, false]), (false, [true, true, true, false, true])] {
            let mut watch = ClockWatch::default();
            let exchanges = [(1, true), (3, true), (61, true), (121, false), (181, true)];
            let now = exchanges.map(|(seconds, off)| watch.is_wrong(off, on_board, at(seconds)));
            assert_eq!(now, said, "on a board: {on_board}");
        }
    }
}
