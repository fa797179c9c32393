//! One pass over a measurement's reports, in memory that depends on bins and probes and not on how many reports there are.

use std::collections::HashMap;

use serde_json::Value;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::result::{MeasurementResult, Outcome, Report};
use sonde_store::results::StoredReport;

use super::answers::Answers;
use super::heat;
use super::values::{Quantiles, Values};
use super::window::Window;
use crate::metric::{Metric, requests};

/// The most probes that are told apart. At most 1,000 take part in what researchers make; built-in measurements run on all.
pub(crate) const MAX_PROBES: usize = 10_000;

/// What is being gathered.
pub(crate) struct Fold {
    window: Window,
    metric: Metric,
    bins: Vec<BinFold>,
    places: HashMap<ProbeId, usize>,
    probes: Vec<ProbeFold>,
    answers: Answers,
    total: Counts,
    skipped: u64,
    reports: u64,
    probes_left_out: bool,
}

/// How many there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Results.
    pub results: u64,
    /// Those of them that say why the run could not be carried out.
    pub failed: u64,
    /// Requests: packets of ping, queries of dns; of other kinds one a run.
    pub sent: u64,
    /// Requests that were answered.
    pub received: u64,
}

#[derive(Default)]
struct BinFold {
    counts: Counts,
    values: Values,
    /// A bit a probe, by its place.
    seen: Vec<u64>,
}

struct ProbeFold {
    probe: ProbeId,
    counts: Counts,
    values: Values,
    last: Option<Last>,
    heat: Vec<u8>,
}

/// A probe's newest result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Last {
    /// When it began, in Unix seconds.
    pub at: i64,
    /// Its number.
    pub value: Option<f64>,
    /// Its requests and answers.
    pub counts: Counts,
}

/// One bin, ready.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bin {
    /// How many.
    pub counts: Counts,
    /// Probes that have a result in it.
    pub probes: u64,
    /// Of the results that have a number.
    pub values: Option<Quantiles>,
}

/// One probe, ready.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OfProbe {
    /// Which.
    pub probe: ProbeId,
    /// How many.
    pub counts: Counts,
    /// Of its results that have a number.
    pub values: Option<Quantiles>,
    /// The newest.
    pub last: Option<Last>,
    /// One byte a bin ([`heat`]).
    pub heat: Vec<u8>,
}

/// All of it, ready.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    /// The time.
    pub window: Window,
    /// What was looked at.
    pub metric: Metric,
    /// One after the other.
    pub bins: Vec<Bin>,
    /// By number.
    pub probes: Vec<OfProbe>,
    /// There were more probes than are told apart.
    pub probes_left_out: bool,
    /// Groups of answers, the largest first.
    pub answers: Vec<Value>,
    /// Answers that are in no group.
    pub answers_left_out: u64,
    /// In all.
    pub total: Counts,
    /// Runs that were due and did not take place.
    pub skipped: u64,
    /// How many reports were read: what it cost.
    pub reports: u64,
    /// Some quantiles are within one percent only.
    pub is_approximate: bool,
}

impl Counts {
    fn add(&mut self, one: Counts) {
        self.results += one.results;
        self.failed += one.failed;
        self.sent += one.sent;
        self.received += one.received;
    }

    fn of(result: &MeasurementResult) -> Self {
        let (sent, received) = requests(result);
        let failed = u64::from(matches!(result.outcome, Outcome::Failed(..)));
        Self { results: 1, failed, sent, received }
    }

    /// The share of requests that nobody answered, in percent; `None` without any.
    pub fn loss(&self) -> Option<f64> {
        (self.sent > 0).then(|| 100.0 * self.sent.saturating_sub(self.received) as f64 / self.sent as f64)
    }

    /// In a word: `answered`, `lost` (every request), `failed` (no run could be carried out) or `none` (no results).
    pub const fn state(&self) -> &'static str {
        match *self {
            Counts { results: 0, .. } => "none",
            Counts { received: 1.., .. } => "answered",
            Counts { sent: 1.., .. } => "lost",
            _ => "failed",
        }
    }
}

impl Fold {
    /// Nothing yet.
    pub fn new(window: Window, metric: Metric) -> Self {
        Self {
            window,
            metric,
            bins: (0..window.bins).map(|_| BinFold::default()).collect(),
            places: HashMap::new(),
            probes: Vec::new(),
            answers: Answers::default(),
            total: Counts::default(),
            skipped: 0,
            reports: 0,
            probes_left_out: false,
        }
    }

    /// Adds a report.
    pub fn add(&mut self, stored: &StoredReport) {
        self.reports += 1;
        match Report::from_cbor(&stored.report) {
            Ok(Report::Result(result)) => self.result(stored.probe, &result),
            Ok(Report::Skipped(skipped)) => self.skipped += u64::from(skipped.runs),
            Err(error) => {
                tracing::error!(%error, probe = stored.probe.0, "a stored report cannot be read and is left out")
            }
        }
    }

    fn result(&mut self, probe: ProbeId, result: &MeasurementResult) {
        let Some(number) = self.window.bin(result.started_at) else { return };
        let Some(bin) = self.bins.get_mut(number) else { return };
        let (counts, value) = (Counts::of(result), self.metric.of(result));
        self.total.add(counts);
        bin.counts.add(counts);
        value.into_iter().for_each(|value| bin.values.add(value));
        self.answers.add(probe, result);
        let place = match self.places.get(&probe) {
            Some(place) => *place,
            None if self.probes.len() >= MAX_PROBES => {
                self.probes_left_out = true;
                return;
            }
            None => {
                let heat = vec![heat::NOTHING; self.window.bins];
                self.probes.push(ProbeFold {
                    probe,
                    counts: Counts::default(),
                    values: Values::default(),
                    last: None,
                    heat,
                });
                self.places.insert(probe, self.probes.len() - 1);
                self.probes.len() - 1
            }
        };
        let (word, bit) = (place / 64, place % 64);
        if bin.seen.len() <= word {
            bin.seen.resize(word + 1, 0);
        }
        if let Some(word) = bin.seen.get_mut(word) {
            *word |= 1 << bit;
        }
        let Some(of_probe) = self.probes.get_mut(place) else { return };
        of_probe.counts.add(counts);
        value.into_iter().for_each(|value| of_probe.values.add(value));
        let at = result.started_at.as_secs();
        if of_probe.last.is_none_or(|last| last.at <= at) {
            of_probe.last = Some(Last { at, value, counts });
        }
        if let Some(cell) = of_probe.heat.get_mut(number) {
            *cell = heat::better(*cell, heat::of(value, counts));
        }
    }

    /// How many reports were added.
    pub const fn reports(&self) -> u64 {
        self.reports
    }

    /// The end of it. Probes of `expected` that have no results are listed without.
    pub fn finish(self, expected: &[ProbeId]) -> Summary {
        let is_approximate = self.bins.iter().any(|bin| bin.values.is_approximate())
            || self.probes.iter().any(|probe| probe.values.is_approximate());
        let missing = expected.iter().filter(|probe| !self.places.contains_key(probe));
        let missing = missing.take(MAX_PROBES.saturating_sub(self.probes.len())).map(|probe| OfProbe {
            probe: *probe,
            counts: Counts::default(),
            values: None,
            last: None,
            heat: vec![heat::NOTHING; self.window.bins],
        });
        let mut probes: Vec<OfProbe> = missing.collect();
        probes.extend(self.probes.into_iter().map(|of| OfProbe {
            probe: of.probe,
            counts: of.counts,
            values: of.values.quantiles(),
            last: of.last,
            heat: of.heat,
        }));
        probes.sort_unstable_by_key(|of| of.probe);
        let bins = self.bins.into_iter().map(|bin| Bin {
            counts: bin.counts,
            probes: bin.seen.iter().map(|word| u64::from(word.count_ones())).sum(),
            values: bin.values.quantiles(),
        });
        let (answers, answers_left_out) = self.answers.finish();
        Summary {
            window: self.window,
            metric: self.metric,
            bins: bins.collect(),
            probes,
            probes_left_out: self.probes_left_out,
            answers,
            answers_left_out,
            total: self.total,
            skipped: self.skipped,
            reports: self.reports,
            is_approximate,
        }
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::List;
    use sonde_protocol::ids::{BootId, MeasurementId, Seq, SessionId};
    use sonde_protocol::net::{Family, Ip};
    use sonde_protocol::result::{EchoReply, Failure, PingOutcome, PingReply, Timing};
    use sonde_protocol::time::UnixNanos;

    use super::*;

    fn report(probe: u64, at: i64, outcome: Outcome) -> StoredReport {
        let at = UnixNanos::from_secs(at);
        let result = MeasurementResult {
            measurement: MeasurementId(1),
            planned_at: at,
            started_at: at,
            ended_at: at,
            timing: Timing::default(),
            af: Family::V4,
            dst_name: None,
            dst_addr: None,
            src_addr: None,
            time_to_resolve: None,
            interval: None,
            outcome,
        };
        StoredReport {
            probe: ProbeId(probe),
            session: SessionId(1),
            boot: BootId(1),
            seq: Seq(1),
            arrived_at: at,
            measurement: MeasurementId(1),
            at,
            report: Report::Result(result).to_cbor(),
        }
    }

    fn ping(probe: u64, at: i64, rtts: &[Option<u64>]) -> StoredReport {
        let from = Ip("20.0.0.1".parse().unwrap());
        let replies = rtts.iter().map(|rtt| match rtt {
            Some(rtt) => {
                let rtt = rtt * 1_000_000;
                PingReply::Reply(EchoReply { rtt, hop_limit: None, size: 48, from, duplicate: false })
            }
            None => PingReply::Timeout,
        });
        let replies = List::cut(replies);
        report(probe, at, Outcome::Ping(PingOutcome { size: 48, sent: 3, replies }))
    }

    #[test]
    fn a_value_all_lost_a_failure_and_nothing_are_four_things() {
        let window = Window::new(0, 40, 4, 10);
        assert_eq!(window.bins, 4);
        let mut fold = Fold::new(window, Metric::Rtt);
        fold.add(&ping(7, 1, &[Some(5), Some(3)]));
        fold.add(&ping(8, 2, &[Some(9), None]));
        fold.add(&ping(7, 11, &[None, None]));
        fold.add(&report(7, 21, Outcome::Failed(Failure::NotAllowed, 1)));
        fold.add(&ping(7, 40, &[Some(1)]));
        let summary = fold.finish(&[ProbeId(7), ProbeId(8), ProbeId(9)]);
        let states: Vec<&str> = summary.bins.iter().map(|bin| bin.counts.state()).collect();
        assert_eq!(states, ["answered", "lost", "failed", "none"]);
        let first = &summary.bins[0];
        assert_eq!((first.probes, first.counts.sent, first.counts.received), (2, 4, 3));
        let values = first.values.unwrap();
        assert_eq!((values.min, values.median, values.max), (3.0, 3.0, 9.0));
        assert_eq!(summary.bins[1].values, None, "what was lost took no time");
        assert_eq!((summary.bins[1].counts.loss(), summary.bins[3].counts.loss()), (Some(100.0), None));
        let probes: Vec<(u64, &str)> = summary.probes.iter().map(|of| (of.probe.0, of.counts.state())).collect();
        assert_eq!(probes, [(7, "answered"), (8, "answered"), (9, "none")]);
        let last = summary.probes[0].last.unwrap();
        assert_eq!((last.at, last.value, last.counts.failed), (21, None, 1));
        assert_eq!(summary.total.results, 4, "what is outside of the time is not counted");
        assert_eq!(summary.probes[0].heat[1..], [heat::LOST, heat::FAILED, heat::NOTHING]);
        assert!(summary.probes[0].heat[0] > heat::LOST);
    }

    #[test]
    fn damage_hides_nothing_else() {
        let mut fold = Fold::new(Window::new(0, 10, 1, 10), Metric::Rtt);
        let mut broken = ping(7, 1, &[Some(5)]);
        broken.report.truncate(9);
        fold.add(&broken);
        fold.add(&ping(7, 2, &[Some(6)]));
        assert_eq!(fold.finish(&[]).total.results, 1);
    }
}
