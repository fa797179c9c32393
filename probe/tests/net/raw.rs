//! What needs CAP_NET_RAW: TCP segments, the quoted header of ICMP errors, IPv6 options headers.

use std::net::{IpAddr, TcpListener};

use sonde_engine::tcp::{Segment, flag};
use sonde_engine::{ErrorDetails, Needs, Token, Transmit};
use sonde_probe::net::clock::Moment;
use sonde_probe::net::icmp_socket::IcmpMode;
use sonde_probe::net::{Job, Options, raw_allowed};
use sonde_protocol::net::Family;
use sonde_protocol::result::StampSource;

use crate::lab::*;

const DETAILS: Needs = Needs { error_details: true, source_port: None, hop_by_hop: 0, destination: 0, link: 0 };

/// Type of "time exceeded".
fn time_exceeded(family: Family) -> (u8, u8) {
    if family == Family::V4 { (11, 0) } else { (3, 0) }
}

/// A script that wants details, of packets that all come back.
fn needing(needs: Needs, packets: Vec<Transmit>) -> impl FnOnce(u16, Moment) -> Script + Send {
    move |first, moment| {
        let wanted = packets.len();
        Script::new(first, moment, packets, wanted).one_by_one().needing(needs)
    }
}

#[test]
fn an_open_port_accepts_and_a_closed_one_refuses() {
    in_namespace(|| async {
        for family in Family::BOTH {
            raw_allowed(family).unwrap();
            let dst = localhost(family);
            let listener = TcpListener::bind((dst, 0)).unwrap();
            let open = listener.local_addr().unwrap().port();
            let driver = driver(Options::default());
            until_stamped(&driver).await;
            let sequence = 0x00c0_ffee;
            let finished = play(&driver, family, 0, move |_| {
                (0..3).map(|n| syn(dst, Some(20_481), open, sequence + n * 4096, b"payload")).collect()
            })
            .await;
            // All three at once: a host answers the second in words of the first, so only some are SYN-ACKs.
            let script = finished.engine;
            assert_eq!(finished.info.source, StampSource::Kernel, "IPv{family}");
            let (meta, bytes) = &script.datagrams[0];
            let segment = Segment::parse(bytes).unwrap();
            assert_eq!(segment.flags, flag::SYN | flag::ACK, "IPv{family}");
            assert_eq!(segment.acknowledgement, sequence + 1, "IPv{family}");
            assert_eq!((segment.source_port, segment.destination_port), (open, 20_481), "IPv{family}");
            assert_eq!(segment.options[..2], [2, 4], "IPv{family}: MSS");
            assert_eq!((meta.from, meta.from_port, meta.hop_limit), (dst, 0, Some(64)), "IPv{family}");
            assert!(meta.received_at >= script.sent_at(sequence), "IPv{family}");
            // This host's kernel has refused what the listener thought was opened.
            listener.set_nonblocking(true).unwrap();
            assert!(listener.accept().is_err(), "IPv{family}: no connection came to be");

            drop(listener);
            let finished = play(&driver, family, 0, move |_| vec![syn(dst, None, open, 7, b"payload")]).await;
            let segment = Segment::parse(&finished.engine.datagrams[0].1).unwrap();
            assert_eq!((segment.flags, segment.acknowledgement), (flag::RST | flag::ACK, 7 + 1 + 7), "IPv{family}");
            assert_ne!(segment.destination_port, 20_481, "IPv{family}: the system chose");
        }
    });
}

#[test]
fn two_runs_with_one_port_get_their_own_answers() {
    in_namespace(|| async {
        for family in Family::BOTH {
            let dst = localhost(family);
            let driver = driver(Options::default());
            let run =
                |port: u16| play(&driver, family, 0, move |_| vec![syn(dst, Some(20_482), port, port.into(), b"")]);
            let (one, other) = tokio::join!(run(81), run(82));
            for (finished, port) in [(one, 81), (other, 82)] {
                let answers: Vec<_> =
                    finished.engine.datagrams.iter().map(|(_, bytes)| Segment::parse(bytes)).collect();
                assert_eq!(answers.len(), 1, "IPv{family}");
                let answer = answers[0].unwrap();
                assert_eq!((answer.source_port, answer.destination_port), (port, 20_482), "IPv{family}");
            }
        }
    });
}

#[test]
fn a_port_that_is_taken_is_replaced() {
    in_namespace(|| async {
        let dst = localhost(Family::V4);
        let _taken = TcpListener::bind((dst, 20_483)).unwrap();
        let driver = driver(Options::default());
        let finished = play(&driver, Family::V4, 0, move |_| vec![syn(dst, Some(20_483), 9, 1, b"")]).await;
        let answer = Segment::parse(&finished.engine.datagrams[0].1).unwrap().destination_port;
        assert_ne!(answer, 20_483);
    });
}

#[test]
fn errors_about_any_packet_come_with_their_size_and_the_quoted_header() {
    in_namespace(|| async {
        let _router = Router::new();
        for (family, icmp) in icmp_variants() {
            let case = format!("IPv{family} {icmp:?}");
            let driver = driver(Options { icmp, ..Options::default() });
            until_stamped(&driver).await;
            let limited = move |packet: Transmit| Transmit { hop_limit: Some(1), traffic_class: 0x48, ..packet };
            let dst = Router::beyond(family);
            let ip_header = if family == Family::V4 { 20 } else { 40 };
            for (name, header, payload, packet) in [
                ("UDP", 8, 30, limited(datagram(dst, 33_435, 0, &[7; 30]))),
                ("TCP", 20, 40, limited(syn(dst, Some(20_485), 80, 1, &[7; 40]))),
                ("TCP without payload", 20, 0, limited(syn(dst, Some(20_485), 80, 1, b""))),
            ] {
                let second = Transmit { token: Token(packet.token.0 + 1), ..packet.clone() };
                let tokens = [packet.token.0, second.token.0];
                let job = Job { family, sequences: 0, make: needing(DETAILS, vec![packet, second]) };
                let finished = driver.run(job).await.unwrap();
                let script = finished.engine;
                assert_eq!((script.errors.len(), finished.info.source), (2, StampSource::Kernel), "{case} {name}");
                for (error, token) in script.errors.iter().zip(tokens) {
                    assert_eq!((error.kind, error.code), time_exceeded(family), "{case} {name}");
                    assert_eq!((error.from, error.hop_limit), (Router::address(family), Some(64)), "{case} {name}");
                    assert!(error.received_at >= script.sent_at(token), "{case} {name}");
                    let expected = ErrorDetails {
                        size: Some(8 + ip_header + header + payload),
                        quoted_dst: Some(dst),
                        quoted_hop_limit: Some(1),
                        quoted_traffic_class: Some(0x48),
                        ..ErrorDetails::default()
                    };
                    assert_eq!(error.details, expected, "{case} {name}");
                }
            }
            let make = move |first, moment| {
                let packets = numbers(first, 8).map(|n| limited(echo(dst, n, b"how far?"))).collect();
                Script::new(first, moment, packets, 8).needing(DETAILS)
            };
            let finished = driver.run(Job { family, sequences: 8, make }).await.unwrap();
            assert_eq!(finished.engine.errors.len(), 8, "{case}");
            for error in &finished.engine.errors {
                assert_eq!(error.details.size, Some(8 + ip_header + 16), "{case}");
                assert_eq!(error.details.quoted_hop_limit, Some(1), "{case}");
            }
        }
    });
}

#[test]
fn options_headers_go_out_and_are_seen_in_quotes() {
    in_namespace(|| async {
        let _router = Router::new();
        let dst: IpAddr = Router::beyond(Family::V6);
        let driver = driver(Options { icmp: IcmpMode::Datagram, ..Options::default() });
        // Linux drops packets with more padding than that in a hop-by-hop header, and looks at no other on the way.
        let needs = Needs { error_details: true, source_port: None, hop_by_hop: 6, destination: 256, link: 0 };
        for transport in ["ICMP", "UDP", "TCP"] {
            let make = move |first, moment| {
                let packet = match transport {
                    "ICMP" => echo(dst, first, b"options?"),
                    "UDP" => datagram(dst, 33_435, 0, b"options?"),
                    _ => syn(dst, None, 80, 1, b"options?"),
                };
                let packet = Transmit { hop_limit: Some(1), ..packet };
                Script::new(first, moment, vec![packet], 1).needing(needs)
            };
            let finished = driver.run(Job { family: Family::V6, sequences: 1, make }).await.unwrap();
            let script = finished.engine;
            assert_eq!((script.errors.len(), script.send_errors.len()), (1, 0), "{transport}");
            let error = &script.errors[0];
            assert_eq!((error.kind, error.code), (3, 0), "{transport}");
            assert_eq!(error.details.hop_by_hop_size, Some(0), "{transport}: its first 8 bytes do not count");
            assert_eq!(error.details.destination_size, Some(256), "{transport}");
            let header = if transport == "TCP" { 20 } else { 8 };
            assert_eq!(error.details.size, Some(8 + 40 + 8 + 264 + header + 8), "{transport}");
        }
    });
}
