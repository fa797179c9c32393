//! Which packet of a traceroute goes next, and when the path is known. It must not know what packets look like.
//!
//! 1. The first packet of every hop goes first, in order, [`PACE`] apart, up to the horizon: [`HORIZON`] hops beyond the
//!    farthest one that is known. Where the length of the path is known from an earlier run, all hops up to that one are
//!    asked, and [`GAP_LIMIT`] more when the last of them says that the path goes on or says nothing for [`PATIENCE`], and
//!    so on, no farther than without that knowledge. So few packets go past the target. No more than [`MAX_OPEN`] hops are
//!    without an answer at a time.
//! 2. The other packets of a hop follow one by one, [`SPACING`] apart, once the hop is seen to be on the path: it or a later
//!    one has answered, or its first packet has waited for [`PATIENCE`]. Each waits for the answer to the one before, too.
//!    Where that does not come the next one follows [`SLOW_SPACING`] behind it, and so do all others of that hop: it may be
//!    one that sends so many errors a second and no more, and faster packets would measure that.
//! 3. The path ends at the first hop whose answers all say so, else at `max_hops`.
//! 4. [`GAP_LIMIT`] silent hops behind the farthest known one end it too; then there is one last try at hop 255.
//! 5. If nothing leaves the host at all, the path ends at the first hop.
//! 6. Hops behind the end are forgotten. As long as the run lasts the end may still move: it is worked out from the hops
//!    at every step, so that an answer which comes late in the run is not too late.
//! 7. Once an answer has come that does not say which packet it is about, the later packets of hops that have not given one
//!    that does are sent when nothing else is under way, so that the next such answer can be told; [`MAX_ALONE`] times at
//!    most.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use sonde_protocol::result::{self, Why};
use sonde_protocol::time::Nanos;

use super::hop::{Answer, Hop, Packet, Taken};

/// The least time between two packets of a run.
pub const PACE: Duration = Duration::from_millis(1);
/// The least time between two packets with the same hop limit: routers limit how many errors they send, and faster
/// packets would measure that.
pub const SPACING: Duration = Duration::from_millis(100);
/// The least time between two packets with the same hop limit when one before has no answer: routers that limit errors most
/// strictly let one a second pass, and paths jitter.
pub const SLOW_SPACING: Duration = Duration::from_millis(1100);
/// How long the first packet of a hop may be unanswered before the others follow all the same.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Silent hops in a row that end a path (RIPE Atlas).
pub const GAP_LIMIT: usize = 5;
/// How many hops are asked beyond the farthest known one, when the length of the path is not known.
pub const HORIZON: usize = 8;
/// Hops that wait for their first answer at a time, at most.
pub const MAX_OPEN: usize = 16;
/// The hop limit of the last try after too many silent hops (RIPE Atlas).
pub const LAST_TRY: u8 = 255;
/// How many packets are sent alone at most, each of which may cost a time-out.
pub const MAX_ALONE: u8 = 16;

/// What a path is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathConfig {
    pub first_hop: u8,
    pub max_hops: u8,
    /// Packets per hop.
    pub packets: usize,
    /// How long a packet waits for its answer.
    pub timeout: Duration,
    /// The number of the last hop in an earlier run.
    pub length: Option<u8>,
}

/// Where a packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At this position among the hops.
    Hop(usize),
    /// At the last try.
    LastTry,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Path {
    config: PathConfig,
    /// From `first_hop` on, without holes.
    hops: Vec<Hop>,
    last_try: Option<Hop>,
    /// Where each packet belongs, and which one of its hop it is; by index.
    packets: Vec<(Place, usize)>,
    /// Indices of the packets that wait for an answer, in the order of their time-outs.
    waiting: VecDeque<u16>,
    next_at: Nanos,
    anything_left_host: bool,
    answers_lack_names: bool,
    alone: Option<u16>,
    alone_left: u8,
}

impl Path {
    pub fn new(config: PathConfig, now: Nanos) -> Self {
        Self {
            config,
            hops: Vec::new(),
            last_try: None,
            packets: Vec::new(),
            waiting: VecDeque::new(),
            next_at: now,
            anything_left_host: false,
            answers_lack_names: false,
            alone: None,
            alone_left: MAX_ALONE,
        }
    }

    /// Hands out the next packet when it is due: its index and hop limit.
    pub fn send(&mut self, now: Nanos) -> Option<(u16, u8)> {
        let (_, place) = self.next().filter(|(at, _)| *at <= now)?;
        // Sixteen packets for 256 hops: the index fits by far.
        let index = u16::try_from(self.packets.len()).ok()?;
        let has_company = !self.waiting.is_empty();
        let hop = match place {
            Place::Hop(position) => {
                if position == self.hops.len() {
                    self.hops.push(Hop::new(self.number_at(position)?, self.config.packets));
                }
                self.hops.get_mut(position)?
            }
            Place::LastTry => self.last_try.get_or_insert_with(|| Hop::new(LAST_TRY, self.config.packets)),
        };
        let could_be_confused = self.answers_lack_names && !hop.names_packets() && hop.first().is_some();
        if could_be_confused && !has_company && self.alone_left > 0 {
            self.alone = Some(index);
            self.alone_left -= 1;
        }
        let nth = hop.push(Packet::new(index, now, now + self.config.timeout));
        let number = hop.number;
        self.packets.push((place, nth));
        self.waiting.push_back(index);
        self.next_at = now + PACE;
        Some((index, number))
    }

    /// When something is to be done next: a packet to be sent or a time-out.
    pub fn next_at(&self) -> Option<Nanos> {
        let send = self.next().map(|(at, _)| at);
        let expiry = self.waiting.front().and_then(|&index| self.packet(index)).map(|packet| packet.expires_at);
        send.into_iter().chain(expiry).min()
    }

    /// Every hop up to the end of the path is settled, and the last try where there is one.
    pub fn is_complete(&self) -> bool {
        let last = self.last_hop();
        let reached = self.hops.last().is_some_and(|hop| hop.number >= last);
        let tried = !self.wants_last_try() || self.last_try.as_ref().is_some_and(Hop::is_settled);
        reached && tried && self.hops.iter().take_while(|hop| hop.number <= last).all(Hop::is_settled)
    }

    /// What a result says of the hops.
    pub fn report(&self) -> Vec<result::Hop> {
        let last = self.last_hop();
        let hops = self.hops.iter().take_while(|hop| hop.number <= last);
        let last_try = self.last_try.iter().filter(|_| self.wants_last_try());
        hops.chain(last_try).map(Hop::report).collect()
    }

    /// The packet left the host at this time, as far as known now.
    pub fn sent(&mut self, index: u16, sent_at: Nanos) {
        if let Some((hop, nth)) = self.find(index)
            && let Some(packet) = hop.packet_mut(nth)
        {
            packet.sent_at = sent_at;
            self.anything_left_host = true;
        }
    }

    /// The packet did not leave the host.
    pub fn not_sent(&mut self, index: u16, why: Why) {
        let Some((hop, nth)) = self.find(index) else { return };
        if hop.fail(nth, why) {
            self.no_longer_waiting(index);
        }
    }

    /// An answer to the packet came.
    pub fn answered(&mut self, index: u16, answer: Answer) -> Taken {
        let sent = self.packets.len();
        let Some((hop, nth)) = self.find(index) else { return Taken::Ignored };
        let sent_since = |index: u16| u32::try_from(sent.saturating_sub(usize::from(index) + 1)).unwrap_or(u32::MAX);
        let taken = hop.answer(nth, answer, sent_since);
        if taken == Taken::InTime {
            self.no_longer_waiting(index);
        }
        taken
    }

    /// Gives up waiting for what has waited long enough at `now`.
    pub fn expire(&mut self, now: Nanos) {
        while let Some(&index) = self.waiting.front()
            && self.packet(index).is_none_or(|packet| packet.expires_at <= now)
        {
            self.waiting.pop_front();
            if let Some((hop, nth)) = self.find(index) {
                hop.time_out(nth);
            }
        }
    }

    /// An answer came that does not name its packet: which one can it be about? Only one that is alone under way.
    pub fn unnamed(&mut self) -> Option<u16> {
        self.answers_lack_names = true;
        if self.waiting.len() == 1 { self.waiting.front().copied() } else { None }
    }

    /// The next packet: when, and where it belongs.
    fn next(&self) -> Option<(Nanos, Place)> {
        if self.alone.is_some_and(|index| self.waiting.contains(&index)) {
            return None;
        }
        let (last, farthest) = (self.last_hop(), self.farthest());
        let first = self.next_hop(last, farthest);
        let others = self.hops.iter().enumerate().take_while(|(_, hop)| hop.number <= last).filter_map(|(i, hop)| {
            let at = self.again_at(hop, farthest)?;
            Some((at.max(self.next_at), Place::Hop(i)))
        });
        let last_try = self.last_try_at().map(|at| (at.max(self.next_at), Place::LastTry));
        // Of equals the first one is taken: first packets before others, near hops before far ones.
        first.into_iter().chain(others).chain(last_try).min_by_key(|(at, _)| *at)
    }

    /// The hop whose first packet is next, and when it may go.
    fn next_hop(&self, last: u8, farthest: u8) -> Option<(Nanos, Place)> {
        let position = self.hops.len();
        let number = self.number_at(position).filter(|number| *number <= last)?;
        let open = self.hops.iter().filter(|hop| !hop.is_answered() && !hop.is_silent()).count();
        let at = self.in_sight_at(number, farthest).filter(|_| open < MAX_OPEN)?;
        Some((at, Place::Hop(position)))
    }

    /// When this hop is within the horizon.
    fn in_sight_at(&self, number: u8, farthest: u8) -> Option<Nanos> {
        let number = usize::from(number);
        let first_hop = usize::from(self.config.first_hop);
        let farthest_sight = usize::from(farthest) + HORIZON;
        let Some(length) = self.config.length.map(|length| usize::from(length).max(first_hop)) else {
            return (number <= farthest_sight).then_some(self.next_at);
        };
        if number > farthest_sight.max(length) {
            return None;
        }
        let mut at = self.next_at;
        let mut horizon = length;
        while horizon < number {
            let hop = self.hops.get(horizon - first_hop)?;
            if !hop.is_answered() && !hop.is_silent() {
                at = at.max(hop.first()?.handed_out_at + PATIENCE);
            }
            horizon += GAP_LIMIT;
        }
        Some(at)
    }

    /// When a hop gets its next packet after the first.
    fn again_at(&self, hop: &Hop, farthest: u8) -> Option<Nanos> {
        let (first, last) = (hop.first()?, hop.last()?);
        if !hop.wants_more() || !self.may_go(hop) {
            return None;
        }
        let spaced = last.handed_out_at + spacing(hop);
        if hop.is_answered() || hop.number < farthest || !first.is_waiting() {
            Some(spaced)
        } else if usize::from(hop.number) <= usize::from(farthest) + GAP_LIMIT {
            Some(spaced.max(first.handed_out_at + PATIENCE))
        } else {
            None
        }
    }

    /// When the last try gets its next packet.
    fn last_try_at(&self) -> Option<Nanos> {
        if !self.wants_last_try() {
            return None;
        }
        let Some(hop) = &self.last_try else { return Some(self.next_at) };
        let last = hop.last()?;
        (hop.wants_more() && self.may_go(hop)).then(|| last.handed_out_at + spacing(hop))
    }

    /// Rule 7: is this hop's next packet one of those that have to go alone, and is the way free?
    fn may_go(&self, hop: &Hop) -> bool {
        !self.answers_lack_names || self.alone_left == 0 || hop.names_packets() || self.waiting.is_empty()
    }

    /// The number of the last hop that belongs to the path, as far as is known now.
    fn last_hop(&self) -> u8 {
        if !self.anything_left_host && self.hops.first().is_some_and(Hop::has_failed) {
            return self.config.first_hop;
        }
        match self.hops.iter().find(|hop| hop.is_last()) {
            Some(hop) => hop.number,
            None => self.gap().unwrap_or(self.config.max_hops),
        }
    }

    fn wants_last_try(&self) -> bool {
        self.anything_left_host && !self.is_known_to_end() && self.gap().is_some()
    }

    /// Somebody has said that the path ends here.
    pub fn is_known_to_end(&self) -> bool {
        self.hops.iter().any(Hop::is_last)
    }

    /// The farthest hop that is known, else the one before the first.
    fn farthest(&self) -> u8 {
        let known = self.hops.iter().rev().find(|hop| hop.is_known());
        known.map_or(self.config.first_hop.saturating_sub(1), |hop| hop.number)
    }

    /// The last of too many silent hops, when the path is given up before `max_hops` because of them.
    fn gap(&self) -> Option<u8> {
        let farthest = self.farthest();
        let behind = self.hops.iter().skip_while(|hop| hop.number <= farthest);
        let mut silent = behind.take(GAP_LIMIT).take_while(|hop| hop.is_silent());
        let last = silent.nth(GAP_LIMIT - 1)?.number;
        (last < self.config.max_hops).then_some(last)
    }

    fn number_at(&self, position: usize) -> Option<u8> {
        u8::try_from(usize::from(self.config.first_hop) + position).ok()
    }

    fn no_longer_waiting(&mut self, index: u16) {
        self.waiting.retain(|waiting| *waiting != index);
    }

    fn packet(&self, index: u16) -> Option<&Packet> {
        let (place, nth) = *self.packets.get(usize::from(index))?;
        match place {
            Place::Hop(position) => self.hops.get(position)?.packet(nth),
            Place::LastTry => self.last_try.as_ref()?.packet(nth),
        }
    }

    fn find(&mut self, index: u16) -> Option<(&mut Hop, usize)> {
        let (place, nth) = *self.packets.get(usize::from(index))?;
        let hop = match place {
            Place::Hop(position) => self.hops.get_mut(position)?,
            Place::LastTry => self.last_try.as_mut()?,
        };
        Some((hop, nth))
    }
}

/// How long after a hop's last packet the next one follows, as things stand.
fn spacing(hop: &Hop) -> Duration {
    if hop.lacks_answer() { SLOW_SPACING } else { SPACING }
}
