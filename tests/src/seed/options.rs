//! The command line of the programs that invent a network.

use anyhow::{Context as _, Result};

use super::Options;
use crate::look;

/// The flags, for help texts.
pub const FLAGS: &str = "[--seed N] [--until SECONDS] [--probes N] [--ping-probes N] [--big]";

impl Options {
    /// Some hundred probes, until now.
    pub fn small() -> Self {
        Self { seed: 1, until: look::now(), probes: 300, ping_probes: 50 }
    }

    /// Takes a flag of [`FLAGS`] with its value; false when it is none of them.
    ///
    /// # Errors
    /// When a value is missing or no number.
    pub fn take(&mut self, flag: &str, rest: &mut impl Iterator<Item = String>) -> Result<bool> {
        let mut number = || -> Result<u64> {
            let value = rest.next().with_context(|| format!("{flag} wants a number"))?;
            value.parse().with_context(|| format!("{flag} {value}: no number"))
        };
        match flag {
            "--seed" => self.seed = number()?,
            "--until" => {
                self.until = sonde_protocol::time::UnixNanos::from_secs(i64::try_from(number()?)?);
            }
            "--probes" => self.probes = u32::try_from(number()?)?,
            "--ping-probes" => self.ping_probes = usize::try_from(number()?)?,
            "--big" => (self.probes, self.ping_probes) = (20_000, 1000),
            _ => return Ok(false),
        }
        Ok(true)
    }
}
