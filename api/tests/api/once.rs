//! Requests with an `Idempotency-Key` take effect once.

use serde_json::{Value, json};

use crate::credits::charging;
use crate::lab::{Lab, NOW, Person, asking, worldwide};

/// Sends a body with header lines of one's own.
fn send(lab: &Lab, person: &Person, path: &str, headers: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: sonde\r\nAuthorization: Key {}\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        person.key,
        body.len()
    );
    let reply = lab.raw(request.as_bytes());
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{reply}"));
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {reply}")))
}

fn key(key: &str) -> String {
    format!("Idempotency-Key: {key}\r\n")
}

#[test]
fn the_same_request_makes_measurements_once() {
    let lab = Lab::new();
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    lab.probe(&anna, "20.0.0.9", &[]);
    let (path, body) = ("/api/v2/measurements/", asking("ping", "1.1.1.1", worldwide(1)));
    let first = send(&lab, &anna, path, &key("one"), &body);
    assert_eq!(first.0, 201);
    lab.dispatched();
    assert_eq!(send(&lab, &anna, path, &key("one"), &body), first);
    assert_eq!(send(&lab, &anna, "/api/v2/measurements", &key("one"), &body), first, "the same path");
    assert!(lab.dispatched().is_empty());
    let other = send(&lab, &anna, path, &key("one"), &asking("ping", "1.1.1.2", worldwide(1)));
    assert_eq!((other.0, &other.1["error"]["status"]), (422, &json!(422)));
    assert_eq!(send(&lab, &anna, "/api/v2/measurements/ping/", &key("one"), &body).0, 422, "another path");
    assert_eq!(lab.get(path).json()["count"], 1);

    assert_ne!(send(&lab, &anna, path, &key("two"), &body).1, first.1);
    assert_ne!(send(&lab, &ben, path, &key("one"), &body).1, first.1, "everybody has keys of their own");
    // What was refused may be sent again.
    let bad = asking("ping", "10.0.0.1", worldwide(1));
    assert_eq!(send(&lab, &anna, path, &key("three"), &bad).0, 400);
    assert_eq!(send(&lab, &anna, path, &key("three"), &body).0, 201);
    lab.set_clock(NOW + 86_400);
    assert_ne!(send(&lab, &anna, path, &key("one"), &body).1, first.1, "a day later it is another request");
}

#[test]
fn of_two_at_once_one_makes_it() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let body = asking("ping", "1.1.1.1", worldwide(1));
    let answers: Vec<_> = std::thread::scope(|scope| {
        let sent: Vec<_> =
            (0..8).map(|_| scope.spawn(|| send(&lab, &anna, "/api/v2/measurements/", &key("k"), &body))).collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.0 == 201), "{answers:?}");
    assert_eq!(lab.get("/api/v2/measurements/").json()["count"], 1);
}

#[test]
fn probes_join_once_and_credits_move_once() {
    let lab = charging(|_| {});
    let (anna, ben) = (lab.person("anna"), lab.person("ben"));
    lab.probe(&anna, "20.0.0.9", &[]);
    let second = lab.new_probe(&ben);
    let id = lab.measure(&anna, &asking("ping", "1.1.1.1", worldwide(1)));
    lab.connect(second, "20.0.1.9", &[]);
    let path = format!("/api/v2/measurements/{id}/participation-requests/");
    let body = json!([{"action": "add", "type": "probes", "value": second, "requested": 1}]);
    let first = send(&lab, &anna, &path, &key("k"), &body);
    assert_eq!(first.0, 201, "{first:?}");
    assert_eq!(send(&lab, &anna, &path, &key("k"), &body), first);
    assert_eq!(lab.get(&path).json()["count"], 2, "the one it was made with, and this");

    let (path, body) = ("/api/v2/credits/transfers/", json!({"recipient": "ben@example.net", "amount": 900}));
    let first = send(&lab, &anna, path, &key("t"), &body);
    assert_eq!(first.0, 201, "{first:?}");
    assert_eq!(send(&lab, &anna, path, &key("t"), &body), first);
    assert_eq!(send(&lab, &anna, path, &key("u"), &body).0, 400, "there is no more");
    assert_eq!(send(&lab, &anna, path, &key("k"), &body).0, 422);
}

#[test]
fn keys_that_are_none() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let body = asking("ping", "1.1.1.1", worldwide(1));
    let long = "x".repeat(256);
    for headers in [key(""), key("a b"), key("\u{e9}"), key(&long), key("a") + &key("b")] {
        let (status, answer) = send(&lab, &anna, "/api/v2/measurements/", &headers, &body);
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(104)), "{headers}");
    }
    assert_eq!(send(&lab, &anna, "/api/v2/measurements/", &key(&long[1..]), &body).0, 201);
}
