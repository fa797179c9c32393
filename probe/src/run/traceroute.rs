//! A run of `traceroute`. The runner remembers how long paths were, so that the next run need not search.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::PoisonError;

use sonde_engine::icmp::sequences_needed;
use sonde_engine::traceroute::{Traceroute, TracerouteConfig};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::result::{Failure, HopReply, Outcome, TracerouteOutcome, Why};
use sonde_protocol::spec::{Kind, TracerouteSpec};
use sonde_protocol::time::Nanos;

use super::{Request, Runner, Seen, denied, random, seen};
use crate::net::clock::Moment;
use crate::net::{Job, NetError, raw_allowed, source_address};

/// UDP packets come from one of these ports, always the same one for a measurement: with the destination port, which is the
/// flow variation's, it makes the flow. Below those that systems give out by themselves, as in RIPE Atlas.
const SOURCE_PORTS: std::ops::Range<u16> = 20_480..28_672;

/// How many path lengths are remembered.
const MAX_LENGTHS: usize = 4096;

impl Runner {
    pub(super) async fn traceroute(
        &self,
        request: &Request,
        spec: &TracerouteSpec,
        dst: IpAddr,
    ) -> Result<Seen, NetError> {
        // Runs of one measurement take the flow variations in turn, the same on every probe.
        let flow = request.planned_at.as_secs() / i64::from(request.interval.unwrap_or(1).max(1));
        let config = TracerouteConfig {
            spec: spec.clone(),
            dst,
            first_sequence: 0,
            cookie: random(),
            flow: u32::try_from(flow.rem_euclid(1 << 30)).unwrap_or(0),
            path_length: self.lengths().get(&request.measurement).copied(),
        };
        let refused = Traceroute::new(config.clone(), Nanos(0)).err().or_else(|| self.missing_capability(spec, dst));
        if let Some(failure) = refused {
            let src = source_address(dst).ok();
            return Ok(Seen { src, ..Seen::failed(failure, Kind::Traceroute, Some(dst)) });
        }
        let source_port = source_port(request.measurement);
        let job = Job {
            family: Family::of(dst),
            sequences: sequences_needed(&request.spec),
            make: move |first_sequence, moment: Moment| {
                Traceroute::new(TracerouteConfig { first_sequence, ..config }, moment.monotonic)
                    .expect("the same configuration was accepted above")
                    .from_port(source_port)
            },
        };
        let finished = self.driver.run(job).await?;
        if let Outcome::Traceroute(outcome) = &finished.outcome {
            self.learn_length(request.measurement, outcome, dst);
        }
        Ok(seen(finished, dst))
    }

    fn lengths(&self) -> std::sync::MutexGuard<'_, HashMap<MeasurementId, u8>> {
        self.lengths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn_length(&self, measurement: MeasurementId, outcome: &TracerouteOutcome, dst: IpAddr) {
        let mut lengths = self.lengths();
        let from_target = |reply: &HopReply| matches!(reply, HopReply::Reply(answer) if answer.from.0 == dst);
        let last = outcome.hops.iter().find(|hop| hop.replies.iter().any(from_target)).map(|hop| hop.hop);
        match last {
            Some(length) if lengths.len() < MAX_LENGTHS || lengths.contains_key(&measurement) => {
                lengths.insert(measurement, length);
            }
            _ => {
                lengths.remove(&measurement);
            }
        }
    }

    /// Why this probe cannot send such packets, if it cannot: some need a capability. Asked before anything is sent.
    fn missing_capability(&self, spec: &TracerouteSpec, dst: IpAddr) -> Option<Failure> {
        let family = Family::of(dst);
        let has_options = spec.hop_by_hop_option_size > 0 || spec.destination_option_size > 0;
        let what = match (spec.protocol, family) {
            (Transport::Tcp, _) => "traceroute over TCP",
            (_, Family::V6) if has_options => "traceroute with IPv6 options headers",
            _ => return None,
        };
        let error = raw_allowed(family).err()?;
        if error.kind() != ErrorKind::PermissionDenied {
            return Some(Failure::Socket(Why::cut(error.to_string())));
        }
        let why =
            format!("{what} needs raw sockets, which this probe may not open: it lacks the capability CAP_NET_RAW");
        self.denied.note(Kind::Traceroute, &why, denied::RAW_ADVICE);
        Some(Failure::Unsupported(Why::cut(why)))
    }
}

/// Neighbouring measurements, which may run at the same time, have different ones.
fn source_port(measurement: MeasurementId) -> u16 {
    let ports = u64::try_from(SOURCE_PORTS.len()).unwrap_or(1);
    SOURCE_PORTS.start + u16::try_from(measurement.0 % ports).unwrap_or(0)
}
