//! One run of one measurement: name to address, address past the policy, engine, result.
//!
//! This is the only place that starts an engine, so it is the only place where the policy has to be asked: after the name
//! is resolved, before the first packet, and again whenever the machine's addresses change while the run goes on. What a kind
//! does behind that stands in the module of its name.

mod denied;
mod dns;
mod http;
pub(crate) mod ipv6;
mod lateness;
mod load;
mod ntp;
mod path_mtu;
mod ping;
mod sslcert;
mod traceroute;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::{Failure, MeasurementResult, Outcome, StampSource, Timing, Why};
use sonde_protocol::spec::{Kind, Spec, Target};
use sonde_protocol::time::UnixNanos;
use tokio::sync::watch;
use tokio::time::timeout;

pub use self::ipv6::tools::MAX_QUESTIONS;
pub use self::ipv6::{Occasion, Settling};
use crate::local::inventory::Tables;
use crate::net::clock::{ClockSource, Moment};
use crate::net::{Driver, Finished, RunInfo, source_address};
use crate::policy::Policy;
use crate::resolve::Resolver;
use crate::wall_clock::WallClock;

/// Kinds that this version can run.
pub const KINDS: [Kind; 8] =
    [Kind::Ping, Kind::Traceroute, Kind::Dns, Kind::Sslcert, Kind::Http, Kind::Ntp, Kind::PathMtu, Kind::Ipv6];

/// How long a name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one run may take: the slowest definition on a hostile path would take half an hour.
/// What a definition asks for by its intervals comes on top.
const LONGEST_RUN: Duration = Duration::from_secs(600);

/// What is to be run, in the words of an order.
#[derive(Debug, Clone)]
pub struct Request {
    /// The measurement; 0 by hand.
    pub measurement: MeasurementId,
    /// The definition.
    pub spec: Spec,
    /// The family.
    pub af: Family,
    /// The target as asked for.
    pub target: Option<Target>,
    /// The target's addresses; empty when the probe is to resolve.
    pub addresses: Vec<IpAddr>,
    /// When it was due.
    pub planned_at: UnixNanos,
    /// Seconds between runs.
    pub interval: Option<u32>,
    /// For ipv6: why it runs.
    pub occasion: Occasion,
}

/// What every run uses.
pub struct Runner {
    /// Sockets and engines.
    pub driver: Driver,
    /// The machine's clocks.
    pub clock: Arc<dyn ClockSource>,
    /// The time of day.
    pub wall: Arc<Mutex<WallClock>>,
    /// Names.
    pub resolver: Resolver,
    /// What may be measured, as it is now.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Lengths of paths as the last runs found them, so that traceroute need not search again.
    lengths: Mutex<HashMap<MeasurementId, u8>>,
    /// Runs under way.
    running: AtomicU32,
    denied: denied::Denied,
    /// The machine's own tables, for ipv6.
    tables: OnceLock<Tables>,
    /// What runs of ipv6 are settling.
    pub settling: Mutex<Settling>,
}

/// What an engine's run gave, and how good its times are.
struct Seen {
    outcome: Outcome,
    dst: Option<IpAddr>,
    src: Option<IpAddr>,
    source: StampSource,
    /// How wrong a round-trip time can be by the kernel's stamps, in nanoseconds.
    rtt_error: Option<u64>,
    time_to_resolve: Option<Duration>,
    started: Option<Moment>,
}

impl Seen {
    fn failed(failure: Failure, kind: Kind, dst: Option<IpAddr>) -> Self {
        let outcome = Outcome::Failed(failure, kind.number());
        let source = StampSource::User;
        Self { outcome, dst, src: None, source, rtt_error: None, time_to_resolve: None, started: None }
    }
}

impl Runner {
    /// A runner over these parts.
    pub fn new(
        driver: Driver,
        clock: Arc<dyn ClockSource>,
        wall: Arc<Mutex<WallClock>>,
        resolver: Resolver,
        policy: watch::Receiver<Arc<Policy>>,
    ) -> Self {
        Self {
            driver,
            clock,
            wall,
            resolver,
            policy,
            lengths: Mutex::default(),
            running: AtomicU32::new(0),
            denied: denied::Denied::default(),
            tables: OnceLock::new(),
            settling: Mutex::default(),
        }
    }

    /// The machine's own tables. From the first call on it is heard what routers advertise, so the earlier the better.
    ///
    /// # Panics
    /// At the first call, outside of a tokio runtime.
    pub fn tables(&self) -> &Tables {
        self.tables.get_or_init(|| Tables::new(Arc::clone(&self.clock)))
    }

    /// This moment on both clocks.
    pub fn moment(&self) -> Moment {
        Moment { monotonic: self.clock.monotonic(), wall: self.clock.realtime() }
    }

    /// A moment as time of day.
    pub fn time_of_day(&self, moment: Moment) -> UnixNanos {
        self.wall.lock().unwrap_or_else(PoisonError::into_inner).now(moment.monotonic, moment.wall)
    }

    /// [`WallClock::behind`] at a moment.
    pub fn clock_behind(&self, moment: Moment) -> Option<(i64, Duration)> {
        self.wall.lock().unwrap_or_else(PoisonError::into_inner).behind(moment.monotonic, moment.wall)
    }

    /// Runs a measurement once. Whatever happens is a result.
    pub async fn run(&self, probe: ProbeId, request: &Request) -> MeasurementResult {
        let begun = self.moment();
        let _counted = load::Counted::new(&self.running);
        let load = self.load(begun.monotonic);
        let seeing = async {
            match &request.spec {
                Spec::Dns(dns) if dns.use_probe_resolver => Box::pin(self.own_resolvers(probe, request, dns)).await,
                Spec::Ipv6(spec) => Box::pin(self.ipv6(request, spec)).await,
                _ => self.to_target(probe, request).await,
            }
        };
        let longest = longest(&request.spec);
        // The packet kinds have the kernel's stamps, or their own account of what is missing.
        let packets = matches!(request.spec.kind(), Kind::Ping | Kind::Traceroute | Kind::Ntp | Kind::PathMtu);
        let (seen, late) = if packets {
            (timeout(longest, seeing).await, None)
        } else {
            lateness::watched(timeout(longest, seeing)).await
        };
        let seen = seen.unwrap_or_else(|_| {
            let why = Why::cut(format!("the run had not ended after {} s", longest.as_secs()));
            Seen::failed(Failure::Socket(why), request.spec.kind(), None)
        });
        let ended = self.moment();
        let wall = self.wall.lock().unwrap_or_else(PoisonError::into_inner);
        let started = seen.started.unwrap_or(begun);
        let failed = matches!(seen.outcome, Outcome::Failed(..));
        let late = late.filter(|_| seen.source == StampSource::User && !failed);
        let rtt_error = seen.rtt_error.max(late);
        MeasurementResult {
            measurement: request.measurement,
            planned_at: request.planned_at,
            started_at: wall.now(started.monotonic, started.wall),
            ended_at: wall.now(ended.monotonic, ended.wall),
            timing: Timing { rtt_error, load: Some(load), ..wall.timing(ended.monotonic, seen.source) },
            af: request.af,
            dst_name: request.target.clone(),
            dst_addr: seen.dst.map(Ip),
            src_addr: seen.src.map(Ip),
            time_to_resolve: seen.time_to_resolve.and_then(|took| u64::try_from(took.as_nanos()).ok()),
            interval: request.interval,
            outcome: seen.outcome,
        }
    }

    async fn to_target(&self, probe: ProbeId, request: &Request) -> Seen {
        let kind = request.spec.kind();
        let name = request.target.as_deref().unwrap_or_default();
        // A name that may not be measured is not even looked up.
        if self.policy.borrow().check_name(name, &request.spec).is_err() {
            return Seen::failed(Failure::NotAllowed, kind, None);
        }
        let mut time_to_resolve = None;
        // A host that the directory lists is where its name leads, not where an order says: else the list would allow
        // requests to anybody, in the name of a listed host.
        let given = request.addresses.first().filter(|_| kind != Kind::Http);
        let dst = match given {
            Some(&address) => address,
            None => match Box::pin(self.resolve(request)).await {
                Ok((address, took)) => {
                    time_to_resolve = took;
                    address
                }
                Err(why) => return Seen::failed(Failure::Resolve(Why::cut(why)), kind, None),
            },
        };
        let mut policy = self.policy.clone();
        let is_allowed = |policy: &Policy| {
            policy.check_target(dst, &request.spec).is_ok() && policy.check_name(name, &request.spec).is_ok()
        };
        if Family::of(dst) != request.af || !is_allowed(&policy.borrow_and_update()) {
            return Seen { time_to_resolve, ..Seen::failed(Failure::NotAllowed, kind, Some(dst)) };
        }
        // Boxed where a kind's connections take kilobytes: every run would be as large as the largest kind, and a thousand pings
        // may be under way.
        let engine = async {
            match &request.spec {
                Spec::Ping(spec) => self.ping(probe, spec, dst).await,
                Spec::Traceroute(spec) => self.traceroute(request, spec, dst).await,
                Spec::Dns(spec) => Box::pin(self.dns_to_target(probe, request, spec, dst)).await,
                Spec::Sslcert(spec) => Box::pin(self.sslcert(request, spec, dst)).await,
                Spec::Http(spec) => Box::pin(self.http(request, spec, dst)).await,
                Spec::Ntp(spec) => self.ntp(spec, dst).await,
                Spec::PathMtu(spec) => self.path_mtu(spec, dst).await,
                // It has no target, and never comes here.
                Spec::Ipv6(spec) => Ok(Box::pin(self.ipv6(request, spec)).await),
            }
        };
        // A network that appears under a running measurement may be the host's own; a new directory may not list a host
        // any more.
        let forbidden = async {
            loop {
                if policy.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                if !is_allowed(&policy.borrow_and_update()) {
                    return;
                }
            }
        };
        let seen = tokio::select! {
            seen = engine => seen,
            () = forbidden => Ok(Seen::failed(Failure::NotAllowed, kind, Some(dst))),
        };
        match seen {
            Ok(seen) => Seen { time_to_resolve, ..seen },
            Err(error) => {
                let why = with_causes(&error);
                if let Some(advice) = denied::advice(&error) {
                    self.denied.note(kind, &why, advice);
                }
                let failure = Failure::Socket(Why::cut(why));
                Seen { time_to_resolve, src: source_address(dst).ok(), ..Seen::failed(failure, kind, Some(dst)) }
            }
        }
    }

    async fn resolve(&self, request: &Request) -> Result<(IpAddr, Option<Duration>), String> {
        let Some(target) = &request.target else { return Err("there is no target".into()) };
        if let Ok(literal) = target.parse::<IpAddr>() {
            return Ok((literal, None));
        }
        let resolved = self.resolver.addresses(target, request.af, RESOLVE_TIMEOUT).await;
        let (addresses, took) = resolved.map_err(|error| with_causes(&error))?;
        let first = addresses.first().ok_or_else(|| format!("the name has no IPv{} address", request.af))?;
        Ok((*first, Some(took)))
    }
}

fn longest(spec: &Spec) -> Duration {
    match spec {
        Spec::Ping(ping) => LONGEST_RUN + Duration::from_millis(u64::from(ping.packet_interval)) * ping.packets,
        Spec::Ntp(ntp) => LONGEST_RUN + Duration::from_millis(u64::from(ntp.timeout)) * ntp.packets,
        _ => LONGEST_RUN,
    }
}

fn seen<E>(finished: Finished<E>, dst: IpAddr) -> Seen {
    let RunInfo { started_at, source, rtt_error, src_addr, .. } = finished.info;
    Seen {
        outcome: finished.outcome,
        dst: Some(dst),
        src: src_addr,
        source,
        rtt_error,
        time_to_resolve: None,
        started: Some(started_at),
    }
}

/// 64 bits that nobody can guess; the time if the system has none, which no supported system does.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        sonde_protocol::seed::mix(u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap_or(0))
    })
}

/// An error and its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
