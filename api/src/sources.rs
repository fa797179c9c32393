//! Which probes: the `probes` list of a request, read and then answered from the catalog.
//!
//! A source names candidates (everywhere, an area or a region, countries, an AS, a prefix, probes, an earlier measurement's)
//! and how many of them; tags narrow them. Except where probes are named one by one, only those are chosen that are connected
//! have the family and allow the kind; those that are named have to allow it too. The choice is random but repeatable: the same seed and the same candidates give the same probes. A
//! source may ask for diversity: then its probes are spread over countries and networks, see [`spread`].

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use serde_json::{Value, json};
use sonde_protocol::ids::{Asn, MeasurementId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::seed::mix;
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{NewParticipationRequest, Probe, ProbeFilter, Slice};
use sonde_store::view::Viewer;

use crate::Api;
use crate::auth::Access;
use crate::error::{ApiError, Problem};
use crate::params::parse_id;
use crate::permission::Permission;
use crate::reader::{Reader, integer};
use crate::regions;

/// The most sources in one request.
const MAX_SOURCES: usize = 100;

/// The most probes in one measurement (Atlas).
pub(crate) const MAX_PROBES: u32 = 1000;

/// The greatest seed: every client can read so much without losing digits (RFC 8259, 6).
const MAX_SEED: u64 = (1 << 53) - 1;

/// The most names in one source.
const MAX_NAMES: usize = 1000;

/// How many probes are read from the catalog at a time.
const BATCH: u64 = 1000;

/// One source, as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source {
    /// Where it stands in the body.
    pointer: String,
    /// The `type` as it was written.
    kind: String,
    /// The `value`, as text.
    value: String,
    candidates: Candidates,
    /// How many at most.
    pub requested: u32,
    include: Vec<String>,
    exclude: Vec<String>,
    /// Spread over countries and networks.
    diversity: bool,
    /// Repeats an earlier choice.
    seed: Option<u64>,
}

/// A probe that fits, and what it has in common with others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    /// Which.
    pub id: ProbeId,
    country: Option<String>,
    asn: Option<Asn>,
}

#[derive(Debug, Clone, PartialEq)]
enum Candidates {
    Everywhere,
    Countries(Vec<String>),
    As(Asn),
    Prefix(IpNet),
    Probes(Vec<ProbeId>),
    Measurement(MeasurementId),
}

/// Reads the `probes` of a request.
pub(crate) fn read(body: &mut Reader<'_>) -> Vec<Source> {
    if body.value("probes").is_none() {
        body.required("probes");
        return Vec::new();
    }
    let Some(items) = body.list("probes") else { return Vec::new() };
    if items.is_empty() || items.len() > MAX_SOURCES {
        body.problem("probes", format!("Between 1 and {MAX_SOURCES} sources of probes are expected."));
        return Vec::new();
    }
    let mut sources = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(mut fields) = body.inner(item, &format!("probes/{index}")) {
            sources.extend(source(&mut fields));
        }
    }
    let total = sources.iter().fold(0u32, |sum, source: &Source| sum.saturating_add(source.requested));
    if total > MAX_PROBES {
        body.problem("probes", format!("A measurement has at most {MAX_PROBES} probes; {total} were asked for."));
    }
    sources
}

fn source(fields: &mut Reader<'_>) -> Option<Source> {
    let kind = match fields.value("type") {
        None => {
            fields.required("type");
            None
        }
        Some(_) => fields.text::<32>("type"),
    };
    let value = match fields.value("value") {
        None => {
            fields.required("value");
            None
        }
        Some(Value::String(text)) => Some(text.trim().to_owned()),
        Some(Value::Number(number)) => Some(number.to_string()),
        // A list of probes or countries instead of a text with commas.
        Some(Value::Array(items)) if items.iter().all(|item| item.is_string() || item.is_number()) => {
            let texts: Vec<String> =
                items.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
            Some(texts.join(","))
        }
        Some(_) => {
            fields.problem("value", "Not a valid string.");
            None
        }
    };
    let (include, exclude) = tags(fields);
    let diversity = fields.flag("diversity").unwrap_or(false);
    let seed = seed(fields);
    let candidates = candidates(kind.as_deref()?, value.as_deref()?, fields)?;
    let named = match &candidates {
        Candidates::Probes(ids) => u32::try_from(ids.len()).ok(),
        _ => None,
    };
    let requested = match (fields.value("requested"), named) {
        // Whoever names probes means all of them.
        (None, Some(named)) => named.min(MAX_PROBES),
        (None, None) => {
            fields.required("requested");
            return None;
        }
        (Some(value), _) => match integer(value).map(u32::try_from) {
            Some(Ok(requested)) if (1..=MAX_PROBES).contains(&requested) => requested,
            Some(_) => {
                fields.problem("requested", format!("Ensure this value is between 1 and {MAX_PROBES}."));
                return None;
            }
            None => {
                fields.problem("requested", "A valid integer is required.");
                return None;
            }
        },
    };
    Some(Source {
        pointer: fields.pointer().to_owned(),
        kind: kind?.as_str().to_owned(),
        value: value?,
        candidates,
        requested,
        include,
        exclude,
        diversity,
        seed,
    })
}

/// The seed of an earlier choice.
fn seed(fields: &mut Reader<'_>) -> Option<u64> {
    let number = fields.integer("seed")?;
    let seed = u64::try_from(number).ok().filter(|seed| *seed <= MAX_SEED);
    if seed.is_none() {
        fields.problem("seed", format!("Ensure this value is between 0 and {MAX_SEED}."));
    }
    seed
}

/// The tags, as the documentation has them (`tags: {include, exclude}`) and as older clients send them.
fn tags(fields: &mut Reader<'_>) -> (Vec<String>, Vec<String>) {
    let mut include = fields.slugs("tags_include");
    let mut exclude = fields.slugs("tags_exclude");
    if let Some(value) = fields.value("tags")
        && let Some(mut tags) = fields.inner(value, "tags")
    {
        include.extend(tags.slugs("include"));
        exclude.extend(tags.slugs("exclude"));
    }
    (include, exclude)
}

fn candidates(kind: &str, value: &str, fields: &mut Reader<'_>) -> Option<Candidates> {
    let found = match kind.to_ascii_lowercase().as_str() {
        "area" if value.eq_ignore_ascii_case("WW") => Ok(Candidates::Everywhere),
        "area" => regions::area(value)
            .map(Candidates::Countries)
            .ok_or("This is not an area. Areas are WW, West, North-Central, South-Central, North-East and South-East."),
        "country" | "countries" => {
            let codes = list(value, |code| {
                (code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic()))
                    .then(|| code.to_ascii_uppercase())
            });
            codes.map(Candidates::Countries).ok_or("Enter a country by its two letters (ISO 3166).")
        }
        "asn" => {
            let digits = value.get(..2).filter(|start| start.eq_ignore_ascii_case("AS")).and_then(|_| value.get(2..));
            digits.unwrap_or(value).parse().map(Candidates::As).map_err(|_| "Enter the number of an AS.")
        }
        "prefix" => value.parse().map(Candidates::Prefix).map_err(|_| "Enter a prefix such as 192.0.2.0/24."),
        "probes" => {
            let ids = list(value, |id| parse_id(id).map(ProbeId));
            ids.map(Candidates::Probes).ok_or("Enter numbers of probes, separated by commas.")
        }
        "msm" => {
            parse_id(value).map(|id| Candidates::Measurement(MeasurementId(id))).ok_or("Enter a measurement's number.")
        }
        "region" => regions::region(value).map(Candidates::Countries).ok_or(
            "This is not a region. Regions are continents and sub-regions of the UN such as western_europe, RIRs such as \
             ripencc, and eu27.",
        ),
        _ => {
            let sources = "area, country, region, asn, prefix, probes and msm";
            fields.problem("type", format!("This is not a valid choice. Sources are {sources}."));
            return None;
        }
    };
    match found {
        Ok(candidates) => Some(candidates),
        Err(why) => {
            fields.problem("value", why);
            None
        }
    }
}

fn list<T>(csv: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let items: Option<Vec<T>> = csv.split(',').map(str::trim).filter(|item| !item.is_empty()).map(read).collect();
    items.filter(|items| (1..=MAX_NAMES).contains(&items.len()))
}

/// A new seed for the choices of one request: different every time, and not more than [`MAX_SEED`].
pub(crate) fn new_seed(now: UnixNanos) -> u64 {
    mix(now.0.unsigned_abs()) & MAX_SEED
}

/// Which of the probes come first, by chance.
fn chance(seed: u64, id: ProbeId) -> (u64, u64) {
    (mix(seed ^ mix(id.0)), id.0)
}

/// Orders probes so that the beginning of the list is spread over countries, and within each country over networks: the
/// first round has one of each country, the second one more of each that has more, from other networks as far as there are
/// any. Probes of which neither is known count as those of one more.
fn spread(mut fits: Vec<Fit>, seed: u64) -> Vec<ProbeId> {
    fits.sort_unstable_by_key(|fit| chance(seed, fit.id));
    let mut of_network: HashMap<(Option<String>, Option<Asn>), u32> = HashMap::new();
    let mut ranked: Vec<(u32, Fit)> = Vec::new();
    for fit in fits {
        let rank = of_network.entry((fit.country.clone(), fit.asn)).or_default();
        ranked.push((*rank, fit));
        *rank += 1;
    }
    // Stable: chance decides within a rank.
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut of_country: HashMap<Option<String>, u32> = HashMap::new();
    let mut rounds: Vec<(u32, ProbeId)> = Vec::new();
    for (_, fit) in ranked {
        let round = of_country.entry(fit.country).or_default();
        rounds.push((*round, fit.id));
        *round += 1;
    }
    rounds.sort_by_key(|(round, id)| (*round, chance(seed, *id)));
    rounds.into_iter().map(|(_, id)| id).collect()
}

impl Source {
    /// The probes in the order in which they are chosen.
    fn order(&self, mut fits: Vec<Fit>, seed: u64) -> Vec<ProbeId> {
        let seed = self.seed.unwrap_or(seed);
        if self.diversity {
            return spread(fits, seed);
        }
        fits.sort_unstable_by_key(|fit| chance(seed, fit.id));
        fits.into_iter().map(|fit| fit.id).collect()
    }

    /// The source as a request for participation is recorded.
    pub fn request(&self) -> NewParticipationRequest {
        NewParticipationRequest {
            removes: false,
            requested: self.requested,
            source: self.kind.clone(),
            value: self.value.clone(),
            tags_include: self.include.join(","),
            tags_exclude: self.exclude.join(","),
        }
    }

    /// The probes that are named one by one.
    pub fn named(&self) -> &[ProbeId] {
        match &self.candidates {
            Candidates::Probes(ids) => ids,
            _ => &[],
        }
    }
}

/// Reads sources that stand in a list of their own, and what is wrong with them.
pub(crate) fn read_each(items: &[Value]) -> (Vec<Source>, Vec<Problem>) {
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        if let Some(mut fields) = Reader::new(item, format!("/{index}"), &mut problems) {
            sources.extend(source(&mut fields));
        }
    }
    (sources, problems)
}

/// As [`choose`] for one source, without the probes that are taken already.
pub(crate) async fn choose_others(
    api: &Api,
    viewer: Viewer,
    source: &Source,
    (family, kind): (Family, Kind),
    seed: u64,
    taken: impl Fn(&ProbeId) -> bool,
) -> Result<Vec<ProbeId>, ApiError> {
    let fitting = fitting(api, viewer, source, family, kind).await?;
    let chosen = source.order(fitting, seed).into_iter().filter(|probe| !taken(probe));
    Ok(chosen.take(source.requested as usize).collect())
}

/// The sources as the measurement keeps them: Atlas's `probe_sources`, and the seed by which the choice can be repeated.
pub(crate) fn record(sources: &[Source], seed: u64) -> String {
    let records: Vec<Value> = sources
        .iter()
        .map(|source| {
            json!({
                "requested": source.requested,
                "type": source.kind,
                "value": source.value,
                "tags_include": source.include.join(","),
                "tags_exclude": source.exclude.join(","),
                "diversity": source.diversity,
                "seed": source.seed.unwrap_or(seed),
            })
        })
        .collect();
    Value::Array(records).to_string()
}

/// The probes that answer the sources, for one family and kind. Sources are served in order; no probe is chosen twice. An empty
/// choice is no error: the measurement then says that no probe fits.
pub(crate) async fn choose(
    api: &Api,
    viewer: Viewer,
    sources: &[Source],
    (family, kind): (Family, Kind),
    seed: u64,
) -> Result<Vec<ProbeId>, ApiError> {
    let mut chosen = Vec::new();
    let mut taken = HashSet::new();
    for source in sources {
        let fitting = source.order(fitting(api, viewer, source, family, kind).await?, seed);
        // `take` stops before it pulls one too many, so that a later source can still have it.
        chosen.extend(fitting.into_iter().filter(|id| taken.insert(*id)).take(source.requested as usize));
    }
    Ok(chosen)
}

/// Every probe that fits one source, without what it has in common with others.
pub(crate) async fn all_of(
    api: &Api,
    viewer: Viewer,
    source: &Source,
    family: Family,
    kind: Kind,
) -> Result<Vec<ProbeId>, ApiError> {
    Ok(fitting(api, viewer, source, family, kind).await?.into_iter().map(|fit| fit.id).collect())
}

/// Refuses sources that are measurements which whoever asks may not see: a key that may only make measurements must not
/// find out which probes a private one has.
pub(crate) async fn check_seen<'a>(
    api: &Api,
    access: &Access,
    sources: impl IntoIterator<Item = &'a Source>,
) -> Result<(), ApiError> {
    let mut unknown = Vec::new();
    for source in sources {
        let Candidates::Measurement(id) = source.candidates else { continue };
        let viewer = access.viewer(Permission::GetMeasurement, Some(id));
        if !api.catalog.measurement(id).await?.is_some_and(|found| viewer.sees_measurement(&found)) {
            unknown.push(no_measurement(source, id));
        }
    }
    if unknown.is_empty() { Ok(()) } else { Err(ApiError::body(unknown)) }
}

fn no_measurement(source: &Source, id: MeasurementId) -> Problem {
    Problem::at(format!("{}/value", source.pointer), format!("There is no measurement {id}."))
}

/// Every probe that fits one source.
async fn fitting(api: &Api, viewer: Viewer, source: &Source, family: Family, kind: Kind) -> Result<Vec<Fit>, ApiError> {
    let filter = ProbeFilter {
        viewer,
        connected: Some(true),
        // Whoever is named and may not is none that gets an order: it would skip every run.
        allows: Some(kind),
        tags: source.include.clone(),
        without_tags: source.exclude.clone(),
        // In an open network anybody may set up many; only who names them measures with those that nobody stands for.
        vouched: match source.candidates {
            Candidates::Probes(_) | Candidates::Measurement(_) => None,
            _ => Some(true),
        },
        ..ProbeFilter::default()
    };
    let mut fitting = Vec::new();
    let fit = |probe: &Probe| Fit {
        id: probe.id,
        country: probe.country.clone(),
        asn: match family {
            Family::V4 => probe.asn_v4,
            Family::V6 => probe.asn_v6,
        },
    };
    let mut collect = |probes: Vec<Probe>| fitting.extend(probes.iter().filter(|p| has_family(p, family)).map(fit));
    match &source.candidates {
        Candidates::Everywhere => collect(all(api, &filter).await?),
        Candidates::Countries(codes) => {
            collect(all(api, &ProbeFilter { countries: Some(codes.clone()), ..filter }).await?);
        }
        Candidates::As(asn) => collect(all(api, &ProbeFilter { asns: vec![(None, vec![*asn])], ..filter }).await?),
        Candidates::Prefix(prefix) => {
            let networks = vec![(prefix.addr(), prefix.prefix_len())];
            collect(all(api, &ProbeFilter { networks, ..filter }).await?);
        }
        // Named one by one: also those that are away at the moment; they get their order when they come back.
        Candidates::Probes(ids) => {
            let filter = ProbeFilter { ids: Some(ids.clone()), connected: None, ..filter };
            fitting.extend(all(api, &filter).await?.iter().map(fit));
        }
        Candidates::Measurement(id) => {
            let visible = api.catalog.measurement(*id).await?.filter(|found| viewer.sees_measurement(found));
            if visible.is_none() {
                return Err(ApiError::body(vec![no_measurement(source, *id)]));
            }
            let ids = api.catalog.participants(*id).await?.into_iter().map(|part| part.probe).collect();
            collect(all(api, &ProbeFilter { ids: Some(ids), ..filter }).await?);
        }
    }
    Ok(fitting)
}

async fn all(api: &Api, filter: &ProbeFilter) -> Result<Vec<Probe>, ApiError> {
    let mut probes = Vec::new();
    loop {
        let slice = Slice { offset: probes.len() as u64, limit: BATCH, descending: false };
        let page = api.catalog.probes(filter, slice).await?;
        let done = (page.items.len() as u64) < BATCH;
        probes.extend(page.items);
        if done {
            return Ok(probes);
        }
    }
}

/// Does the family work there, as far as anybody knows?
fn has_family(probe: &Probe, family: Family) -> bool {
    let (address, tag) = match family {
        Family::V4 => (probe.address_v4, "system-ipv4-works"),
        Family::V6 => (probe.address_v6, "system-ipv6-works"),
    };
    address.is_some() || probe.tags.iter().any(|known| known == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(probes: Value) -> (Vec<Source>, Vec<Problem>) {
        let body = json!({ "probes": probes });
        let mut problems = Vec::new();
        let sources = read(&mut Reader::new(&body, String::new(), &mut problems).unwrap());
        (sources, problems)
    }

    #[test]
    fn values_as_clients_write_them() {
        for (source, expected) in [
            (json!({"type": "area", "value": "WW", "requested": 5}), Candidates::Everywhere),
            (json!({"type": "country", "value": "nl", "requested": "5"}), Candidates::Countries(vec!["NL".into()])),
            (json!({"type": "asn", "value": 3333, "requested": 1}), Candidates::As(Asn(3333))),
            (json!({"type": "asn", "value": "AS3333", "requested": 1}), Candidates::As(Asn(3333))),
            (
                json!({"type": "msm", "value": 1000000, "requested": 1}),
                Candidates::Measurement(MeasurementId(1_000_000)),
            ),
            (
                json!({"type": "prefix", "value": "2001:db8::/32", "requested": 1}),
                Candidates::Prefix("2001:db8::/32".parse().unwrap()),
            ),
            (json!({"type": "probes", "value": "7, 8"}), Candidates::Probes(vec![ProbeId(7), ProbeId(8)])),
            (
                json!({"type": "probes", "value": [7, 8], "requested": 2}),
                Candidates::Probes(vec![ProbeId(7), ProbeId(8)]),
            ),
        ] {
            let (sources, problems) = parse(json!([source]));
            assert_eq!(problems, [], "{source}");
            assert_eq!(sources.first().map(|s| &s.candidates), Some(&expected), "{source}");
        }
    }

    #[test]
    fn tags_in_both_forms() {
        let (sources, problems) = parse(json!([
            {"type": "area", "value": "WW", "requested": 1, "tags": {"include": ["system-ipv4-works"], "exclude": null}},
            {"type": "area", "value": "WW", "requested": 1, "tags_include": "a,b", "tags_exclude": "c"},
        ]));
        assert_eq!(problems, []);
        assert_eq!(sources[0].include, ["system-ipv4-works"]);
        assert_eq!(
            (sources[1].include.as_slice(), sources[1].exclude.as_slice()),
            (["a", "b"].map(String::from).as_slice(), ["c"].map(String::from).as_slice())
        );
    }

    #[test]
    fn each_problem_at_its_place() {
        for (source, place) in [
            (json!(5), "/probes/0"),
            (json!({"value": "WW", "requested": 1}), "/probes/0/type"),
            (json!({"type": "moon", "value": "WW", "requested": 1}), "/probes/0/type"),
            (json!({"type": "region", "value": "middle_earth", "requested": 1}), "/probes/0/value"),
            (json!({"type": "area", "value": "WW", "requested": 1, "diversity": "very"}), "/probes/0/diversity"),
            (json!({"type": "area", "value": "WW", "requested": 1, "seed": -1}), "/probes/0/seed"),
            (json!({"type": "area", "value": "WW", "requested": 1, "seed": 9007199254740992u64}), "/probes/0/seed"),
            (json!({"type": "area", "value": "Mars", "requested": 1}), "/probes/0/value"),
            (json!({"type": "area", "requested": 1}), "/probes/0/value"),
            (json!({"type": "area", "value": {}, "requested": 1}), "/probes/0/value"),
            (json!({"type": "country", "value": "NLD", "requested": 1}), "/probes/0/value"),
            (json!({"type": "asn", "value": "KPN", "requested": 1}), "/probes/0/value"),
            (json!({"type": "prefix", "value": "10", "requested": 1}), "/probes/0/value"),
            (json!({"type": "probes", "value": "1,x", "requested": 1}), "/probes/0/value"),
            (json!({"type": "area", "value": "WW"}), "/probes/0/requested"),
            (json!({"type": "area", "value": "WW", "requested": 0}), "/probes/0/requested"),
            (json!({"type": "area", "value": "WW", "requested": -1}), "/probes/0/requested"),
            (json!({"type": "area", "value": "WW", "requested": "many"}), "/probes/0/requested"),
            (json!({"type": "area", "value": "WW", "requested": 1, "tags": []}), "/probes/0/tags"),
            (json!({"type": "area", "value": "WW", "requested": 1, "tags": {"include": 5}}), "/probes/0/tags/include"),
            (
                json!({"type": "area", "value": "WW", "requested": 1, "tags": {"include": ["a b"]}}),
                "/probes/0/tags/include",
            ),
        ] {
            let (_, problems) = parse(json!([source]));
            let places: Vec<_> = problems.into_iter().map(|problem| problem.source).collect();
            assert_eq!(places, [crate::error::Source::Pointer(place.into())], "{source}");
        }
    }

    #[test]
    fn diversity_goes_round_countries_and_their_networks() {
        let fit = |id, country: Option<&str>, asn: u32| Fit {
            id: ProbeId(id),
            country: country.map(str::to_owned),
            asn: Some(Asn(asn)),
        };
        // Ten in one network of a country, two in others of it; one each of two countries; one nowhere.
        let many = (1..=10).map(|id| fit(id, Some("NL"), 1));
        let others =
            [(11, Some("NL"), 2), (12, Some("NL"), 3), (13, Some("DE"), 1), (14, Some("AU"), 9), (15, None, 1)];
        let fits: Vec<Fit> = many.chain(others.map(|(id, country, asn)| fit(id, country, asn))).collect();
        for seed in 0..50 {
            let ids: Vec<u64> = spread(fits.clone(), seed).into_iter().map(|id| id.0).collect();
            assert_eq!(ids.len(), 15);
            let is_dutch = |id: &&u64| **id <= 12;
            assert_eq!(ids[..4].iter().filter(is_dutch).count(), 1, "one of each country: {ids:?}");
            let first_dutch: Vec<&u64> = ids.iter().filter(is_dutch).take(3).collect();
            assert!(first_dutch.contains(&&11) && first_dutch.contains(&&12), "three networks: {ids:?}");
            assert_eq!(
                ids,
                spread(fits.iter().rev().cloned().collect(), seed).iter().map(|id| id.0).collect::<Vec<_>>()
            );
        }
        let firsts: HashSet<ProbeId> = (0..50).map(|seed| spread(fits.clone(), seed)[0]).collect();
        assert!(firsts.len() > 3, "chance decides: {firsts:?}");
    }

    #[test]
    fn a_request_cannot_ask_for_more_than_a_measurement_may_have() {
        let source = json!({"type": "area", "value": "WW", "requested": 600});
        let (_, problems) = parse(json!([source, source]));
        assert_eq!(problems.len(), 1);
    }
}
