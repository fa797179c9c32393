//! How long sums of votes on IPv6 take, over a day of ten thousand probes: the store alone, and the real server over HTTP, beside a
//! plain count of all votes, which must give the same numbers. Prints figures; `tests/bench/README.md` explains the lines.

use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_store::Reachability;
use sonde_store::conformance::block_on;
use sonde_store::reachability::{Cell, Cells, Hour, Prefix, Record};
use sonde_store::sqlite::SqliteReachability;
use sonde_tests::loopback::Ports;
use sonde_tests::votes::{Crowd, compare, plainly, plainly_by_prefix};

/// How many probes there are, unless `--quick`.
const PROBES: u64 = 10_000;

/// The hours that are summed up.
const HOURS: i64 = 24;

/// How often each is done; the median is told.
const TIMES: usize = 7;

/// What the server is asked for.
const PAGES: &[&str] = &[
    "",
    "countries/",
    "networks/",
    "networks/?country=DE",
    "prefixes/",
    "prefixes/?length=32",
    "series/",
    "series/?country=DE",
    "map/",
    "probes/7/",
    "metrics/",
];

fn main() -> Result<()> {
    let mut probes = PROBES;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => probes /= 10,
            _ => bail!("usage: bench-reachability [--quick]"),
        }
    }
    let mut out = io::stdout().lock();
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("server").join("data");
    std::fs::create_dir_all(&data)?;
    let file = data.join("reachability.db");
    let crowd = Crowd::new(6, probes);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let to = Hour::of_seconds(i64::try_from(now)?).plus(1);
    let from = to.plus(-HOURS);

    let began = Instant::now();
    let store = SqliteReachability::open(&file)?;
    for hour in from.until(to) {
        block_on(store.put(hour, &crowd.records(hour, 0)))?;
    }
    writeln!(out, "{probes} probes, {HOURS} hours: filled in {:.1} s", began.elapsed().as_secs_f64())?;
    drop(store);
    let bytes = std::fs::metadata(&file)?.len();
    let votes = bytes as f64 / (probes as f64 * HOURS as f64);
    writeln!(out, "{:44} {:>10.1} MB, {votes:.1} bytes a vote\n", "file", bytes as f64 / 1e6)?;
    writeln!(out, "{:44} {:>10} {:>10}", "", "median ms", "worst ms")?;

    let world = Cells::One(Cell::World);
    line(&mut out, "cold: open and sum the world up", || {
        let store = SqliteReachability::open(&file)?;
        block_on(store.sums(world, from, to))?;
        Ok(())
    })?;
    let store = SqliteReachability::open(&file)?;
    for (name, cells) in
        [("warm: the world", world), ("warm: all countries", Cells::Countries), ("warm: all networks", Cells::Networks)]
    {
        line(&mut out, name, || block_on(store.sums(cells, from, to)).map(drop).map_err(Into::into))?;
    }
    line(&mut out, "warm: the world by hours", || {
        block_on(store.hours(Cell::World, from, to)).map(drop).map_err(Into::into)
    })?;
    let by_prefix = Cells::Prefixes { within: Prefix::all(Family::V6), length: 32 };
    line(&mut out, "by prefix, never in memory: each /32", || {
        block_on(store.sums(by_prefix, from, to)).map(drop).map_err(Into::into)
    })?;
    let one = block_on(store.sums(by_prefix, from, to))?.first().map(|(cell, _)| *cell).context("no prefix")?;
    line(&mut out, "one /32", || block_on(store.sums(Cells::One(one), from, to)).map(drop).map_err(Into::into))?;
    let mut round = 0;
    // As much as comes in a minute when each probe runs four times an hour.
    let minute = usize::try_from(probes / 15)?;
    line(&mut out, "a minute's votes are put in", || {
        round += 1;
        let mut records = crowd.records(to.plus(-1), round);
        records.truncate(minute);
        Ok(block_on(store.put(to.plus(-1), &records))?)
    })?;
    line(&mut out, "and the world after each of them", || {
        round += 1;
        let mut records = crowd.records(to.plus(-1), round);
        records.truncate(minute);
        block_on(store.put(to.plus(-1), &records))?;
        block_on(store.sums(world, from, to))?;
        Ok(())
    })?;

    let mut votes: Vec<(ProbeId, Record)> = Vec::new();
    line(&mut out, "plainly: all votes read", || {
        votes.clear();
        for hour in from.until(to) {
            votes.extend(block_on(store.votes(hour))?);
        }
        Ok(())
    })?;
    let mut plain = Default::default();
    line(&mut out, "plainly: every cell counted", || {
        plain = plainly(&votes);
        Ok(())
    })?;
    let mut cells_told = 0;
    for cells in [world, Cells::Countries, Cells::Networks] {
        let sums = block_on(store.sums(cells, from, to))?;
        let wrong = compare(&plain, &sums);
        ensure!(wrong.is_empty(), "sums that are not those of the votes: {wrong:?}");
        cells_told += sums.len();
    }
    let sums = block_on(store.sums(by_prefix, from, to))?;
    let wrong = compare(&plainly_by_prefix(&votes), &sums);
    ensure!(wrong.is_empty(), "sums by prefix that are not those of the votes: {wrong:?}");
    cells_told += sums.len();
    writeln!(out, "{:44} {cells_told} cells, {} votes\n", "the same numbers", votes.len())?;
    drop(store);

    let ports = Ports::free()?;
    let server = ports.serve(&folder.path().join("server"))?;
    let base = server.public().base().to_owned();
    let agent = ureq::Agent::new_with_defaults();
    writeln!(out, "{:44} {:>10} {:>10} {:>10}", "over HTTP", "first ms", "again ms", "kB")?;
    for page in PAGES {
        let url = format!("{base}/api/v2/ipv6/{page}");
        let mut size = 0;
        let mut ask = || -> Result<Duration> {
            let began = Instant::now();
            // One that is not there was asked for as well.
            let mut answer =
                agent.get(&url).config().http_status_as_error(false).build().call().context(url.clone())?;
            size = answer.body_mut().read_to_string()?.len();
            Ok(began.elapsed())
        };
        let first = ask()?;
        let mut again = (0..TIMES).map(|_| ask()).collect::<Result<Vec<_>>>()?;
        again.sort_unstable();
        let median = again.get(TIMES / 2).copied().unwrap_or_default();
        let name = format!("GET ipv6/{page}");
        writeln!(out, "{name:44} {:>10.2} {:>10.2} {:>10.1}", ms(first), ms(median), size as f64 / 1e3)?;
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Does it some times and tells how long it took.
fn line(out: &mut impl Write, name: &str, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        work()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let (median, worst) = (times.get(TIMES / 2), times.last());
    let told = |time: Option<&Duration>| time.copied().map_or(0.0, ms);
    writeln!(out, "{name:44} {:>10.2} {:>10.2}", told(median), told(worst))?;
    Ok(())
}
