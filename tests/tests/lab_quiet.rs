//! A probe in the lab whose host needs its line: periodic measurements wait and are reported as skipped, single ones are run,
//! and when the line is quiet again everything goes on. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use sonde_tests::lab::{Family, Host, LabOptions};
use sonde_tests::scene::{self, RAW_SOCKETS, Scene, unhurried};
use sonde_tests::world::wait_for;

/// The port that nobody listens at (discard).
const NOWHERE: u16 = 9;

/// Sends about two megabits a second to the target until told to stop.
fn be_busy(target: IpAddr, stop: &AtomicBool) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    while !stop.load(Ordering::Relaxed) {
        // The target says that nobody listens, which the next send tells.
        let _ = socket.send_to(&[0; 1250], (target, NOWHERE));
        // This is the load: its rate is the point.
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn periodic_measurements_wait_while_the_line_is_busy() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let mut scene = Scene::start(&lab, &[Host::Dual]).unwrap();
    let target = Host::Target.address(Family::V4).unwrap();
    let member = scene.probes.get_mut(&Host::Dual).unwrap();
    let config = unhurried(RAW_SOCKETS) + "[quiet]\nbusy_mbits = 1\n";
    fs::write(member.probe.state().parent().unwrap().join("sonde.toml"), config).unwrap();
    kill(Pid::from_raw(i32::try_from(member.probe.process().unwrap().id()).unwrap()), Signal::SIGHUP).unwrap();

    let ping = json!([{"type": "ping", "af": 4, "target": target, "packets": 1, "interval": 4, "spread": 0}]);
    let periodic = scene.owner.measure(&ping, &scene.source(&[Host::Dual]), false).unwrap()[0];
    scene.owner.wait_results(periodic, 2).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| lab.host(Host::Dual).run(|| be_busy(target, &stop)));
        let said = wait_for("a run to be left out", || {
            let skipped = scene.owner.get(&format!("/api/v2/measurements/{periodic}/skipped/"))?;
            Ok(skipped["results"].as_array().unwrap().iter().any(|one| one["reason"] == "quiet line").then_some(()))
        });
        let status = wait_for("the probe to say so", || {
            let status = scene.probes[&Host::Dual].probe.status()?;
            Ok(status.filter(|status| status["host"]["line_busy"].is_string()))
        });
        let number = scene.number(Host::Dual);
        let is_named = |list: &serde_json::Value| {
            let mut all = list.as_array().into_iter().flatten();
            all.any(|one| one["word"] == "quiet-line" && one["level"] == "note").then_some(())
        };
        let named = wait_for("status to name it", || {
            let status = scene.probes[&Host::Dual].probe.status()?;
            Ok(status.and_then(|status| is_named(&status["conditions"])))
        });
        let recorded = wait_for("the record to name it", || {
            Ok(is_named(&scene.owner.get(&format!("/api/v2/probes/{number}/"))?["health"]["conditions"]))
        });
        let once = scene.once(&[json!({"type": "ping", "af": 4, "target": target, "packets": 1})], &[Host::Dual]);
        let single = once.and_then(|ids| scene.owner.wait_results(ids[0], 1));
        stop.store(true, Ordering::Relaxed);
        said.unwrap();
        named.unwrap();
        recorded.unwrap();
        assert!(status.unwrap()["host"]["line_busy"].as_str().unwrap().contains("Mbit/s"));
        single.unwrap();
    });
    let before = scene.owner.results(periodic).unwrap().len();
    scene.owner.wait_results(periodic, before + 2).unwrap();
}
