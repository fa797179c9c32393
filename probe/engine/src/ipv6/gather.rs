//! Events of a run as they come, put together to evidence. Nothing is judged here, and nothing that comes can make it grow
//! beyond what a result holds.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use sonde_protocol::address::Nat64Prefix;
use sonde_protocol::bounded::List;
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::Why;
use sonde_protocol::result::ipv6::{
    AddressSeen, Asked, Asks, Attempt, BoundConnect, Connect, DnsCheck, DnsSaw, Echo, Evidence, HappyEyeballs,
    HeadersSeen, IcmpSeen, MAX_DNS_CHECKS, MAX_TARGETS, Nat64Proof, Nat64Seen, Nat64Told, NearHop, Neighbour, Pair,
    PrefixSource, RouteSeen, RouterAdvert, Selection, SizesSeen, SourceChoice, Stability, Target, Trouble, TroubleKind,
};

use super::plan::Question;
use super::{answer, happy};

/// What the machine's tables say, read at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Its addresses.
    pub addresses: Vec<AddressSeen>,
    /// Its default routes, the preferred ones first; `None`: they could not be read.
    pub routes: Option<Vec<RouteSeen>>,
    /// Its router's advertisement.
    pub advert: Option<RouterAdvert>,
    /// Its resolvers; `None`: not known.
    pub resolvers: Option<Vec<IpAddr>>,
    /// IPv6 is switched off.
    pub v6_off: Option<bool>,
    /// What has changed lately.
    pub stability: Option<Stability>,
}

/// A step of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// TCP.
    Tcp,
    /// TLS with the right key.
    Tls,
    /// A QUIC handshake with the right key.
    Quic,
}

/// Something that happened. Times are nanoseconds from the beginning of that connection or question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// What became of the router as a neighbour.
    Neighbour(Ip, Neighbour),
    /// A name server answered.
    Answer(&'a Question, u64, &'a [u8]),
    /// It did not; `None`: it was silent.
    NoAnswer(&'a Question, Option<Trouble>),
    /// A connection to a target begins: over which family, where to, so long after the other of the pair.
    Began(u8, Ip, u64),
    /// A step of it ended.
    Ended(u8, Family, Step, Attempt),
    /// A step failed after so long: what [`Event::Ended`] does not tell.
    FailedAfter(u8, Family, u64),
    /// The own address of the connection, and how often its SYN was repeated.
    Local(u8, Family, Option<Ip>, Option<u32>),
    /// What the target saw: the address and the maximum segment size.
    Told(u8, Family, Ip, Option<u16>),
    /// Echoes have ended.
    Echo(Echo),
    /// A connection from an own address.
    Bound(BoundConnect),
    /// The source the system would take.
    Source(SourceChoice),
    /// The order of the system's resolver for a name with both families.
    Order(&'a [Family]),
    /// A translator was tried.
    Nat64(Nat64Proof),
    /// The well-known prefix was tried though nobody told of it.
    Unadvertised(bool),
    /// What the router has advertised by now, which may be more than at the run's beginning.
    Advert(RouterAdvert),
    /// Sizes to a target, all of them.
    Sizes(SizesSeen),
    /// Pieces and headers.
    Headers(HeadersSeen),
    /// ICMP messages of a family.
    Icmp(IcmpSeen),
    /// The first routers over IPv4.
    NearHops(&'a [NearHop]),
    /// Something of the run could not be carried out.
    Error(Why),
}

/// Evidence in the making.
#[derive(Debug, Clone, Default)]
pub struct Gather {
    targets: Vec<Target>,
    inventory: Inventory,
    dns: Vec<DnsCheck>,
    pairs: Vec<(u8, u64, Vec<Connect>)>,
    failed_after: Vec<(u8, Family, u64)>,
    nat64: Nat64Seen,
    selection: Selection,
    rest: Evidence,
}

impl Gather {
    /// Nothing but what the tables say yet.
    pub fn new(targets: Vec<Target>, inventory: Inventory) -> Self {
        Self { targets, inventory, ..Self::default() }
    }

    /// This happened. What does not fit any more is dropped.
    pub fn handle(&mut self, event: Event<'_>) {
        match event {
            Event::Neighbour(gateway, state) => {
                let routes = self.inventory.routes.iter_mut().flatten();
                routes.filter(|route| route.gateway == Some(gateway)).for_each(|route| route.neighbour = Some(state));
            }
            Event::Answer(question, rt, message) => {
                let known: Vec<IpAddr> =
                    self.targets.iter().flat_map(|target| [target.v6, target.v4]).flatten().map(|ip| ip.0).collect();
                let saw = match answer::read(message, question.qtype, rt, &known) {
                    Some(seen) => DnsSaw::Answer(seen),
                    None => DnsSaw::Failed(TroubleKind::Malformed.into()),
                };
                self.asked(question.check(saw));
            }
            Event::NoAnswer(question, None) => self.asked(question.check(DnsSaw::Timeout)),
            Event::NoAnswer(question, Some(trouble)) => self.asked(question.check(DnsSaw::Failed(trouble))),
            Event::Began(target, dst, gap) => self.began(target, dst, gap),
            Event::Ended(target, af, step, attempt) => self.on(target, af, |connect| match step {
                Step::Tcp => connect.tcp = Some(attempt),
                Step::Tls => connect.tls = Some(attempt),
                Step::Quic => connect.quic = Some(attempt),
            }),
            Event::FailedAfter(target, af, after) => {
                if self.failed_after.len() < 2 * MAX_TARGETS {
                    self.failed_after.push((target, af, after));
                }
            }
            Event::Local(target, af, src, retransmits) => self.on(target, af, |connect| {
                connect.src = src.or(connect.src);
                connect.retransmits = retransmits.or(connect.retransmits);
            }),
            Event::Told(target, af, seen, mss) => self.on(target, af, |connect| {
                connect.seen = Some(seen);
                connect.mss_seen = mss.or(connect.mss_seen);
            }),
            // A list that is full gives the item back; it was bounded by the plan, so nothing of ours is lost.
            Event::Echo(echo) => drop(self.rest.echoes.push(echo)),
            Event::Bound(bound) => drop(self.selection.bound.push(bound)),
            Event::Source(source) => drop(self.selection.sources.push(source)),
            Event::Order(order) => self.selection.order = List::cut(order.iter().copied()),
            Event::Nat64(proof) => drop(self.nat64.proofs.push(proof)),
            Event::Unadvertised(works) => self.nat64.unadvertised = Some(works),
            Event::Advert(advert) => self.inventory.advert = Some(advert),
            Event::Sizes(sizes) => drop(self.rest.sizes.push(sizes)),
            Event::Headers(new) => {
                let old = self.rest.headers.unwrap_or_default();
                self.rest.headers = Some(HeadersSeen {
                    fragment_up: new.fragment_up.or(old.fragment_up),
                    fragment_down: new.fragment_down.or(old.fragment_down),
                    destination: new.destination.or(old.destination),
                    hop_by_hop: new.hop_by_hop.or(old.hop_by_hop),
                    large_dns: new.large_dns.or(old.large_dns),
                });
            }
            Event::Icmp(new) => self.icmp(new),
            Event::NearHops(hops) => self.rest.near_hops = Some(List::cut(hops.iter().copied())),
            Event::Error(why) => drop(self.rest.errors.push(why)),
        }
    }

    fn asked(&mut self, check: DnsCheck) {
        if self.dns.len() < MAX_DNS_CHECKS {
            self.dns.push(check);
        }
    }

    /// Each check tells one of a family's messages.
    fn icmp(&mut self, new: IcmpSeen) {
        let none = IcmpSeen { af: new.af, unreachable: None, time_exceeded: None, echo: None, too_big: None };
        let (same, others): (Vec<IcmpSeen>, Vec<IcmpSeen>) = self.rest.icmp.iter().partition(|icmp| icmp.af == new.af);
        let old = same.first().copied().unwrap_or(none);
        let both = IcmpSeen {
            af: new.af,
            unreachable: new.unreachable.or(old.unreachable),
            time_exceeded: new.time_exceeded.or(old.time_exceeded),
            echo: new.echo.or(old.echo),
            too_big: new.too_big.or(old.too_big),
        };
        self.rest.icmp = List::cut(others.into_iter().chain([both]));
    }

    /// With what the echoes over ICMP say: whether any was answered.
    fn icmp_seen(&self) -> List<IcmpSeen, 2> {
        let mut all = self.rest.icmp.clone();
        for af in Family::BOTH {
            let mut tried =
                self.rest.echoes.iter().filter(|echo| (echo.af, echo.protocol) == (af, Transport::Icmp)).peekable();
            if tried.peek().is_none() {
                continue;
            }
            let echo = Some(tried.any(|echo| echo.received > 0));
            let others = all.iter().filter(|icmp| icmp.af != af).copied();
            let known = all.iter().find(|icmp| icmp.af == af).copied();
            let none = IcmpSeen { af, unreachable: None, time_exceeded: None, echo: None, too_big: None };
            all = List::cut(others.chain([IcmpSeen { echo, ..known.unwrap_or(none) }]).collect::<Vec<_>>());
        }
        all
    }

    fn began(&mut self, target: u8, dst: Ip, gap: u64) {
        if usize::from(target) >= self.targets.len().min(MAX_TARGETS) {
            return;
        }
        let connect = Connect {
            af: Family::of(dst.0),
            dst,
            src: None,
            seen: None,
            tcp: None,
            tls: None,
            quic: None,
            retransmits: None,
            mss_seen: None,
        };
        match self.pairs.iter_mut().find(|(known, ..)| *known == target) {
            Some((_, between, connects)) if connects.iter().all(|one| one.af != connect.af) => {
                *between = gap;
                connects.push(connect);
            }
            Some(_) => {}
            None => self.pairs.push((target, 0, Vec::from([connect]))),
        }
    }

    fn on(&mut self, target: u8, af: Family, change: impl FnOnce(&mut Connect)) {
        let of_target =
            self.pairs.iter_mut().filter(|(known, ..)| *known == target).flat_map(|(.., connects)| connects);
        if let Some(connect) = of_target.into_iter().find(|connect| connect.af == af) {
            change(connect);
        }
    }

    /// How many connections to references have ended: with TLS, or without.
    pub fn connections_ended(&self) -> usize {
        let of_reference =
            |target: &u8| self.targets.get(usize::from(*target)).is_some_and(|target| target.is_reference);
        let connects =
            self.pairs.iter().filter(|(target, ..)| of_reference(target)).flat_map(|(.., connects)| connects);
        let is_over =
            |connect: &&Connect| connect.tls.is_some() || connect.tcp.as_ref().is_some_and(|tcp| !tcp.is_done());
        connects.filter(is_over).count()
    }

    /// What is known so far.
    pub fn evidence(&self) -> Evidence {
        let Inventory { addresses, routes, advert, resolvers, v6_off, stability } = &self.inventory;
        let pairs = self.pairs.iter().map(|(target, gap, connects)| Pair {
            target: *target,
            gap: *gap,
            connects: List::cut(connects.iter().cloned()),
        });
        Evidence {
            targets: List::cut(self.targets.iter().cloned()),
            addresses: List::cut(addresses.iter().cloned()),
            routes: routes.as_ref().map(|routes| List::cut(routes.iter().cloned())),
            advert: advert.clone(),
            resolvers: resolvers.as_ref().map(|all| List::cut(all.iter().copied().map(Ip))),
            dns: List::cut(self.dns.iter().cloned()),
            nat64: self.nat64(),
            pairs: List::cut(pairs),
            happy_eyeballs: self.happy_eyeballs(),
            selection: (self.selection != Selection::default()).then(|| self.selection.clone()),
            v6_off: *v6_off,
            stability: *stability,
            headers: self.headers(),
            icmp: self.icmp_seen(),
            ..self.rest.clone()
        }
    }

    /// The prefixes that the network tells of, the router's before the resolvers' (RFC 8781, section 5.1; RFC 9872). `None`: nobody
    /// was asked.
    fn nat64(&self) -> Option<Nat64Seen> {
        let mut told: Vec<Nat64Told> = Vec::new();
        let advertised = self.inventory.advert.iter().flat_map(|advert| advert.pref64.iter());
        for one in advertised.filter(|one| one.lifetime > 0) {
            told.push(Nat64Told { prefix: one.prefix, length: one.length, source: PrefixSource::Router });
        }
        let is_discovery = |check: &&DnsCheck| check.asks == Asks::OwnResolver && check.asked == Asked::Ipv4Only;
        let mut discoveries = self.dns.iter().filter(is_discovery).peekable();
        if discoveries.peek().is_none() && self.inventory.advert.is_none() {
            return None;
        }
        let answers = discoveries.filter_map(DnsCheck::answer).flat_map(|seen| seen.addresses.iter());
        let answers: Vec<Ipv6Addr> =
            answers.filter_map(|ip| if let IpAddr::V6(v6) = ip.0 { Some(v6) } else { None }).collect();
        for prefix in Nat64Prefix::discover(&answers) {
            let (address, length) = (prefix.net().network(), prefix.net().prefix_len());
            if !told.iter().any(|one| one.prefix.0 == IpAddr::V6(address) && one.length == length) {
                told.push(Nat64Told { prefix: Ip(address.into()), length, source: PrefixSource::Dns });
            }
        }
        Some(Nat64Seen { prefixes: List::cut(told), ..self.nat64.clone() })
    }

    /// Pieces and headers; whether a long answer came, from the questions about one: it was asked for whole and in pieces.
    fn headers(&self) -> Option<HeadersSeen> {
        let big = |is_large: bool| {
            let of_size = move |check: &&DnsCheck| {
                check.asked == Asked::Big && check.udp_payload_size.is_some_and(|size| (size > 1500) == is_large)
            };
            self.dns.iter().filter(of_size).map(|check| check.answer().is_some())
        };
        let large_dns = match (big(true).any(|came| came), big(false).any(|came| came)) {
            (true, _) => Some(true),
            // Nothing came whole and something came otherwise; where nothing comes at all it is not the size.
            (false, true) if big(true).next().is_some() => Some(false),
            _ => None,
        };
        match (self.rest.headers, large_dns) {
            (None, None) => None,
            (seen, _) => Some(HeadersSeen { large_dns, ..seen.unwrap_or_default() }),
        }
    }

    /// From the first resolver that told an address, and the first target of which both connections are known.
    fn happy_eyeballs(&self) -> Option<HappyEyeballs> {
        let answered = |qtype| {
            let asked = self.dns.iter().filter(|check| (check.asked, check.qtype) == (Asked::Ds, qtype));
            asked.filter_map(DnsCheck::answer).find(|seen| !seen.addresses.is_empty()).map(|seen| seen.rt)
        };
        let (target, _, connects) = self.pairs.iter().find(|(.., connects)| connects.len() == 2)?;
        let of = |af| connects.iter().find(|connect| connect.af == af)?.tcp.as_ref()?.time();
        let failed = |af| {
            let found = self.failed_after.iter().find(|(known, family, _)| (known, *family) == (target, af));
            found.map(|(.., after)| *after)
        };
        Some(happy::race(HappyEyeballs {
            dns6: answered(DnsCheck::AAAA),
            dns4: answered(DnsCheck::A),
            connect6: of(Family::V6),
            connect4: of(Family::V4),
            failed6: failed(Family::V6),
            failed4: failed(Family::V4),
            ..HappyEyeballs::default()
        }))
    }
}
