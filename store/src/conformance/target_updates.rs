//! Targets whose names are looked up again.

use std::net::IpAddr;

use sonde_protocol::ids::Asn;

use super::accounts::{account, probe};
use super::measurements::ping;
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{Change, NewMeasurement, Origin, TargetUpdate};

pub(super) async fn a_target_is_due_again_and_again(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let one = probe(&catalog, ada, 1).await;
    let every = |hours| NewMeasurement { target_update_hours: Some(hours), stop: None, ..ping(ada, &[one]) };
    let nobodys = NewMeasurement { probes: Vec::new(), ..every(22) };
    let ids = catalog
        .add_measurements(&[every(24), ping(ada, &[]), every(22), every(22), every(22), nobodys], at(0))
        .await
        .unwrap();
    catalog.stop_measurement(ids[3], at(1)).await.unwrap();
    let due = async |hours: i64, limit| -> Vec<_> {
        let due = catalog.targets_due(at(hours * 3600), limit).await.unwrap();
        due.into_iter().map(|measurement| measurement.id).collect()
    };
    assert_eq!(due(21, 9).await, []);
    assert_eq!(due(22, 9).await, [ids[2], ids[4]]);
    assert_eq!(due(24, 9).await, [ids[2], ids[4], ids[0]]);
    assert_eq!(due(24, 1).await, [ids[2]]);
    let stays = TargetUpdate::Stays("no answer".into());
    catalog.update_target(ids[2], &stays, at(23 * 3600), at(22 * 3600)).await.unwrap();
    assert_eq!(due(22, 9).await, [ids[4]]);
    assert_eq!(due(24, 9).await, [ids[4], ids[2], ids[0]]);
    let shown = catalog.measurement(ids[2]).await.unwrap().unwrap();
    assert_eq!((shown.asked.target_update_hours, shown.target_update_error.as_deref()), (Some(22), Some("no answer")));
}

pub(super) async fn other_addresses_are_other_orders(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, gone) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let before = vec![address("20.1.2.3"), address("20.1.2.4")];
    let asked = NewMeasurement {
        target: Some("www.example.net".into()),
        resolved: before.clone(),
        target_update_hours: Some(24),
        stop: None,
        ..ping(ada, &[one, gone])
    };
    let id = catalog.add_measurements(&[asked], at(0)).await.unwrap()[0];
    let leave = Change { requests: &[], join: &[], leave: &[gone], most: 9 };
    catalog.change_participation(id, leave, at(1)).await.unwrap().unwrap();
    let (revision, orders) = catalog.orders(one, at(2)).await.unwrap();
    let swapped = TargetUpdate::Found(vec![before[1], before[0]], None);
    for update in [swapped, TargetUpdate::Stays("it moved to 10.0.0.1".into())] {
        assert_eq!(catalog.update_target(id, &update, at(100), at(3)).await.unwrap(), []);
        assert_eq!(catalog.orders(one, at(4)).await.unwrap(), (revision, orders.clone()), "{update:?}");
    }
    let origin = Origin { asn: Asn(64500), prefix: Some("20.9.0.0/16".into()) };
    let moved = TargetUpdate::Found(vec![address("20.9.9.9")], Some(origin.clone()));
    assert_eq!(catalog.update_target(id, &moved, at(100), at(5)).await.unwrap(), [one]);
    let (after, orders) = catalog.orders(one, at(6)).await.unwrap();
    assert!(after > revision);
    let order = &orders[0];
    assert_eq!(order.addresses.iter().map(|ip| ip.0).collect::<Vec<_>>(), [address("20.9.9.9")]);
    assert_eq!(order.ordered_at, at(5), "what tells it from the one before");
    let shown = catalog.measurement(id).await.unwrap().unwrap();
    assert_eq!((shown.asked.origin, shown.target_update_error), (Some(origin), None));
    assert_eq!(catalog.orders(gone, at(6)).await.unwrap().1, []);
}
