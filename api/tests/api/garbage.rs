//! What no client should send, and what the server does when it has to stop.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::lab::{Lab, asking, worldwide};

/// Status and body of a raw answer.
fn parts(reply: &str) -> (u16, &str) {
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, reply.split_once("\r\n\r\n").map_or("", |(_, body)| body))
}

#[test]
fn bodies_that_are_no_json() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let deep = "[".repeat(100_000);
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"nonsense",
        b"{\"definitions\": [}",
        b"\xff\xfe",
        b"{\"a\": \"\xff\"}",
        b"{} {}",
        b"NaN",
        deep.as_bytes(),
    ];
    for body in bodies {
        let reply = lab.call_raw("POST", "/api/v2/measurements/", Some(&anna.key), Some(body.to_vec()));
        assert_eq!(reply.refused(400, 102), [""], "{:?}", String::from_utf8_lossy(&body[..body.len().min(40)]));
    }
    for body in [json!(null), json!([]), json!("text"), json!(5)] {
        assert_eq!(lab.post_as(&anna, "/api/v2/measurements", &body).refused(400, 102), [""], "{body}");
    }
}

#[test]
fn wrong_types_anywhere_are_refused_and_never_crash() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    lab.probe(&anna, "20.0.0.9", &[]);
    let wrong =
        [json!({}), json!([[]]), json!(true), json!(-1), json!(1e300), json!("\u{202e}x"), json!({"a": {"b": []}})];
    let mut good = asking("traceroute", "1.1.1.1", worldwide(1));
    for field in [
        "description",
        "interval",
        "spread",
        "is_public",
        "resolve_on_probe",
        "skip_dns_check",
        "tags",
        "packets",
        "size",
        "protocol",
        "paris",
        "max_hops",
        "response_timeout",
    ] {
        good["definitions"][0][field] = Value::Null;
    }
    for (place, fields) in [
        ("", vec!["definitions", "probes", "is_oneoff", "start_time", "stop_time", "skip_dns_check"]),
        ("/definitions/0", good["definitions"][0].as_object().unwrap().keys().map(String::as_str).collect()),
        ("/probes/0", vec!["type", "value", "requested", "tags"]),
    ] {
        for field in fields {
            for wrong in &wrong {
                let mut body = good.clone();
                body.pointer_mut(place).unwrap()[field] = wrong.clone();
                let reply = lab.post_as(&anna, "/api/v2/measurements/", &body);
                match reply.status {
                    // Some values are right after all: `true` for a flag, text for a description.
                    201 => {}
                    _ => {
                        let places = reply.refused(400, 102);
                        let mine = format!("{place}/{field}");
                        assert!(places.iter().any(|found| found.starts_with(&mine)), "{mine} = {wrong}: {places:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn bodies_that_are_too_large() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let head = format!(
        "POST /api/v2/measurements/ HTTP/1.1\r\nHost: x\r\nAuthorization: Key {}\r\nConnection: close\r\n",
        anna.key
    );
    // Said at once by a client that waits to be asked: refused before it is sent.
    let reply = lab.raw(format!("{head}Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n").as_bytes());
    let (status, body) = parts(&reply);
    let error: Value = serde_json::from_str(body).unwrap();
    assert_eq!((status, &error["error"]["status"]), (413, &json!(413)), "{reply}");
    // Not said: cut off when it gets too large.
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let reply = lab.raw(format!("{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(17)).as_bytes());
    assert_eq!(parts(&reply).0, 413, "{reply}");
    // A client that sends first and listens afterwards gets to hear it, too.
    let large = vec![b' '; 4_000_000];
    lab.call_raw("POST", "/api/v2/measurements", Some(&anna.key), Some(large)).refused(413, 102);
    // One that fits is read, and is no JSON.
    let fits = vec![b' '; 1_048_576];
    assert_eq!(lab.call_raw("POST", "/api/v2/measurements", Some(&anna.key), Some(fits)).refused(400, 102), [""]);
}

#[test]
fn content_encodings_are_refused() {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let post = |coding: &str| {
        let head = format!("POST /api/v2/measurements/ HTTP/1.1\r\nHost: x\r\nAuthorization: Key {}\r\n", anna.key);
        let reply = lab.raw(
            format!("{head}Connection: close\r\nContent-Encoding: {coding}\r\nContent-Length: 2\r\n\r\n{{}}")
                .as_bytes(),
        );
        parts(&reply).0
    };
    assert_eq!(post("gzip"), 415);
    assert_eq!(post("identity, br"), 415);
    assert_eq!(post("identity"), 400, "read, and found wanting");
}

#[test]
fn bytes_that_are_no_http() {
    let lab = Lab::new();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    for garbage in [
        b"\x16\x03\x01\x02\x00\x01\x00".as_slice(),
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"G\xffT / HTTP/1.1\r\n\r\n",
        b"GET /\xff\xff HTTP/1.1\r\n\r\n",
        long.as_bytes(),
        format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes(),
    ] {
        let reply = lab.raw_cut(garbage);
        let status = parts(&reply).0;
        assert!(
            status == 0 || (400..500).contains(&status),
            "{:?}: {reply}",
            String::from_utf8_lossy(&garbage[..20.min(garbage.len())])
        );
    }
    assert_eq!(lab.get("/healthz").text, "ok", "the server is as it was");
}

#[test]
fn odd_but_good_http() {
    let lab = Lab::new();
    let reply = lab.raw(b"GET /api/v2/probes?page_size=0 HTTP/1.0\r\n\r\n");
    assert_eq!(parts(&reply).0, 200, "without a Host: {reply}");
    let reply = lab.raw(b"BREW /api/v2/probes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(parts(&reply).0, 405, "{reply}");
    assert!(reply.contains("Method \\\"BREW\\\" not allowed."), "{reply}");
    let reply =
        lab.raw(b"GET /api/v2/measurements?search=%ff%00&page_size=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(parts(&reply).0, 200, "{reply}");
    let reply = lab.raw(
        b"GET /api/v2/probes?key=%00 HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(parts(&reply).0, 403, "{reply}");
}

#[test]
fn shutting_down_ends_idle_connections() {
    let mut lab = Lab::new();
    let mut idle = TcpStream::connect(lab.address).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).unwrap();
    lab.shut_down();
    let mut rest = String::new();
    idle.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("ok"), "{rest}");
}
