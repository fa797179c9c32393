//! What a server offers, read and checked: an address that may be used, times in a sensible order, routes, resolvers.
//!
//! Read by hand: the crate that writes our messages has assertions about what it reads, and PID 1 must not die of a datagram.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use dhcproto::v4::MessageType;
use ipnet::Ipv4Net;
use sonde_protocol::time::Nanos;

use crate::net::believable::{is_host4, is_resolver};

/// "IPv6-Only Preferred" (RFC 8925). The crate has this name at another number.
pub const IPV6_ONLY: u8 = 108;

/// Ends the options.
const END: u8 = 255;

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

/// A message of a server, unchecked but for its lengths.
#[derive(Debug)]
pub struct Said {
    /// The address that it gives.
    pub address: Ipv4Addr,
    options: BTreeMap<u8, Vec<u8>>,
}

impl Said {
    /// None if it is no answer to this transaction of this machine (RFC 2131, section 2).
    pub fn read(bytes: &[u8], transaction: u32, hardware: [u8; 6]) -> Option<Self> {
        const ANSWER: u8 = 2;
        const ETHERNET: u8 = 1;
        const COOKIE: [u8; 4] = [99, 130, 83, 99];
        let (header, mut rest) = bytes.split_at_checked(240)?;
        let is_ours = header.first_chunk() == Some(&[ANSWER, ETHERNET, 6])
            && header.get(4..8)? == transaction.to_be_bytes()
            && header.get(28..34)? == hardware
            && header.get(236..)? == COOKIE;
        if !is_ours {
            return None;
        }
        // What is longer than an option can be comes as several of the same (RFC 3396).
        let mut options: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        while let [code, following @ ..] = rest {
            match (*code, following) {
                (0, _) => rest = following,
                (END, _) | (_, []) => break,
                (code, [length, data @ ..]) => {
                    let Some((data, next)) = data.split_at_checked(usize::from(*length)) else { break };
                    options.entry(code).or_default().extend(data);
                    rest = next;
                }
            }
        }
        let address = Ipv4Addr::from(*header.get(16..)?.first_chunk()?);
        Some(Self { address, options })
    }

    /// What the message is.
    pub fn kind(&self) -> Option<MessageType> {
        self.exact(53).map(|[number]: [u8; 1]| number.into())
    }

    /// Who says it.
    pub fn server(&self) -> Option<Ipv4Addr> {
        self.exact(54).map(|octets: [u8; 4]| octets.into())
    }

    /// For how long the network asks to do without IPv4.
    pub fn ipv6_only(&self) -> Option<Duration> {
        self.number(IPV6_ONLY).map(|seconds| Duration::from_secs(seconds.into()))
    }

    fn exact<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        self.options.get(&code)?.as_slice().try_into().ok()
    }

    fn number(&self, code: u8) -> Option<u32> {
        self.exact(code).map(u32::from_be_bytes)
    }

    fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let bytes = self.options.get(&code).map(Vec::as_slice).unwrap_or_default();
        bytes.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from(*octets)).collect()
    }

    /// Option 121 (RFC 3442): length of a prefix, as many bytes of it as that needs, router. None if there is no such option.
    fn classless(&self) -> Option<Vec<(Ipv4Net, Ipv4Addr)>> {
        let mut bytes = self.options.get(&121)?.as_slice();
        let mut found = Vec::new();
        while let [length, rest @ ..] = bytes {
            let Some((prefix, rest)) = rest.split_at_checked(usize::from(length.div_ceil(8))) else { break };
            let Some((router, rest)) = rest.split_first_chunk::<4>() else { break };
            let mut octets = [0; 4];
            octets.iter_mut().zip(prefix).for_each(|(octet, given)| *octet = *given);
            let Ok(net) = Ipv4Net::new(octets.into(), *length) else { break };
            found.push((net, Ipv4Addr::from(*router)));
            bytes = rest;
        }
        Some(found)
    }
}

impl Lease {
    /// The lease that it gives, from `now` on.
    ///
    /// # Errors
    /// In words, when it is not one to live with.
    pub fn read(said: &Said, now: Nanos) -> Result<Self, &'static str> {
        let address = said.address;
        let server = said.server().filter(|server| is_host4(*server)).ok_or("it does not say who it is")?;
        let mask: [u8; 4] = said.exact(1).ok_or("it gives no netmask")?;
        let net = Ipv4Net::with_netmask(address, mask.into()).map_err(|_| "its netmask is none")?;
        // /31 and /32 have no addresses of their own for the network and for everybody (RFC 3021).
        let is_edge = net.prefix_len() < 31 && (address == net.network() || address == net.broadcast());
        if !is_host4(address) || is_edge || !(8..=32).contains(&net.prefix_len()) {
            return Err("it gives an address that no machine can have");
        }
        let lease = said.number(51).ok_or("it does not say for how long")?;
        if lease < LEAST_LEASE {
            return Err("it gives an address for less than a minute");
        }
        let (renewal, rebinding) = match (said.number(58), said.number(59)) {
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
        let mut resolvers: Vec<IpAddr> = said.addresses(6).into_iter().map(IpAddr::V4).collect();
        resolvers.retain(|ip| is_resolver(*ip));
        resolvers.truncate(MAX_RESOLVERS);
        Ok(Self {
            address: net,
            routes: routes(said, address),
            resolvers,
            mtu: said.exact(26).map(u16::from_be_bytes).filter(|mtu| MTUS.contains(mtu)).map(u32::from),
            server,
            ipv6_only: said.ipv6_only(),
            renew_at: after(renewal),
            rebind_at: after(rebinding),
            ends_at: after(lease),
        })
    }
}

/// Option 121 alone where there is one, else the first router (RFC 3442).
fn routes(said: &Said, own: Ipv4Addr) -> Vec<(Ipv4Net, Option<Ipv4Addr>)> {
    let is_router = |ip: Ipv4Addr| is_host4(ip) && ip != own;
    let default = Ipv4Net::default();
    let Some(classless) = said.classless() else {
        let router = said.addresses(3).into_iter().find(|ip| is_router(*ip));
        return router.map(|ip| (default, Some(ip))).into_iter().collect();
    };
    let mut found = Vec::new();
    for (net, router) in classless {
        // A router of zeros means that the net is on the link.
        let via = (!router.is_unspecified()).then_some(router);
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
