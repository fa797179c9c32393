//! A record as bytes: thirty-nine, whatever is in it, so that a day of ten thousand probes is some megabytes.

use sonde_protocol::ids::Asn;
use sonde_protocol::result::ipv6::FamilyState;
use sonde_protocol::time::UnixNanos;

use super::cell::Country;
use super::hour::Hour;
use super::prefix::{Slash24, Slash48};
use super::record::{Place, Record, Silence, Vote};

/// How long a record is.
pub const PACKED: usize = 39;

/// The form of these bytes. A newer one begins with another number and may be longer. The prefixes are where the indices of
/// `sqlite/reachability/3_prefixes.sql` expect them.
const FORM: u8 = 2;

/// The form before it, of thirty bytes: without the prefixes.
const FORM_WITHOUT_PREFIXES: u8 = 1;

const VOTED: u8 = 1;
const HAS_V6_ADDRESS: u8 = 1 << 1;
const CGNAT: u8 = 1 << 2;
const FEW: u8 = 1 << 3;
const COUNTRY: u8 = 1 << 4;
const ASN6: u8 = 1 << 5;
const ASN4: u8 = 1 << 6;
const DIFFERENCE: u8 = 1 << 7;

impl Record {
    /// Its bytes, in the hour that it is of.
    pub fn pack(&self, hour: Hour) -> [u8; PACKED] {
        let vote = self.vote;
        let flags = [
            (VOTED, vote.is_some()),
            (HAS_V6_ADDRESS, vote.is_some_and(|vote| vote.has_v6_address)),
            (CGNAT, vote.is_some_and(|vote| vote.is_cgnat)),
            (FEW, vote.is_some_and(|vote| vote.is_few)),
            (COUNTRY, self.place.country.is_some()),
            (ASN6, self.place.asn6.is_some()),
            (ASN4, self.place.asn4.is_some()),
            (DIFFERENCE, self.difference.is_some()),
        ];
        let flags = flags.into_iter().filter(|(_, is)| *is).fold(0, |all, (flag, _)| all | flag);
        let states = match vote {
            Some(vote) => [vote.v6.number(), vote.v4.number()],
            None => [self.silence as u8, 0],
        };
        let second = self.said_at.as_secs().saturating_sub(hour.seconds()).clamp(0, 3599);
        let second = u16::try_from(second).unwrap_or_default();
        let [definition, runs, conclusive] = [vote.map_or(0, |vote| vote.definition), self.runs, self.conclusive];
        let asn = |asn: Option<Asn>| asn.map_or(0, |asn| asn.0).to_be_bytes();
        let mut bytes = [0; PACKED];
        let parts: [&[u8]; 14] = [
            &[FORM, flags],
            &states,
            &definition.to_be_bytes(),
            &second.to_be_bytes(),
            &runs.to_be_bytes(),
            &conclusive.to_be_bytes(),
            &self.only_one_failed.0.to_be_bytes(),
            &self.only_one_failed.1.to_be_bytes(),
            &self.place.country.map_or([0; 2], Country::bytes),
            &asn(self.place.asn6),
            &asn(self.place.asn4),
            &self.difference.unwrap_or_default().to_be_bytes(),
            &self.place.net6.map_or([0; 6], Slash48::bytes),
            &self.place.net4.map_or([0; 3], Slash24::bytes),
        ];
        bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The record of these bytes; `None` when this version cannot read them.
    pub fn unpack(hour: Hour, bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [form, flags, state, other] = take(&mut rest)?;
        if form != FORM && form != FORM_WITHOUT_PREFIXES {
            return None;
        }
        let has = |flag: u8| flags & flag != 0;
        let mut short = || Some(u16::from_be_bytes(take(&mut rest)?));
        let [definition, second, runs, conclusive, only6, only4] =
            [short()?, short()?, short()?, short()?, short()?, short()?];
        let country = Country::from_bytes(take(&mut rest)?).filter(|_| has(COUNTRY));
        let (asn6, asn4) = (u32::from_be_bytes(take(&mut rest)?), u32::from_be_bytes(take(&mut rest)?));
        let difference = i32::from_be_bytes(take(&mut rest)?);
        let (net6, net4) = match form {
            FORM_WITHOUT_PREFIXES => (None, None),
            _ => (Slash48::from_bytes(take(&mut rest)?), Slash24::from_bytes(take(&mut rest)?)),
        };
        let vote = Vote {
            v6: FamilyState::from_number(state),
            v4: FamilyState::from_number(other),
            has_v6_address: has(HAS_V6_ADDRESS),
            is_cgnat: has(CGNAT),
            is_few: has(FEW),
            definition,
        };
        Some(Self {
            place: Place {
                country,
                asn6: has(ASN6).then_some(Asn(asn6)),
                asn4: has(ASN4).then_some(Asn(asn4)),
                net6,
                net4,
            },
            vote: has(VOTED).then_some(vote),
            silence: if has(VOTED) { Silence::default() } else { Silence::from_number(state) },
            said_at: UnixNanos::from_secs(hour.seconds().saturating_add(i64::from(second))),
            runs,
            conclusive,
            only_one_failed: (only6, only4),
            difference: has(DIFFERENCE).then_some(difference),
        })
    }
}

/// The next bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use sonde_protocol::seed::Rng;

    use super::super::tally::tests::{record_of, run};
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        let (mut rng, hour) = (Rng::new(3), Hour(488_888));
        for n in 0..500 {
            let runs: Vec<_> = (0..n % 7 + 1).map(|_| run(&mut rng, hour)).collect();
            let record = record_of(&mut rng, &runs);
            assert_eq!(Record::unpack(hour, &record.pack(hour)), Some(record));
        }
    }

    #[test]
    fn a_record_of_the_form_before_has_no_prefixes() {
        let mut rng = Rng::new(9);
        let runs = [run(&mut rng, Hour(7))];
        let record = record_of(&mut rng, &runs);
        let mut old = record.pack(Hour(7))[..30].to_vec();
        old[0] = FORM_WITHOUT_PREFIXES;
        let place = Place { net6: None, net4: None, ..record.place };
        assert_eq!(Record::unpack(Hour(7), &old), Some(Record { place, ..record }));
        assert_eq!(Record::unpack(Hour(7), &old[..29]), None);
    }

    #[test]
    fn other_bytes_are_no_record_or_a_record_but_never_a_panic() {
        let good = Record::default().pack(Hour(1));
        assert_eq!(Record::unpack(Hour(1), &good[..PACKED - 1]), None);
        assert_eq!(Record::unpack(Hour(1), &[]), None);
        for byte in 0..PACKED {
            for value in 0..=u8::MAX {
                let mut bytes = good;
                bytes[byte] = value;
                let read = Record::unpack(Hour(1), &bytes);
                assert_eq!(read.is_none(), byte == 0 && ![FORM, FORM_WITHOUT_PREFIXES].contains(&value));
            }
        }
    }
}
