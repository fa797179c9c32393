//! Hosts that have IPv6 and IPv4 in every way that the measurement `ipv6` tells apart, right and wrong: real routers, resolvers
//! and translators in the lab's homes ([`sonde_tests::lab::homes`]), one row of `table` a host. First other people's tools
//! show that each host is what it is called (`ground`), then the measurement must say so.
//!
//! Needs root, and knot, unbound, tayga and radvd; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

mod far;
mod ground;
mod judge;
mod table;

use serde_json::{Value, json};
use sonde_tests::lab::Lab;
use sonde_tests::lab::homes::{Homes, Plan};
use sonde_tests::scene::say;

/// The far side with these homes, or a word on standard error where this machine cannot have them.
///
/// # Panics
/// When they cannot be had although `SONDE_LAB_REQUIRED` is 1.
fn homes(plans: &[Plan]) -> Option<(Homes, far::Far)> {
    let missing = Homes::missing();
    let reason = Lab::available().err().or((!missing.is_empty()).then(|| format!("not installed: {missing:?}")));
    if let Some(reason) = reason {
        assert!(std::env::var_os("SONDE_LAB_REQUIRED").is_none_or(|value| value != "1"), "no lab: {reason}");
        say(&format!("SKIPPED: no lab on this machine: {reason}"));
        return None;
    }
    let mut homes = Homes::start(plans).expect("the lab starts");
    let far = far::Far::start(&mut homes).expect("the references start");
    Some((homes, far))
}

/// The home whose line loses packets.
const LOSSY: &str = "lossy";

/// The home where every connection over IPv6 opens and none gets further.
const HANGING: &str = "holetotal";

/// A light run looked at sizes, and had to stop before it knew which of them pass: that takes half a minute. Whether it has come to the
/// least size by then depends on how busy this machine is.
fn is_bounded(result: &Value) {
    let said = judge::words(result, 6);
    assert!(said.starts_with("broken: mtu") || said == "broken: filtered", "{result}");
    for sizes in result["mtu"].as_array().unwrap() {
        let up = sizes["up"].as_array().unwrap();
        assert!(up[0]["size"] == json!(1500) && up[0]["lost"] == json!(4) && up.len() <= 2, "{sizes}");
    }
}

/// How many it loses, in each direction.
const LOSS: f64 = 0.02;

/// So many runs in a row that agree settle a worse verdict.
const SETTLES: usize = 3;

/// Lets the lossy line lose packets from now on.
fn lose(homes: &Homes) {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).unwrap();
    let seed = u64::from_le_bytes(seed);
    say(&format!("packets are lost by the seed {seed}"));
    homes.set_loss(LOSS, seed).unwrap();
}

/// Whether so many of these runs in a row say the same that is worse than what is true.
fn settles(runs: &[[String; 2]]) -> bool {
    let truth = table::HOSTS.iter().find(|row| row.plan.name == LOSSY).unwrap();
    // What is behind a `+` is not part of what settles.
    let state = |text: &str| text.split(" +").next().unwrap_or_default().to_owned();
    [0, 1].into_iter().any(|place| {
        let truth = [truth.v6, truth.v4][place];
        runs.windows(SETTLES).any(|some| {
            let said: Vec<String> = some.iter().map(|one| state(&one[place])).collect();
            said[0] != truth && said.iter().all(|one| *one == said[0])
        })
    })
}

#[test]
fn each_host_is_what_it_is_called_and_the_measurement_says_so() {
    let plans: Vec<Plan> = table::HOSTS.iter().map(|row| row.plan).collect();
    let Some((homes, far)) = homes(&plans) else { return };
    let wrong = ground::check_all(&homes);
    assert!(wrong.is_empty(), "the lab: {}", wrong.join("\n"));
    lose(&homes);

    let mut names: Vec<&str> = plans.iter().map(|plan| plan.name).collect();
    // As many runs as would settle a verdict.
    names.extend([LOSSY; SETTLES - 1]);
    // A light run has fifteen seconds also where every connection hangs.
    let (results, hanging) = std::thread::scope(|scope| {
        let hanging = scope.spawn(|| judge::measure_all(&homes, &far, &[HANGING], "light"));
        (judge::measure_all(&homes, &far, &names, "full"), hanging.join().unwrap())
    });
    is_bounded(hanging.into_iter().next().unwrap().as_ref().unwrap());
    let (mut wrong, mut lossy) = (Vec::new(), Vec::new());
    for (name, result) in names.iter().zip(results) {
        let row = table::HOSTS.iter().find(|row| row.plan.name == *name).unwrap();
        let result = result.unwrap_or_else(|error| panic!("{}: {error:#}", row.what));
        let said = [6, 4].map(|af| judge::words(&result, af));
        if *name == LOSSY {
            lossy.push(said);
        } else if said != [row.v6, row.v4] {
            wrong.push(format!("{}: {said:?} instead of {:?}", row.what, [row.v6, row.v4]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!settles(&lossy), "loss alone settles: {lossy:?}");
}

/// Takes minutes: only with `SONDE_LONG`.
#[test]
fn loss_alone_settles_nothing() {
    if std::env::var_os("SONDE_LONG").is_none() {
        return;
    }
    let plan = table::HOSTS.iter().find(|row| row.plan.name == LOSSY).unwrap().plan;
    let Some((homes, far)) = homes(&[plan]) else { return };
    lose(&homes);
    // Each column is one probe's runs, one after the other.
    let mut columns: [Vec<[String; 2]>; 6] = Default::default();
    for _ in 0..30 {
        let results = judge::measure_all(&homes, &far, &[LOSSY; 6], "light");
        for (column, result) in columns.iter_mut().zip(results) {
            column.push([6, 4].map(|af| judge::words(result.as_ref().unwrap(), af)));
        }
    }
    let others = columns.iter().flatten().filter(|said| **said != ["native", "native (public)"]);
    say(&format!("of 180 runs, these say something else: {:?}", others.collect::<Vec<_>>()));
    assert!(!columns.iter().any(|column| settles(column)), "loss alone settles: {columns:?}");
}
