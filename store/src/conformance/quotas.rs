//! What an account has running, and requests that take effect once.

use std::sync::Arc;

use sonde_protocol::spec::{Kind, Spec};

use super::accounts::{account, probe};
use super::measurements::{oneoff, ping};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{
    Change, Checked, MeasurementFilter, NewMeasurement, NewParticipationRequest, Once, Price, Remembered, Slice, Usage,
};

const ALL: Slice = Slice { offset: 0, limit: 10_000, descending: false };
const PRICE: Price = Price { credits: 5, packets: 4 };

async fn add(catalog: &Arc<dyn Catalog>, new: NewMeasurement, now: i64) -> u64 {
    match catalog.add_checked_measurements(&[new], &[PRICE], &|_| Vec::new(), None, at(now)).await.unwrap() {
        Checked::Done(ids) => ids[0].0,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn what_runs_is_summed_up(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let probes = [probe(&catalog, ada, 1).await, probe(&catalog, bob, 2).await];
    let usage = async |new: &[NewMeasurement], now: i64| catalog.usage(ada, new, at(now)).await.unwrap();
    assert_eq!(usage(&[], 1).await, Usage::default());

    let to = |text: &str, new: NewMeasurement| NewMeasurement { resolved: vec![text.parse().unwrap()], ..new };
    add(&catalog, ping(ada, &probes), 0).await;
    add(&catalog, NewMeasurement { stop: Some(at(900)), ..oneoff(ada, &probes) }, 0).await;
    add(&catalog, to("2a00:1::81", ping(bob, &probes)), 0).await;
    add(&catalog, to("2a00:1:1::80", ping(bob, &probes)), 0).await;
    let stopped = add(&catalog, ping(ada, &probes), 0).await;
    catalog.stop_measurement(sonde_protocol::ids::MeasurementId(stopped), at(5)).await.unwrap();
    add(&catalog, ping(ada, &[]), 0).await;

    let traceroute = NewMeasurement { spec: Spec::default_of(Kind::Traceroute), ..ping(ada, &[]) };
    let now = usage(&[ping(ada, &[]), oneoff(ada, &[]), traceroute], 10).await;
    assert_eq!((now.measurements, now.results_per_day, now.credits_per_day), (2, 2 * 360 + 2, 5 * (2 * 360 + 2)));
    assert_eq!((now.balance, now.reserved), (0, 10));
    assert_eq!(now.targets.iter().map(|target| target.alike).collect::<Vec<_>>(), [1, 1, 0]);
    let (periodic, burst) = (4.0 * 2.0 / 240.0, 4.0 * 2.0 / 60.0);
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    close(now.targets[0].address_packets, periodic + burst);
    close(now.targets[0].network_packets, 2.0 * periodic + burst);

    let later = usage(&[ping(ada, &[])], 1_000).await;
    assert_eq!((later.measurements, later.results_per_day, later.reserved), (1, 722, 10));
    close(later.targets[0].address_packets, periodic);
    assert_eq!(usage(&[], 90_000).await.results_per_day, 720);

    let named = NewMeasurement { resolved: vec![], resolve_on_probe: true, ..ping(bob, &probes) };
    add(&catalog, named.clone(), 0).await;
    close(usage(&[named], 1_000).await.targets[0].address_packets, periodic);
}

pub(super) async fn what_is_refused_is_not_made(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let one = probe(&catalog, ada, 1).await;
    let at_most_one = |usage: &Usage| match usage.measurements {
        0 => Vec::new(),
        many => vec![format!("there are {many} already")],
    };
    let new = [ping(ada, &[one])];
    let made = catalog.add_checked_measurements(&new, &[PRICE], &at_most_one, None, at(0)).await.unwrap();
    let Checked::Done(ids) = made else { panic!("{made:?}") };
    assert_eq!(catalog.price(ids[0]).await.unwrap(), Some(PRICE));
    let refused = catalog.add_checked_measurements(&new, &[PRICE], &at_most_one, None, at(1)).await.unwrap();
    assert_eq!(refused, Checked::Refused(vec!["there are 1 already".into()]));
    assert_eq!(catalog.measurements(&MeasurementFilter::default(), ALL).await.unwrap().total, 1);
}

pub(super) async fn a_request_with_a_key_takes_effect_once(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let once = Once { account: ada, key: [7; 32], request: [8; 32] };
    let new = [ping(ada, &[one]), ping(ada, &[one])];
    let check = |_: &Usage| Vec::new();
    assert_eq!(catalog.remembered(&once, at(0)).await.unwrap(), None);
    let first = catalog.add_checked_measurements(&new, &[PRICE; 2], &check, Some(&once), at(0)).await.unwrap();
    let Checked::Done(ids) = &first else { panic!("{first:?}") };
    drop(catalog);
    let catalog = place.open().await;
    let again = catalog.add_checked_measurements(&new, &[PRICE; 2], &check, Some(&once), at(9)).await.unwrap();
    assert_eq!(again, first);
    let numbers = ids.iter().map(|id| id.0).collect();
    assert_eq!(catalog.remembered(&once, at(86_399)).await.unwrap(), Some(Remembered::Same(numbers)));
    assert_eq!(catalog.remembered(&once, at(86_400)).await.unwrap(), None);
    let other = Once { request: [9; 32], ..once };
    assert_eq!(catalog.remembered(&other, at(9)).await.unwrap(), Some(Remembered::Other));
    let refused = catalog.add_checked_measurements(&new, &[PRICE; 2], &check, Some(&other), at(9)).await.unwrap();
    assert_eq!(refused, Checked::OtherRequest);
    assert_eq!(catalog.measurements(&MeasurementFilter::default(), ALL).await.unwrap().total, 2);

    let requests = [NewParticipationRequest {
        removes: false,
        requested: 1,
        source: "probes".into(),
        value: two.to_string(),
        tags_include: String::new(),
        tags_exclude: String::new(),
    }];
    let change = Change { requests: &requests, join: &[two], leave: &[], most: 9 };
    let once = Once { key: [10; 32], ..once };
    let join = async || {
        let as_new = ping(ada, &[two]);
        catalog.change_checked_participation(ids[0], change, &as_new, &check, Some(&once), at(9)).await.unwrap()
    };
    let Checked::Done(Some((made, probes))) = join().await else { panic!() };
    assert_eq!(probes, [two]);
    assert_eq!(join().await, Checked::Done(Some((made, vec![]))), "nothing changed the second time");
    assert_eq!(catalog.participation_requests(ids[0], None, ALL).await.unwrap().total, 1);
    let never = |_: &Usage| vec!["no".to_owned()];
    let refused = catalog.change_checked_participation(ids[1], change, &new[1], &never, None, at(9)).await.unwrap();
    assert_eq!(refused, Checked::Refused(vec!["no".into()]));
}
