//! How much is measured at most: packets a second in all and towards one target, runs at once, time between runs towards
//! one target, bytes a day. A budget from which runs are admitted whole.
//!
//! A run counts with the most packets its definition can send, all of them at its admission; one that needs more than the
//! cap of a second keeps everything else waiting for as long as it takes at that cap. That the packets themselves leave no
//! faster is the business of the sockets' pacing.
//!
//! Pure; time is an argument. Memory is bounded: a target is forgotten when it restricts nothing any more, and where too
//! many restrict something, others wait.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sonde_protocol::result::SkipReason;
use sonde_protocol::spec::Spec;
use sonde_protocol::time::{Nanos, UnixNanos};

use super::cost::at_most;
use crate::config::Limits;

/// The most targets that are remembered.
const MAX_TARGETS: usize = 4096;

/// When to ask again while as many runs are under way as may be. A release may come sooner.
const CONCURRENT_RETRY: Duration = Duration::from_millis(100);

/// Packets are given back at multiples of this, so that few entries hold them.
const GRAIN: i64 = 10_000_000;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// May a run begin?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Yes, and it is counted. When it has ended: [`Caps::release`].
    Now,
    /// Not before this, which is later than now. Ask again then.
    Later(Nanos),
    /// No: the bytes of the day are used up, or will be by a run this large.
    Never(SkipReason),
}

/// What was used of a day's bytes. To be kept over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DayUse {
    /// Days since 1970-01-01 UTC.
    pub day: i64,
    /// Bytes.
    pub bytes: u64,
}

/// The budget.
#[derive(Debug)]
pub struct Caps {
    limits: Limits,
    packets: Window,
    running: u32,
    targets: BTreeMap<IpAddr, TargetUse>,
    day: DayUse,
    day_began: Nanos,
    /// A run was refused for the bytes of this day.
    refused: bool,
}

impl Caps {
    /// A budget of which `used` is gone already.
    pub fn new(limits: Limits, used: DayUse, now: Nanos) -> Self {
        Self {
            limits,
            packets: Window::default(),
            running: 0,
            targets: BTreeMap::new(),
            day: used,
            day_began: now,
            refused: false,
        }
    }

    /// May a run of `spec` towards all of `targets` begin now? `wall` decides which day it is: give it the machine's own
    /// clock, so that no collector has a say in the host's budget.
    pub fn admit(&mut self, now: Nanos, wall: UnixNanos, spec: &Spec, targets: &[IpAddr]) -> Admit {
        let each = spec.packets_at_most().max(1);
        let packets = each.saturating_mul(u32::try_from(targets.len().max(1)).unwrap_or(u32::MAX));
        let bytes = at_most(spec, packets);
        self.turn_day(now, wall);
        let used = self.day.bytes.saturating_add(bytes);
        if used > self.limits.bytes_per_day || targets.len() > MAX_TARGETS {
            self.refused |= used > self.limits.bytes_per_day;
            return Admit::Never(SkipReason::Limit);
        }
        let mut towards = BTreeMap::<IpAddr, u32>::new();
        for target in targets {
            let count = towards.entry(*target).or_default();
            *count = count.saturating_add(each);
        }
        let free = self.free_at(now, packets, &towards);
        if free > now {
            return Admit::Later(free);
        }
        self.day.bytes = used;
        self.running += 1;
        self.packets.take(now, packets, self.limits.packets_per_second);
        for (target, packets) in towards {
            let target = self.targets.entry(target).or_default();
            target.next_start = now + self.limits.target_interval();
            target.packets.take(now, packets, self.limits.target_packets_per_second);
        }
        Admit::Now
    }

    /// Other limits from now on. What was used stays used.
    pub fn set_limits(&mut self, limits: Limits) {
        self.refused &= limits.bytes_per_day <= self.limits.bytes_per_day;
        self.limits = limits;
    }

    /// Are the bytes of the day used up, or did at least one run no longer fit? `wall` as for [`Self::admit`].
    pub fn day_is_full(&mut self, now: Nanos, wall: UnixNanos) -> bool {
        self.turn_day(now, wall);
        self.refused || self.day.bytes >= self.limits.bytes_per_day
    }

    /// More bytes than a run was admitted with have come back.
    pub fn charge(&mut self, bytes: u64) {
        self.day.bytes = self.day.bytes.saturating_add(bytes);
    }

    /// A run that was admitted on the day `day` with more bytes than it has cost gives so many back. Those of another day are gone.
    pub fn give_back(&mut self, bytes: u64, day: i64) {
        if day == self.day.day {
            self.day.bytes = self.day.bytes.saturating_sub(bytes);
        }
    }

    /// A run that was admitted has ended.
    pub fn release(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Runs under way.
    pub const fn running(&self) -> u32 {
        self.running
    }

    /// What is used of the day's bytes.
    pub const fn day_use(&self) -> DayUse {
        self.day
    }

    /// When such a run may begin, as things are; `now` or before when it may now.
    fn free_at(&mut self, now: Nanos, packets: u32, towards: &BTreeMap<IpAddr, u32>) -> Nanos {
        let limits = &self.limits;
        let mut free = self.packets.free_at(now, packets, limits.packets_per_second);
        if self.running >= limits.concurrent {
            free = free.max(now + CONCURRENT_RETRY);
        }
        let mut strangers = 0;
        for (target, packets) in towards {
            match self.targets.get_mut(target) {
                Some(target) => {
                    let packets_free = target.packets.free_at(now, *packets, limits.target_packets_per_second);
                    free = free.max(packets_free).max(target.next_start);
                }
                None => strangers += 1,
            }
        }
        if self.targets.len() + strangers > MAX_TARGETS {
            self.targets.retain(|target, state| state.idle_at() > now || towards.contains_key(target));
        }
        if self.targets.len() + strangers > MAX_TARGETS {
            let others = self.targets.iter().filter(|(target, _)| !towards.contains_key(target));
            free = free.max(others.map(|(_, state)| state.idle_at()).min().unwrap_or(now + SECOND));
        }
        free
    }

    /// Begins a new day's budget when the day is over. A clock that went back begins none until 24 hours have really
    /// passed; nor does one that jumped ahead and back keep the budget closed for longer.
    fn turn_day(&mut self, now: Nanos, wall: UnixNanos) {
        let today = wall.as_secs().div_euclid(86_400);
        if today > self.day.day || (today < self.day.day && now.since(self.day_began) >= DAY) {
            self.day = DayUse { day: today, bytes: 0 };
            self.day_began = now;
            self.refused = false;
        }
    }
}

/// What restricts runs towards one target.
#[derive(Debug, Default)]
struct TargetUse {
    next_start: Nanos,
    packets: Window,
}

impl TargetUse {
    /// From when on it restricts nothing.
    fn idle_at(&self) -> Nanos {
        self.packets.held.back().map_or(self.next_start, |(until, _)| self.next_start.max(*until))
    }
}

/// A token bucket whose tokens come back a second after they were taken: so no second sees more than the bucket holds.
#[derive(Debug, Default)]
struct Window {
    /// Until when how many are away, in order.
    held: VecDeque<(Nanos, u32)>,
}

impl Window {
    /// When `packets` can be taken; `now` when they can now. More than the cap need the whole of it.
    fn free_at(&mut self, now: Nanos, packets: u32, cap: u32) -> Nanos {
        while self.held.front().is_some_and(|(until, _)| *until <= now) {
            self.held.pop_front();
        }
        let mut away: u32 = self.held.iter().map(|(_, count)| count).sum();
        let mut free = now;
        for (until, count) in &self.held {
            if away.saturating_add(packets.min(cap)) <= cap {
                break;
            }
            away -= count;
            free = *until;
        }
        free
    }

    /// Takes them at `now`.
    fn take(&mut self, now: Nanos, packets: u32, cap: u32) {
        let cap = cap.max(1);
        let until = now + SECOND * packets.div_ceil(cap).max(1);
        let until = Nanos(until.0.saturating_add(GRAIN - 1).div_euclid(GRAIN).saturating_mul(GRAIN));
        match self.held.back_mut() {
            // Never before the last, should time have gone back.
            Some((last, count)) if *last >= until => *count += packets.min(cap),
            _ => self.held.push_back((until, packets.min(cap))),
        }
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::seed::Rng;
    use sonde_protocol::spec::{PingSpec, TracerouteSpec};

    use super::*;

    const S: i64 = 1_000_000_000;
    const MIDNIGHT: i64 = 20_000 * 86_400;

    fn limits() -> Limits {
        Limits {
            packets_per_second: 20,
            bytes_per_day: 1 << 30,
            concurrent: 1000,
            target_interval_ms: 0,
            target_packets_per_second: 1000,
            ..Limits::default()
        }
    }

    fn caps(limits: Limits) -> Caps {
        Caps::new(limits, DayUse::default(), Nanos(0))
    }

    fn ping(packets: u32) -> Spec {
        Spec::Ping(PingSpec { packets, ..PingSpec::default() })
    }

    fn target(n: u32) -> IpAddr {
        IpAddr::V4((0x1400_0000 + n).into())
    }

    fn admit(caps: &mut Caps, now: Nanos, spec: &Spec, targets: &[IpAddr]) -> Admit {
        caps.admit(now, UnixNanos::from_secs(MIDNIGHT + now.0 / S), spec, targets)
    }

    #[test]
    fn packets_come_back_after_a_second() {
        let mut caps = caps(limits());
        assert_eq!(admit(&mut caps, Nanos(0), &ping(10), &[target(1)]), Admit::Now);
        assert_eq!(admit(&mut caps, Nanos(S / 2), &ping(10), &[target(1)]), Admit::Now);
        assert_eq!(admit(&mut caps, Nanos(S / 2), &ping(1), &[target(2)]), Admit::Later(Nanos(S)));
        assert_eq!(admit(&mut caps, Nanos(S), &ping(11), &[target(2)]), Admit::Later(Nanos(S * 3 / 2)));
        assert_eq!(admit(&mut caps, Nanos(S), &ping(10), &[target(2)]), Admit::Now);
    }

    #[test]
    fn a_run_larger_than_a_second_goes_alone_and_takes_its_time() {
        let mut caps = caps(limits());
        let trace = Spec::Traceroute(TracerouteSpec { packets: 3, max_hops: 32, ..TracerouteSpec::default() });
        assert_eq!(admit(&mut caps, Nanos(0), &ping(1), &[target(1)]), Admit::Now);
        assert_eq!(admit(&mut caps, Nanos(0), &trace, &[target(2)]), Admit::Later(Nanos(S)));
        assert_eq!(admit(&mut caps, Nanos(S), &trace, &[target(2)]), Admit::Now);
        assert_eq!(admit(&mut caps, Nanos(S), &ping(1), &[target(1)]), Admit::Later(Nanos(6 * S)), "96 at 20 a second");
    }

    #[test]
    fn a_target_is_spared() {
        let mut caps =
            caps(Limits { target_interval_ms: 500, target_packets_per_second: 4, packets_per_second: 100, ..limits() });
        assert_eq!(admit(&mut caps, Nanos(0), &ping(3), &[target(1)]), Admit::Now);
        assert_eq!(admit(&mut caps, Nanos(0), &ping(3), &[target(2)]), Admit::Now);
        assert_eq!(admit(&mut caps, Nanos(0), &ping(1), &[target(1)]), Admit::Later(Nanos(S / 2)));
        assert_eq!(admit(&mut caps, Nanos(S / 2), &ping(1), &[target(1)]), Admit::Now);
        assert_eq!(admit(&mut caps, Nanos(S - 1), &ping(1), &[target(1)]), Admit::Later(Nanos(S)), "4 packets");
        assert_eq!(
            admit(&mut caps, Nanos(0), &ping(1), &[target(3), target(1)]),
            Admit::Later(Nanos(S)),
            "as late as the latest of several"
        );
    }

    #[test]
    fn runs_at_once_are_bounded_until_one_is_released() {
        let mut caps = caps(Limits { concurrent: 2, ..limits() });
        for n in 0..2 {
            assert_eq!(admit(&mut caps, Nanos(0), &ping(1), &[target(n)]), Admit::Now);
        }
        assert_eq!(admit(&mut caps, Nanos(0), &ping(1), &[]), Admit::Later(Nanos(0) + CONCURRENT_RETRY));
        caps.release();
        assert_eq!(admit(&mut caps, Nanos(0), &ping(1), &[]), Admit::Now);
        assert_eq!(caps.running(), 2);
    }

    #[test]
    fn what_a_run_did_not_need_is_given_back_on_its_own_day_alone() {
        let limits = Limits { bytes_per_day: 2 * 576, ..limits() };
        let mut caps = caps(limits);
        assert_eq!(admit(&mut caps, Nanos(0), &ping(3), &[target(1)]), Admit::Now);
        let day = caps.day_use();
        caps.give_back(500, day.day);
        assert_eq!(caps.day_use().bytes, 76);
        caps.give_back(500, day.day);
        assert_eq!(caps.day_use().bytes, 0, "never more than was taken");
        let tomorrow = 86_400 * S;
        assert_eq!(admit(&mut caps, Nanos(tomorrow), &ping(3), &[target(1)]), Admit::Now);
        caps.give_back(500, day.day);
        assert_eq!(caps.day_use().bytes, 576);
    }

    #[test]
    fn a_days_bytes_are_gone_until_the_next_day_also_after_a_restart() {
        // A ping of 3 packets is 3 × (48 + 48) bytes and as much back.
        let limits = Limits { bytes_per_day: 2 * 576, ..limits() };
        let mut caps = caps(limits.clone());
        let at = |caps: &mut Caps, seconds: i64| admit(caps, Nanos(seconds * S), &ping(3), &[target(1)]);
        assert_eq!([at(&mut caps, 0), at(&mut caps, 10)], [Admit::Now, Admit::Now]);
        assert_eq!(at(&mut caps, 20), Admit::Never(SkipReason::Limit));
        let kept = caps.day_use();
        assert_eq!(kept, DayUse { day: 20_000, bytes: 1152 });
        let mut again = Caps::new(limits, kept, Nanos(30 * S));
        assert_eq!(at(&mut again, 40), Admit::Never(SkipReason::Limit));
        assert_eq!(at(&mut again, 86_399), Admit::Never(SkipReason::Limit));
        assert_eq!(at(&mut again, 86_400), Admit::Now);
        assert_eq!(again.day_use(), DayUse { day: 20_001, bytes: 576 });
    }

    #[test]
    fn a_clock_that_jumps_gives_no_second_budget_and_does_not_close_the_first_for_ever() {
        let mut caps = caps(Limits { bytes_per_day: 576, ..limits() });
        let mut at = |hours: i64, days: i64| {
            caps.admit(Nanos(hours * 3600 * S), UnixNanos::from_secs((20_000 + days) * 86_400), &ping(3), &[target(1)])
        };
        assert_eq!(at(0, 9_000), Admit::Now, "the clock is decades ahead");
        assert_eq!(at(1, 0), Admit::Never(SkipReason::Limit), "now it is right");
        assert_eq!(at(23, 1), Admit::Never(SkipReason::Limit));
        assert_eq!(at(24, 1), Admit::Now);
        assert_eq!(at(25, 0), Admit::Never(SkipReason::Limit), "back again");
    }

    #[test]
    fn memory_is_bounded_and_no_restriction_is_forgotten() {
        let limits = Limits { target_interval_ms: 3_600_000, packets_per_second: 10_000, ..limits() };
        let mut caps = caps(limits);
        let full = MAX_TARGETS as u32;
        for n in 0..full {
            caps.release();
            assert_eq!(admit(&mut caps, Nanos(i64::from(n)), &ping(1), &[target(n)]), Admit::Now);
        }
        let hour = Nanos(3600 * S);
        assert_eq!(admit(&mut caps, Nanos(10 * S), &ping(1), &[target(full)]), Admit::Later(hour));
        assert_eq!(admit(&mut caps, Nanos(10 * S), &ping(1), &[target(0)]), Admit::Later(hour));
        assert_eq!(admit(&mut caps, hour, &ping(1), &[target(full)]), Admit::Now, "the first has become idle");
        assert_eq!(caps.targets.len(), MAX_TARGETS);
        let crowd: Vec<_> = (0..=full).map(target).collect();
        assert_eq!(admit(&mut caps, hour, &ping(1), &crowd), Admit::Never(SkipReason::Limit));
    }

    /// What was admitted.
    struct Run {
        at: Nanos,
        packets: u32,
        targets: Vec<IpAddr>,
    }

    /// The most packets in any second, when a run sends them all at once, or the cap each second when they are more.
    fn most_in_a_second<'a>(runs: impl Iterator<Item = &'a Run>, cap: u32) -> u32 {
        let mut sent: Vec<(i64, u32)> = Vec::new();
        for run in runs {
            let mut left = run.packets;
            for second in 0.. {
                sent.push((run.at.0 + second * S, left.min(cap)));
                left = left.saturating_sub(cap);
                if left == 0 {
                    break;
                }
            }
        }
        let within = |start: i64| sent.iter().filter(|(at, _)| (start..start + S).contains(at)).map(|(_, n)| n).sum();
        sent.iter().map(|(at, _)| within(*at)).max().unwrap_or(0)
    }

    #[test]
    fn no_sequence_of_runs_exceeds_a_cap() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let limits = Limits {
                packets_per_second: 5 + rng.below(60) as u32,
                bytes_per_day: 100_000,
                concurrent: 1 + rng.below(6) as u32,
                target_interval_ms: rng.below(2000) as u32,
                target_packets_per_second: 2 + rng.below(20) as u32,
                ..Limits::default()
            };
            let mut caps = caps(limits.clone());
            let mut now = Nanos(rng.below(1 << 40) as i64);
            // Across a midnight.
            let wall = |now: Nanos| UnixNanos(now.0 + MIDNIGHT * S - (1 << 39));
            let mut runs: Vec<Run> = Vec::new();
            let mut bytes = BTreeMap::<i64, u64>::new();
            let mut running = 0;
            for _ in 0..300 {
                if rng.one_in(3) && running > 0 {
                    caps.release();
                    running -= 1;
                }
                let spec = if rng.one_in(8) {
                    Spec::Traceroute(TracerouteSpec { max_hops: 1 + rng.below(30) as u32, ..Default::default() })
                } else {
                    ping(1 + rng.below(16) as u32)
                };
                let targets: Vec<_> = (0..rng.below(4)).map(|_| target(rng.below(5) as u32)).collect();
                match caps.admit(now, wall(now), &spec, &targets) {
                    Admit::Now => {
                        let packets = spec.packets_at_most() * targets.len().max(1) as u32;
                        *bytes.entry(wall(now).as_secs() / 86_400).or_default() += at_most(&spec, packets);
                        running += 1;
                        assert!(running <= limits.concurrent, "seed {seed}");
                        runs.push(Run { at: now, packets, targets });
                    }
                    Admit::Later(then) => {
                        assert!(then > now, "seed {seed}");
                        // What it waited for comes true, when nothing else happens.
                        if rng.one_in(2) {
                            while running > 0 {
                                caps.release();
                                running -= 1;
                            }
                            now = then;
                            let mut again = || caps.admit(now, wall(now), &spec, &targets);
                            if again() == Admit::Now {
                                let packets = spec.packets_at_most() * targets.len().max(1) as u32;
                                *bytes.entry(wall(now).as_secs() / 86_400).or_default() += at_most(&spec, packets);
                                running += 1;
                                runs.push(Run { at: now, packets, targets });
                            } else {
                                panic!("seed {seed}: {:?} at {now:?}", again());
                            }
                        }
                    }
                    Admit::Never(reason) => assert_eq!(reason, SkipReason::Limit),
                }
                now = now + Duration::from_millis(if rng.one_in(20) { rng.below(100_000) } else { rng.below(300) });
            }
            assert!(bytes.values().all(|used| *used <= limits.bytes_per_day), "seed {seed}: {bytes:?}");
            assert!(
                most_in_a_second(runs.iter(), limits.packets_per_second) <= limits.packets_per_second,
                "seed {seed}"
            );
            for n in 0..5 {
                let share = |run: &Run| {
                    let times = run.targets.iter().filter(|of| **of == target(n)).count() as u32;
                    let each = run.packets / run.targets.len().max(1) as u32;
                    Run { at: run.at, packets: each * times, targets: Vec::new() }
                };
                let towards: Vec<_> = runs.iter().map(share).filter(|run| run.packets > 0).collect();
                let cap = limits.target_packets_per_second;
                assert!(most_in_a_second(towards.iter(), cap) <= cap, "seed {seed}: target {n}");
                let gaps = towards.windows(2).map(|pair| pair[1].at.since(pair[0].at));
                assert!(gaps.min().is_none_or(|gap| gap >= limits.target_interval()), "seed {seed}: target {n}");
            }
        }
    }
}
