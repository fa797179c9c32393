//! A network of the lab as a home's router gives it: the machine is plugged in where a host of the lab would be, and dnsmasq on the
//! router hands out addresses and resolvers.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::machine::Cable;
use crate::lab::{Capture, Family, Host, Lab, LabChild, Namespace, Node, Router};

/// The tap device, beside the host's interface in one bridge.
pub const TAP: &str = "tap0";

/// Which families a line has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// DHCP alone (RFC 2131).
    V4,
    /// Router advertisements with resolvers (RFC 4861, RFC 8106) alone: no DHCP of any version.
    V6,
    /// Both: DHCP, router advertisements, and DHCPv6 for the resolvers (RFC 8415, stateless).
    Both,
}

impl Sort {
    /// In the order of the tests.
    pub const ALL: [Self; 3] = [Self::V6, Self::V4, Self::Both];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Both => "both",
        }
    }

    /// The families.
    pub const fn families(self) -> &'static [Family] {
        match self {
            Self::V4 => &[Family::V4],
            Self::V6 => &[Family::V6],
            Self::Both => &Family::ALL,
        }
    }

    /// The lab's host whose place the machine takes.
    pub const fn host(self) -> Host {
        match self {
            Self::V4 => Host::V4Only,
            Self::V6 => Host::V6Only,
            Self::Both => Host::Dual,
        }
    }

    const fn router(self) -> (Router, &'static str) {
        match self {
            Self::V4 => (Router::R1, "v4only"),
            Self::V6 => (Router::R1, "v6only"),
            Self::Both => (Router::Home, "lan"),
        }
    }

    /// The link-layer address of the machine there.
    pub const fn mac(self) -> &'static str {
        match self {
            Self::V4 => "52:54:00:50:4e:44",
            Self::V6 => "52:54:00:50:4e:46",
            Self::Both => "52:54:00:50:4e:4a",
        }
    }
}

/// A line, ready for a machine.
pub struct HomeLine<'a> {
    /// What it is.
    pub sort: Sort,
    namespace: &'a Namespace,
    lab: &'a Lab,
    _server: LabChild,
}

impl<'a> HomeLine<'a> {
    /// Takes the host's place and starts the router's servers. Once for each line of a lab.
    ///
    /// # Errors
    /// When interfaces cannot be made or dnsmasq is missing.
    pub fn open(lab: &'a Lab, sort: Sort, dir: &Path) -> Result<Self> {
        let namespace = lab.host(sort.host());
        // The host is silent from here on: it is a cable. Its queue takes a whole scan of ports, which an emulated machine is slow to read.
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "1")?;
        }
        let batch = format!(
            "addr flush dev eth0\nlink add name board type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             tuntap add dev {TAP} mode tap\nlink set dev eth0 master board\nlink set dev {TAP} master board\n\
             link set dev {TAP} txqueuelen 100000 up\nlink set dev board up\nlink set dev board arp off\n"
        );
        namespace.feed("ip", &["-batch", "-"], &batch)?;
        let (router, interface) = sort.router();
        let config = dir.join(format!("dnsmasq-{}.conf", sort.name()));
        let leases = dir.join(format!("leases-{}", sort.name()));
        fs::write(&config, configuration(sort, interface, &leases))?;
        let mut command = lab.router(router).command("dnsmasq");
        command.arg("--keep-in-foreground").arg(format!("--conf-file={}", config.display()));
        let log = fs::File::create(dir.join(format!("dnsmasq-{}.log", sort.name())))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let server = lab.spawn(&mut command).context("start dnsmasq")?;
        Ok(Self { sort, namespace, lab, _server: server })
    }

    /// Where a machine's cable goes.
    pub fn cable(&self) -> Cable<'a> {
        Cable { namespace: self.namespace, tap: TAP, mac: self.sort.mac() }
    }

    /// Records every frame on the cable from now on.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn capture(&self) -> Result<Capture> {
        self.lab.capture(self.sort.host())
    }

    /// The router's addresses on this line, but for its link-local one.
    pub fn gateways(&self) -> Vec<IpAddr> {
        let router = Node::Router(self.sort.router().0);
        let on_line = |gateway: &IpAddr| match self.sort {
            // The others of this router are on other links.
            Sort::V4 => *gateway == IpAddr::from([20, 11, 1, 1]),
            Sort::V6 => *gateway == IpAddr::from([0x2a0e, 0x5a00, 0x101, 0xbb00, 0, 0, 0, 1]),
            Sort::Both => true,
        };
        Family::ALL.into_iter().flat_map(|family| router.addresses(family)).filter(on_line).collect()
    }

    /// A machine in the same household, from which to look at ours: the router, or the lab's neighbour.
    pub fn neighbour(&self) -> &'a Namespace {
        match self.sort {
            Sort::Both => self.lab.host(Host::Neighbour),
            sort => self.lab.node(Node::Router(sort.router().0)),
        }
    }
}

fn configuration(sort: Sort, interface: &str, leases: &Path) -> String {
    let mut text = format!(
        "port=0\ninterface={interface}\nbind-dynamic\nno-resolv\nno-hosts\nuser=root\nlog-facility=-\nlog-dhcp\n\
         dhcp-leasefile={}\npid-file\n",
        leases.display()
    );
    let resolver = |family| Host::Dns.address(family).map(|address| address.to_string()).unwrap_or_default();
    if sort.families().contains(&Family::V4) {
        let net = if sort == Sort::V4 { "20.11.1" } else { "20.10.1" };
        text += &format!(
            "dhcp-authoritative\nno-ping\ndhcp-range={net}.100,{net}.150,255.255.255.0,10m\n\
             dhcp-option=option:router,{net}.1\ndhcp-option=option:dns-server,{}\n",
            resolver(Family::V4)
        );
    }
    if sort.families().contains(&Family::V6) {
        let mode = if sort == Sort::V6 { "ra-only" } else { "ra-stateless" };
        text += &format!(
            "enable-ra\ndhcp-range=::,constructor:{interface},{mode},64,10m\ndhcp-option=option6:dns-server,[{}]\n",
            resolver(Family::V6)
        );
    }
    text
}
