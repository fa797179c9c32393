//! The invented internet between probes and targets: how long packets take, and which are lost. Everything follows from the
//! places, the networks, the time of day and a generator of numbers.

use sonde_protocol::ids::Asn;
use sonde_protocol::net::Family;
use sonde_protocol::seed::{Rng, mix};
use sonde_protocol::time::UnixNanos;

use super::places::kilometres;
use super::probes::Invented;
use super::targets::Target;

/// Kilometres of straight line that a round trip covers in a millisecond: two thirds of light's speed, there and back, on
/// cables that are a third longer than the line.
const KILOMETRES_PER_MS: f64 = 75.0;

/// One network in so many has an hour without an answer during the last day.
const OUTAGES: u64 = 11;

/// A number in `0.0..1.0`.
pub fn unit(rng: &mut Rng) -> f64 {
    // 53 bits are what a double holds.
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number that is mostly near `scale` or below, and now and then several times as large.
pub fn exponential(rng: &mut Rng, scale: f64) -> f64 {
    -(1.0 - unit(rng)).max(1e-9).ln() * scale
}

/// What a probe finds between itself and a target at a time.
pub struct Path<'a> {
    /// Who measures.
    pub probe: &'a Invented,
    /// Whom.
    pub target: &'a Target,
    /// Over which family.
    pub af: Family,
    /// When.
    pub at: UnixNanos,
    /// The end of the invented day, on which outages are counted back.
    pub until: UnixNanos,
}

impl Path<'_> {
    /// Nanoseconds from a request to its answer; `None` when one of the two is lost.
    pub fn round_trip(&self, rng: &mut Rng) -> Option<u64> {
        if self.is_down() || rng.below(1000) < u64::from(self.probe.loss_per_mille) {
            return None;
        }
        let mut ms = self.least_ms() + exponential(rng, self.probe.jitter_ms);
        if rng.one_in(120) {
            ms += 15.0 + exponential(rng, 60.0);
        }
        Some(nanos(ms))
    }

    /// Is nothing to be had over this way?
    pub fn is_down(&self) -> bool {
        let broken = match self.af {
            Family::V6 => !self.probe.v6.works(),
            Family::V4 => !self.probe.v6.has_v4(),
        };
        broken || self.target.is_silent || self.is_outage()
    }

    fn is_outage(&self) -> bool {
        let ago = self.until.since(self.at).as_secs();
        let begin = 3600 * (2 + mix(u64::from(self.probe.asn.0)) % 20);
        mix(u64::from(self.probe.asn.0) ^ 0x5eed).is_multiple_of(OUTAGES) && (begin..begin + 3000).contains(&ago)
    }

    /// Milliseconds without any queue but the evening's.
    pub fn least_ms(&self) -> f64 {
        let way = kilometres(self.probe.place, self.target.place) / KILOMETRES_PER_MS;
        self.probe.access_ms + way * detour(self.probe.asn, self.af) + self.evening_ms()
    }

    /// Networks are slower while people watch films.
    fn evening_ms(&self) -> f64 {
        let local_hour =
            (self.at.as_secs().rem_euclid(86_400) as f64 / 3600.0 + self.probe.place.1 / 15.0).rem_euclid(24.0);
        let away = (local_hour - 20.5).abs();
        let crowded = f64::from(u32::try_from(mix(u64::from(self.probe.asn.0)) % 100).unwrap_or(0)) / 100.0;
        18.0 * crowded.powi(3) * (-away.min(24.0 - away).powi(2) / 6.0).exp()
    }
}

/// Each network sends the families on ways of their own.
fn detour(asn: Asn, af: Family) -> f64 {
    let share = |bits: u64| f64::from(u32::try_from(bits % 1000).unwrap_or(0)) / 1000.0;
    let both = 1.0 + 0.5 * share(mix(u64::from(asn.0)));
    match af {
        Family::V4 => both,
        Family::V6 => both * (0.9 + 0.25 * share(mix(u64::from(asn.0) ^ 6))),
    }
}

/// Milliseconds as nanoseconds.
pub fn nanos(ms: f64) -> u64 {
    (ms.max(0.001) * 1e6) as u64
}
