//! The file with the names: one line a record set or a behaviour, `#` begins a comment.
//!
//! ```text
//! target.lab.example  A     60 20.30.1.10              one record
//! target.lab.example  AAAA  60 2a0e::10,2a0e::11       a set; the same name and type again adds to it
//! moving.lab.example  A     60 20.30.1.10 then 192.168.0.1 then 127.0.0.1
//!                                                      the first query gets the first set, and so on; the last stays
//! www.lab.example     CNAME 60 target.lab.example
//! text.lab.example    TXT   60 "one string" "another"
//! mail.lab.example    MX    60 10 target.lab.example
//! lab.example         SOA   60 ns.lab.example hostmaster.lab.example 1 3600 600 86400 60
//! hostname.bind    CH TXT   0  "lab-dns"               class CH
//! broken.lab.example  SERVFAIL                         also NXDOMAIN, REFUSED: that code, nothing else
//! quiet.lab.example   SILENT                           no answer at all
//! slow.lab.example    DELAY 300                        the answer comes this many milliseconds late
//! big.lab.example     TRUNCATE                         over UDP always cut, as if it did not fit
//! .                   NSID  lab-dns                    the identity for those who ask (RFC 5001)
//! ```
//!
//! Tricks. Over UDP something comes before the answer, which follows:
//!
//! ```text
//! forged.lab.example  FORGE                            an answer with another id
//! echo.lab.example    ECHO                             the query itself
//! aside.lab.example   ASIDE                            the answer from another port
//! other.lab.example   ELSEWHERE 20.21.1.54             the answer from another address, which the machine must have
//! ```
//!
//! Over whatever carries it the answer is another one, or (over connections) there is none:
//!
//! ```text
//! odd.lab.example     ODDID                            with another id
//! broken.lab.example  GARBAGE                          the query's id, and bytes that are no message
//! close.lab.example   CLOSE                            the connection ends without an answer
//! half.lab.example    HALF                             the connection ends in the middle of the answer
//! error.lab.example   HTTP 500                         over HTTPS with this status
//! page.lab.example    MEDIA text/html                  over HTTPS with this content type
//! ```
//!
//! `then` counts per name and type, over UDP and TCP together, and begins anew when the file changes.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::message;

/// Record type numbers (RFC 1035 section 3.2.2, RFC 3596).
pub mod kind {
    #![expect(missing_docs, reason = "the names are those of the RFCs")]
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const OPT: u16 = 41;
}

/// Class numbers (RFC 1035 section 3.2.4).
pub mod class {
    #![expect(missing_docs, reason = "the names are those of the RFC")]
    pub const IN: u16 = 1;
    pub const CH: u16 = 3;
}

/// Response codes (RFC 1035 section 4.1.1).
pub mod rcode {
    #![expect(missing_docs, reason = "the names are those of the RFC")]
    pub const NOERROR: u8 = 0;
    pub const FORMERR: u8 = 1;
    pub const SERVFAIL: u8 = 2;
    pub const NXDOMAIN: u8 = 3;
    pub const NOTIMP: u8 = 4;
    pub const REFUSED: u8 = 5;
}

/// One record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The owner, in lower case with a dot at its end.
    pub name: String,
    /// Its type's number.
    pub kind: u16,
    /// Its class's number.
    pub class: u16,
    /// Seconds.
    pub ttl: u32,
    /// The data, names in it uncompressed.
    pub data: Vec<u8>,
}

/// What is done besides answering, or instead. See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the module explains the words")]
pub enum Trick {
    Forge,
    Echo,
    Aside,
    Elsewhere(IpAddr),
    OddId,
    Garbage,
    Close,
    Half,
    Http(u16),
    Media(String),
}

/// How a name misbehaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Behaviour {
    /// Answer with this code and nothing else.
    pub rcode: Option<u8>,
    /// Do not answer.
    pub silent: bool,
    /// Answer late.
    pub delay: Duration,
    /// Over UDP, pretend that the answer does not fit.
    pub truncate: bool,
    /// Worse.
    pub tricks: Vec<Trick>,
}

/// Everything the file says.
#[derive(Debug, Default)]
pub struct Zone {
    sets: BTreeMap<(String, u16, u16), VecDeque<Vec<Record>>>,
    behaviours: BTreeMap<String, Behaviour>,
    /// What to say to those who ask for the server's identity.
    pub nsid: Option<Vec<u8>>,
}

/// What there is to say about one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The response code.
    pub rcode: u8,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section: a SOA when there is nothing else to say.
    pub authorities: Vec<Record>,
}

impl Zone {
    /// Reads the text. Fails with the number of the line that makes no sense.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut zone = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let words = words(line).with_context(|| format!("line {number}"))?;
            if !words.is_empty() {
                zone.line(&words).with_context(|| format!("line {number}: {line}"))?;
            }
        }
        Ok(zone)
    }

    fn line(&mut self, words: &[String]) -> anyhow::Result<()> {
        let mut words = words.iter().map(String::as_str);
        let name = canonical(words.next().context("a name")?);
        let mut word = words.next().context("a type or a behaviour after the name")?;
        let behaviour = self.behaviour(&name);
        let mut changed = behaviour.clone();
        match word {
            "SERVFAIL" => changed.rcode = Some(rcode::SERVFAIL),
            "NXDOMAIN" => changed.rcode = Some(rcode::NXDOMAIN),
            "REFUSED" => changed.rcode = Some(rcode::REFUSED),
            "SILENT" => changed.silent = true,
            "TRUNCATE" => changed.truncate = true,
            "DELAY" => {
                let ms = words.next().context("milliseconds")?.parse().context("milliseconds")?;
                changed.delay = Duration::from_millis(ms);
            }
            "FORGE" => changed.tricks.push(Trick::Forge),
            "ECHO" => changed.tricks.push(Trick::Echo),
            "ASIDE" => changed.tricks.push(Trick::Aside),
            "ELSEWHERE" => {
                let address = words.next().context("an address")?.parse().context("an address")?;
                changed.tricks.push(Trick::Elsewhere(address));
            }
            "ODDID" => changed.tricks.push(Trick::OddId),
            "GARBAGE" => changed.tricks.push(Trick::Garbage),
            "CLOSE" => changed.tricks.push(Trick::Close),
            "HALF" => changed.tricks.push(Trick::Half),
            "HTTP" => {
                let status = words.next().context("a status")?.parse().context("a status")?;
                changed.tricks.push(Trick::Http(status));
            }
            "MEDIA" => changed.tricks.push(Trick::Media(words.next().context("a content type")?.to_owned())),
            "NSID" => self.nsid = Some(words.next().context("an identity")?.as_bytes().to_vec()),
            _ => {
                let class = if word == "CH" { class::CH } else { class::IN };
                if word == "CH" || word == "IN" {
                    word = words.next().context("a type")?;
                }
                let kind = type_number(word)?;
                let ttl = words.next().context("a TTL")?.parse().context("a TTL")?;
                let values: Vec<&str> = words.by_ref().collect();
                let steps = values
                    .split(|value| *value == "then")
                    .map(|step| records(&name, kind, class, ttl, step))
                    .collect::<anyhow::Result<VecDeque<_>>>()?;
                let sets = self.sets.entry((name, kind, class)).or_default();
                match (sets.len(), steps.len()) {
                    (0, _) => *sets = steps,
                    (1, 1) => sets.iter_mut().zip(steps).for_each(|(set, more)| set.extend(more)),
                    _ => bail!("a sequence stands on one line"),
                }
                return Ok(());
            }
        }
        ensure!(words.next().is_none(), "too many words");
        if changed != behaviour {
            self.behaviours.insert(name, changed);
        }
        Ok(())
    }

    /// How the name misbehaves, if at all.
    pub fn behaviour(&self, name: &str) -> Behaviour {
        self.behaviours.get(name).cloned().unwrap_or_default()
    }

    /// Answers one question; moves sequences on. `name` is in lower case with a dot at its end.
    pub fn answer(&mut self, name: &str, kind: u16, class: u16) -> Answer {
        if let Some(rcode) = self.behaviour(name).rcode {
            return Answer { rcode, answers: Vec::new(), authorities: Vec::new() };
        }
        let mut answers = Vec::new();
        let mut owner = name.to_owned();
        let mut known = self.knows(&owner, class);
        // A chain of aliases longer than this is a loop.
        for _ in 0..8 {
            if let Some(set) = self.next_set(&owner, kind, class) {
                answers.extend(set);
                break;
            }
            let Some(alias) = self.next_set(&owner, kind::CNAME, class) else { break };
            let target = alias.first().and_then(|record| message::read_name(&record.data, 0)).map(|(name, _)| name);
            answers.extend(alias);
            owner = target.unwrap_or_default();
            known = self.knows(&owner, class);
        }
        let is_complete = answers.last().is_some_and(|record| record.kind == kind);
        let rcode = if known { rcode::NOERROR } else { rcode::NXDOMAIN };
        let authorities = if is_complete { Vec::new() } else { self.soa(&owner, class) };
        Answer { rcode, answers, authorities }
    }

    /// Whether the name or one below it exists.
    fn knows(&self, name: &str, class: u16) -> bool {
        let below = format!(".{name}");
        self.sets.keys().any(|(owner, _, of)| *of == class && (owner == name || owner.ends_with(&below)))
            || self.behaviours.contains_key(name)
    }

    fn next_set(&mut self, name: &str, kind: u16, class: u16) -> Option<Vec<Record>> {
        let sets = self.sets.get_mut(&(name.to_owned(), kind, class))?;
        if sets.len() > 1 { sets.pop_front() } else { sets.front().cloned() }
    }

    /// The SOA of the closest enclosing zone.
    fn soa(&self, name: &str, class: u16) -> Vec<Record> {
        let mut zone = name;
        loop {
            if let Some(soa) = self.sets.get(&(zone.to_owned(), kind::SOA, class)).and_then(VecDeque::front) {
                return soa.clone();
            }
            match zone.split_once('.') {
                Some((_, parent)) if !parent.is_empty() => zone = parent,
                _ => return Vec::new(),
            }
        }
    }
}

/// Splits a line at spaces, except within quotation marks; `#` outside of them ends it.
fn words(line: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').context("a quotation mark without its end")?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

/// In lower case, with a dot at its end.
fn canonical(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())
}

fn type_number(word: &str) -> anyhow::Result<u16> {
    Ok(match word {
        "A" => kind::A,
        "NS" => kind::NS,
        "CNAME" => kind::CNAME,
        "SOA" => kind::SOA,
        "PTR" => kind::PTR,
        "MX" => kind::MX,
        "TXT" => kind::TXT,
        "AAAA" => kind::AAAA,
        other => bail!("{other} is neither a type nor a behaviour this server knows"),
    })
}

/// The records of one set: several addresses or names are separated by commas, several strings make one TXT.
fn records(name: &str, kind: u16, class: u16, ttl: u32, values: &[&str]) -> anyhow::Result<Vec<Record>> {
    let data = match kind {
        kind::TXT => vec![text(values)?],
        kind::SOA => vec![soa(values)?],
        kind::MX => {
            let [preference, exchange] = values else { bail!("MX takes a preference and a name") };
            let mut data = preference.parse::<u16>().context("a preference")?.to_be_bytes().to_vec();
            data.extend(message::write_name(&canonical(exchange))?);
            vec![data]
        }
        _ => {
            let [list] = values else { bail!("one value, or several with commas and no spaces") };
            list.split(',').map(|value| single(kind, value)).collect::<anyhow::Result<_>>()?
        }
    };
    Ok(data.into_iter().map(|data| Record { name: name.to_owned(), kind, class, ttl, data }).collect())
}

fn single(kind: u16, value: &str) -> anyhow::Result<Vec<u8>> {
    Ok(match kind {
        kind::A => value.parse::<Ipv4Addr>().with_context(|| value.to_owned())?.octets().to_vec(),
        kind::AAAA => value.parse::<Ipv6Addr>().with_context(|| value.to_owned())?.octets().to_vec(),
        _ => message::write_name(&canonical(value))?,
    })
}

fn text(strings: &[&str]) -> anyhow::Result<Vec<u8>> {
    ensure!(!strings.is_empty(), "TXT takes at least one string");
    let mut data = Vec::new();
    for string in strings {
        data.push(u8::try_from(string.len()).context("a string has at most 255 bytes")?);
        data.extend(string.as_bytes());
    }
    Ok(data)
}

fn soa(values: &[&str]) -> anyhow::Result<Vec<u8>> {
    let [primary, contact, numbers @ ..] = values else { bail!("SOA takes two names and five numbers") };
    ensure!(numbers.len() == 5, "SOA takes two names and five numbers");
    let mut data = message::write_name(&canonical(primary))?;
    data.extend(message::write_name(&canonical(contact))?);
    for number in numbers {
        data.extend(number.parse::<u32>().context("a number")?.to_be_bytes());
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(zone: &mut Zone, name: &str) -> Vec<Vec<u8>> {
        zone.answer(name, kind::A, class::IN).answers.into_iter().map(|record| record.data).collect()
    }

    #[test]
    fn a_sequence_moves_on_with_each_query_and_stays_at_its_end() {
        let mut zone = Zone::parse("x.example A 60 1.2.3.4 then 192.168.0.1,192.168.0.2").unwrap();
        assert_eq!(addresses(&mut zone, "x.example."), [[1, 2, 3, 4]]);
        for _ in 0..2 {
            assert_eq!(addresses(&mut zone, "x.example."), [[192, 168, 0, 1], [192, 168, 0, 2]]);
        }
    }

    #[test]
    fn names_that_exist_without_the_type_differ_from_names_that_do_not() {
        let mut zone =
            Zone::parse("example SOA 60 a.example b.example 1 2 3 4 5\nx.y.example A 60 1.2.3.4 # note").unwrap();
        let no_data = zone.answer("x.y.example.", kind::AAAA, class::IN);
        assert_eq!((no_data.rcode, no_data.authorities.len()), (rcode::NOERROR, 1));
        assert_eq!(zone.answer("y.example.", kind::A, class::IN).rcode, rcode::NOERROR);
        assert_eq!(zone.answer("z.example.", kind::A, class::IN).rcode, rcode::NXDOMAIN);
    }

    #[test]
    fn aliases_are_followed_and_loops_end() {
        let mut zone = Zone::parse("a CNAME 60 b\nb A 60 1.2.3.4\nc CNAME 60 c").unwrap();
        let kinds: Vec<u16> = zone.answer("a.", kind::A, class::IN).answers.iter().map(|record| record.kind).collect();
        assert_eq!(kinds, [kind::CNAME, kind::A]);
        assert_eq!(zone.answer("c.", kind::A, class::IN).answers.len(), 8);
    }

    #[test]
    fn behaviours_are_read_and_nonsense_is_refused_with_its_line() {
        let zone = Zone::parse("a SERVFAIL\nb DELAY 300\nb TRUNCATE").unwrap();
        assert_eq!(zone.behaviour("a.").rcode, Some(rcode::SERVFAIL));
        assert_eq!(
            zone.behaviour("b."),
            Behaviour { delay: Duration::from_millis(300), truncate: true, ..Behaviour::default() }
        );
        let zone = Zone::parse("a FORGE\na ELSEWHERE 20.21.1.54\na HTTP 500\na MEDIA text/html").unwrap();
        let elsewhere = Trick::Elsewhere("20.21.1.54".parse().unwrap());
        let tricks = [Trick::Forge, elsewhere, Trick::Http(500), Trick::Media("text/html".into())];
        assert_eq!(zone.behaviour("a.").tricks, tricks);
        for wrong in [
            "a HTTP",
            "a ELSEWHERE b",
            "a FORGE 1",
            "a",
            "a A",
            "a A 60",
            "a A 60 x",
            "a A 60 1.2.3.4 5.6.7.8",
            "a LOC 60 x",
            "a TXT 60 \"x",
        ] {
            let error = format!("{:#}", Zone::parse(&format!("\n{wrong}")).unwrap_err());
            assert!(error.contains("line 2"), "{wrong}: {error}");
        }
    }
}
