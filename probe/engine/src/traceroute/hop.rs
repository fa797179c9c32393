//! One hop of a path: the packets that were sent with its hop limit, and what became of each. It must not know about
//! other hops or about when to send.

use alloc::vec::Vec;

use sonde_protocol::bounded::List;
use sonde_protocol::result::{self, HopAnswer, HopReply, Why};
use sonde_protocol::time::Nanos;

/// How many entries a hop has room for in a result; what its packets do not need is there for duplicates and late answers.
const MAX_REPLIES: usize = 64;

/// What became of a packet.
#[derive(Debug)]
enum Fate {
    Waiting,
    Answered(Answer),
    TimedOut,
    NotSent(Why),
}

/// An answer, its round-trip time still to be made: the kernel's stamp of departure may come later.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub received_at: Nanos,
    pub says: Says,
    /// It said which packet it answers; otherwise that was worked out.
    pub is_named: bool,
    pub reply: HopAnswer,
}

/// What an answer says about the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// It goes on behind this hop.
    GoesOn,
    /// It ends here: at the target, or because nobody knows further.
    Ends,
    /// Nothing yet: the packet was too big to get as far as its hop limit would have brought it.
    TooBig,
}

/// A packet that was handed out to be sent.
#[derive(Debug)]
pub(super) struct Packet {
    index: u16,
    /// When it was handed out; pacing counts from here.
    pub handed_out_at: Nanos,
    /// When it left, as far as known.
    pub sent_at: Nanos,
    /// An answer received later is late.
    pub expires_at: Nanos,
    fate: Fate,
}

impl Packet {
    pub fn new(index: u16, now: Nanos, expires_at: Nanos) -> Self {
        Self { index, handed_out_at: now, sent_at: now, expires_at, fate: Fate::Waiting }
    }

    pub fn is_waiting(&self) -> bool {
        matches!(self.fate, Fate::Waiting)
    }

    fn has_failed(&self) -> bool {
        matches!(self.fate, Fate::NotSent(_))
    }

    fn rtt(&self, received_at: Nanos) -> u64 {
        u64::try_from(received_at.since(self.sent_at).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// An answer besides the first one in time to a packet.
#[derive(Debug)]
struct Extra {
    /// Which packet of the hop.
    nth: usize,
    late: Option<u32>,
    duplicate: bool,
    answer: Answer,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hop {
    /// The hop limit.
    pub number: u8,
    packets: Vec<Packet>,
    extras: Vec<Extra>,
    /// How many packets it will get.
    wanted: usize,
}

impl Hop {
    pub fn new(number: u8, wanted: usize) -> Self {
        Self { number, packets: Vec::new(), extras: Vec::new(), wanted }
    }

    /// Adds a packet; gives its place in this hop.
    pub fn push(&mut self, packet: Packet) -> usize {
        self.packets.push(packet);
        self.packets.len() - 1
    }

    pub fn packet(&self, nth: usize) -> Option<&Packet> {
        self.packets.get(nth)
    }

    pub fn packet_mut(&mut self, nth: usize) -> Option<&mut Packet> {
        self.packets.get_mut(nth)
    }

    pub fn first(&self) -> Option<&Packet> {
        self.packets.first()
    }

    pub fn last(&self) -> Option<&Packet> {
        self.packets.last()
    }

    /// It still gets packets.
    pub fn wants_more(&self) -> bool {
        self.packets.len() < self.wanted
    }

    /// Every packet was sent and has its answer or has waited long enough.
    pub fn is_settled(&self) -> bool {
        !self.wants_more() && !self.packets.iter().any(Packet::is_waiting)
    }

    fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.packets.iter().filter_map(|packet| match &packet.fate {
            Fate::Answered(answer) => Some(answer),
            _ => None,
        })
    }

    /// Somebody answered in time.
    pub fn is_answered(&self) -> bool {
        self.answers().next().is_some()
    }

    /// A packet was sent to which there is no answer, or none yet.
    pub fn lacks_answer(&self) -> bool {
        self.packets.iter().any(|packet| matches!(packet.fate, Fate::Waiting | Fate::TimedOut))
    }

    /// Somebody answered in time, and said which packet.
    pub fn names_packets(&self) -> bool {
        self.answers().any(|answer| answer.is_named)
    }

    /// The path is known up to here: somebody answered, and if only that the packets were too big, then none will be
    /// smaller.
    pub fn is_known(&self) -> bool {
        self.answers().any(|answer| answer.says != Says::TooBig) || (self.is_answered() && self.is_settled())
    }

    /// The path ends here: every answer that says anything about it says so. Where load is balanced packet by packet, some
    /// packets may reach the target with a hop limit that others run out of; such a hop is not the last one (RIPE Atlas's
    /// rule).
    pub fn is_last(&self) -> bool {
        let mut telling = self.answers().map(|answer| answer.says).filter(|says| *says != Says::TooBig).peekable();
        telling.peek().is_some() && telling.all(|says| says == Says::Ends)
    }

    /// Nobody answered, and the first packet waits no longer.
    pub fn is_silent(&self) -> bool {
        !self.is_answered() && self.first().is_some_and(|packet| !packet.is_waiting())
    }

    /// The first packet could not be sent.
    pub fn has_failed(&self) -> bool {
        self.first().is_some_and(Packet::has_failed)
    }

    pub fn time_out(&mut self, nth: usize) {
        if let Some(packet) = self.packets.get_mut(nth).filter(|packet| packet.is_waiting()) {
            packet.fate = Fate::TimedOut;
        }
    }

    /// False when the packet had its answer already.
    pub fn fail(&mut self, nth: usize, why: Why) -> bool {
        match self.packets.get_mut(nth).filter(|packet| packet.is_waiting()) {
            Some(packet) => {
                packet.fate = Fate::NotSent(why);
                true
            }
            None => false,
        }
    }

    /// Takes an answer to packet `nth`. `sent_since` is how many packets of the run were sent after it. What counts is the
    /// stamp: an answer that came in time and was read too late is no late answer.
    pub fn answer(&mut self, nth: usize, answer: Answer, sent_since: impl FnOnce(u16) -> u32) -> Taken {
        let room = MAX_REPLIES.saturating_sub(self.wanted);
        let Some(packet) = self.packets.get_mut(nth) else { return Taken::Ignored };
        let in_time = answer.received_at <= packet.expires_at;
        let duplicate = match packet.fate {
            Fate::Waiting | Fate::TimedOut if in_time => {
                packet.fate = Fate::Answered(answer);
                return Taken::InTime;
            }
            Fate::Waiting | Fate::TimedOut => self.extras.iter().any(|extra| extra.nth == nth),
            Fate::Answered(_) => true,
            Fate::NotSent(_) => return Taken::Ignored,
        };
        let late = (!in_time).then(|| sent_since(packet.index));
        if self.extras.len() >= room {
            return Taken::Ignored;
        }
        self.extras.push(Extra { nth, late, duplicate, answer });
        Taken::Extra
    }

    /// What a result says of this hop.
    pub fn report(&self) -> result::Hop {
        let firsts = self.packets.iter().map(|packet| match &packet.fate {
            Fate::Answered(answer) => reply(packet, answer, None, false),
            Fate::Waiting | Fate::TimedOut => HopReply::Timeout,
            Fate::NotSent(why) => HopReply::SendError(why.clone()),
        });
        let extras = self.extras.iter().filter_map(|extra| {
            let packet = self.packets.get(extra.nth)?;
            Some(reply(packet, &extra.answer, extra.late, extra.duplicate))
        });
        result::Hop { hop: self.number, replies: List::cut(firsts.chain(extras)) }
    }
}

fn reply(packet: &Packet, answer: &Answer, late: Option<u32>, duplicate: bool) -> HopReply {
    let rtt = Some(packet.rtt(answer.received_at));
    HopReply::Reply(HopAnswer { rtt, late, duplicate, ..answer.reply.clone() })
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is the answer to its packet.
    InTime,
    /// It is a duplicate or late.
    Extra,
    /// There is no room for it, or the packet never left.
    Ignored,
}
