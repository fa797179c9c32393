//! The hosts: how each is made, what other people's tools find there, and what the measurement has to say.

use sonde_tests::lab::Family::{V4 as OVER4, V6 as OVER6};
use sonde_tests::lab::homes::{Fault, Home, Nat64, Plan, Resolver, V4, V6};

use crate::ground::{self, Reach};

/// A host.
pub struct Row {
    /// In words.
    pub what: &'static str,
    /// How it is made.
    pub plan: Plan,
    /// Whom it reaches over IPv6 and over IPv4.
    pub reach: [Reach; 2],
    /// Do its resolvers tell the AAAA and the A of a name with both? `None`: it has none.
    pub names: Option<[bool; 2]>,
    /// What else shows that it is what it is called.
    pub ground: fn(&Home<'_>) -> Result<(), String>,
    /// The verdict on IPv6: `state: causes (kind) +flags`.
    pub v6: &'static str,
    /// The same on IPv4.
    pub v4: &'static str,
}

/// A host that has nothing special, for rows to differ from.
const fn row(what: &'static str, plan: Plan) -> Row {
    Row {
        what,
        plan,
        reach: [Reach::All, Reach::All],
        names: Some([true, true]),
        ground: |_| Ok(()),
        v6: "native",
        v4: "native (public)",
    }
}

const PLAIN4: &[(Resolver, sonde_tests::lab::Family)] = &[(Resolver::Plain, OVER4)];
const PLAIN6: &[(Resolver, sonde_tests::lab::Family)] = &[(Resolver::Plain, OVER6)];
const DNS64: &[(Resolver, sonde_tests::lab::Family)] = &[(Resolver::Dns64, OVER6)];

/// IPv6 alone, and no help for IPv4.
const fn v6_only(name: &'static str) -> Plan {
    Plan { v4: V4::None, resolvers: PLAIN6, ..Plan::dual(name) }
}

/// All of them.
pub const HOSTS: &[Row] = &[
    Row { ground: ground::whole_path, ..row("dual stack, public v4", Plan::dual("dual")) },
    Row {
        reach: [Reach::None, Reach::All],
        v6: "none (link_local_only)",
        ..row("v4 only", Plan { v6: V6::LinkLocal, resolvers: PLAIN4, ..Plan::dual("v4only") })
    },
    Row {
        reach: [Reach::All, Reach::None],
        ground: |home| ground::nat64(home, true).and(ground::synthesis(home, true)),
        v4: "nat64+dns64",
        ..row("v6 only, NAT64 and DNS64", Plan { resolvers: DNS64, nat64: Nat64::Works, ..v6_only("dns64") })
    },
    Row {
        reach: [Reach::All, Reach::None],
        ground: |home| ground::nat64(home, true).and(ground::synthesis(home, false)),
        v4: "nat64",
        ..row("v6 only, PREF64, no DNS64", Plan { v6: V6::Pref64, nat64: Nat64::Works, ..v6_only("pref64") })
    },
    Row {
        ground: |home| ground::nat64(home, true).and(ground::has(home, &["ip", "-4", "route"], "default dev clat")),
        v4: "464xlat",
        ..row(
            "... and a CLAT on the host",
            Plan {
                v4: V4::ClatOnHost,
                v6: V6::Pref64,
                nat64: Nat64::Works,
                resolvers: PLAIN6,
                ..Plan::dual("clathost")
            },
        )
    },
    Row {
        ground: |home| ground::nat64(home, true).and(ground::too_big(home, OVER4, 1500, 1480)),
        v4: "464xlat",
        ..row(
            "... and a CLAT in the router",
            Plan { v4: V4::ClatInRouter, v6: V6::Pref64, nat64: Nat64::Works, ..Plan::dual("clatrouter") },
        )
    },
    Row {
        reach: [Reach::All, Reach::None],
        ground: |home| ground::nat64(home, false).and(ground::synthesis(home, true)),
        v4: "broken: nat64",
        ..row("DNS64, NAT64 dead", Plan { resolvers: DNS64, nat64: Nat64::Dead, ..v6_only("nat64dead") })
    },
    Row {
        reach: [Reach::None, Reach::All],
        v6: "broken: filtered",
        ..row("GUA, upstream drops", Plan { resolvers: PLAIN4, faults: &[Fault::DropsV6], ..Plan::dual("drops") })
    },
    Row {
        reach: [Reach::None, Reach::All],
        ground: |home| ground::lacks(home, &["ip", "-6", "route"], "default"),
        v6: "broken: no-route",
        ..row("GUA, RA lifetime 0", Plan { v6: V6::AdvertisedNoDefault, resolvers: PLAIN4, ..Plan::dual("lifetime0") })
    },
    Row {
        reach: [Reach::None, Reach::All],
        ground: ground::silent_gateway,
        v6: "broken: no-neighbour",
        ..row("gateway silent", Plan { resolvers: PLAIN4, faults: &[Fault::SilentV6], ..Plan::dual("silent") })
    },
    Row {
        ground: ground::lie,
        v6: "native +lying-resolver",
        v4: "native (public) +lying-resolver",
        ..row(
            "lying resolver",
            Plan { resolvers: &[(Resolver::Lying, OVER4), (Resolver::Lying, OVER6)], ..Plan::dual("lying") },
        )
    },
    Row {
        names: Some([false, true]),
        v6: "broken: dns-only",
        ..row(
            "AAAA filtered",
            Plan { resolvers: &[(Resolver::Filter, OVER4), (Resolver::Filter, OVER6)], ..Plan::dual("filter") },
        )
    },
    Row {
        ground: ground::intercepted,
        v4: "native (public) +intercepted",
        ..row("DNS intercepted", Plan { resolvers: PLAIN4, faults: &[Fault::Intercepts], ..Plan::dual("intercepted") })
    },
    Row {
        ground: |home| ground::too_big(home, OVER6, 1500, 1280).and(ground::too_big(home, OVER4, 1500, 1280)),
        ..row("MTU 1280, PTB sent", Plan { faults: &[Fault::Narrow], ..Plan::dual("mtu1280") })
    },
    Row {
        ground: |home| ground::hole(home, 1280),
        v6: "native-partial: mtu",
        ..row("black hole above 1280", Plan { faults: &[Fault::Hole(1280)], ..Plan::dual("hole1280") })
    },
    Row {
        ground: |home| ground::hole(home, 250),
        v6: "broken: mtu +below-1280",
        ..row("... and no TLS", Plan { faults: &[Fault::Hole(250)], resolvers: PLAIN4, ..Plan::dual("holetotal") })
    },
    Row {
        ground: ground::no_too_big,
        v6: "native +ptb-filtered",
        ..row("PTB dropped at home, path 1500", Plan { faults: &[Fault::DropsTooBig], ..Plan::dual("ptbdrop") })
    },
    Row {
        ground: |home| ground::hop(home, 2, "20.200."),
        v4: "native (nat44)",
        ..row("NAT44", Plan { v4: V4::Nat44, ..Plan::dual("nat44") })
    },
    Row {
        ground: |home| ground::hop(home, 2, "100.64.0.1"),
        v4: "native (cgnat)",
        ..row("100.64 outside", Plan { v4: V4::Cgnat, ..Plan::dual("cgnat") })
    },
    Row {
        reach: [Reach::None, Reach::All],
        ground: |home| ground::has(home, &["ip", "-6", "addr", "show", "dev", "eth0"], "inet6 fd"),
        v6: "none (ula_only)",
        ..row("ULA only", Plan { v6: V6::UlaOnly, resolvers: PLAIN4, ..Plan::dual("ula") })
    },
    Row {
        ground: |home| ground::lacks(home, &["ip", "-6", "addr", "show", "dev", "eth0"], "inet6 2"),
        v6: "native +nptv6",
        ..row("... with NPTv6", Plan { v6: V6::Npt, ..Plan::dual("nptv6") })
    },
    row("RA without DNS", Plan { v6: V6::Advertised, resolvers: PLAIN4, ..Plan::dual("nordnss") }),
    Row {
        reach: [Reach::All, Reach::None],
        names: None,
        v6: "broken: dns-only",
        v4: "none (no_address)",
        ..row("... v6 only", Plan { v6: V6::Advertised, resolvers: &[], ..v6_only("nordnssv6") })
    },
    Row {
        ground: ground::stale_prefix,
        v6: "native-partial: stale-prefix",
        ..row("renumbered, old prefix left", Plan { v6: V6::Renumbered, ..Plan::dual("renumbered") })
    },
    Row {
        ground: |home| {
            ground::has(home, &["ip", "-6", "addr"], "inet6 2002:14c8:").and(ground::too_big(home, OVER6, 1500, 1480))
        },
        v6: "tunnel (6to4)",
        v4: "native (nat44)",
        ..row("6to4", Plan { v6: V6::SixToFour, v4: V4::Nat44, ..Plan::dual("6to4") })
    },
    Row {
        ground: |home| {
            ground::has(home, &["ip", "-6", "addr"], "inet6 2a01:7700:14c8:")
                .and(ground::too_big(home, OVER6, 1500, 1480))
        },
        v6: "tunnel (6rd)",
        v4: "native (nat44)",
        ..row("6rd", Plan { v6: V6::SixRd, v4: V4::Nat44, ..Plan::dual("6rd") })
    },
    Row {
        reach: [Reach::None, Reach::None],
        names: Some([false, false]),
        v6: "offline",
        v4: "offline",
        ..row("both cut", Plan { faults: &[Fault::Cut], ..Plan::dual("cut") })
    },
    row("2 % random loss", Plan { faults: &[Fault::Wired], ..Plan::dual("lossy") }),
];
