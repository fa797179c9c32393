//! What was answered, grouped: of dns each set of records, of sslcert each certificate, of http each status, and so on.
//!
//! Times to live, ids and the order of records make no other answer. Names of servers and texts of records are from outside: they
//! are cut, and of control characters nothing is left.

use std::collections::{HashMap, HashSet};

use data_encoding::HEXLOWER;
use hickory_resolver::proto::op::Message;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::result::{
    DnsOutcome, DnsReply, Failure, HttpOutcome, MeasurementResult, Mtu, NtpOutcome, Outcome, PathMtuOutcome,
    SslcertFailure, SslcertOutcome,
};
use sonde_protocol::time::UnixNanos;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::metric::{Metric, requests};

/// How many groups are kept; the results of others are counted together.
const MAX_GROUPS: usize = 500;

/// How many records or names of one answer are shown.
const MAX_SHOWN: usize = 20;

/// The longest text of one of them, in characters.
const MAX_TEXT: usize = 200;

/// Codes of responses by number (RFC 1035, 2136).
const CODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
    "NOTZONE",
];

/// The groups so far.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    groups: HashMap<Vec<u8>, Group>,
    left_out: u64,
}

#[derive(Debug)]
struct Group {
    /// One line for people.
    text: String,
    /// The same for programs.
    answer: Value,
    count: u64,
    probes: HashSet<ProbeId>,
    first: i64,
    last: i64,
}

impl Answers {
    /// Adds what one result says. A dns result has an answer of each resolver.
    pub fn add(&mut self, probe: ProbeId, result: &MeasurementResult) {
        let at = result.started_at;
        match &result.outcome {
            Outcome::Failed(failure, _) => {
                let why = failure_text(failure);
                self.put(probe, at, format!("!{why}").into_bytes(), || (why.clone(), json!({ "failed": why })));
            }
            Outcome::Dns(dns) => self.dns(probe, at, dns),
            Outcome::Sslcert(seen) => self.certificate(probe, at, seen),
            Outcome::Http(seen) => self.one(probe, at, http(seen)),
            Outcome::Ntp(seen) => self.one(probe, at, ntp(seen)),
            Outcome::PathMtu(seen) => self.one(probe, at, path_mtu(seen)),
            Outcome::Ping(_) => {
                let (sent, received) = requests(result);
                let text = match received {
                    0 => "nothing came back",
                    _ if received < sent => "some were lost",
                    _ => "all were answered",
                };
                self.one(probe, at, (text.into(), json!({ "outcome": text })));
            }
            Outcome::Traceroute(_) => {
                let reached = Metric::Reached.of(result) == Some(1.0);
                let hops = Metric::Hops.of(result);
                let text = match (reached, hops) {
                    (true, Some(hops)) => format!("the target answered at hop {hops}"),
                    (_, Some(hops)) => format!("not reached; the last answer is of hop {hops}"),
                    _ => "nobody answered".into(),
                };
                self.one(probe, at, (text, json!({ "reached": reached, "hops": hops })));
            }
            Outcome::Ipv6(seen) => {
                let mut answer = Map::new();
                let mut text = Vec::new();
                for verdict in seen.verdicts.iter() {
                    text.push(format!("IPv{} {}", verdict.af.number(), verdict.raw.word()));
                    answer.insert(format!("v{}", verdict.af.number()), verdict.raw.word().into());
                }
                self.one(probe, at, (text.join(", "), answer.into()));
            }
        }
    }

    /// The groups, the largest first; and how many answers are in none.
    pub fn finish(self) -> (Vec<Value>, u64) {
        let mut groups: Vec<Group> = self.groups.into_values().collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)));
        let rows = groups.into_iter().map(|group| {
            json!({
                "text": group.text,
                "count": group.count,
                "probes": group.probes.len(),
                "first": group.first,
                "last": group.last,
                "answer": group.answer,
            })
        });
        (rows.collect(), self.left_out)
    }

    fn one(&mut self, probe: ProbeId, at: UnixNanos, (text, answer): (String, Value)) {
        self.put(probe, at, text.clone().into_bytes(), || (text, answer));
    }

    /// Counts an answer; only a new one is made.
    fn put(&mut self, probe: ProbeId, at: UnixNanos, key: Vec<u8>, new: impl FnOnce() -> (String, Value)) {
        let at = at.as_secs();
        if !self.groups.contains_key(&key) && self.groups.len() >= MAX_GROUPS {
            self.left_out += 1;
            return;
        }
        let group = self.groups.entry(key).or_insert_with(|| {
            let (text, answer) = new();
            Group { text, answer, count: 0, probes: HashSet::new(), first: at, last: at }
        });
        group.count += 1;
        group.probes.insert(probe);
        group.first = group.first.min(at);
        group.last = group.last.max(at);
    }

    fn dns(&mut self, probe: ProbeId, at: UnixNanos, dns: &DnsOutcome) {
        for response in dns.responses.iter() {
            let answer = match &response.outcome {
                DnsReply::Answer(answer) => dns_answer(&answer.message),
                DnsReply::Timeout(_) => failed("no answer"),
                DnsReply::Connect(why) => failed(&format!("connection: {}", clean(why))),
                DnsReply::SendError(why) => failed(&format!("not sent: {}", clean(why))),
                DnsReply::Read(why) => failed(&format!("not read: {}", clean(why))),
                DnsReply::NotAllowed => failed("address not allowed"),
            };
            self.one(probe, at, answer);
        }
    }

    fn certificate(&mut self, probe: ProbeId, at: UnixNanos, seen: &SslcertOutcome) {
        let failure = seen.failure.as_ref().map(|failure| match failure {
            SslcertFailure::Alert(number) => format!("alert {number}"),
            SslcertFailure::Failed(why) => clean(why),
        });
        let Some(der) = seen.certificates.first() else {
            return self.one(probe, at, failed(failure.as_deref().unwrap_or("no certificate")));
        };
        let fingerprint = HEXLOWER.encode(digest(&SHA256, der).as_ref());
        let key = format!("{fingerprint} {}", failure.as_deref().unwrap_or_default()).into_bytes();
        self.put(probe, at, key, || certificate(der, fingerprint, seen.certificates.len(), failure));
    }
}

fn failed(why: &str) -> (String, Value) {
    (why.to_owned(), json!({ "failed": why }))
}

fn failure_text(failure: &Failure) -> String {
    match failure {
        Failure::Resolve(why) => clean(&format!("dns resolution failed: {}", &**why)),
        Failure::NotAllowed => "address not allowed".into(),
        Failure::Socket(why) | Failure::Unsupported(why) => clean(why),
    }
}

/// Text from outside: cut, in one line.
fn clean(text: &str) -> String {
    let mut letters = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut cut: String = letters.by_ref().take(MAX_TEXT).collect();
    if letters.next().is_some() {
        cut.push('…');
    }
    cut
}

fn dns_answer(bytes: &[u8]) -> (String, Value) {
    // The head says the code even where the rest cannot be read.
    let code = match bytes.get(3).map(|flags| usize::from(flags & 0x0f)) {
        Some(code) => CODES.get(code).map_or_else(|| format!("RCODE{code}"), |name| (*name).to_owned()),
        None => return failed("an answer shorter than a header"),
    };
    let Ok(message) = Message::from_vec(bytes) else {
        return (
            format!("{code}, the rest cannot be read"),
            json!({ "rcode": code, "answers": null, "records": null }),
        );
    };
    let mut records: Vec<String> =
        message.answers.iter().map(|record| clean(&format!("{} {}", record.record_type(), record.data))).collect();
    records.sort_unstable();
    let sum = digest(&SHA256, records.join("\n").as_bytes());
    let hash = sum.as_ref().get(..6).map(|first| HEXLOWER.encode(first));
    let count = records.len();
    records.truncate(MAX_SHOWN);
    let more = if count > records.len() { format!(" and {} more", count - records.len()) } else { String::new() };
    let text = match records.is_empty() {
        true if code == "NOERROR" => "NOERROR, no records".to_owned(),
        true => code.clone(),
        false => format!("{code} {}{more} [{}]", records.join(", "), hash.as_deref().unwrap_or_default()),
    };
    (text, json!({ "rcode": code, "answers": count, "records": records, "hash": hash }))
}

fn certificate(der: &[u8], fingerprint: String, chain: usize, failure: Option<String>) -> (String, Value) {
    let Ok((_, read)) = X509Certificate::from_der(der) else {
        let answer = json!({ "sha256": fingerprint, "chain": chain, "handshake": failure });
        return ("a certificate that cannot be read".into(), answer);
    };
    let (subject, issuer) = (clean(&read.subject().to_string()), clean(&read.issuer().to_string()));
    let names = read.subject_alternative_name().ok().flatten();
    let names: Vec<String> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(clean(name)),
            GeneralName::IPAddress(bytes) => ip_text(bytes),
            _ => None,
        })
        .take(MAX_SHOWN)
        .collect();
    let validity = read.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let shown = names.first().unwrap_or(&subject);
    let wrong = failure.as_ref().map(|failure| format!(" ({failure})")).unwrap_or_default();
    let text = format!("{shown} by {issuer} [{}]{wrong}", fingerprint.get(..12).unwrap_or_default());
    let answer = json!({
        "subject": subject,
        "issuer": issuer,
        "serial": clean(&read.raw_serial_as_string()),
        "names": names,
        "not_before": from,
        "not_after": to,
        "sha256": fingerprint,
        "chain": chain,
        "handshake": failure,
    });
    (text, answer)
}

fn ip_text(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| std::net::Ipv4Addr::from(octets).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| std::net::Ipv6Addr::from(octets).to_string())).ok()
}

fn http(seen: &HttpOutcome) -> (String, Value) {
    match (&seen.head, &seen.failure) {
        (Some(head), failure) => {
            let version = if head.version_1_1 { "1.1" } else { "1.0" };
            let failure = failure.as_ref().map(|why| clean(why));
            let wrong = failure.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
            let text = format!("{} over HTTP/{version}{wrong}", head.status);
            (text, json!({ "status": head.status, "version": version, "failed": failure }))
        }
        (None, Some(why)) => failed(&clean(why)),
        (None, None) => failed("no response"),
    }
}

fn ntp(seen: &NtpOutcome) -> (String, Value) {
    let Some(server) = &seen.server else { return failed("no answer") };
    let id = server.reference_id.to_be_bytes();
    // Up to stratum 1 it is text (RFC 5905, 7.3), above it names the server's own server.
    let reference = if server.stratum <= 1 {
        let text = String::from_utf8_lossy(&id);
        clean(text.trim_end_matches('\0'))
    } else {
        std::net::Ipv4Addr::from(id).to_string()
    };
    let text = format!("stratum {}, reference {reference}, leap {}", server.stratum, server.leap);
    (text, json!({ "stratum": server.stratum, "reference": reference, "leap": server.leap, "version": server.version }))
}

fn path_mtu(seen: &PathMtuOutcome) -> (String, Value) {
    let words = |mtu: Mtu| match mtu {
        Mtu::Unknown => "unknown".to_owned(),
        Mtu::AtLeast(size) => format!("{size} or more"),
        Mtu::Exactly(size) => size.to_string(),
    };
    let hole = seen.hole.as_ref().map(|hole| json!({ "passes": hole.passes, "lost": hole.lost }));
    let black = if hole.is_some() { ", larger ones vanish without a word" } else { "" };
    let text = format!("{} bytes to the target, {} back{black}", words(seen.forward), words(seen.reverse));
    let answer = json!({
        "forward": seen.forward.size(),
        "forward_exact": seen.forward.is_exact(),
        "reverse": seen.reverse.size(),
        "reverse_exact": seen.reverse.is_exact(),
        "hole": hole,
    });
    (text, answer)
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::{MessageType, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, TXT};
    use hickory_resolver::proto::rr::{Name, RData, Record};

    use super::*;

    fn message(id: u16, ttl: u32, addresses: &[[u8; 4]]) -> Vec<u8> {
        let mut message = Message::new(id, MessageType::Response, OpCode::Query);
        let name = Name::from_ascii("example.net.").unwrap();
        for octets in addresses {
            let data = RData::A(A::from(std::net::Ipv4Addr::from(*octets)));
            message.answers.push(Record::from_rdata(name.clone(), ttl, data));
        }
        message.to_vec().unwrap()
    }

    #[test]
    fn the_same_records_are_the_same_answer() {
        let (one, two) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let (text, answer) = dns_answer(&message(1, 60, &[one, two]));
        assert_eq!(dns_answer(&message(7, 59, &[two, one])).0, text, "neither id, time to live nor order");
        assert_ne!(dns_answer(&message(1, 60, &[one])).0, text);
        assert!(text.starts_with("NOERROR A 192.0.2.1, A 192.0.2.2 ["), "{text}");
        assert_eq!((&answer["rcode"], &answer["answers"]), (&json!("NOERROR"), &json!(2)));
    }

    #[test]
    fn what_cannot_be_read_still_has_its_code() {
        let mut refused = Message::new(1, MessageType::Response, OpCode::Query);
        refused.metadata.response_code = ResponseCode::Refused;
        assert_eq!(dns_answer(&refused.to_vec().unwrap()).0, "REFUSED");
        let mut cut = message(1, 60, &[[192, 0, 2, 1]]);
        cut.truncate(20);
        assert_eq!(dns_answer(&cut).0, "NOERROR, the rest cannot be read");
        assert_eq!(dns_answer(b"ab").0, "an answer shorter than a header");
    }

    #[test]
    fn texts_from_outside_are_cut_and_in_one_line() {
        let mut long = Message::new(1, MessageType::Response, OpCode::Query);
        let text = format!("a\nb\u{1b}[2J{}", "x".repeat(240));
        let data = RData::TXT(TXT::new(vec![text]));
        long.answers.push(Record::from_rdata(Name::root(), 1, data));
        let (text, _) = dns_answer(&long.to_vec().unwrap());
        assert!(!text.contains(char::is_control) && text.contains('…') && text.len() < 260, "{text}");
    }

    #[test]
    fn groups_are_bounded() {
        let mut answers = Answers::default();
        for n in 0..MAX_GROUPS + 5 {
            answers.one(ProbeId(n as u64), UnixNanos::from_secs(10), failed(&format!("reason {n}")));
        }
        answers.one(ProbeId(9), UnixNanos::from_secs(20), failed("reason 3"));
        let (rows, left_out) = answers.finish();
        assert_eq!((rows.len(), left_out), (MAX_GROUPS, 5));
        assert_eq!(
            rows[0],
            json!({"text": "reason 3", "count": 2, "probes": 2, "first": 10, "last": 20,
            "answer": {"failed": "reason 3"}})
        );
    }

    #[test]
    fn a_certificate_that_is_none_is_told_by_its_fingerprint() {
        let (text, answer) = certificate(b"no certificate", "abc".into(), 1, Some("bad signature".into()));
        assert_eq!(text, "a certificate that cannot be read");
        assert_eq!((&answer["sha256"], &answer["handshake"]), (&json!("abc"), &json!("bad signature")));
    }
}
