//! Runs of `dns`: one server, or every resolver of the host.

use std::net::IpAddr;
use std::sync::PoisonError;

use sonde_engine::dns::{DnsUdp, Exchange, Query, QueryContext, StreamPlan, UdpEnd, gather, query, stream_response};
use sonde_protocol::bounded::List;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::{DnsReply, DnsResponse, DnsSecure, Failure, Outcome, StampSource, Why};
use sonde_protocol::spec::{DnsCarrier, DnsSpec, Kind};

use super::{Request, Runner, Seen, random, with_causes};
use crate::net::clock::Moment;
use crate::net::{Job, NetError, RunInfo, dns_stream, source_over, zone_of};
use crate::policy::check_resolver;

/// What one server answered, and how good its time is.
struct Asked {
    response: DnsResponse,
    source: StampSource,
    rtt_error: Option<u64>,
}

impl Asked {
    /// Timed by this program's own clock.
    fn by_user(response: DnsResponse) -> Self {
        Self { response, source: StampSource::User, rtt_error: None }
    }
}

impl Runner {
    pub(super) async fn dns_to_target(
        &self,
        probe: ProbeId,
        request: &Request,
        spec: &DnsSpec,
        dst: IpAddr,
    ) -> Result<Seen, NetError> {
        let started = self.moment();
        let query = match self.query(probe, spec) {
            Ok(query) => query,
            Err(failure) => return Ok(Seen::failed(failure, Kind::Dns, Some(dst))),
        };
        let asked = self.ask(spec, query, (dst, 0), request.target.as_deref()).await?;
        let Asked { response, source, rtt_error } = asked;
        let src = response.src_addr.map(|src| src.0);
        let outcome = Outcome::Dns(gather(false, [response]));
        Ok(Seen { outcome, dst: Some(dst), src, source, rtt_error, time_to_resolve: None, started: Some(started) })
    }

    /// Asks every configured resolver of the host, at the same time. They may be anywhere, but must be exactly these.
    pub(super) async fn own_resolvers(&self, probe: ProbeId, request: &Request, spec: &DnsSpec) -> Seen {
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
                    return Asked::by_user(self.no_response(spec, dst, DnsReply::NotAllowed));
                }
                match self.ask(spec, query, (dst, zone_of(&server)), None).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        let why = DnsReply::SendError(Why::cut(with_causes(&error)));
                        Asked::by_user(self.no_response(spec, dst, why))
                    }
                }
            });
        }
        let answers = all(answers).await;
        let worst = answers.iter().map(|asked| asked.source).min_by_key(|source| *source as u8);
        let rtt_error = answers.iter().filter_map(|asked| asked.rtt_error).max();
        let outcome = Outcome::Dns(gather(true, answers.into_iter().map(|asked| asked.response)));
        Seen {
            outcome,
            dst: None,
            src: None,
            source: worst.unwrap_or_default(),
            rtt_error,
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
            protocol: spec.carrier().transport(),
            retries: 0,
            query: None,
            outcome,
            secure: Some(spec.carrier()).filter(|carrier| carrier.is_secure()).map(|carrier| DnsSecure {
                carrier,
                version: None,
                cipher: None,
            }),
            strays: List::default(),
            strays_seen: 0,
            id_mismatches: 0,
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

    /// One query to one server with the link on which it is ([`Exchange::zone`]), over TCP too when the UDP answer is truncated.
    /// `target` is the server as it was asked for.
    async fn ask(
        &self,
        spec: &DnsSpec,
        query: Query,
        server: (IpAddr, u32),
        target: Option<&str>,
    ) -> Result<Asked, NetError> {
        if spec.carrier() != DnsCarrier::Udp {
            return Ok(Asked::by_user(self.ask_connected(spec, query, server, target).await));
        }
        let exchange = self.exchange(server, self.moment());
        let (spec_of_engine, query_of_engine) = (spec.clone(), query.clone());
        let wall = self.wall.clone();
        let job = Job {
            family: Family::of(server.0),
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
                let plan = StreamPlan::after_truncation(spec, self.exchange(server, self.moment()), query, &udp);
                Ok(Asked::by_user(self.carry_out(&plan).await))
            }
            Some(end) => {
                let RunInfo { source, rtt_error, .. } = finished.info;
                Ok(Asked { response: end.response().clone(), source, rtt_error })
            }
            None => Err(NetError::Stopped),
        }
    }

    /// One query over a connection, again after a time-out.
    async fn ask_connected(
        &self,
        spec: &DnsSpec,
        query: Query,
        server: (IpAddr, u32),
        target: Option<&str>,
    ) -> DnsResponse {
        let literal = server.0.to_string();
        let mut tries = 0;
        loop {
            let exchange = self.exchange(server, self.moment());
            let plan = StreamPlan::new(spec, exchange, target.unwrap_or(&literal), query.clone(), tries);
            let response = self.carry_out(&plan).await;
            if !matches!(response.outcome, DnsReply::Timeout(_)) || tries >= spec.retry {
                return response;
            }
            tries += 1;
        }
    }

    async fn carry_out(&self, plan: &StreamPlan) -> DnsResponse {
        stream_response(plan, &dns_stream::exchange(&self.clock, plan).await)
    }

    fn exchange(&self, (dst, zone): (IpAddr, u32), moment: Moment) -> Exchange {
        let src = source_over(dst, zone).ok();
        Exchange { dst, zone, src, now: moment.monotonic, time: self.time_of_day(moment) }
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
