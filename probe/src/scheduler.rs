//! Which runs are due, which may start, and what is said of those that do not take place. Pure: time is an argument.
//!
//! Every due time of every order leaves this machine exactly once: as a [`Decision::Start`] or inside a
//! [`Decision::Skip`]. It knows nothing of how a run is carried out; caps and policy are asked through a function.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::order::Order;
use sonde_protocol::result::{SkipReason, Skipped};
use sonde_protocol::schedule::Runs;
use sonde_protocol::time::UnixNanos;

/// How late a periodic run may start at most; half its interval when that is less.
pub const MAX_LATE: Duration = Duration::from_secs(60);

/// How long an order may be on its way to a connected probe. What was due so recently is not claimed to be settled,
/// because an order that asks for it may still arrive.
pub const ORDER_DELAY: Duration = Duration::from_secs(5);

/// What is to become of a due run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Start it. [`Scheduler::finished`] must follow.
    Start {
        /// The order.
        order: Box<Order>,
        /// When it was due.
        planned_at: UnixNanos,
    },
    /// Report it as skipped.
    Skip(Skipped),
}

/// May a run start?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Yes; it counts as started.
    Now,
    /// Not before this time: ask again then.
    Later(UnixNanos),
    /// Not at all.
    Never(SkipReason),
}

#[derive(Debug)]
struct Entry {
    order: Order,
    runs: Runs,
    supported: bool,
    /// The next due time not yet handed on.
    next: Option<UnixNanos>,
    /// A due time that waits for admission, and when to ask again.
    waiting: Option<(UnixNanos, UnixNanos)>,
    /// The due time of the run that is going on.
    running: Option<UnixNanos>,
}

/// The machine.
#[derive(Debug)]
pub struct Scheduler {
    probe: ProbeId,
    boot_started_at: UnixNanos,
    entries: BTreeMap<MeasurementId, Entry>,
    /// One-offs that this boot has started or given up: each runs once a boot, however often it is ordered.
    once: BTreeSet<MeasurementId>,
    /// Runs of orders that are gone but still going on.
    orphans: BTreeMap<MeasurementId, UnixNanos>,
    /// Orders made before this are known; connected since then if there is a second value.
    current: (UnixNanos, Option<UnixNanos>),
    /// The boot ends: what is due from here on is not its any more.
    stopped: Option<UnixNanos>,
}

impl Scheduler {
    /// A schedule without orders. Runs due before `boot_started_at` are not this boot's.
    pub fn new(probe: ProbeId, boot_started_at: UnixNanos) -> Self {
        Self {
            probe,
            boot_started_at,
            entries: BTreeMap::new(),
            once: BTreeSet::new(),
            orphans: BTreeMap::new(),
            current: (boot_started_at, None),
            stopped: None,
        }
    }

    /// The connection to the collector stands: new orders come at once from now on.
    pub fn connected(&mut self, now: UnixNanos) {
        self.current.1 = Some(now);
    }

    /// It is gone: new orders are not known from now on.
    pub fn disconnected(&mut self, now: UnixNanos) {
        self.current = (self.orders_known_until(now), None);
    }

    fn orders_known_until(&self, now: UnixNanos) -> UnixNanos {
        match self.current {
            (until, Some(since)) if now - ORDER_DELAY > since => until.max(now - ORDER_DELAY),
            (until, _) => until,
        }
    }

    /// An order has come. Gives what was due before it came.
    pub fn add(&mut self, order: Order, supported: bool, now: UnixNanos) -> Option<Skipped> {
        let id = order.measurement;
        let runs = Runs::of(&order, self.probe);
        // What is due after the boot's end lies in the gap behind it.
        if self.once.contains(&id) || self.stopped.is_some() {
            return None;
        }
        let (next, late) = match runs {
            Runs::Once { at, expires } if now >= expires => {
                self.once.insert(id);
                (None, Some(skipped(id, at, 1, SkipReason::Expired)))
            }
            Runs::Once { at, .. } => (Some(at), None),
            Runs::Periodic { .. } => {
                let from = order.ordered_at.max(self.boot_started_at);
                let late = runs.between(from, now);
                let late = late.map(|(first, count)| skipped(id, first, count, SkipReason::LateOrder));
                (runs.first_at_or_after(from.max(now)), late)
            }
        };
        let running = self.orphans.remove(&id);
        self.entries.insert(id, Entry { order, runs, supported, next, waiting: None, running });
        late
    }

    /// An order is gone. Gives it back with the runs that were due and not started. A run that is going on goes on.
    pub fn remove(&mut self, id: MeasurementId, now: UnixNanos) -> Option<(Order, Vec<Skipped>)> {
        let mut entry = self.entries.remove(&id)?;
        if let Some(due) = entry.running {
            self.orphans.insert(id, due);
        }
        let skipped = entry.give_up(now, SkipReason::Limit);
        Some((entry.order, skipped))
    }

    /// What to do at `now`. `admit` is asked for each run that could start, in the order of their due times.
    pub fn poll(&mut self, now: UnixNanos, mut admit: impl FnMut(&Order) -> Admit) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for entry in self.entries.values_mut() {
            entry.collect_due(now, &mut decisions);
        }
        let mut waiting: Vec<(UnixNanos, MeasurementId)> = self
            .entries
            .iter()
            .filter_map(|(&id, entry)| entry.waiting.filter(|(_, ask_at)| *ask_at <= now).map(|(due, _)| (due, id)))
            .collect();
        waiting.sort_unstable();
        for (due, id) in waiting {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let decision = if !entry.supported {
                Some(Decision::Skip(skipped(id, due, 1, SkipReason::Unsupported)))
            } else {
                match admit(&entry.order) {
                    Admit::Now => {
                        entry.running = Some(due);
                        Some(Decision::Start { order: Box::new(entry.order.clone()), planned_at: due })
                    }
                    Admit::Never(reason) => Some(Decision::Skip(skipped(id, due, 1, reason))),
                    Admit::Later(at) => {
                        entry.waiting = Some((due, at.max(now + Duration::from_millis(1))));
                        None
                    }
                }
            };
            if let Some(decision) = decision {
                entry.waiting = None;
                decisions.push(decision);
            }
        }
        for entry in self.entries.values() {
            if matches!(entry.runs, Runs::Once { .. }) && entry.next.is_none() && entry.waiting.is_none() {
                self.once.insert(entry.order.measurement);
            }
        }
        decisions
    }

    /// A run has ended and its report has been pushed.
    pub fn finished(&mut self, id: MeasurementId) {
        if self.orphans.remove(&id).is_none()
            && let Some(entry) = self.entries.get_mut(&id)
        {
            entry.running = None;
        }
    }

    /// The runs that are due at `now` and not started, as skipped; nothing starts any more. Runs that are going on end by
    /// themselves.
    pub fn stop(&mut self, now: UnixNanos) -> Vec<Skipped> {
        let known = self.orders_known_until(now);
        self.stopped.get_or_insert(known.min(now));
        self.entries.values_mut().flat_map(|entry| entry.give_up(now, SkipReason::Stopping)).collect()
    }

    /// Runs that are going on.
    pub fn running(&self) -> usize {
        self.orphans.len() + self.entries.values().filter(|entry| entry.running.is_some()).count()
    }

    /// Every run due before this has been started and finished, or skipped, and no order can come that says otherwise.
    pub fn settled(&self, now: UnixNanos) -> UnixNanos {
        let open = self.entries.values().flat_map(|entry| {
            let waiting = entry.waiting.map(|(due, _)| due);
            // A one-off is ordered again until its result is durable; it needs no gap.
            let next = entry.next.filter(|_| matches!(entry.runs, Runs::Periodic { .. }));
            [waiting, next, entry.running].into_iter().flatten()
        });
        let until = self.stopped.unwrap_or_else(|| self.orders_known_until(now));
        open.chain(self.orphans.values().copied()).fold(until, UnixNanos::min)
    }

    /// When to call [`Scheduler::poll`] next.
    pub fn next_wake(&self) -> Option<UnixNanos> {
        self.entries.values().flat_map(|entry| entry.waiting.map(|(_, at)| at).into_iter().chain(entry.next)).min()
    }
}

impl Entry {
    fn max_late(&self) -> Duration {
        match self.runs {
            Runs::Periodic { interval, .. } => MAX_LATE.min(interval / 2),
            Runs::Once { .. } => MAX_LATE,
        }
    }

    /// What was due up to `now` and has not been started. Nothing comes of it any more.
    fn give_up(&mut self, now: UnixNanos, reason: SkipReason) -> Vec<Skipped> {
        let id = self.order.measurement;
        let waited = self.waiting.take().map(|(due, _)| skipped(id, due, 1, reason));
        // A one-off that nobody has looked at yet is ordered again.
        let next = self.next.take().filter(|_| matches!(self.runs, Runs::Periodic { .. }));
        let unseen = next.and_then(|next| self.runs.between(next, now + Duration::from_nanos(1)));
        waited.into_iter().chain(unseen.map(|(first, count)| skipped(id, first, count, reason))).collect()
    }

    fn collect_due(&mut self, now: UnixNanos, decisions: &mut Vec<Decision>) {
        let id = self.order.measurement;
        match self.runs {
            Runs::Once { expires, .. } => {
                if self.waiting.is_none()
                    && let Some(due) = self.next.filter(|&due| due <= now)
                {
                    self.next = None;
                    self.waiting = Some((due, now));
                }
                if let Some((due, _)) = self.waiting.filter(|_| now >= expires) {
                    self.waiting = None;
                    decisions.push(Decision::Skip(skipped(id, due, 1, SkipReason::Expired)));
                }
            }
            Runs::Periodic { .. } => {
                let too_late = now - self.max_late();
                if let Some((due, _)) = self.waiting.filter(|(due, _)| *due < too_late) {
                    self.waiting = None;
                    decisions.push(Decision::Skip(skipped(id, due, 1, SkipReason::Limit)));
                }
                // The machine slept, or its clock jumped over these.
                if let Some((first, count)) = self.next.and_then(|next| self.runs.between(next, too_late)) {
                    decisions.push(Decision::Skip(skipped(id, first, count, SkipReason::Clock)));
                    self.next = self.runs.first_at_or_after(too_late);
                }
                while let Some(due) = self.next.filter(|&due| due <= now) {
                    self.next = self.runs.next_after(due);
                    if self.running.is_some() || self.waiting.is_some() {
                        decisions.push(Decision::Skip(skipped(id, due, 1, SkipReason::Overlap)));
                    } else {
                        self.waiting = Some((due, now));
                    }
                }
            }
        }
    }
}

fn skipped(measurement: MeasurementId, planned_at: UnixNanos, runs: u64, reason: SkipReason) -> Skipped {
    Skipped { measurement, planned_at, runs: u32::try_from(runs).unwrap_or(u32::MAX), reason }
}

/// The due times that a skipped record accounts for, as a span: from its first to just behind its last.
pub fn span_of(skipped: &Skipped, order: Option<&Order>) -> (UnixNanos, UnixNanos) {
    let interval = order.and_then(Order::interval).unwrap_or(0);
    let length = Duration::from_secs(u64::from(interval) * u64::from(skipped.runs.saturating_sub(1)));
    (skipped.planned_at, skipped.planned_at + length + Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::{Bytes, List};
    use sonde_protocol::net::Family;
    use sonde_protocol::order::When;
    use sonde_protocol::seed::Rng;
    use sonde_protocol::spec::{PingSpec, Spec};

    use super::*;

    const PROBE: ProbeId = ProbeId(1);

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos::from_secs(seconds)
    }

    fn order(id: u64, when: When) -> Order {
        let spec = Spec::Ping(PingSpec::default());
        Order {
            measurement: MeasurementId(id),
            kind: spec.kind().number(),
            spec: Bytes::new(spec.to_cbor()).unwrap(),
            af: Family::V6,
            target: None,
            addresses: List::default(),
            resolve_on_probe: false,
            when,
            ordered_at: at(0),
        }
    }

    fn every(interval: u32) -> When {
        When::Periodic { start: at(0), interval, spread: 0, stop: None }
    }

    fn kinds(decisions: &[Decision]) -> Vec<String> {
        let text = |decision: &Decision| match decision {
            Decision::Start { planned_at, .. } => format!("start {}", planned_at.as_secs()),
            Decision::Skip(s) => format!("skip {}+{} {}", s.planned_at.as_secs(), s.runs, s.reason.name()),
        };
        decisions.iter().map(text).collect()
    }

    #[test]
    fn runs_start_when_due_and_never_overlap() {
        let mut s = Scheduler::new(PROBE, at(0));
        assert_eq!(s.add(order(1, every(60)), true, at(0)), None);
        assert_eq!(kinds(&s.poll(at(0), |_| Admit::Now)), ["start 0"]);
        assert_eq!(s.next_wake(), Some(at(60)));
        assert_eq!(kinds(&s.poll(at(61), |_| Admit::Now)), ["skip 60+1 overlap"]);
        s.finished(MeasurementId(1));
        assert_eq!(kinds(&s.poll(at(120), |_| Admit::Now)), ["start 120"]);
    }

    #[test]
    fn what_was_due_before_the_order_came_is_said() {
        let mut s = Scheduler::new(PROBE, at(100));
        let late = s.add(order(1, every(60)), true, at(200)).unwrap();
        assert_eq!((late.planned_at, late.runs, late.reason), (at(120), 2, SkipReason::LateOrder));
    }

    #[test]
    fn a_jump_of_the_clock_skips_and_says_so() {
        let mut s = Scheduler::new(PROBE, at(0));
        s.add(order(1, every(60)), true, at(1));
        assert_eq!(kinds(&s.poll(at(310), |_| Admit::Now)), ["skip 60+4 clock", "start 300"]);
        // Backwards: nothing that was handed on comes again.
        s.finished(MeasurementId(1));
        assert!(s.poll(at(100), |_| Admit::Now).is_empty());
    }

    #[test]
    fn a_run_that_may_not_start_waits_a_while() {
        let mut s = Scheduler::new(PROBE, at(0));
        s.add(order(1, every(60)), true, at(0));
        assert!(s.poll(at(0), |_| Admit::Later(at(10))).is_empty());
        assert_eq!(s.next_wake(), Some(at(10)));
        assert_eq!(kinds(&s.poll(at(31), |_| Admit::Now)), ["skip 0+1 limit"]);
    }

    #[test]
    fn a_oneoff_runs_once_a_boot_and_expires() {
        let once = |expires| When::Once { start: None, expires: at(expires) };
        let mut s = Scheduler::new(PROBE, at(0));
        s.add(order(1, once(900)), true, at(50));
        assert_eq!(kinds(&s.poll(at(50), |_| Admit::Now)), ["start 0"]);
        s.finished(MeasurementId(1));
        s.remove(MeasurementId(1), at(55));
        assert_eq!(s.add(order(1, once(900)), true, at(60)), None);
        assert!(s.poll(at(60), |_| Admit::Now).is_empty());
        let expired = s.add(order(2, once(10)), true, at(60)).unwrap();
        assert_eq!(expired.reason, SkipReason::Expired);
        s.add(order(3, once(900)), true, at(60));
        assert!(s.poll(at(60), |_| Admit::Later(at(70))).is_empty());
        assert_eq!(kinds(&s.poll(at(900), |_| Admit::Now)), ["skip 0+1 expired"]);
    }

    #[test]
    fn settled_waits_for_what_runs_and_for_orders_on_their_way() {
        let mut s = Scheduler::new(PROBE, at(0));
        assert_eq!(s.settled(at(100)), at(0), "not connected: orders may have been made");
        s.connected(at(100));
        assert_eq!(s.settled(at(200)), at(195));
        s.add(order(1, every(60)), true, at(200));
        s.poll(at(240), |_| Admit::Now);
        assert_eq!(s.settled(at(250)), at(240));
        s.finished(MeasurementId(1));
        assert_eq!(s.settled(at(250)), at(245));
        s.disconnected(at(250));
        assert_eq!(s.settled(at(299)), at(245));
    }

    #[test]
    fn what_was_due_when_the_order_goes_or_the_probe_stops_is_said() {
        let mut s = Scheduler::new(PROBE, at(0));
        s.connected(at(0));
        for id in 1..=3 {
            s.add(order(id, every(60)), true, at(30));
        }
        // Nobody has polled since 60 and 120.
        let (_, skipped) = s.remove(MeasurementId(1), at(120)).unwrap();
        assert_eq!((skipped[0].planned_at, skipped[0].runs), (at(60), 2));
        let stopped = s.stop(at(125));
        assert_eq!(stopped.iter().map(|s| (s.planned_at, s.runs)).collect::<Vec<_>>(), [(at(60), 2), (at(60), 2)]);
        // What is due while the last reports are sent is not this boot's, nor are orders that come only then.
        assert_eq!(s.settled(at(190)), at(120));
        assert_eq!(s.add(order(4, every(60)), true, at(190)), None);
        assert_eq!(s.settled(at(250)), at(120));
    }

    /// Whatever happens, every due time is started or skipped exactly once.
    #[test]
    fn every_due_time_leaves_exactly_once() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut s = Scheduler::new(PROBE, at(0));
            let interval = 5 + rng.below(90) as u32;
            let runs = Runs::of(&order(1, every(interval)), PROBE);
            let mut seen: Vec<i64> = Vec::new();
            let mut note = |decisions: Vec<Decision>| {
                for decision in decisions {
                    match decision {
                        Decision::Start { planned_at, .. } => seen.push(planned_at.as_secs()),
                        Decision::Skip(skip) => {
                            seen.extend(
                                (0..i64::from(skip.runs)).map(|n| skip.planned_at.as_secs() + n * i64::from(interval)),
                            );
                        }
                    }
                }
            };
            let first = rng.below(200) as i64;
            note(s.add(order(1, every(interval)), true, at(first)).map(Decision::Skip).into_iter().collect());
            let mut now = first;
            for _ in 0..60 {
                let most = if rng.one_in(10) { 500 } else { 20 };
                now += rng.below(most) as i64;
                let later = now + rng.below(100) as i64;
                let answer = match rng.below(4) {
                    0 => Admit::Later(at(later)),
                    1 => Admit::Never(SkipReason::Limit),
                    _ => Admit::Now,
                };
                note(s.poll(at(now), |_| answer));
                if rng.one_in(2) {
                    s.finished(MeasurementId(1));
                }
            }
            let left = s.remove(MeasurementId(1), at(now)).map(|(_, skipped)| skipped).unwrap_or_default();
            note(left.into_iter().map(Decision::Skip).collect());
            seen.sort_unstable();
            let mut due = Vec::new();
            let mut next = runs.first_at_or_after(at(0));
            while let Some(time) = next.filter(|&time| time <= at(now)) {
                due.push(time.as_secs());
                next = runs.next_after(time);
            }
            assert_eq!(seen, due, "seed {seed}");
        }
    }
}
