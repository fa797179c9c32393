//! `ntp` results. Times are seconds since 1900, as Atlas has them; after 2036 they go on counting, past 32 bits.

use alloc::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::extra::Extra;
use super::{Line, RESOLVING, Single, failure_words, send_failure};
use crate::result::{Failure, NtpAnswer, NtpNoTime, NtpOutcome, NtpReply, NtpServer};
use crate::time::UnixNanos;

/// Nanoseconds from 1900 to 1970.
const UNIX_EPOCH: i128 = 2_208_988_800_000_000_000;

/// The stratum of a server that is not synchronised; what lies above is reserved (RFC 5905, figure 11).
const UNSYNCHRONIZED: u8 = 16;

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, seen: &NtpOutcome) -> Result<(), M::Error> {
    head(line, map)?;
    if let Some(server) = &seen.server {
        describe(map, server)?;
    }
    map.serialize_entry("result", &Replies { line, seen })
}

/// A run that could not be carried out.
pub(super) fn write_failure<M: SerializeMap>(line: &Line<'_>, map: &mut M, failure: &Failure) -> Result<(), M::Error> {
    head(line, map)?;
    map.serialize_entry("result", &[Single("error", failure_words(failure, RESOLVING))])
}

fn head<M: SerializeMap>(line: &Line<'_>, map: &mut M) -> Result<(), M::Error> {
    line.target(map)?;
    map.serialize_entry("proto", "UDP")?;
    line.time_to_resolve(map)
}

/// What the server says of itself.
fn describe<M: SerializeMap>(map: &mut M, server: &NtpServer) -> Result<(), M::Error> {
    let leap = match server.leap {
        0 => "no",
        1 => "61",
        2 => "59",
        _ => "unknown",
    };
    map.serialize_entry("li", leap)?;
    map.serialize_entry("version", &server.version)?;
    map.serialize_entry("mode", "server")?;
    match server.stratum {
        0 => map.serialize_entry("stratum", "invalid")?,
        UNSYNCHRONIZED => map.serialize_entry("stratum", "unsynchronized")?,
        number if number > UNSYNCHRONIZED => map.serialize_entry("stratum", "reserved")?,
        number => map.serialize_entry("stratum", &number)?,
    }
    match u32::try_from(server.poll).ok().and_then(|poll| 1_u64.checked_shl(poll)) {
        Some(seconds) => map.serialize_entry("poll", &seconds)?,
        None => map.serialize_entry("poll", &power_of_two(server.poll))?,
    }
    map.serialize_entry("precision", &power_of_two(server.precision))?;
    map.serialize_entry("root-delay", &(f64::from(server.root_delay) / 65_536.0))?;
    map.serialize_entry("root-dispersion", &(f64::from(server.root_dispersion) / 65_536.0))?;
    map.serialize_entry("ref-id", &reference_id(server))?;
    match server.reference_time {
        Some(time) => map.serialize_entry("ref-ts", &Since1900(time)),
        None => map.serialize_entry("ref-ts", &0),
    }
}

/// 2 to a power that is in range for every `i8`.
fn power_of_two(exponent: i8) -> f64 {
    f64::from_bits(((1023 + i64::from(exponent)) as u64) << 52)
}

fn reference_id(server: &NtpServer) -> Cow<'static, str> {
    let word = if server.stratum <= 1 { code(server.reference_id) } else { None };
    Cow::Owned(word.unwrap_or_else(|| alloc::format!("{:08x}", server.reference_id)))
}

/// Four bytes as text: a name of a reference clock, a kiss code. `None` when they are something else.
fn code(bytes: u32) -> Option<alloc::string::String> {
    let bytes = bytes.to_be_bytes();
    let text = core::str::from_utf8(&bytes).ok()?.trim_end_matches('\0');
    let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    is_word.then(|| text.into())
}

/// A point in time as seconds since 1900 with six decimals, which is what a number of JSON has room for.
#[derive(Clone, Copy)]
struct Since1900(UnixNanos);

impl Serialize for Since1900 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = (i128::from(self.0.0) + UNIX_EPOCH).div_euclid(1000);
        serializer.serialize_f64(micros as f64 / 1e6)
    }
}

/// Nanoseconds as seconds.
#[derive(Clone, Copy)]
struct Span(i64);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1e9)
    }
}

impl Span {
    fn of(nanos: u64) -> Self {
        Self(i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}

/// The list `result`.
struct Replies<'a> {
    line: &'a Line<'a>,
    seen: &'a NtpOutcome,
}

impl Serialize for Replies<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.seen.replies.len()))?;
        for reply in &self.seen.replies {
            match reply {
                NtpReply::Answer(answer) => list.serialize_element(&Times::of(answer))?,
                NtpReply::Timeout => list.serialize_element(&Other { x: Some("*"), ..Other::default() })?,
                NtpReply::SendError(why) => {
                    list.serialize_element(&Other { error: Some(send_failure(why)), ..Other::default() })?;
                }
                NtpReply::Icmp(error) => {
                    let sonde = Some(Extra::of_error(self.line, error, Span::of));
                    list.serialize_element(&Other { x: Some("*"), sonde, ..Other::default() })?;
                }
                NtpReply::NoTime(answer) => list.serialize_element(&Other::without_time(answer))?,
            }
        }
        list.end()
    }
}

/// An element of `result` with the time in it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Times {
    origin_ts: Since1900,
    receive_ts: Since1900,
    transmit_ts: Since1900,
    final_ts: Since1900,
    rtt: Span,
    offset: Span,
}

impl Times {
    fn of(answer: &NtpAnswer) -> Self {
        Self {
            origin_ts: Since1900(answer.origin),
            receive_ts: Since1900(answer.receive),
            transmit_ts: Since1900(answer.transmit),
            final_ts: Since1900(answer.last),
            rtt: Span(answer.rtt),
            offset: Span(answer.offset),
        }
    }
}

/// Any other element.
#[derive(Serialize, Default)]
struct Other<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sonde: Option<Extra<Span>>,
}

impl Other<'_> {
    fn without_time(answer: &NtpNoTime) -> Self {
        let error = match answer.kiss {
            Some(kiss) => match code(kiss) {
                Some(word) => alloc::format!("kiss-o'-death: {word}"),
                None => alloc::format!("the server gives no time (stratum 0, reference id {kiss:08x})"),
            },
            None => "the server gives no time (empty time stamps)".into(),
        };
        let sonde = Extra { rtt: Some(Span::of(answer.elapsed)), ..Extra::none() };
        Self { error: Some(Cow::Owned(error)), sonde: Some(sonde), ..Self::default() }
    }
}
