//! ICMP errors about our packets, and packets that cannot be sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use sonde_engine::{ErrorDetails, Transmit, icmp};
use sonde_probe::net::clock::Moment;
use sonde_probe::net::icmp_socket::IcmpMode;
use sonde_probe::net::{Job, Options};
use sonde_protocol::net::Family;
use sonde_protocol::result::StampSource;

use crate::lab::*;

/// Type and code by family.
fn kind(family: Family, v4: (u8, u8), v6: (u8, u8)) -> (u8, u8) {
    match family {
        Family::V4 => v4,
        Family::V6 => v6,
    }
}

#[test]
fn a_packet_whose_hop_limit_runs_out_comes_back_as_an_error_that_quotes_it() {
    in_namespace(|| async {
        let _router = Router::new();
        for (family, icmp) in icmp_variants() {
            let case = format!("IPv{family} {icmp:?}");
            let driver = driver(Options { icmp, ..Options::default() });
            until_stamped(&driver).await;
            // All at once: each error makes the next send or receive fail once, and nothing may be lost by it.
            let finished = play(&driver, family, 8, move |first| {
                let limited = |sequence| Transmit {
                    hop_limit: Some(1),
                    traffic_class: 0x48,
                    ..echo(Router::beyond(family), sequence, b"how far?")
                };
                numbers(first, 8).map(limited).collect()
            })
            .await;

            let script = finished.engine;
            assert_eq!((script.errors.len(), script.send_errors.len()), (8, 0), "{case}");
            assert_eq!(finished.info.source, StampSource::Kernel, "{case}");
            for (error, sequence) in script.errors.iter().zip(numbers(script.first_sequence, 8)) {
                assert_eq!((error.kind, error.code), kind(family, (11, 0), (3, 0)), "{case}");
                assert_eq!((error.from, error.hop_limit), (Router::address(family), Some(64)), "{case}");
                assert!(error.received_at >= script.sent_at(sequence.into()), "{case}");
                let quoted = icmp::Message::parse(family, &error.quoted).unwrap();
                assert_eq!((quoted.kind, quoted.sequence), (icmp::Kind::EchoRequest, sequence), "{case}");
                assert_eq!(quoted.payload, b"how far?", "{case}");
                let quoted_dst = Some(Router::beyond(family));
                assert_eq!(error.details, ErrorDetails { quoted_dst, ..ErrorDetails::default() }, "{case}");
                assert_eq!((error.mtu, &error.extensions), (None, &None), "{case}");
            }
        }
    });
}

#[test]
fn a_packet_too_big_for_the_path_learns_its_mtu() {
    in_namespace(|| async {
        let _router = Router::new();
        for (family, icmp) in icmp_variants() {
            let driver = driver(Options { icmp, ..Options::default() });
            let finished = play(&driver, family, 2, move |first| {
                let big =
                    |sequence| Transmit { dont_fragment: true, ..echo(Router::beyond(family), sequence, &[0; 1300]) };
                numbers(first, 2).map(big).collect()
            })
            .await;
            let errors = finished.engine.errors;
            assert_eq!(
                errors.len(),
                2,
                "IPv{family} {icmp:?}: the second too, whatever the first has taught the system"
            );
            for error in errors {
                assert_eq!((error.kind, error.code), kind(family, (3, 4), (2, 0)), "IPv{family} {icmp:?}");
                assert_eq!(error.mtu, Some(1280), "IPv{family} {icmp:?}");
            }
        }
    });
}

#[test]
fn an_error_with_extensions_gives_them_apart_from_the_quote() {
    // One MPLS label stack object (RFC 4950): label 16, bottom of stack, TTL 1.
    const MPLS: [u8; 8] = [0, 8, 1, 1, 0x00, 0x01, 0x01, 0x01];
    in_namespace(|| async {
        for icmp in [IcmpMode::Datagram, IcmpMode::Raw] {
            let router = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
            let forge = std::thread::spawn(move || {
                let us: SocketAddr = "127.0.0.1:0".parse().unwrap();
                router.send_to(&time_exceeded(&read_request(&router), &MPLS), &us.into()).unwrap();
            });
            let driver = driver(Options { icmp, ..Options::default() });
            let dst = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
            // The reply of this host and the error of the router.
            let make = move |first, moment: Moment| Script::new(first, moment, vec![echo(dst, first, b"labels?")], 2);
            let finished = driver.run(Job { family: Family::V4, sequences: 1, make }).await.unwrap();
            forge.join().unwrap();

            let script = finished.engine;
            assert_eq!(script.errors.len(), 1, "{icmp:?}");
            let error = &script.errors[0];
            assert_eq!(error.quoted.len(), 128 - 20, "{icmp:?}: RFC 4884 pads the quote to 128 bytes");
            assert_eq!(icmp::Message::parse(Family::V4, &error.quoted).unwrap().sequence, script.first_sequence);
            let extensions = error.extensions.as_deref().unwrap();
            assert_eq!((extensions[0], &extensions[4..]), (0x20, &MPLS[..]), "{icmp:?}: version 2, then the object");
            assert_eq!(error.details.quoted_dst, Some(dst), "{icmp:?}");
        }
    });
}

/// Waits for an echo request and gives its IP packet.
fn read_request(router: &Socket) -> Vec<u8> {
    use std::io::Read;
    let mut packet = [0; 1500];
    loop {
        let length = (&*router).read(&mut packet).expect("an ICMP message");
        if packet[20] == 8 {
            return packet[..length].to_vec();
        }
    }
}

/// An ICMP time exceeded with extensions (RFC 4884) about `packet`.
fn time_exceeded(packet: &[u8], object: &[u8]) -> Vec<u8> {
    let mut extensions = vec![0x20, 0, 0, 0];
    extensions.extend(object);
    let sum = icmp::checksum(&extensions);
    extensions[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut message = vec![11, 0, 0, 0, 0, 128 / 4, 0, 0];
    message.extend(packet);
    message.resize(8 + 128, 0);
    message.extend(extensions);
    icmp::fill_checksum(&mut message);
    message
}

#[test]
fn what_cannot_be_sent_is_told_and_disturbs_nobody() {
    in_namespace(|| async {
        // Two ways to fail in the kernel: no route, and a packet filter. They differ in what they do to its counter of
        // stamps, so a good packet between them could get another one's stamp.
        if std::process::Command::new("nft").arg("-v").output().is_err() {
            eprintln!("SKIPPED: needs nft");
            return;
        }
        run("nft", "add table inet lab");
        run("nft", "add chain inet lab out { type filter hook output priority 0 ; }");
        run("nft", "add rule inet lab out ip daddr 127.0.0.66 drop");
        run("nft", "add rule inet lab out ip6 daddr fd66::66 drop");
        ip("-6 route add local fd66::/64 dev lo");
        for (family, icmp) in icmp_variants() {
            let case = format!("IPv{family} {icmp:?}");
            let driver = driver(Options { icmp, ..Options::default() });
            until_stamped(&driver).await;
            let (nowhere, dropped): (IpAddr, IpAddr) = match family {
                Family::V4 => ("192.0.2.1".parse().unwrap(), "127.0.0.66".parse().unwrap()),
                Family::V6 => ("2001:db8::1".parse().unwrap(), "fd66::66".parse().unwrap()),
            };
            // The kernel says nothing of a packet filter's drop on unprivileged ICMPv6 sockets (icmpv6_push_pending_frames).
            let silent = (family, icmp) == (Family::V6, IcmpMode::Datagram);
            let (targets, failures) = if silent {
                (vec![localhost(family), nowhere], vec!["Network is unreachable"])
            } else {
                (vec![localhost(family), nowhere, dropped], vec!["Network is unreachable", "Operation not permitted"])
            };
            let count = 10 * u16::try_from(targets.len()).unwrap();
            let make = move |first, moment| {
                let targets = targets.into_iter().cycle().take(count.into());
                let packets =
                    targets.zip(numbers(first, count)).map(|(dst, sequence)| echo(dst, sequence, b"x")).collect();
                Script::new(first, moment, packets, count.into()).one_by_one()
            };
            let finished = driver.run(Job { family, sequences: count, make }).await.unwrap();

            let script = finished.engine;
            assert_eq!(script.datagrams.len(), 10, "{case}");
            let words: Vec<_> = script.send_errors.iter().map(|(_, why)| why.as_str()).collect();
            assert_eq!(words, failures.repeat(10), "{case}");
            assert_eq!(finished.info.source, StampSource::Kernel, "{case}");
            // Each packet had its reply before the next one left, so a stamp in another's place shows.
            for ((meta, _), stamps) in script.datagrams.iter().zip(script.sent.values()) {
                assert!(stamps.len() == 2 && stamps[0] <= stamps[1], "{case}: {stamps:?}");
                assert!(stamps[1] <= meta.received_at, "{case}");
            }
        }
    });
}
