//! NTP packets (RFC 5905, 7.3) and their time stamps (RFC 5905, 6).

use alloc::vec;
use alloc::vec::Vec;

use sonde_protocol::result::NtpServer;
use sonde_protocol::time::UnixNanos;

/// Bytes of the header. Extension fields and authentication may follow in an answer; nothing here reads them.
const HEADER: usize = 48;

/// Leap indicator 0, version 4, mode 3 (client).
const CLIENT: u8 = 0x23;

/// Mode of an answer.
const SERVER: u8 = 4;

/// Where a request has its transmit time.
const TRANSMIT: usize = 40;

/// From 1900, where era 0 begins, to 1970.
const UNIX_EPOCH: i128 = 2_208_988_800 * SECOND;

const SECOND: i128 = 1_000_000_000;

/// A request that an answer with `origin` belongs to.
pub(super) fn request(origin: u64) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    if let Some(first) = bytes.first_mut() {
        *first = CLIENT;
    }
    bytes.truncate(TRANSMIT);
    bytes.extend(origin.to_be_bytes());
    bytes
}

/// Could this be the beginning of the request with `origin`?
pub(super) fn quotes(quoted: &[u8], origin: u64) -> bool {
    request(origin).iter().zip(quoted).all(|(ours, theirs)| ours == theirs)
}

/// A time in 2^-32 seconds within an era of 136 years that it does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Stamp {
    /// The time of day, in the era that brings it nearest to `pivot`: within 68 years of a clock that is not quite wrong
    /// there is no doubt (RFC 5905, 6).
    pub(super) fn near(self, pivot: UnixNanos) -> UnixNanos {
        let since_1900 = i128::from(pivot.0) + UNIX_EPOCH;
        let pivot = (since_1900 << 32).div_euclid(SECOND);
        // The difference of two stamps in one era, as a signed number, is right across its end too.
        let away = i128::from(self.0.wrapping_sub(low_bits(pivot)) as i64);
        let nanos = ((pivot + away) * SECOND + (1 << 31)) >> 32;
        let unix = nanos - UNIX_EPOCH;
        UnixNanos(i64::try_from(unix).unwrap_or(if unix < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Nanoseconds since an earlier stamp, negative when it is later.
    pub(super) fn nanos_since(self, earlier: Self) -> i128 {
        (i128::from(self.0.wrapping_sub(earlier.0) as i64) * SECOND + (1 << 31)) >> 32
    }

    /// A stamp of zero is no time (RFC 5905, 6).
    fn given(self) -> Option<Self> {
        (self.0 != 0).then_some(self)
    }
}

fn low_bits(value: i128) -> u64 {
    (value & i128::from(u64::MAX)) as u64
}

/// The header of a packet that came.
#[derive(Debug, Clone)]
pub(super) struct Answer([u8; HEADER]);

impl Answer {
    /// `None` when it is too short.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|header| Self(*header))
    }

    fn u32_at(&self, at: usize) -> u32 {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    fn stamp_at(&self, at: usize) -> Stamp {
        Stamp(u64::from(self.u32_at(at)) << 32 | u64::from(self.u32_at(at + 4)))
    }

    fn octets(&self) -> [u8; 4] {
        self.u32_at(0).to_be_bytes()
    }

    pub(super) fn is_of_a_server(&self) -> bool {
        let [flags, ..] = self.octets();
        flags & 7 == SERVER
    }

    /// The transmit time of the request that it answers.
    pub(super) fn origin(&self) -> u64 {
        self.stamp_at(24).0
    }

    /// What a packet of stratum 0 has instead of a time: a code, which may be 0.
    pub(super) fn kiss(&self) -> Option<u32> {
        let [_, stratum, ..] = self.octets();
        (stratum == 0).then(|| self.u32_at(12))
    }

    /// When the request arrived and the answer left, by the server's clock.
    pub(super) fn times(&self) -> Option<(Stamp, Stamp)> {
        Some((self.stamp_at(32).given()?, self.stamp_at(TRANSMIT).given()?))
    }

    pub(super) fn server(&self, about_now: UnixNanos) -> NtpServer {
        let [flags, stratum, poll, precision] = self.octets();
        NtpServer {
            leap: flags >> 6,
            version: flags >> 3 & 7,
            stratum,
            poll: poll as i8,
            precision: precision as i8,
            root_delay: self.u32_at(4),
            root_dispersion: self.u32_at(8),
            reference_id: self.u32_at(12),
            reference_time: self.stamp_at(16).given().map(|stamp| stamp.near(about_now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-27 00:00 UTC.
    const NOW: UnixNanos = UnixNanos::from_secs(1_795_737_600);

    #[test]
    fn a_request_says_nothing_but_its_version_and_its_number() {
        let bytes = request(0x0102_0304_0506_0708);
        assert_eq!((bytes.len(), bytes.first()), (48, Some(&0x23)));
        assert!(bytes.iter().skip(1).take(39).all(|byte| *byte == 0));
        assert_eq!(bytes.get(40..), Some([1, 2, 3, 4, 5, 6, 7, 8].as_slice()));
    }

    #[test]
    fn stamps_are_read_in_the_nearest_era() {
        let stamp = |seconds: u64| Stamp((seconds & 0xffff_ffff) << 32);
        // Seconds since 1900, beyond 32 bits in era 1.
        for (what, since_1900, pivot) in [
            ("now", 4_004_726_400, NOW),
            ("the last second of era 0", 0xffff_ffff, NOW),
            ("the second of era 1, seen from era 0", 0x1_0000_0001, UnixNanos::from_secs(2_085_978_400)),
            ("the last of era 0, seen from era 1", 0xffff_ffff, UnixNanos::from_secs(2_085_978_600)),
            ("sixty years ahead of us", 4_004_726_400 + 60 * 31_557_600, NOW),
            ("sixty years behind", 4_004_726_400 - 60 * 31_557_600, NOW),
        ] {
            let expected = UnixNanos::from_secs(since_1900 as i64 - 2_208_988_800);
            assert_eq!(stamp(since_1900).near(pivot), expected, "{what}");
        }
    }

    #[test]
    fn fractions_are_nanoseconds_to_the_nearest() {
        assert_eq!(Stamp(4_004_726_400 << 32 | 1 << 31).near(NOW), UnixNanos(NOW.0 + 500_000_000));
        assert_eq!(Stamp(7 << 32).nanos_since(Stamp(5 << 32 | 1 << 30)), 1_750_000_000);
        assert_eq!(Stamp(5 << 32).nanos_since(Stamp(7 << 32)), -2_000_000_000);
        // Across the end of an era.
        assert_eq!(Stamp(1 << 32).nanos_since(Stamp(0xffff_ffff << 32)), 2_000_000_000);
    }

    #[test]
    fn a_quote_may_be_cut_to_nothing_but_must_be_ours() {
        let ours = request(77);
        assert!(quotes(&[], 77) && quotes(&ours, 77) && quotes(&ours[..8], 77));
        assert!(!quotes(&ours, 78) && !quotes(&[0x1b], 77));
    }
}
