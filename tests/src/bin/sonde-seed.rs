//! Fills an empty data directory with an invented network; see [`sonde_tests::seed`]. Prints what there is to find, as JSON.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use sonde_tests::seed::{self, FLAGS, Options};

fn main() -> Result<()> {
    let mut options = Options::small();
    let mut dir: Option<PathBuf> = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if options.take(&argument, &mut arguments)? {
            continue;
        }
        if argument.starts_with('-') || dir.is_some() {
            bail!("usage: sonde-seed {FLAGS} DIRECTORY");
        }
        dir = Some(argument.into());
    }
    let dir = dir.with_context(|| format!("usage: sonde-seed {FLAGS} DIRECTORY"))?;
    let seeded = seed::fill(&dir, &options)?;
    writeln!(std::io::stdout(), "{:#}", seeded.to_json())?;
    Ok(())
}
