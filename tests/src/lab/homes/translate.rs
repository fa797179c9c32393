//! Translators between IPv6 and IPv4, all of them tayga: the provider's NAT64, and those of homes (RFC 6877).

use std::fs;
use std::process::Stdio;

use anyhow::Context as _;

use super::draft::{NAT64_NODE, host, router};
use super::plan::{NAT64_POOL, NAT64_PREFIX, Place, V4, at};
use super::{Homes, wait_until};
use crate::lab::LabChild;

/// The IPv4 end of a home's translator (RFC 7335).
const CLAT: &str = "192.0.0.1";

impl Homes {
    pub(super) fn start_translators(&mut self) -> anyhow::Result<()> {
        let (pool, length) = NAT64_POOL;
        let config = format!("ipv4-addr 20.64.0.1\nipv6-addr 2a0e:5a64::1\ndynamic-pool {pool}/{length}\n");
        let ways = format!("route add {pool}/{length} dev DEV\nroute add {NAT64_PREFIX}/96 dev DEV\n");
        let mut started = vec![self.tayga(NAT64_NODE, "nat64", &config, &ways)?];
        for (plan, place) in self.plans.iter().zip(&self.draft.places) {
            let node = match plan.v4 {
                V4::ClatOnHost => host(plan.name),
                V4::ClatInRouter => router(plan.name),
                _ => continue,
            };
            started.push(self.clat(&node, *place)?);
        }
        self.children.extend(started);
        Ok(())
    }

    fn clat(&self, node: &str, place: Place) -> anyhow::Result<LabChild> {
        let prefix = place.clat6();
        let config = format!("ipv4-addr 192.0.0.2\nipv6-addr {}\nmap {CLAT} {}\n", at(prefix, 2), at(prefix, 1));
        let ways = format!("addr add {CLAT}/32 dev DEV\nroute add default dev DEV\nroute add {prefix}/64 dev DEV\n");
        self.tayga(node, "clat", &config, &ways)
    }

    fn tayga(&self, node: &str, device: &str, config: &str, ways: &str) -> anyhow::Result<LabChild> {
        let dir = self.dir().join(format!("tayga-{node}"));
        fs::create_dir(&dir).context("tayga's directory")?;
        let file = dir.join("tayga.conf");
        let text = format!("tun-device {device}\nprefix {NAT64_PREFIX}/96\ndata-dir {}\n{config}", dir.display());
        fs::write(&file, text).context("write tayga's configuration")?;
        let namespace = self.namespace(node);
        let batch = format!("tuntap add dev {device} mode tun\nlink set dev {device} up\n");
        namespace.feed("ip", &["-batch", "-"], &(batch + &ways.replace("DEV", device)))?;
        let mut command = namespace.command("tayga");
        let output = fs::File::create(dir.join("log")).context("tayga's log")?;
        command.args(["--nodetach", "--config"]).arg(&file).stdin(Stdio::null());
        let child = LabChild::start(command.stdout(output.try_clone()?).stderr(output))?;
        wait_until("a translator", || {
            let path = format!("/sys/class/net/{device}/carrier");
            Ok(namespace.run(|| fs::read_to_string(&path)).is_ok_and(|text| text.trim() == "1"))
        })?;
        Ok(child)
    }
}
