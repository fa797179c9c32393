//! The query of a `dns` measurement: header and question (RFC 1035, 4.1) and, where asked for, one OPT record (RFC 6891).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use sonde_protocol::ids::ProbeId;
use sonde_protocol::result::Failure;
use sonde_protocol::spec::{DnsCarrier, DnsSpec};
use sonde_protocol::time::UnixNanos;

use super::name;

/// Recursion desired (RFC 1035, 4.1.1).
const FLAG_RD: u16 = 0x0100;
/// Checking disabled (RFC 4035, 3.2.2).
const FLAG_CD: u16 = 0x0010;
/// DNSSEC OK, in the OPT record's flags (RFC 3225).
const EDNS_DO: u16 = 0x8000;
/// Type of the OPT record (RFC 6891, 6.1.1).
const TYPE_OPT: u16 = 41;
/// Name server identifier (RFC 5001, 2.3).
const OPTION_NSID: u16 = 3;
/// Client subnet (RFC 7871, 6).
const OPTION_CLIENT_SUBNET: u16 = 8;
/// Cookie (RFC 7873, 4).
const OPTION_COOKIE: u16 = 10;
/// The payload size that needs no OPT record (RFC 1035, 2.3.4).
const PLAIN_PAYLOAD: u32 = 512;

/// What a query has that its definition does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryContext {
    /// Who asks, for `$p` and `prepend_probe_id`.
    pub probe_id: ProbeId,
    /// The message's id; random. Not used over HTTPS and QUIC, where it is 0.
    pub id: u16,
    /// For `$r` and the cookie. New for each server and run, so that nothing can be recognised by it.
    pub random: u64,
    /// Now, for `$t` and `prepend_probe_id`.
    pub time: UnixNanos,
}

/// A query, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    // At least a header; `query` is the only maker outside tests.
    bytes: Vec<u8>,
}

impl Query {
    #[cfg(test)]
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The message, as UDP carries it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The message's id.
    pub fn id(&self) -> u16 {
        self.bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
    }

    /// The same question under another id, for another try.
    pub(super) fn with_id(&self, id: u16) -> Self {
        let mut bytes = self.bytes.clone();
        if let Some(place) = bytes.first_chunk_mut() {
            *place = id.to_be_bytes();
        }
        Self { bytes }
    }
}

/// The query that a definition asks for.
///
/// # Errors
/// [`Failure::Unsupported`] when the name has no wire form.
pub fn query(spec: &DnsSpec, ctx: &QueryContext) -> Result<Query, Failure> {
    let id = match spec.carrier() {
        DnsCarrier::Udp | DnsCarrier::Tcp | DnsCarrier::Tls => ctx.id,
        // So that the same question is the same request for caches (RFC 8484, 4.1); RFC 9250, 4.2.1 insists.
        DnsCarrier::Https | DnsCarrier::Quic => 0,
    };
    let flags = if spec.set_rd_bit { FLAG_RD } else { 0 } | if spec.set_cd_bit { FLAG_CD } else { 0 };
    let opt = opt_record(spec, ctx);

    let mut bytes = Vec::with_capacity(320);
    // Id, flags, one question, no answer, no authority, perhaps one additional record.
    for word in [id, flags, 1, 0, 0, u16::from(opt.is_some())] {
        push_u16(&mut bytes, word);
    }
    name::encode(&question_name(spec, ctx), &mut bytes).map_err(Failure::Unsupported)?;
    push_u16(&mut bytes, spec.query_type);
    push_u16(&mut bytes, spec.query_class);
    bytes.extend(opt.into_iter().flatten());
    Ok(Query { bytes })
}

/// The name to ask for as text: macros replaced, then the probe's id and the time put before it.
fn question_name(spec: &DnsSpec, ctx: &QueryContext) -> String {
    let mut name = String::new();
    if spec.prepend_probe_id {
        name = format!("{}.{}.", ctx.probe_id, ctx.time.as_secs());
        if &*spec.query_argument == "." {
            return name;
        }
    }
    if spec.use_macros {
        push_macros(&spec.query_argument, ctx, &mut name);
    } else {
        name.push_str(&spec.query_argument);
    }
    name
}

/// `$p` is the probe's id, `$r` sixteen random hexadecimal digits, `$t` the Unix time; any other `$` stays (Atlas's rule).
fn push_macros(argument: &str, ctx: &QueryContext, name: &mut String) {
    let mut pieces = argument.split('$');
    name.push_str(pieces.next().unwrap_or(""));
    for piece in pieces {
        // Writing into a string cannot fail.
        let (written, rest) = match piece.chars().next() {
            Some('p') => (write!(name, "{}", ctx.probe_id), piece.get(1..)),
            Some('r') => (write!(name, "{:016x}", ctx.random), piece.get(1..)),
            Some('t') => (write!(name, "{}", ctx.time.as_secs()), piece.get(1..)),
            _ => (name.write_char('$'), Some(piece)),
        };
        debug_assert!(written.is_ok());
        name.push_str(rest.unwrap_or(""));
    }
}

/// The OPT record, when the definition asks for anything that needs one.
fn opt_record(spec: &DnsSpec, ctx: &QueryContext) -> Option<Vec<u8>> {
    let mut options = Vec::new();
    if spec.set_nsid_bit {
        push_option(&mut options, OPTION_NSID, &[]);
    }
    if spec.default_client_subnet {
        // Family IPv4, source prefix length 0, scope 0, no address: "do not use a subnet of mine" (RFC 7871, 7.1.2).
        push_option(&mut options, OPTION_CLIENT_SUBNET, &[0, 1, 0, 0]);
    }
    if spec.cookies {
        push_option(&mut options, OPTION_COOKIE, &client_cookie(ctx.random));
    }
    if options.is_empty() && !spec.set_do_bit && spec.udp_payload_size == PLAIN_PAYLOAD {
        return None;
    }
    let mut record = Vec::from([0]);
    push_u16(&mut record, TYPE_OPT);
    push_u16(&mut record, u16::try_from(spec.udp_payload_size).unwrap_or(u16::MAX));
    // Extended response code and version, both 0; then the flags.
    push_u16(&mut record, 0);
    push_u16(&mut record, if spec.set_do_bit { EDNS_DO } else { 0 });
    // Three options of at most 12 bytes.
    push_u16(&mut record, options.len() as u16);
    record.extend_from_slice(&options);
    Some(record)
}

/// Eight bytes that do not show the random number, which `$r` may have put into the name (the finaliser of SplitMix64, one
/// to one, so two random numbers never give one cookie).
fn client_cookie(random: u64) -> [u8; 8] {
    let mixed = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).to_be_bytes()
}

fn push_option(options: &mut Vec<u8>, code: u16, data: &[u8]) {
    push_u16(options, code);
    push_u16(options, data.len() as u16);
    options.extend_from_slice(data);
}

fn push_u16(bytes: &mut Vec<u8>, word: u16) {
    bytes.extend_from_slice(&word.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, OpCode};
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    use proptest::prelude::*;
    use sonde_protocol::bounded::Text;

    const CTX: QueryContext = QueryContext {
        probe_id: ProbeId(11),
        id: 0xabcd,
        random: 0x0123_4567_89ab_cdef,
        time: UnixNanos(1_760_000_000_900_000_000),
    };

    fn spec(name: &str) -> DnsSpec {
        DnsSpec { query_argument: Text::cut(name), ..DnsSpec::default() }
    }

    #[test]
    fn the_bytes_of_a_plain_query() {
        let bytes = query(&spec("example.net"), &CTX).unwrap().bytes;
        assert_eq!(bytes, b"\xab\xcd\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03net\x00\x00\x01\x00\x01");
    }

    #[test]
    fn over_whatever_carries_it_the_query_is_the_same_but_for_its_id() {
        let plain = query(&spec("example.net"), &CTX).unwrap();
        type Change = fn(&mut DnsSpec);
        let cases: [(Change, u16); 3] = [(|s| s.tls = true, CTX.id), (|s| s.https = true, 0), (|s| s.quic = true, 0)];
        for (change, id) in cases {
            let mut spec = spec("example.net");
            change(&mut spec);
            let query = query(&spec, &CTX).unwrap();
            assert_eq!((query.id(), &query.bytes()[2..]), (id, &plain.bytes()[2..]));
        }
    }

    #[test]
    fn the_bytes_of_every_option() {
        let spec = DnsSpec {
            query_class: 3,
            query_type: 16,
            udp_payload_size: 1232,
            set_rd_bit: true,
            set_cd_bit: true,
            set_do_bit: true,
            set_nsid_bit: true,
            cookies: true,
            default_client_subnet: true,
            ..spec(".")
        };
        let query = query(&spec, &CTX).unwrap();
        let mut expected =
            Vec::from(b"\xab\xcd\x01\x10\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x10\x00\x03".as_slice());
        expected.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x18");
        expected.extend_from_slice(b"\x00\x03\x00\x00\x00\x08\x00\x04\x00\x01\x00\x00\x00\x0a\x00\x08");
        expected.extend_from_slice(&client_cookie(CTX.random));
        assert_eq!(query.bytes(), expected);
        assert_eq!(query.id(), 0xabcd);
        assert_ne!(client_cookie(CTX.random), CTX.random.to_be_bytes());
    }

    #[test]
    fn edns_comes_with_each_option_that_needs_it_and_not_otherwise() {
        type Change = fn(&mut DnsSpec);
        let cases: [(&str, Change, Option<u16>); 8] = [
            ("plain", |_| (), None),
            ("rd", |s| s.set_rd_bit = true, None),
            ("cd", |s| s.set_cd_bit = true, None),
            ("size", |s| s.udp_payload_size = 4096, Some(4096)),
            ("do", |s| s.set_do_bit = true, Some(512)),
            ("nsid", |s| s.set_nsid_bit = true, Some(512)),
            ("cookies", |s| s.cookies = true, Some(512)),
            ("subnet", |s| s.default_client_subnet = true, Some(512)),
        ];
        for (what, change, payload) in cases {
            let mut spec = spec("example.net");
            change(&mut spec);
            let message = Message::from_vec(query(&spec, &CTX).unwrap().bytes()).unwrap();
            assert_eq!(message.edns.as_ref().map(|edns| edns.max_payload()), payload, "{what}");
        }
    }

    #[test]
    fn macros_and_the_probes_id_change_the_name() {
        let macros = DnsSpec { use_macros: true, ..spec("$r.$t.p$p.$x$$p.example") };
        let prepend = DnsSpec { prepend_probe_id: true, ..spec("example.net.") };
        let both = DnsSpec { use_macros: true, prepend_probe_id: true, ..spec("$p.example") };
        let root = DnsSpec { prepend_probe_id: true, ..spec(".") };
        let without = spec("$p.example");
        let end = DnsSpec { use_macros: true, ..spec("a.$") };
        for (spec, name) in [
            (macros, "0123456789abcdef.1760000000.p11.$x$11.example"),
            (prepend, "11.1760000000.example.net."),
            (both, "11.1760000000.11.example"),
            (root, "11.1760000000."),
            (without, "$p.example"),
            (end, "a.$"),
        ] {
            assert_eq!(question_name(&spec, &CTX), name);
            assert!(query(&spec, &CTX).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_asked_says_why() {
        // Short enough as a definition, too long with the macro's value.
        let long = DnsSpec { use_macros: true, ..spec(&format!("{}$r.example", "a".repeat(50))) };
        assert!(matches!(query(&long, &CTX), Err(Failure::Unsupported(_))));
        assert!(matches!(query(&spec("a..b"), &CTX), Err(Failure::Unsupported(_))));
    }

    proptest! {
        /// A DNS library reads every query as the definition meant it.
        #[test]
        fn a_dns_library_agrees(
            name in r"([a-z][a-z0-9]{0,20}\.){1,5}",
            id: u16,
            random: u64,
            query_type in 1_u16..300,
            flags: [bool; 6],
            payload in 512_u32..=4096,
        ) {
            let [rd, cd, dnssec_ok, nsid, cookies, subnet] = flags;
            let spec = DnsSpec {
                query_type,
                udp_payload_size: payload,
                set_rd_bit: rd,
                set_cd_bit: cd,
                set_do_bit: dnssec_ok,
                set_nsid_bit: nsid,
                cookies,
                default_client_subnet: subnet,
                ..spec(&name)
            };
            let query = query(&spec, &QueryContext { id, random, ..CTX }).unwrap();
            let message = Message::from_vec(query.bytes()).unwrap();
            prop_assert_eq!(message.metadata.id, id);
            prop_assert_eq!(message.metadata.op_code, OpCode::Query);
            prop_assert_eq!(message.metadata.recursion_desired, rd);
            prop_assert_eq!(message.metadata.checking_disabled, cd);
            let [question] = message.queries.as_slice() else { panic!("one question") };
            prop_assert_eq!(question.name().to_ascii(), name);
            prop_assert_eq!(u16::from(question.query_type()), query_type);
            prop_assert_eq!(u16::from(question.query_class()), 1);
            prop_assert!(message.answers.is_empty() && message.authorities.is_empty() && message.additionals.is_empty());
            if flags[2..].contains(&true) || payload != 512 {
                let edns = message.edns.as_ref().unwrap();
                prop_assert_eq!(u32::from(edns.max_payload()), payload);
                prop_assert_eq!(edns.flags().dnssec_ok, dnssec_ok);
                prop_assert_eq!(edns.option(EdnsCode::NSID).is_some(), nsid);
                prop_assert_eq!(edns.option(EdnsCode::Cookie).is_some(), cookies);
                match edns.option(EdnsCode::Subnet) {
                    Some(EdnsOption::Subnet(found)) => {
                        prop_assert!(subnet);
                        prop_assert_eq!((found.source_prefix(), found.scope_prefix()), (0, 0));
                    }
                    other => prop_assert!(!subnet && other.is_none()),
                }
            } else {
                prop_assert!(message.edns.is_none());
            }
        }

        #[test]
        fn any_argument_gives_a_query_or_a_reason(argument in r"(\$[prtx]|[\\.a-z0-9]|\PC){0,120}", use_macros: bool, prepend: bool) {
            let spec = DnsSpec { use_macros, prepend_probe_id: prepend, ..spec(&argument) };
            if let Ok(query) = query(&spec, &CTX) {
                prop_assert!(query.bytes().len() <= 12 + 255 + 4);
            }
        }
    }
}
