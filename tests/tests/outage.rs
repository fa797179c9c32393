//! The collector is away, stops, freezes, changes its key, is replaced by somebody else: nothing is lost, nobody is
//! believed who should not be, and no probe has to be touched. Real processes on loopback.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sonde_protocol::directory::SignedDirectory;
use sonde_protocol::tls::Ring;
use sonde_tests::audit::Findings;
use sonde_tests::loopback::Loopback;
use sonde_tests::scene::say;
use sonde_tests::world::{Probe, Server, wait_for};

/// Seconds between the runs of each measurement: far more than a busy machine keeps a probe waiting.
const INTERVAL: u32 = 4;

/// How long the collector is away; a minute when SONDE_LONG is set.
const AWAY: Duration = Duration::from_secs(8);

/// What the probe says of a collector with another key than the directory has.
const WRONG_KEY: &str = "the collector's key is not in this network's directory";

/// Every run that was due has its result, unless the probe was stopped just then, and nothing is missing.
fn assert_whole(what: &str, found: &Findings) {
    say(&format!("{what}: {found}"));
    let stopping = found.skipped.get("stopping").copied().unwrap_or(0);
    assert!(found.results > 0 && found.gaps.is_empty() && found.results + stopping == found.due, "{found}");
    assert_eq!(found.logged, found.stored);
}

/// Reports in a probe's own log.
fn reports(probe: &Probe<'_>) -> usize {
    std::fs::read_to_string(probe.report_log()).unwrap_or_default().lines().count()
}

/// Waits until every probe has made so many reports more.
fn wait_for_more_reports(probes: &[Probe<'_>], more: usize) {
    let before: Vec<usize> = probes.iter().map(reports).collect();
    wait_for("measuring to go on", || {
        let all = probes.iter().zip(&before).all(|(probe, before)| reports(probe) >= before + more);
        Ok(all.then_some(()))
    })
    .unwrap();
}

/// How often every probe has said something, the least of them.
fn said(network: &mut Loopback, text: &str) -> usize {
    network.probes.iter_mut().map(|probe| probe.process().unwrap().log().matches(text).count()).min().unwrap()
}

/// Waits until every probe has said something once more than `before` times.
fn wait_said(network: &mut Loopback, text: &str, before: usize) {
    wait_for(&format!("the probes to say: {text}"), || Ok((said(network, text) > before).then_some(()))).unwrap();
}

/// The serial number of the directory that a probe keeps.
fn serial(state: &Path) -> Option<u64> {
    let signed: SignedDirectory = minicbor::decode(&std::fs::read(state.join("directory.cbor")).ok()?).unwrap();
    Some(signed.open(&[signed.root], &Ring).unwrap().serial)
}

/// The key that the collector uses now.
fn collector_key(server: &Server<'_>) -> String {
    let shown = server.admin(&["network", "show"]).unwrap();
    let own = shown.lines().find(|line| line.ends_with("(this one)")).unwrap();
    own.split(' ').nth(1).unwrap().to_owned()
}

/// Gives the collector a new key and revokes the old one.
fn replace_key(server: &Server<'_>) {
    let old = collector_key(server);
    server.admin(&["network", "rotate"]).unwrap();
    assert_ne!(collector_key(server), old);
    server.admin(&["network", "revoke", &old]).unwrap();
    assert!(!server.admin(&["network", "show"]).unwrap().contains(&old));
}

/// The serial number of the server's own directory.
fn newest(server: &Server<'_>) -> u64 {
    serial(&server.data().join("network")).unwrap()
}

/// Waits until every probe has the server's own directory.
fn wait_for_directory(network: &Loopback) {
    let newest = newest(&network.server);
    wait_for("the probes to have the newest directory", || {
        Ok(network.probes.iter().all(|probe| serial(&probe.state()) == Some(newest)).then_some(()))
    })
    .unwrap();
}

#[test]
fn while_the_collector_is_away_measuring_goes_on_and_all_of_it_arrives() {
    let away = if std::env::var_os("SONDE_LONG").is_some() { Duration::from_secs(60) } else { AWAY };
    let mut network = Loopback::start(2).unwrap();
    network.ping_periodically(12, INTERVAL).unwrap();
    wait_for_more_reports(&network.probes, 12);
    network.server.kill().unwrap();
    let gone = Instant::now();
    while gone.elapsed() < away {
        wait_for_more_reports(&network.probes, 1);
    }
    network.server.restart().unwrap();
    // After a long time the probes ask once a minute or so.
    network.wait_for_probes().or_else(|_| network.wait_for_probes()).unwrap();
    assert_whole("away", &network.finish().unwrap());
}

#[test]
fn a_server_that_stops_lets_its_probes_go_and_has_them_back_one_after_the_other() {
    let mut network = Loopback::start(6).unwrap();
    network.ping_periodically(12, INTERVAL).unwrap();
    wait_for_more_reports(&network.probes, 12);
    network.server.stop().unwrap();
    assert_eq!(said(&mut network, "the collector does not serve this probe just now"), 1, "they left by themselves");
    network.server.restart().unwrap();
    network.wait_for_probes().unwrap();
    // The catalog knows that a probe is there a moment before the log does.
    let returns = wait_for("a line for each return", || {
        let log = network.server.process()?.log();
        let lines = log.lines().filter(|line| line.contains(" connected probe_id=")).skip(6);
        let returns: Vec<String> = lines.map(str::to_owned).collect();
        Ok((returns.len() >= 6).then_some(returns))
    })
    .unwrap();
    say(&format!("drain: these returned\n{}", returns.join("\n")));
    assert_eq!(returns.len(), 6);
    assert_whole("drain", &network.finish().unwrap());
}

#[test]
fn a_frozen_collector_is_left_for_a_second_connection_without_harm() {
    let mut network = Loopback::start(2).unwrap();
    network.ping_periodically(12, INTERVAL).unwrap();
    wait_for_more_reports(&network.probes, 12);
    let server = Pid::from_raw(network.server.process().unwrap().id().cast_signed());
    let oneoff = network.ping_once().unwrap();
    kill(server, Signal::SIGSTOP).unwrap();
    wait_said(&mut network, "trying a second connection", 0);
    wait_for_more_reports(&network.probes, 12);
    kill(server, Signal::SIGCONT).unwrap();
    network.client.wait_results(oneoff, 2).unwrap();
    let later = network.ping_once().unwrap();
    network.client.wait_results(later, 2).unwrap();
    wait_for_more_reports(&network.probes, 12);
    assert_whole("frozen", &network.finish().unwrap());
}

#[test]
fn keys_are_replaced_and_revoked_and_no_probe_is_touched() {
    let mut network = Loopback::start(2).unwrap();
    network.ping_periodically(4, INTERVAL).unwrap();
    let keys = |network: &Loopback| -> Vec<_> {
        network.probes.iter().map(|probe| std::fs::read(probe.state().join("probe.key")).unwrap()).collect()
    };
    let before = keys(&network);

    // While they are connected: they learn of it and come back to the new key.
    replace_key(&network.server);
    wait_for_directory(&network);
    wait_said(&mut network, "the collector's key was revoked", 0);
    network.wait_for_probes().unwrap();
    let oneoff = network.ping_once().unwrap();
    network.client.wait_results(oneoff, 2).unwrap();

    // While the server does not run: they come back and find nothing that they know.
    network.server.stop().unwrap();
    replace_key(&network.server);
    network.server.restart().unwrap();
    network.wait_for_probes().unwrap();
    wait_for_directory(&network);

    // While one of them does not run: its directory names nobody any more when it starts.
    network.probes[0].stop().unwrap();
    replace_key(&network.server);
    network.server.stop().unwrap();
    network.server.restart().unwrap();
    assert!(serial(&network.probes[0].state()) < Some(newest(&network.server)));
    network.probes[0].restart().unwrap();
    assert_eq!(network.probes[0].wait_connected().unwrap(), network.numbers[0]);
    network.wait_for_probes().unwrap();
    wait_for_directory(&network);

    assert_eq!(keys(&network), before);
    wait_for_more_reports(&network.probes, 1);
    let found = network.finish().unwrap();
    say(&format!("keys: {found}"));
    assert_eq!(found.logged, found.stored);
    assert_eq!(found.gaps.keys().collect::<Vec<_>>(), [&"stopped"], "one was stopped, and nothing else is missing");
}

#[test]
fn a_stranger_in_the_collectors_place_is_refused_and_so_is_an_older_directory() {
    let mut network = Loopback::start(2).unwrap();
    network.ping_periodically(4, INTERVAL).unwrap();
    let data = network.server.data().join("network");
    let old = network.dir("old").unwrap();
    copy(&data, &old);
    replace_key(&network.server);
    wait_for_directory(&network);
    network.wait_for_probes().unwrap();
    let state = |network: &Loopback| -> Vec<_> {
        let read = |probe: &Probe<'_>, file| std::fs::read(probe.state().join(file)).unwrap();
        network.probes.iter().map(|probe| (read(probe, "probe.key"), read(probe, "directory.cbor"))).collect()
    };
    let before = state(&network);

    // Somebody else at the same address, with a directory that another root has signed.
    network.server.stop().unwrap();
    let mut stranger = network.ports.serve(&network.dir("stranger").unwrap()).unwrap();
    wait_said(&mut network, WRONG_KEY, 0);
    wait_said(&mut network, "a directory is not accepted", 0);
    assert_eq!(stranger.public().get("/api/v2/probes/").unwrap()["count"], 0);
    let log = stranger.process().unwrap().log();
    assert!(!log.contains("waits to be claimed") && !log.contains("a token that is"), "no probe has said hello: {log}");
    stranger.kill().unwrap();

    // The collector as it was before: a key that was revoked, and the directory of that time.
    let new = network.dir("new").unwrap();
    copy(&data, &new);
    copy(&old, &data);
    let refused = said(&mut network, WRONG_KEY);
    network.server.restart().unwrap();
    wait_said(&mut network, WRONG_KEY, refused);
    assert_eq!(network.client.get("/api/v2/probes/?status=1").unwrap()["count"], 0);
    network.server.kill().unwrap();
    assert_eq!(state(&network), before);

    copy(&new, &data);
    network.server.restart().unwrap();
    network.wait_for_probes().unwrap();
    wait_for_more_reports(&network.probes, 1);
    assert_whole("stranger", &network.finish().unwrap());
}

/// Copies the files of a directory over those of another.
fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
