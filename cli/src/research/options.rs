//! The options of each kind, spelled as `sonde-probe measure` spells them, which also reads and checks them: this is only
//! what `--help` shows. A test holds both together.

use clap::builder::{Arg, ArgAction};
use sonde_protocol::spec::Kind;

/// Name, what stands behind it (`""`: a flag), and what it is for.
type Options = &'static [(&'static str, &'static str, &'static str)];

const PING: Options = &[
    ("packets", "N", "How many packets, 1 to 16; 3 by default"),
    ("size", "BYTES", "Bytes in a packet, 1 to 2048; 48 by default"),
    ("packet-interval", "MS", "Milliseconds between packets; 1000 by default"),
    ("include-probe-id", "", "Writes the probe's number into the packets"),
];

const TRACEROUTE: Options = &[
    ("protocol", "NAME", "UDP (default), ICMP or TCP"),
    ("packets", "N", "How many packets for each hop, 1 to 16; 3 by default"),
    ("size", "BYTES", "Bytes in a packet, 0 to 2048; 48 by default"),
    ("first-hop", "N", "The hop to begin with; 1 by default"),
    ("max-hops", "N", "The last hop to try; 32 by default"),
    ("paris", "N", "How many paths to vary, 0 to 64; 16 by default"),
    ("port", "PORT", "The port, over TCP; 80 by default"),
    ("response-timeout", "MS", "How long to wait for an answer; 4000 by default"),
    ("duplicate-timeout", "MS", "How long to wait for a second answer; 10 by default"),
    ("dont-fragment", "", "Forbids routers to cut packets into pieces"),
    ("traffic-class", "N", "The byte for quality of service; 0 by default"),
    ("hop-by-hop-option-size", "BYTES", "Over IPv6, a header of hop-by-hop options"),
    ("destination-option-size", "BYTES", "Over IPv6, a header of destination options"),
];

const DNS: Options = &[
    ("query-type", "TYPE", "What to ask for: A (default), AAAA, MX, TYPE65 …"),
    ("query-class", "CLASS", "IN (default), CHAOS …"),
    ("protocol", "NAME", "UDP (default) or TCP"),
    ("tls", "", "Asks over TLS"),
    ("https", "", "Asks over HTTPS"),
    ("quic", "", "Asks over QUIC"),
    ("path", "PATH", "The path for HTTPS; /dns-query by default"),
    ("hostname", "NAME", "The server's name in TLS and HTTP"),
    ("port", "PORT", "The server's port; by default what carries the query decides"),
    ("udp-payload-size", "BYTES", "How long an answer over UDP may be, 512 to 4096"),
    ("retry", "N", "How often to ask again, 0 to 10; 0 by default"),
    ("timeout", "MS", "How long to wait for an answer; 5000 by default"),
    ("ttl", "N", "The hop limit of the query"),
    ("set-rd-bit", "BOOL", "Recursion desired; true for the probe's own resolvers"),
    ("set-do-bit", "", "Asks for DNSSEC's records"),
    ("set-cd-bit", "", "Asks the resolver not to check DNSSEC"),
    ("set-nsid-bit", "", "Asks the server for its name (NSID)"),
    ("include-qbuf", "", "Puts the query into the result"),
    ("use-macros", "", "Puts probe number, time and chance into the name: $p, $t, $r"),
    ("prepend-probe-id", "", "Puts probe number and time before the name"),
    ("default-client-subnet", "", "Asks that the resolver tells nobody where the client is"),
    ("cookies", "", "Sends a DNS cookie"),
];

const SSLCERT: Options = &[
    ("port", "PORT", "The port; 443 by default"),
    ("hostname", "NAME", "The name to ask for (SNI); the target's by default"),
];

const HTTP: Options = &[
    ("method", "NAME", "GET (default), HEAD or POST"),
    ("path", "PATH", "The path; / by default"),
    ("query-string", "TEXT", "What stands behind the question mark"),
    ("port", "PORT", "The port; 80, or 443 with --https"),
    ("https", "", "Asks over TLS"),
    ("version", "V", "1.1 (default) or 1.0"),
    ("header-bytes", "BYTES", "How much of the head to put into the result, 0 to 2048"),
    ("max-bytes-read", "BYTES", "How much of the body to read"),
    ("extended-timing", "", "Times of name, connection and first byte"),
    ("more-extended-timing", "", "The time of every read, too"),
];

const NTP: Options = &[
    ("packets", "N", "How many exchanges, 1 to 16; 3 by default"),
    ("timeout", "MS", "How long to wait for an answer; 4000 by default"),
];

const PATH_MTU: Options = &[
    ("packets", "N", "How many packets of a size before it counts as lost, 1 to 16; 3 by default"),
    ("timeout", "MS", "How long to wait for an answer; 1000 by default"),
];

const IPV6: Options = &[("scope", "NAME", "light (default), or full: sizes, fragments, headers and ICMP too")];

fn of(kind: Kind) -> Options {
    match kind {
        Kind::Ping => PING,
        Kind::Traceroute => TRACEROUTE,
        Kind::Dns => DNS,
        Kind::Sslcert => SSLCERT,
        Kind::Http => HTTP,
        Kind::Ntp => NTP,
        Kind::PathMtu => PATH_MTU,
        Kind::Ipv6 => IPV6,
    }
}

/// What the kind is for, in a line.
pub fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Ping => "Pings a target from probes of a network",
        Kind::Traceroute => "Traces the way to a target from probes of a network",
        Kind::Dns => "Asks DNS for a name, each probe its own resolvers or all of them one server",
        Kind::Sslcert => "Fetches a TLS server's certificates from probes of a network",
        Kind::Http => "Asks a web server from probes of a network; the operator lists which",
        Kind::Ntp => "Asks a server for the time from probes of a network",
        Kind::PathMtu => "Finds the longest packets that pass between probes and a target",
        Kind::Ipv6 => "Finds out what both address families are worth to probes",
    }
}

/// The options as the command line has them.
pub fn arguments(kind: Kind) -> impl Iterator<Item = Arg> {
    of(kind).iter().map(|&(name, value, help)| {
        let arg = Arg::new(name).long(name).help(help).help_heading("Options of the kind");
        // The other spelling. The command line is built once, and its names live as long as the program.
        let arg = if name.contains('-') { arg.alias(&*name.replace('-', "_").leak()) } else { arg };
        if value.is_empty() { arg.action(ArgAction::SetTrue) } else { arg.value_name(value) }
    })
}

/// The words of the options that are given.
pub fn given(kind: Kind, matches: &clap::ArgMatches) -> Vec<String> {
    let words = of(kind).iter().filter_map(|&(name, value, _)| {
        if value.is_empty() {
            return matches.get_flag(name).then(|| format!("--{name}"));
        }
        matches.get_one::<String>(name).map(|value| format!("--{name}={value}"))
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use sonde_probe::measure::Measure;

    use super::*;

    #[test]
    fn every_option_is_one_of_the_kind() {
        for kind in sonde_probe::run::KINDS {
            for (name, value, _) in of(kind) {
                let word = if value.is_empty() { format!("--{name}") } else { format!("--{name}=1") };
                // A value may be wrong; the option must not be.
                let target = (kind != Kind::Ipv6).then(|| "a.example".to_owned());
                let words: Vec<String> = target.into_iter().chain([word]).collect();
                let error = Measure::parse(kind.name(), &words).err().map(|error| error.to_string());
                assert!(!error.clone().unwrap_or_default().contains("has no option"), "{kind} {error:?}");
            }
        }
    }
}
