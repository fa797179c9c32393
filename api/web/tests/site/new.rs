//! Making a measurement, and signing in for it.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fake::{Fake, Reply};

const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");
const COOKIE: (&str, &str) = ("cookie", "sonde=secret");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const KEY: &str = "01234567-89ab-4cde-8f01-23456789abcd";

fn me() -> (&'static str, Value) {
    ("/api/v2/accounts/me/", json!({"email": "ada@example.net", "csrf_token": "second-secret"}))
}

fn estimate() -> (&'static str, Value) {
    let one = json!({"type": "ping", "target": "<b>", "probes": 2, "probe_ids": [3, 7], "credits_per_result": 6,
        "estimated_results_per_day": 2, "credits_per_day": 12, "total": 12});
    let answer = json!({"measurements": [one], "probe_sources": [{"seed": 77}], "balance": 1000, "reserved": 0,
        "allowed": true, "reasons": []});
    ("/api/v2/measurements/estimate/", answer)
}

fn refusal(errors: &Value) -> Value {
    json!({"error": {"status": 400, "code": 102, "title": "Bad Request", "detail": "There was a problem", "errors": errors}})
}

async fn post(site: &Fake, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let headers: Vec<_> = headers.iter().copied().chain([OWN, FORM]).collect();
    site.send(Method::POST, path, &headers, body).await
}

#[tokio::test]
async fn the_form_is_there_for_everybody_and_filled_in_by_its_address() {
    let site = Fake::new(&[]);
    let page = site
        .get("/new?type=dns&target=%22%3E%3Cscript%3E&dns.tls=x&key=0123&source0.type=probes&source0.value=7")
        .await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(
        page.text.contains("value=\"&#34;&#62;&#60;script&#62;\"") && !page.text.contains("\"><script>"),
        "{}",
        page.text
    );
    assert!(page.text.contains("value=\"dns\" checked") && !page.text.contains("0123"), "a key is never in a page");
    assert!(page.text.contains("href=\"/sign-in?next=/new\"") && page.text.contains("autocomplete=\"off\""));
    assert_eq!(page.header("cache-control"), "private, no-store");
    for label in page.text.match_indices("<label for=\"") {
        let id = page.text[label.0 + 12..].split('"').next().unwrap();
        assert!(page.text.contains(&format!(" id=\"{id}\"")), "a label for nothing: {id}");
    }
}

#[tokio::test]
async fn a_preview_says_what_it_would_cost_and_who_would_run_it() {
    let site = Fake::new(&[me(), estimate()]);
    let page = post(&site, "/new", &[COOKIE], "step=preview&type=ping&target=example.net&af=6").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("2 probes would run it, for 12 credits in all. You have 1,000."), "{}", page.text);
    assert!(page.text.contains("href=\"/probes/7\"") && page.text.contains("name=\"seed\" value=\"77\""));
    assert!(page.text.contains("value=\"create\">Create it") && page.text.contains("ada@example.net"));
    assert!(page.text.contains("sonde ping example.net --from"), "the same by command");
    let asked = site.seen().into_iter().find(|seen| seen.path.contains("estimate")).unwrap();
    assert_eq!(asked.headers["x-csrf-token"], "second-secret");
    assert_eq!(asked.headers["sec-fetch-site"], "same-origin");
    assert!(site.seen().iter().all(|seen| seen.path != "/api/v2/measurements/"), "nothing is made");
}

#[tokio::test]
async fn the_second_post_makes_it_once() {
    let site = Fake::new(&[me(), ("/api/v2/measurements/", json!({"measurements": [1_000_005]}))]);
    let made = post(&site, "/new", &[COOKIE], "step=create&target=example.net&once=web-1&seed=77").await;
    assert_eq!(
        (made.status, made.header("location")),
        (StatusCode::SEE_OTHER, "/measurements/1000005"),
        "{}",
        made.text
    );
    let asked = site.seen().into_iter().find(|seen| seen.path == "/api/v2/measurements/").unwrap();
    assert_eq!((asked.method, &asked.headers["idempotency-key"]), (Method::POST, &"web-1".parse().unwrap()));
    let both = Fake::new(&[me(), ("/api/v2/measurements/", json!({"measurements": [5, 6]}))]);
    let made = post(&both, "/new", &[COOKIE], "step=create&target=example.net&af=both").await;
    assert_eq!(made.header("location"), "/new/made?ids=5,6");
    let list = both.get("/new/made?ids=5,6").await;
    assert!(list.text.contains("href=\"/measurements/6\""), "{}", list.text);
    for bad in ["", "x", "5,", &"1,".repeat(200)] {
        assert_eq!(both.get(&format!("/new/made?ids={bad}")).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn complaints_stand_at_their_fields_and_values_stay() {
    let errors = json!([
        {"source": {"pointer": "/definitions/0/target"}, "detail": "This is not a host name."},
        {"source": {"pointer": "/definitions/1/target"}, "detail": "This is not a host name."},
        {"source": {"pointer": "/definitions/0/packets"}, "detail": "Ensure this value is between 1 and 16."},
        {"source": {"pointer": "/probes/0/value"}, "detail": "Enter a <country>."},
        {"source": {"pointer": ""}, "detail": "This needs 1440 credits."},
    ]);
    let site = Fake::new(&[me(), ("/api/v2/measurements/estimate/", refusal(&errors))]);
    let form = "step=preview&type=ping&target=a+b%00&af=both&ping.packets=99&source0.type=country&source0.value=NLX&description=mine";
    let page = post(&site, "/new", &[COOKIE], form).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    for link in
        ["href=\"#target\"", "href=\"#ping-packets\"", "href=\"#source0-value\"", "<li>This needs 1440 credits.</li>"]
    {
        assert_eq!(page.text.matches(link).count(), 1, "{link}: {}", page.text);
    }
    assert!(
        page.text.contains("id=\"target-wrong\"")
            && page.text.contains("aria-describedby=\"target-hint target-wrong\"")
    );
    assert!(page.text.contains("Enter a &#60;country&#62;."), "{}", page.text);
    for value in ["value=\"99\"", "value=\"NLX\"", "value=\"mine\""] {
        assert!(page.text.contains(value), "{value}");
    }
    assert!(page.text.contains("tabindex=\"-1\" autofocus id=\"problems\""));
}

#[tokio::test]
async fn a_key_goes_to_the_api_and_nowhere_else() {
    let site = Fake::new(&[estimate()]);
    let page = post(&site, "/new", &[], &format!("step=preview&target=example.net&key={KEY}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(!page.text.contains(KEY), "it is not sent back");
    assert!(page.text.contains("id=\"key-again\""), "and so is asked for once more");
    let asked = site.seen();
    assert_eq!(asked.len(), 1, "nobody's session is looked for");
    assert_eq!(asked[0].headers["authorization"], format!("Key {KEY}"));
    for bad in ["a%0D%0AX-Evil:%20yes", &"9".repeat(5000), "%00", "\u{fc}"] {
        let site = Fake::new(&[estimate()]);
        let page = post(&site, "/new", &[], &format!("step=preview&target=example.net&key={bad}")).await;
        assert!(page.status.is_success(), "{bad}: {}", page.text);
        assert_eq!(site.seen()[0].headers["authorization"], "Key -", "{bad}");
    }
}

#[tokio::test]
async fn nobody_makes_anything() {
    let site = Fake::new(&[estimate(), ("/api/v2/measurements/", json!({"measurements": [5]}))]);
    for step in ["preview", "create"] {
        let page = post(&site, "/new", &[], &format!("step={step}&target=example.net")).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.text);
        assert!(page.text.contains("Sign in, or paste an API key") && page.text.contains("value=\"example.net\""));
    }
    for headers in [&[("sec-fetch-site", "cross-site"), COOKIE, FORM][..], &[COOKIE, FORM][..]] {
        let page = site.send(Method::POST, "/new", headers, "step=create&target=example.net").await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.text);
    }
    assert!(site.seen().is_empty(), "{:?}", site.seen());
}

#[tokio::test]
async fn the_script_gets_the_same_as_json() {
    let site = Fake::new(&[me(), estimate()]);
    let reply = post(&site, "/new/estimate", &[COOKIE], "target=example.net").await;
    let answer: Value = serde_json::from_str(&reply.text).unwrap();
    assert_eq!(answer["preview"]["allowed"], true);
    assert!(answer["sonde"].as_str().unwrap().starts_with("sonde ping example.net"), "{answer}");
    assert!(answer["curl"].as_str().unwrap().contains("$SONDE_KEY"), "{answer}");
    assert_eq!(reply.header("cache-control"), "private, no-store");
    let stranger = post(&Fake::new(&[]), "/new/estimate", &[], "type=dns").await;
    let answer: Value = serde_json::from_str(&stranger.text).unwrap();
    assert_eq!((&answer["preview"], &answer["problems"]), (&Value::Null, &json!([])));
    assert_eq!(answer["no_sonde"], "The target is missing.");
}

#[tokio::test]
async fn signing_in_sets_the_apis_cookie_and_leads_back() {
    let site = Fake::new(&[("/api/v2/accounts/login/", json!({"account": {}, "csrf_token": "c"}))]);
    let reply = post(&site, "/sign-in", &[], "email=ada%40example.net&password=+ten+characters+&next=/new").await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/new"));
    let reply = post(&site, "/sign-in", &[], "email=a&password=b&next=//evil.example").await;
    assert_eq!(reply.header("location"), "/");

    let wrong = json!({"error": {"status": 403, "code": 104, "title": "Forbidden", "detail": "The mail address or the password is wrong."}});
    let site = Fake::new(&[("/api/v2/accounts/login/", wrong)]);
    let page = post(&site, "/sign-in", &[], "email=%3Cb%3E&password=hunter2&next=/new").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(
        page.text.contains("The mail address or the password is wrong.") && page.text.contains("value=\"&#60;b&#62;\"")
    );
    assert!(!page.text.contains("hunter2") && page.text.contains("name=\"next\" value=\"/new\""), "{}", page.text);
    let page = Fake::new(&[me()]).send(Method::GET, "/sign-in", &[COOKIE], "").await;
    assert!(page.text.contains("You are signed in as <b>ada@example.net</b>"), "{}", page.text);
    let session = Fake::new(&[me()]).send(Method::GET, "/session", &[COOKIE], "").await;
    assert_eq!(session.text, "{\"email\":\"ada@example.net\"}");
    assert_eq!(Fake::new(&[]).get("/session").await.text, "{\"email\":null}");
}

#[tokio::test]
async fn signing_out_ends_the_session_by_its_second_secret() {
    let site = Fake::new(&[me(), ("/api/v2/accounts/logout/", Value::Null)]);
    let reply = post(&site, "/sign-out", &[COOKIE], "").await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/"));
    let asked = site.seen().into_iter().find(|seen| seen.path.contains("logout")).unwrap();
    assert_eq!(asked.headers["x-csrf-token"], "second-secret");
    assert_eq!(site.get("/sign-out").await.status, StatusCode::METHOD_NOT_ALLOWED);
}
