//! The page over a real socket, with a real agent's answer, and with people who mean no good.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream as Blocking};
use std::time::Duration as Wait;

use serde_json::json;
use sonde_protocol::condition::Word;
use sonde_protocol::time::Nanos;

use super::*;
use crate::condition::Held;
use crate::status::{HostLimits, Shown, State};

/// Far beyond what anything here takes.
const PATIENCE: Wait = Wait::from_secs(30);

const EVIL: &str = "<script>alert(1)</script>&\"'";

fn seen() -> Value {
    let held = Held { word: Word::DnsSilent, detail: EVIL.into(), began: Nanos(0), cut_off: false };
    let status = Status {
        state: State::Connected,
        since: 1_790_000_000,
        why: None,
        claim_code: None,
        key_note: None,
        network: EVIL.into(),
        probe: Some(7),
        key: "key".into(),
        orders: 3,
        running: 1,
        spool: 12,
        written_today: 8192,
        spool_trouble: None,
        uplink: Some("quic".into()),
        reachability: None,
        conditions: vec![Shown::of(&held, Nanos(0), false)],
        host: HostLimits {
            bytes_today: 123_456,
            bytes_per_day: 1 << 30,
            kinds: vec!["ping".into()],
            ..HostLimits::default()
        },
        sandbox: crate::sandbox::Report::default(),
    };
    let row = json!({"kind": "ping", "target": EVIL, "runs": 4, "packets": 12, "bytes": 1008, "first": 0, "last": 1});
    json!({"status": status, "days": [{"day": "2026-11-28", "rows": [row]}]})
}

/// A page, and somebody in the agent's place. Gives where it is.
fn start() -> SocketAddr {
    let listener = open("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (to, mut asked) = crate::control::channel();
    serve(listener, to, LocalTime::of_this_machine()).unwrap();
    tokio::spawn(async move {
        while let Some(Asked { command, answer }) = asked.recv().await {
            assert_eq!(command, Command::Look, "the page asks for nothing else");
            let _ = answer.send(Ok(seen()));
        }
    });
    address
}

fn connect(address: SocketAddr) -> Blocking {
    let stream = Blocking::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that comes back for these bytes.
fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let answer = say(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_page_says_how_the_probe_is_and_nothing_of_it_is_obeyed() {
    let address = start();
    tokio::task::spawn_blocking(move || {
        let (head, page) = get(address, "/");
        assert!(head.starts_with("HTTP/1.0 200 OK\r\nContent-Type: text/html"), "{head}");
        for policy in
            ["default-src 'none'", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'", "nosniff"]
        {
            assert!(head.contains(policy), "{policy}: {head}");
        }
        assert!(!page.contains("<script") && !page.contains(EVIL), "{page}");
        for words in [
            "Probe 7",
            "dns-silent",
            "123 kB of 1073 MB",
            "8192 B",
            "1008 B",
            "2026-11-28",
            "resolv.conf",
            "&lt;script&gt;",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        let (head, style) = get(address, "/style.css");
        assert!(head.contains("text/css") && style.contains("body"), "{head}");
        let (head, status) = get(address, "/status.json");
        assert!(head.contains("application/json") && !head.contains("Access-Control"), "{head}");
        assert_eq!(serde_json::from_str::<Value>(&status).unwrap(), seen());
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn whoever_wants_something_else_is_turned_away_and_keeps_nobody_out() {
    let address = start();
    tokio::task::spawn_blocking(move || {
        let post =
            format!("POST / HTTP/1.1\r\nHost: {address}\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
        let long = format!("GET / HTTP/1.1\r\nHost: {address}\r\nX: {}\r\n\r\n", "x".repeat(100_000));
        for (bytes, status) in [
            (post.as_bytes(), "405"),
            (long.as_bytes(), "431"),
            (&b"GET / HTTP/1.1\r\nHost: rebound.example\r\n\r\n"[..], "421"),
            (b"GET / HTTP/1.1\r\n\r\n", "421"),
            (b"GET /probe.key HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
            (b"\x16\x03\x01\x00\xa5\x01\x00\x00", "400"),
        ] {
            let answer = say(address, bytes);
            assert!(answer.starts_with(&format!("HTTP/1.0 {status} ")), "{status}: {answer}");
            assert!(!answer.contains("Probe 7") && answer.contains("Content-Security-Policy"), "{answer}");
        }
        assert_eq!(say(address, b""), "");
        assert_eq!(say(address, b"GET / HTTP/1.1\r\nHost: lo"), "", "half a question");
        // Who says nothing has to go after a time, and the next one has his turn.
        let silent = [connect(address)];
        let (head, _) = get(address, "/");
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        for mut stream in silent {
            assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0, "they were not answered");
        }
    })
    .await
    .unwrap();
}
