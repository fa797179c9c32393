//! Routers' advertisements (RFC 4861). radvd makes them, but for those that tell a NAT64 prefix (RFC 8781), which versions
//! before 2.20 cannot say: these are made here, often until the host has an address, and then only for who asks.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::draft::{host, router};
use super::plan::{NAT64_PREFIX, Place, Plan, V6};
use super::tunnel::Helper;
use super::{Homes, said, wait_until};
use crate::lab::LabChild;

/// Seconds for which everything advertised holds.
const LIFETIME: u16 = 1800;

/// How often advertisements are repeated at first, in milliseconds.
const EVERY: u16 = 1000;

/// A router solicitation (4.1).
const SOLICITATION: u8 = 133;

/// All nodes of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

impl Homes {
    pub(super) fn start_adverts(&mut self) -> anyhow::Result<()> {
        let mut started = Vec::new();
        let mut helpers = Vec::new();
        let arrived = Arc::new(AtomicBool::new(false));
        // The old prefix of the homes that were renumbered first, so that there is time for it to arrive.
        let mut old = Vec::new();
        for (plan, place) in self.plans.iter().zip(&self.draft.places) {
            if plan.v6 == V6::Renumbered {
                old.push((plan, place, self.radvd(plan, place.old_prefix48(), "old")?));
            }
        }
        for (plan, place, radvd) in old {
            self.wait_for_prefix(plan, place.old_prefix48())?;
            // Without a word: killed, it cannot take its prefix back.
            drop(radvd);
        }
        for (plan, place) in self.plans.iter().zip(&self.draft.places) {
            if plan.v6 == V6::Pref64 {
                helpers.push(self.pref64(plan, *place, Arc::clone(&arrived))?);
            } else if plan.v6.is_advertised() {
                started.push(self.radvd(plan, place.lan6(plan.v6), "now")?);
            }
        }
        for (plan, place) in self.plans.iter().zip(&self.draft.places).filter(|(plan, _)| plan.v6.is_advertised()) {
            self.wait_for_prefix(plan, place.lan6(plan.v6))?;
        }
        arrived.store(true, Ordering::Relaxed);
        self.children.extend(started);
        self.helpers.extend(helpers);
        Ok(())
    }

    /// The resolvers that a home's router tells of.
    fn rdnss(plan: &Plan) -> Vec<Ipv6Addr> {
        let addresses = plan.resolvers.iter().map(|(resolver, family)| resolver.address(*family));
        addresses.filter_map(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None }).collect()
    }

    fn radvd(&self, plan: &Plan, prefix: Ipv6Addr, word: &str) -> anyhow::Result<LabChild> {
        let lifetime = if matches!(plan.v6, V6::AdvertisedNoDefault | V6::UlaOnly) { 0 } else { LIFETIME };
        let mut config = format!(
            "interface lan {{\n  AdvSendAdvert on;\n  MinRtrAdvInterval 3;\n  MaxRtrAdvInterval 4;\n  \
             AdvDefaultLifetime {lifetime};\n  \
             prefix {prefix}/64 {{ AdvValidLifetime 7200; AdvPreferredLifetime {LIFETIME}; }};\n"
        );
        for address in Self::rdnss(plan) {
            let _ = writeln!(config, "  RDNSS {address} {{ AdvRDNSSLifetime {LIFETIME}; }};");
        }
        config += "};\n";
        let file = self.dir().join(format!("radvd-{}-{word}", plan.name));
        fs::write(&file, config).context("write radvd's configuration")?;
        let log = fs::File::create(file.with_extension("log")).context("radvd's log")?;
        let mut command = self.namespace(&router(plan.name)).command("radvd");
        command.args(["--nodaemon", "--logmethod=stderr"]).arg("--config").arg(&file);
        command.arg("--pidfile").arg(file.with_extension("pid"));
        LabChild::start(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))
    }

    fn pref64(&self, plan: &Plan, place: Place, arrived: Arc<AtomicBool>) -> anyhow::Result<Helper> {
        let message = advertisement(place.lan6(plan.v6), &Self::rdnss(plan), Some(NAT64_PREFIX));
        let (socket, to) = self.namespace(&router(plan.name)).run(|| -> anyhow::Result<_> {
            let index = nix::net::if_::if_nametoindex("lan").context("find an interface")?;
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).context("a raw socket")?;
            // Both are demanded of Neighbour Discovery: nothing from behind a router is one.
            socket.set_multicast_hops_v6(255)?;
            socket.set_nonblocking(true)?;
            socket.bind(&SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 0, 0, index).into())?;
            Ok((socket, SocketAddrV6::new(ALL_NODES, 0, 0, index)))
        })?;
        Helper::start(move |told: UnixStream| {
            let mut is_asked = false;
            loop {
                if is_asked || !arrived.load(Ordering::Relaxed) {
                    // A link that is going away takes none.
                    let _ = socket.send_to(&message, &to.into());
                }
                let mut waits = [told.as_fd(), socket.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
                if poll(&mut waits, EVERY).is_err() || waits[0].any() != Some(false) {
                    return;
                }
                is_asked = false;
                let mut first = [0];
                // The rest of a message is thrown away with its end.
                while (&socket).read(&mut first).is_ok() {
                    is_asked |= first == [SOLICITATION];
                }
            }
        })
    }

    /// Waits until a home's host has an address of this prefix.
    fn wait_for_prefix(&self, plan: &Plan, prefix: Ipv6Addr) -> anyhow::Result<()> {
        let text = prefix.to_string();
        let begins = format!("inet6 {}", text.trim_end_matches(':'));
        wait_until(&format!("the advertisement at {}", plan.name), || {
            Ok(said(self.namespace(&host(plan.name)), "ip", &["-6", "addr", "show", "dev", "eth0"])?.contains(&begins))
        })
    }
}

/// The message; the kernel fills the checksum in.
fn advertisement(prefix: Ipv6Addr, resolvers: &[Ipv6Addr], nat64: Option<Ipv6Addr>) -> Vec<u8> {
    /// The flags "on-link" and "autonomous" (RFC 4861, 4.6.2).
    const FOR_ALL: u8 = 0xc0;
    let long = u32::from(LIFETIME);
    // Type, code, checksum, hop limit, no flags, lifetime, reachable time, timer (4.2).
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend(LIFETIME.to_be_bytes());
    message.extend([0; 8]);
    message.extend([3, 4, 64, FOR_ALL]);
    message.extend(long.to_be_bytes());
    message.extend(long.to_be_bytes());
    message.extend([0; 4]);
    message.extend(prefix.octets());
    for resolver in resolvers {
        // RFC 8106, 5.1.
        message.extend([25, 3, 0, 0]);
        message.extend(long.to_be_bytes());
        message.extend(resolver.octets());
    }
    if let Some(nat64) = nat64 {
        // RFC 8781, 4: thirteen bits of lifetime in units of 8 seconds, and 0 for a /96.
        message.extend([38, 2]);
        message.extend((LIFETIME & 0xfff8).to_be_bytes());
        message.extend(&nat64.octets()[..12]);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_whole_units_of_eight_bytes() {
        let resolver = Ipv6Addr::new(0x2a0e, 0, 0, 0, 0, 0, 0, 0x53);
        let message = advertisement(resolver, &[resolver], Some(NAT64_PREFIX));
        let mut options = &message[16..];
        let mut types = Vec::new();
        while let [kind, units, ..] = *options {
            types.push(kind);
            options = &options[usize::from(units) * 8..];
        }
        assert_eq!(types, [3, 25, 38]);
        assert_eq!(message[message.len() - 16..][..4], [38, 2, 0x07, 0x08]);
        assert!(message.ends_with(&[0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]));
    }
}
