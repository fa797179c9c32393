//! The process that carries frames between the lab's namespaces; started by the lab, see `sonde_tests::lab::wire`.

fn main() -> anyhow::Result<()> {
    let config = std::env::args_os().nth(1).ok_or_else(|| anyhow::anyhow!("usage: lab-wire CONFIG"))?;
    sonde_tests::lab::wire::emulator::run(config.as_ref())
}
