//! One run of one measurement: name to address, address past the policy, engine, result.
//!
//! This is the only place that starts an engine, so it is the only place where the policy has to be asked: after the name
//! is resolved, before the first packet, and again whenever the machine's addresses change while the run goes on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sonde_engine::dns::{DnsUdp, Exchange, Query, QueryContext, TcpPlan, UdpEnd, gather, query, tcp_response};
use sonde_engine::icmp::sequences_needed;
use sonde_engine::ping::{Ping, PingConfig};
use sonde_engine::traceroute::{Traceroute, TracerouteConfig};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::{
    DnsReply, DnsResponse, Failure, HopReply, MeasurementResult, Outcome, StampSource, TracerouteOutcome, Why,
};
use sonde_protocol::spec::{DnsSpec, Kind, PingSpec, Spec, Target, TracerouteSpec};
use sonde_protocol::time::{Nanos, UnixNanos};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::net::clock::{ClockSource, Moment};
use crate::net::{Driver, Finished, Job, NetError, RunInfo, source_address, tcp};
use crate::policy::{Policy, check_resolver};
use crate::resolve::Resolver;
use crate::wall_clock::WallClock;

/// Kinds that this version can run.
pub const KINDS: [Kind; 3] = [Kind::Ping, Kind::Traceroute, Kind::Dns];

/// How long a name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one run may take: the slowest definition on a hostile path would take half an hour.
/// What a definition asks for by its intervals comes on top.
const LONGEST_RUN: Duration = Duration::from_secs(600);

/// How many path lengths are remembered.
const MAX_LENGTHS: usize = 4096;

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
}

/// What an engine's run gave, and how good its times are.
struct Seen {
    outcome: Outcome,
    dst: Option<IpAddr>,
    src: Option<IpAddr>,
    source: StampSource,
    time_to_resolve: Option<Duration>,
    started: Option<Moment>,
}

impl Seen {
    fn failed(failure: Failure, kind: Kind, dst: Option<IpAddr>) -> Self {
        let outcome = Outcome::Failed(failure, kind.number());
        Self { outcome, dst, src: None, source: StampSource::User, time_to_resolve: None, started: None }
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
        Self { driver, clock, wall, resolver, policy, lengths: Mutex::default() }
    }

    /// This moment on both clocks.
    pub fn moment(&self) -> Moment {
        Moment { monotonic: self.clock.monotonic(), wall: self.clock.realtime() }
    }

    /// A moment as time of day.
    pub fn time_of_day(&self, moment: Moment) -> UnixNanos {
        self.wall.lock().unwrap_or_else(PoisonError::into_inner).now(moment.monotonic, moment.wall)
    }

    /// Runs a measurement once. Whatever happens is a result.
    pub async fn run(&self, probe: ProbeId, request: &Request) -> MeasurementResult {
        let begun = self.moment();
        let seeing = async {
            match &request.spec {
                Spec::Dns(dns) if dns.use_probe_resolver => self.own_resolvers(probe, request, dns).await,
                _ => self.to_target(probe, request).await,
            }
        };
        let longest = longest(&request.spec);
        let seen = timeout(longest, seeing).await.unwrap_or_else(|_| {
            let why = Why::cut(format!("the run had not ended after {} s", longest.as_secs()));
            Seen::failed(Failure::Socket(why), request.spec.kind(), None)
        });
        let ended = self.moment();
        let wall = self.wall.lock().unwrap_or_else(PoisonError::into_inner);
        let started = seen.started.unwrap_or(begun);
        MeasurementResult {
            measurement: request.measurement,
            planned_at: request.planned_at,
            started_at: wall.now(started.monotonic, started.wall),
            ended_at: wall.now(ended.monotonic, ended.wall),
            timing: wall.timing(ended.monotonic, seen.source),
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
        let mut time_to_resolve = None;
        let dst = match request.addresses.first() {
            Some(&address) => address,
            None => match self.resolve(request).await {
                Ok((address, took)) => {
                    time_to_resolve = took;
                    address
                }
                Err(why) => return Seen::failed(Failure::Resolve(Why::cut(why)), kind, None),
            },
        };
        let mut policy = self.policy.clone();
        if Family::of(dst) != request.af || policy.borrow_and_update().check_target(dst, &request.spec).is_err() {
            return Seen { time_to_resolve, ..Seen::failed(Failure::NotAllowed, kind, Some(dst)) };
        }
        let engine = async {
            match &request.spec {
                Spec::Ping(spec) => self.ping(probe, spec, dst).await,
                Spec::Traceroute(spec) => self.traceroute(request, spec, dst).await,
                Spec::Dns(spec) => self.dns_to_target(probe, spec, dst).await,
                Spec::Sslcert(_) | Spec::Http(_) | Spec::Ntp(_) => {
                    let why = Why::cut("this probe cannot measure this kind yet");
                    Ok(Seen::failed(Failure::Unsupported(why), kind, Some(dst)))
                }
            }
        };
        // A network that appears under a running measurement may be the host's own.
        let forbidden = async {
            loop {
                if policy.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                if policy.borrow_and_update().check_target(dst, &request.spec).is_err() {
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
                let failure = Failure::Socket(Why::cut(with_causes(&error)));
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

    async fn ping(&self, probe: ProbeId, spec: &PingSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let config = PingConfig { spec: spec.clone(), dst, first_sequence: 0, cookie: random(), probe_id: probe };
        let job = Job {
            family: Family::of(dst),
            sequences: sequences_needed(&Spec::Ping(spec.clone())),
            make: move |first_sequence, moment: Moment| {
                Ping::new(PingConfig { first_sequence, ..config }, moment.monotonic)
            },
        };
        Ok(seen(self.driver.run(job).await?, dst))
    }

    async fn traceroute(&self, request: &Request, spec: &TracerouteSpec, dst: IpAddr) -> Result<Seen, NetError> {
        // Runs of one measurement take the flow variations in turn, the same on every probe.
        let flow = request.planned_at.as_secs() / i64::from(request.interval.unwrap_or(1).max(1));
        let config = TracerouteConfig {
            spec: spec.clone(),
            dst,
            first_sequence: 0,
            cookie: random(),
            flow: u32::try_from(flow.rem_euclid(1 << 30)).unwrap_or(0),
            path_length: self.lengths().get(&request.measurement).copied(),
        };
        if let Err(failure) = Traceroute::new(config.clone(), Nanos(0)) {
            return Ok(Seen::failed(failure, Kind::Traceroute, Some(dst)));
        }
        let job = Job {
            family: Family::of(dst),
            sequences: sequences_needed(&request.spec),
            make: move |first_sequence, moment: Moment| {
                Traceroute::new(TracerouteConfig { first_sequence, ..config }, moment.monotonic)
                    .expect("the same configuration was accepted above")
            },
        };
        let finished = self.driver.run(job).await?;
        if let Outcome::Traceroute(outcome) = &finished.outcome {
            self.learn_length(request.measurement, outcome, dst);
        }
        Ok(seen(finished, dst))
    }

    fn lengths(&self) -> std::sync::MutexGuard<'_, HashMap<MeasurementId, u8>> {
        self.lengths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn_length(&self, measurement: MeasurementId, outcome: &TracerouteOutcome, dst: IpAddr) {
        let mut lengths = self.lengths();
        let from_target = |reply: &HopReply| matches!(reply, HopReply::Reply(answer) if answer.from.0 == dst);
        let last = outcome.hops.iter().find(|hop| hop.replies.iter().any(from_target)).map(|hop| hop.hop);
        match last {
            Some(length) if lengths.len() < MAX_LENGTHS || lengths.contains_key(&measurement) => {
                lengths.insert(measurement, length);
            }
            _ => {
                lengths.remove(&measurement);
            }
        }
    }

    async fn dns_to_target(&self, probe: ProbeId, spec: &DnsSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let started = self.moment();
        let query = match self.query(probe, spec) {
            Ok(query) => query,
            Err(failure) => return Ok(Seen::failed(failure, Kind::Dns, Some(dst))),
        };
        let (response, source) = self.ask(spec, query, dst).await?;
        let src = response.src_addr.map(|src| src.0);
        let outcome = Outcome::Dns(gather(false, [response]));
        Ok(Seen { outcome, dst: Some(dst), src, source, time_to_resolve: None, started: Some(started) })
    }

    /// Asks every configured resolver of the host, at the same time. They may be anywhere, but must be exactly these.
    async fn own_resolvers(&self, probe: ProbeId, request: &Request, spec: &DnsSpec) -> Seen {
        let started = self.moment();
        let own = self.resolver.own_resolvers();
        let port = u16::try_from(spec.port).unwrap_or(0);
        let servers: Vec<_> = own.iter().copied().filter(|server| Family::of(server.ip()) == request.af).collect();
        if servers.is_empty() {
            let why = Why::cut(format!("no resolver with an IPv{} address is configured", request.af));
            return Seen::failed(Failure::Resolve(why), Kind::Dns, None);
        }
        let mut answers = Vec::new();
        for server in servers {
            let query = match self.query(probe, spec) {
                Ok(query) => query,
                Err(failure) => return Seen::failed(failure, Kind::Dns, None),
            };
            let mut address = server;
            address.set_port(port);
            let allowed = check_resolver(address, &own).is_ok();
            answers.push(async move {
                let dst = server.ip();
                if !allowed {
                    return (self.no_response(spec, dst, DnsReply::NotAllowed), StampSource::User);
                }
                match self.ask(spec, query, dst).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        let why = DnsReply::SendError(Why::cut(with_causes(&error)));
                        (self.no_response(spec, dst, why), StampSource::User)
                    }
                }
            });
        }
        let answers = all(answers).await;
        let worst = answers.iter().map(|(_, source)| *source).min_by_key(|source| *source as u8);
        let outcome = Outcome::Dns(gather(true, answers.into_iter().map(|(response, _)| response)));
        Seen {
            outcome,
            dst: None,
            src: None,
            source: worst.unwrap_or_default(),
            time_to_resolve: None,
            started: Some(started),
        }
    }

    fn no_response(&self, spec: &DnsSpec, dst: IpAddr, outcome: DnsReply) -> DnsResponse {
        DnsResponse {
            sent_at: self.time_of_day(self.moment()),
            dst_addr: Ip(dst),
            dst_port: u16::try_from(spec.port).unwrap_or(0),
            src_addr: None,
            protocol: spec.protocol,
            retries: 0,
            query: None,
            outcome,
        }
    }

    fn query(&self, probe: ProbeId, spec: &DnsSpec) -> Result<Query, Failure> {
        let bits = random();
        let context = QueryContext {
            probe_id: probe,
            // The low half names the query, the other half is for macros and cookies.
            id: u16::try_from(bits & 0xffff).unwrap_or(0),
            random: random(),
            time: self.time_of_day(self.moment()),
        };
        query(spec, &context)
    }

    /// One query to one server, over TCP too when the UDP answer is truncated.
    async fn ask(&self, spec: &DnsSpec, query: Query, dst: IpAddr) -> Result<(DnsResponse, StampSource), NetError> {
        if spec.protocol == Transport::Tcp {
            return Ok((self.ask_tcp(spec, query, dst).await, StampSource::User));
        }
        let exchange = self.exchange(dst, self.moment());
        let (spec_of_engine, query_of_engine) = (spec.clone(), query.clone());
        let wall = self.wall.clone();
        let job = Job {
            family: Family::of(dst),
            sequences: 0,
            make: move |_, moment: Moment| {
                let time = wall.lock().unwrap_or_else(PoisonError::into_inner).now(moment.monotonic, moment.wall);
                let exchange = Exchange { now: moment.monotonic, time, ..exchange };
                DnsUdp::new(&spec_of_engine, exchange, query_of_engine)
            },
        };
        let mut finished = self.driver.run(job).await?;
        match finished.engine.take_response() {
            Some(UdpEnd::Truncated(udp)) => {
                let plan = TcpPlan::after_truncation(spec, self.exchange(dst, self.moment()), query, &udp);
                Ok((tcp_response(&plan, &tcp::exchange(&*self.clock, &plan).await), StampSource::User))
            }
            Some(end) => Ok((end.response().clone(), finished.info.source)),
            None => Err(NetError::Stopped),
        }
    }

    async fn ask_tcp(&self, spec: &DnsSpec, query: Query, dst: IpAddr) -> DnsResponse {
        let mut tries = 0;
        loop {
            let plan = TcpPlan::new(spec, self.exchange(dst, self.moment()), query.clone(), tries);
            let response = tcp_response(&plan, &tcp::exchange(&*self.clock, &plan).await);
            if !matches!(response.outcome, DnsReply::Timeout(_)) || tries >= spec.retry {
                return response;
            }
            tries += 1;
        }
    }

    fn exchange(&self, dst: IpAddr, moment: Moment) -> Exchange {
        Exchange { dst, src: source_address(dst).ok(), now: moment.monotonic, time: self.time_of_day(moment) }
    }
}

fn longest(spec: &Spec) -> Duration {
    match spec {
        Spec::Ping(ping) => LONGEST_RUN + Duration::from_millis(u64::from(ping.packet_interval)) * ping.packets,
        _ => LONGEST_RUN,
    }
}

fn seen<E>(finished: Finished<E>, dst: IpAddr) -> Seen {
    let RunInfo { started_at, source, src_addr, .. } = finished.info;
    Seen {
        outcome: finished.outcome,
        dst: Some(dst),
        src: src_addr,
        source,
        time_to_resolve: None,
        started: Some(started_at),
    }
}

/// Waits for all of them at the same time, and keeps their order.
async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (future, value) in &mut waiting {
            if value.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *value = Some(done),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, value)| value).collect()
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
