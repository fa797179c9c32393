//! The API's door: bytes that are no HTTP, bodies without end, requests that stop in the middle, and JSON that means
//! nothing, all over TCP against the real server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use serde_json::{Value, json};
use sonde_tests::world::PATIENCE;

use crate::ground::Ground;
use crate::peer::{random_bytes, seed};

/// 100 MB.
const HUGE: usize = 100 << 20;

/// A connection that gives up in the end.
fn connect(ground: &Ground) -> TcpStream {
    let stream = TcpStream::connect(ground.api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that comes until the server closes; a reset behind it is an end, too.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        bytes.extend_from_slice(&piece[..length]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends a request and gives what comes back until the server closes.
fn exchange(ground: &Ground, bytes: &[u8]) -> String {
    let mut stream = connect(ground);
    // The server may have heard enough before the end.
    let _ = stream.write_all(bytes);
    rest(stream)
}

/// As [`exchange`], for what may look like the beginning of a request: nothing more will come.
fn exchange_cut(ground: &Ground, bytes: &[u8]) -> String {
    let mut stream = connect(ground);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    rest(stream)
}

fn status(reply: &str) -> u16 {
    reply.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// The envelope of a refusal with this status.
#[track_caller]
fn refusal(reply: &str, expected: u16) -> Value {
    assert_eq!(status(reply), expected, "{reply}");
    let body = reply.split_once("\r\n\r\n").map(|(_, body)| body).unwrap();
    let json: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {reply}"));
    assert_eq!(json["error"]["status"], expected, "{reply}");
    assert!(json["error"]["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{reply}");
    json["error"].clone()
}

fn head(ground: &Ground, more: &str) -> String {
    let key = ground.owner.key().unwrap();
    format!(
        "POST /api/v2/measurements/ HTTP/1.1\r\nHost: x\r\nAuthorization: Key {key}\r\nConnection: close\r\n{more}\r\n"
    )
}

fn post(ground: &Ground, body: &[u8]) -> String {
    let head = head(ground, &format!("Content-Length: {}\r\n", body.len()));
    exchange(ground, &[head.as_bytes(), body].concat())
}

/// Sends a head and then as much of 100 MB as the server takes. Gives the answer and how much it took.
fn pour(ground: &Ground, head: &str, chunked: bool) -> (String, usize) {
    let mut stream = connect(ground);
    stream.write_all(head.as_bytes()).unwrap();
    let piece = match chunked {
        true => [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat(),
        false => vec![b' '; 0x10000],
    };
    let mut taken = 0;
    while taken < HUGE && stream.write_all(&piece).is_ok() {
        taken += 0x10000;
    }
    (rest(stream), taken)
}

#[test]
fn bodies_of_a_hundred_megabytes() {
    let mut ground = Ground::start();
    let announced = head(&ground, &format!("Content-Length: {HUGE}\r\n"));
    let chunked = head(&ground, "Transfer-Encoding: chunked\r\n");
    let nobody = announced.replace("Authorization: Key ", "Authorization: Key 0");
    for round in 0..3 {
        thread::scope(|scope| {
            let ground = &ground;
            let pours: Vec<_> = [(&announced, false, 413), (&chunked, true, 413), (&nobody, false, 403)]
                .into_iter()
                .map(|(head, chunked, status)| (status, scope.spawn(move || pour(ground, head, chunked))))
                .collect();
            for (status, pour) in pours {
                let (reply, taken) = pour.join().unwrap();
                refusal(&reply, status);
                assert!(taken < HUGE / 2, "round {round}: refused early, not after {taken} bytes");
            }
        });
        ground.not_grown("large bodies");
    }
    let asking = head(&ground, &format!("Content-Length: {HUGE}\r\nExpect: 100-continue\r\n"));
    let mut stream = connect(&ground);
    stream.write_all(asking.as_bytes()).unwrap();
    refusal(&rest(stream), 413);
    ground.not_grown("large bodies");
}

#[test]
fn requests_that_stop_in_the_middle() {
    let mut ground = Ground::start();
    // At a time, because each takes as long as the server's patience.
    let mut body = connect(&ground);
    body.write_all(head(&ground, "Content-Length: 1000\r\n").as_bytes()).unwrap();
    body.write_all(b"{\"definitions\": [").unwrap();
    let mut chunks = connect(&ground);
    chunks.write_all(head(&ground, "Transfer-Encoding: chunked\r\n").as_bytes()).unwrap();
    chunks.write_all(b"5\r\n{\"de").unwrap();
    let mut header = connect(&ground);
    header.write_all(b"GET /api/v2/probes/ HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    let silent = connect(&ground);
    let many: Vec<TcpStream> = (0..500).map(|_| connect(&ground)).collect();
    ground.undisturbed("requests that wait");
    refusal(&rest(body), 408);
    refusal(&rest(chunks), 408);
    assert!([0, 408].contains(&status(&rest(header))), "ended without the rest of its header");
    assert_eq!(rest(silent), "");
    drop(many);
    // An end instead of a stop.
    let cut = exchange_cut(&ground, (head(&ground, "Content-Length: 1000\r\n") + "{").as_bytes());
    assert!(status(&cut) == 0 || status(&cut) == 400, "{cut}");
    ground.not_grown("requests that stop");
}

#[test]
fn bytes_that_are_no_http_and_headers_without_end() {
    let mut ground = Ground::start();
    let seed = seed();
    eprintln!("seed {seed}");
    for n in 0..50 {
        let reply = exchange_cut(&ground, &random_bytes(seed + n, 2000));
        assert!(status(&reply) == 0 || status(&reply) == 400, "seed {seed}, {n}: {reply}");
    }
    let huge = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Huge: {}\r\n\r\n", "a".repeat(20 << 20));
    assert!([0, 431].contains(&status(&exchange(&ground, huge.as_bytes()))));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(1 << 20));
    assert!([0, 431].contains(&status(&exchange(&ground, many.as_bytes()))));
    let long = format!("GET /api/v2/probes/?search={} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20 << 20));
    assert!([0, 414, 431].contains(&status(&exchange(&ground, long.as_bytes()))));
    for garbage in [
        "\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ] {
        let reply = exchange_cut(&ground, garbage.as_bytes());
        assert!(status(&reply) == 0 || (200..500).contains(&status(&reply)), "{garbage:?}: {reply}");
        assert_ne!(status(&reply), 201, "{garbage:?}");
    }
    // Ten thousand requests at once on one connection are answered one after the other, in their order.
    let pipeline = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(9_999)
        + "GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut stream = connect(&ground);
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(pipeline.as_bytes()));
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    writing.join().unwrap().unwrap();
    assert_eq!(replies.matches("HTTP/1.1 200 OK").count(), 9_999);
    assert!(replies.contains("HTTP/1.1 404"), "the last one too");
    ground.not_grown("bytes that are no HTTP");
}

#[test]
fn json_that_means_nothing() {
    let mut ground = Ground::start();
    let good = json!({
        "definitions": [{"type": "ping", "af": 4, "target": "127.0.0.1", "description": "x"}],
        "probes": [{"type": "probes", "value": ground.number.to_string(), "requested": 1}],
        "is_oneoff": true,
    });
    let before = ground.owner.get("/api/v2/measurements/").unwrap()["count"].clone();
    let (open, close) = ("[".repeat(500_000), "]".repeat(500_000));
    let objects = "{\"a\":".repeat(150_000);
    let zeros = format!("[{}0]", "0,".repeat(400_000));
    let texts: [&[u8]; 14] = [
        b"",
        b"null",
        b"{",
        b"[]",
        b"{}",
        b"\"text\"",
        b"NaN",
        b"{\"definitions\": 1e999}",
        b"\xff\xfe{\x00}",
        b"{\"definitions\": \"\xff\"}",
        b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n{}",
        open.as_bytes(),
        objects.as_bytes(),
        zeros.as_bytes(),
    ];
    for text in texts {
        refusal(&post(&ground, text), 400);
    }
    refusal(&post(&ground, (open + &close).as_bytes()), 400);
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!("\u{0}"),
        json!("x".repeat(100_000)),
        json!([]),
        json!({}),
        json!([[]]),
        json!({"a": []}),
    ];
    let mut made = 0;
    for place in [
        "/definitions",
        "/definitions/0",
        "/definitions/0/type",
        "/definitions/0/af",
        "/definitions/0/target",
        "/probes",
        "/probes/0",
        "/probes/0/type",
        "/probes/0/value",
        "/probes/0/requested",
        "/is_oneoff",
    ] {
        for wrong in &wrong {
            let mut body = good.clone();
            *body.pointer_mut(place).unwrap() = wrong.clone();
            let reply = post(&ground, body.to_string().as_bytes());
            // A flag that is true, or absent, is what was asked for; named probes need not be counted.
            if status(&reply) == 201 {
                let is_right = match place {
                    "/is_oneoff" => wrong.is_boolean() || wrong.is_null(),
                    "/probes/0/requested" => wrong.is_null(),
                    _ => false,
                };
                assert!(is_right, "{place} = {wrong}: {reply}");
                made += 1;
            } else {
                let error = refusal(&reply, 400);
                let pointers = error["errors"].as_array().map_or(0, Vec::len);
                assert!(pointers > 0, "{place} = {wrong}: {reply}");
            }
        }
    }
    // The type of the content is not looked at, its coding is.
    let body = b"{}";
    let of_type = |more: &str| head(&ground, &format!("Content-Length: 2\r\n{more}\r\n"));
    for (more, expected) in [
        ("Content-Type: text/html", 400),
        ("Content-Type: \u{ff}\u{fe}", 400),
        ("Content-Type: multipart/form-data; boundary=x", 400),
        ("Content-Encoding: gzip", 415),
    ] {
        let request = [of_type(more).as_bytes(), body].concat();
        assert_eq!(status(&exchange(&ground, &request)), expected, "{more}");
    }
    let after = ground.owner.get("/api/v2/measurements/").unwrap()["count"].as_u64().unwrap();
    assert_eq!(after, before.as_u64().unwrap() + made, "nothing is half-created");
    ground.not_grown("JSON that means nothing");
}

#[test]
fn keys_and_paths_that_do_not_exist() {
    let mut ground = Ground::start();
    let get = |path: &str, more: &str| {
        exchange(&ground, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n").as_bytes())
    };
    for key in [
        "00000000-0000-4000-8000-000000000000",
        "x",
        "",
        "' OR 1=1 --",
        &"f".repeat(4000),
        "\u{ff}",
        "00000000-0000-4000-8000-000000000000 and more",
    ] {
        let reply = get("/api/v2/measurements/my/", &format!("Authorization: Key {key}\r\n"));
        refusal(&reply, 403);
        assert!(key.len() < 5 || !reply.contains(key), "{reply}");
    }
    refusal(&get("/api/v2/measurements/my/?key=%00%ff", ""), 403);
    for path in [
        "/../../etc/passwd",
        "/api/v2/../../../etc/passwd",
        "/api/v2/%2e%2e/%2e%2e/etc/passwd",
        "/api/v2/probes/..%2f..%2f",
        "//api/v2/probes/",
        "/api/v2/probes//",
        "/api/v2/measurements/1000000/../1000001/",
        "/api/v2/measurements/-1/",
        "/api/v2/measurements/18446744073709551616/",
        "/api/v2/measurements/1e6/",
        "/api/v2/measurements/%00/",
        "/api/v2/measurements/%ff/results/",
        "/api/v2/measurements/1000000%20OR%201=1/results/",
        "/api/v2/probes/9223372036854775808/",
        "/admin.sock",
        "/catalog.db",
        "/%2e%2e/catalog.db",
    ] {
        let reply = get(path, "");
        // What is not the API's is answered by the site, with a page.
        if path.starts_with("/api/v2/") {
            refusal(&reply, 404);
        } else {
            assert!(reply.starts_with("HTTP/1.1 404 ") && !reply.contains("root:"), "{path}: {reply}");
        }
    }
    for query in [
        "start=99999999999999999999",
        "start=-1",
        "stop=x",
        "probe_ids=1-99999999999",
        "probe_ids=,,,",
        "probe_ids=9999999999999999999999",
        "format=exe",
        "page=-1",
    ] {
        let reply = get(&format!("/api/v2/measurements/{}/results/?{query}", ground.measurement), "");
        assert!([200, 400].contains(&status(&reply)), "{query}: {reply}");
    }
    for query in ["page=0", "page=99999999999999999999", "page_size=-5", "id__in=x", "status=%00", "sort=%27"] {
        let reply = get(&format!("/api/v2/measurements/?{query}"), "");
        assert!([200, 400, 404].contains(&status(&reply)), "{query}: {reply}");
    }
    ground.not_grown("keys and paths");
}
