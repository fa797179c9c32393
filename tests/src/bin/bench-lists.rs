//! How long a page of a list takes, of 20,000 probes and 100,000 measurements, with filters and orders: the real server on the
//! loopback interface, its catalog in memory files. Prints figures beside a bare request and plain SQLite on the same file;
//! asserts nothing. `tests/bench/README.md` explains the lines.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use sonde_protocol::ids::{AccountId, Asn, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::{Family, Uplink};
use sonde_protocol::spec::{Kind, Spec};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{
    Accounts, Admission, Evidence, Measurements, NewMeasurement, NewSession, ProbeEdit, ProbeOrigin, Probes, TagChange,
};
use sonde_store::conformance::block_on;
use sonde_store::sqlite::SqliteCatalog;
use sonde_tests::loopback::Ports;

/// How many there are of each, unless `--quick`.
const PROBES: u32 = 20_000;
const MEASUREMENTS: u32 = 100_000;

/// How many measurements are made together.
const BATCH: u32 = 1000;

/// How often a page is asked for.
const RUNS: usize = 100;

const START: i64 = 1_790_000_000;

const COUNTRIES: [&str; 12] = ["NL", "DE", "FR", "US", "JP", "BR", "ZA", "AU", "IN", "CZ", "SE", "IT"];

/// The pages that are asked for.
const PAGES: &[&str] = &[
    "probes/",
    "probes/?page=300",
    "probes/?page_size=500",
    "probes/?country_code=nl",
    "probes/?asn=64510",
    "probes/?prefix=20.1.0.0/16",
    "probes/?tags=system-ipv4-works",
    "probes/?tags=system-ipv4-works,system-ipv4-stable-1d,home",
    "probes/?radius=52.0,4.0:500",
    "probes/?latitude__gt=50",
    "probes/?sort=-last_connected",
    "probes/?status=2&sort=country_code&tags=system-ipv4-works",
    "measurements/",
    "measurements/?page=400",
    "measurements/?type=ping&af=4",
    "measurements/?status=2",
    "measurements/?search=number%20777",
    "measurements/?search=number",
    "measurements/?search=77",
    "measurements/?tags=bench",
    "measurements/?sort=-start_time",
];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut quick, mut only) = (false, String::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--only" => only = arguments.next().context("--only TEXT")?,
            _ => bail!("usage: bench-lists [--quick] [--only TEXT]"),
        }
    }
    let (probes, measurements) = if quick { (PROBES / 10, MEASUREMENTS / 10) } else { (PROBES, MEASUREMENTS) };
    // Reads are what is looked at; on a disk filling would take minutes.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let dir = folder.path().join("server");
    let file = dir.join("data").join("catalog.db");
    std::fs::create_dir_all(dir.join("data"))?;
    let mut out = io::stdout().lock();
    writeln!(out, "filling: {probes} probes, {measurements} measurements")?;
    fill(&file, probes, measurements)?;
    let ports = Ports::free()?;
    let server = ports.serve(&dir)?;
    let client = server.public();
    let base = client.base().to_owned();
    let agent = ureq::Agent::new_with_defaults();
    let healthz = figures(|| ask(&agent, &format!("{base}/healthz")).map(|_| 0))?;
    writeln!(out, "{:62} {:>8} {:>10} {:>10}", "", "rows", "median", "p99")?;
    line(&mut out, "GET /healthz", &healthz)?;
    for page in PAGES.iter().filter(|page| page.contains(&only)) {
        // As far on in the shorter list.
        let page = if quick {
            page.replace("?page=300", "?page=30").replace("?page=400", "?page=40")
        } else {
            page.to_string()
        };
        let mut text = String::new();
        let Figures(_, times) = figures(|| {
            text = ask(&agent, &format!("{base}/api/v2/{page}"))?;
            Ok(0)
        })?;
        let list: Value = serde_json::from_str(&text)?;
        let found = Figures(list["count"].as_u64().context("a list has a count")?, times);
        line(&mut out, &format!("GET {page}"), &found)?;
    }
    let plain = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    for sql in [
        "SELECT * FROM probe ORDER BY id LIMIT 50",
        "SELECT * FROM probe ORDER BY last_connected DESC LIMIT 50",
        "SELECT * FROM measurement ORDER BY id LIMIT 50",
        "SELECT count(*) FROM probe WHERE latitude > 50",
    ] {
        let found = figures(|| {
            let mut statement = plain.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            let mut count = 0;
            while rows.next()?.is_some() {
                count += 1;
            }
            Ok(count)
        })?;
        line(&mut out, sql, &found)?;
    }
    Ok(())
}

fn ask(agent: &ureq::Agent, url: &str) -> Result<String> {
    Ok(agent.get(url).call().with_context(|| url.to_owned())?.body_mut().read_to_string()?)
}

/// What was found, and how long it took each time, sorted.
struct Figures(u64, Vec<Duration>);

fn figures(mut run: impl FnMut() -> Result<u64>) -> Result<Figures> {
    run()?;
    let (mut times, mut found) = (Vec::new(), 0);
    for _ in 0..RUNS {
        let began = Instant::now();
        found = run()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(Figures(found, times))
}

fn line(out: &mut impl Write, what: &str, Figures(found, times): &Figures) -> Result<()> {
    // By nearest rank.
    let quantile = |share: f64| {
        let rank = (share * times.len() as f64).ceil() as usize;
        times.get(rank.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    };
    writeln!(out, "{what:62} {found:>8} {:>7.2} ms {:>7.2} ms", quantile(0.5), quantile(0.99))?;
    Ok(())
}

fn fill(file: &Path, probes: u32, measurements: u32) -> Result<()> {
    let catalog = SqliteCatalog::open(file)?;
    let owner = block_on(catalog.add_account("bench@example.net", UnixNanos::from_secs(START)))?;
    let owner = owner.context("the account is new")?.id;
    let mut ids = Vec::new();
    for n in 0..probes {
        ids.push(probe(&catalog, owner, n)?);
    }
    let tag =
        |(n, probe): (usize, &ProbeId)| TagChange { probe: *probe, tag: "system-ipv4-stable-1d", has: n % 2 == 0 };
    block_on(catalog.change_tags(&ids.iter().enumerate().map(tag).collect::<Vec<_>>()))?;
    for first in (0..measurements).step_by(BATCH as usize) {
        let new: Vec<NewMeasurement> =
            (first..(first + BATCH).min(measurements)).map(|n| measurement(owner, &ids, n)).collect();
        block_on(catalog.add_measurements(&new, UnixNanos::from_secs(START + i64::from(first))))?;
    }
    // As the server does when it runs.
    while block_on(catalog.index_texts())? {}
    Ok(())
}

fn probe(catalog: &SqliteCatalog, owner: AccountId, n: u32) -> Result<ProbeId> {
    let now = UnixNanos::from_secs(START + i64::from(n));
    let mut key = [0; 32];
    if let Some(start) = key.first_chunk_mut() {
        *start = n.to_be_bytes();
    }
    block_on(catalog.add_join_token(&key, owner, now, UnixNanos(i64::MAX)))?;
    let Admission::Joined(joined) = block_on(catalog.admit(&PublicKey(key), Some(&key), now))? else {
        anyhow::bail!("the key is known")
    };
    let id = joined.id;
    let v6: Vec<IpAddr> = if n.is_multiple_of(3) {
        vec![IpAddr::from(((0x2a00_u128 << 112) | u128::from(n) << 80 | 1).to_be_bytes())]
    } else {
        Vec::new()
    };
    let session = NewSession {
        probe: id,
        public_address: IpAddr::from((0x1400_0000 + n * 97).to_be_bytes()),
        addresses: v6,
        kinds: None,
        families: Vec::new(),
        software: "sonde-probe 0.1.0".into(),
        uplink: Uplink::Quic,
        at: now,
    };
    block_on(catalog.open_session(&session))?;
    let spread = |step: u32, width: u32| f64::from(n * step % (width * 10)) / 10.0 - f64::from(width) / 2.0;
    let country = COUNTRIES.get(n as usize % COUNTRIES.len()).map(|country| (*country).to_owned());
    let edit = ProbeEdit {
        description: Some(Some(format!("probe number {n}"))),
        country: Some(country),
        place: Some(Some((spread(37, 160), spread(91, 350)))),
        tags: Some(if n.is_multiple_of(10) { vec!["home".into()] } else { Vec::new() }),
        ..ProbeEdit::default()
    };
    block_on(catalog.edit_probe(id, &edit))?;
    let origin = ProbeOrigin { probe: id, asns: Some((Some(Asn(64_500 + n % 700)), None)), country: None };
    block_on(catalog.set_origins(&[origin]))?;
    Ok(id)
}

fn measurement(owner: AccountId, probes: &[ProbeId], n: u32) -> NewMeasurement {
    let kinds = [Kind::Ping, Kind::Traceroute, Kind::Ntp];
    let kind = kinds.get(n as usize % kinds.len()).copied().unwrap_or(Kind::Ping);
    let chosen = (0..5).filter_map(|k| probes.get((n as usize * 7 + k * 31) % probes.len()).copied());
    let target = IpAddr::from((0x1500_0000 + n % 5000).to_be_bytes());
    NewMeasurement {
        owner,
        spec: Spec::default_of(kind),
        af: Family::V4,
        target: Some(format!("host{}.example.net", n % 5000)),
        resolved: vec![target],
        resolve_on_probe: false,
        is_oneoff: !n.is_multiple_of(5),
        interval: n.is_multiple_of(5).then_some(900),
        spread: None,
        start: UnixNanos::from_secs(START + i64::from(n)),
        start_given: false,
        stop: (!n.is_multiple_of(5)).then(|| UnixNanos::from_secs(START + i64::from(n) + 900)),
        description: Some(format!("measurement number {n}")),
        is_public: !n.is_multiple_of(20),
        tags: if n.is_multiple_of(50) { vec!["bench".into()] } else { Vec::new() },
        probes_requested: 5,
        probe_sources: "[]".into(),
        probes: chosen.collect(),
        group: None,
        top_up: None,
        target_update_hours: None,
        origin: None,
    }
}
