//! The RIPE Atlas JSON form of results: one compact line per result, for the API, its streams and `measure`.
//!
//! A result is stored as what it means; this is where it becomes JSON, on the way out. Field names and shapes are those of
//! Atlas firmware 5000 and later, so that its tools read them unchanged. What Atlas has no word for stands in one object,
//! `sonde`, at the top and beside what it explains:
//!
//! | Where | Members |
//! |---|---|
//! | top | `planned`, `started` (Unix seconds), `error` (when the run could not be carried out), `timestamp_source`, `rtt_error_us`, `clock_error_us`, `load` (`runs`, `packets_per_second`, `load_average`), `boot`, `seq` |
//! | reply of ping | `from`, when somebody else than the target answered; for an ICMP error `icmp_type`, `icmp_code`, `from`, `rtt`, `ttl`, `mtu` |
//! | top, sslcert | `handshake` (what went wrong behind the certificates), `client_certificate_wanted`, `certificates_left_out` |
//! | top, http | `tls` (milliseconds until TLS was set up, with extended timing) |
//! | dns | at the top and in a `resultset`'s elements: `transport`, `tls_version`, `cipher`, `strays_seen`, `strays`; in `result`: `ttc`, `handshake`, `query` (milliseconds each), `truncated_first` |
//! | reply of ntp | for an ICMP error `icmp_type`, `icmp_code`, `from`, `rtt` (seconds), `ttl`, `mtu`; `rtt` of an answer without a time |
//! | top of ntp | `strays_seen`: what came and answered none of the requests, when there was any |
//!
//! Three choices that Atlas does not make for us:
//! - *A run that failed* says so where Atlas's probes say it, and nowhere else: in the element of `result` (ping, traceroute,
//!   http, ntp), as `err`, `dnserr` or `error` at the top (sslcert) or in `error` (dns). So parsers see the flags they would see of
//!   Atlas's own results. `error` in `sonde` says it for every kind in the same place.
//! - *An ICMP error in answer to a ping* is `{"x":"*"}`, as Atlas has it, and says what it was under `sonde`.
//! - *A number that is not known* where clients read one without asking is -1: `ttl` of a hop's reply.
//!
//! Who may see which address is not decided here: every address of the probe's surroundings goes through an
//! [`AddressView`]. The writer must not know about viewers, accounts or the store.

mod dns;
mod dns_message;
mod each;
mod extra;
mod http;
mod icmp_extension;
mod ipv6;
mod ntp;
mod path_mtu;
mod ping;
mod sslcert;
mod tcp;
mod traceroute;

pub use dns_message::has_answer;

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::ids::{BootId, MeasurementId, ProbeId, Seq};
use crate::result::{Failure, Load, MeasurementResult, Outcome, StampSource, Timing};
use crate::spec::{Kind, Spec};
use crate::time::UnixNanos;

/// The firmware version that results carry (Atlas: `fw`). Above every Atlas version, so that no tool takes a legacy branch.
pub const FIRMWARE: u32 = 6000;

/// The version that results carry when nobody says another (Atlas: `mver`).
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Atlas's words for a target that the probe's policy forbids.
const NOT_ALLOWED: &str = "address not allowed";

/// How Atlas begins when the name did not resolve; traceroute has words of its own.
const RESOLVING: &str = "dns resolution failed: ";

/// The hop that an address counts as when its place on the path is not known: the first, which is hidden most.
const UNKNOWN_HOP: u8 = 1;

/// Which addresses a reader sees whole. Each method gives the address to write for the true one.
pub trait AddressView {
    /// The public address the probe was seen from (`from`).
    fn from(&self, address: IpAddr) -> IpAddr;
    /// The probe's own address (`src_addr`).
    fn own(&self, address: IpAddr) -> IpAddr;
    /// Somebody on the path at this hop, other than the target (`from` and `edst` of traceroute's replies). Where the hop
    /// is not known (an ICMP error in answer to a ping) it is asked as hop 1.
    fn hop(&self, hop: u8, address: IpAddr) -> IpAddr;
    /// A resolver the probe itself uses (`dst_addr` in `resultset`).
    fn resolver(&self, address: IpAddr) -> IpAddr;
    /// Does the reader see what the host calls its interfaces? Such names tell of makers, providers and purposes.
    fn names(&self) -> bool {
        false
    }
}

/// Every address as it is: for the probe's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WholeView;

impl AddressView for WholeView {
    fn from(&self, address: IpAddr) -> IpAddr {
        address
    }
    fn own(&self, address: IpAddr) -> IpAddr {
        address
    }
    fn hop(&self, _hop: u8, address: IpAddr) -> IpAddr {
        address
    }
    fn resolver(&self, address: IpAddr) -> IpAddr {
        address
    }
    fn names(&self) -> bool {
        true
    }
}

/// What a line says that is not in the result itself.
#[derive(Clone, Copy)]
pub struct ResultContext<'a> {
    /// Whose result it is.
    pub probe: ProbeId,
    /// The address the collector saw; written as `""` when unknown.
    pub from: Option<IpAddr>,
    /// The group of measurements it belongs to.
    pub group_id: Option<MeasurementId>,
    /// When it was stored.
    pub stored_at: Option<UnixNanos>,
    /// The probe's process, with [`ResultContext::seq`] the result's name for ever.
    pub boot: Option<BootId>,
    /// The result's number in its boot.
    pub seq: Option<Seq>,
    /// The version of the probe's software.
    pub version: &'a str,
    /// The definition, when at hand: a run that failed has no other source for `size`, `proto`, `dst_port`.
    pub spec: Option<&'a Spec>,
    /// Which addresses the reader sees.
    pub view: &'a dyn AddressView,
}

impl ResultContext<'_> {
    /// A context of which only the probe is known, for its owner.
    pub fn new(probe: ProbeId) -> Self {
        Self {
            probe,
            from: None,
            group_id: None,
            stored_at: None,
            boot: None,
            seq: None,
            version: VERSION,
            spec: None,
            view: &WholeView,
        }
    }
}

/// Appends the result as one line of JSON, without the line's end.
pub fn write_result(out: &mut Vec<u8>, result: &MeasurementResult, ctx: &ResultContext<'_>) {
    let start = out.len();
    // Memory takes every byte and every key is a string, so there is no error. If there were, no half line would stay.
    if serde_json::to_writer(&mut *out, &Line { result, ctx }).is_err() {
        out.truncate(start);
    }
}

/// The result as a value, for readers of single fields; [`write_result`] is much faster.
pub fn result_json(result: &MeasurementResult, ctx: &ResultContext<'_>) -> serde_json::Value {
    serde_json::to_value(Line { result, ctx }).unwrap_or_default()
}

/// One result and its context: what every part of the writer needs.
#[derive(Clone, Copy)]
struct Line<'a> {
    result: &'a MeasurementResult,
    ctx: &'a ResultContext<'a>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Line { result, ctx } = *self;
        let kind = Kind::from_number(result.outcome.kind_number());
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("fw", &FIRMWARE)?;
        line.serialize_entry("mver", ctx.version)?;
        line.serialize_entry("lts", &last_sync(&result.timing))?;
        match ctx.from {
            Some(from) => line.serialize_entry("from", &ctx.view.from(from))?,
            None => line.serialize_entry("from", "")?,
        }
        line.serialize_entry("msm_id", &result.measurement)?;
        entry(&mut line, "group_id", ctx.group_id)?;
        line.serialize_entry("prb_id", &ctx.probe)?;
        line.serialize_entry("timestamp", &result.started_at.as_secs())?;
        entry(&mut line, "stored_timestamp", ctx.stored_at.map(UnixNanos::as_secs))?;
        line.serialize_entry("type", kind.map_or("unknown", Kind::name))?;
        line.serialize_entry("msm_name", kind.map_or("Unknown", Kind::result_name))?;
        match (&result.outcome, kind) {
            (Outcome::Ping(seen), _) => ping::write(self, &mut line, seen)?,
            (Outcome::Traceroute(seen), _) => traceroute::write(self, &mut line, seen)?,
            (Outcome::Dns(seen), _) => dns::write(self, &mut line, seen)?,
            (Outcome::Sslcert(seen), _) => sslcert::write(self, &mut line, seen)?,
            (Outcome::Http(seen), _) => http::write(self, &mut line, seen)?,
            (Outcome::Ntp(seen), _) => ntp::write(self, &mut line, seen)?,
            (Outcome::PathMtu(seen), _) => path_mtu::write(self, &mut line, seen)?,
            (Outcome::Ipv6(seen), _) => ipv6::write(self, &mut line, seen)?,
            (Outcome::Failed(failure, _), Some(Kind::Ping)) => ping::write_failure(self, &mut line, failure)?,
            (Outcome::Failed(failure, _), Some(Kind::Traceroute)) => {
                traceroute::write_failure(self, &mut line, failure)?
            }
            (Outcome::Failed(failure, _), Some(Kind::Dns)) => dns::write_failure(self, &mut line, failure)?,
            (Outcome::Failed(failure, _), Some(Kind::Sslcert)) => sslcert::write_failure(self, &mut line, failure)?,
            (Outcome::Failed(failure, _), Some(Kind::Http)) => http::write_failure(self, &mut line, failure)?,
            (Outcome::Failed(failure, _), Some(Kind::Ntp)) => ntp::write_failure(self, &mut line, failure)?,
            (Outcome::Failed(failure, _), Some(Kind::PathMtu)) => path_mtu::write_failure(self, &mut line, failure)?,
            (Outcome::Failed(failure, _), Some(Kind::Ipv6)) => ipv6::write_failure(self, &mut line, failure)?,
            (Outcome::Failed(failure, _), None) => {
                self.target(&mut line)?;
                failure_entry(&mut line, failure)?;
            }
        }
        line.serialize_entry("sonde", &Extension(self))?;
        line.end()
    }
}

impl Line<'_> {
    /// `af`, `dst_name`, `dst_addr`, `src_addr`, as ping and traceroute have them.
    fn target<M: SerializeMap>(&self, line: &mut M) -> Result<(), M::Error> {
        line.serialize_entry("af", &self.result.af.number())?;
        entry(line, "dst_name", self.result.dst_name.as_deref())?;
        entry(line, "dst_addr", self.result.dst_addr.map(|address| address.0))?;
        entry(line, "src_addr", self.result.src_addr.map(|address| self.ctx.view.own(address.0)))
    }

    /// `ttr`, when the probe resolved the name.
    fn time_to_resolve<M: SerializeMap>(&self, line: &mut M) -> Result<(), M::Error> {
        entry(line, "ttr", self.result.time_to_resolve.map(Millis))
    }

    /// Somebody at this hop. The target is shown as it is: it stands at the top of the same line, and tools find out whether
    /// a trace has arrived by comparing the two.
    fn on_path(&self, hop: u8, address: IpAddr) -> IpAddr {
        if self.result.dst_addr.is_some_and(|dst| dst.0 == address) { address } else { self.ctx.view.hop(hop, address) }
    }
}

/// The `sonde` object at the top.
struct Extension<'a>(&'a Line<'a>);

impl Serialize for Extension<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Line { result, ctx } = *self.0;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("planned", &Seconds(result.planned_at))?;
        object.serialize_entry("started", &Seconds(result.started_at))?;
        if let Outcome::Failed(failure, _) = &result.outcome {
            object.serialize_entry("error", &failure_words(failure, RESOLVING))?;
        }
        object.serialize_entry(
            "timestamp_source",
            match result.timing.source {
                StampSource::User => "user",
                StampSource::KernelReceive => "kernel-receive",
                StampSource::Kernel => "kernel",
            },
        )?;
        // Bounds are rounded up, so that they stay bounds.
        entry(&mut object, "rtt_error_us", result.timing.rtt_error.map(|nanos| nanos.div_ceil(1000)))?;
        entry(&mut object, "clock_error_us", result.timing.clock_error.map(|nanos| nanos.div_ceil(1000)))?;
        entry(&mut object, "load", result.timing.load.map(LoadObject))?;
        if let Outcome::Ntp(seen) = &result.outcome {
            entry(&mut object, "strays_seen", Some(seen.strays).filter(|strays| *strays > 0))?;
        }
        entry(&mut object, "boot", ctx.boot.map(Hex))?;
        entry(&mut object, "seq", ctx.seq)?;
        match &result.outcome {
            Outcome::Dns(seen) => dns::write_extension(self.0, &mut object, seen)?,
            Outcome::Sslcert(seen) => sslcert::extension(&mut object, seen)?,
            Outcome::Http(seen) => http::extension(&mut object, seen)?,
            _ => {}
        }
        object.end()
    }
}

/// What else went on when the run began.
struct LoadObject(Load);

impl Serialize for LoadObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("runs", &self.0.runs)?;
        object.serialize_entry("packets_per_second", &self.0.packets_per_second)?;
        entry(&mut object, "load_average", self.0.load_average.map(|hundredths| f64::from(hundredths) / 100.0))?;
        object.end()
    }
}

/// Nanoseconds as milliseconds with six decimals, exactly.
#[derive(Clone, Copy)]
struct Millis(u64);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Both numbers are whole and below 2^53 (104 days), so the quotient is the nearest float to the decimal fraction
        // and prints as it.
        serializer.serialize_f64(self.0 as f64 / 1e6)
    }
}

/// Nanoseconds as milliseconds with three decimals, as traceroute and dns have them.
#[derive(Clone, Copy)]
struct RoundMillis(u64);

impl Serialize for RoundMillis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.0.saturating_add(500) / 1000) as f64 / 1e3)
    }
}

/// A point in time as Unix seconds with six decimals.
#[derive(Clone, Copy)]
struct Seconds(UnixNanos);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.0.div_euclid(1000) as f64 / 1e6)
    }
}

/// A boot as sixteen hexadecimal digits: as a number it would not survive JavaScript.
struct Hex(BootId);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0.0))
    }
}

/// An object with one member.
struct Single<'a, T>(&'a str, T);

impl<T: Serialize> Serialize for Single<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(1))?;
        object.serialize_entry(self.0, &self.1)?;
        object.end()
    }
}

/// Seconds since the clock was right, -1 when nobody knows (Atlas: `lts`).
fn last_sync(timing: &Timing) -> i64 {
    timing.last_sync.map_or(-1, i64::from)
}

/// A member that is left out when there is nothing to say.
fn entry<M: SerializeMap, T: Serialize>(map: &mut M, key: &'static str, value: Option<T>) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(key, &value),
        None => Ok(()),
    }
}

/// `err` or `dnserr` at the top, for the kinds of which Atlas's probes say it there: what makes sagan's `is_error`.
fn failure_entry<M: SerializeMap>(line: &mut M, failure: &Failure) -> Result<(), M::Error> {
    match failure {
        Failure::Resolve(why) => line.serialize_entry("dnserr", &**why),
        other => line.serialize_entry("err", &failure_words(other, "")),
    }
}

/// Why a run failed, in one sentence: Atlas's words where it has any. `resolving` is how this kind begins when the name did
/// not resolve.
fn failure_words<'a>(failure: &'a Failure, resolving: &str) -> Cow<'a, str> {
    match failure {
        Failure::Resolve(why) => prefixed(resolving, why),
        Failure::NotAllowed => Cow::Borrowed(NOT_ALLOWED),
        Failure::Socket(why) => {
            let names_its_step = ["socket", "connect", "bind"].iter().any(|step| why.starts_with(step));
            if names_its_step { Cow::Borrowed(&**why) } else { prefixed("socket failed: ", why) }
        }
        Failure::Unsupported(why) => Cow::Borrowed(&**why),
    }
}

/// A packet that could not be sent.
fn send_failure(why: &str) -> Cow<'_, str> {
    if why.starts_with("sendto") { Cow::Borrowed(why) } else { prefixed("sendto failed: ", why) }
}

fn prefixed<'a>(prefix: &str, words: &'a str) -> Cow<'a, str> {
    if prefix.is_empty() { Cow::Borrowed(words) } else { Cow::Owned(alloc::format!("{prefix}{words}")) }
}
