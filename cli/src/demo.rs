//! `sonde demo`: a whole network on this machine. The server runs in this process; the probes are processes of their own,
//! as on a volunteer's board; everything is asked for and read back through the REST API, as a researcher would.
//!
//! Targets are loopback addresses, which the demo's own policy files allow, and a small name server that the demo brings
//! along, so that it works on a machine without any network.

mod client;
mod name_server;
mod references;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use self::client::Client;
use self::name_server::NameServer;
use self::references::References;
use crate::admin::AdminCommand;
use crate::config::{ApiSection, CollectorSection, Config, NetworkSection};
use crate::server::Server;

/// How many probes the demo starts.
const PROBES: usize = 2;

/// How long everything together may take with `--once`.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the API is asked for news.
const POLL: Duration = Duration::from_millis(200);

/// Seconds between runs of the periodic measurements.
const INTERVAL: u32 = 10;

const EMAIL: &str = "you@example.net";

/// How the demo is to run.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Measure once, print results as JSON lines, end.
    pub once: bool,
    /// Where the API listens.
    pub listen: Option<SocketAddr>,
}

/// What is measured: a word for people, and the definition.
fn definitions(name_server: &NameServer, api: SocketAddr, once: bool) -> Vec<Value> {
    let mut all = Vec::new();
    for (af, target, server) in [(4, "127.0.0.1", name_server.v4), (6, "::1", name_server.v6)] {
        let common = |kind: &str, target: &str| {
            let mut definition =
                json!({"type": kind, "af": af, "target": target, "description": format!("{kind} over IPv{af}")});
            if once {
                definition["is_oneoff"] = json!(true);
            } else {
                definition["interval"] = json!(INTERVAL);
                definition["spread"] = json!(INTERVAL / 2);
            }
            definition
        };
        let mut ping = common("ping", target);
        ping["packet_interval"] = json!(200);
        let mut traceroute = common("traceroute", target);
        traceroute["protocol"] = json!("ICMP");
        let mut dns = common("dns", &server.ip().to_string());
        dns["port"] = json!(server.port());
        dns["query_class"] = json!("IN");
        dns["query_type"] = json!("TXT");
        dns["query_argument"] = json!("hello.sonde.test");
        let path_mtu = common("pathmtu", target);
        all.extend([ping, traceroute, dns, path_mtu]);
        // The server's own API is the only web server that there is for sure.
        if api.ip().to_string() == target {
            let mut http = common("http", target);
            http["port"] = json!(api.port());
            http["path"] = json!("/healthz");
            all.push(http);
        }
    }
    // One run is about both families, and measures against the network's references.
    let mut worth = json!({"type": "ipv6", "af": 6, "description": "what IPv6 and IPv4 are worth"});
    if once {
        worth["is_oneoff"] = json!(true);
    } else {
        worth["interval"] = json!(INTERVAL);
        worth["spread"] = json!(INTERVAL / 2);
    }
    all.push(worth);
    all
}

/// Runs the demo until it is done or `interrupted`. The exit code is 0 only if every result came back.
pub async fn run(options: DemoOptions, interrupted: impl Future<Output = ()>) -> Result<ExitCode> {
    tokio::select! {
        outcome = show(&options) => outcome,
        () = interrupted => {
            say("stopping");
            Ok(if options.once { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}

/// Becomes `sonde-lab`, the lab's own program, which is built with the workspace and not a part of what operators install.
///
/// # Errors
/// When it is not there. Without root it says so itself.
pub fn lab(once: bool, json: bool) -> Result<ExitCode> {
    let here = std::env::current_exe().context("where is this program?")?;
    let program = here.with_file_name("sonde-lab");
    if !program.is_file() {
        bail!(
            "{} is not there: the lab belongs to the source tree, where `./demo --lab` builds and starts it",
            program.display()
        );
    }
    let flags = [(once, "--once"), (json, "--json")].into_iter().filter_map(|(is_set, flag)| is_set.then_some(flag));
    // Signals then reach the lab, which cleans up behind itself.
    let error = std::process::Command::new(&program).args(flags).exec();
    Err(error).with_context(|| format!("{} does not start", program.display()))
}

/// Progress is for people and goes to standard error; with `--once`, standard output is for programs.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

async fn show(options: &DemoOptions) -> Result<ExitCode> {
    let begun = Instant::now();
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        tokio::net::UdpSocket::bind((address, 0)).await.with_context(|| {
            format!("this machine has no {address}: the demo needs IPv4 and IPv6 on the loopback interface")
        })?;
    }
    let folder = tempfile::Builder::new().prefix("sonde-demo-").tempdir().context("no temporary directory")?;
    let name_server = NameServer::start().await.context("the demo's name server")?;
    let config = server_config(options);
    let server = Server::start(&folder.path().join("server"), &config).await?;
    let address = *server.api_addresses().first().context("the API listens nowhere")?;
    let base = format!("http://{address}");
    say(&format!("server     API {base}/  collector {:?}", server.collector_addresses()));

    let admin = server.admin();
    admin.execute(&command(&["account", "add", EMAIL])?).await?;
    let key = admin.execute(&command(&["key", "add", EMAIL])?).await?.trim().to_owned();
    let mut probes = Vec::new();
    for n in 1..=PROBES {
        let network = admin.execute(&command(&["probe", "add", EMAIL])?).await?;
        probes.push(start_probe(folder.path(), n, &network)?);
    }
    say(&format!("probes     {PROBES} processes started, each joining with a token of its own"));
    let client = Client::new(base.clone(), key.clone());
    let deadline = begun + PATIENCE;
    let numbers = wait_for_probes(&client, &mut probes, deadline).await?;
    admin.execute(&command(&["network", "allow-http", &address.ip().to_string()])?).await?;
    let references = References::start(folder.path()).await?;
    for words in &references.listed {
        admin.execute(&command(&words.iter().map(String::as_str).collect::<Vec<_>>())?).await?;
    }
    let definitions = definitions(&name_server, address, options.once);
    let body = json!({
        "definitions": definitions,
        "is_oneoff": options.once,
        // By number: chosen by area, probes that show no address of a family would not be asked to measure over it, and on
        // a machine without a network nobody shows one.
        "probes": [{"type": "probes", "value": numbers, "requested": PROBES}],
    });
    let answer = client.post("/api/v2/measurements/", &body).await?;
    let ids: Vec<u64> = answer["measurements"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    if ids.len() != definitions.len() {
        bail!("the API made {} measurements of {}: {answer}", ids.len(), definitions.len());
    }
    for (id, definition) in ids.iter().zip(&definitions) {
        say(&format!(
            "measuring  {id}: {} {}",
            definition["description"].as_str().unwrap_or_default(),
            definition["target"].as_str().unwrap_or("the network's two references")
        ));
    }
    if !options.once {
        invite(&base, &key, ids.first().copied().unwrap_or_default());
    }
    let mut results = Progress { client: &client, ids: &ids, seen: BTreeSet::new(), json: options.once };
    loop {
        results.poll().await?;
        check_alive(&mut probes)?;
        if options.once {
            if results.seen.len() >= ids.len() * PROBES {
                break;
            }
            if Instant::now() > deadline {
                bail!(
                    "only {} of {} results came back within {} s",
                    results.seen.len(),
                    ids.len() * PROBES,
                    PATIENCE.as_secs()
                );
            }
        }
        sleep(POLL).await;
    }
    say(&format!(
        "done       {} results over both families in {:.1} s",
        results.seen.len(),
        begun.elapsed().as_secs_f64()
    ));
    // The probes are still there to be let go.
    server.stop().await;
    drop(probes);
    references.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn server_config(options: &DemoOptions) -> Config {
    let loopback = |text: &str| text.parse::<IpNet>();
    let free = sonde_api::Policy::free();
    Config {
        network: NetworkSection { name: "demo".into(), ..NetworkSection::default() },
        api: ApiSection {
            listen: vec![options.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))],
            allow_targets: [loopback("127.0.0.0/8"), loopback("::1/128")].into_iter().flatten().collect(),
            min_interval: 1,
            ..ApiSection::default()
        },
        collector: CollectorSection { listen: vec![free_port()], ..CollectorSection::default() },
        credits: free.credits,
        quotas: free.quotas,
        targets: free.targets,
        ..Config::default()
    }
}

/// A free UDP port of the loopback interface. The directory names it, so it must be known before the collector listens.
fn free_port() -> SocketAddr {
    let any = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    // If there is none the collector says so.
    std::net::UdpSocket::bind(any).and_then(|socket| socket.local_addr()).unwrap_or(any)
}

fn command(words: &[&str]) -> Result<AdminCommand> {
    Ok(crate::admin::parse(words)?)
}

fn start_probe(folder: &Path, n: usize, network: &str) -> Result<Child> {
    let state = folder.join(format!("probe-{n}"));
    let (network_file, config_file) = (folder.join(format!("network-{n}.toml")), folder.join("sonde.toml"));
    std::fs::write(&network_file, network)?;
    std::fs::write(&config_file, "[policy]\nallow = [\"127.0.0.0/8\", \"::1/128\"]\n")?;
    let program = std::env::current_exe().context("where is this program?")?;
    let child = Command::new(program)
        .arg("probe")
        .arg("run")
        .arg("--network")
        .arg(&network_file)
        .arg("--state")
        .arg(&state)
        .arg("--config")
        .arg(&config_file)
        .env("SONDE_LOG", std::env::var("SONDE_LOG").unwrap_or_else(|_| "warn".into()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    child.context("a probe could not be started")
}

fn check_alive(probes: &mut [Child]) -> Result<()> {
    for probe in probes {
        if let Some(status) = probe.try_wait()? {
            bail!("a probe has ended ({status}); what it said stands above");
        }
    }
    Ok(())
}

async fn wait_for_probes(client: &Client, probes: &mut [Child], deadline: Instant) -> Result<String> {
    loop {
        check_alive(probes)?;
        let answer = client.get("/api/v2/probes/?status=1").await?;
        if answer["count"].as_u64() >= u64::try_from(PROBES).ok() {
            say(&format!("connected  {PROBES} probes"));
            let ids = answer["results"].as_array().into_iter().flatten().filter_map(|probe| probe["id"].as_u64());
            return Ok(ids.map(|id| id.to_string()).collect::<Vec<_>>().join(","));
        }
        if Instant::now() > deadline {
            bail!("the probes did not connect within {} s", PATIENCE.as_secs());
        }
        sleep(POLL).await;
    }
}

fn invite(base: &str, key: &str, id: u64) {
    let program = std::env::current_exe().map_or_else(|_| "sonde".into(), |path| path.display().to_string());
    say(&format!(
        "\nLook:      {base}/\n\
         Results:   curl {base}/api/v2/measurements/{id}/results/\n\
         Measure:   curl {base}/api/v2/measurements/ -H 'Authorization: Key {key}' -H 'Content-Type: application/json' \\\n\
         \x20            -d '{{\"definitions\":[{{\"type\":\"ping\",\"af\":6,\"target\":\"::1\",\"description\":\"mine\",\"is_oneoff\":true}}],\
         \"probes\":[{{\"type\":\"probes\",\"value\":\"1\",\"requested\":1}}]}}'\n\
         Or:        SONDE_SERVER={base} SONDE_KEY={key} {program} ping ::1 --from probes:1-2\n\
         Stop:      Ctrl-C\n"
    ));
}

struct Progress<'a> {
    client: &'a Client,
    ids: &'a [u64],
    /// Measurement, probe, time.
    seen: BTreeSet<(u64, u64, i64)>,
    json: bool,
}

impl Progress<'_> {
    async fn poll(&mut self) -> Result<()> {
        for &id in self.ids {
            let results = self.client.get(&format!("/api/v2/measurements/{id}/latest/")).await?;
            for result in results.as_array().into_iter().flatten() {
                let probe = result["prb_id"].as_u64().unwrap_or_default();
                let at = result["timestamp"].as_i64().unwrap_or_default();
                if !self.seen.insert((id, probe, at)) {
                    continue;
                }
                if self.json {
                    writeln!(std::io::stdout(), "{result}")?;
                } else {
                    say(&format!("result     {}", in_words(result)));
                }
            }
        }
        Ok(())
    }
}

fn in_words(result: &Value) -> String {
    let kind = result["type"].as_str().unwrap_or_default();
    let seen = match kind {
        "ping" => format!(
            "{} of {} answered, {:.3} ms at best",
            result["rcvd"],
            result["sent"],
            result["min"].as_f64().unwrap_or(-1.0)
        ),
        "traceroute" => format!("{} hops", result["result"].as_array().map_or(0, Vec::len)),
        "dns" => match result["result"]["rt"].as_f64() {
            Some(rt) => format!("answer in {rt:.3} ms"),
            None => format!("no answer: {}", result["error"]),
        },
        "http" => match (&result["result"][0]["res"], result["result"][0]["rt"].as_f64()) {
            (status, Some(rt)) => format!("status {status} in {rt:.3} ms"),
            _ => format!("no response: {}", result["result"][0]["err"]),
        },
        "pathmtu" => format!("packets of {} bytes pass", result["mtu"]),
        "ipv6" => {
            let families = result["verdict"].as_array().into_iter().flatten();
            let words = families.map(|one| format!("IPv{} {}", one["af"], one["raw"].as_str().unwrap_or("?")));
            words.collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    };
    let target = ["dst_name", "dst_addr", "uri"].into_iter().find_map(|key| result[key].as_str());
    let target = target.unwrap_or(if kind == "ipv6" { "the references" } else { "its own resolvers" });
    format!("probe {} {kind} {target}: {seen}", result["prb_id"])
}
