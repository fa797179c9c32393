//! The connection: made, watched, lost, and made again.

use std::sync::PoisonError;
use std::time::Duration;

use sonde_protocol::bounded::List;
use sonde_protocol::directory::{Collector, Endpoint, SignedDirectory};
use sonde_protocol::identity::{ClaimCode, claim_advice};
use sonde_protocol::message::RefusedReason;
use sonde_protocol::net::Uplink;
use sonde_protocol::session::probe::HelloFacts;
use sonde_protocol::spool::Lane;
use sonde_protocol::time::Nanos;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::Agent;
use crate::identity::AcceptError;
use crate::run::with_causes;
use crate::status::DUPLICATE_ADVICE;
use crate::uplink::{self, Addresses, ConnectError, Link, LinkEvent};

/// Events of a link that may wait for the loop.
const LINK_EVENTS: usize = 64;

/// The least time that a connection may be silent after something was sent before a second one is tried.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// How soon a probe that is connected by TLS tries QUIC again; each time in vain doubles it.
const FIRST_QUIC_AGAIN: Duration = Duration::from_secs(300);

/// The longest time between two such tries.
const LAST_QUIC_AGAIN: Duration = Duration::from_secs(3600);

/// How soon after the machine's addresses have changed: it may be in another network now, and that network has to settle.
const QUIC_IN_NEW_NETWORK: Duration = Duration::from_secs(2);

/// When a probe that has to do with TLS tries QUIC again.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuicAgain {
    at: Nanos,
    wait: Duration,
}

impl Agent {
    pub(super) fn send_frames(&mut self, now: Nanos) {
        let mut sent = false;
        if let Some((link, _)) = &self.link {
            for lane in [Lane::Fresh, Lane::Backlog] {
                while let Some(room) = link.room(lane) {
                    let Some(frame) = self.session.poll_frame(lane, now) else { break };
                    room.send(frame);
                    sent = true;
                }
            }
        }
        if sent && let (None, Some((link, _))) = (self.asked, &self.link) {
            self.asked = Some((now, link.received()));
        }
    }

    /// When the link's silence is long enough to be suspicious.
    pub(super) fn silent_at(&self) -> Option<Nanos> {
        let ((at, _), (link, _)) = (self.asked?, self.link.as_ref()?);
        Some(at + link.patience().max(LEAST_PATIENCE)).filter(|_| self.connecting.is_none())
    }

    /// A collector that has gone without a word is found out by a second connection sooner than by the time-out of the
    /// first. The first to answer wins.
    pub(super) fn check_silence(&mut self, now: Nanos) {
        let (Some(at), Some((_, before)), Some((link, _))) = (self.silent_at(), self.asked, &self.link) else { return };
        if at > now {
            return;
        }
        let received = link.received();
        if received > before {
            // It lives. That what was sent is not durable yet is the collector's business.
            self.asked = None;
        } else {
            info!("the collector is silent: trying a second connection");
            self.asked = Some((now, received));
            self.connect();
        }
    }

    /// Tries to reach a collector.
    pub(super) fn connect(&mut self) {
        self.status.connecting();
        self.attempt(true);
    }

    /// When QUIC is tried again beside the connection over TLS.
    pub(super) fn quic_again_at(&self) -> Option<Nanos> {
        self.quic_again.map(|again| again.at).filter(|_| self.connecting.is_none())
    }

    /// The way over TLS is the second best: it has one queue for all lanes, and a change of address ends it.
    pub(super) fn try_quic_again(&mut self, now: Nanos) {
        let (Some(at), Some(again)) = (self.quic_again_at(), &mut self.quic_again) else { return };
        if at <= now {
            again.wait = (again.wait * 2).min(LAST_QUIC_AGAIN);
            again.at = now + again.wait;
            debug!("trying QUIC again");
            self.attempt(false);
        }
    }

    /// The machine's addresses have changed.
    pub(super) fn in_new_network(&mut self) {
        let now = self.now();
        if let Some(again) = &mut self.quic_again {
            *again = QuicAgain { at: now + QUIC_IN_NEW_NETWORK, wait: FIRST_QUIC_AGAIN };
        }
    }

    fn attempt(&mut self, also_tls: bool) {
        let (events, receiver) = mpsc::channel(LINK_EVENTS);
        self.look_for_next_key();
        let (key, keys) = (self.identity.key().clone(), self.identity.collector_keys());
        let list = |of: fn(&Collector) -> &List<Endpoint, 16>| -> Vec<String> {
            self.identity.collectors().iter().flat_map(|c| of(c).iter().map(ToString::to_string)).collect()
        };
        let quic = list(|collector| &collector.addresses);
        let tls = if also_tls { list(|collector| &collector.tls) } else { Vec::new() };
        let (remembered, translators) = (self.identity.remembered(), self.translators());
        let (runner, last) = (self.runner.clone(), self.last_uplink);
        let attempt = async move {
            let found = Addresses::find(&runner.resolver, [&quic, &tls], remembered, &translators).await;
            let addresses = match found {
                Ok(addresses) => addresses,
                Err(error) => return (Err(error), None),
            };
            match uplink::connect(&key, &keys, &addresses, last, events).await {
                // All keys may have changed while this probe was away: the directory, signed by the root, says so.
                Err(ConnectError::WrongKey) => {
                    let directory = uplink::fetch_directory(&key, &addresses).await.ok();
                    (Err(ConnectError::WrongKey), directory)
                }
                other => (other, None),
            }
        };
        self.connecting = Some((Box::pin(attempt), receiver));
    }

    pub(super) async fn connected(&mut self, result: Result<Link, ConnectError>, events: mpsc::Receiver<LinkEvent>) {
        let now = self.now();
        match result {
            Ok(link) => {
                if self.link.take().is_some() {
                    // The second connection answered first: the old one is given up, and what is heard from now on says
                    // nothing of the orders made since it fell silent.
                    if let Some(scheduler) = &mut self.scheduler {
                        scheduler.disconnected(self.heard_at);
                    }
                    self.session.handle_disconnected(now);
                    self.session.handle_connecting();
                }
                info!(collector = %link.remote(), by = link.uplink().name(), "connected");
                self.last_uplink = Some(link.uplink());
                self.quic_again = (link.uplink() == Uplink::Tls)
                    .then_some(QuicAgain { at: now + FIRST_QUIC_AGAIN, wait: FIRST_QUIC_AGAIN });
                self.reached(link.remote(), link.uplink(), now);
                self.link = Some((link, events));
                self.asked = None;
                let synchronised = {
                    let wall = self.runner.wall.lock().unwrap_or_else(PoisonError::into_inner);
                    wall.is_known()
                };
                let facts = HelloFacts {
                    uptime: now.since(self.started),
                    now: self.time_of_day(),
                    clock_synchronised: synchronised,
                    addresses: self.own_addresses(),
                    families: self.families(),
                    token: self.identity.token(),
                    directory: self.identity.serial(),
                    conditions: self.conditions.to_tell(now),
                };
                self.session.handle_connected(facts, now);
            }
            Err(error) => {
                if self.link.is_some() {
                    // The old connection may yet come back to life; if not, this is tried again.
                    self.asked = self.asked.map(|(_, before)| (now, before));
                    return;
                }
                info!(%error, "no connection");
                self.status.disconnected(&error.to_string());
                self.after_link(now);
            }
        }
    }

    pub(super) fn lost(&mut self, why: &str) {
        if self.link.take().is_some() {
            info!(why, "connection lost");
            self.status.disconnected(why);
            let now = self.now();
            self.after_link(now);
        }
    }

    pub(super) fn after_link(&mut self, now: Nanos) {
        self.asked = None;
        self.quic_again = None;
        self.away(now);
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.disconnected(self.heard_at);
        }
        self.session.handle_disconnected(now);
    }

    /// The collectors' addresses, as the newest directory has them.
    pub(super) fn endpoints(&self) -> Vec<String> {
        let collectors = self.identity.collectors();
        collectors.iter().flat_map(|one| one.addresses.iter().map(ToString::to_string)).collect()
    }

    pub(super) fn accept_directory(&mut self, directory: &SignedDirectory) {
        let accepted = match self.identity.accept(directory) {
            Err(AcceptError::State(error)) => {
                warn!(error = %with_causes(&error), "the network's directory cannot be kept: it is in force until a restart");
                self.look_at_disk();
                Ok(true)
            }
            other => other,
        };
        match accepted {
            Ok(true) => {
                info!(serial = self.identity.serial(), "a newer directory of the network");
                let now = self.now();
                self.session.retry_now(now);
                // What http may ask stands in it.
                self.publish_policy();
                let keys = self.identity.collector_keys();
                if self.link.as_ref().is_some_and(|(link, _)| link.key().is_none_or(|key| !keys.contains(&key))) {
                    self.lost("the collector's key was revoked");
                }
            }
            Ok(false) => {}
            Err(error) => warn!(error = %with_causes(&error), "a directory is not accepted"),
        }
    }
}

/// A refusal for people, with what to do.
pub(super) fn refusal(reason: RefusedReason, text: &str, code: Option<&ClaimCode>) -> String {
    if let Some(code) = code {
        return format!("{text}; {}", claim_advice(code));
    }
    let advice = match reason {
        RefusedReason::UnknownKey => "ask the network's operator for a network.toml with a join token",
        RefusedReason::Token => "ask the network's operator for a new join token",
        RefusedReason::Version => "update this probe",
        RefusedReason::Busy => "it will be tried again",
        RefusedReason::Malformed => "please report this",
        RefusedReason::Pending => "ask the network's operator",
        RefusedReason::DuplicateKey => DUPLICATE_ADVICE,
        RefusedReason::KeyReplaced => {
            "to make this machine a probe of its own, remove probe.key from the state directory and start it again; if it is \
             to be that probe, put the newer key back"
        }
    };
    format!("{text}; {advice}")
}
