//! A run of `ping`.

use std::net::IpAddr;

use sonde_engine::icmp::sequences_needed;
use sonde_engine::ping::{Ping, PingConfig};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::spec::{PingSpec, Spec};

use super::{Runner, Seen, random, seen};
use crate::net::clock::Moment;
use crate::net::{Job, NetError};

impl Runner {
    pub(super) async fn ping(&self, probe: ProbeId, spec: &PingSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let config = PingConfig { spec: spec.clone(), dst, first_sequence: 0, cookie: random(), probe_id: probe };
        let job = Job {
            family: Family::of(dst),
            sequences: sequences_needed(&Spec::Ping(spec.clone())),
            make: move |first_sequence, moment: Moment| {
                Ping::new(PingConfig { first_sequence, ..config }, moment.monotonic)
            },
        };
        Ok(seen(self.driver.run(job).await?, dst))
    }
}
