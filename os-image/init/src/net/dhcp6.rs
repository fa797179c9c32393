//! DHCP for IPv6 (RFC 8415): an address where the router says that the network gives addresses so (flag M), resolvers where it says
//! that only other things are to be had (flag O). Pure: bytes and times are arguments.
//!
//! Left out: prefixes, authentication, `Reconfigure`, and `Confirm`; after a change of the link the client begins anew.

pub mod terms;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use dhcproto::v6::{DhcpOption, DhcpOptions, Encodable, IAAddr, IANA, Message, MessageType, ORO, OptionCode};
use sonde_protocol::seed::Rng;
use sonde_protocol::time::Nanos;

use self::terms::{Answer, Lease, Offer};

/// What the router says about DHCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// There is none, or nothing has been said.
    #[default]
    Off,
    /// Resolvers and the like (flag O).
    Stateless,
    /// Addresses too (flag M).
    Stateful,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes to all servers of the link, port 547.
    Send(Vec<u8>),
    /// The address is the board's, from now on or longer than before.
    Bound(Lease),
    /// It is no longer.
    Lost,
    /// These resolve names, in the place of earlier ones.
    Resolvers(Vec<IpAddr>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Off,
    /// Asking for resolvers alone.
    Informing,
    /// They are known; they are asked for again.
    Informed,
    /// Looking for a server, with the best offer so far.
    Soliciting(Option<Offer>),
    Requesting(Offer),
    Bound(Lease),
}

/// First and greatest time between repetitions (RFC 8415, section 7.6).
#[derive(Debug, Clone, Copy)]
struct Pace(u64, u64);
const SOLICIT: Pace = Pace(1, 3600);
const REQUEST: Pace = Pace(1, 30);
const RENEW: Pace = Pace(10, 600);
const REBIND: Pace = Pace(10, 600);
const INFORM: Pace = Pace(1, 3600);

/// A request is repeated so often (`REQ_MAX_RC`); then the search begins anew.
const MAX_REQUESTS: u32 = 10;

/// The one association of the one interface.
const ASSOCIATION: u32 = 1;

/// One interface's client.
#[derive(Debug)]
pub struct Client {
    duid: Vec<u8>,
    random: Rng,
    mode: Mode,
    state: State,
    transaction: u32,
    began: Nanos,
    due: Nanos,
    tries: u32,
    last: Duration,
    refused: Option<&'static str>,
    actions: VecDeque<Action>,
}

impl Client {
    /// One of an interface with this hardware address, which says who it is.
    pub fn new(hardware: [u8; 6], seed: u64) -> Self {
        Self {
            // DUID-LL of Ethernet (RFC 8415, 11.4): the board keeps its name without keeping a file.
            duid: [&[0, 3, 0, 1][..], &hardware].concat(),
            random: Rng::new(seed),
            mode: Mode::Off,
            state: State::Off,
            transaction: 0,
            began: Nanos(0),
            due: Nanos(i64::MAX),
            tries: 0,
            last: Duration::ZERO,
            refused: None,
            actions: VecDeque::new(),
        }
    }

    /// What the last advertisement said. Where that is something else than before, the client begins anew; an address that it has,
    /// it keeps until it ends, because a router may say so by mistake.
    pub fn set_mode(&mut self, mode: Mode, now: Nanos) {
        if mode == self.mode {
            return;
        }
        self.mode = mode;
        if !matches!(self.state, State::Bound(_)) {
            self.begin(now);
        }
    }

    /// What is to be done at `now`; ask again until it is nothing.
    pub fn poll(&mut self, now: Nanos) -> Option<Action> {
        while self.actions.is_empty() && now >= self.due {
            self.act(now);
        }
        self.actions.pop_front()
    }

    /// When to ask again at the latest.
    pub fn due(&self) -> Nanos {
        if self.actions.is_empty() { self.due } else { Nanos(0) }
    }

    /// What was wrong with the last answer that was not believed.
    pub fn refused(&self) -> Option<&'static str> {
        self.refused
    }

    /// A datagram for port 546 that came at `now`.
    pub fn receive(&mut self, bytes: &[u8], now: Nanos) {
        let Some(answer) = Answer::read(bytes, self.transaction, &self.duid, ASSOCIATION) else { return };
        match (self.state.clone(), answer.kind) {
            (State::Soliciting(best), MessageType::Advertise) => match answer.offer(now) {
                Ok(offer) => {
                    // Others have a second to offer (RFC 8415, 18.2.1), unless this one wants to be taken at once.
                    if offer.preference == u8::MAX || self.tries > 1 {
                        self.request(offer, now);
                    } else if best.is_none_or(|best| best.preference < offer.preference) {
                        self.state = State::Soliciting(Some(offer));
                    }
                }
                Err(why) => self.refused = Some(why),
            },
            (State::Requesting(known), MessageType::Reply) if answer.server == known.lease.server => {
                match answer.offer(now) {
                    Ok(offer) => self.bind(offer.lease),
                    Err(why) => {
                        self.refused = Some(why);
                        self.begin(now);
                        // Not at once: the same server would say the same.
                        self.due = now + self.pause(SOLICIT);
                    }
                }
            }
            (State::Bound(known), MessageType::Reply) if self.tries > 0 => match answer.offer(now) {
                Ok(offer) if offer.lease.address == known.address => self.bind(offer.lease),
                // Another address in the place of this one.
                Ok(offer) => {
                    self.actions.push_back(Action::Lost);
                    self.bind(offer.lease);
                }
                // The server knows nothing of the address; it is asked for as a new one (RFC 8415, 18.2.10.1).
                Err(why) if answer.has_no_binding => {
                    self.refused = Some(why);
                    self.tries = 0;
                    self.request(Offer { lease: Lease { server: answer.server, ..known }, preference: 0 }, now);
                    self.actions.push_back(Action::Lost);
                }
                Err(why) => self.refused = Some(why),
            },
            (State::Informing, MessageType::Reply) => {
                self.actions.push_back(Action::Resolvers(answer.resolvers));
                (self.state, self.tries) = (State::Informed, 0);
                self.due = now + answer.refresh;
            }
            _ => {}
        }
    }

    fn bind(&mut self, lease: Lease) {
        (self.tries, self.refused) = (0, None);
        self.due = lease.renew_at;
        self.state = State::Bound(lease.clone());
        self.actions.push_back(Action::Resolvers(lease.resolvers.clone()));
        self.actions.push_back(Action::Bound(lease));
    }

    fn request(&mut self, offer: Offer, now: Nanos) {
        self.state = State::Requesting(offer);
        (self.tries, self.due) = (0, now);
    }

    /// Begins anew with what the router says.
    fn begin(&mut self, now: Nanos) {
        self.tries = 0;
        if self.mode == Mode::Off {
            self.actions.push_back(Action::Resolvers(Vec::new()));
        }
        (self.state, self.due) = match self.mode {
            Mode::Off => (State::Off, Nanos(i64::MAX)),
            Mode::Stateless => (State::Informing, now),
            Mode::Stateful => (State::Soliciting(None), now),
        };
    }

    /// The time has come for what the state waits for.
    fn act(&mut self, now: Nanos) {
        match self.state.clone() {
            State::Off => self.due = Nanos(i64::MAX),
            State::Informed => self.begin(now),
            State::Informing => self.send(MessageType::InformationRequest, None, INFORM, now),
            State::Soliciting(Some(best)) => self.request(best, now),
            State::Soliciting(None) => self.send(MessageType::Solicit, None, SOLICIT, now),
            State::Requesting(_) if self.tries >= MAX_REQUESTS => self.begin(now),
            State::Requesting(offer) => self.send(MessageType::Request, Some(&offer.lease), REQUEST, now),
            State::Bound(lease) if now >= lease.ends_at => {
                self.actions.push_back(Action::Lost);
                self.begin(now);
            }
            State::Bound(lease) => {
                let rebinds = now >= lease.rebind_at;
                let (kind, pace, end) = if rebinds {
                    (MessageType::Rebind, REBIND, lease.ends_at)
                } else {
                    (MessageType::Renew, RENEW, lease.rebind_at)
                };
                self.send(kind, Some(&lease), pace, now);
                self.due = self.due.min(end);
            }
        }
    }

    fn send(&mut self, kind: MessageType, lease: Option<&Lease>, pace: Pace, now: Nanos) {
        if self.tries == 0 {
            (self.began, self.last) = (now, Duration::ZERO);
            // 24 bits of it are in the message.
            self.transaction = (self.random.next_u64() >> 40) as u32;
        }
        let [_, transaction @ ..] = self.transaction.to_be_bytes();
        let mut message = Message::new_with_id(kind, transaction);
        let options = message.opts_mut();
        options.insert(DhcpOption::ClientId(self.duid.clone()));
        // In hundredths of a second, from the first of these messages (RFC 8415, 21.9).
        let elapsed = u16::try_from(now.since(self.began).as_millis() / 10).unwrap_or(u16::MAX);
        options.insert(DhcpOption::ElapsedTime(elapsed));
        let asked = [OptionCode::DomainNameServers, OptionCode::InformationRefreshTime, OptionCode::SolMaxRt];
        options.insert(DhcpOption::ORO(ORO { opts: asked.into() }));
        if kind != MessageType::InformationRequest {
            let mut addresses = DhcpOptions::new();
            if let Some(lease) = lease {
                let (addr, opts) = (lease.address, DhcpOptions::new());
                addresses.insert(DhcpOption::IAAddr(IAAddr { addr, preferred_life: 0, valid_life: 0, opts }));
            }
            options.insert(DhcpOption::IANA(IANA { id: ASSOCIATION, t1: 0, t2: 0, opts: addresses }));
        }
        if let Some(lease) = lease.filter(|_| kind != MessageType::Rebind) {
            options.insert(DhcpOption::ServerId(lease.server.clone()));
        }
        self.tries += 1;
        self.due = now + self.pause(pace);
        // Writing into memory fails for texts that are too long alone, and there are none.
        self.actions.push_back(Action::Send(message.to_vec().unwrap_or_default()));
    }

    /// Twice as long as the last time, give or take a tenth (RFC 8415, section 15). The first is never too short, or who answers at
    /// the end of its second would be missed.
    fn pause(&mut self, Pace(first, greatest): Pace) -> Duration {
        let base = if self.last.is_zero() { Duration::from_secs(first) } else { self.last * 2 };
        let base = base.min(Duration::from_secs(greatest));
        self.last = base + base * u32::try_from(self.random.below(100)).unwrap_or(0) / 1000;
        self.last
    }
}

#[cfg(test)]
mod tests;
