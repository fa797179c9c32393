//! What a server answers, read and checked.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use dhcproto::v6::{Decodable, DhcpOption, DhcpOptions, IANA, Message, MessageType, OptionCode, Status};
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
    status: Option<Status>,
    association: Option<IANA>,
}

impl Answer {
    /// None if it is no answer to this transaction and client.
    pub fn read(bytes: &[u8], transaction: u32, duid: &[u8], association: u32) -> Option<Self> {
        let message = Message::from_bytes(bytes).ok()?;
        let is_answer = matches!(message.msg_type(), MessageType::Advertise | MessageType::Reply);
        if !is_answer || message.xid_num() != transaction {
            return None;
        }
        let options = message.opts();
        let Some(DhcpOption::ClientId(client)) = options.get(OptionCode::ClientId) else { return None };
        let Some(DhcpOption::ServerId(server)) = options.get(OptionCode::ServerId) else { return None };
        if client != duid || server.is_empty() || server.len() > MAX_DUID {
            return None;
        }
        let mut resolvers: Vec<IpAddr> = match options.get(OptionCode::DomainNameServers) {
            Some(DhcpOption::DomainNameServers(all)) => all.iter().copied().map(IpAddr::V6).collect(),
            _ => Vec::new(),
        };
        resolvers.retain(|ip| is_resolver(*ip));
        resolvers.truncate(MAX_RESOLVERS);
        let refresh = match options.get(OptionCode::InformationRefreshTime) {
            // The crate writes this option, but does not read it.
            Some(DhcpOption::Unknown(option)) => option.data().try_into().ok().map(u32::from_be_bytes),
            _ => None,
        };
        let refresh = refresh.map_or(*REFRESH.end(), |seconds| seconds.clamp(*REFRESH.start(), *REFRESH.end()));
        let ours = options.get_all(OptionCode::IANA).unwrap_or_default().iter().find_map(|option| match option {
            DhcpOption::IANA(one) if one.id == association => Some(one.clone()),
            _ => None,
        });
        let preference = match options.get(OptionCode::Preference) {
            Some(DhcpOption::Preference(preference)) => *preference,
            _ => 0,
        };
        Some(Self {
            kind: message.msg_type(),
            server: server.clone(),
            resolvers,
            refresh: Duration::from_secs(refresh.into()),
            has_no_binding: ours.as_ref().is_some_and(|one| status(&one.opts) == Some(Status::NoBinding)),
            preference,
            status: status(options),
            association: ours,
        })
    }

    /// The address that it gives, from `now` on.
    ///
    /// # Errors
    /// In words, when it gives none to live with.
    pub fn offer(&self, now: Nanos) -> Result<Offer, &'static str> {
        if self.status.is_some_and(|status| status != Status::Success) {
            return Err("it refuses");
        }
        let association = self.association.as_ref().ok_or("it gives no address")?;
        if status(&association.opts).is_some_and(|status| status != Status::Success) {
            return Err("it has no address to give");
        }
        let (t1, t2) = (association.t1, association.t2);
        if t1 > t2 && t2 > 0 {
            return Err("its times are out of order");
        }
        let all = association.opts.get_all(OptionCode::IAAddr).unwrap_or_default();
        let good = all.iter().find_map(|option| match option {
            DhcpOption::IAAddr(one) => (is_host6(one.addr)
                && one.preferred_life <= one.valid_life
                && one.valid_life >= LEAST_LIFE
                && status(&one.opts).is_none_or(|status| status == Status::Success))
            .then_some(one),
            _ => None,
        });
        let one = good.ok_or("it gives an address that no machine can have, or for less than a minute")?;
        // RFC 8415, 21.4: zero leaves it to the client; the recommended parts of the preferred time.
        let base = u64::from(if one.preferred_life > 0 { one.preferred_life } else { one.valid_life });
        let valid = u64::from(one.valid_life);
        let renewal = if t1 == 0 { base / 2 } else { u64::from(t1) }.clamp(LEAST_RENEWAL, valid);
        let rebinding = if t2 == 0 { base * 4 / 5 } else { u64::from(t2) }.clamp(renewal, valid);
        let is_for_ever = one.valid_life == u32::MAX;
        let after = |seconds| if is_for_ever { Nanos(i64::MAX) } else { now + Duration::from_secs(seconds) };
        let lease = Lease {
            address: one.addr,
            preferred: one.preferred_life,
            valid: one.valid_life,
            resolvers: self.resolvers.clone(),
            server: self.server.clone(),
            renew_at: after(renewal),
            rebind_at: after(rebinding),
            ends_at: after(valid),
        };
        Ok(Offer { lease, preference: self.preference })
    }
}

fn status(options: &DhcpOptions) -> Option<Status> {
    match options.get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(code)) => Some(code.status),
        _ => None,
    }
}
