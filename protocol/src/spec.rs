//! What a measurement is: one definition per kind, with RIPE Atlas's option names, defaults and ranges.
//!
//! The definitions are data. [`Limits`] constants say name, default and range once; `default()` builds from them and
//! [`Spec::problems`] checks against them, for the API (which points at the field) and for the probe (which trusts no
//! order). Source of names and figures: the RIPE Atlas API v2 measurement definitions.

mod dns;
mod http;
mod ipv6;
mod ntp;
mod path_mtu;
mod ping;
mod sslcert;
mod traceroute;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::bounded::Text;
use crate::net::Transport;

pub use self::dns::*;
pub use self::http::*;
pub use self::ipv6::*;
pub use self::ntp::*;
pub use self::path_mtu::*;
pub use self::ping::*;
pub use self::sslcert::*;
pub use self::traceroute::*;

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
    /// What both address families are worth (ours, not Atlas's). Nothing runs it yet.
    Ipv6 = 8,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] =
        [Kind::Ping, Kind::Traceroute, Kind::Dns, Kind::Sslcert, Kind::Http, Kind::Ntp, Kind::PathMtu, Kind::Ipv6];

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
            Kind::Ipv6 => "ipv6",
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
            Kind::Ipv6 => "IPv6",
        }
    }

    /// The interval in seconds of a periodic measurement that names none (Atlas's nominal values; 900 where none is known).
    pub const fn default_interval(self) -> u32 {
        match self {
            Kind::Ping | Kind::Dns => 240,
            Kind::Traceroute | Kind::Sslcert | Kind::Ipv6 => 900,
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
    /// What both address families are worth.
    Ipv6(Ipv6Spec),
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
            Kind::Ipv6 => Spec::Ipv6(Ipv6Spec::default()),
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
            Spec::Ipv6(_) => Kind::Ipv6,
        }
    }

    /// Does this run without a target? Dns with the probe's own resolvers does, and ipv6, whose targets the directory lists.
    pub const fn needs_no_target(&self) -> bool {
        match self {
            Spec::Dns(dns) => dns.use_probe_resolver,
            Spec::Ipv6(_) => true,
            _ => false,
        }
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
            Spec::Ipv6(ipv6) => ipv6.packets_at_most(),
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
            Spec::Ipv6(ipv6) => ipv6.packet_size(),
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
            Spec::Ipv6(Ipv6Spec { scope: _ }) => {}
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
            Spec::Ipv6(s) => minicbor::to_vec(s),
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
            Kind::Ipv6 => Spec::Ipv6(minicbor::decode(bytes)?),
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
