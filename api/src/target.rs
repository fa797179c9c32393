//! The target of a measurement: a literal address or a host name, refused here already when a probe would have to refuse
//! it. The probe's own policy has the last word; this one gives the client an answer at once.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};
use ipnet::IpNet;
use sonde_protocol::address::special;
use sonde_protocol::net::Family;
use sonde_protocol::order::MAX_ADDRESSES;

/// How long resolving may take.
const MAX_TIME: Duration = Duration::from_secs(2);

/// Resolves host names for the checks at the time a measurement is made.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// The addresses of this family, empty when the name has none; the error is for whoever asked. `name` is a complete
    /// name without a dot at the end: search lists do not apply.
    async fn resolve(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, String>;

    /// The TXT records of this name, the strings of each put together; empty when it has none.
    async fn texts(&self, _name: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

/// The resolvers that this machine is set up with.
#[derive(Debug)]
pub struct SystemResolver(Result<TokioResolver, String>);

impl SystemResolver {
    /// Reads the system's configuration. A machine without one resolves nothing, and says so with every name.
    pub fn new() -> Self {
        Self(TokioResolver::builder_tokio().and_then(|builder| builder.build()).map_err(|error| error.to_string()))
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, String> {
        let resolver = match &self.0 {
            Ok(resolver) => resolver,
            Err(error) => {
                tracing::warn!(%error, "this machine's resolver configuration cannot be used");
                return Err("this server has no resolver".into());
            }
        };
        let record_type = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        match tokio::time::timeout(MAX_TIME, resolver.lookup(format!("{name}."), record_type)).await {
            Ok(Ok(lookup)) => Ok(lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()),
            Ok(Err(error)) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", MAX_TIME.as_secs())),
        }
    }

    async fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let resolver = self.0.as_ref().map_err(Clone::clone)?;
        match tokio::time::timeout(MAX_TIME, resolver.lookup(format!("{name}."), RecordType::TXT)).await {
            Ok(Ok(lookup)) => Ok(lookup.answers().iter().filter_map(|record| text(&record.data)).collect()),
            Ok(Err(error)) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", MAX_TIME.as_secs())),
        }
    }
}

fn text(data: &RData) -> Option<String> {
    let RData::TXT(txt) = data else { return None };
    let bytes: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A target whose form is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address, allowed.
    Literal(IpAddr),
    /// A host name, not yet resolved.
    Name(String),
}

/// Reads a target for a family; the error is for whoever sent it. Needs no DNS.
pub(crate) fn read(text: &str, family: Family, allowed: &[IpNet]) -> Result<Target, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        if Family::of(address) != family {
            return Err(format!("The target is an IPv{} address, but af is {family}.", Family::of(address)));
        }
        check(address, allowed)?;
        return Ok(Target::Literal(address));
    }
    host_name(text).map(Target::Name)
}

/// A complete host name, in lower case and without a dot at its end. An address in any spelling is none.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if !name.is_ascii() {
        return Err("Write the host name in its ASCII form (punycode).".into());
    }
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    // A last label of digits is an address in an old spelling (127.1, 0x7f.1), never a name.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    if name.len() > 253 || !name.split('.').all(is_label) || is_number {
        return Err("This is neither a host name nor an IP address.".into());
    }
    Ok(name.to_ascii_lowercase())
}

/// The addresses of a host name that are to be measured, every one of them allowed.
pub(crate) async fn resolve(
    resolver: &dyn Resolve,
    name: &str,
    family: Family,
    allowed: &[IpNet],
) -> Result<Vec<IpAddr>, String> {
    let found =
        resolver.resolve(name, family).await.map_err(|error| format!("{name} could not be resolved: {error}."))?;
    let mut addresses = Vec::new();
    for address in found.into_iter().filter(|address| Family::of(*address) == family) {
        check(address, allowed).map_err(|why| format!("{name} has the address {address}. {why}"))?;
        if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(format!("{name} has no IPv{family} address."));
    }
    Ok(addresses)
}

/// Refuses a special address that is no exception of the operator's: as a target, and as where the server itself connects.
pub(crate) fn check(address: IpAddr, allowed: &[IpNet]) -> Result<(), String> {
    if allowed.iter().any(|net| net.contains(&address)) {
        return Ok(());
    }
    match special(address, &[]) {
        None => Ok(()),
        Some(block) => Err(format!("{} is for {} ({}) and cannot be used.", block.block, block.name, block.rfc)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_resolver_answers_or_says_why_not() {
        // Answered without a packet (RFC 6761); a machine without a resolver configuration has words instead.
        match SystemResolver::new().resolve("localhost", Family::V4).await {
            Ok(addresses) => assert_eq!(addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]),
            Err(why) => assert_eq!(why, "this server has no resolver"),
        }
    }

    #[test]
    fn forbidden_literals() {
        for text in ["192.168.0.1", "127.0.0.1", "100.64.0.1", "0.0.0.0"] {
            assert!(read(text, Family::V4, &[]).is_err(), "{text}");
        }
        for text in ["::1", "fe80::1", "64:ff9b::c0a8:1", "::ffff:10.0.0.1"] {
            assert!(read(text, Family::V6, &[]).is_err(), "{text}");
        }
        let lab = ["127.0.0.0/8".parse().unwrap()];
        assert!(read("127.0.0.1", Family::V4, &lab).is_ok(), "the operator's exception");
        assert!(read("10.0.0.1", Family::V4, &lab).is_err(), "and no more than that");
    }

    #[test]
    fn the_family_must_be_the_literals() {
        assert_eq!(read("1.1.1.1", Family::V6, &[]).unwrap_err(), "The target is an IPv4 address, but af is 6.");
        assert!(read("2001:4860:4860::8888", Family::V4, &[]).is_err());
    }

    #[test]
    fn host_names() {
        for good in ["example.net", "Example.NET.", "a", "_dmarc.example.net", "xn--bcher-kva.example", "1.example"] {
            assert!(matches!(read(good, Family::V4, &[]), Ok(Target::Name(_))), "{good}");
        }
        let long = "a.".repeat(130);
        for bad in [
            "",
            ".",
            "a..b",
            "-a.example",
            "a b.example",
            "bücher.example",
            "127.1",
            "0x7f.0x1",
            "2130706433",
            "http://example.net/",
            "[::1]",
            "fe80::1%eth0",
            "example.net:80",
            &long,
        ] {
            assert!(read(bad, Family::V4, &[]).is_err(), "{bad}");
        }
    }
}
