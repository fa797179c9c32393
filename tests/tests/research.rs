//! The researcher's commands as a person runs them: the real program against a real server with real probes, on loopback.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sonde_tests::loopback::Loopback;
use sonde_tests::world::{program, wait_for};

/// `sonde …` as the researcher of a network.
fn sonde(network: &Loopback, words: &[&str]) -> Command {
    let mut command = Command::new(program("sonde").unwrap());
    command.args(words).stdin(Stdio::null());
    command.env("SONDE_SERVER", network.client.base()).env("SONDE_KEY", network.client.key().unwrap());
    command
}

fn run(network: &Loopback, line: &str) -> Output {
    sonde(network, &line.split(' ').collect::<Vec<_>>()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The number in the first line that a measuring command says: `measurement 1000001 (IPv4): …`.
fn number(says: &str) -> u64 {
    says.split(' ').nth(1).unwrap().parse().unwrap()
}

fn status(network: &Loopback, id: u64) -> String {
    let measurement = network.client.get(&format!("/api/v2/measurements/{id}/")).unwrap();
    measurement["status"]["name"].as_str().unwrap().to_owned()
}

fn interrupt(child: &Child) {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
}

#[test]
fn measuring_once_prints_results_and_nothing_else() {
    let network = Loopback::start(2).unwrap();
    let from = format!("probes:{},{}", network.numbers[0], network.numbers[1]);

    let output = run(&network, &format!("ping 127.0.0.1 --packets 1 --json --from {from}"));
    let results: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), 2, "{output:?}");
    for result in &results {
        assert_eq!((&result["type"], &result["sent"], &result["rcvd"]), (&"ping".into(), &1.into(), &1.into()));
    }
    let says = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(says.contains("2 results from 2 of 2 probes"), "{says}");
    let id = number(&says);

    // The same probes again by the measurement, as a table.
    let trace = stdout(&run(&network, &format!("traceroute ::1 --protocol ICMP --from msm:{id}")));
    assert_eq!(trace.matches("reached").count(), 2, "{trace}");
    assert!(trace.contains("LAST ANSWER") && trace.contains("2 results from 2 of 2 probes"), "{trace}");

    let table = stdout(&run(&network, &format!("results {id}")));
    assert_eq!(table.matches("127.0.0.1").count(), 2, "{table}");
    let json = stdout(&run(&network, &format!("results {id} --json --probes {}", network.numbers[0])));
    assert_eq!(json.lines().count(), 1, "{json}");
    let again = sonde(&network, &["stream", "--msm", &id.to_string(), "--backlog", "--limit", "2"]).output().unwrap();
    assert_eq!(stdout(&again).matches("\"rcvd\":1").count(), 2);

    let probes = stdout(&run(&network, "probes --status connected"));
    assert_eq!(probes.matches("Connected").count(), 2, "{probes}");
    let measurements = stdout(&run(&network, "measurements --mine --type ping --target 127.0.0.1"));
    assert!(measurements.contains(&id.to_string()) && measurements.contains("once"), "{measurements}");
    network.finish().unwrap();
}

#[test]
fn an_interrupt_stops_what_goes_on() {
    let network = Loopback::start(1).unwrap();
    let from = format!("probe:{}", network.numbers[0]);
    let words = ["ping", "127.0.0.1", "--packets", "1", "--interval", "1", "--json", "--from", &from];
    let mut child = sonde(&network, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut results = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&results.next().unwrap().unwrap()).unwrap();
    let second: Value = serde_json::from_str(&results.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["msm_id"], second["msm_id"]);
    assert_ne!(first, second);

    interrupt(&child);
    assert!(child.wait().unwrap().success(), "results came");
    let mut says = String::new();
    child.stderr.take().unwrap().read_to_string(&mut says).unwrap();
    let id = number(&says);
    assert!(says.contains(&format!("measurement {id} is stopped")), "{says}");
    assert_eq!(status(&network, id), "Stopped");

    // Whoever reads no longer wants it either: `sonde ping … | head -1`.
    let mut child = sonde(&network, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut says = BufReader::new(child.stderr.take().unwrap()).lines();
    let id = number(&says.next().unwrap().unwrap());
    drop(child.stdout.take());
    child.wait().unwrap();
    wait_for("the measurement to stop", || Ok((status(&network, id) == "Stopped").then_some(()))).unwrap();

    let id = network.ping_periodically(1, 60).unwrap()[0];
    assert!(run(&network, &format!("stop {id}")).status.success());
    assert_eq!(status(&network, id), "Stopped");
}

#[test]
fn what_is_refused_is_said_in_words() {
    let network = Loopback::start(0).unwrap();
    let fails = |line: &str, code: i32, says: &[&str]| {
        let output = run(&network, line);
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {text}");
        assert!(says.iter().all(|words| text.contains(words)) && output.stdout.is_empty(), "{line}: {output:?}");
    };
    fails("ping 10.0.0.1 --from WW*1", 1, &["/definitions/0/target: ", "private use"]);
    fails("ping 127.0.0.1 --packets 17", 2, &["--packets: Ensure this value is between 1 and 16"]);
    fails("ping 127.0.0.1 --from 7", 2, &["--from 7", "probes:7"]);
    fails("ping 127.0.0.1 --from msm:999999999", 1, &["there is no such measurement"]);
    fails("ping 127.0.0.1 --max-hops 3", 2, &["--max-hops"]);
    fails("results 999999999", 1, &["refuses (404)"]);
    fails("stop 999999999", 1, &["measurement 999999999", "404"]);

    let strange = sonde(&network, &["ping", "127.0.0.1"]).env("SONDE_KEY", "not-a-key-of-theirs").output().unwrap();
    let says = String::from_utf8(strange.stderr).unwrap();
    assert!(says.contains("refuses (403)") && says.contains("SONDE_KEY") && !says.contains("not-a-key"), "{says}");
    let nobody = sonde(&network, &["probes"]).env("SONDE_SERVER", "http://127.0.0.1:9").output().unwrap();
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("cannot be reached"));

    // Nobody can measure it: that is said, and no result came.
    let nobody = run(&network, "ping 127.0.0.1 --from WW*1 --wait 60s");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8(nobody.stderr.clone()).unwrap().contains("No suitable probes"), "{nobody:?}");
}
