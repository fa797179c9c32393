//! The pages of probes.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fake::Fake;

/// What people write into fields that others see.
const NASTY: &str = "</title><script>alert(1)</script>\"'&\u{202e}";

fn probe(id: u64) -> Value {
    json!({"id": id, "type": "Probe", "address_v4": null, "address_v6": null, "prefix_v4": "20.0.0.0/24",
        "prefix_v6": "2a00:1:2::/48", "asn_v4": 64500, "asn_v6": 64501, "country_code": "NL", "description": null,
        "firmware_version": 6000, "total_uptime": 500, "first_connected": 1_759_999_500, "last_connected": 1_759_999_500,
        "geometry": {"type": "Point", "coordinates": [4.9169, 52.4]}, "is_anchor": true, "is_public": false,
        "is_vouched": true, "duplicate_key_seen": null, "status": {"id": 2, "name": "Disconnected", "since": null},
        "status_since": 1_759_999_500, "tags": [{"name": NASTY, "slug": "x\"><script>"}], "software": NASTY})
}

fn uptime(step: i64) -> Value {
    json!({"probe": 7, "window": "24h", "start": 1_760_000_400, "now": 1_760_000_400 + step * 3, "step": step,
        "first_connected": 1_760_000_400 + step, "connected": [null, step, 0], "connected_seconds": step,
        "counted_seconds": step * 2})
}

fn site() -> Fake {
    let measurement =
        json!({"id": 1_000_001, "type": "ping", "target": NASTY, "af": 6, "description": NASTY, "interval": 240});
    Fake::new(&[
        ("/api/v2/probes/", json!({"count": 120, "next": null, "previous": null, "results": [probe(7), probe(8)]})),
        ("/api/v2/probes/places/", json!({"placed": 100, "connected": 3, "places": [[4.9169, 52.4, 3, 100]]})),
        ("/api/v2/probes/7/", probe(7)),
        ("/api/v2/probes/7/uptime/", uptime(900)),
        ("/api/v2/probes/7/measurements/", json!({"count": 1, "results": [measurement]})),
        ("/api/v2/measurements/", json!({"count": 0, "results": []})),
    ])
}

fn is_text(page: &str) {
    assert!(!page.contains("<script>") && !page.contains(" style="), "{page}");
}

#[tokio::test]
async fn the_list_is_whole_without_a_script() {
    let site = site();
    let page = site.get("/probes?country=NL&tag=home&page=2&sort=-id").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    is_text(&page.text);
    let text = &page.text;
    assert!(
        text.contains("120 probes of this search") && text.contains("20 probes without a known place are not shown")
    );
    assert!(
        text.contains("href=\"/probes/7\"")
            && text.contains("href=\"/country/NL\"")
            && text.contains("href=\"/as/64500\"")
    );
    assert!(text.contains("3 of 100 probes connected, near 52.4° N, 4.9° E"), "the map");
    assert!(text.contains("value=\"NL\"") && text.contains("aria-sort=\"descending\""));
    for kept in ["page=1", "page=3"] {
        assert!(text.contains(&format!("/probes?country=NL&#38;tag=home&#38;sort=-id&#38;{kept}")), "{kept}");
    }
    let asked: Vec<String> = site.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(asked[0], "/api/v2/probes/?country_code=NL&tags=home&sort=-id&page_size=50&page=2");
    assert!(asked.contains(&"/api/v2/probes/?country_code=NL&tags=home&status=1&page_size=0".to_owned()), "{asked:?}");
    assert!(asked.contains(&"/api/v2/probes/places/?country_code=NL&tags=home".to_owned()), "{asked:?}");
}

#[tokio::test]
async fn what_cannot_be_searched_for_stays_in_the_form() {
    let refused = json!({"error": {"status": 400, "code": 104, "title": "Bad Request", "detail": "There was a problem",
        "errors": [{"source": {"parameter": "prefix"}, "detail": "Enter a prefix such as 192.0.2.0/24."}]}});
    let site = Fake::new(&[("/api/v2/probes/", refused)]);
    let page = site.get("/probes?prefix=%3Cb%3Ehere&asn=1").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.text.contains("Enter a prefix such as 192.0.2.0/24.") && page.text.contains("role=\"alert\""));
    assert!(page.text.contains("value=\"&#60;b&#62;here\"") && page.text.contains("value=\"1\""), "{}", page.text);
    for bad in ["status=7", "page=0", "page=x", "sort=owner"] {
        assert_eq!(site.get(&format!("/probes?{bad}")).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn a_probe_says_how_it_is_and_what_it_runs() {
    let site = site();
    let page = site.send(Method::GET, "/probes/7", &[("cookie", "sonde=secret")], "").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    is_text(&page.text);
    let text = &page.text;
    assert!(text.contains("disconnected for") && text.contains("On a public grid of about 10 km"), "{text}");
    assert!(text.contains("Connected 50.0 % of the last 24 hours, counted from its first connection"), "{text}");
    assert!(text.contains("href=\"/measurements/1000001/probe/7\"") && text.contains("every 4 min"), "{text}");
    assert!(text.contains("This network has no measurements of its own."));
    assert!(page.header("cache-control").starts_with("public"));
    assert!(site.seen().iter().all(|seen| !seen.headers.contains_key("cookie")), "the page is everybody's");
}

#[tokio::test]
async fn numbers_that_are_no_probes() {
    for path in
        ["/probes/9", "/probes/x", "/probes/-1", "/probes/99999999999999999999", "/probes/7%2F..%2F8", "/probes/%00"]
    {
        let page = site().get(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.text.contains("There is no probe of this number."), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn how_a_probe_is_is_for_its_owner_alone() {
    let stranger = site().get("/probes/7/own").await;
    assert_eq!((stranger.status, stranger.header("location")), (StatusCode::SEE_OTHER, "/sign-in?next=/probes/7/own"));
    let me = json!({"email": "ada@example.net", "csrf_token": "c"});
    let cookie = [("cookie", "sonde=secret")];
    let other = Fake::new(&[("/api/v2/accounts/me/", me.clone()), ("/api/v2/probes/7/", probe(7))]);
    let refused = other.send(Method::GET, "/probes/7/own", &cookie, "").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);

    let condition = json!({"word": "dns-silent", "level": "problem", "meaning": "No resolver answers.", "detail": NASTY,
        "advice": "Look at the router.", "since": 1_759_999_500, "ended": null, "was_disconnected": false});
    let mut own = probe(7);
    own["address_v4"] = json!("20.0.0.9");
    own["health"] = json!({"level": "problem", "told_at": 1_759_999_500, "conditions": [condition], "past": [],
        "host": {"told_at": 1_759_999_500, "paused": true, "paused_until": null, "packets_per_second": 200,
            "bytes_per_day": 1_073_741_824, "measured_today": 123_456, "written_today": 8192, "kinds": ["ping"], "hours": []}});
    own["board"] = json!({"name": "0.4.1", "release": 202_610_010_000_u64, "stage": "waiting", "stage_release": 5,
        "words": format!("it waits {NASTY}"), "choice": {"choice": "delay", "days": 7}, "checked_at": 1_759_999_500,
        "attempts": [{"release": 202_611_290_220_u64, "outcome": "fell-back", "words": NASTY, "at": 1_759_999_500}],
        "log": null, "told_at": 1_759_999_500});
    let site = Fake::new(&[("/api/v2/accounts/me/", me), ("/api/v2/probes/7/", own)]);
    let page = site.send(Method::GET, "/probes/7/own", &cookie, "").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    is_text(&page.text);
    for words in [
        "dns-silent",
        "Look at the router.",
        "20.0.0.9",
        "until you resume it",
        "123 kB of 1,073 MB",
        "always",
        "0.4.1 (release 202610010000)",
        "waiting: it waits",
        "take releases 7 days after they come",
        "fell-back",
    ] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    assert_eq!(page.header("cache-control"), "private, no-store");
}
