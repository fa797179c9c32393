//! A question to a name server, by the engine of dns.

use std::sync::PoisonError;

use sonde_engine::dns::{DnsUdp, Exchange, QueryContext, StreamPlan, query, stream_response};
use sonde_engine::ipv6::gather::Event;
use sonde_engine::ipv6::plan::Question;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::result::ipv6::{Asks, Trouble, TroubleKind};
use sonde_protocol::result::{DnsReply, DnsResponse};
use sonde_protocol::spec::DnsSpec;

use super::tools::{TCP, Tools};
use crate::net::clock::Moment;
use crate::net::{Job, NetError, dns_stream, opening, source_over, zone_of};
use crate::policy::check_resolver;
use crate::run::random;

/// Asks, and tells the answer or that there was none.
pub async fn check(tools: &Tools<'_>, question: &Question) {
    // Never closed: the run owns it.
    let Ok(_room) = tools.questions.acquire().await else { return };
    let (mut spec, mut zone) = (question.spec(), 0);
    if question.asks == Asks::OwnResolver {
        let Some(resolver) = tools.resolvers.iter().find(|resolver| resolver.ip() == question.server) else { return };
        // A lab may have put it at another port.
        (spec.port, zone) = (resolver.port().into(), zone_of(resolver));
        if check_resolver(*resolver, &tools.resolvers).is_err() {
            return;
        }
    }
    if let Err(error) = source_over(question.server, zone) {
        tools.tell(Event::NoAnswer(question, Some(opening::trouble(&error))));
        return;
    }
    match ask(tools, question, &spec, zone).await {
        Ok(response) => tell(tools, question, &response),
        Err(NetError::NoFamily { .. }) => {
            tools.tell(Event::NoAnswer(question, Some(TroubleKind::NoAddress.into())));
        }
        // It could not be asked: nothing is known.
        Err(error) => tools.tell(Event::Error(super::why(&error))),
    }
}

async fn ask(tools: &Tools<'_>, question: &Question, spec: &DnsSpec, zone: u32) -> Result<DnsResponse, NetError> {
    let runner = tools.runner;
    let dst = question.server;
    if question.protocol == Transport::Tcp {
        // With the query, and what acknowledges the answer.
        tools.room(TCP + 4).await;
    }
    let moment = runner.moment();
    let exchange = |moment: Moment| Exchange {
        dst,
        zone,
        src: source_over(dst, zone).ok(),
        now: moment.monotonic,
        time: runner.time_of_day(moment),
    };
    let context = QueryContext {
        probe_id: ProbeId(0),
        id: u16::try_from(random() & 0xffff).unwrap_or(0),
        random: random(),
        time: runner.time_of_day(moment),
    };
    // The plan's names and types are such as a question can hold.
    let Ok(query) = query(spec, &context) else { return Err(NetError::Stopped) };
    if question.protocol == Transport::Tcp {
        let plan = StreamPlan::new(spec, exchange(moment), &dst.to_string(), query, 0);
        return Ok(stream_response(&plan, &dns_stream::exchange(&runner.clock, &plan).await));
    }
    let first = exchange(moment);
    let (spec, wall) = (spec.clone(), runner.wall.clone());
    let job = Job {
        family: Family::of(dst),
        sequences: 0,
        make: move |_, moment: Moment| {
            let time = wall.lock().unwrap_or_else(PoisonError::into_inner).now(moment.monotonic, moment.wall);
            DnsUdp::new(&spec, Exchange { now: moment.monotonic, time, ..first }, query)
        },
    };
    // A truncated answer is an answer: what is asked is whether this way to ask works.
    let mut finished = runner.driver.run(job).await?;
    finished.engine.take_response().map(|end| end.response().clone()).ok_or(NetError::Stopped)
}

fn tell(tools: &Tools<'_>, question: &Question, response: &DnsResponse) {
    match &response.outcome {
        DnsReply::Answer(answer) => tools.tell(Event::Answer(question, answer.rt, &answer.message)),
        DnsReply::Timeout(_) => tools.tell(Event::NoAnswer(question, None)),
        DnsReply::NotAllowed => {}
        DnsReply::Connect(why) | DnsReply::Read(why) | DnsReply::SendError(why) => {
            let trouble = Trouble { from: Some(Ip(question.server)), ..kind_of(why).into() };
            tools.tell(Event::NoAnswer(question, Some(trouble)));
        }
    }
}

/// The engine gives the system's words.
fn kind_of(why: &str) -> TroubleKind {
    use nix::errno::Errno;
    let is = |errno: Errno| why == errno.desc();
    match () {
        () if is(Errno::ECONNREFUSED) => TroubleKind::Refused,
        () if is(Errno::ECONNRESET) => TroubleKind::Reset,
        () if is(Errno::ENETUNREACH) => TroubleKind::NoRoute,
        () if is(Errno::EADDRNOTAVAIL) => TroubleKind::NoAddress,
        () if is(Errno::EPERM) || is(Errno::EACCES) => TroubleKind::Forbidden,
        () => TroubleKind::Other,
    }
}
