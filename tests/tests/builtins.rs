//! Built-in measurements, and stopping: a real server and real probes on loopback.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use serde_json::{Value, json};
use sonde_tests::loopback::Loopback;
use sonde_tests::world::wait_for;

fn entry(id: u64, target: &str, more: &str) -> String {
    let af = if target.contains(':') { 6 } else { 4 };
    format!(
        "[[measurement]]\nid = {id}\ntype = \"ping\"\naf = {af}\ntarget = \"{target}\"\npackets = 1\nspread = 0\n{more}\n"
    )
}

fn object(network: &Loopback, id: u64) -> Value {
    network.server.public().get(&format!("/api/v2/measurements/{id}/")).unwrap()
}

/// Waits until a probe has a result of a measurement, in `latest` too.
fn wait_for_result(network: &Loopback, id: u64, probe: u64) {
    let client = network.server.public();
    wait_for(&format!("a result of {id} from {probe}"), || {
        let latest = client.get(&format!("/api/v2/measurements/{id}/latest/"))?;
        let found = latest.as_array().unwrap().iter().any(|result| result["prb_id"] == probe && result["rcvd"] == 1);
        Ok(found.then_some(()))
    })
    .unwrap();
}

#[test]
fn every_probe_measures_what_the_file_says() {
    let first = entry(1001, "127.0.0.1", "interval = 2") + &entry(2001, "::1", "interval = 2");
    let mut network = Loopback::start_with_builtins(1, &first).unwrap();
    let early = network.numbers[0];
    wait_for_result(&network, 1001, early);
    wait_for_result(&network, 2001, early);
    let late = network.add_probe().unwrap();
    wait_for_result(&network, 1001, late);

    // Nobody stops it: neither whoever has a key, nor the operator behind the file's back.
    let refused = network.client.request("DELETE", "/api/v2/measurements/1001/", None).unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text);
    let why = network.server.admin(&["measurement", "stop", "1001"]).unwrap_err().to_string();
    assert!(why.contains("1001 is built-in"), "{why}");

    // Another file: one is gone, one has changed, one is new.
    let second =
        entry(1001, "127.0.0.1", "interval = 3\ndescription = \"Home\"") + &entry(7, "127.0.0.2", "interval = 2");
    std::fs::write(network.builtins(), &second).unwrap();
    network.server.stop().unwrap();
    network.server.restart().unwrap();
    network.wait_for_probes().unwrap();
    for probe in [early, late] {
        wait_for_result(&network, 7, probe);
    }
    let changed = object(&network, 1001);
    assert_eq!((&changed["interval"], &changed["description"]), (&json!(3), &json!("Home")));
    wait_for("results that know the new interval", || {
        let latest = network.client.get("/api/v2/measurements/1001/latest/")?;
        Ok(latest.as_array().unwrap().iter().all(|result| result["step"] == 3).then_some(()))
    })
    .unwrap();
    assert_eq!(object(&network, 2001)["status"]["name"], "Stopped");
    assert!(!network.client.results(2001).unwrap().is_empty(), "its results stay");

    // The same number for something else.
    let third = entry(1001, "127.0.0.1", "interval = 3") + &entry(7, "127.0.0.3", "interval = 2");
    std::fs::write(network.builtins(), third).unwrap();
    network.server.stop().unwrap();
    let why = format!("{:#}", network.server.restart().unwrap_err());
    assert!(why.contains("id 7: another target under the same number"), "{why}");
    std::fs::write(network.builtins(), entry(1001, "127.0.0.1", "interval = \"often\"")).unwrap();
    let why = format!("{:#}", network.server.restart().unwrap_err());
    assert!(why.contains("line 1, id 1001: interval"), "{why}");
    std::fs::write(network.builtins(), second).unwrap();
    network.server.restart().unwrap();
    network.wait_for_probes().unwrap();
    wait_for_result(&network, 7, late);
}

#[test]
fn a_stopped_measurement_is_not_measured_any_more() {
    let network = Loopback::start(1).unwrap();
    let ids = network.ping_periodically(3, 1).unwrap();
    let [goes_on, stopped, forced] = ids[..] else { panic!("{ids:?}") };
    for id in &ids {
        network.client.wait_results(*id, 1).unwrap();
    }
    let answer = network.client.request("DELETE", &format!("/api/v2/measurements/{stopped}/"), None).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
    network.server.admin(&["measurement", "stop", &forced.to_string()]).unwrap();
    assert!(network.server.admin(&["measurement", "stop", &forced.to_string()]).is_err(), "once");

    // The order for this one goes the same way after them: the probe that has made it knew of both stops.
    let oneoff = network.ping_once().unwrap();
    let timestamp = |result: &Value| result["timestamp"].as_i64().unwrap();
    let known = timestamp(&network.client.wait_results(oneoff, 1).unwrap()[0]);
    let before = network.client.results(goes_on).unwrap().len();
    network.client.wait_results(goes_on, before + 3).unwrap();
    for (id, status) in [(stopped, "Stopped"), (forced, "Forced to stop"), (goes_on, "Ongoing")] {
        assert_eq!(object(&network, id)["status"]["name"], status);
        let last = network.client.results(id).unwrap().iter().map(timestamp).max().unwrap();
        assert_eq!(last > known, id == goes_on, "{status}: {last}, and the probe knew at {known}");
    }
    network.finish().unwrap();
}
