//! What a machine's own tables say: addresses, default routes, the router's advertisement. Flags and states are the kernel's
//! numbers (`linux/if_addr.h`, `linux/neighbour.h`).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use minicbor::{Decode, Encode};

use super::words::words;
use crate::bounded::{List, Text};
use crate::net::{Family, Ip};

/// The name of an interface (`IFNAMSIZ`).
pub type InterfaceName = Text<16>;

words! {
    /// What an address is for, by its prefix.
    AddressClass, else Other;
    /// None of the others.
    Other = 0 "other",
    /// Global unicast, 2000::/3 without the tunnels.
    Global = 1 "gua",
    /// Unique local, fc00::/7.
    UniqueLocal = 2 "ula",
    /// Link-local, fe80::/10 and 169.254.0.0/16.
    LinkLocal = 3 "link_local",
    /// 6to4, 2002::/16.
    SixToFour = 4 "6to4",
    /// Teredo, 2001::/32.
    Teredo = 5 "teredo",
    /// For books, 2001:db8::/32 and 3fff::/20: never a real address.
    Documentation = 6 "documentation",
    /// The machine itself.
    Loopback = 7 "loopback",
    /// 192.0.0.0/29, the IPv4 end of a translator or tunnel on this machine (RFC 7335, RFC 6333).
    Continuity = 8 "continuity",
    /// Shared address space, 100.64.0.0/10 (RFC 6598).
    Shared = 9 "shared",
    /// Private, RFC 1918.
    Private = 10 "private",
    /// Any other IPv4 address.
    Public = 11 "public",
}

impl AddressClass {
    /// The class of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [192, 0, 0, last] if last < 8 => Self::Continuity,
            [100, second, ..] if second & 0xc0 == 64 => Self::Shared,
            [0, ..] | [224..=255, ..] => Self::Other,
            _ if address.is_private() => Self::Private,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Self::Documentation,
            [0x2001, 0, ..] => Self::Teredo,
            [0x2002, ..] => Self::SixToFour,
            [0x2000..=0x3fff, ..] => Self::Global,
            [0xfc00..=0xfdff, ..] => Self::UniqueLocal,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            _ => Self::Other,
        }
    }

    /// Can the internet send something back to it, or to what a translator makes of it?
    pub const fn is_usable(self) -> bool {
        matches!(
            self,
            Self::Global
                | Self::SixToFour
                | Self::Teredo
                | Self::Continuity
                | Self::Shared
                | Self::Private
                | Self::Public
        )
    }
}

/// One address of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AddressSeen {
    /// The address.
    #[n(0)]
    pub address: Ip,
    /// Length of its prefix.
    #[n(1)]
    pub length: u8,
    /// The interface that has it.
    #[n(2)]
    pub interface: InterfaceName,
    /// `IFA_FLAGS`.
    #[n(3)]
    pub flags: u32,
    /// Seconds for which it is preferred; absent: for ever.
    #[n(4)]
    pub preferred: Option<u32>,
    /// Seconds for which it is valid; absent: for ever.
    #[n(5)]
    pub valid: Option<u32>,
    /// `IFA_PROTO`: 2 the kernel from an advertisement, 3 link-local; absent where the kernel does not tell.
    #[n(6)]
    pub origin: Option<u8>,
}

impl AddressSeen {
    /// Names of the flags that say something, in the kernel's order.
    pub const FLAGS: [(u32, &'static str); 6] = [
        (0x01, "temporary"),
        (Self::DAD_FAILED, "dadfailed"),
        (Self::DEPRECATED, "deprecated"),
        (Self::TENTATIVE, "tentative"),
        (0x80, "permanent"),
        (0x800, "stable_privacy"),
    ];
    /// `IFA_F_DADFAILED`: another machine has it too.
    pub const DAD_FAILED: u32 = 0x08;
    /// `IFA_F_DEPRECATED`: not for new connections.
    pub const DEPRECATED: u32 = 0x20;
    /// `IFA_F_TENTATIVE`: not yet to be used.
    pub const TENTATIVE: u32 = 0x40;

    /// Its class.
    pub fn class(&self) -> AddressClass {
        AddressClass::of(self.address.0)
    }

    /// Could the machine use it towards the internet now?
    pub fn is_usable(&self) -> bool {
        self.flags & (Self::DAD_FAILED | Self::TENTATIVE) == 0 && self.class().is_usable()
    }
}

words! {
    /// What a route leads into.
    LinkKind, else Other;
    /// Something else.
    Other = 0 "other",
    /// Ethernet, and what looks like it (Wi-Fi, bridges).
    Ether = 1 "ether",
    /// Point-to-point protocol.
    Ppp = 2 "ppp",
    /// IPv6 in IPv4.
    Sit = 3 "sit",
    /// Generic routing encapsulation.
    Gre = 4 "gre",
    /// A tunnel that a program makes.
    Tun = 5 "tun",
    /// WireGuard.
    Wireguard = 6 "wireguard",
    /// A translator to IPv6 on this machine (RFC 6877).
    Clat = 7 "clat",
}

impl LinkKind {
    /// Is what leaves here carried inside other packets?
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Sit | Self::Gre | Self::Tun | Self::Wireguard)
    }

    /// Is it likely a virtual private network?
    pub const fn is_vpn(self) -> bool {
        matches!(self, Self::Tun | Self::Wireguard)
    }
}

words! {
    /// What the kernel knows of a neighbour (`NUD_…`).
    Neighbour, else Unknown;
    /// Nobody has looked.
    Unknown = 0 "none",
    /// It has been asked and has not answered yet.
    Incomplete = 1 "incomplete",
    /// It answered lately.
    Reachable = 2 "reachable",
    /// It answered once.
    Stale = 4 "stale",
    /// It answered once and is about to be asked.
    Delay = 8 "delay",
    /// It is being asked.
    Probe = 16 "probe",
    /// It does not answer.
    Failed = 32 "failed",
    /// It needs no asking.
    NoArp = 64 "noarp",
    /// It is written down.
    Permanent = 128 "permanent",
}

impl Neighbour {
    /// Was it asked, in vain?
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Incomplete | Self::Failed)
    }
}

/// One default route.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RouteSeen {
    /// The family.
    #[n(0)]
    pub af: Family,
    /// The router; absent on links that need none.
    #[n(1)]
    pub gateway: Option<Ip>,
    /// The interface.
    #[n(2)]
    pub interface: InterfaceName,
    /// What that is.
    #[n(3)]
    pub link: LinkKind,
    /// `rtm_protocol`: 9 a router's advertisement, 16 DHCP.
    #[n(4)]
    pub origin: Option<u8>,
    /// Seconds until it expires; absent: never.
    #[n(5)]
    pub expires: Option<u32>,
    /// The router as a neighbour, after a packet was sent to it; absent: nobody has looked.
    #[n(6)]
    pub neighbour: Option<Neighbour>,
    /// Whether there is a DHCP lease behind it; absent: not known.
    #[n(7)]
    pub lease: Option<bool>,
}

/// What the router advertises (RFC 4861, RFC 8106, RFC 8781).
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct RouterAdvert {
    /// One came.
    #[n(0)]
    pub seen: bool,
    /// Addresses by DHCPv6 (M).
    #[n(1)]
    pub managed: bool,
    /// Other things by DHCPv6 (O).
    #[n(2)]
    pub other: bool,
    /// The link's MTU.
    #[n(3)]
    pub mtu: Option<u32>,
    /// Resolvers.
    #[n(4)]
    pub resolvers: List<Ip, 8>,
    /// Prefixes of NAT64 translators.
    #[n(5)]
    pub pref64: List<Pref64, 8>,
    /// Was the advertisement itself heard, so that what is not in the lists is not told either? Absent: an older probe, which did not
    /// say.
    #[n(6)]
    pub heard: Option<bool>,
}

/// A prefix of a NAT64 translator, from an advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pref64 {
    /// The prefix.
    #[n(0)]
    pub prefix: Ip,
    /// Its length.
    #[n(1)]
    pub length: u8,
    /// Seconds for which it is good.
    #[n(2)]
    pub lifetime: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_addresses() {
        for (address, class) in [
            ("2a0e:5a00::1", AddressClass::Global),
            ("2001:4860::1", AddressClass::Global),
            ("2001:db8::1", AddressClass::Documentation),
            ("2001:0:1::1", AddressClass::Teredo),
            ("2002:c000:201::1", AddressClass::SixToFour),
            ("fd00::1", AddressClass::UniqueLocal),
            ("fe80::1", AddressClass::LinkLocal),
            ("::1", AddressClass::Loopback),
            ("64:ff9b::1", AddressClass::Other),
            ("192.0.0.7", AddressClass::Continuity),
            ("192.0.0.8", AddressClass::Public),
            ("100.64.0.1", AddressClass::Shared),
            ("100.128.0.1", AddressClass::Public),
            ("172.16.9.9", AddressClass::Private),
            ("169.254.1.1", AddressClass::LinkLocal),
            ("203.0.114.9", AddressClass::Public),
            ("0.0.0.0", AddressClass::Other),
        ] {
            assert_eq!(AddressClass::of(address.parse().unwrap()), class, "{address}");
        }
    }
}
