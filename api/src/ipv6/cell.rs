//! A sum as it is shown, in JSON and as a row of a table.

use serde::Serialize;
use sonde_store::reachability::{Certainty, Difference, Figures, Interval, Share};
use utoipa::ToSchema;

/// A share and how far it can be from the truth. All of it is null of nobody.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct ShareObject {
    /// So many
    count: u64,
    /// of so many.
    of: u64,
    /// The one by the other, between 0 and 1.
    share: Option<f64>,
    /// Where the 95 % interval begins (Wilson's, for as many independent votes as there are probes).
    low: Option<f64>,
    /// Where it ends.
    high: Option<f64>,
}

impl ShareObject {
    fn new(count: u64, of: u64, share: Option<Share>) -> Self {
        let interval = share.map(|share| share.interval);
        Self {
            count,
            of,
            share: share.map(|share| rounded(share.share)),
            low: interval.map(|interval| rounded(interval.low)),
            high: interval.map(|interval| rounded(interval.high)),
        }
    }
}

/// Every network weighing the same.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct ByNetwork {
    /// The mean of the networks' shares.
    share: f64,
    /// Where the 95 % interval begins.
    low: f64,
    /// Where it ends.
    high: f64,
}

/// By how much IPv6 is slower to connect to the same server, in milliseconds; below zero it is faster.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct DifferenceObject {
    /// How many votes have one.
    count: u64,
    /// The median.
    median: f64,
    /// Where the 95 % interval of the median begins.
    low: f64,
    /// Where it ends.
    high: f64,
    /// Nine tenths are at most this.
    p90: f64,
}

/// What some votes say together.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Ipv6Sum)]
pub(super) struct CellObject {
    /// One for each probe and hour: what shares are of.
    votes: u64,
    /// Probes that voted.
    probes: u64,
    /// Networks (ASes) that they are in.
    networks: u64,
    /// `plain`, or `hatched` where too few stand behind it to be shown without saying so.
    shown: &'static str,
    /// Enough stand behind it to be compared with others.
    ranked: bool,
    /// IPv6 works: native, native in part, or through a tunnel.
    works6: ShareObject,
    /// IPv6 is native and whole.
    clean6: ShareObject,
    /// IPv6 is broken; of those with a global IPv6 address.
    broken6: ShareObject,
    /// IPv4 through NAT64.
    nat64: ShareObject,
    /// 464XLAT.
    xlat: ShareObject,
    /// IPv4 behind the provider's translator.
    cgnat: ShareObject,
    /// Networks in which IPv6 works in more than half of the votes.
    networks6: ShareObject,
    /// The share of `works6` when every network weighs the same.
    by_network: Option<ByNetwork>,
    /// By how much IPv6 is slower to connect.
    rtt_difference: Option<DifferenceObject>,
    /// Connections to the network's own references that only IPv6 failed to make.
    only_v6_failed: u64,
    /// That only IPv4 failed to make.
    only_v4_failed: u64,
    /// Votes made with fewer than three references.
    few_references: u64,
    /// Hours of probes in which nothing answered: they do not vote.
    offline: u64,
    /// In which no reference could be used: they do not vote.
    inconclusive: u64,
    /// In which the probe had not agreed with itself yet: they do not vote.
    unsettled: u64,
    /// Runs behind all of it.
    runs: u64,
}

/// More digits than this say nothing.
fn rounded(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

fn milliseconds(difference: Difference) -> f64 {
    f64::from(difference) / 1000.0
}

/// May it be compared with others?
pub(super) fn is_ranked(figures: &Figures) -> bool {
    figures.certainty() == Certainty::Ranked
}

impl CellObject {
    /// What these figures say.
    pub fn new(figures: &Figures) -> Self {
        let counts = &figures.counts;
        let share = |count, of| ShareObject::new(count, of, figures.share(count, of));
        let of_votes = |count| share(count, counts.votes);
        let networks = figures.networks;
        Self {
            votes: counts.votes,
            probes: figures.probes,
            networks: figures.network_count(),
            shown: if figures.certainty() == Certainty::Hatched { "hatched" } else { "plain" },
            ranked: is_ranked(figures),
            works6: of_votes(counts.works6),
            clean6: of_votes(counts.clean6),
            broken6: share(counts.broken6, counts.with_address6),
            nat64: of_votes(counts.nat64),
            xlat: of_votes(counts.xlat),
            cgnat: of_votes(counts.cgnat),
            networks6: of_networks(networks.map_or(0, |all| all.working), figures.network_count()),
            by_network: networks.map(|all| ByNetwork {
                share: rounded(all.share),
                low: rounded(all.interval.low),
                high: rounded(all.interval.high),
            }),
            rtt_difference: figures.differences.map(|all| DifferenceObject {
                count: all.count,
                median: milliseconds(all.median),
                low: milliseconds(all.low),
                high: milliseconds(all.high),
                p90: milliseconds(all.ninth_tenth),
            }),
            only_v6_failed: counts.only_v6_failed,
            only_v4_failed: counts.only_v4_failed,
            few_references: counts.few,
            offline: counts.offline,
            inconclusive: counts.inconclusive,
            unsettled: counts.unsettled,
            runs: counts.runs,
        }
    }

    /// The columns of [`CellObject::values`].
    pub const COLUMNS: [&str; 45] = [
        "votes",
        "probes",
        "networks",
        "shown",
        "ranked",
        "works6",
        "works6_share",
        "works6_low",
        "works6_high",
        "clean6",
        "clean6_share",
        "clean6_low",
        "clean6_high",
        "broken6",
        "broken6_of",
        "broken6_share",
        "broken6_low",
        "broken6_high",
        "nat64",
        "nat64_share",
        "nat64_low",
        "nat64_high",
        "xlat",
        "xlat_share",
        "xlat_low",
        "xlat_high",
        "cgnat",
        "cgnat_share",
        "cgnat_low",
        "cgnat_high",
        "networks6",
        "networks6_share",
        "networks6_low",
        "networks6_high",
        "rtt_difference_median",
        "rtt_difference_low",
        "rtt_difference_high",
        "rtt_difference_p90",
        "only_v6_failed",
        "only_v4_failed",
        "few_references",
        "offline",
        "inconclusive",
        "unsettled",
        "runs",
    ];

    /// The same as a row of a table; what is not known is empty.
    pub fn values(&self) -> Vec<String> {
        let text = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
        let share =
            |share: &ShareObject| [share.count.to_string(), text(share.share), text(share.low), text(share.high)];
        let mut row = vec![
            self.votes.to_string(),
            self.probes.to_string(),
            self.networks.to_string(),
            self.shown.to_owned(),
            self.ranked.to_string(),
        ];
        row.extend(share(&self.works6));
        row.extend(share(&self.clean6));
        let [count, of_all, low, high] = share(&self.broken6);
        row.extend([count, self.broken6.of.to_string(), of_all, low, high]);
        for one in [&self.nat64, &self.xlat, &self.cgnat, &self.networks6] {
            row.extend(share(one));
        }
        let difference = self.rtt_difference;
        let times: [fn(DifferenceObject) -> f64; 4] = [|all| all.median, |all| all.low, |all| all.high, |all| all.p90];
        row.extend(times.map(|time| text(difference.map(time))));
        let counts = [
            self.only_v6_failed,
            self.only_v4_failed,
            self.few_references,
            self.offline,
            self.inconclusive,
            self.unsettled,
            self.runs,
        ];
        row.extend(counts.map(|count| count.to_string()));
        row
    }
}

/// A share of networks, each one vote.
fn of_networks(count: u64, of: u64) -> ShareObject {
    let interval = sonde_store::reachability::wilson(count as f64, of as f64);
    let share = interval.map(|interval: Interval| Share { count, of, share: count as f64 / of as f64, interval });
    ShareObject::new(count, of, share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_value_for_each_column() {
        let row = CellObject::new(&Figures::default()).values();
        assert_eq!(row.len(), CellObject::COLUMNS.len());
        let at = |name: &str| row[CellObject::COLUMNS.iter().position(|column| *column == name).unwrap()].as_str();
        assert_eq!((at("votes"), at("works6_share"), at("runs"), at("shown")), ("0", "", "0", "hatched"));
    }
}
