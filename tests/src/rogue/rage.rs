//! What a collector gone bad says without end, as fast as a probe takes it, or until the probe has had enough.

use std::net::{IpAddr, Ipv4Addr};

use sonde_protocol::board::{MAX_PIECE, UpdateAnswer, UpdateChoice, UpdatePiece, UpdateSaid};
use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::directory::SignedDirectory;
use sonde_protocol::identity::KeyNotice;
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Revision, Seq};
use sonde_protocol::message::{BootRanges, Down, Drain, Frame, MAX_CONTROL, TimeReply, Welcome, to_cbor};
use sonde_protocol::net::Ip;
use sonde_protocol::order::{Order, OrdersUpdate};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::time::UnixNanos;
use sonde_protocol::wire::framed;

/// The orders of one message of a storm: near the most that a probe may have.
const MANY: u64 = 2_000;

/// What is said without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rage {
    /// Welcomes, each with another number and other ranges.
    Welcomes,
    /// The directory, as it is, spoilt, and of nobody's root.
    Directories,
    /// Sets of orders that replace each other, and changes that fit none.
    Orders,
    /// Addresses that the probe is said to be seen at.
    Addresses,
    /// Notices about its key.
    Notices,
    /// What the collector's clock shows, years apart.
    Times,
    /// Numbers that are durable, of boots that nobody has.
    Acks,
    /// Come back in a moment.
    Drains,
    /// A message of four gigabytes begins.
    Oversize,
    /// The longest message that there may be, of nothing that makes sense.
    Garbage,
    /// A message that only a probe says.
    Frames,
    /// Answers about updates that nobody asked for, each as long as there may be.
    UpdateAnswers,
    /// What the owner of a board is said to want.
    UpdateChoices,
}

impl Rage {
    /// Each of them.
    pub const ALL: [Rage; 13] = [
        Rage::Welcomes,
        Rage::Directories,
        Rage::Orders,
        Rage::Addresses,
        Rage::Notices,
        Rage::Times,
        Rage::Acks,
        Rage::Drains,
        Rage::Oversize,
        Rage::Garbage,
        Rage::Frames,
        Rage::UpdateAnswers,
        Rage::UpdateChoices,
    ];

    /// The bytes that are said the `n`th time. `order` is any order, `directory` the true one.
    pub(super) fn bytes(self, n: u64, order: &Order, directory: &SignedDirectory) -> Vec<u8> {
        let time = UnixNanos(n.wrapping_mul(0x9e37_79b9_7f4a_7c15).cast_signed());
        let octet = n.to_le_bytes()[0];
        let address = Ip(IpAddr::V4(Ipv4Addr::new(20, 66, octet, n.to_le_bytes()[1])));
        let ranges = List::cut((0..64).map(|boot| BootRanges {
            boot: BootId(n.wrapping_mul(64) + boot),
            ranges: RangeSet::of(Seq(1 + n)..=Seq(u64::MAX - boot)),
        }));
        let said = |down: Down| framed(&to_cbor(&down));
        match self {
            Rage::Welcomes => said(Down::Welcome(Welcome {
                version: 1,
                probe: ProbeId(n),
                received_at: time,
                sent_at: time,
                durable: ranges,
                public_address: address,
                directory: Some(directory.clone()),
                boot_started_at: time,
            })),
            Rage::Directories => {
                let mut false_one = directory.clone();
                match n % 3 {
                    0 => {}
                    1 => {
                        let mut spoilt = directory.signature.to_vec();
                        spoilt.iter_mut().for_each(|byte| *byte ^= octet | 1);
                        false_one.signature = Bytes::new(spoilt).unwrap_or_default();
                    }
                    _ => false_one.root.0[usize::from(octet) % 32] ^= 1,
                }
                said(Down::Directory(false_one))
            }
            Rage::Orders => {
                let add = |count: u64| {
                    (0..count)
                        .map(move |place| Order { measurement: MeasurementId(1 + n * MANY + place), ..order.clone() })
                };
                let update = |base, add, remove| OrdersUpdate { base, revision: Revision(n + 2), add, remove };
                said(Down::Orders(match n % 3 {
                    0 => update(None, List::cut(add(MANY)), List::default()),
                    1 => update(Some(Revision(u64::MAX)), List::cut(add(10)), List::default()),
                    // Takes back what came two messages before.
                    _ => {
                        let gone = (0..MANY).map(|place| MeasurementId(1 + (n - 2) * MANY + place));
                        update(Some(Revision(n)), List::default(), List::cut(gone))
                    }
                }))
            }
            Rage::Addresses => said(Down::SeenAt(address)),
            Rage::Notices => {
                said(Down::Key(if n.is_multiple_of(2) { KeyNotice::Duplicate } else { KeyNotice::Admitted }))
            }
            Rage::Times => {
                said(Down::TimeReply(TimeReply { request_sent_at: n.cast_signed(), received_at: time, sent_at: time }))
            }
            Rage::Acks => said(Down::Ack(ranges)),
            Rage::Drains => said(Down::Drain(Drain { after_ms: 0, spread_ms: 1 })),
            Rage::Oversize => match n {
                0 => vec![0xff; 4],
                _ => vec![octet; 65_536],
            },
            Rage::Garbage => framed(&vec![octet | 0x80; MAX_CONTROL]),
            Rage::Frames => {
                let boot = BootId(n);
                framed(&to_cbor(&Frame { boot, first: Seq(1), settled: time, reports: List::default() }))
            }
            Rage::UpdateAnswers => {
                let bytes = Bytes::new([octet; MAX_PIECE]).unwrap_or_default();
                let said = UpdateSaid::Piece(UpdatePiece { length: n, bytes });
                framed(&to_cbor(&Down::UpdateAnswer(UpdateAnswer { id: u32::from(octet), said })))
            }
            Rage::UpdateChoices => said(Down::UpdateChoice(match n % 3 {
                0 => UpdateChoice::Delay(n),
                1 => UpdateChoice::Pin(n),
                _ => UpdateChoice::Refuse,
            })),
        }
    }
}
