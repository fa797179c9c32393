//! `measurements/{id}/status-check`.

use serde_json::{Value, json};
use sonde_protocol::bounded::List;
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::result::{EchoReply, Outcome, PingOutcome, PingReply, Report};

use crate::lab::{Lab, NOW, Person, asking, ip, result};

/// A ping whose replies took so many milliseconds; `None` is silence.
pub(super) fn ping(measurement: MeasurementId, at: i64, rtts: &[Option<u64>]) -> Report {
    let reply = |rtt: &Option<u64>| match rtt {
        Some(rtt) => PingReply::Reply(EchoReply {
            rtt: rtt * 1_000_000,
            hop_limit: Some(60),
            size: 48,
            from: ip("20.1.2.3"),
            duplicate: false,
        }),
        None => PingReply::Timeout,
    };
    let sent = u32::try_from(rtts.len()).unwrap();
    let outcome = PingOutcome { size: 48, sent, replies: List::cut(rtts.iter().map(reply)) };
    result(measurement, at, "10.0.0.2", "20.1.2.3", Outcome::Ping(outcome))
}

fn lab() -> (Lab, Person, MeasurementId, [u64; 2]) {
    let lab = Lab::new();
    let ada = lab.person("ada");
    let probes = [lab.new_probe(&ada), lab.new_probe(&ada)];
    let sessions = probes.map(|probe| lab.connect(probe, &format!("30.0.{}.1", probe.0), &[]));
    let sources = json!([{"type": "probes", "value": format!("{},{}", probes[0], probes[1]), "requested": 2}]);
    let mut body = asking("ping", "20.1.2.3", sources);
    body["is_oneoff"] = json!(false);
    body["definitions"][0]["interval"] = json!(60);
    let id = lab.measure(&ada, &body);
    let runs: [[&[Option<u64>]; 3]; 2] = [
        // The first is well: 12 ms now, 10 before. The second lost all but one at last.
        [&[Some(10), Some(10)], &[Some(10), Some(10)], &[Some(10), Some(14)]],
        [&[Some(20), Some(20)], &[Some(20), None], &[None, None, None, Some(44)]],
    ];
    for (number, runs) in runs.iter().enumerate() {
        let reports = (0..).zip(runs).map(|(run, rtts)| {
            let report = ping(id, NOW - 300 + 60 * run, rtts);
            lab.stored(probes[number], sessions[number], &report)
        });
        let reports: Vec<_> = reports.collect();
        lab.store(reports, Vec::new());
    }
    (lab, ada, id, probes.map(|probe| probe.0))
}

fn check(lab: &Lab, id: MeasurementId, query: &str) -> (Value, String) {
    let reply = lab.get(&format!("/api/v2/measurements/{id}/status-check?{query}"));
    assert_eq!(reply.status, 200, "{reply:?}");
    (reply.json(), reply.headers["x-ripe-atlas-global-alert"].clone())
}

#[test]
fn loss_is_an_alert_above_what_is_allowed() {
    let (lab, _, id, [one, two]) = lab();
    let (state, _) = check(&lab, id, "");
    assert_eq!(
        state,
        json!({"global_alert": false, "total_alerts": 0, "probes": {
            one.to_string(): {"alert": false, "last": 12.0, "last_packet_loss": 0.0, "source": "Probes"},
            two.to_string(): {"alert": false, "last": 44.0, "last_packet_loss": 75.0, "source": "Probes"},
        }})
    );
    let (state, header) = check(&lab, id, "max_packet_loss=74.9");
    assert_eq!((&state["global_alert"], &state["total_alerts"], header.as_str()), (&json!(true), &json!(1), "1"));
    assert_eq!(state["probes"][two.to_string()]["all"], json!([44.0]));
    let (state, header) = check(&lab, id, "max_packet_loss=10&permitted_total_alerts=1");
    assert_eq!((&state["global_alert"], &state["total_alerts"], header.as_str()), (&json!(false), &json!(1), "0"));
}

#[test]
fn a_newest_time_above_the_median_is_an_alert() {
    let (lab, _, id, [one, two]) = lab();
    let (state, _) = check(&lab, id, "lookback=3&median_rtt_threshold=10&show_all=true");
    assert_eq!(state["probes"][one.to_string()]["all"], json!([12.0, 10.0, 10.0]));
    assert_eq!(
        (&state["probes"][one.to_string()]["alert"], &state["probes"][two.to_string()]["alert"]),
        (&json!(false), &json!(true))
    );
}

#[test]
fn it_is_for_pings_that_one_may_see() {
    let (lab, ada, id, _) = lab();
    for (query, place) in [
        ("lookback=0", "lookback"),
        ("lookback=x", "lookback"),
        ("max_packet_loss=101", "max_packet_loss"),
        ("max_packet_loss=NaN", "max_packet_loss"),
        ("median_rtt_threshold=-1", "median_rtt_threshold"),
        ("show_all=perhaps", "show_all"),
    ] {
        let reply = lab.get(&format!("/api/v2/measurements/{id}/status-check?{query}"));
        assert_eq!(reply.refused(400, 104), [place], "{query}");
    }
    let path = lab.measure(&ada, &asking("traceroute", "20.1.2.3", crate::lab::worldwide(1)));
    lab.get(&format!("/api/v2/measurements/{path}/status-check")).refused(400, 104);
    let mut body = asking("ping", "20.1.2.3", crate::lab::worldwide(1));
    body["definitions"][0]["is_public"] = json!(false);
    let private = lab.measure(&ada, &body);
    lab.get(&format!("/api/v2/measurements/{private}/status-check")).refused(404, 104);
    assert_eq!(lab.get_as(&ada, &format!("/api/v2/measurements/{private}/status-check/")).status, 200);
}
