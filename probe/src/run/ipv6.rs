//! A run of `ipv6`: the machine's tables, the plan's checks each at its moment, the evidence, the verdict of it, and what several
//! runs say together.
//!
//! What is tried and what follows from it is decided in [`sonde_engine::ipv6`]; here it is carried out. A check tells what
//! happened as it happens ([`Tools::tell`]), so a run that reaches its deadline keeps what it knows. Dropping the run's future
//! ends every check, and nothing of it is remembered. The only targets are the references of the network's signed directory, each
//! past the policy; beside them the kind looks at the machine's own routers and resolvers.

pub(crate) mod ask;
mod asking;
mod echo;
pub(crate) mod exchange;
mod fragments;
mod headers;
mod icmp;
mod keep;
pub(crate) mod nat64;
mod near_hops;
mod neighbour;
mod pair;
mod selection;
mod sizes;
pub(crate) mod tools;

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use sonde_engine::ipv6::decide::decide;
use sonde_engine::ipv6::gather::{Event, Gather, Inventory};
use sonde_engine::ipv6::hysteresis::{self, Run};
use sonde_engine::ipv6::plan::{self, Check, DEADLINES, Planned, Setting};
use sonde_protocol::bounded::List;
use sonde_protocol::directory::Reference;
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::ipv6::{DEFINITION, Evidence, Ipv6Outcome, RouteSeen, Trigger};
use sonde_protocol::result::{Failure, Outcome, StampSource, Why};
use sonde_protocol::seed::mix;
use sonde_protocol::spec::{Ipv6Scope, Ipv6Spec, Kind};
use tokio::time::{Instant, sleep_until, timeout};

pub use self::keep::Settling;
use self::tools::Tools;
use super::{Request, Runner, Seen, random, with_causes};
use crate::policy::Policy;

/// Why a run takes place, and whether it has a say in what is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occasion {
    /// What led to it.
    pub trigger: Trigger,
    /// Only runs of the one measurement that every probe does settle a verdict: else somebody who orders ten runs in a minute
    /// would have a short fault settled.
    pub settles: bool,
}

impl Default for Occasion {
    fn default() -> Self {
        Self { trigger: Trigger::Timer, settles: false }
    }
}

impl Runner {
    pub(super) async fn ipv6(&self, request: &Request, spec: &Ipv6Spec) -> Seen {
        let mut policy = self.policy.clone();
        let now = policy.borrow_and_update().clone();
        let references = permitted(&now);
        let run = self.look(request, spec.scope, &references, now);
        // A network that appears under the run may be one where a reference is the host's own business; a new directory may
        // not list it any more.
        let forbidden = async {
            loop {
                if policy.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let still = permitted(&policy.borrow_and_update());
                if !references.iter().all(|reference| still.contains(reference)) {
                    return;
                }
            }
        };
        tokio::select! {
            seen = run => seen,
            () = forbidden => Seen::failed(Failure::NotAllowed, Kind::Ipv6, None),
        }
    }

    async fn look(
        &self,
        request: &Request,
        scope: Ipv6Scope,
        references: &[Reference],
        policy: std::sync::Arc<Policy>,
    ) -> Seen {
        let started = self.moment();
        let seed = random();
        let own_resolvers = self.resolver.behind_stub();
        let inventory = self.tables().read(Some(own_resolvers.iter().map(SocketAddr::ip).collect()));
        let (resolvers, addresses, routes) = tables(&inventory);
        let setting = Setting {
            references,
            others: &[],
            resolvers: &resolvers,
            addresses: &addresses,
            routes: &routes,
            scope,
            seed,
        };
        let deadline = started.monotonic + if scope == Ipv6Scope::Full { DEADLINES.1 } else { DEADLINES.0 };
        let gather = Gather::new(plan::targets(&setting), inventory);
        let tools = Tools::new(self, policy, own_resolvers, gather, deadline);
        let first = plan::first(&setting);
        // The kernel keeps no NAT64 prefix: it is known when the router has spoken.
        let asked = async {
            tools.room(1).await;
            self.tables().solicit(scope == Ipv6Scope::Full).await;
        };
        let hanging = Box::pin(at_once(&tools, &setting, plan::connections(&first)));
        tokio::join!(asked, carry_out(&tools, &first), hanging);
        if let Some(advert) = self.tables().advertised() {
            tools.tell(Event::Advert(advert));
        }
        let so_far = tools.gathered(Gather::evidence);
        let next = plan::next(&setting, &so_far);
        carry_out(&tools, &next).await;
        if scope == Ipv6Scope::Full
            && so_far.nat64.as_ref().is_some_and(|nat64| nat64.prefixes.is_empty())
            && let Some((v4, port, key)) = references.iter().find_map(|one| match one.address(Family::V4) {
                Some(std::net::IpAddr::V4(v4)) => Some((v4, one.tls?, one.key)),
                _ => None,
            })
        {
            nat64::unadvertised(&tools, v4, port, key).await;
        }
        let evidence = tools.gathered(Gather::evidence);
        let outcome = self.verdict(evidence, scope, request.occasion, seed);
        Seen {
            outcome: Outcome::Ipv6(Box::new(outcome)),
            dst: None,
            src: None,
            source: StampSource::User,
            rtt_error: None,
            time_to_resolve: None,
            started: Some(started),
        }
    }

    /// What the run says, and what it changes in what is settled.
    fn verdict(&self, evidence: Evidence, scope: Ipv6Scope, occasion: Occasion, seed: u64) -> Ipv6Outcome {
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let decision = decide(&evidence, &settling.memory.path, &[]);
        let run = Run { scope, trigger: occasion.trigger };
        let step = if occasion.settles {
            let step = hysteresis::step(&mut settling.memory, &decision, run, mix(seed));
            settling.note(step.confirm, scope);
            step
        } else {
            hysteresis::step(&mut settling.memory.clone(), &decision, run, mix(seed))
        };
        let settled = settling.memory.clone();
        let [mut v6, mut v4] = step.verdicts;
        if !occasion.settles {
            (v6.settled, v4.settled) = (settled.v6.settled, settled.v4.settled);
        }
        Ipv6Outcome {
            definition: DEFINITION,
            scope,
            trigger: occasion.trigger,
            verdicts: List::cut([v6, v4]),
            evidence,
            names: decision.names,
            path: decision.path,
        }
    }
}

/// Carries out checks, each at its moment after now, until all have ended or the run's time is over.
async fn carry_out(tools: &Tools<'_>, checks: &[Planned]) {
    let begun = Instant::now();
    let mut under_way: FuturesUnordered<_> = checks
        .iter()
        .map(|planned| async move {
            sleep_until(begun + planned.at).await;
            one(tools, &planned.check).await;
        })
        .collect();
    let all = async { while under_way.next().await.is_some() {} };
    let left: Duration = tools.deadline().since(tools.runner.clock.monotonic());
    // What was told until then counts.
    let _ = timeout(left, all).await;
}

/// Connections hang in a light run, and sizes tell why: they get what is left of its time.
async fn at_once(tools: &Tools<'_>, setting: &Setting<'_>, connections: usize) {
    tools.until(|gather| gather.connections_ended() >= connections).await;
    carry_out(tools, &plan::at_once(setting, &tools.gathered(Gather::evidence))).await;
}

async fn one(tools: &Tools<'_>, check: &Check) {
    match check {
        Check::Ask(question) => ask::check(tools, question).await,
        Check::Pair(pair) => pair::check(tools, pair).await,
        Check::Nat64(nat64) => nat64::check(tools, nat64).await,
        Check::Neighbour { gateway, interface } => neighbour::check(tools, *gateway, interface).await,
        Check::Echo(plan) => echo::check(tools, plan).await,
        Check::Bound { src, dst, port } => selection::bound(tools, *src, SocketAddr::new(*dst, *port)).await,
        Check::Source(dst) => selection::source(tools, *dst),
        Check::Order { v6, v4 } => selection::families(tools, *v6, *v4),
        Check::Sizes(plan) => Box::pin(sizes::check(tools, plan)).await,
        Check::Fragments(plan) => fragments::check(tools, plan).await,
        Check::Narrow(dst, port) => icmp::narrow(tools, SocketAddr::new(*dst, *port)).await,
        Check::Closed(dst, port) => icmp::closed(tools, SocketAddr::new(*dst, *port)).await,
        Check::HopLimit(dst, port, limit) => icmp::hop_limit(tools, SocketAddr::new(*dst, *port), *limit).await,
        Check::Headers(dst, port) => headers::check(tools, SocketAddr::new(*dst, *port)).await,
        Check::NearHops(dst) => near_hops::check(tools, *dst).await,
    }
}

/// The references of the directory, each with the addresses and ports that the policy lets the probe reach.
fn permitted(policy: &Policy) -> Vec<Reference> {
    let keep = |address: Option<Ip>| address.filter(|ip| policy.check_address(ip.0).is_ok());
    let references = policy.references.iter().map(|reference| Reference {
        v4: keep(reference.v4),
        v6: keep(reference.v6),
        narrow: keep(reference.narrow),
        tls: reference.tls.filter(|port| sonde_protocol::address::tcp_port_allowed(*port)),
        ..reference.clone()
    });
    references.filter(|reference| reference.v4.is_some() || reference.v6.is_some()).collect()
}

type Tables = (Vec<std::net::IpAddr>, Vec<sonde_protocol::result::ipv6::AddressSeen>, Vec<RouteSeen>);

/// What of it a plan is made from.
fn tables(inventory: &Inventory) -> Tables {
    let resolvers = inventory.resolvers.iter().flatten().copied().collect();
    (resolvers, inventory.addresses.clone(), inventory.routes.clone().unwrap_or_default())
}

/// An error with its causes, for a result.
fn why(error: &dyn std::error::Error) -> Why {
    Why::cut(with_causes(error))
}
