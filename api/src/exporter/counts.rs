//! What the exporter counts of one measurement. Pure: results go in, numbers come out.
//!
//! A result is counted once, whenever it is read again while it is remembered; whoever calls says how long that is.

use std::collections::{BTreeMap, BTreeSet};

use sonde_protocol::ids::{BootId, ProbeId, Seq};
use sonde_protocol::result::{MeasurementResult, Outcome, Report, SkipReason};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::Measurement;
use sonde_store::results::StoredReport;

use super::text::Text;
use crate::metric::{self, Metric};

/// Upper ends of the histogram's buckets in seconds: a home's own network, a city, a continent, an ocean, a satellite, a queue.
const BUCKETS: [f64; 20] = [
    0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0,
    5.0,
];

/// The greatest response code of a DNS header (RFC 1035, 4.1.1).
const RCODES: usize = 16;

/// The classes of HTTP's status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why runs do not take place, in words without spaces, as programs compare them.
const REASONS: [(SkipReason, &str); 13] = [
    (SkipReason::Paused, "paused"),
    (SkipReason::Limit, "limit"),
    (SkipReason::QuietLine, "quiet-line"),
    (SkipReason::Overlap, "overlap"),
    (SkipReason::NoRoute, "no-route"),
    (SkipReason::Expired, "expired"),
    (SkipReason::LateOrder, "late-order"),
    (SkipReason::Unsupported, "unsupported"),
    (SkipReason::Clock, "clock"),
    (SkipReason::Stopping, "stopping"),
    (SkipReason::OutsideHours, "outside-hours"),
    (SkipReason::KindOff, "kind-off"),
    (SkipReason::Other, "other"),
];

/// What became of runs.
#[derive(Debug, Clone, Copy, Default)]
struct Runs {
    answered: u64,
    unanswered: u64,
    failed: u64,
}

/// How long answers took.
#[derive(Debug, Clone, Default)]
struct Times {
    /// By bucket, each alone; the last one has no end.
    buckets: [u64; BUCKETS.len() + 1],
    seconds: f64,
}

impl Times {
    fn add(&mut self, seconds: f64) {
        let place = BUCKETS.iter().position(|end| seconds <= *end).unwrap_or(BUCKETS.len());
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket += 1;
        }
        self.seconds += seconds;
    }
}

/// One probe's part.
#[derive(Debug, Clone, Copy, Default)]
struct OfProbe {
    requests: u64,
    replies: u64,
    newest: UnixNanos,
    /// The least time of its newest run, in seconds.
    rtt: Option<f64>,
}

/// The numbers of one measurement since somebody first asked.
#[derive(Debug, Default)]
pub(super) struct Counts {
    counted: BTreeSet<(UnixNanos, ProbeId, BootId, Seq)>,
    runs: Runs,
    /// By reason, as in [`REASONS`].
    skipped: [u64; REASONS.len()],
    requests: u64,
    replies: u64,
    times: Times,
    rcodes: [u64; RCODES],
    classes: [u64; CLASSES.len()],
    probes: BTreeMap<ProbeId, OfProbe>,
}

impl Counts {
    /// Counts a report unless it is counted already.
    pub fn add(&mut self, stored: &StoredReport) {
        if !self.counted.insert((stored.at, stored.probe, stored.boot, stored.seq)) {
            return;
        }
        match Report::from_cbor(&stored.report) {
            Ok(Report::Result(result)) => self.add_result(stored.probe, stored.at, &result),
            Ok(Report::Skipped(skipped)) => {
                let place = REASONS.iter().position(|(reason, _)| *reason == skipped.reason);
                if let Some(count) = place.and_then(|place| self.skipped.get_mut(place)) {
                    *count += u64::from(skipped.runs);
                }
            }
            // What cannot be read is no result, here as everywhere.
            Err(_) => {}
        }
    }

    /// Forgets which reports from before this time are counted: they will not be read again.
    pub fn forget(&mut self, before: UnixNanos) {
        self.counted = self.counted.split_off(&(before, ProbeId(0), BootId(0), Seq(0)));
    }

    fn add_result(&mut self, probe: ProbeId, at: UnixNanos, result: &MeasurementResult) {
        let (requests, times) = metric::exchanges(result);
        let replies = times.len() as u64;
        match (&result.outcome, Metric::Failed.of(result)) {
            (Outcome::Failed(..), _) => self.runs.failed += 1,
            (_, Some(failed)) if failed > 0.0 => self.runs.unanswered += 1,
            _ => self.runs.answered += 1,
        }
        self.requests += requests;
        self.replies += replies;
        for ms in &times {
            self.times.add(ms / 1000.0);
        }
        if let Some(count) = Metric::Rcode.of(result).and_then(|rcode| self.rcodes.get_mut(rcode as usize)) {
            *count += 1;
        }
        let class = Metric::Status.of(result).and_then(|status| (status as usize / 100).checked_sub(1));
        if let Some(count) = class.and_then(|class| self.classes.get_mut(class)) {
            *count += 1;
        }
        let of = self.probes.entry(probe).or_default();
        of.requests += requests;
        of.replies += replies;
        if at >= of.newest {
            of.newest = at;
            of.rtt = times.into_iter().reduce(f64::min).map(|ms| ms / 1000.0);
        }
    }

    /// Everything, with the measurement's number as a label of each sample; with a line a probe if that is asked for.
    pub fn write(&self, measurement: &Measurement, by_probe: bool) -> String {
        let mut text = Text::default();
        let id = measurement.id.to_string();
        let own = ("measurement", id.as_str());
        let asked = &measurement.asked;
        text.family("sonde_measurement_info", "gauge", "What is measured; always 1.");
        let info = [
            own,
            ("type", asked.spec.kind().name()),
            ("af", &asked.af.to_string()),
            ("target", asked.target.as_deref().unwrap_or_default()),
            ("description", asked.description.as_deref().unwrap_or_default()),
        ];
        text.sample("sonde_measurement_info", &info, 1.0);
        text.family("sonde_measurement_probes", "gauge", "Probes that are to take part.");
        text.sample(
            "sonde_measurement_probes",
            &[own],
            f64::from(measurement.participants.saturating_sub(measurement.departed)),
        );
        let newest = self.probes.values().map(|of| of.newest).max();
        if let Some(newest) = newest {
            let name = "sonde_measurement_newest_result_timestamp_seconds";
            text.family(name, "gauge", "When the newest run that is counted began, in Unix seconds.");
            text.sample(name, &[own], newest.as_secs() as f64);
        }

        let name = "sonde_measurement_results_total";
        text.family(
            name,
            "counter",
            "Results, by whether anything answered; failed: the run could not be carried out.",
        );
        let runs =
            [("answered", self.runs.answered), ("unanswered", self.runs.unanswered), ("failed", self.runs.failed)];
        for (outcome, count) in runs {
            text.sample(name, &[own, ("outcome", outcome)], count as f64);
        }
        let name = "sonde_measurement_skipped_runs_total";
        text.family(name, "counter", "Runs that were due and did not take place, by reason.");
        // Also those that nobody has given yet: what is not there at first has no increase.
        for ((_, reason), count) in REASONS.iter().zip(self.skipped) {
            text.sample(name, &[own, ("reason", reason)], count as f64);
        }
        let name = "sonde_measurement_requests_total";
        text.family(name, "counter", "Packets or queries that should have been answered.");
        text.sample(name, &[own], self.requests as f64);
        let name = "sonde_measurement_replies_total";
        text.family(name, "counter", "Those that were answered; duplicates do not count.");
        text.sample(name, &[own], self.replies as f64);
        self.write_times(&mut text, own);
        self.write_codes(&mut text, own);
        if by_probe {
            self.write_probes(&mut text, own);
        }
        text.into_body()
    }

    fn write_times(&self, text: &mut Text, own: (&str, &str)) {
        text.family("sonde_measurement_rtt_seconds", "histogram", "How long answers took.");
        let mut sum = 0;
        let ends = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (end, count) in ends.zip(self.times.buckets) {
            sum += count;
            text.sample("sonde_measurement_rtt_seconds_bucket", &[own, ("le", &end)], sum as f64);
        }
        text.sample("sonde_measurement_rtt_seconds_sum", &[own], self.times.seconds);
        text.sample("sonde_measurement_rtt_seconds_count", &[own], sum as f64);
    }

    fn write_codes(&self, text: &mut Text, own: (&str, &str)) {
        if self.rcodes.iter().any(|count| *count > 0) {
            let name = "sonde_measurement_dns_responses_total";
            text.family(name, "counter", "First answers of dns, by response code (0 is NOERROR, 3 NXDOMAIN).");
            for (rcode, count) in self.rcodes.iter().enumerate().filter(|(_, count)| **count > 0) {
                text.sample(name, &[own, ("rcode", &rcode.to_string())], *count as f64);
            }
        }
        if self.classes.iter().any(|count| *count > 0) {
            let name = "sonde_measurement_http_responses_total";
            text.family(name, "counter", "Responses of http, by class of the status.");
            for (class, count) in CLASSES.iter().zip(self.classes) {
                text.sample(name, &[own, ("class", class)], count as f64);
            }
        }
    }

    fn write_probes(&self, text: &mut Text, own: (&str, &str)) {
        let lines: Vec<(String, &OfProbe)> = self.probes.iter().map(|(id, of)| (id.to_string(), of)).collect();
        let mut family = |name: &str, kind, help, value: &dyn Fn(&OfProbe) -> Option<f64>| {
            text.family(name, kind, help);
            for (probe, of) in &lines {
                if let Some(value) = value(of) {
                    text.sample(name, &[own, ("probe", probe)], value);
                }
            }
        };
        family("sonde_measurement_probe_requests_total", "counter", "The same of one probe.", &|of| {
            Some(of.requests as f64)
        });
        family("sonde_measurement_probe_replies_total", "counter", "The same of one probe.", &|of| {
            Some(of.replies as f64)
        });
        family(
            "sonde_measurement_probe_rtt_seconds",
            "gauge",
            "The least time of a probe's newest run; absent when nothing answered.",
            &|of| of.rtt,
        );
        family(
            "sonde_measurement_probe_newest_result_timestamp_seconds",
            "gauge",
            "When a probe's newest run began, in Unix seconds.",
            &|of| Some(of.newest.as_secs() as f64),
        );
    }
}
