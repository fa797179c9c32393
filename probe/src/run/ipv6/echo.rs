//! Small echoes to a reference, over ICMP or to its UDP echo: is anything heard of it, how fast, and how much is lost?

use std::net::SocketAddr;
use std::time::Duration;

use sonde_engine::icmp::sequences_needed;
use sonde_engine::ipv6::gather::Event;
use sonde_engine::ipv6::plan::{ECHO_TIMEOUT, ECHOES, EchoPlan};
use sonde_engine::ping::{Ping, PingConfig};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::reference::echo::{HEADER, Reply, Request};
use sonde_protocol::result::ipv6::{Echo, Trouble, TroubleKind};
use sonde_protocol::result::{Outcome, PingOutcome, PingReply};
use sonde_protocol::spec::{PingSpec, Spec};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::tools::Tools;
use crate::net::Job;
use crate::net::clock::Moment;
use crate::net::datagrams::{Datagrams, Fit, Heard};
use crate::net::opening::trouble;
use crate::run::random;

/// Sends them and tells what came back. Where this machine may send none of them, nothing is told.
pub async fn check(tools: &Tools<'_>, plan: &EchoPlan) {
    let echo = match plan.port {
        Some(port) => Some(over_udp(tools, plan, SocketAddr::new(plan.dst, port)).await),
        None => over_icmp(tools, plan).await,
    };
    if let Some(echo) = echo {
        tools.tell(Event::Echo(echo));
    }
}

fn nothing_yet(plan: &EchoPlan, protocol: Transport) -> Echo {
    Echo { target: plan.target, af: Family::of(plan.dst), protocol, sent: 0, received: 0, rtt: None, trouble: None }
}

/// By the engine of `ping`, with the kernel's stamps.
async fn over_icmp(tools: &Tools<'_>, plan: &EchoPlan) -> Option<Echo> {
    let spec = PingSpec { packets: ECHOES, ..PingSpec::default() };
    let job = Job {
        family: Family::of(plan.dst),
        sequences: sequences_needed(&Spec::Ping(spec.clone())),
        make: {
            let (dst, cookie) = (plan.dst, random());
            move |first_sequence, moment: Moment| {
                Ping::new(PingConfig { spec, dst, first_sequence, cookie, probe_id: ProbeId(0) }, moment.monotonic)
            }
        },
    };
    match tools.runner.driver.run(job).await.ok()?.outcome {
        Outcome::Ping(ping) => Some(of_ping(nothing_yet(plan, Transport::Icmp), &ping)),
        _ => None,
    }
}

fn of_ping(mut echo: Echo, ping: &PingOutcome) -> Echo {
    echo.sent = ECHOES;
    for reply in &ping.replies {
        match reply {
            PingReply::Reply(one) if !one.duplicate => {
                echo.received += 1;
                echo.rtt = Some(echo.rtt.map_or(one.rtt, |least| least.min(one.rtt)));
            }
            PingReply::Icmp(error) => echo.trouble = Some(icmp(error.kind, error.code, Some(error.from))),
            // What the system says in words: it had no way to send it.
            PingReply::SendError(_) => echo.trouble = echo.trouble.or(Some(TroubleKind::Other.into())),
            PingReply::Reply(_) | PingReply::Timeout => {}
        }
    }
    echo
}

/// A trouble that an ICMP error told of.
pub(super) fn icmp(kind: u8, code: u8, from: Option<Ip>) -> Trouble {
    Trouble { kind: TroubleKind::Icmp, icmp_type: Some(kind), icmp_code: Some(code), from }
}

async fn over_udp(tools: &Tools<'_>, plan: &EchoPlan, dst: SocketAddr) -> Echo {
    let mut echo = nothing_yet(plan, Transport::Udp);
    let mut socket = match Datagrams::open(dst, Fit::Whole, None) {
        Ok(socket) => socket,
        Err(error) => return Echo { sent: ECHOES, trouble: Some(trouble(&error)), ..echo },
    };
    let mut sent: Vec<(u64, sonde_protocol::time::Nanos)> = Vec::new();
    let begun = Instant::now();
    let second = tools.limit(ECHO_TIMEOUT);
    for n in 0..ECHOES {
        sleep_until(begun + second * n).await;
        tools.room(1).await;
        let id = random();
        sent.push((id, tools.clock().monotonic()));
        echo.sent += 1;
        let request = Request { id, want: 0, may_fragment: false, token: None };
        if let Err(error) = socket.send(&request.to_bytes(HEADER)) {
            echo.trouble = Some(trouble(&error));
        }
        // A late answer to an earlier one counts as well: what is asked is whether it comes. The time counts from when the pace
        // let this one go.
        listen(tools, &mut socket, &mut sent, &mut echo, Instant::now() + second).await;
    }
    echo
}

/// Hears answers until `end`, or until the last echo has been answered.
async fn listen(
    tools: &Tools<'_>,
    socket: &mut Datagrams,
    sent: &mut Vec<(u64, sonde_protocol::time::Nanos)>,
    echo: &mut Echo,
    end: Instant,
) {
    while let Ok(Ok(heard)) = timeout_at(end, socket.next()).await {
        match heard {
            Heard::Datagram { bytes, .. } => {
                let Some(reply) = Reply::parse(&bytes) else { continue };
                let Some(place) = sent.iter().position(|(id, _)| *id == reply.id) else { continue };
                let (_, at) = sent.swap_remove(place);
                let took: Duration = tools.clock().monotonic().since(at);
                let rtt = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                echo.received += 1;
                echo.rtt = Some(echo.rtt.map_or(rtt, |least| least.min(rtt)));
                if sent.is_empty() {
                    return;
                }
            }
            Heard::Icmp { kind, code, from, .. } => echo.trouble = Some(icmp(kind, code, from.map(Ip))),
            Heard::TooLong { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::List;
    use sonde_protocol::result::{EchoReply, IcmpError, Why};

    use super::*;

    #[test]
    fn a_ping_is_counted_and_its_last_error_kept() {
        let from = Ip("2a00:1::1".parse().unwrap());
        let reply = |rtt, duplicate| PingReply::Reply(EchoReply { rtt, hop_limit: None, size: 48, from, duplicate });
        let error = IcmpError { from, kind: 1, code: 5, rtt: None, hop_limit: None, mtu: None };
        let replies = [reply(9, false), reply(10, true), PingReply::Timeout, reply(7, false), PingReply::Icmp(error)];
        let plan = EchoPlan { target: 1, dst: from.0, port: None };
        let ping = |replies| PingOutcome { size: 48, sent: 3, replies };
        let echo = of_ping(nothing_yet(&plan, Transport::Icmp), &ping(List::cut(replies)));
        assert_eq!((echo.sent, echo.received, echo.rtt), (3, 2, Some(7)));
        assert_eq!(echo.trouble, Some(icmp(1, 5, Some(from))));
        let none = [PingReply::SendError(Why::cut("no way"))];
        let echo = of_ping(nothing_yet(&plan, Transport::Icmp), &ping(List::cut(none)));
        assert_eq!((echo.sent, echo.received, echo.trouble), (3, 0, Some(TroubleKind::Other.into())));
    }
}
