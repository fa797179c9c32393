//! The ledger: nothing comes from nowhere, and nothing twice.

use std::sync::Arc;

use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::net::Uplink;
use sonde_protocol::seed::Rng;

use super::accounts::{account, probe};
use super::measurements::{oneoff, ping};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{Checked, EntryKind, NewMeasurement, NewSession, Once, Price, Rates, Slice, Transferred};
use crate::results::{Arrived, Cursor, Tally};

const ALL: Slice = Slice { offset: 0, limit: 10_000, descending: false };
const RATES: Rates = Rates { probe: 15, anchor: 150 };

async fn priced(catalog: &Arc<dyn Catalog>, new: NewMeasurement, credits: u32) -> MeasurementId {
    let prices = [Price { credits, packets: 3 }];
    match catalog.add_checked_measurements(&[new], &prices, &|_| Vec::new(), None, at(0)).await.unwrap() {
        Checked::Done(ids) => ids[0],
        other => panic!("{other:?}"),
    }
}

fn tally(day: i64, next: u64, counts: &[(MeasurementId, ProbeId, u64)]) -> Tally {
    let counts = counts.iter().map(|&(measurement, probe, results)| Arrived { measurement, probe, results }).collect();
    Tally { day, counts, next: Cursor(vec![next]) }
}

async fn balance(catalog: &Arc<dyn Catalog>, account: AccountId) -> i64 {
    assert_eq!(catalog.check_ledger().await.unwrap(), Vec::<String>::new());
    catalog.balance(account).await.unwrap()
}

pub(super) async fn first_credits_come_once(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    assert_eq!(balance(&catalog, ada).await, 0);
    assert!(catalog.grant_start(ada, 500, at(1)).await.unwrap());
    assert!(!catalog.grant_start(ada, 900, at(2)).await.unwrap());
    catalog.grant(ada, 20, at(3)).await.unwrap();
    catalog.grant(ada, 20, at(3)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    assert_eq!(balance(&catalog, ada).await, 540);
    let entries = catalog.credit_entries(ada, &[], ALL).await.unwrap().items;
    let shown: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.amount, entry.at)).collect();
    assert_eq!(shown, [(EntryKind::Start, 500, at(1)), (EntryKind::Grant, 20, at(3)), (EntryKind::Grant, 20, at(3))]);
    catalog.grant(ada, u64::MAX, at(4)).await.unwrap_err();
    catalog.grant(ada, i64::MAX as u64, at(4)).await.unwrap_err();
    assert_eq!(balance(&catalog, ada).await, 540, "what cannot be counted is not booked");
}

pub(super) async fn nobody_gives_more_than_there_is(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    catalog.grant(ada, 100, at(0)).await.unwrap();
    let over = catalog.transfer(ada, bob, 101, None, at(1)).await.unwrap();
    assert_eq!(over, Transferred::Overdrawn(100));
    let Transferred::Done(id) = catalog.transfer(ada, bob, 70, None, at(1)).await.unwrap() else { panic!() };
    assert_eq!((balance(&catalog, ada).await, balance(&catalog, bob).await), (30, 70));
    let entry = catalog.credit_entry(ada, id).await.unwrap().unwrap();
    assert_eq!((entry.amount, entry.other, entry.kind), (-70, Some(bob), EntryKind::Transfer));
    assert_eq!(catalog.credit_entry(bob, id).await.unwrap().unwrap().amount, 70);
    let carol = account(&catalog, "carol@example.net").await;
    assert_eq!(catalog.credit_entry(carol, id).await.unwrap(), None, "it is none of hers");

    // What a one-off that was just made may cost is not there to be given away.
    let one = probe(&catalog, bob, 1).await;
    priced(&catalog, oneoff(bob, &[one]), 50).await;
    assert_eq!(catalog.transfer(bob, ada, 30, None, at(2)).await.unwrap(), Transferred::Overdrawn(20));
}

pub(super) async fn a_transfer_with_a_key_happens_once(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    catalog.grant(ada, 100, at(0)).await.unwrap();
    let once = Once { account: ada, key: [1; 32], request: [2; 32] };
    let first = catalog.transfer(ada, bob, 60, Some(&once), at(1)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    assert_eq!(catalog.transfer(ada, bob, 60, Some(&once), at(2)).await.unwrap(), first);
    assert_eq!(balance(&catalog, ada).await, 40);
    let other = Once { request: [3; 32], ..once };
    assert_eq!(catalog.transfer(ada, bob, 6, Some(&other), at(2)).await.unwrap(), Transferred::OtherRequest);
    let bobs = Once { account: bob, ..other };
    assert!(matches!(catalog.transfer(bob, ada, 6, Some(&bobs), at(2)).await.unwrap(), Transferred::Done(_)));
    // A day later it is another request.
    assert!(matches!(catalog.transfer(ada, bob, 6, Some(&other), at(90_000)).await.unwrap(), Transferred::Done(_)));
}

pub(super) async fn results_are_charged_once(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let (own, others) = (probe(&catalog, ada, 1).await, probe(&catalog, bob, 2).await);
    let stranger = probe(&catalog, bob, 3).await;
    let first = priced(&catalog, ping(ada, &[own, others]), 3).await;
    let free = super::measurements::add(&catalog, ping(ada, &[own])).await;
    let once = priced(&catalog, oneoff(ada, &[others]), 10).await;

    let counts = [(first, own, 4), (first, others, 5), (free, own, 9), (first, stranger, 7), (once, others, 3)];
    let all = tally(7, 1, &counts);
    assert!(!catalog.charge(&all, None, false, at(5)).await.unwrap(), "charging has not begun");
    assert_eq!(catalog.begin_charging(at(4)).await.unwrap().since, at(4));
    assert!(catalog.charge(&all, None, false, at(5)).await.unwrap());
    // Nine results at 3 and one at 10: nobody pays for what was not asked for.
    assert_eq!(balance(&catalog, ada).await, -37);
    assert!(!catalog.charge(&all, None, false, at(6)).await.unwrap(), "the same tally again");
    drop(catalog);
    let catalog = place.open().await;
    let state = catalog.begin_charging(at(60)).await.unwrap();
    assert_eq!((state.since, state.cursor.as_ref()), (at(4), Some(&all.next)));
    assert!(!catalog.charge(&all, None, false, at(6)).await.unwrap());
    assert_eq!(balance(&catalog, ada).await, -37);

    let more = tally(7, 2, &[(first, own, 4), (first, others, 1)]);
    assert!(catalog.charge(&more, Some(&all.next), true, at(7)).await.unwrap());
    assert_eq!(balance(&catalog, ada).await, -40, "own probes are free now");
    let entries = catalog.credit_entries(ada, &[EntryKind::Expense], ALL).await.unwrap();
    let shown: Vec<_> = entries.items.iter().map(|e| (e.measurement, e.count, e.amount, e.changed_at)).collect();
    assert_eq!(shown, [(Some(first), 10, -30, at(7)), (Some(once), 1, -10, at(5))], "a day's are one");
    let summary = catalog.credit_summary(ada, at(8)).await.unwrap();
    assert_eq!((summary.balance, summary.spent, summary.results), (-40, 40, 11));
    assert_eq!((summary.last_debited, summary.last_credited), (Some(at(7)), None));
    assert_eq!(catalog.unpaid_measurements(at(8)).await.unwrap(), [first], "neither what is free nor one-offs");

    // A probe that reports far more than it was asked to.
    let flood = tally(7, 3, &[(first, others, 1_000_000)]);
    assert!(catalog.charge(&flood, Some(&more.next), true, at(9)).await.unwrap());
    assert_eq!(balance(&catalog, ada).await, -10 - 3 * 2 * (86_400 / 240 + 1));

    catalog.end_charging().await.unwrap();
    assert_eq!(catalog.begin_charging(at(100)).await.unwrap().cursor, None);
}

pub(super) async fn connected_minutes_earn(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let one = probe(&catalog, ada, 1).await;
    let session = |seconds| NewSession {
        probe: one,
        public_address: "20.0.0.1".parse().unwrap(),
        addresses: Vec::new(),
        kinds: None,
        families: Vec::new(),
        software: String::new(),
        uplink: Uplink::Quic,
        at: at(seconds),
    };
    let id = catalog.open_session(&session(0)).await.unwrap();
    assert_eq!(catalog.book_income(RATES, at(600)).await.unwrap(), 0, "charging has not begun");
    catalog.begin_charging(at(600)).await.unwrap();
    assert_eq!(catalog.book_income(RATES, at(600)).await.unwrap(), 0, "what was before does not count");
    assert_eq!(catalog.book_income(RATES, at(759)).await.unwrap(), 30);
    assert_eq!(catalog.book_income(RATES, at(759)).await.unwrap(), 0);
    catalog.close_session(id, at(800)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    assert_eq!(catalog.book_income(RATES, at(5_000)).await.unwrap(), 15, "the minute that ended meanwhile");
    assert_eq!(catalog.book_income(RATES, at(700)).await.unwrap(), 0, "a clock that was set back");
    catalog.open_session(&session(5_000)).await.unwrap();
    assert_eq!(catalog.book_income(RATES, at(5_060)).await.unwrap(), 15);
    assert_eq!(balance(&catalog, ada).await, 60);
    let entries = catalog.credit_entries(ada, &[EntryKind::Income], ALL).await.unwrap();
    assert_eq!((entries.total, entries.items[0].count, entries.items[0].amount), (1, 4, 60), "a day's are one");
}

pub(super) async fn the_sum_of_all_is_always_zero(place: &impl Fixture<dyn Catalog>) {
    for seed in 0..2 {
        let mut random = Rng::new(seed);
        let mut catalog = place.open().await;
        let names = ["a", "b", "c"].map(|name| format!("{name}{seed}@example.net"));
        let mut people = Vec::new();
        for name in &names {
            people.push(account(&catalog, name).await);
        }
        let one = probe(&catalog, people[0], seed as u8 + 1).await;
        let id = priced(&catalog, ping(people[1], &[one]), 7).await;
        let mut expected = vec![0_i64; people.len()];
        for step in 0..60 {
            let (from, to) = ((random.next_u64() % 3) as usize, (random.next_u64() % 3) as usize);
            let (amount, now) = (random.next_u64() % 200, at(1_000 + step));
            match random.next_u64() % 5 {
                0 => {
                    catalog.grant(people[from], amount, now).await.unwrap();
                    expected[from] += amount as i64;
                }
                1 if from != to => match catalog.transfer(people[from], people[to], amount, None, now).await.unwrap() {
                    Transferred::Done(_) => {
                        expected[from] -= amount as i64;
                        expected[to] += amount as i64;
                    }
                    other => assert_eq!(other, Transferred::Overdrawn(expected[from].max(0))),
                },
                2 => {
                    let state = catalog.begin_charging(now).await.unwrap();
                    let next = state.cursor.as_ref().map_or(1, |cursor| cursor.0[0] + 1);
                    // Now and then it is sent again, as after a crash.
                    let tally = tally(step / 10, next, &[(id, one, 1)]);
                    assert!(catalog.charge(&tally, state.cursor.as_ref(), false, now).await.unwrap());
                    assert!(!catalog.charge(&tally, state.cursor.as_ref(), false, now).await.unwrap());
                    expected[1] -= 7;
                }
                3 => {
                    drop(catalog);
                    catalog = place.open().await;
                }
                _ => {}
            }
            for (person, expected) in people.iter().zip(&expected) {
                assert_eq!(balance(&catalog, *person).await, *expected);
            }
        }
    }
}
