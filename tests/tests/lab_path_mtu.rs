//! `pathmtu` in the lab: narrow links and black holes, both ways, in both families, found to the byte and named. The probe's
//! engine is run by hand (`sonde-probe measure`) as a user without any capability. Needs root; says SKIPPED where it cannot
//! run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use serde_json::{Value, json};
use sonde_protocol::spec::Kind;
use sonde_tests::lab::{Family, Host, Lab, LabOptions, Link, Node, Router};
use sonde_tests::scene::{Scene, lab, record, say};
use sonde_tests::world::runnable_copy;

/// The target's addresses: behind links of 1500, behind a link whose MTU R1 names, behind one of which R2 says nothing.
const WHOLE: usize = 0;
const NARROW: usize = 1;
const HOLE: usize = 2;

/// The MTU of what is narrow: both figures, each in one family.
fn narrow(family: Family) -> u64 {
    if family == Family::V4 { 1400 } else { 1280 }
}

/// Routes with an MTU, so that each is about one way only: a device's MTU is about what it receives as well.
fn narrow_route(lab: &Lab, router: Router, to: IpAddr, link: Link, mtu: u64) {
    let family = Family::of(to);
    let ends = [Router::R1, Router::R2, Router::R3].map(Node::Router);
    let other = ends.into_iter().filter(|node| *node != Node::Router(router));
    let via = other.filter_map(|node| node.address_on(link, family)).next().unwrap();
    let (version, length) = if family == Family::V4 { ("-4", 32) } else { ("-6", 128) };
    let route = format!("route replace {to}/{length} via {via} mtu {mtu}\n");
    lab.router(router).feed("ip", &[version, "-batch", "-"], &route).unwrap();
}

fn set_up(lab: &Lab) {
    for family in Family::ALL {
        let target = Host::Target.addresses(family);
        narrow_route(lab, Router::R1, target[NARROW], Link::R1R2, narrow(family));
        narrow_route(lab, Router::R2, target[HOLE], Link::R2R3, narrow(family));
        // On the way back, to some hosts only.
        let narrowed = if family == Family::V4 { Host::V4Only } else { Host::V6Only };
        narrow_route(lab, Router::R3, narrowed.address(family).unwrap(), Link::R2R3, narrow(family));
    }
    let v6 = Host::NextDoor.address(Family::V6).unwrap();
    narrow_route(lab, Router::R2, v6, Link::R1R2, narrow(Family::V6));
    // An echo reply over IPv4 may be cut in pieces, so its hole needs a rule of its own.
    let v4 = Host::NextDoor.address(Family::V4).unwrap();
    let rules = format!(
        "table inet hole {{
            chain silent {{
                type filter hook output priority 0;
                icmp type destination-unreachable icmp code frag-needed drop
                icmpv6 type packet-too-big drop
            }}
            chain back {{ type filter hook forward priority 0; ip daddr {v4} meta length > 1400 drop; }}
        }}"
    );
    lab.router(Router::R2).nft(&rules).unwrap();
}

/// `sonde-probe` where everybody may run it.
fn for_everybody(folder: &Path) -> PathBuf {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    runnable_copy("sonde-probe", folder).unwrap()
}

/// What the engine finds from this host, run by a user who may do nothing but open ping sockets.
fn measure(lab: &Lab, sonde_probe: &Path, host: Host, target: IpAddr) -> Value {
    let output = lab
        .host(host)
        .command("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"])
        .arg(sonde_probe)
        .args(["measure", "pathmtu", &target.to_string()])
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} to {target}: {errors}", host.name());
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["type"], &result["end"]), (&json!("pathmtu"), &json!("complete")), "{result}");
    assert_eq!(result["interface_mtu"], 1500, "{result}");
    record(&format!("pathmtu from {} to {target}", host.name()), &result, false).unwrap();
    result
}

/// Size and whether it is exact, of `mtu`, `reverse_mtu` or `round_trip_mtu`.
fn mtu(result: &Value, name: &str) -> (u64, bool) {
    let size = result[name].as_u64().unwrap_or_else(|| panic!("no {name} in {result}"));
    (size, result[format!("{name}_exact")].as_bool().unwrap())
}

fn check_whole(result: &Value) {
    assert_eq!((mtu(result, "mtu"), mtu(result, "reverse_mtu")), ((1500, true), (1500, false)), "{result}");
    assert!(result.get("hole").is_none() && result["limits"] == json!([]), "{result}");
}

fn check_named(lab: &Lab, family: Family, result: &Value) {
    let size = narrow(family);
    assert_eq!((mtu(result, "mtu"), mtu(result, "round_trip_mtu")), ((size, true), (size, true)), "{result}");
    assert!(result.get("hole").is_none(), "{result}");
    // The second router on the way says so.
    let router = lab.path(Host::Dual, Host::Target, family)[1].address;
    let limit = &result["limits"][0];
    assert_eq!((&limit["from"], limit["mtu"].as_u64()), (&json!(router.to_string()), Some(size)), "{result}");
}

fn check_hole(lab: &Lab, family: Family, target: IpAddr, result: &Value) {
    let size = narrow(family);
    assert_eq!(mtu(result, "mtu"), (size, true), "{result}");
    assert_eq!(result["limits"], json!([]), "{result}");
    let hole = &result["hole"];
    assert_eq!((hole["passes"].as_u64(), hole["lost"].as_u64()), (Some(size), Some(size + 1)), "{result}");
    assert_eq!(hole["direction"], "forward", "{result}");
    let path = lab.path(Host::Dual, Host::Target, family);
    assert_eq!(path.len(), 5, "{target}");
    let hop = |number: usize| json!({"hop": number, "from": path[number - 1].address.to_string()});
    assert_eq!((&hole["last_hop"], &hole["next_hop"]), (&hop(3), &hop(4)), "{result}");
}

fn check_reverse(family: Family, result: &Value) {
    let size = narrow(family);
    assert_eq!((mtu(result, "mtu"), mtu(result, "reverse_mtu")), ((1500, true), (size, true)), "{result}");
    assert_eq!(mtu(result, "round_trip_mtu"), (1500, true), "replies come in pieces: {result}");
    assert!(result.get("hole").is_none(), "{result}");
}

fn check_reverse_hole(family: Family, result: &Value) {
    let size = narrow(family);
    assert_eq!((mtu(result, "mtu"), mtu(result, "reverse_mtu")), ((1500, true), (size, true)), "{result}");
    assert_eq!(mtu(result, "round_trip_mtu"), (size, true), "{result}");
    assert_eq!(result["hole"], json!({"passes": size, "lost": size + 1, "direction": "reverse"}), "{result}");
}

#[test]
fn narrow_links_and_holes_are_found_to_the_byte_and_named_without_any_capability() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    set_up(&lab);
    let folder = tempfile::tempdir().unwrap();
    let sonde_probe = for_everybody(folder.path());
    let (lab, sonde_probe) = (&lab, sonde_probe.as_path());
    thread::scope(|scope| {
        for family in Family::ALL {
            let target = Host::Target.addresses(family);
            let (whole, named, hole) = (target[WHOLE], target[NARROW], target[HOLE]);
            let narrowed = if family == Family::V4 { Host::V4Only } else { Host::V6Only };
            scope.spawn(move || check_whole(&measure(lab, sonde_probe, Host::Dual, whole)));
            scope.spawn(move || {
                check_named(lab, family, &measure(lab, sonde_probe, Host::Dual, named));
                // What the system has learned by the first run changes nothing.
                check_named(lab, family, &measure(lab, sonde_probe, Host::Dual, named));
            });
            scope.spawn(move || check_hole(lab, family, hole, &measure(lab, sonde_probe, Host::Dual, hole)));
            scope.spawn(move || check_reverse(family, &measure(lab, sonde_probe, narrowed, whole)));
            scope.spawn(move || check_reverse_hole(family, &measure(lab, sonde_probe, Host::NextDoor, whole)));
        }
    });
}

#[test]
fn a_researcher_is_told_of_the_hole() {
    // Without ping sockets, so that the probes, which are root here, have raw ones.
    let Some(lab) = lab(LabOptions { ping_sockets: false, ..LabOptions::default() }) else { return };
    set_up(&lab);
    let scene = Scene::start(&lab, &[Host::Dual, Host::V4Only, Host::V6Only]).unwrap();
    for family in Family::ALL {
        let once = |target: IpAddr, host: Host| {
            let definition = json!({
                "type": Kind::PathMtu.name(), "af": if family == Family::V4 { 4 } else { 6 }, "target": target.to_string(),
                "description": "in the lab", "packets": 2, "timeout": 500,
            });
            scene.once(&[definition], &[host]).unwrap()[0]
        };
        let target = Host::Target.addresses(family)[HOLE];
        let measurement = once(target, Host::Dual);
        let narrowed = if family == Family::V4 { Host::V4Only } else { Host::V6Only };
        let back = once(Host::Target.addresses(family)[WHOLE], narrowed);
        check_reverse(family, &scene.one_each(&scene.owner, back, &[narrowed]).unwrap()[&narrowed]);
        let result = scene.one_each(&scene.owner, measurement, &[Host::Dual]).unwrap().remove(&Host::Dual).unwrap();
        check_hole(&lab, family, target, &result);
        // The public sees the hole, and where it is: it is far from the probe.
        let public = scene.one_each(&scene.public, measurement, &[Host::Dual]).unwrap().remove(&Host::Dual).unwrap();
        assert_eq!(public["hole"], result["hole"]);
        say(&format!("{family:?}: {}", result["hole"]));
    }
}
