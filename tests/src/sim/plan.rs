//! What one seed is about: how many probes, how good the links, which faults and how often.

use sonde_probe::spool::format::MAX_ON_DISK;
use sonde_protocol::seed::Rng;
use sonde_protocol::spool::SpoolLimits;

/// One second of virtual time.
pub const S: i64 = 1_000_000_000;
/// One millisecond of it.
pub const MS: i64 = 1_000_000;

/// What can go wrong, or is done by people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A connection dies; both sides notice at some time of their own.
    Cut,
    /// Nothing gets through for a while, in one direction or both, and then all of it.
    Stall,
    /// The probe's process is killed.
    ProbeCrash,
    /// The probe's machine loses its power, and its disk what it was about to write.
    PowerCut,
    /// The probe's disk is full, read-only or unreadable for a while.
    DiskTrouble,
    /// Something on the probe's disk turns into something else.
    Garbage,
    /// The probe is stopped cleanly.
    ProbeStop,
    /// The collector's process is killed.
    CollectorCrash,
    /// The collector is stopped cleanly.
    Drain,
    /// The probe's real-time clock is set.
    ClockStep,
    /// The probe finds its control stream stuck.
    Stuck,
    /// Somebody makes a periodic measurement.
    Periodic,
    /// Somebody makes a one-off.
    OneOff,
    /// Somebody stops a measurement.
    StopMeasurement,
}

/// What a seed is about.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Probes.
    pub probes: usize,
    /// How long faults go on, in nanoseconds.
    pub duration: i64,
    /// The longest usual delay of a message.
    pub delay: i64,
    /// How long until the next fault, on average.
    pub every: i64,
    /// Faults to draw from; one that is named twice comes twice as often.
    pub faults: Vec<Fault>,
    /// One commit in so many fails; never if 0.
    pub bad_commit: u64,
    /// One read of the store in so many fails; never if 0.
    pub bad_read: u64,
    /// The longest commit.
    pub commit: i64,
    /// How many hand-ins go into one batch at most.
    pub batch: usize,
    /// What the probes' spools hold.
    pub spool: SpoolLimits,
    /// The bytes that the spool's file may have; without a disk if absent.
    pub disk: Option<u64>,
    /// The longest that the disk takes for anything.
    pub disk_delay: i64,
    /// How long a collector that was killed stays away at most.
    pub away: i64,
    /// The longest run.
    pub run: i64,
    /// One run in so many is not admitted at once.
    pub busy: u64,
    /// The kernels of the probes say that their clocks are synchronised.
    pub kernel_clock: bool,
    /// How wrong the real-time clocks are at most.
    pub clock_error: i64,
    /// Somebody with a key sends garbage.
    pub hostile: bool,
}

impl Plan {
    /// What `rng` makes of it.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut faults = vec![Fault::Periodic, Fault::OneOff, Fault::OneOff, Fault::StopMeasurement];
        let disk = match rng.one_in(2) {
            true => Some([2 * MAX_ON_DISK as u64, 1 << 20, 1 << 26][rng.below(3) as usize]),
            false => None,
        };
        let of_disk = |weight| if disk.is_some() { weight } else { 0 };
        let possible = [
            (Fault::Cut, 4),
            (Fault::Stall, 3),
            (Fault::ProbeCrash, 3),
            (Fault::PowerCut, of_disk(3)),
            (Fault::DiskTrouble, of_disk(2)),
            (Fault::Garbage, of_disk(1)),
            (Fault::ProbeStop, 2),
            (Fault::CollectorCrash, 3),
            (Fault::Drain, 1),
            (Fault::ClockStep, 1),
            (Fault::Stuck, 1),
        ];
        for (fault, weight) in possible {
            if rng.one_in(2) {
                faults.extend(std::iter::repeat_n(fault, weight));
            }
        }
        let pick = |rng: &mut Rng, choices: &[i64]| choices[rng.below(choices.len() as u64) as usize];
        Self {
            probes: 1 + rng.below(3) as usize,
            duration: pick(rng, &[60 * S, 180 * S, 300 * S, 600 * S]),
            delay: pick(rng, &[2 * MS, 50 * MS, 400 * MS, 1500 * MS]),
            every: pick(rng, &[2 * S, 5 * S, 15 * S, 40 * S]),
            faults,
            bad_commit: [0, 0, 60, 10][rng.below(4) as usize],
            bad_read: [0, 0, 10][rng.below(3) as usize],
            commit: pick(rng, &[5 * MS, 100 * MS, 1000 * MS, 6000 * MS]),
            batch: [1, 3, 4096, 4096][rng.below(4) as usize],
            spool: SpoolLimits {
                reports: [3, 12, 100, 100_000][rng.below(4) as usize],
                bytes: [400, 4000, 8 << 20, 8 << 20][rng.below(4) as usize],
            },
            disk,
            disk_delay: pick(rng, &[MS, 300 * MS, 5 * S]),
            // The disk is for outages of more than a minute.
            away: if disk.is_some() { 200 * S } else { 40 * S },
            run: pick(rng, &[50 * MS, 2 * S, 8 * S, 30 * S]),
            busy: [3, 10, 1000][rng.below(3) as usize],
            kernel_clock: rng.one_in(2),
            clock_error: pick(rng, &[0, 300 * MS, 1500 * MS]),
            hostile: rng.one_in(6),
        }
    }
}
