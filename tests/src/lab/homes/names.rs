//! Names: knot serves and signs the references' zone, and `ipv4only.arpa`; four unbound are the provider's resolvers, of
//! which two do what resolvers should not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;

use super::draft::{AUTHORITY, RESOLVERS};
use super::plan::{LIE, NAT64_PREFIX, Resolver, authority};
use super::{Homes, said, wait_until};
use crate::lab::LabChild;
use crate::lab::topology::Family;

/// A zone to serve.
#[derive(Debug, Clone)]
pub struct ZoneFile {
    /// Its name, without a final dot.
    pub origin: String,
    /// Its text, in the master format.
    pub path: PathBuf,
    /// Is it to be signed? The first one that is must have everything else of the lab's below it.
    pub signed: bool,
}

/// RFC 7050, section 8.
const IPV4ONLY: &str = "$ORIGIN ipv4only.arpa.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\n\
                        ns A 20.54.0.53\n@ A 192.0.0.170\n@ A 192.0.0.171\n";

/// Starts all of them, and returns when they answer.
pub(super) fn start(homes: &Homes, zones: &[ZoneFile], dir: &Path) -> anyhow::Result<Vec<LabChild>> {
    let ipv4only = ZoneFile { origin: "ipv4only.arpa".into(), path: dir.join("ipv4only.arpa.zone"), signed: false };
    fs::write(&ipv4only.path, IPV4ONLY).context("write a zone")?;
    let signed = zones.iter().find(|zone| zone.signed).context("one zone is to be signed")?;
    let all: Vec<&ZoneFile> = zones.iter().chain([&ipv4only]).collect();
    let mut children = vec![knot(homes, &all, &dir.join("knot"))?];
    let resolvers = homes.namespace(RESOLVERS);
    let mut anchor = String::new();
    wait_until("knot's keys", || {
        let server = format!("@{}", authority(Family::V4));
        let keys =
            said(resolvers, "kdig", &[&server, &signed.origin, "DNSKEY", "+short", "+tcp", "+time=1", "+retry=0"])?;
        // A key signing key, with which the zone is signed by now.
        let key = keys.lines().find(|key| key.starts_with("257 "));
        anchor = key.map(|key| format!("{}. DNSKEY {key}\n", signed.origin)).unwrap_or_default();
        Ok(!anchor.is_empty())
    })?;
    for resolver in Resolver::ALL {
        children.push(unbound(homes, resolver, &signed.origin, &anchor, &dir.join(resolver.name()))?);
    }
    for resolver in Resolver::ALL {
        for family in Family::ALL {
            let server = format!("@{}", resolver.address(family));
            wait_until("a resolver", || {
                let name = format!("v4.{}", signed.origin);
                let answer = said(resolvers, "kdig", &[&server, &name, "A", "+short", "+time=1", "+retry=0"])?;
                Ok(answer.lines().any(|line| line.parse::<std::net::Ipv4Addr>().is_ok()))
            })?;
        }
    }
    Ok(children)
}

fn knot(homes: &Homes, zones: &[&ZoneFile], dir: &Path) -> anyhow::Result<LabChild> {
    fs::create_dir(dir).context("knot's directory")?;
    let [v4, v6] = Family::ALL.map(authority);
    let mut config = format!(
        "server:\n  rundir: \"{dir}\"\n  listen: [ {v4}@53, {v6}@53 ]\n  udp-max-payload: 4096\n  automatic-acl: off\n\
         log:\n  - target: stderr\n    any: error\ndatabase:\n  storage: \"{dir}\"\n\
         policy:\n  - id: references\n    algorithm: ed25519\nzone:\n",
        dir = dir.display()
    );
    for zone in zones {
        config += &format!(
            "  - domain: {}\n    file: \"{}\"\n    zonefile-sync: -1\n    journal-content: all\n    \
             zonefile-load: difference-no-serial\n",
            zone.origin,
            zone.path.display()
        );
        if zone.signed {
            config += "    dnssec-signing: on\n    dnssec-policy: references\n";
        }
    }
    let file = dir.join("knot.conf");
    fs::write(&file, config).context("write knot's configuration")?;
    let mut command = homes.namespace(AUTHORITY).command("knotd");
    let log = fs::File::create(dir.join("log")).context("knot's log")?;
    LabChild::start(command.arg("-c").arg(file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))
}

fn unbound(homes: &Homes, resolver: Resolver, zone: &str, anchor: &str, dir: &Path) -> anyhow::Result<LabChild> {
    fs::create_dir(dir).context("unbound's directory")?;
    fs::write(dir.join("anchor"), anchor).context("write the trust anchor")?;
    let interfaces: String = Family::ALL
        .iter()
        .map(|family| {
            let address = resolver.address(*family);
            format!("  interface: {address}\n  outgoing-interface: {address}\n")
        })
        .collect();
    let what = match resolver {
        Resolver::Plain => {
            format!("  module-config: \"validator iterator\"\n  trust-anchor-file: \"{}/anchor\"\n", dir.display())
        }
        Resolver::Dns64 => format!(
            "  module-config: \"dns64 validator iterator\"\n  dns64-prefix: {NAT64_PREFIX}/96\n  \
             trust-anchor-file: \"{}/anchor\"\n",
            dir.display()
        ),
        Resolver::Lying => format!(
            "  module-config: \"iterator\"\n  local-zone: \"nx.{zone}.\" redirect\n  local-data: \"nx.{zone}. 60 A {LIE}\"\n"
        ),
        // Such filters do not validate, or they would refuse what is signed.
        Resolver::Filter => "  module-config: \"iterator\"\n  private-address: ::/0\n".to_owned(),
    };
    let stubs: String = [zone, "ipv4only.arpa"]
        .iter()
        .map(|name| {
            let [v4, v6] = Family::ALL.map(authority);
            format!("stub-zone:\n  name: {name}\n  stub-addr: {v4}\n  stub-addr: {v6}\n")
        })
        .collect();
    let config = format!(
        "server:\n{interfaces}{what}  username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  verbosity: 0\n  num-threads: 1\n  access-control: 0.0.0.0/0 allow\n  access-control: ::0/0 allow\n  \
         root-hints: \"\"\n  trust-anchor-signaling: no\n  target-fetch-policy: \"0 0 0 0 0\"\n  edns-buffer-size: 4096\n  \
         max-udp-size: 4096\n  msg-cache-size: 1m\n  rrset-cache-size: 1m\n\
         remote-control:\n  control-enable: no\n{stubs}",
        dir = dir.display()
    );
    let file = dir.join("unbound.conf");
    fs::write(&file, config).context("write unbound's configuration")?;
    let mut command = homes.namespace(RESOLVERS).command("unbound");
    let log = fs::File::create(dir.join("log")).context("unbound's log")?;
    LabChild::start(command.args(["-d", "-c"]).arg(file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))
}
