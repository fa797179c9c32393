//! The probe as nobody: uid 65534, no capability at all. With `net.ipv4.ping_group_range` open everything works that does not
//! need a raw socket, with the kernel's stamps; what does need one is refused or left out, never guessed. With it closed, ping
//! fails in words that name the sysctl, and what goes over UDP and TCP works on. `doctor` says in each case what is the case.
//!
//! Needs root, to become nobody; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use sonde_tests::lab::time_server::{Manners, TimeServer};
use sonde_tests::lab::{Family, Host, Lab, LabOptions};
use sonde_tests::scene::{self, Scene};
use sonde_tests::web::Web;
use sonde_tests::world::{EMAIL, program, runnable_copy};
use tempfile::TempDir;

const RANGE: &str = "net.ipv4.ping_group_range";
const CLOSED: &str = "1 0";
const OPEN: &str = "0 2147483647";

/// The program at a place where nobody may run it: a build folder may be closed to others.
struct Nobody {
    program: PathBuf,
    folder: TempDir,
}

impl Nobody {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { program: runnable_copy("sonde-probe", folder.path()).unwrap(), folder }
    }

    fn command(&self, lab: &Lab) -> Command {
        let mut command = lab.host(Host::Dual).command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
        command.args(["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]).arg(&self.program);
        command
    }

    fn measure(&self, lab: &Lab, words: &[&str]) -> Value {
        let output = self.command(lab).arg("measure").args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// What one measurement needs, and how one sees that it has worked.
struct Case {
    words: &'static [&'static str],
    needs: Needs,
    worked: fn(&Value) -> bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Sockets that everybody may open.
    Nothing,
    /// An ICMP socket.
    PingSocket,
    /// CAP_NET_RAW.
    RawSocket,
}

const ARRIVED: fn(&Value) -> bool = |result| {
    let last = result["result"].as_array().and_then(|hops| hops.last());
    last.is_some_and(|hop| hop["result"][0]["from"] == result["dst_addr"] && hop["result"][0]["rtt"].is_number())
};

/// `TARGET`, `SERVER` and `TIME` stand for the addresses of the target, the DNS server and the time server.
const CASES: &[Case] = &[
    Case {
        words: &["ping", "TARGET", "--packets", "2", "--packet-interval", "20"],
        needs: Needs::PingSocket,
        worked: |result| result["rcvd"] == 2,
    },
    Case {
        words: &["traceroute", "TARGET", "--protocol", "ICMP", "--packets", "1"],
        needs: Needs::PingSocket,
        worked: ARRIVED,
    },
    Case {
        words: &["traceroute", "TARGET", "--protocol", "UDP", "--packets", "1"],
        needs: Needs::Nothing,
        worked: ARRIVED,
    },
    Case {
        words: &["traceroute", "TARGET", "--protocol", "TCP", "--packets", "1"],
        needs: Needs::RawSocket,
        worked: ARRIVED,
    },
    Case {
        words: &["dns", "target.lab.example", "--server", "SERVER"],
        needs: Needs::Nothing,
        worked: |result| result["result"]["ANCOUNT"] == 1,
    },
    Case {
        words: &["dns", "target.lab.example", "--server", "SERVER", "--protocol", "TCP"],
        needs: Needs::Nothing,
        worked: |result| result["result"]["ANCOUNT"] == 1,
    },
    Case {
        words: &["ntp", "TIME", "--packets", "2"],
        needs: Needs::Nothing,
        worked: |result| result["result"][1]["offset"].is_number(),
    },
    Case {
        words: &["pathmtu", "TARGET"],
        needs: Needs::PingSocket,
        worked: |result| result["end"] == "complete" && result["mtu"] == 1500,
    },
    Case { words: &["sslcert", "TARGET"], needs: Needs::Nothing, worked: |result| result["cert"].is_array() },
    Case { words: &["http", "TARGET"], needs: Needs::Nothing, worked: |result| result["result"][0]["res"] == 200 },
];

/// Of these the program's own stamps are the only ones: a TCP connection is no packet.
fn is_of_packets(words: &[&str]) -> bool {
    let is_web = words.first().is_some_and(|kind| ["sslcert", "http"].contains(kind));
    !is_web && !words.windows(2).any(|pair| pair == ["--protocol", "TCP"])
}

#[test]
fn what_nobody_can_measure_and_what_not() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let nobody = Nobody::new();
    let times = |family: Family| Host::Target.addresses(family).get(1).copied().unwrap();
    let _servers =
        Family::ALL.map(|family| TimeServer::start(lab.host(Host::Target), times(family), Manners::Ahead(0)).unwrap());
    let _web = Web::start(lab.host(Host::Target)).unwrap();
    for range in [OPEN, CLOSED] {
        lab.host(Host::Dual).sysctl(RANGE, range).unwrap();
        for family in Family::ALL {
            for case in CASES {
                let words: Vec<String> = case
                    .words
                    .iter()
                    .map(|word| match *word {
                        "TARGET" => Host::Target.address(family).unwrap().to_string(),
                        "SERVER" => Host::Dns.address(family).unwrap().to_string(),
                        "TIME" => times(family).to_string(),
                        word => word.to_owned(),
                    })
                    .collect();
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let result = nobody.measure(&lab, &words);
                let name = format!("{} with {RANGE} {range:?}", words.join(" "));
                let can = case.needs == Needs::Nothing || (case.needs == Needs::PingSocket && range == OPEN);
                assert_eq!((case.worked)(&result), can, "{name}: {result}");
                let text = result.to_string();
                match case.needs {
                    _ if can => {
                        let source = if is_of_packets(&words) { "kernel" } else { "user" };
                        assert_eq!(result["sonde"]["timestamp_source"], source, "{name}: {result}");
                        // What an ICMP error quotes of the IP header reaches raw sockets only, and so does its whole size.
                        assert!(!text.contains("\"ittl\"") && !text.contains("\"itos\""), "{name}: {result}");
                        if words.contains(&"traceroute") {
                            assert!(result["result"][0]["result"][0].get("size").is_none(), "{name}: {result}");
                        }
                    }
                    Needs::RawSocket => {
                        assert!(text.contains("CAP_NET_RAW"), "{name}: {result}");
                    }
                    _ => assert!(text.contains("net.ipv4.ping_group_range="), "{name}: {result}"),
                }
            }
        }
    }
}

fn findings(output: &Output) -> Value {
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.success(), json["healthy"] == true, "{json}");
    json
}

/// The levels of all findings about something, and their words.
fn about(findings: &Value, check: &str) -> (Vec<String>, String) {
    let all = findings["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    let (levels, words): (Vec<String>, Vec<String>) =
        all.map(|finding| (finding["level"].as_str().unwrap().to_owned(), finding.to_string())).unzip();
    (levels, words.join("\n"))
}

#[test]
fn doctor_says_what_is_the_case_and_what_to_do() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let nobody = Nobody::new();
    let scene = Scene::start(&lab, &[]).unwrap();
    let network = nobody.folder.path().join("network.toml");
    scene.server.network_file(EMAIL, &network).unwrap();
    fs::set_permissions(&network, fs::Permissions::from_mode(0o644)).unwrap();
    let target = Host::Target.address(Family::V6).unwrap().to_string();
    let ask = |command: &mut Command, more: &[&str]| {
        let output = command.args(["doctor", "--json", "--network"]).arg(&network).args(more).output().unwrap();
        findings(&output)
    };
    let both = |level: &str| vec![level.to_owned(); 2];

    // Root needs no sysctl.
    lab.host(Host::Dual).sysctl(RANGE, CLOSED).unwrap();
    let seen = ask(&mut lab.host(Host::Dual).command(program("sonde-probe").unwrap()), &["--target", &target]);
    assert_eq!(seen["healthy"], true, "{seen}");
    for check in ["ping", "route", "collector"] {
        assert_eq!(about(&seen, check).0, both("ok"), "{seen}");
    }
    for check in ["raw", "stamps", "target"] {
        assert_eq!(about(&seen, check).0, ["ok"], "{seen}");
    }
    let resolvers = lab.resolvers(Host::Dual);
    assert_eq!(about(&seen, "resolver").0, vec!["ok"; resolvers.len()], "{seen}");
    assert!(resolvers.iter().all(|resolver| about(&seen, "resolver").1.contains(&resolver.to_string())), "{seen}");

    // Nobody does.
    let seen = ask(&mut nobody.command(&lab), &[]);
    let (levels, words) = about(&seen, "ping");
    assert_eq!((seen["healthy"].as_bool(), levels), (Some(false), both("problem")), "{seen}");
    for expected in ["sysctl -w net.ipv4.ping_group_range=", "/etc/sysctl.d/", "cap_net_raw", "1 0"] {
        assert!(words.contains(expected), "no {expected} in {words}");
    }

    // And with it all is well but for what needs a raw socket.
    lab.host(Host::Dual).sysctl(RANGE, OPEN).unwrap();
    let seen = ask(&mut nobody.command(&lab), &["--target", &target]);
    assert_eq!(seen["healthy"], true, "{seen}");
    assert_eq!((about(&seen, "ping").0, about(&seen, "collector").0), (both("ok"), both("ok")), "{seen}");
    assert_eq!(about(&seen, "target").0, ["ok"], "{seen}");
    let (levels, words) = about(&seen, "raw");
    assert!(levels == ["warning"] && words.contains("TCP traceroute"), "{seen}");
    let text = nobody.command(&lab).arg("doctor").output().unwrap();
    assert!(text.status.success());
    assert!(String::from_utf8_lossy(&text.stdout).contains("ok       ping: IPv4 by a socket that needs no privilege"));

    // A host that is not there, and one family.
    let gone = "20.30.1.200";
    let seen = findings(
        &lab.host(Host::V4Only)
            .command(program("sonde-probe").unwrap())
            .args(["doctor", "--json", "--target", gone])
            .output()
            .unwrap(),
    );
    let (levels, words) = about(&seen, "target");
    assert!(levels == ["problem"] && words.contains(gone) && seen["healthy"] == false, "{seen}");
    assert_eq!(about(&seen, "route").0, ["ok", "warning"], "{seen}");
}
