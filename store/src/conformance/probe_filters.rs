//! What is said of probes, and lists by it.

use std::sync::Arc;

use sonde_protocol::ids::{AccountId, Asn, ProbeId};
use sonde_protocol::net::Family;

use super::accounts::{account, probe};
use super::probes::{ALL, session};
use super::{EPOCH, Fixture, at};
use crate::Catalog;
use crate::catalog::{
    Circle, Coordinate, GridPlace, Limit, ProbeEdit, ProbeFilter, ProbeNumber, ProbeOrder, ProbeOrigin, ProbeState,
    Ranking, Slice,
};
use crate::view::Viewer;

/// Ada's three probes and two of Bob's, of which the first lets everybody see where it is: at home in Amsterdam, at a
/// friend's a few streets away, in Berlin, in Sydney; the last is nowhere and never was connected.
async fn world(catalog: &Arc<dyn Catalog>) -> (AccountId, AccountId, Vec<ProbeId>) {
    let (ada, bob) = (account(catalog, "ada@example.net").await, account(catalog, "bob@example.net").await);
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(probe(catalog, if n < 3 { ada } else { bob }, n).await);
    }
    for (n, address, own) in [
        (0, "20.0.0.9", "2a00:1:2:3::9"),
        (1, "20.0.0.200", "10.0.0.1"),
        (2, "20.0.1.9", "10.0.0.1"),
        (3, "20.9.0.9", "2a00:1:2:4::9"),
    ] {
        catalog.open_session(&session(ids[n], n as i64 * 100, address, &[own])).await.unwrap();
    }
    let ended = catalog.open_session(&session(ids[2], 250, "20.0.1.9", &[])).await.unwrap();
    catalog.close_session(ended, at(260)).await.unwrap();
    for (n, country, place) in [
        (0, "nl", (52.3731, 4.8922)),
        (1, "NL", (52.3702, 4.8951)),
        (2, "DE", (52.52, 13.405)),
        (3, "AU", (-33.8688, 151.2093)),
    ] {
        let edit = ProbeEdit { country: Some(Some(country.into())), place: Some(Some(place)), ..ProbeEdit::default() };
        catalog.edit_probe(ids[n], &edit).await.unwrap();
    }
    let edit = ProbeEdit { address_is_public: Some(true), ..ProbeEdit::default() };
    catalog.edit_probe(ids[3], &edit).await.unwrap();
    let asn = |n: usize, v4, v6| ProbeOrigin { probe: ids[n], asns: Some((Some(Asn(v4)), v6)), country: None };
    let origins =
        [asn(0, 64_500, Some(Asn(64_501))), asn(1, 64_500, None), asn(2, 64_501, None), asn(3, u32::MAX, None)];
    catalog.set_origins(&origins).await.unwrap();
    (ada, bob, ids)
}

async fn check(catalog: &Arc<dyn Catalog>, ids: &[ProbeId], filter: ProbeFilter, expected: &[usize]) {
    let page = catalog.probes(&filter, ALL).await.unwrap();
    let found: Vec<ProbeId> = page.items.iter().map(|probe| probe.id).collect();
    assert_eq!(found, expected.iter().map(|&n| ids[n]).collect::<Vec<_>>(), "{filter:?}");
    assert_eq!(page.total, expected.len() as u64, "{filter:?}");
}

pub(super) async fn what_owners_and_files_say_of_probes(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let id = probe(&catalog, account(&catalog, "ada@example.net").await, 1).await;
    catalog.open_session(&session(id, 0, "20.0.0.9", &[])).await.unwrap();
    let file = |asn, country: Option<&str>| ProbeOrigin {
        probe: id,
        asns: Some((asn, None)),
        country: Some(country.map(str::to_owned)),
    };
    catalog.set_origins(&[file(Some(Asn(64_500)), Some("de"))]).await.unwrap();
    let seen = async || catalog.probe(id).await.unwrap().unwrap();
    let probe = seen().await;
    assert_eq!((probe.asn_v4, probe.asn_v6, probe.country.as_deref()), (Some(Asn(64_500)), None, Some("DE")));
    assert!(!probe.country_given);
    // Nobody can know: everything stays.
    catalog.set_origins(&[ProbeOrigin { probe: id, asns: None, country: None }]).await.unwrap();
    assert_eq!(seen().await, probe);

    let edit = ProbeEdit {
        description: Some(Some("under the roof".into())),
        address_is_public: Some(true),
        country: Some(Some("nl".into())),
        place: Some(Some((52.37, 4.89))),
        tags: Some(vec!["home".into(), "fibre".into(), "system-anchor".into()]),
        ..ProbeEdit::default()
    };
    catalog.edit_probe(id, &edit).await.unwrap();
    catalog.set_origins(&[file(None, Some("FR"))]).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    let seen = async || catalog.probe(id).await.unwrap().unwrap();
    let probe = seen().await;
    assert_eq!((probe.asn_v4, probe.country.as_deref(), probe.country_given), (None, Some("NL"), true));
    assert_eq!((probe.description.as_deref(), probe.address_is_public), (Some("under the roof"), true));
    assert_eq!(probe.place, Some((52.37, 4.89)));
    assert_eq!(
        probe.tags,
        ["fibre", "home", "system-ipv4-capable", "system-ipv4-works"],
        "system tags are not the owner's"
    );

    let edit = ProbeEdit {
        description: Some(None),
        country: Some(None),
        place: Some(None),
        tags: Some(Vec::new()),
        ..ProbeEdit::default()
    };
    catalog.edit_probe(id, &edit).await.unwrap();
    catalog.set_origins(&[file(None, Some("FR"))]).await.unwrap();
    let probe = seen().await;
    assert_eq!((probe.description, probe.country.as_deref(), probe.place), (None, Some("FR"), None));
    assert_eq!((probe.address_is_public, probe.tags.len()), (true, 2));
    catalog.edit_probe(ProbeId(id.0 + 9), &edit).await.unwrap();

    let all = Slice { limit: 1, ..ALL };
    let tags = catalog.probe_tags(all).await.unwrap();
    assert_eq!((tags.total, tags.items), (2, vec![("system-ipv4-capable".to_owned(), 1)]));
}

pub(super) async fn probes_by_where_they_are(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (_, _, ids) = world(&catalog).await;
    let none = || ProbeFilter { viewer: Viewer::Operator, ..ProbeFilter::default() };
    let net = |text: &str, bits| ProbeFilter { networks: vec![(text.parse().unwrap(), bits)], ..none() };
    let asn =
        |family, asn: &[u32]| ProbeFilter { asns: vec![(family, asn.iter().copied().map(Asn).collect())], ..none() };
    let by = |field, limit| ProbeFilter { limits: vec![(field, limit)], ..none() };
    let degrees = |coordinate, limit| ProbeFilter { coordinates: vec![(coordinate, limit)], ..none() };
    let near = |latitude, longitude, km| ProbeFilter { near: Some(Circle { latitude, longitude, km }), ..none() };
    let countries = |codes: &[&str]| ProbeFilter {
        countries: Some(codes.iter().map(|code| (*code).to_owned()).collect()),
        ..none()
    };
    let cases: Vec<(ProbeFilter, &[usize])> = vec![
        (countries(&["nl"]), &[0, 1]),
        (countries(&["au", "DE", "FR"]), &[2, 3]),
        (countries(&[]), &[]),
        (asn(None, &[64_500]), &[0, 1]),
        (asn(None, &[64_501]), &[0, 2]),
        (asn(Some(Family::V4), &[64_501]), &[2]),
        (asn(Some(Family::V6), &[64_501]), &[0]),
        (asn(Some(Family::V4), &[64_501, u32::MAX, 7]), &[2, 3]),
        (net("20.0.0.0", 8), &[0, 1, 2, 3]),
        (net("20.0.0.0", 24), &[0, 1]),
        (net("20.0.0.77", 24), &[0, 1]),
        (net("20.0.0.8", 30), &[0]),
        (net("20.0.0.9", 32), &[0]),
        (net("0.0.0.0", 0), &[0, 1, 2, 3]),
        (net("2a00:1:2::", 48), &[0, 3]),
        (net("2a00:1:2:4::", 64), &[3]),
        (net("::", 0), &[0, 3]),
        (
            ProbeFilter { networks: vec![("20.0.0.0".parse().unwrap(), 8), ("2a00::".parse().unwrap(), 16)], ..none() },
            &[0, 3],
        ),
        (ProbeFilter { is_public: Some(true), ..none() }, &[3]),
        (ProbeFilter { is_public: Some(false), ..none() }, &[0, 1, 2, 4]),
        (ProbeFilter { is_anchor: Some(true), ..none() }, &[]),
        (ProbeFilter { is_anchor: Some(false), ..none() }, &[0, 1, 2, 3, 4]),
        (by(ProbeNumber::Id, Limit::Above(ids[2].0.cast_signed())), &[3, 4]),
        (by(ProbeNumber::Id, Limit::AtMost(ids[1].0.cast_signed())), &[0, 1]),
        (by(ProbeNumber::FirstConnected, Limit::AtLeast(EPOCH + 100)), &[1, 2, 3]),
        (by(ProbeNumber::FirstConnected, Limit::Above(EPOCH + 100)), &[2, 3]),
        (by(ProbeNumber::FirstConnected, Limit::OneOf(vec![EPOCH, EPOCH + 300])), &[0, 3]),
        (by(ProbeNumber::LastConnected, Limit::OneOf(vec![EPOCH + 260])), &[2]),
        (by(ProbeNumber::LastConnected, Limit::Below(EPOCH + 260)), &[0, 1]),
        (degrees(Coordinate::Latitude, Limit::Below(0.0)), &[3]),
        (degrees(Coordinate::Latitude, Limit::AtLeast(52.3731)), &[0, 2]),
        (degrees(Coordinate::Latitude, Limit::Above(52.3731)), &[2]),
        (degrees(Coordinate::Longitude, Limit::AtMost(4.8951)), &[0, 1]),
        (near(52.3731, 4.8922, 0.1), &[0]),
        (near(52.3731, 4.8922, 1.0), &[0, 1]),
        (near(52.3731, 4.8922, 600.0), &[0, 1, 2]),
        (near(52.3731, 4.8922, 50_000.0), &[0, 1, 2, 3]),
        (near(0.0, -179.0, 1.0), &[]),
    ];
    for (filter, expected) in cases {
        check(&catalog, &ids, filter, expected).await;
    }
}

pub(super) async fn what_is_hidden_is_not_found_by_it_either(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob, ids) = world(&catalog).await;
    let (ada, bob) = (Viewer::Account(ada), Viewer::Account(bob));
    let net = |viewer, text: &str, bits| ProbeFilter {
        viewer,
        networks: vec![(text.parse().unwrap(), bits)],
        ..ProbeFilter::default()
    };
    let near = |viewer, latitude, longitude, km| ProbeFilter {
        viewer,
        near: Some(Circle { latitude, longitude, km }),
        ..ProbeFilter::default()
    };
    let latitude = |viewer, limit| ProbeFilter {
        viewer,
        coordinates: vec![(Coordinate::Latitude, limit)],
        ..ProbeFilter::default()
    };
    // On the grid both in Amsterdam are at 52.4 degrees of latitude; one of another owner's shows where it is.
    let (grid_latitude, grid_longitude) = crate::view::snapped((52.3731, 4.8922));
    let cases: Vec<(ProbeFilter, &[usize])> = vec![
        (net(Viewer::Public, "20.0.0.0", 24), &[0, 1]),
        (net(Viewer::Public, "20.0.0.0", 25), &[]),
        (net(bob, "20.0.0.9", 32), &[]),
        (net(ada, "20.0.0.9", 32), &[0]),
        (net(Viewer::Public, "20.9.0.9", 32), &[3]),
        (net(ada, "20.9.0.9", 32), &[3]),
        (net(Viewer::Public, "2a00:1:2::", 48), &[0, 3]),
        (net(Viewer::Public, "2a00:1:2::", 49), &[3]),
        (net(ada, "2a00:1:2:3::", 64), &[0]),
        (near(Viewer::Public, 52.3731, 4.8922, 0.1), &[]),
        (near(ada, 52.3731, 4.8922, 0.1), &[0]),
        (near(Viewer::Public, grid_latitude, grid_longitude, 0.1), &[0, 1]),
        (near(ada, grid_latitude, grid_longitude, 0.1), &[]),
        (near(Viewer::Public, -33.8688, 151.2093, 0.1), &[3]),
        (latitude(Viewer::Public, Limit::Above(52.3999)), &[0, 1, 2]),
        (latitude(bob, Limit::OneOf(vec![52.3731, -33.8688])), &[3]),
        (latitude(ada, Limit::OneOf(vec![52.3731])), &[0]),
    ];
    for (filter, expected) in cases {
        check(&catalog, &ids, filter, expected).await;
    }
}

pub(super) async fn orders_of_probes(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (_, _, ids) = world(&catalog).await;
    type Keys<'a> = &'a [(ProbeOrder, bool)];
    let cases: [(Keys<'_>, &[usize]); 10] = [
        (&[(ProbeOrder::Id, true)], &[4, 3, 2, 1, 0]),
        (&[(ProbeOrder::Country, false)], &[4, 3, 2, 0, 1]),
        (&[(ProbeOrder::Country, true), (ProbeOrder::Id, true)], &[1, 0, 2, 3, 4]),
        (&[(ProbeOrder::AsnV4, false)], &[4, 0, 1, 2, 3]),
        (&[(ProbeOrder::AsnV6, true)], &[0, 4, 3, 2, 1]),
        (&[(ProbeOrder::State, false)], &[4, 0, 1, 3, 2]),
        (&[(ProbeOrder::Since, true)], &[3, 2, 1, 0, 4]),
        (&[(ProbeOrder::FirstConnected, true)], &[3, 2, 1, 0, 4]),
        (&[(ProbeOrder::LastConnected, true)], &[3, 2, 1, 0, 4]),
        (&[(ProbeOrder::IsPublic, true)], &[3, 4, 2, 1, 0]),
    ];
    for (order, expected) in cases {
        check(&catalog, &ids, ProbeFilter { order: order.to_vec(), ..ProbeFilter::default() }, expected).await;
    }
    // Of those that are connected: two in the Netherlands, one in Australia.
    let ranking = async |by, limit| catalog.probe_ranking(by, limit).await.unwrap();
    let named = |ranked: &[(&str, u64)]| -> Vec<(String, u64)> {
        ranked.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    assert_eq!(ranking(Ranking::Country, 9).await, named(&[("NL", 2), ("AU", 1)]));
    assert_eq!(ranking(Ranking::Country, 1).await, named(&[("NL", 2)]));
    assert_eq!(ranking(Ranking::AsnV4, 9).await, named(&[("64500", 2), ("4294967295", 1)]));
    assert_eq!(ranking(Ranking::AsnV6, 9).await, named(&[("64501", 1)]));
    assert_eq!(ranking(Ranking::NetworkV4, 9).await, named(&[("20.0.0.0/24", 2), ("20.9.0.0/24", 1)]));
    assert_eq!(ranking(Ranking::NetworkV6, 9).await, named(&[("2a00:1:2::/48", 2)]));
    let filter = ProbeFilter {
        order: vec![(ProbeOrder::Country, true)],
        states: Some(vec![ProbeState::Connected, ProbeState::Disconnected]),
        ..ProbeFilter::default()
    };
    let page = catalog.probes(&filter, Slice { offset: 1, limit: 2, descending: false }).await.unwrap();
    assert_eq!((page.total, page.items.iter().map(|probe| probe.id).collect::<Vec<_>>()), (4, vec![ids[0], ids[2]]));
}

pub(super) async fn places_of_probes_are_those_of_the_grid(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, _, ids) = world(&catalog).await;
    let cell = |place, connected, probes| GridPlace { place: crate::view::snapped(place), connected, probes };
    let (sydney, amsterdam, berlin) = ((-33.8688, 151.2093), (52.3731, 4.8922), (52.52, 13.405));
    let all = catalog.probe_places(&ProbeFilter::default()).await.unwrap();
    assert_eq!(all, [cell(sydney, 1, 1), cell(amsterdam, 2, 2), cell(berlin, 0, 1)], "also of who shows more");
    let owner = ProbeFilter { viewer: Viewer::Account(ada), ids: Some(vec![ids[0], ids[4]]), ..ProbeFilter::default() };
    assert_eq!(catalog.probe_places(&owner).await.unwrap(), [cell(amsterdam, 1, 1)], "the last is nowhere");
    let away = ProbeFilter { states: Some(vec![ProbeState::Disconnected]), ..ProbeFilter::default() };
    assert_eq!(catalog.probe_places(&away).await.unwrap(), [cell(berlin, 0, 1)]);
}
