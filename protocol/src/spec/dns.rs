//! The definition of `dns`.

use alloc::string::String;

use minicbor::{Decode, Encode};

use super::{Limits, MAX_TARGET, Target};
use crate::bounded::Text;
use crate::net::Transport;

/// `dns`: one query (RFC 1035), to the target or to each of the probe's own resolvers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DnsSpec {
    /// Class by number (1 IN, 3 CHAOS).
    #[n(0)]
    pub query_class: u16,
    /// Type by number (RFC 1035 and the IANA registry).
    #[n(1)]
    pub query_type: u16,
    /// The name asked for; [`DnsSpec::use_macros`] may change it per probe.
    #[n(2)]
    pub query_argument: Text<MAX_TARGET>,
    /// UDP or TCP.
    #[n(3)]
    pub protocol: Transport,
    /// EDNS payload size; it is sent when it is not 512 or another EDNS option is asked for.
    #[n(4)]
    pub udp_payload_size: u32,
    /// Further tries after a time-out.
    #[n(5)]
    pub retry: u32,
    /// Milliseconds to wait for an answer.
    #[n(6)]
    pub timeout: u32,
    /// Recursion desired.
    #[n(7)]
    pub set_rd_bit: bool,
    /// DNSSEC OK.
    #[n(8)]
    pub set_do_bit: bool,
    /// Checking disabled.
    #[n(9)]
    pub set_cd_bit: bool,
    /// Asks for the name server identifier (RFC 5001).
    #[n(10)]
    pub set_nsid_bit: bool,
    /// Asks every configured resolver of the probe instead of a target.
    #[n(11)]
    pub use_probe_resolver: bool,
    /// Results carry the whole answer.
    #[n(12)]
    pub include_abuf: bool,
    /// Results carry the whole query.
    #[n(13)]
    pub include_qbuf: bool,
    /// Puts the probe's id and the time before the name.
    #[n(14)]
    pub prepend_probe_id: bool,
    /// `$p`, `$r`, `$t` in the name stand for probe id, a random number, the time.
    #[n(15)]
    pub use_macros: bool,
    /// DNS over TLS (RFC 7858).
    #[n(16)]
    pub tls: bool,
    /// Port of the server.
    #[n(17)]
    pub port: u32,
    /// An empty client subnet option (RFC 7871), so that no forwarder adds one.
    #[n(18)]
    pub default_client_subnet: bool,
    /// DNS cookies (RFC 7873).
    #[n(19)]
    pub cookies: bool,
    /// IP TTL or hop limit of the query.
    #[n(20)]
    pub ttl: Option<u32>,
    /// DNS over HTTPS (RFC 8484, HTTP/2). Ours, not Atlas's.
    #[n(21)]
    #[cbor(default, skip_if = "is_false")]
    pub https: bool,
    /// DNS over QUIC (RFC 9250). Ours, not Atlas's.
    #[n(22)]
    #[cbor(default, skip_if = "is_false")]
    pub quic: bool,
    /// Path of the URL with `https`; [`DnsSpec::DEFAULT_PATH`] when absent.
    #[n(23)]
    pub path: Option<Text<MAX_TARGET>>,
    /// The server's name in TLS (RFC 6066) and HTTP; the target as asked for when absent.
    #[n(24)]
    pub hostname: Option<Target>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// What carries the messages of a `dns` measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DnsCarrier {
    /// Datagrams (RFC 1035, 4.2.1).
    #[n(0)]
    Udp,
    /// A TCP connection (RFC 7766).
    #[n(1)]
    Tcp,
    /// DNS over TLS (RFC 7858).
    #[n(2)]
    Tls,
    /// DNS over HTTPS (RFC 8484).
    #[n(3)]
    Https,
    /// DNS over QUIC (RFC 9250).
    #[n(4)]
    Quic,
}

impl DnsCarrier {
    /// The word for it in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            DnsCarrier::Udp => "udp",
            DnsCarrier::Tcp => "tcp",
            DnsCarrier::Tls => "tls",
            DnsCarrier::Https => "https",
            DnsCarrier::Quic => "quic",
        }
    }

    /// What it runs over, in Atlas's words.
    pub const fn transport(self) -> Transport {
        match self {
            DnsCarrier::Udp | DnsCarrier::Quic => Transport::Udp,
            DnsCarrier::Tcp | DnsCarrier::Tls | DnsCarrier::Https => Transport::Tcp,
        }
    }

    /// The port that it has by itself.
    pub const fn default_port(self) -> u32 {
        match self {
            DnsCarrier::Udp | DnsCarrier::Tcp => DnsSpec::PORT.default,
            DnsCarrier::Tls | DnsCarrier::Quic => 853,
            DnsCarrier::Https => 443,
        }
    }

    /// Is everything encrypted?
    pub const fn is_secure(self) -> bool {
        matches!(self, DnsCarrier::Tls | DnsCarrier::Https | DnsCarrier::Quic)
    }
}

impl DnsSpec {
    /// The path of the URL that nearly all servers have (RFC 8484 names none).
    pub const DEFAULT_PATH: &str = "/dns-query";
    /// The ports at which the probe's own resolvers may be asked: DNS, and DNS over TLS or QUIC.
    pub const RESOLVER_PORTS: [u16; 2] = [53, 853];

    /// What carries the messages.
    pub const fn carrier(&self) -> DnsCarrier {
        if self.tls {
            DnsCarrier::Tls
        } else if self.https {
            DnsCarrier::Https
        } else if self.quic {
            DnsCarrier::Quic
        } else if matches!(self.protocol, Transport::Tcp) {
            DnsCarrier::Tcp
        } else {
            DnsCarrier::Udp
        }
    }

    /// EDNS payload size.
    pub const UDP_PAYLOAD_SIZE: Limits = Limits::new("udp_payload_size", 512, 512, 4096);
    /// Further tries.
    pub const RETRY: Limits = Limits::new("retry", 0, 0, 10);
    /// Milliseconds to wait.
    pub const TIMEOUT: Limits = Limits::new("timeout", 5000, 100, 30_000);
    /// Port of the server; with `tls`, `https` or `quic` see [`DnsCarrier::default_port`].
    pub const PORT: Limits = Limits::new("port", 53, 1, 65_535);
    /// IP TTL or hop limit.
    pub const TTL: Limits = Limits::new("ttl", 64, 1, 255);
    /// Class IN.
    pub const CLASS_IN: u16 = 1;
    /// Class CHAOS.
    pub const CLASS_CHAOS: u16 = 3;
}

impl Default for DnsSpec {
    fn default() -> Self {
        Self {
            query_class: Self::CLASS_IN,
            query_type: 1,
            query_argument: Text::default(),
            protocol: Transport::Udp,
            udp_payload_size: Self::UDP_PAYLOAD_SIZE.default,
            retry: Self::RETRY.default,
            timeout: Self::TIMEOUT.default,
            set_rd_bit: false,
            set_do_bit: false,
            set_cd_bit: false,
            set_nsid_bit: false,
            use_probe_resolver: false,
            include_abuf: true,
            include_qbuf: false,
            prepend_probe_id: false,
            use_macros: false,
            tls: false,
            port: Self::PORT.default,
            default_client_subnet: false,
            cookies: false,
            ttl: None,
            https: false,
            quic: false,
            path: None,
            hostname: None,
        }
    }
}

/// The types of record that have a name in a definition; any other may be given as `TYPE65` or by number (RFC 3597).
pub const DNS_TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DNAME", 39),
    ("DS", 43),
    ("SSHFP", 44),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("ZONEMD", 63),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("ANY", 255),
    ("CAA", 257),
];

/// The number of a record type: by name in any case, as `TYPE65`, or by number.
pub fn dns_type(text: &str) -> Option<u16> {
    let named = DNS_TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number);
    named.or_else(|| number_after(text, "TYPE"))
}

/// The name of a record type, or `TYPE65` where it has none here.
pub fn dns_type_name(number: u16) -> String {
    match DNS_TYPES.iter().find(|(_, n)| *n == number) {
        Some((name, _)) => String::from(*name),
        None => alloc::format!("TYPE{number}"),
    }
}

/// The number of a class: `IN`, `CHAOS` (or `CH`), `CLASS254` or a number.
pub fn dns_class(text: &str) -> Option<u16> {
    if text.eq_ignore_ascii_case("IN") {
        Some(DnsSpec::CLASS_IN)
    } else if text.eq_ignore_ascii_case("CHAOS") || text.eq_ignore_ascii_case("CH") {
        Some(DnsSpec::CLASS_CHAOS)
    } else {
        number_after(text, "CLASS")
    }
}

/// The name of a class as Atlas writes it.
pub fn dns_class_name(number: u16) -> String {
    match number {
        DnsSpec::CLASS_IN => String::from("IN"),
        DnsSpec::CLASS_CHAOS => String::from("CHAOS"),
        other => alloc::format!("CLASS{other}"),
    }
}

fn number_after(text: &str, prefix: &str) -> Option<u16> {
    let digits = match text.get(..prefix.len()) {
        Some(head) if head.eq_ignore_ascii_case(prefix) => text.get(prefix.len()..)?,
        _ => text,
    };
    digits.parse().ok()
}
