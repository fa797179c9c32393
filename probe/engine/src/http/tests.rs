use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use sonde_protocol::bounded::Text;
use sonde_protocol::result::{HttpHead, HttpRead, MAX_HTTP_READS};

use super::*;

const START: Nanos = Nanos(7_000_000_000);

fn ms(ms: i64) -> Nanos {
    Nanos(START.0 + ms * 1_000_000)
}

fn spec() -> HttpSpec {
    HttpSpec { header_bytes: 2048, ..HttpSpec::default() }
}

/// What a server makes of it that sends these pieces and closes the connection.
fn played(spec: &HttpSpec, pieces: &[&[u8]]) -> HttpOutcome {
    let mut exchange = Exchange::new(spec, START);
    exchange.handle(ms(10), &Event::Connected);
    if spec.https {
        exchange.handle(ms(15), &Event::Secured);
    }
    exchange.handle(ms(16), &Event::Sent);
    for piece in pieces {
        exchange.handle(ms(20), &Event::Bytes(piece));
    }
    exchange.handle(ms(30), &Event::Closed);
    exchange.finish()
}

fn answered(response: &[u8]) -> HttpOutcome {
    played(&spec(), &[response])
}

fn failure(outcome: &HttpOutcome) -> &str {
    outcome.failure.as_deref().unwrap_or("none")
}

#[test]
fn requests() {
    let text = |spec: &HttpSpec, host: &str| String::from_utf8(Plan::new(spec, host).unwrap().request).unwrap();
    let agent = USER_AGENT;
    assert_eq!(
        text(&HttpSpec::default(), "a.example."),
        format!("GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n")
    );
    let post = HttpSpec {
        method: HttpMethod::Post,
        path: Text::cut("/x"),
        query_string: Some(Text::cut("a=b")),
        port: 8080,
        version_1_1: false,
        ..HttpSpec::default()
    };
    assert_eq!(
        text(&post, "2001:db8::1"),
        format!(
            "POST /x?a=b HTTP/1.0\r\nHost: [2001:db8::1]:8080\r\nUser-Agent: {agent}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        )
    );
    for host in ["", "a b", "a\r\nX: y", "ä.example"] {
        assert!(Plan::new(&HttpSpec::default(), host).is_err(), "{host:?}");
    }
    let smuggled = HttpSpec { query_string: Some(Text::cut("x HTTP/1.1\r\n\r\nGET /")), ..HttpSpec::default() };
    assert!(Plan::new(&smuggled, "a.example").is_err());
}

#[test]
fn bodies_end_in_three_ways_or_are_not_there() {
    let head = |status, size| Some(HttpHead { status, version_1_1: true, size });
    for (response, status, size, rt) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcdefgh", 200, 5, 20),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", 200, 5, 20),
        ("HTTP/1.1 200 OK\r\n\r\nabcdefgh", 200, 8, 30),
        ("HTTP/1.1 200\r\n\r\n", 200, 0, 30),
        ("HTTP/1.1 404 Not Found\nContent-Length: 1\n\nx", 404, 1, 20),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n1f;x=\"y\"\r\n0123456789012345678901234567890\r\n0\r\n\r\n",
            200,
            36,
            20,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\nA  \n0123456789\n000\nTrailer: x\n\nmore",
            200,
            10,
            20,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, 0, 20),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", 200, 3, 30),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, 0, 20),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", 304, 0, 20),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 0, 20),
        ("HTTP/1.1 101 Switching\r\n\r\nabc", 101, 0, 20),
    ] {
        let seen = answered(response.as_bytes());
        assert_eq!(failure(&seen), "none", "{response}");
        let end = response.find("\r\n\r\n").map(|at| at + 4).or_else(|| response.find("\n\n").map(|at| at + 2));
        assert_eq!(seen.head, head(status, end.unwrap() as u32), "{response}");
        assert_eq!((seen.body_size, seen.rt), (size, Some(rt * 1_000_000)), "{response}");
    }
}

#[test]
fn a_head_alone_has_no_body_whatever_it_says() {
    let head = HttpSpec { method: HttpMethod::Head, ..spec() };
    let seen = played(&head, &[b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"]);
    assert_eq!((seen.rt, seen.body_size, failure(&seen)), (Some(20_000_000), 0, "none"));
}

#[test]
fn interim_responses_are_skipped() {
    let seen = answered(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
    );
    assert_eq!(seen.head, Some(HttpHead { status: 200, version_1_1: false, size: 38 }));
    assert_eq!((seen.body_size, seen.header.as_deref()), (2, Some(&b"Content-Length: 2\r\n\r\n"[..])));
}

#[test]
fn no_more_of_the_body_is_read_than_may_be() {
    let limited = HttpSpec { max_bytes_read: Some(4), ..spec() };
    for (response, size, truncated) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd", 4, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde", 4, true),
        ("HTTP/1.1 200 OK\r\n\r\nabcd", 4, false),
        ("HTTP/1.1 200 OK\r\n\r\nabcde", 4, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", 4, false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nff\r\ncdefgh", 4, true),
    ] {
        let seen = played(&limited, &[response.as_bytes()]);
        assert_eq!((seen.body_size, seen.truncated, failure(&seen)), (size, truncated, "none"), "{response}");
    }
    // However long it goes on.
    let piece = [b'x'; 60_000];
    let pieces: Vec<&[u8]> =
        core::iter::once(&b"HTTP/1.1 200 OK\r\n\r\n"[..]).chain(core::iter::repeat_n(&piece[..], 20)).collect();
    let seen = played(&spec(), &pieces);
    assert_eq!((seen.body_size, seen.truncated), (1_020_048, true));
}

#[test]
fn as_much_of_the_header_as_asked_for() {
    let response = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 0\r\n\r\n";
    let shown = |header_bytes| played(&HttpSpec { header_bytes, ..HttpSpec::default() }, &[response]).header;
    assert_eq!(shown(0), None);
    assert_eq!(shown(5).as_deref(), Some(&b"Serve"[..]));
    assert_eq!(shown(2048).as_deref(), Some(&response[17..]));
}

#[test]
fn times_are_told_when_asked_for() {
    let pieces: [&[u8]; 2] = [b"HTTP/1.1 200 OK\r\n", b"\r\nabc"];
    let plain = played(&HttpSpec { https: true, ..HttpSpec::default() }, &pieces);
    assert_eq!((plain.connect, plain.tls, plain.first_byte, plain.reads.len()), (None, None, None, 0));
    let more = HttpSpec { https: true, extended_timing: true, more_extended_timing: true, ..HttpSpec::default() };
    let seen = played(&more, &pieces);
    assert_eq!((seen.connect, seen.tls, seen.first_byte), (Some(10_000_000), Some(15_000_000), Some(20_000_000)));
    assert_eq!(*seen.reads, [HttpRead { offset: 0, at: 20_000_000 }, HttpRead { offset: 17, at: 20_000_000 }]);
    let trickle = vec![&b"HTTP/1.1 200 OK\r\n\r\n"[..]; 1].into_iter().chain(vec![&b"x"[..]; 1000]);
    assert_eq!(played(&more, &trickle.collect::<Vec<_>>()).reads.len(), MAX_HTTP_READS);
}

#[test]
fn what_is_no_response() {
    for (response, words) in [
        ("SSH-2.0-x\r\n", "bad response: no HTTP status line"),
        ("\x15\x03\x01", "bad response: no HTTP status line"),
        ("HTTP/2 200 OK\r\n\r\n", "bad response: invalid HTTP version"),
        ("HTTP/1.1 abc\r\n\r\n", "bad response: invalid response status"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "bad response: Content-Length makes no sense",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad response: Content-Length makes no sense"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz", "bad response: a chunk's size makes no sense"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11112222333344445\r\n",
            "bad response: a chunk's size makes no sense",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
            "bad response: a chunk is longer than its size",
        ),
        ("", "connection closed reading status"),
        ("HTTP/1.1 200 O", "connection closed reading status"),
        ("HTTP/1.1 200 OK\r\nServer: x\r\n", "connection closed reading header"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "connection closed reading body"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "connection closed reading chunk"),
    ] {
        let seen = answered(response.as_bytes());
        assert_eq!((failure(&seen), seen.rt), (words, None), "{response}");
    }
    let endless = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; MAX_HEAD]].concat();
    assert_eq!(failure(&answered(&endless)), "bad response: a header of more than 65536 bytes");
    let interim = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(4000);
    assert_eq!(failure(&answered(&interim)), "bad response: a header of more than 65536 bytes");
    let crumbs =
        [&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &b"1\r\nx\r\n".repeat(300_000)].concat();
    assert_eq!(failure(&answered(&crumbs)), "bad response: chunks of little more than their sizes");
}

#[test]
fn a_failure_behind_the_head_leaves_what_was_seen() {
    let seen = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc");
    assert_eq!((seen.head.map(|head| head.status), seen.body_size), (Some(200), 3));
}

#[test]
fn failures_name_their_step() {
    let spec = HttpSpec { https: true, ..HttpSpec::default() };
    let steps: [(&[Event<'_>], &str, &str); 6] = [
        (&[], "connect: timeout", "connect: no"),
        (&[Event::Connected], "timeout in TLS handshake", "TLS: no"),
        (&[Event::Connected, Event::Secured], "timeout sending request", "sending request: no"),
        (&[Event::Connected, Event::Secured, Event::Sent], "timeout reading status", "reading status: no"),
        (&[Event::Bytes(b"HTTP/1.1 200 OK\r\nA")], "timeout reading header", "reading header: no"),
        (&[Event::Bytes(b"HTTP/1.1 200 OK\r\n\r\na")], "timeout reading body", "reading body: no"),
    ];
    for (events, timeout, failed) in steps {
        for (last, words) in [(Event::TimedOut, timeout), (Event::Failed(Why::cut("no")), failed)] {
            let mut exchange = Exchange::new(&spec, START);
            for event in events {
                exchange.handle(ms(1), event);
            }
            exchange.handle(ms(2), &last);
            assert!(exchange.is_over());
            exchange.handle(ms(3), &Event::Bytes(b"late"));
            assert_eq!(failure(&exchange.finish()), words);
        }
    }
    assert_eq!(failure(&Exchange::new(&spec, START).finish()), "broken off connect");
    assert_eq!(Exchange::new(&spec, START).deadline(), ms(30_000));
}

/// Bytes that look like a response more often than chance would have it.
fn response() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        1 => Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        2 => Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        2 => (0_u32..40).prop_map(|n| format!("Content-Length: {n}\r\n").into_bytes()),
        4 => Just(b"\r\n".to_vec()),
        2 => Just(b"\n".to_vec()),
        3 => (0_u32..20).prop_map(|n| format!("{n:x}\r\n{}\r\n", "y".repeat(n as usize)).into_bytes()),
        1 => Just(b"0\r\n\r\n".to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let parts = proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat());
    prop_oneof![
        4 => parts.clone(),
        4 => parts.prop_map(|rest| [b"HTTP/1.1 200 OK\r\n", rest.as_slice()].concat()),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #[test]
    fn however_it_is_cut_it_is_read_the_same(
        bytes in response(),
        cuts in proptest::collection::vec(1_usize..30, 1..10),
        most in proptest::option::of(1_u32..30),
        method in prop_oneof![4 => Just(HttpMethod::Get), 1 => Just(HttpMethod::Head)],
    ) {
        let spec = HttpSpec { max_bytes_read: most, method, ..spec() };
        let whole = played(&spec, &[&bytes]);
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(&played(&spec, &pieces), &whole);
        prop_assert!(whole.failure.is_some() != whole.rt.is_some());
        prop_assert!(whole.body_size <= u64::from(most.unwrap_or(u32::MAX)));
    }
}
