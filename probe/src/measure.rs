//! `sonde-probe measure`: one engine, once, without any network of ours. The host's own command: its caps apply, the
//! address rules do not.

mod cards;
mod reachability;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sonde_protocol::address::Neighbourhood;
use sonde_protocol::atlas::{ResultContext, write_result};
use sonde_protocol::bounded::Text;
use sonde_protocol::directory::Reference;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::spec::{DnsSpec, HttpMethod, HttpSpec, Ipv6Scope, Kind, Spec, Target, dns_class, dns_type};
use tokio::sync::watch;

pub use self::reachability::Sources;
use crate::config::Config;
use crate::local::LocalNetwork;
use crate::net::clock::{ClockSource, SystemClock};
use crate::net::{Driver, NetError, Options};
use crate::policy::{HttpHosts, Policy};
use crate::resolve::Resolver;
use crate::run::{KINDS, Occasion, Request, Runner};
use crate::wall_clock::WallClock;

/// What is to be measured, from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// The definition.
    pub spec: Spec,
    /// The family; the first that the target has when absent.
    pub af: Option<Family>,
    /// The target; absent for dns with the own resolvers, and for ipv6.
    pub target: Option<Target>,
    /// For ipv6: the references.
    pub sources: Sources,
}

/// What is wrong with the command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

fn usage<T>(text: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError(text.into()))
}

impl Measure {
    /// Reads `KIND TARGET [--option value]…`, of ipv6 without a target. Options are Atlas's names, with `-` or `_`; `--af 4|6`
    /// and, for dns, `--server ADDRESS` are ours.
    ///
    /// # Errors
    /// When a name is unknown or a value is not allowed.
    pub fn parse(kind: &str, words: &[String]) -> Result<Self, UsageError> {
        let kind = match kind.parse::<Kind>() {
            Ok(kind) if KINDS.contains(&kind) => kind,
            _ => {
                let names: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
                return usage(format!("{kind} is no kind of measurement; there are {}", names.join(", ")));
            }
        };
        let (target, options) = match words.split_first() {
            _ if kind == Kind::Ipv6 => ("", words),
            Some((target, options)) if !target.starts_with("--") => (target.as_str(), options),
            _ => return usage(format!("{kind} measures what? a host name or address comes first")),
        };
        let (spec, sources) = (Spec::default_of(kind), Sources::default());
        let mut measure = Self { spec, af: None, target: Target::new(target), sources };
        if measure.target.is_none() {
            return usage("the target is too long");
        }
        if kind == Kind::Ipv6 {
            measure.target = None;
        }
        if let Spec::Dns(dns) = &mut measure.spec {
            // The target is the name asked for; who is asked is an option.
            dns.query_argument = Target::cut(target);
            dns.use_probe_resolver = true;
            dns.set_rd_bit = true;
            measure.target = None;
        }
        let mut names_port = false;
        let mut rest = options.iter().peekable();
        while let Some(option) = rest.next() {
            let Some(name) = option.strip_prefix("--") else { return usage(format!("{option} is not an option")) };
            let (name, inline) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let name = name.replace('-', "_");
            // A value that is left out is true: flags.
            let value = inline.or_else(|| rest.next_if(|next| !next.starts_with("--")).cloned());
            names_port |= name == "port";
            measure.set(&name, value.as_deref().unwrap_or("true"))?;
        }
        if let Spec::Dns(dns) = &mut measure.spec {
            if !names_port {
                dns.port = dns.carrier().default_port();
            }
            if dns.use_probe_resolver && dns.https && !names_port {
                return usage("--https: own resolvers are asked at the ports of DNS; name a server with --server");
            }
        }
        match measure.spec.problems().into_iter().next() {
            None => Ok(measure),
            Some(problem) => usage(format!("--{}: {}", problem.field.replace('_', "-"), problem.detail)),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), UsageError> {
        if name == "af" {
            let family = value.parse().ok().and_then(Family::from_number);
            self.af = Some(family.ok_or_else(|| UsageError("--af is 4 or 6".into()))?);
            return Ok(());
        }
        match (&self.spec, name) {
            (Spec::Ipv6(_), "reference") => {
                self.sources.cards.push(value.into());
                return Ok(());
            }
            (Spec::Ipv6(_), "state") => {
                self.sources.state = Some(value.into());
                return Ok(());
            }
            (Spec::Ipv6(_), "network") => {
                self.sources.network = Some(value.into());
                return Ok(());
            }
            (Spec::Ipv6(_), "json") => {
                self.sources.json = value == "true";
                return if value == "true" { Ok(()) } else { usage("--json has no value, and ipv6 no target") };
            }
            _ => {}
        }
        if let (Spec::Dns(dns), "server") = (&mut self.spec, name) {
            self.target = Target::new(value);
            dns.use_probe_resolver = false;
            return Ok(());
        }
        let known = set_option(&mut self.spec, name, value);
        known.unwrap_or_else(|| usage(format!("{} has no option --{}", self.spec.kind(), name.replace('_', "-"))))
    }
}

/// Sets one option of a definition; `None` when the kind has no such option.
fn set_option(spec: &mut Spec, name: &str, value: &str) -> Option<Result<(), UsageError>> {
    let wrong = |what: &str| UsageError(format!("--{}: {value:?} is not {what}", name.replace('_', "-")));
    let number = |slot: &mut u32| value.parse().map(|n| *slot = n).map_err(|_| wrong("a number"));
    let flag = |slot: &mut bool| value.parse().map(|b| *slot = b).map_err(|_| wrong("true or false"));
    let transport =
        |slot: &mut Transport| Transport::from_name(value).map(|t| *slot = t).ok_or_else(|| wrong("ICMP, UDP or TCP"));
    Some(match (spec, name) {
        (Spec::Ping(s), "packets") => number(&mut s.packets),
        (Spec::Ping(s), "size") => number(&mut s.size),
        (Spec::Ping(s), "packet_interval") => number(&mut s.packet_interval),
        (Spec::Ping(s), "include_probe_id") => flag(&mut s.include_probe_id),
        (Spec::Traceroute(s), "protocol") => transport(&mut s.protocol),
        (Spec::Traceroute(s), "packets") => number(&mut s.packets),
        (Spec::Traceroute(s), "size") => number(&mut s.size),
        (Spec::Traceroute(s), "first_hop") => number(&mut s.first_hop),
        (Spec::Traceroute(s), "max_hops") => number(&mut s.max_hops),
        (Spec::Traceroute(s), "paris") => number(&mut s.paris),
        (Spec::Traceroute(s), "port") => number(&mut s.port),
        (Spec::Traceroute(s), "response_timeout") => number(&mut s.response_timeout),
        (Spec::Traceroute(s), "duplicate_timeout") => number(&mut s.duplicate_timeout),
        (Spec::Traceroute(s), "hop_by_hop_option_size") => number(&mut s.hop_by_hop_option_size),
        (Spec::Traceroute(s), "destination_option_size") => number(&mut s.destination_option_size),
        (Spec::Traceroute(s), "dont_fragment") => flag(&mut s.dont_fragment),
        (Spec::Traceroute(s), "traffic_class") => number(&mut s.traffic_class),
        (Spec::Dns(s), _) => return set_dns_option(s, name, value),
        (Spec::Sslcert(s), "port") => number(&mut s.port),
        (Spec::Sslcert(s), "hostname") => {
            Target::new(value).map(|h| s.hostname = Some(h)).ok_or_else(|| wrong("a host name"))
        }
        (Spec::Http(s), _) => return set_http_option(s, name, value),
        (Spec::Ntp(s), "packets") => number(&mut s.packets),
        (Spec::Ntp(s), "timeout") => number(&mut s.timeout),
        (Spec::PathMtu(s), "packets") => number(&mut s.packets),
        (Spec::PathMtu(s), "timeout") => number(&mut s.timeout),
        (Spec::Ipv6(s), "scope") => {
            Ipv6Scope::from_name(value).map(|scope| s.scope = scope).ok_or_else(|| wrong("light or full"))
        }
        _ => return None,
    })
}

fn set_http_option(s: &mut HttpSpec, name: &str, value: &str) -> Option<Result<(), UsageError>> {
    let wrong = |what: &str| UsageError(format!("--{}: {value:?} is not {what}", name.replace('_', "-")));
    let number = |slot: &mut u32| value.parse().map(|n| *slot = n).map_err(|_| wrong("a number"));
    let flag = |slot: &mut bool| value.parse().map(|b| *slot = b).map_err(|_| wrong("true or false"));
    Some(match name {
        "method" => HttpMethod::from_name(value).map(|m| s.method = m).ok_or_else(|| wrong("GET, HEAD or POST")),
        "path" => Text::new(value).map(|p| s.path = p).ok_or_else(|| wrong("a path of at most 1024 bytes")),
        "query_string" => {
            Text::new(value).map(|q| s.query_string = Some(q)).ok_or_else(|| wrong("a query of at most 1024 bytes"))
        }
        "port" => number(&mut s.port),
        "https" => flag(&mut s.https).map(|()| {
            // Unless a port was given before.
            if s.port == HttpSpec::default_port(!s.https) {
                s.port = HttpSpec::default_port(s.https);
            }
        }),
        "version" => match value {
            "1.0" | "1.1" => {
                s.version_1_1 = value == "1.1";
                Ok(())
            }
            _ => Err(wrong("1.0 or 1.1")),
        },
        "header_bytes" => number(&mut s.header_bytes),
        "max_bytes_read" => number(s.max_bytes_read.insert(0)),
        "extended_timing" => flag(&mut s.extended_timing),
        "more_extended_timing" => flag(&mut s.more_extended_timing),
        _ => return None,
    })
}

fn set_dns_option(s: &mut DnsSpec, name: &str, value: &str) -> Option<Result<(), UsageError>> {
    let wrong = |what: &str| UsageError(format!("--{}: {value:?} is not {what}", name.replace('_', "-")));
    let number = |slot: &mut u32| value.parse().map(|n| *slot = n).map_err(|_| wrong("a number"));
    let flag = |slot: &mut bool| value.parse().map(|b| *slot = b).map_err(|_| wrong("true or false"));
    Some(match name {
        "query_class" => dns_class(value).map(|c| s.query_class = c).ok_or_else(|| wrong("a class")),
        "query_type" => dns_type(value).map(|t| s.query_type = t).ok_or_else(|| wrong("a type of record")),
        "protocol" => Transport::from_name(value).map(|t| s.protocol = t).ok_or_else(|| wrong("UDP or TCP")),
        "udp_payload_size" => number(&mut s.udp_payload_size),
        "retry" => number(&mut s.retry),
        "timeout" => number(&mut s.timeout),
        "set_rd_bit" => flag(&mut s.set_rd_bit),
        "set_do_bit" => flag(&mut s.set_do_bit),
        "set_cd_bit" => flag(&mut s.set_cd_bit),
        "set_nsid_bit" => flag(&mut s.set_nsid_bit),
        "include_abuf" => flag(&mut s.include_abuf),
        "include_qbuf" => flag(&mut s.include_qbuf),
        "prepend_probe_id" => flag(&mut s.prepend_probe_id),
        "use_macros" => flag(&mut s.use_macros),
        "port" => number(&mut s.port),
        "default_client_subnet" => flag(&mut s.default_client_subnet),
        "cookies" => flag(&mut s.cookies),
        "ttl" => number(s.ttl.insert(0)),
        "tls" => flag(&mut s.tls),
        "https" => flag(&mut s.https),
        "quic" => flag(&mut s.quic),
        "path" => Target::new(value).map(|path| s.path = Some(path)).ok_or_else(|| wrong("a path")),
        "hostname" => Target::new(value).map(|name| s.hostname = Some(name)).ok_or_else(|| wrong("a host name")),
        _ => return None,
    })
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// No measurement can be made at all.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The references are not known.
    #[error("{0}")]
    References(String),
}

/// Measures, and gives the result as one line of RIPE Atlas JSON with `msm_id` and `prb_id` 0; of ipv6 in words, unless JSON is
/// asked for.
///
/// # Errors
/// When no measurement can be made at all.
pub async fn measure(measure: &Measure, config: &Config) -> Result<String, MeasureError> {
    let clock: Arc<dyn ClockSource> = Arc::new(SystemClock);
    let resolver = Resolver::new(&config.policy);
    let references = match measure.spec {
        Spec::Ipv6(_) => measure.sources.references(&resolver).await.map_err(MeasureError::References)?,
        _ => Vec::new(),
    };
    let local = LocalNetwork::read().unwrap_or_default();
    let af = match measure.af {
        Some(af) => af,
        None => family_of(measure, &resolver, &local).await,
    };
    let (_keep, policy) = watch::channel(Arc::new(everything_allowed(references)));
    let options = Options { packets_per_second: config.limits.packets_per_second, ..Options::default() };
    let driver = Driver::new(clock.clone(), options)?;
    let mut wall = WallClock::new();
    if let Ok(kernel) = crate::wall_clock::kernel_clock() {
        wall.kernel_state(kernel.synchronised, kernel.max_error, clock.monotonic());
    }
    let runner = Runner::new(driver, clock, Arc::new(Mutex::new(wall)), resolver, policy);
    let request = Request {
        measurement: MeasurementId(0),
        spec: measure.spec.clone(),
        af,
        target: measure.target.clone(),
        addresses: Vec::new(),
        planned_at: runner.time_of_day(runner.moment()),
        interval: None,
        occasion: Occasion::default(),
    };
    let result = runner.run(ProbeId(0), &request).await;
    if let Some(words) = measure.sources.words(&result) {
        return Ok(words);
    }
    let mut line = Vec::new();
    let context = ResultContext { spec: Some(&measure.spec), ..ResultContext::new(ProbeId(0)) };
    write_result(&mut line, &result, &context);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// The host asks about its own network too, and whom it likes by HTTP.
fn everything_allowed(references: Vec<Reference>) -> Policy {
    let all = [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())];
    Policy { exceptions: all.into(), neighbourhood: Neighbourhood::default(), http_hosts: HttpHosts::Any, references }
}

/// The family of a literal; of a name the first that it has and this machine has a route for, IPv6 first; of the own
/// resolvers the first one's.
async fn family_of(measure: &Measure, resolver: &Resolver, local: &LocalNetwork) -> Family {
    if matches!(measure.spec, Spec::Ipv6(_)) {
        return Family::V6;
    }
    let Some(target) = &measure.target else {
        return resolver.own_resolvers().first().map_or(Family::V4, |server| Family::of(server.ip()));
    };
    if let Ok(literal) = target.parse::<IpAddr>() {
        return Family::of(literal);
    }
    for family in Family::BOTH {
        let limit = std::time::Duration::from_secs(5);
        if local.has_route(family) && resolver.addresses(target, family, limit).await.is_ok() {
            return family;
        }
    }
    Family::V4
}

#[cfg(test)]
mod tests {
    use sonde_protocol::spec::Ipv6Spec;

    use super::*;

    fn parse(words: &str) -> Result<Measure, UsageError> {
        let words: Vec<String> = words.split(' ').map(Into::into).collect();
        Measure::parse(&words[0], &words[1..])
    }

    #[test]
    fn options_are_atlas_names_with_either_dash() {
        let measure =
            parse("traceroute ::1 --protocol icmp --max_hops=5 --first-hop 2 --dont-fragment --af 6").unwrap();
        let Spec::Traceroute(spec) = &measure.spec else { panic!("{measure:?}") };
        assert_eq!((spec.protocol, spec.max_hops, spec.first_hop), (Transport::Icmp, 5, 2));
        assert!(spec.dont_fragment && measure.af == Some(Family::V6));
    }

    #[test]
    fn dns_asks_the_own_resolvers_unless_told() {
        let own = parse("dns example.net --query-type AAAA").unwrap();
        assert!(
            own.target.is_none() && matches!(&own.spec, Spec::Dns(d) if d.use_probe_resolver && d.query_type == 28)
        );
        let told = parse("dns example.net --server 192.0.2.1").unwrap();
        assert_eq!(told.target.as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn http_and_its_ports() {
        let http = |words: &str| match parse(words).unwrap().spec {
            Spec::Http(spec) => spec,
            other => panic!("{other:?}"),
        };
        let spec = http("http a.example --https --path /x --query-string a=b --version 1.0 --method head");
        assert_eq!((spec.port, spec.method, spec.version_1_1), (443, HttpMethod::Head, false));
        assert_eq!(spec.uri("a.example"), "https://a.example/x?a=b");
        assert_eq!(http("http a.example --port 8443 --https").port, 8443);
        assert_eq!(http("http a.example --header-bytes 100 --max-bytes-read 5").max_bytes_read, Some(5));
    }

    #[test]
    fn what_carries_the_query_decides_the_port() {
        let port = |words: &str| match parse(words).unwrap().spec {
            Spec::Dns(dns) => (dns.carrier().name(), dns.port),
            other => panic!("{other:?}"),
        };
        assert_eq!(port("dns example.net --protocol tcp"), ("tcp", 53));
        assert_eq!(port("dns example.net --tls"), ("tls", 853));
        assert_eq!(port("dns example.net --server 192.0.2.1 --https --path /q --hostname a.example"), ("https", 443));
        assert_eq!(port("dns example.net --port 8853 --quic"), ("quic", 8853));
        let text = |words: &str| parse(words).unwrap_err().to_string();
        assert!(text("dns example.net --tls --quic").contains("--quic: Only one of"));
        assert!(text("dns example.net --https").contains("--server"));
        assert!(text("dns example.net --https --server 192.0.2.1 --path q").contains("--path: A path begins"));
    }

    #[test]
    fn mistakes_are_named() {
        let text = |words: &str| parse(words).unwrap_err().to_string();
        assert!(text("pong x").contains("ping, traceroute"));
        assert!(text("ping x --packets 17").contains("between 1 and 16"));
        assert!(text("ping x --packets many").contains("not a number"));
        assert!(text("ping x --max-hops 3").contains("no option --max-hops"));
        assert!(text("ping x y").contains("not an option"));
        assert!(text("ping --packets 3").contains("measures what?"));
    }

    #[tokio::test]
    async fn ipv6_has_references_and_no_target() {
        let measure = parse("ipv6 --reference a.txt --reference=b.txt --json --scope full").unwrap();
        assert_eq!(measure.spec, Spec::Ipv6(Ipv6Spec { scope: Ipv6Scope::Full }));
        assert!(measure.target.is_none() && measure.sources.json && measure.sources.cards.len() == 2);
        let text = |words: &str| parse(words).unwrap_err().to_string();
        assert!(text("ipv6 example.net").contains("not an option"));
        assert!(text("ipv6 --scope half").contains("light or full"));
        assert!(text("ipv6 --json no").contains("--json"));
        let resolver = Resolver::of_servers(&[]);
        let why = async |words: &str| parse(words).unwrap().sources.references(&resolver).await.unwrap_err();
        assert!(why("ipv6 --json").await.contains("--reference FILE"));
        let file = "/nonexistent/network.toml";
        assert!(why(&format!("ipv6 --network {file}")).await.contains(file));
    }
}
