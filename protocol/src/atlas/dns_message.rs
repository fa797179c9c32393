//! The little of a DNS message that a result shows decoded: the header's counts, and the first two TXT and SOA records
//! among the answers (RFC 1035, 4.1). Everything else stays in the message itself, which the result carries.
//!
//! Written by hand because a DNS library decodes, and allocates, every record of a message of which this needs two; the
//! tests compare with such a library. Messages come from anywhere: what cannot be read ends the reading.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

const TYPE_SOA: u16 = 6;
const TYPE_TXT: u16 = 16;

/// How many records are shown (Atlas's limit).
const MOST_SHOWN: usize = 2;
/// The longest name on the wire (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;

/// The header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) id: u16,
    pub(super) questions: u16,
    pub(super) answers: u16,
    pub(super) authorities: u16,
    pub(super) additionals: u16,
}

impl Counts {
    /// None when the message is shorter than a header.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let mut reader = Reader { message, at: 0 };
        let id = reader.u16()?;
        let _flags = reader.u16()?;
        Some(Self {
            id,
            questions: reader.u16()?,
            answers: reader.u16()?,
            authorities: reader.u16()?,
            additionals: reader.u16()?,
        })
    }
}

/// A record as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "TYPE")]
pub(super) enum Record {
    #[serde(rename = "TXT", rename_all = "UPPERCASE")]
    Txt { name: String, rdata: Vec<String> },
    #[serde(rename = "SOA", rename_all = "UPPERCASE")]
    Soa { name: String, ttl: u32, mname: String, rname: String, serial: u32 },
}

/// Does the message say that all is well (RCODE 0), with an answer of this type among its records?
pub fn has_answer(message: &[u8], record_type: u16) -> bool {
    let Some(counts) = Counts::parse(message) else { return false };
    let is_well = message.get(3).is_some_and(|flags| flags & 0x0f == 0);
    let mut found = false;
    // The end of the message ends the reading too; what was found until then counts.
    let _ = each_answer(message, counts, |answer| {
        found |= answer.kind == record_type;
        (!found).then_some(())
    });
    is_well && found
}

/// The records to show, of as much of the message as can be read.
pub(super) fn records_to_show(message: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    if let Some(counts) = Counts::parse(message).filter(|counts| counts.answers > 0) {
        // The end of the message ends the reading too; what was found until then counts.
        let _ = read_answers(message, counts, &mut found);
    }
    found
}

/// Where one of the answers is in its message.
struct Place {
    owner: usize,
    kind: u16,
    ttl: u32,
    data: usize,
    end: usize,
}

fn read_answers(message: &[u8], counts: Counts, found: &mut Vec<Record>) -> Option<()> {
    each_answer(message, counts, |Place { owner, kind, ttl, data, end }| {
        if let TYPE_TXT | TYPE_SOA = kind {
            found.push(record(message, kind, owner, ttl, data, end)?);
        }
        (found.len() < MOST_SHOWN).then_some(())
    })
}

/// Reads the answers one by one while `take` wants more. None when it does not, or when one cannot be read.
fn each_answer(message: &[u8], counts: Counts, mut take: impl FnMut(Place) -> Option<()>) -> Option<()> {
    let mut reader = Reader { message, at: 12 };
    for _ in 0..counts.questions {
        reader.skip_name()?;
        reader.skip(4)?;
    }
    for _ in 0..counts.answers {
        let owner = reader.at;
        reader.skip_name()?;
        let kind = reader.u16()?;
        let _class = reader.u16()?;
        let ttl = reader.u32()?;
        let length = usize::from(reader.u16()?);
        let data = reader.at;
        reader.skip(length)?;
        take(Place { owner, kind, ttl, data, end: reader.at })?;
    }
    Some(())
}

/// A TXT or SOA record whose owner's name and data begin and end at these places.
fn record(message: &[u8], kind: u16, owner: usize, ttl: u32, data: usize, end: usize) -> Option<Record> {
    let name = Reader { message, at: owner }.name()?;
    // Data may point into what is before it, never read beyond its own end.
    let mut reader = Reader { message: message.get(..end)?, at: data };
    if kind == TYPE_TXT {
        let mut rdata = Vec::new();
        while reader.at < end {
            rdata.push(reader.character_string()?);
        }
        return Some(Record::Txt { name, rdata });
    }
    let mname = reader.name()?;
    let rname = reader.name()?;
    Some(Record::Soa { name, ttl, mname, rname, serial: reader.u32()? })
}

/// A place in a message.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.message.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*bytes)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(bytes)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.slice(length).map(|_| ())
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.take()? {
                [0] => return Some(()),
                [length @ 1..=63] => self.skip(usize::from(length))?,
                [0xc0..=0xff] => return self.skip(1),
                // Other label types are obsolete (RFC 6891, 5).
                _ => return None,
            }
        }
    }

    /// A name with its final dot, special bytes escaped (RFC 1035, 5.1). Each pointer has to lead further back than the one
    /// before, so a name ends (RFC 1035, 4.1.4: "a prior occurrence").
    fn name(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut length_on_the_wire = 1;
        let mut earliest = self.at;
        let mut inside = *self;
        let mut has_jumped = false;
        loop {
            match inside.take()? {
                [0] => break,
                [length @ 1..=63] => {
                    length_on_the_wire += 1 + usize::from(length);
                    if length_on_the_wire > MAX_NAME {
                        return None;
                    }
                    for byte in inside.slice(usize::from(length))? {
                        push_escaped(&mut text, *byte, b".\\\"();@$");
                    }
                    text.push('.');
                }
                [high @ 0xc0..=0xff] => {
                    let [low] = inside.take()?;
                    let target = usize::from(u16::from_be_bytes([high & 0x3f, low]));
                    if !has_jumped {
                        self.at = inside.at;
                        has_jumped = true;
                    }
                    if target >= earliest {
                        return None;
                    }
                    earliest = target;
                    inside.at = target;
                }
                _ => return None,
            }
        }
        if !has_jumped {
            self.at = inside.at;
        }
        if text.is_empty() {
            text.push('.');
        }
        Some(text)
    }

    /// A length and as many bytes (RFC 1035, 3.3), bytes that are no printable ASCII escaped.
    fn character_string(&mut self) -> Option<String> {
        let [length] = self.take()?;
        let mut text = String::new();
        for byte in self.slice(usize::from(length))? {
            push_escaped(&mut text, *byte, b"\\");
        }
        Some(text)
    }
}

/// Appends a byte as it is written in zone files: `\DDD` what is not printable, a backslash before what is special.
fn push_escaped(text: &mut String, byte: u8, special: &[u8]) {
    match byte {
        b if special.contains(&b) => {
            text.push('\\');
            text.push(char::from(b));
        }
        b' '..=b'~' => text.push(char::from(byte)),
        _ => text.push_str(&format!("\\{byte:03}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::rdata::{A, SOA, TXT};
    use hickory_proto::rr::{Name, RData, RecordType};
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn message(records: impl IntoIterator<Item = (&'static str, RData)>) -> Vec<u8> {
        let mut message = Message::new(6699, MessageType::Response, OpCode::Query);
        message.add_query(Query::query(name("example.net."), RecordType::ANY));
        for (owner, data) in records {
            message.add_answer(hickory_proto::rr::Record::from_rdata(name(owner), 300, data));
        }
        message.to_vec().unwrap()
    }

    fn soa() -> RData {
        RData::SOA(SOA::new(name("ns.example.net."), name("host\\.master.example.net."), 2026, 1, 2, 3, 4))
    }

    fn txt(strings: &[&[u8]]) -> RData {
        RData::TXT(TXT::from_bytes(strings.to_vec()))
    }

    fn a() -> RData {
        RData::A(A::new(192, 0, 2, 1))
    }

    #[test]
    fn the_header_is_counted() {
        let bytes = message([("example.net.", a()), ("example.net.", a())]);
        let counts = Counts { id: 6699, questions: 1, answers: 2, authorities: 0, additionals: 0 };
        assert_eq!(Counts::parse(&bytes), Some(counts));
        assert_eq!(Counts::parse(&bytes[..11]), None);
    }

    #[test]
    fn txt_and_soa_are_shown_as_a_library_wrote_them_and_no_more_than_two() {
        let bytes = message([
            ("example.net.", a()),
            ("Example.NET.", txt(&[b"v=spf1 -all", b"", b"quote\" back\\ \x00\xff"])),
            ("example.net.", soa()),
            ("example.net.", txt(&[b"the third"])),
        ]);
        let [first, second] = records_to_show(&bytes).try_into().unwrap();
        let rdata = ["v=spf1 -all", "", r#"quote" back\\ \000\255"#].map(String::from).to_vec();
        assert_eq!(first, Record::Txt { name: "Example.NET.".into(), rdata });
        let soa = Record::Soa {
            name: "example.net.".into(),
            ttl: 300,
            mname: "ns.example.net.".into(),
            rname: "host\\.master.example.net.".into(),
            serial: 2026,
        };
        assert_eq!(second, soa);
        let json = r#"{"TYPE":"SOA","NAME":"example.net.","TTL":300,"MNAME":"ns.example.net.","RNAME":"host\\.master.example.net.","SERIAL":2026}"#;
        assert_eq!(serde_json::to_string(&soa).unwrap(), json);
    }

    #[test]
    fn other_records_are_not_shown() {
        assert_eq!(records_to_show(&message([("example.net.", a())])), []);
        assert_eq!(records_to_show(&message([])), []);
        assert_eq!(records_to_show(b""), []);
    }

    #[test]
    fn the_root_is_a_dot() {
        let shown = records_to_show(&message([(".", txt(&[b"x"]))]));
        assert_eq!(shown, [Record::Txt { name: ".".into(), rdata: ["x".into()].into() }]);
    }

    #[test]
    fn a_message_cut_anywhere_shows_whole_records_alone() {
        let bytes = message([("example.net.", txt(&[b"one"])), ("www.example.net.", soa())]);
        let whole = records_to_show(&bytes);
        assert_eq!(whole.len(), 2);
        for end in 0..bytes.len() {
            let shown = records_to_show(&bytes[..end]);
            assert!(shown.len() < 2 && whole.starts_with(&shown), "{end}");
        }
    }

    #[test]
    fn pointers_that_lead_nowhere_end_the_reading() {
        let header = b"\x00\x01\x80\x00\x00\x00\x00\x01\x00\x00\x00\x00";
        let rest = b"\x00\x10\x00\x01\x00\x00\x00\x00\x00\x02\x01x";
        for pointer in [b"\xc0\x0c", b"\xc0\x0d", b"\xff\xff"] {
            assert_eq!(records_to_show(&[header.as_slice(), pointer, rest].concat()), [], "{pointer:?}");
        }
        // To itself by way of a label before it.
        let label = b"\x01a\xc0\x0c";
        assert_eq!(records_to_show(&[header.as_slice(), label, rest].concat()), []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(records_to_show(&bytes).len() <= MOST_SHOWN);
        }

        #[test]
        fn any_damage_is_survived(at in 0_usize..200, byte: u8, end in 0_usize..200) {
            let mut bytes = message([("example.net.", txt(&[b"one"])), ("www.example.net.", soa())]);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(end.max(12));
            prop_assert!(records_to_show(&bytes).len() <= MOST_SHOWN);
        }

        /// Whatever a library can write is read the same.
        #[test]
        fn names_are_read_as_a_library_writes_them(owner in r"([a-z0-9_][a-z0-9]{0,11}\.){1,8}", strings in proptest::collection::vec("[ -\\[\\]-~]{0,40}", 1..5)) {
            let mut message = Message::new(1, MessageType::Response, OpCode::Query);
            message.add_query(Query::query(name(&owner), RecordType::TXT));
            let data = RData::TXT(TXT::new(strings.clone()));
            message.add_answer(hickory_proto::rr::Record::from_rdata(name(&owner), 1, data));
            let shown = records_to_show(&message.to_vec().unwrap());
            prop_assert_eq!(shown, [Record::Txt { name: owner, rdata: strings }]);
        }
    }
}
