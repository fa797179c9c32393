//! What a measurement is: one definition per kind, with RIPE Atlas's option names, defaults and ranges.
//!
//! The definitions are data. [`Limits`] constants say name, default and range once; `default()` builds from them and
//! [`Spec::problems`] checks against them, for the API (which points at the field) and for the probe (which trusts no
//! order). Source of names and figures: the RIPE Atlas API v2 measurement definitions.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use minicbor::{Decode, Encode};

use crate::bounded::Text;
use crate::net::Transport;

/// The greatest length of a target: a host name (RFC 1035) or a literal address.
pub const MAX_TARGET: usize = 255;

/// A target as it was asked for: a host name or a literal address.
pub type Target = Text<MAX_TARGET>;

/// Name, default and inclusive range of one numeric option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Atlas's name of the option.
    pub name: &'static str,
    /// What it is when not given.
    pub default: u32,
    /// The least allowed.
    pub min: u32,
    /// The greatest allowed.
    pub max: u32,
}

impl Limits {
    const fn new(name: &'static str, default: u32, min: u32, max: u32) -> Self {
        Self { name, default, min, max }
    }

    fn check(&self, value: u32, problems: &mut Vec<Problem>) {
        if value < self.min || value > self.max {
            problems.push(Problem {
                field: self.name,
                detail: alloc::format!("Ensure this value is between {} and {}.", self.min, self.max),
            });
        }
    }
}

/// One field of a definition that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Atlas's name of the field.
    pub field: &'static str,
    /// A sentence for whoever sent it.
    pub detail: String,
}

/// The kinds of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// ICMP echo.
    Ping = 1,
    /// The path, hop by hop.
    Traceroute = 2,
    /// A DNS query.
    Dns = 3,
    /// The certificates of a TLS server.
    Sslcert = 4,
    /// An HTTP request.
    Http = 5,
    /// An NTP exchange.
    Ntp = 6,
    /// The greatest packet that passes (ours, not Atlas's).
    PathMtu = 7,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 7] =
        [Kind::Ping, Kind::Traceroute, Kind::Dns, Kind::Sslcert, Kind::Http, Kind::Ntp, Kind::PathMtu];

    /// Its number on the wire and in the store; never reused.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind with this number, unless a newer version made it.
    pub fn from_number(number: u8) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Atlas's `type`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Ping => "ping",
            Kind::Traceroute => "traceroute",
            Kind::Dns => "dns",
            Kind::Sslcert => "sslcert",
            Kind::Http => "http",
            Kind::Ntp => "ntp",
            Kind::PathMtu => "pathmtu",
        }
    }

    /// Atlas's `msm_name` in results.
    pub const fn result_name(self) -> &'static str {
        match self {
            Kind::Ping => "Ping",
            Kind::Traceroute => "Traceroute",
            Kind::Dns => "Tdig",
            Kind::Sslcert => "SSLCert",
            Kind::Http => "HTTPGet",
            Kind::Ntp => "Ntp",
            Kind::PathMtu => "PathMTU",
        }
    }

    /// The interval in seconds of a periodic measurement that names none (Atlas's nominal values; 900 where none is known).
    pub const fn default_interval(self) -> u32 {
        match self {
            Kind::Ping | Kind::Dns => 240,
            Kind::Traceroute | Kind::Sslcert => 900,
            Kind::Http | Kind::Ntp | Kind::PathMtu => 1800,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or(())
    }
}

/// Interval of a periodic measurement in seconds; the default depends on the kind ([`Kind::default_interval`]).
pub const INTERVAL: Limits = Limits::new("interval", 240, 60, 31_536_000);

/// The spread in seconds, when a definition names none: half the interval, at most this (Atlas).
pub const MAX_DEFAULT_SPREAD: u32 = 400;

/// `ping`: ICMP echo requests (RFC 792, RFC 4443).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PingSpec {
    /// How many requests.
    #[n(0)]
    pub packets: u32,
    /// ICMP payload bytes, without the header.
    #[n(1)]
    pub size: u32,
    /// Milliseconds between requests.
    #[n(2)]
    pub packet_interval: u32,
    /// Puts the probe's id into the payload.
    #[n(3)]
    pub include_probe_id: bool,
}

impl PingSpec {
    /// Requests in one run.
    pub const PACKETS: Limits = Limits::new("packets", 3, 1, 16);
    /// Payload bytes.
    pub const SIZE: Limits = Limits::new("size", 48, 1, 2048);
    /// Milliseconds between requests.
    pub const PACKET_INTERVAL: Limits = Limits::new("packet_interval", 1000, 2, 300_000);
}

impl Default for PingSpec {
    fn default() -> Self {
        Self {
            packets: Self::PACKETS.default,
            size: Self::SIZE.default,
            packet_interval: Self::PACKET_INTERVAL.default,
            include_probe_id: false,
        }
    }
}

/// `traceroute`: the routers on the way and their answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TracerouteSpec {
    /// What the packets are.
    #[n(0)]
    pub protocol: Transport,
    /// Packets per hop.
    #[n(1)]
    pub packets: u32,
    /// Payload bytes.
    #[n(2)]
    pub size: u32,
    /// The first hop limit sent.
    #[n(3)]
    pub first_hop: u32,
    /// The greatest hop limit sent.
    #[n(4)]
    pub max_hops: u32,
    /// How many flow variations the measurement uses in turn; 0 switches Paris mode off.
    #[n(5)]
    pub paris: u32,
    /// Destination port of TCP. UDP counts from 33434, as in RIPE Atlas.
    #[n(6)]
    pub port: u32,
    /// Milliseconds to wait for an answer.
    #[n(7)]
    pub response_timeout: u32,
    /// Milliseconds to wait for duplicates.
    #[n(8)]
    pub duplicate_timeout: u32,
    /// Bytes of an IPv6 hop-by-hop options header; 0 for none.
    #[n(9)]
    pub hop_by_hop_option_size: u32,
    /// Bytes of an IPv6 destination options header; 0 for none.
    #[n(10)]
    pub destination_option_size: u32,
    /// Sets the don't-fragment bit.
    #[n(11)]
    pub dont_fragment: bool,
    /// Traffic class (IPv6) or TOS (IPv4) byte.
    #[n(12)]
    pub traffic_class: u32,
}

impl TracerouteSpec {
    /// Packets per hop.
    pub const PACKETS: Limits = Limits::new("packets", 3, 1, 16);
    /// Payload bytes.
    pub const SIZE: Limits = Limits::new("size", 48, 0, 2048);
    /// The first hop limit sent.
    pub const FIRST_HOP: Limits = Limits::new("first_hop", 1, 1, 255);
    /// The greatest hop limit sent.
    pub const MAX_HOPS: Limits = Limits::new("max_hops", 32, 1, 255);
    /// Flow variations.
    pub const PARIS: Limits = Limits::new("paris", 16, 0, 64);
    /// Destination port.
    pub const PORT: Limits = Limits::new("port", 80, 1, 65_535);
    /// Milliseconds to wait for an answer.
    pub const RESPONSE_TIMEOUT: Limits = Limits::new("response_timeout", 4000, 1, 60_000);
    /// Milliseconds to wait for duplicates.
    pub const DUPLICATE_TIMEOUT: Limits = Limits::new("duplicate_timeout", 10, 0, 10_000);
    /// Bytes of an IPv6 hop-by-hop options header.
    pub const HOP_BY_HOP_OPTION_SIZE: Limits = Limits::new("hop_by_hop_option_size", 0, 0, 2048);
    /// Bytes of an IPv6 destination options header.
    pub const DESTINATION_OPTION_SIZE: Limits = Limits::new("destination_option_size", 0, 0, 1024);
    /// Traffic class or TOS byte.
    pub const TRAFFIC_CLASS: Limits = Limits::new("traffic_class", 0, 0, 255);
}

impl Default for TracerouteSpec {
    fn default() -> Self {
        Self {
            protocol: Transport::Udp,
            packets: Self::PACKETS.default,
            size: Self::SIZE.default,
            first_hop: Self::FIRST_HOP.default,
            max_hops: Self::MAX_HOPS.default,
            paris: Self::PARIS.default,
            port: Self::PORT.default,
            response_timeout: Self::RESPONSE_TIMEOUT.default,
            duplicate_timeout: Self::DUPLICATE_TIMEOUT.default,
            hop_by_hop_option_size: Self::HOP_BY_HOP_OPTION_SIZE.default,
            destination_option_size: Self::DESTINATION_OPTION_SIZE.default,
            dont_fragment: false,
            traffic_class: Self::TRAFFIC_CLASS.default,
        }
    }
}

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

/// `sslcert`: the certificates a TLS server shows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SslcertSpec {
    /// Port of the server.
    #[n(0)]
    pub port: u32,
    /// Server name indication (RFC 6066); the target's name when absent.
    #[n(1)]
    pub hostname: Option<Text<MAX_TARGET>>,
}

impl SslcertSpec {
    /// Port of the server.
    pub const PORT: Limits = Limits::new("port", 443, 1, 65_535);
}

impl Default for SslcertSpec {
    fn default() -> Self {
        Self { port: Self::PORT.default, hostname: None }
    }
}

/// The method of an HTTP measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum HttpMethod {
    /// Headers and body.
    #[n(0)]
    Get,
    /// Headers alone.
    #[n(1)]
    Head,
    /// An empty POST.
    #[n(2)]
    Post,
}

impl HttpMethod {
    /// The method's name (RFC 9110).
    pub const fn name(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Post => "POST",
        }
    }

    /// Reads the method's name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [HttpMethod::Get, HttpMethod::Head, HttpMethod::Post].into_iter().find(|m| m.name().eq_ignore_ascii_case(name))
    }
}

/// `http`: one request to a host that the signed directory lists.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HttpSpec {
    /// The method.
    #[n(0)]
    pub method: HttpMethod,
    /// Path of the URL.
    #[n(1)]
    pub path: Text<1024>,
    /// Query of the URL, without the question mark.
    #[n(2)]
    pub query_string: Option<Text<1024>>,
    /// Port; 443 is the default with `https`.
    #[n(3)]
    pub port: u32,
    /// Over TLS.
    #[n(4)]
    pub https: bool,
    /// HTTP/1.1 instead of 1.0.
    #[n(5)]
    pub version_1_1: bool,
    /// How many bytes of the response's header results carry.
    #[n(6)]
    pub header_bytes: u32,
    /// How much of the body is read at most.
    #[n(7)]
    pub max_bytes_read: Option<u32>,
    /// Results carry `ttr`, `ttc`, `ttfb`.
    #[n(8)]
    pub extended_timing: bool,
    /// Results carry the times of the reads.
    #[n(9)]
    pub more_extended_timing: bool,
}

impl HttpSpec {
    /// Port of the server.
    pub const PORT: Limits = Limits::new("port", 80, 1, 65_535);
    /// Bytes of the response's header.
    pub const HEADER_BYTES: Limits = Limits::new("header_bytes", 0, 0, 2048);
    /// Bytes of the body.
    pub const MAX_BYTES_READ: Limits = Limits::new("max_bytes_read", 1_020_048, 1, 1_020_048);

    /// The port that a URL of this scheme need not name.
    pub const fn default_port(https: bool) -> u32 {
        if https { 443 } else { Self::PORT.default }
    }

    /// `host`, with the port when it is not the scheme's own; IPv6 literals in brackets (RFC 3986, section 3.2.2).
    pub fn authority(&self, host: &str) -> String {
        let host = if host.contains(':') { alloc::format!("[{host}]") } else { String::from(host) };
        if self.port == Self::default_port(self.https) { host } else { alloc::format!("{host}:{}", self.port) }
    }

    /// Path and query, as the request has them.
    pub fn path_and_query(&self) -> String {
        match &self.query_string {
            Some(query) => alloc::format!("{}?{query}", self.path),
            None => String::from(self.path.as_str()),
        }
    }

    /// The whole URL.
    pub fn uri(&self, host: &str) -> String {
        let scheme = if self.https { "https" } else { "http" };
        alloc::format!("{scheme}://{}{}", self.authority(host), self.path_and_query())
    }
}

/// Can this stand in the first line of a request? Visible ASCII alone: a space or a line end would end it early, and what
/// follows would be a request of the sender's own making.
fn is_request_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Default for HttpSpec {
    fn default() -> Self {
        Self {
            method: HttpMethod::Get,
            path: Text::cut("/"),
            query_string: None,
            port: Self::PORT.default,
            https: false,
            version_1_1: true,
            header_bytes: Self::HEADER_BYTES.default,
            max_bytes_read: None,
            extended_timing: false,
            more_extended_timing: false,
        }
    }
}

/// `ntp`: client exchanges with a time server (RFC 5905).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NtpSpec {
    /// How many exchanges.
    #[n(0)]
    pub packets: u32,
    /// Milliseconds to wait for each answer.
    #[n(1)]
    pub timeout: u32,
}

impl NtpSpec {
    /// Exchanges in one run.
    pub const PACKETS: Limits = Limits::new("packets", 3, 1, 16);
    /// Milliseconds to wait.
    pub const TIMEOUT: Limits = Limits::new("timeout", 4000, 1, 60_000);
}

impl Default for NtpSpec {
    fn default() -> Self {
        Self { packets: Self::PACKETS.default, timeout: Self::TIMEOUT.default }
    }
}

/// `pathmtu`: the greatest packet that passes to the target and back (RFC 1191, RFC 8201, RFC 4821). Ours, not Atlas's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PathMtuSpec {
    /// Packets sent of one size before it counts as lost.
    #[n(0)]
    pub packets: u32,
    /// Milliseconds to wait for an answer.
    #[n(1)]
    pub timeout: u32,
}

impl PathMtuSpec {
    /// Packets of one size.
    pub const PACKETS: Limits = Limits::new("packets", 3, 1, 16);
    /// Milliseconds to wait.
    pub const TIMEOUT: Limits = Limits::new("timeout", 1000, 10, 10_000);
}

impl Default for PathMtuSpec {
    fn default() -> Self {
        Self { packets: Self::PACKETS.default, timeout: Self::TIMEOUT.default }
    }
}

/// What is to be measured, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// ICMP echo.
    Ping(PingSpec),
    /// The path.
    Traceroute(TracerouteSpec),
    /// A DNS query.
    Dns(DnsSpec),
    /// Certificates.
    Sslcert(SslcertSpec),
    /// An HTTP request.
    Http(HttpSpec),
    /// An NTP exchange.
    Ntp(NtpSpec),
    /// The greatest packet that passes.
    PathMtu(PathMtuSpec),
}

impl Spec {
    /// The packets of a connection that carries one exchange.
    const STREAM_PACKETS: u32 = 64;

    /// Every option at its default.
    pub fn default_of(kind: Kind) -> Self {
        match kind {
            Kind::Ping => Spec::Ping(PingSpec::default()),
            Kind::Traceroute => Spec::Traceroute(TracerouteSpec::default()),
            Kind::Dns => Spec::Dns(DnsSpec::default()),
            Kind::Sslcert => Spec::Sslcert(SslcertSpec::default()),
            Kind::Http => Spec::Http(HttpSpec::default()),
            Kind::Ntp => Spec::Ntp(NtpSpec::default()),
            Kind::PathMtu => Spec::PathMtu(PathMtuSpec::default()),
        }
    }

    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Spec::Ping(_) => Kind::Ping,
            Spec::Traceroute(_) => Kind::Traceroute,
            Spec::Dns(_) => Kind::Dns,
            Spec::Sslcert(_) => Kind::Sslcert,
            Spec::Http(_) => Kind::Http,
            Spec::Ntp(_) => Kind::Ntp,
            Spec::PathMtu(_) => Kind::PathMtu,
        }
    }

    /// Does this run without a target? Only dns with the probe's own resolvers does.
    pub const fn needs_no_target(&self) -> bool {
        matches!(self, Spec::Dns(dns) if dns.use_probe_resolver)
    }

    /// The destination port that a policy has to look at, where the kind opens a connection (TCP).
    pub fn tcp_port(&self) -> Option<u16> {
        let port = match self {
            Spec::Traceroute(t) if t.protocol == Transport::Tcp => t.port,
            Spec::Dns(d) if d.carrier().transport() == Transport::Tcp => d.port,
            Spec::Sslcert(s) => s.port,
            Spec::Http(h) => h.port,
            _ => return None,
        };
        u16::try_from(port).ok()
    }

    /// The greatest number of packets one run sends, for caps and schedules.
    pub fn packets_at_most(&self) -> u32 {
        match self {
            Spec::Ping(p) => p.packets,
            Spec::Traceroute(t) => t.packets.saturating_mul(t.max_hops.saturating_sub(t.first_hop).saturating_add(1)),
            Spec::Dns(d) => d.retry.saturating_add(1).saturating_mul(match d.carrier() {
                DnsCarrier::Udp => 1,
                DnsCarrier::Tcp => 8,
                // A handshake, and the settings of HTTP/2 or QUIC's own upkeep.
                DnsCarrier::Tls | DnsCarrier::Https | DnsCarrier::Quic => 24,
            }),
            // Connection, handshake, request and end. Acknowledgements of a long body are the server's doing; its bytes count
            // in `packet_size`.
            Spec::Sslcert(_) | Spec::Http(_) => Self::STREAM_PACKETS,
            Spec::Ntp(n) => n.packets,
            // A search over the sizes, and one along the path: the engine stops there.
            Spec::PathMtu(p) => p.packets.saturating_mul(32).saturating_add(96),
        }
    }

    /// The payload bytes of one packet, for byte budgets.
    pub const fn packet_size(&self) -> u32 {
        match self {
            Spec::Ping(p) => p.size,
            Spec::Traceroute(t) => t.size,
            Spec::Dns(_) => 512,
            Spec::Sslcert(_) => 1400,
            // The budget counts as many bytes back as sent, so a body stands in half of them.
            Spec::Http(h) => {
                let body = match (h.method, h.max_bytes_read) {
                    (HttpMethod::Head, _) => 0,
                    (_, Some(most)) => most,
                    (_, None) => HttpSpec::MAX_BYTES_READ.default,
                };
                1400_u32.saturating_add(body / (2 * Self::STREAM_PACKETS))
            }
            Spec::Ntp(_) => 48,
            // Most are as long as the usual link's MTU or shorter; the longest are refused before they leave.
            Spec::PathMtu(_) => 1452,
        }
    }

    /// Every field that is out of range; empty when the definition can be accepted.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let problems = &mut found;
        match self {
            Spec::Ping(p) => {
                PingSpec::PACKETS.check(p.packets, problems);
                PingSpec::SIZE.check(p.size, problems);
                PingSpec::PACKET_INTERVAL.check(p.packet_interval, problems);
            }
            Spec::Traceroute(t) => {
                TracerouteSpec::PACKETS.check(t.packets, problems);
                TracerouteSpec::SIZE.check(t.size, problems);
                TracerouteSpec::FIRST_HOP.check(t.first_hop, problems);
                TracerouteSpec::MAX_HOPS.check(t.max_hops, problems);
                if t.first_hop > t.max_hops {
                    problems.push(Problem { field: "first_hop", detail: "first_hop is greater than max_hops.".into() });
                }
                TracerouteSpec::PARIS.check(t.paris, problems);
                TracerouteSpec::PORT.check(t.port, problems);
                TracerouteSpec::RESPONSE_TIMEOUT.check(t.response_timeout, problems);
                TracerouteSpec::DUPLICATE_TIMEOUT.check(t.duplicate_timeout, problems);
                TracerouteSpec::HOP_BY_HOP_OPTION_SIZE.check(t.hop_by_hop_option_size, problems);
                TracerouteSpec::DESTINATION_OPTION_SIZE.check(t.destination_option_size, problems);
                TracerouteSpec::TRAFFIC_CLASS.check(t.traffic_class, problems);
            }
            Spec::Dns(d) => {
                DnsSpec::UDP_PAYLOAD_SIZE.check(d.udp_payload_size, problems);
                DnsSpec::RETRY.check(d.retry, problems);
                DnsSpec::TIMEOUT.check(d.timeout, problems);
                DnsSpec::PORT.check(d.port, problems);
                if let Some(ttl) = d.ttl {
                    DnsSpec::TTL.check(ttl, problems);
                }
                if d.protocol == Transport::Icmp {
                    problems.push(Problem { field: "protocol", detail: "dns is measured over UDP or TCP.".into() });
                }
                let secure = [("tls", d.tls), ("https", d.https), ("quic", d.quic)];
                if let [_, (second, _), ..] = secure.iter().filter(|(_, on)| *on).collect::<Vec<_>>().as_slice() {
                    let detail = "Only one of tls, https and quic can carry the query.".into();
                    problems.push(Problem { field: second, detail });
                }
                if d.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
                    problems.push(Problem { field: "path", detail: "A path begins with a slash.".into() });
                }
                if d.hostname.as_ref().is_some_and(|name| name.is_empty()) {
                    problems.push(Problem { field: "hostname", detail: "This field may not be blank.".into() });
                }
                // The root is asked for as ".".
                if d.query_argument.is_empty() {
                    problems.push(Problem { field: "query_argument", detail: "This field may not be blank.".into() });
                }
            }
            Spec::Sslcert(s) => {
                SslcertSpec::PORT.check(s.port, problems);
                let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
                if s.hostname.as_ref().is_some_and(|name| name.is_empty() || !name.bytes().all(in_name)) {
                    problems.push(Problem { field: "hostname", detail: "This is not a host name.".into() });
                }
            }
            Spec::Http(h) => {
                HttpSpec::PORT.check(h.port, problems);
                HttpSpec::HEADER_BYTES.check(h.header_bytes, problems);
                if let Some(bytes) = h.max_bytes_read {
                    HttpSpec::MAX_BYTES_READ.check(bytes, problems);
                }
                if !h.path.starts_with('/') {
                    problems.push(Problem { field: "path", detail: "A path begins with a slash.".into() });
                }
                let query = h.query_string.as_deref().unwrap_or_default();
                for (field, text) in [("path", &*h.path), ("query_string", query)] {
                    if !is_request_text(text) {
                        problems.push(Problem {
                            field,
                            detail: "Write everything but visible ASCII characters percent-encoded.".into(),
                        });
                    }
                }
            }
            Spec::Ntp(n) => {
                NtpSpec::PACKETS.check(n.packets, problems);
                NtpSpec::TIMEOUT.check(n.timeout, problems);
            }
            Spec::PathMtu(p) => {
                PathMtuSpec::PACKETS.check(p.packets, problems);
                PathMtuSpec::TIMEOUT.check(p.timeout, problems);
            }
        }
        found
    }

    /// The definition in CBOR, as an order carries it beside the kind's number.
    pub fn to_cbor(&self) -> Vec<u8> {
        let encoded = match self {
            Spec::Ping(s) => minicbor::to_vec(s),
            Spec::Traceroute(s) => minicbor::to_vec(s),
            Spec::Dns(s) => minicbor::to_vec(s),
            Spec::Sslcert(s) => minicbor::to_vec(s),
            Spec::Http(s) => minicbor::to_vec(s),
            Spec::Ntp(s) => minicbor::to_vec(s),
            Spec::PathMtu(s) => minicbor::to_vec(s),
        };
        // Writing into memory cannot fail; the error type is `Infallible`.
        encoded.unwrap_or_default()
    }

    /// Reads what [`Spec::to_cbor`] wrote. Keys of newer versions are skipped; values out of range are refused.
    pub fn from_cbor(kind: Kind, bytes: &[u8]) -> Result<Self, SpecError> {
        let spec = match kind {
            Kind::Ping => Spec::Ping(minicbor::decode(bytes)?),
            Kind::Traceroute => Spec::Traceroute(minicbor::decode(bytes)?),
            Kind::Dns => Spec::Dns(minicbor::decode(bytes)?),
            Kind::Sslcert => Spec::Sslcert(minicbor::decode(bytes)?),
            Kind::Http => Spec::Http(minicbor::decode(bytes)?),
            Kind::Ntp => Spec::Ntp(minicbor::decode(bytes)?),
            Kind::PathMtu => Spec::PathMtu(minicbor::decode(bytes)?),
        };
        match spec.problems().into_iter().next() {
            None => Ok(spec),
            Some(problem) => Err(SpecError::Range(problem.field)),
        }
    }
}

/// Why a definition in CBOR cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It is not the CBOR of such a definition.
    #[error("malformed definition: {0}")]
    Malformed(#[from] minicbor::decode::Error),
    /// A field has a value that is not allowed.
    #[error("{0} is out of range")]
    Range(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_own_ranges() {
        for kind in Kind::ALL {
            let mut spec = Spec::default_of(kind);
            if let Spec::Dns(dns) = &mut spec {
                dns.query_argument = Text::cut("example.net");
            }
            assert_eq!(spec.problems(), [], "{kind}");
            assert_eq!(Spec::from_cbor(kind, &spec.to_cbor()).unwrap(), spec);
        }
    }

    #[test]
    fn the_golden_bytes_of_a_ping() {
        let bytes = Spec::Ping(PingSpec::default()).to_cbor();
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), "a40003011830021903e803f4");
    }

    #[test]
    fn a_key_of_a_newer_version_is_skipped() {
        // {0: 3, 1: 48, 2: 1000, 3: false, 99: "new"}
        let bytes = data_encoding::HEXLOWER.decode(b"a50003011830021903e803f41863636e6577").unwrap();
        assert_eq!(Spec::from_cbor(Kind::Ping, &bytes).unwrap(), Spec::Ping(PingSpec::default()));
    }

    #[test]
    fn values_out_of_range_name_their_field() {
        let spec = Spec::Ping(PingSpec { packets: 17, ..PingSpec::default() });
        assert_eq!(spec.problems().first().map(|p| p.field), Some("packets"));
        assert!(matches!(Spec::from_cbor(Kind::Ping, &spec.to_cbor()), Err(SpecError::Range("packets"))));
    }

    #[test]
    fn no_request_is_smuggled_into_another() {
        let http = |path: &str, query: Option<&str>| {
            let query_string = query.map(Text::cut);
            Spec::Http(HttpSpec { path: Text::cut(path), query_string, ..HttpSpec::default() }).problems()
        };
        for bad in ["/a b", "/\r\nHost: x", "/\u{e4}", "/\u{7f}"] {
            assert_eq!(http(bad, None).first().map(|p| p.field), Some("path"), "{bad:?}");
            assert_eq!(http("/", Some(bad)).first().map(|p| p.field), Some("query_string"), "{bad:?}");
        }
        assert_eq!(http("/a%20b", Some("c=d&e")), []);
        for bad in ["", "a b", "\u{e4}.example", "x\n"] {
            let spec = Spec::Sslcert(SslcertSpec { hostname: Some(Text::cut(bad)), ..SslcertSpec::default() });
            assert_eq!(spec.problems().first().map(|p| p.field), Some("hostname"), "{bad:?}");
        }
    }

    #[test]
    fn a_url_names_its_port_when_it_must() {
        let http = HttpSpec { query_string: Some(Text::cut("q")), ..HttpSpec::default() };
        assert_eq!(http.uri("a.example"), "http://a.example/?q");
        let https = HttpSpec { https: true, ..HttpSpec::default() };
        assert_eq!(https.uri("2001:db8::1"), "https://[2001:db8::1]:80/");
        assert_eq!(HttpSpec { port: 443, ..https }.uri("192.0.2.1"), "https://192.0.2.1/");
    }

    #[test]
    fn a_body_counts_in_the_bytes_of_a_day() {
        let bytes = |h: HttpSpec| {
            let spec = Spec::Http(h);
            2 * u64::from(spec.packets_at_most()) * u64::from(spec.packet_size())
        };
        let whole = bytes(HttpSpec::default());
        assert!(whole >= u64::from(HttpSpec::MAX_BYTES_READ.max), "{whole}");
        assert!(bytes(HttpSpec { max_bytes_read: Some(1), ..HttpSpec::default() }) < whole / 4);
        assert!(bytes(HttpSpec { method: HttpMethod::Head, ..HttpSpec::default() }) < whole / 4);
    }

    #[test]
    fn record_types_by_name_and_number() {
        assert_eq!(dns_type("aaaa"), Some(28));
        assert_eq!(dns_type("TYPE65"), Some(65));
        assert_eq!(dns_type("64"), Some(64));
        assert_eq!(dns_type("TYPE70000"), None);
        assert_eq!(dns_class("chaos"), Some(3));
    }
}
