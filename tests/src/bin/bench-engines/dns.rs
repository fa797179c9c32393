//! DNS over UDP: each tool's time of a query against the capture's.

use std::io::Write;

use anyhow::{Context, Result};
use sonde_tests::lab::{Family, Host, Lab};

use super::Effort;
use super::figures::{Errors, error_head, error_row};
use super::machine::State;
use super::rtt::{OUTSIDE, PROBE};
use super::tools::Asker;
use super::truth::queries;

/// A name that the lab's server has.
const NAME: &str = "target.lab.example";

/// The section.
pub fn run(lab: &Lab, effort: Effort, out: &mut impl Write) -> Result<()> {
    for state in State::ALL {
        let _load = state.enter();
        let mut errors = Asker::ALL.map(|_| Errors::default());
        for round in 0..effort.dns_queries {
            let family = if round.is_multiple_of(2) { Family::V4 } else { Family::V6 };
            let server = Host::Dns.address(family).context("the server has both families")?;
            let probe = PROBE.address(family).context("the probe has both families")?;
            for (asker, errors) in Asker::ALL.iter().zip(&mut errors) {
                let capture = lab.capture_at(OUTSIDE)?;
                let said = asker.ask(lab.host(PROBE), server, NAME).with_context(|| asker.name())?;
                let truth = queries(&capture.stop()?, probe);
                match (said, truth.first().and_then(|exchange| exchange.rtt())) {
                    (Some(said), Some(rtt)) => errors.add(said.nanos, rtt, said.resolution),
                    _ => errors.missed += 1,
                }
            }
        }
        error_head(out, &format!("DNS over UDP: time - capture, {}", state.name()))?;
        for (asker, errors) in Asker::ALL.iter().zip(&errors) {
            error_row(out, asker.name(), errors)?;
        }
    }
    Ok(())
}
