//! DNS messages as bytes (RFC 1035 section 4, RFC 6891): just what the lab's server needs to read and write.

use anyhow::{Context as _, ensure};

use super::zone::{Answer, Record, class, kind, rcode};

/// EDNS option code of the server's identity (RFC 5001).
const NSID: u16 = 3;
/// What a client without EDNS can take over UDP, in bytes (RFC 1035 section 4.2.1).
const PLAIN_LIMIT: u16 = 512;
/// What this server offers to take over UDP, in bytes.
const OUR_LIMIT: u16 = 1232;
const HEADER: usize = 12;

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The name, in lower case with a dot at its end.
    pub name: String,
    /// The type's number.
    pub kind: u16,
    /// The class's number.
    pub class: u16,
    id: u16,
    recursion_desired: bool,
    opcode: u8,
    /// The question as it came, so that the answer repeats it letter by letter.
    question: Vec<u8>,
    edns: Option<Edns>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Edns {
    limit: u16,
    dnssec_ok: bool,
    wants_nsid: bool,
}

impl Query {
    /// Reads a message. `None` if it is not one query that can be answered.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let flags = u16_at(bytes, 2)?;
        let is_response = flags & 0x8000 != 0;
        if is_response || u16_at(bytes, 4)? != 1 {
            return None;
        }
        let (name, at) = read_name(bytes, HEADER)?;
        let mut query = Self {
            name,
            kind: u16_at(bytes, at)?,
            class: u16_at(bytes, at + 2)?,
            id: u16_at(bytes, 0)?,
            recursion_desired: flags & 0x0100 != 0,
            opcode: (flags >> 11 & 0xf) as u8,
            question: bytes.get(HEADER..at + 4)?.to_vec(),
            edns: None,
        };
        let mut at = at + 4;
        let records = usize::from(u16_at(bytes, 6)?) + usize::from(u16_at(bytes, 8)?) + usize::from(u16_at(bytes, 10)?);
        for _ in 0..records {
            let (_, fixed) = read_name(bytes, at)?;
            let length = usize::from(u16_at(bytes, fixed + 8)?);
            let data = bytes.get(fixed + 10..fixed + 10 + length)?;
            if u16_at(bytes, fixed)? == kind::OPT {
                query.edns = Some(Edns {
                    limit: u16_at(bytes, fixed + 2)?.max(PLAIN_LIMIT),
                    dnssec_ok: u16_at(bytes, fixed + 6)? & 0x8000 != 0,
                    wants_nsid: options(data).contains(&NSID),
                });
            }
            at = fixed + 10 + length;
        }
        Some(query)
    }

    /// Whether it is an ordinary query, not an update or the like.
    pub fn is_standard(&self) -> bool {
        self.opcode == 0
    }

    /// The largest answer it can take over UDP, in bytes.
    pub fn limit(&self) -> usize {
        usize::from(self.edns.as_ref().map_or(PLAIN_LIMIT, |edns| edns.limit))
    }

    /// Writes the answer; `cut` leaves everything out and says so.
    pub fn answer(&self, answer: &Answer, cut: bool, nsid: Option<&[u8]>) -> anyhow::Result<Vec<u8>> {
        let (answers, authorities): (&[Record], &[Record]) =
            if cut { (&[], &[]) } else { (&answer.answers, &answer.authorities) };
        // Response, authoritative, recursion available: it is both at once, as a home router's server would say.
        let mut flags = 0x8480 | u16::from(self.opcode) << 11 | u16::from(answer.rcode);
        if cut {
            flags |= 0x0200;
        }
        if self.recursion_desired {
            flags |= 0x0100;
        }
        let mut out = Vec::new();
        let counts = [1, answers.len(), authorities.len(), usize::from(self.edns.is_some())];
        out.extend(self.id.to_be_bytes());
        out.extend(flags.to_be_bytes());
        for count in counts {
            out.extend(u16::try_from(count).context("too many records")?.to_be_bytes());
        }
        out.extend(&self.question);
        for record in answers.iter().chain(authorities) {
            if record.name == self.name {
                // The name of the question, at the end of the header.
                out.extend([0xc0, HEADER as u8]);
            } else {
                out.extend(write_name(&record.name)?);
            }
            out.extend(record.kind.to_be_bytes());
            out.extend(record.class.to_be_bytes());
            out.extend(record.ttl.to_be_bytes());
            out.extend(u16::try_from(record.data.len()).context("a record too long")?.to_be_bytes());
            out.extend(&record.data);
        }
        if let Some(edns) = &self.edns {
            let nsid = nsid.filter(|_| edns.wants_nsid);
            out.push(0);
            out.extend(kind::OPT.to_be_bytes());
            out.extend(OUR_LIMIT.to_be_bytes());
            out.extend([0, 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0]);
            let length = nsid.map_or(0, |nsid| nsid.len() + 4);
            out.extend(u16::try_from(length).context("an identity too long")?.to_be_bytes());
            if let Some(nsid) = nsid {
                out.extend(NSID.to_be_bytes());
                out.extend(u16::try_from(nsid.len()).context("an identity too long")?.to_be_bytes());
                out.extend(nsid);
            }
        }
        Ok(out)
    }
}

impl Answer {
    /// Only a code.
    pub fn code(rcode: u8) -> Self {
        Self { rcode, answers: Vec::new(), authorities: Vec::new() }
    }

    /// For what the server does not do.
    pub fn not_implemented() -> Self {
        Self::code(rcode::NOTIMP)
    }
}

/// A query as a client would send it, for tests.
pub fn write_query(id: u16, name: &str, kind: u16, udp_limit: Option<u16>) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    out.extend(id.to_be_bytes());
    out.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, u8::from(udp_limit.is_some())]);
    out.extend(write_name(name)?);
    out.extend(kind.to_be_bytes());
    out.extend(class::IN.to_be_bytes());
    if let Some(limit) = udp_limit {
        out.push(0);
        out.extend(kind::OPT.to_be_bytes());
        out.extend(limit.to_be_bytes());
        out.extend([0; 6]);
    }
    Ok(out)
}

/// The name at a place, in lower case with a dot at its end, and where it ends. No compression: a query has none.
pub fn read_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    loop {
        let length = usize::from(*bytes.get(at)?);
        if length > 63 || name.len() > 1024 {
            return None;
        }
        let label = bytes.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        for byte in label {
            match byte {
                b'.' | b'\\' => name.extend(['\\', char::from(*byte)]),
                0x21..=0x7e => name.push(char::from(byte.to_ascii_lowercase())),
                _ => name.push_str(&format!("\\{byte:03}")),
            }
        }
        name.push('.');
    }
    if name.is_empty() {
        name.push('.');
    }
    Some((name, at))
}

/// A name as bytes, uncompressed. Fails if a part of it is empty or too long; knows no escapes.
pub fn write_name(name: &str) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        ensure!((1..=63).contains(&label.len()), "{name}: a part between dots has 1 to 63 bytes");
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    ensure!(out.len() <= 255, "{name} is too long");
    Ok(out)
}

/// The codes of the EDNS options in an OPT record's data.
fn options(data: &[u8]) -> Vec<u16> {
    let mut codes = Vec::new();
    let mut at = 0;
    while let (Some(code), Some(length)) = (u16_at(data, at), u16_at(data, at + 2)) {
        codes.push(code);
        at += 4 + usize::from(length);
    }
    codes
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: usize) -> Answer {
        let record = Record { name: "x.".into(), kind: kind::TXT, class: class::IN, ttl: 1, data: vec![7; length] };
        Answer { rcode: rcode::NOERROR, answers: vec![record], authorities: Vec::new() }
    }

    #[test]
    fn the_question_is_repeated_letter_by_letter() {
        let query = write_query(7, "MiXeD.example.", kind::A, Some(1400)).unwrap();
        let parsed = Query::parse(&query).unwrap();
        assert_eq!((parsed.name.as_str(), parsed.limit()), ("mixed.example.", 1400));
        let answer = parsed.answer(&Answer::code(rcode::NXDOMAIN), false, Some(b"me")).unwrap();
        assert_eq!(answer.get(..2), query.get(..2));
        assert_eq!(answer[3] & 0xf, rcode::NXDOMAIN);
        assert!(answer.windows(5).any(|window| window == b"MiXeD"));
        assert!(!answer.windows(2).any(|window| window == b"me"), "an identity nobody asked for");
    }

    #[test]
    fn a_cut_answer_says_so_and_keeps_the_question() {
        let query = Query::parse(&write_query(7, "x.", kind::TXT, None).unwrap()).unwrap();
        assert_eq!(query.limit(), 512);
        let cut = query.answer(&record(600), true, None).unwrap();
        assert!(cut[2] & 0x02 != 0);
        assert_eq!(cut.get(4..8), Some(&[0, 1, 0, 0][..]));
        let whole = query.answer(&record(600), false, None).unwrap();
        assert!(whole[2] & 0x02 == 0 && whole.len() > 600);
    }

    #[test]
    fn no_cut_of_a_query_makes_it_panic() {
        let query = write_query(7, "a.example.", kind::A, Some(1232)).unwrap();
        for length in 0..query.len() {
            assert_eq!(Query::parse(&query[..length]), None);
        }
    }
}
