//! The body of `POST measurements/`: read whole, checked whole, with every problem written down. Nothing here needs DNS or
//! the store; [`crate::create`] does the rest.
//!
//! Choices where Atlas is silent: a description may be missing; a target beside `use_probe_resolver` is ignored; a one-off's
//! `interval` is ignored; a start up to a minute in the past is "now", because clocks differ.

use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;
use sonde_protocol::directory::same_host;
use sonde_protocol::net::Family;
use sonde_protocol::spec::{INTERVAL, Kind, Limits, MAX_DEFAULT_SPREAD, MAX_TARGET, Spec};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{ONEOFF_EXPIRY_SECS, TopUp};

use crate::config::ApiConfig;
use crate::error::Problem;
use crate::kinds::{self, NOT_YET, OFFERED};
use crate::reader::Reader;
use crate::sources::{self, Source};
use crate::target::{self, Target};
use crate::target_updates;
use crate::top_up;

/// The most definitions in one request.
const MAX_DEFINITIONS: usize = 100;

/// The greatest description in bytes.
pub(crate) const MAX_DESCRIPTION: usize = 1024;

/// How far in the past a start is still "now".
const LATE_START: Duration = Duration::from_secs(60);

/// How far ahead a measurement may begin.
const FURTHEST_START: Duration = Duration::from_secs(366 * 86_400);

/// What a request asks for, in good form.
#[derive(Debug)]
pub(crate) struct Asked {
    /// One measurement each.
    pub definitions: Vec<Definition>,
    /// Where the probes come from, the same for all.
    pub sources: Vec<Source>,
    /// When it happens, the same for all.
    pub when: When,
}

/// One definition.
#[derive(Debug)]
pub(crate) struct Definition {
    pub spec: Spec,
    pub af: Family,
    /// The target as written; absent for dns with the probes' own resolvers.
    pub target: Option<(String, Target)>,
    /// The probe resolves: as asked, or because nobody has looked the name up.
    pub resolve_on_probe: bool,
    pub interval: Option<u32>,
    pub spread: Option<u32>,
    pub description: Option<String>,
    pub is_public: bool,
    pub tags: Vec<String>,
    /// Never of a one-off.
    pub top_up: Option<TopUp>,
    /// Only of what is periodic and whose name the server looks up.
    pub target_update_hours: Option<u32>,
}

/// When measurements happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct When {
    pub is_oneoff: bool,
    pub start: UnixNanos,
    pub start_given: bool,
    pub stop: Option<UnixNanos>,
}

/// What a definition may say that must be the same for all of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Common {
    is_oneoff: Option<bool>,
    start: Option<UnixNanos>,
    stop: Option<UnixNanos>,
}

/// Reads a body. `only` is the kind that the path names: definitions may leave it out, and may not name another.
pub(crate) fn read(
    body: &Value,
    only: Option<Kind>,
    config: &ApiConfig,
    http_hosts: &[String],
    now: UnixNanos,
) -> Result<Asked, Vec<Problem>> {
    let mut problems = Vec::new();
    let asked = Reader::new(body, String::new(), &mut problems)
        .and_then(|mut body| whole(&mut body, only, config, http_hosts, now));
    match asked {
        Some(asked) if problems.is_empty() => Ok(asked),
        _ => Err(problems),
    }
}

/// Reads a body of `POST measurements/` as a request would, and forgets it: how many measurements it asks for. For fuzzing.
///
/// # Errors
/// How many problems it has; one when it is no JSON.
pub fn check_body(body: &[u8]) -> Result<usize, usize> {
    let body: Value = serde_json::from_slice(body).map_err(|_| 1_usize)?;
    let asked = read(&body, None, &ApiConfig::default(), &[], UnixNanos::from_secs(1_795_737_600));
    let asked = asked.map_err(|problems| problems.len())?;
    for definition in &asked.definitions {
        // What a measurement's object shows of it.
        let _ = kinds::write(&definition.spec);
    }
    Ok(asked.definitions.len())
}

fn whole(
    body: &mut Reader<'_>,
    only: Option<Kind>,
    config: &ApiConfig,
    http_hosts: &[String],
    now: UnixNanos,
) -> Option<Asked> {
    let mut common = common(body);
    let skip_dns_check = body.flag("skip_dns_check").unwrap_or(false);
    let sources = sources::read(body);
    if body.value("definitions").is_none() {
        body.required("definitions");
        return None;
    }
    let items = body.list("definitions")?;
    if items.is_empty() || items.len() > MAX_DEFINITIONS {
        body.problem("definitions", format!("Between 1 and {MAX_DEFINITIONS} definitions are expected."));
        return None;
    }
    // Once or periodic must be known before intervals can be read, and any definition may say it.
    for (index, item) in items.iter().enumerate() {
        if let Some(mut fields) = body.inner(item, &format!("definitions/{index}")) {
            agree(&mut common, &mut fields);
        }
    }
    let when = when(body, common, now);
    let rules = Rules { only, config, http_hosts, is_oneoff: when.is_oneoff, skip_dns_check };
    let mut definitions = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if item.is_object()
            && let Some(mut fields) = body.inner(item, &format!("definitions/{index}"))
        {
            definitions.extend(definition(&mut fields, &rules));
        }
    }
    Some(Asked { definitions, sources, when })
}

fn common(fields: &mut Reader<'_>) -> Common {
    Common { is_oneoff: fields.flag("is_oneoff"), start: fields.time("start_time"), stop: fields.time("stop_time") }
}

/// Takes over what a definition says of the common fields; a problem when something else has been said before.
fn agree(known: &mut Common, fields: &mut Reader<'_>) {
    let own = common(fields);
    let mut differs = Vec::new();
    if let Some(own) = own.is_oneoff
        && *known.is_oneoff.get_or_insert(own) != own
    {
        differs.push("is_oneoff");
    }
    for (name, known, own) in [("start_time", &mut known.start, own.start), ("stop_time", &mut known.stop, own.stop)] {
        if let Some(own) = own
            && *known.get_or_insert(own) != own
        {
            differs.push(name);
        }
    }
    for field in differs {
        fields.problem(field, "This field must be the same for all definitions of a request.");
    }
}

fn when(body: &mut Reader<'_>, common: Common, now: UnixNanos) -> When {
    let is_oneoff = common.is_oneoff.unwrap_or(false);
    if let Some(start) = common.start {
        if start < now - LATE_START {
            body.problem("start_time", "The start is in the past.");
        } else if start > now + FURTHEST_START {
            body.problem("start_time", "The start is more than a year ahead.");
        }
    }
    let start = common.start.map_or(now, |start| start.max(now));
    if let Some(stop) = common.stop {
        if is_oneoff {
            body.problem("stop_time", "A one-off measurement has no stop time.");
        } else if stop <= start {
            body.problem("stop_time", "The stop is not after the start.");
        }
    }
    let expires = start + Duration::from_secs(ONEOFF_EXPIRY_SECS.unsigned_abs());
    let stop = if is_oneoff { Some(expires) } else { common.stop };
    When { is_oneoff, start, start_given: common.start.is_some(), stop }
}

/// What a definition is read against.
struct Rules<'a> {
    only: Option<Kind>,
    config: &'a ApiConfig,
    http_hosts: &'a [String],
    is_oneoff: bool,
    skip_dns_check: bool,
}

/// Reads an entry of the operator's file: periodic, and no name is looked up for it.
pub(crate) fn of_builtin(fields: &mut Reader<'_>, config: &ApiConfig, http_hosts: &[String]) -> Option<Definition> {
    definition(fields, &Rules { only: None, config, http_hosts, is_oneoff: false, skip_dns_check: true })
}

fn definition(fields: &mut Reader<'_>, rules: &Rules<'_>) -> Option<Definition> {
    let kind = kind(fields, rules.only);
    let af = family(fields);
    let resolve_on_probe = fields.flag("resolve_on_probe").unwrap_or(false);
    let skip_dns_check = fields.flag("skip_dns_check").unwrap_or(false) || rules.skip_dns_check;
    let description = fields.text::<MAX_DESCRIPTION>("description").map(|text| text.as_str().to_owned());
    let is_public = fields.flag("is_public").unwrap_or(true);
    let tags = fields.slugs("tags");
    let top_up = top_up::read(fields).filter(|_| !rules.is_oneoff);
    let target_update_hours = target_updates::read(fields);
    let spec = kind.map(|kind| kinds::read(kind, fields));
    let target = match &spec {
        Some(spec) if spec.needs_no_target() => Ok(None),
        _ => target(fields, af, &rules.config.allow_targets).map(Some).ok_or(()),
    };
    if let (Some(Kind::Http), Ok(Some((text, _)))) = (kind, &target)
        && !rules.http_hosts.iter().any(|host| same_host(host, text))
    {
        fields.problem("target", "http measures only hosts that the network's operator has listed for it.");
    }
    let (interval, spread) = interval(fields, kind, rules);
    let (spec, af, target) = (spec?, af?, target.ok()?);
    let is_name = target.as_ref().is_some_and(|(_, target)| matches!(target, Target::Name(_)));
    // There is nothing to resolve in a literal. A name that nobody has looked up here the probe must look up, and it
    // trusts nobody about where a host leads that http may ask.
    let resolve_on_probe = is_name && (resolve_on_probe || skip_dns_check || kind == Some(Kind::Http));
    Some(Definition {
        spec,
        af,
        target,
        resolve_on_probe,
        interval,
        spread,
        description,
        is_public,
        tags,
        top_up,
        target_update_hours: target_update_hours.filter(|_| is_name && !resolve_on_probe && !rules.is_oneoff),
    })
}

fn kind(fields: &mut Reader<'_>, only: Option<Kind>) -> Option<Kind> {
    if fields.value("type").is_none() {
        if only.is_none() {
            fields.required("type");
        }
        return only;
    }
    let kind: Kind = fields.word("type", |word| word.to_ascii_lowercase().parse().ok())?;
    if !OFFERED.contains(&kind) {
        fields.problem("type", NOT_YET);
    } else if only.is_some_and(|only| only != kind) {
        fields.problem("type", "This path makes measurements of another type.");
    }
    Some(kind)
}

fn family(fields: &mut Reader<'_>) -> Option<Family> {
    if fields.value("af").is_none() {
        fields.required("af");
    }
    let number = fields.integer("af")?;
    let family = u64::try_from(number).ok().and_then(Family::from_number);
    if family.is_none() {
        fields.problem("af", "The address family is 4 or 6.");
    }
    family
}

fn target(fields: &mut Reader<'_>, af: Option<Family>, allowed: &[IpNet]) -> Option<(String, Target)> {
    if fields.value("target").is_none() {
        fields.required("target");
    }
    let text = fields.text::<MAX_TARGET>("target")?;
    match target::read(&text, af?, allowed) {
        Ok(target) => Some((text.as_str().to_owned(), target)),
        Err(why) => {
            fields.problem("target", why);
            None
        }
    }
}

/// Interval and spread of a periodic measurement; neither for a one-off.
fn interval(fields: &mut Reader<'_>, kind: Option<Kind>, rules: &Rules<'_>) -> (Option<u32>, Option<u32>) {
    if rules.is_oneoff {
        return (None, None);
    }
    let default = kind.map_or(INTERVAL.default, Kind::default_interval);
    let interval = fields.number(Limits { default, min: rules.config.min_interval.max(1), ..INTERVAL });
    let most = Limits { name: "spread", default: (interval / 2).min(MAX_DEFAULT_SPREAD), min: 0, max: interval };
    (Some(interval), Some(fields.number(most)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error;

    const NOW: UnixNanos = UnixNanos::from_secs(1_760_000_000);

    fn definition() -> Value {
        json!({"type": "ping", "af": 4, "description": "d", "target": "1.1.1.1"})
    }

    fn body(changes: Value) -> Value {
        let mut body =
            json!({"definitions": [definition()], "probes": [{"type": "area", "value": "WW", "requested": 1}]});
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    fn read(body: &Value) -> Result<Asked, Vec<String>> {
        super::read(body, None, &ApiConfig::default(), &["listed.example".into()], NOW).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| match problem.source {
                    error::Source::Pointer(place) | error::Source::Parameter(place) => place,
                })
                .collect()
        })
    }

    fn with(changes: Value) -> Value {
        let mut definition = definition();
        for (key, value) in changes.as_object().unwrap() {
            definition[key] = value.clone();
        }
        body(json!({"definitions": [definition]}))
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let asked = read(&body(json!({}))).unwrap();
        assert_eq!(asked.when, When { is_oneoff: false, start: NOW, start_given: false, stop: None });
        let ping = &asked.definitions[0];
        assert_eq!((ping.interval, ping.spread, ping.is_public), (Some(240), Some(120), true));
        let asked = read(&with(json!({"type": "traceroute"}))).unwrap();
        assert_eq!((asked.definitions[0].interval, asked.definitions[0].spread), (Some(900), Some(400)));
    }

    #[test]
    fn every_problem_is_found_at_once() {
        let bad = json!({
            "definitions": [
                {"type": "ping", "af": 5, "target": "192.168.0.1", "packets": 99, "interval": 1},
                {"type": "ping", "af": 4, "target": "192.168.0.1", "spread": 241, "tags": ["a b"], "is_public": "maybe"},
                {"type": "tea"},
                "x",
            ],
            "probes": [{"type": "area", "value": "WW"}],
            "start_time": "soon",
        });
        let mut places = read(&bad).unwrap_err();
        places.sort();
        assert_eq!(
            places,
            [
                "/definitions/0/af",
                "/definitions/0/interval",
                "/definitions/0/packets",
                "/definitions/1/is_public",
                "/definitions/1/spread",
                "/definitions/1/tags",
                "/definitions/1/target",
                "/definitions/2/af",
                "/definitions/2/target",
                "/definitions/2/type",
                "/definitions/3",
                "/probes/0/requested",
                "/start_time",
            ]
        );
    }

    #[test]
    fn bodies_of_the_wrong_shape() {
        for (bad, place) in [
            (json!(null), ""),
            (json!([]), ""),
            (json!("x"), ""),
            (body(json!({"definitions": null})), "/definitions"),
            (body(json!({"definitions": {}})), "/definitions"),
            (body(json!({"definitions": []})), "/definitions"),
            (body(json!({"definitions": vec![definition(); 101]})), "/definitions"),
            (body(json!({"definitions": [[]]})), "/definitions/0"),
            (body(json!({"probes": null})), "/probes"),
            (body(json!({"probes": 5})), "/probes"),
            (body(json!({"is_oneoff": "perhaps"})), "/is_oneoff"),
            (with(json!({"type": ["ping"]})), "/definitions/0/type"),
            (with(json!({"type": "wifi"})), "/definitions/0/type"),
            (with(json!({"af": "IPv4"})), "/definitions/0/af"),
            (with(json!({"target": 5})), "/definitions/0/target"),
            (with(json!({"target": null})), "/definitions/0/target"),
            (with(json!({"description": "\u{0}"})), "/definitions/0/description"),
            (with(json!({"description": "x".repeat(1025)})), "/definitions/0/description"),
            (with(json!({"interval": 59})), "/definitions/0/interval"),
        ] {
            assert_eq!(read(&bad).unwrap_err(), [place], "{bad}");
        }
    }

    #[test]
    fn times_of_a_request() {
        let at = |seconds: i64| NOW.as_secs() + seconds;
        for (changes, place) in [
            (json!({"start_time": at(-61)}), "/start_time"),
            (json!({"start_time": at(400 * 86_400)}), "/start_time"),
            (json!({"stop_time": at(0)}), "/stop_time"),
            (json!({"start_time": at(100), "stop_time": at(100)}), "/stop_time"),
            (json!({"is_oneoff": true, "stop_time": at(100)}), "/stop_time"),
        ] {
            assert_eq!(read(&body(changes.clone())).unwrap_err(), [place], "{changes}");
        }
        let when =
            read(&body(json!({"start_time": "2025-10-09T08:54:20Z", "stop_time": at(100).to_string()}))).unwrap().when;
        assert_eq!(
            (when.start.as_secs(), when.start_given, when.stop.map(UnixNanos::as_secs)),
            (at(60), true, Some(at(100)))
        );
        let when = read(&body(json!({"is_oneoff": true, "start_time": at(-30)}))).unwrap().when;
        assert_eq!((when.start, when.stop), (NOW, Some(UnixNanos::from_secs(at(ONEOFF_EXPIRY_SECS)))));
    }

    #[test]
    fn definitions_agree_on_when() {
        let two = |first: Value, second: Value| {
            body(json!({"definitions": [
                with(first)["definitions"][0], with(second)["definitions"][0],
            ]}))
        };
        assert!(read(&two(json!({"is_oneoff": true}), json!({}))).unwrap().when.is_oneoff);
        let differing = two(json!({"is_oneoff": true}), json!({"is_oneoff": false}));
        assert_eq!(read(&differing).unwrap_err(), ["/definitions/1/is_oneoff"]);
    }

    #[test]
    fn who_resolves_a_name() {
        let resolves = |changes: Value| read(&with(changes)).unwrap().definitions[0].resolve_on_probe;
        assert!(!resolves(json!({"target": "example.net"})));
        assert!(resolves(json!({"target": "example.net", "resolve_on_probe": true})));
        assert!(resolves(json!({"target": "example.net", "skip_dns_check": true})));
        assert!(!resolves(json!({"resolve_on_probe": true})), "a literal");
        assert!(resolves(json!({"type": "http", "target": "listed.example"})), "what may be asked depends on the name");
    }

    #[test]
    fn http_asks_listed_hosts() {
        let http = |target: &str| read(&with(json!({"type": "http", "target": target}))).map(drop);
        assert_eq!(http("Listed.Example."), Ok(()));
        for target in ["other.example", "1.1.1.1"] {
            assert_eq!(http(target), Err(vec!["/definitions/0/target".into()]), "{target}");
        }
    }

    #[test]
    fn own_resolvers_need_no_target() {
        let dns = json!({"type": "dns", "target": null, "query_class": "IN", "query_type": "A", "query_argument": "example.net"});
        assert_eq!(read(&with(dns.clone())).unwrap_err(), ["/definitions/0/target"]);
        let mut own = dns;
        own["use_probe_resolver"] = json!(true);
        assert!(read(&with(own)).unwrap().definitions[0].target.is_none());
    }
}
