//! Which probes: the `probes` list of a request, read and then answered from the catalog.
//!
//! A source names candidates (everywhere, a country, an AS, a prefix, probes, an earlier measurement's) and how many of
//! them; tags narrow them. Except where probes are named one by one, only those are chosen that are connected and have the
//! family. The choice is random but repeatable: the same seed and the same candidates give the same probes.

use std::collections::HashSet;

use ipnet::IpNet;
use serde_json::{Value, json};
use sonde_protocol::ids::{Asn, MeasurementId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::seed::mix;
use sonde_store::catalog::{NewParticipationRequest, Probe, ProbeFilter, Slice};
use sonde_store::view::Viewer;

use crate::Api;
use crate::error::{ApiError, Problem};
use crate::kinds::NOT_YET;
use crate::params::parse_id;
use crate::reader::{Reader, integer};

/// The most sources in one request.
const MAX_SOURCES: usize = 100;

/// The most probes in one measurement (Atlas).
pub(crate) const MAX_PROBES: u32 = 1000;

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
    })
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
        "area" => match value.to_ascii_lowercase().as_str() {
            "west" | "north-central" | "south-central" | "north-east" | "south-east" => Err(NOT_YET),
            _ => Err("This is not an area. WW is everywhere."),
        },
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
        "region" => Err(NOT_YET),
        _ => {
            fields
                .problem("type", "This is not a valid choice. Sources are area, country, asn, prefix, probes and msm.");
            return None;
        }
    };
    match found {
        Ok(candidates) => Some(candidates),
        Err(why) => {
            let field = if why == NOT_YET && !kind.eq_ignore_ascii_case("area") { "type" } else { "value" };
            fields.problem(field, why);
            None
        }
    }
}

fn list<T>(csv: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let items: Option<Vec<T>> = csv.split(',').map(str::trim).filter(|item| !item.is_empty()).map(read).collect();
    items.filter(|items| (1..=MAX_NAMES).contains(&items.len()))
}

impl Source {
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
    family: Family,
    seed: u64,
    taken: impl Fn(&ProbeId) -> bool,
) -> Result<Vec<ProbeId>, ApiError> {
    let mut fitting = fitting(api, viewer, source, family).await?;
    fitting.retain(|probe| !taken(probe));
    fitting.sort_unstable_by_key(|id| (mix(seed ^ mix(id.0)), id.0));
    fitting.truncate(source.requested as usize);
    Ok(fitting)
}

/// The sources as the measurement keeps them: Atlas's `probe_sources`.
pub(crate) fn record(sources: &[Source]) -> String {
    let records: Vec<Value> = sources
        .iter()
        .map(|source| {
            json!({
                "requested": source.requested,
                "type": source.kind,
                "value": source.value,
                "tags_include": source.include.join(","),
                "tags_exclude": source.exclude.join(","),
            })
        })
        .collect();
    Value::Array(records).to_string()
}

/// The probes that answer the sources, for one family. Sources are served in order; no probe is chosen twice. An empty
/// choice is no error: the measurement then says that no probe fits.
pub(crate) async fn choose(
    api: &Api,
    viewer: Viewer,
    sources: &[Source],
    family: Family,
    seed: u64,
) -> Result<Vec<ProbeId>, ApiError> {
    let mut chosen = Vec::new();
    let mut taken = HashSet::new();
    for source in sources {
        let mut fitting = fitting(api, viewer, source, family).await?;
        fitting.sort_unstable_by_key(|id| (mix(seed ^ mix(id.0)), id.0));
        // `take` stops before it pulls one too many, so that a later source can still have it.
        chosen.extend(fitting.into_iter().filter(|id| taken.insert(*id)).take(source.requested as usize));
    }
    Ok(chosen)
}

/// Every probe that fits one source.
pub(crate) async fn fitting(
    api: &Api,
    viewer: Viewer,
    source: &Source,
    family: Family,
) -> Result<Vec<ProbeId>, ApiError> {
    let filter = ProbeFilter {
        viewer,
        connected: Some(true),
        tags: source.include.clone(),
        without_tags: source.exclude.clone(),
        ..ProbeFilter::default()
    };
    let mut fitting = Vec::new();
    let mut collect =
        |probes: Vec<Probe>| fitting.extend(probes.iter().filter(|p| has_family(p, family)).map(|p| p.id));
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
            fitting.extend(all(api, &filter).await?.into_iter().map(|probe| probe.id));
        }
        Candidates::Measurement(id) => {
            let visible = api.catalog.measurement(*id).await?.filter(|found| viewer.sees_measurement(found));
            if visible.is_none() {
                return Err(ApiError::body(vec![Problem::at(
                    format!("{}/value", source.pointer),
                    format!("There is no measurement {id}."),
                )]));
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
            (json!({"type": "region", "value": "europe", "requested": 1}), "/probes/0/type"),
            (json!({"type": "area", "value": "West", "requested": 1}), "/probes/0/value"),
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
    fn a_request_cannot_ask_for_more_than_a_measurement_may_have() {
        let source = json!({"type": "area", "value": "WW", "requested": 600});
        let (_, problems) = parse(json!([source, source]));
        assert_eq!(problems.len(), 1);
    }
}
