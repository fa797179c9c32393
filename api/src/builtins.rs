//! Built-in measurements: the entries of the operator's file, read by the rules of `POST measurements/`.
//!
//! An entry is a definition with a number of its own (`id`), and perhaps `probes` (`"all"`, or tags to include and exclude)
//! and `address`, with which a target that is a name need not be looked up. With `anchors = true` it stands for one measurement
//! towards each anchor ([`TowardsAnchors`]); `keep` makes the catalog be as all of them say. What a definition need not have and the file
//! has nevertheless is a problem: a slip of the pen must not be measured by everybody.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::net::Family;
use sonde_protocol::order::MAX_ADDRESSES;
use sonde_protocol::spec::{Kind, Spec};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Builtin, NOBODY, NewMeasurement};

use crate::config::ApiConfig;
use crate::definition::{self, Definition};
use crate::error::{Problem, Source};
use crate::kinds;
use crate::reader::Reader;
use crate::target::{self, Target};

mod anchors;
mod keep;

pub use anchors::TowardsAnchors;
pub use keep::AnchorBuiltins;

/// The most entries, and the most measurements towards anchors besides: a probe has no room for more than some thousand orders.
const MAX_ENTRIES: usize = 512;

/// What an entry may say beside its kind's own fields.
const COMMON: &[&str] = &[
    "id",
    "type",
    "af",
    "target",
    "address",
    "interval",
    "spread",
    "description",
    "tags",
    "probes",
    "resolve_on_probe",
];

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuiltinFile {
    /// Measurements.
    pub builtins: Vec<Builtin>,
    /// What is measured towards every anchor.
    pub towards_anchors: Vec<TowardsAnchors>,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltinProblem {
    /// Which, from 0.
    pub entry: usize,
    /// The field; empty when it is about the whole.
    pub field: String,
    /// What.
    pub detail: String,
}

/// Reads the entries of the file. `http_hosts` are those that the network's directory lists.
///
/// # Errors
/// Everything that is wrong, in the entries' order.
pub fn read_builtins(
    entries: &[Value],
    config: &ApiConfig,
    http_hosts: &[String],
    now: UnixNanos,
) -> Result<BuiltinFile, Vec<BuiltinProblem>> {
    let (mut file, mut problems) = (BuiltinFile::default(), Vec::new());
    let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
    for (entry, value) in entries.iter().enumerate() {
        let mut found: Vec<Problem> = Vec::new();
        let taken = match value.get("anchors") {
            None => {
                let builtin = read_one(value, config, http_hosts, now, &mut found);
                let taken = builtin.as_ref().map(|builtin| (builtin.id.0, builtin.id.0));
                file.builtins.extend(builtin);
                taken
            }
            Some(Value::Bool(true)) => match TowardsAnchors::read(value, config, now) {
                Ok(towards) => {
                    let first = towards.first().0;
                    file.towards_anchors.push(towards);
                    Some((first, first + anchors::NUMBERS - 1))
                }
                Err(problems) => {
                    found = problems;
                    None
                }
            },
            Some(_) => {
                found.push(Problem::at("/anchors", "Write true, or leave it out."));
                None
            }
        };
        if let Some((first, last)) = taken {
            // Of what lies before the last number, the nearest reaches furthest.
            if numbers.range(..=last).next_back().is_some_and(|(_, &reaches)| reaches >= first) {
                found.push(Problem::at("/id", "Another measurement has this number."));
            }
            numbers.insert(first, last);
        }
        if entry == MAX_ENTRIES {
            found.push(Problem::at("", format!("There are more than {MAX_ENTRIES} measurements.")));
        }
        problems.extend(found.into_iter().map(|problem| {
            let (Source::Pointer(place) | Source::Parameter(place)) = problem.source;
            BuiltinProblem { entry, field: place.trim_start_matches('/').to_owned(), detail: problem.detail }
        }));
    }
    if problems.is_empty() { Ok(file) } else { Err(problems) }
}

/// Reads one measurement, with a problem for whatever is wrong with it.
fn read_one(
    entry: &Value,
    config: &ApiConfig,
    http_hosts: &[String],
    now: UnixNanos,
    problems: &mut Vec<Problem>,
) -> Option<Builtin> {
    Reader::new(entry, String::new(), problems).and_then(|mut fields| read(&mut fields, entry, config, http_hosts, now))
}

fn read(
    fields: &mut Reader<'_>,
    entry: &Value,
    config: &ApiConfig,
    http_hosts: &[String],
    now: UnixNanos,
) -> Option<Builtin> {
    let id = number(fields);
    let addresses = addresses(fields);
    let probes = probes(fields);
    if let Some(kind) = fields.value("type").and_then(|kind| kind.as_str()?.parse::<Kind>().ok()) {
        let known = kinds::write(&Spec::default_of(kind));
        let names = entry.as_object().into_iter().flat_map(|object| object.keys());
        for name in names.filter(|name| !COMMON.contains(&name.as_str()) && !known.contains_key(name.as_str())) {
            fields.problem(name, "A built-in measurement of this type has no such field.");
        }
    }
    let definition = definition::of_builtin(fields, config, http_hosts)?;
    let resolved = resolved(fields, &definition, addresses?, config);
    let (include, exclude) = probes?;
    let asked = asked(definition, resolved?, (&include, &exclude), now);
    Some(Builtin { id: id?, asked, include, exclude, not_by: None })
}

fn number(fields: &mut Reader<'_>) -> Option<MeasurementId> {
    if fields.value("id").is_none() {
        fields.required("id");
        return None;
    }
    let number = fields.integer("id")?;
    let id = u64::try_from(number).ok().filter(|id| *id > 0).map(MeasurementId).filter(|id| id.is_builtin());
    if id.is_none() {
        fields.problem("id", format!("The number is between 1 and {}.", MeasurementId::FIRST_USER.0 - 1));
    }
    id
}

/// Which probes: tags that they have, and tags that they do not have.
fn probes(fields: &mut Reader<'_>) -> Option<(Vec<String>, Vec<String>)> {
    let value = match fields.value("probes") {
        None => return Some((Vec::new(), Vec::new())),
        Some(Value::String(word)) if word == "all" => return Some((Vec::new(), Vec::new())),
        Some(value @ Value::Object(_)) => value,
        Some(_) => {
            fields.problem("probes", "Write \"all\", or { include = [tags], exclude = [tags] }.");
            return None;
        }
    };
    let mut tags = fields.inner(value, "probes")?;
    let (include, exclude) = (tags.slugs("include"), tags.slugs("exclude"));
    if include.iter().any(|tag| exclude.contains(tag)) {
        tags.problem("exclude", "No probe can have a tag and not have it.");
    }
    let names = value.as_object().into_iter().flat_map(|object| object.keys());
    for name in names.filter(|name| !matches!(name.as_str(), "include" | "exclude")) {
        tags.problem(name, "There are include and exclude here.");
    }
    Some((include, exclude))
}

/// The addresses of a target that is a name.
fn addresses(fields: &mut Reader<'_>) -> Option<Vec<IpAddr>> {
    let texts: Vec<&Value> = match fields.value("address") {
        None => return Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().collect(),
        Some(one) => vec![one],
    };
    let addresses: Option<Vec<IpAddr>> = texts.iter().map(|text| text.as_str()?.parse().ok()).collect();
    match addresses {
        Some(addresses) if (1..=MAX_ADDRESSES).contains(&addresses.len()) => Some(addresses),
        _ => {
            fields.problem("address", format!("Write an address, or a list of at most {MAX_ADDRESSES}."));
            None
        }
    }
}

/// The addresses that the orders carry; none when the probes look the name up.
fn resolved(
    fields: &mut Reader<'_>,
    definition: &Definition,
    addresses: Vec<IpAddr>,
    config: &ApiConfig,
) -> Option<Vec<IpAddr>> {
    let is_name = match &definition.target {
        Some((_, Target::Literal(address))) if addresses.is_empty() => return Some(vec![*address]),
        Some((_, Target::Name(_))) => true,
        _ => false,
    };
    if addresses.is_empty() {
        return Some(addresses);
    }
    if !is_name || definition.spec.kind() == Kind::Http || fields.flag("resolve_on_probe") == Some(true) {
        fields.problem("address", "An address is for a target that is a name and that the probes do not look up.");
        return None;
    }
    for &address in &addresses {
        if Family::of(address) != definition.af {
            fields.problem("address", format!("{address} is not an IPv{} address.", definition.af));
            return None;
        }
        if let Err(why) = target::check(address, &config.allow_targets) {
            fields.problem("address", why);
            return None;
        }
    }
    Some(addresses)
}

fn asked(
    definition: Definition,
    resolved: Vec<IpAddr>,
    (include, exclude): (&[String], &[String]),
    now: UnixNanos,
) -> NewMeasurement {
    let sources = json!([{
        "requested": null,
        "type": "area",
        "value": "WW",
        "tags_include": include.join(","),
        "tags_exclude": exclude.join(","),
    }]);
    NewMeasurement {
        owner: NOBODY,
        spec: definition.spec,
        af: definition.af,
        // A name without addresses is looked up by whoever measures it: this server starts without DNS, too.
        resolve_on_probe: matches!(definition.target, Some((_, Target::Name(_)))) && resolved.is_empty(),
        target: definition.target.map(|(text, _)| text),
        resolved,
        is_oneoff: false,
        interval: definition.interval,
        spread: definition.spread,
        start: now,
        start_given: false,
        stop: None,
        description: definition.description,
        is_public: true,
        tags: definition.tags,
        probes_requested: 0,
        probe_sources: sources.to_string(),
        probes: Vec::new(),
        group: None,
        origin: None,
        top_up: None,
        target_update_hours: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos::from_secs(1_760_000_000);

    fn read(entries: Value) -> Result<Vec<Builtin>, Vec<(usize, String)>> {
        let entries = entries.as_array().cloned().unwrap_or_default();
        read_builtins(&entries, &ApiConfig::default(), &["listed.example".into()], NOW)
            .map(|file| file.builtins)
            .map_err(|problems| problems.into_iter().map(|problem| (problem.entry, problem.field)).collect())
    }

    #[test]
    fn an_entry_is_a_definition_with_a_number() {
        let all = read(json!([
            {"id": 1001, "type": "ping", "af": 4, "target": "k.example", "address": "20.0.0.1", "interval": 240},
            {"id": 2, "type": "dns", "af": 6, "use_probe_resolver": true, "query_class": "IN", "query_type": "SOA",
             "query_argument": ".", "probes": {"include": ["a"], "exclude": ["b"]}, "tags": ["t"]},
            {"id": 3, "type": "traceroute", "af": 6, "target": "2a00:9::1", "probes": "all", "protocol": "ICMP"},
            {"id": 4, "type": "sslcert", "af": 4, "target": "x.example"},
        ]))
        .unwrap();
        let ways = |n: usize| (all[n].asked.resolved.len(), all[n].asked.resolve_on_probe);
        assert_eq!((all[0].id, ways(0)), (MeasurementId(1001), (1, false)));
        assert_eq!((&all[0].asked.target, all[0].asked.interval), (&Some("k.example".into()), Some(240)));
        assert_eq!((ways(1), ways(2), ways(3)), ((0, false), (1, false), (0, true)));
        assert_eq!((&all[1].include, &all[1].exclude), (&vec!["a".to_owned()], &vec!["b".to_owned()]));
        assert!(all.iter().all(|one| one.asked.is_public && one.asked.owner == NOBODY && one.asked.start == NOW));
    }

    #[test]
    fn problems_name_entry_and_field() {
        let with = |changes: Value| {
            let mut entry = json!({"id": 1, "type": "ping", "af": 4, "target": "x.example"});
            for (key, value) in changes.as_object().unwrap() {
                entry[key] = value.clone();
            }
            entry
        };
        for (changes, field) in [
            (json!({"id": null}), "id"),
            (json!({"id": 0}), "id"),
            (json!({"id": 1_000_000}), "id"),
            (json!({"id": -1}), "id"),
            (json!({"af": 5}), "af"),
            (json!({"target": "192.168.0.1"}), "target"),
            (json!({"interval": 5}), "interval"),
            (json!({"packets": 99}), "packets"),
            (json!({"packet": 3}), "packet"),
            (json!({"is_oneoff": false}), "is_oneoff"),
            (json!({"address": "192.168.0.1"}), "address"),
            (json!({"address": "2a00:9::1"}), "address"),
            (json!({"address": []}), "address"),
            (json!({"address": "20.0.0.1", "resolve_on_probe": true}), "address"),
            (json!({"address": "20.0.0.1", "target": "20.0.0.1"}), "address"),
            (json!({"probes": "some"}), "probes"),
            (json!({"probes": {"include": ["a"], "exclude": ["a"]}}), "probes/exclude"),
            (json!({"probes": {"tags": ["a"]}}), "probes/tags"),
            (json!({"type": "http"}), "target"),
        ] {
            let entries = json!([with(json!({"id": 7})), with(changes.clone())]);
            assert_eq!(read(entries), Err(vec![(1, field.to_owned())]), "{changes}");
        }
        assert_eq!(read(json!([with(json!({})), with(json!({}))])), Err(vec![(1, "id".to_owned())]));
    }

    #[test]
    fn an_entry_for_anchors_takes_the_numbers_behind_its_own() {
        let towards = |changes: Value| {
            let mut entry = json!({"id": 20_000, "anchors": true, "type": "ping", "af": 4});
            for (key, value) in changes.as_object().unwrap() {
                entry[key] = value.clone();
            }
            entry
        };
        let one = |id: u64| json!({"id": id, "type": "ping", "af": 4, "target": "x.example"});
        assert_eq!(
            read(json!([one(19_999), towards(json!({})), one(30_000), towards(json!({"id": 30_001}))]))
                .map(|all| all.len()),
            Ok(2)
        );
        for (entries, entry, field) in [
            (json!([one(20_000), towards(json!({}))]), 1, "id"),
            (json!([one(29_999), towards(json!({}))]), 1, "id"),
            (json!([towards(json!({})), one(20_001)]), 1, "id"),
            (json!([towards(json!({})), towards(json!({"id": 29_999}))]), 1, "id"),
            (json!([towards(json!({"id": 29_999})), towards(json!({}))]), 1, "id"),
            (json!([towards(json!({"id": 990_001}))]), 0, "id"),
            (json!([towards(json!({"target": "x.example"}))]), 0, "target"),
            (json!([towards(json!({"address": "20.0.0.1"}))]), 0, "address"),
            (json!([towards(json!({"anchors": false}))]), 0, "anchors"),
            (json!([towards(json!({"anchors": "all"}))]), 0, "anchors"),
            (json!([towards(json!({"packets": 99}))]), 0, "packets"),
            (json!([towards(json!({"packet": 9}))]), 0, "packet"),
            (
                json!([towards(json!({"type": "dns", "use_probe_resolver": true, "query_class": "IN",
                    "query_type": "A", "query_argument": "x"}))]),
                0,
                "anchors",
            ),
        ] {
            assert_eq!(read(entries.clone()), Err(vec![(entry, field.to_owned())]), "{entries}");
        }
    }
}
