//! Which runs are due, which may start, and what is said of those that do not take place. Pure: time is an argument.
//!
//! Every due time of every order leaves this machine exactly once: as a [`Decision::Start`] or inside a
//! [`Decision::Skip`]. It knows nothing of how a run is carried out; caps and policy are asked through a function.
//!
//! Runs that would disturb each other ([`interference`]) are not under way together. A run waits for those that disturb it to
//! end, and for [`PATIENCE`] nothing periodic that would disturb it begins meanwhile, so that it gets its turn however many
//! small runs follow each other. A one-off waits for runs under way only.

pub mod interference;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::order::Order;
use sonde_protocol::result::{SkipReason, Skipped};
use sonde_protocol::schedule::Runs;
use sonde_protocol::spec::Spec;
use sonde_protocol::time::UnixNanos;

use self::interference::Footprint;

/// For how long a run that waits for others to end keeps new ones from beginning. Most runs are over by then; one that takes
/// minutes must not hold up all the others' schedules.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How late a periodic run may start at most; half its interval when that is less.
pub const MAX_LATE: Duration = Duration::from_secs(60);

/// How long an order may be on its way to a connected probe. What was due so recently is not claimed to be settled,
/// because an order that asks for it may still arrive.
pub const ORDER_DELAY: Duration = Duration::from_secs(5);

/// The most one-offs that are remembered as done. A collector orders one again until its result is durable, which takes
/// seconds; beyond so many later ones that is long over, and the one with the lowest number, the oldest, is forgotten.
const MAX_ONCE: usize = 16_384;

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
    /// Not before this time: ask again then. When it has waited too long it was for a limit.
    Later(UnixNanos),
    /// The same, and when it has waited too long it was for this.
    Wait(UnixNanos, SkipReason),
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
    /// A due time that waits.
    waiting: Option<Waiting>,
    /// The due time of the run that is going on.
    running: Option<UnixNanos>,
    /// `None` when nothing of it can run. While a run outside the schedule goes on, that one's.
    footprint: Option<Footprint>,
    /// The footprint of due runs, while another's is in force.
    usual: Option<Footprint>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    due: UnixNanos,
    ask_at: UnixNanos,
    /// For a run that it would disturb; else for admission.
    disturbed: bool,
    /// What becomes of it when it waits too long.
    reason: SkipReason,
}

/// Entries by what may become of them.
#[derive(Debug, Default)]
struct Index {
    /// By when to look at them.
    wakes: BTreeSet<(UnixNanos, MeasurementId)>,
    /// By the first due time of which nobody can say yet what became of it.
    open: BTreeSet<(UnixNanos, MeasurementId)>,
    /// Those that wait for a run that they would disturb.
    disturbed: BTreeSet<MeasurementId>,
    /// Those with a run under way.
    under_way: BTreeSet<MeasurementId>,
}

/// What the index says of an entry.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    wake: Option<UnixNanos>,
    open: Option<UnixNanos>,
    disturbed: bool,
    under_way: bool,
}

impl Index {
    fn change(&mut self, id: MeasurementId, from: Marks, to: Marks) {
        for (set, from, to) in [(&mut self.wakes, from.wake, to.wake), (&mut self.open, from.open, to.open)] {
            if from != to {
                from.map(|at| set.remove(&(at, id)));
                to.map(|at| set.insert((at, id)));
            }
        }
        for (set, to) in [(&mut self.disturbed, to.disturbed), (&mut self.under_way, to.under_way)] {
            if to {
                set.insert(id);
            } else {
                set.remove(&id);
            }
        }
    }
}

/// A run of an order that is gone.
#[derive(Debug)]
struct Orphan {
    due: UnixNanos,
    footprint: Option<Footprint>,
}

/// The machine.
#[derive(Debug)]
pub struct Scheduler {
    probe: ProbeId,
    boot_started_at: UnixNanos,
    entries: BTreeMap<MeasurementId, Entry>,
    /// Where to look among the entries, which may be thousands.
    index: Index,
    /// One-offs that this boot has started or given up: each runs once a boot, however often it is ordered.
    once: BTreeSet<MeasurementId>,
    /// Runs of orders that are gone but still going on.
    orphans: BTreeMap<MeasurementId, Orphan>,
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
            index: Index::default(),
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

    /// A one-off is done with.
    fn remember(&mut self, id: MeasurementId) {
        self.once.insert(id);
        if self.once.len() > MAX_ONCE {
            self.once.pop_first();
        }
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
                self.remember(id);
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
        let running = self.orphans.remove(&id).map(|orphan| orphan.due);
        let footprint = Footprint::of(&order);
        let entry = Entry { order, runs, supported, next, waiting: None, running, footprint, usual: None };
        let marks = entry.marks();
        let before = self.entries.insert(id, entry).map(|before| before.marks()).unwrap_or_default();
        self.index.change(id, before, marks);
        late
    }

    /// An order is gone. Gives it back with the runs that were due and not started. A run that is going on goes on.
    pub fn remove(&mut self, id: MeasurementId, now: UnixNanos) -> Option<(Order, Vec<Skipped>)> {
        let mut entry = self.entries.remove(&id)?;
        self.index.change(id, entry.marks(), Marks::default());
        if let Some(due) = entry.running {
            self.orphans.insert(id, Orphan { due, footprint: entry.footprint.clone() });
        }
        let skipped = entry.give_up(now, SkipReason::Limit);
        Some((entry.order, skipped))
    }

    /// What to do at `now`. `admit` is asked for each run that could start, in the order of their due times.
    pub fn poll(&mut self, now: UnixNanos, mut admit: impl FnMut(&Order) -> Admit) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let due: Vec<MeasurementId> =
            self.index.wakes.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        for id in &due {
            self.change(*id, |entry| entry.collect_due(now, &mut decisions));
        }
        let looked_at: BTreeSet<MeasurementId> = due.into_iter().chain(self.index.disturbed.iter().copied()).collect();
        let waiting = |id: &MeasurementId| self.entries.get(id)?.waiting.map(|waiting| (waiting.due, *id));
        let mut waiting: Vec<(UnixNanos, MeasurementId)> = looked_at.iter().filter_map(waiting).collect();
        waiting.sort_unstable();
        // Those that have waited longer for others to end, and not yet too long.
        let mut first: Vec<(UnixNanos, MeasurementId)> = Vec::new();
        for (due, id) in waiting {
            let Some(entry) = self.entries.get(&id) else { continue };
            let asks = entry.waiting.is_some_and(|waiting| waiting.ask_at <= now);
            let footprint = entry.footprint.as_ref().filter(|_| asks && entry.supported);
            let free_at = footprint.and_then(|footprint| self.disturbed_until(footprint, &entry.runs, &first));
            let still = !asks && entry.waiting.is_some_and(|waiting| waiting.disturbed);
            if (still || free_at.is_some()) && now < due + PATIENCE {
                first.push((due, id));
            }
            if let Some(free_at) = free_at {
                self.change(id, |entry| {
                    let ask_at = free_at.min(entry.given_up_at(due));
                    entry.waiting = Some(Waiting { due, ask_at, disturbed: true, reason: SkipReason::Overlap });
                });
            } else if asks {
                decisions.extend(self.change(id, |entry| entry.decide(due, now, &mut admit)).flatten());
            }
        }
        for id in looked_at {
            if self.entries.get(&id).is_some_and(Entry::is_over) {
                self.remember(id);
            }
        }
        decisions
    }

    /// Changes an entry, and the index with it.
    fn change<R>(&mut self, id: MeasurementId, change: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let entry = self.entries.get_mut(&id)?;
        let before = entry.marks();
        let result = change(entry);
        self.index.change(id, before, entry.marks());
        Some(result)
    }

    /// Until when at most a run of this entry must wait because it would disturb one under way (for ever: until that has
    /// ended), or one of `first`, which have waited longer.
    fn disturbed_until(
        &self,
        footprint: &Footprint,
        runs: &Runs,
        first: &[(UnixNanos, MeasurementId)],
    ) -> Option<UnixNanos> {
        let disturbs = |other: &Option<Footprint>| other.as_ref().is_some_and(|other| footprint.disturbs(other));
        let footprint_of = |id| self.entries.get(id).map(|other| &other.footprint);
        if self.index.under_way.iter().filter_map(footprint_of).any(disturbs)
            || self.orphans.values().map(|orphan| &orphan.footprint).any(disturbs)
        {
            return Some(UnixNanos(i64::MAX));
        }
        // Somebody waits for a one-off.
        let first = if matches!(runs, Runs::Once { .. }) { &[] } else { first };
        let ahead = first.iter().filter(|(_, id)| self.entries.get(id).is_some_and(|other| disturbs(&other.footprint)));
        ahead.map(|(due, _)| *due + PATIENCE).max()
    }

    /// A run has ended and its report has been pushed. Call [`Scheduler::poll`]: others may have waited for it.
    pub fn finished(&mut self, id: MeasurementId) {
        if self.orphans.remove(&id).is_none() {
            self.change(id, |entry| {
                entry.running = None;
                if let Some(usual) = entry.usual.take() {
                    entry.footprint = Some(usual);
                }
            });
        }
        for id in self.index.disturbed.clone() {
            self.change(id, |entry| {
                if let Some(waiting) = &mut entry.waiting {
                    waiting.ask_at = UnixNanos(i64::MIN);
                }
            });
        }
    }

    /// A run of a periodic order beside its due times, by the probe's own decision, with `spec` instead of the order's
    /// definition. It may begin when none of the order is under way or waits, and it would disturb nobody, nor take the turn of
    /// somebody who waits. Gives the order if it has begun: [`Scheduler::finished`] must follow. If not, nothing is skipped,
    /// because nothing was due. What becomes due while it goes on is skipped, as under any other run of the order.
    pub fn begin_extra(
        &mut self,
        id: MeasurementId,
        spec: &Spec,
        now: UnixNanos,
        admit: impl FnOnce(&Order) -> Admit,
    ) -> Option<Order> {
        let entry = self.entries.get(&id).filter(|_| self.stopped.is_none())?;
        let is_free = entry.running.is_none() && entry.waiting.is_none() && !self.orphans.contains_key(&id);
        if !entry.supported || !is_free || matches!(entry.runs, Runs::Once { .. }) {
            return None;
        }
        let footprint = Footprint::with(spec, &entry.order);
        let patient: Vec<(UnixNanos, MeasurementId)> = self.index.disturbed.iter().map(|other| (now, *other)).collect();
        if self.disturbed_until(&footprint, &entry.runs, &patient).is_some() || admit(&entry.order) != Admit::Now {
            return None;
        }
        self.change(id, |entry| {
            entry.running = Some(now);
            entry.usual = entry.footprint.replace(footprint);
            entry.order.clone()
        })
    }

    /// The target of a measurement, which the probe resolves, has led to this address.
    pub fn resolved(&mut self, id: MeasurementId, address: IpAddr) {
        if let Some(footprint) = self.entries.get_mut(&id).and_then(|entry| entry.footprint.as_mut()) {
            footprint.resolved(address);
        }
    }

    /// The runs that are due at `now` and not started, as skipped; nothing starts any more. Runs that are going on end by
    /// themselves.
    pub fn stop(&mut self, now: UnixNanos) -> Vec<Skipped> {
        let known = self.orders_known_until(now);
        self.stopped.get_or_insert(known.min(now));
        let ids: Vec<MeasurementId> = self.entries.keys().copied().collect();
        ids.into_iter()
            .filter_map(|id| self.change(id, |entry| entry.give_up(now, SkipReason::Stopping)))
            .flatten()
            .collect()
    }

    /// Runs that are going on.
    pub fn running(&self) -> usize {
        self.orphans.len() + self.index.under_way.len()
    }

    /// Every run due before this has been started and finished, or skipped, and no order can come that says otherwise.
    pub fn settled(&self, now: UnixNanos) -> UnixNanos {
        let open = self.index.open.first().map(|(due, _)| *due);
        let until = self.stopped.unwrap_or_else(|| self.orders_known_until(now));
        open.into_iter().chain(self.orphans.values().map(|orphan| orphan.due)).fold(until, UnixNanos::min)
    }

    /// When to call [`Scheduler::poll`] next.
    pub fn next_wake(&self) -> Option<UnixNanos> {
        self.index.wakes.first().map(|(at, _)| *at)
    }
}

impl Entry {
    fn marks(&self) -> Marks {
        // A one-off is ordered again until its result is durable; it needs no gap.
        let next = self.next.filter(|_| matches!(self.runs, Runs::Periodic { .. }));
        Marks {
            wake: self.waiting.map(|waiting| waiting.ask_at).into_iter().chain(self.next).min(),
            open: [self.waiting.map(|waiting| waiting.due), next, self.running].into_iter().flatten().min(),
            disturbed: self.waiting.is_some_and(|waiting| waiting.disturbed),
            under_way: self.running.is_some(),
        }
    }

    /// A one-off of which nothing will come any more but the end of its run.
    fn is_over(&self) -> bool {
        matches!(self.runs, Runs::Once { .. }) && self.next.is_none() && self.waiting.is_none()
    }

    /// What becomes of a run that was due at `due` and disturbs nobody; `None` when it has to wait for admission.
    fn decide(&mut self, due: UnixNanos, now: UnixNanos, admit: &mut impl FnMut(&Order) -> Admit) -> Option<Decision> {
        let id = self.order.measurement;
        let decision = if self.supported {
            let admitted = match admit(&self.order) {
                Admit::Later(at) => Admit::Wait(at, SkipReason::Limit),
                other => other,
            };
            match admitted {
                Admit::Now => {
                    self.running = Some(due);
                    Decision::Start { order: Box::new(self.order.clone()), planned_at: due }
                }
                Admit::Never(reason) => Decision::Skip(skipped(id, due, 1, reason)),
                Admit::Later(at) | Admit::Wait(at, _) => {
                    let reason = if let Admit::Wait(_, reason) = admitted { reason } else { SkipReason::Limit };
                    let ask_at = at.max(now + Duration::from_millis(1)).min(self.given_up_at(due));
                    self.waiting = Some(Waiting { due, ask_at, disturbed: false, reason });
                    return None;
                }
            }
        } else {
            Decision::Skip(skipped(id, due, 1, SkipReason::Unsupported))
        };
        self.waiting = None;
        Some(decision)
    }

    fn max_late(&self) -> Duration {
        match self.runs {
            Runs::Periodic { interval, .. } => MAX_LATE.min(interval / 2),
            Runs::Once { .. } => MAX_LATE,
        }
    }

    /// When a run that was due at `due` and still waits becomes a skipped one.
    fn given_up_at(&self, due: UnixNanos) -> UnixNanos {
        match self.runs {
            Runs::Once { expires, .. } => expires,
            Runs::Periodic { .. } => due + self.max_late() + Duration::from_nanos(1),
        }
    }

    /// What was due up to `now` and has not been started. Nothing comes of it any more.
    fn give_up(&mut self, now: UnixNanos, reason: SkipReason) -> Vec<Skipped> {
        let id = self.order.measurement;
        let waited = self.waiting.take().map(|waiting| skipped(id, waiting.due, 1, reason));
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
                    self.waiting = Some(Waiting { due, ask_at: now, disturbed: false, reason: SkipReason::Limit });
                }
                if let Some(Waiting { due, .. }) = self.waiting.filter(|_| now >= expires) {
                    self.waiting = None;
                    decisions.push(Decision::Skip(skipped(id, due, 1, SkipReason::Expired)));
                }
            }
            Runs::Periodic { .. } => {
                let too_late = now - self.max_late();
                if let Some(Waiting { due, reason, .. }) = self.waiting.filter(|waiting| waiting.due < too_late) {
                    self.waiting = None;
                    decisions.push(Decision::Skip(skipped(id, due, 1, reason)));
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
                        self.waiting = Some(Waiting { due, ask_at: now, disturbed: false, reason: SkipReason::Limit });
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
    use sonde_protocol::spec::{DnsSpec, Ipv6Scope, Ipv6Spec, NtpSpec, PathMtuSpec, PingSpec, Target, TracerouteSpec};

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
    fn a_run_that_waited_for_the_line_says_so() {
        let mut s = Scheduler::new(PROBE, at(0));
        s.add(order(1, every(60)), true, at(0));
        assert!(s.poll(at(0), |_| Admit::Wait(at(2), SkipReason::QuietLine)).is_empty());
        assert_eq!(kinds(&s.poll(at(2), |_| Admit::Now)), ["start 0"]);
        s.finished(MeasurementId(1));
        assert!(s.poll(at(60), |_| Admit::Wait(at(99), SkipReason::QuietLine)).is_empty());
        assert_eq!(kinds(&s.poll(at(91), |_| Admit::Now)), ["skip 60+1 quiet line"]);
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
    fn what_is_remembered_of_one_offs_is_bounded() {
        let mut s = Scheduler::new(PROBE, at(0));
        let many = MAX_ONCE as u64 + 100;
        for id in 1..=many {
            assert!(s.add(order(id, When::Once { start: None, expires: at(10) }), true, at(60)).is_some());
        }
        assert_eq!(s.once.len(), MAX_ONCE);
        assert_eq!(s.add(order(many, When::Once { start: None, expires: at(90) }), true, at(60)), None);
        assert!(s.poll(at(60), |_| Admit::Now).is_empty(), "the last ones are known");
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
                // What runs beside the schedule takes no due time away.
                if rng.one_in(4) {
                    let _ = s.begin_extra(MeasurementId(1), &Spec::Ping(PingSpec::default()), at(now), |_| answer);
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

    #[test]
    fn an_extra_run_begins_where_there_is_room_and_is_a_run_like_others() {
        let id = MeasurementId(1);
        let light = Spec::Ipv6(Ipv6Spec::default());
        let full = Spec::Ipv6(Ipv6Spec { scope: Ipv6Scope::Full });
        let mut s = Scheduler::new(PROBE, at(0));
        s.connected(at(0));
        s.add(order_of(1, &light, 1, every(900)), true, at(10));
        s.add(order_of(2, &ping(), 2, every(60)), true, at(10));
        assert!(s.begin_extra(id, &full, at(20), |_| Admit::Later(at(30))).is_none(), "the host's limits count");
        assert!(s.begin_extra(id, &full, at(20), |_| Admit::Now).is_some());
        assert_eq!(s.running(), 1);
        assert!(s.begin_extra(id, &full, at(21), |_| Admit::Now).is_none(), "one at a time");
        // A full run is bulk: others wait for it, and it is settled only up to its start.
        assert!(s.poll(at(60), |_| Admit::Now).is_empty());
        assert_eq!(s.settled(at(60)), at(20));
        s.finished(id);
        assert_eq!(kinds(&s.poll(at(65), |_| Admit::Now)), ["start 60"]);
        assert!(s.begin_extra(id, &full, at(66), |_| Admit::Now).is_none(), "a ping is under way");
        assert!(s.begin_extra(id, &light, at(66), |_| Admit::Now).is_some(), "a light one disturbs no ping");
        s.finished(id);
        s.finished(MeasurementId(2));
        assert_eq!(kinds(&s.poll(at(900), |_| Admit::Now)).last().map(String::as_str), Some("start 900"));
        assert!(s.begin_extra(MeasurementId(7), &light, at(901), |_| Admit::Now).is_none(), "there is no such order");
        s.stop(at(902));
        assert!(s.begin_extra(id, &light, at(903), |_| Admit::Now).is_none());
    }

    fn ping() -> Spec {
        Spec::Ping(PingSpec::default())
    }

    fn order_of(id: u64, spec: &Spec, target: u64, when: When) -> Order {
        let target = Target::cut(format!("t{target}.example"));
        let (kind, spec) = (spec.kind().number(), Bytes::new(spec.to_cbor()).unwrap());
        Order { kind, spec, target: Some(target), ..order(id, when) }
    }

    fn trace() -> Spec {
        Spec::Traceroute(TracerouteSpec::default())
    }

    fn bulk() -> Spec {
        Spec::PathMtu(PathMtuSpec::default())
    }

    #[test]
    fn a_run_waits_for_one_that_it_would_disturb() {
        let mut s = Scheduler::new(PROBE, at(0));
        for (id, target) in [(1, 1), (2, 1), (3, 2)] {
            s.add(order_of(id, &trace(), target, every(60)), true, at(0));
        }
        let started = |decisions: Vec<Decision>| -> Vec<u64> {
            let id = |decision| match decision {
                Decision::Start { order, .. } => order.measurement.0,
                Decision::Skip(skip) => panic!("{skip:?}"),
            };
            decisions.into_iter().map(id).collect()
        };
        assert_eq!(started(s.poll(at(0), |_| Admit::Now)), [1, 3], "the second one goes to where the first one goes");
        assert!(s.poll(at(5), |_| Admit::Now).is_empty());
        s.finished(MeasurementId(1));
        assert!(s.next_wake() < Some(at(5)), "at once");
        assert_eq!(started(s.poll(at(5), |_| Admit::Now)), [2]);
    }

    #[test]
    fn a_run_that_waited_too_long_for_another_says_so() {
        let mut s = Scheduler::new(PROBE, at(0));
        s.add(order_of(1, &trace(), 1, every(600)), true, at(0));
        s.add(order_of(2, &trace(), 1, every(600)), true, at(0));
        s.poll(at(0), |_| Admit::Now);
        assert_eq!(s.next_wake(), Some(at(60) + Duration::from_nanos(1)));
        assert_eq!(kinds(&s.poll(at(61), |_| Admit::Now)), ["skip 0+1 overlap"]);
    }

    #[test]
    fn a_large_run_gets_its_turn_among_small_ones_and_a_one_off_does_not_queue() {
        let mut s = Scheduler::new(PROBE, at(0));
        let ping = Spec::Ping(PingSpec::default());
        let later = |start| When::Periodic { start: at(start), interval: 600, spread: 0, stop: None };
        s.add(order_of(1, &ping, 1, later(0)), true, at(0));
        s.add(order_of(2, &bulk(), 2, later(1)), true, at(0));
        s.add(order_of(3, &ping, 3, later(2)), true, at(0));
        assert_eq!(kinds(&s.poll(at(0), |_| Admit::Now)), ["start 0"]);
        assert!(s.poll(at(2), |_| Admit::Now).is_empty(), "the small one lets the large one go first");
        s.add(order_of(4, &ping, 4, When::Once { start: None, expires: at(900) }), true, at(3));
        assert_eq!(kinds(&s.poll(at(3), |_| Admit::Now)), ["start 0"], "somebody waits for it");
        s.finished(MeasurementId(4));
        // The first one takes long: the patience ends, and the wake-up is set for that.
        assert!(s.poll(at(4), |_| Admit::Now).is_empty());
        assert_eq!(s.next_wake(), Some(at(11)));
        assert_eq!(kinds(&s.poll(at(11), |_| Admit::Now)), ["start 2"]);
        s.finished(MeasurementId(1));
        s.finished(MeasurementId(3));
        assert_eq!(kinds(&s.poll(at(12), |_| Admit::Now)), ["start 1"]);
        assert!(s.poll(at(13), |_| Admit::Now).is_empty());
    }

    /// Runs under way in a made-up probe: when they end.
    type UnderWay = BTreeMap<MeasurementId, (Order, UnixNanos)>;

    /// Whatever is ordered, and however long runs take: none disturbs another, every due time leaves exactly once, and no
    /// one-off is given up.
    #[test]
    fn no_run_disturbs_another_and_none_starves() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut s = Scheduler::new(PROBE, at(0));
            let mut orders = Vec::new();
            for id in 1..=4 + rng.below(20) {
                let spec = match rng.below(6) {
                    0 => bulk(),
                    1 | 2 => trace(),
                    3 => Spec::Dns(DnsSpec { use_probe_resolver: true, ..sample_dns() }),
                    4 => Spec::Ntp(NtpSpec::default()),
                    _ => Spec::Ping(PingSpec::default()),
                };
                let start = rng.below(100) as i64;
                let when = if rng.one_in(3) {
                    When::Once { start: Some(at(start)), expires: at(2_000) }
                } else {
                    When::Periodic {
                        start: at(start),
                        interval: 20 + rng.below(100) as u32,
                        spread: 0,
                        stop: Some(at(400)),
                    }
                };
                let order = order_of(id, &spec, rng.below(3), when);
                s.add(order.clone(), true, at(0));
                orders.push(order);
            }
            let mut under_way = UnderWay::new();
            let mut accounted: BTreeMap<MeasurementId, u64> = BTreeMap::new();
            let mut now = at(0);
            while now < at(3_000) {
                for decision in s.poll(now, |_| if rng.one_in(10) { Admit::Later(now + PATIENCE) } else { Admit::Now })
                {
                    match decision {
                        Decision::Start { order, .. } => {
                            let new = Footprint::of(&order).expect("it runs");
                            for (other, _) in under_way.values() {
                                let other = Footprint::of(other).expect("it runs");
                                assert!(!new.disturbs(&other), "seed {seed}: {new:?} beside {other:?}");
                            }
                            *accounted.entry(order.measurement).or_default() += 1;
                            let ends = now + Duration::from_millis(1 + rng.below(8_000));
                            under_way.insert(order.measurement, (*order, ends));
                        }
                        Decision::Skip(skip) => {
                            assert_ne!(skip.reason, SkipReason::Expired, "seed {seed}: {skip:?}");
                            *accounted.entry(skip.measurement).or_default() += u64::from(skip.runs);
                        }
                    }
                }
                let ends = under_way.iter().map(|(id, (_, ends))| (*ends, *id)).min();
                let next = s.next_wake().into_iter().chain(ends.map(|(at, _)| at)).min();
                let Some(next) = next else { break };
                now = now.max(next);
                if let Some((_, id)) = ends.filter(|(ends, _)| *ends <= now) {
                    under_way.remove(&id);
                    s.finished(id);
                }
            }
            for order in orders {
                let due = match Runs::of(&order, PROBE) {
                    Runs::Once { .. } => 1,
                    runs => runs.between(at(0), at(3_000)).map_or(0, |(_, count)| count),
                };
                assert_eq!(accounted.get(&order.measurement).copied().unwrap_or(0), due, "seed {seed}: {order:?}");
            }
        }
    }

    fn sample_dns() -> DnsSpec {
        DnsSpec { query_argument: Target::cut("example.net"), ..DnsSpec::default() }
    }
}
