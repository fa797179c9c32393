//! The other probes of the network: real `sonde-probe` processes on the server's own host, enrolled and connected, each with
//! periodic measurements whose results flow. Nothing of theirs crosses the lab's wire: they reach the collector without it,
//! and ping loopback addresses.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sonde_tests::lab::{Host, Lab};
use sonde_tests::world::{Client, EMAIL, Place, Probe, Server, wait_for};

/// How many periodic measurements each of them has.
pub const ORDERS: u8 = 20;

/// How often each measures each, in seconds; the probes are spread over half of it.
pub const INTERVAL: u32 = 60;

/// What they may measure, which nobody else wants measured.
const LOOPBACK: &str = "127.0.0.0/8";

/// What the server's section `[api]` says for their sake.
pub fn allowance() -> String {
    format!("allow_targets = [\"{LOOPBACK}\"]\n")
}

/// Starts so many probes with their files below `dir` and waits until each is connected and has reported. They end when what
/// is returned is dropped.
///
/// # Errors
/// When one does not come, or the server refuses.
pub fn gather<'a>(
    lab: &'a Lab,
    server: &Server<'_>,
    client: &Client<'_>,
    dir: &Path,
    count: u64,
) -> Result<Vec<Probe<'a>>> {
    let place = Place::In(lab.host(Host::Server));
    let host = format!("[policy]\nallow = [\"{LOOPBACK}\"]\n");
    let mut crowd = Vec::new();
    for n in 0..count {
        let dir = dir.join(n.to_string());
        std::fs::create_dir_all(&dir)?;
        server.network_file(EMAIL, &dir.join("network.toml"))?;
        crowd.push(Probe::start(place, &dir, &host)?);
    }
    let connected = "/api/v2/probes/?status=1&page_size=0";
    // The one that is measured with may be among them already or not yet.
    wait_for("the crowd to connect", || {
        let found = client.get(connected)?["count"].as_u64().context("a list has a count")?;
        Ok((found >= count).then_some(()))
    })?;
    let ping = |n: u8| {
        let target = IpAddr::from([127, 0, 4, n]).to_string();
        json!({"type": "ping", "af": 4, "target": target, "interval": INTERVAL, "spread": INTERVAL / 2})
    };
    let all = json!([{"type": "area", "value": "WW", "requested": count}]);
    let ids = client.measure(&Value::Array((1..=ORDERS).map(ping).collect()), &all, false)?;
    let last = ids.last().context("no measurement of the crowd's")?;
    client.wait_results(*last, usize::try_from(count)?)?;
    Ok(crowd)
}
