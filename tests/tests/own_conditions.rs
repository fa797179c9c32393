//! What a probe knows of itself: its key, its claim, its clock, its host's pause and limits. `status`, `doctor` and, where the
//! probe reaches its collector, its record in the API say the same word; and when it is over, none of them does.
//!
//! On loopback: this machine's own network may be whatever it is, so only the word in question is looked for.

// What cannot go on here has failed the test.
#![expect(clippy::unwrap_used, reason = "an error must end the test")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::{env, fs};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sonde_tests::loopback::Loopback;
use sonde_tests::scene::say;
use sonde_tests::world::{Probe, program, wait_for};

/// What is said of the word in this list of conditions or findings.
fn of_word(list: &Value, word: &str) -> Option<Value> {
    list.as_array()?.iter().find(|one| one["word"] == word).cloned()
}

fn command(probe: &Probe<'_>, words: &[&str]) -> Output {
    Command::new(program("sonde-probe").unwrap()).args(words).arg("--state").arg(probe.state()).output().unwrap()
}

/// Waits until `status` says the word, looks that its line for people and `doctor` do, with what to do. Gives the condition.
fn is_said(probe: &mut Probe<'_>, word: &str) -> Value {
    let status = probe.wait_status(word, |status| of_word(&status["conditions"], word).is_some()).unwrap();
    let line = command(probe, &["status"]);
    let line = String::from_utf8_lossy(&line.stdout).into_owned();
    // A probe that waits shows its code instead, and what to do with it. And the line has room for the worst alone: this
    // machine's own network may be worse than a clock.
    let is_warning = of_word(&status["conditions"], word).is_some_and(|one| one["level"] == "warning");
    let is_waiting = word == "pending-claim" && line.contains("waiting to be claimed");
    assert!(line.contains(word) || is_waiting || (is_warning && line.contains(" more: ")), "{line}");
    let doctor = command(probe, &["doctor", "--json"]);
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let finding = of_word(&doctor["findings"], word).unwrap_or_else(|| panic!("no {word} in {doctor}"));
    assert!(finding["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{finding}");
    of_word(&status["conditions"], word).unwrap()
}

/// Waits until the probe's record says the word among what holds (`conditions`) or what is over (`past`).
fn is_recorded(network: &Loopback, number: u64, place: &str, word: &str) -> Value {
    let mut last = Value::Null;
    wait_for(&format!("{word} in the record"), || {
        last = network.client.get(&format!("/api/v2/probes/{number}/"))?["health"].clone();
        Ok(of_word(&last[place], word))
    })
    .unwrap_or_else(|error| panic!("{error}: {last}"))
}

fn is_over(network: &Loopback, number: u64, probe: &mut Probe<'_>, word: &str) {
    probe.wait_status("it to be over", |status| of_word(&status["conditions"], word).is_none()).unwrap();
    is_recorded(network, number, "past", word);
}

#[test]
fn a_pause_is_said_while_it_lasts() {
    let mut network = Loopback::start(1).unwrap();
    let (number, mut probe) = (network.numbers[0], network.probes.remove(0));
    assert!(command(&probe, &["pause", "2h"]).status.success());
    let said = is_said(&mut probe, "paused");
    assert!(said["detail"].as_str().unwrap().starts_with("until 2") && said["level"] == "note", "{said}");
    is_recorded(&network, number, "conditions", "paused");
    let host = wait_for("the record of the pause", || {
        let host = network.client.get(&format!("/api/v2/probes/{number}/"))?["health"]["host"].clone();
        Ok((host["paused"] == true).then_some(host))
    })
    .unwrap();
    let (told, until) = (host["told_at"].as_i64().unwrap(), host["paused_until"].as_i64().unwrap());
    assert!((7_000..=7_260).contains(&(until - told)), "{host}");
    assert_eq!(host["packets_per_second"], json!(200), "{host}");
    assert!(host["kinds"].as_array().unwrap().contains(&json!("ping")), "{host}");

    // It outlives a restart, and a new limit is told at once.
    probe.stop().unwrap();
    let config = fs::read_to_string(probe.dir().join("sonde.toml")).unwrap();
    fs::write(probe.dir().join("sonde.toml"), format!("{config}[limits]\npackets_per_second = 77\n")).unwrap();
    probe.restart().unwrap();
    probe.wait_connected().unwrap();
    is_said(&mut probe, "paused");
    wait_for("the new limit in the record", || {
        let record = network.client.get(&format!("/api/v2/probes/{number}/"))?;
        Ok((record["health"]["host"]["packets_per_second"] == 77).then_some(()))
    })
    .unwrap();
    assert!(command(&probe, &["resume"]).status.success());
    is_over(&network, number, &mut probe, "paused");
}

#[test]
fn a_limit_that_keeps_measurements_from_running_is_said() {
    let mut network = Loopback::start(1).unwrap();
    let (number, mut probe) = (network.numbers[0], network.probes.remove(0));
    let file = probe.dir().join("sonde.toml");
    let config = fs::read_to_string(&file).unwrap();
    let allow = |probe: &mut Probe<'_>, bytes: u32| {
        fs::write(&file, format!("{config}[limits]\nbytes_per_day = {bytes}\n")).unwrap();
        let id = i32::try_from(probe.process().unwrap().id()).unwrap();
        kill(Pid::from_raw(id), Signal::SIGHUP).unwrap();
        probe.wait_status("the limit", |status| status["host"]["bytes_per_day"] == bytes).unwrap();
    };
    allow(&mut probe, 1 << 20);
    // Each counts as 16 × (2000 + 48) bytes in both directions: sixteen of them are the day's.
    let ping =
        json!([{"type": "ping", "af": 4, "target": "127.0.0.1", "packets": 16, "size": 2000, "packet_interval": 2}]);
    let probes = json!([{"type": "probes", "value": number.to_string(), "requested": 1}]);
    for _ in 0..17 {
        network.client.measure(&ping, &probes, true).unwrap();
    }
    let said = is_said(&mut probe, "limit-reached");
    assert!(said["detail"].as_str().unwrap().contains("1048576 bytes"), "{said}");
    is_recorded(&network, number, "conditions", "limit-reached");
    allow(&mut probe, 1 << 30);
    is_over(&network, number, &mut probe, "limit-reached");
}

#[test]
fn a_probe_that_nobody_knows_says_why_it_is_not_served() {
    let closed = Loopback::start_with_settings(0, "[network]\nenrol = \"closed\"\n").unwrap();
    let mut unknown = closed.stranger("unknown", None).unwrap();
    is_said(&mut unknown, "key-refused");

    let network = Loopback::start(0).unwrap();
    // A token that nobody gave away.
    let card = network.dir("card").unwrap().join("network.toml");
    let text = network.server.admin(&["network", "card"]).unwrap();
    fs::write(&card, format!("token = \"AAAAAAAAAAAAAAAAAAAAAA\"\n{text}")).unwrap();
    let mut with_token = network.stranger("token", Some(&card)).unwrap();
    is_said(&mut with_token, "token-refused");

    let mut waits = network.stranger("waits", None).unwrap();
    is_said(&mut waits, "pending-claim");
    let code = waits.wait_status("a code", |status| status["claim_code"].is_string()).unwrap()["claim_code"].clone();
    let claim = network.client.request("POST", "/api/v2/probes/claim/", Some(&json!({"code": code}))).unwrap();
    assert_eq!(claim.status, 201, "{}", claim.text);
    let number = waits.wait_connected().unwrap();
    is_over(&network, number, &mut waits, "pending-claim");
    assert_eq!(is_recorded(&network, number, "past", "pending-claim")["was_disconnected"], json!(true));
}

/// The library that shows a program another time of day (package `libfaketime`), if it is here.
fn other_clock() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    places.map(|place| place.join("faketime/libfaketime.so.1")).find(|path| path.exists())
}

#[test]
fn a_clock_that_is_wrong_is_said_and_the_probe_measures_by_its_collectors() {
    let Some(library) = other_clock() else {
        assert_ne!(env::var("SONDE_LAB_REQUIRED").as_deref(), Ok("1"), "libfaketime is not installed");
        return say("SKIPPED: a wrong clock: libfaketime is not installed");
    };
    let library = library.display().to_string();
    let mut network = Loopback::start(1).unwrap();
    let (number, mut probe) = (network.numbers[0], network.probes.remove(0));
    for (shift, which) in [("+3h", "fast"), ("-30d", "slow")] {
        probe.stop().unwrap();
        // The time of day alone: what times packets and deadlines stays as it is.
        let fake = [("LD_PRELOAD", library.as_str()), ("FAKETIME", shift), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        probe.restart_with(&fake).unwrap();
        probe.wait_connected().unwrap();
        let said = is_said(&mut probe, "clock-wrong");
        assert!(said["detail"].as_str().unwrap().contains(which), "{said}");
        let recorded = is_recorded(&network, number, "conditions", "clock-wrong");
        // By the server's clock, though the probe's is hours off.
        let since = recorded["since"].as_i64().unwrap();
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        assert!((now - 600..=now + 1).contains(&since), "{recorded} at {now}");
    }
    probe.stop().unwrap();
    probe.restart().unwrap();
    probe.wait_connected().unwrap();
    is_over(&network, number, &mut probe, "clock-wrong");
}
