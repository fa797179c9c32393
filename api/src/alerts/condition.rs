//! When a rule alerts: a pure question about results.
//!
//! As JSON: `{"metric","operator","threshold","probes","runs","of"}`: the rule alerts when of at least `probes` probes (a
//! number, or a share such as `"20%"` of those that take part) at least `runs` of the last `of` runs have a metric on the
//! wrong side of the threshold.

use serde_json::{Value, json};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::result::MeasurementResult;
use sonde_protocol::spec::Kind;

use crate::metric::Metric;
use crate::reader::{Reader, integer};

/// The most runs that are looked back at.
pub(crate) const MAX_RUNS: u32 = 100;

/// When a rule alerts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    metric: Metric,
    operator: Operator,
    threshold: f64,
    probes: Probes,
    /// So many of the last `of` runs.
    runs: u32,
    pub of: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    Unequal,
}

const OPERATORS: [(&str, Operator); 6] = [
    (">", Operator::Above),
    (">=", Operator::AtLeast),
    ("<", Operator::Below),
    ("<=", Operator::AtMost),
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
];

/// How many probes it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probes {
    Number(u32),
    Percent(u32),
}

/// What is known of a probe that takes part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// Who.
    pub probe: ProbeId,
    /// Its newest results, the newest first.
    pub results: Vec<MeasurementResult>,
    /// Seconds since the newest, or since it takes part.
    pub age: f64,
}

impl Operator {
    // Thresholds are written by people: `rcode == 0`, `status != 200`.
    #[expect(clippy::float_cmp, reason = "whole numbers below 2^53 are compared exactly")]
    fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Operator::Above => value > threshold,
            Operator::AtLeast => value >= threshold,
            Operator::Below => value < threshold,
            Operator::AtMost => value <= threshold,
            Operator::Equal => value == threshold,
            Operator::Unequal => value != threshold,
        }
    }

    fn name(self) -> &'static str {
        OPERATORS.iter().find(|(_, operator)| *operator == self).map_or("", |(name, _)| name)
    }
}

impl Probes {
    fn read(value: &Value) -> Option<Self> {
        if let Some(percent) = value.as_str().and_then(|text| text.strip_suffix('%')) {
            return percent.parse().ok().filter(|percent| (1..=100).contains(percent)).map(Probes::Percent);
        }
        let number = integer(value).and_then(|number| u32::try_from(number).ok())?;
        (number >= 1).then_some(Probes::Number(number))
    }

    /// How many of these that is.
    fn of(self, all: usize) -> usize {
        match self {
            Probes::Number(number) => number as usize,
            Probes::Percent(percent) => (all * percent as usize).div_ceil(100).max(1),
        }
    }
}

impl Condition {
    /// Reads the fields of a rule, over those of `old` when there is one, for results of this kind.
    pub fn read(body: &mut Reader<'_>, old: Option<&Self>, kind: Kind) -> Option<Self> {
        let metric = match (body.value("metric"), old) {
            (Some(_), _) => body.word("metric", |word| Metric::named(word).filter(|metric| metric.is_of(kind))),
            (None, old) => old.map(|old| old.metric).or_else(|| missing(body, "metric")),
        };
        let operator = match (body.value("operator"), old) {
            (Some(_), _) => body.word("operator", |word| {
                OPERATORS.iter().find(|(name, _)| *name == word).map(|(_, operator)| *operator)
            }),
            (None, old) => old.map(|old| old.operator).or_else(|| missing(body, "operator")),
        };
        let threshold = match (body.value("threshold"), old) {
            (Some(value), _) => {
                let number = value.as_f64().filter(|number| number.is_finite());
                if number.is_none() {
                    body.problem("threshold", "A number is required.");
                }
                number
            }
            (None, old) => old.map(|old| old.threshold).or_else(|| missing(body, "threshold")),
        };
        let probes = match (body.value("probes"), old) {
            (Some(value), _) => {
                let probes = Probes::read(value);
                if probes.is_none() {
                    body.problem("probes", "Enter how many probes, from 1, or a share of them such as \"20%\".");
                }
                probes
            }
            (None, old) => Some(old.map_or(Probes::Number(1), |old| old.probes)),
        };
        let of = count(body, "of", old.map_or(1, |old| old.of))?;
        let runs = count(body, "runs", old.map_or(1, |old| old.runs))?;
        if runs > of {
            body.problem("runs", "These are more runs than are looked at (`of`).");
            return None;
        }
        Some(Self { metric: metric?, operator: operator?, threshold: threshold?, probes: probes?, runs, of })
    }

    /// Reads what [`Condition::write`] wrote.
    pub fn parse(text: &str, kind: Kind) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let mut problems = Vec::new();
        let condition = Self::read(&mut Reader::new(&value, String::new(), &mut problems)?, None, kind);
        condition.filter(|_| problems.is_empty())
    }

    /// As JSON.
    pub fn write(&self) -> Value {
        json!({
            "metric": self.metric.name(),
            "operator": self.operator.name(),
            "threshold": self.threshold,
            "probes": match self.probes {
                Probes::Number(number) => json!(number),
                Probes::Percent(percent) => json!(format!("{percent}%")),
            },
            "runs": self.runs,
            "of": self.of,
        })
    }

    /// The probes that are on the wrong side, if there are enough of them for an alert, and whether there are.
    pub fn judge(&self, all: &[Seen]) -> (bool, Vec<ProbeId>) {
        let wrong: Vec<ProbeId> = all.iter().filter(|seen| self.is_wrong(seen)).map(|seen| seen.probe).collect();
        (wrong.len() >= self.probes.of(all.len()), wrong)
    }

    fn is_wrong(&self, seen: &Seen) -> bool {
        if self.metric == Metric::Age {
            return self.operator.holds(seen.age, self.threshold);
        }
        let values = seen.results.iter().take(self.of as usize).filter_map(|result| self.metric.of(result));
        values.filter(|&value| self.operator.holds(value, self.threshold)).count() >= self.runs as usize
    }
}

fn missing<T>(body: &mut Reader<'_>, field: &str) -> Option<T> {
    body.required(field);
    None
}

fn count(body: &mut Reader<'_>, field: &str, default: u32) -> Option<u32> {
    if body.value(field).is_none() {
        return Some(default);
    }
    let number = body.integer(field)?;
    let number = u32::try_from(number).ok().filter(|number| (1..=MAX_RUNS).contains(number));
    if number.is_none() {
        body.problem(field, format!("Ensure this value is between 1 and {MAX_RUNS}."));
    }
    number
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::List;
    use sonde_protocol::ids::MeasurementId;
    use sonde_protocol::net::{Family, Ip};
    use sonde_protocol::result::{EchoReply, Outcome, PingOutcome, PingReply, Timing};
    use sonde_protocol::time::UnixNanos;

    use super::*;

    fn condition(value: Value) -> Condition {
        Condition::parse(&value.to_string(), Kind::Ping).unwrap()
    }

    /// A probe with one ping a run: an RTT in milliseconds, or silence.
    fn seen(probe: u64, runs: &[Option<u64>]) -> Seen {
        let result = |rtt: &Option<u64>| {
            let reply = match rtt {
                Some(rtt) => PingReply::Reply(EchoReply {
                    rtt: rtt * 1_000_000,
                    hop_limit: None,
                    size: 48,
                    from: Ip("20.0.0.1".parse().unwrap()),
                    duplicate: false,
                }),
                None => PingReply::Timeout,
            };
            MeasurementResult {
                measurement: MeasurementId(1),
                planned_at: UnixNanos(0),
                started_at: UnixNanos(0),
                ended_at: UnixNanos(0),
                timing: Timing::default(),
                af: Family::V4,
                dst_name: None,
                dst_addr: None,
                src_addr: None,
                time_to_resolve: None,
                interval: None,
                outcome: Outcome::Ping(PingOutcome { size: 48, sent: 1, replies: List::cut([reply]) }),
            }
        };
        Seen { probe: ProbeId(probe), results: runs.iter().map(result).collect(), age: 60.0 * probe as f64 }
    }

    #[test]
    fn so_many_runs_of_so_many_probes() {
        let two_of_three = json!({"metric": "rtt", "operator": ">", "threshold": 10, "probes": 2, "runs": 2, "of": 3});
        let two_of_three = condition(two_of_three);
        let good = seen(1, &[Some(5), Some(5), Some(5)]);
        let once = seen(2, &[Some(50), Some(5), None]);
        let twice = seen(3, &[Some(5), Some(50), Some(50)]);
        let long_ago = seen(4, &[Some(5), Some(50), Some(5), Some(50), Some(50)]);
        let others = [good, once, twice.clone(), long_ago];
        assert_eq!(two_of_three.judge(&others), (false, vec![ProbeId(3)]));
        let more = [&others[..], &[Seen { probe: ProbeId(5), ..twice }]].concat();
        assert_eq!(two_of_three.judge(&more), (true, vec![ProbeId(3), ProbeId(5)]));
    }

    #[test]
    fn a_share_of_the_probes() {
        let half = condition(json!({"metric": "loss", "operator": ">=", "threshold": 100, "probes": "50%"}));
        let (down, up) = (seen(1, &[None]), seen(2, &[Some(1)]));
        assert!(half.judge(&[down.clone(), up.clone()]).0);
        assert!(!half.judge(&[down, up.clone(), up]).0);
        assert!(!half.judge(&[]).0, "nobody is no share");
    }

    #[test]
    fn silence_has_an_age_and_no_time() {
        let late = condition(json!({"metric": "age", "operator": ">", "threshold": 90}));
        assert_eq!(late.judge(&[seen(1, &[]), seen(2, &[])]), (true, vec![ProbeId(2)]));
        let slow = condition(json!({"metric": "rtt", "operator": "!=", "threshold": 0}));
        assert_eq!(slow.judge(&[seen(1, &[None]), seen(2, &[])]), (false, vec![]));
    }

    #[test]
    fn what_is_written_is_read_back_and_nonsense_is_named() {
        for probes in [json!(3), json!("20%")] {
            let value = json!({
                "metric": "rtt_max", "operator": "<=", "threshold": 12.5, "probes": probes, "runs": 2, "of": 5,
            });
            assert_eq!(condition(value.clone()).write(), value);
        }
        for (field, bad) in [
            ("metric", json!("hops")),
            ("metric", json!(7)),
            ("operator", json!("=>")),
            ("threshold", json!("12")),
            ("probes", json!(0)),
            ("probes", json!("101%")),
            ("probes", json!("-1%")),
            ("runs", json!(2)),
            ("of", json!(101)),
        ] {
            let mut value = json!({"metric": "loss", "operator": ">", "threshold": 1});
            value[field] = bad.clone();
            let mut problems = Vec::new();
            let mut reader = Reader::new(&value, String::new(), &mut problems).unwrap();
            assert_eq!(Condition::read(&mut reader, None, Kind::Ping), None, "{field} {bad}");
            assert_eq!(problems.len(), 1, "{field} {bad}: {problems:?}");
        }
    }
}
