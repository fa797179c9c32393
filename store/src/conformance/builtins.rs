//! Built-in measurements: everybody makes them, and the operator's file says what they are.

use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::net::{Family, Uplink};
use sonde_protocol::spec::{Kind, PingSpec, Spec};

use super::accounts::{account, probe};
use super::measurements::{add, ping};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{Builtin, MeasurementFilter, NOBODY, NewMeasurement, NewSession, Reconciled, Slice, Status};

const ALL: Slice = Slice { offset: 0, limit: 100, descending: false };

fn builtin(id: u64, asked: NewMeasurement) -> Builtin {
    Builtin { id: MeasurementId(id), asked, include: vec![], exclude: vec![], not_by: None }
}

fn tagged(id: u64, include: &[&str], exclude: &[&str]) -> Builtin {
    let texts = |tags: &[&str]| tags.iter().map(|&tag| tag.into()).collect();
    Builtin { include: texts(include), exclude: texts(exclude), ..builtin(id, ping(NOBODY, &[])) }
}

async fn ordered(catalog: &dyn Catalog, probe: ProbeId) -> (u64, Vec<u64>) {
    let (revision, orders) = catalog.orders(probe, at(0)).await.unwrap();
    (revision.0, orders.iter().map(|order| order.measurement.0).collect())
}

fn ids(numbers: &[u64]) -> Vec<MeasurementId> {
    numbers.iter().copied().map(MeasurementId).collect()
}

pub(super) async fn every_probe_makes_builtins_those_that_join_later_too(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let early = probe(&catalog, ada, 1).await;
    let own = add(&catalog, ping(ada, &[early])).await;
    let wanted = [builtin(2001, ping(NOBODY, &[])), builtin(7, ping(NOBODY, &[]))];
    let done = catalog.reconcile_builtins(&wanted, at(50)).await.unwrap();
    assert_eq!(done, Reconciled { made: ids(&[2001, 7]), ..Default::default() });
    let late = probe(&catalog, ada, 2).await;
    drop(catalog);

    let catalog = place.open().await;
    assert_eq!(ordered(&*catalog, early).await, (3, vec![7, 2001, own.0]));
    assert_eq!(ordered(&*catalog, late).await, (1, vec![7, 2001]));
    let (_, orders) = catalog.orders(early, at(60)).await.unwrap();
    assert_eq!(orders[0].ordered_at, at(50), "runs before that were nobody's");
    let probes: Vec<_> = catalog.participants(MeasurementId(7)).await.unwrap().iter().map(|part| part.probe).collect();
    assert_eq!(probes, [early, late]);
    let kept = catalog.measurement(MeasurementId(7)).await.unwrap().unwrap();
    assert_eq!((kept.asked.clone(), kept.status(at(60)).0), (ping(NOBODY, &[]), Status::Ongoing));
    let running = MeasurementFilter { status: Some((vec![Status::Ongoing], at(60))), ..Default::default() };
    let listed = catalog.measurements(&running, ALL).await.unwrap().items;
    assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [MeasurementId(7), MeasurementId(2001), own]);
    assert_eq!(catalog.measurement_groups(None, ALL).await.unwrap().items, [own], "they are no group");
    let again = catalog.reconcile_builtins(&wanted, at(70)).await.unwrap();
    assert_eq!(again, Reconciled::default());
    assert_eq!(ordered(&*catalog, early).await.0, 3);
    assert!(add(&catalog, ping(ada, &[])).await > own, "users' numbers go on");
}

pub(super) async fn a_builtin_measures_the_same_for_ever(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let id = probe(&catalog, ada, 1).await;
    let first = [builtin(1, ping(NOBODY, &[])), builtin(2, ping(NOBODY, &[]))];
    catalog.reconcile_builtins(&first, at(0)).await.unwrap();
    for (what, asked) in [
        ("type", NewMeasurement { spec: Spec::default_of(Kind::Traceroute), ..ping(NOBODY, &[]) }),
        ("af", NewMeasurement { af: Family::V4, ..ping(NOBODY, &[]) }),
        ("target", NewMeasurement { target: Some("20.0.0.1".into()), ..ping(NOBODY, &[]) }),
        (
            "definition",
            NewMeasurement { spec: Spec::Ping(PingSpec { packets: 9, ..Default::default() }), ..ping(NOBODY, &[]) },
        ),
    ] {
        let done =
            catalog.reconcile_builtins(&[builtin(2, asked), builtin(3, ping(NOBODY, &[]))], at(5)).await.unwrap();
        assert_eq!(done, Reconciled { refused: vec![(MeasurementId(2), what)], ..Default::default() });
    }
    assert_eq!(ordered(&*catalog, id).await, (2, vec![1, 2]), "and nothing has happened");

    let other = NewMeasurement {
        interval: Some(60),
        spread: Some(10),
        description: Some("Another".into()),
        resolved: vec!["2a00:1::81".parse().unwrap()],
        tags: vec!["root".into()],
        ..ping(NOBODY, &[])
    };
    let done = catalog.reconcile_builtins(&[builtin(2, other.clone())], at(5)).await.unwrap();
    assert_eq!(done, Reconciled { changed: ids(&[2]), stopped: ids(&[1]), ..Default::default() });
    drop(catalog);
    let catalog = place.open().await;
    assert_eq!(ordered(&*catalog, id).await, (3, vec![2]));
    assert_eq!(catalog.measurement(MeasurementId(2)).await.unwrap().unwrap().asked, other);
    let stopped = catalog.measurement(MeasurementId(1)).await.unwrap().unwrap();
    assert_eq!(stopped.status(at(9)), (Status::Stopped, Some(at(5))));
    let described = NewMeasurement { description: None, ..other.clone() };
    let wanted = [builtin(1, ping(NOBODY, &[])), builtin(2, described)];
    let done = catalog.reconcile_builtins(&wanted, at(9)).await.unwrap();
    assert_eq!(done.changed, ids(&[1, 2]), "one goes on");
    assert_eq!(ordered(&*catalog, id).await, (4, vec![1, 2]));
    let done = catalog.reconcile_builtins(&[builtin(1, ping(NOBODY, &[])), builtin(2, other)], at(9)).await.unwrap();
    assert_eq!(done.changed, ids(&[2]));
    assert_eq!(ordered(&*catalog, id).await.0, 4, "words change no order");
}

pub(super) async fn builtins_follow_the_probes_tags(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let id = probe(&catalog, ada, 1).await;
    let wanted = [
        tagged(1, &["system-ipv4-works"], &[]),
        tagged(2, &["system-ipv4-works", "system-ipv6-works"], &[]),
        tagged(3, &[], &["system-ipv6-works"]),
        tagged(4, &[], &["system-ipv4-works", "nothing"]),
    ];
    catalog.reconcile_builtins(&wanted, at(0)).await.unwrap();
    let connect = async |address: &str| {
        let session = NewSession {
            probe: id,
            public_address: address.parse().unwrap(),
            addresses: vec![],
            kinds: None,
            families: vec![],
            software: "sonde".into(),
            uplink: Uplink::Quic,
            at: at(1),
        };
        catalog.open_session(&session).await.unwrap();
        ordered(&*catalog, id).await
    };
    let (before, orders) = ordered(&*catalog, id).await;
    assert_eq!(orders, [3, 4]);
    let (v4, orders) = connect("20.0.0.1").await;
    assert!(v4 > before);
    assert_eq!(orders, [1, 3]);
    assert_eq!(connect("20.0.0.2").await, (v4, vec![1, 3]), "the same tags, the same orders");
    let (v6, orders) = connect("2a00:1::1").await;
    assert!(v6 > v4);
    assert_eq!(orders, [4]);
    assert_eq!(catalog.participants(MeasurementId(3)).await.unwrap(), []);
    let done = catalog.reconcile_builtins(&[tagged(3, &["system-ipv6-works"], &[])], at(2)).await.unwrap();
    assert_eq!((done.changed, done.stopped), (ids(&[3]), ids(&[1, 2, 4])));
    assert_eq!(ordered(&*catalog, id).await.1, [3]);
}

pub(super) async fn builtins_follow_what_the_host_allows(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let id = probe(&catalog, account(&catalog, "ada@example.net").await, 1).await;
    // Number 1 is a ping.
    catalog.reconcile_builtins(&[builtin(1, ping(NOBODY, &[]))], at(0)).await.unwrap();
    let connect = async |kinds: Option<&[Kind]>| {
        let session = NewSession { kinds: kinds.map(Vec::from), ..super::probes::session(id, 1, "20.0.0.1", &[]) };
        catalog.open_session(&session).await.unwrap();
        ordered(&*catalog, id).await
    };
    let (before, orders) = connect(None).await;
    assert_eq!(orders, [1], "one that does not tell");
    let (off, orders) = connect(Some(&[Kind::Dns, Kind::Traceroute])).await;
    assert!(off > before, "the probe must hear of it");
    assert!(orders.is_empty(), "{orders:?}");
    assert_eq!(catalog.participants(MeasurementId(1)).await.unwrap(), []);
    assert_eq!(connect(Some(&[Kind::Traceroute, Kind::Dns])).await, (off, vec![]), "the same kinds, the same orders");
    let (on, orders) = connect(Some(&[Kind::Ping])).await;
    assert!(on > off);
    assert_eq!(orders, [1]);
    assert_eq!(catalog.participants(MeasurementId(1)).await.unwrap().len(), 1);
}

pub(super) async fn whoever_is_the_target_takes_no_part(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (target, other) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let towards = Builtin { not_by: Some(target), ..builtin(1, ping(NOBODY, &[])) };
    catalog.reconcile_builtins(std::slice::from_ref(&towards), at(0)).await.unwrap();
    assert_eq!(ordered(&*catalog, target).await, (2, vec![]));
    assert_eq!(ordered(&*catalog, other).await, (2, vec![1]));
    let parts = catalog.participants(MeasurementId(1)).await.unwrap();
    assert_eq!(parts.iter().map(|part| part.probe).collect::<Vec<_>>(), [other]);
    assert_eq!(catalog.reconcile_builtins(&[towards], at(1)).await.unwrap(), Reconciled::default());
    let done = catalog.reconcile_builtins(&[builtin(1, ping(NOBODY, &[]))], at(2)).await.unwrap();
    assert_eq!(done.changed, ids(&[1]));
    assert_eq!(ordered(&*catalog, target).await, (3, vec![1]));
}

pub(super) async fn what_is_no_builtin_is_refused(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let id = probe(&catalog, ada, 1).await;
    for one in [
        builtin(1_000_000, ping(NOBODY, &[])),
        builtin(1, ping(ada, &[])),
        builtin(1, ping(NOBODY, &[id])),
        builtin(1, NewMeasurement { is_public: false, ..ping(NOBODY, &[]) }),
        builtin(1, NewMeasurement { is_oneoff: true, interval: None, ..ping(NOBODY, &[]) }),
        builtin(1, NewMeasurement { stop: Some(at(100)), ..ping(NOBODY, &[]) }),
    ] {
        catalog.reconcile_builtins(&[builtin(5, ping(NOBODY, &[])), one], at(0)).await.unwrap_err();
    }
    assert_eq!(ordered(&*catalog, id).await, (1, vec![]));
}
