//! Finding measurements by numbers, texts, targets, tags and probes, and sorting them.

use std::net::IpAddr;

use sonde_protocol::ids::{Asn, MeasurementId};
use sonde_protocol::net::Family;
use sonde_protocol::spec::{Kind, Spec};

use super::accounts::{account, probe};
use super::measurements::{found, oneoff, ping};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{
    Change, Limit, MeasurementEdit, MeasurementFilter, MeasurementOrder, NewMeasurement, NumberField, Origin,
    TextField, TextMatch,
};

fn none() -> MeasurementFilter {
    MeasurementFilter::default()
}

fn number(field: NumberField, limit: Limit) -> MeasurementFilter {
    MeasurementFilter { limits: vec![(field, limit)], ..none() }
}

fn text(field: TextField, how: TextMatch, what: &str) -> MeasurementFilter {
    MeasurementFilter { texts: vec![(field, how, what.into())], ..none() }
}

fn sorted(order: &[(MeasurementOrder, bool)]) -> MeasurementFilter {
    MeasurementFilter { order: order.to_vec(), ..none() }
}

pub(super) async fn every_filter_and_order(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let address = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
    let origin = |asn, prefix: &str| Some(Origin { asn: Asn(asn), prefix: Some(prefix.into()) });
    let asked = [
        NewMeasurement {
            target: Some("www.Example.net".into()),
            resolved: address("20.1.2.3"),
            af: Family::V4,
            description: Some("Ünïcode 100%".into()),
            start: at(10),
            stop: Some(at(100)),
            interval: Some(60),
            tags: vec!["blue".into(), "red".into()],
            origin: origin(64500, "20.1.0.0/16"),
            ..ping(ada, &[one])
        },
        NewMeasurement {
            target: Some("2a00:9::1".into()),
            resolved: address("2a00:9::1"),
            description: Some("a_b".into()),
            start: at(20),
            stop: None,
            interval: Some(240),
            tags: vec!["red".into()],
            origin: origin(64501, "2a00:9::/32"),
            spec: Spec::default_of(Kind::Traceroute),
            ..ping(ada, &[one, two])
        },
        NewMeasurement {
            target: Some("20.1.2.200".into()),
            resolved: address("20.1.2.200"),
            af: Family::V4,
            description: None,
            start: at(30),
            tags: vec![],
            ..oneoff(ada, &[two])
        },
    ];
    let ids = catalog.add_measurements(&asked, at(0)).await.unwrap();
    // It stays a participant, but takes part no more.
    let gone = Change { requests: &[], join: &[], leave: &[one], most: 9 };
    catalog.change_participation(ids[1], gone, at(50)).await.unwrap().unwrap();
    let id = |index: usize| ids[index].0.cast_signed();
    let network = |text: &str, bits| MeasurementFilter { target_in: Some((text.parse().unwrap(), bits)), ..none() };
    let asn = |asns: &[u32]| MeasurementFilter { target_asn: Some(asns.iter().copied().map(Asn).collect()), ..none() };
    let tags = |tags: &[&str]| MeasurementFilter { tags: tags.iter().map(ToString::to_string).collect(), ..none() };
    let (start, stop, interval) = (NumberField::Start, NumberField::Stop(at(60)), NumberField::Interval);
    let seconds = |seconds| at(seconds).as_secs();

    let cases: Vec<(MeasurementFilter, &[usize])> = vec![
        (number(NumberField::Id, Limit::Above(id(0))), &[1, 2]),
        (number(NumberField::Id, Limit::AtMost(id(1))), &[0, 1]),
        (number(NumberField::Id, Limit::OneOf(vec![id(2), id(0), i64::MIN])), &[0, 2]),
        (number(start, Limit::Below(seconds(20))), &[0]),
        (number(start, Limit::AtLeast(seconds(20))), &[1, 2]),
        (number(start, Limit::OneOf(vec![seconds(30)])), &[2]),
        (number(stop, Limit::Above(0)), &[0]),
        (number(interval, Limit::AtLeast(61)), &[1]),
        (number(interval, Limit::AtLeast(0)), &[0, 1]),
        (text(TextField::Target, TextMatch::Is, "WWW.example.NET"), &[0]),
        (text(TextField::Target, TextMatch::StartsWith, "20.1.2."), &[2]),
        (text(TextField::Target, TextMatch::EndsWith, ".NET"), &[0]),
        (text(TextField::Target, TextMatch::Contains, "9"), &[1]),
        (text(TextField::Description, TextMatch::Contains, "%"), &[0]),
        (text(TextField::Description, TextMatch::Contains, "_"), &[1]),
        (text(TextField::Description, TextMatch::StartsWith, "ünïc"), &[0]),
        (text(TextField::Description, TextMatch::Is, ""), &[]),
        (network("20.1.2.0", 24), &[0, 2]),
        (network("20.1.2.128", 25), &[2]),
        (network("20.1.2.3", 32), &[0]),
        (network("2a00::", 16), &[1]),
        (network("::", 0), &[1]),
        (network("0.0.0.0", 0), &[0, 2]),
        (asn(&[64500, 64502]), &[0]),
        (asn(&[]), &[]),
        (tags(&["red"]), &[0, 1]),
        (tags(&["red", "blue"]), &[0]),
        (tags(&["re"]), &[]),
        (MeasurementFilter { current_probes: Some(vec![one]), ..none() }, &[0]),
        (MeasurementFilter { current_probes: Some(vec![one, two]), ..none() }, &[0, 1, 2]),
        (MeasurementFilter { current_probes: Some(vec![]), ..none() }, &[]),
        (MeasurementFilter { group: Some(ids[0]), ..none() }, &[0, 1, 2]),
        (MeasurementFilter { is_public: Some(false), ..none() }, &[]),
        (MeasurementFilter { tags: vec!["red".into()], ..number(interval, Limit::AtMost(60)) }, &[0]),
        (sorted(&[(MeasurementOrder::Start, true)]), &[2, 1, 0]),
        (sorted(&[(MeasurementOrder::Af, false)]), &[0, 2, 1]),
        (sorted(&[(MeasurementOrder::Af, true), (MeasurementOrder::Id, true)]), &[1, 2, 0]),
        (sorted(&[(MeasurementOrder::Kind, true)]), &[1, 2, 0]),
        (sorted(&[(MeasurementOrder::IsOneoff, true)]), &[2, 1, 0]),
    ];
    for (filter, expected) in cases {
        let expected: Vec<MeasurementId> = expected.iter().map(|&n| ids[n]).collect();
        assert_eq!(found(&catalog, &filter).await, expected, "{filter:?}");
    }
}

/// Whether their texts are in an index yet or not, all of them, or those of a few.
pub(super) async fn texts_are_found_at_any_time(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let named = |target: &str, description: &str| NewMeasurement {
        target: Some(target.into()),
        description: Some(description.into()),
        ..oneoff(ada, &[])
    };
    let asked = [
        named("Kölner-DOM.example.net", "the first, \"quoted\""),
        named("20.1.2.3", "KÖLNER at the second target"),
        named("20.1.2.4", "the third \u{1F4E1} dish"),
        named("20.1.2.5", ""),
    ];
    let mut ids = catalog.add_measurements(&asked, at(0)).await.unwrap();
    let search = |text: &str| MeasurementFilter { search: Some(text.into()), ..none() };
    let check = async |ids: &[MeasurementId], when: &str| {
        let cases: &[(MeasurementFilter, &[usize])] = &[
            (search("kölner"), &[0, 1]),
            (search("20.1.2."), &[1, 2, 3]),
            (search("the "), &[0, 1, 2]),
            // Its letters by threes are all there, only not in a row.
            (search("the target"), &[]),
            (search("\"quoted\""), &[0]),
            (search("\" OR \"the"), &[]),
            (search("d \u{1F4E1} d"), &[2]),
            (search("th"), &[0, 1, 2]),
            (search("ing\0the"), &[]),
            (text(TextField::Target, TextMatch::Contains, "dom.ex"), &[0]),
            (text(TextField::Target, TextMatch::StartsWith, "20.1.2.4"), &[2]),
            (text(TextField::Description, TextMatch::EndsWith, "TARGET"), &[1]),
            (text(TextField::Description, TextMatch::Contains, "20.1."), &[]),
        ];
        for (filter, expected) in cases {
            let expected: Vec<MeasurementId> = expected.iter().map(|&n| ids[n]).collect();
            assert_eq!(found(&catalog, filter).await, expected, "{when}: {filter:?}");
        }
    };
    check(&ids, "none is indexed").await;
    while catalog.index_texts().await.unwrap() {}
    check(&ids, "all are indexed").await;

    ids.extend(catalog.add_measurements(&[named("20.9.9.9", "a newcomer")], at(1)).await.unwrap());
    check(&ids, "one is not indexed").await;
    assert_eq!(found(&catalog, &search("newcomer")).await, [ids[4]]);
    let described = |description: &str| MeasurementEdit {
        description: Some(Some(description.into())),
        ..MeasurementEdit::default()
    };
    for id in [ids[3], ids[4]] {
        catalog.edit_measurement(id, &described("edited since")).await.unwrap();
    }
    assert_eq!(found(&catalog, &search("ited sin")).await, ids[3..]);
    assert_eq!(found(&catalog, &search("newcomer")).await, []);
    while catalog.index_texts().await.unwrap() {}
    assert_eq!(found(&catalog, &search("ited sin")).await, ids[3..]);
    assert_eq!(found(&catalog, &search("newcomer")).await, []);
    check(&ids, "all are indexed again").await;
}

/// One index of an order serves both directions only if rows that are alike turn round with it.
pub(super) async fn those_alike_follow_the_direction_of_the_order(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let ids = catalog.add_measurements(&[oneoff(ada, &[]), oneoff(ada, &[]), oneoff(ada, &[])], at(0)).await.unwrap();
    assert_eq!(found(&catalog, &sorted(&[(MeasurementOrder::Start, false)])).await, ids);
    let newest_first: Vec<MeasurementId> = ids.iter().rev().copied().collect();
    assert_eq!(found(&catalog, &sorted(&[(MeasurementOrder::Start, true)])).await, newest_first);
}
