//! Our traceroute on the lab's long path, by the real programs: every hop against the truth. What a packet's branch at the
//! fork was, which errors a router really sent, and when an answer had arrived is read from the wire and from captures.
//!
//! How long it takes until every hop has answered once is printed, as a figure; run with `--test-threads=1` for a good one.
//! Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

mod paris;
mod slow;
mod truth;

use std::net::IpAddr;

use serde_json::Value;
use sonde_tests::lab::packet::{ICMP, ICMPV6, IpSummary, TCP, UDP};
use sonde_tests::lab::{Family, Host, Lab, LabOptions};
use sonde_tests::scene;
use sonde_tests::world::program;

/// What traceroute can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Icmp,
    Tcp,
}

impl Transport {
    pub(crate) const ALL: [Self; 3] = [Self::Udp, Self::Icmp, Self::Tcp];

    /// Atlas's word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
            Self::Tcp => "TCP",
        }
    }

    fn protocol(self, family: Family) -> u8 {
        match (self, family) {
            (Self::Udp, _) => UDP,
            (Self::Icmp, Family::V4) => ICMP,
            (Self::Icmp, Family::V6) => ICMPV6,
            (Self::Tcp, _) => TCP,
        }
    }
}

/// One of the ways to measure a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) transport: Transport,
    pub(crate) family: Family,
}

impl Case {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let of = |transport| Family::ALL.map(|family| Self { transport, family });
        Transport::ALL.into_iter().flat_map(of)
    }

    /// Where the path leads.
    pub(crate) fn dst(self) -> IpAddr {
        Host::Far.address(self.family).unwrap()
    }

    /// Whether a packet is one that this traceroute sends from a host.
    pub(crate) fn sends(self, host: Host, ip: &IpSummary) -> bool {
        let is_request = self.transport != Transport::Icmp || matches!(ip.icmp_type, Some(8 | 128));
        let src = host.address(self.family);
        is_request && ip.protocol == self.transport.protocol(self.family) && (Some(ip.src), ip.dst) == (src, self.dst())
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} over IP{:?}", self.transport.name(), self.family)
    }
}

pub(crate) fn long_path() -> Option<Lab> {
    scene::lab(LabOptions { long_path: true, ..LabOptions::default() })
}

/// `sonde-probe measure traceroute` towards the far target.
pub(crate) fn measure(lab: &Lab, host: Host, case: Case, options: &[&str]) -> Value {
    let mut command = lab.host(host).command(program("sonde-probe").unwrap());
    let af = if case.family == Family::V4 { "4" } else { "6" };
    command.args(["measure", "traceroute", &case.dst().to_string(), "--af", af, "--protocol", case.transport.name()]);
    let output = command.args(options).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{case}: {text} {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap()
}

/// The answers of each hop, in order. The hops are numbered from 1 on.
pub(crate) fn hops(result: &Value) -> Vec<&[Value]> {
    let hops = result["result"].as_array().unwrap_or_else(|| panic!("no hops in {result}"));
    for (number, hop) in (1_u64..).zip(hops) {
        assert_eq!(hop["hop"], number, "{result}");
    }
    hops.iter()
        .map(|hop| hop["result"].as_array().unwrap_or_else(|| panic!("no answers in {hop}")).as_slice())
        .collect()
}
