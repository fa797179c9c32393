//! A run of `ntp`.

use std::net::IpAddr;
use std::sync::PoisonError;

use sonde_engine::ntp::{Anchor, Ntp, NtpConfig};
use sonde_protocol::net::Family;
use sonde_protocol::result::Outcome;
use sonde_protocol::spec::NtpSpec;

use super::{Runner, Seen, random, seen};
use crate::net::clock::Moment;
use crate::net::{Job, NetError};

impl Runner {
    pub(super) async fn ntp(&self, spec: &NtpSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let config = NtpConfig { spec: spec.clone(), dst, cookie: random() };
        let wall = self.wall.clone();
        let anchor = move |moment: Moment| {
            let wall = wall.lock().unwrap_or_else(PoisonError::into_inner);
            Anchor { now: moment.monotonic, time: wall.now(moment.monotonic, moment.wall) }
        };
        let at_start = anchor.clone();
        let job = Job {
            family: Family::of(dst),
            sequences: 0,
            make: move |_, moment: Moment| Ntp::new(config, at_start(moment)),
        };
        let finished = self.driver.run(job).await?;
        // The time of day may have been slewed during the run; what is reported is by both its ends.
        let outcome = Outcome::Ntp(finished.engine.outcome(anchor(finished.info.ended_at)));
        Ok(Seen { outcome, ..seen(finished, dst) })
    }
}
