//! The looks at reachability that the probe takes by itself, and the verdict that its runs settle.
//!
//! One order settles: the network's own periodic measurement of ipv6. What somebody else orders is answered by the same run and
//! has no say, so that nobody can settle a short fault by ordering many runs at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use sonde_protocol::ids::MeasurementId;
use sonde_protocol::net::Family;
use sonde_protocol::order::{Order, When};
use sonde_protocol::result::ipv6::Trigger;
use sonde_protocol::spec::{Ipv6Scope, Ipv6Spec, Kind, Spec};
use sonde_protocol::time::{Nanos, UnixNanos};
use tracing::{info, warn};

use super::Agent;
use crate::kept::verdict::{KeptVerdict, Verdict};
use crate::local::LocalNetwork;
use crate::looks::Looks;
use crate::policy::refused;
use crate::run::{Occasion, Settling};
use crate::verdict;

/// What belongs to it.
pub(super) struct Looking {
    kept: KeptVerdict,
    looks: Option<Looks>,
    seed: u64,
    /// The network as it was when it was last looked around.
    around: Option<Around>,
}

/// What of the machine's network makes a change: addresses that are more than local, and the routers to the internet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Around {
    own: BTreeSet<IpAddr>,
    routers: BTreeSet<(IpAddr, String)>,
    families: Vec<Family>,
}

impl Looking {
    /// With what the state directory keeps.
    pub(super) fn open(state: &Path, seed: u64) -> Self {
        Self { kept: KeptVerdict::open(state), looks: None, seed, around: None }
    }

    /// What an earlier process settled.
    pub(super) fn settling(&self) -> Settling {
        Settling::new(self.kept.get().memory.clone())
    }
}

fn around(local: &LocalNetwork, own: Vec<IpAddr>, families: Vec<Family>) -> Around {
    let routers = Family::BOTH.into_iter().flat_map(|family| local.ways_out(family));
    let routers = routers.map(|(router, interface)| (router, interface.to_owned())).collect();
    Around { own: own.into_iter().collect(), routers, families }
}

impl Agent {
    /// The order whose runs settle the verdict, if there is one.
    fn standing(&self) -> Option<MeasurementId> {
        let settles = |order: &&Order| {
            order.measurement.is_builtin()
                && order.kind == Kind::Ipv6.number()
                && matches!(order.when, When::Periodic { .. })
        };
        self.session.orders().orders().filter(settles).map(|order| order.measurement).min()
    }

    /// Why a due run of this order takes place.
    pub(super) fn occasion(&self, order: &Order) -> Occasion {
        let settles = order.kind == Kind::Ipv6.number() && self.standing() == Some(order.measurement);
        Occasion { trigger: Trigger::Timer, settles }
    }

    /// The machine's network was looked around. True changes are looked at.
    pub(super) fn note_around(&mut self) {
        let now = self.now();
        let seen = around(&self.local, self.own_addresses(), self.families());
        let before = self.looking.around.replace(seen);
        if before.is_some()
            && before != self.looking.around
            && let Some(looks) = &mut self.looking.looks
        {
            looks.network_changed(now);
        }
    }

    /// When the next look is due.
    pub(super) fn look_due(&self) -> Option<Nanos> {
        self.scheduler.as_ref().filter(|_| !self.closing && self.policy_is_whole)?;
        self.looking.looks.as_ref().map(Looks::next)
    }

    /// Begins the look that is due, if there is room for it.
    pub(super) fn look(&mut self, now: Nanos, wall: UnixNanos) -> bool {
        if self.closing || !self.policy_is_whole || self.scheduler.is_none() {
            return false;
        }
        let since_full = self.looking.kept.get().since_full(wall);
        let seed = self.looking.seed;
        let looks = self.looking.looks.get_or_insert_with(|| Looks::new(since_full, seed, now));
        let Some(look) = looks.due(now) else { return false };
        let begun = self.standing().and_then(|id| {
            let spec = Spec::Ipv6(Ipv6Spec { scope: look.scope });
            Some((self.begin_look(id, &spec, now, wall)?, spec))
        });
        let Some(looks) = &mut self.looking.looks else { return false };
        match begun {
            Some((order, spec)) => {
                looks.began(look, now);
                let occasion = Occasion { trigger: look.trigger, settles: true };
                self.start_run(&order, spec, wall, occasion, true);
                true
            }
            None => {
                looks.postpone(now);
                false
            }
        }
    }

    /// Room for a look: of the host, of the line, and beside other runs.
    fn begin_look(&mut self, id: MeasurementId, spec: &Spec, now: Nanos, wall: UnixNanos) -> Option<Order> {
        let realtime = self.runner.clock.realtime();
        let host_now = self.local_time.at(u64::try_from(realtime.as_secs()).unwrap_or(0));
        let is_refused = refused(&self.config.limits, self.kept_pause.get(), Kind::Ipv6, host_now).is_some();
        if is_refused || self.line.busy(now).is_some() {
            return None;
        }
        let (caps, scheduler) = (&mut self.caps, self.scheduler.as_mut()?);
        let order = scheduler
            .begin_extra(id, spec, wall, |_| super::runs::admit_spec(caps, spec, &[], now, (wall, realtime)))?;
        self.usage.cover(self.caps.day_use(), self.config.limits.bytes_per_day);
        Some(order)
    }

    /// A run of ipv6 has ended: keeps what it settled, and looks again if it wants that.
    pub(super) fn look_ended(&mut self, now: Nanos) {
        let (news, memory) = {
            let mut settling = self.runner.settling.lock().unwrap_or_else(PoisonError::into_inner);
            (settling.take_news(), settling.memory.clone())
        };
        let Some(news) = news else { return };
        if let Some(looks) = &mut self.looking.looks {
            looks.ran(news.scope, news.again, now);
        }
        let before = self.looking.kept.get();
        let full_at = if news.scope == Ipv6Scope::Full { Some(self.time_of_day()) } else { before.full_at };
        let settled = verdict::settled(&memory);
        if settled != verdict::settled(&before.memory)
            && let Some(words) = &settled
        {
            info!("reachability has settled: {words}");
        }
        if let Err(error) = self.looking.kept.keep(Verdict { memory, full_at }) {
            warn!(%error, "what is settled of IPv6 and IPv4 cannot be kept: after a restart it is settled anew");
            self.look_at_disk();
        }
    }

    /// What is settled, for the status.
    pub(super) fn settled_words(&self) -> Option<String> {
        verdict::settled(&self.looking.kept.get().memory)
    }

    /// How long until the next look.
    pub(super) fn look_in(&self, now: Nanos) -> Option<Duration> {
        // Without a measurement to look for there is nothing to wake up for.
        self.look_due().filter(|_| self.standing().is_some()).map(|at| at.since(now))
    }
}
