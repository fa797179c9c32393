//! `sonde.toml` of the boot partition, as far as the board's operating system needs it: `[address]` and `[updates]` are its own sections,
//! and from the probe's it takes what the packet filter and the start of the probe must know. The probe's own parser judges those, in its
//! words.
//!
//! A key of `[address]` that makes no sense is said and passed over: a board that measures with an automatic address is better than one
//! that waits for somebody to come. `[updates]` with a mistake means that no update is taken: whoever wrote it wanted a say.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use sonde_protocol::address::DEFAULT_SITE_PREFIX;
use sonde_protocol::board::UpdateChoice;
use toml::{Table, Value};

use crate::net;
use crate::update::choice;

/// The sections that are ours.
const ADDRESS: &str = "address";
const OURS: [&str; 2] = [ADDRESS, choice::SECTION];

/// Resolvers that are taken.
const MAX_RESOLVERS: usize = 6;

/// Exceptions and collectors that are taken.
const MAX_LIST: usize = 256;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For the network.
    pub net: net::Settings,
    /// The probe is to have CAP_NET_RAW.
    pub raw: bool,
    /// What the owner wants of updates, if he says so here.
    pub updates: Option<UpdateChoice>,
    /// The file for the probe, without what is not its business.
    pub probe: String,
    /// What was passed over, in words.
    pub problems: Vec<String>,
}

/// Reads the text of `sonde.toml`.
///
/// # Errors
/// When it is no TOML, in words.
pub fn read(text: &str) -> Result<Settings, String> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        let place = error.span().map(|span| text.get(..span.start).unwrap_or("").matches('\n').count() + 1);
        let place = place.map(|line| format!(", line {line}")).unwrap_or_default();
        format!("sonde.toml{place}: {}", error.message())
    })?;
    let mut problems = Vec::new();
    let mut net = match table.remove(ADDRESS) {
        Some(Value::Table(address)) => read_address(&address, &mut problems),
        Some(_) => {
            problems.push("sonde.toml: address is a section, [address]".into());
            net::Settings::default()
        }
        None => net::Settings::default(),
    };
    let updates = table.remove(choice::SECTION).map(|section| {
        choice::read_section(&section).unwrap_or_else(|problem| {
            problems.push(format!("sonde.toml, [updates] {problem}; no update is taken until that is right"));
            UpdateChoice::Refuse
        })
    });
    net.allow = texts(&table, &["policy", "allow"]).filter_map(network).take(MAX_LIST).collect();
    let prefix = get(&table, &["policy", "site_prefix"]).and_then(Value::as_integer);
    let prefix = prefix.and_then(|length| u8::try_from(length).ok()).filter(|length| (48..=64).contains(length));
    net.site_prefix = prefix.unwrap_or(DEFAULT_SITE_PREFIX);
    net.collectors = collectors(&table);
    let raw = get(&table, &["sandbox", "raw"]).and_then(Value::as_bool) == Some(true);
    let probe = without_ours(text, &table);
    Ok(Settings { net, raw, updates, probe, problems })
}

fn get<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (last, sections) = path.split_last()?;
    sections.iter().try_fold(table, |table, name| table.get(*name)?.as_table())?.get(*last)
}

fn texts<'a>(table: &'a Table, path: &[&str]) -> impl Iterator<Item = &'a str> {
    get(table, path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// A network, or an address alone.
fn network(text: &str) -> Option<IpNet> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
}

/// The collectors that are named by literal addresses.
fn collectors(table: &Table) -> Vec<SocketAddr> {
    let all = get(table, &["network", "collectors"]).and_then(Value::as_array).into_iter().flatten();
    let addresses = all.filter_map(Value::as_table).flat_map(|one| texts(one, &["addresses"]));
    addresses.filter_map(|text| text.parse().ok()).take(MAX_LIST).collect()
}

fn read_address(address: &Table, problems: &mut Vec<String>) -> net::Settings {
    let mut read = net::Settings::default();
    for (key, value) in address {
        let done = match key.as_str() {
            "interface" => {
                put(value, "an interface's name or hardware address", interface).map(|it| read.interface = Some(it))
            }
            "ipv4" => put(value, "an address with its prefix, such as \"192.0.2.7/24\"", |text| {
                parsed(text)
                    .filter(|net: &ipnet::Ipv4Net| is_host(net.addr().into()) && (1..=32).contains(&net.prefix_len()))
            })
            .map(|it| read.ipv4 = Some(it)),
            "gateway4" => put(value, "an IPv4 address", host).map(|it| read.gateway4 = Some(it)),
            "ipv6" => put(value, "an address with its prefix, such as \"2001:db8::7/64\"", |text| {
                parsed(text)
                    .filter(|net: &ipnet::Ipv6Net| is_host(net.addr().into()) && (1..=128).contains(&net.prefix_len()))
            })
            .map(|it| read.ipv6 = Some(it)),
            "gateway6" => put(value, "an IPv6 address", host).map(|it| read.gateway6 = Some(it)),
            "resolvers" => resolvers(value).map(|it| read.resolvers = it),
            _ => Err("is no setting; there are interface, ipv4, gateway4, ipv6, gateway6 and resolvers".into()),
        };
        if let Err(problem) = done {
            problems.push(format!("sonde.toml, [address] {key}: {problem}; it is passed over"));
        }
    }
    for (gateway, address, names) in [
        (read.gateway4.is_some(), read.ipv4.is_some(), "gateway4 without ipv4"),
        (read.gateway6.is_some(), read.ipv6.is_some(), "gateway6 without ipv6"),
    ] {
        if gateway && !address {
            problems.push(format!("sonde.toml, [address]: {names} means nothing; the address is found automatically"));
        }
    }
    read.gateway4 = read.gateway4.filter(|_| read.ipv4.is_some());
    read.gateway6 = read.gateway6.filter(|_| read.ipv6.is_some());
    read
}

fn put<T>(value: &Value, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    value.as_str().and_then(read).ok_or_else(|| format!("is not {what}"))
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn host<T: FromStr + Copy + Into<IpAddr>>(text: &str) -> Option<T> {
    parsed(text).filter(|&address: &T| is_host(address.into()))
}

/// An address that one machine can have.
fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}

fn resolvers(value: &Value) -> Result<Vec<IpAddr>, String> {
    let problem = || format!("is not a list of at most {MAX_RESOLVERS} addresses");
    let list = value.as_array().filter(|list| list.len() <= MAX_RESOLVERS).ok_or_else(problem)?;
    list.iter().map(|one| put(one, "a list of addresses", host)).collect()
}

/// A name that the kernel allows, or a hardware address.
fn interface(text: &str) -> Option<String> {
    let mac = text.split(':').count() == 6
        && text.split(':').all(|byte| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let name = (1..=15).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
        && !matches!(text, "." | ".." | "lo");
    (mac || name).then(|| text.to_ascii_lowercase()).map(|lower| if mac { lower } else { text.to_owned() })
}

/// The text with blank lines in the place of our sections, so that the probe's words name the right lines. Where one is written in an
/// unusual way the rest is written anew.
fn without_ours(text: &str, rest: &Table) -> String {
    let mut inside = false;
    let mut blanked = String::with_capacity(text.len());
    for line in text.lines() {
        let start = line.trim_start();
        if start.starts_with('[') {
            let name = start.trim_start_matches('[').trim_start();
            inside = OURS.iter().any(|ours| name.starts_with(ours));
        }
        blanked.push_str(if inside { "" } else { line });
        blanked.push('\n');
    }
    if blanked.parse::<Table>().is_ok_and(|table| table == *rest) { blanked } else { rest.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    #[test]
    fn everything_is_optional() {
        let read = read("").unwrap();
        assert_eq!(read.net, net::Settings { site_prefix: DEFAULT_SITE_PREFIX, ..net::Settings::default() });
        assert!(!read.raw && read.updates.is_none() && read.problems.is_empty());
        assert_eq!(read.probe.trim(), "");
    }

    #[test]
    fn what_is_ours_is_taken_and_the_probe_gets_the_rest_at_the_same_lines() {
        let text = format!(
            "# a board\n[address]\nipv4 = \"192.0.2.7/24\" # fixed\ngateway4 = \"192.0.2.1\"\nipv6 = \"2001:db8::7/64\"\n\
             gateway6 = \"fe80::1\"\nresolvers = [\"192.0.2.1\", \"2001:db8::1\"]\ninterface = \"D8:3A:DD:00:00:01\"\n\n\
             [policy]\nallow = [\"10.0.0.0/8\", \"fd00::1\", \"nonsense\"]\nsite_prefix = 48\n[sandbox]\nraw = true\n\
             [network]\nname = \"x\"\nroots = [\"{KEY}\"]\n[[network.collectors]]\nkey = \"{KEY}\"\n\
             addresses = [\"collector.example.net:8333\", \"192.0.2.9:8333\"]\n"
        );
        let read = read(&text).unwrap();
        assert!(read.problems.is_empty(), "{:?}", read.problems);
        assert_eq!(
            read.net,
            net::Settings {
                interface: Some("d8:3a:dd:00:00:01".into()),
                ipv4: Some("192.0.2.7/24".parse().unwrap()),
                gateway4: Some("192.0.2.1".parse().unwrap()),
                ipv6: Some("2001:db8::7/64".parse().unwrap()),
                gateway6: Some("fe80::1".parse().unwrap()),
                resolvers: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
                allow: vec!["10.0.0.0/8".parse().unwrap(), "fd00::1/128".parse().unwrap()],
                site_prefix: 48,
                collectors: vec!["192.0.2.9:8333".parse().unwrap()],
            }
        );
        assert!(read.raw);
        assert!(!read.probe.contains("192.0.2.7"), "{}", read.probe);
        let line = |text: &str| text.lines().position(|line| line == "[policy]");
        assert_eq!(line(&read.probe), line(&text));
    }

    #[test]
    fn an_unusual_way_to_write_the_section_is_understood_too() {
        for text in [
            "address.interface = \"eth1\"\n[policy]\nsite_prefix = 48",
            "address = { interface = \"eth1\" }\n[policy]\nsite_prefix = 48",
            "[ address ]\ninterface = \"eth1\"\n[policy]\nsite_prefix = 48",
            "[\"address\"]\ninterface = \"eth1\"\n[policy]\nsite_prefix = 48",
        ] {
            let read = read(text).unwrap();
            assert_eq!(read.net.interface.as_deref(), Some("eth1"), "{text}");
            let probe: Table = read.probe.parse().unwrap();
            assert_eq!(probe.keys().collect::<Vec<_>>(), ["policy"], "{text}");
        }
    }

    #[test]
    fn the_owner_says_what_he_wants_of_updates_and_the_probe_hears_nothing_of_it() {
        let text = "[limits]\nconcurrent = 3\n[updates]\nchoice = \"pin\"\nrelease = 202611290211\n[policy]\nsite_prefix = 48\n";
        let pinned = read(text).unwrap();
        assert_eq!((pinned.updates, pinned.problems), (Some(UpdateChoice::Pin(202_611_290_211)), vec![]));
        assert_eq!(pinned.probe, "[limits]\nconcurrent = 3\n\n\n\n[policy]\nsite_prefix = 48\n");
        let wrong = read("updates.choice = \"never\"\n").unwrap();
        assert_eq!(wrong.updates, Some(UpdateChoice::Refuse), "it is not taken for its opposite");
        let said = "sonde.toml, [updates] choice: is not \"follow\", \"delay\", \"pin\" or \"refuse\"; no update is taken until that is right";
        assert_eq!(wrong.problems, [said]);
        assert_eq!(wrong.probe.trim(), "");
        assert_eq!(read("updates = 7").unwrap().updates, Some(UpdateChoice::Refuse));
    }

    #[test]
    fn a_key_that_makes_no_sense_is_said_and_the_rest_counts() {
        for (line, word) in [
            ("ipv4 = \"192.0.2.7/33\"", "ipv4"),
            ("ipv4 = \"192.0.2.7\"", "prefix"),
            ("ipv4 = \"224.0.0.1/24\"", "ipv4"),
            ("ipv4 = 7", "ipv4"),
            ("ipv6 = \"::1/64\"", "ipv6"),
            ("gateway4 = \"192.0.2.1\"", "gateway4 without ipv4"),
            ("gateway6 = \"ff02::1\"", "gateway6"),
            ("resolvers = \"192.0.2.1\"", "resolvers"),
            ("resolvers = [\"dns.example.net\"]", "resolvers"),
            ("interface = \"../../etc\"", "interface"),
            ("ntp = \"pool.example.net\"", "is no setting"),
        ] {
            let read = read(&format!("[address]\n{line}\n")).unwrap();
            assert_eq!(read.problems.len(), 1, "{line}: {:?}", read.problems);
            assert!(read.problems[0].contains(word), "{line}: {:?}", read.problems);
            let automatic = net::Settings { site_prefix: DEFAULT_SITE_PREFIX, ..net::Settings::default() };
            assert_eq!(read.net, automatic, "{line}");
        }
        assert_eq!(read("address = 7").unwrap().problems.len(), 1);
    }

    #[test]
    fn what_is_no_toml_is_said_with_its_line() {
        let said = read("[policy]\nallow = [\n[network").unwrap_err();
        assert!(said.starts_with("sonde.toml, line "), "{said}");
    }
}
