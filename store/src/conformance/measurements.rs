//! Measurements as they were asked for, and lists of them.

use std::sync::Arc;

use sonde_protocol::bounded::Text;
use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId, Revision};
use sonde_protocol::net::Family;
use sonde_protocol::spec::{Kind, PingSpec, Spec};
use sonde_protocol::time::UnixNanos;

use super::accounts::{account, probe};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{MeasurementEdit, MeasurementFilter, NewMeasurement, Slice, Status};

const ALL: Slice = Slice { offset: 0, limit: 10_000, descending: false };

/// A periodic ping for checks.
pub(super) fn ping(owner: AccountId, probes: &[ProbeId]) -> NewMeasurement {
    NewMeasurement {
        owner,
        spec: Spec::default_of(Kind::Ping),
        af: Family::V6,
        target: Some("www.example.net".into()),
        resolved: vec!["2a00:1::80".parse().unwrap()],
        resolve_on_probe: false,
        is_oneoff: false,
        interval: Some(240),
        spread: Some(100),
        start: at(0),
        start_given: false,
        stop: None,
        description: None,
        is_public: true,
        tags: vec![],
        probes_requested: 1,
        probe_sources: "[]".into(),
        probes: probes.to_vec(),
        group: None,
        origin: None,
        top_up: None,
        target_update_hours: None,
    }
}

/// A one-off ping for checks.
pub(super) fn oneoff(owner: AccountId, probes: &[ProbeId]) -> NewMeasurement {
    NewMeasurement { is_oneoff: true, interval: None, spread: None, ..ping(owner, probes) }
}

/// Adds one measurement at the time 0.
pub(super) async fn add(catalog: &Arc<dyn Catalog>, new: NewMeasurement) -> MeasurementId {
    let ids = catalog.add_measurements(&[new], at(0)).await.unwrap();
    assert_eq!(ids.len(), 1);
    ids[0]
}

pub(super) async fn what_was_asked_for_is_kept(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let probes = [probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await];
    let mut asked = Vec::new();
    for kind in Kind::ALL {
        let mut spec = Spec::default_of(kind);
        if let Spec::Dns(dns) = &mut spec {
            dns.query_argument = Text::cut("exämple.net");
            dns.ttl = Some(7);
        }
        asked.push(NewMeasurement { spec, ..ping(ada, &probes) });
    }
    asked.push(NewMeasurement {
        spec: Spec::Ping(PingSpec { packets: 16, size: 2048, packet_interval: 2, include_probe_id: true }),
        af: Family::V4,
        target: None,
        resolved: vec!["20.0.0.1".parse().unwrap(), "20.0.0.2".parse().unwrap()],
        resolve_on_probe: true,
        interval: None,
        spread: None,
        start: at(-5),
        start_given: true,
        stop: Some(UnixNanos(at(600).0 + 1)),
        description: Some("it's \"quoted\"; --\n\u{1f4e1}".into()),
        is_public: false,
        tags: vec!["b".into(), "a".into()],
        probes_requested: u32::MAX,
        probe_sources: r#"[{"type":"area","value":"WW","requested":1}]"#.into(),
        ..oneoff(ada, &probes[..1])
    });
    let ids = catalog.add_measurements(&asked, at(3)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    for (id, asked) in ids.iter().zip(&asked) {
        let kept = catalog.measurement(*id).await.unwrap().unwrap();
        assert_eq!(kept.asked, NewMeasurement { probes: vec![], ..asked.clone() });
        assert_eq!((kept.id, kept.created_at, kept.stopped_at), (*id, at(3), None));
        assert_eq!((kept.participants, kept.settled), (asked.probes.len() as u32, 0));
        let participants = catalog.participants(*id).await.unwrap();
        assert_eq!(participants.iter().map(|p| p.probe).collect::<Vec<_>>(), asked.probes);
        assert!(participants.iter().all(|p| p.since == at(3) && !p.settled));
    }
}

pub(super) async fn measurements_made_together_are_a_group(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    assert_eq!(catalog.add_measurements(&[], at(0)).await.unwrap(), []);
    let first = add(&catalog, ping(ada, &[])).await;
    assert_eq!(first, MeasurementId::FIRST_USER);
    let together = catalog.add_measurements(&[ping(ada, &[]), ping(ada, &[]), ping(ada, &[])], at(0)).await.unwrap();
    assert!(together.is_sorted() && together[0] > first);
    drop(catalog);
    let catalog = place.open().await;
    for &id in &together {
        assert_eq!(catalog.measurement(id).await.unwrap().unwrap().group, together[0]);
    }
    assert_eq!(catalog.measurement(first).await.unwrap().unwrap().group, first);
    assert_eq!(catalog.measurement(MeasurementId(u64::MAX)).await.unwrap(), None);
    assert_eq!(catalog.participants(MeasurementId(u64::MAX)).await.unwrap(), []);
    assert!(add(&catalog, ping(ada, &[])).await > together[2], "numbers go on after a restart");
}

pub(super) async fn nothing_is_half_made(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let known = probe(&catalog, ada, 1).await;
    let out_of_range = Spec::Ping(PingSpec { packets: 0, ..PingSpec::default() });
    for bad in [
        ping(ada, &[known, ProbeId(999)]),
        ping(AccountId(999), &[known]),
        NewMeasurement { spec: out_of_range, ..ping(ada, &[known]) },
        NewMeasurement { target: Some("a".repeat(300)), ..ping(ada, &[known]) },
    ] {
        catalog.add_measurements(&[ping(ada, &[known]), bad], at(0)).await.unwrap_err();
    }
    assert_eq!(catalog.measurements(&MeasurementFilter::default(), ALL).await.unwrap().total, 0);
    assert_eq!(catalog.orders(known, at(0)).await.unwrap(), (Revision(1), vec![]));
    // A probe chosen by two sources takes part once.
    let id = add(&catalog, ping(ada, &[known, known])).await;
    assert_eq!(catalog.participants(id).await.unwrap().len(), 1);
    assert_eq!(catalog.measurement(id).await.unwrap().unwrap().participants, 1);
}

pub(super) async fn found(catalog: &Arc<dyn Catalog>, filter: &MeasurementFilter) -> Vec<MeasurementId> {
    let page = catalog.measurements(filter, ALL).await.unwrap();
    assert_eq!(page.total, page.items.len() as u64, "{filter:?}");
    page.items.iter().map(|measurement| measurement.id).collect()
}

pub(super) async fn lists_of_measurements(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let asked = [
        ping(ada, &[]),
        NewMeasurement { is_public: false, ..ping(ada, &[]) },
        oneoff(bob, &[]),
        NewMeasurement { is_public: false, af: Family::V4, ..ping(bob, &[]) },
        NewMeasurement { spec: Spec::default_of(Kind::Traceroute), ..ping(bob, &[]) },
    ];
    let ids = catalog.add_measurements(&asked, at(0)).await.unwrap();
    let none = MeasurementFilter::default;
    let cases: Vec<(MeasurementFilter, &[usize])> = vec![
        (none(), &[0, 1, 2, 3, 4]),
        (MeasurementFilter { ids: Some(vec![ids[3], MeasurementId(u64::MAX), ids[0]]), ..none() }, &[0, 3]),
        (MeasurementFilter { ids: Some(vec![]), ..none() }, &[]),
        (MeasurementFilter { owner: Some(bob), ..none() }, &[2, 3, 4]),
        (MeasurementFilter { visible_to: Some(None), ..none() }, &[0, 2, 4]),
        (MeasurementFilter { visible_to: Some(Some(ada)), ..none() }, &[0, 1, 2, 4]),
        (MeasurementFilter { visible_to: Some(Some(ada)), owner: Some(bob), ..none() }, &[2, 4]),
        (MeasurementFilter { kind: Some(Kind::Traceroute), ..none() }, &[4]),
        (MeasurementFilter { af: Some(Family::V4), ..none() }, &[3]),
        (MeasurementFilter { is_oneoff: Some(true), ..none() }, &[2]),
        (MeasurementFilter { is_oneoff: Some(false), ..none() }, &[0, 1, 3, 4]),
        (MeasurementFilter { status: Some((vec![], at(0))), ..none() }, &[]),
    ];
    for (filter, expected) in cases {
        let expected: Vec<MeasurementId> = expected.iter().map(|&n| ids[n]).collect();
        assert_eq!(found(&catalog, &filter).await, expected, "{filter:?}");
    }
    let slice = Slice { offset: 1, limit: 2, descending: true };
    let page = catalog.measurements(&none(), slice).await.unwrap();
    assert_eq!(page.items.iter().map(|m| m.id).collect::<Vec<_>>(), [ids[3], ids[2]]);
    assert_eq!(page.total, 5);
}

pub(super) async fn the_status_filter_agrees_with_the_status(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let probes = [probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await];
    // Every combination of what the rule looks at, at times with and without a fraction, before and after 1970.
    let half = 500_000_000;
    let starts = [at(0), UnixNanos(at(0).0 + half), UnixNanos(-half), UnixNanos(-1_000_000_000), UnixNanos(0)];
    let mut asked = Vec::new();
    for start in starts {
        for participants in 0..=2 {
            for is_oneoff in [false, true] {
                for probes_requested in [0, 3, 4, 1000] {
                    for stop in [None, Some(10), Some(100)] {
                        asked.push(NewMeasurement {
                            is_oneoff,
                            start,
                            stop: stop.map(|seconds| UnixNanos(start.0 + seconds * 1_000_000_000)),
                            probes_requested,
                            ..ping(ada, &probes[..participants])
                        });
                    }
                }
            }
        }
    }
    let mut ids = Vec::new();
    // Three of each: nothing settled, one probe settled, both; and a fourth that is stopped by hand.
    for (round, settled) in [&probes[..0], &probes[..1], &probes, &probes[..0]].into_iter().enumerate() {
        let made = catalog.add_measurements(&asked, at(-1)).await.unwrap();
        let pairs: Vec<_> = made.iter().flat_map(|&id| settled.iter().map(move |&probe| (id, probe))).collect();
        catalog.settle_oneoffs(&pairs).await.unwrap();
        if round == 3 {
            for (&id, asked) in made.iter().zip(&asked) {
                catalog.stop_measurement(id, asked.start).await.unwrap();
            }
        }
        ids.extend(made);
    }
    let everything = catalog.measurements(&MeasurementFilter::default(), ALL).await.unwrap().items;
    assert_eq!(everything.len(), ids.len());
    let edges = [0i64, 10, 30, 31, 100, 280, 1000];
    let mut seen = Vec::new();
    for start in starts {
        for edge in edges {
            for now in [-1, 0, 1, half].map(|nanos| UnixNanos(start.0 + edge * 1_000_000_000 + nanos)) {
                for states in
                    [&[Status::Ongoing][..], &[Status::Stopped], &[Status::Scheduled, Status::NoSuitableProbes]]
                {
                    let filter = MeasurementFilter { status: Some((states.to_vec(), now)), ..Default::default() };
                    let expected: Vec<MeasurementId> = everything
                        .iter()
                        .filter(|measurement| states.contains(&measurement.status(now).0))
                        .map(|measurement| measurement.id)
                        .collect();
                    seen.push(!expected.is_empty());
                    assert_eq!(found(&catalog, &filter).await, expected, "{states:?} at {now}");
                }
            }
        }
    }
    assert!(seen.contains(&true) && seen.contains(&false));
}

pub(super) async fn a_search_takes_text_as_it_is(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let with = |target: Option<&str>, description: Option<&str>| NewMeasurement {
        target: target.map(Into::into),
        description: description.map(Into::into),
        ..ping(ada, &[])
    };
    let asked = [
        with(Some("Www.Example.NET"), None),
        with(Some("20.0.0.1"), Some("100% of the ÄRGER")),
        with(None, Some(r"under_score and back\slash, it's")),
    ];
    let ids = catalog.add_measurements(&asked, at(0)).await.unwrap();
    for (text, expected) in [
        ("example", &[0][..]),
        ("EXAMPLE.net", &[0]),
        ("ärger", &[1]),
        ("ÄRG", &[1]),
        ("0%", &[1]),
        ("r_s", &[2]),
        ("%", &[1]),
        ("_", &[2]),
        (r"K\S", &[2]),
        ("t's", &[2]),
        (".", &[0, 1]),
        ("nowhere", &[]),
        ("1\n100", &[]),
    ] {
        let filter = MeasurementFilter { search: Some(text.into()), ..Default::default() };
        assert_eq!(
            found(&catalog, &filter).await,
            expected.iter().map(|&n: &usize| ids[n]).collect::<Vec<_>>(),
            "{text}"
        );
    }
}

pub(super) async fn edits_change_what_is_said(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let id = add(&catalog, ping(ada, &[probe(&catalog, ada, 1).await])).await;
    let other = add(&catalog, ping(ada, &[])).await;
    let before = catalog.measurement(id).await.unwrap().unwrap();
    let edit = MeasurementEdit {
        description: Some(Some("Seen from home".into())),
        is_public: Some(false),
        ..Default::default()
    };
    catalog.edit_measurement(id, &edit).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    let mut expected = before.clone();
    expected.asked.description = Some("Seen from home".into());
    expected.asked.is_public = false;
    assert_eq!(catalog.measurement(id).await.unwrap().unwrap(), expected);
    let search = MeasurementFilter { search: Some("FROM HOME".into()), ..Default::default() };
    assert_eq!(found(&catalog, &search).await, [id]);
    catalog.edit_measurement(id, &MeasurementEdit { description: Some(None), ..Default::default() }).await.unwrap();
    expected.asked.description = None;
    assert_eq!(catalog.measurement(id).await.unwrap().unwrap(), expected);
    assert_eq!(found(&catalog, &search).await, []);
    catalog.edit_measurement(id, &MeasurementEdit { is_public: Some(true), ..Default::default() }).await.unwrap();
    assert_eq!(catalog.measurement(id).await.unwrap().unwrap(), before);
    // Tags come and go one by one, so that two who change them at once do not undo each other's.
    for tag in ["red", "blue", "red"] {
        let more = MeasurementEdit { add_tag: Some(tag.into()), ..Default::default() };
        catalog.edit_measurement(id, &more).await.unwrap();
    }
    let less = MeasurementEdit { remove_tag: Some("red".into()), ..Default::default() };
    catalog.edit_measurement(id, &less).await.unwrap();
    assert_eq!(catalog.measurement(id).await.unwrap().unwrap().asked.tags, ["blue"]);
    catalog.edit_measurement(MeasurementId(1), &MeasurementEdit { add_tag: Some("x".into()), ..edit }).await.unwrap();
    assert_eq!(catalog.measurement(other).await.unwrap().unwrap().asked.description, None);
}
