//! The board's network: one wired interface, its addresses (SLAAC, DHCPv6, DHCPv4, or as the settings say), routes and resolvers, kept
//! true while cables come and go.
//!
//! It must not know of the console, the card or the probe: it is given settings and tells a [`Condition`].
//!
//! The kernel makes addresses and routes of what routers advertise; this listens to what it does not keep (resolvers, NAT64
//! prefixes) and does DHCP. [`run`] chooses an interface with a link, an `attachment` lives as long as the link does, and with
//! another one everything begins anew. What is decided is decided in pure parts: `dhcp4`, `dhcp6`, `resolvers`, `words`.

mod attachment;
mod believable;
mod dhcp4;
mod dhcp6;
mod kernel;
mod resolvers;
mod sockets;
mod sysctl;
mod taken;
mod words;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sonde_protocol::adverts::Heard;
use sonde_protocol::time::Nanos;
use tokio::sync::watch;
use tokio::time::timeout;

use self::attachment::Attachment;
use self::kernel::{Bell, Kernel, Link};
use crate::filter::{self, Rules};
pub use crate::step::Step;

/// Where the probe looks for resolvers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What the kernel refused is tried again after this time, also when nothing rings.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The loopback interface is the first of every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// After the bell this time passes before the tables are read, so that a storm of changes is read a few times a second.
const GATHER: Duration = Duration::from_millis(100);

/// What the host has decided about the network, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Name or hardware address (`aa:bb:cc:dd:ee:ff`) of the interface; none means the first that has a link.
    pub interface: Option<String>,
    /// The board's IPv4 address and the length of its network's prefix; none means DHCPv4.
    pub ipv4: Option<Ipv4Net>,
    /// Where IPv4 leaves the network.
    pub gateway4: Option<Ipv4Addr>,
    /// The board's IPv6 address and the length of its network's prefix; none means SLAAC and DHCPv6.
    pub ipv6: Option<Ipv6Net>,
    /// Where IPv6 leaves the network.
    pub gateway6: Option<Ipv6Addr>,
    /// Who resolves names, instead of those that the network names.
    pub resolvers: Vec<IpAddr>,
    /// The probe's exceptions to the rules about addresses (`[policy] allow`), which the packet filter also makes.
    pub allow: Vec<IpNet>,
    /// Length of the prefix around each own global IPv6 address that is the host's network (`[policy] site_prefix`).
    pub site_prefix: u8,
    /// Endpoints of collectors that the settings name by literal addresses, excepted from the packet filter.
    pub collectors: Vec<std::net::SocketAddr>,
}

/// How the network stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The cable: `eth0 up, 1000 Mb/s`.
    pub link: Step,
    /// The addresses.
    pub address: Step,
    /// Who resolves names.
    pub resolver: Step,
    /// The packet filter. Until it is in force the probe must not run.
    pub filter: Step,
    /// The NAT64 prefixes that routers advertise (RFC 8781). The kernel tells them once, and a probe that comes later has not heard.
    pub translators: Vec<Ipv6Net>,
}

impl Default for Condition {
    fn default() -> Self {
        let nothing = || Step::Waiting(String::new());
        Self { link: nothing(), address: nothing(), resolver: nothing(), filter: nothing(), translators: Vec::new() }
    }
}

/// Why the network cannot be kept at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not answer about its interfaces.
    #[error("the kernel's tables of the network cannot be read")]
    Netlink(#[source] io::Error),
}

/// The probe's user on the board.
pub const PROBE_USER: u32 = 900;

/// Brings the network up and keeps it so, telling how it stands whenever that changes.
///
/// # Errors
/// When the kernel does not take part; the caller may try again.
pub async fn run(settings: Settings, tell: watch::Sender<Condition>) -> Result<Infallible, Error> {
    run_at(settings, tell, RESOLV_CONF.into(), PROBE_USER).await
}

/// [`run`] with the file for resolvers and the probe's user, as tests need them.
///
/// # Errors
/// As for [`run`].
pub async fn run_at(
    settings: Settings,
    tell: watch::Sender<Condition>,
    resolv_conf: PathBuf,
    user: u32,
) -> Result<Infallible, Error> {
    let mut network = Network {
        // The bell first, so that no change falls between.
        bell: Bell::new().map_err(Error::Netlink)?,
        kernel: Kernel::new().map_err(Error::Netlink)?,
        settings,
        tell,
        resolv_conf,
        user,
        heard: Heard::default(),
        began: Instant::now(),
        alone_since: Nanos(0),
        rules: None,
        resolvers: None,
    };
    // Without it the kernel has no table of its own addresses until it has the first, and would not look for who else has that.
    network.kernel.switch_on(LOOPBACK).await.map_err(Error::Netlink)?;
    loop {
        network.once().await.map_err(Error::Netlink)?;
    }
}

/// What is kept from one link to the next.
struct Network {
    settings: Settings,
    tell: watch::Sender<Condition>,
    resolv_conf: PathBuf,
    user: u32,
    kernel: Kernel,
    bell: Bell,
    heard: Heard,
    began: Instant,
    /// Since when there has been no link.
    alone_since: Nanos,
    /// What the packet filter was last made of.
    rules: Option<Rules>,
    /// What was last written.
    resolvers: Option<String>,
}

impl Network {
    /// Looks for a link, and lives on it until it is gone; or waits until something changes.
    async fn once(&mut self) -> io::Result<()> {
        // Before there is a way out, what may not leave is barred.
        self.bar(Vec::new(), Vec::new(), Vec::new());
        let links = self.kernel.links().await?;
        for link in links.iter().filter(|link| link.is_wired && !link.is_up) {
            // Whether a cable is in it an interface knows when it is on, and without IPv6 it has no address and says nothing.
            let on = async {
                sysctl::switch_ipv6(&link.name, false)?;
                self.kernel.switch_on(link.index).await
            };
            if let Err(error) = on.await {
                self.say(|all| all.link = Step::Failed(format!("{} cannot be switched on: {error}", link.name)));
            }
        }
        match words::choose(&links, &self.settings, self.now().since(self.alone_since)) {
            Ok(link) => self.live_on(&link.clone()).await,
            Err(step) => {
                self.say(|all| *all = Condition { link: step, filter: all.filter.clone(), ..Condition::default() });
                self.wait(LOOK_AGAIN).await
            }
        }
    }

    /// Waits until something changes, but not for ever.
    async fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        let (heard, now) = (&mut self.heard, Nanos(0) + self.began.elapsed());
        match timeout(at_most, self.bell.rings(|bytes| heard.hear(bytes, now))).await {
            Ok(result) => result?,
            Err(_) => return Ok(()),
        }
        tokio::time::sleep(GATHER).await;
        Ok(())
    }

    async fn live_on(&mut self, link: &Link) -> io::Result<()> {
        self.heard.forget(link.index);
        let mut attachment = match Attachment::begin(self, link).await {
            Ok(attachment) => attachment,
            Err(error) => {
                let why = format!("{} cannot be set up: {error}", link.name);
                self.say(|all| {
                    *all = Condition { link: Step::Failed(why), filter: all.filter.clone(), ..Condition::default() }
                });
                return self.wait(LOOK_AGAIN).await;
            }
        };
        let result = attachment.live(self).await;
        // What was known of this line is true no more.
        let _ = sysctl::switch_ipv6(&link.name, false);
        let _ = self.kernel.take_addresses(link.index, |_| true).await;
        self.resolve_by(&[], &link.name);
        self.alone_since = self.now();
        result
    }

    fn now(&self) -> Nanos {
        Nanos(0) + self.began.elapsed()
    }

    /// Tells how it stands, if that is new.
    fn say(&self, change: impl FnOnce(&mut Condition)) {
        self.tell.send_if_modified(|condition| {
            let before = condition.clone();
            change(condition);
            *condition != before
        });
    }

    /// Makes the packet filter anew, if it is to say something else. Where the kernel refuses, the earlier rules stay.
    fn bar(&mut self, resolvers: Vec<IpAddr>, routers: Vec<IpAddr>, neighbours: Vec<IpNet>) {
        let Settings { collectors, allow, .. } = self.settings.clone();
        let rules = Rules { user: self.user, resolvers, collectors, allow, routers, neighbours };
        if self.rules.as_ref() == Some(&rules) {
            return;
        }
        let step = match filter::apply(&rules) {
            Ok(()) => {
                self.rules = Some(rules);
                Step::Ok("private networks and neighbours barred, nothing let in".into())
            }
            Err(error) => {
                Step::Failed(format!("the kernel does not take the packet filter: {error}; the image lacks a module"))
            }
        };
        self.say(|all| all.filter = step);
    }

    /// Writes who resolves names, if that is somebody else.
    fn resolve_by(&mut self, chosen: &[IpAddr], interface: &str) {
        let text = resolvers::text(chosen, interface);
        if self.resolvers.as_ref() != Some(&text) {
            // It is a file in memory; if it cannot be written now, then at the next change.
            self.resolvers = resolvers::write(&self.resolv_conf, &text).is_ok().then_some(text);
        }
    }
}
