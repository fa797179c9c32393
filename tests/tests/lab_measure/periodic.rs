//! Measurements that repeat: every due time is that of the schedule, each is accounted for once, and no round trip is faster
//! than the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::schedule;
use sonde_protocol::spec::Kind;
use sonde_tests::lab::{DnsServer, Family, Host, LabOptions};
use sonde_tests::scene::{self, Scene};
use sonde_tests::world::wait_for;

use crate::truth::{SIZE_SEEN_WHOLE, Truth};
use crate::{HOSTS, definition, target, text_query};

/// Seconds between runs.
const INTERVAL: u32 = 1;
/// Results that each probe is to have at least.
const RUNS: usize = 3;
/// Microseconds, of which results have six decimals.
const SECOND: i64 = 1_000_000;

/// What is asked for: the kind, the address, the definition.
fn cases(family: Family) -> Vec<(Kind, IpAddr, Value)> {
    let every = |fields: Value| {
        let mut fields = fields;
        (fields["interval"], fields["spread"]) = (json!(INTERVAL), json!(INTERVAL));
        fields
    };
    let (first, second) = (target(family, 0), target(family, 1));
    let ping = every(json!({"target": first, "packets": 2, "packet_interval": 20}));
    let udp = every(json!({"target": first, "protocol": "UDP", "packets": 1, "size": SIZE_SEEN_WHOLE}));
    let icmp = every(json!({"target": second, "protocol": "ICMP", "packets": 1, "size": SIZE_SEEN_WHOLE}));
    let server = Host::Dns.address(family).unwrap();
    let dns = text_query(family, "again.lab.example", &every(json!({"target": server})));
    vec![
        (Kind::Ping, first, definition(Kind::Ping, family, &ping)),
        (Kind::Traceroute, first, definition(Kind::Traceroute, family, &udp)),
        (Kind::Traceroute, second, definition(Kind::Traceroute, family, &icmp)),
        (Kind::Dns, server, dns),
    ]
}

/// A member of a list of the API in microseconds.
fn microseconds(seconds: &Value) -> i64 {
    (seconds.as_f64().unwrap_or_else(|| panic!("{seconds} is no time")) * 1e6).round() as i64
}

/// The results of one probe in the order of their due times, and all its due times that are accounted for, by result or
/// as skipped.
type Account = (BTreeMap<i64, Value>, Vec<i64>);

fn account(scene: &Scene<'_>, measurement: u64, host: Host) -> Account {
    let is_own = |item: &&Value| item["prb_id"] == scene.number(host);
    let results = scene.owner.results(measurement).unwrap();
    let skipped = scene.owner.get(&format!("/api/v2/measurements/{measurement}/skipped/")).unwrap();
    let results: Vec<(i64, Value)> = results
        .iter()
        .filter(is_own)
        .map(|result| (microseconds(&result["sonde"]["planned"]), result.clone()))
        .collect();
    let skipped = skipped["results"].as_array().unwrap().iter().filter(is_own).flat_map(|skipped| {
        let first = microseconds(&skipped["planned"]);
        (0..skipped["runs"].as_i64().unwrap()).map(move |n| first + n * i64::from(INTERVAL) * SECOND)
    });
    let mut due: Vec<i64> = results.iter().map(|(planned, _)| *planned).chain(skipped).collect();
    due.sort_unstable();
    (results.into_iter().collect(), due)
}

#[test]
fn runs_are_due_when_the_schedule_says_and_each_is_accounted_for_once() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    lab.add_to_zone(DnsServer::Lab, "again.lab.example TXT 60 \"again\"").unwrap();
    let scene = Scene::start(&lab, &HOSTS).unwrap();
    // A time of our choice, so that the due times can be said beforehand. What comes late is skipped, not lost.
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(2);
    let start = i64::try_from(start.as_secs()).unwrap();
    let mut asked = Vec::new();
    for family in Family::ALL {
        let cases = cases(family);
        let definitions: Vec<&Value> = cases.iter().map(|(_, _, definition)| definition).collect();
        let hosts = scene.hosts(family);
        let body = json!({"definitions": definitions, "probes": scene.source(&hosts), "start_time": start});
        let answer = scene.owner.request("POST", "/api/v2/measurements/", Some(&body)).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text);
        let ids = answer.json["measurements"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap());
        let of = |((kind, dst, _), id)| (kind, dst, id, hosts.clone());
        asked.extend(cases.into_iter().zip(ids).map(of));
    }

    let mut accounts: BTreeMap<(u64, Host), Account> = BTreeMap::new();
    for (_, _, id, hosts) in &asked {
        for host in hosts {
            let phase = schedule::phase(MeasurementId(*id), ProbeId(scene.number(*host)), INTERVAL);
            let first = start * SECOND + i64::try_from(phase.as_micros()).unwrap();
            let expected = |n: usize| first + i64::try_from(n).unwrap() * i64::from(INTERVAL) * SECOND;
            let account = wait_for("enough runs without a hole between them", || {
                let account = account(&scene, *id, *host);
                let (results, due) = &account;
                let is_whole = due.iter().enumerate().all(|(n, due)| *due == expected(n));
                let on_schedule: BTreeSet<i64> = (0..1000).map(expected).collect();
                for due in due {
                    assert!(on_schedule.contains(due), "{host:?}, {id}: {due} is not a due time from {first} on");
                }
                assert_eq!(BTreeSet::from_iter(due).len(), due.len(), "{host:?}, {id}: a due time twice: {due:?}");
                Ok((results.len() >= RUNS && is_whole).then_some(account))
            });
            accounts.insert((*id, *host), account.unwrap());
        }
    }
    for (_, _, id, _) in &asked {
        let answer = scene.owner.request("DELETE", &format!("/api/v2/measurements/{id}/"), None).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text);
    }

    let mut truth = Truth::now(&lab);
    for (kind, dst, id, hosts) in &asked {
        for host in hosts {
            let results: Vec<&Value> = accounts[&(*id, *host)].0.values().collect();
            match kind {
                Kind::Ping => truth.check_pings(*host, *dst, &results),
                Kind::Traceroute => truth.check_traceroutes(*host, *dst, &results),
                _ => check_answers(&lab.dns_log(DnsServer::Lab).unwrap(), *host, Family::of(*dst), &results),
            }
            for result in results {
                assert!(result["sonde"]["started"].as_f64() >= result["sonde"]["planned"].as_f64(), "{result}");
                if *kind == Kind::Ping {
                    assert_eq!(result["step"], INTERVAL, "{result}");
                }
                scene::record(&format!("periodic {kind}, {}", host.name()), result, false).unwrap();
            }
        }
    }
    truth.print_excess("periodic");
}

/// Each answer is one that the server sent to this host, and no two results have the same.
fn check_answers(log: &[sonde_tests::lab::DnsLogEntry], host: Host, family: Family, results: &[&Value]) {
    let client = host.public_address(family);
    let sent = log.iter().filter(|entry| entry.name == "again.lab.example." && Some(entry.client.ip()) == client);
    let mut sent: Vec<&[u8]> = sent.filter_map(|entry| entry.answer.as_deref()).collect();
    for result in results {
        let abuf = data_encoding::BASE64.decode(result["result"]["abuf"].as_str().unwrap().as_bytes()).unwrap();
        let at = sent.iter().position(|answer| *answer == abuf);
        sent.swap_remove(at.unwrap_or_else(|| panic!("{host:?}: the server never sent {result}")));
    }
}
