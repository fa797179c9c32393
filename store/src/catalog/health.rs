//! What is wrong with probes, as they told, and what was.
//!
//! [`merge`] is what a telling makes of what was known, for every backend the same. Pure.

use std::time::Duration;

use async_trait::async_trait;
use sonde_protocol::condition::Condition;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::message::HostState;
use sonde_protocol::time::UnixNanos;

use crate::StoreError;

/// Of what is over so much is kept of each probe, the newest.
pub const KEPT_OVER: usize = 32;

/// What ended longer ago is forgotten.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// A condition that a probe told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldCondition {
    /// The word's number ([`sonde_protocol::condition::Word`]); it may be of a newer version.
    pub word: u16,
    /// When it began, by the server's clock.
    pub since: UnixNanos,
    /// When it ended; absent while it holds.
    pub ended: Option<UnixNanos>,
    /// For people, as the probe said.
    pub detail: String,
    /// The probe had no connection while it held.
    pub cut_off: bool,
}

/// What is known of a probe's health.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeHealth {
    /// When it last told; absent when it never did.
    pub told_at: Option<UnixNanos>,
    /// What holds, and what is over, the newest first.
    pub conditions: Vec<ToldCondition>,
    /// What its host allows; absent when it never told.
    pub host: Option<ToldHost>,
}

/// What a probe's host allows, as the probe told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldHost {
    /// When, by the server's clock.
    pub told_at: UnixNanos,
    /// What.
    pub state: HostState,
}

/// What is wrong with probes.
#[async_trait]
pub trait Healths: Send + Sync {
    /// Records what a probe tells: all that holds, and what is over ([`merge`]). Nothing happens when there is no such probe.
    async fn record_health(&self, probe: ProbeId, told: &[Condition], now: UnixNanos) -> Result<(), StoreError>;

    /// Records what a probe tells of its host's limits. Nothing happens when there is no such probe.
    async fn record_host(&self, probe: ProbeId, state: &HostState, now: UnixNanos) -> Result<(), StoreError>;

    /// What is known of some probes, in their order. A probe that nothing is known of has the default.
    async fn health(&self, probes: &[ProbeId]) -> Result<Vec<ProbeHealth>, StoreError>;
}

fn before(now: UnixNanos, seconds: u32) -> UnixNanos {
    UnixNanos(now.0.saturating_sub(i64::from(seconds).saturating_mul(1_000_000_000)))
}

/// What is known after a telling at `now`. What was told before goes on when it is told again, and has ended when it is not.
/// The same word over the same time is one thing, though it may be told twice.
pub fn merge(known: &[ToldCondition], told: &[Condition], now: UnixNanos) -> Vec<ToldCondition> {
    let mut all: Vec<ToldCondition> = known.to_vec();
    for one in told {
        let since = before(now, one.began);
        let ended = one.ended.map(|ended| before(now, ended).max(since));
        let mut new = ToldCondition {
            word: one.word,
            since,
            ended,
            detail: one.detail.as_ref().map(ToString::to_string).unwrap_or_default(),
            cut_off: one.cut_off,
        };
        let end = new.ended.unwrap_or(now);
        all.retain(|old| {
            let same = old.word == new.word && old.since <= end && old.ended.is_none_or(|ended| ended >= new.since);
            if same {
                new.since = new.since.min(old.since);
                new.cut_off |= old.cut_off;
            }
            !same
        });
        all.push(new);
    }
    let holds = |word| told.iter().any(|one| one.word == word && one.ended.is_none());
    for old in all.iter_mut().filter(|old| old.ended.is_none() && !holds(old.word)) {
        old.ended = Some(now.max(old.since));
    }
    all.retain(|one| one.ended.is_none_or(|ended| now.since(ended) <= KEPT_FOR));
    // What holds first, then what ended last.
    all.sort_by_key(|one| (one.ended.is_some(), std::cmp::Reverse(one.ended), std::cmp::Reverse(one.since), one.word));
    let holding = all.iter().filter(|one| one.ended.is_none()).count();
    all.truncate(holding + KEPT_OVER);
    all
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::Text;
    use sonde_protocol::condition::Word;

    use super::*;

    const fn at(seconds: i64) -> UnixNanos {
        UnixNanos::from_secs(1_795_219_200 + seconds)
    }

    fn tell(word: Word, began: u32, ended: Option<u32>) -> Condition {
        Condition { word: word.number(), began, ended, detail: Text::new("d"), cut_off: ended.is_some() }
    }

    fn shown(all: &[ToldCondition]) -> Vec<(u16, i64, Option<i64>)> {
        let seconds = |time: UnixNanos| time.as_secs() - 1_795_219_200;
        all.iter().map(|one| (one.word, seconds(one.since), one.ended.map(seconds))).collect()
    }

    #[test]
    fn what_is_told_again_goes_on_and_what_is_not_has_ended() {
        let dns = Word::DnsSilent.number();
        let known = merge(&[], &[tell(Word::DnsSilent, 10, None)], at(100));
        assert_eq!(shown(&known), [(dns, 90, None)]);
        let known = merge(&known, &[tell(Word::DnsSilent, 25, None)], at(116));
        assert_eq!(shown(&known), [(dns, 90, None)], "a second is lost to rounding, and nothing else");
        let known = merge(&known, &[], at(130));
        assert_eq!(shown(&known), [(dns, 90, Some(130))]);
        let known = merge(&known, &[tell(Word::DnsSilent, 5, None)], at(200));
        assert_eq!(shown(&known), [(dns, 195, None), (dns, 90, Some(130))], "it is back: that is another time");
    }

    #[test]
    fn what_was_while_the_probe_was_away_is_one_thing_though_told_twice() {
        let udp = Word::UdpBlocked.number();
        let known = merge(&[], &[tell(Word::UdpBlocked, 100, Some(10))], at(200));
        let known = merge(&known, &[tell(Word::UdpBlocked, 102, Some(12))], at(202));
        assert_eq!(shown(&known), [(udp, 100, Some(190))]);
        assert!(known[0].cut_off);
    }

    #[test]
    fn what_a_probe_claims_is_bounded_and_forgotten_in_time() {
        let mut known = Vec::new();
        for n in 0..500 {
            known = merge(
                &known,
                &[tell(Word::NoRoute, u32::MAX - n, Some(u32::MAX)), tell(Word::LinkDown, 0, Some(9))],
                at(i64::from(n) * 60),
            );
        }
        assert_eq!(known.len(), KEPT_OVER);
        assert!(known.iter().all(|one| one.word == Word::LinkDown.number() && one.ended >= Some(one.since)));
        assert_eq!(merge(&known, &[], at(500 * 60 + 31 * 86_400)), []);
    }
}
