//! The pages of IPv6, around answers that the API's own tests hold true.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::fake::{Fake, Reply};

/// A golden file of the API, with something changed.
fn golden(text: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut value = serde_json::from_str(text).unwrap();
    change(&mut value);
    value
}

const WORLD: &str = include_str!("../../../tests/golden/ipv6-world.json");
const COUNTRIES: &str = include_str!("../../../tests/golden/ipv6-countries.json");
const NETWORKS: &str = include_str!("../../../tests/golden/ipv6-networks.json");
const SERIES: &str = include_str!("../../../tests/golden/ipv6-series.json");
const COMPARE: &str = include_str!("../../../tests/golden/ipv6-compare.json");
const METHOD: &str = include_str!("../../../tests/golden/ipv6-method.json");
const PROBE: &str = include_str!("../../../tests/golden/ipv6-probe.json");

fn site() -> Fake {
    let same = |text| golden(text, |_| ());
    // A text of ours that an attacker would like to be markup.
    let world = golden(WORLD, |world| world["bias"] = json!("Volunteers <script>alert(1)</script>"));
    let list = || json!({"count": 3, "results": []});
    let probe = json!({"id": 7, "country_code": "DE", "asn_v4": 64500, "asn_v6": null,
        "status": {"id": 1, "name": "<b>Connected", "since": "2025-10-09T05:00:00Z"}});
    Fake::new(&[
        ("/api/v2/ipv6/", world.clone()),
        ("/api/v2/ipv6/countries/", same(COUNTRIES)),
        ("/api/v2/ipv6/countries/NL/", world.clone()),
        ("/api/v2/ipv6/networks/", same(NETWORKS)),
        ("/api/v2/ipv6/networks/64500/", world),
        ("/api/v2/ipv6/series/", same(SERIES)),
        ("/api/v2/ipv6/compare/", same(COMPARE)),
        ("/api/v2/ipv6/method/", same(METHOD)),
        ("/api/v2/ipv6/probes/7/", same(PROBE)),
        ("/api/v2/probes/", list()),
        ("/api/v2/probes/7/", probe),
        ("/api/v2/measurements/", list()),
    ])
}

fn is_whole(page: &Reply, path: &str) {
    assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
    assert!(!page.text.contains("<script>alert"), "{path}");
    assert!(!page.text.contains(" style=") && !page.text.contains("NaN"), "{path}");
}

#[tokio::test]
async fn every_page_says_its_number_and_who_stands_behind_it() {
    let site = site();
    for path in ["/", "/ipv6", "/country/NL", "/country/nl", "/as/64500", "/as/AS64500"] {
        let page = site.get(path).await;
        is_whole(&page, path);
        // 6 of 10 votes of 5 probes: so few that there are no decimals.
        for words in ["60 %", "23–88 %", "from 5 probes in 3 networks", "<table>", "CSV", "Begins"] {
            assert!(page.text.contains(words), "{words} in {path}: {}", page.text);
        }
    }
    for path in ["/compare?a=NL&b=world", "/docs/method", "/status", "/compare"] {
        is_whole(&site.get(path).await, path);
    }
}

#[tokio::test]
async fn every_choice_is_in_the_address_and_goes_to_the_api() {
    let site = site();
    let page = site.get("/ipv6?metric=clean6&t=2025-10-09&min=2&sort=name").await;
    is_whole(&page, "/ipv6");
    assert!(page.text.contains("40 %") && page.text.contains("9 Oct 2025 (UTC)"), "{}", page.text);
    assert!(page.text.contains("/ipv6?metric=clean6&#38;t=2025-10-08&#38;min=2&#38;sort=name"), "the day before");
    let seen = site.seen();
    assert!(seen.iter().any(|seen| seen.path == "/api/v2/ipv6/countries/?from=1759968000&to=1760054400"), "{seen:?}");
    // Who stands behind it is enough from two probes on.
    let few = site.get("/ipv6?min=1000").await.text;
    assert!(few.contains("few probes: read with care") && !page.text.contains("few probes: read with care"));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let site = site();
    for (path, words) in [
        ("/ipv6?metric=%3Cscript%3E", "is one of: works6"),
        ("/ipv6?t=yesterday", "is 24h, 7d, a day"),
        ("/ipv6?t=2999-01-01", "still to come"),
        ("/ipv6?min=0", "is a number from 1 to 1000"),
        ("/ipv6?min=-1", "is a number from 1 to 1000"),
        ("/ipv6?sort=x", "is one of: share"),
        ("/compare?a=DE&b=Atlantis", "the two letters of a country"),
        ("/compare?a=%C3%A9%C3%A9&b=world", "the two letters of a country"),
        ("/img/series.svg?country=DE&asn=1", "not both"),
        ("/img/badge.svg?asn=x", "is a number from 0"),
        ("/embed/probe", "number of a probe"),
    ] {
        let page = site.get(path).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(page.text.contains(words), "{path}: {}", page.text);
        assert!(!page.text.contains("<script>") && page.header("cache-control") == "no-store", "{path}");
    }
    for path in ["/country/ZZ", "/country/--", "/country/-", "/as/-1", "/as/4294967296", "/as/AS", "/embed/probe?id=8"]
    {
        assert_eq!(site.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn where_nothing_was_measured_the_page_says_what_to_do() {
    let list = || json!({"count": 0, "results": []});
    let empty = Fake::new(&[("/api/v2/probes/", list()), ("/api/v2/measurements/", list())]);
    for path in ["/", "/ipv6", "/country/LI", "/as/1"] {
        let page = empty.get(path).await;
        is_whole(&page, path);
        assert!(
            page.text.contains("No probe here has said anything") && page.text.contains("href=\"/join\""),
            "{path}"
        );
    }
    is_whole(&empty.get("/img/map.svg").await, "/img/map.svg");
    assert!(empty.get("/img/badge.svg").await.text.contains("no probe"));
}

#[tokio::test]
async fn pictures_travel_and_do_nothing() {
    let site = site();
    for path in
        ["/img/map.svg?metric=rtt", "/img/series.svg?country=NL", "/img/badge.svg?asn=64500", "/img/series.svg?t=7d"]
    {
        let picture = site.get(path).await;
        is_whole(&picture, path);
        assert!(picture.text.starts_with("<svg xmlns=") && picture.text.ends_with("</svg>"), "{path}");
        assert_eq!(picture.header("content-type"), "image/svg+xml; charset=utf-8");
        assert_eq!(picture.header("content-security-policy"), "default-src 'none'; style-src 'unsafe-inline'; sandbox");
        assert_eq!(picture.header("cross-origin-resource-policy"), "cross-origin");
        assert_eq!(picture.header("x-content-type-options"), "nosniff");
        assert!(
            picture.header("cache-control").starts_with("public, max-age=60") && !picture.header("etag").is_empty()
        );
        assert!(!picture.text.contains("<script") && !picture.text.contains("href="), "{path}");
    }
    let closed = site.get("/img/map.svg?t=2025-10-09").await;
    assert!(closed.header("cache-control").starts_with("public, max-age=86400"), "a day that is over");
}

#[tokio::test]
async fn frames_are_for_any_site_and_take_nothing() {
    let site = site();
    for path in ["/embed/map", "/embed/series?asn=64500", "/embed/probe?id=7"] {
        let frame = site.send(axum::http::Method::GET, path, &[("cookie", "sonde=secret")], "").await;
        is_whole(&frame, path);
        let policy = frame.header("content-security-policy");
        assert!(policy.contains("frame-ancestors *") && policy.contains("form-action 'none'"), "{policy}");
        assert!(frame.text.contains("rel=\"noopener\"") && !frame.text.contains("<form"), "{path}");
        assert!(frame.header("set-cookie").is_empty() && !frame.text.contains("<b>"), "{path}");
    }
    assert!(site.seen().iter().all(|seen| !seen.headers.contains_key("cookie")));
}
