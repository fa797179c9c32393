//! A probe that misbehaves: the protocol spoken by hand over real QUIC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::identity::ClaimCode;
use sonde_protocol::ids::{BootId, Seq};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{
    Down, Frame, Hello, MAX_CONTROL, RefusedReason, SpooledBoot, TimeRequest, Up, Welcome, from_cbor, to_cbor,
};
use sonde_protocol::net::Uplink;
use sonde_protocol::time::UnixNanos;
use sonde_protocol::tls::{SecretKey, client_config};
use sonde_protocol::wire::{Reader, framed};
use sonde_tests::world::PATIENCE;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::ground::Ground;

/// Application error codes of the collector (`collector/src/connection.rs`).
pub mod close {
    pub const DONE: u64 = 0;
    pub const MALFORMED: u64 = 1;
    pub const REFUSED: u64 = 3;
    /// No code of the collector's: see [`super::Peer::closed`].
    pub const RESET: u64 = u64::MAX;
}

/// The boot of every peer that does not say otherwise.
pub const BOOT: BootId = BootId(77);

/// Where peers come from.
pub struct Street {
    runtime: Runtime,
    collector: SocketAddr,
    key: PublicKey,
}

/// One connection with its control stream.
pub struct Peer<'a> {
    street: &'a Street,
    pub connection: Connection,
    send: SendStream,
    receive: RecvStream,
    reader: Reader,
}

/// What a collector should never get: a small repeatable source of bytes, whose seed tests print.
pub fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = sonde_protocol::seed::Rng::new(seed);
    (0..length).map(|_| rng.next_u64().to_le_bytes()[0]).collect()
}

/// A seed that differs from run to run.
pub fn seed() -> u64 {
    getrandom::u64().unwrap()
}

pub fn hello() -> Hello {
    Hello {
        versions: List::cut([1]),
        software: Text::cut("garbage"),
        boot: BOOT,
        uptime: 1_000_000_000,
        now: UnixNanos(0),
        clock_synchronised: false,
        orders: None,
        boots: List::cut([SpooledBoot { boot: BOOT, next: Seq(1), started_at: None }]),
        spool_depth: 0,
        addresses: List::default(),
        token: None,
        directory: 1,
        kinds: List::default(),
        families: List::default(),
        conditions: None,
    }
}

/// A frame of the usual boot.
pub fn frame(first: u64, reports: &[&[u8]]) -> Frame {
    Frame {
        boot: BOOT,
        first: Seq(first),
        reports: List::cut(reports.iter().map(|report| Bytes::new(*report).unwrap())),
        settled: UnixNanos(0),
    }
}

impl Street {
    pub fn to(ground: &Ground) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { runtime, collector: ground.collector, key: ground.card().collectors[0].key }
    }

    /// Waits for something, and not for ever.
    #[track_caller]
    pub fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(PATIENCE, what).await.expect("it takes too long") })
    }

    /// The TLS configuration of a probe with this key.
    pub fn tls(&self, key: &SecretKey) -> rustls::ClientConfig {
        client_config(key, &[self.key], Uplink::Quic).unwrap()
    }

    /// The same for the way over TCP.
    pub fn tls_over_tcp(&self, key: &SecretKey) -> rustls::ClientConfig {
        client_config(key, &[self.key], Uplink::Tls).unwrap()
    }

    /// Connects with any TLS and transport configuration.
    pub fn connect(
        &self,
        tls: rustls::ClientConfig,
        transport: TransportConfig,
    ) -> Result<Connection, ConnectionError> {
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        config.transport_config(Arc::new(transport));
        self.wait(async {
            let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            endpoint.connect_with(config, self.collector, "collector").unwrap().await
        })
    }

    /// A connection with an open control stream, on which nothing was said.
    pub fn meet(&self, key: &SecretKey) -> Peer<'_> {
        self.meet_with(key, TransportConfig::default())
    }

    pub fn meet_with(&self, key: &SecretKey, mut transport: TransportConfig) -> Peer<'_> {
        transport.keep_alive_interval(Some(Duration::from_secs(5)));
        let connection = self.connect(self.tls(key), transport).unwrap();
        let (send, receive) = self.wait(connection.open_bi()).unwrap();
        Peer { street: self, connection, send, receive, reader: Reader::new(MAX_CONTROL) }
    }

    /// A peer that a token has made a probe of the network, and its key.
    pub fn join(&self, ground: &Ground) -> (Peer<'_>, SecretKey, Welcome) {
        let key = SecretKey::generate().unwrap();
        let token = Bytes::new(ground.card().token.unwrap().into_bytes());
        let mut peer = self.meet(&key);
        peer.say(&Up::Hello(Hello { token, ..hello() }));
        let welcome = peer.welcome();
        (peer, key, welcome)
    }

    /// A known probe, welcomed anew. Its boot is the same.
    pub fn again(&self, key: &SecretKey) -> Peer<'_> {
        let mut peer = self.meet(key);
        peer.say(&Up::Hello(hello()));
        peer.welcome();
        peer
    }
}

impl Peer<'_> {
    /// Sends a message on the control stream.
    pub fn say(&mut self, message: &Up) {
        self.say_bytes(&framed(&to_cbor(message)));
    }

    /// Sends bytes on the control stream. That the other side has gone meanwhile is no error here.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        let _ = self.street.wait(self.send.write_all(bytes));
    }

    /// Ends the control stream.
    pub fn say_no_more(&mut self) {
        self.send.finish().unwrap();
    }

    /// A new stream for frames.
    pub fn lane(&self) -> SendStream {
        self.street.wait(self.connection.open_uni()).unwrap()
    }

    /// Sends bytes on a stream. That the other side has gone meanwhile is no error here.
    pub fn write(&self, lane: &mut SendStream, bytes: &[u8]) {
        let _ = self.street.wait(lane.write_all(bytes));
    }

    /// The next message, or `None` when no more come.
    pub fn hear(&mut self) -> Option<Down> {
        loop {
            if let Some(message) = self.reader.next_message().unwrap() {
                return Some(from_cbor(message).unwrap().unwrap());
            }
            match self.street.wait(self.receive.read_chunk(64 * 1024, true)) {
                Ok(Some(chunk)) => self.reader.push(&chunk.bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next message that `choose` wants; others are passed over.
    #[track_caller]
    pub fn hear_until<T>(&mut self, mut choose: impl FnMut(Down) -> Option<T>) -> T {
        loop {
            match self.hear() {
                Some(message) => {
                    if let Some(chosen) = choose(message) {
                        return chosen;
                    }
                }
                None => panic!("the connection ended: {:?}", self.connection.close_reason()),
            }
        }
    }

    #[track_caller]
    pub fn welcome(&mut self) -> Welcome {
        self.hear_until(|message| match message {
            Down::Welcome(welcome) => Some(welcome),
            Down::Refused(refused) => panic!("{refused:?}"),
            _ => None,
        })
    }

    /// Waits until this number of the usual boot is acknowledged.
    #[track_caller]
    pub fn acknowledged(&mut self, seq: u64) {
        self.hear_until(|message| match message {
            Down::Ack(all) => all.iter().any(|ack| ack.boot == BOOT && ack.ranges.contains(Seq(seq))).then_some(()),
            Down::Refused(refused) => panic!("{refused:?}"),
            _ => None,
        });
    }

    /// Asks for the time and waits for the answer: the connection is well.
    #[track_caller]
    pub fn is_well(&mut self) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mark = NEXT.fetch_add(1, Ordering::Relaxed).cast_signed();
        self.say(&Up::TimeRequest(TimeRequest { sent_at: mark }));
        self.hear_until(|message| match message {
            Down::TimeReply(reply) => (reply.request_sent_at == mark).then_some(()),
            Down::Refused(refused) => panic!("{refused:?}"),
            _ => None,
        });
    }

    /// The collector refuses, in words, and closes.
    #[track_caller]
    pub fn is_refused(&mut self, case: &str) -> (RefusedReason, String) {
        let refused = loop {
            match self.hear() {
                Some(Down::Refused(refused)) => break refused,
                Some(_) => {}
                None => panic!("{case}: ended without a refusal: {:?}", self.connection.close_reason()),
            }
        };
        self.is_closed(close::REFUSED, case);
        assert!(!refused.text.is_empty(), "{case}");
        (refused.reason, refused.text.to_string())
    }

    /// The collector has it wait; gives the code by which it is claimed. The connection stays.
    #[track_caller]
    pub fn is_kept_waiting(&mut self, case: &str) -> ClaimCode {
        loop {
            match self.hear() {
                Some(Down::Refused(refused)) => {
                    assert_eq!(refused.reason, RefusedReason::Pending, "{case}: {}", refused.text);
                    return refused.claim_code.expect("a probe that waits has a code");
                }
                Some(_) => {}
                None => panic!("{case}: ended without a refusal: {:?}", self.connection.close_reason()),
            }
        }
    }

    /// The collector closes the connection with this code.
    #[track_caller]
    pub fn is_closed(&self, code: u64, case: &str) {
        let (found, words) = self.closed();
        assert!(found == code || found == close::RESET, "{case}: {found} {words}");
    }

    /// How the collector closes the connection: code and words. They are sent once and may get lost, above all on a busy
    /// machine, and a little later the collector has forgotten the connection and resets it (RFC 9000, 10.2 and 10.3).
    #[track_caller]
    pub fn closed(&self) -> (u64, String) {
        match self.street.wait(self.connection.closed()) {
            ConnectionError::ApplicationClosed(close) => {
                (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
            }
            ConnectionError::Reset => (close::RESET, String::new()),
            other => panic!("not closed by the collector: {other:?}"),
        }
    }

    /// What a future does while the peer shows that it is well: whether it is done after that.
    pub fn is_done_meanwhile<T: Send + 'static>(&mut self, what: impl Future<Output = T> + Send + 'static) -> bool {
        let task = self.street.runtime.spawn(what);
        for _ in 0..3 {
            self.is_well();
        }
        let done = task.is_finished();
        task.abort();
        done
    }
}

/// A transport whose streams take so little that the other side cannot say anything.
pub fn deaf() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(8)).receive_window(VarInt::from_u32(8));
    transport
}
