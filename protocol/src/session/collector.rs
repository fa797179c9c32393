//! The collector's side of one connection: answers hello, passes on what the probe reports, keeps its orders current.
//!
//! It asks for what it cannot know ([`Command::Admit`]) and is told later; what it hands to the store
//! ([`Command::Store`]) is acknowledged only when [`CollectorSession::handle_durable`] says so.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::board::{BoardState, UpdateAsk};
use crate::bounded::{List, Text};
use crate::directory::SignedDirectory;
use crate::identity::{ClaimCode, KeyNotice, Rotation};
use crate::ids::{BootId, MeasurementId, ProbeId, Revision, Seq};
use crate::message::{
    BootRanges, Bye, Down, Drain, Frame, Gap, Health, Hello, MAX_BOOTS, Refused, RefusedReason, TimeReply, Up, VERSION,
    Welcome,
};
use crate::net::Ip;
use crate::order::{Order, OrdersUpdate};
use crate::time::UnixNanos;

/// How far beyond what is known of its boot a probe may number reports or losses: ten times what a spool holds. Farther on
/// it would claim what it cannot have made.
const MAX_AHEAD: u64 = 1 << 20;

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Find out who this is; answer with [`CollectorSession::handle_admitted`] or [`CollectorSession::refuse`].
    Admit(Hello),
    /// Send this on the control stream.
    Send(Down),
    /// Make this durable.
    Store(Stored),
    /// The probe wants its whole set of orders: answer with [`CollectorSession::handle_orders`].
    Orders,
    /// The probe told how it is.
    Health(Health),
    /// The probe wants another key: answer with [`CollectorSession::notify`].
    Rotate(Rotation),
    /// The board's system asks for a piece of a file: answer with [`Down::UpdateAnswer`].
    UpdateAsk(UpdateAsk),
    /// How the board stands.
    Board(BoardState),
    /// End the connection once what was sent has had time to arrive.
    Close,
}

/// What a probe hands in.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// Reports.
    Frame(Frame),
    /// Reports that will never come.
    Gaps(Vec<Gap>),
    /// The end of a boot.
    Bye(Bye),
}

/// Who the probe is and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// The probe.
    pub probe: ProbeId,
    /// What is durable of the boots that hello lists.
    pub durable: Vec<BootRanges>,
    /// When its boot began.
    pub boot_started_at: UnixNanos,
    /// The address it is seen at.
    pub public_address: IpAddr,
    /// The newest directory, if the probe's is older.
    pub directory: Option<SignedDirectory>,
    /// Its orders and their revision.
    pub revision: Revision,
    /// See `revision`.
    pub orders: Vec<Order>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Admitting {
        received_at: UnixNanos,
        orders: Option<Revision>,
    },
    Open,
    /// Told that it has to wait for somebody to let it in.
    Waiting,
    Closed,
}

/// The collector's side of one connection.
#[derive(Debug)]
pub struct CollectorSession {
    state: State,
    commands: VecDeque<Command>,
    /// The boots that hello lists, each with the first number that nothing is known of.
    boots: BTreeMap<BootId, u64>,
    /// The boot that still makes reports.
    own: Option<BootId>,
    /// The orders the probe has or is about to have.
    sent: BTreeMap<MeasurementId, UnixNanos>,
    revision: Option<Revision>,
}

impl Default for CollectorSession {
    fn default() -> Self {
        Self::new()
    }
}

impl CollectorSession {
    /// A connection of which nothing is known but its key.
    pub const fn new() -> Self {
        Self {
            state: State::New,
            commands: VecDeque::new(),
            boots: BTreeMap::new(),
            own: None,
            sent: BTreeMap::new(),
            revision: None,
        }
    }

    /// Has the probe been welcomed?
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Does the probe wait to be let in?
    pub fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    /// What to do next.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// A control message came at `now`.
    pub fn handle_message(&mut self, message: Up, now: UnixNanos) {
        match (message, self.state) {
            (Up::Hello(hello), State::New) => {
                if !hello.versions.contains(&VERSION) {
                    self.refuse(RefusedReason::Version, "no protocol version in common");
                    return;
                }
                if hello.boots.iter().all(|spooled| spooled.boot != hello.boot) {
                    self.refuse(RefusedReason::Malformed, "hello does not list its own boot");
                    return;
                }
                self.boots = hello.boots.iter().map(|spooled| (spooled.boot, spooled.next.0)).collect();
                self.own = Some(hello.boot);
                self.state = State::Admitting { received_at: now, orders: hello.orders };
                self.commands.push_back(Command::Admit(hello));
            }
            (Up::Gaps(gaps), State::Open) => {
                // Only what the probe can know: closed ranges of boots it listed, of numbers that it can have used.
                let mut sane = |gap: &Gap| {
                    let numbers = gap.last.filter(|_| gap.from <= gap.to).map(|last| (gap.first, last));
                    numbers.is_some_and(|(first, last)| self.can_have_used(gap.boot, first, last))
                };
                if gaps.iter().all(&mut sane) {
                    self.commands.push_back(Command::Store(Stored::Gaps(gaps.into_vec())));
                } else {
                    self.refuse(RefusedReason::Malformed, "a gap that makes no sense");
                }
            }
            (Up::Bye(bye), State::Open) if self.boots.contains_key(&bye.boot) => {
                self.commands.push_back(Command::Store(Stored::Bye(bye)));
            }
            (Up::OrdersApplied(None), State::Open) => {
                self.revision = None;
                self.commands.push_back(Command::Orders);
            }
            (Up::OrdersApplied(Some(_)), State::Open) => {}
            (Up::TimeRequest(request), State::Open) => {
                let reply = TimeReply { request_sent_at: request.sent_at, received_at: now, sent_at: now };
                self.commands.push_back(Command::Send(Down::TimeReply(reply)));
            }
            (Up::Health(health), State::Open) => self.commands.push_back(Command::Health(health)),
            (Up::Rotate(rotation), State::Open) => self.commands.push_back(Command::Rotate(rotation)),
            (Up::UpdateAsk(ask), State::Open) => self.commands.push_back(Command::UpdateAsk(ask)),
            (Up::Board(state), State::Open) => self.commands.push_back(Command::Board(state)),
            // What it says while it waits is answered when it comes back.
            (_, State::Closed | State::Waiting) => {}
            _ => self.refuse(RefusedReason::Malformed, "out of turn"),
        }
    }

    /// A frame came on either result stream.
    pub fn handle_frame(&mut self, frame: Frame) {
        match self.state {
            State::Open => {}
            // Streams overtake each other: the shell reads frames only once the probe is welcomed, so this is no accident.
            State::New | State::Admitting { .. } | State::Waiting => {
                return self.refuse(RefusedReason::Malformed, "reports before welcome");
            }
            State::Closed => return,
        }
        if !frame.last().is_some_and(|last| self.can_have_used(frame.boot, frame.first, last)) {
            return self.refuse(RefusedReason::Malformed, "a frame of an unknown boot, or whose numbers make no sense");
        }
        self.commands.push_back(Command::Store(Stored::Frame(frame)));
    }

    /// Can the probe have used these numbers of this boot? Then they are known. The last number of an earlier boot is in
    /// hello; of its own boot the probe uses more as it goes, but not many that neither stream has shown yet.
    fn can_have_used(&mut self, boot: BootId, first: Seq, last: Seq) -> bool {
        let ahead = if self.own == Some(boot) { MAX_AHEAD } else { 0 };
        let Some(next) = self.boots.get_mut(&boot) else { return false };
        if first.0 == 0 || last < first || last.0 >= next.saturating_add(ahead) {
            return false;
        }
        *next = last.0.saturating_add(1).max(*next);
        true
    }

    /// Who it is, in answer to [`Command::Admit`]. `now` is the time of sending.
    pub fn handle_admitted(&mut self, admitted: Admitted, now: UnixNanos) {
        let State::Admitting { received_at, orders } = self.state else { return };
        self.state = State::Open;
        self.commands.push_back(Command::Send(Down::Welcome(Welcome {
            version: VERSION,
            probe: admitted.probe,
            received_at,
            sent_at: now,
            durable: List::cut(admitted.durable),
            public_address: Ip(admitted.public_address),
            directory: admitted.directory,
            boot_started_at: admitted.boot_started_at,
        })));
        if orders == Some(admitted.revision) {
            // It has exactly these.
            self.revision = orders;
            self.sent = ordered_when(&admitted.orders);
        } else {
            // Also when the probe's revision is higher: the catalog was restored from a backup.
            self.handle_orders(admitted.revision, admitted.orders);
        }
    }

    /// The probe's orders as they are now, of their own accord or in answer to [`Command::Orders`].
    pub fn handle_orders(&mut self, revision: Revision, orders: Vec<Order>) {
        if self.state != State::Open || self.revision == Some(revision) {
            return;
        }
        let wanted = ordered_when(&orders);
        // One that has changed was ordered anew, at another time: the old one goes and the new one comes. The rest need not be
        // sent again.
        let (add, remove) = match self.revision {
            None => (orders, Vec::new()),
            Some(_) => (
                orders
                    .into_iter()
                    .filter(|order| self.sent.get(&order.measurement) != Some(&order.ordered_at))
                    .collect(),
                self.sent.iter().filter(|(id, at)| wanted.get(id) != Some(at)).map(|(id, _)| *id).collect(),
            ),
        };
        let update = OrdersUpdate { base: self.revision, revision, add: List::cut(add), remove: List::cut(remove) };
        self.revision = Some(revision);
        self.sent = wanted;
        self.commands.push_back(Command::Send(Down::Orders(update)));
    }

    /// These numbers are durable now.
    pub fn handle_durable(&mut self, durable: Vec<BootRanges>) {
        if self.state == State::Open && !durable.is_empty() {
            for chunk in durable.chunks(MAX_BOOTS) {
                self.commands.push_back(Command::Send(Down::Ack(List::cut(chunk.iter().cloned()))));
            }
        }
    }

    /// Turns the probe away.
    pub fn refuse(&mut self, reason: RefusedReason, text: &str) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.commands.push_back(refused(reason, text, None));
            self.commands.push_back(Command::Close);
        }
    }

    /// Has the probe wait: it is told the code by which somebody makes it theirs, and the connection stays for as long as the
    /// shell keeps it.
    pub fn keep_waiting(&mut self, code: ClaimCode, text: &str) {
        if matches!(self.state, State::Admitting { .. }) {
            self.state = State::Waiting;
            self.commands.push_back(refused(RefusedReason::Pending, text, Some(code)));
        }
    }

    /// The probe shall not wait on this connection: it ends, and the probe comes back later.
    pub fn dismiss(&mut self) {
        if self.state == State::Waiting {
            self.state = State::Closed;
            self.commands.push_back(Command::Close);
        }
    }

    /// There is something to tell about the probe's key.
    pub fn notify(&mut self, notice: KeyNotice) {
        if matches!(self.state, State::Open | State::Waiting) {
            self.commands.push_back(Command::Send(Down::Key(notice)));
        }
    }

    /// The probe is seen at another address than in its welcome.
    pub fn handle_address(&mut self, public_address: IpAddr) {
        if self.state == State::Open {
            self.commands.push_back(Command::Send(Down::SeenAt(Ip(public_address))));
        }
    }

    /// The network has a newer directory.
    pub fn handle_directory(&mut self, directory: SignedDirectory) {
        if self.state == State::Open {
            self.commands.push_back(Command::Send(Down::Directory(directory)));
        }
    }

    /// The collector is about to stop.
    pub fn drain(&mut self, drain: Drain) {
        if self.state == State::Open {
            self.commands.push_back(Command::Send(Down::Drain(drain)));
        }
    }
}

/// When each was ordered as it stands.
fn ordered_when(orders: &[Order]) -> BTreeMap<MeasurementId, UnixNanos> {
    orders.iter().map(|order| (order.measurement, order.ordered_at)).collect()
}

fn refused(reason: RefusedReason, text: &str, claim_code: Option<ClaimCode>) -> Command {
    Command::Send(Down::Refused(Refused { reason, text: Text::cut(text), claim_code }))
}
