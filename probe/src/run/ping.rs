//! A run of `ping`.

use std::net::IpAddr;
use std::time::Duration;

use sonde_engine::icmp::sequences_needed;
use sonde_engine::ping::{Ping, PingConfig};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::result::{Outcome, PingReply};
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

    /// How long the first hop takes to answer one small ping. This is no measurement and no result: the host has asked its
    /// probe to watch its line (`quiet.first_hop_ms`).
    pub async fn first_hop(&self, hop: IpAddr) -> Option<Duration> {
        let spec = PingSpec { packets: 1, size: 16, ..PingSpec::default() };
        match self.ping(ProbeId(0), &spec, hop).await.ok()?.outcome {
            Outcome::Ping(ping) => ping.replies.iter().find_map(|reply| match reply {
                PingReply::Reply(echo) => Some(Duration::from_nanos(echo.rtt)),
                _ => None,
            }),
            _ => None,
        }
    }
}
