//! What a run's connections and echoes say about each family, counted. The rules stand elsewhere.

use alloc::vec::Vec;
use core::net::IpAddr;

use sonde_protocol::net::{Family, Transport};
use sonde_protocol::result::ipv6::{
    AddressClass, AddressSeen, Attempt, Connect, Echo, Evidence, RouteSeen, Trouble, TroubleKind,
};

/// What is known of both families.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub v6: FamilyFacts,
    pub v4: FamilyFacts,
    /// References that were tried at all.
    pub tried: usize,
    /// References that answered somebody: one that is silent in both families says nothing about either.
    pub usable: usize,
}

/// What is known of one family.
#[derive(Debug, Clone, Default)]
pub(super) struct FamilyFacts {
    /// Usable references that were tried over it.
    pub tried: usize,
    /// Of these, with TLS.
    pub reached: usize,
    /// Anything came back at all.
    pub answered: bool,
    /// The own address of a connection that worked, or else of any.
    pub src: Option<IpAddr>,
    /// The own address as a reference saw it.
    pub seen: Option<IpAddr>,
    pub quic_tried: usize,
    pub quic_done: usize,
    /// Third parties that were reached over the other family.
    pub others: usize,
    /// Of these, not over this one.
    pub others_failed: usize,
    /// Whatever was tried, the machine said at once that it has no way.
    pub no_route: bool,
    /// ICMP errors in answer to connections and echoes.
    pub icmp_errors: Vec<(u8, u8)>,
    /// Per cent of the echoes that were lost, when it is certainly more than a tenth.
    pub loss: Option<u32>,
}

impl Facts {
    /// Counts. References of the names in `ignored` do not count: they are known to be ill.
    pub fn new(evidence: &Evidence, ignored: &[&str]) -> Self {
        let counts = |index: u8| {
            let target = evidence.target(index);
            target.is_some_and(|target| target.is_reference && !ignored.contains(&&*target.name))
        };
        let mut tried: Vec<u8> = evidence.pairs.iter().map(|pair| pair.target).filter(|index| counts(*index)).collect();
        tried.sort_unstable();
        tried.dedup();
        let through_nat64 = |index: u8| {
            let proofs = evidence.nat64.iter().flat_map(|nat64| nat64.proofs.iter());
            proofs.filter(|proof| proof.target == index).any(|proof| is_done(proof.tls.as_ref()))
        };
        let connects = |index: u8| {
            evidence.pairs.iter().filter(move |pair| pair.target == index).flat_map(|pair| pair.connects.iter())
        };
        let usable: Vec<u8> = tried
            .iter()
            .copied()
            .filter(|index| through_nat64(*index) || connects(*index).any(|connect| is_done(connect.tls.as_ref())))
            .collect();
        let family = |af| FamilyFacts::new(evidence, &tried, &usable, af);
        Self { v6: family(Family::V6), v4: family(Family::V4), tried: tried.len(), usable: usable.len() }
    }

    /// One family.
    pub const fn of(&self, af: Family) -> &FamilyFacts {
        match af {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The other one.
    pub const fn beside(&self, af: Family) -> &FamilyFacts {
        match af {
            Family::V4 => &self.v6,
            Family::V6 => &self.v4,
        }
    }
}

impl FamilyFacts {
    fn new(evidence: &Evidence, tried: &[u8], usable: &[u8], af: Family) -> Self {
        let mut facts = Self::default();
        let (mut attempts, mut without_route) = (0, 0);
        let mut is_src_sure = false;
        for pair in evidence.pairs.iter() {
            let mine = pair.connects.iter().find(|connect| connect.af == af);
            if !tried.contains(&pair.target) {
                facts.other(evidence, pair.target, mine, pair.connects.iter().find(|connect| connect.af != af));
                continue;
            }
            let Some(connect) = mine else { continue };
            let reached = is_done(connect.tls.as_ref());
            if usable.contains(&pair.target) {
                facts.tried += 1;
                facts.reached += usize::from(reached);
            }
            facts.quic_tried += usize::from(connect.quic.is_some());
            facts.quic_done += usize::from(is_done(connect.quic.as_ref()));
            facts.answered |= [&connect.tcp, &connect.tls, &connect.quic].into_iter().any(|one| is_done(one.as_ref()));
            if facts.src.is_none() || (reached && !is_src_sure) {
                facts.src = connect.src.map(|ip| ip.0);
                facts.seen = connect.seen.map(|ip| ip.0).or(facts.seen);
                is_src_sure = reached;
            }
            for trouble in connect.troubles() {
                facts.trouble(trouble);
                attempts += 1;
                without_route += usize::from(is_local(trouble.kind));
            }
        }
        let echoes = evidence.echoes.iter().filter(|echo| echo.af == af && tried.contains(&echo.target));
        for echo in echoes.clone() {
            facts.answered |= echo.received > 0;
            if let Some(trouble) = &echo.trouble {
                facts.trouble(trouble);
            }
        }
        facts.loss = loss(echoes.filter(|echo| usable.contains(&echo.target)));
        facts.no_route = !facts.answered && attempts > 0 && attempts == without_route;
        facts
    }

    fn other(&mut self, evidence: &Evidence, index: u8, mine: Option<&Connect>, theirs: Option<&Connect>) {
        let is_reference = evidence.target(index).is_none_or(|target| target.is_reference);
        let Some(mine) = mine.filter(|_| !is_reference) else { return };
        let reached = is_done(mine.tcp.as_ref());
        self.answered |= reached;
        if theirs.is_some_and(|connect| is_done(connect.tcp.as_ref())) {
            self.others += 1;
            self.others_failed += usize::from(!reached);
        }
    }

    fn trouble(&mut self, trouble: &Trouble) {
        if let (Some(kind), Some(code)) = (trouble.icmp_type, trouble.icmp_code) {
            self.icmp_errors.push((kind, code));
        }
    }

    /// Is every reference reached that must be? Three of four; all, when there are fewer.
    pub const fn is_full(&self) -> bool {
        let needed = if self.tried < 4 { self.tried } else { self.tried - self.tried / 4 };
        self.reached >= needed
    }

    /// Do third parties fail, of those that the other family reaches? One may be down for its own reasons.
    pub const fn others_fail(&self) -> bool {
        self.others >= 2 && self.others_failed * 2 > self.others
    }
}

fn is_done(attempt: Option<&Attempt>) -> bool {
    attempt.is_some_and(Attempt::is_done)
}

const fn is_local(kind: TroubleKind) -> bool {
    matches!(kind, TroubleKind::NoRoute | TroubleKind::NoAddress)
}

/// Per cent lost, when that is certainly more than a tenth: the score test with z = 3, in whole numbers. With twelve echoes five
/// must be lost; at 2 % loss each way that happens once in ten thousand runs.
fn loss<'a>(echoes: impl Iterator<Item = &'a Echo> + Clone) -> Option<u32> {
    let mut sums = (0_i64, 0_i64);
    for protocol in [Transport::Icmp, Transport::Udp] {
        let of_it = echoes.clone().filter(|echo| echo.protocol == protocol);
        let (sent, received) = of_it
            .fold((0, 0), |(sent, received), echo| (sent + i64::from(echo.sent), received + i64::from(echo.received)));
        // Nothing at all is a filter, not loss.
        if received > 0 {
            sums = (sums.0 + sent, sums.1 + (sent - received).max(0));
        }
    }
    let (sent, lost) = sums;
    let excess = 10 * lost - sent;
    let is_certain = excess > 0 && excess * excess > 81 * sent;
    is_certain.then(|| u32::try_from(100 * lost / sent.max(1)).unwrap_or(100))
}

/// Whether the machine has an address that could be used; `None`: its addresses were not read, for even the one of the
/// loopback is missing.
pub(super) fn has_address(evidence: &Evidence, af: Family) -> Option<bool> {
    let mine = |address: &&AddressSeen| Family::of(address.address.0) == af;
    if evidence.addresses.is_empty() {
        return None;
    }
    Some(evidence.addresses.iter().filter(mine).any(|address| address.is_usable()))
}

/// The classes of the machine's addresses of a family, without the loopback's.
pub(super) fn classes(evidence: &Evidence, af: Family) -> impl Iterator<Item = AddressClass> + '_ {
    let mine = evidence.addresses.iter().filter(move |address| Family::of(address.address.0) == af);
    mine.map(|address| address.class()).filter(|class| *class != AddressClass::Loopback)
}

/// The default routes of a family; `None`: they were not read.
pub(super) fn routes(evidence: &Evidence, af: Family) -> Option<Vec<&RouteSeen>> {
    evidence.routes.as_ref().map(|routes| routes.iter().filter(|route| route.af == af).collect())
}
