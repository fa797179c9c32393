//! The certificates that a TLS server shows, as a plan, events and a pure function.
//!
//! The shell connects, lets a TLS client do its handshake and notes what happened when ([`Event`]) until there are
//! certificates or there will be none; [`outcome`] says what that means, in RIPE Atlas's words. The client speaks TLS 1.2
//! and 1.3. What an older server (SSL 3, TLS 1.0, 1.1) or one without forward secrecy (RSA key exchange) makes of that comes
//! out as its alert, or as words about it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::result::{Failure, MAX_CERTIFICATE_BYTES, SslcertFailure, SslcertOutcome, Why};
use sonde_protocol::spec::SslcertSpec;
use sonde_protocol::time::Nanos;

/// How long everything may take, connection included. RIPE Atlas lets nobody choose it.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How many bytes of a server are read at most. A handshake message of TLS as we take it has 64 KiB; the certificates are
/// one of them, the others are small.
pub const MAX_BYTES: usize = 256 * 1024;

/// The types of record in TLS (RFC 8446, section 5.1, and heartbeat, RFC 6520). What begins otherwise is not TLS.
const RECORD_TYPES: core::ops::RangeInclusive<u8> = 20..=24;

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Port of the server.
    pub port: u16,
    /// The name to ask for; a literal address makes TLS send none (RFC 6066, section 3).
    pub name: String,
    /// When it begins to connect.
    pub started: Nanos,
}

impl Plan {
    /// The plan for a definition: `target` as it was asked for, `dst` is its address.
    ///
    /// # Errors
    /// When the port makes no sense.
    pub fn new(spec: &SslcertSpec, target: Option<&str>, dst: IpAddr, started: Nanos) -> Result<Self, Failure> {
        let port = u16::try_from(spec.port).map_err(|_| Failure::Unsupported(Why::cut("no such port")))?;
        let name = spec.hostname.as_deref().or(target).map_or_else(|| format!("{dst}"), String::from);
        Ok(Self { port, name, started })
    }

    /// When it has taken too long.
    pub fn deadline(&self) -> Nanos {
        self.started + TIMEOUT
    }
}

/// What failed outside of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Opening the connection.
    Connect,
    /// Sending or reading.
    Exchange,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The connection is open.
    Connected(Nanos),
    /// The server's first byte came: a type of record, if it speaks TLS.
    FirstByte(u8),
    /// The server has chosen a version and a cipher suite, by their numbers.
    Hello {
        /// The version.
        version: u16,
        /// The cipher suite.
        cipher: u16,
    },
    /// The server has shown its certificates.
    Certificates {
        /// When the bytes that completed them came.
        at: Nanos,
        /// In DER, its own first.
        certificates: Vec<Vec<u8>>,
    },
    /// The server has asked for a certificate of the client's.
    ClientCertificateWanted,
    /// The server sent a fatal alert with this description.
    Alert(u8),
    /// What the server sent is not what TLS has there, in these words.
    Bad(Why),
    /// What the server sent is right in form, and the client cannot go along with it, in these words.
    Incompatible(Why),
    /// A step failed, in the system's words.
    Failed(Step, Why),
    /// The server closed the connection.
    Closed,
    /// More came than a handshake needs.
    TooMuch,
    /// The time is up.
    TimedOut,
}

/// What these events, in the order in which they happened, make. The first failure counts.
pub fn outcome(plan: &Plan, events: &[Event]) -> SslcertOutcome {
    let since = |at: Nanos| u64::try_from(at.nanos_since(plan.started)).unwrap_or(0);
    let mut seen = SslcertOutcome::default();
    let mut first_byte = None;
    for event in events {
        let failure = match event {
            Event::Connected(at) => {
                seen.connect = Some(since(*at));
                None
            }
            Event::FirstByte(byte) => {
                first_byte = first_byte.or(Some(*byte));
                None
            }
            Event::Hello { version, cipher } => {
                (seen.version, seen.cipher) = (Some(*version), Some(*cipher));
                None
            }
            Event::Certificates { at, certificates } => {
                if certificates.is_empty() {
                    Some(String::from("the server has shown no certificate"))
                } else {
                    seen.rt = Some(since(*at));
                    keep(&mut seen, certificates);
                    None
                }
            }
            Event::ClientCertificateWanted => {
                seen.client_certificate_wanted = true;
                None
            }
            Event::Alert(description) => {
                seen.failure.get_or_insert(SslcertFailure::Alert(*description));
                None
            }
            Event::Bad(why) => Some(match first_byte.filter(|byte| !RECORD_TYPES.contains(byte)) {
                Some(byte) => format!("bad type {byte}"),
                None => String::from(&**why),
            }),
            Event::Incompatible(why) => Some(String::from(&**why)),
            Event::Failed(Step::Connect, why) => Some(format!("connect: {why}")),
            Event::Failed(Step::Exchange, why) => Some(format!("reading {}: {why}", awaited(&seen))),
            Event::Closed => Some(format!("connection closed reading {}", awaited(&seen))),
            Event::TooMuch => Some(format!("more than {MAX_BYTES} bytes reading {}", awaited(&seen))),
            Event::TimedOut if seen.connect.is_none() => Some(String::from("connect: timeout")),
            Event::TimedOut => Some(format!("timeout reading {}", awaited(&seen))),
        };
        if let Some(words) = failure {
            seen.failure.get_or_insert(SslcertFailure::Failed(Why::cut(words)));
        }
        if seen.failure.is_some() {
            break;
        }
    }
    if seen.failure.is_none() && seen.certificates.is_empty() {
        seen.failure = Some(SslcertFailure::Failed(Why::cut(format!("broken off reading {}", awaited(&seen)))));
    }
    seen
}

/// What the server has not sent yet, in Atlas's words.
const fn awaited(seen: &SslcertOutcome) -> &'static str {
    if seen.version.is_none() { "hello" } else { "certificates" }
}

/// Keeps as many certificates as may be, from the first on.
fn keep(seen: &mut SslcertOutcome, certificates: &[Vec<u8>]) {
    let mut room = MAX_CERTIFICATE_BYTES;
    let mut kept = List::default();
    for der in certificates {
        let Some(left) = room.checked_sub(der.len()) else { break };
        let Some(bytes) = Bytes::new(der.as_slice()) else { break };
        if kept.push(bytes).is_err() {
            break;
        }
        room = left;
    }
    seen.certificates_left_out = u32::try_from(certificates.len().saturating_sub(kept.len())).unwrap_or(u32::MAX);
    seen.certificates = kept;
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;
    use sonde_protocol::bounded::Text;

    use super::*;

    const START: Nanos = Nanos(5_000_000_000);
    const TLS12: Event = Event::Hello { version: 0x0303, cipher: 0xc02f };

    fn ms(ms: i64) -> Nanos {
        Nanos(START.0 + ms * 1_000_000)
    }

    fn plan() -> Plan {
        Plan { port: 443, name: "a.example".into(), started: START }
    }

    fn why(text: &str) -> Why {
        Why::cut(text)
    }

    fn shown(at: i64) -> Event {
        Event::Certificates { at: ms(at), certificates: vec![vec![1, 2], vec![3]] }
    }

    fn failed(events: &[Event]) -> SslcertFailure {
        let seen = outcome(&plan(), events);
        assert!(seen.certificates.is_empty(), "{seen:?}");
        seen.failure.unwrap()
    }

    #[test]
    fn whom_to_ask_for() {
        let dst = IpAddr::from([192, 0, 2, 1]);
        let name = |hostname: Option<&str>, target| {
            let spec = SslcertSpec { hostname: hostname.map(Text::cut), ..SslcertSpec::default() };
            Plan::new(&spec, target, dst, START).unwrap().name
        };
        assert_eq!(name(Some("sni.example"), Some("a.example")), "sni.example");
        assert_eq!(name(None, Some("a.example")), "a.example");
        assert_eq!(name(None, Some("192.0.2.1")), "192.0.2.1");
        assert_eq!(name(None, None), "192.0.2.1");
    }

    #[test]
    fn certificates_and_their_times() {
        let events = [Event::Connected(ms(10)), Event::FirstByte(22), TLS12, shown(22)];
        let seen = outcome(&plan(), &events);
        assert_eq!((seen.connect, seen.rt), (Some(10_000_000), Some(22_000_000)));
        assert_eq!((seen.version, seen.cipher), (Some(0x0303), Some(0xc02f)));
        let certificates: Vec<&[u8]> = seen.certificates.iter().map(|der| &**der).collect();
        assert_eq!(certificates, [&[1, 2][..], &[3]]);
        assert_eq!((seen.failure, seen.client_certificate_wanted, seen.certificates_left_out), (None, false, 0));
    }

    #[test]
    fn the_ways_to_fail() {
        let connected = Event::Connected(ms(10));
        for (events, words) in [
            (vec![Event::TimedOut], "connect: timeout"),
            (vec![Event::Failed(Step::Connect, why("Connection refused"))], "connect: Connection refused"),
            (vec![connected.clone(), Event::TimedOut], "timeout reading hello"),
            (vec![connected.clone(), TLS12, Event::TimedOut], "timeout reading certificates"),
            (vec![connected.clone(), Event::Closed], "connection closed reading hello"),
            (vec![connected.clone(), TLS12, Event::Closed], "connection closed reading certificates"),
            (
                vec![connected.clone(), Event::Failed(Step::Exchange, why("Connection reset by peer"))],
                "reading hello: Connection reset by peer",
            ),
            (vec![connected.clone(), Event::FirstByte(b'H'), Event::Bad(why("x"))], "bad type 72"),
            (vec![connected.clone(), Event::FirstByte(22), Event::Bad(why("bad message"))], "bad message"),
            (vec![connected.clone(), Event::FirstByte(b'H'), Event::Incompatible(why("no TLS 1.2"))], "no TLS 1.2"),
            (vec![connected.clone(), Event::TooMuch], "more than 262144 bytes reading hello"),
            (vec![connected.clone(), TLS12], "broken off reading certificates"),
            (vec![], "broken off reading hello"),
            (
                vec![connected.clone(), TLS12, Event::Certificates { at: ms(1), certificates: vec![] }],
                "the server has shown no certificate",
            ),
        ] {
            assert_eq!(failed(&events), SslcertFailure::Failed(why(words)), "{events:?}");
        }
        assert_eq!(failed(&[connected.clone(), Event::Alert(40), Event::Closed]), SslcertFailure::Alert(40));
    }

    #[test]
    fn what_fails_behind_the_certificates_leaves_them() {
        let seen = outcome(
            &plan(),
            &[
                Event::Connected(ms(1)),
                TLS12,
                Event::ClientCertificateWanted,
                shown(3),
                Event::Bad(why("bad signature")),
            ],
        );
        assert_eq!((seen.certificates.len(), seen.client_certificate_wanted), (2, true));
        assert_eq!(seen.failure, Some(SslcertFailure::Failed(why("bad signature"))));
    }

    #[test]
    fn as_many_certificates_as_may_be() {
        let many = Event::Certificates { at: ms(1), certificates: vec![vec![0]; 100] };
        let seen = outcome(&plan(), &[many]);
        assert_eq!((seen.certificates.len(), seen.certificates_left_out), (32, 68));
        let large = Event::Certificates { at: ms(1), certificates: vec![vec![0; 40_000], vec![0; 30_000], vec![0]] };
        let seen = outcome(&plan(), &[large]);
        assert_eq!((seen.certificates.len(), seen.certificates_left_out), (1, 2));
    }

    fn event() -> impl Strategy<Value = Event> {
        let words = || "[a-z ]{0,300}".prop_map(Why::cut);
        let certificates = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40_000), 0..40);
        prop_oneof![
            any::<i64>().prop_map(|at| Event::Connected(Nanos(at))),
            any::<u8>().prop_map(Event::FirstByte),
            any::<(u16, u16)>().prop_map(|(version, cipher)| Event::Hello { version, cipher }),
            (any::<i64>(), certificates)
                .prop_map(|(at, certificates)| Event::Certificates { at: Nanos(at), certificates }),
            Just(Event::ClientCertificateWanted),
            any::<u8>().prop_map(Event::Alert),
            words().prop_map(Event::Bad),
            words().prop_map(|words| Event::Failed(Step::Exchange, words)),
            Just(Event::Closed),
            Just(Event::TimedOut),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_events_give_certificates_or_a_reason(events in proptest::collection::vec(event(), 0..8)) {
            let seen = outcome(&plan(), &events);
            let bytes: usize = seen.certificates.iter().map(|der| der.len()).sum();
            prop_assert!(bytes <= MAX_CERTIFICATE_BYTES);
            prop_assert!(seen.failure.is_some() || !seen.certificates.is_empty() || seen.certificates_left_out > 0);
        }
    }
}
