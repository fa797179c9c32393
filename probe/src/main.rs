//! `sonde-probe`: the daemon for the board. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    sonde_probe::cli::main(std::env::args_os())
}
