//! The test lab: a small internet of network namespaces on one machine, with known truth.
//!
//! [`Lab::start`] builds it, dropping the [`Lab`] removes it. Hosts, routers and addresses are in [`topology`]; every
//! path from a probe to the target crosses four links with a delay and faults of their own ([`wire`]); names are served
//! by a scriptable DNS server ([`dns`]); [`Capture`] shows what a machine really sent. On request there is a path of eleven
//! hops with a fork and MPLS labels ([`LabOptions::long_path`]). Routers can be made silent, slow to answer and otherwise
//! wrong ([`Lab::set_silent`] and its neighbours). The true path and the smallest possible round-trip time come from
//! [`Lab::path`] and, packet by packet, from [`Lab::wire_log`].
//!
//! It needs root, iproute2 and nftables. It knows nothing of the probe, the collector or any other part of Sonde.
//!
//! ```no_run
//! use sonde_tests::lab::{Family, Host, Lab, LabOptions, reach};
//! # fn main() -> anyhow::Result<()> {
//! let lab = Lab::start(LabOptions::default())?;
//! let target = Host::Target.address(Family::V4).expect("the target is dual stack");
//! let reply = lab.host(Host::Dual).run(|| reach::ping(target, 1, std::time::Duration::from_secs(1)))?;
//! assert!(reply.is_some_and(|reply| Some(reply.rtt) >= lab.rtt_floor(Host::Dual, Host::Target, Family::V4)));
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use nix::sched::{CloneFlags, unshare};

mod capture;
pub mod dns;
mod faults;
mod fork;
mod ground;
pub mod homes;
pub mod mpls;
mod namespace;
pub mod packet;
mod path;
pub mod reach;
mod setup;
mod steal;
mod sys;
pub mod time_server;
pub mod topology;
pub mod wire;

pub use capture::{Capture, CapturedPacket};
pub use dns::{DnsLogEntry, DnsServer};
pub use faults::USUAL_MTU;
pub use fork::Flow;
pub use namespace::{LabChild, Namespace};
pub use path::HopTruth;
pub use topology::{Branch, Direction, Family, Host, Link, MPLS_LABELS, MplsLabel, Node, Router};
pub use wire::log::{Exchange, Fate, WireLog, WireRecord};
pub use wire::{LinkParams, WireStats};

/// How long each pair of machines has to reach each other at the start.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// What a lab begins with.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// For all the wire's random numbers. The same seed and the same packets give the same losses.
    pub seed: u64,
    /// Links that differ from [`Link::default_delay_us`], in both directions.
    pub links: Vec<(Link, LinkParams)>,
    /// Whether hosts let everybody open ICMP sockets (`net.ipv4.ping_group_range`); the kernel's default is nobody.
    pub ping_sockets: bool,
    /// The names that both DNS servers begin with, in the language of [`dns::zone`].
    pub zone: String,
    /// Whether there is the long path to [`Host::Far`] behind `r2`, with a fork and a router that quotes MPLS labels.
    pub long_path: bool,
    /// Where `lab-wire`, `lab-dns` and `lab-mpls` are; by default beside or above the running program, where cargo puts them.
    pub programs: Option<PathBuf>,
}

impl Default for LabOptions {
    fn default() -> Self {
        let zone = dns::default_zone();
        Self { seed: 1, links: Vec::new(), ping_sockets: true, zone, long_path: false, programs: None }
    }
}

impl LabOptions {
    /// For the hash by which the fork takes a branch; the kernel takes 0 for "random".
    fn hash_seed(&self) -> u32 {
        (self.seed as u32).max(1)
    }
}

/// A running lab. Dropping it ends every process in it and removes it from the machine.
#[derive(Debug)]
pub struct Lab {
    // In the order in which they must go.
    wire: wire::control::Wire,
    dns: BTreeMap<DnsServer, dns::DnsProcess>,
    mpls: Option<LabChild>,
    long_path: bool,
    /// The routers that answer from [`Router::other_address`].
    other_addresses: Mutex<BTreeSet<Router>>,
    namespaces: BTreeMap<Node, Namespace>,
    cpu_at_start: steal::CpuTimes,
    ground: ground::Ground,
}

impl Lab {
    /// Whether a lab can run here, and if not, what is missing.
    pub fn available() -> Result<(), String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        if !Path::new("/proc/sys/net/ipv6").exists() {
            return Err("this kernel has no IPv6".to_owned());
        }
        // On a thread, which takes its namespaces with it when it ends.
        let attempt = thread::spawn(|| -> anyhow::Result<()> {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("make a namespace")?;
            let veth = "link add name one type veth peer name two\nlink add name three type bridge\n";
            namespace::feed(Command::new("ip").args(["-batch", "-"]), veth).context("make interfaces")?;
            let nat = "table ip t { chain c { type nat hook postrouting priority srcnat; masquerade; }; }";
            namespace::feed(Command::new("nft").args(["-f", "-"]), nat).context("make a NAT")
        });
        let result = attempt.join().unwrap_or_else(|_| Err(anyhow!("the attempt panicked")));
        result.map_err(|error| format!("{error:#}"))
    }

    /// Builds everything and returns when all hosts reach server, target and DNS. Labs whose owner is gone are removed
    /// first; others are left alone.
    pub fn start(options: LabOptions) -> anyhow::Result<Self> {
        let cpu_at_start = steal::CpuTimes::now()?;
        let wire_program = program(&options, "lab-wire")?;
        let dns_program = program(&options, "lab-dns")?;
        let mpls_program = if options.long_path { Some(program(&options, "lab-mpls")?) } else { None };
        dns::zone::Zone::parse(&options.zone).context("the zone")?;
        let ground = ground::Ground::claim()?;
        let dir = ground.dir();
        let namespaces = setup::build(ground.prefix(), &options)?;
        let at = |node: Node| namespaces.get(&node).with_context(|| format!("no namespace for {}", node.name()));

        let config = wire::WireConfig {
            links: setup::wire_links(options.long_path),
            seed: options.seed,
            log: dir.join("wire.log"),
        };
        let wire = wire::control::Wire::start(&wire_program, at(Node::Wire)?, &config, &dir.join("wire.json"))?;
        let mut dns = BTreeMap::new();
        let lab_addresses = Family::ALL.into_iter().flat_map(|family| Host::Dns.addresses(family)).collect();
        let nat_addresses = setup::nat_gateway_inside().into_iter().collect();
        let servers: [(_, _, Vec<IpAddr>); 2] = [
            (DnsServer::Lab, Node::Host(Host::Dns), lab_addresses),
            (DnsServer::NatGateway, Node::Router(Router::NatGateway), nat_addresses),
        ];
        for (server, node, addresses) in servers {
            let process = dns::DnsProcess::start(&dns_program, at(node)?, &addresses, &dir, &options.zone)?;
            dns.insert(server, process);
        }

        let mpls = match mpls_program {
            // It ends when this end of its input closes.
            Some(program) => {
                let mut command = at(Node::Router(Router::Mpls))?.command(program);
                Some(LabChild::start(command.stdin(Stdio::piped()))?)
            }
            None => None,
        };

        let (long_path, other_addresses) = (options.long_path, Mutex::default());
        let lab = Self { wire, dns, mpls, long_path, other_addresses, namespaces, cpu_at_start, ground };
        // On links without delay, so that a lab whose links are set to be bad starts as well.
        lab.introduce().context("the lab's hosts do not reach each other")?;
        for link in Link::ALL.into_iter().filter(|link| long_path || !link.is_on_long_path()) {
            let delay = Duration::from_micros(link.default_delay_us());
            let set = options.links.iter().find(|(of, _)| *of == link);
            lab.set_link(link, set.map_or(LinkParams::delay(delay), |(_, params)| *params))?;
        }
        lab.reseed(options.seed)?;
        lab.clear_wire_log()?;
        lab.reset_wire_stats()?;
        Ok(lab)
    }

    /// Removes the lab, as dropping it does, but says what went wrong.
    pub fn stop(self) -> anyhow::Result<()> {
        let Self { wire, dns, mpls, namespaces, ground, .. } = self;
        drop((wire, dns, mpls, namespaces));
        ground.remove()
    }

    /// Begins the names of the lab's namespaces in `/run/netns`, followed by `-`.
    pub fn prefix(&self) -> &str {
        self.ground.prefix()
    }

    /// A directory for files that should go with the lab.
    pub fn dir(&self) -> PathBuf {
        self.ground.dir()
    }

    /// The labs on this machine, by prefix, and whose namespaces are left, by name.
    pub fn existing() -> BTreeMap<String, Vec<String>> {
        ground::prefixes().into_iter().map(|prefix| (prefix.clone(), ground::namespaces(&prefix))).collect()
    }

    /// The inside of a host.
    pub fn host(&self, host: Host) -> &Namespace {
        self.node(Node::Host(host))
    }

    /// The inside of a router, for instance to add firewall rules.
    pub fn router(&self, router: Router) -> &Namespace {
        self.node(Node::Router(router))
    }

    /// The inside of any node.
    ///
    /// # Panics
    /// For one of the long path in a lab without it.
    pub fn node(&self, node: Node) -> &Namespace {
        self.namespaces.get(&node).expect("the lab has a namespace for every node of its options")
    }

    /// Starts a command (made by [`Namespace::command`]); it is killed when the child is dropped, or with the lab.
    pub fn spawn(&self, command: &mut Command) -> anyhow::Result<LabChild> {
        LabChild::start(command)
    }

    /// Records every frame that a host sends or receives from now on.
    pub fn capture(&self, host: Host) -> anyhow::Result<Capture> {
        Capture::start(self.host(host))
    }

    /// The same at any node. At a probe's router it is the view from outside of all that the probe measures.
    pub fn capture_at(&self, node: Node) -> anyhow::Result<Capture> {
        Capture::start(self.node(node))
    }

    /// The hops that a traceroute from `from` to `to` should see, the destination last, with the delays now set; empty
    /// if there is no way. Where the long path forks it is that over branch A.
    pub fn path(&self, from: Host, to: Host, family: Family) -> Vec<HopTruth> {
        self.path_over(Branch::A, from, to, family)
    }

    /// The same, over one branch of the long path.
    pub fn path_over(&self, branch: Branch, from: Host, to: Host, family: Family) -> Vec<HopTruth> {
        if !self.long_path && (from.is_on_long_path() || to.is_on_long_path()) {
            return Vec::new();
        }
        let others = self.other_addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hops = path::hops(from, to, family, branch, |link, direction| self.link(link, direction).delay);
        for hop in &mut hops {
            if let Node::Router(router) = hop.node
                && others.contains(&router)
            {
                hop.address = router.other_address(family);
            }
        }
        hops
    }

    /// The smallest round-trip time that the delays now set allow; `None` if there is no way. An honest measurement is
    /// never below it.
    pub fn rtt_floor(&self, from: Host, to: Host, family: Family) -> Option<Duration> {
        self.path(from, to, family).last().map(HopTruth::rtt_floor)
    }

    /// What a link does now, in one direction.
    pub fn link(&self, link: Link, direction: Direction) -> LinkParams {
        self.wire.params(link, direction)
    }

    /// Sets a link in both directions; in force for frames that enter it after this returns.
    pub fn set_link(&self, link: Link, params: LinkParams) -> anyhow::Result<()> {
        Direction::ALL.into_iter().try_for_each(|direction| self.set_link_direction(link, direction, params))
    }

    /// Sets a link in one direction.
    pub fn set_link_direction(&self, link: Link, direction: Direction, params: LinkParams) -> anyhow::Result<()> {
        self.wire.set(link, direction, params)
    }

    /// Cuts a link or mends it, leaving its other parameters.
    pub fn set_link_down(&self, link: Link, down: bool) -> anyhow::Result<()> {
        Direction::ALL.into_iter().try_for_each(|direction| {
            self.set_link_direction(link, direction, self.link(link, direction).with_down(down))
        })
    }

    /// Lets all random numbers of the wire begin anew, so that the same packets meet the same fate again.
    pub fn reseed(&self, seed: u64) -> anyhow::Result<()> {
        self.wire.ask(&wire::Command::Reseed { seed }).map(drop)
    }

    /// How exact the wire was since the start or the last reset.
    pub fn wire_stats(&self) -> anyhow::Result<WireStats> {
        self.wire.stats()
    }

    /// Counts from zero again.
    pub fn reset_wire_stats(&self) -> anyhow::Result<()> {
        self.wire.ask(&wire::Command::ResetStats).map(drop)
    }

    /// Every frame that the wire has finished with.
    pub fn wire_log(&self) -> anyhow::Result<WireLog> {
        self.wire.log()
    }

    /// Turns the record of frames off or on; it begins on.
    pub fn set_wire_log(&self, on: bool) -> anyhow::Result<()> {
        self.wire.ask(&wire::Command::Log { on }).map(drop)
    }

    /// Forgets the frames so far, which keeps [`Lab::wire_log`] fast.
    pub fn clear_wire_log(&self) -> anyhow::Result<()> {
        self.wire.clear_log()
    }

    /// The addresses in a host's resolv.conf.
    pub fn resolvers(&self, host: Host) -> Vec<IpAddr> {
        setup::resolvers(host)
    }

    /// Replaces a DNS server's names from the next query on. See [`dns::zone`] for the language.
    pub fn set_zone(&self, server: DnsServer, text: &str) -> anyhow::Result<()> {
        self.dns_process(server)?.set_zone(text)
    }

    /// Adds lines to the names that a DNS server has now.
    pub fn add_to_zone(&self, server: DnsServer, lines: &str) -> anyhow::Result<()> {
        let process = self.dns_process(server)?;
        let now = std::fs::read_to_string(process.zone_path()).context("read the zone")?;
        process.set_zone(&format!("{now}{lines}\n"))
    }

    /// Everything that a DNS server was asked so far, with the exact bytes of its answers.
    pub fn dns_log(&self, server: DnsServer) -> anyhow::Result<Vec<DnsLogEntry>> {
        self.dns_process(server)?.log()
    }

    /// The share of CPU time that the hypervisor took away since the lab's start, 0 to 1. Say it beside every timing.
    pub fn steal(&self) -> anyhow::Result<f64> {
        Ok(steal::CpuTimes::now()?.stolen_since(&self.cpu_at_start))
    }

    fn dns_process(&self, server: DnsServer) -> anyhow::Result<&dns::DnsProcess> {
        self.dns.get(&server).with_context(|| format!("no DNS server {server:?}"))
    }

    /// Lets every host reach server, target and DNS once, so that all know their neighbours' link-layer addresses.
    fn introduce(&self) -> anyhow::Result<()> {
        let reach = |from: Host| -> anyhow::Result<()> {
            for (to, family) in [Host::Target, Host::Server, Host::Dns, Host::Far]
                .into_iter()
                .flat_map(|to| Family::ALL.map(|family| (to, family)))
                .filter(|(to, family)| from != *to && !self.path(from, *to, *family).is_empty())
            {
                let address = to.address(family).context("a path without an address")?;
                let deadline = Instant::now() + START_PATIENCE;
                let attempt = |seq| reach::ping(address, seq, Duration::from_millis(100));
                // An interface that has just come up may refuse at first.
                if !(1..).take_while(|_| Instant::now() < deadline).any(|seq| matches!(attempt(seq), Ok(Some(_)))) {
                    bail!("{} does not reach {} over {family:?}", from.name(), to.name());
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let here = |host: &Host| self.namespaces.contains_key(&Node::Host(*host));
            let hosts = Host::ALL.into_iter().filter(here);
            let threads: Vec<_> = hosts.map(|host| scope.spawn(move || self.host(host).run(|| reach(host)))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
        })
    }
}

/// Finds one of the lab's programs: tests run in cargo's `deps`, programs are one above.
fn program(options: &LabOptions, name: &str) -> anyhow::Result<PathBuf> {
    let directories = match &options.programs {
        Some(directory) => vec![directory.clone()],
        None => {
            let current = std::env::current_exe().context("find the running program")?;
            current.ancestors().skip(1).take(2).map(Path::to_owned).collect()
        }
    };
    let found = directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
    ensure!(found.is_some(), "{name} is not in {directories:?}; `cargo build -p sonde-tests --bins` makes it");
    found.context("just seen")
}
