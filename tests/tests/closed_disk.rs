//! The disk of a probe's state directory takes nothing: the probe starts and measures all the same, says so by the same word in
//! `status`, in `doctor` and in its record, and is well again when the disk is. Without a key it ends, in words.
//!
//! The disk is a small one in memory. It is mounted in a mount namespace of the test's own, which this test program enters
//! by starting itself again, and which ends with it. Where the system allows no such thing, the test says so and passes.

// What cannot go on here has failed the test.
#![expect(clippy::unwrap_used, reason = "an error must end the test")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sonde_tests::loopback::Loopback;
use sonde_tests::scene::say;
use sonde_tests::world::{program, wait_for};

const INSIDE: &str = "SONDE_OWN_MOUNTS";

/// Nothing that is made in /run stays there.
const ALONE: &str = r#"mount -t tmpfs tmpfs /run || exit 77
exec "$0" --exact on_a_disk_that_takes_nothing --nocapture"#;

/// What the test says when it has come to its end.
const DONE: &str = "the disk was full, and then read-only";

#[test]
fn a_probe_outlives_its_disk() {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let mut command = Command::new("unshare");
    command.arg(if is_root { "-m" } else { "-Urm" }).args(["sh", "-c", ALONE]);
    let output = command.arg(std::env::current_exe().unwrap()).env(INSIDE, "1").output();
    let Ok(output) = output else { return say("SKIPPED: a closed disk: no unshare on this machine") };
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || !said.contains("running 1 test") {
        return say(&format!("SKIPPED: a closed disk: this system mounts none for us: {said}"));
    }
    assert!(output.status.success() && said.contains(DONE), "{said}");
}

fn mount(words: &[&str], path: &Path) {
    let output = Command::new("mount").args(words).arg(path).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Fills what is left of the disk.
fn fill(path: &Path) {
    let mut whole = Vec::new();
    loop {
        whole.extend([1; 4096]);
        if fs::write(path, &whole).is_err() {
            return;
        }
    }
}

/// Is the word in this list of conditions or findings?
fn says(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|all| all.iter().any(|one| one["word"] == word && one["advice"].is_string()))
}

/// Waits until all who can be asked say the word, or, when it does not hold, none of them does.
fn wait_for_word(network: &Loopback, word: &str, holds: bool) {
    let probe = &network.probes[0];
    let status = wait_for(&format!("status, {word}: {holds}"), || {
        Ok(probe.status()?.filter(|status| says(&status["conditions"], word) == holds))
    });
    let status = status.unwrap_or_else(|error| panic!("{error}\n{}", network_log(network)));
    assert_eq!(status["state"], "connected");
    wait_for(&format!("the record, {word}: {holds}"), || {
        let record = network.client.get(&format!("/api/v2/probes/{}/", network.numbers[0]))?;
        Ok((says(&record["health"]["conditions"], word) == holds).then_some(()))
    })
    .unwrap();
    let mut doctor = Command::new(program("sonde-probe").unwrap());
    let output = doctor.args(["doctor", "--json", "--state"]).arg(probe.state()).output().unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(says(&findings["findings"], word), holds, "{findings}");
}

fn network_log(network: &Loopback) -> String {
    fs::read_to_string(network.probes[0].dir().join("probe.log")).unwrap_or_default()
}

fn command(network: &Loopback, words: &[&str]) -> Output {
    let probe = &network.probes[0];
    Command::new(program("sonde-probe").unwrap()).args(words).arg("--state").arg(probe.state()).output().unwrap()
}

#[test]
fn on_a_disk_that_takes_nothing() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let mut network = Loopback::start(1).unwrap();
    network.probes[0].stop().unwrap();
    let state = network.probes[0].state();
    let key = fs::read(state.join("probe.key")).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=8m", "tmpfs"], &state);
    fs::write(state.join("probe.key"), key).unwrap();
    network.probes[0].restart().unwrap();
    network.probes[0].wait_connected().unwrap();
    wait_for_word(&network, "disk-full", false);

    // Somebody fills it while the probe runs, which notices when it has something to write.
    let ballast = state.join("ballast");
    fill(&ballast);
    let paused = command(&network, &["pause", "1h"]);
    assert!(String::from_utf8_lossy(&paused.stderr).contains("a restart will not know"), "{paused:?}");
    wait_for_word(&network, "disk-full", true);
    wait_for_word(&network, "paused", true);
    assert!(command(&network, &["resume"]).status.success());
    wait_for_word(&network, "paused", false);

    // It is full when the probe starts.
    network.probes[0].stop().unwrap();
    network.probes[0].restart().unwrap();
    network.probes[0].wait_connected().unwrap();
    wait_for_word(&network, "disk-full", true);
    measures(&network);
    fs::remove_file(&ballast).unwrap();
    wait_for_word(&network, "disk-full", false);

    // A card that has worn out.
    network.probes[0].kill().unwrap();
    mount(&["-o", "remount,ro"], &state);
    network.probes[0].restart().unwrap();
    network.probes[0].wait_connected().unwrap();
    wait_for_word(&network, "disk-read-only", true);
    assert!(command(&network, &["status"]).status.success(), "it is asked elsewhere than in its state directory");
    measures(&network);
    mount(&["-o", "remount,rw"], &state);
    wait_for_word(&network, "disk-read-only", false);

    // Without a key it would be another probe after each start.
    network.probes[0].kill().unwrap();
    fs::remove_file(state.join("probe.key")).unwrap();
    mount(&["-o", "remount,ro"], &state);
    let card = network.probes[0].dir().join("network.toml");
    let mut run = Command::new(program("sonde-probe").unwrap());
    let output = run.arg("run").arg("--network").arg(card).arg("--state").arg(&state).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("there is no key yet"), "{said}");
    assert!(!network_log(&network).contains("panicked"), "{}", network_log(&network));
    say(DONE);
}

fn measures(network: &Loopback) {
    let once = network.ping_once().unwrap();
    network.client.wait_results(once, 1).unwrap();
}
