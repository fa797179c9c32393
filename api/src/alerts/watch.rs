//! Watches the rules and tells their owners: one task beside the API.
//!
//! A rule is looked at twice an interval of its measurement, at most every five seconds and at least every five minutes. A
//! change of its state and what is to be told of it are one transaction, and a delivery is over only when its receiver has
//! taken it, so a server that is killed tells its owners all the same, some perhaps twice (by the same `webhook-id`).
//! Deliveries of one rule are made one after the other; a receiver that hangs holds up nobody else's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::result::{MeasurementResult, Report};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{AlertRule, AlertState, Attempt, Delivery, Measurement};
use sonde_store::results::ResultQuery;
use sonde_store::view::Viewer;
use sonde_store::{Catalog, Results, StoreError};
use tokio::task::JoinSet;

use super::condition::{Condition, Seen};
use super::webhook;
use crate::clock::Clock;
use crate::egress::Egress;
use crate::times::iso;

/// How long between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);

/// How long between two looks through the rules.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long between two removals of what is over.
const CLEAN_EVERY: Duration = Duration::from_secs(3600);

/// The soonest and the latest that a rule is looked at again, in seconds.
const AGAIN: (u32, u32) = (5, 300);

/// How many rules are read from the catalog at a time.
const BATCH: u64 = 200;

/// How many receivers are spoken to at once.
const AT_ONCE: usize = 16;

/// How many deliveries that are due are looked at: far more than can be made at once, so that one receiver that hangs does
/// not hide the others.
const DUE: u64 = 2000;

/// The most probes that a message names.
const NAMED: usize = 100;

/// How long deliveries can be looked at after they are over.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// What watching works with.
#[derive(Clone)]
pub struct Watch {
    /// The rules, and what is to be told.
    pub catalog: Arc<dyn Catalog>,
    /// What the probes saw.
    pub results: Arc<dyn Results>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way out.
    pub egress: Arc<Egress>,
}

impl Watch {
    /// Watches until it is dropped.
    pub async fn run(self) {
        let mut rules = Rules::default();
        let mut deliveries = Deliveries::default();
        let (mut looked_at, mut cleaned) = (UnixNanos(0), UnixNanos(0));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Some(done) = deliveries.under_way.join_next() => deliveries.done(done.ok()),
            }
            let now = self.clock.now();
            let looked = async {
                // Also after the wall clock was set back.
                if now.nanos_since(looked_at).unsigned_abs() >= LOOK_EVERY.as_nanos() as u64 {
                    looked_at = now;
                    rules.look(&self, now).await?;
                }
                deliveries.begin(&self, now).await?;
                if now.since(cleaned) > CLEAN_EVERY {
                    cleaned = now;
                    self.catalog.forget_deliveries(now - KEPT).await?;
                }
                Ok::<_, StoreError>(())
            };
            if let Err(error) = looked.await {
                tracing::error!(%error, "the store failed under the alert rules");
            }
        }
    }

    /// Looks at every rule and makes every delivery that is due, once; for tests and whoever has a loop of their own.
    pub async fn once(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        Rules::default().look(self, now).await?;
        let mut deliveries = Deliveries::default();
        deliveries.begin(self, now).await?;
        while deliveries.under_way.join_next().await.is_some() {}
        Ok(())
    }

    /// The state that a rule is in now; `None` when nothing can be said.
    async fn judge(
        &self,
        rule: &AlertRule,
        measurement: &Measurement,
        now: UnixNanos,
    ) -> Result<Option<(bool, Vec<ProbeId>)>, StoreError> {
        let Some(condition) = Condition::parse(&rule.asked.condition, measurement.asked.spec.kind()) else {
            tracing::error!(rule = rule.id, "an alert rule cannot be read");
            return Ok(None);
        };
        let mut present: BTreeMap<ProbeId, (UnixNanos, Vec<MeasurementResult>)> = BTreeMap::new();
        for part in self.catalog.participants(measurement.id).await? {
            if part.left_at.is_none() {
                present.insert(part.probe, (part.since.max(measurement.asked.start), Vec::new()));
            }
        }
        let probes: Vec<ProbeId> = present.keys().copied().collect();
        let expected = Some(probes.len());
        let back = measurement.asked.interval.map(|interval| u64::from(interval) * (u64::from(condition.of) + 2));
        let from = back.map(|back| now - Duration::from_secs(back.max(3600)));
        let query = ResultQuery { measurement: measurement.id, from, to: None, probes: Some(probes) };
        for stored in self.results.latest(&query, condition.of as usize, expected).await? {
            if let (Ok(Report::Result(result)), Some((since, results))) =
                (Report::from_cbor(&stored.report), present.get_mut(&stored.probe))
            {
                *since = (*since).max(result.started_at);
                results.push(result);
            }
        }
        let seen: Vec<Seen> = present
            .into_iter()
            .map(|(probe, (since, results))| Seen { probe, results, age: now.nanos_since(since) as f64 / 1e9 })
            .collect();
        Ok(Some(condition.judge(&seen)))
    }

    /// Looks at one rule. Gives the seconds until it wants to be looked at again.
    async fn look(&self, rule: &AlertRule, now: UnixNanos) -> Result<u32, StoreError> {
        let measurement = self.catalog.measurement(rule.asked.measurement).await?;
        let visible = measurement.filter(|found| Viewer::Account(rule.asked.owner).sees_measurement(found));
        let Some(measurement) = visible else { return Ok(AGAIN.1) };
        let is_over = measurement.status(now).0.is_over();
        let judged = match is_over {
            // What is over is neither good nor bad; an alert about it would never end.
            true => Some((false, Vec::new())),
            false => self.judge(rule, &measurement, now).await?,
        };
        if let Some((alerting, probes)) = judged {
            let changed = alerting != rule.state.alerting;
            let probes = if alerting { probes } else { Vec::new() };
            let since = if changed { Some(now) } else { rule.state.since };
            let state = AlertState { alerting, since, probes };
            let body =
                changed.then(|| message(rule, &state, if alerting { "raised" } else { "cleared" }, is_over, now));
            if state != rule.state && self.catalog.set_alert_state(rule, &state, body.as_deref(), now).await? && changed
            {
                tracing::info!(rule = rule.id, alerting, "an alert rule has changed its state");
            }
        }
        let interval = measurement.asked.interval.unwrap_or(0);
        Ok((interval / 2).clamp(AGAIN.0, AGAIN.1))
    }

    /// Makes one attempt.
    async fn attempt(self, delivery: Delivery) -> Result<(), StoreError> {
        let Some(rule) = self.catalog.alert_rule(delivery.rule).await? else { return Ok(()) };
        let headers = webhook::headers(&rule.asked.secret, &delivery, self.clock.now());
        let answer = self.egress.post(&rule.asked.url, &headers, delivery.body.as_bytes()).await;
        let (attempt, last) = webhook::outcome(answer, delivery.attempts, self.clock.now());
        if !matches!(attempt, Attempt::Arrived(_)) {
            tracing::debug!(rule = rule.id, delivery = delivery.id, last, "a webhook did not arrive");
        }
        self.catalog.attempted(delivery.id, attempt, &last).await
    }
}

/// What is sent: Standard Webhooks' `{"type","timestamp","data"}`.
pub(crate) fn message(rule: &AlertRule, state: &AlertState, what: &str, is_over: bool, now: UnixNanos) -> String {
    let condition: serde_json::Value = serde_json::from_str(&rule.asked.condition).unwrap_or_default();
    json!({
        "type": format!("alert.{what}"),
        "timestamp": iso(now),
        "data": {
            "rule": rule.id,
            "description": rule.asked.description,
            "measurement": rule.asked.measurement,
            "measurement_is_over": is_over,
            "condition": condition,
            "alerting": state.alerting,
            "probe_count": state.probes.len(),
            "probes": state.probes.get(..NAMED).unwrap_or(&state.probes),
        },
    })
    .to_string()
}

/// When each rule is looked at next.
#[derive(Default)]
struct Rules(HashMap<u64, UnixNanos>);

impl Rules {
    async fn look(&mut self, watch: &Watch, now: UnixNanos) -> Result<(), StoreError> {
        let (mut after, mut known) = (0, HashMap::new());
        loop {
            let rules = watch.catalog.watched_alert_rules(after, BATCH).await?;
            for rule in &rules {
                after = rule.id;
                let mut next = self.0.get(&rule.id).copied().unwrap_or(UnixNanos(0));
                if next <= now {
                    let seconds = watch.look(rule, now).await?;
                    next = now + Duration::from_secs(seconds.into());
                }
                known.insert(rule.id, next);
            }
            if (rules.len() as u64) < BATCH {
                break;
            }
        }
        // Those that are gone are forgotten.
        self.0 = known;
        Ok(())
    }
}

/// The deliveries that are being made.
#[derive(Default)]
struct Deliveries {
    /// Of which rules.
    rules: HashSet<u64>,
    under_way: JoinSet<(u64, Result<(), StoreError>)>,
}

impl Deliveries {
    /// Begins as many as may be made at once.
    async fn begin(&mut self, watch: &Watch, now: UnixNanos) -> Result<(), StoreError> {
        if self.rules.len() >= AT_ONCE {
            return Ok(());
        }
        for delivery in watch.catalog.due_deliveries(now, DUE).await? {
            if self.rules.len() >= AT_ONCE {
                break;
            }
            if self.rules.insert(delivery.rule) {
                let (watch, rule) = (watch.clone(), delivery.rule);
                self.under_way.spawn(async move { (rule, watch.attempt(delivery).await) });
            }
        }
        Ok(())
    }

    fn done(&mut self, done: Option<(u64, Result<(), StoreError>)>) {
        match done {
            Some((rule, outcome)) => {
                self.rules.remove(&rule);
                if let Err(error) = outcome {
                    tracing::error!(%error, "what became of a webhook could not be written down");
                }
            }
            // A task that panicked; which one is not known, so all are looked at again.
            None => self.rules.clear(),
        }
    }
}
