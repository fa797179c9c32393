//! The invented network that pages are looked at with: the same every time, and something of every kind in it.

use std::path::Path;

use anyhow::{Context as _, Result};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::result::{Outcome, PingReply, Report};
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Measurements as _, ProbeFilter, Probes as _, Slice};
use sonde_store::conformance::block_on;
use sonde_store::results::{ResultQuery, Results as _};
use sonde_store::sqlite::{SqliteCatalog, SqliteResults};
use sonde_tests::seed::{self, Options, Seeded};

const OPTIONS: Options = Options { seed: 7, until: UnixNanos::from_secs(1_795_000_000), probes: 30, ping_probes: 10 };

const ALL: Slice = Slice { offset: 0, limit: 1000, descending: false };

/// Reports as they were encoded, each with its probe.
type Reports = Vec<(ProbeId, Vec<u8>)>;

/// The probes as the catalog has them, and every report, in text.
fn contents(data: &Path, seeded: &Seeded) -> Result<(String, Reports)> {
    let catalog = SqliteCatalog::open(data.join("catalog.db"))?;
    let probes = block_on(catalog.probes(&ProbeFilter::default(), ALL))?.items;
    let results = SqliteResults::open(data.join("results"))?;
    let mut reports = Vec::new();
    for id in seeded.measurements.values() {
        let query = ResultQuery { measurement: MeasurementId(*id), from: None, to: None, probes: None };
        let mut after = None;
        loop {
            let page = block_on(results.scan(&query, after.as_ref(), 1000))?;
            reports.extend(page.reports.into_iter().map(|stored| (stored.probe, stored.report)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok((format!("{probes:?}"), reports))
}

#[test]
fn the_same_seed_invents_the_same_network() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (one, other, third) = (folder.path().join("one"), folder.path().join("other"), folder.path().join("third"));
    let seeded = seed::fill(&one, &OPTIONS)?;
    let again = seed::fill(&other, &OPTIONS)?;
    assert_eq!(format!("{seeded:?}"), format!("{again:?}"));
    let (probes, reports) = contents(&one, &seeded)?;
    assert_eq!((&probes, &reports), (&contents(&other, &again)?.0, &contents(&other, &again)?.1));
    assert_eq!(reports.len() as u64, seeded.reports);
    let different = seed::fill(&third, &Options { seed: 8, ..OPTIONS })?;
    assert_ne!(contents(&third, &different)?.0, probes);
    assert!(seed::fill(&one, &OPTIONS).is_err(), "what is there already is not mixed with anything");
    Ok(())
}

#[test]
fn there_is_something_of_every_kind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let seeded = seed::fill(folder.path(), &OPTIONS)?;
    let (_, reports) = contents(folder.path(), &seeded)?;
    let mut kinds = Vec::new();
    let (mut lost, mut answered, mut skipped) = (0, 0, 0);
    for (_, report) in &reports {
        match Report::from_cbor(report).context("a report can be read")? {
            Report::Result(result) => {
                kinds.push(result.outcome.kind_number());
                if let Outcome::Ping(ping) = &result.outcome {
                    lost += ping.replies.iter().filter(|reply| matches!(reply, PingReply::Timeout)).count();
                    answered += ping.replies.iter().filter(|reply| matches!(reply, PingReply::Reply(_))).count();
                }
            }
            Report::Skipped(_) => skipped += 1,
        }
    }
    for kind in Kind::ALL {
        assert!(kinds.contains(&kind.number()), "no result of {kind}");
    }
    assert!(lost > 0 && answered > lost && skipped > 0, "{lost} lost, {answered} answered, {skipped} skipped");
    // Only what has not begun is without results.
    let catalog = SqliteCatalog::open(folder.path().join("catalog.db"))?;
    assert!(seeded.votes > 10_000, "{} votes", seeded.votes);
    // The built-in one is the server's to make.
    for (name, id) in seeded.measurements.iter().filter(|(name, _)| **name != "ipv6") {
        let measurement = block_on(catalog.measurement(MeasurementId(*id)))?.context("it is there")?;
        assert!(measurement.participants > 0 || *name == "scheduled", "nobody takes part in {name}");
    }
    for name in ["first", "connected", "gone", "never"] {
        assert!(seeded.probes.contains_key(name), "no probe is {name}");
    }
    Ok(())
}
