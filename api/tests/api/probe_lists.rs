//! Lists of probes: filters, orders, and that they tell nothing that is hidden.

use sonde_protocol::ids::{Asn, ProbeId};
use sonde_store::catalog::{ProbeEdit, ProbeOrigin, Probes};

use crate::lab::{Lab, NOW, Person};

/// Anna's probe in Amsterdam, Ben's in Berlin that is away, Anna's that never was connected.
struct World {
    lab: Lab,
    anna: Person,
    ben: Person,
    up: u64,
    down: u64,
    never: u64,
}

fn world() -> World {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    let up = lab.probe(&anna, "20.0.0.9", &[]).0;
    let down = {
        let probe = lab.new_probe(&ben);
        lab.disconnect(lab.connect(probe, "2a00:1:2:3::9", &[]));
        probe.0
    };
    let never = lab.new_probe(&anna).0;
    let says = |probe, country: &str, place, asns| {
        let country = Some(Some(country.to_owned()));
        let edit = ProbeEdit { country, place: Some(Some(place)), ..ProbeEdit::default() };
        let origin = ProbeOrigin { probe: ProbeId(probe), asns: Some(asns), country: None };
        lab.runtime.block_on(async {
            lab.catalog.edit_probe(ProbeId(probe), &edit).await.unwrap();
            lab.catalog.set_origins(&[origin]).await.unwrap();
        });
    };
    says(up, "NL", (52.3731, 4.8922), (Some(Asn(64_500)), None));
    says(down, "DE", (52.52, 13.405), (None, Some(Asn(64_501))));
    World { lab, anna, ben, up, down, never }
}

#[test]
fn every_filter_and_order_of_probes() {
    let World { lab, ben, up, down, never, .. } = world();
    let none: [u64; 0] = [];
    let all = [up, down, never];
    for (query, expected) in [
        ("", &all[..]),
        ("status=0", &[never]),
        ("status=1", &[up]),
        ("status=2", &[down]),
        ("status=1,2", &[up, down]),
        ("status=0,2", &[down, never]),
        ("status=0,1", &[up, never]),
        ("status=0,1,2", &all),
        ("status__in=connected", &[up]),
        ("status=3,4", &none),
        ("status_name=Never%20Connected", &[never]),
        ("tags=system-ipv4-works", &[up]),
        ("tags=system-ipv4-works,System-IPv4-Capable", &[up]),
        ("tags=system-ipv4-works,system-ipv6-works", &none),
        ("country_code=nl", &[up]),
        ("country_code__in=nl,De", &[up, down]),
        ("country_code=fr", &none),
        ("asn=64500", &[up]),
        ("asn=AS64501", &[down]),
        ("asn_v4=64501", &none),
        ("asn_v6__in=64500,64501", &[down]),
        ("prefix=20.0.0.0/8", &[up]),
        ("prefix=2a00::/16", &[down]),
        ("prefix_v4=20.0.0.0/24", &[up]),
        ("prefix_v6=2a00:1:2::/48", &[down]),
        ("is_anchor=true", &none),
        ("is_anchor=false", &all),
        ("is_public=true", &none),
        ("is_public=false", &all),
        ("radius=52.4,4.9:20", &[up]),
        ("radius=52.4,4.9:1000", &[up, down]),
        ("latitude__gt=52", &[up, down]),
        ("longitude__gte=5&longitude__lt=90", &[down]),
        ("firmware_version=1", &none),
        ("favourite=true", &none),
        ("favourite=false&hidden=false", &all),
        (&format!("first_connected__gte={}", NOW - 500), &[up, down]),
        (&format!("last_connected__gt={}", NOW - 500), &[down]),
        (&format!("last_connected={}", NOW - 100), &[down]),
        ("first_connected__lt=2001-01-01", &none),
        (&format!("id__in={never},{up}"), &[up, never]),
        (&format!("id__gt={up}&id__lte={down}"), &[down]),
        (&format!("id={up}-{down}"), &[up, down]),
        ("sort=-id", &[never, down, up]),
        ("sort=country_code", &[never, down, up]),
        ("sort=-country_code", &[up, down, never]),
        ("sort=-status,-id", &[down, up, never]),
        ("sort=-last_connected", &[down, up, never]),
        ("favourite_colour=blue&defeatcaching=dc1", &all),
        ("status=&tags=&prefix_v4=&radius=", &all),
    ] {
        assert_eq!(lab.get(&format!("/api/v2/probes/?{query}")).ids(), expected, "{query}");
    }
    assert_eq!(lab.get_as(&ben, "/api/v2/probes/my/").ids(), [down]);
    assert_eq!(lab.get_as(&ben, "/api/v2/probes/my/?country_code=nl").ids(), none);
    lab.get("/api/v2/probes/my/").refused(403, 104);
    for (query, place) in [
        ("status=9", "status"),
        ("asn=x", "asn"),
        ("asn_v6__in=1,4294967296", "asn_v6__in"),
        ("prefix_v4=2a00::/16", "prefix_v4"),
        ("prefix_v6=20.0.0.0/8", "prefix_v6"),
        ("prefix=20.0.0.0/33", "prefix"),
        ("radius=1,2", "radius"),
        ("radius=91,2:3", "radius"),
        ("radius=1,2:-3", "radius"),
        ("radius=NaN,2:3", "radius"),
        ("radius=1,2:inf", "radius"),
        ("latitude__lt=north", "latitude__lt"),
        ("longitude=181", "longitude"),
        ("first_connected__gt=soon", "first_connected__gt"),
        ("id__lt=x", "id__lt"),
        ("is_public=perhaps", "is_public"),
        ("firmware_version=new", "firmware_version"),
        // Would tell what is hidden.
        ("sort=description", "sort"),
        ("sort=latitude", "sort"),
    ] {
        assert_eq!(lab.get(&format!("/api/v2/probes/?{query}")).refused(400, 104), [place], "{query}");
    }
}

#[test]
fn what_is_hidden_cannot_be_found_out_by_filters() {
    let World { lab, anna, ben, up, .. } = world();
    let none: [u64; 0] = [];
    for (query, whole) in [
        ("prefix=20.0.0.9", true),
        ("prefix_v4=20.0.0.0/25", true),
        ("prefix_v4=20.0.0.8/29", true),
        ("radius=52.3731,4.8922:0.5", true),
        ("latitude=52.3731", true),
        ("latitude__gt=52.37&latitude__lt=52.38", true),
        ("longitude__gt=4.892&longitude__lt=4.893", true),
        // Where the others see it.
        ("latitude=52.4", false),
    ] {
        let path = format!("/api/v2/probes/?{query}");
        let (owner, others): (&[u64], &[u64]) = if whole { (&[up], &none) } else { (&none, &[up]) };
        assert_eq!(lab.get_as(&anna, &path).ids(), owner, "{query}");
        assert_eq!(lab.get_as(&ben, &path).ids(), others, "{query}");
        assert_eq!(lab.get(&path).ids(), others, "{query}");
    }
    let edit = ProbeEdit { address_is_public: Some(true), ..ProbeEdit::default() };
    lab.runtime.block_on(lab.catalog.edit_probe(ProbeId(up), &edit)).unwrap();
    assert_eq!(lab.get("/api/v2/probes/?prefix=20.0.0.9&is_public=true").ids(), [up]);
}
