//! `sonde demo --lab`: the lab with everything in it, shown to whoever has root. See `sonde_tests::show`.

use std::io::Write as _;
use std::process::ExitCode;

use sonde_tests::show::{self, ShowOptions};

const HELP: &str = "\
Shows the lab: a small internet of network namespaces, a Sonde network in it, and what it measures beside the truth.

Usage: sonde-lab [--once] [--json]

  --once  Measures once and ends; the exit code is 0 only if every result came and is true
  --json  Prints results and truth as JSON lines on standard output
";

fn main() -> ExitCode {
    let mut options = ShowOptions::default();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--once" => options.once = true,
            "--json" => options.json = true,
            "--help" | "-h" => {
                let _ = write!(std::io::stdout(), "{HELP}");
                return ExitCode::SUCCESS;
            }
            other => {
                let _ = writeln!(std::io::stderr(), "error: unknown option {other}\n\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    match show::run(options) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
