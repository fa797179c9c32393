//! A thousand small networks in virtual time, each with its own troubles (see `sonde_tests::sim`).
//!
//! `SONDE_LONG=1` plays twenty thousand; `SONDE_SEED=n` plays one and prints what happened in it.

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use sonde_tests::sim::{self, Summary};

const SEEDS: u64 = 1_000;
const LONG: u64 = 20_000;

fn report(seed: u64, outcome: &sim::Outcome) -> String {
    format!(
        "{}\n\nseed {seed}:\n  {}\n\nto play it again:\n  SONDE_SEED={seed} cargo test --profile ci -p sonde-tests --test simulation\n",
        outcome.trace.join("\n"),
        outcome.failures.join("\n  ")
    )
}

#[test]
fn every_due_run_is_accounted_for_whatever_happens() {
    if let Some(seed) = env::var("SONDE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let outcome = sim::run(seed, true);
        eprintln!("{}\n{:#?}", report(seed, &outcome), outcome.summary);
        assert!(outcome.failures.is_empty(), "seed {seed} fails");
        return;
    }
    let first: u64 = env::var("SONDE_FIRST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let seeds = match env::var_os("SONDE_LONG") {
        Some(_) => LONG,
        None => SEEDS,
    };
    let next = AtomicU64::new(first);
    let total = Mutex::new((Summary::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                break;
            }
            let outcome = sim::run(seed, false);
            let mut total = total.lock().unwrap();
            total.0.add(&outcome.summary);
            if !outcome.failures.is_empty() {
                total.1.push((seed, outcome));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from).min(8) {
            scope.spawn(work);
        }
    });
    let (summary, mut failed) = total.into_inner().unwrap();
    eprintln!("{seeds} seeds: {summary:#?}");
    failed.sort_by_key(|(seed, _)| *seed);
    if let Some((seed, _)) = failed.first() {
        let list: Vec<String> =
            failed.iter().map(|(seed, outcome)| format!("{seed}: {}", outcome.failures[0])).collect();
        panic!("{}\n{} seeds failed:\n{}", report(*seed, &sim::run(*seed, true)), failed.len(), list.join("\n"));
    }
}

#[test]
fn a_seed_plays_the_same_way_twice() {
    for seed in 5_000_000..5_000_005 {
        let (one, two) = (sim::run(seed, false), sim::run(seed, true));
        assert_eq!((one.fingerprint, one.failures), (two.fingerprint, two.failures), "seed {seed}");
    }
}
