//! What is due, what runs, and what is reported of it.

use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::order::Order;
use sonde_protocol::result::{MeasurementResult, Outcome, Report, SkipReason, Skipped};
use sonde_protocol::spec::{Kind, Spec};
use sonde_protocol::spool::NewReport;
use sonde_protocol::time::{Nanos, UnixNanos};
use tokio::task;
use tracing::{debug, warn};

use super::Agent;
use crate::policy::cost::{at_most, spent};
use crate::policy::quiet::LOOK_EVERY;
use crate::policy::{Admit as CapsAdmit, Caps, refused};
use crate::run::{Occasion, Request};
use crate::scheduler::{Admit, Decision, span_of};

/// A run under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    measurement: MeasurementId,
    planned_at: UnixNanos,
    /// The bytes that count from its start on. The order may be another, or gone, when it ends.
    pub(super) planned_bytes: u64,
    /// The day that they count for.
    pub(super) day: i64,
    /// Nothing was due: when nothing comes of it, nothing is skipped.
    is_extra: bool,
}

impl Agent {
    /// Starts what is due. True when anything was done.
    pub(super) fn schedule(&mut self, now: Nanos) -> bool {
        if self.closing || !self.policy_is_whole {
            return false;
        }
        let wall = self.time_of_day();
        self.watch_line(now, wall);
        let settled = self.settled();
        let busy_line = self.line.busy(now).is_some();
        let Some(scheduler) = &mut self.scheduler else { return false };
        // The day of the host's byte budget is by the machine's clock: no collector has a say in it.
        let realtime = self.runner.clock.realtime();
        let (caps, last) = (&mut self.caps, &self.last_targets);
        let (limits, pause) = (&self.config.limits, self.kept_pause.get());
        let host_now = self.local_time.at(u64::try_from(realtime.as_secs()).unwrap_or(0));
        let decisions = scheduler.poll(wall, |order| {
            let refused = Kind::from_number(order.kind).and_then(|kind| refused(limits, pause, kind, host_now));
            match refused {
                Some(reason) => Admit::Never(reason),
                None if busy_line && order.interval().is_some() => {
                    Admit::Wait(wall + LOOK_EVERY, SkipReason::QuietLine)
                }
                None => admit(caps, last, order, now, (wall, realtime)),
            }
        });
        // On disk before the first packet, so that a crash forgets nothing.
        self.usage.cover(self.caps.day_use(), self.config.limits.bytes_per_day);
        let busy = !decisions.is_empty();
        for decision in decisions {
            match decision {
                Decision::Start { order, planned_at } => self.start(&order, planned_at),
                Decision::Skip(skipped) => {
                    if skipped.reason == SkipReason::Limit {
                        self.limited(now);
                    }
                    let order = self.session.orders().get(skipped.measurement).cloned();
                    self.skip(Some(skipped), order.as_ref(), settled);
                }
            }
        }
        busy
    }

    pub(super) fn start(&mut self, order: &Order, planned_at: UnixNanos) {
        let Ok(spec) = order.spec() else {
            // The scheduler was told that it is not supported.
            return;
        };
        let occasion = self.occasion(order);
        self.start_run(order, spec, planned_at, occasion, false);
    }

    /// Starts a run of an order with this definition, which is the order's or, of one that was not due, another.
    pub(super) fn start_run(
        &mut self,
        order: &Order,
        spec: Spec,
        planned_at: UnixNanos,
        occasion: Occasion,
        is_extra: bool,
    ) {
        let planned_bytes = at_most(&spec, spec.packets_at_most());
        let request = Request {
            measurement: order.measurement,
            spec,
            af: order.af,
            target: order.target.clone(),
            addresses: if order.resolve_on_probe {
                Vec::new()
            } else {
                order.addresses.iter().map(|ip| ip.0).collect()
            },
            planned_at,
            interval: order.interval(),
            occasion,
        };
        debug!(measurement_id = %order.measurement, "run starts");
        let (runner, probe) = (self.runner.clone(), self.probe);
        let handle = self.runs.spawn(async move { runner.run(probe, &request).await });
        let day = self.caps.day_use().day;
        let started = Started { measurement: order.measurement, planned_at, planned_bytes, day, is_extra };
        self.started_runs.insert(handle.id(), started);
    }

    /// A run that panicked is a bug; it must not take the probe, or the measurement's later runs, with it.
    pub(super) fn run_died(&mut self, id: task::Id) {
        let Some(started) = self.started_runs.remove(&id) else { return };
        warn!(measurement_id = %started.measurement, "a run died");
        self.give_up(started, SkipReason::Other);
    }

    fn give_up(&mut self, started: Started, reason: SkipReason) {
        let Started { measurement, planned_at, is_extra, .. } = started;
        self.caps.release();
        let settled = self.settled();
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.finished(measurement);
        }
        let skipped = Skipped { measurement, planned_at, runs: 1, reason };
        self.skip(Some(skipped).filter(|_| !is_extra), None, settled);
    }

    pub(super) fn run_ended(&mut self, result: MeasurementResult, planned: u64, day: i64) {
        let id = result.measurement;
        self.caps.release();
        let cost = spent(&result);
        // An answer that is larger than what its definition lets expect counts as what it was.
        self.caps.charge(cost.bytes.saturating_sub(planned));
        // The greatest cost of this kind is many times what a run costs, and how often it runs is not the host's choice.
        if matches!(result.outcome, Outcome::Ipv6(_)) {
            self.caps.give_back(planned.saturating_sub(cost.bytes), day);
        }
        self.record.run_ended(&result, cost, self.host_second());
        self.line.spent(planned.max(cost.bytes));
        if let (Some(dst), true) = (result.dst_addr, self.session.orders().get(id).is_some_and(|o| o.resolve_on_probe))
        {
            self.last_targets.insert(id, dst.0);
            if let Some(scheduler) = &mut self.scheduler {
                scheduler.resolved(id, dst.0);
            }
        }
        let (planned_at, urgent) = (result.planned_at, result.interval.is_none());
        // What is settled counts this run as done only from its own report on.
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.finished(id);
        }
        let settled = self.settled();
        self.push(&Report::Result(result), (planned_at, planned_at + Duration::from_nanos(1)), settled, urgent);
        self.look_ended(self.now());
    }

    /// What the scheduler has settled. Taken before decisions are asked for, because the reports of all of them are pushed
    /// one after the other, and each may claim only what is pushed before it.
    pub(super) fn settled(&self) -> UnixNanos {
        // Only as far as the collector was heard: a line may be dead for long before that is noticed.
        self.scheduler.as_ref().map_or(UnixNanos(i64::MIN), |scheduler| scheduler.settled(self.heard_at))
    }

    pub(super) fn skip(&mut self, skipped: Option<Skipped>, order: Option<&Order>, settled: UnixNanos) {
        let Some(skipped) = skipped else { return };
        debug!(measurement_id = %skipped.measurement, runs = skipped.runs, reason = skipped.reason.name(), "skipped");
        let span = span_of(&skipped, order);
        let urgent = order.is_some_and(|order| order.interval().is_none());
        self.push(&Report::Skipped(skipped), span, settled, urgent);
    }

    pub(super) fn push(
        &mut self,
        report: &Report,
        (from, to): (UnixNanos, UnixNanos),
        settled: UnixNanos,
        urgent: bool,
    ) {
        let bytes = report.to_cbor();
        if let Some(log) = &mut self.report_log {
            let seq = self.session.spool().last().0 + 1;
            let hash = HEXLOWER.encode(digest(&SHA256, &bytes).as_ref());
            // One write, so that a line is there whole or not at all.
            let line = format!("{:016x} {seq} {hash}\n", self.session.spool().boot().0);
            if let Err(error) = log.write_all(line.as_bytes()) {
                warn!(%error, "the report log cannot be written");
            }
        }
        self.session.push_report(NewReport { bytes, from, to, settled, urgent }, self.now());
    }

    /// Ends the runs under way: they become skipped ones.
    pub(super) fn abandon_runs(&mut self, reason: SkipReason) {
        self.runs.abort_all();
        for started in std::mem::take(&mut self.started_runs).into_values() {
            self.give_up(started, reason);
        }
    }
}

fn admit(
    caps: &mut Caps,
    last: &HashMap<MeasurementId, IpAddr>,
    order: &Order,
    now: Nanos,
    (wall, realtime): (UnixNanos, UnixNanos),
) -> Admit {
    let Ok(spec) = order.spec() else { return Admit::Never(SkipReason::Unsupported) };
    // A name that is resolved before each run most likely leads where it led last time.
    let target = order.addresses.first().map(|ip| ip.0).filter(|_| !order.resolve_on_probe);
    let addresses: Vec<IpAddr> = target.or_else(|| last.get(&order.measurement).copied()).into_iter().collect();
    admit_spec(caps, &spec, &addresses, now, (wall, realtime))
}

/// What the host's limits say to a run towards these addresses.
pub(super) fn admit_spec(
    caps: &mut Caps,
    spec: &Spec,
    addresses: &[IpAddr],
    now: Nanos,
    (wall, realtime): (UnixNanos, UnixNanos),
) -> Admit {
    match caps.admit(now, realtime, spec, addresses) {
        CapsAdmit::Now => Admit::Now,
        CapsAdmit::Later(at) => Admit::Later(wall + at.since(now)),
        CapsAdmit::Never(reason) => Admit::Never(reason),
    }
}
