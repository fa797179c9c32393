//! The board on one link, from the moment that the cable is in until it is out: what DHCP says is carried out, what the kernel has is
//! read, and resolvers, packet filter and the words for the console follow.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use sonde_protocol::time::Nanos;
use tokio::time::sleep;

use super::dhcp4;
use super::dhcp6::{self, Mode};
use super::kernel::{Address, Link, Route, default4};
use super::sockets::{Dhcp4, Dhcp6};
use super::words::{self, Seen};
use super::{GATHER, LOOK_AGAIN, Network, resolvers, sysctl, taken};

/// The greatest packet of Ethernet, where nobody says less.
const ETHERNET_MTU: u32 = 1500;

/// One link.
#[derive(Debug)]
pub struct Attachment {
    link: Link,
    began: Nanos,
    v4: Option<(dhcp4::Client, Dhcp4)>,
    v6: Option<(dhcp6::Client, Dhcp6)>,
    resolvers4: Vec<IpAddr>,
    resolvers6: Vec<IpAddr>,
    /// What DHCPv6 has given.
    leased6: Option<Ipv6Addr>,
    /// What the kernel refused when it was last given something.
    trouble: Option<String>,
}

impl Attachment {
    /// Takes the link: the addresses that the settings fix, and clients for what they leave open.
    pub async fn begin(network: &Network, link: &Link) -> io::Result<Self> {
        let (settings, kernel, index) = (&network.settings, &network.kernel, link.index);
        kernel.take_addresses(index, |ip| ip.is_ipv4()).await?;
        if link.mtu < ETHERNET_MTU {
            // Of an earlier lease, on another network perhaps.
            kernel.set_mtu(index, ETHERNET_MTU).await?;
        }
        sysctl::switch_ipv6(&link.name, false)?;
        sysctl::prepare(&link.name, settings.ipv6.is_some(), settings.gateway6.is_some())?;
        sysctl::switch_ipv6(&link.name, true)?;
        if let Some(net) = settings.ipv6 {
            kernel.add_address(index, net.into(), None).await?;
            if let Some(router) = settings.gateway6 {
                let everywhere = Ipv6Net::default().into();
                kernel.add_route(index, Route { net: everywhere, router: Some(router.into()) }).await?;
            }
        }
        if let Some(net) = settings.ipv4 {
            kernel.add_address(index, net.into(), None).await?;
            if let Some(router) = settings.gateway4 {
                kernel.add_route(index, default4(router)).await?;
            }
        }
        let now = network.now();
        let v4 = if settings.ipv4.is_none() {
            Some((dhcp4::Client::new(link.hardware, getrandom::u64()?, now), Dhcp4::open(&link.name, index)?))
        } else {
            None
        };
        let v6 = if settings.ipv6.is_none() {
            Some((dhcp6::Client::new(link.hardware, getrandom::u64()?), Dhcp6::open(&link.name, index)?))
        } else {
            None
        };
        Ok(Self {
            link: link.clone(),
            began: now,
            v4,
            v6,
            resolvers4: Vec::new(),
            resolvers6: Vec::new(),
            leased6: None,
            trouble: None,
        })
    }

    /// Lives until the link is gone, or was for a moment: behind the cable there may be another network then.
    pub async fn live(&mut self, network: &mut Network) -> io::Result<()> {
        loop {
            let links = network.kernel.links().await?;
            let Some(link) = links.into_iter().find(|link| link.index == self.link.index) else { return Ok(()) };
            if !link.has_carrier || link.pulls != self.link.pulls {
                return Ok(());
            }
            self.link = link;
            self.ask_servers(network).await;
            self.follow(network).await?;
            self.wait(network).await?;
        }
    }

    /// Lets the clients of DHCP do what is due.
    async fn ask_servers(&mut self, network: &Network) {
        let now = network.now();
        let index = self.link.index;
        if let Some((client, socket)) = &mut self.v4 {
            client.set_nat64(!network.heard.prefixes(index, now).is_empty(), now);
            while let Some(action) = client.poll(now) {
                match action {
                    // What cannot be sent is sent again.
                    dhcp4::Action::Send(to, bytes) => drop(socket.send(to, &bytes)),
                    dhcp4::Action::Check(address) => {
                        // What the kernel does not find out, nobody knows.
                        let taken = taken::is_taken(network.kernel.handle(), index, address).await.unwrap_or(false);
                        client.checked(taken, network.now());
                    }
                    dhcp4::Action::Bound(lease) => {
                        self.resolvers4.clone_from(&lease.resolvers);
                        self.trouble = refused(take_lease(network, &self.link, &lease, now).await);
                    }
                    dhcp4::Action::Lost => {
                        self.resolvers4.clear();
                        self.trouble = refused(network.kernel.take_addresses(index, |ip| ip.is_ipv4()).await);
                    }
                }
            }
        }
        if let Some((client, socket)) = &mut self.v6 {
            let mode = match (self.link.is_managed, self.link.has_other) {
                (true, _) => Mode::Stateful,
                (false, true) => Mode::Stateless,
                (false, false) => Mode::Off,
            };
            client.set_mode(mode, now);
            while let Some(action) = client.poll(now) {
                match action {
                    dhcp6::Action::Send(bytes) => drop(socket.send(&bytes)),
                    dhcp6::Action::Resolvers(all) => self.resolvers6 = all,
                    dhcp6::Action::Bound(lease) => {
                        self.leased6 = Some(lease.address);
                        let net = IpNet::new_assert(lease.address.into(), 128);
                        let life = Some((lease.preferred, lease.valid));
                        self.trouble = refused(network.kernel.add_address(index, net, life).await);
                    }
                    dhcp6::Action::Lost => {
                        self.resolvers6.clear();
                        let leased = self.leased6.take().map(IpAddr::V6);
                        self.trouble = refused(network.kernel.take_addresses(index, |ip| Some(ip) == leased).await);
                    }
                }
            }
        }
    }

    /// Reads what the kernel has, and makes resolvers, filter and words of it.
    async fn follow(&mut self, network: &mut Network) -> io::Result<()> {
        let index = self.link.index;
        let addresses = network.kernel.addresses(index).await?;
        let routes = network.kernel.routes(index).await?;
        let now = network.now();
        let since = now.since(self.began);
        let advertised = network.heard.resolvers(index, now);
        let chosen = if network.settings.resolvers.is_empty() {
            let advertised = advertised.iter().map(|ip| ip.0).filter(|ip| super::believable::is_resolver(*ip));
            // RFC 8106, 5.3.1: what a server of DHCP says comes first.
            resolvers::choose(self.resolvers6.iter().copied().chain(advertised).chain(self.resolvers4.iter().copied()))
        } else {
            resolvers::choose(network.settings.resolvers.iter().copied())
        };
        let mut routers: Vec<IpAddr> = routes.iter().filter_map(|route| route.router).collect();
        routers.sort();
        routers.dedup();
        // First who may be asked, then where they are read.
        network.bar(chosen.clone(), routers, neighbours(&addresses, &routes, network.settings.site_prefix));
        network.resolve_by(&chosen, &self.link.name);
        let seen = Seen {
            addresses: &addresses,
            routes: &routes,
            since,
            trouble: self.trouble.as_deref(),
            is_ipv6_only: self.v4.as_ref().is_some_and(|(client, _)| client.is_ipv6_only()),
            refused: [
                self.v4.as_ref().and_then(|(client, _)| client.refused()),
                self.v6.as_ref().and_then(|(client, _)| client.refused()),
            ],
        };
        let (link, address, resolver) = (
            words::link(&self.link, speed(&self.link.name)),
            words::addresses(&seen),
            words::resolvers(&chosen, since),
        );
        let translators = network.heard.prefixes(index, now);
        let translators = translators.iter().filter_map(|told| match told.prefix.0 {
            IpAddr::V6(prefix) => Ipv6Net::new(prefix, told.length).ok(),
            IpAddr::V4(_) => None,
        });
        let translators: Vec<Ipv6Net> = translators.collect();
        network.say(|all| {
            (all.link, all.address, all.resolver, all.translators) = (link, address, resolver, translators);
        });
        Ok(())
    }

    /// Waits for whatever comes first: a change, a server, or a time.
    async fn wait(&mut self, network: &mut Network) -> io::Result<()> {
        let now = network.now();
        let index = self.link.index;
        let due4 = self.v4.as_ref().map(|(client, _)| client.due());
        let due6 = self.v6.as_ref().map(|(client, _)| client.due());
        let next = due4.into_iter().chain(due6).chain(network.heard.next_end(index, now)).min();
        let sleep_for = next.map_or(LOOK_AGAIN, |next| next.since(now)).min(LOOK_AGAIN);
        let (heard, bell) = (&mut network.heard, &mut network.bell);
        let answer4 = async {
            match &self.v4 {
                Some((_, socket)) => socket.receive().await,
                None => std::future::pending().await,
            }
        };
        let answer6 = async {
            match &self.v6 {
                Some((_, socket)) => socket.receive().await,
                None => std::future::pending().await,
            }
        };
        let (mut said4, mut said6, mut has_rung) = (None, None, false);
        tokio::select! {
            () = sleep(sleep_for) => {}
            rung = bell.rings(|bytes| heard.hear(bytes, now)) => { rung?; has_rung = true; }
            answer = answer4 => said4 = Some(answer?),
            answer = answer6 => said6 = Some(answer?),
        }
        if let (Some(bytes), Some((client, _))) = (said4, &mut self.v4) {
            client.receive(&bytes, network.now());
        }
        if let (Some(bytes), Some((client, _))) = (said6, &mut self.v6) {
            client.receive(&bytes, network.now());
        }
        if has_rung {
            sleep(GATHER).await;
        }
        Ok(())
    }
}

/// What the kernel says when it does not take something, in words.
fn refused(result: io::Result<()>) -> Option<String> {
    result.err().map(|error| format!("the kernel does not take what DHCP gave: {error}"))
}

/// Gives the interface what the lease says, and takes away what an earlier one said.
async fn take_lease(network: &Network, link: &Link, lease: &dhcp4::terms::Lease, now: Nanos) -> io::Result<()> {
    let kernel = &network.kernel;
    let own = IpAddr::V4(lease.address.addr());
    kernel.take_addresses(link.index, |ip| ip.is_ipv4() && ip != own).await?;
    // All ones is for ever in the kernel too. It takes the address away by itself if this program does not.
    let left = if lease.ends_at == Nanos(i64::MAX) {
        u32::MAX
    } else {
        u32::try_from(lease.ends_at.since(now).as_secs()).unwrap_or(u32::MAX)
    };
    kernel.add_address(link.index, lease.address.into(), Some((left, left))).await?;
    if let Some(mtu) = lease.mtu.filter(|mtu| *mtu < link.mtu) {
        kernel.set_mtu(link.index, mtu).await?;
    }
    for (net, router) in &lease.routes {
        let route = Route { net: (*net).into(), router: router.map(IpAddr::V4) };
        kernel.add_route(link.index, route).await?;
    }
    Ok(())
}

/// Whom the probe leaves alone beside the special blocks: what is on the link, and the site around each own global IPv6 address.
fn neighbours(addresses: &[Address], routes: &[Route], site_prefix: u8) -> Vec<IpNet> {
    let on_link =
        routes.iter().filter(|route| route.router.is_none() && route.net.prefix_len() > 0).map(|route| route.net);
    let sites = addresses.iter().filter_map(|address| match address.net.addr() {
        IpAddr::V6(own) if is_global(own) => {
            Ipv6Net::new(own, site_prefix.clamp(48, 64)).ok().map(|net| net.trunc().into())
        }
        own => Some(IpNet::from(own)),
    });
    let mut all: Vec<IpNet> = on_link.chain(sites).collect();
    all.sort();
    // A network within another one adds nothing.
    let all = IpNet::aggregate(&all);
    all.into_iter().filter(|net| !is_special(*net)).collect()
}

fn is_global(own: Ipv6Addr) -> bool {
    sonde_protocol::address::special(own.into(), &[]).is_none()
}

/// Is it within a block that is barred anyway?
fn is_special(net: IpNet) -> bool {
    sonde_protocol::address::special_blocks().any(|block| block.contains(&net))
}

/// What the driver says of the speed, in Mb/s.
fn speed(interface: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/speed")).ok()?;
    text.trim().parse().ok().filter(|speed| *speed > 0)
}
