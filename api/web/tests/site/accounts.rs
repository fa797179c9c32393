//! Signing up, and a lost password.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fake::Fake;

const OWN: [(&str, &str); 2] =
    [("sec-fetch-site", "same-origin"), ("content-type", "application/x-www-form-urlencoded")];

fn site(signup: &str, verification: &str) -> Fake {
    let refused = |pointer: &str, detail: &str| {
        json!({"error": {"status": 400, "code": 104, "detail": "Refused.", "title": "Bad Request",
            "errors": [{"source": {"pointer": pointer}, "detail": detail}]}})
    };
    let rules: Value = json!({"signup": signup, "consent": "7<b>", "verification": verification, "type": "signup"});
    Fake::new(&[
        ("/api/v2/accounts/signup/", rules),
        ("/api/v2/accounts/verify/", refused("/token", "This token is <unknown>.")),
        ("/api/v2/accounts/password-reset/", json!({"detail": "A mail says how to go on."})),
        ("/api/v2/accounts/password-reset/confirm/", json!({"type": "account", "id": 1, "email": "a@example.net"})),
    ])
}

#[tokio::test]
async fn who_may_sign_up_is_shown_a_form() {
    let page = site("open", "mail").get("/sign-up").await;
    assert_eq!((page.status, page.header("cache-control")), (StatusCode::OK, "private, no-store"));
    assert!(page.text.contains("name=\"consent\" value=\"7&#60;b&#62;\"") && page.text.contains("A mail then asks"));
    let invited = site("invite", "operator").get("/sign-up?invite=abc").await.text;
    assert!(invited.contains("value=\"abc\"") && invited.contains("by invitation"), "{invited}");
    let closed = site("closed", "operator").get("/sign-up").await.text;
    assert!(closed.contains("Nobody can sign up") && !closed.contains("<form"), "{closed}");
}

#[tokio::test]
async fn what_the_api_says_is_said_at_the_form() {
    let site = site("open", "mail");
    let page = site.send(Method::POST, "/verify", &OWN, "token=x").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.text.contains("Token: This token is &#60;unknown&#62;."), "{}", page.text);
    let mail = site.send(Method::POST, "/password-reset", &OWN, "email=a%40example.net").await;
    assert!(mail.text.contains("A mail says how to go on.") && mail.text.contains("name=\"token\""), "{}", mail.text);
    let set = site.send(Method::POST, "/password-reset", &OWN, "token=abc&password=something+long").await;
    assert!(set.text.contains("The new password counts") && !set.text.contains("something long"), "{}", set.text);
    let asked: Vec<String> =
        site.seen().into_iter().filter(|seen| seen.method == Method::POST).map(|seen| seen.path).collect();
    let under = "/api/v2/accounts/";
    assert_eq!(asked, ["verify/", "password-reset/", "password-reset/confirm/"].map(|path| format!("{under}{path}")));
}

#[tokio::test]
async fn no_other_site_fills_in_these_forms() {
    let site = site("open", "mail");
    for path in ["/sign-up", "/verify", "/password-reset"] {
        let page = site.send(Method::POST, path, &[("sec-fetch-site", "cross-site")], "email=a%40example.net").await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert!(site.seen().is_empty());
}
