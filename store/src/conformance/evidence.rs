//! System tags from what probes did, and anchors.

use std::sync::Arc;

use sonde_protocol::bounded::Text;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::spec::{DnsSpec, Spec};

use super::accounts::{account, probe};
use super::measurements::{add, oneoff, ping};
use super::probes::{ALL, session};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{
    AnchorAdded, AnchorFilter, NewAnchor, NewMeasurement, ProbeFilter, ResolverEvidence, SessionSpan, TagChange,
};

async fn tags(catalog: &Arc<dyn Catalog>, probe: ProbeId) -> Vec<String> {
    catalog.probe(probe).await.unwrap().unwrap().tags
}

pub(super) async fn measurements_that_ask_the_probes_resolvers(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let id = probe(&catalog, ada, 1).await;
    let by_resolver = |stop: Option<i64>| NewMeasurement {
        spec: Spec::Dns(DnsSpec {
            use_probe_resolver: true,
            query_argument: Text::cut("example.net"),
            ..DnsSpec::default()
        }),
        target: None,
        resolved: vec![],
        stop: stop.map(at),
        ..oneoff(ada, &[id])
    };
    add(&catalog, ping(ada, &[id])).await;
    let over = add(&catalog, by_resolver(Some(100))).await;
    let running = add(&catalog, by_resolver(None)).await;
    let on_probe = add(&catalog, NewMeasurement { resolve_on_probe: true, ..ping(ada, &[id]) }).await;
    let stopped = add(&catalog, by_resolver(Some(1000))).await;
    catalog.stop_measurement(stopped, at(50)).await.unwrap();
    let found = async |since, limit| -> Vec<MeasurementId> {
        let found = catalog.resolving_measurements(at(since), limit).await.unwrap();
        found.into_iter().map(|measurement| measurement.id).collect()
    };
    assert_eq!(found(0, 9).await, [stopped, on_probe, running, over], "the newest first");
    assert_eq!(found(60, 9).await, [on_probe, running, over]);
    assert_eq!(found(100, 9).await, [on_probe, running]);
    assert_eq!(found(0, 1).await, [stopped]);
}

pub(super) async fn the_newest_evidence_decides_on_resolvers(place: &impl Fixture<dyn Catalog>) {
    const A: &str = "system-resolves-a-correctly";
    const AAAA: &str = "system-resolves-aaaa-correctly";
    const PROBLEM: &str = "system-dns-problem-suspected";
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (id, other) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let said = |family, seconds, works| ResolverEvidence { probe: id, family, at: at(seconds), works };
    let (v4, v6) = (Family::V4, Family::V6);
    for (evidence, forget, expected) in [
        (vec![said(v4, 10, true)], 0, vec![A]),
        (vec![said(v6, 10, true), said(v4, 5, false)], 0, vec![A, AAAA]),
        (vec![], 0, vec![A, AAAA]),
        (vec![said(v4, 20, false)], 0, vec![PROBLEM, AAAA]),
        (vec![said(v4, 20, false), said(v4, 15, true)], 0, vec![PROBLEM, AAAA]),
        (vec![said(v4, 30, true)], 0, vec![A, AAAA]),
        (vec![said(v6, 12, true)], 20, vec![A]),
        (vec![], 31, vec![]),
    ] {
        catalog.record_resolvers(&evidence, at(forget)).await.unwrap();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(tags(&catalog, id).await, expected, "{evidence:?} {forget}");
        assert_eq!(tags(&catalog, other).await, [""; 0]);
    }
    let change = |has| TagChange { probe: id, tag: "system-ipv4-stable-1d", has };
    for _ in 0..2 {
        catalog.change_tags(&[change(true)]).await.unwrap();
        assert_eq!(tags(&catalog, id).await, ["system-ipv4-stable-1d"]);
    }
    catalog.change_tags(&[change(false)]).await.unwrap();
    assert_eq!(tags(&catalog, id).await, [""; 0]);
}

pub(super) async fn sessions_say_when_probes_were_there(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, never, two) =
        (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await, probe(&catalog, ada, 3).await);
    for (from, to) in [(0, 10), (20, 30)] {
        let open = catalog.open_session(&session(one, from, "20.0.0.1", &[])).await.unwrap();
        catalog.close_session(open, at(to)).await.unwrap();
    }
    catalog.open_session(&session(one, 40, "2a00:1::5", &["20.0.0.1"])).await.unwrap();
    catalog.open_session(&session(two, 50, "2a00:1::6", &[])).await.unwrap();
    let span = |from, to: Option<i64>, families: &[Family]| SessionSpan {
        from: at(from),
        to: to.map(at),
        families: families.to_vec(),
    };
    let found = catalog.presence(None, 9, at(10)).await.unwrap();
    assert_eq!(found.iter().map(|one| one.probe).collect::<Vec<_>>(), [one, two], "{never} never was");
    assert_eq!(found[0].first_connected, at(0));
    let (v4, both) = (&[Family::V4][..], &[Family::V4, Family::V6][..]);
    assert_eq!(found[0].sessions, [span(20, Some(30), v4), span(40, None, both)]);
    assert_eq!(found[1].sessions, [span(50, None, &[Family::V6])]);
    assert_eq!(catalog.presence(None, 1, at(0)).await.unwrap()[0].sessions.len(), 3);
    let rest = catalog.presence(Some(one), 9, at(0)).await.unwrap();
    assert_eq!(rest.iter().map(|one| one.probe).collect::<Vec<_>>(), [two]);
    assert_eq!(catalog.presence(Some(two), 9, at(0)).await.unwrap(), []);
}

pub(super) async fn anchors_come_and_go(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let new = |probe, hostname: &str| NewAnchor {
        probe,
        hostname: hostname.into(),
        city: Some("Utrecht".into()),
        country: Some("nl".into()),
        company: None,
    };
    let AnchorAdded::Made(first) = catalog.add_anchor(&new(one, "Anchor.example.net"), at(1)).await.unwrap() else {
        panic!("it is new")
    };
    assert_eq!(catalog.add_anchor(&new(one, "other.example.net"), at(2)).await.unwrap(), AnchorAdded::Taken);
    assert_eq!(catalog.add_anchor(&new(two, "ANCHOR.example.net"), at(2)).await.unwrap(), AnchorAdded::Taken);
    let nobody = catalog.add_anchor(&new(ProbeId(two.0 + 9), "other.example.net"), at(2)).await.unwrap();
    assert_eq!(nobody, AnchorAdded::NoSuchProbe);
    drop(catalog);
    let catalog = place.open().await;
    let seen = catalog.probe(one).await.unwrap().unwrap();
    assert!(seen.is_anchor && seen.tags.contains(&"system-anchor".to_owned()));
    let list = async |filter: AnchorFilter| catalog.anchors(&filter, ALL).await.unwrap().items;
    let found = list(AnchorFilter::default()).await;
    assert_eq!((found.len(), found[0].id, found[0].created_at, found[0].removed_at), (1, first, at(1), None));
    assert_eq!(found[0].said.hostname, "anchor.example.net");
    assert_eq!(found[0].said.country.as_deref(), Some("NL"));
    for (filter, expected) in [
        (AnchorFilter { country: Some("Nl".into()), ..AnchorFilter::default() }, 1),
        (AnchorFilter { country: Some("de".into()), ..AnchorFilter::default() }, 0),
        (AnchorFilter { search: Some("UTR".into()), ..AnchorFilter::default() }, 1),
        (AnchorFilter { search: Some("example".into()), ..AnchorFilter::default() }, 1),
        (AnchorFilter { search: Some("%".into()), ..AnchorFilter::default() }, 0),
        (AnchorFilter { id: Some(first + 1), ..AnchorFilter::default() }, 0),
        (AnchorFilter { probes: Some(vec![one]), ..AnchorFilter::default() }, 1),
        (AnchorFilter { probes: Some(vec![two]), ..AnchorFilter::default() }, 0),
    ] {
        assert_eq!(list(filter.clone()).await.len(), expected, "{filter:?}");
    }
    let anchors = ProbeFilter { is_anchor: Some(true), ..ProbeFilter::default() };
    assert_eq!(catalog.probes(&anchors, ALL).await.unwrap().total, 1);

    let mesh = NewMeasurement { target: Some("Anchor.Example.net".into()), ..ping(ada, &[two]) };
    let id = add(&catalog, mesh.clone()).await;
    add(&catalog, NewMeasurement { is_public: false, ..mesh.clone() }).await;
    add(&catalog, NewMeasurement { is_oneoff: true, interval: None, spread: None, ..mesh }).await;
    add(&catalog, ping(ada, &[two])).await;
    assert_eq!(catalog.anchor_measurements(None, ALL).await.unwrap().items, [(id, first)]);
    assert_eq!(catalog.anchor_measurements(Some(MeasurementId(1)), ALL).await.unwrap().items, []);

    assert_eq!(catalog.remove_anchor(one, at(9)).await.unwrap().as_deref(), Some("anchor.example.net"));
    assert_eq!(catalog.remove_anchor(one, at(9)).await.unwrap(), None);
    assert_eq!(list(AnchorFilter::default()).await[0].removed_at, Some(at(9)));
    let seen = catalog.probe(one).await.unwrap().unwrap();
    assert!(!seen.is_anchor && seen.tags.is_empty());
    assert_eq!(catalog.anchor_measurements(None, ALL).await.unwrap().total, 0);
    let AnchorAdded::Made(again) = catalog.add_anchor(&new(two, "anchor.example.net"), at(10)).await.unwrap() else {
        panic!("nobody has it")
    };
    assert_ne!(again, first);
}
