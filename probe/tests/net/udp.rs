//! UDP engines.

use std::net::{SocketAddr, UdpSocket};

use sonde_probe::net::{Job, Options, source_address};
use sonde_protocol::net::Family;
use sonde_protocol::result::StampSource;

use crate::lab::*;

/// Answers every datagram twice: from its own port and from another one.
fn echo_twice(family: Family) -> u16 {
    let bind = || UdpSocket::bind(SocketAddr::new(localhost(family), 0)).expect("a port");
    let (server, stranger) = (bind(), bind());
    let port = server.local_addr().expect("bound").port();
    // It ends with the process; its namespace holds nothing else.
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = server.recv_from(&mut buffer) {
            for socket in [&server, &stranger] {
                let _ = socket.send_to(&buffer[..length], client);
            }
        }
    });
    port
}

#[test]
fn answers_come_with_their_source_and_kernel_stamps() {
    in_namespace(|| async {
        for family in Family::BOTH {
            let driver = driver(Options::default());
            until_stamped(&driver).await;
            let port = echo_twice(family);
            let dst = localhost(family);
            let make = move |first, moment| {
                let packets = vec![datagram(dst, port, 0, b"one"), datagram(dst, port, 1, b"two")];
                Script::new(first, moment, packets, 4)
            };
            let finished = driver.run(Job { family, sequences: 0, make }).await.unwrap();
            let script = finished.engine;
            assert_eq!((script.datagrams.len(), finished.info.source), (4, StampSource::Kernel), "IPv{family}");
            let from_server = script.datagrams.iter().filter(|(meta, _)| meta.from_port == port).count();
            assert_eq!(from_server, 2, "IPv{family}: the others are seen to come from elsewhere");
            for (meta, bytes) in &script.datagrams {
                assert_eq!((meta.from, meta.hop_limit), (dst, Some(64)), "IPv{family}");
                let token = if bytes == b"one" { 0 } else { 1 };
                assert!(meta.received_at >= script.sent_at(token), "IPv{family}");
            }
        }
    });
}

#[test]
fn a_closed_port_answers_with_an_error_that_quotes_the_payload() {
    in_namespace(|| async {
        let driver = driver(Options::default());
        until_stamped(&driver).await;
        for family in Family::BOTH {
            let dst = localhost(family);
            // Several at once: an error makes the next send or receive fail once.
            let finished = play(&driver, family, 0, move |_| {
                (0..5).map(|token| datagram(dst, 9, token, &[token as u8; 30])).collect()
            })
            .await;
            let script = finished.engine;
            assert_eq!((script.errors.len(), script.send_errors.len()), (5, 0), "IPv{family}");
            assert_eq!(finished.info.source, StampSource::Kernel, "IPv{family}");
            for (token, error) in script.errors.iter().enumerate() {
                let expected = if family == Family::V4 { (3, 3) } else { (1, 4) };
                assert_eq!((error.kind, error.code), expected);
                assert_eq!((error.from, error.hop_limit), (dst, Some(64)), "IPv{family}");
                assert_eq!(error.quoted, [token as u8; 30], "IPv{family}");
                assert_eq!((error.details.size, error.details.quoted_dst), (None, Some(dst)), "IPv{family}");
            }
        }
    });
}

#[test]
fn a_job_keeps_one_source_port() {
    in_namespace(|| async {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let driver = driver(Options::default());
        let dst = localhost(Family::V4);
        let make = move |first, moment| {
            let packets = (0..3).map(|token| datagram(dst, port, token, b"flow")).collect();
            Script::new(first, moment, packets, 0)
        };
        driver.run(Job { family: Family::V4, sequences: 0, make }).await.unwrap();
        let mut buffer = [0; 16];
        let sources: Vec<_> = (0..3).map(|_| server.recv_from(&mut buffer).unwrap().1).collect();
        assert!(sources.iter().all(|source| *source == sources[0]), "{sources:?}");
    });
}

#[test]
fn the_source_address_is_that_of_the_way() {
    in_namespace(|| async {
        let _router = Router::new();
        for (dst, src) in
            [("127.0.0.1", "127.0.0.1"), ("10.99.0.7", "10.0.0.1"), ("::1", "::1"), ("fd99::7", "fd00::1")]
        {
            assert_eq!(source_address(dst.parse().unwrap()).unwrap().to_string(), src);
        }
        ip("-6 route del default");
        assert!(source_address("2001:db8::1".parse().unwrap()).is_err());
    });
}
