//! What a host decides about its probe, with the real programs: a pause, kinds, hours, the bytes of the day. Whatever these
//! prevent is reported as skipped with its reason; they outlive a restart, and no order changes them.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sonde_tests::loopback::Loopback;
use sonde_tests::world::{Probe, program, wait_for};

/// What every `sonde.toml` here begins with.
const LAB: &str = "[policy]\nallow = [\"127.0.0.0/8\", \"::1/128\"]\n[limits]\n";

/// `sonde-probe WORD … --state DIR`.
fn command(probe: &Probe<'_>, words: &[&str]) -> Output {
    Command::new(program("sonde-probe").unwrap()).args(words).arg("--state").arg(probe.state()).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Waits until the API says that a run of this measurement was skipped for this reason.
fn wait_skipped(network: &Loopback, measurement: u64, reason: &str) {
    wait_for(&format!("a run of {measurement} to be skipped: {reason}"), || {
        let skipped = network.client.get(&format!("/api/v2/measurements/{measurement}/skipped/"))?;
        let found = skipped["results"].as_array().unwrap().iter().any(|one| one["reason"] == reason);
        Ok(found.then_some(()))
    })
    .unwrap();
}

fn configure(probe: &mut Probe<'_>, limits: &str) {
    std::fs::write(probe.state().parent().unwrap().join("sonde.toml"), format!("{LAB}{limits}")).unwrap();
}

/// Tells the probe to read its configuration again.
fn reload(probe: &mut Probe<'_>) {
    let id = i32::try_from(probe.process().unwrap().id()).unwrap();
    kill(Pid::from_raw(id), Signal::SIGHUP).unwrap();
}

/// Waits until `status --json` says so under `host`.
fn wait_host(probe: &Probe<'_>, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, || Ok(probe.status()?.map(|status| status["host"].clone()).filter(|host| is_so(host)))).unwrap()
}

#[test]
fn a_paused_probe_measures_nothing_says_so_and_stays_paused_after_a_restart() {
    let mut network = Loopback::start(1).unwrap();
    let periodic = network.ping_periodically(1, 1).unwrap()[0];
    network.client.wait_results(periodic, 1).unwrap();
    let line = said(&command(&network.probes[0], &["pause", "2h"]));
    assert!(line.contains("; paused until 2"), "{line}");
    wait_skipped(&network, periodic, "paused");
    let count = network.client.results(periodic).unwrap().len();
    let once = network.ping_once().unwrap();
    wait_skipped(&network, once, "paused");

    network.probes[0].stop().unwrap();
    network.probes[0].restart().unwrap();
    network.probes[0].wait_connected().unwrap();
    assert!(said(&command(&network.probes[0], &["status"])).contains("; paused until 2"));
    let once = network.ping_once().unwrap();
    wait_skipped(&network, once, "paused");
    assert_eq!(network.client.results(periodic).unwrap().len(), count, "nothing came while it was paused");

    let line = said(&command(&network.probes[0], &["resume"]));
    assert!(!line.contains("paused"), "{line}");
    network.client.wait_results(periodic, count + 1).unwrap();
    network.finish().unwrap();
}

#[test]
fn a_pause_is_refused_in_words_when_it_makes_no_sense() {
    let network = Loopback::start(1).unwrap();
    let probe = &network.probes[0];
    for (words, expected) in [
        (vec!["pause", "5"], "a duration is like"),
        (vec!["pause", "--until", "yesterday"], "a time is like"),
        (vec!["pause", "--until", "2020-01-01"], "in the past"),
        (vec!["pause", "1h", "--until", "18:00"], "cannot be used with"),
    ] {
        let complaint = complaint(&command(probe, &words));
        assert!(complaint.contains(expected), "{words:?}: {complaint}");
    }
    let nowhere = Command::new(program("sonde-probe").unwrap())
        .args(["pause", "--state"])
        .arg(Path::new("/nonexistent"))
        .output()
        .unwrap();
    assert!(complaint(&nowhere).contains("does it run?"));
    assert_eq!(probe.status().unwrap().unwrap()["host"]["paused"], json!(false));
}

#[test]
fn kinds_hours_and_the_switch_in_the_file_are_read_again_and_told() {
    let mut network = Loopback::start(1).unwrap();
    let periodic = network.ping_periodically(1, 1).unwrap()[0];
    network.client.wait_results(periodic, 1).unwrap();
    configure(&mut network.probes[0], "kinds = [\"dns\", \"ntp\"]\n");
    reload(&mut network.probes[0]);
    wait_host(&network.probes[0], "the kinds", |host| host["kinds"] == json!(["dns", "ntp"]));
    wait_skipped(&network, periodic, "kind off");
    // The server hears of it, and asks it for nothing else from then on.
    wait_for("the server to know the kinds", || Ok((kinds(&network)? == json!(["dns", "ntp"])).then_some(()))).unwrap();
    let once = network.ping_once().unwrap();
    let (status, participants) = found(&network, once);
    assert_eq!((status.as_str(), participants), ("No suitable probes", 0));
    let ask = json!([{"type": "dns", "af": 4, "target": "127.0.0.1", "query_class": "IN", "query_type": "A",
                      "query_argument": "example.org"}]);
    let asked = network.client.measure(&ask, &network.everybody(), true).unwrap()[0];
    network.client.wait_results(asked, 1).unwrap();
    assert_eq!(found(&network, asked).1, 1);

    // Two minutes in the small hours of some time zone or other: never now.
    configure(&mut network.probes[0], &format!("hours = [\"{}\"]\n", elsewhen()));
    reload(&mut network.probes[0]);
    wait_host(&network.probes[0], "the hours", |host| host["outside_hours"] == json!(true));
    wait_for("the server to know that all kinds are allowed", || {
        Ok(kinds(&network)?.as_array().filter(|kinds| kinds.len() > 2).map(|_| ()))
    })
    .unwrap();
    let once = network.ping_once().unwrap();
    wait_skipped(&network, once, "outside hours");
    assert!(said(&command(&network.probes[0], &["status"])).contains("waits for its hours"));

    // A file that is wrong changes nothing, and that is said.
    configure(&mut network.probes[0], "packets_per_second = 0\n");
    reload(&mut network.probes[0]);
    let host = wait_host(&network.probes[0], "the complaint", |host| !host["config_problem"].is_null());
    assert_eq!(host["outside_hours"], json!(true));

    configure(&mut network.probes[0], "pause = true\n");
    reload(&mut network.probes[0]);
    wait_host(&network.probes[0], "the switch", |host| host["paused"] == json!(true));
    let once = network.ping_once().unwrap();
    wait_skipped(&network, once, "paused");
    assert!(complaint(&command(&network.probes[0], &["resume"])).contains("pause = true"));

    configure(&mut network.probes[0], "");
    reload(&mut network.probes[0]);
    wait_host(&network.probes[0], "freedom", |host| host["paused"] == json!(false));
    let once = network.ping_once().unwrap();
    network.client.wait_results(once, 1).unwrap();
}

/// The kinds that the server believes the probe's host allows.
fn kinds(network: &Loopback) -> anyhow::Result<Value> {
    Ok(network.client.get(&format!("/api/v2/probes/{}/", network.numbers[0]))?["kinds"].clone())
}

/// A measurement's status, and how many probes it has.
fn found(network: &Loopback, measurement: u64) -> (String, u64) {
    let fields = "fields=status,participant_count";
    let object = network.client.get(&format!("/api/v2/measurements/{measurement}/?{fields}")).unwrap();
    (object["status"]["name"].as_str().unwrap().to_owned(), object["participant_count"].as_u64().unwrap())
}

/// A span of hours that is twelve hours away, in local time as the C library has it.
fn elsewhen() -> String {
    let output = Command::new("date").args(["-d", "12 hours", "+%H:00-%H:59"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_bytes_of_the_day_are_not_given_back_by_a_restart_or_a_crash() {
    let mut network = Loopback::start(1).unwrap();
    configure(&mut network.probes[0], "bytes_per_day = 1048576\n");
    reload(&mut network.probes[0]);
    wait_host(&network.probes[0], "the limit", |host| host["bytes_per_day"] == json!(1_048_576));
    // Each counts as 16 × (2000 + 48) bytes in both directions: 65,536.
    let large =
        json!({"type": "ping", "af": 4, "target": "127.0.0.1", "packets": 16, "size": 2000, "packet_interval": 2});
    let measure = |network: &Loopback| network.client.measure(&json!([large]), &network.everybody(), true).unwrap()[0];
    for _ in 0..7 {
        let once = measure(&network);
        network.client.wait_results(once, 1).unwrap();
    }
    let used = wait_host(&network.probes[0], "the use", |host| host["bytes_today"].as_u64() >= Some(7 * 65_536));
    network.probes[0].stop().unwrap();
    network.probes[0].restart().unwrap();
    network.probes[0].wait_connected().unwrap();
    let again = wait_host(&network.probes[0], "the use", |_| true);
    assert_eq!(again["bytes_today"], used["bytes_today"], "a clean stop: exactly");

    let once = measure(&network);
    network.client.wait_results(once, 1).unwrap();
    network.probes[0].kill().unwrap();
    network.probes[0].restart().unwrap();
    network.probes[0].wait_connected().unwrap();
    let crashed = wait_host(&network.probes[0], "the use", |_| true);
    assert!(crashed["bytes_today"].as_u64() >= Some(8 * 65_536), "a crash: at least: {crashed}");

    // Sixteen of them are a day, and some of it was given up at the crash.
    network.wait_for_probes().unwrap();
    let asked: Vec<_> = (0..9).map(|_| measure(&network)).collect();
    wait_skipped(&network, asked[8], "limit");
    assert!(said(&command(&network.probes[0], &["status"])).contains("reports waiting"));
}

#[test]
fn what_was_measured_is_there_for_its_host_to_read() {
    let mut network = Loopback::start(1).unwrap();
    let once = network.ping_once().unwrap();
    network.client.wait_results(once, 1).unwrap();
    let days = |network: &Loopback| -> Value {
        serde_json::from_str(&said(&command(&network.probes[0], &["activity", "--json", "--days", "2"]))).unwrap()
    };
    let found = days(&network);
    let row = &found[0]["rows"][0];
    assert_eq!((&row["kind"], &row["target"], &row["runs"]), (&json!("ping"), &json!("::1"), &json!(1)), "{found}");
    assert_eq!(row["packets"], json!(1));
    assert!(row["bytes"].as_u64() >= Some(2 * 48), "{row}");
    let text = said(&command(&network.probes[0], &["activity"]));
    assert!(text.contains("1 runs") && text.contains("::1"), "{text}");

    network.probes[0].stop().unwrap();
    assert_eq!(days(&network), found, "it is kept when the probe stops");
    network.probes[0].restart().unwrap();
    network.probes[0].wait_connected().unwrap();
    network.wait_for_probes().unwrap();
    let once = network.ping_once().unwrap();
    network.client.wait_results(once, 1).unwrap();
    assert_eq!(days(&network)[0]["rows"][0]["runs"], json!(2), "and goes on");
}
