//! Each kind's own fields, between JSON and [`Spec`]: read from a definition, written into a measurement's object. Both
//! directions stand beside each other, so that a field is not forgotten in one of them.

use serde_json::{Map, Value, json};
use sonde_protocol::address::tcp_port_allowed;
use sonde_protocol::bounded::Text;
use sonde_protocol::net::Transport;
use sonde_protocol::spec::{
    DnsSpec, HttpMethod, HttpSpec, Ipv6Scope, Ipv6Spec, Kind, Limits, NtpSpec, PathMtuSpec, PingSpec, Spec,
    SslcertSpec, TracerouteSpec, dns_class, dns_class_name, dns_type, dns_type_name,
};

use crate::reader::Reader;

/// The kinds that can be measured today. The others are read and checked, and then refused in words.
pub(crate) const OFFERED: &[Kind] =
    &[Kind::Ping, Kind::Traceroute, Kind::Dns, Kind::Sslcert, Kind::Http, Kind::Ntp, Kind::PathMtu, Kind::Ipv6];

/// What is said of anything that Atlas has and this server does not have yet.
pub(crate) const NOT_YET: &str = "This is not offered yet by this server.";

/// The fields of a definition of this kind, each at its default where it is not given. What is wrong with them is written
/// down in `fields`.
pub(crate) fn read(kind: Kind, fields: &mut Reader<'_>) -> Spec {
    let spec = match kind {
        Kind::Ping => Spec::Ping(ping(fields)),
        Kind::Traceroute => Spec::Traceroute(traceroute(fields)),
        Kind::Dns => Spec::Dns(dns(fields)),
        Kind::Sslcert => Spec::Sslcert(sslcert(fields)),
        Kind::Http => Spec::Http(http(fields)),
        Kind::Ntp => Spec::Ntp(ntp(fields)),
        Kind::PathMtu => Spec::PathMtu(path_mtu(fields)),
        Kind::Ipv6 => Spec::Ipv6(Ipv6Spec { scope: fields.word("scope", Ipv6Scope::from_name).unwrap_or_default() }),
    };
    // Ranges have been looked at; what is left are fields that do not go together.
    for problem in spec.problems() {
        if !fields.is_bad(problem.field) {
            fields.problem(problem.field, problem.detail);
        }
    }
    if spec.tcp_port().is_some_and(|port| !tcp_port_allowed(port)) {
        fields.problem("port", "Connections to this port are not allowed, because they look like an attack.");
    }
    spec
}

fn ping(fields: &mut Reader<'_>) -> PingSpec {
    // goat says `packet_size` where the others say `size`.
    let packet_size = fields.number_in(Limits { name: "packet_size", ..PingSpec::SIZE });
    PingSpec {
        packets: fields.number(PingSpec::PACKETS),
        size: fields.number_in(PingSpec::SIZE).or(packet_size).unwrap_or(PingSpec::SIZE.default),
        packet_interval: fields.number(PingSpec::PACKET_INTERVAL),
        include_probe_id: fields.flag("include_probe_id").unwrap_or(false),
    }
}

fn traceroute(fields: &mut Reader<'_>) -> TracerouteSpec {
    let default = TracerouteSpec::default();
    let protocol = fields.word("protocol", Transport::from_name).unwrap_or(default.protocol);
    TracerouteSpec {
        protocol,
        packets: fields.number(TracerouteSpec::PACKETS),
        size: fields.number(TracerouteSpec::SIZE),
        first_hop: fields.number(TracerouteSpec::FIRST_HOP),
        max_hops: fields.number(TracerouteSpec::MAX_HOPS),
        paris: fields.number(TracerouteSpec::PARIS),
        port: fields.number(TracerouteSpec::PORT),
        response_timeout: fields.number(TracerouteSpec::RESPONSE_TIMEOUT),
        duplicate_timeout: fields.number(TracerouteSpec::DUPLICATE_TIMEOUT),
        hop_by_hop_option_size: fields.number(TracerouteSpec::HOP_BY_HOP_OPTION_SIZE),
        destination_option_size: fields.number(TracerouteSpec::DESTINATION_OPTION_SIZE),
        dont_fragment: fields.flag("dont_fragment").unwrap_or(default.dont_fragment),
        traffic_class: fields.number(TracerouteSpec::TRAFFIC_CLASS),
    }
}

fn dns(fields: &mut Reader<'_>) -> DnsSpec {
    let default = DnsSpec::default();
    for field in ["query_class", "query_type", "query_argument"] {
        if fields.value(field).is_none() {
            fields.required(field);
        }
    }
    let use_macros = fields.flag("use_macros").unwrap_or(false);
    let query_argument = fields.text("query_argument");
    if let Some(argument) = &query_argument
        && !argument.is_empty()
        && !use_macros
        && !is_domain(argument)
    {
        fields.problem("query_argument", "This is not a domain name.");
    }
    let use_probe_resolver = fields.flag("use_probe_resolver").unwrap_or(false);
    let carrier = DnsSpec {
        protocol: fields.word("protocol", Transport::from_name).unwrap_or(default.protocol),
        tls: fields.flag("tls").unwrap_or(false),
        https: fields.flag("https").unwrap_or(false),
        quic: fields.flag("quic").unwrap_or(false),
        ..default.clone()
    };
    let port = fields.number_in(DnsSpec::PORT).unwrap_or_else(|| carrier.carrier().default_port());
    if use_probe_resolver && carrier.https && !DnsSpec::RESOLVER_PORTS.map(u32::from).contains(&port) {
        let words = "The probe's own resolvers are asked at the ports of DNS alone, 53 and 853; name a target instead.";
        fields.problem("https", words);
    }
    DnsSpec {
        query_class: fields.word("query_class", dns_class).unwrap_or(default.query_class),
        query_type: fields.word("query_type", dns_type).unwrap_or(default.query_type),
        // An argument that is missing or bad is a problem already; the placeholder keeps it from becoming two.
        query_argument: query_argument.unwrap_or_else(|| Text::cut(".")),
        udp_payload_size: fields.number(DnsSpec::UDP_PAYLOAD_SIZE),
        retry: fields.number(DnsSpec::RETRY),
        timeout: fields.number(DnsSpec::TIMEOUT),
        // A resolver that is not asked to recurse says nothing of use.
        set_rd_bit: fields.flag("set_rd_bit").unwrap_or(use_probe_resolver),
        set_do_bit: fields.flag("set_do_bit").unwrap_or(false),
        set_cd_bit: fields.flag("set_cd_bit").unwrap_or(false),
        set_nsid_bit: fields.flag("set_nsid_bit").unwrap_or(false),
        use_probe_resolver,
        include_abuf: fields.flag("include_abuf").unwrap_or(true),
        include_qbuf: fields.flag("include_qbuf").unwrap_or(false),
        prepend_probe_id: fields.flag("prepend_probe_id").unwrap_or(false),
        use_macros,
        port,
        default_client_subnet: fields.flag("default_client_subnet").unwrap_or(false),
        cookies: fields.flag("cookies").unwrap_or(false),
        ttl: fields.number_in(DnsSpec::TTL),
        path: fields.text("path"),
        hostname: fields.text("hostname"),
        ..carrier
    }
}

fn sslcert(fields: &mut Reader<'_>) -> SslcertSpec {
    SslcertSpec { port: fields.number(SslcertSpec::PORT), hostname: text_given(fields, "hostname") }
}

fn http(fields: &mut Reader<'_>) -> HttpSpec {
    let default = HttpSpec::default();
    let https = fields.flag("https").unwrap_or(false);
    let version = |text: &str| match text {
        "1.0" | "1" => Some(false),
        "1.1" => Some(true),
        _ => None,
    };
    HttpSpec {
        method: fields.word("method", HttpMethod::from_name).unwrap_or(default.method),
        path: fields.text("path").unwrap_or(default.path),
        query_string: text_given(fields, "query_string"),
        port: fields.number_in(HttpSpec::PORT).unwrap_or(if https { 443 } else { HttpSpec::PORT.default }),
        https,
        version_1_1: fields.word("version", version).unwrap_or(default.version_1_1),
        header_bytes: fields.number(HttpSpec::HEADER_BYTES),
        max_bytes_read: fields.number_in(HttpSpec::MAX_BYTES_READ),
        extended_timing: fields.flag("extended_timing").unwrap_or(false),
        more_extended_timing: fields.flag("more_extended_timing").unwrap_or(false),
    }
}

/// A text that says something: an empty one is as good as none.
fn text_given<const N: usize>(fields: &mut Reader<'_>, field: &str) -> Option<Text<N>> {
    fields.text(field).filter(|text: &Text<N>| !text.is_empty())
}

fn ntp(fields: &mut Reader<'_>) -> NtpSpec {
    NtpSpec { packets: fields.number(NtpSpec::PACKETS), timeout: fields.number(NtpSpec::TIMEOUT) }
}

fn path_mtu(fields: &mut Reader<'_>) -> PathMtuSpec {
    PathMtuSpec { packets: fields.number(PathMtuSpec::PACKETS), timeout: fields.number(PathMtuSpec::TIMEOUT) }
}

/// Could this stand in a query? Any character may be in a label (RFC 2181, section 11); the lengths count.
fn is_domain(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    // An escape (`\.`, `\065`) changes what a dot means; the probe, which encodes the name, has the last word on those.
    name.is_empty()
        || (name.len() <= 253 && (name.contains('\\') || name.split('.').all(|label| (1..=63).contains(&label.len()))))
}

/// The fields of this definition, as a measurement's object shows them.
pub fn write(spec: &Spec) -> Map<String, Value> {
    let value = match spec {
        Spec::Ping(p) => json!({
            "packets": p.packets,
            "size": p.size,
            "packet_interval": p.packet_interval,
            "include_probe_id": p.include_probe_id,
        }),
        Spec::Traceroute(t) => json!({
            "protocol": t.protocol.name(),
            "packets": t.packets,
            "size": t.size,
            "first_hop": t.first_hop,
            "max_hops": t.max_hops,
            "paris": t.paris,
            "port": t.port,
            "response_timeout": t.response_timeout,
            "duplicate_timeout": t.duplicate_timeout,
            "hop_by_hop_option_size": t.hop_by_hop_option_size,
            "destination_option_size": t.destination_option_size,
            "dont_fragment": t.dont_fragment,
            "traffic_class": t.traffic_class,
        }),
        Spec::Dns(d) => json!({
            "query_class": dns_class_name(d.query_class),
            "query_type": dns_type_name(d.query_type),
            "query_argument": d.query_argument.as_str(),
            "protocol": d.protocol.name(),
            "udp_payload_size": d.udp_payload_size,
            "retry": d.retry,
            "timeout": d.timeout,
            "set_rd_bit": d.set_rd_bit,
            "set_do_bit": d.set_do_bit,
            "set_cd_bit": d.set_cd_bit,
            "set_nsid_bit": d.set_nsid_bit,
            "use_probe_resolver": d.use_probe_resolver,
            "include_abuf": d.include_abuf,
            "include_qbuf": d.include_qbuf,
            "prepend_probe_id": d.prepend_probe_id,
            "use_macros": d.use_macros,
            "tls": d.tls,
            "port": d.port,
            "default_client_subnet": d.default_client_subnet,
            "cookies": d.cookies,
            "ttl": d.ttl,
            "https": d.https,
            "quic": d.quic,
            "path": d.path.as_deref(),
            "hostname": d.hostname.as_deref(),
        }),
        Spec::Sslcert(s) => json!({ "port": s.port, "hostname": s.hostname.as_deref() }),
        Spec::Http(h) => json!({
            "method": h.method.name(),
            "path": h.path.as_str(),
            "query_string": h.query_string.as_deref(),
            "port": h.port,
            "https": h.https,
            "version": if h.version_1_1 { "1.1" } else { "1.0" },
            "header_bytes": h.header_bytes,
            "max_bytes_read": h.max_bytes_read,
            "extended_timing": h.extended_timing,
            "more_extended_timing": h.more_extended_timing,
            // The probes always say who they are.
            "user_agent": null,
        }),
        Spec::Ntp(n) => json!({ "packets": n.packets, "timeout": n.timeout }),
        Spec::PathMtu(p) => json!({ "packets": p.packets, "timeout": p.timeout }),
        Spec::Ipv6(i) => json!({ "scope": i.scope.name() }),
    };
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Problem, Source};

    fn parse(kind: Kind, definition: &Value) -> (Spec, Vec<String>) {
        let mut problems: Vec<Problem> = Vec::new();
        let spec = read(kind, &mut Reader::new(definition, String::new(), &mut problems).unwrap());
        let places = problems.into_iter().map(|problem| match problem.source {
            Source::Pointer(place) | Source::Parameter(place) => place,
        });
        (spec, places.collect())
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for kind in Kind::ALL {
            let mut spec = Spec::default_of(kind);
            if let Spec::Dns(dns) = &mut spec {
                dns.query_argument = Text::cut("example.net");
            }
            assert_eq!(parse(kind, &Value::Object(write(&spec))), (spec, vec![]), "{kind}");
        }
    }

    #[test]
    fn nulls_and_unknown_keys_are_defaults() {
        // As ripe-atlas-tools sends it.
        let definition = json!({
            "timeout": 4000, "paris": 0, "max_hops": 255, "port": 80, "dont_fragment": false, "protocol": "icmp",
            "hop_by_hop_option_size": null, "destination_option_size": null, "from_the_future": {},
        });
        let expected =
            TracerouteSpec { protocol: Transport::Icmp, paris: 0, max_hops: 255, ..TracerouteSpec::default() };
        assert_eq!(parse(Kind::Traceroute, &definition), (Spec::Traceroute(expected), vec![]));
    }

    #[test]
    fn a_size_in_goats_words() {
        let (spec, problems) = parse(Kind::Ping, &json!({"packet_size": 100}));
        assert_eq!((spec.packet_size(), problems), (100, vec![]));
        assert_eq!(parse(Kind::Ping, &json!({"packet_size": 5000})).1, ["/packet_size"]);
    }

    #[test]
    fn every_problem_once_and_at_its_place() {
        for (kind, definition, places) in [
            (Kind::Ping, json!({"packets": 17, "size": "big"}), vec!["/packets", "/size"]),
            (Kind::Traceroute, json!({"first_hop": 9, "max_hops": 3}), vec!["/first_hop"]),
            (Kind::Traceroute, json!({"protocol": "TCP", "port": 80}), vec![]),
            (Kind::Traceroute, json!({"protocol": "TCP", "port": 22}), vec!["/port"]),
            (Kind::Traceroute, json!({"protocol": "UDP", "port": 22}), vec![]),
            (Kind::Traceroute, json!({"protocol": "SCTP"}), vec!["/protocol"]),
            (Kind::Dns, json!({}), vec!["/query_class", "/query_type", "/query_argument"]),
            (Kind::Dns, json!({"query_class": "IN", "query_type": "A", "query_argument": ""}), vec!["/query_argument"]),
            (
                Kind::Dns,
                json!({"query_class": "IN", "query_type": "A", "query_argument": "a..b"}),
                vec!["/query_argument"],
            ),
            (
                Kind::Dns,
                json!({"query_class": "X", "query_type": "Y", "query_argument": "."}),
                vec!["/query_class", "/query_type"],
            ),
            (
                Kind::Dns,
                json!({"query_class": "IN", "query_type": "A", "query_argument": ".", "tls": true, "quic": true}),
                vec!["/quic"],
            ),
            (
                Kind::Dns,
                json!({"query_class": "IN", "query_type": "A", "query_argument": ".", "https": true, "path": "q",
                       "hostname": "", "use_probe_resolver": true}),
                vec!["/https", "/path", "/hostname"],
            ),
            (
                Kind::Dns,
                json!({"query_class": "IN", "query_type": "A", "query_argument": ".", "tls": true, "port": 25}),
                vec!["/port"],
            ),
            (
                Kind::Dns,
                json!({"query_class": "IN", "query_type": "A", "query_argument": ".", "protocol": "ICMP"}),
                vec!["/protocol"],
            ),
            (Kind::Sslcert, json!({"port": 25}), vec!["/port"]),
            (Kind::Sslcert, json!({"hostname": "a b"}), vec!["/hostname"]),
            (Kind::Http, json!({"path": "/a b", "query_string": "x\r\ny"}), vec!["/path", "/query_string"]),
            (Kind::Http, json!({"port": 6379, "method": "PUT"}), vec!["/method", "/port"]),
            (Kind::Http, json!({"path": "x", "version": "2"}), vec!["/version", "/path"]),
            (Kind::Ntp, json!({"packets": []}), vec!["/packets"]),
        ] {
            assert_eq!(parse(kind, &definition).1, places, "{kind} {definition}");
        }
    }

    #[test]
    fn what_carries_the_query_decides_the_port() {
        for (field, port) in [("tls", 853), ("https", 443), ("quic", 853), ("cookies", 53)] {
            let mut definition = json!({"query_class": 3, "query_type": 65, "query_argument": "."});
            definition[field] = json!(true);
            let (Spec::Dns(dns), problems) = parse(Kind::Dns, &definition) else { panic!("not dns") };
            assert_eq!((dns.port, dns.query_class, dns.query_type, problems), (port, 3, 65, vec![]), "{field}");
            definition["port"] = json!(5353);
            let (Spec::Dns(dns), _) = parse(Kind::Dns, &definition) else { panic!("not dns") };
            assert_eq!(dns.port, 5353, "{field}");
            assert_eq!(parse(Kind::Dns, &Value::Object(write(&Spec::Dns(dns.clone())))), (Spec::Dns(dns), vec![]));
        }
    }

    #[test]
    fn recursion_is_desired_of_own_resolvers() {
        let definition = |own: bool| json!({"query_class": "IN", "query_type": "AAAA", "query_argument": "example.net", "use_probe_resolver": own});
        for own in [true, false] {
            let (Spec::Dns(dns), _) = parse(Kind::Dns, &definition(own)) else { panic!("not dns") };
            assert_eq!(dns.set_rd_bit, own);
        }
    }
}
