//! Bytes as what happens to an engine: time passes, answers come that are right, nearly right or anything else, ICMP errors,
//! stamps, failures to send. Then nothing more comes, and the run has to end by itself with one outcome.

use std::net::IpAddr;
use std::time::Duration;

use sonde_engine::{Engine, ErrorDetails, IcmpErrorEvent, Meta, Token, Transmit};
use sonde_protocol::atlas::{ResultContext, result_json, write_result};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::{MAX_REPORT, MeasurementResult, Outcome, Report, Timing, Why};
use sonde_protocol::time::{Nanos, UnixNanos};

use super::input::Input;

/// More packets, or more wake-ups after the last event, than any run has.
const MAX_PACKETS: usize = 20_000;

/// Who is measured, over each family.
pub(super) fn target(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([192, 0, 2, 1]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
    }
}

fn router(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([198, 51, 100, 1]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]),
    }
}

/// Plays the rest of the input to an engine whose target has `family` and answers from `port` (0: ICMP). `reply` makes a
/// right answer of a packet.
pub(super) fn drive(
    engine: &mut dyn Engine,
    family: Family,
    port: u16,
    reply: fn(&Transmit) -> Vec<u8>,
    input: &mut Input<'_>,
) {
    let mut now = Nanos(0);
    let mut sent: Vec<Transmit> = Vec::new();
    while !input.is_empty() {
        transmit(engine, now, &mut sent);
        if engine.poll_timeout().is_none() {
            break;
        }
        happen(engine, &mut now, &sent, family, port, reply, input);
    }
    for _ in 0..MAX_PACKETS {
        transmit(engine, now, &mut sent);
        let Some(at) = engine.poll_timeout() else { break };
        now = now.max(at);
        engine.handle_timeout(now);
    }
    transmit(engine, now, &mut sent);
    let outcome = engine.poll_outcome();
    let outcome = outcome.unwrap_or_else(|| panic!("the run has not ended; it wants {:?}", engine.poll_timeout()));
    assert_eq!(engine.poll_outcome(), None, "one outcome");
    check(family, outcome);
}

fn transmit(engine: &mut dyn Engine, now: Nanos, sent: &mut Vec<Transmit>) {
    while let Some(transmit) = engine.poll_transmit(now) {
        assert!(sent.len() < MAX_PACKETS, "endless packets");
        engine.handle_sent(transmit.token, now);
        sent.push(transmit);
    }
}

fn happen(
    engine: &mut dyn Engine,
    now: &mut Nanos,
    sent: &[Transmit],
    family: Family,
    port: u16,
    reply: fn(&Transmit) -> Vec<u8>,
    input: &mut Input<'_>,
) {
    let what = input.u8();
    let from = if what & 0x80 == 0 { target(family) } else { router(family) };
    let from_port = if what & 0x40 == 0 { port } else { input.u16() };
    let hop_limit = (what & 0x20 == 0).then_some(57);
    // The newest packet, or one of those before it.
    let back = if what & 0x10 == 0 { 0 } else { usize::from(input.u8()) };
    let packet = sent.len().checked_sub(1 + back).and_then(|index| sent.get(index));
    let meta = Meta { received_at: *now, from, from_port, hop_limit, fragment: None };
    match what & 0x0f {
        0..=2 => {
            *now = *now + Duration::from_millis(u64::from(input.u16()));
            engine.handle_timeout(*now);
        }
        3 => engine.handle_datagram(&meta, input.bytes()),
        4..=6 => {
            let mut bytes = packet.map(reply).unwrap_or_default();
            if what & 0x0f != 4 {
                input.spoil(&mut bytes);
            }
            engine.handle_datagram(&meta, &bytes);
        }
        7..=10 => {
            let mut quoted = packet.map(|packet| packet.payload.clone()).unwrap_or_default();
            if what & 0x0f > 8 {
                input.spoil(&mut quoted);
            }
            engine.handle_icmp_error(&IcmpErrorEvent {
                received_at: *now,
                from,
                hop_limit,
                kind: input.u8(),
                code: input.u8(),
                mtu: input.flag().then(|| u32::from(input.u16())),
                details: ErrorDetails {
                    size: input.flag().then(|| u32::from(input.u8())),
                    quoted_hop_limit: input.flag().then(|| input.u8()),
                    quoted_traffic_class: input.flag().then(|| input.u8()),
                    ..ErrorDetails::default()
                },
                extensions: input.flag().then(|| input.bytes().to_vec()),
                quoted,
            });
        }
        11 | 12 => {
            let token = Token(u32::from(input.u8()));
            engine.handle_sent(token, Nanos(now.0 + i64::from(input.u16()) * 1000 - 30_000_000));
        }
        13 => engine.handle_send_error(Token(u32::from(input.u8())), *now, Why::cut("Network is unreachable")),
        14 => {
            if let Some(packet) = packet {
                engine.handle_send_error(packet.token, *now, Why::cut("Network is unreachable"));
            }
        }
        _ => *now = *now + Duration::from_micros(u64::from(input.u8())),
    }
}

/// An outcome fits into a report, can be sent and read, and is one line of JSON.
pub(super) fn check(family: Family, outcome: Outcome) {
    let result = MeasurementResult {
        measurement: MeasurementId(1_000_001),
        planned_at: UnixNanos::from_secs(1_795_737_600),
        started_at: UnixNanos::from_secs(1_795_737_600),
        ended_at: UnixNanos::from_secs(1_795_737_601),
        timing: Timing::default(),
        af: family,
        dst_name: None,
        dst_addr: Some(Ip(target(family))),
        src_addr: None,
        time_to_resolve: None,
        interval: None,
        outcome,
    };
    check_json(&result);
    let report = Report::Result(result);
    let bytes = report.to_cbor();
    assert_eq!(Report::from_cbor(&bytes).expect("what was written can be read"), report);
    assert!(bytes.len() <= MAX_REPORT, "a report of {} bytes", bytes.len());
}

/// It is one line of JSON, whatever is in it.
pub(super) fn check_json(result: &MeasurementResult) {
    let context = ResultContext::new(ProbeId(7));
    let mut line = Vec::new();
    write_result(&mut line, result, &context);
    assert!(!line.contains(&b'\n'), "more than one line");
    // Numbers are not compared: parsing one may round it.
    let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
    assert!(value.is_object() && result_json(result, &context).is_object());
}
