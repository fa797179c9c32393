//! What can be asked for: each kind's fields, with their words and defaults. What a value may be the API says, in its answer; the
//! ranges here are for whoever reads the form, and a test holds them to those that the API checks.

/// What a control takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// A whole number: the default, the least, the greatest.
    Number(u32, u32, u32),
    /// A whole number that has no default.
    Optional(u32, u32),
    /// Words; what stands in the empty field as an example.
    Text(&'static str),
    /// One of these: value and words. The first is the default.
    Choice(&'static [(&'static str, &'static str)]),
    /// Yes or, without a tick, no.
    Flag,
}

/// A field of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Atlas's name.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    /// What it takes.
    pub input: Input,
    /// One sentence more, or nothing.
    pub hint: &'static str,
    /// Shown at once; the others are folded.
    pub is_main: bool,
}

impl Field {
    /// The hint, with the range.
    pub fn ranged(&self) -> String {
        let (Input::Number(_, least, most) | Input::Optional(least, most)) = self.input else {
            return self.hint.into();
        };
        let range = format!("{least} to {most}.");
        if self.hint.is_empty() { range } else { format!("{} {range}", self.hint) }
    }
}

/// A kind of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// Atlas's name.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it finds out.
    pub about: &'static str,
    /// Its own fields.
    pub fields: &'static [Field],
}

impl Kind {
    /// The fields that are shown at once.
    pub fn main(&self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().filter(|field| field.is_main)
    }

    /// The fields that are folded.
    pub fn more(&self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().filter(|field| !field.is_main)
    }
}

const fn main(name: &'static str, label: &'static str, input: Input, hint: &'static str) -> Field {
    Field { name, label, input, hint, is_main: true }
}

const fn more(name: &'static str, label: &'static str, input: Input, hint: &'static str) -> Field {
    Field { name, label, input, hint, is_main: false }
}

const PORT: Input = Input::Optional(1, 65_535);

/// Every kind that users may ask for, in the order of the form.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "ping",
        title: "Ping",
        about: "Is it there, and how far away? Round-trip times and loss.",
        fields: &[
            main("packets", "Packets", Input::Number(3, 1, 16), ""),
            main("size", "Size, bytes", Input::Number(48, 1, 2048), ""),
            more("packet_interval", "Between packets, ms", Input::Number(1000, 2, 300_000), ""),
            more("include_probe_id", "Write the probe’s number into the packets", Input::Flag, ""),
        ],
    },
    Kind {
        name: "traceroute",
        title: "Traceroute",
        about: "Which way do packets take, and where do they stop?",
        fields: &[
            main(
                "protocol",
                "Protocol",
                Input::Choice(&[("UDP", "UDP"), ("ICMP", "ICMP"), ("TCP", "TCP (few probes may)")]),
                "",
            ),
            main("packets", "Packets for each hop", Input::Number(3, 1, 16), ""),
            main("paris", "Paths to vary", Input::Number(16, 0, 64), "How many flows Paris traceroute tries in turn."),
            more("size", "Size, bytes", Input::Number(48, 0, 2048), ""),
            more("first_hop", "First hop", Input::Number(1, 1, 255), ""),
            more("max_hops", "Last hop", Input::Number(32, 1, 255), ""),
            more("port", "Port", Input::Number(80, 1, 65_535), "Over TCP."),
            more("response_timeout", "Wait for an answer, ms", Input::Number(4000, 1, 60_000), ""),
            more("duplicate_timeout", "Wait for a second answer, ms", Input::Number(10, 0, 10_000), ""),
            more("dont_fragment", "Routers must not cut packets into pieces", Input::Flag, ""),
            more("traffic_class", "Traffic class", Input::Number(0, 0, 255), "The byte for quality of service."),
            more("hop_by_hop_option_size", "Hop-by-hop options, bytes", Input::Number(0, 0, 2048), "Over IPv6."),
            more("destination_option_size", "Destination options, bytes", Input::Number(0, 0, 1024), "Over IPv6."),
        ],
    },
    Kind {
        name: "dns",
        title: "DNS",
        about: "What does a name server answer, and how fast?",
        fields: &[
            main("query_argument", "Name to ask for", Input::Text("www.example.net"), ""),
            main(
                "query_type",
                "Record",
                Input::Text("AAAA"),
                "By name or number: A, AAAA, MX, NS, TXT, SOA, HTTPS, TYPE65 …",
            ),
            main("use_probe_resolver", "Ask each probe’s own resolvers", Input::Flag, "Then no target is needed."),
            main(
                "carrier",
                "Over",
                Input::Choice(&[
                    ("UDP", "UDP"),
                    ("TCP", "TCP"),
                    ("tls", "TLS (DoT)"),
                    ("https", "HTTPS (DoH)"),
                    ("quic", "QUIC (DoQ)"),
                ]),
                "",
            ),
            more("query_class", "Class", Input::Choice(&[("IN", "IN"), ("CHAOS", "CHAOS")]), ""),
            more("port", "Port", PORT, "By default what carries the query decides: 53, 853 or 443."),
            more("set_do_bit", "Ask for DNSSEC’s records (DO)", Input::Flag, ""),
            more("set_cd_bit", "The resolver must not check DNSSEC (CD)", Input::Flag, ""),
            more(
                "set_rd_bit",
                "Recursion desired (RD)",
                Input::Choice(&[("", "for the probes’ own resolvers"), ("true", "yes"), ("false", "no")]),
                "",
            ),
            more("set_nsid_bit", "Ask the server for its name (NSID)", Input::Flag, ""),
            more("udp_payload_size", "Longest answer over UDP, bytes", Input::Number(512, 512, 4096), ""),
            more("retry", "Ask again", Input::Number(0, 0, 10), ""),
            more("timeout", "Wait for an answer, ms", Input::Number(5000, 100, 30_000), ""),
            more("ttl", "Hop limit", Input::Optional(1, 255), ""),
            more("path", "Path over HTTPS", Input::Text("/dns-query"), ""),
            more("hostname", "The server’s name in TLS", Input::Text(""), "The target’s by default."),
            more("default_client_subnet", "Ask that nobody is told where the client is", Input::Flag, ""),
            more("cookies", "Send a DNS cookie", Input::Flag, ""),
            more("include_qbuf", "Put the query into the result", Input::Flag, ""),
            more("use_macros", "$p, $t and $r in the name are probe, time and chance", Input::Flag, ""),
            more("prepend_probe_id", "Put probe and time before the name", Input::Flag, ""),
        ],
    },
    Kind {
        name: "sslcert",
        title: "TLS certificate",
        about: "Which certificates does a server show?",
        fields: &[
            main("port", "Port", Input::Number(443, 1, 65_535), ""),
            main("hostname", "Name to ask for (SNI)", Input::Text("www.example.net"), "The target’s by default."),
        ],
    },
    Kind {
        name: "http",
        title: "HTTP",
        about: "Does a web server answer, and how fast? Only hosts that the operator has listed can be asked.",
        fields: &[
            main("https", "Over TLS", Input::Flag, ""),
            main("path", "Path", Input::Text("/"), ""),
            main("method", "Method", Input::Choice(&[("GET", "GET"), ("HEAD", "HEAD"), ("POST", "POST")]), ""),
            more("query_string", "Query", Input::Text(""), "What stands behind the question mark."),
            more("port", "Port", PORT, "80, or 443 over TLS, by default."),
            more("version", "Version", Input::Choice(&[("1.1", "HTTP/1.1"), ("1.0", "HTTP/1.0")]), ""),
            more("header_bytes", "Head to keep, bytes", Input::Number(0, 0, 2048), ""),
            more("max_bytes_read", "Body to read, bytes", Input::Optional(1, 1_020_048), ""),
            more("extended_timing", "Times of name, connection and first byte", Input::Flag, ""),
            more("more_extended_timing", "The time of every read, too", Input::Flag, ""),
        ],
    },
    Kind {
        name: "ntp",
        title: "NTP",
        about: "What time does a server tell, and how far is it off?",
        fields: &[
            main("packets", "Exchanges", Input::Number(3, 1, 16), ""),
            more("timeout", "Wait for an answer, ms", Input::Number(4000, 1, 60_000), ""),
        ],
    },
    Kind {
        name: "pathmtu",
        title: "Path MTU",
        about: "How long may packets be, and where are longer ones lost?",
        fields: &[
            main("packets", "Packets of a size before it counts as lost", Input::Number(3, 1, 16), ""),
            more("timeout", "Wait for an answer, ms", Input::Number(1000, 10, 10_000), ""),
        ],
    },
    Kind {
        name: "ipv6",
        title: "IPv6",
        about: "What are both families worth at the probes? Against the network’s own reference servers, without a target.",
        fields: &[main(
            "scope",
            "How much",
            Input::Choice(&[("light", "light: seconds"), ("full", "full: sizes and headers too, up to a minute")]),
            "",
        )],
    },
];

/// The kind by Atlas's name.
pub(super) fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The sources of probes: Atlas's word, words for people, an example.
pub(super) const SOURCES: &[(&str, &str, &str)] = &[
    ("area", "anywhere, or an area", "WW"),
    ("country", "a country", "NL"),
    ("asn", "an AS", "AS64500"),
    ("prefix", "a prefix", "2001:db8::/32"),
    ("region", "a region", "western_europe"),
    ("probes", "probes by number", "1,5,12"),
    ("msm", "the probes of a measurement", "1000001"),
];

#[cfg(test)]
mod tests {
    use sonde_protocol::spec::{
        DnsSpec, HttpSpec, Limits, NtpSpec, PathMtuSpec, PingSpec, SslcertSpec, TracerouteSpec,
    };

    use super::*;

    #[test]
    fn ranges_are_those_that_are_checked() {
        let of = |name: &str| -> Vec<Limits> {
            match name {
                "ping" => vec![PingSpec::PACKETS, PingSpec::SIZE, PingSpec::PACKET_INTERVAL],
                "traceroute" => vec![
                    TracerouteSpec::PACKETS,
                    TracerouteSpec::SIZE,
                    TracerouteSpec::FIRST_HOP,
                    TracerouteSpec::MAX_HOPS,
                    TracerouteSpec::PARIS,
                    TracerouteSpec::PORT,
                    TracerouteSpec::RESPONSE_TIMEOUT,
                    TracerouteSpec::DUPLICATE_TIMEOUT,
                    TracerouteSpec::HOP_BY_HOP_OPTION_SIZE,
                    TracerouteSpec::DESTINATION_OPTION_SIZE,
                    TracerouteSpec::TRAFFIC_CLASS,
                ],
                "dns" => {
                    vec![DnsSpec::UDP_PAYLOAD_SIZE, DnsSpec::RETRY, DnsSpec::TIMEOUT, DnsSpec::PORT, DnsSpec::TTL]
                }
                "sslcert" => vec![SslcertSpec::PORT],
                "http" => vec![HttpSpec::PORT, HttpSpec::HEADER_BYTES, HttpSpec::MAX_BYTES_READ],
                "ntp" => vec![NtpSpec::PACKETS, NtpSpec::TIMEOUT],
                "ipv6" => vec![],
                "pathmtu" => vec![PathMtuSpec::PACKETS, PathMtuSpec::TIMEOUT],
                other => panic!("{other} has no ranges here"),
            }
        };
        for kind in KINDS {
            let limits = of(kind.name);
            let mut numbers = 0;
            for field in kind.fields {
                let (default, least, most) = match field.input {
                    Input::Number(default, least, most) => (Some(default), least, most),
                    Input::Optional(least, most) => (None, least, most),
                    _ => continue,
                };
                numbers += 1;
                let limit = limits.iter().find(|limit| limit.name == field.name).unwrap();
                assert_eq!((least, most), (limit.min, limit.max), "{} {}", kind.name, field.name);
                assert!(default.is_none_or(|default| default == limit.default), "{} {}", kind.name, field.name);
            }
            assert_eq!(numbers, limits.len(), "{}", kind.name);
        }
    }

    #[test]
    fn every_kind_that_a_network_has_is_here() {
        for kind in sonde_protocol::spec::Kind::ALL {
            assert!(super::kind(kind.name()).is_some(), "{kind}");
        }
    }
}
