//! Which addresses and ports nobody may measure. One pure table for the probe, which enforces it, and the API, which
//! refuses early.
//!
//! Two layers. [`special`] knows the special-purpose blocks of the IANA registries (RFC 6890 and its updates), also when
//! one is embedded in an IPv6 address (IPv4-mapped, NAT64, 6to4, Teredo). [`Neighbourhood`] knows what is near one probe:
//! its own addresses, what is on its links, its gateways, the /56 around each of its IPv6 addresses.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A block that is not for measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialBlock {
    /// The block, as text for people.
    pub block: &'static str,
    /// What it is.
    pub name: &'static str,
    /// Where that is written.
    pub rfc: &'static str,
}

struct Row4(Ipv4Net, SpecialBlock);
struct Row6(Ipv6Net, SpecialBlock);

macro_rules! v4 {
    ([$a:literal, $b:literal, $c:literal, $d:literal] / $len:literal, $name:literal, $rfc:literal) => {
        Row4(
            Ipv4Net::new_assert(Ipv4Addr::new($a, $b, $c, $d), $len),
            SpecialBlock { block: concat!($a, ".", $b, ".", $c, ".", $d, "/", $len), name: $name, rfc: $rfc },
        )
    };
}

macro_rules! v6 {
    ([$($part:literal),*] / $len:literal, $text:literal, $name:literal, $rfc:literal) => {
        Row6(
            Ipv6Net::new_assert(Ipv6Addr::new($($part),*), $len),
            SpecialBlock { block: $text, name: $name, rfc: $rfc },
        )
    };
}

/// The IANA IPv4 special-purpose registry's blocks that are not globally reachable, and multicast.
static SPECIAL_V4: [Row4; 16] = [
    v4!([0, 0, 0, 0] / 8, "this network", "RFC 791"),
    v4!([10, 0, 0, 0] / 8, "private use", "RFC 1918"),
    v4!([100, 64, 0, 0] / 10, "shared address space", "RFC 6598"),
    v4!([127, 0, 0, 0] / 8, "loopback", "RFC 1122"),
    v4!([169, 254, 0, 0] / 16, "link local", "RFC 3927"),
    v4!([172, 16, 0, 0] / 12, "private use", "RFC 1918"),
    v4!([192, 0, 0, 0] / 24, "IETF protocol assignments", "RFC 6890"),
    v4!([192, 0, 2, 0] / 24, "documentation", "RFC 5737"),
    v4!([192, 88, 99, 0] / 24, "deprecated 6to4 relay anycast", "RFC 7526"),
    v4!([192, 168, 0, 0] / 16, "private use", "RFC 1918"),
    v4!([198, 18, 0, 0] / 15, "benchmarking", "RFC 2544"),
    v4!([198, 51, 100, 0] / 24, "documentation", "RFC 5737"),
    v4!([203, 0, 113, 0] / 24, "documentation", "RFC 5737"),
    v4!([224, 0, 0, 0] / 4, "multicast", "RFC 5771"),
    v4!([240, 0, 0, 0] / 4, "reserved", "RFC 1112"),
    v4!([255, 255, 255, 255] / 32, "limited broadcast", "RFC 8190"),
];

/// The IANA IPv6 special-purpose registry's blocks that are not globally reachable, multicast, and what was never
/// allocated. The first block that holds an address is its name, so the narrow ones come first.
static SPECIAL_V6: [Row6; 21] = [
    v6!([0, 0, 0, 0, 0, 0, 0, 1] / 128, "::1/128", "loopback", "RFC 4291"),
    v6!([0, 0, 0, 0, 0, 0, 0, 0] / 128, "::/128", "unspecified", "RFC 4291"),
    v6!([0, 0, 0, 0, 0, 0xffff, 0, 0] / 96, "::ffff:0:0/96", "IPv4-mapped", "RFC 4291"),
    v6!([0, 0, 0, 0, 0, 0, 0, 0] / 96, "::/96", "deprecated IPv4-compatible", "RFC 4291"),
    v6!([0x64, 0xff9b, 1, 0, 0, 0, 0, 0] / 48, "64:ff9b:1::/48", "local-use translation", "RFC 8215"),
    v6!([0x100, 0, 0, 0, 0, 0, 0, 0] / 64, "100::/64", "discard only", "RFC 6666"),
    v6!([0x100, 0, 0, 1, 0, 0, 0, 0] / 64, "100:0:0:1::/64", "dummy prefix", "RFC 9780"),
    v6!([0x2001, 2, 0, 0, 0, 0, 0, 0] / 48, "2001:2::/48", "benchmarking", "RFC 5180"),
    v6!([0x2001, 0x10, 0, 0, 0, 0, 0, 0] / 28, "2001:10::/28", "deprecated ORCHID", "RFC 4843"),
    v6!([0x2001, 0x20, 0, 0, 0, 0, 0, 0] / 28, "2001:20::/28", "ORCHIDv2", "RFC 7343"),
    v6!([0x2001, 0x30, 0, 0, 0, 0, 0, 0] / 28, "2001:30::/28", "drone identifiers", "RFC 9374"),
    v6!([0x2001, 1, 0, 0, 0, 0, 0, 0] / 32, "2001:1::/32", "IETF protocol assignments", "RFC 2928"),
    v6!([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0] / 32, "2001:db8::/32", "documentation", "RFC 3849"),
    v6!([0x3fff, 0, 0, 0, 0, 0, 0, 0] / 20, "3fff::/20", "documentation", "RFC 9637"),
    v6!([0x5f00, 0, 0, 0, 0, 0, 0, 0] / 16, "5f00::/16", "segment routing identifiers", "RFC 9602"),
    v6!([0xfc00, 0, 0, 0, 0, 0, 0, 0] / 7, "fc00::/7", "unique local", "RFC 4193"),
    v6!([0xfe80, 0, 0, 0, 0, 0, 0, 0] / 10, "fe80::/10", "link local", "RFC 4291"),
    v6!([0xfec0, 0, 0, 0, 0, 0, 0, 0] / 10, "fec0::/10", "deprecated site local", "RFC 3879"),
    v6!([0xff00, 0, 0, 0, 0, 0, 0, 0] / 8, "ff00::/8", "multicast", "RFC 4291"),
    v6!([0x4000, 0, 0, 0, 0, 0, 0, 0] / 2, "4000::/2", "not allocated", "RFC 4291"),
    v6!([0x8000, 0, 0, 0, 0, 0, 0, 0] / 1, "8000::/1", "not allocated", "RFC 4291"),
];

/// The well-known NAT64 prefix (RFC 6052). It is globally reachable; what matters is the IPv4 address inside.
const WELL_KNOWN_NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
/// 6to4 (RFC 3056): the IPv4 address of the gateway in bits 16–47.
const SIX_TO_FOUR: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
/// Teredo (RFC 4380): server in bits 32–63, client inverted in bits 96–127.
const TEREDO: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);
/// What IANA has given out for global unicast.
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

const UNALLOCATED: SpecialBlock = SpecialBlock { block: "::/3", name: "not allocated", rfc: "RFC 4291" };

/// A NAT64 prefix found on the line (RFC 6052 allows the lengths 32, 40, 48, 56, 64 and 96).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat64Prefix(Ipv6Net);

impl Nat64Prefix {
    /// The prefix, if its length is one that RFC 6052 allows.
    pub fn new(net: Ipv6Net) -> Option<Self> {
        matches!(net.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96).then(|| Self(net.trunc()))
    }

    /// The prefix of this length around an address.
    pub fn from_parts(address: Ipv6Addr, length: u8) -> Option<Self> {
        Ipv6Net::new(address, length).ok().and_then(Self::new)
    }

    /// The prefix.
    pub const fn net(&self) -> Ipv6Net {
        self.0
    }

    /// Is the address one of the translator's?
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        self.0.contains(&address)
    }

    /// The address by which the translator reaches `v4` (RFC 6052, section 2.2).
    pub fn embed(&self, v4: Ipv4Addr) -> Ipv6Addr {
        let mut octets = self.0.network().octets();
        let first = usize::from(self.0.prefix_len() / 8);
        // Octet 8 stays zero and is skipped over.
        let places = (first..16).filter(|place| *place != 8);
        for (place, octet) in places.zip(v4.octets()) {
            if let Some(free) = octets.get_mut(place) {
                *free = octet;
            }
        }
        octets.into()
    }

    /// The IPv4 address inside `address`, if `address` has this prefix (RFC 6052, section 2.2).
    pub fn embedded(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        if !self.0.contains(&address) {
            return None;
        }
        let o = address.octets();
        // Octet 8 is always zero and is skipped over.
        Some(match self.0.prefix_len() {
            32 => Ipv4Addr::new(o[4], o[5], o[6], o[7]),
            40 => Ipv4Addr::new(o[5], o[6], o[7], o[9]),
            48 => Ipv4Addr::new(o[6], o[7], o[9], o[10]),
            56 => Ipv4Addr::new(o[7], o[9], o[10], o[11]),
            64 => Ipv4Addr::new(o[9], o[10], o[11], o[12]),
            _ => Ipv4Addr::new(o[12], o[13], o[14], o[15]),
        })
    }

    /// The prefixes that the answers for `ipv4only.arpa` show (RFC 7050, section 3): where one of the well-known
    /// addresses 192.0.0.170 and 192.0.0.171 stands inside.
    pub fn discover(answers: &[Ipv6Addr]) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for &answer in answers {
            for length in [96u8, 64, 56, 48, 40, 32] {
                let Some(prefix) = Ipv6Net::new(answer, length).ok().and_then(Self::new) else { continue };
                let well_known = prefix
                    .embedded(answer)
                    .is_some_and(|v4| v4 == Ipv4Addr::new(192, 0, 0, 170) || v4 == Ipv4Addr::new(192, 0, 0, 171));
                if well_known {
                    if !found.contains(&prefix) {
                        found.push(prefix);
                    }
                    break;
                }
            }
        }
        found
    }
}

/// The IPv4 addresses that an IPv6 address leads to, at most two. `nat64` are prefixes found on the line.
pub fn embedded_v4(address: Ipv6Addr, nat64: &[Nat64Prefix]) -> impl Iterator<Item = Ipv4Addr> {
    let o = address.octets();
    let low = Ipv4Addr::new(o[12], o[13], o[14], o[15]);
    let on_line = nat64.iter().find_map(|prefix| prefix.embedded(address));
    let (first, second) = if on_line.is_some() {
        (on_line, None)
    } else if address.to_ipv4_mapped().is_some() || WELL_KNOWN_NAT64.contains(&address) {
        (Some(low), None)
    } else if SIX_TO_FOUR.contains(&address) {
        (Some(Ipv4Addr::new(o[2], o[3], o[4], o[5])), None)
    } else if TEREDO.contains(&address) {
        let client = Ipv4Addr::new(!o[12], !o[13], !o[14], !o[15]);
        (Some(Ipv4Addr::new(o[4], o[5], o[6], o[7])), Some(client))
    } else {
        (None, None)
    };
    first.into_iter().chain(second)
}

/// The special block an address is in, also by an IPv4 address embedded in it; `None` when it is an ordinary one.
pub fn special(address: IpAddr, nat64: &[Nat64Prefix]) -> Option<SpecialBlock> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => {
            if let Some(block) = embedded_v4(v6, nat64).find_map(special_v4) {
                return Some(block);
            }
            if WELL_KNOWN_NAT64.contains(&v6) || nat64.iter().any(|prefix| prefix.0.contains(&v6)) {
                return None;
            }
            if let Some(Row6(_, block)) = SPECIAL_V6.iter().find(|Row6(net, _)| net.contains(&v6)) {
                return Some(*block);
            }
            (!GLOBAL_UNICAST.contains(&v6)).then_some(UNALLOCATED)
        }
    }
}

/// Every special block, for those who enforce the table elsewhere (a packet filter). Addresses with another one embedded are
/// not among them.
pub fn special_blocks() -> impl Iterator<Item = IpNet> {
    let v4 = SPECIAL_V4.iter().map(|Row4(net, _)| IpNet::V4(*net));
    v4.chain(SPECIAL_V6.iter().map(|Row6(net, _)| IpNet::V6(*net)))
}

fn special_v4(address: Ipv4Addr) -> Option<SpecialBlock> {
    SPECIAL_V4.iter().find(|Row4(net, _)| net.contains(&address)).map(|Row4(_, block)| *block)
}

/// The length of the prefix around each own IPv6 address that counts as the host's own network.
pub const DEFAULT_SITE_PREFIX: u8 = 56;

/// What is near a probe and therefore its host's own business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbourhood {
    /// The machine's own addresses.
    pub own: Vec<IpAddr>,
    /// Destinations on its links.
    pub on_link: Vec<IpNet>,
    /// Its routers.
    pub gateways: Vec<IpAddr>,
    /// Addresses it is seen from by others.
    pub public: Vec<IpAddr>,
    /// NAT64 prefixes found on the line.
    pub nat64: Vec<Nat64Prefix>,
    /// Length of the prefix around each own global IPv6 address that is forbidden too; 48 to 64.
    pub site_prefix: u8,
}

impl Default for Neighbourhood {
    fn default() -> Self {
        Self {
            own: Vec::new(),
            on_link: Vec::new(),
            gateways: Vec::new(),
            public: Vec::new(),
            nat64: Vec::new(),
            site_prefix: DEFAULT_SITE_PREFIX,
        }
    }
}

/// Why an address may not be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is in a special block.
    #[error("{} is for {} ({})", .0.block, .0.name, .0.rfc)]
    Special(SpecialBlock),
    /// It is the probe's own.
    #[error("it is the probe's own address")]
    Own,
    /// It is the address the probe is seen from.
    #[error("it is the address the probe is seen from")]
    Public,
    /// It is one of the probe's routers.
    #[error("it is the probe's gateway")]
    Gateway,
    /// It is on a link of the probe.
    #[error("it is on the probe's own network")]
    OnLink,
    /// It is in the prefix around one of the probe's addresses.
    #[error("it is in the prefix of the probe's own site")]
    Site,
}

impl Neighbourhood {
    /// May `address` be measured? `exceptions` are the host's own and override every rule here.
    pub fn check(&self, address: IpAddr, exceptions: &[IpNet]) -> Result<(), Refusal> {
        if exceptions.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        if let Some(block) = special(address, &self.nat64) {
            return Err(Refusal::Special(block));
        }
        self.check_near(address)?;
        // Behind a translator the host's own IPv4 network has an IPv6 address as well.
        if let IpAddr::V6(v6) = address {
            for v4 in embedded_v4(v6, &self.nat64) {
                self.check_near(IpAddr::V4(v4))?;
            }
        }
        Ok(())
    }

    fn check_near(&self, address: IpAddr) -> Result<(), Refusal> {
        if self.own.contains(&address) {
            return Err(Refusal::Own);
        }
        if self.public.contains(&address) {
            return Err(Refusal::Public);
        }
        if self.gateways.contains(&address) {
            return Err(Refusal::Gateway);
        }
        if self.on_link.iter().any(|net| net.contains(&address)) {
            return Err(Refusal::OnLink);
        }
        let near = self.own.iter().chain(&self.public).any(|&own| match (own, address) {
            (IpAddr::V6(own), IpAddr::V6(address)) => {
                GLOBAL_UNICAST.contains(&own)
                    && Ipv6Net::new(own, self.site_prefix.clamp(48, 64)).is_ok_and(|site| site.contains(&address))
            }
            _ => false,
        });
        if near { Err(Refusal::Site) } else { Ok(()) }
    }
}

/// Ports that mean harm when a stranger opens a connection to them: remote shells, mail, file sharing, databases and the
/// like, where a mere attempt raises alarms at the target.
pub const HARMFUL_PORTS: [u16; 27] = [
    19, 21, 22, 23, 25, 111, 135, 137, 138, 139, 161, 389, 445, 465, 512, 513, 514, 587, 1433, 1521, 2375, 3306, 3389,
    5432, 5900, 6379, 11211,
];

/// May a TCP connection be tried to this port?
pub fn tcp_port_allowed(port: u16) -> bool {
    port != 0 && !HARMFUL_PORTS.contains(&port)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn forbidden(text: &str) -> bool {
        special(text.parse().unwrap(), &[]).is_some()
    }

    #[test]
    fn special_addresses_also_embedded() {
        for text in [
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::7f00:1",
            "64:ff9b::c0a8:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::808:808",
            "100::1",
            "2001:2::1",
            "2001:db8::1",
            "2001:10::1",
            "2001:2f::1",
            "2002:c0a8:1::1",
            "2002:7f00:1::",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "9000::1",
            "1000::1",
            "e000::1",
            // Teredo with a private client (inverted 192.168.0.1) and with a private server.
            "2001:0:808:808::3f57:fffe",
            "2001:0:a00:1::f7f7:f7f7",
        ] {
            assert!(forbidden(text), "{text}");
        }
    }

    #[test]
    fn ordinary_addresses_are_not_special() {
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2a00::1",
            "2606:4700::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2001:0:808:808::f7f7:f7f7",
            "2620:4f:8000::1",
        ] {
            assert!(!forbidden(text), "{text}");
        }
    }

    #[test]
    fn the_nat64_prefix_of_the_line_is_found_and_looked_through() {
        let answers = ["2a00:1::c000:aa".parse().unwrap(), "2a00:2:0:1:c0:0:aa00:0".parse().unwrap()];
        let found = Nat64Prefix::discover(&answers);
        let texts: Vec<_> = found.iter().map(|p| std::format!("{}", p.net())).collect();
        assert_eq!(texts, ["2a00:1::/96", "2a00:2:0:1::/64"]);
        assert!(special("2a00:1::c0a8:1".parse().unwrap(), &found).is_some());
        assert!(special("2a00:1::808:808".parse().unwrap(), &found).is_none());
        // A network that translates with the local-use prefix reaches ordinary IPv4 hosts through it.
        let local = [Nat64Prefix::new("64:ff9b:1::/96".parse().unwrap()).unwrap()];
        assert!(special("64:ff9b:1::808:808".parse().unwrap(), &local).is_none());
        assert!(special("64:ff9b:1::a00:1".parse().unwrap(), &local).is_some());
    }

    #[test]
    fn every_length_of_rfc_6052() {
        // The examples of RFC 6052, section 2.4, with 192.0.2.33.
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            let prefix = Nat64Prefix::new(prefix.parse().unwrap()).unwrap();
            assert_eq!(prefix.embedded(address.parse().unwrap()), Some(Ipv4Addr::new(192, 0, 2, 33)), "{address}");
        }
    }

    #[test]
    fn the_neighbourhood_is_the_hosts_own_business() {
        let near = Neighbourhood {
            own: vec!["2a00:1:2:300::5".parse().unwrap(), "20.0.0.5".parse().unwrap()],
            on_link: vec!["2a00:1:2:300::/64".parse().unwrap(), "20.0.0.0/24".parse().unwrap()],
            gateways: vec!["20.0.9.1".parse().unwrap()],
            public: vec!["21.0.0.1".parse().unwrap()],
            nat64: vec![],
            site_prefix: DEFAULT_SITE_PREFIX,
        };
        let check = |text: &str| near.check(text.parse().unwrap(), &[]);
        assert_eq!(check("2a00:1:2:300::5"), Err(Refusal::Own));
        assert_eq!(check("2a00:1:2:300::9"), Err(Refusal::OnLink));
        assert_eq!(check("2a00:1:2:3ff::9"), Err(Refusal::Site));
        assert_eq!(check("2a00:1:2:400::9"), Ok(()));
        assert_eq!(check("20.0.0.77"), Err(Refusal::OnLink));
        assert_eq!(check("20.0.9.1"), Err(Refusal::Gateway));
        assert_eq!(check("21.0.0.1"), Err(Refusal::Public));
        assert_eq!(check("64:ff9b::1500:1"), Err(Refusal::Public), "the public address behind a translator");
        assert_eq!(check("2002:1400:5::1"), Err(Refusal::Own));
        assert!(near.check("20.0.0.77".parse().unwrap(), &["20.0.0.0/24".parse().unwrap()]).is_ok());
    }

    #[test]
    fn harmful_ports_are_refused() {
        assert!([22, 23, 25, 445, 3389, 0].iter().all(|&port| !tcp_port_allowed(port)));
        assert!([53, 80, 443, 853, 8080].iter().all(|&port| tcp_port_allowed(port)));
    }
}
