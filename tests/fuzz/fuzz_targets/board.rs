#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sonde_tests::fuzz::run("board", data));
