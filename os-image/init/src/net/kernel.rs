//! The kernel's tables of links, addresses and routes: what is in them, what is put there, and the bell that rings when they change.
//!
//! Nothing here decides. The bell says only that something has changed; the tables are read again then, which is right even when
//! messages were lost.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::Path;

use futures_util::TryStreamExt;
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, Inet6IfaceFlags, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily as Family, RecvFlags, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;

/// `RTMGRP_*` (rtnetlink(7)): links, addresses and routes of both families, what the router says of DHCP (`IPV6_IFINFO`).
const GROUPS: u32 = 1 | 0x10 | 0x40 | 0x100 | 0x400 | 0x800;

/// The kernel fills at most 32 KiB of a reader's buffer.
const BUFFER: usize = 32 << 10;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub hardware: [u8; 6],
    /// The greatest packet.
    pub mtu: u32,
    /// Is it Ethernet over a wire?
    pub is_wired: bool,
    /// Is it switched on?
    pub is_up: bool,
    /// Is somebody at the other end of the cable?
    pub has_carrier: bool,
    /// How often the cable was pulled, ever.
    pub pulls: u32,
    /// The router says that DHCPv6 gives addresses (flag M).
    pub is_managed: bool,
    /// The router says that DHCPv6 tells other things (flag O).
    pub has_other: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// It, with the length of its network's prefix.
    pub net: IpNet,
    /// Still being looked whether somebody else has it.
    pub is_tentative: bool,
    /// Somebody else has it.
    pub is_duplicate: bool,
}

/// A route by an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub net: IpNet,
    /// By which router; none means that it is on the link.
    pub router: Option<IpAddr>,
}

/// The tables.
#[derive(Debug)]
pub struct Kernel {
    handle: Handle,
}

impl Kernel {
    /// Those of the calling thread's network namespace.
    ///
    /// # Errors
    /// When the system forbids the socket.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// The way to the kernel, for those who ask something else.
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// All interfaces, in the order of their numbers.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn links(&self) -> io::Result<Vec<Link>> {
        let messages: Vec<_> = self.handle.link().get().execute().try_collect().await.map_err(error)?;
        let mut links: Vec<Link> = messages.iter().map(link).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The addresses of an interface.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn addresses(&self, index: u32) -> io::Result<Vec<Address>> {
        let all = self.handle.address().get().set_link_index_filter(index).execute();
        let messages: Vec<_> = all.try_collect().await.map_err(error)?;
        Ok(messages.iter().filter_map(address).collect())
    }

    /// The routes by an interface, of both families.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn routes(&self, index: u32) -> io::Result<Vec<Route>> {
        let questions =
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        let mut found = Vec::new();
        for question in questions {
            let messages: Vec<_> = self.handle.route().get(question).execute().try_collect().await.map_err(error)?;
            found.extend(messages.iter().filter_map(|message| route(message, index)));
        }
        Ok(found)
    }

    /// Switches an interface on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn switch_on(&self, index: u32) -> io::Result<()> {
        let up = LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build();
        self.handle.link().set(up).execute().await.map_err(error)
    }

    /// Sets the greatest packet of an interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> io::Result<()> {
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).mtu(mtu).build();
        self.handle.link().set(message).execute().await.map_err(error)
    }

    /// Gives an interface an address, or a longer life to one that it has: preferred and valid seconds, none for ever.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_address(&self, index: u32, net: IpNet, life: Option<(u32, u32)>) -> io::Result<()> {
        let mut request = self.handle.address().add(index, net.addr(), net.prefix_len()).replace();
        if let Some((ifa_preferred, ifa_valid)) = life {
            let mut life = CacheInfo::default();
            (life.ifa_preferred, life.ifa_valid) = (ifa_preferred, ifa_valid);
            request.message_mut().attributes.push(AddressAttribute::CacheInfo(life));
        }
        request.execute().await.map_err(error)
    }

    /// Takes all addresses of a family from an interface; their routes go with them.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn take_addresses(&self, index: u32, is_taken: impl Fn(IpAddr) -> bool) -> io::Result<()> {
        let all = self.handle.address().get().set_link_index_filter(index).execute();
        let messages: Vec<AddressMessage> = all.try_collect().await.map_err(error)?;
        for message in messages {
            if address(&message).is_some_and(|one| is_taken(one.net.addr())) {
                // It may have gone by itself meanwhile.
                let _ = self.handle.address().del(message).execute().await;
            }
        }
        Ok(())
    }

    /// Adds a route by an interface, in the place of one with the same destination. The router need not be on a known subnet.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_route(&self, index: u32, route: Route) -> io::Result<()> {
        let message: RouteMessage = match (route.net, route.router) {
            (IpNet::V4(net), router) => {
                let new = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index);
                let new = new.destination_prefix(net.network(), net.prefix_len());
                match router {
                    Some(IpAddr::V4(router)) => new.gateway(router).onlink().build(),
                    _ => new.scope(RouteScope::Link).build(),
                }
            }
            (IpNet::V6(net), router) => {
                let new = RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index);
                let new = new.destination_prefix(net.network(), net.prefix_len());
                match router {
                    Some(IpAddr::V6(router)) => new.gateway(router).onlink().build(),
                    _ => new.build(),
                }
            }
        };
        self.handle.route().add(message).replace().execute().await.map_err(error)
    }
}

/// What the kernel said.
pub(super) fn error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

fn link(message: &LinkMessage) -> Link {
    let header = &message.header;
    let mut link = Link {
        index: header.index,
        is_wired: header.link_layer_type == LinkLayerType::Ether && !header.flags.contains(LinkFlags::Loopback),
        is_up: header.flags.contains(LinkFlags::Up),
        has_carrier: header.flags.contains(LinkFlags::LowerUp),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::CarrierDownCount(count) => link.pulls = *count,
            LinkAttribute::Address(bytes) => match bytes.as_slice().try_into() {
                Ok(hardware) => link.hardware = hardware,
                Err(_) => link.is_wired = false,
            },
            // Bridges, tunnels and the like look like Ethernet. A machine without hardware has pairs of them.
            LinkAttribute::LinkInfo(infos) => {
                let is_other = |info: &LinkInfo| matches!(info, LinkInfo::Kind(kind) if *kind != InfoKind::Veth);
                link.is_wired &= !infos.iter().any(is_other);
            }
            LinkAttribute::AfSpecUnspec(families) => {
                let all = families.iter().filter_map(|one| match one {
                    AfSpecUnspec::Inet6(attributes) => Some(attributes),
                    _ => None,
                });
                for attribute in all.flatten() {
                    if let AfSpecInet6::Flags(flags) = attribute {
                        link.is_managed = flags.contains(Inet6IfaceFlags::RaManaged);
                        link.has_other = flags.contains(Inet6IfaceFlags::Otherconf);
                    }
                }
            }
            _ => {}
        }
    }
    // Wireless interfaces have this directory; nobody here could tell them a password.
    link.is_wired &= !Path::new("/sys/class/net").join(&link.name).join("phy80211").exists();
    link
}

fn address(message: &AddressMessage) -> Option<Address> {
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    let (mut local, mut at) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => at = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    Some(Address {
        net: IpNet::new(local.or(at)?, message.header.prefix_len).ok()?,
        is_tentative: flags.contains(AddressFlags::Tentative),
        is_duplicate: flags.contains(AddressFlags::Dadfailed),
    })
}

fn route(message: &RouteMessage, index: u32) -> Option<Route> {
    /// The main table (`RT_TABLE_MAIN`); in the others are the machine's own addresses and groups.
    const MAIN: u8 = 254;
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.table != MAIN {
        return None;
    }
    let (mut net, mut router, mut by) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => net = ip(address),
            RouteAttribute::Gateway(address) => router = ip(address),
            RouteAttribute::Oif(index) => by = Some(*index),
            // Several routers of the same worth: the first of them.
            RouteAttribute::MultiPath(hops) => {
                let hop = hops.iter().find(|hop| hop.interface_index == index)?;
                by = Some(hop.interface_index);
                router = hop.attributes.iter().find_map(|one| match one {
                    RouteAttribute::Gateway(address) => ip(address),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let everywhere: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    let net = IpNet::new(net.unwrap_or(everywhere), header.destination_prefix_length).ok()?;
    (by == Some(index)).then_some(Route { net, router })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// The route of everything else in IPv4.
pub fn default4(router: Ipv4Addr) -> Route {
    Route { net: Ipv4Net::default().into(), router: Some(router.into()) }
}

/// Rings when something has changed, and hands on what routers advertised.
#[derive(Debug)]
pub struct Bell {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

impl Bell {
    /// Begins to listen, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the system forbids the socket.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(Family::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS | sonde_protocol::adverts::GROUP))?;
        // Deprecated for types whose descriptor may change, which an `OwnedFd` does not; what replaces it is `unsafe`.
        #[allow(deprecated)]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// Waits for a change, and gives every message that has come to `hear`. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the socket cannot be read, which does not pass by itself.
    pub async fn rings(&mut self, mut hear: impl FnMut(&[u8])) -> io::Result<()> {
        let mut has_rung = false;
        loop {
            let mut ready = self.socket.readable().await?;
            match rustix::net::recv(ready.get_inner(), &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => hear(self.buffer.get(..length).unwrap_or_default()),
                // More has come than there was room for: something has changed all the same.
                Err(Errno::NOBUFS) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    if has_rung {
                        return Ok(());
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            has_rung = true;
        }
    }
}
