//! The exchange of dns over TCP; what it runs beneath TLS is the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sonde_engine::dns::{Exchange, QueryContext, StreamEvent, StreamPlan, StreamStep, query};
use sonde_probe::net::clock::{ClockSource, SystemClock};
use sonde_probe::net::dns_stream::exchange;
use sonde_protocol::bounded::Text;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::spec::DnsSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::lab::{in_namespace, localhost};

fn plan(server: SocketAddr) -> StreamPlan {
    let spec = DnsSpec {
        query_argument: Text::cut("example.net"),
        protocol: Transport::Tcp,
        port: server.port().into(),
        ttl: Some(7),
        ..DnsSpec::default()
    };
    let (now, time) = (SystemClock.monotonic(), SystemClock.realtime());
    let context = QueryContext { probe_id: ProbeId(1), id: 1, random: 1, time };
    let query = query(&spec, &context).expect("a query");
    let exchange = Exchange { dst: server.ip(), zone: 0, src: None, now, time };
    StreamPlan::new(&spec, exchange, "ns.example.net", query, 0)
}

fn clock() -> Arc<dyn ClockSource> {
    Arc::new(SystemClock)
}

/// What happened, without the times, the bytes joined.
async fn happened<F: Future<Output = ()>>(
    family: Family,
    timeout: Option<Duration>,
    serve: impl FnOnce(TcpStream) -> F,
) -> Vec<String> {
    let listener = TcpListener::bind(SocketAddr::new(localhost(family), 0)).await.expect("a port");
    let mut plan = plan(listener.local_addr().expect("bound"));
    if let Some(timeout) = timeout {
        plan.deadline = SystemClock.monotonic() + timeout;
    }
    let request = plan.request.clone();
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut asked = vec![0; request.len()];
        stream.read_exact(&mut asked).await.expect("the request");
        assert_eq!(asked, request);
        serve(stream).await;
    };
    let clock = clock();
    let (events, ()) = tokio::join!(exchange(&clock, &plan), server);
    assert!(events.iter().map(StreamEvent::at).is_sorted(), "{events:?}");
    let mut words = Vec::new();
    let mut bytes = 0;
    for event in &events {
        match event {
            StreamEvent::Connected { src, .. } => words.push(format!("connected from {}", src.expect("known"))),
            StreamEvent::Secured { .. } | StreamEvent::Head { .. } => words.push(format!("{event:?}")),
            StreamEvent::Sent(_) => words.push("sent".into()),
            StreamEvent::Bytes { data, .. } => bytes += data.len(),
            StreamEvent::Closed(_) => words.push(format!("closed after {bytes}")),
            StreamEvent::Failed { step, why, .. } => words.push(format!("failed {step:?}: {why}")),
            StreamEvent::TimedOut(_) => words.push(format!("timed out after {bytes}")),
        }
    }
    if matches!(events.last(), Some(StreamEvent::Bytes { .. })) {
        words.push(format!("whole: {bytes}"));
    }
    words
}

#[test]
fn an_exchange_ends_when_the_message_is_whole() {
    in_namespace(|| async {
        for family in Family::BOTH {
            let connected = format!("connected from {}", localhost(family));
            let at_once = happened(family, None, |mut stream| async move {
                stream.write_all(b"\x00\x14twenty bytes of mess").await.unwrap();
                let _ = stream.read(&mut [0]).await; // until the client closes
            });
            assert_eq!(at_once.await, [connected.as_str(), "sent", "whole: 22"]);
            let byte_by_byte = happened(family, None, |mut stream| async move {
                stream.set_nodelay(true).unwrap();
                for byte in b"\x00\x14twenty bytes of mess" {
                    stream.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
                let _ = stream.read(&mut [0]).await;
            });
            assert_eq!(byte_by_byte.await, [connected.as_str(), "sent", "whole: 22"]);
        }
    });
}

#[test]
fn a_server_that_closes_early_or_says_nothing_is_told_apart() {
    in_namespace(|| async {
        let connected = "connected from 127.0.0.1";
        let early = happened(Family::V4, None, |mut stream| async move {
            stream.write_all(b"\x00\x14twe").await.unwrap();
        });
        assert_eq!(early.await, [connected, "sent", "closed after 5"]);
        let silent = happened(Family::V4, Some(Duration::from_millis(100)), |mut stream| async move {
            stream.write_all(b"\x00").await.unwrap();
            let _ = stream.read(&mut [0]).await;
        });
        assert_eq!(silent.await, [connected, "sent", "timed out after 1"]);
    });
}

#[test]
fn a_refused_connection_fails_at_its_step() {
    in_namespace(|| async {
        let closed = SocketAddr::new(localhost(Family::V6), 9);
        let events = exchange(&clock(), &plan(closed)).await;
        let [StreamEvent::Failed { step: StreamStep::Connect, why, .. }] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!(why.as_str(), "Connection refused");
    });
}
