//! What many results say together: how many answered, how fast in the middle, how much was lost; and the same by family,
//! country and AS, where there is more than one.

use std::collections::{BTreeMap, BTreeSet};

use super::people::People;
use super::row::Row;

/// The most groups of a sort that are shown, the largest first.
const SHOWN: usize = 10;

/// Results of one group.
#[derive(Debug, Clone, Default)]
struct Group {
    probes: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    sent: u64,
    received: u64,
    times: Vec<f64>,
}

impl Group {
    fn add(&mut self, row: &Row) {
        self.probes.insert(row.probe);
        if row.received > 0 {
            self.answered.insert(row.probe);
        }
        self.sent = self.sent.saturating_add(row.sent);
        self.received = self.received.saturating_add(row.received);
        self.times.extend(row.time);
    }

    fn figures(&self) -> String {
        let mut parts = Vec::new();
        if let Some(median) = median(&self.times) {
            parts.push(format!("median {median:.3} ms"));
        }
        if self.sent > 0 {
            let lost = self.sent.saturating_sub(self.received) as f64 / self.sent as f64 * 100.0;
            parts.push(format!("{lost:.1}% unanswered"));
        }
        parts.join(", ")
    }
}

fn median(times: &[f64]) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some((*sorted.get(middle - 1)? + upper) / 2.0) }
}

/// Everything that came.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    results: u64,
    all: Group,
    by_family: BTreeMap<String, Group>,
    by_country: BTreeMap<String, Group>,
    by_as: BTreeMap<String, Group>,
}

impl Summary {
    /// Takes a result in.
    pub fn add(&mut self, row: &Row, people: &People) {
        self.results += 1;
        self.all.add(row);
        let person = people.get(row.probe);
        let into = |groups: &mut BTreeMap<String, Group>, name: Option<String>| {
            groups.entry(name.unwrap_or_else(|| "unknown".into())).or_default().add(row);
        };
        into(&mut self.by_family, row.af.map(|af| format!("IPv{af}")));
        into(&mut self.by_country, person.country.clone());
        into(&mut self.by_as, person.asn(row.af).map(|asn| format!("AS{asn}")));
    }

    /// How many results came.
    pub fn results(&self) -> u64 {
        self.results
    }

    /// The lines at the end. `asked` is how many probes were asked, if that is known.
    pub fn lines(&self, asked: Option<usize>) -> Vec<String> {
        let figures = self.all.figures();
        let separator = if figures.is_empty() { "" } else { "; " };
        let (reported, answered) = (self.all.probes.len(), self.all.answered.len());
        let asked = asked.unwrap_or(reported).max(reported);
        let results = if self.results == 1 { "1 result".into() } else { format!("{} results", self.results) };
        let probes = if asked == 1 { "1 probe".into() } else { format!("{asked} probes") };
        let mut lines =
            vec![format!("{results} from {reported} of {probes}, {answered} with an answer{separator}{figures}")];
        for groups in [&self.by_family, &self.by_country, &self.by_as] {
            if groups.len() < 2 {
                continue;
            }
            let mut sorted: Vec<(&String, &Group)> = groups.iter().collect();
            sorted.sort_by_key(|(_, group)| std::cmp::Reverse(group.probes.len()));
            for (name, group) in sorted.iter().take(SHOWN) {
                let probes = group.probes.len();
                lines.push(format!("  {name:<10} {:>4} of {probes:<4} {}", group.answered.len(), group.figures()));
            }
            if sorted.len() > SHOWN {
                lines.push(format!("  and {} more", sorted.len() - SHOWN));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(probe: u64, af: u8, received: u64, time: Option<f64>) -> Row {
        Row { probe, af: Some(af), sent: 3, received, time, ..Row::default() }
    }

    #[test]
    fn one_place_is_one_line() {
        let people = People::known(&[(1, json!({"country_code": "DE", "asn_v4": 64500}))]);
        let mut summary = Summary::default();
        summary.add(&row(1, 4, 3, Some(10.0)), &people);
        assert_eq!(
            summary.lines(Some(1)),
            ["1 result from 1 of 1 probe, 1 with an answer; median 10.000 ms, 0.0% unanswered"]
        );
        assert_eq!(Summary::default().lines(Some(5)), ["0 results from 0 of 5 probes, 0 with an answer"]);
    }

    #[test]
    fn several_places_are_told_apart() {
        let people = People::known(&[
            (1, json!({"country_code": "DE", "asn_v4": 64500})),
            (2, json!({"country_code": "NL", "asn_v4": 64500})),
            (3, json!({"country_code": "DE", "asn_v4": 64500})),
        ]);
        let mut summary = Summary::default();
        for (probe, received, time) in [(1, 3, Some(10.0)), (2, 0, None), (3, 3, Some(30.0))] {
            summary.add(&row(probe, 4, received, time), &people);
        }
        assert_eq!(
            summary.lines(Some(4)),
            [
                "3 results from 3 of 4 probes, 2 with an answer; median 20.000 ms, 33.3% unanswered",
                "  DE            2 of 2    median 20.000 ms, 0.0% unanswered",
                "  NL            0 of 1    100.0% unanswered",
            ]
        );
        summary.add(&row(3, 6, 3, Some(31.0)), &people);
        let lines = summary.lines(None);
        assert!(lines.iter().any(|line| line.starts_with("  IPv6 ")), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("  unknown ")), "{lines:?}");
    }
}
