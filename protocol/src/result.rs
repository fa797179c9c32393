//! What a probe reports: the results of its runs, and the runs that did not happen.
//!
//! A [`Report`] is one numbered item of a frame. It says what was seen, in integers of the finest unit the engine has;
//! the RIPE Atlas JSON is made from it on the way out (feature `atlas`). The bytes a probe encoded are the bytes the store
//! keeps, so both can be compared by their digest.

mod dns;
mod http;
pub mod ipv6;
mod ntp;
mod path_mtu;
mod ping;
mod sslcert;
mod traceroute;

use alloc::boxed::Box;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::bounded::Text;
use crate::ids::MeasurementId;
use crate::net::{Family, Ip};
use crate::spec::Target;
use crate::time::UnixNanos;

pub use self::dns::*;
pub use self::http::*;
pub use self::ipv6::Ipv6Outcome;
pub use self::ntp::*;
pub use self::path_mtu::*;
pub use self::ping::*;
pub use self::sslcert::*;
pub use self::traceroute::*;

/// The greatest size of one encoded report. Two DNS messages of 64 KiB per resolver would not fit: they are cut to what
/// fits and marked so.
pub const MAX_REPORT: usize = 192 * 1024;

/// Text that explains a failure.
pub type Why = Text<200>;

/// One numbered item: what became of one run, or of several that did not happen.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[expect(clippy::large_enum_variant, reason = "nearly every report is a result, and none is kept in this form")]
pub enum Report {
    /// A run took place.
    #[n(0)]
    Result(#[n(0)] MeasurementResult),
    /// Runs that were due did not take place.
    #[n(1)]
    Skipped(#[n(0)] Skipped),
}

impl Report {
    /// The measurement it belongs to.
    pub const fn measurement(&self) -> MeasurementId {
        match self {
            Report::Result(result) => result.measurement,
            Report::Skipped(skipped) => skipped.measurement,
        }
    }

    /// Its bytes, as they are numbered, sent and stored.
    pub fn to_cbor(&self) -> Vec<u8> {
        // Writing into memory cannot fail.
        minicbor::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Report::to_cbor`] wrote.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        minicbor::decode(bytes)
    }
}

/// Due runs that did not take place: `runs` of them, one interval apart, the first due at `planned_at`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Skipped {
    /// The measurement.
    #[n(0)]
    pub measurement: MeasurementId,
    /// When the first of them was due.
    #[n(1)]
    pub planned_at: UnixNanos,
    /// How many in a row.
    #[n(2)]
    pub runs: u32,
    /// Why.
    #[n(3)]
    pub reason: SkipReason,
}

/// Why a run did not take place. A number that this version does not know reads as [`SkipReason::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The host has paused the probe.
    Paused,
    /// A cap of the probe's policy was reached (packets, bytes, concurrency, rate per target).
    Limit,
    /// The host's line was busy.
    QuietLine,
    /// The run before, or another one that it would have disturbed, had not ended.
    Overlap,
    /// The probe has no address or route of the family.
    NoRoute,
    /// A one-off that came, or could run, only after its expiry.
    Expired,
    /// The run was due before the order reached the probe.
    LateOrder,
    /// This probe does not know the kind or an option of it.
    Unsupported,
    /// The probe could not know the time, or its clock jumped over the run.
    Clock,
    /// The probe was being stopped.
    Stopping,
    /// The host allows measurements at other hours only.
    OutsideHours,
    /// The host does not allow measurements of this kind.
    KindOff,
    /// A reason of a newer version.
    Other,
}

impl SkipReason {
    const NUMBERS: [(SkipReason, u8); 13] = [
        (SkipReason::Other, 0),
        (SkipReason::Paused, 1),
        (SkipReason::Limit, 2),
        (SkipReason::QuietLine, 3),
        (SkipReason::Overlap, 4),
        (SkipReason::NoRoute, 5),
        (SkipReason::Expired, 6),
        (SkipReason::LateOrder, 7),
        (SkipReason::Unsupported, 8),
        (SkipReason::Clock, 9),
        (SkipReason::Stopping, 10),
        (SkipReason::OutsideHours, 11),
        (SkipReason::KindOff, 12),
    ];

    /// A word for people and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            SkipReason::Paused => "paused",
            SkipReason::Limit => "limit",
            SkipReason::QuietLine => "quiet line",
            SkipReason::Overlap => "overlap",
            SkipReason::NoRoute => "no route",
            SkipReason::Expired => "expired",
            SkipReason::LateOrder => "late order",
            SkipReason::Unsupported => "unsupported",
            SkipReason::Clock => "clock",
            SkipReason::Stopping => "stopping",
            SkipReason::OutsideHours => "outside hours",
            SkipReason::KindOff => "kind off",
            SkipReason::Other => "other",
        }
    }
}

impl<C> Encode<C> for SkipReason {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let number = Self::NUMBERS.iter().find(|(reason, _)| reason == self).map_or(0, |(_, number)| *number);
        e.u8(number)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for SkipReason {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let number = d.u8()?;
        Ok(Self::NUMBERS.iter().find(|(_, n)| *n == number).map_or(SkipReason::Other, |(reason, _)| *reason))
    }
}

/// One probe's report of one run.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct MeasurementResult {
    /// The measurement; 0 when the host ran it by hand.
    #[n(0)]
    pub measurement: MeasurementId,
    /// When the run was due.
    #[n(1)]
    pub planned_at: UnixNanos,
    /// When it began.
    #[n(2)]
    pub started_at: UnixNanos,
    /// When it ended.
    #[n(3)]
    pub ended_at: UnixNanos,
    /// How good its times are.
    #[n(4)]
    pub timing: Timing,
    /// The family asked for.
    #[n(5)]
    pub af: Family,
    /// The target as it was asked for; absent for dns with the probe's own resolvers.
    #[n(6)]
    pub dst_name: Option<Target>,
    /// The address measured; absent when the name did not resolve.
    #[n(7)]
    pub dst_addr: Option<Ip>,
    /// The probe's own address towards the target, when known.
    #[n(8)]
    pub src_addr: Option<Ip>,
    /// Nanoseconds it took to resolve the name, when the probe did that.
    #[n(9)]
    pub time_to_resolve: Option<u64>,
    /// Seconds between runs; absent for a one-off.
    #[n(10)]
    pub interval: Option<u32>,
    /// What was seen.
    #[n(11)]
    pub outcome: Outcome,
}

/// How good the times in a result are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Timing {
    /// Where the stamps of packets come from.
    #[n(0)]
    pub source: StampSource,
    /// Seconds since the wall clock was last known to be right (Atlas: `lts`); absent when never.
    #[n(1)]
    pub last_sync: Option<u32>,
    /// How far the wall clock can be wrong, in nanoseconds; absent when unknown.
    #[n(2)]
    pub clock_error: Option<u64>,
    /// How far any round-trip time in the result can be from the truth, in nanoseconds, as far as this machine is to blame;
    /// absent when nothing was timed or nobody can say.
    #[n(3)]
    pub rtt_error: Option<u64>,
    /// What else went on; absent when it was not looked at.
    #[n(4)]
    pub load: Option<Load>,
}

/// What else the probe and its machine did when a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Load {
    /// Other runs under way.
    #[n(0)]
    pub runs: u32,
    /// Packets of measurements that the probe had sent in the second before.
    #[n(1)]
    pub packets_per_second: u32,
    /// Hundredths of the machine's load average over one minute; absent where the system tells none.
    #[n(2)]
    pub load_average: Option<u32>,
}

/// Where the stamps of packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum StampSource {
    /// This program's own clock, around the system calls.
    #[n(0)]
    #[default]
    User,
    /// The kernel, on arrival only.
    #[n(1)]
    KernelReceive,
    /// The kernel, on departure and arrival.
    #[n(2)]
    Kernel,
}

/// What one run saw, by kind.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Outcome {
    /// The run could not be carried out; the second field is the kind's number ([`crate::spec::Kind`]).
    #[n(0)]
    Failed(#[n(0)] Failure, #[n(1)] u8),
    /// Echo replies.
    #[n(1)]
    Ping(#[n(0)] PingOutcome),
    /// Hops.
    #[n(2)]
    Traceroute(#[n(0)] TracerouteOutcome),
    /// Answers.
    #[n(3)]
    Dns(#[n(0)] DnsOutcome),
    /// Certificates.
    #[n(4)]
    Sslcert(#[n(0)] Box<SslcertOutcome>),
    /// A response.
    #[n(5)]
    Http(#[n(0)] Box<HttpOutcome>),
    /// Times.
    #[n(6)]
    Ntp(#[n(0)] NtpOutcome),
    /// Sizes that pass. Boxed, because it would make every outcome larger.
    #[n(7)]
    PathMtu(#[n(0)] Box<PathMtuOutcome>),
    /// What both families are worth. Boxed likewise.
    #[n(8)]
    Ipv6(#[n(0)] Box<Ipv6Outcome>),
}

impl Outcome {
    /// The number of its kind.
    pub const fn kind_number(&self) -> u8 {
        match self {
            Outcome::Failed(_, kind) => *kind,
            Outcome::Ping(_) => crate::spec::Kind::Ping.number(),
            Outcome::Traceroute(_) => crate::spec::Kind::Traceroute.number(),
            Outcome::Dns(_) => crate::spec::Kind::Dns.number(),
            Outcome::Sslcert(_) => crate::spec::Kind::Sslcert.number(),
            Outcome::Http(_) => crate::spec::Kind::Http.number(),
            Outcome::Ntp(_) => crate::spec::Kind::Ntp.number(),
            Outcome::PathMtu(_) => crate::spec::Kind::PathMtu.number(),
            Outcome::Ipv6(_) => crate::spec::Kind::Ipv6.number(),
        }
    }
}

/// Why a run could not be carried out. Silence and ICMP errors are results, not failures.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Failure {
    /// The name did not resolve.
    #[n(0)]
    Resolve(#[n(0)] Why),
    /// The probe's policy forbids the address or port.
    #[n(1)]
    NotAllowed,
    /// A socket could not be opened or connected.
    #[n(2)]
    Socket(#[n(0)] Why),
    /// The packets could not be made, for instance because an option is not available to this probe.
    #[n(3)]
    Unsupported(#[n(0)] Why),
}
