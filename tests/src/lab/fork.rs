//! Which branch of the long path a flow takes: the truth for Paris traceroute. The kernel of the fork decides by a hash over
//! addresses, protocol and ports; two ways to learn it are asking that kernel and looking where packets went.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, bail, ensure};

use super::packet::{ICMP, ICMPV6, IpSummary, PacketSummary, TCP, UDP};
use super::topology::{Branch, Direction, Family, Router};
use super::{Fate, Lab, WireLog};

/// What the fork looks at. ICMP has no ports, so all of it between two hosts is one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Source address, as seen at the fork.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP's number for the transport.
    pub protocol: u8,
    /// Source and destination port of UDP and TCP.
    pub ports: Option<(u16, u16)>,
}

impl Flow {
    /// That of a packet.
    pub fn of(ip: &IpSummary) -> Self {
        Self { src: ip.src, dst: ip.dst, protocol: ip.protocol, ports: ip.src_port.zip(ip.dst_port) }
    }
}

impl Lab {
    /// What the fork's kernel says that it will do with packets of this flow (`ip route get`). Needs the long path.
    pub fn branch(&self, flow: &Flow) -> anyhow::Result<Branch> {
        let protocol = match flow.protocol {
            UDP => "udp",
            TCP => "tcp",
            ICMP => "icmp",
            ICMPV6 => "ipv6-icmp",
            other => bail!("`ip route get` knows no protocol {other}"),
        };
        let mut command = self.router(Router::Fork).command("ip");
        command.args(["-o", "route", "get", &flow.dst.to_string(), "from", &flow.src.to_string(), "iif", "r2"]);
        command.args(["ipproto", protocol]);
        if let Some((src, dst)) = flow.ports {
            command.args(["sport", &src.to_string(), "dport", &dst.to_string()]);
        }
        let output = command.output().context("ask the fork")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "ip route get: {}", String::from_utf8_lossy(&output.stderr));
        let family = Family::of(flow.dst);
        let goes_to = |branch: &Branch| {
            let next = super::Node::Router(branch.routers()[0]).address_on(branch.first_link(), family);
            next.is_some_and(|next| text.contains(&format!("via {next} ")))
        };
        Branch::ALL.into_iter().find(goes_to).with_context(|| format!("no branch in {text}"))
    }
}

impl WireLog {
    /// The branches that frames like this have taken towards `Far`; none if they did not come so far.
    pub fn branches(&self, wanted: impl Fn(&PacketSummary) -> bool) -> BTreeSet<Branch> {
        let records = self.matching(wanted).filter(|record| record.direction == Direction::Forward);
        let records = records.filter(|record| matches!(record.fate, Fate::Sent | Fate::Duplicate));
        records.filter_map(|record| Branch::ALL.into_iter().find(|branch| branch.first_link() == record.link)).collect()
    }
}
