//! Systems that are not well, for the tests of updates (`tests/os/run`): `/init` of an image whose name says what is wrong with it.
//! `panics` ends, which the kernel does not survive; `hangs` stands still with the watchdog running. As the probe it ends at once.

#![allow(clippy::print_stdout)]

use std::fs;
use std::thread;

use sonde_os::modules::Modules;
use sonde_os::mounts;
use sonde_os::watchdog::Watchdog;

fn main() {
    if std::process::id() != 1 {
        std::process::exit(1);
    }
    for (place, error) in mounts::mount_all() {
        println!("ill: {place}: {error}");
    }
    let about = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if about.lines().any(|line| line == "VERSION_ID=hangs") {
        hang();
    }
    println!("ill: the first process ends");
}

/// Gives no sign of life any more, as a kernel does that waits for a lock for ever.
fn hang() -> ! {
    let failed = Modules::of_this_kernel().map(|mut modules| modules.load_watchdogs());
    let watchdog = Watchdog::open();
    println!("ill: standing still; modules: {failed:?}; watchdog: {watchdog:?}");
    loop {
        thread::park();
    }
}
