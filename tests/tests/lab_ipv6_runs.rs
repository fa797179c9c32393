//! The network's own measurement of IPv6, from the signed directory to the API: what a probe with both families says of them, what
//! it looks at when its network changes, and what it still knows after a restart. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::path::Path;

use serde_json::{Value, json};
use sonde_protocol::ids::ProbeId;
use sonde_tests::audit::{self, Subject};
use sonde_tests::lab::{Family, Host, Lab, LabChild, LabOptions};
use sonde_tests::scene::{Scene, lab, say};
use sonde_tests::world::{program, wait_for};

const ID: u64 = 9001;

/// A light run takes some seconds; the next one begins when it is over.
const BUILTIN: &str = "[[measurement]]\nid = 9001\ntype = \"ipv6\"\naf = 6\ninterval = 8\nspread = 0\n";

/// Four reference servers on the target, each at ports of its own, and the words by which an operator lists them.
fn references(lab: &Lab, dir: &Path) -> (Vec<LabChild>, Vec<Vec<String>>) {
    let listen = Family::ALL.map(|family| Host::Target.address(family).unwrap().to_string());
    let start = |n: u16| {
        let data = dir.join(format!("reference{n}"));
        let name = format!("r{n}");
        let ports = [4430 + n, 4440 + n, 4450 + n].map(|port| port.to_string());
        let command = |more: &[&str]| {
            let mut command = lab.host(Host::Target).command(program("sonde").unwrap());
            command.args(["reference", "--data"]).arg(&data).args(["--listen", &listen[0], "--listen", &listen[1]]);
            command.args(["--port", &ports[0], "--echo-port", &ports[1], "--closed-port", &ports[2]]).args(more);
            command
        };
        let card = command(&["--card", "--name", &name]).output().unwrap();
        let card = String::from_utf8(card.stdout).unwrap();
        let words = card.split_whitespace().skip_while(|word| *word != "network").map(str::to_owned).collect();
        (lab.spawn(&mut command(&[])).unwrap(), words)
    };
    (1..=4).map(start).unzip()
}

/// The verdict on a family.
fn verdict(result: &Value, af: u64) -> Value {
    result["verdict"].as_array().unwrap().iter().find(|one| one["af"] == af).cloned().unwrap_or_default()
}

fn wait_result(scene: &Scene<'_>, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = wait_for(what, || {
        let results = scene.owner.results(ID)?;
        last = results.last().cloned().unwrap_or_default();
        Ok(results.into_iter().find(|result| is(result)))
    });
    found.unwrap_or_else(|error| panic!("{error:#}; the last result: {last}"))
}

#[test]
fn a_probe_with_both_families_says_so_looks_again_and_remembers() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let builtins = folder.path().join("builtins.toml");
    std::fs::write(&builtins, BUILTIN).unwrap();
    let more = format!("\n[builtins]\nfile = {:?}", builtins.display().to_string());
    let (_servers, cards) = references(&lab, folder.path());
    let mut scene = Scene::start_with(&lab, &[Host::Dual], &more).unwrap();
    for card in &cards {
        scene.server.admin(&card.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }

    // What runs say and what they settle.
    let is_native = |result: &Value| [4, 6].iter().all(|af| verdict(result, *af)["settled"] == "native");
    let settled = wait_result(&scene, "a settled verdict", is_native);
    let (v6, v4) = (verdict(&settled, 6), verdict(&settled, 4));
    assert_eq!(
        (&v6["raw"], &v4["raw"], &v4["sub"]),
        (&json!("native"), &json!("native"), &json!("public")),
        "{settled}"
    );
    assert_eq!((&settled["kind"], &settled["trigger"]), (&json!("light"), &json!("timer")));
    let pairs = settled["pair"].as_array().unwrap();
    assert_eq!(pairs.len(), 4);
    for connect in pairs.iter().flat_map(|pair| pair["result"].as_array().unwrap()) {
        assert!(connect["ttls"].as_f64().unwrap() > connect["ttc"].as_f64().unwrap(), "{connect}");
        assert_eq!(connect["seen_addr"], connect["src_addr"], "nobody translates here: {connect}");
        assert_eq!(connect["retrans"], 0, "{connect}");
    }
    assert!(pairs.iter().all(|pair| pair["gap"].as_f64().unwrap() < 5.0), "both begin at the same time: {pairs:?}");

    // Strangers see networks.
    let own = Family::ALL.map(|family| Host::Dual.address(family).unwrap().to_string());
    let texts = [scene.owner.results(ID).unwrap(), scene.public.results(ID).unwrap()].map(|all| json!(all).to_string());
    for address in &own {
        let quoted = format!("\"{address}\"");
        assert!(texts[0].contains(&quoted), "the owner sees {address}");
        assert!(!texts[1].contains(&quoted), "the public sees {address}: {}", texts[1]);
    }

    // Somebody's one-off is answered, and settles nothing.
    let oneoff = scene.once(&[json!({"type": "ipv6", "af": 6, "scope": "light"})], &[Host::Dual]).unwrap();
    let answer = scene.one_each(&scene.owner, oneoff[0], &[Host::Dual]).unwrap();
    let answer = verdict(&answer[&Host::Dual], 6);
    assert_eq!((&answer["raw"], &answer["settled"]), (&json!("native"), &json!("native")), "{answer}");

    // After a restart the verdict is still there, before any run.
    let member = scene.probes.get_mut(&Host::Dual).unwrap();
    let words = |status: &Value| status["reachability"] == "IPv6 native, IPv4 native (public)";
    member.probe.wait_status("the settled words", words).unwrap();
    member.probe.stop().unwrap();
    member.probe.restart().unwrap();
    let status = member.probe.wait_status("the probe's status", |status| status["network"].is_string()).unwrap();
    assert!(words(&status), "{status}");
    member.probe.wait_connected().unwrap();

    // A new address is looked at whole.
    let before = scene.owner.results(ID).unwrap().len();
    wait_result(&scene, "a run of the new process", |result| {
        verdict(result, 6)["settled"] == "native" && scene.owner.results(ID).unwrap().len() > before
    });
    lab.host(Host::Dual)
        .feed("ip", &["-6", "-batch", "-"], "addr add 2a0e:5a00:100:aa00::77/64 dev eth0 nodad\n")
        .unwrap();
    let look = wait_result(&scene, "a look at the changed network", |result| result["trigger"] == "netlink");
    assert_eq!((&look["kind"], &verdict(&look, 6)["raw"]), (&json!("full"), &json!("native")), "{look}");
    assert!(look["mtu"].as_array().is_some_and(|sizes| !sizes.is_empty()), "{look}");
    // No check of a full run is beyond what the sandbox allows.
    for field in [
        "/eh/fragment_up",
        "/eh/fragment_down",
        "/eh/dst8",
        "/eh/hbh8",
        "/icmp6/unreach",
        "/icmp6/time_exceeded",
        "/icmp6/echo",
        "/icmp4/unreach",
    ] {
        assert_eq!(look.pointer(field), Some(&json!(true)), "{field}: {look}");
    }
    let all = |list: &Value, key: &str, value: Value| {
        list.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(|one| one[key] == value))
    };
    assert!(all(&look["select"]["bound"], "ok", json!(true)), "{look}");
    let is_there = |route: &Value| ["reachable", "stale", "delay", "probe"].iter().any(|word| route["nud"] == **word);
    assert!(look["route"].as_array().is_some_and(|routes| routes.len() == 2 && routes.iter().all(is_there)), "{look}");
    assert!(look["hops"].as_array().is_some_and(|hops| hops.len() == 4), "{look}");

    // And every due time is accounted for.
    let member = scene.probes.get_mut(&Host::Dual).unwrap();
    let until = audit::now();
    member.probe.stop().unwrap();
    let subject = Subject { probe: ProbeId(member.number), log: member.probe.report_log(), until };
    scene.server.stop().unwrap();
    let found = audit::check(scene.server.data(), &[subject]).unwrap();
    say(&format!("ipv6: {found}, {} looks", found.looks));
    assert!(found.results > 0 && found.looks > 0 && found.logged == found.stored, "{found}");
}
