//! Probes, their sessions, and lists of them.

use std::net::IpAddr;
use std::sync::Arc;

use sonde_protocol::ids::{AccountId, Asn, ProbeId, SessionId};

use super::accounts::{account, probe};
use super::{Fixture, at};
use sonde_protocol::net::{Family, Uplink};
use sonde_protocol::spec::Kind;

use crate::Catalog;
use crate::catalog::{Connection, NewSession, ProbeFilter, ProbeState, Slice};

pub(super) const ALL: Slice = Slice { offset: 0, limit: 100, descending: false };

pub(super) fn session(probe: ProbeId, seconds: i64, public: &str, own: &[&str]) -> NewSession {
    NewSession {
        kinds: None,
        families: Vec::new(),
        probe,
        public_address: public.parse().unwrap(),
        addresses: own.iter().map(|text| text.parse().unwrap()).collect(),
        software: format!("sonde-probe {seconds}"),
        uplink: Uplink::Quic,
        at: at(seconds),
    }
}

async fn connect(catalog: &Arc<dyn Catalog>, probe: ProbeId, seconds: i64) -> SessionId {
    catalog.open_session(&session(probe, seconds, "20.0.0.1", &[])).await.unwrap()
}

pub(super) async fn a_session_is_the_probes_connection(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let id = probe(&catalog, account(&catalog, "ada@example.net").await, 1).await;
    catalog.open_session(&session(ProbeId(id.0 + 1), 0, "20.0.0.1", &[])).await.unwrap_err();
    let first = connect(&catalog, id, 10).await;
    let seen = catalog.probe(id).await.unwrap().unwrap();
    assert_eq!(seen.connection, Some(Connection { connected: true, since: at(10), session: first }));
    assert_eq!((seen.first_connected, seen.last_connected), (Some(at(10)), Some(at(10))));
    assert_eq!(seen.software.as_deref(), Some("sonde-probe 10"));
    assert_eq!(seen.uplink, Some(Uplink::Quic));
    assert_eq!(seen.total_uptime, 0, "without the present connection");

    catalog.close_session(first, at(25)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    let gone = catalog.probe(id).await.unwrap().unwrap();
    assert_eq!(gone.connection, Some(Connection { connected: false, since: at(25), session: first }));
    assert_eq!((gone.first_connected, gone.last_connected), (Some(at(10)), Some(at(25))));
    assert_eq!(gone.total_uptime, 15);
    // A session ends once.
    catalog.close_session(first, at(99)).await.unwrap();
    assert_eq!(catalog.probe(id).await.unwrap().unwrap(), gone);

    let second = connect(&catalog, id, 30).await;
    assert_ne!(first, second);
    let back = catalog.probe(id).await.unwrap().unwrap();
    assert_eq!(back.connection, Some(Connection { connected: true, since: at(30), session: second }));
    assert_eq!((back.first_connected, back.total_uptime), (Some(at(10)), 15));
}

pub(super) async fn only_the_newest_session_disconnects_and_no_second_counts_twice(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let id = probe(&catalog, account(&catalog, "ada@example.net").await, 1).await;
    let old = connect(&catalog, id, 0).await;
    // It came by another way before the old connection was found dead.
    let new = connect(&catalog, id, 10).await;
    catalog.close_session(old, at(15)).await.unwrap();
    let seen = catalog.probe(id).await.unwrap().unwrap();
    assert_eq!(seen.connection, Some(Connection { connected: true, since: at(10), session: new }));
    catalog.close_session(new, at(30)).await.unwrap();
    let seen = catalog.probe(id).await.unwrap().unwrap();
    assert_eq!(seen.connection, Some(Connection { connected: false, since: at(30), session: new }));
    assert_eq!(seen.total_uptime, 30);
    catalog.close_session(SessionId(new.0 + 1), at(40)).await.unwrap();
    assert_eq!(catalog.probe(id).await.unwrap().unwrap(), seen, "a session nobody knows");
}

pub(super) async fn a_collector_that_starts_ends_all_sessions(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two, never) =
        (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await, probe(&catalog, ada, 3).await);
    connect(&catalog, one, 0).await;
    let closed = connect(&catalog, two, 5).await;
    catalog.close_session(closed, at(6)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    catalog.close_all_sessions(at(60)).await.unwrap();
    let state = async |id| catalog.probe(id).await.unwrap().unwrap().connection.map(|c| (c.connected, c.since));
    assert_eq!(state(one).await, Some((false, at(60))));
    assert_eq!(state(two).await, Some((false, at(6))), "it was not open");
    assert_eq!(state(never).await, None);
    assert_eq!(catalog.probe(one).await.unwrap().unwrap().total_uptime, 60);
}

pub(super) async fn families_are_shown_by_global_addresses(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let id = probe(&catalog, account(&catalog, "ada@example.net").await, 1).await;
    const V4: [&str; 2] = ["system-ipv4-capable", "system-ipv4-works"];
    const V6: [&str; 2] = ["system-ipv6-capable", "system-ipv6-works"];
    for (public, own, v4, v6) in [
        ("20.0.0.1", &["192.168.1.5", "fe80::1", "fd00::1"][..], Some("20.0.0.1"), None),
        ("20.0.0.1", &["192.168.1.5", "fd00::1", "2a00:1::5", "2a00:1::6"], Some("20.0.0.1"), Some("2a00:1::5")),
        ("2a00:1::5", &["10.0.0.5", "fe80::1"], None, Some("2a00:1::5")),
        ("2a00:1::5", &["20.0.0.7"], Some("20.0.0.7"), Some("2a00:1::5")),
        // What it is seen from counts more than what it says.
        ("20.0.0.1", &["20.0.0.7", "2a00:1::5"], Some("20.0.0.1"), Some("2a00:1::5")),
        ("::ffff:20.0.0.9", &[], Some("20.0.0.9"), None),
    ] {
        catalog.open_session(&session(id, 0, public, own)).await.unwrap();
        let seen = catalog.probe(id).await.unwrap().unwrap();
        let address = |text: Option<&str>| text.map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!((seen.address_v4, seen.address_v6), (address(v4), address(v6)), "{public} {own:?}");
        let works = [(v4, V4), (v6, V6)].into_iter().filter(|(a, _)| a.is_some()).flat_map(|(_, t)| t);
        let is_private = |start: &str| own.iter().any(|own| own.starts_with(start));
        let local = [("192.168.", "system-ipv4-rfc1918"), ("10.", "system-ipv4-rfc1918"), ("fd", "system-ipv6-ula")];
        let local = local.into_iter().filter(|(start, _)| is_private(start)).map(|(_, tag)| tag);
        let mut tags: Vec<&str> = works.chain(local).collect();
        tags.sort_unstable();
        assert_eq!(seen.tags, tags, "{public} {own:?}");
    }
    // Behind a translator: no address to show, and a way out all the same.
    let behind =
        NewSession { uplink: Uplink::Tls, families: vec![Family::V4], ..session(id, 0, "2a00:1::5", &["192.168.1.5"]) };
    catalog.open_session(&behind).await.unwrap();
    let seen = catalog.probe(id).await.unwrap().unwrap();
    assert_eq!((seen.address_v4, seen.uplink), (None, Some(Uplink::Tls)));
    assert_eq!(seen.tags, [&V4[..1], &["system-ipv4-rfc1918"], &V4[1..], &V6].concat());
}

pub(super) async fn kinds_are_those_that_the_host_allows_now(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (some, silent, none) =
        (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await, probe(&catalog, ada, 3).await);
    let tells = async |catalog: &Arc<dyn Catalog>, id, kinds| {
        catalog.open_session(&NewSession { kinds, ..session(id, 0, "20.0.0.1", &[]) }).await.unwrap();
    };
    tells(&catalog, some, Some(vec![Kind::PathMtu, Kind::Ping, Kind::Ping])).await;
    tells(&catalog, silent, None).await;
    // A newer version's, of which this one knows no kind.
    tells(&catalog, none, Some(Vec::new())).await;
    drop(catalog);
    let catalog = place.open().await;
    let kinds = async |id| catalog.probe(id).await.unwrap().unwrap().kinds;
    assert_eq!(kinds(some).await, Some(vec![Kind::Ping, Kind::PathMtu]));
    assert_eq!((kinds(silent).await, kinds(none).await), (None, Some(Vec::new())));
    let found = async |catalog: &Arc<dyn Catalog>, kind| {
        let filter = ProbeFilter { allows: Some(kind), ids: Some(vec![some, silent, none]), ..ProbeFilter::default() };
        let page = catalog.probes(&filter, ALL).await.unwrap();
        page.items.iter().map(|probe| probe.id).collect::<Vec<_>>()
    };
    assert_eq!(found(&catalog, Kind::Ping).await, [some, silent]);
    assert_eq!(found(&catalog, Kind::PathMtu).await, [some, silent]);
    assert_eq!(found(&catalog, Kind::Traceroute).await, [silent]);
    assert_eq!(found(&catalog, Kind::Dns).await, [silent]);
    // Its host changes its mind.
    tells(&catalog, some, Some(vec![Kind::Dns])).await;
    assert_eq!(found(&catalog, Kind::Ping).await, [silent]);
    assert_eq!(found(&catalog, Kind::Dns).await, [some, silent]);
}

pub(super) async fn session_addresses_are_kept(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let id = probe(&catalog, account(&catalog, "ada@example.net").await, 1).await;
    let one = catalog.open_session(&session(id, 0, "20.0.0.1", &[])).await.unwrap();
    let two = catalog.open_session(&session(id, 1, "2a00:1::5", &[])).await.unwrap();
    catalog.close_session(one, at(2)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    let mut found = catalog.session_addresses(&[two, SessionId(two.0 + 9), one, SessionId(u64::MAX)]).await.unwrap();
    found.sort();
    let mut expected: Vec<(SessionId, IpAddr)> =
        vec![(one, "20.0.0.1".parse().unwrap()), (two, "2a00:1::5".parse().unwrap())];
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(catalog.session_addresses(&[]).await.unwrap(), []);
}

pub(super) async fn lists_of_probes(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(probe(&catalog, if n < 4 { ada } else { bob }, n).await);
    }
    // 0 has both families, 1 has IPv4, 2 was connected, 3 to 5 never were.
    catalog.open_session(&session(ids[0], 0, "20.0.0.1", &["2a00:1::5"])).await.unwrap();
    connect(&catalog, ids[1], 0).await;
    let ended = connect(&catalog, ids[2], 0).await;
    catalog.close_session(ended, at(1)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;

    let none = ProbeFilter::default;
    let tag = |tag: &str| vec![tag.to_owned()];
    let unknown = ProbeId(u64::MAX);
    let cases: Vec<(ProbeFilter, &[usize])> = vec![
        (none(), &[0, 1, 2, 3, 4, 5]),
        (ProbeFilter { ids: Some(vec![ids[5], unknown, ids[1], ids[1]]), ..none() }, &[1, 5]),
        (ProbeFilter { ids: Some(vec![]), ..none() }, &[]),
        (ProbeFilter { owner: Some(bob), ..none() }, &[4, 5]),
        (ProbeFilter { owner: Some(AccountId(999)), ..none() }, &[]),
        (ProbeFilter { connected: Some(true), ..none() }, &[0, 1]),
        (ProbeFilter { connected: Some(false), ..none() }, &[2, 3, 4, 5]),
        (ProbeFilter { states: Some(vec![ProbeState::NeverConnected]), ..none() }, &[3, 4, 5]),
        (ProbeFilter { states: Some(vec![ProbeState::Connected, ProbeState::Disconnected]), ..none() }, &[0, 1, 2]),
        (
            ProbeFilter { states: Some(vec![ProbeState::NeverConnected, ProbeState::Connected]), ..none() },
            &[0, 1, 3, 4, 5],
        ),
        (ProbeFilter { states: Some(vec![ProbeState::Disconnected]), ..none() }, &[2]),
        (ProbeFilter { states: Some(vec![]), ..none() }, &[]),
        (ProbeFilter { tags: tag("system-ipv4-works"), ..none() }, &[0, 1, 2]),
        (ProbeFilter { tags: vec!["system-ipv4-works".into(), "system-ipv6-works".into()], ..none() }, &[0]),
        (ProbeFilter { tags: tag("system-ipv%"), ..none() }, &[]),
        (ProbeFilter { without_tags: tag("system-ipv6-works"), ..none() }, &[1, 2, 3, 4, 5]),
        (
            ProbeFilter { without_tags: vec!["nobody-has-it".into(), "system-ipv4-capable".into()], ..none() },
            &[3, 4, 5],
        ),
        (ProbeFilter { tags: tag("system-ipv4-works"), without_tags: tag("system-ipv6-works"), ..none() }, &[1, 2]),
        (ProbeFilter { countries: Some(vec!["nl".into()]), ..none() }, &[]),
        (ProbeFilter { countries: Some(vec!["' OR 1=1 --".into()]), ..none() }, &[]),
        (ProbeFilter { asns: vec![(None, vec![Asn(64_500)])], ..none() }, &[]),
    ];
    for (filter, expected) in cases {
        let page = catalog.probes(&filter, ALL).await.unwrap();
        let expected: Vec<ProbeId> = expected.iter().map(|&n| ids[n]).collect();
        assert_eq!(page.items.iter().map(|probe| probe.id).collect::<Vec<_>>(), expected, "{filter:?}");
        assert_eq!(page.total, expected.len() as u64, "{filter:?}");
    }

    let filter = ProbeFilter { owner: Some(ada), ..none() };
    for (offset, limit, descending, expected) in [
        (0, 2, false, &[0, 1][..]),
        (2, 9, false, &[2, 3]),
        (1, 2, true, &[2, 1]),
        (4, 2, false, &[]),
        (u64::MAX, u64::MAX, true, &[]),
        (0, 0, false, &[]),
    ] {
        let page = catalog.probes(&filter, Slice { offset, limit, descending }).await.unwrap();
        let found: Vec<ProbeId> = page.items.iter().map(|probe| probe.id).collect();
        assert_eq!(found, expected.iter().map(|&n: &usize| ids[n]).collect::<Vec<_>>(), "{offset} {limit}");
        assert_eq!(page.total, 4, "the whole list's length");
    }
}
