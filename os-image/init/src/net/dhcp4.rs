//! DHCP for IPv4 (RFC 2131): when to say what to a server, and what to believe of its answers. Pure: bytes and times are arguments.
//!
//! Whoever is on the line can answer, so a lease is checked as a whole ([`terms`]) before it is used. Where a network that has NAT64
//! asks for it by option 108, the board does without IPv4 (RFC 8925).
//!
//! Before a new address is used somebody looks whether another machine answers for it; the server hears of one that does
//! (`DHCPDECLINE`). Left out: asking for the earlier address after a start; servers remember who had it.

pub mod terms;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Encodable, Message, MessageType, OptionCode};
use sonde_protocol::seed::Rng;
use sonde_protocol::time::Nanos;

use self::terms::{IPV6_ONLY, Lease, Said};

/// A request is repeated so often; then the search begins anew.
const MAX_REQUESTS: u32 = 4;

/// How long an offer with option 108 waits for the router to advertise a NAT64 prefix. It answers the same link-up within a second.
const WAIT_FOR_NAT64: Duration = Duration::from_secs(3);

/// The least time for which option 108 switches IPv4 off (RFC 8925, section 3.4: `MIN_V6ONLY_WAIT`).
const MIN_V6ONLY_WAIT: Duration = Duration::from_secs(300);

/// Renewals are repeated after half of the time that is left, but not sooner (RFC 2131, 4.4.5).
const LEAST_REPETITION: Duration = Duration::from_secs(60);

/// After an address that another machine has, the search begins anew no sooner (RFC 2131, 3.1.5).
const AFTER_DECLINE: Duration = Duration::from_secs(10);

/// The smallest message that every server takes: BOOTP's.
const LEAST_MESSAGE: usize = 300;

/// What is asked for, in this order.
const ASKED: [OptionCode; 8] = [
    OptionCode::SubnetMask,
    OptionCode::ClasslessStaticRoute,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::InterfaceMtu,
    OptionCode::Renewal,
    OptionCode::Rebinding,
    OptionCode::Unknown(IPV6_ONLY),
];

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes to port 67, to everybody or to the one server.
    Send(Ipv4Addr, Vec<u8>),
    /// Look whether another machine has this address, and say so ([`Client::checked`]).
    Check(Ipv4Addr),
    /// The lease is the board's, from now on or longer than before.
    Bound(Lease),
    /// It is no longer.
    Lost,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Looking for a server.
    Searching,
    /// There is an offer by which IPv4 would be switched off, if there were NAT64.
    Waiting(Lease),
    /// Its offer is asked for.
    Requesting(Lease),
    /// It is given, and being looked whether somebody has its address.
    Checking(Lease),
    Bound(Lease),
    /// Nothing, until the time is over: IPv6 alone, or servers that refuse.
    Resting {
        ipv6_only: bool,
    },
}

/// One interface's client.
#[derive(Debug)]
pub struct Client {
    hardware: [u8; 6],
    random: Rng,
    state: State,
    transaction: u32,
    began: Nanos,
    due: Nanos,
    tries: u32,
    refusals: u32,
    has_nat64: bool,
    refused: Option<&'static str>,
    actions: VecDeque<Action>,
}

impl Client {
    /// One that has just got a link with this hardware address.
    pub fn new(hardware: [u8; 6], seed: u64, now: Nanos) -> Self {
        let mut random = Rng::new(seed);
        let transaction = draw(&mut random);
        Self {
            hardware,
            random,
            state: State::Searching,
            transaction,
            began: now,
            due: now,
            tries: 0,
            refusals: 0,
            has_nat64: false,
            refused: None,
            actions: VecDeque::new(),
        }
    }

    /// What is to be done at `now`; ask again until it is nothing.
    pub fn poll(&mut self, now: Nanos) -> Option<Action> {
        self.obey_option_108(now);
        while self.actions.is_empty() && now >= self.due {
            self.act(now);
        }
        self.actions.pop_front()
    }

    /// When to ask again at the latest.
    pub fn due(&self) -> Nanos {
        if self.actions.is_empty() { self.due } else { Nanos(0) }
    }

    /// Does the router advertise a NAT64 prefix? It says what option 108 means here.
    pub fn set_nat64(&mut self, has_nat64: bool, now: Nanos) {
        if self.has_nat64 && !has_nat64 && self.is_ipv6_only() {
            self.search(now);
        }
        self.has_nat64 = has_nat64;
        self.obey_option_108(now);
    }

    /// Has the network asked to do without IPv4?
    pub fn is_ipv6_only(&self) -> bool {
        matches!(self.state, State::Resting { ipv6_only: true })
    }

    /// What was wrong with the last answer that was not believed.
    pub fn refused(&self) -> Option<&'static str> {
        self.refused
    }

    /// A datagram for port 68 that came at `now`.
    pub fn receive(&mut self, bytes: &[u8], now: Nanos) {
        let Some(said) = Said::read(bytes, self.transaction, self.hardware) else { return };
        match (self.state.clone(), said.kind()) {
            (State::Searching, Some(MessageType::Offer)) => match Lease::read(&said, now) {
                Ok(offer) => {
                    self.tries = 0;
                    let waits = offer.ipv6_only.is_some();
                    self.due = if waits { now + WAIT_FOR_NAT64 } else { now };
                    self.state = if waits { State::Waiting(offer) } else { State::Requesting(offer) };
                }
                // A server that has IPv6 alone to offer may offer no address at all (RFC 8925, 3.3).
                Err(why) => match said.ipv6_only().filter(|_| self.has_nat64) {
                    Some(wait) => self.rest(wait, now),
                    None => self.refused = Some(why),
                },
            },
            (State::Requesting(known) | State::Bound(known), Some(MessageType::Ack))
                if self.expects(&known, &said, now) =>
            {
                match Lease::read(&said, now) {
                    // Another address than the one that was asked for is no answer.
                    Ok(lease) if lease.address.addr() == known.address.addr() => {
                        (self.tries, self.refusals) = (0, 0);
                        if matches!(self.state, State::Bound(_)) {
                            self.bind(lease);
                        } else {
                            self.actions.push_back(Action::Check(lease.address.addr()));
                            self.due = Nanos(i64::MAX);
                            self.state = State::Checking(lease);
                        }
                    }
                    Ok(_) => self.refused = Some("it acknowledges another address than it offered"),
                    Err(why) => self.refused = Some(why),
                }
            }
            (State::Requesting(known) | State::Bound(known), Some(MessageType::Nak))
                if self.expects(&known, &said, now) =>
            {
                self.lose();
                self.refusals += 1;
                self.refused = Some("it takes back what it offered");
                self.state = State::Resting { ipv6_only: false };
                self.due = now + self.pause(self.refusals);
            }
            _ => {}
        }
    }

    /// Somebody has looked whether another machine has the address of [`Action::Check`].
    pub fn checked(&mut self, is_taken: bool, now: Nanos) {
        let State::Checking(lease) = self.state.clone() else { return };
        if !is_taken {
            return self.bind(lease);
        }
        // Without a list of what is asked for (RFC 2131, table 5).
        let mut message = self.bare(MessageType::Decline, Ipv4Addr::UNSPECIFIED);
        message.opts_mut().insert(DhcpOption::RequestedIpAddress(lease.address.addr()));
        message.opts_mut().insert(DhcpOption::ServerIdentifier(lease.server));
        self.send(Ipv4Addr::BROADCAST, message, now);
        self.refused = Some("another machine on this line has the address that it gives");
        self.state = State::Resting { ipv6_only: false };
        self.due = now + AFTER_DECLINE;
    }

    fn bind(&mut self, lease: Lease) {
        self.refused = None;
        self.due = lease.renew_at;
        self.state = State::Bound(lease.clone());
        self.actions.push_back(Action::Bound(lease));
    }

    /// Is an answer of this server expected? A lease that is not being renewed is nobody's to change or take away; who gave it is
    /// asked first, everybody when he is silent.
    fn expects(&self, known: &Lease, said: &Said, now: Nanos) -> bool {
        let is_asked = self.tries > 0;
        let is_rebinding = matches!(self.state, State::Bound(_)) && now >= known.rebind_at;
        is_asked && (is_rebinding || said.server() == Some(known.server))
    }

    /// Does without IPv4 where an offer or lease says so and the line has NAT64.
    fn obey_option_108(&mut self, now: Nanos) {
        let (State::Waiting(lease) | State::Bound(lease)) = &self.state else { return };
        if let Some(wait) = lease.ipv6_only.filter(|_| self.has_nat64) {
            self.lose();
            self.rest(wait, now);
        }
    }

    fn rest(&mut self, wait: Duration, now: Nanos) {
        self.state = State::Resting { ipv6_only: true };
        self.due = now + wait.max(MIN_V6ONLY_WAIT);
    }

    /// The time has come for what the state waits for.
    fn act(&mut self, now: Nanos) {
        match self.state.clone() {
            State::Resting { .. } => self.search(now),
            State::Waiting(offer) => self.state = State::Requesting(offer),
            // Whoever looks says what he has found; nothing is due until then.
            State::Checking(_) => self.due = Nanos(i64::MAX),
            State::Searching => {
                let message = self.message(MessageType::Discover, Ipv4Addr::UNSPECIFIED, now);
                self.send(Ipv4Addr::BROADCAST, message, now);
            }
            State::Requesting(_) if self.tries >= MAX_REQUESTS => self.search(now),
            State::Requesting(offer) => {
                let mut message = self.message(MessageType::Request, Ipv4Addr::UNSPECIFIED, now);
                message.opts_mut().insert(DhcpOption::RequestedIpAddress(offer.address.addr()));
                message.opts_mut().insert(DhcpOption::ServerIdentifier(offer.server));
                self.send(Ipv4Addr::BROADCAST, message, now);
            }
            State::Bound(lease) if now >= lease.ends_at => {
                self.lose();
                self.search(now);
            }
            State::Bound(lease) => {
                if self.tries == 0 {
                    (self.transaction, self.began) = (draw(&mut self.random), now);
                }
                let rebinds = now >= lease.rebind_at;
                let (to, end) =
                    if rebinds { (Ipv4Addr::BROADCAST, lease.ends_at) } else { (lease.server, lease.rebind_at) };
                let message = self.message(MessageType::Request, lease.address.addr(), now);
                self.send(to, message, now);
                self.due = (now + (end.since(now) / 2).max(LEAST_REPETITION)).min(end);
            }
        }
    }

    /// Begins anew.
    fn search(&mut self, now: Nanos) {
        (self.state, self.began, self.due, self.tries) = (State::Searching, now, now, 0);
        self.transaction = draw(&mut self.random);
    }

    fn lose(&mut self) {
        if matches!(self.state, State::Bound(_)) {
            self.actions.push_back(Action::Lost);
        }
    }

    fn message(&self, kind: MessageType, own: Ipv4Addr, now: Nanos) -> Message {
        let mut message = self.bare(kind, own);
        message.set_secs(u16::try_from(now.since(self.began).as_secs()).unwrap_or(u16::MAX));
        message.opts_mut().insert(DhcpOption::ParameterRequestList(ASKED.into()));
        message
    }

    fn bare(&self, kind: MessageType, own: Ipv4Addr) -> Message {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(self.transaction, own, none, none, none, &self.hardware);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message
    }

    fn send(&mut self, to: Ipv4Addr, message: Message, now: Nanos) {
        self.tries += 1;
        self.due = now + self.pause(self.tries);
        // Writing into memory fails for texts that are too long alone, and there are none.
        let mut bytes = message.to_vec().unwrap_or_default();
        bytes.resize(bytes.len().max(LEAST_MESSAGE), 0);
        self.actions.push_back(Action::Send(to, bytes));
    }

    /// 2, 4, 8 … 64 seconds and up to one more (RFC 2131, 4.1, which begins with 4: a switch that has just seen the link swallows the
    /// first message, and nobody should wait for that).
    fn pause(&mut self, tries: u32) -> Duration {
        Duration::from_secs(1 << tries.clamp(1, 6)) + Duration::from_millis(self.random.below(1000))
    }
}

fn draw(random: &mut Rng) -> u32 {
    (random.next_u64() >> 32) as u32
}

#[cfg(test)]
mod tests;
