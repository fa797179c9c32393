//! What a server offers, read and checked: an address that may be used, times in a sensible order, routes, resolvers.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, MessageType, borrowed};
use ipnet::Ipv4Net;
use sonde_protocol::time::Nanos;

use crate::net::believable::{is_host4, is_resolver};

/// "IPv6-Only Preferred" (RFC 8925). The crate has this name at another number.
pub const IPV6_ONLY: u8 = 108;

/// No lease is shorter, and no renewal sooner, whatever a server says: it could keep the board busy.
const LEAST_LEASE: u32 = 60;
const LEAST_RENEWAL: u32 = 5;

/// As many routes and resolvers are used.
const MAX_ROUTES: usize = 16;
const MAX_RESOLVERS: usize = 3;

/// An interface with less has no IPv6 (RFC 8200, section 5), and more than Ethernet's usual is not to be believed.
const MTUS: std::ops::RangeInclusive<u16> = 1280..=1500;

/// What a lease is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The board's address, with the length of its network's prefix.
    pub address: Ipv4Net,
    /// Where to, and by which router; none means that it is on the link.
    pub routes: Vec<(Ipv4Net, Option<Ipv4Addr>)>,
    /// Who resolves names.
    pub resolvers: Vec<IpAddr>,
    /// The greatest packet of the link, if the server says it.
    pub mtu: Option<u32>,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// For how long the network asks to do without IPv4 (option 108).
    pub ipv6_only: Option<Duration>,
    /// From here on the server is asked to make it longer (T1).
    pub renew_at: Nanos,
    /// From here on every server (T2).
    pub rebind_at: Nanos,
    /// And here it is over.
    pub ends_at: Nanos,
}

/// The options of a message that mean something here, unchecked but for their lengths.
#[derive(Debug, Default)]
pub struct Options {
    /// What the message is.
    pub kind: Option<MessageType>,
    /// Who says it.
    pub server: Option<Ipv4Addr>,
    mask: Option<Ipv4Addr>,
    routers: Vec<Ipv4Addr>,
    classless: Option<Vec<(Ipv4Net, Ipv4Addr)>>,
    resolvers: Vec<Ipv4Addr>,
    mtu: Option<u16>,
    lease: Option<u32>,
    renewal: Option<u32>,
    rebinding: Option<u32>,
    /// For how long the network asks to do without IPv4.
    pub ipv6_only: Option<Duration>,
}

impl Options {
    /// Each by itself: one that makes no sense takes nothing from the others.
    pub fn read(message: &borrowed::Message<'_>) -> Self {
        let mut all = Self::default();
        for option in message.opts() {
            if u8::from(option.code()) == IPV6_ONLY {
                let seconds = option.data().try_into().ok().map(u32::from_be_bytes);
                all.ipv6_only = seconds.map(|seconds| Duration::from_secs(seconds.into()));
                continue;
            }
            // The crate reads an option that is too long as far as it goes.
            match option.into_option() {
                Ok(DhcpOption::MessageType(kind)) => all.kind = Some(kind),
                Ok(DhcpOption::ServerIdentifier(server)) => all.server = Some(server),
                Ok(DhcpOption::SubnetMask(mask)) => all.mask = Some(mask),
                Ok(DhcpOption::Router(routers)) => all.routers = routers,
                Ok(DhcpOption::ClasslessStaticRoute(routes)) => all.classless = Some(routes),
                Ok(DhcpOption::DomainNameServer(resolvers)) => all.resolvers = resolvers,
                Ok(DhcpOption::InterfaceMtu(mtu)) => all.mtu = Some(mtu),
                Ok(DhcpOption::AddressLeaseTime(seconds)) => all.lease = Some(seconds),
                Ok(DhcpOption::Renewal(seconds)) => all.renewal = Some(seconds),
                Ok(DhcpOption::Rebinding(seconds)) => all.rebinding = Some(seconds),
                _ => {}
            }
        }
        all
    }
}

impl Lease {
    /// The lease of `address` from `now` on.
    ///
    /// # Errors
    /// In words, when it is not one to live with.
    pub fn read(address: Ipv4Addr, options: &Options, now: Nanos) -> Result<Self, &'static str> {
        let server = options.server.filter(|server| is_host4(*server)).ok_or("it does not say who it is")?;
        let mask = options.mask.ok_or("it gives no netmask")?;
        let net = Ipv4Net::with_netmask(address, mask).map_err(|_| "its netmask is none")?;
        // /31 and /32 have no addresses of their own for the network and for everybody (RFC 3021).
        let is_edge = net.prefix_len() < 31 && (address == net.network() || address == net.broadcast());
        if !is_host4(address) || is_edge || !(8..=32).contains(&net.prefix_len()) {
            return Err("it gives an address that no machine can have");
        }
        let lease = options.lease.ok_or("it does not say for how long")?;
        if lease < LEAST_LEASE {
            return Err("it gives an address for less than a minute");
        }
        let (renewal, rebinding) = match (options.renewal, options.rebinding) {
            (Some(t1), Some(t2)) if t1 < t2 && t2 < lease => (t1, t2),
            (Some(t1), None) if t1 < lease / 8 * 7 => (t1, lease / 8 * 7),
            // RFC 2131, 4.4.5.
            _ => (lease / 2, lease / 8 * 7),
        };
        // All ones: for ever (RFC 2131, 3.3).
        let after = |seconds: u32| {
            if lease == u32::MAX {
                Nanos(i64::MAX)
            } else {
                now + Duration::from_secs(seconds.max(LEAST_RENEWAL).into())
            }
        };
        let mut resolvers: Vec<IpAddr> = options.resolvers.iter().copied().map(IpAddr::V4).collect();
        resolvers.retain(|ip| is_resolver(*ip));
        resolvers.truncate(MAX_RESOLVERS);
        Ok(Self {
            address: net,
            routes: routes(options, address),
            resolvers,
            mtu: options.mtu.filter(|mtu| MTUS.contains(mtu)).map(u32::from),
            server,
            ipv6_only: options.ipv6_only,
            renew_at: after(renewal),
            rebind_at: after(rebinding),
            ends_at: after(lease),
        })
    }
}

/// Option 121 alone where there is one, else the first router (RFC 3442).
fn routes(options: &Options, own: Ipv4Addr) -> Vec<(Ipv4Net, Option<Ipv4Addr>)> {
    let is_router = |ip: Ipv4Addr| is_host4(ip) && ip != own;
    let default = Ipv4Net::default();
    let Some(classless) = &options.classless else {
        let router = options.routers.iter().find(|ip| is_router(**ip));
        return router.map(|ip| (default, Some(*ip))).into_iter().collect();
    };
    let mut found = Vec::new();
    for (net, router) in classless {
        // A router of zeros means that the net is on the link.
        let via = (!router.is_unspecified()).then_some(*router);
        let net = net.trunc();
        let leads_somewhere = net == default || is_host4(net.addr());
        if leads_somewhere && via.is_none_or(is_router) && found.len() < MAX_ROUTES {
            found.push((net, via));
        }
    }
    // A router off the subnet is reached by the route to it, which has to be there first.
    found.sort_by_key(|(_, via)| via.is_some());
    found
}
