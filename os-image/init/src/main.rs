//! `/init`: PID 1, and started by it again as what becomes the probe, and by the kernel as what loads a module.

use sonde_os::{boot, launch, modules};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // First: the kernel hands what it does not know of its command line to PID 1.
    if std::process::id() == 1 {
        boot::init();
    }
    let code = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [launch::ARGUMENT, launch::RAW, "--", ..] => start_probe(true, &arguments[3..]),
        [launch::ARGUMENT, "--", ..] => start_probe(false, &arguments[2..]),
        ["-q", ..] => modules::modprobe(&arguments),
        _ => {
            eprintln!("sonde-os is the first process of a board and is started by its kernel");
            1
        }
    };
    std::process::exit(code);
}

fn start_probe(raw: bool, arguments: &[String]) -> i32 {
    match launch::become_probe(raw, arguments) {
        Err(error) => {
            eprintln!("cannot become {}: {error}", launch::PROGRAM);
            1
        }
    }
}
