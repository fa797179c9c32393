//! The network's own measurement of IPv6, from the signed directory to the API: what a probe with both families says of them, what
//! it looks at when its network changes, what it still knows after a restart, and what is said while a line breaks and after it.
//! Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sonde_probe::config::read_network;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::tls::SecretKey;
use sonde_tests::audit::{self, Subject};
use sonde_tests::lab::{Family, Host, Lab, LabChild, LabOptions, Link, Router};
use sonde_tests::scene::{Scene, lab, say};
use sonde_tests::world::{PATIENCE, program, wait_for, wait_up_to};

const ID: u64 = 9001;

/// The network's own measurement. A light run takes some seconds; the next one begins at the first due time after its end.
fn builtin(interval: u32) -> String {
    format!("[[measurement]]\nid = {ID}\ntype = \"ipv6\"\naf = 6\ninterval = {interval}\nspread = 0\n")
}

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
    wait_result_up_to(PATIENCE, scene, what, is)
}

fn wait_result_up_to(patience: Duration, scene: &Scene<'_>, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = wait_up_to(patience, what, || {
        let results = scene.owner.results(ID)?;
        last = results.last().cloned().unwrap_or_default();
        Ok(results.into_iter().find(|result| is(result)))
    });
    found.unwrap_or_else(|error| panic!("{error:#}; the last result: {last}"))
}

/// Four references, a server that lists them, and a probe on [`Host::Dual`], which measures each so many seconds.
fn start<'a>(lab: &'a Lab, folder: &Path, interval: u32) -> (Vec<LabChild>, Scene<'a>) {
    let builtins = folder.join("builtins.toml");
    std::fs::write(&builtins, builtin(interval)).unwrap();
    let more = format!("\n[builtins]\nfile = {:?}", builtins.display().to_string());
    let (servers, cards) = references(lab, folder);
    let scene = Scene::start_with(lab, &[Host::Dual], &more).unwrap();
    for card in &cards {
        scene.server.admin(&card.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }
    (servers, scene)
}

/// Have both families settled as they are?
fn is_native(result: &Value) -> bool {
    [4, 6].iter().all(|af| verdict(result, *af)["settled"] == "native")
}

/// Has this settled of IPv6, while IPv4 stays as it is?
fn is_settled(state: &str) -> impl Fn(&Value) -> bool {
    move |result| verdict(result, 6)["settled"] == *state && verdict(result, 4)["settled"] == "native"
}

/// What the runs said until the first that has `settled` IPv6 otherwise than the one before: of each the raw state, the settled
/// one and why it ran.
fn way_to(results: &[Value], settled: &str) -> Vec<[String; 3]> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let all: Vec<[String; 3]> = results
        .iter()
        .map(|result| {
            let v6 = verdict(result, 6);
            [word(&v6["raw"]), word(&v6["settled"]), word(&result["trigger"])]
        })
        .collect();
    let place = (1..all.len()).rev().find(|n| all[*n][1] == settled && all[n - 1][1] != settled);
    all[..=place.unwrap_or_else(|| panic!("nothing settled {settled}: {all:?}"))].to_vec()
}

/// So many runs in a row, and no fewer, have settled this: those before the last had said the same, and nothing was settled by them.
fn took_runs(way: &[[String; 3]], settled: &str, runs: usize) {
    let (before, last) = way.split_at(way.len() - runs);
    assert!(last.iter().all(|run| run[0] == settled), "{runs} runs agree: {way:?}");
    assert!(last[..runs - 1].iter().all(|run| run[1] != settled), "fewer settle nothing: {way:?}");
    assert!(before.last().is_none_or(|run| run[0] != settled), "more were not needed: {way:?}");
}

/// What everybody reads of the probe: the settled verdict on IPv6, and the reasons.
fn is_told(scene: &Scene<'_>, state: &str, reasons: &[&str]) {
    let path = format!("/api/v2/ipv6/probes/{}/", scene.number(Host::Dual));
    let mut last = Value::Null;
    let told = wait_for("the probe's page of the API", || {
        last = scene.public.get(&path)?;
        let settled = verdict(&last, 6);
        let words: Vec<&str> =
            settled["settled_why"].as_array().into_iter().flatten().filter_map(|one| one["reason"].as_str()).collect();
        let is_told = settled["settled"] == *state && reasons.iter().all(|reason| words.contains(reason));
        Ok(is_told.then_some(()))
    });
    told.unwrap_or_else(|error| panic!("{error:#}: {last}"));
}

/// Waits until a run has just ended, so that what changes now does not fall into one.
fn after_a_run(scene: &Scene<'_>) {
    let before = scene.owner.results(ID).unwrap().len();
    wait_result(scene, "the next run", |_| scene.owner.results(ID).is_ok_and(|results| results.len() > before));
}

/// What the probe says of itself.
fn says(scene: &mut Scene<'_>, words: &str) {
    let member = scene.probes.get_mut(&Host::Dual).unwrap();
    member.probe.wait_status(words, |status| status["reachability"] == *words).unwrap();
}

/// Whoever has the network's file alone measures against its references; its root key says whose they are.
fn by_hand(lab: &Lab, scene: &Scene<'_>) {
    let file = scene.probes[&Host::Dual].probe.dir().join("network.toml");
    let measure = |file: &Path| {
        let mut command = lab.host(Host::Dual).command(program("sonde-probe").unwrap());
        command.args(["measure", "ipv6", "--json", "--network"]).arg(file).output().unwrap()
    };
    let output = measure(&file);
    let result: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!([6, 4].map(|af| verdict(&result, af)["raw"].clone()), ["native", "native"], "{result}");
    assert_eq!(result["pair"].as_array().map(Vec::len), Some(4));
    assert_eq!(result["ra"]["pref64"], Value::Null, "nobody advertises anything here: {result}");

    let text = std::fs::read_to_string(&file).unwrap();
    let root = read_network(&file).unwrap().roots[0].to_string();
    let other = file.with_file_name("other.toml");
    let stranger = SecretKey::generate().unwrap().public().to_string();
    std::fs::write(&other, text.replace(&root, &stranger)).unwrap();
    let output = measure(&other);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && why.contains("other.toml") && why.contains("root"), "{why}");
}

#[test]
fn a_probe_with_both_families_says_so_looks_again_and_remembers() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_servers, mut scene) = start(&lab, folder.path(), 8);

    // What runs say and what they settle.
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

    by_hand(&lab, &scene);

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

/// A router in the middle lets IPv6 through no more, and later does again.
#[test]
fn what_breaks_is_said_after_three_runs_and_what_is_mended_after_two() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_servers, mut scene) = start(&lab, folder.path(), 4);
    wait_result(&scene, "a settled verdict", is_native);
    is_told(&scene, "native", &[]);

    after_a_run(&scene);
    let wall = lab.router(Router::R1);
    wall.nft(
        "table ip6 wall { chain c { type filter hook forward priority 0; reject with icmpv6 admin-prohibited; }; }",
    )
    .unwrap();
    let broken = wait_result(&scene, "what is broken", is_settled("broken"));
    let v6 = verdict(&broken, 6);
    assert_eq!((&v6["cause"], &v6["sub"], &v6["streak"]), (&json!("filtered"), &json!("admin"), &json!(3)), "{v6}");
    took_runs(&way_to(&scene.owner.results(ID).unwrap(), "broken"), "broken", 3);
    says(&mut scene, "IPv6 broken (filtered, admin), IPv4 native (public)");
    is_told(&scene, "broken", &["filtered", "admin"]);

    wall.nft("delete table ip6 wall").unwrap();
    let broken_at = broken["timestamp"].as_i64();
    wait_result(&scene, "what is mended", |result| is_native(result) && result["timestamp"].as_i64() > broken_at);
    took_runs(&way_to(&scene.owner.results(ID).unwrap(), "native"), "native", 2);
    says(&mut scene, "IPv6 native, IPv4 native (public)");
    is_told(&scene, "native", &[]);
}

/// The machine itself loses its default route: the kernel says so, so two runs are enough.
#[test]
fn a_route_that_goes_is_looked_at_and_said_after_two_runs() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_servers, mut scene) = start(&lab, folder.path(), 8);
    wait_result(&scene, "a settled verdict", is_native);
    // Known before it is changed, or it would be no change.
    let gateway = lab.path(Host::Dual, Host::Target, Family::V6)[0].address;
    let route = |what: &str| {
        let line = format!("route {what} default via {gateway} dev eth0\n");
        lab.host(Host::Dual).feed("ip", &["-6", "-batch", "-"], &line).unwrap();
    };
    route("del");
    let broken = wait_result(&scene, "what is broken", is_settled("broken"));
    assert_eq!(verdict(&broken, 6)["cause"], "no-route", "{broken}");
    let way = way_to(&scene.owner.results(ID).unwrap(), "broken");
    let look = way.iter().rev().position(|run| run[2] == "netlink").expect("the change is a reason to look");
    // A due run may come before the look, or two; then the look is the third.
    took_runs(&way, "broken", if look < 2 && way[way.len() - 3][0] != "broken" { 2 } else { 3 });
    says(&mut scene, "IPv6 broken (no-route), IPv4 native (public)");

    route("add");
    let broken_at = broken["timestamp"].as_i64();
    wait_result(&scene, "what is mended", |result| is_native(result) && result["timestamp"].as_i64() > broken_at);
    took_runs(&way_to(&scene.owner.results(ID).unwrap(), "native"), "native", 2);
    says(&mut scene, "IPv6 native, IPv4 native (public)");
}

fn unix_now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// The whole line is cut, for longer than three runs: nobody can tell whose fault that is, so it has no vote and changes nothing.
#[test]
fn a_line_that_is_cut_is_offline_and_raises_no_alarm() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_servers, mut scene) = start(&lab, folder.path(), 4);
    wait_result(&scene, "a settled verdict", is_native);
    after_a_run(&scene);
    let cut_off = unix_now();
    lab.set_link_down(Link::HomeR1, true).unwrap();
    // Each run takes as long as its connections are waited for, and the due times meanwhile are skipped, which is reported too.
    scene
        .probes
        .get_mut(&Host::Dual)
        .unwrap()
        .probe
        .wait_status("runs while it is cut", |status| status["spool"].as_u64().is_some_and(|waiting| waiting >= 10))
        .unwrap();
    says(&mut scene, "IPv6 native, IPv4 native (public)");
    let mended = unix_now();
    lab.set_link_down(Link::HomeR1, false).unwrap();
    let is_raw = |result: &Value, word: &str| [4, 6].iter().all(|af| verdict(result, *af)["raw"] == *word);
    let cut = wait_result(&scene, "what was measured meanwhile", |result| is_raw(result, "offline"));
    let cut_at = cut["timestamp"].as_i64();
    wait_result(&scene, "a run after it", |result| is_raw(result, "native") && result["timestamp"].as_i64() > cut_at);
    let results = scene.owner.results(ID).unwrap();
    let offline = results.iter().filter(|result| is_raw(result, "offline")).count();
    assert!(offline >= 2, "{offline} runs were offline");
    // Such a run may see one family alone: the router remembers for some seconds that its neighbour does not answer.
    let between = |result: &Value| {
        let (from, to) = (result["timestamp"].as_i64().unwrap(), result["endtime"].as_i64().unwrap());
        [cut_off, mended].iter().any(|moment| from <= moment + 3 && *moment <= to)
    };
    let until: Vec<&Value> = results.iter().skip_while(|result| !is_native(result)).collect();
    for result in until {
        assert!(is_native(result), "it raises an alarm: {result}");
        for af in [4, 6].into_iter().filter(|_| !between(result)) {
            let raw = verdict(result, af)["raw"].clone();
            assert!(raw != "broken" && raw != "none", "{result}");
        }
    }
    is_told(&scene, "native", &[]);
}

/// With the real waits: a line that drops IPv6 without a word, and looks that come by themselves. Takes minutes: only with
/// `SONDE_LONG`.
#[test]
fn looks_that_confirm_come_by_themselves() {
    if std::env::var_os("SONDE_LONG").is_none() {
        return;
    }
    let Some(lab) = lab(LabOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_servers, mut scene) = start(&lab, folder.path(), 130);
    // So many of the usual waits: five minutes and a run.
    let wait = |scene: &Scene<'_>, is: &dyn Fn(&Value) -> bool| wait_result_up_to(8 * PATIENCE, scene, "its run", is);
    wait(&scene, &is_native);
    let wall = lab.router(Router::R1);
    wall.nft("table ip6 wall { chain c { type filter hook forward priority 0; drop; }; }").unwrap();
    let broken = wait(&scene, &is_settled("broken"));
    assert_eq!(verdict(&broken, 6)["cause"], "filtered", "{broken}");
    let way = way_to(&scene.owner.results(ID).unwrap(), "broken");
    say(&format!("{way:?}"));
    took_runs(&way, "broken", 3);
    assert_eq!(way[way.len() - 2][2], "confirm", "the second look was not waited for: {way:?}");
    says(&mut scene, "IPv6 broken (filtered), IPv4 native (public)");
    is_told(&scene, "broken", &["filtered"]);
    // The hour's vote is what was settled at its last run. Votes are made each minute.
    let path = format!("/api/v2/ipv6/probes/{}/", scene.number(Host::Dual));
    let is_vote = |hour: &Value| hour["v6"] == "broken";
    wait_up_to(2 * PATIENCE, "the hour's vote", || {
        let probe = scene.public.get(&path)?;
        Ok(probe["hours"].as_array().and_then(|all| all.last()).is_some_and(is_vote).then_some(()))
    })
    .unwrap();
    wall.nft("delete table ip6 wall").unwrap();
    let broken_at = broken["timestamp"].as_i64();
    wait(&scene, &|result| is_native(result) && result["timestamp"].as_i64() > broken_at);
    let way = way_to(&scene.owner.results(ID).unwrap(), "native");
    took_runs(&way, "native", 2);
    say(&format!("{way:?}"));
}
