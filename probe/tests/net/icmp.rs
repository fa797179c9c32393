//! Echo requests and what comes back.

use std::net::{IpAddr, Ipv4Addr};

use sonde_engine::icmp::{Kind, Message};
use sonde_engine::ping::{Ping, PingConfig};
use sonde_probe::net::clock::Moment;
use sonde_probe::net::icmp_socket::IcmpMode;
use sonde_probe::net::{Job, NetError, Options};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::result::{Outcome, PingReply, StampSource};
use sonde_protocol::spec::PingSpec;

use crate::lab::*;

#[test]
fn an_echo_reply_has_kernel_stamps_and_a_hop_limit() {
    in_namespace(|| async {
        for (family, icmp) in icmp_variants() {
            let case = format!("IPv{family} {icmp:?}");
            let driver = driver(Options { icmp, ..Options::default() });
            until_stamped(&driver).await;
            let dst = localhost(family);
            let finished = play(&driver, family, 1, move |first| vec![echo(dst, first, b"payload")]).await;

            let script = finished.engine;
            assert_eq!(finished.info.source, StampSource::Kernel, "{case}");
            assert_eq!(finished.info.src_addr, Some(dst), "{case}");
            assert!(finished.info.ended_at.monotonic >= finished.info.started_at.monotonic);
            let stamps: Vec<_> = script.sent.values().flatten().collect();
            assert_eq!(stamps.len(), 2, "{case}: our stamp, then the kernel's");
            let (meta, bytes) = &script.datagrams[0];
            assert!(meta.received_at >= script.sent_at(script.first_sequence.into()), "{case}");
            assert_eq!((meta.from, meta.from_port, meta.hop_limit), (dst, 0, Some(64)), "{case}");
            let message = Message::parse(family, bytes).unwrap();
            assert_eq!((message.kind, message.sequence), (Kind::EchoReply, script.first_sequence), "{case}");
            assert_eq!(message.payload, b"payload", "{case}");
        }
    });
}

#[test]
fn the_ping_engine_measures_by_it() {
    in_namespace(|| async {
        let _router = Router::new();
        for (family, icmp) in icmp_variants() {
            let driver = driver(Options { icmp, ..Options::default() });
            until_stamped(&driver).await;
            let dst = Router::address(family);
            let spec = PingSpec { packets: 3, packet_interval: 2, ..PingSpec::default() };
            let make = move |first_sequence, moment: Moment| {
                let config = PingConfig { spec, dst, first_sequence, cookie: 0x5eed, probe_id: ProbeId(1) };
                Ping::new(config, moment.monotonic)
            };
            let finished = driver.run(Job { family, sequences: 3, make }).await.unwrap();
            let Outcome::Ping(outcome) = finished.outcome else { panic!("{:?}", finished.outcome) };
            assert_eq!((outcome.sent, outcome.replies.len()), (3, 3), "IPv{family} {icmp:?}");
            for reply in outcome.replies.iter() {
                let PingReply::Reply(reply) = reply else { panic!("{reply:?}") };
                assert!(reply.rtt > 0 && reply.hop_limit == Some(64), "IPv{family} {icmp:?}: {reply:?}");
            }
            assert_eq!((finished.info.source, finished.engine.ignored()), (StampSource::Kernel, 0));
        }
    });
}

#[test]
fn two_hundred_jobs_at_once_get_their_own_replies() {
    in_namespace(|| async {
        for (family, icmp) in icmp_variants() {
            let driver = driver(Options { icmp, packets_per_second: 100_000, burst: 100, ..Options::default() });
            let jobs: Vec<_> = (0..200u8)
                .map(|number| {
                    let dst = match family {
                        Family::V4 => IpAddr::V4(Ipv4Addr::new(127, 0, 1, number)),
                        Family::V6 => localhost(Family::V6),
                    };
                    play(&driver, family, 3, move |first| {
                        numbers(first, 3).map(|sequence| echo(dst, sequence, &[number; 20])).collect()
                    })
                })
                .collect();
            for (number, finished) in join_all(jobs).await.into_iter().enumerate() {
                let script = finished.engine;
                let mut sequences: Vec<_> = script
                    .datagrams
                    .iter()
                    .map(|(_, bytes)| {
                        let message = Message::parse(family, bytes).unwrap();
                        assert_eq!(message.payload, &[number as u8; 20], "IPv{family} {icmp:?}");
                        message.sequence
                    })
                    .collect();
                sequences.sort_unstable();
                let expected: Vec<_> = numbers(script.first_sequence, 3).collect();
                assert_eq!(sequences, expected, "IPv{family} {icmp:?}, job {number}");
            }
        }
    });
}

/// Awaits all of them together.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut futures {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if futures.iter().any(|(_, output)| output.is_none()) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(futures.iter_mut().filter_map(|(_, output)| output.take()).collect())
    })
    .await
}

#[test]
fn two_drivers_on_one_host_do_not_get_each_others_replies() {
    in_namespace(|| async {
        for (family, icmp) in icmp_variants() {
            let options = Options { icmp, ..Options::default() };
            let (one, other) = (driver(options.clone()), driver(options));
            let dst = localhost(family);
            // Every number there is, so the two use the same ones.
            let ping = |driver, text: &'static [u8]| {
                play(driver, family, u16::MAX, move |first| {
                    numbers(first, 20).map(|sequence| echo(dst, sequence, text)).collect()
                })
            };
            let (mine, theirs) = tokio::join!(ping(&one, b"mine"), ping(&other, b"theirs"));
            for (script, text) in [(mine.engine, &b"mine"[..]), (theirs.engine, b"theirs")] {
                assert_eq!(script.datagrams.len(), 20, "IPv{family} {icmp:?}");
                for (_, bytes) in &script.datagrams {
                    assert_eq!(Message::parse(family, bytes).unwrap().payload, text, "IPv{family} {icmp:?}");
                }
            }
        }
    });
}

#[test]
fn a_large_request_travels_in_fragments() {
    in_namespace(|| async {
        for (family, icmp) in icmp_variants() {
            let driver = driver(Options { icmp, ..Options::default() });
            ip("link set lo mtu 1500");
            let dst = localhost(family);
            let finished = play(&driver, family, 2, move |first| {
                let mut whole = echo(dst, first + 1, &[7; 4000]);
                whole.dont_fragment = true;
                vec![echo(dst, first, &[7; 4000]), whole]
            })
            .await;
            let script = finished.engine;
            assert_eq!(script.datagrams.len(), 1, "IPv{family} {icmp:?}");
            assert_eq!(script.datagrams[0].1.len(), 4008, "IPv{family} {icmp:?}");
            let why: Vec<_> = script.send_errors.iter().map(|(_, why)| why.as_str()).collect();
            assert_eq!(why, ["Message too long"], "IPv{family} {icmp:?}: must not be fragmented");
        }
    });
}

#[test]
fn without_permission_the_error_says_what_to_do() {
    in_namespace(|| async {
        allow_unprivileged_icmp(false);
        for family in Family::BOTH {
            let driver = driver(Options { icmp: IcmpMode::Datagram, ..Options::default() });
            let make = |first, moment| Script::new(first, moment, Vec::new(), 0);
            let error = driver.run(Job { family, sequences: 1, make }).await.err();
            let Some(NetError::NoIcmp { raw: None, datagram: Some(_), .. }) = error else { panic!("{error:?}") };
            let words = error.unwrap().to_string();
            assert!(words.contains("ping_group_range") && words.contains("CAP_NET_RAW"), "{words}");
            // Other kinds work all the same.
            let dst = localhost(family);
            let finished = play(&driver, family, 0, move |_| vec![datagram(dst, 9, 0, b"anybody?")]).await;
            assert_eq!(finished.engine.errors.len(), 1);
        }
    });
}

#[test]
fn raw_sockets_step_in_where_unprivileged_ones_are_forbidden() {
    in_namespace(|| async {
        allow_unprivileged_icmp(false);
        let driver = driver(Options::default());
        for family in Family::BOTH {
            let dst = localhost(family);
            let finished = play(&driver, family, 1, move |first| vec![echo(dst, first, b"x")]).await;
            assert_eq!(finished.engine.datagrams.len(), 1, "IPv{family}");
        }
    });
}
