//! Reading: paths, lists, pages, filters, objects, the page for people.

use serde_json::{Value, json};
use sonde_api::ApiConfig;

use crate::lab::{Lab, NOW, asking, worldwide};

#[test]
fn both_forms_of_every_path_answer_without_redirect() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    let id = lab.measure(&anna, &asking("ping", "1.1.1.1", worldwide(1)));
    for path in [
        "measurements".to_owned(),
        "measurements/my".to_owned(),
        "measurements/ping".to_owned(),
        "measurements/traceroute".to_owned(),
        "measurements/dns".to_owned(),
        "measurements/sslcert".to_owned(),
        "measurements/http".to_owned(),
        "measurements/ntp".to_owned(),
        format!("measurements/{id}"),
        format!("measurements/{id}/results"),
        format!("measurements/{id}/latest"),
        format!("measurements/{id}/skipped"),
        "probes".to_owned(),
        "probes/my".to_owned(),
        format!("probes/{probe}"),
        "keys".to_owned(),
    ] {
        let (with, without) = (format!("/api/v2/{path}/"), format!("/api/v2/{path}"));
        let reply = lab.get_as(&anna, &with);
        assert_eq!(reply.status, 200, "{with}: {reply:?}");
        assert_eq!(reply.headers["access-control-allow-origin"], "*", "{with}");
        let other = lab.get_as(&anna, &without);
        assert_eq!((other.status, other.json()), (200, reply.json()), "{without}");
        let head = lab.call("HEAD", &with, Some(&anna.key), None);
        assert_eq!((head.status, head.text.as_str()), (200, ""), "HEAD {with}");
        let refused = lab.call("OPTIONS", &with, Some(&anna.key), None);
        refused.refused(405, 104);
        assert_eq!(refused.json()["error"]["detail"], "Method \"OPTIONS\" not allowed.");
        assert!(refused.headers["allow"].contains("GET"), "{refused:?}");
    }
    assert_eq!(lab.get("/healthz").status, 200);
}

#[test]
fn what_is_not_there() {
    let lab = Lab::new();
    for path in [
        "/api/v2/",
        "/api/v2/nothing/",
        "/api/v2/measurements/1",
        "/api/v2/measurements/1/results/",
        "/api/v2/measurements/1/latest",
        "/api/v2/measurements/x/",
        "/api/v2/measurements/-1/",
        "/api/v2/measurements/99999999999999999999/",
        "/api/v2/measurements/wifi/",
        "/api/v2/probes/1/",
        "/api/v2/probes/%ff/",
        "/api/v2/measurements//",
        "/nothing",
        "/api/v2/measurements/1/results/x",
    ] {
        let reply = lab.get(path);
        assert_eq!(reply.refused(404, 104), [""; 0], "{path}");
        assert_eq!(reply.json()["error"]["detail"], "Not found.");
    }
    assert_eq!(lab.get("/healthz").text, "ok");
}

#[test]
fn pages() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let probes: Vec<u64> = (0..5).map(|_| lab.new_probe(&anna).0).collect();

    let first = lab.get("/api/v2/probes?page_size=2&defeatcaching=dc1&tags=");
    assert_eq!(first.ids(), probes[..2]);
    assert_eq!(first.json()["count"], 5);
    assert_eq!(first.json()["previous"], Value::Null);
    let next = first.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(next, format!("http://{}/api/v2/probes?page_size=2&defeatcaching=dc1&tags=&page=2", lab.address));

    let mut seen = first.ids();
    let mut url = Some(next);
    while let Some(next) = url {
        let reply = lab.get(next.split_once("/api").map(|(_, path)| format!("/api{path}")).unwrap().as_str());
        seen.extend(reply.ids());
        url = reply.json()["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, probes);

    assert_eq!(lab.get("/api/v2/probes/?sort=-id&page_size=2").ids(), [probes[4], probes[3]]);
    assert_eq!(lab.get("/api/v2/probes/?page_size=100000").ids(), probes, "cut, not refused");
    let count = lab.get("/api/v2/probes/?page_size=0").json();
    assert_eq!(count, json!({"count": 5, "next": null, "previous": null, "results": []}));
    lab.get("/api/v2/probes/?page=2").refused(404, 104);
    lab.get("/api/v2/probes/?page=99999999999999999&page_size=500").refused(404, 104);
    assert_eq!(
        lab.get("/api/v2/measurements/").json()["results"],
        json!([]),
        "the first page is there even when empty"
    );
    for (query, place) in [("page=0", "page"), ("page=x", "page"), ("page_size=-1", "page_size"), ("sort=name", "sort")]
    {
        assert_eq!(lab.get(&format!("/api/v2/probes/?{query}")).refused(400, 104), [place]);
    }
}

#[test]
fn links_begin_with_the_public_url() {
    let lab = Lab::with(ApiConfig { public_url: Some("https://sonde.example/".into()), ..ApiConfig::default() });
    let anna = lab.person("anna");
    let id = lab.measure(&anna, &asking("ping", "1.1.1.1", worldwide(1)));
    lab.measure(&anna, &asking("ping", "1.1.1.1", worldwide(1)));
    let list = lab.get("/api/v2/measurements/?page_size=1").json();
    assert_eq!(list["next"], "https://sonde.example/api/v2/measurements/?page_size=1&page=2");
    assert_eq!(list["results"][0]["result"], format!("https://sonde.example/api/v2/measurements/{id}/results/"));
}

#[test]
fn fields() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let probe = lab.probe(&anna, "20.0.0.9", &[]);
    let id = lab.measure(&anna, &asking("ping", "1.1.1.1", worldwide(1)));
    let show = |query: &str| lab.get(&format!("/api/v2/measurements/{id}/?{query}")).json();
    let url = format!("http://{}/api/v2/probes/{probe}/", lab.address);
    assert_eq!(
        show("fields=probes,status"),
        json!({"id": id, "type": "ping", "status": {"id": 2, "name": "Ongoing", "when": null}, "probes": [{"id": probe, "url": url}]})
    );
    assert_eq!(show("fields="), json!({"id": id, "type": "ping"}));
    assert_eq!(show("fields=nonsense&optional_fields=probes")["probes"][0]["id"], probe.0);
    assert!(show("").get("probes").is_none());
    let list = lab.get("/api/v2/probes/?fields=country_code").json();
    assert_eq!(list["results"], json!([{"id": probe, "type": "Probe", "country_code": null}]));
}

#[test]
fn filters_of_measurements() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    lab.probe(&anna, "20.0.0.9", &["2a00:1:2:3::9"]);
    let ping = lab.measure(&anna, &asking("ping", "1.1.1.1", worldwide(1))).0;
    let trace = lab.measure(&ben, &asking("traceroute", "2a00:9::1", worldwide(1))).0;
    let mut periodic = asking("ping", "9.9.9.9", json!([{"type": "country", "value": "NL", "requested": 1}]));
    periodic["is_oneoff"] = json!(false);
    let lonely = lab.measure(&anna, &periodic).0;
    let none: [u64; 0] = [];
    let all = [ping, trace, lonely];
    for (query, expected) in [
        ("", &all[..]),
        ("type=ping", &[ping, lonely]),
        ("type=traceroute", &[trace]),
        ("type=wifi", &none),
        ("af=6", &[trace]),
        ("is_oneoff=false", &[lonely]),
        ("is_oneoff=true", &[ping, trace]),
        ("status=2", &[ping, trace]),
        ("status=Ongoing", &[ping, trace]),
        ("status__in=no%20suitable%20probes,4", &[lonely]),
        ("status=7", &none),
        ("search=9.9.9", &[lonely]),
        ("search=TRACEROUTE", &[trace]),
        (&format!("id__in={ping},{lonely}"), &[ping, lonely]),
        (&format!("id={trace}"), &[trace]),
        ("is_public=true", &all),
        ("is_public=false", &none),
        (&format!("id__gt={ping}"), &[trace, lonely]),
        (&format!("id__gte={trace}&id__lte={trace}"), &[trace]),
        (&format!("id__lt={trace}"), &[ping]),
        (&format!("start_time={NOW}"), &all),
        (&format!("start_time__in={NOW},5"), &all),
        (&format!("start_time__gt={NOW}"), &none),
        (&format!("start_time__gte={NOW}"), &all),
        (&format!("start_time__lte={NOW}"), &all),
        (&format!("start_time__lt={NOW}"), &none),
        ("stop_time__gt=0", &none),
        ("interval=240", &[lonely]),
        ("interval__in=240,900", &[lonely]),
        ("interval__lte=239", &none),
        ("interval__gt=239", &[lonely]),
        ("target=1.1.1.1", &[ping]),
        ("target__contains=9.9", &[lonely]),
        ("target__startswith=2A00", &[trace]),
        ("target__endswith=.1", &[ping]),
        ("target_name__startswith=9", &[lonely]),
        ("description=ping%20TO%209.9.9.9", &[lonely]),
        ("description__startswith=traceroute", &[trace]),
        ("description__endswith=9.9", &[lonely]),
        ("description__contains=to", &all),
        ("target_ip=1.0.0.0/8", &[ping]),
        ("target_ip=1.1.1.1", &[ping]),
        ("target_ip=0.0.0.0/0", &[ping, lonely]),
        ("target_ip=2a00:9::/32", &[trace]),
        ("target_address=9.9.9.9", &[lonely]),
        ("target_asn=3333", &none),
        ("protocol=icmp", &none),
        ("protocol=UDP", &[trace]),
        ("tags=tea", &none),
        (&format!("group_id={trace}"), &[trace]),
        (&format!("group=http://x/api/v2/measurements/groups/{ping}/"), &[ping]),
        ("current_probes=1", &[ping, trace]),
        ("sort=-id", &[lonely, trace, ping]),
        ("sort=is_oneoff,-id", &[lonely, trace, ping]),
        ("sort=-type", &[trace, lonely, ping]),
        ("sort=-af", &[trace, lonely, ping]),
        ("sort=-interval,-id", &[lonely, trace, ping]),
        ("sort=status.name", &[lonely, ping, trace]),
        ("sort=-status.id", &[lonely, trace, ping]),
        ("sort=start_time,stop_time", &all),
        ("favourite_colour=blue", &all),
        ("type=&af=&status=", &all),
    ] {
        assert_eq!(lab.get(&format!("/api/v2/measurements/?{query}")).ids(), expected, "{query}");
    }
    assert_eq!(lab.get("/api/v2/measurements/ping/").ids(), [ping, lonely]);
    assert_eq!(lab.get("/api/v2/measurements/ping/?type=traceroute").ids(), none);
    assert_eq!(lab.get_as(&ben, "/api/v2/measurements/?mine=true").ids(), [trace]);
    assert_eq!(lab.get_as(&anna, "/api/v2/measurements/my/").ids(), [ping, lonely]);
    lab.get("/api/v2/measurements/?mine=true").refused(403, 104);
    lab.get("/api/v2/measurements/my/").refused(403, 104);
    for (query, place) in [
        ("type=tea", "type"),
        ("af=5", "af"),
        ("af=x", "af"),
        ("status=Going", "status"),
        ("is_oneoff=perhaps", "is_oneoff"),
        ("id__in=1,x", "id__in"),
        ("start_time__gt=soon", "start_time__gt"),
        ("interval__in=1,x", "interval__in"),
        ("target_ip=x", "target_ip"),
        ("sort=colour", "sort"),
        ("group_id=x", "group_id"),
        ("format[datetime]=x", "format[datetime]"),
    ] {
        assert_eq!(lab.get(&format!("/api/v2/measurements/?{query}")).refused(400, 104), [place], "{query}");
    }
}

/// The kinds of JSON value that a field may have: `i` integer, `s` string, `b` boolean, `n` null, `o` object, `a` array.
fn kind_of(value: &Value) -> char {
    match value {
        Value::Null => 'n',
        Value::Bool(_) => 'b',
        Value::Number(number) if number.is_i64() || number.is_u64() => 'i',
        Value::Number(_) => 'f',
        Value::String(_) => 's',
        Value::Array(_) => 'a',
        Value::Object(_) => 'o',
    }
}

#[track_caller]
fn check_types(object: &Value, expected: &[(&str, &str)]) {
    for (field, kinds) in expected {
        let value = object.get(field).unwrap_or_else(|| panic!("{field} is missing in {object}"));
        assert!(kinds.contains(kind_of(value)), "{field} is {value}, expected one of {kinds}");
    }
}

#[test]
fn every_field_of_a_measurement_has_its_type() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let common = [
        ("id", "i"),
        ("type", "s"),
        ("status", "o"),
        ("af", "i"),
        ("description", "sn"),
        ("creation_time", "i"),
        ("start_time", "i"),
        ("stop_time", "in"),
        ("interval", "in"),
        ("spread", "in"),
        ("is_oneoff", "b"),
        ("is_public", "b"),
        ("is_all_scheduled", "b"),
        ("in_wifi_group", "b"),
        ("resolve_on_probe", "b"),
        ("participant_count", "i"),
        ("probes_requested", "i"),
        ("probes_scheduled", "i"),
        ("group", "sn"),
        ("group_id", "i"),
        ("target", "sn"),
        ("target_ip", "sn"),
        ("target_asn", "in"),
        ("target_prefix", "sn"),
        ("resolved_ips", "an"),
        ("result", "s"),
        ("credits_per_result", "i"),
        ("estimated_results_per_day", "i"),
        ("tags", "a"),
        ("packets", "i"),
        ("size", "i"),
        ("user_id", "i"),
        ("bill_to_user_id", "i"),
    ];
    for is_oneoff in [true, false] {
        let mut body = asking("ping", "1.1.1.1", worldwide(1));
        body["is_oneoff"] = json!(is_oneoff);
        body["definitions"][0]["tags"] = json!(["Tea", "coffee"]);
        let id = lab.measure(&anna, &body);
        let object = lab.get_as(&anna, &format!("/api/v2/measurements/{id}/")).json();
        check_types(&object, &common);
        assert_eq!(object["tags"], json!(["coffee", "tea"]));
        assert_eq!(object["interval"], if is_oneoff { Value::Null } else { json!(240) });
        assert_eq!(object["stop_time"], Value::Null);
        assert_eq!(object["credits_per_result"], if is_oneoff { 6 } else { 3 });
        let public = lab.get(&format!("/api/v2/measurements/{id}/")).json();
        assert!(public.get("user_id").is_none(), "only the owner's key sees the account");
    }
    let dns = json!({"definitions": [{"type": "dns", "af": 4, "target": null, "use_probe_resolver": true,
        "query_class": "IN", "query_type": "HTTPS", "query_argument": "example.net"}], "probes": worldwide(1)});
    let id = lab.measure(&anna, &dns);
    let object = lab.get(&format!("/api/v2/measurements/{id}/")).json();
    assert_eq!(
        (&object["target"], &object["query_type"], &object["set_rd_bit"]),
        (&Value::Null, &json!("HTTPS"), &json!(true))
    );
}

#[test]
fn every_field_of_a_probe_has_its_type() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let up = lab.probe(&anna, "20.0.0.9", &["2a00:1:2:3::9"]);
    let never = lab.new_probe(&anna);
    for probe in [up, never] {
        check_types(
            &lab.get(&format!("/api/v2/probes/{probe}/")).json(),
            &[
                ("id", "i"),
                ("type", "s"),
                ("address_v4", "sn"),
                ("address_v6", "sn"),
                ("prefix_v4", "sn"),
                ("prefix_v6", "sn"),
                ("asn_v4", "in"),
                ("asn_v6", "in"),
                ("country_code", "sn"),
                ("description", "sn"),
                ("firmware_version", "i"),
                ("total_uptime", "i"),
                ("first_connected", "in"),
                ("last_connected", "in"),
                ("geometry", "on"),
                ("is_anchor", "b"),
                ("is_public", "b"),
                ("status", "o"),
                ("status_since", "in"),
                ("tags", "a"),
            ],
        );
    }
    let object = lab.get(&format!("/api/v2/probes/{up}/")).json();
    assert_eq!(object["status"], json!({"id": 1, "name": "Connected", "since": "2025-10-09T08:45:00Z"}));
    assert_eq!((&object["status_since"], &object["total_uptime"]), (&json!(NOW - 500), &json!(500)));
    assert!(
        object["tags"]
            .as_array()
            .unwrap()
            .contains(&json!({"name": "system: IPv4 Works", "slug": "system-ipv4-works"}))
    );
    let object = lab.get(&format!("/api/v2/probes/{never}/")).json();
    assert_eq!(object["status"], json!({"id": 0, "name": "Never Connected", "since": null}));
}
