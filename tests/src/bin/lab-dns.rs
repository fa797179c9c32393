//! The lab's DNS server; started by the lab, see `sonde_tests::lab::dns`.

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    sonde_tests::lab::dns::server::run(&arguments)
}
