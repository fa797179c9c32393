//! Probes that join a measurement or leave it.

use std::sync::Arc;

use sonde_protocol::ids::{MeasurementId, ProbeId};

use super::accounts::{account, probe};
use super::measurements::{add, oneoff, ping};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{Change, Changed, NewParticipationRequest, Slice};

const ALL: Slice = Slice { offset: 0, limit: 10_000, descending: false };

fn request(removes: bool) -> NewParticipationRequest {
    NewParticipationRequest {
        removes,
        requested: 1,
        source: "probes".into(),
        value: "1".into(),
        tags_include: String::new(),
        tags_exclude: String::new(),
    }
}

async fn change(
    catalog: &Arc<dyn Catalog>,
    id: MeasurementId,
    join: &[ProbeId],
    leave: &[ProbeId],
    most: u32,
) -> Option<Changed> {
    let requests = [request(join.is_empty())];
    catalog.change_participation(id, Change { requests: &requests, join, leave, most }, at(5)).await.unwrap()
}

async fn ordered(catalog: &Arc<dyn Catalog>, probe: ProbeId) -> (u64, usize) {
    let (revision, orders) = catalog.orders(probe, at(6)).await.unwrap();
    (revision.0, orders.len())
}

pub(super) async fn who_joins_gets_an_order_and_who_leaves_loses_it(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let id = add(&catalog, ping(ada, &[one])).await;
    let (before, _) = ordered(&catalog, two).await;

    let (_, changed) = change(&catalog, id, &[two], &[], 9).await.unwrap();
    assert_eq!(changed, [two]);
    assert_eq!(ordered(&catalog, two).await, (before + 1, 1));
    assert_eq!(change(&catalog, id, &[two], &[], 9).await.unwrap().1, [], "it takes part already");

    let (_, changed) = change(&catalog, id, &[], &[one], 9).await.unwrap();
    assert_eq!(changed, [one]);
    assert_eq!(ordered(&catalog, one).await.1, 0);
    let parts = catalog.participants(id).await.unwrap();
    assert_eq!(
        parts.iter().map(|part| (part.probe, part.left_at)).collect::<Vec<_>>(),
        [(one, Some(at(5))), (two, None)]
    );
    let log = catalog.participant_log(id).await.unwrap();
    assert_eq!(
        log.iter().map(|event| (event.probe, event.joined)).collect::<Vec<_>>(),
        [(one, true), (two, true), (one, false)]
    );

    change(&catalog, id, &[one], &[], 9).await.unwrap();
    assert_eq!(ordered(&catalog, one).await.1, 1, "it may come back");
    assert_eq!(catalog.participation_requests(id, None, ALL).await.unwrap().total, 4);
}

pub(super) async fn no_more_take_part_than_may(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let id = add(&catalog, ping(ada, &[one])).await;
    let before = ordered(&catalog, two).await;
    assert_eq!(change(&catalog, id, &[two], &[], 1).await, None);
    assert_eq!(ordered(&catalog, two).await, before);
    assert_eq!(catalog.participation_requests(id, None, ALL).await.unwrap().total, 0, "nothing is half done");
    assert!(change(&catalog, id, &[two], &[one], 1).await.is_some(), "one goes and one comes");
    assert_eq!(change(&catalog, MeasurementId(4711), &[two], &[], 9).await, None);
}

pub(super) async fn a_oneoff_waits_for_nobody_who_left(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let one = probe(&catalog, ada, 1).await;
    let id = add(&catalog, oneoff(ada, &[one])).await;
    change(&catalog, id, &[], &[one], 9).await.unwrap();
    let measurement = catalog.measurement(id).await.unwrap().unwrap();
    assert_eq!((measurement.participants, measurement.settled, measurement.departed), (1, 1, 1));
    assert_eq!(change(&catalog, id, &[one], &[], 9).await.unwrap().1, [], "it runs once");
    assert_eq!(ordered(&catalog, one).await.1, 0);
}
