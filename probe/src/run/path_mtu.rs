//! A run of `pathmtu`.

use std::net::IpAddr;

use sonde_engine::icmp::sequences_needed;
use sonde_engine::path_mtu::{PathMtu, PathMtuConfig};
use sonde_protocol::net::Family;
use sonde_protocol::spec::{PathMtuSpec, Spec};

use super::{Runner, Seen, random, seen};
use crate::net::clock::Moment;
use crate::net::{Job, NetError};

impl Runner {
    pub(super) async fn path_mtu(&self, spec: &PathMtuSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let config = PathMtuConfig { spec: spec.clone(), dst, first_sequence: 0, cookie: random() };
        let job = Job {
            family: Family::of(dst),
            sequences: sequences_needed(&Spec::PathMtu(spec.clone())),
            make: move |first_sequence, moment: Moment| {
                PathMtu::new(PathMtuConfig { first_sequence, ..config }, moment.monotonic)
            },
        };
        Ok(seen(self.driver.run(job).await?, dst))
    }
}
