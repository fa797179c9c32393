//! Probes are stopped and killed while their collector is away: what their spool's file holds arrives once, afterwards.
//! Real processes on loopback. It takes a minute, because a healthy card is spared that long.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use sonde_tests::loopback::Loopback;
use sonde_tests::scene::say;
use sonde_tests::world::{Probe, wait_for};

/// Reports in a probe's own log.
fn reports(probe: &Probe<'_>) -> usize {
    std::fs::read_to_string(probe.report_log()).unwrap_or_default().lines().count()
}

fn wait_for_reports(probe: &Probe<'_>, least: usize) -> usize {
    wait_for("reports", || Ok(Some(reports(probe)).filter(|made| *made >= least))).unwrap()
}

#[test]
fn what_was_not_delivered_before_a_stop_or_after_a_flush_before_a_kill_is_delivered_by_the_next_boot() {
    let mut network = Loopback::start(2).unwrap();
    network.ping_periodically(4, 2).unwrap();
    for probe in &network.probes {
        wait_for_reports(probe, 8);
    }
    network.server.kill().unwrap();

    let made = wait_for_reports(&network.probes[0], reports(&network.probes[0]) + 8);
    network.probes[0].stop().unwrap();
    let by_stopped = reports(&network.probes[0]);
    assert!(by_stopped >= made);
    // A boot between that reaches nobody changes nothing of it.
    network.probes[0].restart().unwrap();
    network.probes[0].wait_status("to have read its file", |status| status["spool"].as_u64() > Some(0)).unwrap();
    network.probes[0].kill().unwrap();

    let flushed = wait_for_reports(&network.probes[1], reports(&network.probes[1]) + 8);
    let written = |status: &serde_json::Value| status["written_today"].as_u64().filter(|bytes| *bytes > 0);
    // Longer than the minute for which nothing is written.
    let look = || wait_for("the file to be written", || Ok(network.probes[1].status()?.as_ref().and_then(written)));
    let bytes = look().or_else(|_| look()).unwrap();
    assert_eq!(bytes % 4096, 0);
    network.probes[1].kill().unwrap();
    let by_killed = reports(&network.probes[1]);

    for probe in &mut network.probes {
        probe.restart().unwrap();
    }
    network.server.restart().unwrap();
    network.wait_for_probes().or_else(|_| network.wait_for_probes()).unwrap();
    for probe in &mut network.probes {
        probe.wait_status("to have delivered what is old", |status| status["spool"].as_u64() < Some(8)).unwrap();
    }
    let found = network.finish().unwrap();
    say(&format!(
        "spool: {by_stopped} reports before the stop, {by_killed} before the kill, {bytes} bytes written; {found}"
    ));
    let gaps: Vec<_> = found.gaps.into_iter().collect();
    assert_eq!(gaps, [("crash", 1), ("stopped", 1)]);
    assert!(found.stored <= found.logged && found.logged - found.stored <= by_killed - flushed, "nothing else is lost");
}
