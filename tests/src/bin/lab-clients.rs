//! Runs a command on a machine of the lab in which there is a Sonde network with HTTPS: for clients of other people, which
//! `tests/compat/run` starts. The command finds what it needs in the file that `SONDE_LAB` names; see [`describe`].
//!
//! It runs on a household machine, so that whatever it asks crosses the lab as a researcher's requests would. The names
//! `atlas.ripe.net` and `atlas-stream.ripe.net` are the server's there, for clients that know no others.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sonde_tests::lab::{DnsServer, Family, Host, Lab, LabOptions};
use sonde_tests::scene::{Scene, lab, say};
use sonde_tests::show;

/// Where the probes are: both families, IPv4 alone, IPv6 alone, and behind a NAT.
const PROBES: [Host; 4] = [Host::Dual, Host::V4Only, Host::V6Only, Host::Nat];

/// Where the command runs.
const CLIENT: Host = Host::Neighbour;

/// The server's names.
const NAMES: [&str; 3] = ["server.lab.example", "atlas.ripe.net", "atlas-stream.ripe.net"];

/// The target's name.
const TARGET: &str = "target.lab.example";

/// The port that a URL without one means.
const HTTPS: u16 = 443;

/// A name without a program behind it, whose text the dns measurements ask for, and the text.
const TEXT: (&str, &str) = ("clients.lab.example", "read by everybody");

/// Where the server's tables say that networks are: AS and country. Whatever is in none of them is at the last.
const NETWORKS: [(&str, u32, &str); 4] = [
    ("20.10.0.0 16", 64_510, "NL"),
    ("20.11.0.0 16", 64_511, "DE"),
    ("0.0.0.0 0", 64_599, "FR"),
    (":: 0", 64_599, "FR"),
];

/// Owns nothing: an account whose requests may spoil what it likes.
const STRANGER: &str = "stranger@example.net";

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("usage: lab-clients COMMAND …")?;
    let Some(lab) = lab(LabOptions::default()) else { return Ok(ExitCode::SUCCESS) };
    // Nobody asks for it, and it grows.
    lab.set_wire_log(false)?;
    let server = Host::Server.address(Family::V4).context("the server has IPv4")?;
    let mut lines = vec![format!("{} TXT 60 \"{}\"", TEXT.0, TEXT.1)];
    for name in NAMES.iter().filter(|name| !name.ends_with(".lab.example")) {
        lines.push(format!("{name} A 60 {server}"));
    }
    for of in [DnsServer::Lab, DnsServer::NatGateway] {
        lab.add_to_zone(of, &lines.join("\n"))?;
    }
    let servers = show::serve(&lab)?;
    let dir = tempfile::tempdir()?;
    certify(dir.path(), server)?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    fs::write(file("asn.txt"), NETWORKS.map(|(network, asn, _)| format!("{network} {asn}\n")).concat())?;
    fs::write(file("country.txt"), NETWORKS.map(|(network, _, country)| format!("{network} {country}\n")).concat())?;
    let more = format!(
        "listen_tls = [\"{}\"]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n\
         [places]\nasn = [\"{}\"]\ncountry = [\"{}\"]\n",
        SocketAddr::new(server, HTTPS),
        file("server.pem"),
        file("server.key"),
        file("asn.txt"),
        file("country.txt")
    );
    let scene = Scene::start_with(&lab, &PROBES, &more)?;
    scene.server.admin(&["network", "allow-http", TARGET])?;
    let mut facts = describe(&lab, &scene)?;
    facts["ca"] = json!(dir.path().join("ca.pem"));
    facts["stranger"] = json!(scene.server.researcher(STRANGER)?.key());
    let file = dir.path().join("lab.json");
    fs::write(&file, serde_json::to_vec_pretty(&facts)?)?;
    let mut command: Command = lab.host(CLIENT).command(program);
    let status = command.args(arguments).env("SONDE_LAB", &file).status().context("run the command")?;
    drop(servers);
    let said = scene.log();
    drop(scene);
    lab.stop()?;
    if !status.success() {
        say(&format!("the server's log:\n{said}"));
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The truth about the network, for a program that knows nothing of the lab.
fn describe(lab: &Lab, scene: &Scene<'_>) -> Result<Value> {
    let addresses = |host: Host| -> BTreeMap<&str, Vec<IpAddr>> {
        let own = |family| (number(family), host.addresses(family));
        Family::ALL.into_iter().map(own).filter(|(_, own)| !own.is_empty()).collect()
    };
    let probe = |host: &Host| {
        let rtt = |family| Some((number(family), lab.rtt_floor(*host, Host::Target, family)?));
        let path = |family| {
            let hops = lab.path(*host, Host::Target, family).into_iter().map(|hop| hop.address);
            (number(family), hops.collect::<Vec<_>>())
        };
        json!({
            "id": scene.number(*host),
            "host": host.name(),
            "asn": origin(*host).1,
            "country": origin(*host).2,
            "addresses": addresses(*host),
            "public": Family::ALL.into_iter().filter_map(|f| Some((number(f), host.public_address(f)?))).collect::<BTreeMap<_, _>>(),
            "rtt_ms": Family::ALL.into_iter().filter_map(rtt).map(|(f, rtt)| (f, millis(rtt))).collect::<BTreeMap<_, _>>(),
            "path": Family::ALL.into_iter().map(path).filter(|(_, hops)| !hops.is_empty()).collect::<BTreeMap<_, _>>(),
        })
    };
    Ok(json!({
        "server": NAMES[0],
        "key": scene.owner.key().context("the owner has a key")?,
        "email": sonde_tests::world::EMAIL,
        "probes": PROBES.iter().map(probe).collect::<Vec<_>>(),
        "target": {"name": TARGET, "addresses": addresses(Host::Target)},
        "dns": {"name": "dns.lab.example", "addresses": addresses(Host::Dns)},
        "text": {"name": TEXT.0, "is": TEXT.1},
        "clock_ahead": show::AHEAD,
        "body": sonde_tests::web::BODY,
    }))
}

/// What the tables say of a probe, by its first address.
fn origin(host: Host) -> (&'static str, u32, &'static str) {
    match host {
        Host::Dual => NETWORKS[0],
        Host::V4Only => NETWORKS[1],
        _ => NETWORKS[2],
    }
}

const fn number(family: Family) -> &'static str {
    match family {
        Family::V4 => "4",
        Family::V6 => "6",
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Writes an authority's certificate, the server's own and its key into a directory: `ca.pem`, `server.pem`, `server.key`.
fn certify(dir: &Path, address: IpAddr) -> Result<()> {
    let authority_key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new([])?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(rcgen::DnType::CommonName, "lab authority");
    fs::write(dir.join("ca.pem"), authority.self_signed(&authority_key)?.pem())?;
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate()?;
    let names = NAMES.iter().map(|name| (*name).to_owned()).chain([address.to_string()]);
    let mut own = rcgen::CertificateParams::new(names.collect::<Vec<_>>())?;
    own.use_authority_key_identifier_extension = true;
    own.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    fs::write(dir.join("server.pem"), own.signed_by(&key, &issuer)?.pem())?;
    fs::write(dir.join("server.key"), key.serialize_pem())?;
    Ok(())
}
