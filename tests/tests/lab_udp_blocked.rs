//! A network that lets no UDP out: the probe comes by TLS over TCP to the API's port, with all three lanes, exactly once, and
//! goes back to QUIC when it can. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use serde_json::{Value, json};
use sonde_protocol::ids::ProbeId;
use sonde_tests::audit::{self, Subject};
use sonde_tests::lab::{Family, Host, Lab, LabOptions};
use sonde_tests::scene::{COLLECTOR_PORT, Scene, lab, say};
use sonde_tests::world::{Client, program, wait_for};

/// One port for people and for probes.
const TLS: &str = "listen_tls = [\"[::]:8443\"]";

/// Waits until the probe says that it is connected, by this.
fn wait_by(scene: &Scene<'_>, uplink: &str) {
    let probe = &scene.probes[&Host::Dual].probe;
    wait_for(&format!("a connection by {uplink}"), || {
        Ok(probe.status()?.filter(|status| status["uplink"] == uplink && status["state"] == "connected"))
    })
    .unwrap();
}

fn record(client: &Client<'_>, number: u64) -> Value {
    client.get(&format!("/api/v2/probes/{number}/")).unwrap()
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|one| one["word"].as_str()).collect()
}

/// The probe gets through by TLS, and everybody who asks hears all the same what is wrong: `status`, `doctor` and the record.
fn is_called_blocked(lab: &Lab, scene: &Scene<'_>, number: u64) {
    let probe = &scene.probes[&Host::Dual].probe;
    let is_named = |list: &Value| (words(list) == ["udp-blocked"]).then_some(());
    let status = wait_for("the word", || Ok(probe.status()?.filter(|one| is_named(&one["conditions"]).is_some())));
    let status = status.unwrap_or_else(|error| panic!("{error}: {:?}", probe.status()));
    assert_eq!(status["uplink"], "tls");
    wait_for("the word in the record", || Ok(is_named(&record(&scene.owner, number)["health"]["conditions"]))).unwrap();
    let mut doctor = lab.host(Host::Dual).command(program("sonde-probe").unwrap());
    let output = doctor.args(["doctor", "--json", "--state"]).arg(probe.state()).output().unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(words(&findings["findings"]).contains(&"udp-blocked"), "{findings}");
}

#[test]
fn a_probe_behind_a_wall_for_udp_measures_all_the_same() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let wall = lab.host(Host::Server);
    wall.nft(&format!(
        "table inet wall {{ chain incoming {{ type filter hook input priority 0; udp dport {COLLECTOR_PORT} drop; }}; }}"
    ))
    .unwrap();
    let mut scene = Scene::start_with(&lab, &[Host::Dual], TLS).unwrap();
    let number = scene.number(Host::Dual);
    wait_by(&scene, "tls");
    assert_eq!(record(&scene.owner, number)["uplink"], "tls");
    assert_eq!(record(&scene.public, number).get("uplink"), None, "what blocks UDP there is nobody's business");
    is_called_blocked(&lab, &scene, number);

    // Bulk and one-offs, orders down and reports up.
    let target = Host::Target.address(Family::V6).unwrap();
    let ping = json!({"type": "ping", "af": 6, "target": target, "packets": 1});
    let mut periodic = ping.clone();
    periodic["interval"] = json!(1);
    periodic["spread"] = json!(1);
    let periodic = scene.owner.measure(&json!([periodic]), &scene.source(&[Host::Dual]), false).unwrap();
    scene.owner.wait_results(periodic[0], 3).unwrap();
    let once = scene.once(std::slice::from_ref(&ping), &[Host::Dual]).unwrap();
    assert_eq!(scene.one_each(&scene.owner, once[0], &[Host::Dual]).unwrap()[&Host::Dual]["rcvd"], 1);

    // The collector dies, and what was measured meanwhile comes as backlog by the same way.
    scene.server.kill().unwrap();
    wait_for("reports that wait", || {
        let status = scene.probes[&Host::Dual].probe.status()?;
        Ok(status.filter(|status| status["spool"].as_u64().is_some_and(|waiting| waiting >= 20)))
    })
    .unwrap();
    scene.server.restart().unwrap();
    wait_by(&scene, "tls");
    scene.owner.wait_results(periodic[0], 20).unwrap();

    // The wall is gone. A change of the machine's addresses is a reason to look.
    wall.nft("delete table inet wall").unwrap();
    let more = "addr add 20.10.1.77/24 dev eth0\n";
    lab.host(Host::Dual).feed("ip", &["-4", "-batch", "-"], more).unwrap();
    wait_by(&scene, "quic");
    assert_eq!(record(&scene.owner, number)["uplink"], "quic");
    wait_for("the record to be well", || Ok((record(&scene.owner, number)["health"]["level"] == "ok").then_some(())))
        .unwrap();
    let once = scene.once(&[ping], &[Host::Dual]).unwrap();
    assert_eq!(scene.one_each(&scene.owner, once[0], &[Host::Dual]).unwrap()[&Host::Dual]["rcvd"], 1);

    let until = audit::now();
    let probe = &mut scene.probes.get_mut(&Host::Dual).unwrap().probe;
    probe.stop().unwrap();
    let subject = Subject { probe: ProbeId(number), log: probe.report_log(), until };
    scene.server.stop().unwrap();
    let found = audit::check(scene.server.data(), &[subject]).unwrap();
    say(&format!("by TLS and back: {found}"));
    let stopping = found.skipped.get("stopping").copied().unwrap_or(0);
    assert!(found.gaps.is_empty() && found.results + stopping == found.due, "{found}");
    assert_eq!(found.logged, found.stored);
}
