//! The lab's router that quotes MPLS labels; started by the lab, see `sonde_tests::lab::mpls`.

fn main() -> anyhow::Result<()> {
    sonde_tests::lab::mpls::run()
}
