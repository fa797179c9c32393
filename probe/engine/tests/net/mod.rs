//! A network in memory with a fake clock: one path of routers to one target, each with its delay and its quirks. An engine
//! is played against it in virtual time, so that minutes pass in microseconds and every run is repeatable.

// Each test binary uses its part of this.
#![allow(dead_code)]

pub mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use sonde_engine::icmp::checksum;
use sonde_engine::tcp::{self, Segment, flag};
use sonde_engine::{Channel, Engine, ErrorDetails, IcmpErrorEvent, Meta, Token, Transmit};
use sonde_protocol::net::Family;
use sonde_protocol::result::{Outcome, Why};
use sonde_protocol::time::Nanos;

/// More events than any run needs: whoever gets here is stuck.
const MAX_STEPS: usize = 200_000;

/// One router, or the target when its address is the target's. Counts in lists start at 1 and count the packets that this
/// hop would answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HopScript {
    pub from: IpAddr,
    /// One way, from the probe to here, in milliseconds.
    pub delay: f64,
    /// Hop limit of its answers when they arrive.
    #[serde(default = "hop_limit_64")]
    pub ttl: u8,
    /// It answers nothing.
    #[serde(default)]
    pub silent: bool,
    /// It does not answer these.
    #[serde(default)]
    pub lose: Vec<u32>,
    /// It answers these twice, the second time a millisecond later.
    #[serde(default)]
    pub duplicate: Vec<u32>,
    /// It answers these this much later: number, milliseconds.
    #[serde(default)]
    pub late: Vec<(u32, f64)>,
    /// It answers at most once in so many milliseconds.
    #[serde(default)]
    pub at_most_every: f64,
    /// These packets take a shorter way without this hop; counted among all that come here.
    #[serde(default)]
    pub bypass: Vec<u32>,
    /// It forwards nothing and sends this ICMP error instead: type, code.
    #[serde(default)]
    pub refuse: Option<(u8, u8)>,
    /// It sends this ICMP error for packets whose hop limit ends here, instead of time exceeded; or for the target, instead
    /// of its answer.
    #[serde(default)]
    pub error: Option<(u8, u8)>,
    /// The target has a service at every port: over UDP it answers this, or what it was sent when this is "echo"; over TCP it
    /// accepts connections, and until one is ended it says no more than that to further SYNs.
    #[serde(default)]
    pub serves: Option<String>,
    /// It forwards no packet longer than this.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// The MTU that it names for one that is too long, if another; 0 for none.
    #[serde(default)]
    pub named_mtu: Option<u32>,
    /// It says nothing of packets that are too long for its `mtu`.
    #[serde(default)]
    pub hole: bool,
    /// Answers longer than this come back from here in pieces.
    #[serde(default)]
    pub reverse_mtu: Option<u32>,
    /// Answers longer than this never come back from here.
    #[serde(default)]
    pub reverse_hole: Option<u32>,
    /// The target answers no packets of this protocol.
    #[serde(default)]
    pub drops: Option<String>,
    /// The target sends no more than so many bytes of an echo request back.
    #[serde(default)]
    pub shortens_to: Option<u32>,
    /// How many bytes of the payload its errors quote, if not all.
    #[serde(default)]
    pub quote: Option<usize>,
    /// RFC 4884 structure in its errors.
    #[serde(default)]
    pub extensions: Option<Vec<u8>>,
    /// It is older than RFC 4884 and does not say where its structure begins.
    #[serde(default)]
    pub old_extensions: bool,
    /// Packets come here with this TTL, TOS and destination instead of what was sent, as the quotes in its errors show.
    #[serde(default)]
    pub quoted_ttl: Option<u8>,
    #[serde(default)]
    pub quoted_tos: Option<u8>,
    #[serde(default)]
    pub quoted_dst: Option<IpAddr>,
    /// Probabilities in percent, for random runs.
    #[serde(skip)]
    pub random: Random,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Random {
    pub loss: u64,
    pub duplicate: u64,
    /// Answers delayed by up to six seconds.
    pub late: u64,
}

fn hop_limit_64() -> u8 {
    64
}

impl HopScript {
    pub fn new(from: IpAddr, delay: f64) -> Self {
        Self {
            from,
            delay,
            ttl: 64,
            silent: false,
            lose: Vec::new(),
            duplicate: Vec::new(),
            late: Vec::new(),
            at_most_every: 0.0,
            bypass: Vec::new(),
            refuse: None,
            error: None,
            serves: None,
            mtu: None,
            named_mtu: None,
            hole: false,
            reverse_mtu: None,
            reverse_hole: None,
            drops: None,
            shortens_to: None,
            quote: None,
            extensions: None,
            old_extensions: false,
            quoted_ttl: None,
            quoted_tos: None,
            quoted_dst: None,
            random: Random::default(),
        }
    }
}

/// What is true of the whole network and of the probe's host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetScript {
    /// Seed of jitter and of random faults.
    pub seed: u64,
    /// Answers come up to this many milliseconds later.
    pub jitter: f64,
    /// Packets leave this many milliseconds after the program's own stamp; the kernel's stamp knows.
    pub leave_after: f64,
    /// The kernel's stamp of departure is handed over this many milliseconds after the send.
    pub stamp_after: f64,
    /// The answers to these packets are handed over so long after their stamp, because the host is busy: number,
    /// milliseconds.
    pub read_after: Vec<(u32, f64)>,
    /// These packets cannot be sent; counted from 1.
    pub unsent: Vec<u32>,
    /// No packet can be sent from this one on.
    pub unsent_from: Option<u32>,
    /// The probe may not open raw sockets: of an error it is told what the error queue tells.
    pub unprivileged: bool,
    /// The host's own link takes no longer packets.
    pub interface: Option<u32>,
}

/// One packet as it was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub at: Nanos,
    pub transmit: Transmit,
}

enum Event {
    Stamp(Token, Nanos),
    Datagram(Meta, Vec<u8>),
    Error(IcmpErrorEvent),
}

#[derive(Default)]
struct HopState {
    came_by: u32,
    answers: u32,
    last_at: Option<i64>,
    /// A TCP connection that is half open: until when, and what acknowledges it.
    half_open: Option<(Nanos, u32)>,
}

/// See the module.
pub struct Net {
    dst: IpAddr,
    script: NetScript,
    hops: Vec<HopScript>,
    states: Vec<HopState>,
    rng: u64,
    queue: BTreeMap<(Nanos, usize), Event>,
    events: usize,
    pub sent: Vec<Sent>,
}

/// How a run went.
pub struct Played {
    pub outcome: Outcome,
    pub ended_at: Nanos,
    pub sent: Vec<Sent>,
}

impl Net {
    pub fn new(dst: IpAddr, script: NetScript, hops: Vec<HopScript>) -> Self {
        let states = hops.iter().map(|_| HopState::default()).collect();
        let rng = script.seed;
        Self { dst, script, hops, states, rng, queue: BTreeMap::new(), events: 0, sent: Vec::new() }
    }

    /// Plays one run to its end.
    pub fn play(mut self, engine: &mut dyn Engine) -> Played {
        let mut now = Nanos(0);
        for _ in 0..MAX_STEPS {
            while let Some(transmit) = engine.poll_transmit(now) {
                self.transmit(engine, now, transmit);
            }
            if let Some(outcome) = engine.poll_outcome() {
                assert_eq!(engine.poll_outcome(), None, "there is one outcome");
                assert_eq!((engine.poll_timeout(), engine.poll_transmit(now)), (None, None), "the end is the end");
                return Played { outcome, ended_at: now, sent: self.sent };
            }
            let wake_at = engine.poll_timeout().expect("a run that is not over wants to be woken");
            match self.queue.first_key_value() {
                Some((&(at, _), _)) if at <= wake_at => {
                    now = now.max(at);
                    let (_, event) = self.queue.pop_first().expect("it was there");
                    match event {
                        Event::Stamp(token, at) => engine.handle_sent(token, at),
                        Event::Datagram(meta, bytes) => engine.handle_datagram(&meta, &bytes),
                        Event::Error(event) => engine.handle_icmp_error(&event),
                    }
                }
                _ => {
                    now = now.max(wake_at);
                    engine.handle_timeout(now);
                }
            }
        }
        panic!("the run does not end");
    }

    fn transmit(&mut self, engine: &mut dyn Engine, now: Nanos, transmit: Transmit) {
        let number = self.sent.len() as u32 + 1;
        assert_eq!(transmit.token, Token(number - 1));
        self.sent.push(Sent { at: now, transmit: transmit.clone() });
        if self.script.unsent.contains(&number) || self.script.unsent_from.is_some_and(|from| number >= from) {
            engine.handle_send_error(transmit.token, now, Why::cut("sendto failed: Network is unreachable"));
            return;
        }
        if self.script.interface.is_some_and(|mtu| ip_length(&transmit) > mtu as usize) {
            engine.handle_too_long(transmit.token, now);
            return;
        }
        engine.handle_sent(transmit.token, now);
        let left_at = now + ms(self.script.leave_after);
        self.push(now + ms(self.script.stamp_after), Event::Stamp(transmit.token, left_at));
        if let Some((position, error)) = self.fate(&transmit) {
            self.answer(position, error, left_at, &transmit);
        }
    }

    /// Which hop answers a packet, and with which error; `None` when nobody is there.
    fn fate(&mut self, transmit: &Transmit) -> Option<(usize, Option<(u8, u8)>)> {
        let v4 = Family::of(self.dst) == Family::V4;
        let mut hop_limit = transmit.hop_limit.unwrap_or(64);
        for (i, hop) in self.hops.iter().enumerate() {
            self.states[i].came_by += 1;
            if hop.bypass.contains(&self.states[i].came_by) {
                continue;
            }
            if hop.from == self.dst {
                let protocol = if transmit.channel == Channel::Icmp { "ICMP" } else { "UDP" };
                if hop.drops.as_deref() == Some(protocol) {
                    return None;
                }
                let port_unreachable = if v4 { (3, 3) } else { (1, 4) };
                let is_refused = matches!(transmit.channel, Channel::Udp { .. }) && hop.serves.is_none();
                let by_default = is_refused.then_some(port_unreachable);
                return Some((i, hop.error.or(by_default)));
            }
            hop_limit -= 1;
            if hop_limit == 0 {
                return Some((i, hop.error.or(Some(if v4 { (11, 0) } else { (3, 0) }))));
            }
            if let Some(error) = hop.refuse {
                return Some((i, Some(error)));
            }
            if hop.mtu.is_some_and(|mtu| ip_length(transmit) > mtu as usize) {
                if hop.hole {
                    return None;
                }
                return Some((i, Some(if v4 { (3, 4) } else { (2, 0) })));
            }
        }
        None
    }

    fn answer(&mut self, position: usize, error: Option<(u8, u8)>, left_at: Nanos, transmit: &Transmit) {
        let hop = self.hops[position].clone();
        let state = &mut self.states[position];
        state.answers += 1;
        let number = state.answers;
        let reached_at = left_at + ms(hop.delay);
        let too_soon = state.last_at.is_some_and(|last| reached_at < Nanos(last) + ms(hop.at_most_every));
        if hop.silent || hop.lose.contains(&number) || too_soon || self.chance(hop.random.loss) {
            return;
        }
        self.states[position].last_at = Some(reached_at.0);
        let mut received_at = reached_at + ms(hop.delay) + self.up_to(ms(self.script.jitter));
        if let Some((_, extra)) = hop.late.iter().find(|(n, _)| *n == number) {
            received_at = received_at + ms(*extra);
        }
        if self.chance(hop.random.late) {
            received_at = received_at + self.up_to(Duration::from_secs(6));
        }
        let segment = if error.is_none() { self.segment(position, reached_at, transmit) } else { Vec::new() };
        self.deliver(&hop, error, received_at, transmit, segment.clone());
        if hop.duplicate.contains(&number) || self.chance(hop.random.duplicate) {
            self.deliver(&hop, error, received_at + ms(1.0), transmit, segment);
        }
    }

    /// What the target says to a SYN that reaches it at this moment.
    fn segment(&mut self, position: usize, reached_at: Nanos, transmit: &Transmit) -> Vec<u8> {
        let Some(syn) = Segment::parse(&transmit.payload) else { return Vec::new() };
        let hop = &self.hops[position];
        let half_open = self.states[position].half_open.filter(|(until, _)| reached_at < *until);
        let payload = (transmit.payload.len() - tcp::HEADER_LEN) as u32;
        let (flags, acknowledged, options): (u8, u32, &[u8]) = match (&hop.serves, half_open) {
            (None, _) => (flag::RST | flag::ACK, syn.sequence.wrapping_add(1 + payload), &[]),
            (Some(_), Some((_, acknowledged))) => (flag::ACK, acknowledged, &[]),
            (Some(_), None) => {
                let acknowledged = syn.sequence.wrapping_add(1);
                // The probe's host refuses the connection as soon as it hears of it.
                self.states[position].half_open = Some((reached_at + ms(2.0 * hop.delay), acknowledged));
                (flag::SYN | flag::ACK, acknowledged, &[2, 4, 5, 180])
            }
        };
        let mut segment = tcp::syn(0, 0x0bad_cafe, options);
        segment[..2].copy_from_slice(&syn.destination_port.to_be_bytes());
        segment[8..12].copy_from_slice(&acknowledged.to_be_bytes());
        segment[12] = ((tcp::HEADER_LEN + options.len()) / 4 * 16) as u8;
        segment[13] = flags;
        segment
    }

    fn deliver(
        &mut self,
        hop: &HopScript,
        error: Option<(u8, u8)>,
        received_at: Nanos,
        transmit: &Transmit,
        segment: Vec<u8>,
    ) {
        let is_icmp = transmit.channel == Channel::Icmp;
        let event = match error {
            Some((kind, code)) => {
                // Eight bytes of the transport's header are always quoted.
                let header = if matches!(transmit.channel, Channel::Udp { .. }) { 0 } else { 8 };
                let quote = header + hop.quote.unwrap_or(usize::MAX - header);
                let mut quoted = transmit.payload[..transmit.payload.len().min(quote)].to_vec();
                let too_big = matches!((kind, code), (3, 4) | (2, 0));
                let size = 8 + ip_length(transmit) - (transmit.payload.len() - quoted.len());
                let raw = ErrorDetails {
                    size: Some(size as u32),
                    quoted_hop_limit: Some(hop.quoted_ttl.unwrap_or(1)),
                    quoted_traffic_class: Some(hop.quoted_tos.unwrap_or(transmit.traffic_class)),
                    ..ErrorDetails::default()
                };
                let known = if self.script.unprivileged { ErrorDetails::default() } else { raw };
                let details = ErrorDetails { quoted_dst: Some(hop.quoted_dst.unwrap_or(transmit.dst)), ..known };
                let mut extensions = hop.extensions.clone();
                if let Some(mut structure) = extensions.take_if(|_| hop.old_extensions) {
                    let sum = checksum(&structure).to_be_bytes();
                    structure[2..4].copy_from_slice(&sum);
                    quoted.resize(128 - (ip_length(transmit) - transmit.payload.len()), 0);
                    quoted.extend(structure);
                }
                Event::Error(IcmpErrorEvent {
                    received_at,
                    from: hop.from,
                    hop_limit: Some(hop.ttl),
                    kind,
                    code,
                    mtu: hop.named_mtu.or(hop.mtu).filter(|mtu| too_big && *mtu > 0),
                    quoted,
                    extensions,
                    details,
                })
            }
            None => {
                let mut bytes = match &hop.serves {
                    _ if matches!(transmit.channel, Channel::Tcp { .. }) => segment,
                    Some(answer) if !is_icmp && answer != "echo" => answer.clone().into_bytes(),
                    _ => transmit.payload.clone(),
                };
                if is_icmp {
                    bytes[0] = if Family::of(self.dst) == Family::V4 { 0 } else { 129 };
                    bytes.truncate(hop.shortens_to.map_or(usize::MAX, |size| size as usize));
                }
                let length = ip_length(transmit) - (transmit.payload.len() - bytes.len().min(transmit.payload.len()));
                if hop.reverse_hole.is_some_and(|mtu| length > mtu as usize) {
                    return;
                }
                let from_port = match transmit.channel {
                    Channel::Udp { port } if hop.serves.is_some() => port,
                    _ => 0,
                };
                let fragment =
                    hop.reverse_mtu.filter(|mtu| length > *mtu as usize).map(|mtu| greatest_piece(self.dst, mtu));
                let meta = Meta { received_at, from: hop.from, from_port, hop_limit: Some(hop.ttl), fragment };
                Event::Datagram(meta, bytes)
            }
        };
        let number = transmit.token.0 + 1;
        let read_after = self.script.read_after.iter().find(|(n, _)| *n == number).map_or(0.0, |(_, after)| *after);
        self.push(received_at + ms(read_after), event);
    }

    fn push(&mut self, at: Nanos, event: Event) {
        self.events += 1;
        self.queue.insert((at, self.events), event);
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.random() % 100 < percent
    }

    fn up_to(&mut self, limit: Duration) -> Duration {
        match limit.as_nanos() as u64 {
            0 => Duration::ZERO,
            nanos => Duration::from_nanos(self.random() % nanos),
        }
    }
}

/// The whole packet's length; ICMP and TCP count their header among the payload, UDP does not.
pub fn ip_length(transmit: &Transmit) -> usize {
    let header = if transmit.dst.is_ipv4() { 20 } else { 40 };
    let udp = if matches!(transmit.channel, Channel::Udp { .. }) { 8 } else { 0 };
    header + udp + transmit.payload.len()
}

/// The greatest piece that a packet too long for this MTU is cut into: of whole units of 8 bytes behind the headers.
fn greatest_piece(dst: IpAddr, mtu: u32) -> u32 {
    let headers = if dst.is_ipv4() { 20 } else { 48 };
    headers + (mtu - headers) / 8 * 8
}

fn ms(milliseconds: f64) -> Duration {
    Duration::from_nanos((milliseconds * 1e6).round() as u64)
}
