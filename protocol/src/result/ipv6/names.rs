//! What name servers said: each question of the IPv6 checks and its answer.

use minicbor::{Decode, Encode};

use super::reach::Trouble;
use super::words::words;
use crate::bounded::List;
use crate::net::{Ip, Transport};

/// The greatest number of DNS checks of one run.
pub const MAX_DNS_CHECKS: usize = 128;

words! {
    /// Which of the names of a reference's zone was asked for. A random first label defeats caches and is not kept.
    Asked, else Other;
    /// A name of a newer version.
    Other = 0 "other",
    /// Both families.
    Ds = 1 "ds",
    /// An IPv4 address alone.
    V4 = 2 "v4",
    /// An IPv6 address alone.
    V6 = 3 "v6",
    /// In a zone that is served over IPv6 alone.
    V6Ns = 4 "v6ns",
    /// There is no such name.
    Nx = 5 "nx",
    /// Shows a DNS64 (RFC 7050).
    Ipv4Only = 6 "ipv4only.arpa",
    /// A text of 1,800 bytes.
    Big = 7 "big",
    /// Its signature is wrong.
    Bogus = 8 "bogus",
    /// The root's SOA.
    Root = 9 "root",
}

words! {
    /// Who was asked.
    Asks, else Other;
    /// Somebody else.
    Other = 0 "other",
    /// A resolver of the machine's own.
    OwnResolver = 1 "resolver",
    /// The name server of a reference's zone.
    ZoneServer = 2 "server",
    /// An address of a reference, which asks nobody for others.
    Nobody = 3 "nobody",
    /// A root name server, without asking for recursion.
    RootServer = 4 "root",
}

/// One question and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DnsCheck {
    /// Who was asked.
    #[n(0)]
    pub asks: Asks,
    /// Where.
    #[n(1)]
    pub server: Ip,
    /// The name.
    #[n(2)]
    pub asked: Asked,
    /// The type of record.
    #[n(3)]
    pub qtype: u16,
    /// UDP or TCP.
    #[n(4)]
    pub protocol: Transport,
    /// The reference whose zone was asked about, by its place among the targets.
    #[n(5)]
    pub target: Option<u8>,
    /// The size of answers that EDNS announced; absent without EDNS.
    #[n(6)]
    pub udp_payload_size: Option<u16>,
    /// DO was set.
    #[n(7)]
    pub dnssec_ok: bool,
    /// CD was set.
    #[n(8)]
    pub checking_disabled: bool,
    /// What came.
    #[n(9)]
    pub saw: DnsSaw,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum DnsSaw {
    /// An answer.
    #[n(0)]
    Answer(#[n(0)] DnsSeen),
    /// Silence, at every try.
    #[n(1)]
    Timeout,
    /// It could not be asked, or an ICMP error came.
    #[n(2)]
    Failed(#[n(0)] Trouble),
}

/// What an answer says that matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct DnsSeen {
    /// Nanoseconds from question to answer.
    #[n(0)]
    pub rt: u64,
    /// Bytes of the message.
    #[n(1)]
    pub size: u32,
    /// The response code.
    #[n(2)]
    pub rcode: u8,
    /// The header's second sixteen bits (RFC 1035, 4.1.1).
    #[n(3)]
    pub flags: u16,
    /// The addresses in it, of the type asked for.
    #[n(4)]
    pub addresses: List<Ip, 8>,
    /// A record of that type had data of a wrong length (RFC 4074, section 4.4).
    #[n(5)]
    pub malformed: bool,
    /// Signatures were in it.
    #[n(6)]
    pub signed: bool,
}

impl DnsSeen {
    /// AA: by a server of the zone.
    pub const AUTHORITATIVE: u16 = 0x0400;
    /// TC: cut.
    pub const TRUNCATED: u16 = 0x0200;
    /// RA: by somebody who asks others.
    pub const RECURSION_AVAILABLE: u16 = 0x0080;
    /// AD: its signatures are right, says who answers.
    pub const AUTHENTIC: u16 = 0x0020;

    /// Is one of the flags set?
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

impl DnsCheck {
    /// Type A.
    pub const A: u16 = 1;
    /// Type AAAA.
    pub const AAAA: u16 = 28;

    /// The answer, if one came.
    pub const fn answer(&self) -> Option<&DnsSeen> {
        match &self.saw {
            DnsSaw::Answer(seen) => Some(seen),
            DnsSaw::Timeout | DnsSaw::Failed(_) => None,
        }
    }
}

words! {
    /// How a DNS64 treats those who check signatures (RFC 6147, section 5.5).
    Dns64Dnssec, else Unknown;
    /// It was not found out.
    Unknown = 0 "unknown",
    /// As it must.
    Right = 1 "ok",
    /// It makes addresses up also for those who say that they check for themselves.
    SynthWithCd = 2 "synth_with_cd",
    /// It leaves signatures out.
    StripsSignatures = 3 "strips_sigs",
    /// It takes what is wrongly signed.
    NoValidation = 4 "no_validation",
    /// It fails for those who ask for signatures.
    Servfail = 5 "servfail",
}

/// What the answers say together. Absent: not tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct NamesSeen {
    /// A resolver makes addresses up.
    #[n(0)]
    pub lying: Option<bool>,
    /// Somebody else answers what was asked over IPv4.
    #[n(1)]
    pub intercepted4: Option<bool>,
    /// The same over IPv6.
    #[n(2)]
    pub intercepted6: Option<bool>,
    /// A resolver reaches name servers over IPv6.
    #[n(3)]
    pub v6ns: Option<bool>,
    /// A resolver makes IPv6 addresses of IPv4 ones.
    #[n(4)]
    pub synthesis: Option<bool>,
    /// How it does that for those who check signatures.
    #[n(5)]
    pub dns64: Option<Dns64Dnssec>,
}
