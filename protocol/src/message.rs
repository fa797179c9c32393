//! What probe and collector say to each other: CBOR with integer keys, described in `docs/protocol.cddl`.
//!
//! Three lanes, each one long-lived stream: control (bidirectional, [`Up`] and [`Down`]), fresh and backlog (from the probe,
//! [`Frame`]). Each message stands behind its length ([`crate::wire`]). Keys that a reader does not know are skipped;
//! whole messages that it does not know are too, so that old probes and new collectors understand each other.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::board::{BoardState, UpdateAnswer, UpdateAsk, UpdateChoice};
use crate::bounded::{Bytes, List, Text};
use crate::condition::Conditions;
use crate::directory::SignedDirectory;
use crate::identity::{ClaimCode, KeyNotice, Rotation};
use crate::ids::{BootId, ProbeId, Revision, Seq};
use crate::net::{Family, Ip};
use crate::order::OrdersUpdate;
use crate::range_set::RangeSet;
use crate::result::MAX_REPORT;
use crate::spec::Kind;
use crate::time::UnixNanos;

/// The protocol's version that this crate speaks.
pub const VERSION: u16 = 1;

/// The ALPN protocol name (RFC 7301).
pub const ALPN: &[u8] = b"sonde/1";

/// The ALPN name of the same lanes over TLS and TCP ([`crate::lanes`]), for probes behind something that blocks UDP.
pub const ALPN_TLS: &[u8] = b"sonde-tls/1";

/// The ALPN name under which a collector gives the newest [`SignedDirectory`] to anybody: over QUIC on one unidirectional
/// stream, over TLS as all that is sent.
pub const ALPN_DIRECTORY: &[u8] = b"sonde-directory/1";

/// The greatest size of one control message, length not counted. A full set of orders fits.
pub const MAX_CONTROL: usize = 2 * 1024 * 1024;

/// The greatest size of one control message from a probe: nothing it says is long.
pub const MAX_CONTROL_UP: usize = 256 * 1024;

/// The greatest size of one frame: the greatest report, and room for what stands around it.
pub const MAX_FRAME: usize = MAX_REPORT + 64 * 1024;

/// The most reports in one frame.
pub const MAX_FRAME_REPORTS: usize = 256;

/// The most boots that one message may list.
pub const MAX_BOOTS: usize = 64;

/// From probe to collector.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Up {
    /// The first message.
    #[n(0)]
    Hello(#[n(0)] Hello),
    /// Runs whose reports will never come.
    #[n(1)]
    Gaps(#[n(0)] List<Gap, 256>),
    /// The probe has applied orders up to this revision; absent when it needs all of them.
    #[n(2)]
    OrdersApplied(#[n(0)] Option<Revision>),
    /// One half of an NTP-like exchange (RFC 5905, section 8).
    #[n(3)]
    TimeRequest(#[n(0)] TimeRequest),
    /// The probe's process ends; its boot is closed.
    #[n(4)]
    Bye(#[n(0)] Bye),
    /// How the probe is.
    #[n(5)]
    Health(#[n(0)] Health),
    /// The probe wants to be known by another key.
    #[n(6)]
    Rotate(#[n(0)] Rotation),
    /// A board's system asks for a piece of a file of the release repository.
    #[n(7)]
    UpdateAsk(#[n(0)] UpdateAsk),
    /// How a board stands.
    #[n(8)]
    Board(#[n(0)] BoardState),
}

/// From collector to probe.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Down {
    /// The answer to hello.
    #[n(0)]
    Welcome(#[n(0)] Welcome),
    /// The collector will not serve this probe now; the connection ends.
    #[n(1)]
    Refused(#[n(0)] Refused),
    /// New orders.
    #[n(2)]
    Orders(#[n(0)] OrdersUpdate),
    /// What is durable.
    #[n(3)]
    Ack(#[n(0)] List<BootRanges, MAX_BOOTS>),
    /// The collector is about to stop.
    #[n(4)]
    Drain(#[n(0)] Drain),
    /// The other half of the exchange.
    #[n(5)]
    TimeReply(#[n(0)] TimeReply),
    /// A newer directory.
    #[n(6)]
    Directory(#[n(0)] SignedDirectory),
    /// The address that the collector sees the probe at has changed, while the connection lives on (RFC 9000, section 9).
    #[n(7)]
    SeenAt(#[n(0)] Ip),
    /// Something about the probe's key.
    #[n(8)]
    Key(#[n(0)] KeyNotice),
    /// The answer to an [`Up::UpdateAsk`].
    #[n(9)]
    UpdateAnswer(#[n(0)] UpdateAnswer),
    /// What the owner wants of updates; said after the welcome to a board and when it changes.
    #[n(10)]
    UpdateChoice(#[n(0)] UpdateChoice),
}

/// The first message of a connection.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// Protocol versions that the probe speaks.
    #[n(0)]
    pub versions: List<u16, 16>,
    /// Name and version of the software.
    #[n(1)]
    pub software: Text<64>,
    /// This start of the probe's process.
    #[n(2)]
    pub boot: BootId,
    /// Nanoseconds since that start. The probe's wall clock may be wrong; this is not.
    #[n(3)]
    pub uptime: u64,
    /// The probe's wall clock now.
    #[n(4)]
    pub now: UnixNanos,
    /// The probe believes its wall clock.
    #[n(5)]
    pub clock_synchronised: bool,
    /// The revision of the orders it has; absent when it has none.
    #[n(6)]
    pub orders: Option<Revision>,
    /// Every boot of which the spool still holds something, this boot included.
    #[n(7)]
    pub boots: List<SpooledBoot, MAX_BOOTS>,
    /// Reports in the spool.
    #[n(8)]
    pub spool_depth: u64,
    /// Own addresses, for the network prefix and the probe's record.
    #[n(9)]
    pub addresses: List<Ip, 16>,
    /// The join token, until the probe has been welcomed once.
    #[n(10)]
    pub token: Option<Bytes<64>>,
    /// The serial of its newest directory.
    #[n(11)]
    pub directory: u64,
    /// Kinds that it can run and its host allows, by number.
    #[n(12)]
    pub kinds: List<u8, 64>,
    /// Families that it has an address and a route to the internet for. An address behind a translator is nobody's
    /// business, but that IPv4 works there is.
    #[n(13)]
    pub families: List<Family, 2>,
    /// What is wrong with the probe, and what was since it last told; absent when it is of a version that does not tell.
    #[n(14)]
    pub conditions: Option<Conditions>,
}

impl Hello {
    /// The kinds that its host allows, as far as this version knows them; absent when it names none at all.
    pub fn allowed_kinds(&self) -> Option<Vec<Kind>> {
        let known = || self.kinds.iter().filter_map(|&number| Kind::from_number(number)).collect();
        (!self.kinds.is_empty()).then(known)
    }
}

/// A boot of which the spool holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SpooledBoot {
    /// The boot.
    #[n(0)]
    pub boot: BootId,
    /// The number that its next report has or would have had. For an earlier boot everything below was made.
    #[n(1)]
    pub next: Seq,
    /// When it began, as a collector told it: for a collector that has lost its own record of it.
    #[n(2)]
    pub started_at: Option<UnixNanos>,
}

/// Reports or runs that will never come.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Gap {
    /// The boot they belong to.
    #[n(0)]
    pub boot: BootId,
    /// The first number lost; 0 when none was (nothing ran, and nothing was numbered).
    #[n(1)]
    pub first: Seq,
    /// The last number lost; absent when nobody knows, after a crash.
    #[n(2)]
    pub last: Option<Seq>,
    /// Why.
    #[n(3)]
    pub reason: GapReason,
    /// No run due before this is missing because of it.
    #[n(4)]
    pub from: UnixNanos,
    /// No run due at or after this is missing because of it.
    #[n(5)]
    pub to: UnixNanos,
}

/// Why reports are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum GapReason {
    /// The spool was full and dropped its oldest.
    #[n(0)]
    SpoolFull,
    /// The process ended without closing its boot.
    #[n(1)]
    Crash,
    /// The process was stopped, and nothing ran until the next start.
    #[n(2)]
    Stopped,
    /// The collector could not read the report.
    #[n(3)]
    Rejected,
    /// The probe's disk did not give back what was written to it.
    #[n(4)]
    Damaged,
}

impl GapReason {
    /// A word for people and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            GapReason::SpoolFull => "spool full",
            GapReason::Crash => "crash",
            GapReason::Stopped => "stopped",
            GapReason::Rejected => "rejected",
            GapReason::Damaged => "damaged",
        }
    }
}

/// The boot is closed: nothing beyond `last` will come. For an earlier boot that was still in the spool, it is said once all
/// of it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bye {
    /// The boot.
    #[n(0)]
    pub boot: BootId,
    /// The last number used; 0 when none was.
    #[n(1)]
    pub last: Seq,
    /// When nothing more was started.
    #[n(2)]
    pub at: UnixNanos,
    /// It did not end in order: what it made and ran after `last` is lost, and nobody knows how much that was.
    #[n(3)]
    #[cbor(default, skip_if = "is_false")]
    pub crashed: bool,
}

/// How the probe is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Health {
    /// Reports in the spool.
    #[n(0)]
    pub spool_depth: u64,
    /// Measurements running now.
    #[n(1)]
    pub running: u32,
    /// Own addresses, when they changed.
    #[n(2)]
    pub addresses: Option<List<Ip, 16>>,
    /// Beside `addresses`: families with an address and a route to the internet.
    #[n(3)]
    pub families: List<Family, 2>,
    /// What is wrong with the probe, all of it, and what is over since it last told; absent when nothing has changed.
    #[n(4)]
    pub conditions: Option<Conditions>,
    /// What the host allows and what of it is used; absent when there is nothing new to say.
    #[n(5)]
    pub host: Option<HostState>,
}

/// What a probe's host allows, and what of it is used. Days are UTC, by the probe's own clock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct HostState {
    /// Bytes that the spool has written to the disk today.
    #[n(0)]
    pub written_today: u64,
    /// Bytes that count against the limit of the day.
    #[n(1)]
    pub measured_today: u64,
    /// Nothing is measured, because the host says so.
    #[n(2)]
    pub pause: Option<HostPause>,
    /// Packets a second at most.
    #[n(3)]
    pub packets_per_second: u32,
    /// Bytes a day at most.
    #[n(4)]
    pub bytes_per_day: u64,
    /// The numbers of the kinds that may be measured; of a newer version there may be others.
    #[n(5)]
    pub kinds: List<u8, 64>,
    /// The hours in which measurements may begin, by the probe's local time, as `22:00-06:00`; empty means always.
    #[n(6)]
    pub hours: List<Text<16>, 16>,
}

/// A pause that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct HostPause {
    /// Seconds until it ends; absent when it lasts until the host says otherwise.
    #[n(0)]
    pub remaining: Option<u32>,
}

/// A boot and some of its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BootRanges {
    /// The boot.
    #[n(0)]
    pub boot: BootId,
    /// The numbers.
    #[n(1)]
    pub ranges: RangeSet,
}

/// The answer to hello.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// The protocol version for this connection.
    #[n(0)]
    pub version: u16,
    /// Who the probe is.
    #[n(1)]
    pub probe: ProbeId,
    /// The collector's clock when hello came.
    #[n(2)]
    pub received_at: UnixNanos,
    /// The collector's clock when this was sent.
    #[n(3)]
    pub sent_at: UnixNanos,
    /// What is durable of each boot that hello lists.
    #[n(4)]
    pub durable: List<BootRanges, MAX_BOOTS>,
    /// The address the collector sees the probe at.
    #[n(5)]
    pub public_address: Ip,
    /// The newest directory, when the probe's is older.
    #[n(6)]
    pub directory: Option<SignedDirectory>,
    /// When this boot began, by the collector's clock and the uptime in the first hello of the boot. Runs due before it
    /// are not this boot's: they lie in the gap that the collector has recorded.
    #[n(7)]
    pub boot_started_at: UnixNanos,
}

/// Why a probe is not served.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refused {
    /// For the program.
    #[n(0)]
    pub reason: RefusedReason,
    /// For people.
    #[n(1)]
    pub text: Text<200>,
    /// Of a probe that waits: the code by which somebody makes it theirs.
    #[n(2)]
    pub claim_code: Option<ClaimCode>,
}

/// Why a probe is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RefusedReason {
    /// The key is unknown and there was no token.
    #[n(0)]
    UnknownKey,
    /// The token is unknown, expired, or bound to another key.
    #[n(1)]
    Token,
    /// No version in common.
    #[n(2)]
    Version,
    /// The collector cannot serve anybody now; try later.
    #[n(3)]
    Busy,
    /// What was said made no sense.
    #[n(4)]
    Malformed,
    /// The probe waits for somebody to let it in. The connection may stay: [`KeyNotice::Admitted`] ends the waiting.
    #[n(5)]
    Pending,
    /// Another probe with the same key is connected: a copied card.
    #[n(6)]
    DuplicateKey,
    /// The probe is known by another key now.
    #[n(7)]
    KeyReplaced,
}

/// The collector stops: come back after `after_ms`, at a moment of your own within `spread_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Drain {
    /// Milliseconds until the first may return.
    #[n(0)]
    pub after_ms: u32,
    /// Milliseconds over which the returns are spread.
    #[n(1)]
    pub spread_ms: u32,
}

/// Asks for the collector's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TimeRequest {
    /// The probe's monotonic clock, given back as it came.
    #[n(0)]
    pub sent_at: i64,
}

/// The collector's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TimeReply {
    /// From the request.
    #[n(0)]
    pub request_sent_at: i64,
    /// When the request came.
    #[n(1)]
    pub received_at: UnixNanos,
    /// When this was sent.
    #[n(2)]
    pub sent_at: UnixNanos,
}

/// Reports with consecutive numbers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Frame {
    /// The boot they belong to.
    #[n(0)]
    pub boot: BootId,
    /// The number of the first.
    #[n(1)]
    pub first: Seq,
    /// Each [`crate::result::Report`] in its own CBOR: the bytes that are stored.
    #[n(2)]
    pub reports: List<Bytes<MAX_REPORT>, MAX_FRAME_REPORTS>,
    /// Every run of this boot that was due before this time has been reported, in this frame or under a lower number.
    /// It is where the gap begins if the probe crashes now.
    #[n(3)]
    pub settled: UnixNanos,
}

impl Frame {
    /// The number of the last report; `None` for an empty frame or numbers beyond the end.
    pub fn last(&self) -> Option<Seq> {
        let behind = u64::try_from(self.reports.len()).ok()?.checked_sub(1)?;
        Some(Seq(self.first.0.checked_add(behind)?))
    }

    /// The reports with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (Seq, &[u8])> {
        self.reports.iter().enumerate().map(|(i, bytes)| (Seq(self.first.0.saturating_add(i as u64)), &**bytes))
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The bytes of a message.
pub fn to_cbor<T: Encode<()>>(message: &T) -> Vec<u8> {
    // Writing into memory cannot fail.
    minicbor::to_vec(message).unwrap_or_default()
}

/// Reads a message. `Ok(None)`: a whole message of a newer version, to be skipped.
pub fn from_cbor<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<Option<T>, minicbor::decode::Error> {
    match minicbor::decode(bytes) {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.is_unknown_variant() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> alloc::string::String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    #[test]
    fn golden_bytes_of_each_small_message() {
        let boot = BootId(0x0102);
        let bye = Up::Bye(Bye { boot, last: Seq(7), at: UnixNanos(5), crashed: false });
        assert_eq!(hex(&to_cbor(&bye)), "820481a30019010201070205");
        let mut ranges = RangeSet::of(Seq(1)..=Seq(9));
        ranges.insert(Seq(12)..=Seq(12));
        let ack = Down::Ack(List::cut([BootRanges { boot, ranges }]));
        assert_eq!(hex(&to_cbor(&ack)), "82038181a200190102018401090c0c");
        let drain = Down::Drain(Drain { after_ms: 1000, spread_ms: 2000 });
        assert_eq!(hex(&to_cbor(&drain)), "820481a2001903e8011907d0");
        let frame =
            Frame { boot, first: Seq(3), reports: List::cut([Bytes::new([0xf6]).unwrap()]), settled: UnixNanos(4) };
        assert_eq!(hex(&to_cbor(&frame)), "a4001901020103028141f60304");
        for bytes in [to_cbor(&bye), to_cbor(&frame)] {
            assert!(from_cbor::<Up>(&bytes).is_ok() || from_cbor::<Frame>(&bytes).is_ok());
        }
    }

    #[test]
    fn messages_of_a_newer_version_are_skipped_and_garbage_is_not() {
        assert_eq!(from_cbor::<Up>(&[0x82, 0x18, 0x63, 0x81, 0x01]).unwrap(), None);
        assert!(from_cbor::<Up>(&[0xff, 0x00]).is_err());
        assert!(from_cbor::<Up>(&to_cbor(&Drain { after_ms: 1, spread_ms: 2 })).is_err());
    }

    #[test]
    fn frames_know_their_last_number() {
        let frame = |first, n| Frame {
            boot: BootId(1),
            first: Seq(first),
            reports: List::cut((0..n).map(|_| Bytes::default())),
            settled: UnixNanos(0),
        };
        assert_eq!(frame(5, 3).last(), Some(Seq(7)));
        assert_eq!(frame(5, 0).last(), None);
        assert_eq!(frame(u64::MAX, 2).last(), None);
    }
}
