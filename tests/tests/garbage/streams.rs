//! Probes that are let in, or wait to be, and say what no probe should: on the control stream, on both streams of frames,
//! and with the streams themselves.

use quinn::VarInt;
use serde_json::json;
use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::message::{
    Bye, Frame, Gap, GapReason, Health, Hello, MAX_CONTROL_UP, MAX_FRAME, RefusedReason, SpooledBoot, Up, to_cbor,
};
use sonde_protocol::net::Family;
use sonde_protocol::range_set::MAX_RANGES;
use sonde_protocol::result::{MeasurementResult, Outcome, PingOutcome, PingReply, Report, SkipReason, Skipped, Timing};
use sonde_protocol::time::UnixNanos;
use sonde_protocol::tls::SecretKey;
use sonde_protocol::wire::framed;

use crate::ground::Ground;
use crate::peer::{BOOT, Peer, Street, close, deaf, frame, hello, random_bytes, seed};

fn now() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap())
}

fn skipped(measurement: u64) -> Vec<u8> {
    let measurement = MeasurementId(measurement);
    Report::Skipped(Skipped { measurement, planned_at: now(), runs: 1, reason: SkipReason::Limit }).to_cbor()
}

fn gap(first: u64, last: Option<u64>) -> Gap {
    let reason = GapReason::SpoolFull;
    Gap { boot: BOOT, first: Seq(first), last: last.map(Seq), reason, from: now(), to: now() }
}

fn gaps(gap: Gap) -> Up {
    Up::Gaps(List::cut([gap]))
}

/// Bytes that no reader of messages accepts, with a name.
fn garbage(seed: u64, message: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut flipped = framed(message);
    flipped[4] ^= 0x60;
    vec![
        ("random bytes", [&[0, 0, 1, 0][..], &random_bytes(seed, 256)].concat()),
        ("random bytes from the first on", [&[0xee][..], &random_bytes(seed, 50_000)].concat()),
        ("a length of 4 GiB", vec![0xff; 4]),
        ("a cut message", framed(&message[..message.len() - 1])),
        ("half a message", framed(&message[..message.len() / 2])),
        ("an empty message", framed(b"")),
        ("another type of CBOR", flipped),
        ("text", framed(b"\x6bhello world")),
        ("a list without end", framed(&[0x9f; 1000])),
        ("a list of 2^64 items", framed(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("a nest", framed(&[0x81; 100_000])),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
    ]
}

/// The collector calls what a peer sent malformed. Again and again if need be, until a peer has heard how it ended.
#[track_caller]
fn closes<'a>(case: &str, stream: &str, meet: &dyn Fn() -> Peer<'a>) {
    let mut ends = (0..10).map(|_| meet().closed()).filter(|(code, _)| *code != close::RESET);
    let (code, words) = ends.next().expect("one of ten is told why");
    assert_eq!(code, close::MALFORMED, "{case} on {stream}: {words}");
    assert!(!words.is_empty(), "{case} on {stream}");
}

#[test]
fn garbage_on_each_stream() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let seed = seed();
    eprintln!("seed {seed}");
    let (_, key, _) = street.join(&ground);
    let said = to_cbor(&Up::Hello(hello()));
    let too_long = |allowed: usize| u32::try_from(allowed + 1).unwrap().to_be_bytes().to_vec();
    let mut all = garbage(seed, &said);
    all.push(("a byte too much", too_long(MAX_CONTROL_UP)));
    for (case, bytes) in all {
        closes(case, "the control stream before hello", &|| {
            let mut peer = street.meet(&key);
            peer.say_bytes(&bytes);
            peer
        });
        closes(case, "the control stream", &|| {
            let mut peer = street.again(&key);
            peer.say_bytes(&bytes);
            peer
        });
    }
    let whole = to_cbor(&frame(1, &[&skipped(1)]));
    let mut all = garbage(seed, &whole);
    all.push(("a byte too much", too_long(MAX_FRAME)));
    for (case, bytes) in all {
        // The first stream is as good as the second: nothing says which is which.
        closes(case, "the fresh stream", &|| {
            let peer = street.again(&key);
            let mut fresh = peer.lane();
            peer.write(&mut fresh, &bytes);
            peer
        });
        closes(case, "the backlog stream", &|| {
            let mut peer = street.again(&key);
            let (mut fresh, mut backlog) = (peer.lane(), peer.lane());
            peer.write(&mut fresh, &framed(&whole));
            peer.acknowledged(1);
            peer.write(&mut backlog, &bytes);
            peer
        });
    }
    ground.not_grown("garbage on the streams");
}

#[test]
fn messages_out_of_turn_and_numbers_that_make_no_sense() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let (_, key, _) = street.join(&ground);
    let foreign = BootId(0xf0e);

    for (case, message) in [
        ("gaps before hello", gaps(gap(1, Some(1)))),
        ("bye before hello", Up::Bye(Bye { boot: BOOT, last: Seq(0), at: now(), crashed: false })),
        ("health before hello", Up::Health(Health::default())),
        ("orders before hello", Up::OrdersApplied(None)),
        ("a hello that does not list its boot", Up::Hello(Hello { boots: List::default(), ..hello() })),
        ("a hello that lists another", Up::Hello(Hello { boot: foreign, ..hello() })),
    ] {
        let mut peer = street.meet(&key);
        peer.say(&message);
        assert_eq!(peer.is_refused(case).0, RefusedReason::Malformed, "{case}");
    }

    let lost = |gap: Gap| gaps(gap);
    for (case, message) in [
        ("a second hello", Up::Hello(hello())),
        ("a gap of a foreign boot", lost(Gap { boot: foreign, ..gap(1, Some(2)) })),
        ("a gap that ends before it begins", lost(gap(5, Some(4)))),
        ("a gap from nothing", lost(gap(0, Some(4)))),
        ("a gap without an end", lost(gap(1, None))),
        ("a gap of all there ever will be", lost(gap(1, Some(u64::MAX)))),
        ("a gap at the end of all numbers", lost(gap(u64::MAX, Some(u64::MAX)))),
        ("a gap far in the future", lost(gap(1 << 30, Some(1 << 30)))),
        ("a gap that goes back in time", lost(Gap { from: now(), to: UnixNanos(0), ..gap(1, Some(1)) })),
        ("the end of a foreign boot", Up::Bye(Bye { boot: foreign, last: Seq(3), at: now(), crashed: false })),
    ] {
        let mut peer = street.again(&key);
        peer.say(&message);
        assert_eq!(peer.is_refused(case).0, RefusedReason::Malformed, "{case}");
    }
    let report = skipped(1);
    for (case, bad) in [
        ("a frame of a foreign boot", Frame { boot: foreign, ..frame(1, &[&report]) }),
        ("a frame from nothing", frame(0, &[&report])),
        ("a frame at the end of all numbers", frame(u64::MAX, &[&report])),
        ("a frame beyond the end of all numbers", frame(u64::MAX, &[&report, &report])),
        ("a frame far in the future", frame(1 << 30, &[&report])),
        ("an empty frame", frame(1, &[])),
    ] {
        let mut peer = street.again(&key);
        let mut lane = peer.lane();
        peer.write(&mut lane, &framed(&to_cbor(&bad)));
        assert_eq!(peer.is_refused(case).0, RefusedReason::Malformed, "{case}");
    }

    // None of this has touched the numbers of the boot: they are all still to be used, and a sane gap is taken.
    let mut peer = street.meet(&key);
    let earlier = SpooledBoot { boot: foreign, next: Seq(10), started_at: None };
    let both = List::cut([hello().boots[0], earlier]);
    peer.say(&Up::Hello(Hello { boots: both.clone(), ..hello() }));
    let durable = peer.welcome().durable;
    assert!(durable.iter().all(|known| known.ranges.is_empty()), "{durable:?}");
    let mut lane = peer.lane();
    peer.write(&mut lane, &framed(&to_cbor(&frame(1, &[&report, &report]))));
    peer.acknowledged(2);
    peer.say(&gaps(gap(3, Some(1000))));
    peer.acknowledged(1000);
    peer.write(&mut lane, &framed(&to_cbor(&frame(1001, &[&report]))));
    peer.acknowledged(1001);
    // Of an earlier boot no more can be lost than it had used.
    peer.say(&gaps(Gap { boot: foreign, ..gap(9, Some(10)) }));
    assert_eq!(peer.is_refused("more of an earlier boot than it had").0, RefusedReason::Malformed);

    // A frame before hello waits for it; one whose probe never says hello is never read.
    let mut peer = street.meet(&key);
    let mut lane = peer.lane();
    peer.write(&mut lane, &framed(&to_cbor(&frame(1002, &[&report]))));
    peer.say(&Up::Hello(hello()));
    peer.welcome();
    peer.acknowledged(1002);
    // What a newer probe says and this collector does not know is passed over.
    peer.say_bytes(&framed(&[0x82, 0x18, 0x63, 0x81, 0x01]));
    peer.is_well();
    ground.not_grown("messages out of turn");
}

#[test]
fn unreadable_reports_are_lost_and_said_to_be() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let (mut peer, _, welcome) = street.join(&ground);
    let probes = json!([{"type": "probes", "value": welcome.probe.0.to_string(), "requested": 1}]);
    let ping = json!([{"type": "ping", "af": 4, "target": "127.0.0.1", "description": "own", "interval": 60}]);
    let own = ground.owner.measure(&ping, &probes, false).unwrap()[0];
    let good = skipped(own);
    let (cut, late) = (&good[..good.len() - 1], UnixNanos(i64::MAX));
    let measurement = MeasurementId(own);
    let future = Report::Skipped(Skipped { measurement, planned_at: late, runs: 1, reason: SkipReason::Limit });
    let reports: [&[u8]; 7] = [b"", b"\xff\xff", b"not CBOR", cut, &[0x82, 0x18, 0x63, 0x80], &future.to_cbor(), &good];
    let mut lane = peer.lane();
    peer.write(&mut lane, &framed(&to_cbor(&frame(1, &reports))));
    peer.acknowledged(7);
    let account = ground.owner.get(&format!("/api/v2/measurements/{own}/skipped/")).unwrap();
    assert_eq!(account["results"].as_array().unwrap().len(), 1, "the good one: {account}");
    let rejected = account["gaps"].as_array().unwrap().iter().filter(|gap| gap["reason"] == "rejected").count();
    assert_eq!(rejected, 6, "{account}");
    // The largest frame there can be, full of nothing.
    let largest = Bytes::new(vec![0xff; 190_000]).unwrap();
    peer.write(&mut lane, &framed(&to_cbor(&Frame { reports: List::cut([largest]), ..frame(8, &[]) })));
    peer.acknowledged(8);
    ground.not_grown("unreadable reports");
}

#[test]
fn results_that_nobody_asked_for_are_not_shown() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let (mut peer, _, welcome) = street.join(&ground);
    let forged = Report::Result(MeasurementResult {
        measurement: MeasurementId(ground.measurement),
        planned_at: now(),
        started_at: now(),
        ended_at: now(),
        timing: Timing::default(),
        af: Family::V4,
        dst_name: None,
        dst_addr: None,
        src_addr: None,
        time_to_resolve: None,
        interval: Some(1),
        outcome: Outcome::Ping(PingOutcome { size: 1, sent: 1, replies: List::cut([PingReply::Timeout]) }),
    });
    // Also as a one-off, which would settle it, and for a measurement that does not exist.
    let reports = [forged.to_cbor(), skipped(ground.measurement), skipped(1), skipped(u64::MAX)];
    let mut lane = peer.lane();
    let all: Vec<&[u8]> = reports.iter().map(Vec::as_slice).collect();
    peer.write(&mut lane, &framed(&to_cbor(&frame(1, &all))));
    peer.acknowledged(4);
    let ProbeId(stranger) = welcome.probe;
    let path = format!("/api/v2/measurements/{}", ground.measurement);
    for list in ["results/", "latest/", "skipped/", "latest/?versions=10"] {
        let found = ground.owner.get(&format!("{path}/{list}")).unwrap().to_string();
        assert!(!found.contains(&format!("\"prb_id\":{stranger},")), "{list}: {found}");
    }
    let narrowed = ground.owner.get(&format!("{path}/results/?probe_ids={stranger}")).unwrap();
    assert_eq!(narrowed, json!([]));
    ground.not_grown("results that nobody asked for");
}

#[test]
fn floods_and_holes() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let (mut peer, key, _) = street.join(&ground);
    let many = |message: &Up, count: usize| framed(&to_cbor(message)).repeat(count);
    peer.say_bytes(&many(&Up::Health(Health::default()), 20_000));
    peer.say_bytes(&many(&Up::OrdersApplied(None), 500));
    peer.say_bytes(&many(&gaps(gap(1, Some(1))), 2000));
    peer.is_well();
    let questions = many(&Up::TimeRequest(sonde_protocol::message::TimeRequest { sent_at: -1 }), 1000);
    for _ in 0..10 {
        peer.say_bytes(&questions);
        peer.is_well();
    }
    let mut lane = peer.lane();
    peer.write(&mut lane, &framed(&to_cbor(&frame(2, &[&skipped(1)]))).repeat(2000));
    peer.acknowledged(2);
    peer.is_well();
    // Every other number: a set of numbers that no message could carry, which would cost more with each of them.
    let report = skipped(1);
    let holes: Vec<u8> =
        (2..u64::try_from(2 * MAX_RANGES).unwrap()).flat_map(|n| framed(&to_cbor(&frame(2 * n, &[&report])))).collect();
    peer.write(&mut lane, &holes);
    peer.is_closed(close::DONE, "its own end");
    let mut again = street.meet(&key);
    again.say(&Up::Hello(hello()));
    let durable = again.welcome().durable;
    assert!(durable[0].ranges.range_count() <= MAX_RANGES, "{}", durable[0].ranges.range_count());
    ground.not_grown("floods");
}

#[test]
fn streams_that_break_and_streams_too_many() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let (mut peer, key, _) = street.join(&ground);
    let connection = peer.connection.clone();
    let (one, two) = (peer.lane(), peer.lane());
    let more = connection.clone();
    assert!(!peer.is_done_meanwhile(async move { more.open_uni().await.is_ok() }), "a third stream of frames");
    let more = connection.clone();
    assert!(!peer.is_done_meanwhile(async move { more.open_bi().await.is_ok() }), "a second control stream");
    assert!(connection.send_datagram(vec![0; 100].into()).is_err(), "datagrams are not spoken");
    drop((one, two));

    // A stream of frames that ends makes room for the next; what it held of a frame is forgotten.
    let report = skipped(1);
    let bytes = framed(&to_cbor(&frame(1, &[&report])));
    for cut in [3, 4, bytes.len() / 2, bytes.len() - 1] {
        let mut lane = peer.lane();
        peer.write(&mut lane, &bytes[..cut]);
        lane.finish().unwrap();
        peer.is_well();
    }
    let mut lane = peer.lane();
    peer.write(&mut lane, &bytes);
    peer.acknowledged(1);
    // One that is reset, in the middle of a frame, ends the connection, as does an end of the control stream.
    peer.write(&mut lane, &bytes[..10]);
    lane.reset(VarInt::from_u32(7)).unwrap();
    peer.is_closed(close::DONE, "its own end");
    let mut peer = street.again(&key);
    peer.say_no_more();
    peer.is_closed(close::DONE, "its own end");
    let mut peer = street.meet(&key);
    peer.say_bytes(&[0, 0, 0]);
    peer.say_no_more();
    peer.is_closed(close::DONE, "its own end");
    ground.not_grown("streams");
}

#[test]
fn those_who_say_nothing_and_those_who_do_not_listen() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let (first, key, _) = street.join(&ground);
    drop(first);
    // All of them at a time, because each takes as long as the collector's patience.
    let stranger = SecretKey::generate().unwrap();
    let mute = street.connect(street.tls(&stranger), deaf()).unwrap();
    let mut halting = street.meet(&stranger);
    let said = framed(&to_cbor(&Up::Hello(hello())));
    halting.say_bytes(&said[..said.len() / 2]);
    let mut early = street.meet(&stranger);
    let report = skipped(1);
    let mut lane = early.lane();
    early.write(&mut lane, &framed(&to_cbor(&frame(1, &[&report]))));
    early.say_bytes(&[0]);
    // Welcomed, they may be silent as long as they are there: in the middle of a message and of a frame.
    let mut pausing = street.again(&key);
    let mut lane = pausing.lane();
    let whole = framed(&to_cbor(&frame(1, &[&report])));
    pausing.write(&mut lane, &whole[..whole.len() / 2]);
    let health = framed(&to_cbor(&Up::Health(Health::default())));
    pausing.say_bytes(&health[..5]);
    // Nothing can be said to one whose window is eight bytes.
    let mut unhearing = street.meet_with(&key, deaf());
    unhearing.say(&Up::Hello(hello()));

    ground.undisturbed("silence");
    let reason = street.wait(mute.closed());
    assert!(reason.to_string().contains("no hello"), "{reason}");
    assert_eq!(halting.closed(), (close::MALFORMED, "no hello".into()));
    assert_eq!(early.closed(), (close::MALFORMED, "no hello".into()));
    assert_eq!(unhearing.closed().0, close::DONE);
    pausing.say_bytes(&health[5..]);
    pausing.write(&mut lane, &whole[whole.len() / 2..]);
    pausing.acknowledged(1);
    pausing.is_well();
    ground.not_grown("those who do not listen");
}
