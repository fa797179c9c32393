//! Orders and their revision, and what changes them.

use sonde_protocol::ids::{MeasurementId, ProbeId, Revision};
use sonde_protocol::net::Ip;
use sonde_protocol::order::{MAX_ADDRESSES, When};
use sonde_protocol::time::UnixNanos;

use super::accounts::{account, probe};
use super::measurements::{add, oneoff, ping};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{MeasurementFilter, NewMeasurement, ONEOFF_EXPIRY_SECS, Slice, Status};

async fn ordered(catalog: &dyn Catalog, probe: ProbeId, now: UnixNanos) -> (u64, Vec<MeasurementId>) {
    let (revision, orders) = catalog.orders(probe, now).await.unwrap();
    (revision.0, orders.iter().map(|order| order.measurement).collect())
}

pub(super) async fn an_order_says_what_was_asked_for(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let id = probe(&catalog, ada, 1).await;
    let many: Vec<_> = (1..=20).map(|n| format!("2a00:1::{n}").parse().unwrap()).collect();
    let expiry = at(ONEOFF_EXPIRY_SECS);
    let asked = [
        (ping(ada, &[id]), When::Periodic { start: at(0), interval: 240, spread: 100, stop: None }),
        (
            NewMeasurement { interval: Some(900), spread: None, stop: Some(at(99)), ..ping(ada, &[id]) },
            When::Periodic { start: at(0), interval: 900, spread: 400, stop: Some(at(99)) },
        ),
        (
            NewMeasurement { interval: Some(60), spread: None, resolved: many, ..ping(ada, &[id]) },
            When::Periodic { start: at(0), interval: 60, spread: 30, stop: None },
        ),
        (oneoff(ada, &[id]), When::Once { start: None, expires: expiry }),
        (
            NewMeasurement { start_given: true, stop: Some(at(77)), ..oneoff(ada, &[id]) },
            When::Once { start: Some(at(0)), expires: at(77) },
        ),
        (
            NewMeasurement { resolve_on_probe: true, target: None, ..oneoff(ada, &[id]) },
            When::Once { start: None, expires: expiry },
        ),
    ];
    let new: Vec<NewMeasurement> = asked.iter().map(|(new, _)| new.clone()).collect();
    let ids = catalog.add_measurements(&new, at(5)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    let (_, orders) = catalog.orders(id, at(5)).await.unwrap();
    assert_eq!(orders.len(), asked.len());
    for (order, (id, (asked, when))) in orders.iter().zip(ids.iter().zip(&asked)) {
        assert_eq!(order.measurement, *id);
        assert_eq!(order.spec().unwrap(), asked.spec);
        assert_eq!((order.af, order.when, order.ordered_at), (asked.af, *when, at(5)));
        assert_eq!(order.target.as_deref(), asked.target.as_deref());
        assert_eq!(order.resolve_on_probe, asked.resolve_on_probe);
        let addresses: Vec<Ip> = match asked.resolve_on_probe {
            true => vec![],
            false => asked.resolved.iter().take(MAX_ADDRESSES).map(|&address| Ip(address)).collect(),
        };
        assert_eq!(*order.addresses, addresses);
    }
}

pub(super) async fn the_revision_grows_with_every_change(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let revisions =
        async |catalog: &dyn Catalog| (ordered(catalog, one, at(0)).await.0, ordered(catalog, two, at(0)).await.0);
    assert_eq!(revisions(&*catalog).await, (1, 1));
    let made = catalog.add_measurements(&[oneoff(ada, &[one]), oneoff(ada, &[one, two])], at(0)).await.unwrap();
    assert_eq!(revisions(&*catalog).await, (2, 2), "made together: one change");
    let periodic = add(&catalog, ping(ada, &[one])).await;
    assert_eq!(revisions(&*catalog).await, (3, 2));
    catalog.settle_oneoffs(&[(made[0], one), (made[1], one)]).await.unwrap();
    assert_eq!(revisions(&*catalog).await, (4, 2));
    catalog.stop_measurement(periodic, at(0)).await.unwrap();
    assert_eq!(revisions(&*catalog).await, (5, 2));
    drop(catalog);
    let catalog = place.open().await;
    assert_eq!(revisions(&*catalog).await, (5, 2));
    assert_eq!(ordered(&*catalog, one, at(0)).await.1, []);
    assert_eq!(ordered(&*catalog, two, at(0)).await.1, [made[1]]);
    let (unknown, orders) = catalog.orders(ProbeId(999), at(0)).await.unwrap();
    assert_eq!((unknown, orders), (Revision(0), vec![]));
}

pub(super) async fn orders_end_by_time(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let id = probe(&catalog, ada, 1).await;
    let forever = add(&catalog, ping(ada, &[id])).await;
    let ending = add(&catalog, NewMeasurement { stop: Some(at(100)), ..ping(ada, &[id]) }).await;
    let later = add(&catalog, NewMeasurement { start: at(500), ..ping(ada, &[id]) }).await;
    let once = add(&catalog, oneoff(ada, &[id])).await;
    let short = add(&catalog, NewMeasurement { stop: Some(at(50)), ..oneoff(ada, &[id]) }).await;
    let just_before = |time: UnixNanos| UnixNanos(time.0 - 1);
    let expiry = at(ONEOFF_EXPIRY_SECS);
    for (now, expected) in [
        (at(0), &[forever, ending, later, once, short][..]),
        (just_before(at(50)), &[forever, ending, later, once, short]),
        (at(50), &[forever, ending, later, once]),
        (just_before(at(100)), &[forever, ending, later, once]),
        (at(100), &[forever, later, once]),
        (just_before(expiry), &[forever, later, once]),
        (expiry, &[forever, later]),
    ] {
        assert_eq!(ordered(&*catalog, id, now).await, (6, expected.to_vec()), "{now}");
    }
}

pub(super) async fn stopping_a_measurement(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let both = add(&catalog, ping(ada, &[two, one])).await;
    let ended = add(&catalog, NewMeasurement { stop: Some(at(10)), ..ping(ada, &[one]) }).await;
    let empty = add(&catalog, ping(ada, &[])).await;
    let once = add(&catalog, oneoff(ada, &[one, two])).await;
    catalog.settle_oneoffs(&[(once, one)]).await.unwrap();

    let mut probes = catalog.stop_measurement(both, at(20)).await.unwrap();
    probes.sort();
    assert_eq!(probes, [one, two]);
    assert_eq!(catalog.stop_measurement(both, at(30)).await.unwrap(), []);
    assert_eq!(catalog.stop_measurement(ended, at(20)).await.unwrap(), []);
    assert_eq!(catalog.stop_measurement(empty, at(20)).await.unwrap(), []);
    assert_eq!(catalog.stop_measurement(MeasurementId(1), at(20)).await.unwrap(), []);
    assert_eq!(catalog.stop_measurement(once, at(20)).await.unwrap(), [two], "the other one has done it");
    drop(catalog);
    let catalog = place.open().await;
    let state = async |id| {
        let measurement = catalog.measurement(id).await.unwrap().unwrap();
        (measurement.stopped_at, measurement.status(at(40)).0)
    };
    assert_eq!(state(both).await, (Some(at(20)), Status::Stopped));
    assert_eq!(state(ended).await, (None, Status::Stopped));
    assert_eq!(state(empty).await, (None, Status::NoSuitableProbes));
    assert_eq!(ordered(&*catalog, one, at(5)).await.1, [ended]);
    assert_eq!(ordered(&*catalog, two, at(5)).await.1, []);
}

pub(super) async fn the_operator_stops_a_measurement(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let id = probe(&catalog, ada, 1).await;
    let (one, other) = (add(&catalog, ping(ada, &[id])).await, add(&catalog, ping(ada, &[id])).await);
    catalog.stop_measurement(other, at(5)).await.unwrap();
    assert_eq!(catalog.force_stop_measurement(other, at(9)).await.unwrap(), [], "it was over");
    assert_eq!(catalog.force_stop_measurement(one, at(9)).await.unwrap(), [id]);
    drop(catalog);
    let catalog = place.open().await;
    let stopped = catalog.measurement(one).await.unwrap().unwrap();
    assert_eq!(stopped.status(at(9)), (Status::ForcedToStop, Some(at(9))));
    assert_eq!(catalog.measurement(other).await.unwrap().unwrap().status(at(9)), (Status::Stopped, Some(at(5))));
    for (state, expected) in [(Status::ForcedToStop, one), (Status::Stopped, other)] {
        let filter = MeasurementFilter { status: Some((vec![state], at(9))), ..Default::default() };
        let slice = Slice { offset: 0, limit: 10, descending: false };
        let found = catalog.measurements(&filter, slice).await.unwrap().items;
        assert_eq!(found.iter().map(|measurement| measurement.id).collect::<Vec<_>>(), [expected]);
    }
    assert_eq!(ordered(&*catalog, id, at(9)).await.1, []);
}

pub(super) async fn settling_oneoffs(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let (once, alone) = (add(&catalog, oneoff(ada, &[one, two])).await, add(&catalog, oneoff(ada, &[two])).await);
    let periodic = add(&catalog, ping(ada, &[one, two])).await;
    let pairs = [
        (once, one),
        (once, one),
        (periodic, two),
        (alone, one),
        (MeasurementId(u64::MAX), one),
        (once, ProbeId(999)),
        (alone, two),
    ];
    assert_eq!(catalog.settle_oneoffs(&[]).await.unwrap(), []);
    let mut changed = catalog.settle_oneoffs(&pairs).await.unwrap();
    changed.sort();
    assert_eq!(changed, [one, two]);
    let revisions = (ordered(&*catalog, one, at(0)).await.0, ordered(&*catalog, two, at(0)).await.0);
    assert_eq!(catalog.settle_oneoffs(&pairs).await.unwrap(), [], "again: nothing new");
    drop(catalog);
    let catalog = place.open().await;
    assert_eq!(ordered(&*catalog, one, at(0)).await, (revisions.0, vec![periodic]));
    assert_eq!(ordered(&*catalog, two, at(0)).await, (revisions.1, vec![once, periodic]));
    let settled = async |id| {
        let flags: Vec<bool> = catalog.participants(id).await.unwrap().iter().map(|p| p.settled).collect();
        (catalog.measurement(id).await.unwrap().unwrap().settled, flags)
    };
    assert_eq!(settled(once).await, (1, vec![true, false]));
    assert_eq!(settled(alone).await, (1, vec![true]));
    assert_eq!(settled(periodic).await, (0, vec![false, false]));
}
