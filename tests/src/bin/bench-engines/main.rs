//! What Sonde's engines measure and what that costs, beside other tools on the same lab paths in the same run: errors of
//! round-trip times against a capture, DNS times, traceroutes, a thousand pings at once. Prints figures and a verdict per
//! budget; asserts nothing. `tests/bench/README.md` explains every line.
//!
//! One module per section; [`tools`] runs the others' programs, [`truth`] reads the captures, [`machine`] loads, pins and
//! watches. The program starts itself again as [`child`] inside the lab.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use sonde_tests::lab::{Lab, LabOptions};

mod child;
mod dns;
mod figures;
mod load;
mod machine;
mod rate;
mod rtt;
mod tools;
mod trace;
mod truth;

/// How much is done.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Rounds of [`rtt::PACKETS`] packets, per tool, path and state of the machine.
    pub rtt_rounds: u32,
    /// Queries per tool and state.
    pub dns_queries: u32,
    /// Traceroutes per tool and family.
    pub traceroutes: u32,
    /// Packets of each of the thousand pings, one a second.
    pub load_packets: u32,
    /// In how many states of the machine, of two, the thousand pings are done.
    pub load_states: usize,
    /// How long an engine is driven as fast as it goes, in seconds.
    pub rate_seconds: u32,
}

const WHOLE: Effort =
    Effort { rtt_rounds: 16, dns_queries: 40, traceroutes: 3, load_packets: 10, load_states: 2, rate_seconds: 4 };
const QUICK: Effort =
    Effort { rtt_rounds: 2, dns_queries: 6, traceroutes: 1, load_packets: 3, load_states: 1, rate_seconds: 1 };

const SECTIONS: [&str; 5] = ["rtt", "dns", "trace", "load", "rate"];

fn main() -> Result<()> {
    let mut effort = WHOLE;
    let mut sections = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            child::SURGE | child::DRIVER => return child::run(&argument, &arguments.collect::<Vec<_>>()),
            "--quick" => effort = QUICK,
            section if SECTIONS.contains(&section) => sections.push(argument),
            _ => bail!("usage: bench-engines [--quick] [{}]…", SECTIONS.join("|")),
        }
    }
    let wanted = |section: &str| sections.is_empty() || sections.iter().any(|one| one == section);
    Lab::available().map_err(anyhow::Error::msg).context("no lab on this machine")?;
    let began = Instant::now();
    machine::step_aside()?;
    let lab = Lab::start(LabOptions { long_path: true, ..LabOptions::default() })?;
    // Every crossing would be written down.
    lab.set_wire_log(false)?;
    let clocks = machine::Clocks::now();
    let out = &mut io::stdout();
    if wanted("rtt") {
        rtt::run(&lab, effort, out).context("round-trip times")?;
    }
    if wanted("dns") {
        dns::run(&lab, effort, out).context("DNS")?;
    }
    if wanted("trace") {
        trace::run(&lab, effort, out).context("traceroute")?;
    }
    if wanted("load") {
        load::run(&lab, effort, out).context("a thousand pings")?;
    }
    if wanted("rate") {
        rate::run(&lab, effort, out).context("rate")?;
    }
    let wire = lab.wire_stats()?;
    writeln!(
        out,
        "\nwire: late p50 {:?}, p99 {:?}, max {:?} over {} frames, {} failed{}",
        wire.late_median,
        wire.late_p99,
        wire.late_max,
        wire.frames,
        wire.failed,
        if wire.real_time { "" } else { ", without real-time priority" },
    )?;
    writeln!(
        out,
        "clocks: REALTIME {:+.1} ppm against MONOTONIC_RAW, which is {:+.2} us on the longest round trip here",
        clocks.drift_ppm(),
        clocks.drift_ppm() * 1e-6 * rtt::longest(&lab)?.as_secs_f64() * 1e6,
    )?;
    writeln!(out, "CPU stolen {:.1} %; the whole took {:.0} s", lab.steal()? * 100.0, began.elapsed().as_secs_f64())?;
    Ok(())
}
