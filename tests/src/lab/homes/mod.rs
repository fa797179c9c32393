//! The lab's homes: an internet of which the far side is made once, and any number of homes at it, each of which has IPv6
//! and IPv4 in its own way, right or wrong. For measurements that tell such homes apart.
//!
//! [`Homes::start`] makes it from [`Plan`]s, dropping it removes it. Four machines in networks of their own are there to be
//! measured ([`Homes::reference`]); what runs on them is the test's affair. Resolvers, the translator, tunnels and
//! routers' advertisements are programs of other people (knot, unbound, tayga, radvd), but for two that are short: what
//! radvd cannot say (`advert`), and the tunnels (`tunnel`), since not every kernel has a device for them.
//!
//! It needs root, iproute2, nftables and those programs. Like the rest of the lab it knows nothing of Sonde.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{process, thread};

use anyhow::{Context as _, anyhow, ensure};

use self::draft::{Draft, Node, host, reference_node, router};
use super::ground::Ground;
use super::namespace::{FILES, Namespace, feed};
use super::topology::{Family, Link};
use super::wire::control::Wire;
use super::wire::{WireConfig, WireLink};
use super::{LabChild, LinkParams, sys};

mod advert;
mod draft;
mod names;
mod plan;
mod translate;
mod tunnel;

pub use names::ZoneFile;
pub use plan::{BOTH, Fault, LIE, NAT64_POOL, NAT64_PREFIX, Nat64, Plan, Resolver, V4, V6};

/// How long anything here may take before the lab gives up: far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What the one wired line is called in the wire's own words.
const WIRED: Link = Link::HomeR1;

/// The programs of other people, and their Debian packages.
const PROGRAMS: [(&str, &str); 5] =
    [("knotd", "knot"), ("unbound", "unbound"), ("kdig", "knot-dnsutils"), ("tayga", "tayga"), ("radvd", "radvd")];

/// A running internet of homes.
pub struct Homes {
    // In the order in which they must go.
    wire: Option<Wire>,
    helpers: Vec<tunnel::Helper>,
    children: Vec<LabChild>,
    namespaces: BTreeMap<String, Namespace>,
    plans: Vec<Plan>,
    draft: Draft,
    ground: Ground,
}

/// One home of it.
#[derive(Clone, Copy)]
pub struct Home<'a> {
    /// What it was made from.
    pub plan: &'a Plan,
    /// Where probes run.
    pub host: &'a Namespace,
    /// The router at the provider's line.
    pub router: &'a Namespace,
}

impl Homes {
    /// Which of the programs are missing here, each with its package.
    pub fn missing() -> Vec<String> {
        let is_there = |name: &str| {
            let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
            folders.iter().any(|folder| Path::new(folder).join(name).exists())
        };
        let missing = PROGRAMS.iter().filter(|(program, _)| !is_there(program));
        missing.map(|(program, package)| format!("{program} (Debian: {package})")).collect()
    }

    /// Makes the far side and these homes, and starts what makes them what they are, but for names: see
    /// [`Homes::serve_names`]. Labs whose owner is gone are removed first.
    ///
    /// # Errors
    /// When the machine cannot have it.
    pub fn start(plans: &[Plan]) -> anyhow::Result<Self> {
        let ground = Ground::claim()?;
        let draft = Draft::new(plans);
        let namespaces = build(ground.prefix(), &draft)?;
        let mut homes = Self {
            wire: None,
            helpers: Vec::new(),
            children: Vec::new(),
            namespaces,
            plans: plans.to_vec(),
            draft,
            ground,
        };
        homes.start_wire()?;
        homes.start_translators()?;
        homes.start_tunnels()?;
        homes.start_adverts()?;
        Ok(homes)
    }

    /// A directory for files that should go with the lab.
    pub fn dir(&self) -> PathBuf {
        self.ground.dir()
    }

    /// The homes.
    pub fn all(&self) -> impl Iterator<Item = Home<'_>> {
        self.plans.iter().map(|plan| Home {
            plan,
            host: self.namespace(&host(plan.name)),
            router: self.namespace(&router(plan.name)),
        })
    }

    /// The home of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn home(&self, name: &str) -> Home<'_> {
        self.all().find(|home| home.plan.name == name).unwrap_or_else(|| panic!("no home {name}"))
    }

    /// The number of references.
    pub const REFERENCES: usize = draft::REFERENCES;

    /// The inside of a reference, from 0.
    pub fn reference(&self, number: usize) -> &Namespace {
        self.namespace(&reference_node(number))
    }

    /// A reference's address.
    pub fn reference_address(number: usize, family: Family) -> IpAddr {
        plan::reference(number, family)
    }

    /// The machine behind the link of 1280 bytes that belongs to the first reference.
    pub fn narrow(&self) -> &Namespace {
        self.namespace(draft::NARROW_NODE)
    }

    /// Its address.
    pub const NARROW_ADDRESS: Ipv6Addr = plan::NARROW;

    /// Where the references' zone is served.
    pub fn authority_address(family: Family) -> IpAddr {
        plan::authority(family)
    }

    /// Serves these zones, and lets the provider's resolvers know of them. Returns when they answer.
    ///
    /// # Errors
    /// When knot or unbound do not start.
    pub fn serve_names(&mut self, zones: &[ZoneFile]) -> anyhow::Result<()> {
        let dir = self.dir();
        let started = names::start(self, zones, &dir)?;
        self.children.extend(started);
        Ok(())
    }

    /// Lets the wired home's line lose this share of packets, 0 to 1, in each direction, drawn from this seed.
    ///
    /// # Errors
    /// When there is no such home, or the share is not one.
    pub fn set_loss(&self, loss: f64, seed: u64) -> anyhow::Result<()> {
        let wire = self.wire.as_ref().context("no home is wired")?;
        wire.ask(&super::wire::Command::Reseed { seed })?;
        super::Direction::ALL
            .into_iter()
            .try_for_each(|way| wire.set(WIRED, way, LinkParams::delay(Duration::from_millis(2)).with_loss(loss)))
    }

    /// Starts a command (made by [`Namespace::command`]), which ends with the lab.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&mut self, command: &mut Command) -> anyhow::Result<()> {
        self.children.push(LabChild::start(command)?);
        Ok(())
    }

    fn namespace(&self, name: &str) -> &Namespace {
        self.namespaces.get(name).unwrap_or_else(|| panic!("the lab has no {name}"))
    }

    fn start_wire(&mut self) -> anyhow::Result<()> {
        let Some(interfaces) = self.draft.wire.clone() else { return Ok(()) };
        let dir = self.dir();
        let config =
            WireConfig { links: vec![WireLink { link: WIRED, interfaces }], seed: 1, log: dir.join("wire.log") };
        let program = super::program(&super::LabOptions::default(), "lab-wire")?;
        let wire = Wire::start(&program, self.namespace(draft::WIRE), &config, &dir.join("wire.json"))?;
        // Nobody asks for it, and it grows.
        wire.ask(&super::wire::Command::Log { on: false })?;
        self.wire = Some(wire);
        Ok(())
    }
}

/// Namespaces and all that is in them before programs start.
fn build(prefix: &str, draft: &Draft) -> anyhow::Result<BTreeMap<String, Namespace>> {
    let full = |name: &str| format!("{prefix}-{name}");
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    for (name, node) in &draft.nodes {
        let directory = Path::new(FILES).join(full(name));
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let addresses = node.resolvers.iter().flatten();
        let servers: String = addresses.map(|address| format!("nameserver {address}\n")).collect();
        fs::write(directory.join("resolv.conf"), servers).context("write resolv.conf")?;
        let hosts = format!("127.0.0.1 localhost {}\n::1 localhost\n", machine.trim());
        fs::write(directory.join("hosts"), hosts).context("write hosts")?;
    }
    let ip = |batch: &str| feed(Command::new("ip").args(["-batch", "-"]), batch);
    ip(&draft.nodes.keys().fold(String::new(), |batch, name| batch + &format!("netns add {}\n", full(name))))
        .context("create the namespaces")?;
    let namespaces = draft
        .nodes
        .keys()
        .map(|name| Ok((name.clone(), Namespace::open(&full(name))?)))
        .collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    // Before the interfaces, so that these begin with the right defaults.
    in_each(draft, &namespaces, |node, namespace| {
        namespace.run(|| {
            for (key, value) in &node.settings {
                let path = Path::new("/proc/sys/net").join(key);
                fs::write(&path, value).with_context(|| format!("set {key}"))?;
            }
            // Kernels before 6.11 have it for the whole machine alone, and there it stays as it is.
            let _ = fs::write("/proc/sys/net/ipv4/icmp_msgs_per_sec", "1000000");
            Ok(())
        })
    })?;
    let mut batch = String::new();
    // As in the lab of routers: numbers that no other end has, or the kernel takes a second to bring the pair up.
    for (index, [one, other]) in (1001..).zip(&draft.pairs) {
        writeln!(
            batch,
            "link add name {} index {index} netns {} type veth peer name {} netns {}",
            one.1,
            full(&one.0),
            other.1,
            full(&other.0)
        )?;
    }
    ip(&batch).context("create the links")?;
    let part = |node: &Node, is_route: bool| {
        let lines = node.ip.lines().filter(|line| line.starts_with("route") == is_route);
        lines.fold(String::new(), |batch, line| batch + line + "\n")
    };
    in_each(draft, &namespaces, |node, namespace| {
        namespace.run(|| node.interfaces.iter().try_for_each(|name| sys::offloads_off(name)))?;
        if !node.nft.is_empty() {
            namespace.nft(&node.nft)?;
        }
        namespace.feed("ip", &["-batch", "-"], &part(node, false))
    })?;
    in_each(draft, &namespaces, |node, namespace| {
        namespace.run(|| super::setup::wait_until_up(&node.interfaces))?;
        namespace.feed("ip", &["-batch", "-"], &part(node, true))
    })?;
    Ok(namespaces)
}

/// Does the same for all namespaces, some at a time.
fn in_each(
    draft: &Draft,
    namespaces: &BTreeMap<String, Namespace>,
    work: impl Fn(&Node, &Namespace) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let waiting = Mutex::new(draft.nodes.iter());
    let worker = || -> anyhow::Result<()> {
        loop {
            let next = waiting.lock().map_err(|_| anyhow!("a thread panicked"))?.next();
            let Some((name, node)) = next else { return Ok(()) };
            let namespace = namespaces.get(name).with_context(|| format!("no namespace for {name}"))?;
            work(node, namespace).with_context(|| format!("set up {name}"))?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
    })
}

/// What a program inside says on its standard output, whether it fails or not.
///
/// # Errors
/// When it cannot be run.
pub fn said(namespace: &Namespace, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = namespace.command(program);
    let output: process::Output = command.args(arguments).stdin(Stdio::null()).output().context("run a program")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// Waits until it is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        thread::sleep(LOOK);
    }
    Ok(())
}
