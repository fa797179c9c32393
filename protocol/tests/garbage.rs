//! What the other side may send instead of what it should: whatever the bytes are, every reader of the protocol gives a
//! value or an error, and holds no more memory than a small multiple of what came.

#![expect(clippy::unwrap_used, reason = "an error must end the test")]

mod allocation;
mod generate;

use std::fmt::Debug;
use std::time::Duration;

use minicbor::{Decode, Encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use sonde_protocol::bounded::Text;
use sonde_protocol::directory::{Directory, SignedDirectory};
use sonde_protocol::ids::{BootId, ProbeId, Revision};
use sonde_protocol::message::{Down, Frame, MAX_FRAME, Up, from_cbor, to_cbor};
use sonde_protocol::order::{Order, OrderBook, OrdersUpdate};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::result::Report;
use sonde_protocol::schedule::Runs;
use sonde_protocol::session::collector::{Admitted, Command};
use sonde_protocol::session::probe::{Action, HelloFacts};
use sonde_protocol::session::{CollectorSession, ProbeSession};
use sonde_protocol::spec::{Kind, Spec};
use sonde_protocol::spool::{Lane, NewReport, SpoolLimits};
use sonde_protocol::time::{Nanos, UnixNanos};
use sonde_protocol::tls::Ring;
use sonde_protocol::wire::{Reader, framed};

/// Bytes in memory for each byte that came, and besides. A list of two-byte items that each take sixty-four, in a vector
/// that doubles by copying, is the worst there is.
const PER_BYTE: usize = 100;
const BESIDES: usize = 4096;

/// Reads with the reader of type `T` and checks what it held meanwhile. What was read must survive being written again.
fn read<T>(bytes: &[u8])
where
    T: for<'b> Decode<'b, ()> + Encode<()> + PartialEq + Debug,
{
    let (value, peak) = allocation::peak(|| from_cbor::<T>(bytes));
    let name = std::any::type_name::<T>();
    assert!(peak <= PER_BYTE * bytes.len() + BESIDES, "{name} held {peak} bytes for {}", bytes.len());
    if let Ok(Some(value)) = value {
        assert_eq!(from_cbor::<T>(&to_cbor(&value)).unwrap().as_ref(), Some(&value));
    }
}

/// Gives the bytes to every reader.
fn read_as_everything(bytes: &[u8]) {
    read::<Up>(bytes);
    read::<Down>(bytes);
    read::<Frame>(bytes);
    read::<Report>(bytes);
    read::<Order>(bytes);
    read::<OrdersUpdate>(bytes);
    read::<SignedDirectory>(bytes);
    read::<Directory>(bytes);
    read::<RangeSet>(bytes);
    let _ = Report::from_cbor(bytes);
    for kind in Kind::ALL {
        if let Ok(spec) = Spec::from_cbor(kind, bytes) {
            assert_eq!(spec.problems(), []);
            assert_eq!(Spec::from_cbor(kind, &spec.to_cbor()).unwrap(), spec);
        }
    }
    if let Ok(signed) = minicbor::decode::<SignedDirectory>(bytes) {
        let _ = signed.open(&[signed.root], &Ring);
    }
}

fn round_trip<T>(value: &T) -> Vec<u8>
where
    T: for<'b> Decode<'b, ()> + Encode<()> + PartialEq + Debug,
{
    let bytes = to_cbor(value);
    assert_eq!(from_cbor::<T>(&bytes).unwrap().as_ref(), Some(value));
    bytes
}

/// The bytes of any message.
fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        generate::up().prop_map(|up| round_trip(&up)),
        generate::down().prop_map(|down| round_trip(&down)),
        generate::frame().prop_map(|frame| round_trip(&frame)),
        generate::report().prop_map(|report| round_trip(&report)),
        generate::order().prop_map(|order| round_trip(&order)),
        generate::orders_update().prop_map(|update| round_trip(&update)),
        generate::directory().prop_map(|directory| round_trip(&directory)),
        generate::range_set().prop_map(|set| round_trip(&set)),
        generate::spec().prop_map(|spec| spec.to_cbor()),
    ]
}

/// One thing that goes wrong with bytes.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    // Heads of CBOR items that announce much, or have no end.
    let heads = prop::sample::select(vec![
        vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x5a, 0xff, 0xff, 0xff, 0xff],
        vec![0x7b, 0, 0, 0, 1, 0, 0, 0, 0],
        vec![0x9f],
        vec![0xbf],
        vec![0x5f],
        vec![0x7f],
        vec![0xff],
        vec![0xc0, 0xd9, 0xff, 0xff],
        vec![0xf6],
        vec![0xfb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0],
    ]);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), 1_usize..5).prop_map(|(at, count)| Damage::Remove(at, count)),
        (any::<Index>(), prop_oneof![heads, vec(any::<u8>(), 1..10)]).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: Vec<Damage>) -> Vec<u8> {
    for damage in damages {
        let length = bytes.len();
        let place = |at: Index| at.index(length + 1);
        match damage {
            Damage::Set(at, byte) if length > 0 => bytes[at.index(length)] = byte,
            Damage::Flip(at, bit) if length > 0 => bytes[at.index(length)] ^= 1 << bit,
            Damage::Set(..) | Damage::Flip(..) => {}
            Damage::Cut(at) => bytes.truncate(place(at)),
            Damage::Remove(at, count) => {
                let from = place(at);
                bytes.drain(from..(from + count).min(length));
            }
            Damage::Insert(at, more) => {
                let at = place(at);
                bytes.splice(at..at, more);
            }
            Damage::Repeat(from, to) => {
                let (from, to) = (place(from).min(place(to)), place(from).max(place(to)));
                let part = bytes[from..to].to_vec();
                bytes.splice(from..from, part);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn damaged_messages_are_survived(bytes in message(), damages in vec(damage(), 1..6)) {
        read_as_everything(&damaged(bytes, damages));
    }

    #[test]
    fn every_cut_of_a_message_is_an_error(
        up in generate::up(),
        down in generate::down(),
        frame in generate::frame(),
        report in generate::report(),
        at in any::<Index>(),
    ) {
        fn cut(bytes: Vec<u8>, at: Index) -> Vec<u8> {
            let cut = bytes[..at.index(bytes.len())].to_vec();
            read_as_everything(&cut);
            cut
        }
        prop_assert!(from_cbor::<Up>(&cut(round_trip(&up), at)).is_err());
        prop_assert!(from_cbor::<Down>(&cut(round_trip(&down), at)).is_err());
        prop_assert!(from_cbor::<Frame>(&cut(round_trip(&frame), at)).is_err());
        prop_assert!(Report::from_cbor(&cut(round_trip(&report), at)).is_err());
    }

    #[test]
    fn a_stream_of_any_bytes_gives_messages_or_an_error(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..400),
            vec(vec(any::<u8>(), 0..40), 0..20).prop_map(|all| all.iter().flat_map(|m| framed(m)).collect())
        ],
        cuts in vec(1_usize..50, 1..20),
        allowed in 0_usize..60,
    ) {
        let mut reader = Reader::new(allowed);
        let mut model = bytes.as_slice();
        let mut rest = bytes.as_slice();
        let mut cuts = cuts.iter().cycle();
        'stream: while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            rest = later;
            reader.push(piece);
            loop {
                match reader.next_message() {
                    Ok(Some(message)) => {
                        let (head, body) = model.split_first_chunk::<4>().unwrap();
                        prop_assert_eq!(u32::from_be_bytes(*head) as usize, message.len());
                        prop_assert!(message.len() <= allowed);
                        prop_assert_eq!(message, &body[..message.len()]);
                        model = &body[message.len()..];
                    }
                    Ok(None) => break,
                    Err(error) => {
                        prop_assert!(error.length as usize > allowed);
                        break 'stream;
                    }
                }
            }
            prop_assert!(reader.held() < allowed + 4 + piece.len());
        }
    }

    #[test]
    fn a_collector_survives_whatever_a_probe_says(
        hello in generate::hello(),
        own_is_listed in any::<bool>(),
        welcome in any::<bool>(),
        steps in vec(prop_oneof![
            generate::up().prop_map(|up| (Some(up), None)),
            generate::frame().prop_map(|frame| (None, Some(frame)))
        ], 0..20),
    ) {
        let mut session = CollectorSession::new();
        let mut hello = hello;
        if own_is_listed {
            hello.versions = sonde_protocol::bounded::List::cut([1]);
            if let Some(first) = hello.boots.first() {
                hello.boot = first.boot;
            }
        }
        session.handle_message(Up::Hello(hello.clone()), UnixNanos(0));
        if welcome {
            let admitted = Admitted {
                probe: ProbeId(1),
                durable: Vec::new(),
                boot_started_at: UnixNanos(0),
                public_address: [127, 0, 0, 1].into(),
                directory: None,
                revision: Revision(1),
                orders: Vec::new(),
            };
            session.handle_admitted(admitted, UnixNanos(1));
        }
        for (up, frame) in steps {
            if let Some(up) = up {
                session.handle_message(up, UnixNanos(2));
            }
            if let Some(frame) = frame {
                session.handle_frame(frame);
            }
        }
        let mut closed = false;
        while let Some(command) = session.poll_command() {
            prop_assert!(!closed, "nothing comes after the end: {command:?}");
            match command {
                Command::Store(stored) => {
                    use sonde_protocol::session::collector::Stored;
                    let listed = |boot: BootId| hello.boots.iter().any(|spooled| spooled.boot == boot);
                    match stored {
                        Stored::Frame(frame) => prop_assert!(listed(frame.boot) && frame.first.0 > 0 && frame.last().is_some()),
                        Stored::Gaps(gaps) => for gap in gaps {
                            prop_assert!(listed(gap.boot) && gap.first.0 > 0 && gap.last.unwrap() >= gap.first && gap.from <= gap.to);
                        },
                        Stored::Bye(bye) => prop_assert!(listed(bye.boot)),
                    }
                }
                Command::Close => closed = true,
                _ => {}
            }
        }
    }

    #[test]
    fn a_probe_survives_whatever_a_collector_says(steps in vec((generate::down(), 0_i64..100_000_000_000), 0..20), seed in any::<u64>()) {
        let limits = SpoolLimits { reports: 5, bytes: 1000 };
        let mut session = ProbeSession::new(BootId(5), limits, Text::cut("t"), &[Kind::Ping], seed, Nanos(0));
        let mut now = Nanos(0);
        for (down, later) in steps {
            if session.wants_connection(now) {
                session.handle_connecting();
                session.handle_connected(facts(now), now);
            }
            session.push_report(NewReport { bytes: vec![1; 100], from: UnixNanos(0), to: UnixNanos(1), settled: UnixNanos(0), urgent: false }, now);
            session.handle_message(down, now);
            now = now + Duration::from_nanos(later.unsigned_abs());
            if session.poll_timeout().is_some_and(|at| at <= now) {
                session.handle_timeout(now, 0);
            }
            while let Some(action) = session.poll_action() {
                if let Action::Disconnect = action {
                    session.handle_disconnected(now);
                    break;
                }
            }
            for lane in [Lane::Fresh, Lane::Backlog] {
                while session.poll_frame(lane, now).is_some() {}
            }
        }
    }

    #[test]
    fn any_order_has_a_schedule_that_goes_forward(order in generate::order(), probe in any::<u64>(), from in any::<i64>(), to in any::<i64>()) {
        let runs = Runs::of(&order, ProbeId(probe));
        let (from, to) = (UnixNanos(from), UnixNanos(to));
        let is_periodic = matches!(runs, Runs::Periodic { .. });
        if let Some(due) = runs.first_at_or_after(from).filter(|_| is_periodic) {
            prop_assert!(due >= from, "{due:?} is before {from:?}: whoever steps on from it does so for years");
            prop_assert!(runs.next_after(due).is_none_or(|next| next > due));
        }
        if let Some((first, count)) = runs.between(from, to) {
            prop_assert!(first >= from && first < to && count > 0);
        }
    }

    #[test]
    fn any_orders_fit_into_the_book_or_are_refused(updates in vec(generate::orders_update(), 0..10)) {
        let mut book = OrderBook::default();
        for update in updates {
            let _ = book.apply(update);
            for order in book.orders() {
                let _ = order.spec();
            }
        }
    }
}

#[cfg(feature = "atlas")]
proptest! {
    #[test]
    fn any_result_becomes_json(result in generate::result(), spec in proptest::option::of(generate::spec())) {
        use sonde_protocol::atlas::{ResultContext, write_result};
        let mut line = Vec::new();
        let context = ResultContext { spec: spec.as_ref(), ..ResultContext::new(ProbeId(7)) };
        write_result(&mut line, &result, &context);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        prop_assert!(value["type"].is_string() || value["fw"].is_number());
    }
}

fn facts(now: Nanos) -> HelloFacts {
    HelloFacts {
        uptime: now.since(Nanos(0)),
        now: UnixNanos(0),
        clock_synchronised: false,
        addresses: Vec::new(),
        families: Vec::new(),
        token: None,
        directory: 0,
        conditions: Vec::new(),
    }
}

#[test]
fn nests_without_end_are_survived() {
    // Arrays, maps and tags in one another as far as the greatest message goes, alone and where an unknown key is skipped.
    for head in [&[0x81][..], &[0x9f], &[0xa1, 0x00], &[0xbf, 0x00], &[0xc1], &[0xd9, 0xff, 0xff]] {
        let nest = head.repeat(MAX_FRAME / head.len());
        read_as_everything(&nest);
        read_as_everything(&[&[0xa1, 0x18, 0x63][..], &nest].concat());
        read_as_everything(&[&[0x82, 0x00, 0x81, 0xa1, 0x18, 0x63][..], &nest].concat());
    }
}

#[test]
fn what_is_announced_is_not_allocated() {
    for head in [0x5b_u8, 0x7b, 0x9b, 0xbb] {
        for size in [1 << 20, 1 << 32, u64::MAX] {
            let item = [&[head][..], &u64::to_be_bytes(size)].concat();
            read_as_everything(&item);
            for before in [&[0x82, 0x00, 0x81, 0xa1, 0x01][..], &[0xa1, 0x00], &[0x82, 0x01, 0x81], &[0xa1, 0x02]] {
                read_as_everything(&[before, &item].concat());
            }
        }
    }
}

#[test]
fn the_fullest_messages_are_read_within_their_bounds() {
    // As many of the smallest items as fit: what the memory bound is about.
    let list = |count: u16, item: &[u8]| [&[0x99][..], &count.to_be_bytes(), &item.repeat(count.into())].concat();
    read_as_everything(&[&[0x82, 0x03, 0x81][..], &list(64, &[0xa2, 0x00, 0x00, 0x01, 0x80])].concat());
    let replies = list(64, &[0x82, 0x01, 0x80]);
    let hop = [&[0xa2, 0x00, 0x01, 0x01][..], &replies].concat();
    let hops = list(256, &hop);
    let traceroute = [&[0x82, 0x02, 0x81, 0xa3, 0x00, 0x11, 0x01, 0x00, 0x03][..], &hops].concat();
    let mut report = vec![0x82, 0x00, 0x81, 0xa9, 0x00, 0x01];
    report
        .extend([0x01, 0x00, 0x02, 0x00, 0x03, 0x00, 0x04, 0xa1, 0x00, 0x00, 0x05, 0x04, 0x08, 0xf6, 0x09, 0xf6, 0x0b]);
    report.extend(&traceroute);
    assert!(Report::from_cbor(&report).is_ok());
    read::<Report>(&report);
    let ranges: Vec<u8> = (0..8192_u16).flat_map(|n| [&[0x19][..], &(n * 2).to_be_bytes()].concat()).collect();
    read::<RangeSet>(&[&[0x99, 0x20, 0x00][..], &ranges].concat());
}

#[test]
fn a_reader_that_is_promised_much_holds_what_came() {
    let mut reader = Reader::new(MAX_FRAME);
    let ((), peak) = allocation::peak(|| {
        reader.push(&(MAX_FRAME as u32).to_be_bytes());
        reader.push(&[0; 100]);
        assert_eq!(reader.next_message(), Ok(None));
    });
    assert!(peak < 1000, "{peak} bytes");
    reader.push(&[0; 4]);
    let mut reader = Reader::new(MAX_FRAME);
    reader.push(&[0xff; 4]);
    reader.next_message().unwrap_err();
}
