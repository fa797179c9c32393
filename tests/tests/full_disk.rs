//! The server's disk is full: nothing is acknowledged that is not durable, the log says so, and when there is room again
//! everything that was measured meanwhile arrives.
//!
//! The disk is a small one in memory. It is mounted in a mount namespace of the test's own, which this test program enters
//! by starting itself again, and which ends with it. Where the system allows no such thing, the test says so and passes.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde_json::json;
use sonde_protocol::ids::{BootId, ProbeId, Seq};
use sonde_store::Results;
use sonde_store::sqlite::results::SqliteResults;
use sonde_tests::scene::say;
use sonde_tests::world::{EMAIL, Place, Probe, Server, wait_for};

const DISK: &str = "SONDE_SMALL_DISK";

/// Mounts the disk and starts this test program's other half on it.
const ON_A_SMALL_DISK: &str = r#"mount -t tmpfs -o size=8m tmpfs "$SONDE_SMALL_DISK" || exit 77
exec "$0" --exact on_a_small_disk --nocapture"#;

/// What the log says of a batch that could not be written.
const COMPLAINT: &str = "a batch could not be made durable";

#[test]
fn a_full_disk_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let mut command = Command::new("unshare");
    command.arg(if is_root { "-m" } else { "-Urm" }).args(["sh", "-c", ON_A_SMALL_DISK]);
    let output = command.arg(std::env::current_exe().unwrap()).env(DISK, dir.path()).output();
    let Ok(output) = output else { return say("SKIPPED: a full disk: no unshare on this machine") };
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || !said.contains("running 1 test") {
        return say(&format!("SKIPPED: a full disk: this system mounts none for us: {said}"));
    }
    assert!(output.status.success() && said.contains("the disk was full"), "{said}");
}

/// Fills what is left of the disk.
fn fill(path: &Path) {
    let piece = vec![1; 4096];
    let mut whole = Vec::new();
    loop {
        whole.extend_from_slice(&piece);
        if fs::write(path, &whole).is_err() {
            return;
        }
    }
}

#[test]
fn on_a_small_disk() {
    let Some(disk) = std::env::var_os(DISK) else { return };
    let disk = Path::new(&disk);
    // Configuration and logs are elsewhere: what is full is the disk with the data.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("server")).unwrap();
    std::os::unix::fs::symlink(disk, dir.path().join("server/data")).unwrap();
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 | high & 63, low, 200);
    let (api, collector) = (SocketAddr::from((address, 8080)), SocketAddr::from((address, 8333)));
    let more = "allow_targets = [\"127.0.0.0/8\"]";
    let mut server = Server::start(Place::Here, &dir.path().join("server"), api, &[collector], more).unwrap();
    let owner = server.researcher(EMAIL).unwrap();
    let home = dir.path().join("probe");
    fs::create_dir(&home).unwrap();
    server.network_file(EMAIL, &home.join("network.toml")).unwrap();
    let config = "[policy]\nallow = [\"127.0.0.0/8\"]\n[limits]\ntarget_interval_ms = 0\n";
    let mut probe = Probe::start(Place::Here, &home, config).unwrap();
    let number = probe.wait_connected().unwrap();
    let probes = json!([{"type": "probes", "value": number.to_string(), "requested": 1}]);
    let ping = json!([{
        "type": "ping", "af": 4, "target": "127.0.0.1", "description": "x", "packets": 1, "interval": 1, "spread": 0,
    }]);
    let measurement = owner.measure(&ping, &probes, false).unwrap()[0];
    owner.wait_results(measurement, 3).unwrap();

    let ballast = disk.join("ballast");
    fill(&ballast);
    let complained = |server: &mut Server<'_>| server.process().unwrap().log().contains(COMPLAINT);
    wait_for("the log to say that nothing can be written", || Ok(complained(&mut server).then_some(())))
        .unwrap_or_else(|error| panic!("{error}\n{}", server.process().unwrap().log()));
    // From here on nothing is stored, and so nothing may be acknowledged: the spool of the probe grows.
    let stored = owner.results(measurement).unwrap().len();
    wait_for("reports that wait at the probe", || {
        let waiting = probe.status()?.and_then(|status| status["spool"].as_u64());
        Ok(waiting.filter(|waiting| *waiting >= 4))
    })
    .unwrap();
    assert_eq!(owner.results(measurement).unwrap().len(), stored, "what is there is served; nothing comes to it");
    // What a person asks for is refused, not half-done.
    let body = json!({"definitions": ping, "probes": probes, "is_oneoff": true});
    let many = (0..200).map(|_| owner.request("POST", "/api/v2/measurements/", Some(&body)).unwrap());
    let refused = many.into_iter().find(|answer| answer.status != 201).expect("the catalog is on the same disk");
    assert_eq!((refused.status, &refused.json["error"]["status"]), (500, &json!(500)), "{}", refused.text);
    let error = server.admin(&["account", "add", &format!("{}@example.net", "x".repeat(64))]);
    let made = error.is_ok();
    assert!(!server.process().unwrap().has_ended().unwrap());

    fs::remove_file(&ballast).unwrap();
    let waits = Instant::now() + Duration::from_secs(180);
    loop {
        // The probe comes back by itself, later each time it was turned away.
        let settled = wait_for("the probe's spool to drain", || {
            let status = probe.status()?.filter(|status| status["state"] == "connected");
            Ok(status.filter(|status| status["spool"].as_u64().is_some_and(|waiting| waiting <= 1)))
        });
        match settled {
            Ok(_) => break,
            Err(_) if Instant::now() < waits => {}
            Err(error) => panic!("{error}\n{}\n{}", server.process().unwrap().log(), probe.process().unwrap().log()),
        }
    }
    let results = owner.results(measurement).unwrap().len();
    assert!(results >= stored + 4, "{results} results, {stored} when the disk was full");
    assert!(server.admin(&["account", "add", "another@example.net"]).is_ok(), "the catalog is well again");
    probe.stop().unwrap();
    let logs = server.process().unwrap().log() + &fs::read_to_string(home.join("probe.log")).unwrap();
    assert!(!logs.contains("panicked"), "{logs}");
    server.stop().unwrap();

    // Every report that the probe numbered is there, byte for byte.
    let results = SqliteResults::open(disk.join("results")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut made_by_boot: BTreeMap<u64, Vec<(Seq, [u8; 32])>> = BTreeMap::new();
    for line in fs::read_to_string(probe.report_log()).unwrap().lines() {
        let [boot, seq, digest] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let digest = HEXLOWER.decode(digest.as_bytes()).unwrap().try_into().unwrap();
        let boot = u64::from_str_radix(boot, 16).unwrap();
        made_by_boot.entry(boot).or_default().push((Seq(seq.parse().unwrap()), digest));
    }
    assert_eq!(made_by_boot.len(), 1);
    for (boot, reports) in made_by_boot {
        let there = runtime.block_on(results.digests(ProbeId(number), BootId(boot))).unwrap();
        assert_eq!(there, reports, "what the store has of boot {boot:016x}, and what the probe made");
        say(&format!("the disk was full; {} reports are there; an account was made meanwhile: {made}", there.len()));
    }
}
