//! What really happened, as somebody who sees everything would write it down.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId};
use sonde_protocol::order::Order;
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::time::UnixNanos;

/// One start of a probe's process.
#[derive(Debug, Clone, Default)]
pub struct Boot {
    /// The digest of every report by its number.
    pub pushed: BTreeMap<u64, [u8; 32]>,
    /// What the probe was told is durable.
    pub acknowledged: RangeSet,
    /// Numbers of reports that were written to the disk, and the disk said that they are there.
    pub kept: RangeSet,
    /// It said goodbye and ended.
    pub stopped: bool,
    /// It has been welcomed.
    pub welcomed: bool,
    /// When it began, by the true time.
    pub began: UnixNanos,
}

/// An order of one probe.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// The order.
    pub order: Order,
    /// When the measurement was stopped by hand.
    pub stopped_at: Option<UnixNanos>,
}

/// What really happened.
#[derive(Debug, Default)]
pub struct Truth {
    /// By the probe's place.
    pub boots: BTreeMap<(usize, BootId), Boot>,
    /// The boots of each probe in order.
    pub order_of_boots: BTreeMap<usize, Vec<BootId>>,
    /// Probes whose disk was spoiled, or could not be read when the process started.
    pub spoiled: BTreeSet<usize>,
    /// Every order that was ever made.
    pub orders: BTreeMap<(MeasurementId, ProbeId), Ordered>,
    /// Which boots got each order, and when by the true time.
    pub delivered: BTreeMap<(MeasurementId, ProbeId), Vec<(BootId, UnixNanos)>>,
    /// Faults that took place, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Names of the promises that were seen broken on the way.
    pub failures: BTreeSet<String>,
}

impl Truth {
    /// A fault, or something else worth counting, took place.
    pub fn count(&mut self, what: &'static str) {
        *self.faults.entry(what).or_default() += 1;
    }

    /// A probe has numbered a report.
    pub fn pushed(&mut self, probe: usize, boot: BootId, seq: u64, bytes: &[u8]) {
        let hash = digest(&SHA256, bytes).as_ref().try_into().unwrap_or([0; 32]);
        if self.boots.entry((probe, boot)).or_default().pushed.insert(seq, hash).is_some() {
            self.failures.insert(format!("probe {probe} has used the number {seq} twice"));
        }
    }
}
