//! What is wrong with this probe: the set of conditions that hold and of those that are over and not yet told, in the words
//! of [`sonde_protocol::condition`].
//!
//! [`survey`] looks at the network when there is a reason to, [`diagnosis`] makes words of what it saw (pure), and
//! [`Conditions`] remembers them (pure, time is an argument). Others put in what they know: the loop a collector's refusal,
//! the clock what it is off by. This module must not know who is told.

pub mod diagnosis;
pub mod disk;
pub mod facts;
pub mod survey;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sonde_protocol::bounded::Text;
use sonde_protocol::condition::{Condition, MAX_CONDITIONS, Word};
use sonde_protocol::time::Nanos;

/// Changes within this time are told at once.
const COALESCE: Duration = Duration::from_secs(1);

/// So often may changes be told in a row; a network that comes and goes must not fill the server.
const BURST: u32 = 10;

/// After that, once in this time.
const REFILL: Duration = Duration::from_secs(60);

/// Of what is over so much is kept until somebody is told, the newest.
const MAX_OVER: usize = 24;

/// A word that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The word.
    pub word: Word,
    /// For people: which address, how far off. May be empty.
    pub detail: String,
    /// Since when.
    pub began: Nanos,
    /// There was no connection meanwhile.
    pub cut_off: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Conditions {
    held: BTreeMap<Word, Held>,
    /// What is over, each with its end.
    over: VecDeque<(Held, Nanos)>,
    changed: Option<Nanos>,
    /// How often changes may be told now, and since when that counts.
    tokens: u32,
    refilled: Nanos,
}

impl Conditions {
    /// Nothing is wrong.
    pub fn new(now: Nanos) -> Self {
        Self { held: BTreeMap::new(), over: VecDeque::new(), changed: None, tokens: BURST, refilled: now }
    }

    /// A word holds. It goes on when it did already; the detail is the newest.
    pub fn set(&mut self, word: Word, detail: impl Into<String>, now: Nanos) {
        let detail = detail.into();
        if let Some(held) = self.held.get_mut(&word) {
            held.detail = detail;
            return;
        }
        self.held.insert(word, Held { word, detail, began: now, cut_off: false });
        self.changed.get_or_insert(now);
    }

    /// The word holds, with this detail, or it does not.
    pub fn note(&mut self, word: Word, holds: Option<String>, now: Nanos) {
        match holds {
            Some(detail) => self.set(word, detail, now),
            None => self.clear(word, now),
        }
    }

    /// There is something else to tell.
    pub fn mention(&mut self, now: Nanos) {
        self.changed.get_or_insert(now);
    }

    /// A word does not hold any more.
    pub fn clear(&mut self, word: Word, now: Nanos) {
        let Some(held) = self.held.remove(&word) else { return };
        if self.over.len() >= MAX_OVER {
            self.over.pop_front();
        }
        self.over.push_back((held, now));
        self.changed.get_or_insert(now);
    }

    /// Of the words that `belongs` is true for, these hold and no others.
    pub fn replace(&mut self, belongs: impl Fn(Word) -> bool, found: &[diagnosis::Found], now: Nanos) {
        let gone = |word: &Word| belongs(*word) && found.iter().all(|one| one.word != *word);
        let gone: Vec<Word> = self.held.keys().copied().filter(gone).collect();
        gone.into_iter().for_each(|word| self.clear(word, now));
        for one in found.iter().filter(|one| belongs(one.word)) {
            self.set(one.word, one.detail.clone(), now);
        }
    }

    /// Of these words none holds any more.
    pub fn clear_all(&mut self, belongs: impl Fn(Word) -> bool, now: Nanos) {
        self.replace(belongs, &[], now);
    }

    /// The probe has no connection; what holds of these words is why.
    pub fn cut_off(&mut self, belongs: impl Fn(Word) -> bool) {
        self.held.values_mut().filter(|held| belongs(held.word)).for_each(|held| held.cut_off = true);
    }

    /// Does a word hold?
    pub fn holds(&self, word: Word) -> bool {
        self.held.contains_key(&word)
    }

    /// What holds, the first to be repaired first.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.values()
    }

    /// The worst of it; of several equally bad ones the first to be repaired.
    pub fn worst(&self) -> Option<&Held> {
        self.held.values().min_by_key(|held| (std::cmp::Reverse(held.word.level()), held.word))
    }

    /// All of it as it is told.
    pub fn to_tell(&self, now: Nanos) -> Vec<Condition> {
        let age = |at: Nanos| u32::try_from(now.since(at).as_secs()).unwrap_or(u32::MAX);
        let tell = |held: &Held, ended: Option<Nanos>| Condition {
            word: held.word.number(),
            began: age(held.began),
            ended: ended.map(age),
            detail: (!held.detail.is_empty()).then(|| Text::cut(held.detail.clone())),
            cut_off: held.cut_off,
        };
        let held = self.held.values().map(|held| tell(held, None));
        held.chain(self.over.iter().map(|(held, ended)| tell(held, Some(*ended)))).take(MAX_CONDITIONS).collect()
    }

    /// The collector knows all of it now.
    pub fn told(&mut self) {
        self.over.clear();
        self.changed = None;
    }

    /// When there is something to tell and it may be told.
    pub fn news_due(&self) -> Option<Nanos> {
        let settled = self.changed? + COALESCE;
        Some(if self.tokens > 0 { settled } else { settled.max(self.refilled + REFILL) })
    }

    /// Is something to be told now? Counts it as told; [`Conditions::told`] follows.
    pub fn take_news(&mut self, now: Nanos) -> bool {
        while self.tokens < BURST && self.refilled + REFILL <= now {
            self.tokens += 1;
            self.refilled = self.refilled + REFILL;
        }
        if self.tokens == BURST {
            self.refilled = now;
        }
        if self.news_due().is_none_or(|due| due > now) || self.tokens == 0 {
            return false;
        }
        self.tokens -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::diagnosis::Found;
    use super::*;

    fn at(seconds: i64) -> Nanos {
        Nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn what_went_wrong_while_away_is_told_once_with_its_times() {
        let mut conditions = Conditions::new(at(0));
        conditions.set(Word::DnsSilent, "192.0.2.53", at(10));
        conditions.set(Word::DnsSilent, "192.0.2.54", at(20));
        conditions.cut_off(|_| true);
        conditions.clear(Word::DnsSilent, at(100));
        conditions.set(Word::Ipv6Broken, "", at(105));
        let told = conditions.to_tell(at(110));
        let of = |word: Word, began, ended, detail: Option<&str>, cut_off| Condition {
            word: word.number(),
            began,
            ended,
            detail: detail.and_then(Text::new),
            cut_off,
        };
        let over = of(Word::DnsSilent, 100, Some(10), Some("192.0.2.54"), true);
        assert_eq!(told, [of(Word::Ipv6Broken, 5, None, None, false), over]);
        conditions.told();
        assert_eq!(conditions.to_tell(at(111)), [of(Word::Ipv6Broken, 6, None, None, false)]);
        assert_eq!(conditions.news_due(), None);
    }

    #[test]
    fn a_survey_replaces_its_own_words_alone() {
        let mut conditions = Conditions::new(at(0));
        conditions.set(Word::Paused, "", at(1));
        conditions.set(Word::DnsSilent, "", at(1));
        let found = [Found { word: Word::UdpBlocked, detail: "x".into() }];
        conditions.replace(|word| word != Word::Paused, &found, at(2));
        let words: Vec<Word> = conditions.held().map(|held| held.word).collect();
        assert_eq!(words, [Word::UdpBlocked, Word::Paused]);
        assert_eq!(conditions.worst().map(|held| held.word), Some(Word::UdpBlocked));
    }

    #[test]
    fn a_network_that_comes_and_goes_is_told_of_seldom_and_all_of_it_in_the_end() {
        let mut conditions = Conditions::new(at(0));
        let mut told = 0;
        for second in 0..3600 {
            match second % 2 {
                0 => conditions.set(Word::LinkDown, "", at(second)),
                _ => conditions.clear(Word::LinkDown, at(second)),
            }
            if conditions.take_news(at(second)) {
                told += 1;
                conditions.told();
            }
        }
        assert!((60..=75).contains(&told), "{told} times in an hour");
        conditions.told();
        conditions.set(Word::NoRoute, "", at(4000));
        assert!(!conditions.take_news(at(4000)), "more may follow at once");
        assert!(conditions.take_news(at(4001)));
    }

    #[test]
    fn what_is_kept_for_later_is_bounded() {
        let mut conditions = Conditions::new(at(0));
        for second in 0..1000 {
            conditions.set(Word::NoRoute, second.to_string(), at(second));
            conditions.clear(Word::NoRoute, at(second));
        }
        let told = conditions.to_tell(at(1000));
        assert_eq!((told.len(), told.last().and_then(|one| one.detail.clone())), (MAX_OVER, Text::new("999")));
    }
}
