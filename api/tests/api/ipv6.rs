//! `ipv6/`: sums of votes as their readers see them, and what one probe says.

use serde_json::{Value, json};
use sonde_protocol::ids::{Asn, MeasurementId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::{FamilyState, Ipv6Outcome};
use sonde_protocol::result::{Outcome, Report};
use sonde_protocol::spec::{Ipv6Spec, Spec};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Builtin, Builtins, NOBODY, NewMeasurement, ProbeEdit, Probes};
use sonde_store::reachability::{Hour, Place, Record, Run, Silence, Slash24, Slash48, Vote};

use crate::lab::{self, Lab, NOW, Person, Reply, result};

#[path = "../../../protocol/tests/samples/mod.rs"]
pub mod samples;

/// The network's own measurement of the kind.
pub const BUILTIN: MeasurementId = MeasurementId(9001);

/// The hour of the tests' time.
fn now() -> Hour {
    Hour::of_seconds(NOW)
}

/// Makes the built-in measurement.
pub fn ask_everybody(lab: &Lab) {
    let asked = NewMeasurement {
        owner: NOBODY,
        spec: Spec::Ipv6(Ipv6Spec::default()),
        af: Family::V6,
        target: None,
        resolved: Vec::new(),
        resolve_on_probe: false,
        is_oneoff: false,
        interval: Some(900),
        spread: None,
        start: UnixNanos::from_secs(NOW - 90_000),
        start_given: false,
        stop: None,
        description: None,
        is_public: true,
        tags: Vec::new(),
        probes_requested: 0,
        probe_sources: "[]".into(),
        probes: Vec::new(),
        group: None,
        origin: None,
        top_up: None,
        target_update_hours: None,
    };
    let builtin = Builtin { id: BUILTIN, asked, include: Vec::new(), exclude: Vec::new(), not_by: None };
    let done = lab.runtime.block_on(lab.catalog.reconcile_builtins(&[builtin], UnixNanos::from_secs(NOW - 90_000)));
    assert_eq!(done.unwrap().made, [BUILTIN]);
}

/// A result of it, of a host behind a hole that has these addresses.
pub fn behind_a_hole(at: i64, own6: &str, own4: &str, seen4: &str, resolver: &str, router: &str) -> Report {
    of_outcome(at, samples::full(own6, own4, seen4, resolver, router))
}

/// The same of any outcome.
pub fn of_outcome(at: i64, outcome: Ipv6Outcome) -> Report {
    match result(BUILTIN, at, "192.168.1.2", "20.1.1.1", Outcome::Ipv6(Box::new(outcome))) {
        Report::Result(result) => {
            Report::Result(sonde_protocol::result::MeasurementResult { dst_addr: None, src_addr: None, ..result })
        }
        other => other,
    }
}

/// What a probe says of an hour.
fn said(hour: Hour, country: &str, asn: u32, v6: Result<FamilyState, Silence>, micros: i32) -> Record {
    let vote = |v6| Vote {
        v6,
        v4: FamilyState::Native,
        has_v6_address: v6 != FamilyState::None,
        is_cgnat: asn == 64_503,
        is_few: false,
        definition: 1,
    };
    // Each network has a /40 with a /48 for each of its states, and a /16.
    let place = Place {
        country: country.parse().ok(),
        asn6: Some(Asn(asn)),
        asn4: None,
        net6: Slash48::from_bytes([0x2a, 0, 0, 0, (asn % 100) as u8, v6.map_or(0, FamilyState::number)]),
        net4: Slash24::from_bytes([20, (asn % 100) as u8, 7]),
    };
    let at = UnixNanos::from_secs(hour.seconds() + 600);
    let run = Run { at, vote: v6.map(vote), difference: Some(micros), only_one_failed: (0, 0) };
    Record::of(place, &[run])
}

/// Six probes in two countries and four networks, in the last whole hour and the one before.
fn voted() -> (Lab, Person) {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let native = Ok(FamilyState::Native);
    let votes = [
        ("NL", 64_501, native, 1500),
        ("NL", 64_501, Ok(FamilyState::NativePartial), -200),
        ("NL", 64_502, native, 0),
        ("NL", 64_503, Ok(FamilyState::Broken), 90_000),
        ("NL", 64_503, Ok(FamilyState::None), 7),
        ("DE", 64_504, Err(Silence::Offline), 1),
    ];
    for (n, (country, asn, v6, micros)) in votes.into_iter().enumerate() {
        let probe = lab.probe(&anna, &format!("20.0.{n}.9"), &[]);
        let place = ProbeEdit { place: Some(Some((52.37 + n as f64, 4.89))), ..ProbeEdit::default() };
        lab.runtime.block_on(lab.catalog.edit_probe(probe, &place)).unwrap();
        for hour in [now().plus(-1), now().plus(-2)] {
            put(&lab, hour, probe, said(hour, country, asn, v6, micros));
        }
    }
    (lab, anna)
}

fn put(lab: &Lab, hour: Hour, probe: ProbeId, record: Record) {
    lab.runtime.block_on(lab.api.reachability.put(hour, &[(probe, record)])).unwrap();
}

#[track_caller]
fn ok(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn every_answer_as_its_readers_see_it() {
    let (lab, _) = voted();
    let hour = now().plus(-1).seconds();
    for (name, path) in [
        ("world", String::new()),
        ("countries", "countries/".into()),
        ("country", "countries/nl/".into()),
        ("networks", "networks/?country=NL&page_size=2&sort=-probes".into()),
        ("network", "networks/AS64503/".into()),
        ("prefixes", "prefixes/?prefix=2a00::/32&page_size=2&sort=-probes".into()),
        ("prefixes-v4", "prefixes/?af=4&length=16&page_size=1".into()),
        ("prefix", "prefixes/2a00:0:300::/40/".into()),
        ("series-prefix", "series/?prefix=20.3.0.0/16".into()),
        ("series", "series/?country=NL".into()),
        ("series-days", "series/?step=day".into()),
        ("compare", "compare/?a=NL&b=AS64504".into()),
        ("map", "map/".into()),
        ("method", "method/".into()),
        ("one-hour", format!("?from={hour}&to={}", hour + 3600)),
    ] {
        let reply = lab.get(&format!("/api/v2/ipv6/{path}"));
        let text = ok(&reply).to_string().replace(&format!("http://{}", lab.address), "http://sonde.example");
        lab::golden(&format!("ipv6-{name}.json"), &serde_json::from_str(&text).unwrap());
    }
    let metrics = lab.get("/api/v2/ipv6/metrics/?asn=64503&prefix=2a00:0:300::/40");
    assert!(metrics.headers["content-type"].starts_with("text/plain; version=0.0.4"), "{metrics:?}");
    // The number counts every change; how many there were is nobody's business.
    let lines: Vec<&str> = metrics.text.lines().filter(|line| !line.starts_with("sonde_ipv6_revision ")).collect();
    lab::golden("ipv6-metrics.json", &json!(lines));
}

#[test]
fn what_is_said_of_nobody_is_nothing_and_not_an_error() {
    let lab = Lab::new();
    for path in [
        "",
        "countries/",
        "countries/XX/",
        "networks/",
        "networks/1/",
        "prefixes/",
        "prefixes/?prefix=2a00::/8",
        "prefixes/20.0.0.0/8/",
        "series/",
        "series/?prefix=2a00::/8&step=day",
        "compare/?a=world&b=NL",
        "compare/?a=20.0.0.0/8&b=2a00::/12",
        "map/",
    ] {
        let body = ok(&lab.get(&format!("/api/v2/ipv6/{path}")));
        assert_eq!(body["updated"], Value::Null, "{path}: {body}");
    }
    let world = ok(&lab.get("/api/v2/ipv6/"));
    assert_eq!((&world["sum"]["votes"], &world["sum"]["works6"]["share"]), (&json!(0), &Value::Null));
    assert_eq!((&world["sum"]["shown"], &world["sum"]["ranked"]), (&json!("hatched"), &json!(false)));
}

#[test]
fn the_same_numbers_as_a_table() {
    let (lab, _) = voted();
    let reply = lab.get("/api/v2/ipv6/countries/?format=csv");
    assert_eq!(reply.headers["content-type"], "text/csv; charset=utf-8");
    let lines: Vec<Vec<&str>> = reply.text.split("\r\n").map(|line| line.split(',').collect()).collect();
    let [columns, german, dutch, end] = lines.as_slice() else { panic!("{reply:?}") };
    assert_eq!((columns[0], german[0], dutch[0], end.as_slice()), ("country", "DE", "NL", [""].as_slice()));
    let json = ok(&lab.get("/api/v2/ipv6/countries/"));
    let shown = &json["results"][1];
    for (name, value) in [
        ("votes", &shown["votes"]),
        ("probes", &shown["probes"]),
        ("works6", &shown["works6"]["count"]),
        ("works6_share", &shown["works6"]["share"]),
        ("broken6_of", &shown["broken6"]["of"]),
        ("cgnat_high", &shown["cgnat"]["high"]),
        ("rtt_difference_p90", &shown["rtt_difference"]["p90"]),
        ("runs", &shown["runs"]),
    ] {
        let at = columns.iter().position(|column| *column == name).unwrap();
        let table: f64 = dutch[at].parse().unwrap();
        assert!((table - value.as_f64().unwrap()).abs() < 1e-9, "{name}: {table} and {value}");
    }
    assert!(german.contains(&"hatched") && german.contains(&""), "{german:?}");
    for path in ["", "networks/", "networks/64501/", "prefixes/", "prefixes/2a00::/8/", "series/?step=day"] {
        let glue = if path.contains('?') { '&' } else { '?' };
        let reply = lab.get(&format!("/api/v2/ipv6/{path}{glue}format=csv"));
        let lines: Vec<&str> = reply.text.split("\r\n").collect();
        assert!(lines.len() > 2, "{reply:?}");
        let width = lines[0].split(',').count();
        assert!(lines[..lines.len() - 1].iter().all(|line| line.split(',').count() == width), "{reply:?}");
    }
}

#[test]
fn an_answer_is_good_until_somebody_votes_otherwise() {
    let (lab, anna) = voted();
    let path = "/api/v2/ipv6/countries/NL/";
    let first = lab.get(path);
    let tag = first.headers["etag"].clone();
    assert_eq!(first.headers["cache-control"], "public, max-age=60, stale-while-revalidate=300");
    let again = |tag: &str| lab.call_with("GET", path, &[("If-None-Match", tag)], None);
    for known in [tag.as_str(), &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
        let reply = again(known);
        assert_eq!((reply.status, reply.text.as_str()), (304, ""), "{known}: {reply:?}");
        assert_eq!(reply.headers["etag"], tag);
    }
    assert_eq!(again("\"x\"").text, first.text);
    assert_eq!(lab.get_as(&anna, path).text, first.text, "everybody sees the same");

    put(&lab, now(), ProbeId(1), said(now(), "NL", 64_501, Ok(FamilyState::Broken), 3));
    let changed = again(&tag);
    assert_eq!(changed.status, 200);
    assert_eq!(changed.json()["sum"]["broken6"]["count"], json!(3));
    let tag = changed.headers["etag"].clone();
    put(&lab, now(), ProbeId(1), said(now(), "NL", 64_501, Ok(FamilyState::Broken), 3));
    assert_eq!(again(&tag).status, 304, "the same was said again");
    lab.set_clock(NOW + 3600);
    assert_eq!(again(&tag).status, 200, "another hour");

    let yesterday = now().day().plus(-24);
    let over = format!("/api/v2/ipv6/?from={}&to={}", yesterday.seconds(), yesterday.plus(24).seconds());
    assert_eq!(lab.get(&over).headers["cache-control"], "public, max-age=86400, stale-while-revalidate=300");
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let lab = Lab::new();
    let later = NOW + 7200;
    for (query, name) in [
        ("?from=tomorrow".to_owned(), "from"),
        (format!("?from={later}"), "from"),
        (format!("?from={NOW}&to={}", NOW - 3600), "from"),
        (format!("?from={}", NOW - 9 * 86_400), "from"),
        (format!("?from={}&to={}", NOW - 20 * 86_400, NOW - 18 * 86_400), "from"),
        ("?from=0".to_owned(), "from"),
        ("?to=-1".to_owned(), "to"),
        ("?format=xml".to_owned(), "format"),
        ("series/?step=week".to_owned(), "step"),
        ("series/?country=NLD".to_owned(), "country"),
        ("series/?asn=AS".to_owned(), "asn"),
        ("series/?asn=1&country=NL".to_owned(), "asn"),
        ("series/?asn=1&prefix=2a00::/32".to_owned(), "prefix"),
        ("series/?prefix=2a00::".to_owned(), "prefix"),
        ("prefixes/?prefix=2a00::/49".to_owned(), "prefix"),
        ("prefixes/?prefix=2a00::/7".to_owned(), "prefix"),
        ("prefixes/?prefix=20.0.0.0/25".to_owned(), "prefix"),
        ("prefixes/?prefix=::ffff:20.0.0.0/104".to_owned(), "prefix"),
        ("prefixes/?af=5".to_owned(), "af"),
        ("prefixes/?af=4&prefix=2a00::/32".to_owned(), "af"),
        ("prefixes/?prefix=2a00::/32&length=31".to_owned(), "length"),
        ("prefixes/?length=7".to_owned(), "length"),
        ("prefixes/?af=4&length=25".to_owned(), "length"),
        ("prefixes/?length=-1".to_owned(), "length"),
        ("prefixes/?sort=beauty".to_owned(), "sort"),
        ("metrics/?asn=x".to_owned(), "asn"),
        ("metrics/?prefix=x".to_owned(), "prefix"),
        (format!("series/?step=day&from={}", NOW - 1001 * 86_400), "from"),
        ("networks/?country=1".to_owned(), "country"),
        ("networks/?sort=beauty".to_owned(), "sort"),
        ("compare/".to_owned(), "a"),
        ("compare/?a=NL".to_owned(), "b"),
        ("compare/?a=world&b=ASX".to_owned(), "b"),
    ] {
        assert_eq!(lab.get(&format!("/api/v2/ipv6/{query}")).refused(400, 104), [name], "{query}");
    }
    for path in [
        "countries/1/",
        "countries/NLD/",
        "networks/x/",
        "networks/4294967296/",
        "probes/1/",
        "networks/?page=2",
        "prefixes/?page=2",
        "prefixes/2a00::/49/",
        "prefixes/2a00::/7/",
        "prefixes/x/32/",
        "prefixes/20.0.0.0/x/",
    ] {
        lab.get(&format!("/api/v2/ipv6/{path}")).refused(404, 104);
    }
}

#[test]
fn a_prefix_is_whoever_has_an_address_in_it() {
    let (lab, _) = voted();
    let probes = |path: &str| ok(&lab.get(&format!("/api/v2/ipv6/{path}")))["sum"]["probes"].clone();
    assert_eq!(probes("prefixes/2a00::/8/"), json!(5));
    assert_eq!(probes("prefixes/2a00:0:300::/40/"), json!(2));
    assert_eq!(probes("prefixes/20.3.0.0/16/"), json!(2), "the same by their other family");
    assert_eq!(probes("prefixes/2a00:0:300:ffff:1::/40/"), json!(2), "bits behind it are no matter");
    assert_eq!(probes("prefixes/2a01::/16/"), json!(0));
    let list = ok(&lab.get("/api/v2/ipv6/prefixes/?prefix=2a00::/32&length=40"));
    let rows: Vec<_> = list["results"].as_array().unwrap().iter().map(|row| row["prefix"].as_str().unwrap()).collect();
    assert_eq!(rows, ["2a00:0:100::/40", "2a00:0:200::/40", "2a00:0:300::/40", "2a00:0:400::/40"]);
    let of_all: u64 = list["results"].as_array().unwrap().iter().map(|row| row["probes"].as_u64().unwrap()).sum();
    assert_eq!(json!(of_all), list["sum"]["probes"]);
    // Until a vote changes, and no longer.
    let path = "/api/v2/ipv6/prefixes/2a00:0:300::/40/";
    let tag = lab.get(path).headers["etag"].clone();
    let again = |tag: &str| lab.call_with("GET", path, &[("If-None-Match", tag)], None);
    assert_eq!(again(&tag).status, 304);
    put(&lab, now(), ProbeId(1), said(now(), "NL", 64_503, Ok(FamilyState::Native), 3));
    assert_eq!(again(&tag).json()["sum"]["probes"], json!(3));
}

#[test]
fn lists_are_ranked_by_those_who_may_be() {
    let lab = Lab::new();
    let hour = now().plus(-1);
    let mut records = Vec::new();
    // Thirty probes of five networks each in two countries, and a country of one probe.
    for n in 0..60_u32 {
        let (country, works) = if n < 30 { ("FR", n % 3 != 0) } else { ("BE", n % 3 == 0) };
        let v6 = Ok(if works { FamilyState::Native } else { FamilyState::None });
        records.push((ProbeId(u64::from(n) + 1), said(hour, country, 100 + n % 5, v6, 0)));
    }
    records.push((ProbeId(99), said(hour, "AT", 7, Ok(FamilyState::Native), 0)));
    lab.runtime.block_on(lab.api.reachability.put(hour, &records)).unwrap();
    let order = |sort: &str| -> Vec<String> {
        let list = ok(&lab.get(&format!("/api/v2/ipv6/countries/?sort={sort}")));
        list["results"].as_array().unwrap().iter().map(|row| row["country_code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(order("-works6"), ["FR", "BE", "AT"], "one probe wins nothing");
    assert_eq!(order("works6"), ["BE", "FR", "AT"]);
    assert_eq!(order("-id"), ["FR", "BE", "AT"]);
    assert_eq!(order("probes"), ["AT", "BE", "FR"]);
    let compared = ok(&lab.get("/api/v2/ipv6/compare/?a=fr&b=be"));
    assert_eq!(compared["works6"]["is_clear"], true, "{compared}");
}

#[test]
fn what_one_probe_says() {
    let (lab, anna) = voted();
    ask_everybody(&lab);
    let probe = ProbeId(1);
    let session = lab.connect(probe, "20.0.0.9", &["192.168.1.2", "2a00:1:2:3::9"]);
    let report = behind_a_hole(NOW - 700, "2a00:1:2:3::9", "192.168.1.2", "20.0.0.9", "192.168.1.53", "192.168.1.1");
    let mut old = samples::bare();
    old.definition = 1;
    let old = of_outcome(NOW - 9000, old);
    lab.store([&old, &report].map(|report| lab.stored(probe, session, report)).into(), Vec::new());
    let day = now().day().plus(-48);
    for (hour, v6) in
        [(day, FamilyState::Native), (day.plus(3), FamilyState::Native), (day.plus(4), FamilyState::Broken)]
    {
        put(&lab, hour, probe, said(hour, "NL", 64_501, Ok(v6), 10));
    }
    let path = "/api/v2/ipv6/probes/1/";
    let public = lab.get(path);
    lab::golden("ipv6-probe.json", &ok(&public));
    assert_eq!(public.headers["cache-control"], "public, max-age=60");
    let own = lab.get_as(&anna, path);
    assert_eq!(own.headers["cache-control"], "private, no-store");
    assert_eq!(ok(&own)["verdict"], ok(&public)["verdict"]);
    assert!(own.text.contains("192.168.1.53") && !public.text.contains("192.168.1.53"), "{own:?}");
    let silent = ok(&lab.get("/api/v2/ipv6/probes/6/"));
    assert_eq!((&silent["verdict"], &silent["evidence"]), (&json!([]), &Value::Null));
    assert_eq!((&silent["hours"][0]["silent"], &silent["hours"][0]["v6"]), (&json!("offline"), &Value::Null));
}
