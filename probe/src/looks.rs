//! When the probe looks at reachability by itself, beside the due times of its order: at everything each six hours; again, when a
//! run contradicts what is settled; at once, when the machine's network has changed. Pure: time and seed are arguments.
//!
//! These are *looks*, not due times: nobody waits for one, and one that finds no room within its patience is left out. What they
//! find is reported as results of the same measurement, each with what led to it.

use std::time::Duration;

use sonde_engine::ipv6::hysteresis::Confirm;
use sonde_protocol::result::ipv6::Trigger;
use sonde_protocol::seed::Rng;
use sonde_protocol::spec::Ipv6Scope;
use sonde_protocol::time::Nanos;

/// How far full looks are apart. Where in that time a probe's are is chance, and stays.
pub const FULL_EVERY: Duration = Duration::from_secs(6 * 3600);

/// The first full look after a start comes within this time, when the last was long ago or there was none: so probes that come
/// back together do not look together.
const FIRST_FULL: Duration = Duration::from_secs(900);

/// A network that changes is given this time to settle; each further change prolongs it, up to [`SETTLE_AT_MOST`].
const SETTLE: Duration = Duration::from_secs(5);
const SETTLE_AT_MOST: Duration = Duration::from_secs(30);

/// A network that changes again and again is looked at whole so often at most; between, a light look must do.
const FULL_AFTER_CHANGE: Duration = Duration::from_secs(600);

/// When a look that found no room is tried again, and for how long that goes on.
const RETRY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(120);

/// A look that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// How much is looked at.
    pub scope: Ipv6Scope,
    /// What led to it.
    pub trigger: Trigger,
}

/// A change of the network that has not been looked at yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    first: Nanos,
    at: Nanos,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Looks {
    full: Nanos,
    confirm: Option<(Nanos, Ipv6Scope)>,
    change: Option<Change>,
    full_after_change: Option<Nanos>,
    not_before: Nanos,
}

impl Looks {
    /// At the start. `since_full`: the last full look was so long ago, as far as is known.
    pub fn new(since_full: Option<Duration>, seed: u64, now: Nanos) -> Self {
        let soon = Rng::new(seed).below(u64::try_from(FIRST_FULL.as_millis()).unwrap_or(u64::MAX));
        let left = since_full.map_or(Duration::ZERO, |since| FULL_EVERY.saturating_sub(since));
        let full = now + left.max(Duration::from_millis(soon));
        Self { full, confirm: None, change: None, full_after_change: None, not_before: now }
    }

    /// Addresses or default routes are others now.
    pub fn network_changed(&mut self, now: Nanos) {
        let first = self.change.map_or(now, |change| change.first);
        let at = (now + SETTLE).min(first + SETTLE_AT_MOST);
        self.change = Some(Change { first, at });
    }

    /// A run that has a say in what is settled has ended.
    pub fn ran(&mut self, scope: Ipv6Scope, again: Option<Confirm>, now: Nanos) {
        if scope == Ipv6Scope::Full {
            self.full = now + FULL_EVERY;
        }
        // The newest run says what is still in doubt.
        self.confirm = again.map(|again| (now + again.after, again.scope));
    }

    /// The look to take now, if one is due.
    pub fn due(&mut self, now: Nanos) -> Option<Look> {
        self.forget(now);
        if now < self.not_before {
            return None;
        }
        if self.change.is_some_and(|change| change.at <= now) {
            let is_long_ago = self.full_after_change.is_none_or(|at| now.since(at) >= FULL_AFTER_CHANGE);
            let scope = if is_long_ago { Ipv6Scope::Full } else { Ipv6Scope::Light };
            return Some(Look { scope, trigger: Trigger::Network });
        }
        if let Some((_, scope)) = self.confirm.filter(|(at, _)| *at <= now) {
            return Some(Look { scope, trigger: Trigger::Confirm });
        }
        (self.full <= now).then_some(Look { scope: Ipv6Scope::Full, trigger: Trigger::Timer })
    }

    /// The look has begun.
    pub fn began(&mut self, look: Look, now: Nanos) {
        match look.trigger {
            Trigger::Network => {
                self.change = None;
                if look.scope == Ipv6Scope::Full {
                    self.full_after_change = Some(now);
                }
            }
            Trigger::Confirm => self.confirm = None,
            _ => {}
        }
        if look.scope == Ipv6Scope::Full {
            self.full = now + FULL_EVERY;
        }
    }

    /// There was no room for the look that is due.
    pub fn postpone(&mut self, now: Nanos) {
        self.not_before = now + RETRY;
    }

    /// When to ask next.
    pub fn next(&self) -> Nanos {
        let change = self.change.map(|change| change.at);
        let confirm = self.confirm.map(|(at, _)| at);
        [change, confirm].into_iter().flatten().fold(self.full, Nanos::min).max(self.not_before)
    }

    /// What has waited too long is not worth it any more: the next due run sees the same. A full look is put off.
    fn forget(&mut self, now: Nanos) {
        let is_over = |at: Nanos| now > at + PATIENCE;
        self.change = self.change.filter(|change| !is_over(change.at));
        self.confirm = self.confirm.filter(|(at, _)| !is_over(*at));
        if is_over(self.full) {
            self.full = now + FIRST_FULL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn at(seconds: i64) -> Nanos {
        Nanos(seconds * S)
    }

    /// A machine whose next full look is far away.
    fn looks() -> Looks {
        Looks::new(Some(Duration::ZERO), 1, at(0))
    }

    const FULL: Ipv6Scope = Ipv6Scope::Full;
    const LIGHT: Ipv6Scope = Ipv6Scope::Light;

    #[test]
    fn full_looks_are_six_hours_apart_from_a_random_moment_on() {
        let mut firsts: Vec<i64> = (0..200).map(|seed| Looks::new(None, seed, at(0)).next().0 / S).collect();
        assert!(firsts.iter().all(|first| *first <= 900), "{firsts:?}");
        firsts.sort_unstable();
        assert!(firsts[50] > 100 && firsts[150] < 800, "they are spread: {firsts:?}");

        let mut looks = Looks::new(Some(Duration::from_secs(5 * 3600)), 1, at(0));
        assert_eq!(looks.next(), at(3600), "what an earlier process did counts");
        assert_eq!(looks.due(at(3599)), None);
        let look = looks.due(at(3600)).unwrap();
        assert_eq!(look, Look { scope: FULL, trigger: Trigger::Timer });
        looks.began(look, at(3600));
        looks.ran(FULL, None, at(3650));
        assert_eq!(looks.next(), at(3650) + FULL_EVERY);
    }

    #[test]
    fn a_change_is_looked_at_once_when_it_has_settled() {
        let mut looks = looks();
        for second in [100, 103, 106] {
            looks.network_changed(at(second));
            assert_eq!(looks.due(at(second + 2)), None);
        }
        let look = looks.due(at(111)).unwrap();
        assert_eq!(look, Look { scope: FULL, trigger: Trigger::Network });
        looks.began(look, at(111));
        assert_eq!(looks.due(at(112)), None);
        // One that goes on is looked at all the same, and not whole each time.
        for second in 200..300 {
            looks.network_changed(at(second));
            if let Some(look) = looks.due(at(second)) {
                assert_eq!((second, look.scope), (230, LIGHT));
                looks.began(look, at(second));
                break;
            }
        }
        looks.network_changed(at(800));
        assert_eq!(looks.due(at(805)).map(|look| look.scope), Some(FULL));
    }

    #[test]
    fn the_newest_run_says_whether_another_look_is_wanted() {
        let mut looks = looks();
        let again = |seconds, scope| Some(Confirm { after: Duration::from_secs(seconds), scope });
        looks.ran(LIGHT, again(60, LIGHT), at(100));
        assert_eq!(looks.next(), at(160));
        assert_eq!(looks.due(at(160)), Some(Look { scope: LIGHT, trigger: Trigger::Confirm }));
        looks.began(Look { scope: LIGHT, trigger: Trigger::Confirm }, at(160));
        looks.ran(LIGHT, again(300, FULL), at(170));
        assert_eq!(looks.due(at(470)), Some(Look { scope: FULL, trigger: Trigger::Confirm }));
        looks.ran(LIGHT, None, at(470));
        assert_eq!(looks.due(at(471)), None, "a due run came first and saw that all is well");
    }

    #[test]
    fn a_look_that_finds_no_room_waits_and_is_left_out_in_the_end() {
        let mut looks = looks();
        looks.ran(LIGHT, Some(Confirm { after: Duration::from_secs(60), scope: LIGHT }), at(0));
        let mut tries = 0;
        for second in 60..300 {
            if looks.due(at(second)).is_some() {
                tries += 1;
                looks.postpone(at(second));
                assert!(looks.next() > at(second));
            }
        }
        assert!((60..=121).contains(&tries), "{tries}");
        assert_eq!(looks.due(at(300)), None);
    }
}
