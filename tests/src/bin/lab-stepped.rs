//! A probe whose clock somebody sets; started by the tests, see `sonde_tests::stepped`.

fn main() -> anyhow::Result<()> {
    sonde_tests::stepped::run(std::env::args_os().skip(1))
}
