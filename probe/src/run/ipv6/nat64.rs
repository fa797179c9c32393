//! A reference's IPv4 address through a translator: TLS with the reference's key, which nobody else can show, and an echo over
//! UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sonde_engine::ipv6::gather::Event;
use sonde_engine::ipv6::plan::{CONNECT_TIMEOUT, ECHO_TIMEOUT, ECHOES, Nat64Plan};
use sonde_protocol::net::Ip;
use sonde_protocol::reference::Ask;
use sonde_protocol::reference::echo::{HEADER, MAX, Reply, Request};
use sonde_protocol::result::ipv6::{Attempt, Nat64Proof, TroubleKind};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::exchange::ask;
use super::tools::{TCP, TLS, Tools};
use crate::net::opening::trouble;
use crate::run::random;

/// The prefix that every network may use (RFC 6052, section 2.1).
const WELL_KNOWN: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// Tries one reference through the prefix that the network tells of.
pub async fn check(tools: &Tools<'_>, plan: &Nat64Plan) {
    if !tools.may(plan.dst) {
        return;
    }
    let (tls, echo) = tokio::join!(connect(tools, plan), async {
        match plan.echo {
            Some(port) => Some(echo(tools, SocketAddr::new(plan.dst, port)).await),
            None => None,
        }
    });
    let (tls, seen) = tls;
    tools.tell(Event::Nat64(Nat64Proof { target: plan.target, dst: Ip(plan.dst), seen, tls: Some(tls), echo }));
}

/// Does the well-known prefix lead to this reference, though nobody told of it?
pub async fn unadvertised(tools: &Tools<'_>, v4: Ipv4Addr, port: u16, key: sonde_protocol::key::PublicKey) {
    let [a, b, c, d] = v4.octets();
    let last = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    let segments = WELL_KNOWN.segments();
    let dst: IpAddr = Ipv6Addr::from([segments[0], segments[1], 0, 0, 0, 0, last[0], last[1]]).into();
    if tools.may(dst) {
        let told = tools.ask(SocketAddr::new(dst, port), key, &Ask::default()).await;
        tools.tell(Event::Unadvertised(told.is_ok()));
    }
}

async fn connect(tools: &Tools<'_>, plan: &Nat64Plan) -> (Attempt, Option<Ip>) {
    let dst = SocketAddr::new(plan.dst, plan.port);
    tools.room(TCP + TLS).await;
    let began = tools.clock().monotonic();
    match ask(tools.clock(), dst, plan.key, &Ask::default(), tools.limit(CONNECT_TIMEOUT)).await {
        Ok(seen) => (Attempt::Done(nanos(tools, began)), Some(seen.src)),
        Err(trouble) => (Attempt::Failed(trouble), None),
    }
}

async fn echo(tools: &Tools<'_>, dst: SocketAddr) -> Attempt {
    let mut last = TroubleKind::Timeout.into();
    for _ in 0..ECHOES {
        tools.room(1).await;
        let began = tools.clock().monotonic();
        let limit = tools.limit(ECHO_TIMEOUT);
        match timeout(limit, one_echo(dst)).await {
            Ok(Ok(())) => return Attempt::Done(nanos(tools, began)),
            Ok(Err(error)) => {
                last = trouble(&error);
                tokio::time::sleep(limit).await;
            }
            Err(_) => last = TroubleKind::Timeout.into(),
        }
    }
    Attempt::Failed(last)
}

async fn one_echo(dst: SocketAddr) -> std::io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)).await?;
    socket.connect(dst).await?;
    let request = Request { id: random(), want: 0, may_fragment: false, token: None };
    socket.send(&request.to_bytes(HEADER)).await?;
    let mut bytes = [0; MAX];
    loop {
        let length = socket.recv(&mut bytes).await?;
        if bytes.get(..length).and_then(Reply::parse).is_some_and(|reply| reply.id == request.id) {
            return Ok(());
        }
    }
}

fn nanos(tools: &Tools<'_>, began: sonde_protocol::time::Nanos) -> u64 {
    u64::try_from(tools.clock().monotonic().since(began).as_nanos()).unwrap_or(u64::MAX)
}
