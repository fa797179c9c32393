//! `ntp` in the lab, from `POST` to `results/`: servers that are right, ahead, behind, silent, unwilling, forged, absent, over
//! both families. All clocks of the lab are one machine's, so how far each server is wrong is known exactly.
//!
//! Needs root and chronyd; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "all of this is tests, the helpers between them too")]

use std::fs;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sonde_tests::lab::time_server::{Manners, TimeServer};
use sonde_tests::lab::{Direction, Family, Host, Lab, LabChild, LabOptions, Link, LinkParams};
use sonde_tests::scene::{self, Scene};
use sonde_tests::world::{program, wait_for};

/// Where the probes are.
const HOSTS: [Host; 4] = [Host::Dual, Host::V4Only, Host::V6Only, Host::Nat];

/// How far the wrong servers are wrong, in seconds. Not a round number of anything.
const SHIFT: i64 = 100;

/// Numbers in JSON have six decimals of a second where they count from 1900; four of them are compared.
const DECIMALS: f64 = 4e-6;

fn number(family: Family) -> u8 {
    if family == Family::V4 { 4 } else { 6 }
}

/// Further addresses of the target, one for each server.
fn address(family: Family, which: u8) -> IpAddr {
    match Host::Target.address(family).unwrap() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            [a, b, c, 100 + which].into()
        }
        IpAddr::V6(v6) => {
            let mut segments = v6.segments();
            segments[7] = 0x100 + u16::from(which);
            segments.into()
        }
    }
}

/// A server with these manners at an address of its own, in both families.
fn serve(lab: &Lab, which: u8, manners: Manners) -> Vec<TimeServer> {
    let target = lab.host(Host::Target);
    Family::ALL
        .into_iter()
        .map(|family| {
            let address = address(family, which);
            let (length, more) = if family == Family::V4 { (24, "") } else { (64, " nodad") };
            target.feed("ip", &["-batch", "-"], &format!("address add {address}/{length} dev eth0{more}\n")).unwrap();
            TimeServer::start(target, address, manners).unwrap()
        })
        .collect()
}

/// chronyd on the DNS server's host, in steps of its own: it serves this machine's clock and never sets it (`-x`).
fn chrony(lab: &Lab) -> LabChild {
    let dir = lab.dir();
    let config = dir.join("chrony.conf");
    let text = format!("local stratum 5\nallow\ncmdport 0\npidfile {}\nuser root\n", dir.join("chrony.pid").display());
    fs::write(&config, text).unwrap();
    let log = fs::File::create(dir.join("chrony.log")).unwrap();
    let mut command = lab.host(Host::Dns).command("chronyd");
    command.args(["-x", "-d", "-f"]).arg(&config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    lab.spawn(&mut command).unwrap()
}

fn chronyd_exists() -> bool {
    let found = Command::new("chronyd").arg("--version").stdout(Stdio::null()).status().is_ok();
    assert!(found || std::env::var_os("SONDE_LAB_REQUIRED").is_none_or(|value| value != "1"), "no chronyd");
    if !found {
        scene::say("SKIPPED: no chronyd on this machine");
    }
    found
}

/// `sonde-probe measure ntp` on a host, without any network of ours: its clock is then the machine's and so the server's.
fn measure(lab: &Lab, host: Host, target: IpAddr, options: &[&str]) -> Value {
    let mut command = lab.host(host).command(program("sonde-probe").unwrap());
    let output = command.args(["measure", "ntp", &target.to_string()]).args(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn float(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// The answers of a server that is `shift` seconds ahead: as far from the truth as physics allows, and not further.
fn check_times(lab: &Lab, host: Host, server: Host, family: Family, shift: i64, result: &Value) {
    let floor = lab.rtt_floor(host, server, family).unwrap().as_secs_f64();
    let clock_error = result["sonde"]["clock_error_us"].as_f64().unwrap_or(0.0) / 1e6;
    let replies = result["result"].as_array().unwrap();
    assert_eq!(replies.len(), 3, "{result}");
    for reply in replies {
        let (rtt, offset) = (float(reply, "rtt"), float(reply, "offset"));
        assert!(rtt >= floor, "{host:?}: {rtt} is below {floor}: {result}");
        let wrong = (offset - shift as f64).abs();
        assert!(wrong <= rtt / 2.0 + clock_error + DECIMALS, "{host:?}: {offset}, not {shift}: {result}");
        assert!(shift == 0 || offset.signum() == (shift as f64).signum(), "{result}");
        let [t1, t2, t3, t4] = ["origin-ts", "receive-ts", "transmit-ts", "final-ts"].map(|key| float(reply, key));
        assert!(t4 > t1 && t3 >= t2, "{result}");
        assert!((((t2 - t1) + (t3 - t4)) / 2.0 - offset).abs() < DECIMALS, "the offset is of these times: {result}");
        assert!(((t4 - t1) - (t3 - t2) - rtt).abs() < DECIMALS, "the round trip is of these times: {result}");
    }
}

#[test]
fn clocks_right_and_wrong_and_every_failure() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    if !chronyd_exists() {
        return;
    }
    let _chrony = chrony(&lab);
    let ahead = serve(&lab, 0, Manners::Ahead(SHIFT));
    let _behind = serve(&lab, 1, Manners::Ahead(-SHIFT));
    let _silent = serve(&lab, 2, Manners::Silent);
    let unwilling = serve(&lab, 3, Manners::Kiss(b"RATE"));
    let _forged = serve(&lab, 4, Manners::WrongOrigin);
    // chronyd says nothing when it begins; it answers when it has.
    wait_for("chronyd", || {
        let result = measure(&lab, Host::V4Only, Host::Dns.address(Family::V4).unwrap(), &["--timeout", "500"]);
        Ok((result["stratum"] == 5).then_some(()))
    })
    .unwrap();
    let scene = Scene::start(&lab, &HOSTS).unwrap();
    for family in Family::ALL {
        let hosts = scene.hosts(family);
        let definition = |target: IpAddr, timeout: u32| json!({"type": "ntp", "af": number(family), "target": target, "packets": 3, "timeout": timeout, "description": "ntp"});
        let of = |which| definition(address(family, which), 4000);
        let cases: [(&str, Value); 7] = [
            ("right", definition(Host::Dns.address(family).unwrap(), 4000)),
            ("ahead", of(0)),
            ("behind", of(1)),
            ("silent", definition(address(family, 2), 100)),
            ("unwilling", of(3)),
            ("forged", definition(address(family, 4), 100)),
            ("absent", definition(Host::Server.address(family).unwrap(), 4000)),
        ];
        let definitions: Vec<Value> = cases.iter().map(|(_, definition)| definition.clone()).collect();
        let ids = scene.once(&definitions, &hosts).unwrap();
        for ((case, definition), id) in cases.iter().zip(ids) {
            let results = scene.one_each(&scene.owner, id, &hosts).unwrap();
            for (host, result) in results {
                let name = format!("ntp {case}, {} over {family:?}", host.name());
                assert_eq!(result["type"], "ntp", "{name}");
                assert_eq!((&result["dst_addr"], &result["proto"]), (&definition["target"], &json!("UDP")), "{name}");
                assert_eq!(result["src_addr"], json!(host.address(family)), "{name}");
                match *case {
                    "right" => {
                        assert_eq!((&result["stratum"], &result["li"]), (&json!(5), &json!("no")), "{name}: {result}");
                        check_times(&lab, host, Host::Dns, family, 0, &result);
                    }
                    "ahead" => {
                        let who = [&result["stratum"], &result["ref-id"], &result["mode"], &result["version"]];
                        assert_eq!(who, [&json!(1), &json!("LAB"), &json!("server"), &json!(4)], "{name}: {result}");
                        check_times(&lab, host, Host::Target, family, SHIFT, &result);
                    }
                    "behind" => check_times(&lab, host, Host::Target, family, -SHIFT, &result),
                    "silent" | "forged" => {
                        assert_eq!(result["result"], json!([{"x": "*"}, {"x": "*"}, {"x": "*"}]), "{name}: {result}");
                        assert!(result.get("stratum").is_none(), "{name}: {result}");
                        // The last answer may come after the run.
                        let strays = result["sonde"]["strays_seen"].as_u64().unwrap_or(0);
                        assert_eq!(strays >= 2, *case == "forged", "{name}: {result}");
                    }
                    "unwilling" => {
                        assert_eq!(
                            (&result["stratum"], &result["ref-id"]),
                            (&json!("invalid"), &json!("RATE")),
                            "{name}"
                        );
                        assert_eq!(result["result"].as_array().unwrap().len(), 1, "{name}: {result}");
                        assert_eq!(result["result"][0]["error"], "kiss-o'-death: RATE", "{name}");
                    }
                    _ => {
                        let error = &result["result"][2]["sonde"];
                        let refused = if family == Family::V4 { (3, 3) } else { (1, 4) };
                        assert_eq!(result["result"][2]["x"], "*", "{name}: {result}");
                        assert_eq!((&error["icmp_type"], &error["icmp_code"]), (&json!(refused.0), &json!(refused.1)));
                    }
                }
                scene::record(&name, &result, false).unwrap();
            }
        }
        let index = usize::from(family == Family::V6);
        assert_eq!(ahead[index].asked(), hosts.len() * 3, "three requests of each probe");
        assert_eq!(unwilling[index].asked(), hosts.len(), "who is asked to stop, stops");
    }
}

/// The way there takes 30 ms longer than the way back: half of it is the error of every clock comparison (RFC 5905, 8), with
/// this sign. And a second opinion about the sign: chronyd's own.
#[test]
fn an_asymmetric_path_is_half_an_offset_and_chronyd_agrees_about_the_sign() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let _ahead = serve(&lab, 0, Manners::Ahead(SHIFT));
    let _behind = serve(&lab, 1, Manners::Ahead(-SHIFT));
    let ms = |ms| LinkParams::delay(std::time::Duration::from_millis(ms));
    lab.set_link_direction(Link::R3Target, Direction::Forward, ms(40)).unwrap();
    lab.set_link_direction(Link::R3Target, Direction::Backward, ms(10)).unwrap();
    for family in Family::ALL {
        for (which, shift) in [(0, SHIFT), (1, -SHIFT)] {
            let result = measure(&lab, Host::Dual, address(family, which), &["--packets", "3"]);
            check_times(&lab, Host::Dual, Host::Target, family, shift, &result);
            for reply in result["result"].as_array().unwrap() {
                let [t1, t2, t3, t4] = ["origin-ts", "receive-ts", "transmit-ts", "final-ts"].map(|k| float(reply, k));
                let (there, back) = (t2 - shift as f64 - t1, t4 - (t3 - shift as f64));
                assert!(there >= 0.040 - DECIMALS && back >= 0.010 - DECIMALS, "{there} {back}: {result}");
                let excess = float(reply, "offset") - shift as f64;
                assert!((excess - (there - back) / 2.0).abs() < DECIMALS, "{excess} of {there} and {back}: {result}");
            }
        }
    }
    if chronyd_exists() {
        for (which, shift) in [(0, SHIFT), (1, -SHIFT)] {
            let mut command = lab.host(Host::Dual).command("chronyd");
            let server = format!("server {} iburst maxsamples 1", address(Family::V4, which));
            let pid = format!("pidfile {}", lab.dir().join("q.pid").display());
            command.args(["-Q", "-x", "-t", "20", "user root", &pid, &server]);
            let output = command.stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            let word = said.split("System clock wrong by ").nth(1).and_then(|rest| rest.split(' ').next());
            let wrong: f64 = word.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
            assert!((wrong - shift as f64).abs() < 1.0, "{said}");
        }
    }
}
