//! The last whole hour for Prometheus, in its text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).
//!
//! The world has metrics of its own, so that a sum over countries is not twice of it.

use std::fmt::Write as _;
use std::mem::discriminant;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use sonde_store::reachability::{Cell, Cells, Figures, Hour, Share, State as Stand};

use super::answer::{Asked, Body};
use super::prefix;
use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::query::Ipv6Metrics;

/// A number of a cell.
struct Metric {
    name: &'static str,
    help: &'static str,
    of: fn(&Figures) -> Option<f64>,
}

fn works(figures: &Figures) -> Option<Share> {
    figures.share(figures.counts.works6, figures.counts.votes)
}

const METRICS: &[Metric] = &[
    Metric { name: "probes", help: "Probes that voted in the last whole hour", of: |f| Some(f.probes as f64) },
    Metric { name: "networks", help: "Networks (ASes) that they are in", of: |f| Some(f.network_count() as f64) },
    Metric {
        name: "offline_probes",
        help: "Probes that were offline and did not vote",
        of: |f| Some(f.counts.offline as f64),
    },
    Metric {
        name: "works_ratio",
        help: "Share of the votes that say that IPv6 works",
        of: |f| works(f).map(|s| s.share),
    },
    Metric {
        name: "works_ratio_low",
        help: "Where its 95 % interval begins",
        of: |f| works(f).map(|s| s.interval.low),
    },
    Metric {
        name: "works_ratio_high",
        help: "Where its 95 % interval ends",
        of: |f| works(f).map(|s| s.interval.high),
    },
    Metric {
        name: "clean_ratio",
        help: "Share of the votes that say that IPv6 is native and whole",
        of: |f| f.share(f.counts.clean6, f.counts.votes).map(|s| s.share),
    },
    Metric {
        name: "broken_ratio",
        help: "Share of the votes with a global IPv6 address that say that IPv6 is broken",
        of: |f| f.share(f.counts.broken6, f.counts.with_address6).map(|s| s.share),
    },
    Metric {
        name: "nat64_ratio",
        help: "Share of the votes with IPv4 through NAT64",
        of: |f| f.share(f.counts.nat64, f.counts.votes).map(|s| s.share),
    },
    Metric {
        name: "rtt_difference_seconds",
        help: "Median of how much slower IPv6 connects than IPv4",
        of: |f| f.differences.map(|all| f64::from(all.median) / 1e6),
    },
];

/// What metrics of a cell are called, and the label that tells it from others; the world has none.
fn family(cell: Cell) -> Option<(&'static str, String)> {
    match cell {
        Cell::World => None,
        Cell::Country(country) => Some(("country", country.to_string())),
        Cell::Network(asn) => Some(("asn", asn.0.to_string())),
        Cell::Prefix(prefix) => Some(("prefix", prefix.to_string())),
    }
}

/// All of it; `cells` are those that were asked for, those of a kind beside each other.
fn page(hour: Hour, stand: Stand, world: &Figures, cells: &[(Cell, Figures)]) -> String {
    let mut text = String::new();
    let mut single = |name: &str, help: &str, value: f64| {
        // Writing into a String does not fail.
        let _ = writeln!(
            text,
            "# HELP sonde_ipv6_{name} {help}.\n# TYPE sonde_ipv6_{name} gauge\nsonde_ipv6_{name} {value}"
        );
    };
    single("revision", "Counts every change of a vote", stand.revision as f64);
    single("hour_timestamp_seconds", "When the hour began that this is about", hour.seconds() as f64);
    if let Some(newest) = stand.newest {
        single("newest_timestamp_seconds", "When the newest run that is counted began", newest.as_secs() as f64);
    }
    for metric in METRICS {
        if let Some(value) = (metric.of)(world) {
            single(&format!("world_{}", metric.name), metric.help, value);
        }
    }
    let is_alike = |(one, _): &(Cell, Figures), (next, _): &(Cell, Figures)| discriminant(one) == discriminant(next);
    for alike in cells.chunk_by(is_alike) {
        for metric in METRICS {
            let values = alike.iter().filter_map(|(cell, figures)| Some((family(*cell)?, (metric.of)(figures)?)));
            let mut is_first = true;
            for ((kind, name), value) in values {
                let metric_name = format!("sonde_ipv6_{kind}_{}", metric.name);
                if is_first {
                    let help = metric.help;
                    let _ = writeln!(text, "# HELP {metric_name} {help}, by {kind}.\n# TYPE {metric_name} gauge");
                    is_first = false;
                }
                let _ = writeln!(text, "{metric_name}{{{kind}=\"{name}\"}} {value}");
            }
        }
    }
    text
}

/// `GET ipv6/metrics/`: the last whole hour, of the world and of each country, for Prometheus; with `asn` and `prefix` of these, too.
#[utoipa::path(get, path = "/api/v2/ipv6/metrics/", tag = "ipv6", params(Ipv6Metrics), responses((status = 200, content((String = "text/plain")))))]
pub(super) async fn metrics(State(api): State<Arc<Api>>, _: Access, asked: Asked) -> Result<Response, ApiError> {
    asked
        .answer(&api, async |params| {
            let hour = Hour::of(api.clock.now()).plus(-1);
            let sums = async |cells| api.reachability.sums(cells, hour, hour.plus(1)).await;
            let world = sums(Cells::One(Cell::World)).await?.first().map(|(_, figures)| *figures).unwrap_or_default();
            let mut cells = sums(Cells::Countries).await?;
            if let Some(asn) = super::read_network(params)? {
                cells.extend(sums(Cells::One(Cell::Network(asn))).await?);
            }
            if let Some(prefix) = prefix::read(params)? {
                cells.extend(sums(Cells::One(Cell::Prefix(prefix))).await?);
            }
            Ok(Body::metrics(page(hour, api.reachability.state().await?, &world, &cells)))
        })
        .await
}
