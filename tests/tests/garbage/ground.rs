//! A server and a probe that means well, as real processes on this machine's loopback: what must stay undisturbed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};
use sonde_protocol::directory::NetworkFile;
use sonde_tests::world::{Client, EMAIL, Place, Probe, Server, wait_for};
use tempfile::TempDir;

/// How much more memory a server may hold after a barrage than before, in kilobytes: many times what its caches hold, and
/// a fraction of what was thrown at it.
const GROWTH_KB: u64 = 64 * 1024;

/// See the module. Dropping it ends the processes.
pub struct Ground {
    pub honest: Probe<'static>,
    /// The honest probe's number.
    pub number: u64,
    pub server: Server<'static>,
    pub owner: Client<'static>,
    /// The honest probe's measurement: a ping every second.
    pub measurement: u64,
    pub api: SocketAddr,
    pub collector: SocketAddr,
    /// The API by TLS, and the collector for those who ask for it there.
    pub tls: SocketAddr,
    since: Value,
    resident_kb: u64,
    dir: TempDir,
}

/// An address of the loopback network that no other test uses at the time.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | high & 63, low, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

impl Ground {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = own_address();
        let (api, collector) = (SocketAddr::new(address, 8080), SocketAddr::new(address, 8333));
        let tls = SocketAddr::new(address, 8443);
        let more = format!("allow_targets = [\"127.0.0.0/8\"]\nlisten_tls = [\"{tls}\"]");
        let server = Server::start(Place::Here, &dir.path().join("server"), api, &[collector], &more).unwrap();
        let owner = server.researcher(EMAIL).unwrap();
        let home = dir.path().join("honest");
        std::fs::create_dir(&home).unwrap();
        server.network_file(EMAIL, &home.join("network.toml")).unwrap();
        let config = "[policy]\nallow = [\"127.0.0.0/8\"]\n[limits]\ntarget_interval_ms = 0\n";
        let mut honest = Probe::start(Place::Here, &home, config).unwrap();
        let number = honest.wait_connected().unwrap();
        let since = honest.status().unwrap().unwrap()["since"].clone();
        let ping = json!([{
            "type": "ping", "af": 4, "target": "127.0.0.1", "description": "honest", "packets": 1, "interval": 1,
            "spread": 0,
        }]);
        let probes = json!([{"type": "probes", "value": number.to_string(), "requested": 1}]);
        let measurement = owner.measure(&ping, &probes, false).unwrap()[0];
        owner.wait_results(measurement, 2).unwrap();
        let mut ground =
            Self { honest, number, server, owner, measurement, api, collector, tls, since, resident_kb: 0, dir };
        ground.resident_kb = ground.server.process().unwrap().resident_kb().unwrap();
        ground
    }

    /// Where a test may keep files.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A fresh network.toml with a join token.
    pub fn card(&self) -> NetworkFile {
        toml::from_str(&self.server.admin(&["probe", "add", EMAIL]).unwrap()).unwrap()
    }

    /// Checks that the server runs as before and the honest probe noticed nothing: it is connected since the beginning,
    /// and what it measures now arrives.
    #[track_caller]
    pub fn undisturbed(&mut self, after: &str) {
        let said = self.server.process().unwrap().log();
        assert!(!self.server.process().unwrap().has_ended().unwrap(), "after {after} the server is gone:\n{said}");
        let there = self.owner.results(self.measurement).unwrap().len();
        wait_for("another result of the honest probe", || {
            Ok((self.owner.results(self.measurement)?.len() > there + 1).then_some(()))
        })
        .unwrap_or_else(|error| panic!("after {after}: {error}\n{said}"));
        let status = self.honest.status().unwrap().unwrap();
        assert_eq!(
            (&status["state"], &status["since"]),
            (&json!("connected"), &self.since),
            "after {after}: {status}\n{said}"
        );
        for log in [self.server.process().unwrap().log(), self.honest.process().unwrap().log()] {
            assert!(!log.contains("panicked"), "after {after}:\n{log}");
        }
    }

    /// As [`Ground::undisturbed`], and the server has not grown.
    #[track_caller]
    pub fn not_grown(&mut self, after: &str) {
        self.undisturbed(after);
        let now = self.server.process().unwrap().resident_kb().unwrap();
        assert!(now < self.resident_kb + GROWTH_KB, "after {after}: {now} KB, {} KB before", self.resident_kb);
    }
}
