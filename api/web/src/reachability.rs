//! What `/api/v2/ipv6/` says, as far as pages show it, and the figures that one can choose.

use serde::Deserialize;

use crate::charts::map::Country;
use crate::charts::number;
use crate::charts::palette::{Paint, RTT_SPLITS, SHARE_SPLITS};
use crate::charts::series::{Point, Unit};

/// How many networks must stand behind what is shown plainly.
const PLAIN_NETWORKS: u64 = 3;

/// How many probes must, unless the visitor says otherwise.
pub(crate) const PLAIN_PROBES: u64 = 5;

/// From how many on a value is shown plainly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enough {
    pub probes: u64,
    pub networks: u64,
}

impl Enough {
    /// So many probes, in three networks (in fewer only for whoever asks for fewer probes than that).
    pub fn new(probes: u64) -> Self {
        Self { probes, networks: PLAIN_NETWORKS.min(probes) }
    }

    /// Of what is one network.
    pub fn alone(self) -> Self {
        Self { networks: 1, ..self }
    }

    /// When a value is not shown plainly, in words.
    pub fn words(self) -> String {
        let probes = number::counted(self.probes, "probe", "probes");
        match self.networks {
            0 | 1 => format!("fewer than {probes}"),
            networks => format!("fewer than {probes} or {networks} networks"),
        }
    }
}

/// So many of so many, with the ends of its 95 % interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Share {
    pub count: u64,
    pub of: u64,
    pub share: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// By how much IPv6 is slower to connect, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub(crate) struct Difference {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    pub p90: f64,
}

/// What some votes say together.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Sum {
    pub votes: u64,
    pub probes: u64,
    pub networks: u64,
    pub ranked: bool,
    pub works6: Share,
    pub clean6: Share,
    pub broken6: Share,
    pub nat64: Share,
    pub xlat: Share,
    pub cgnat: Share,
    pub networks6: Share,
    pub rtt_difference: Option<Difference>,
    pub only_v6_failed: u64,
    pub only_v4_failed: u64,
    pub few_references: u64,
    pub offline: u64,
    pub inconclusive: u64,
    pub unsettled: u64,
}

/// What an answer is about, as far as its name goes.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Scope {
    /// Of a network, where the operator has given one.
    #[serde(default)]
    pub name: Option<String>,
}

impl Scope {
    /// `AS3320 · DTAG`, or what a place is called without a name.
    pub fn called(&self, place: &str) -> String {
        self.name.as_ref().map_or_else(|| place.to_owned(), |name| format!("{place} · {name}"))
    }
}

/// A sum of one place, with the time that it is of: `/`, `/countries/{code}/`, `/networks/{asn}/`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct One {
    pub from: i64,
    pub to: i64,
    pub updated: Option<i64>,
    pub bias: String,
    pub scope: Scope,
    pub sum: Sum,
    pub countries: u64,
    pub networks: u64,
}

/// A sum in a list.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Row {
    pub country_code: Option<String>,
    pub asn: Option<u32>,
    /// Of a network.
    #[serde(default)]
    pub name: Option<String>,
    /// Of a series: when the bucket begins, in seconds since 1970.
    #[serde(default)]
    pub at: i64,
    #[serde(flatten)]
    pub sum: Sum,
}

/// A list: `/countries/`, `/networks/`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct List {
    pub from: i64,
    pub to: i64,
    pub updated: Option<i64>,
    pub count: u64,
    pub results: Vec<Row>,
}

/// One after the other: `/series/`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Course {
    pub from: i64,
    pub to: i64,
    pub updated: Option<i64>,
    pub step: String,
    pub scope: Scope,
    pub bias: String,
    pub points: Vec<Row>,
}

impl Course {
    /// How long a bucket is, in seconds.
    pub fn step_secs(&self) -> i64 {
        if self.step == "day" { 86_400 } else { 3600 }
    }
}

/// A figure of a sum that one can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metric {
    /// As in the address and in the API.
    pub name: &'static str,
    /// Of a column.
    pub title: &'static str,
    /// What it counts, to follow a number: “72 % of probes …”.
    pub words: &'static str,
    unit: Unit,
}

/// All of them; the first is what one gets without choosing.
pub(crate) const METRICS: [Metric; 8] = [
    Metric { name: "works6", title: "IPv6 works", words: "of our probes have working IPv6", unit: Unit::Share },
    Metric {
        name: "clean6",
        title: "IPv6 without fault",
        words: "of our probes have IPv6 without any fault",
        unit: Unit::Share,
    },
    Metric {
        name: "broken6",
        title: "IPv6 broken",
        words: "of our probes with an IPv6 address reach nothing over it",
        unit: Unit::Share,
    },
    Metric {
        name: "networks6",
        title: "Networks with IPv6",
        words: "of the networks have working IPv6 on most of our probes",
        unit: Unit::Share,
    },
    Metric { name: "nat64", title: "NAT64", words: "of our probes reach IPv4 through NAT64", unit: Unit::Share },
    Metric { name: "xlat", title: "464XLAT", words: "of our probes reach IPv4 through 464XLAT", unit: Unit::Share },
    Metric {
        name: "cgnat",
        title: "Carrier-grade NAT",
        words: "of our probes share their IPv4 address with others of the provider",
        unit: Unit::Share,
    },
    Metric {
        name: "rtt",
        title: "IPv6 − IPv4 delay",
        words: "is what IPv6 takes longer to connect to the same server than IPv4 (below zero: less), at the median",
        unit: Unit::Milliseconds,
    },
];

/// The value of a figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Value {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// So many; 0 for what is no share.
    pub count: u64,
    /// Of so many.
    pub of: u64,
}

impl Metric {
    /// By its name in the address.
    pub fn find(name: &str) -> Option<Self> {
        METRICS.into_iter().find(|metric| metric.name == name)
    }

    /// What it is of a sum; `None` of nobody.
    pub fn of(self, sum: &Sum) -> Option<Value> {
        let share = match self.name {
            "clean6" => sum.clean6,
            "broken6" => sum.broken6,
            "networks6" => sum.networks6,
            "nat64" => sum.nat64,
            "xlat" => sum.xlat,
            "cgnat" => sum.cgnat,
            "rtt" => {
                let Difference { median: value, low, high, .. } = sum.rtt_difference?;
                return Some(Value { value, low, high, count: 0, of: sum.probes });
            }
            _ => sum.works6,
        };
        Some(Value { value: share.share?, low: share.low?, high: share.high?, count: share.count, of: share.of })
    }

    /// As a chart draws it.
    pub fn unit(self) -> Unit {
        self.unit
    }

    /// Is it a share of something?
    pub fn is_share(self) -> bool {
        self.unit == Unit::Share
    }

    /// Its family of colours.
    pub fn family(self) -> &'static str {
        if self.is_share() { "share" } else { "rtt" }
    }

    /// Where its classes are split, in [`Metric::legend_unit`].
    pub fn splits(self) -> &'static [f64; 6] {
        if self.is_share() { &SHARE_SPLITS } else { &RTT_SPLITS }
    }

    /// Of the legend.
    pub fn legend_unit(self) -> &'static str {
        if self.is_share() { "%" } else { "ms" }
    }

    /// A value as text; of few probes without decimals.
    pub fn text(self, sum: &Sum) -> String {
        match self.of(sum) {
            None => "–".to_owned(),
            Some(value) if self.is_share() => number::share(value.value, sum.probes),
            Some(value) => number::difference_ms(value.value),
        }
    }

    /// Its interval as text.
    pub fn interval(self, sum: &Sum) -> String {
        match self.of(sum) {
            None => "–".to_owned(),
            Some(value) if self.is_share() => number::interval(value.low, value.high),
            Some(value) => format!("{} to {}", number::difference_ms(value.low), number::difference_ms(value.high)),
        }
    }

    /// On the map.
    pub fn country(self, sum: &Sum, enough: Enough) -> Country {
        let value = self.of(sum).map(|value| if self.is_share() { value.value * 100.0 } else { value.value });
        let few = if sum.is_plain(enough) { "" } else { "; few" };
        let words = match self.of(sum) {
            None => format!("not known, {}", sum.behind()),
            Some(_) => format!("{} ({}), {}{few}", self.text(sum), self.interval(sum), sum.behind()),
        };
        Country { paint: Paint::of(value, self.splits(), sum.is_plain(enough)), words }
    }

    /// In a curve; `now` is when the bucket under way ends.
    pub fn point(self, row: &Row, step: i64, enough: Enough, now: i64) -> Point {
        let value = self.of(&row.sum);
        Point {
            at: row.at,
            value: value.map(|value| value.value),
            range: value.map(|value| (value.low, value.high)),
            is_plain: row.sum.is_plain(enough),
            is_open: row.at.saturating_add(step) > now,
        }
    }
}

impl Sum {
    /// Enough stand behind it to be shown without saying so.
    pub fn is_plain(&self, enough: Enough) -> bool {
        self.probes >= enough.probes && self.networks >= enough.networks
    }

    /// Who stands behind it: `40 probes in 12 networks`.
    pub fn behind(&self) -> String {
        let (probes, networks) =
            (number::counted(self.probes, "probe", "probes"), number::counted(self.networks, "network", "networks"));
        format!("{probes} in {networks}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_not_zero() {
        let row: Row = serde_json::from_value(json!({"country_code": "DE", "probes": 4, "votes": 9, "networks": 4,
            "works6": {"count": 3, "of": 4, "share": 0.75, "low": 0.3, "high": 0.95}, "rtt_difference": null, "new": 1}))
        .unwrap();
        let [works, .., rtt] = METRICS;
        assert_eq!((works.text(&row.sum), works.interval(&row.sum)), ("75 %".into(), "30–95 %".into()));
        assert_eq!((rtt.text(&row.sum), rtt.of(&row.sum)), ("–".into(), None));
        assert_eq!(works.country(&row.sum, Enough::new(5)).paint, Paint::Hatched(5));
        assert_eq!(works.country(&row.sum, Enough::new(4)).paint, Paint::Plain(5));
        assert_eq!(Metric::find("clean6").unwrap().country(&row.sum, Enough::new(1)).paint, Paint::None);
        assert!(works.country(&row.sum, Enough::new(5)).words.ends_with("4 probes in 4 networks; few"));
    }

    #[test]
    fn one_network_is_few_whatever_its_probes() {
        let one = Sum { probes: 500, networks: 1, ..Sum::default() };
        assert!(!one.is_plain(Enough::new(PLAIN_PROBES)));
        assert!(one.is_plain(Enough::new(PLAIN_PROBES).alone()), "unless it is what one asks about");
        assert!(Sum { probes: 1, ..one }.is_plain(Enough::new(1)), "who asks for it sees it");
        assert_eq!(Enough::new(5).words(), "fewer than 5 probes or 3 networks");
    }
}
