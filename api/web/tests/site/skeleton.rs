//! What holds for every page.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fake::Fake;

/// Enough for pages that ask how many there are.
fn site() -> Fake {
    let list = || json!({"count": 1234, "results": []});
    Fake::new(&[("/api/v2/probes/", list()), ("/api/v2/measurements/", list())])
}

#[tokio::test]
async fn a_page_may_do_nothing_that_it_need_not() {
    let page = site().get("/status").await;
    let policy = page.header("content-security-policy");
    for rule in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"]
    {
        assert!(policy.split("; ").any(|known| known.trim() == rule), "{rule} in {policy}");
    }
    assert!(policy.contains("require-trusted-types-for 'script'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(page.header("permissions-policy").contains("geolocation=()"));
    assert!(!page.header("referrer-policy").is_empty());
    for inline in [" style=", "<style", " onclick=", "javascript:"] {
        assert!(!page.text.contains(inline), "{inline}");
    }
    assert!(page.text.contains("Net &#60;&#38;&#62; One"), "the network's name is text");
}

#[tokio::test]
async fn a_page_that_is_not_there_says_so_and_is_dressed() {
    for path in ["/nothing", "/assets/0/nothing.css", "/..%2f..%2fetc/passwd"] {
        let page = site().get(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.text.contains("<h1>Not found</h1>"), "{path}: {}", page.text);
        assert!(page.header("content-security-policy").contains("default-src 'none'"), "{path}");
        assert_eq!(page.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn the_api_stays_as_it_is() {
    let site = site();
    let answer = site.send(Method::POST, "/api/v2/probes/?key=1", &[("cookie", "sonde=1")], "{}").await;
    assert_eq!(serde_json::from_str::<Value>(&answer.text).unwrap()["count"], 1234);
    assert_eq!(answer.header("content-security-policy"), "");
    let seen = site.seen();
    assert_eq!((&seen[0].method, seen[0].path.as_str()), (&Method::POST, "/api/v2/probes/?key=1"));
    assert!(seen[0].headers.contains_key("cookie"));
    assert_eq!(site.get("/healthz").await.header("content-type"), "application/json", "it is the API's");
}

#[tokio::test]
async fn public_pages_are_asked_for_as_the_public_and_kept() {
    let site = site();
    let headers = [("cookie", "sonde=secret"), ("authorization", "Key secret"), ("x-forwarded-for", "192.0.2.1")];
    let page = site.send(Method::GET, "/", &headers, "").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    for seen in site.seen() {
        assert!(!seen.headers.contains_key("cookie") && !seen.headers.contains_key("authorization"), "{seen:?}");
        assert_eq!(seen.headers["x-forwarded-for"], "192.0.2.1", "the limits count for whoever looks");
    }
    assert_eq!(page.header("cache-control"), "public, max-age=60, stale-while-revalidate=300");
    let tag = page.header("etag").to_owned();
    let again = site.send(Method::GET, "/", &[("if-none-match", &format!("\"x\", {tag}"))], "").await;
    assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    let other = site.send(Method::GET, "/", &[("if-none-match", "W/\"x\"")], "").await;
    assert_eq!(other.status, StatusCode::OK);
    let head = site.send(Method::HEAD, "/", &[], "").await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    let gzip = site.send(Method::GET, "/", &[("accept-encoding", "gzip")], "").await;
    assert_eq!(gzip.header("content-encoding"), "gzip");
}

#[tokio::test]
async fn a_slash_at_the_end_leads_to_the_page_and_nowhere_else() {
    let site = site();
    let moved = site.get("/probes/7/?page=2").await;
    assert_eq!((moved.status, moved.header("location")), (StatusCode::PERMANENT_REDIRECT, "/probes/7?page=2"));
    for path in ["//evil.example/", "/\\evil.example/", "///", "/@evil.example/"] {
        let Ok(_) = path.parse::<axum::http::Uri>() else { continue };
        let reply = site.get(path).await;
        assert_eq!(reply.header("location"), "", "{path}");
    }
}

#[tokio::test]
async fn only_own_pages_change_anything() {
    let site = site();
    let post = async |headers: &[(&str, &str)]| site.send(Method::POST, "/sign-in", headers, "a=b").await.status;
    assert_eq!(post(&[]).await, StatusCode::FORBIDDEN);
    assert_eq!(post(&[("sec-fetch-site", "cross-site")]).await, StatusCode::FORBIDDEN);
    assert_eq!(post(&[("host", "one.example"), ("origin", "https://two.example")]).await, StatusCode::FORBIDDEN);
    assert_ne!(post(&[("sec-fetch-site", "same-origin")]).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_a_page_loads_is_kept_for_a_year_and_compressed() {
    let site = site();
    let page = site.get("/").await.text;
    let addresses: Vec<&str> = page.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(addresses.len() >= 3, "{page}");
    for address in addresses {
        let asset = site.send(Method::GET, address, &[("accept-encoding", "gzip, br")], "").await;
        assert_eq!(asset.status, StatusCode::OK, "{address}");
        assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(asset.header("x-content-type-options"), "nosniff");
        if address.ends_with("base.css") {
            assert_eq!((asset.header("content-encoding"), asset.header("vary")), ("br", "accept-encoding"));
            let plain = site.send(Method::GET, address, &[("accept-encoding", "br;q=0, identity")], "").await;
            assert!(plain.text.contains("--page") && plain.header("content-encoding").is_empty());
            let old = site.get("/assets/000000000000/css/base.css").await;
            assert_eq!((old.status, old.header("cache-control")), (StatusCode::OK, "no-cache"));
        }
    }
}

#[tokio::test]
async fn an_api_that_refuses_is_explained() {
    let error = |status: u16, detail: &str| json!({"error": {"status": status, "detail": detail, "errors": []}});
    let busy = Fake::new(&[("/api/v2/probes/", error(429, "Too many requests; see Retry-After."))]).get("/").await;
    assert_eq!(busy.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(busy.text.contains("Too many requests come from your address"), "{}", busy.text);
    let broken = Fake::new(&[("/api/v2/probes/", error(500, "<script>"))]).get("/").await;
    assert_eq!(broken.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!broken.text.contains("<script>") && broken.text.contains("Something went wrong here"), "{}", broken.text);
}

#[tokio::test]
async fn what_a_page_asks_belongs_together() {
    let site = site();
    for path in ["/", "/probes"] {
        site.get(path).await;
    }
    let visits: Vec<usize> = site.seen().iter().map(|seen| seen.visit.unwrap()).collect();
    assert!(visits.len() > 4, "{visits:?}");
    let (first, last) = (visits[0], visits[visits.len() - 1]);
    assert_ne!(first, last, "another page is another visit");
    assert!(
        visits.is_sorted_by_key(|visit| *visit != first) && visits.iter().all(|visit| [first, last].contains(visit))
    );
    site.get("/api/v2/probes/").await;
    assert_eq!(site.seen().last().unwrap().visit, None, "whoever asks the API himself is no page");
}

#[tokio::test]
async fn every_page_says_where_its_data_are() {
    let page = site().get("/").await;
    assert!(page.text.contains("<a href=\"/api/v2/probes/"), "{}", page.text);
    assert!(!page.text.contains("<a href=\"/api/v2/ipv6/?"), "not what is not there");
    assert!(!site().get("/sign-in").await.text.contains("Data of this page"), "nor what is the visitor's own");
}

#[tokio::test]
async fn large_public_tables_are_compressed_and_nothing_else_of_the_api() {
    let places = json!({"placed": 1, "connected": 1, "places": [[4.9169, 52.4, 3, 100], [4.9169, 52.5, 3, 100]]});
    let site = Fake::new(&[("/api/v2/probes/places/", places.clone()), ("/api/v2/probes/", places)]);
    let encoding = async |path: &str, more: &[(&str, &str)]| {
        let headers = [&[("accept-encoding", "gzip")], more].concat();
        site.send(Method::GET, path, &headers, "").await.header("content-encoding").to_owned()
    };
    assert_eq!(encoding("/api/v2/probes/places/?tags=home", &[]).await, "gzip");
    assert_eq!(encoding("/api/v2/probes/places/", &[("cookie", "sonde=1")]).await, "");
    assert_eq!(encoding("/api/v2/probes/places/", &[("authorization", "Key 1")]).await, "");
    assert_eq!(encoding("/api/v2/probes/places/?a=b&key=1", &[]).await, "");
    assert_eq!(encoding("/api/v2/probes/", &[]).await, "");
}
