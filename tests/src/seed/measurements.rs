//! The invented measurements: of every kind, periodic and once, finished, stopped, private, failing, empty.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sonde_protocol::bounded::Text;
use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::seed::{Rng, mix};
use sonde_protocol::spec::{DnsSpec, HttpSpec, Kind, Spec, SslcertSpec};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{MeasurementEdit, Measurements, NewMeasurement, Orders};
use sonde_store::conformance::block_on;
use sonde_store::sqlite::SqliteCatalog;

use super::probes::Invented;
use super::targets::{ACCENTS, AMSTERDAM, SAN_JOSE, SILENT, SINGAPORE, Target};
use super::{Options, People, texts};

/// How long ago most of them began.
const DAY: Duration = Duration::from_secs(86_400);

/// An invented measurement.
pub struct Planned {
    /// How programs find it; see [`super::Seeded`].
    pub name: &'static str,
    /// Its number.
    pub id: MeasurementId,
    /// What is measured.
    pub spec: Spec,
    /// Over which family.
    pub af: Family,
    /// What it is aimed at; absent for dns with the probes' own resolvers.
    pub target: Option<&'static Target>,
    /// Seconds between runs; absent for a one-off.
    pub interval: Option<u32>,
    /// When it began.
    pub start: UnixNanos,
    /// When it ended, or the end of the invented time.
    pub end: UnixNanos,
    /// Who takes part, as places in the list of probes.
    pub members: Vec<usize>,
}

impl Planned {
    /// When a probe's runs were due.
    pub fn due(&self, probe: ProbeId, from: UnixNanos, to: UnixNanos) -> Vec<UnixNanos> {
        let Some(interval) = self.interval else {
            return if (from..to).contains(&self.start) { vec![self.start] } else { Vec::new() };
        };
        let step = i64::from(interval) * 1_000_000_000;
        let phase = i64::try_from(mix(self.id.0 << 20 ^ probe.0) % u64::from(interval.min(400))).unwrap_or(0);
        let first = self.start.0 + phase * 1_000_000_000;
        let skip = (from.0 - first + step - 1).div_euclid(step).max(0);
        let times = (skip..).map(|n| UnixNanos(first + n * step));
        times.take_while(|at| *at < to && *at < self.end).collect()
    }
}

/// What a measurement is to be.
struct Wish {
    name: &'static str,
    spec: Spec,
    af: Family,
    target: Option<&'static Target>,
    description: String,
    probes: usize,
    began: Duration,
}

fn wish(name: &'static str, spec: Spec, af: Family, target: &'static Target, probes: usize) -> Wish {
    let description = format!("{} to {} over IPv{af}", spec.kind(), target.name);
    Wish { name, spec, af, target: Some(target), description, probes, began: DAY }
}

fn wishes(options: &Options) -> Vec<Wish> {
    use Family::{V4, V6};
    let plain = Spec::default_of;
    let question = |dns: DnsSpec| Spec::Dns(DnsSpec { query_argument: Text::cut("www.example.net"), ..dns });
    let http = HttpSpec { path: Text::cut("/index.html?a=1&b=<2>"), extended_timing: true, ..HttpSpec::default() };
    let sslcert = SslcertSpec::default();
    vec![
        wish("ping", plain(Kind::Ping), V4, &AMSTERDAM, options.ping_probes),
        wish("ping6", plain(Kind::Ping), V6, &AMSTERDAM, 50),
        wish("far", plain(Kind::Ping), V6, &SAN_JOSE, 5),
        wish("traceroute", plain(Kind::Traceroute), V4, &SINGAPORE, 25),
        wish("traceroute6", plain(Kind::Traceroute), V6, &SAN_JOSE, 18),
        wish("dns", question(DnsSpec::default()), V4, &AMSTERDAM, 40),
        Wish {
            target: None,
            description: "What the probes' own resolvers say of www.example.net".into(),
            ..wish(
                "resolvers",
                question(DnsSpec { use_probe_resolver: true, ..DnsSpec::default() }),
                V4,
                &AMSTERDAM,
                30,
            )
        },
        wish("sslcert", Spec::Sslcert(sslcert), V4, &SAN_JOSE, 12),
        wish("http", Spec::Http(http), V6, &AMSTERDAM, 16),
        wish("ntp", plain(Kind::Ntp), V4, &AMSTERDAM, 14),
        wish("pathmtu", plain(Kind::PathMtu), V6, &AMSTERDAM, 20),
        wish("silent", plain(Kind::Ping), V4, &SILENT, 8),
        Wish { description: texts::SCRIPT.into(), ..wish("script", plain(Kind::Ping), V4, &ACCENTS, 3) },
        Wish { description: texts::QUOTES.into(), ..wish("quotes", plain(Kind::Ping), V4, &AMSTERDAM, 1) },
        Wish { description: texts::RIGHT_TO_LEFT.into(), ..wish("rtl", plain(Kind::Ping), V4, &AMSTERDAM, 2) },
        Wish { description: texts::EMOJI.into(), ..wish("emoji", plain(Kind::Ping), V6, &AMSTERDAM, 2) },
        Wish { description: texts::long(), ..wish("long", plain(Kind::Ping), V4, &AMSTERDAM, 2) },
        Wish { description: String::new(), ..wish("undescribed", plain(Kind::Ping), V4, &AMSTERDAM, 2) },
        wish("private", plain(Kind::Ping), V4, &AMSTERDAM, 4),
        wish("others", plain(Kind::Ping), V4, &SINGAPORE, 6),
        wish("stopped", plain(Kind::Ping), V4, &SINGAPORE, 10),
        Wish { began: Duration::from_secs(7200), ..wish("once", plain(Kind::Ping), V4, &SINGAPORE, 30) },
        Wish {
            began: Duration::from_secs(5400),
            ..wish("once-traceroute", plain(Kind::Traceroute), V6, &AMSTERDAM, 10)
        },
        Wish { began: Duration::from_secs(4000), ..wish("once-failed", plain(Kind::Http), V4, &SILENT, 5) },
        Wish { began: Duration::ZERO, ..wish("scheduled", plain(Kind::Ping), V6, &SINGAPORE, 5) },
    ]
}

/// The built-in one of [`super::BUILTINS`], which the server makes: every probe's runs of the last hours.
pub fn ipv6(options: &Options, probes: &[Invented]) -> Planned {
    Planned {
        name: "ipv6",
        id: MeasurementId(9001),
        spec: Spec::default_of(Kind::Ipv6),
        af: Family::V6,
        target: None,
        interval: Some(Kind::Ipv6.default_interval()),
        start: options.until - Duration::from_secs(2 * 3600),
        end: options.until,
        members: (0..probes.len()).collect(),
    }
}

/// How long the stopped one ran.
const RAN: Duration = Duration::from_secs(6 * 3600);

/// Makes them, with those that take part.
pub fn make(catalog: &SqliteCatalog, options: &Options, people: &People, probes: &[Invented]) -> Result<Vec<Planned>> {
    let mut all = Vec::new();
    for wish in wishes(options) {
        let mut rng = Rng::new(mix(options.seed ^ mix(all.len() as u64)));
        all.push(make_one(catalog, options, people, probes, wish, &mut rng)?);
    }
    while block_on(catalog.index_texts())? {}
    Ok(all)
}

fn make_one(
    catalog: &SqliteCatalog,
    options: &Options,
    people: &People,
    probes: &[Invented],
    wish: Wish,
    rng: &mut Rng,
) -> Result<Planned> {
    let name = wish.name;
    let is_oneoff = name.starts_with("once");
    let start = match name {
        "scheduled" => options.until + Duration::from_secs(30 * 86_400),
        _ => options.until - wish.began,
    };
    let end = if name == "stopped" { start + RAN } else { options.until };
    let began = (wish.began > Duration::ZERO).then_some(start);
    let members = choose(probes, wish.probes, wish.af, began, rng);
    let interval = (!is_oneoff).then(|| wish.spec.kind().default_interval());
    let ids: Vec<ProbeId> = members.iter().filter_map(|place| probes.get(*place)).map(|probe| probe.id).collect();
    let new = NewMeasurement {
        owner: owner(name, people),
        spec: wish.spec.clone(),
        af: wish.af,
        target: wish.target.map(|target| target.name.to_owned()),
        resolved: wish.target.map(|target| target.address(wish.af)).into_iter().collect(),
        resolve_on_probe: false,
        is_oneoff,
        interval,
        spread: interval.map(|interval| (interval / 2).min(400)),
        start,
        start_given: name == "scheduled",
        stop: is_oneoff.then(|| start + Duration::from_secs(900)),
        description: (!wish.description.is_empty()).then_some(wish.description),
        is_public: name != "private",
        tags: if name == "ping" { vec!["monitoring".into(), "ams-ix".into()] } else { Vec::new() },
        probes_requested: u32::try_from(wish.probes)?,
        probe_sources: format!("[{{\"type\":\"area\",\"value\":\"WW\",\"requested\":{}}}]", wish.probes),
        probes: ids.clone(),
        group: None,
        top_up: None,
        target_update_hours: None,
        origin: None,
    };
    let made_at = start.min(options.until) - Duration::from_secs(3);
    let id = *block_on(catalog.add_measurements(&[new], made_at))?.first().context("no measurement was made")?;
    match name {
        "stopped" => drop(block_on(catalog.stop_measurement(id, end))?),
        "private" => block_on(
            catalog.edit_measurement(id, &MeasurementEdit { is_public: Some(false), ..MeasurementEdit::default() }),
        )?,
        _ if is_oneoff => {
            drop(block_on(catalog.settle_oneoffs(&ids.iter().map(|probe| (id, *probe)).collect::<Vec<_>>()))?)
        }
        _ => {}
    }
    Ok(Planned { name, id, spec: wish.spec, af: wish.af, target: wish.target, interval, start, end, members })
}

fn owner(name: &str, people: &People) -> AccountId {
    if name == "others" { people.other } else { people.owner }
}

/// Some probes with this family that were there when it began, if it has, each once.
fn choose(probes: &[Invented], wanted: usize, af: Family, began: Option<UnixNanos>, rng: &mut Rng) -> Vec<usize> {
    let fits = |probe: &Invented| {
        (af == Family::V4 || probe.address_v6.is_some()) && began.is_none_or(|began| probe.is_there(began))
    };
    let mut fit: Vec<usize> = (0..).zip(probes).filter(|(_, probe)| fits(probe)).map(|(place, _)| place).collect();
    let mut chosen = Vec::new();
    while chosen.len() < wanted && !fit.is_empty() {
        let at = usize::try_from(rng.below(fit.len() as u64)).unwrap_or(0);
        chosen.push(fit.swap_remove(at));
    }
    chosen.sort_unstable();
    chosen
}
