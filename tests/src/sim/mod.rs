//! The probe's machine, the collector's machine and a real store in one thread, over a link that loses, stalls, cuts and
//! repeats, with both sides crashing at any moment: the whole life of a small network in virtual time, from one seed.
//!
//! Everything that decides is the product's own code ([`sonde_protocol::session`], the probe's scheduler and clock, the
//! collector's admission and intake, both SQLite stores). What is written anew here is the shell around it: [`probe`] stands
//! for the probe's agent and uplink, [`collector`] for the collector's connections and writer; they must do what those do,
//! in the same order. [`world`] has the events and the faults, [`link`] carries bytes, [`disk`] is the flash that half of the
//! networks' probes keep their spool on (`sonde_probe::spool` writes it), [`truth`] remembers what really happened, and [`check`]
//! compares the store with it.
//!
//! What must hold at the end of every seed, once everything works again and the probes were stopped cleanly: every run that
//! was due is stored once as a result, or lies in a recorded gap, or is reported as skipped; every number of every boot is
//! stored at most once and with the probe's bytes; nothing that was acknowledged is missing; the range set of every boot
//! that is over is one range; no one-off has two results; whatever a probe had written to a disk that nobody spoiled is stored, unless
//! the ring ran full, and then the gap says so.
//!
//! Assumed: messages on a connection that shows life are under way for less than
//! [`sonde_probe::scheduler::ORDER_DELAY`], clock errors included.

use std::panic::{AssertUnwindSafe, catch_unwind};

pub mod check;
pub mod collector;
pub mod disk;
pub mod hostile;
pub mod link;
pub mod plan;
pub mod probe;
pub mod trace;
pub mod truth;
pub mod world;

pub use check::Summary;

/// What a seed gave.
#[derive(Debug)]
pub struct Outcome {
    /// What became of the runs.
    pub summary: Summary,
    /// What is wrong, if anything is.
    pub failures: Vec<String>,
    /// The last things that happened, if they were asked for.
    pub trace: Vec<String>,
    /// Changes with every event: two runs of one seed must agree on it.
    pub fingerprint: u64,
}

/// Plays one seed. A panic of the machines is a failure like others. With `keep_trace` the outcome says what happened last.
pub fn run(seed: u64, keep_trace: bool) -> Outcome {
    let mut world = world::World::new(seed, keep_trace);
    let played = catch_unwind(AssertUnwindSafe(|| {
        world.play();
        check::check(&mut world)
    }));
    let (summary, failures) = match played {
        Ok(checked) => checked,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something else than text");
            (Summary::default(), vec![format!("panic: {text}")])
        }
    };
    let trace = world.cx.trace.lines();
    Outcome { summary, failures, trace, fingerprint: world.cx.fingerprint }
}
