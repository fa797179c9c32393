//! `/init`.

fn main() {}
