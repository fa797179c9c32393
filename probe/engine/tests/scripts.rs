//! Plays every script in `tests/scripts` and compares what the engine reports with what the script expects.
//!
//! A script is a path, the quirks of its routers and of the host, and the outcome as text (`net::text`); where it has a
//! `schedule`, that is compared too. A new case is a new file. `SONDE_REWRITE=1 cargo test -p sonde-engine --test scripts`
//! writes what the engine says now into the scripts, to be reviewed as a diff.

mod net;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Deserialize;
use sonde_engine::icmp::sequences_needed;
use sonde_engine::path_mtu::{PathMtu, PathMtuConfig};
use sonde_engine::ping::{Ping, PingConfig};
use sonde_engine::traceroute::{Traceroute, TracerouteConfig};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Transport;
use sonde_protocol::spec::{PathMtuSpec, PingSpec, Spec, TracerouteSpec};
use sonde_protocol::time::Nanos;

use net::{HopScript, Net, NetScript, Played, text};

const COOKIE: u64 = 0x5eed_c00c_1e00_0001;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    dst: IpAddr,
    /// What is measured: one of these.
    ping: Option<PingScript>,
    traceroute: Option<TracerouteScript>,
    pathmtu: Option<PathMtuScript>,
    #[serde(default)]
    first_sequence: u16,
    #[serde(default)]
    net: NetScript,
    #[serde(default)]
    hop: Vec<HopScript>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    outcome: String,
    schedule: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PingScript {
    packets: u32,
    size: u32,
    packet_interval: u32,
    include_probe_id: bool,
}

impl Default for PingScript {
    fn default() -> Self {
        let PingSpec { packets, size, packet_interval, include_probe_id } = PingSpec::default();
        Self { packets, size, packet_interval, include_probe_id }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TracerouteScript {
    protocol: String,
    packets: u32,
    size: u32,
    first_hop: u32,
    max_hops: u32,
    paris: u32,
    port: u32,
    response_timeout: u32,
    duplicate_timeout: u32,
    dont_fragment: bool,
    traffic_class: u32,
    /// Which run this is.
    flow: u32,
    /// Length of the path in an earlier run.
    path_length: Option<u8>,
}

impl Default for TracerouteScript {
    fn default() -> Self {
        let spec = TracerouteSpec::default();
        Self {
            protocol: "ICMP".into(),
            packets: spec.packets,
            size: spec.size,
            first_hop: spec.first_hop,
            max_hops: spec.max_hops,
            paris: spec.paris,
            port: spec.port,
            response_timeout: spec.response_timeout,
            duplicate_timeout: spec.duplicate_timeout,
            dont_fragment: spec.dont_fragment,
            traffic_class: spec.traffic_class,
            flow: 0,
            path_length: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PathMtuScript {
    packets: u32,
    timeout: u32,
}

impl Default for PathMtuScript {
    fn default() -> Self {
        let PathMtuSpec { packets, timeout } = PathMtuSpec::default();
        Self { packets, timeout }
    }
}

impl Script {
    /// The run, and how many packets the engine ignored.
    fn play(&self) -> (Played, u32) {
        let net = Net::new(self.dst, self.net.clone(), self.hop.clone());
        let (spec, played, ignored) = match (&self.ping, &self.traceroute, &self.pathmtu) {
            (Some(ping), None, None) => {
                let spec = ping.spec();
                let config = PingConfig {
                    spec: spec.clone(),
                    dst: self.dst,
                    first_sequence: self.first_sequence,
                    cookie: COOKIE,
                    probe_id: ProbeId(11),
                };
                let mut engine = Ping::new(config, Nanos(0));
                (Spec::Ping(spec), net.play(&mut engine), engine.ignored())
            }
            (None, Some(trace), None) => {
                let spec = trace.spec();
                let config = TracerouteConfig {
                    spec: spec.clone(),
                    dst: self.dst,
                    first_sequence: self.first_sequence,
                    cookie: COOKIE,
                    flow: trace.flow,
                    path_length: trace.path_length,
                };
                let mut engine = Traceroute::new(config, Nanos(0)).expect("a script asks for what is available");
                (Spec::Traceroute(spec), net.play(&mut engine), engine.ignored())
            }
            (None, None, Some(search)) => {
                let spec = PathMtuSpec { packets: search.packets, timeout: search.timeout };
                let config = PathMtuConfig {
                    spec: spec.clone(),
                    dst: self.dst,
                    first_sequence: self.first_sequence,
                    cookie: COOKIE,
                };
                let mut engine = PathMtu::new(config, Nanos(0));
                (Spec::PathMtu(spec), net.play(&mut engine), engine.ignored())
            }
            _ => panic!("a script has one of [ping], [traceroute] and [pathmtu]"),
        };
        assert_eq!(spec.problems(), [], "a script asks for what the API would accept");
        let reserved = usize::from(sequences_needed(&spec));
        assert!(reserved == 0 || played.sent.len() <= reserved, "more packets than sequence numbers were reserved");
        (played, ignored)
    }
}

impl PingScript {
    fn spec(&self) -> PingSpec {
        PingSpec {
            packets: self.packets,
            size: self.size,
            packet_interval: self.packet_interval,
            include_probe_id: self.include_probe_id,
        }
    }
}

impl TracerouteScript {
    fn spec(&self) -> TracerouteSpec {
        TracerouteSpec {
            protocol: Transport::from_name(&self.protocol).expect("a protocol's name"),
            packets: self.packets,
            size: self.size,
            first_hop: self.first_hop,
            max_hops: self.max_hops,
            paris: self.paris,
            port: self.port,
            response_timeout: self.response_timeout,
            duplicate_timeout: self.duplicate_timeout,
            dont_fragment: self.dont_fragment,
            traffic_class: self.traffic_class,
            ..TracerouteSpec::default()
        }
    }
}

#[test]
fn every_script_ends_as_it_expects() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    let failures: Vec<String> = paths.iter().filter_map(|path| check(path).err()).collect();
    assert!(failures.is_empty(), "{} of {} scripts fail\n\n{}", failures.len(), paths.len(), failures.join("\n"));
}

fn check(path: &Path) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let source = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let script: Script = toml::from_str(&source).map_err(|error| format!("{name}: {error}"))?;
    let (played, ignored) = script.play();
    let mut parts = vec![("outcome", script.expect.outcome, text::outcome(&played, ignored))];
    if let Some(expected) = script.expect.schedule {
        parts.push(("schedule", expected, text::schedule(&played.sent)));
    }
    if env::var_os("SONDE_REWRITE").is_some() {
        let rewritten = parts.iter().fold(source, |source, (key, _, actual)| with_block(&source, key, actual));
        return fs::write(path, rewritten).map_err(|error| format!("{name}: {error}"));
    }
    let differs = parts.iter().filter(|(_, expected, actual)| expected != actual);
    let report = |(key, expected, actual): &(&str, String, String)| {
        format!("{name}, {key}\n--- the script says\n{expected}--- the engine says\n{actual}")
    };
    let reports: Vec<String> = differs.map(report).collect();
    if reports.is_empty() { Ok(()) } else { Err(reports.join("\n")) }
}

/// The script with another text in the block of this key.
fn with_block(source: &str, key: &str, text: &str) -> String {
    let start = format!("\n{key} = '''\n");
    let (head, rest) = source.split_once(&start).unwrap_or_else(|| panic!("{key} is a block"));
    let (_, tail) = rest.split_once("'''").unwrap_or_else(|| panic!("{key} is a block that ends"));
    format!("{head}{start}{text}'''{tail}")
}
