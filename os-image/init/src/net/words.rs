//! How the network stands, in words for the console: what is there, or what is wrong and what to do. Pure.

use std::net::IpAddr;
use std::time::Duration;

use super::kernel::{Address, Link, Route};
use super::{Settings, Step};

/// So long a router and servers may take before their silence is a trouble.
const PATIENCE: Duration = Duration::from_secs(15);

/// So long a driver may take to see the other end of the cable: gigabit Ethernet agrees on its speed in three seconds or so.
const CABLE_PATIENCE: Duration = Duration::from_secs(8);

/// What there is of a link, as far as the words need it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Addresses of the interface, as the kernel has them.
    pub addresses: &'a [Address],
    /// Routes by it.
    pub routes: &'a [Route],
    /// How long the link has been there.
    pub since: Duration,
    /// What the kernel refused when it was last given something.
    pub trouble: Option<&'a str>,
    /// The network has asked to do without IPv4 (option 108).
    pub is_ipv6_only: bool,
    /// What was wrong with answers of DHCP that were not believed, by family.
    pub refused: [Option<&'static str>; 2],
}

/// Which interface is used, of those that there are. There has been none for `since`.
///
/// # Errors
/// How the link stands when there is none to use.
pub fn choose<'a>(links: &'a [Link], settings: &Settings, since: Duration) -> Result<&'a Link, Step> {
    let wired: Vec<&Link> = links.iter().filter(|link| link.is_wired).collect();
    let Some(asked) = &settings.interface else {
        if wired.is_empty() {
            return Err(Step::Waiting(
                "no wired interface: a driver may be missing, or a USB adapter be still on its way".into(),
            ));
        }
        return wired.iter().find(|link| link.has_carrier).copied().ok_or_else(|| no_cable(&wired, since));
    };
    let is_asked = |link: &&&Link| link.name == *asked || hardware(link).eq_ignore_ascii_case(asked);
    match wired.iter().find(is_asked) {
        Some(link) if link.has_carrier => Ok(link),
        Some(link) => Err(no_cable(&[link], since)),
        None => {
            let names: Vec<String> = wired.iter().map(|link| format!("{} ({})", link.name, hardware(link))).collect();
            let there = if names.is_empty() { "none".into() } else { names.join(", ") };
            Err(Step::Failed(format!(
                "no wired interface `{asked}` ([address] interface in sonde.toml); there is: {there}"
            )))
        }
    }
}

fn no_cable(links: &[&Link], since: Duration) -> Step {
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let names = names.join(", ");
    if since < CABLE_PATIENCE {
        return Step::Waiting(format!("{names} has no link yet"));
    }
    Step::Failed(format!("{names} has no link: is the cable plugged in at both ends, and the other end on?"))
}

/// A hardware address as people write it.
pub fn hardware(link: &Link) -> String {
    link.hardware.map(|byte| format!("{byte:02x}")).join(":")
}

/// The link that is used. `speed` is what the driver says, in Mb/s.
pub fn link(link: &Link, speed: Option<u32>) -> Step {
    let speed = speed.map(|speed| format!(", {speed} Mb/s")).unwrap_or_default();
    Step::Ok(format!("{} up{speed}", link.name))
}

/// The addresses and whether they lead anywhere.
pub fn addresses(seen: &Seen<'_>) -> Step {
    if let Some(duplicate) = seen.addresses.iter().find(|address| address.is_duplicate) {
        let ip = duplicate.net.addr();
        return Step::Failed(format!("{ip} belongs to another machine on this line; give one of them another address"));
    }
    if let Some(trouble) = seen.trouble {
        return Step::Failed(trouble.into());
    }
    let usable = |address: &&Address| !address.is_tentative && is_routed(address.net.addr());
    let mut own: Vec<String> = seen.addresses.iter().filter(usable).map(|address| address.net.to_string()).collect();
    let leads_out = |is_ipv6: bool| {
        let has = seen.addresses.iter().filter(usable).any(|address| address.net.addr().is_ipv6() == is_ipv6);
        has && seen
            .routes
            .iter()
            .any(|route| route.net.prefix_len() == 0 && route.router.is_some() && route.net.addr().is_ipv6() == is_ipv6)
    };
    if leads_out(true) || leads_out(false) {
        if seen.is_ipv6_only {
            own.push("no IPv4, as the network asks (option 108)".into());
        }
        return Step::Ok(own.join(", "));
    }
    if seen.since < PATIENCE {
        return Step::Waiting("asking for an address by DHCP and router advertisements".into());
    }
    let refused: Vec<String> = ["DHCP", "DHCPv6"]
        .iter()
        .zip(seen.refused)
        .filter_map(|(name, why)| why.map(|why| format!("; a server of {name} answered, but {why}")))
        .collect();
    let refused = refused.concat();
    if own.is_empty() {
        return Step::Failed(format!(
            "no address: no DHCP server gave one and no router advertised a prefix; is the port the right one, or are fixed addresses needed ([address] in sonde.toml)?{refused}"
        ));
    }
    Step::Failed(format!("{} but no router in either family: nothing outside can be reached{refused}", own.join(", ")))
}

/// Who resolves names.
pub fn resolvers(chosen: &[IpAddr], since: Duration) -> Step {
    let all: Vec<String> = chosen.iter().map(IpAddr::to_string).collect();
    match all.as_slice() {
        [] if since < PATIENCE => Step::Waiting("no resolver named yet".into()),
        [] => Step::Failed(
            "neither DHCP nor a router names a resolver; set one ([address] resolvers in sonde.toml), or nothing but literal addresses works".into(),
        ),
        _ => Step::Ok(all.join(", ")),
    }
}

/// Would anybody elsewhere answer to it?
fn is_routed(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_loopback(),
    }
}

#[cfg(test)]
mod tests;
