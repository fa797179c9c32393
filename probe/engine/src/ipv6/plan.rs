//! What a run tries, and when: from the directory's references and the machine's own tables to a list of checks, each with its
//! moment, so that nothing disturbs what stands beside it and nobody is showered.
//!
//! A run has two steps, because some checks follow from others: [`first`], and [`next`], when the answers to the first are
//! there; [`at_once`] is what a light run adds to the first when connections hang. The shell carries them out in any way it likes; how long it waits and how often it repeats is said here.

use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use sonde_protocol::bounded::Text;
use sonde_protocol::directory::Reference;
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::ipv6::{
    AddressClass, AddressSeen, Asked, Asks, DnsCheck, DnsSaw, Evidence, RouteSeen, Target,
};
use sonde_protocol::seed::{Rng, mix};
use sonde_protocol::spec::{DnsSpec, Ipv6Scope, MAX_TARGET};

use super::names::prefixes;

/// The most references that a run uses: more say little more, and cost everybody.
pub const MAX_REFERENCES: usize = 8;

/// The most third parties.
pub const MAX_OTHERS: usize = 4;

/// The most resolvers.
pub const MAX_RESOLVERS: usize = 4;

/// The most own addresses from each of which a connection is tried.
pub const MAX_BOUND: usize = 8;

/// Towards so many references sizes are tried: what is near the probe shows towards each.
pub const MAX_SIZES: usize = 2;

/// How long TCP, TLS and QUIC may take, each. A kernel sends three SYN in that time.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an echo is waited for, and how far the echoes of one target are apart.
pub const ECHO_TIMEOUT: Duration = Duration::from_secs(1);

/// Echoes of one target over one protocol.
pub const ECHOES: u32 = 3;

/// How long the router is waited for: three solicitations, a second apart (RFC 4861, section 10).
pub const NEIGHBOUR_TIMEOUT: Duration = Duration::from_secs(3);

/// The two connections of a pair begin at most so far apart.
pub const PAIR_GAP: Duration = Duration::from_millis(5);

/// A light run has ended after this, a full one after that.
pub const DEADLINES: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(60));

/// How far checks of one sort are apart.
const QUESTION_EVERY: Duration = Duration::from_millis(20);
const PAIR_EVERY: Duration = Duration::from_millis(150);
const ECHO_EVERY: Duration = Duration::from_millis(40);
const SIZES_EVERY: Duration = Duration::from_millis(250);

/// When a full run begins with sizes: what is small has had its time by then.
const SIZES_FROM: Duration = Duration::from_secs(6);

/// The EDNS size of ordinary questions (the DNS flag day of 2020), and that of the one whose answer comes in pieces.
const EDNS: u16 = 1232;
const EDNS_LARGE: u16 = 4096;

/// What a plan is made of.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The directory's references.
    pub references: &'a [Reference],
    /// Third parties by name, with an address of each family; where TCP port 443 answers. May be empty.
    pub others: &'a [Target],
    /// The machine's resolvers.
    pub resolvers: &'a [IpAddr],
    /// Its addresses.
    pub addresses: &'a [AddressSeen],
    /// Its default routes.
    pub routes: &'a [RouteSeen],
    /// Light or full.
    pub scope: Ipv6Scope,
    /// For the order of things, and for labels that no cache knows.
    pub seed: u64,
}

/// One check and its moment after the beginning of its step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// When.
    pub at: Duration,
    /// What.
    pub check: Check,
}

/// Something to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Send a packet to the router and see whether it is there.
    Neighbour {
        /// The router.
        gateway: Ip,
        /// The interface, by which a link-local address is one.
        interface: Text<16>,
    },
    /// Ask a name server.
    Ask(Question),
    /// Connect over both families at nearly the same time.
    Pair(PairPlan),
    /// Small echoes, [`ECHOES`] of them.
    Echo(EchoPlan),
    /// Connect to the target's TLS port from one own address.
    Bound {
        /// The own address.
        src: Ip,
        /// Where to.
        dst: IpAddr,
        /// TCP port.
        port: u16,
    },
    /// Which source would the system take?
    Source(IpAddr),
    /// Which family would the system prefer for a name with both addresses?
    Order {
        /// One address of it.
        v6: IpAddr,
        /// The other.
        v4: IpAddr,
    },
    /// TLS and an echo through a translator.
    Nat64(Nat64Plan),
    /// Sizes, both ways; see [`super::search::Search`].
    Sizes(PathPlan),
    /// Packets in pieces, both ways, 1600 bytes of payload.
    Fragments(PathPlan),
    /// 1400 bytes to the address behind the narrow link, where nothing else is sent to.
    Narrow(IpAddr, u16),
    /// A packet to a closed port: the target must say so.
    Closed(IpAddr, u16),
    /// A packet whose hop limit ends it on the way: a router must say so.
    HopLimit(IpAddr, u16, u8),
    /// Extension headers in a SYN: destination options, then hop-by-hop options. Needs a privilege.
    Headers(IpAddr, u16),
    /// The first four routers over IPv4.
    NearHops(IpAddr),
}

/// A question to a name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who is asked.
    pub asks: Asks,
    /// Where.
    pub server: IpAddr,
    /// Which of the names.
    pub asked: Asked,
    /// The whole name.
    pub name: Text<MAX_TARGET>,
    /// Type of record.
    pub qtype: u16,
    /// Whose zone, by its place among the targets.
    pub target: Option<u8>,
    /// UDP or TCP.
    pub protocol: Transport,
    /// What EDNS announces.
    pub edns: u16,
    /// DO.
    pub dnssec_ok: bool,
    /// CD.
    pub checking_disabled: bool,
}

impl Question {
    /// The same as the definition of a `dns` run: three tries of a second and a half.
    pub fn spec(&self) -> DnsSpec {
        DnsSpec {
            query_type: self.qtype,
            query_argument: self.name.clone(),
            protocol: self.protocol,
            udp_payload_size: self.edns.into(),
            retry: 2,
            timeout: 1500,
            // Whoever asks others for an answer shows it; a root server never does.
            set_rd_bit: self.asks != Asks::RootServer,
            set_do_bit: self.dnssec_ok,
            set_cd_bit: self.checking_disabled,
            ..DnsSpec::default()
        }
    }

    /// The check for a result.
    pub fn check(&self, saw: DnsSaw) -> DnsCheck {
        DnsCheck {
            asks: self.asks,
            server: self.server.into(),
            asked: self.asked,
            qtype: self.qtype,
            protocol: self.protocol,
            target: self.target,
            udp_payload_size: Some(self.edns),
            dnssec_ok: self.dnssec_ok,
            checking_disabled: self.checking_disabled,
            saw,
        }
    }
}

/// Connections to one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairPlan {
    /// The target's place.
    pub target: u8,
    /// Where to, in the order in which to begin.
    pub to: Vec<IpAddr>,
    /// TCP port.
    pub port: u16,
    /// The key that TLS and QUIC must show; absent for third parties, of which TCP is enough.
    pub key: Option<PublicKey>,
    /// UDP port of QUIC, which begins when TCP and TLS have ended, or after [`CONNECT_TIMEOUT`].
    pub quic: Option<u16>,
}

/// Small echoes to one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EchoPlan {
    /// The target's place.
    pub target: u8,
    /// Where to.
    pub dst: IpAddr,
    /// UDP port; absent: over ICMP.
    pub port: Option<u16>,
}

/// A reference's IPv4 address through a translator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat64Plan {
    /// The target's place.
    pub target: u8,
    /// Where to.
    pub dst: IpAddr,
    /// TCP port.
    pub port: u16,
    /// The key that TLS must show.
    pub key: PublicKey,
    /// UDP port of the echo.
    pub echo: Option<u16>,
}

/// A path to try packets of many sizes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPlan {
    /// The target's place.
    pub target: u8,
    /// Where to.
    pub dst: IpAddr,
    /// UDP port of the echo.
    pub port: u16,
    /// TCP port and key: for the token of the echo, and for bulk both ways.
    pub tls: Option<(u16, PublicKey)>,
}

/// The targets of a run: at most [`MAX_REFERENCES`] of the references, another choice each run when there are more, then the
/// third parties.
pub fn targets(setting: &Setting<'_>) -> Vec<Target> {
    let references = chosen(setting).into_iter().map(|reference| Target {
        name: reference.name.clone(),
        is_reference: true,
        v4: reference.address(Family::V4).map(Ip),
        v6: reference.address(Family::V6).map(Ip),
    });
    let others = setting.others.iter().take(MAX_OTHERS);
    references.chain(others.map(|other| Target { is_reference: false, ..other.clone() })).collect()
}

fn chosen<'a>(setting: &Setting<'a>) -> Vec<&'a Reference> {
    let mut all: Vec<&Reference> = setting.references.iter().collect();
    if all.len() > MAX_REFERENCES {
        all.sort_by_key(|reference| {
            reference.key.0.iter().fold(setting.seed, |hash, byte| mix(hash ^ u64::from(*byte)))
        });
        all.truncate(MAX_REFERENCES);
    }
    all
}

/// What a run begins with.
pub fn first(setting: &Setting<'_>) -> Vec<Planned> {
    let mut plan = Plan { rng: Rng::new(setting.seed), checks: Vec::new() };
    let references = chosen(setting);
    for route in setting.routes.iter().take(4) {
        if let Some(gateway) = route.gateway {
            plan.add(Duration::ZERO, Check::Neighbour { gateway, interface: route.interface.clone() });
        }
    }
    plan.questions(setting, &references);
    for (n, (place, reference)) in (0..).zip((0_u8..).zip(&references)) {
        let at = Duration::from_millis(200) + PAIR_EVERY * n;
        plan.pair(at, place, [reference.address(Family::V6), reference.address(Family::V4)], reference);
        plan.echoes(Duration::from_millis(300) + ECHO_EVERY * (4 * n), place, reference);
    }
    for (n, (place, other)) in (0..).zip((references.len()..).zip(setting.others.iter().take(MAX_OTHERS))) {
        let Ok(target) = u8::try_from(place) else { continue };
        let to = plan.shuffled([other.v6, other.v4].map(|ip| ip.map(|ip| ip.0)));
        let at = Duration::from_millis(275) + PAIR_EVERY * n;
        plan.add(at, Check::Pair(PairPlan { target, to, port: 443, key: None, quic: None }));
    }
    plan.sources(setting, &references);
    if setting.scope == Ipv6Scope::Full {
        plan.path(SIZES_FROM, &references, &Family::BOTH);
        plan.icmp(&references);
    }
    plan.checks
}

/// How many connections with a key these checks try: when all of them have ended, it can be told what hangs.
pub fn connections(checks: &[Planned]) -> usize {
    let of = |planned: &Planned| match &planned.check {
        Check::Pair(pair) if pair.key.is_some() => pair.to.len(),
        _ => 0,
    };
    checks.iter().map(of).sum()
}

/// What a light run does beside the rest of its first step as soon as its connections have ended: sizes, where they open and TLS
/// hangs. A full run tries them anyway.
pub fn at_once(setting: &Setting<'_>, evidence: &Evidence) -> Vec<Planned> {
    let mut plan = Plan { rng: Rng::new(mix(setting.seed)), checks: Vec::new() };
    if setting.scope == Ipv6Scope::Light {
        let hanging: Vec<Family> = Family::BOTH.into_iter().filter(|af| hangs(evidence, *af)).collect();
        plan.path(Duration::ZERO, &chosen(setting), &hanging);
    }
    plan.checks
}

/// What follows from what the first step found: translators.
pub fn next(setting: &Setting<'_>, evidence: &Evidence) -> Vec<Planned> {
    let mut plan = Plan { rng: Rng::new(mix(setting.seed)), checks: Vec::new() };
    let references = chosen(setting);
    let mut at = Duration::ZERO;
    if let Some((_, prefix)) = prefixes(evidence).next() {
        let reachable =
            (0_u8..).zip(&references).filter_map(|(target, reference)| match reference.address(Family::V4) {
                Some(IpAddr::V4(v4)) => reference.tls.map(|port| (target, v4, port, reference)),
                _ => None,
            });
        for (target, v4, port, reference) in reachable.take(3) {
            let dst = IpAddr::V6(prefix.embed(v4));
            plan.add(at, Check::Nat64(Nat64Plan { target, dst, port, key: reference.key, echo: reference.echo }));
            at += PAIR_EVERY;
        }
    }
    plan.checks
}

/// Do connections of a family open, and none of them gets through TLS?
fn hangs(evidence: &Evidence, af: Family) -> bool {
    let connects = evidence.pairs.iter().flat_map(|pair| pair.connects.iter()).filter(|connect| connect.af == af);
    let mut with_tls = connects.filter(|connect| connect.tls.is_some()).peekable();
    with_tls.peek().is_some() && with_tls.all(|connect| connect.tls.as_ref().is_some_and(|tls| !tls.is_done()))
}

/// How many packets a plan sends at most, sizes searched to the end and every question repeated.
pub fn packets(checks: &[Planned]) -> u32 {
    /// SYN and handshake, with what is repeated of them.
    const CONNECTION: u32 = 12;
    /// Two directions of five sizes, four packets and four small ones each, and bulk.
    const SIZES: u32 = 2 * (5 * 8 + 16) + CONNECTION;
    let cost = |check: &Check| match check {
        Check::Neighbour { .. } => 3,
        Check::Ask(question) => {
            if question.protocol == Transport::Udp {
                3
            } else {
                8
            }
        }
        Check::Pair(pair) => {
            let each = CONNECTION * (1 + u32::from(pair.quic.is_some()));
            each * u32::try_from(pair.to.len()).unwrap_or(2)
        }
        Check::Echo(_) => ECHOES,
        Check::Bound { .. } => 4,
        Check::Source(_) | Check::Order { .. } => 0,
        Check::Nat64(_) => CONNECTION + 3,
        Check::Sizes(_) => SIZES,
        Check::Fragments(_) => 16,
        Check::Narrow(..) | Check::Closed(..) | Check::HopLimit(..) => 4,
        Check::Headers(..) => 8,
        Check::NearHops(_) => 12,
    };
    checks.iter().map(|planned| cost(&planned.check)).sum()
}

struct Plan {
    rng: Rng,
    checks: Vec<Planned>,
}

impl Plan {
    fn add(&mut self, at: Duration, check: Check) {
        self.checks.push(Planned { at, check });
    }

    /// The addresses that are there, in a random order.
    fn shuffled(&mut self, addresses: [Option<IpAddr>; 2]) -> Vec<IpAddr> {
        let mut there: Vec<IpAddr> = addresses.into_iter().flatten().collect();
        if self.rng.one_in(2) {
            there.reverse();
        }
        there
    }

    fn pair(&mut self, at: Duration, target: u8, addresses: [Option<IpAddr>; 2], reference: &Reference) {
        let to = self.shuffled(addresses);
        if let Some(port) = reference.tls.filter(|_| !to.is_empty()) {
            self.add(at, Check::Pair(PairPlan { target, to, port, key: Some(reference.key), quic: reference.quic }));
        }
    }

    fn echoes(&mut self, at: Duration, target: u8, reference: &Reference) {
        let mut at = at;
        for dst in Family::BOTH.into_iter().filter_map(|af| reference.address(af)) {
            for port in [None, reference.echo].into_iter().take(1 + usize::from(reference.echo.is_some())) {
                self.add(at, Check::Echo(EchoPlan { target, dst, port }));
                at += ECHO_EVERY;
            }
        }
    }

    /// Every resolver is asked for every name; one zone is enough, for it is the resolvers that are looked at.
    fn questions(&mut self, setting: &Setting<'_>, references: &[&Reference]) {
        let mut all: Vec<Question> = Vec::new();
        let zoned = (0_u8..).zip(references).find_map(|(n, reference)| reference.zone.as_ref().map(|zone| (n, zone)));
        for server in setting.resolvers.iter().take(MAX_RESOLVERS) {
            all.push(Question {
                name: Text::cut("ipv4only.arpa"),
                ..question(Asks::OwnResolver, *server, Asked::Ipv4Only, DnsCheck::AAAA)
            });
            let Some((target, zone)) = zoned else { continue };
            let mut ask = |asked, below: &str, qtype, (dnssec_ok, checking_disabled)| {
                let label = self.rng.next_u64();
                all.push(Question {
                    name: Text::cut(format!("{label:016x}.{below}.{zone}")),
                    target: Some(target),
                    dnssec_ok,
                    checking_disabled,
                    ..question(Asks::OwnResolver, *server, asked, qtype)
                });
            };
            for (asked, below) in
                [(Asked::Ds, "ds"), (Asked::V4, "v4"), (Asked::V6, "v6"), (Asked::V6Ns, "ds.v6ns"), (Asked::Nx, "nx")]
            {
                for qtype in [DnsCheck::AAAA, DnsCheck::A] {
                    ask(asked, below, qtype, (false, false));
                }
            }
            for (asked, below, flags) in [
                (Asked::V4, "v4", (true, false)),
                (Asked::V4, "v4", (true, true)),
                (Asked::Bogus, "ds.bogus", (true, false)),
            ] {
                ask(asked, below, DnsCheck::AAAA, flags);
            }
        }
        // Whoever gives an address for this in a reference's name asked somebody else.
        for server in
            references.iter().take(2).flat_map(|one| Family::BOTH.into_iter().filter_map(|af| one.address(af)))
        {
            let name = Text::cut("ipv4only.arpa");
            all.push(Question { name, ..question(Asks::Nobody, server, Asked::Ipv4Only, DnsCheck::A) });
        }
        if setting.scope == Ipv6Scope::Full
            && let Some((target, zone)) = zoned
        {
            for server in setting.resolvers.iter().take(MAX_RESOLVERS) {
                for (edns, protocol) in [(EDNS_LARGE, Transport::Udp), (EDNS, Transport::Udp), (EDNS, Transport::Tcp)] {
                    let name = Text::cut(format!("{:016x}.big.{zone}", self.rng.next_u64()));
                    let target = Some(target);
                    let big = question(Asks::OwnResolver, *server, Asked::Big, TXT);
                    all.push(Question { name, target, edns, protocol, ..big });
                }
            }
        }
        for (n, question) in (0..).zip(all) {
            self.add(QUESTION_EVERY * n, Check::Ask(question));
        }
    }

    /// Which source leads where, and whether each of the own addresses leads out.
    fn sources(&mut self, setting: &Setting<'_>, references: &[&Reference]) {
        let towards = |af| references.iter().find_map(|reference| Some((reference.address(af)?, reference.tls?)));
        for af in Family::BOTH {
            if let Some((dst, _)) = towards(af) {
                self.add(Duration::ZERO, Check::Source(dst));
            }
        }
        let both = references.iter().find_map(|one| Some((one.address(Family::V6)?, one.address(Family::V4)?)));
        if let Some((v6, v4)) = both {
            self.add(Duration::ZERO, Check::Order { v6, v4 });
        }
        let Some((dst, port)) = towards(Family::V6) else { return };
        let is_fit = |address: &&AddressSeen| {
            address.is_usable()
                && address.flags & AddressSeen::DEPRECATED == 0
                && address.class() == AddressClass::Global
        };
        for (n, address) in (0..).zip(setting.addresses.iter().filter(is_fit).take(MAX_BOUND)) {
            let at = Duration::from_millis(1500) + PAIR_EVERY * n;
            self.add(at, Check::Bound { src: address.address, dst, port });
        }
    }

    fn path(&mut self, from: Duration, references: &[&Reference], families: &[Family]) {
        let mut at = from;
        let with_echo = (0_u8..).zip(references).filter_map(|(target, one)| one.echo.map(|port| (target, *one, port)));
        for (target, reference, port) in with_echo.take(MAX_SIZES) {
            for dst in families.iter().filter_map(|af| reference.address(*af)) {
                let tls = reference.tls.map(|port| (port, reference.key));
                self.add(at, Check::Sizes(PathPlan { target, dst, port, tls }));
                at += SIZES_EVERY;
            }
        }
    }

    fn icmp(&mut self, references: &[&Reference]) {
        let at = Duration::from_secs(5);
        if let Some((target, reference, port)) =
            (0_u8..).zip(references).find_map(|(target, one)| one.echo.map(|port| (target, *one, port)))
            && let Some(dst) = reference.address(Family::V6)
        {
            let tls = reference.tls.map(|port| (port, reference.key));
            self.add(at, Check::Fragments(PathPlan { target, dst, port, tls }));
        }
        if let Some((dst, port)) = references.iter().find_map(|one| Some((one.narrow_address()?, one.echo?))) {
            self.add(at, Check::Narrow(dst, port));
        }
        for af in Family::BOTH {
            if let Some((dst, port)) = references.iter().find_map(|one| Some((one.address(af)?, one.closed?))) {
                self.add(at, Check::Closed(dst, port));
                self.add(at + PAIR_EVERY, Check::HopLimit(dst, port, 3));
            }
        }
        if let Some((dst, port)) = references.iter().find_map(|one| Some((one.address(Family::V6)?, one.tls?))) {
            self.add(at, Check::Headers(dst, port));
        }
        if let Some(dst) = references.iter().find_map(|one| one.address(Family::V4)) {
            self.add(at, Check::NearHops(dst));
        }
    }
}

/// Type of a text record.
const TXT: u16 = 16;

fn question(asks: Asks, server: IpAddr, asked: Asked, qtype: u16) -> Question {
    Question {
        asks,
        server,
        asked,
        name: Text::default(),
        qtype,
        target: None,
        protocol: Transport::Udp,
        edns: EDNS,
        dnssec_ok: false,
        checking_disabled: false,
    }
}
