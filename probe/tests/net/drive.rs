//! The driver: many jobs, numbers that run out, jobs that are given up, clocks that lie.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sonde_engine::ping::{Ping, PingConfig};
use sonde_engine::traceroute::{Traceroute, TracerouteConfig};
use sonde_probe::net::clock::{ClockSource, Moment, SystemClock};
use sonde_probe::net::{Driver, Job, NetError, Options};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::result::{HopReply, Outcome, PingReply, StampSource};
use sonde_protocol::spec::{PingSpec, TracerouteSpec};
use sonde_protocol::time::{Nanos, UnixNanos};

use crate::lab::*;

const V4: Family = Family::V4;

/// A job that waits for what never comes.
fn endless(sequences: u16) -> Job<impl FnOnce(u16, sonde_probe::net::clock::Moment) -> Script + Send> {
    Job { family: V4, sequences, make: |first, moment| Script::new(first, moment, Vec::new(), 1) }
}

#[test]
fn sequence_numbers_go_round() {
    in_namespace(|| async {
        let driver = driver(Options { quarantine: Duration::ZERO, ..Options::default() });
        let dst = localhost(V4);
        let mut firsts = Vec::new();
        for _ in 0..6 {
            let finished = play(&driver, V4, 20_000, move |first| {
                vec![echo(dst, first, b"first"), echo(dst, first + 19_999, b"last")]
            })
            .await;
            assert_eq!(finished.engine.datagrams.len(), 2);
            firsts.push(finished.engine.first_sequence);
        }
        assert!(firsts.windows(2).any(|pair| pair[1] < pair[0]), "went round: {firsts:?}");
        assert!(
            firsts.windows(2).all(|pair| pair[0].abs_diff(pair[1]) >= 20_000),
            "no number twice in a row: {firsts:?}"
        );
    });
}

#[test]
fn numbers_rest_after_a_job_and_the_next_one_waits_for_them() {
    in_namespace(|| async {
        let quarantine = Duration::from_millis(200);
        let driver = driver(Options { quarantine, ..Options::default() });
        let dst = localhost(V4);
        let first = play(&driver, V4, 40_000, move |first| vec![echo(dst, first, b"x")]).await;
        let second = play(&driver, V4, 40_000, move |first| vec![echo(dst, first, b"x")]).await;
        assert!(second.info.started_at.monotonic >= first.info.ended_at.monotonic + quarantine);
        assert_eq!(second.engine.datagrams.len(), 1);
    });
}

#[test]
fn a_job_given_up_frees_its_numbers() {
    in_namespace(|| async {
        let driver = driver(Options { quarantine: Duration::ZERO, ..Options::default() });
        let dst = localhost(V4);
        let mut waits = std::pin::pin!(play(&driver, V4, 60_000, move |first| vec![echo(dst, first, b"x")]));
        {
            let mut given_up = std::pin::pin!(driver.run(endless(60_000)));
            // Polled once: it has begun.
            assert!(poll_once(given_up.as_mut()).await.is_none());
            assert!(poll_once(waits.as_mut()).await.is_none());
            {
                let mut gone = std::pin::pin!(driver.run(endless(60_000)));
                assert!(poll_once(gone.as_mut()).await.is_none());
            }
            // Others that need fewer do not wait behind them.
            play(&driver, V4, 1, move |first| vec![echo(dst, first, b"x")]).await;
        }
        assert_eq!(waits.await.engine.datagrams.len(), 1);
    });
}

/// A thousand pings and some traceroutes, all under way together: every answer finds its run, with the kernel's stamps.
#[test]
fn a_thousand_pings_at_once_get_their_own_answers() {
    in_namespace(|| async {
        let options = Options { packets_per_second: 5_000, max_jobs: 1_100, ..Options::default() };
        let driver = driver(options);
        until_stamped(&driver).await;
        let ping = async |number: u16| {
            let [high, low] = number.to_be_bytes();
            let dst = IpAddr::from([127, 1, high, low]);
            let spec = PingSpec { packets: 3, ..PingSpec::default() };
            let make = move |first_sequence, moment: Moment| {
                let config = PingConfig { spec, dst, first_sequence, cookie: number.into(), probe_id: ProbeId(1) };
                Ping::new(config, moment.monotonic)
            };
            let finished = driver.run(Job { family: V4, sequences: 3, make }).await.expect("there is room");
            assert_eq!(finished.info.source, StampSource::Kernel, "{dst}");
            let Outcome::Ping(outcome) = finished.outcome else { panic!("{:?}", finished.outcome) };
            for reply in outcome.replies.iter() {
                let PingReply::Reply(reply) = reply else { panic!("{dst}: {reply:?}") };
                assert_eq!((reply.from.0, reply.duplicate), (dst, false));
            }
            assert_eq!(outcome.replies.len(), 3);
            assert!(finished.info.rtt_error.is_some(), "{dst}");
        };
        let trace = async |number: u8| {
            let dst = IpAddr::from([127, 2, 0, number]);
            let config = TracerouteConfig {
                spec: TracerouteSpec { protocol: Transport::Udp, ..TracerouteSpec::default() },
                dst,
                first_sequence: 0,
                cookie: number.into(),
                flow: 0,
                path_length: None,
            };
            let make = move |_, moment: Moment| Traceroute::new(config, moment.monotonic).expect("a good definition");
            let finished = driver.run(Job { family: V4, sequences: 0, make }).await.expect("there is room");
            let Outcome::Traceroute(outcome) = finished.outcome else { panic!("{:?}", finished.outcome) };
            let hop = outcome.hops.first().expect("one hop");
            let from = |reply: &HopReply| matches!(reply, HopReply::Reply(answer) if answer.from.0 == dst);
            assert!(hop.replies.iter().any(from), "{dst}: {hop:?}");
        };
        let mut pings: Vec<_> = (1..=1_000).map(|number| Box::pin(ping(number))).collect();
        let mut traces: Vec<_> = (1..=20).map(|number| Box::pin(trace(number))).collect();
        for ping in &mut pings {
            assert!(poll_once(ping.as_mut()).await.is_none());
        }
        for trace in &mut traces {
            assert!(poll_once(trace.as_mut()).await.is_none());
        }
        for ping in pings {
            ping.await;
        }
        for trace in traces {
            trace.await;
        }
    });
}

async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn no_more_jobs_than_allowed() {
    in_namespace(|| async {
        let driver = driver(Options { max_jobs: 1, ..Options::default() });
        let mut first = std::pin::pin!(driver.run(endless(1)));
        assert!(poll_once(first.as_mut()).await.is_none());
        let error = driver.run(endless(1)).await.err();
        assert!(matches!(error, Some(NetError::Busy)), "{error:?}");
    });
}

#[test]
fn all_packets_leave_however_slow_the_pace() {
    in_namespace(|| async {
        let driver = driver(Options { packets_per_second: 500, burst: 1, ..Options::default() });
        let dst = localhost(V4);
        let ping = || play(&driver, V4, 20, move |first| numbers(first, 20).map(|n| echo(dst, n, b"x")).collect());
        let (one, other) = tokio::join!(ping(), ping());
        assert_eq!((one.engine.datagrams.len(), other.engine.datagrams.len()), (20, 20));
    });
}

#[test]
fn an_engine_cannot_use_the_numbers_of_another() {
    in_namespace(|| async {
        let driver = driver(Options::default());
        let dst = localhost(V4);
        let finished = play(&driver, V4, 2, move |first| vec![echo(dst, first.wrapping_add(2), b"x")]).await;
        assert_eq!(finished.engine.send_errors.len(), 1);
        assert!(finished.engine.sent.is_empty());
    });
}

/// The machine's clocks with a monotonic one that began at another time, and a wall clock that is wrong by `wrong` but
/// whose kernel stamps are not: as if it had been stepped between each stamp and the look at the clock.
#[derive(Debug)]
struct Shifted {
    monotonic: i64,
    wrong: i64,
}

impl ClockSource for Shifted {
    fn realtime(&self) -> UnixNanos {
        UnixNanos(SystemClock.realtime().0 + self.wrong)
    }

    fn monotonic(&self) -> Nanos {
        Nanos(SystemClock.monotonic().0 + self.monotonic)
    }

    fn slewed(&self) -> Nanos {
        SystemClock.slewed()
    }
}

#[test]
fn stamps_are_given_in_the_time_of_the_injected_clock() {
    in_namespace(|| async {
        let shifted = Shifted { monotonic: 3_600_000_000_000, wrong: 0 };
        let driver = Driver::new(Arc::new(shifted), Options::default()).unwrap();
        until_stamped(&driver).await;
        let dst = localhost(V4);
        let finished = play(&driver, V4, 1, move |first| vec![echo(dst, first, b"x")]).await;
        let script = finished.engine;
        assert_eq!(finished.info.source, StampSource::Kernel);
        let received_at = script.datagrams[0].0.received_at;
        assert!(script.started_at.monotonic <= script.sent_at(script.first_sequence.into()));
        assert!(received_at <= finished.info.ended_at.monotonic);
    });
}

#[test]
fn stamps_of_a_clock_that_was_stepped_are_not_used_and_the_result_says_so() {
    in_namespace(|| async {
        for wrong in [10_000_000_000, -10_000_000_000] {
            let driver = Driver::new(Arc::new(Shifted { monotonic: 0, wrong }), Options::default()).unwrap();
            let dst = localhost(V4);
            let finished = play(&driver, V4, 1, move |first| vec![echo(dst, first, b"x")]).await;
            let script = finished.engine;
            let (sent_at, received_at) =
                (script.sent_at(script.first_sequence.into()), script.datagrams[0].0.received_at);
            assert_eq!(finished.info.source, StampSource::User, "wrong by {wrong} ns");
            assert!(script.started_at.monotonic <= sent_at && sent_at <= received_at, "wrong by {wrong} ns");
            assert!(received_at <= finished.info.ended_at.monotonic, "wrong by {wrong} ns");
        }
    });
}
