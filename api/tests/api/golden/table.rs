//! What each object of RIPE Atlas's API has: every field, its JSON type, and whether it may be null. Go programs decode
//! into such types and fail on any other.
//!
//! A line is a field and its type: `int`, `num`, `str`, `bool`, `url`, `iso`, `obj`, or a list `[…]` of one; `?`: or null.
//! Fields of a field stand behind a dot, those of a list's elements behind `[].`. What is not in a table is not in the object.

use std::collections::BTreeMap;

use serde_json::Value;

pub const MEASUREMENT: &str = "
    id int
    type str
    status obj
    status.id int
    status.name str
    status.when int?
    af int?
    description str?
    creation_time int
    start_time int?
    stop_time int?
    interval int?
    spread int?
    is_oneoff bool
    is_public bool
    is_all_scheduled bool
    in_wifi_group bool
    resolve_on_probe bool
    participant_count int?
    probes_requested int?
    probes_scheduled int?
    group url?
    group_id int?
    target str?
    target_ip str?
    target_asn int?
    target_prefix str?
    resolved_ips [str]?
    result url
    credits_per_result int
    estimated_results_per_day int
    tags [str]";

/// What its owner sees besides.
pub const OF_OWNER: &str = "
    user_id int
    bill_to_user_id int";

/// What is there when it is asked for.
pub const OPTIONAL: &str = "
    probes [obj]
    probes[].id int
    probes[].url url
    current_probes [obj]
    current_probes[].id int
    current_probes[].url url
    probe_sources [obj]
    probe_sources[].requested int
    probe_sources[].type str
    probe_sources[].value str
    probe_sources[].tags_include str
    probe_sources[].tags_exclude str
    probe_sources[].diversity bool
    probe_sources[].seed int
    participation_requests [obj]
    participation_requests[].id int
    participation_requests[].self url
    participation_requests[].created_at int
    participation_requests[].action str
    participation_requests[].requested int
    participation_requests[].type str
    participation_requests[].value str
    participation_requests[].tags_include str
    participation_requests[].tags_exclude str
    participation_requests[].measurement url
    participation_requests[].measurement_id int
    participation_requests[].logs url
    participant_logs [obj]
    participant_logs[].prb_id int
    participant_logs[].timestamp int
    participant_logs[].action str
    is_active bool";

/// The fields that each kind has of its own.
pub fn of_kind(kind: &str) -> &'static str {
    match kind {
        "ping" => "packets int\n size int\n packet_interval int\n include_probe_id bool",
        "traceroute" => {
            "protocol str\n packets int\n size int\n first_hop int\n max_hops int\n paris int\n port int
            response_timeout int\n duplicate_timeout int\n hop_by_hop_option_size int\n destination_option_size int
            dont_fragment bool\n traffic_class int"
        }
        // The last four are ours.
        "dns" => {
            "query_class str\n query_type str\n query_argument str\n protocol str\n udp_payload_size int\n retry int
            timeout int\n set_rd_bit bool\n set_do_bit bool\n set_cd_bit bool\n set_nsid_bit bool
            use_probe_resolver bool\n include_abuf bool\n include_qbuf bool\n prepend_probe_id bool\n use_macros bool
            tls bool\n port int\n default_client_subnet bool\n cookies bool\n ttl int?
            https bool\n quic bool\n path str?\n hostname str?"
        }
        "sslcert" => "port int\n hostname str?",
        "http" => {
            "method str\n path str\n query_string str?\n port int\n https bool\n version str\n header_bytes int
            max_bytes_read int?\n extended_timing bool\n more_extended_timing bool\n user_agent str?"
        }
        "ntp" | "pathmtu" => "packets int\n timeout int",
        other => panic!("what fields has {other}?"),
    }
}

pub const LIST: &str = "
    count int
    next url?
    previous url?
    results [obj]";

pub const KEY: &str = "
    uuid str
    valid_from iso?
    valid_to iso?
    enabled bool
    is_active bool
    created_at iso
    label str
    grants [obj]
    grants[].permission str
    grants[].target obj?
    grants[].target.type str
    grants[].target.id int
    type str";

pub const PARTICIPATION_REQUEST: &str = "
    id int
    self url
    created_at int
    action str
    requested int
    type str
    value str
    tags_include str
    tags_exclude str
    measurement url
    measurement_id int
    logs url";

pub const GROUP: &str = "
    id int
    type str
    url url
    measurements [obj]
    measurements[].id int
    measurements[].url url";

pub const TAG: &str = "tag str\n measurements_count int";

pub const STATUS_CHECK: &str = "global_alert bool\n total_alerts int\n probes obj";

pub const STATUS_CHECK_OF_PROBE: &str = "alert bool\n last num?\n last_packet_loss num\n source str\n all [num?]";

pub const PLACES: &str = "placed int\n connected int\n places [[num]]";

pub const UPTIME: &str = "
    probe int
    window str
    start int
    now int
    step int
    first_connected int?
    connected [int?]
    connected_seconds int
    counted_seconds int";

pub const ERROR: &str = "
    error obj
    error.status int
    error.code int
    error.title str
    error.detail str";

/// Of an error that is about single fields or parameters.
pub const PROBLEMS: &str = "
    error.errors [obj]
    error.errors[].source obj
    error.errors[].detail str";

/// Every field is there, each of its type, and no other.
#[track_caller]
pub fn holds(object: &Value, tables: &[&str]) {
    let lines = tables.iter().flat_map(|table| table.lines()).map(str::trim).filter(|line| !line.is_empty());
    let fields: BTreeMap<&str, &str> = lines.map(|line| line.split_once(' ').unwrap()).collect();
    let mut wrong = Vec::new();
    look(object, "", &fields, &mut wrong);
    assert!(wrong.is_empty(), "{}\nin {object:#}", wrong.join("\n"));
}

fn look(object: &Value, path: &str, fields: &BTreeMap<&str, &str>, wrong: &mut Vec<String>) {
    let Some(object) = object.as_object() else { return wrong.push(format!("{path:?} is no object: {object}")) };
    let own = fields.keys().filter_map(|name| name.strip_prefix(path)).filter(|name| !name.contains('.'));
    wrong.extend(own.filter(|name| !object.contains_key(*name)).map(|name| format!("{path}{name} is missing")));
    for (name, value) in object {
        let name = format!("{path}{name}");
        let Some(kind) = fields.get(name.as_str()) else {
            wrong.push(format!("{name} is in no table: {value}"));
            continue;
        };
        if !is(value, kind) {
            wrong.push(format!("{name} should be {kind} and is {value}"));
            continue;
        }
        let has_fields = fields.range(name.as_str()..).any(|(other, _)| other.starts_with(&format!("{name}.")));
        match value {
            Value::Object(_) if has_fields => look(value, &format!("{name}."), fields, wrong),
            Value::Array(items) if kind.starts_with("[obj") => {
                let path = format!("{name}[].");
                let known = fields.keys().any(|other| other.starts_with(&path));
                items.iter().filter(|_| known).for_each(|item| look(item, &path, fields, wrong));
            }
            _ => {}
        }
    }
}

/// Is it of this type, to the letter? `1.0` and `"1"` are no `int`.
fn is(value: &Value, kind: &str) -> bool {
    if let Some(kind) = kind.strip_suffix('?') {
        return value.is_null() || is(value, kind);
    }
    if let Some(kind) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
        return value.as_array().is_some_and(|items| items.iter().all(|item| is(item, kind)));
    }
    match kind {
        "int" => value.is_i64() || value.is_u64(),
        "num" => value.is_number(),
        "str" => value.is_string(),
        "bool" => value.is_boolean(),
        "obj" => value.is_object(),
        "url" => value.as_str().is_some_and(|text| text.starts_with("http://") && text.contains("/api/v2/")),
        "iso" => value.as_str().is_some_and(|text| {
            let form = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c });
            form.eq("0000-00-00T00:00:00Z".chars())
        }),
        other => panic!("{other} is no type"),
    }
}

#[test]
fn the_checker_itself() {
    let table = "id int\n name str?\n inner obj?\n inner.at num\n list [obj]\n list[].a bool";
    let wrong = |value: Value| {
        let lines = table.lines().map(str::trim).map(|line| line.split_once(' ').unwrap());
        let mut wrong = Vec::new();
        look(&value, "", &lines.collect(), &mut wrong);
        wrong.len()
    };
    let good = serde_json::json!({"id": 1, "name": null, "inner": {"at": 0.5}, "list": [{"a": true}]});
    assert_eq!(wrong(good.clone()), 0);
    for (place, value) in [("id", "1".into()), ("id", 1.0.into()), ("name", 1.into()), ("inner", 1.into())] {
        let mut bad = good.clone();
        bad[place] = value;
        assert_eq!(wrong(bad), 1, "{place}");
    }
    let mut bad = good.clone();
    bad["new"] = 1.into();
    bad["list"][0] = serde_json::json!({});
    bad["inner"]["at"] = Value::Null;
    assert_eq!(wrong(bad), 3);
}
