//! Connections to one target over both families, begun at nearly the same time: TCP, TLS with the target's key, and QUIC behind
//! them. What the target saw is asked over TLS.

use std::net::{IpAddr, SocketAddr};

use futures_util::stream::{FuturesUnordered, StreamExt};
use sonde_engine::ipv6::gather::{Event, Step};
use sonde_engine::ipv6::plan::{CONNECT_TIMEOUT, PairPlan};
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::reference::Ask;
use sonde_protocol::result::ipv6::{Attempt, TroubleKind};
use sonde_protocol::time::Nanos;
use tokio::time::timeout;

use super::exchange::{quic, secure};
use super::tools::{QUIC, TCP, TLS, Tools};
use crate::net::opening::open;

/// Connects as the plan says, and tells each step as it ends.
pub async fn check(tools: &Tools<'_>, plan: &PairPlan) {
    let each = if plan.key.is_some() { TCP + TLS } else { TCP };
    // For both at once: waiting for room between them would set them apart.
    tools.room(each * u32::try_from(plan.to.len()).unwrap_or(u32::MAX)).await;
    let first = tools.clock().monotonic();
    // Each begins when it is first looked at: one right after the other, far closer than the plan allows.
    let mut connections: FuturesUnordered<_> = plan.to.iter().map(|to| connection(tools, plan, *to, first)).collect();
    while connections.next().await.is_some() {}
}

async fn connection(tools: &Tools<'_>, plan: &PairPlan, to: IpAddr, first: Nanos) {
    let (target, af) = (plan.target, Family::of(to));
    let began = tools.clock().monotonic();
    tools.tell(Event::Began(target, Ip(to), nanos(began.since(first))));
    let ended = |step, attempt| tools.tell(Event::Ended(target, af, step, attempt));
    match open(tools.clock(), None, SocketAddr::new(to, plan.port), tools.limit(CONNECT_TIMEOUT)).await {
        Ok(opened) => {
            tools.tell(Event::Local(target, af, opened.src.map(Ip), opened.retransmits));
            ended(Step::Tcp, Attempt::Done(opened.took));
            if let Some(key) = plan.key {
                let limit = tools.limit(CONNECT_TIMEOUT);
                let shaken = timeout(limit, secure(opened.stream, to, key)).await;
                match shaken.unwrap_or_else(|_| Err(TroubleKind::Timeout.into())) {
                    Ok(session) => {
                        ended(Step::Tls, Attempt::Done(nanos(tools.clock().monotonic().since(began))));
                        // The handshake is what reachability is judged by; what the target saw is asked on top.
                        if let Ok(Ok(seen)) = timeout(limit, session.ask(&Ask::default())).await {
                            tools.tell(Event::Told(target, af, seen.src, seen.mss));
                        }
                    }
                    Err(trouble) => {
                        ended(Step::Tls, Attempt::Failed(trouble));
                        tools.tell(Event::FailedAfter(target, af, nanos(tools.clock().monotonic().since(began))));
                    }
                }
            }
        }
        Err(error) => {
            tools.tell(Event::Local(target, af, error.src.map(Ip), error.retransmits));
            ended(Step::Tcp, Attempt::Failed(error.trouble));
            tools.tell(Event::FailedAfter(target, af, error.after));
        }
    }
    if let (Some(port), Some(key)) = (plan.quic, plan.key) {
        tools.room(QUIC).await;
        let attempt = quic(tools.clock(), SocketAddr::new(to, port), key, tools.limit(CONNECT_TIMEOUT)).await;
        ended(Step::Quic, attempt);
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
