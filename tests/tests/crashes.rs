//! `kill -9` of server and probes, the real processes, under load, again and again at random moments: afterwards every run
//! is stored once, in a reported gap, or reported as skipped.
//!
//! Ten rounds; fifty when SONDE_LONG is set. SONDE_SEED repeats a run, as far as processes can be repeated.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::time::Duration;

use serde_json::{Value, json};
use sonde_protocol::seed::Rng;
use sonde_tests::loopback::Loopback;
use sonde_tests::scene::say;
use sonde_tests::world::wait_for;

/// How many probes there are.
const PROBES: usize = 3;

/// The longest time between two kills, in milliseconds.
const LONGEST_CALM_MS: u64 = 3_000;

/// The load: short runs and long ones, which overlap the next, of two kinds over both families.
fn periodic() -> Value {
    let every = |mut definition: Value, interval: u32| {
        definition["interval"] = json!(interval);
        definition["spread"] = json!(1);
        definition
    };
    json!([
        every(json!({"type": "ping", "af": 4, "target": "127.0.0.2", "packets": 1}), 1),
        every(json!({"type": "ping", "af": 6, "target": "::1", "packets": 2, "packet_interval": 100}), 1),
        every(json!({"type": "ping", "af": 4, "target": "127.0.0.3", "packets": 3, "packet_interval": 700}), 1),
        every(json!({"type": "traceroute", "af": 4, "target": "127.0.0.4", "protocol": "ICMP", "packets": 1}), 2),
    ])
}

struct World {
    network: Loopback,
    /// Periodic measurements that run.
    running: Vec<u64>,
    oneoffs: Vec<u64>,
}

impl World {
    /// Asks for something while the world is as it is. Probes that are away just then take no part.
    fn post(&mut self, rng: &mut Rng) {
        let ping = |net: u8, rng: &mut Rng| {
            let target = format!("127.0.{net}.{}", 1 + rng.below(250));
            json!({"type": "ping", "af": 4, "target": target, "packets": 1 + rng.below(2)})
        };
        let (client, everybody) = (&self.network.client, self.network.everybody());
        if rng.one_in(4) {
            let mut ping = ping(1, rng);
            ping["interval"] = json!(1);
            ping["spread"] = json!(1);
            // With nobody connected the API refuses.
            self.running.extend(client.measure(&json!([ping]), &everybody, false).unwrap_or_default());
        } else if rng.one_in(6) && self.running.len() > 2 {
            let id = self.running.swap_remove(rng.below(self.running.len() as u64) as usize);
            client.request("DELETE", &format!("/api/v2/measurements/{id}/"), None).unwrap();
        } else {
            let ping = ping(2, rng);
            self.oneoffs.extend(client.measure(&json!([ping]), &everybody, true).unwrap_or_default());
        }
    }

    /// Kills one or the other or both, and starts them again in either order. Gives who it was.
    fn kill(&mut self, rng: &mut Rng) -> String {
        let Loopback { server, probes, .. } = &mut self.network;
        let victim = rng.below(PROBES as u64) as usize;
        match rng.below(4) {
            0 => {
                server.kill().unwrap();
                server.restart().unwrap();
                "server".into()
            }
            1 => {
                probes[victim].kill().unwrap();
                probes[victim].restart().unwrap();
                format!("probe {victim}")
            }
            2 => {
                server.kill().unwrap();
                probes[victim].kill().unwrap();
                probes[victim].restart().unwrap();
                server.restart().unwrap();
                format!("server and probe {victim}; the probe returns first")
            }
            _ => {
                for probe in &mut *probes {
                    probe.kill().unwrap();
                }
                server.kill().unwrap();
                server.restart().unwrap();
                for probe in probes {
                    probe.restart().unwrap();
                }
                "everything".into()
            }
        }
    }

    /// Waits until every one-off has a result, or the reason why not, from each of its probes.
    fn settle_oneoffs(&self) {
        let client = &self.network.client;
        for id in &self.oneoffs {
            wait_for(&format!("one-off {id} to be settled"), || {
                let asked = client.get(&format!("/api/v2/measurements/{id}/"))?;
                let wanted = asked["participant_count"].as_u64().unwrap_or(0) as usize;
                let skipped = client.get(&format!("/api/v2/measurements/{id}/skipped/"))?;
                let skipped = skipped["results"].as_array().map_or(0, Vec::len);
                Ok((client.results(*id)?.len() + skipped >= wanted).then_some(()))
            })
            .unwrap();
        }
    }
}

#[test]
fn whatever_is_killed_every_run_is_stored_once_or_accounted_for() {
    let rounds = if std::env::var_os("SONDE_LONG").is_some() { 50 } else { 10 };
    let seed = match std::env::var("SONDE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => getrandom::u64().unwrap(),
    };
    say(&format!("crashes: seed {seed}, {rounds} rounds"));
    let mut rng = Rng::new(seed);
    let network = Loopback::start(PROBES).unwrap();
    let running = network.client.measure(&periodic(), &network.everybody(), false).unwrap();
    let mut world = World { network, running, oneoffs: Vec::new() };

    let mut history = Vec::new();
    for round in 1..=rounds {
        // Anything from "hardly back" to "long at work".
        let calm = rng.below(LONGEST_CALM_MS);
        let posts = rng.below(4);
        for _ in 0..posts {
            std::thread::sleep(Duration::from_millis(calm / (posts + 1)));
            world.post(&mut rng);
        }
        std::thread::sleep(Duration::from_millis(rng.below(calm / (posts + 1) + 1)));
        let killed = world.kill(&mut rng);
        history.push(format!("round {round}: {calm} ms, {posts} requests, killed: {killed}"));
    }

    world.network.wait_for_probes().unwrap();
    world.settle_oneoffs();
    let found = world.network.finish();
    let found = found.unwrap_or_else(|error| panic!("seed {seed}: {error:#}\n{}", history.join("\n")));
    say(&format!("crashes: seed {seed}: {found}"));
    assert!(found.results > 0 && found.in_gaps > 0 && found.oneoffs > 0, "there was load, and there were crashes");
}
