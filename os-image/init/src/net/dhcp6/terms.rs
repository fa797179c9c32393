//! What a server answers, read and checked.
//!
//! Read by hand: the crate that writes our messages calculates with lengths that it reads, and PID 1 must not die of a datagram.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use dhcproto::v6::MessageType;
use sonde_protocol::time::Nanos;

use crate::net::believable::{is_host6, is_resolver};

/// No address is good for less, and no renewal sooner, whatever a server says: it could keep the board busy.
const LEAST_LIFE: u32 = 60;
const LEAST_RENEWAL: u64 = 5;

/// A server's name is no longer (RFC 8415, 11.1).
const MAX_DUID: usize = 130;

const MAX_RESOLVERS: usize = 3;

/// Bounds of the time after which resolvers are asked for again, and what holds where nothing is said (RFC 8415, 21.23).
const REFRESH: std::ops::RangeInclusive<u32> = 600..=86_400;

/// An address for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The board's address. What is on the link with it, the router says.
    pub address: Ipv6Addr,
    /// Seconds for which new connections may use it; all ones: for ever.
    pub preferred: u32,
    /// Seconds for which it is the board's; all ones: for ever.
    pub valid: u32,
    /// Who resolves names.
    pub resolvers: Vec<IpAddr>,
    /// The name of who gave it.
    pub server: Vec<u8>,
    /// From here on the server is asked to make it longer (T1).
    pub renew_at: Nanos,
    /// From here on every server (T2).
    pub rebind_at: Nanos,
    /// And here it is over.
    pub ends_at: Nanos,
}

/// What a server would give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The lease.
    pub lease: Lease,
    /// How much it wants to be taken.
    pub preference: u8,
}

/// A message of a server to this client.
#[derive(Debug)]
pub struct Answer {
    /// Advertise or reply.
    pub kind: MessageType,
    /// The server's name.
    pub server: Vec<u8>,
    /// Who resolves names, of those that can be true.
    pub resolvers: Vec<IpAddr>,
    /// When to ask for them again.
    pub refresh: Duration,
    /// The server does not know the address that was to be renewed.
    pub has_no_binding: bool,
    preference: u8,
    /// What the server refuses as a whole.
    status: Option<u16>,
    association: Option<Association>,
}

/// Addresses of one association (RFC 8415, 21.4).
#[derive(Debug)]
struct Association {
    renewal: u32,
    rebinding: u32,
    status: Option<u16>,
    addresses: Vec<Given>,
}

/// An address with its preferred and valid time (RFC 8415, 21.6).
#[derive(Debug, Clone, Copy)]
struct Given {
    address: Ipv6Addr,
    preferred: u32,
    valid: u32,
    status: Option<u16>,
}

/// Codes of options.
const CLIENT: u16 = 1;
const SERVER: u16 = 2;
const ASSOCIATION: u16 = 3;
const ADDRESS: u16 = 5;
const PREFERENCE: u16 = 7;
const STATUS: u16 = 13;
const RESOLVERS: u16 = 23;
const REFRESH_TIME: u16 = 32;

/// Statuses (RFC 8415, 21.13).
const SUCCESS: u16 = 0;
const NO_BINDING: u16 = 3;

/// The options of a message, or within another one. What does not fit ends them.
#[derive(Clone, Copy)]
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (code, rest) = self.0.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (data, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        self.0 = rest;
        Some((u16::from_be_bytes(*code), data))
    }
}

impl<'a> Options<'a> {
    fn get(mut self, code: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == code).map(|(_, data)| data)
    }

    fn status(self) -> Option<u16> {
        self.get(STATUS)?.first_chunk().map(|number| u16::from_be_bytes(*number))
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_be_bytes(*number))
}

impl Association {
    fn read(data: &[u8]) -> Option<Self> {
        let options = Options(data.get(12..)?);
        let given = |data: &[u8]| {
            Some(Given {
                address: Ipv6Addr::from(*data.first_chunk::<16>()?),
                preferred: number(data, 16)?,
                valid: number(data, 20)?,
                status: Options(data.get(24..)?).status(),
            })
        };
        let addresses = options.filter(|(code, _)| *code == ADDRESS).filter_map(|(_, data)| given(data)).collect();
        Some(Self { renewal: number(data, 4)?, rebinding: number(data, 8)?, status: options.status(), addresses })
    }
}

impl Answer {
    /// None if it is no answer to this transaction and client.
    pub fn read(bytes: &[u8], transaction: u32, duid: &[u8], association: u32) -> Option<Self> {
        let ([kind, number @ ..], rest) = bytes.split_first_chunk::<4>()?;
        let kind = MessageType::from(*kind);
        let [_, expected @ ..] = transaction.to_be_bytes();
        let options = Options(rest);
        let server = options.get(SERVER)?;
        let is_answer = matches!(kind, MessageType::Advertise | MessageType::Reply) && *number == expected;
        if !is_answer || options.get(CLIENT)? != duid || server.is_empty() || server.len() > MAX_DUID {
            return None;
        }
        let told = options.get(RESOLVERS).unwrap_or_default().as_chunks::<16>().0;
        let mut resolvers: Vec<IpAddr> = told.iter().map(|octets| Ipv6Addr::from(*octets).into()).collect();
        resolvers.retain(|ip| is_resolver(*ip));
        resolvers.truncate(MAX_RESOLVERS);
        let refresh = options.get(REFRESH_TIME).and_then(|data| self::number(data, 0));
        let refresh = refresh.map_or(*REFRESH.end(), |seconds| seconds.clamp(*REFRESH.start(), *REFRESH.end()));
        let ours = |data: &[u8]| self::number(data, 0) == Some(association);
        let ours = { options }.find(|(code, data)| *code == ASSOCIATION && ours(data));
        let association = ours.and_then(|(_, data)| Association::read(data));
        Some(Self {
            kind,
            server: server.to_vec(),
            resolvers,
            refresh: Duration::from_secs(refresh.into()),
            has_no_binding: association.as_ref().is_some_and(|one| one.status == Some(NO_BINDING)),
            preference: options.get(PREFERENCE).and_then(<[u8]>::first).copied().unwrap_or(0),
            status: options.status(),
            association,
        })
    }

    /// The address that it gives, from `now` on.
    ///
    /// # Errors
    /// In words, when it gives none to live with.
    pub fn offer(&self, now: Nanos) -> Result<Offer, &'static str> {
        let refuses = |status: Option<u16>| status.is_some_and(|status| status != SUCCESS);
        if refuses(self.status) {
            return Err("it refuses");
        }
        let association = self.association.as_ref().ok_or("it gives no address")?;
        if refuses(association.status) {
            return Err("it has no address to give");
        }
        let (t1, t2) = (association.renewal, association.rebinding);
        if t1 > t2 && t2 > 0 {
            return Err("its times are out of order");
        }
        let is_good = |one: &&Given| {
            is_host6(one.address) && one.preferred <= one.valid && one.valid >= LEAST_LIFE && !refuses(one.status)
        };
        let good = association.addresses.iter().find(is_good);
        let one = good.ok_or("it gives an address that no machine can have, or for less than a minute")?;
        // RFC 8415, 21.4: zero leaves it to the client; the recommended parts of the preferred time.
        let base = u64::from(if one.preferred > 0 { one.preferred } else { one.valid });
        let valid = u64::from(one.valid);
        let renewal = if t1 == 0 { base / 2 } else { u64::from(t1) }.clamp(LEAST_RENEWAL, valid);
        let rebinding = if t2 == 0 { base * 4 / 5 } else { u64::from(t2) }.clamp(renewal, valid);
        let is_for_ever = one.valid == u32::MAX;
        let after = |seconds| if is_for_ever { Nanos(i64::MAX) } else { now + Duration::from_secs(seconds) };
        let lease = Lease {
            address: one.address,
            preferred: one.preferred,
            valid: one.valid,
            resolvers: self.resolvers.clone(),
            server: self.server.clone(),
            renew_at: after(renewal),
            rebind_at: after(rebinding),
            ends_at: after(valid),
        };
        Ok(Offer { lease, preference: self.preference })
    }
}
