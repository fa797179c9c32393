//! The bytes of nf_tables' netlink messages (linux/netfilter/nf_tables.h): a batch that puts one table in the place of another.
//! Pure; what the rules say is not known here.
//!
//! A rule is a list of expressions: load something of the packet into a register, compare it, give a verdict. Numbers of attributes
//! are in network byte order; what a register is compared with is as the packet has it, and what the kernel itself knows of a
//! packet (`meta`) as the machine has it.

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST};

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;

/// `NFPROTO_INET`: the table sees both families.
const INET: u8 = 1;

/// The attribute is a list of attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;

/// The one register that the rules use (`NFT_REG_1`).
const REGISTER: u32 = 1;

/// A verdict on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Verdict {
    /// It is thrown away, without a word.
    Drop = 0,
    /// It passes.
    Accept = 1,
}

/// Where a chain sits (`NF_INET_LOCAL_IN`, `NF_INET_LOCAL_OUT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// What is for this machine.
    Input = 1,
    /// What this machine sends.
    Output = 3,
}

/// What the kernel knows of a packet (`enum nft_meta_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Meta {
    /// The kind of the interface it came by (`ARPHRD_*`), two bytes.
    IifType = 8,
    /// The user whose socket sends it, four bytes; there may be none.
    SkUid = 10,
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`, one byte.
    NfProto = 15,
    /// The protocol behind the headers of IP, one byte.
    L4Proto = 16,
}

/// Which header a place is counted from (`enum nft_payload_bases`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Header {
    /// That of IP.
    Network = 1,
    /// The one behind it.
    Transport = 2,
}

/// A comparison (`enum nft_cmp_ops`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Is {
    Equal = 0,
    NotEqual = 1,
    AtLeast = 5,
}

/// The expressions of one rule.
#[derive(Debug, Default)]
pub struct Expressions(Vec<u8>);

impl Expressions {
    /// What the kernel knows must compare so with `value`, in the machine's byte order.
    pub fn meta(self, key: Meta, is: Is, value: &[u8]) -> Self {
        self.add("meta", |data| data.number(2, key as u32).number(1, REGISTER)).compare(is, value)
    }

    /// The bytes at `offset` of a header must compare so with `value`.
    pub fn payload(self, base: Header, offset: u32, is: Is, value: &[u8]) -> Self {
        self.load(base, offset, value.len()).compare(is, value)
    }

    /// As [`payload`](Self::payload), of the bits of the mask alone.
    pub fn masked(self, base: Header, offset: u32, mask: &[u8], is: Is, value: &[u8]) -> Self {
        self.load(base, offset, value.len()).mask(mask).compare(is, value)
    }

    /// The two bytes with the offset of an IPv6 fragment (RFC 8200, 4.5) are there and not zero: not the first one.
    pub fn later_fragment(self) -> Self {
        const FRAGMENT: u8 = 44;
        let load = |data: Attributes| data.number(1, REGISTER).bytes(2, &[FRAGMENT]).number(3, 2).number(4, 2);
        self.add("exthdr", load).mask(&[0xff, 0xf8]).compare(Is::NotEqual, &[0, 0])
    }

    /// Counts what has come so far.
    pub fn counter(self) -> Self {
        self.add("counter", |data| data)
    }

    /// Throws the packet away and tells its sender: ICMP's "administratively prohibited" of either family.
    pub fn reject(self) -> Self {
        const ICMPX_UNREACH: u32 = 2;
        const ADMIN_PROHIBITED: u8 = 3;
        self.add("reject", |data| data.number(1, ICMPX_UNREACH).bytes(2, &[ADMIN_PROHIBITED]))
    }

    /// Ends the rule.
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.add("immediate", |data| {
            data.number(1, 0).nested(2, |data| data.nested(2, |code| code.bytes(1, &(verdict as i32).to_be_bytes())))
        })
    }

    /// Goes on with another chain, and comes back if nothing there decides (`NFT_JUMP`).
    pub fn jump(self, chain: &str) -> Self {
        const JUMP: i32 = -3;
        self.add("immediate", |data| {
            let verdict = |code: Attributes| code.bytes(1, &JUMP.to_be_bytes()).text(2, chain);
            data.number(1, 0).nested(2, |data| data.nested(2, verdict))
        })
    }

    fn load(self, base: Header, offset: u32, length: usize) -> Self {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.add("payload", |data| data.number(1, REGISTER).number(2, base as u32).number(3, offset).number(4, length))
    }

    fn mask(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        self.add("bitwise", |data| {
            let data = data.number(1, REGISTER).number(2, REGISTER).number(3, length);
            data.nested(4, |value| value.bytes(1, mask)).nested(5, |value| value.bytes(1, &vec![0; mask.len()]))
        })
    }

    fn compare(self, is: Is, value: &[u8]) -> Self {
        self.add("cmp", |data| data.number(1, REGISTER).number(2, is as u32).nested(3, |data| data.bytes(1, value)))
    }

    fn add(self, name: &str, data: impl FnOnce(Attributes) -> Attributes) -> Self {
        let list = Attributes(self.0);
        Self(list.nested(1, |element| element.text(1, name).nested(2, data)).0)
    }
}

/// Attributes of netlink: length, type, value, each aligned to four bytes.
#[derive(Debug, Default)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // What is put in is made here and short; a length that did not fit would be refused by the kernel.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    fn nested(self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        self.bytes(kind | NESTED, &inner(Self::default()).0)
    }
}

/// Messages that take effect together or not at all.
#[derive(Debug)]
pub struct Batch {
    table: &'static str,
    bytes: Vec<u8>,
    number: u32,
}

impl Batch {
    /// One that begins by emptying the table, whether there is one or not.
    pub fn replacing(table: &'static str) -> Self {
        let mut batch = Self { table, bytes: Vec::new(), number: 0 };
        batch.message(BATCH_BEGIN, 0, Attributes::default());
        for kind in [NEW_TABLE, DELETE_TABLE, NEW_TABLE] {
            batch.message(kind, NLM_F_CREATE, Attributes::default().text(1, table));
        }
        batch
    }

    /// A chain that others go to.
    pub fn part(&mut self, name: &str) {
        let attributes = Attributes::default().text(1, self.table).text(3, name);
        self.message(NEW_CHAIN, NLM_F_CREATE, attributes);
    }

    /// A chain that sees packets, of the type `filter` with the usual priority.
    pub fn chain(&mut self, name: &str, hook: Hook, policy: Verdict) {
        let attributes = Attributes::default()
            .text(1, self.table)
            .text(3, name)
            .nested(4, |data| data.number(1, hook as u32).number(2, 0))
            .bytes(5, &(policy as i32).to_be_bytes())
            .text(7, "filter");
        self.message(NEW_CHAIN, NLM_F_CREATE, attributes);
    }

    /// A rule at the end of a chain.
    pub fn rule(&mut self, chain: &str, expressions: Expressions) {
        let attributes = Attributes::default().text(1, self.table).text(2, chain).bytes(4 | NESTED, &expressions.0);
        self.message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, attributes);
    }

    /// The bytes to send, and how many messages the kernel answers.
    pub fn finish(mut self) -> (Vec<u8>, u32) {
        let asked = self.number - 1;
        self.message(BATCH_END, 0, Attributes::default());
        (self.bytes, asked)
    }

    fn message(&mut self, kind: u16, flags: u16, attributes: Attributes) {
        let is_frame = matches!(kind, BATCH_BEGIN | BATCH_END);
        let flags = NLM_F_REQUEST | flags | if is_frame { 0 } else { NLM_F_ACK };
        let length = u32::try_from(16 + 4 + attributes.0.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.number.to_ne_bytes());
        // The kernel fills in who sends.
        self.bytes.extend([0; 4]);
        // `nfgenmsg`: family, version, and for a frame which part of netfilter it is for.
        let [high, low] = if is_frame { SUBSYSTEM } else { 0 }.to_be_bytes();
        self.bytes.extend([if is_frame { 0 } else { INET }, 0, high, low]);
        self.bytes.extend(attributes.0);
        self.number += 1;
    }
}
