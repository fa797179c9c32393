//! The probe's side: says hello, takes orders, sends what the spool holds, comes back after a loss.
//!
//! One machine for the whole life of the process, over any number of connections. Order of calls: `handle_*`, then
//! [`ProbeSession::poll_action`] until `None`, then [`ProbeSession::poll_frame`] for each lane that can take one.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::board::{BoardState, UpdateAnswer, UpdateAsk, UpdateChoice};
use crate::bounded::{Bytes, List, Text};
use crate::condition::Condition;
use crate::directory::SignedDirectory;
use crate::identity::{ClaimCode, KeyNotice, Rotation};
use crate::ids::{BootId, ProbeId, Seq};
use crate::message::{
    Bye, Down, Frame, Health, Hello, HostState, Refused, RefusedReason, TimeReply, TimeRequest, Up, VERSION, Welcome,
};
use crate::net::{Family, Ip};
use crate::order::{Changes, OrderBook};
use crate::seed::Rng;
use crate::spec::Kind;
use crate::spool::{Lane, NewReport, Spool, SpoolLimits};
use crate::time::{Nanos, UnixNanos};

/// The first wait after a lost connection; the real one is anywhere between zero and it.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait.
const LAST_BACKOFF: Duration = Duration::from_secs(60);
/// The wait after a refusal: nothing changes quickly then.
const REFUSED_BACKOFF: Duration = Duration::from_secs(30);
/// How long the collector may take to answer hello.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the probe stays on a connection on which it waits to be let in. Then it asks again, in case a word was lost.
const WAIT: Duration = Duration::from_secs(600);
/// How often the probe asks for the time and tells how it is.
const HEALTH_INTERVAL: Duration = Duration::from_secs(300);

/// What hello says besides what the machine knows itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloFacts {
    /// Since this process started.
    pub uptime: Duration,
    /// The wall clock.
    pub now: UnixNanos,
    /// The wall clock is believed.
    pub clock_synchronised: bool,
    /// Own addresses.
    pub addresses: Vec<IpAddr>,
    /// Families with an address and a route to the internet.
    pub families: Vec<Family>,
    /// The join token, if the probe has one.
    pub token: Option<Vec<u8>>,
    /// Serial of the newest directory.
    pub directory: u64,
    /// What is wrong, and what was while the probe was away.
    pub conditions: Vec<Condition>,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send this on the control stream.
    Send(Up),
    /// The collector has welcomed the probe.
    Welcomed {
        /// Who we are.
        probe: ProbeId,
        /// Runs before this are not ours.
        boot_started_at: UnixNanos,
        /// The address we are seen from.
        public_address: IpAddr,
    },
    /// An NTP-like sample of the collector's clock: at `local` on our monotonic clock it was `remote`, give or take
    /// `error`.
    Clock {
        /// Our monotonic clock, in the middle of the exchange.
        local: Nanos,
        /// The collector's clock at that moment.
        remote: UnixNanos,
        /// Half of the time on the way.
        error: Duration,
    },
    /// The collector sees us at another address now.
    SeenAt(IpAddr),
    /// A newer directory: check it and keep it.
    Directory(SignedDirectory),
    /// Orders came or went.
    Orders(Changes),
    /// The collector will not have us.
    Refused {
        /// For the program.
        reason: RefusedReason,
        /// For people.
        text: Text<200>,
        /// The code by which somebody makes us theirs, if we wait for that.
        claim_code: Option<ClaimCode>,
    },
    /// The collector tells something about our key.
    Key(KeyNotice),
    /// For the board's system: what the collector answered.
    UpdateAnswer(UpdateAnswer),
    /// For the board's system: what the owner wants of updates.
    UpdateChoice(UpdateChoice),
    /// The collector holds this boot to be over, because another one with our key has come since: whatever it still reports
    /// is lost. A new boot has to begin.
    BootIsOver,
    /// End the connection and call [`ProbeSession::handle_disconnected`].
    Disconnect,
    /// Everything is durable and goodbye is said: the process may end.
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No connection; the next try is due at this time.
    Away { retry_at: Nanos },
    /// A connection is being made.
    Connecting,
    /// Hello is on its way.
    Greeting { sent_at: Nanos },
    /// Told to wait until somebody lets us in.
    Waiting { until: Nanos },
    /// Welcomed.
    Open,
}

/// The probe's side of all its connections.
#[derive(Debug)]
pub struct ProbeSession {
    spool: Spool,
    book: OrderBook,
    state: State,
    actions: VecDeque<Action>,
    rng: Rng,
    /// Failed tries in a row.
    failures: u32,
    /// When the collector asked to come back, if it did.
    come_back: Option<Nanos>,
    software: Text<64>,
    kinds: Vec<u8>,
    health_due: Option<Nanos>,
    /// Stop asked for: say goodbye once all is durable.
    closing: Option<UnixNanos>,
    said_bye: bool,
    welcomed_once: bool,
}

impl ProbeSession {
    /// A machine that wants to connect at once. `seed` spreads the reconnections of many probes.
    pub fn new(boot: BootId, limits: SpoolLimits, software: Text<64>, kinds: &[Kind], seed: u64, now: Nanos) -> Self {
        Self {
            spool: Spool::new(boot, limits),
            book: OrderBook::default(),
            state: State::Away { retry_at: now },
            actions: VecDeque::new(),
            rng: Rng::new(seed),
            failures: 0,
            come_back: None,
            software,
            kinds: kinds.iter().map(|kind| kind.number()).collect(),
            health_due: None,
            closing: None,
            said_bye: false,
            welcomed_once: false,
        }
    }

    /// The kinds that hello names from now on.
    pub fn set_kinds(&mut self, kinds: &[Kind]) {
        self.kinds = kinds.iter().map(|kind| kind.number()).collect();
    }

    /// The orders.
    pub const fn orders(&self) -> &OrderBook {
        &self.book
    }

    /// The spool.
    pub const fn spool(&self) -> &Spool {
        &self.spool
    }

    /// The spool, for whoever brings its blocks to the disk and back.
    pub const fn spool_mut(&mut self) -> &mut Spool {
        &mut self.spool
    }

    /// Is a collector listening to us?
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Should the shell connect now? It then calls [`ProbeSession::handle_connecting`].
    pub fn wants_connection(&self, now: Nanos) -> bool {
        matches!(self.state, State::Away { retry_at } if retry_at <= now)
    }

    /// A connection is being made.
    pub fn handle_connecting(&mut self) {
        self.state = State::Connecting;
    }

    /// The connection stands: hello goes out.
    pub fn handle_connected(&mut self, facts: HelloFacts, now: Nanos) {
        self.forget_connection();
        self.state = State::Greeting { sent_at: now };
        self.actions.push_back(Action::Send(Up::Hello(Hello {
            versions: List::cut([VERSION]),
            software: self.software.clone(),
            boot: self.spool.boot(),
            uptime: u64::try_from(facts.uptime.as_nanos()).unwrap_or(u64::MAX),
            now: facts.now,
            clock_synchronised: facts.clock_synchronised,
            orders: self.book.revision(),
            boots: List::cut(self.spool.summaries()),
            spool_depth: self.spool.depth(),
            addresses: List::cut(facts.addresses.into_iter().map(Ip)),
            token: facts.token.filter(|_| !self.welcomed_once).and_then(Bytes::new),
            directory: facts.directory,
            kinds: List::cut(self.kinds.iter().copied()),
            families: List::cut(facts.families),
            conditions: Some(List::cut(facts.conditions)),
        })));
    }

    /// The connection is gone, or could not be made.
    pub fn handle_disconnected(&mut self, now: Nanos) {
        self.spool.on_disconnect();
        self.forget_connection();
        self.health_due = None;
        self.said_bye = false;
        let retry_at = match self.come_back.take() {
            Some(at) => at.max(now),
            None => {
                let ceiling = FIRST_BACKOFF.saturating_mul(1 << self.failures.min(10)).min(LAST_BACKOFF);
                self.failures = self.failures.saturating_add(1);
                // Full jitter: thousands of probes lose the same collector in the same instant.
                now + Duration::from_millis(self.rng.below(u64::try_from(ceiling.as_millis()).unwrap_or(0)))
            }
        };
        self.state = State::Away { retry_at };
    }

    /// What was to be said on a connection goes with it. What was learned stays: the next hello tells that we know it.
    fn forget_connection(&mut self) {
        self.actions.retain(|action| matches!(action, Action::Orders(_) | Action::Directory(_)));
    }

    /// The network has changed (a new address, a new directory): waiting any longer makes no sense.
    pub fn retry_now(&mut self, now: Nanos) {
        if let State::Away { .. } = self.state {
            self.failures = 0;
            self.state = State::Away { retry_at: now };
        }
    }

    /// A control message came.
    pub fn handle_message(&mut self, message: Down, now: Nanos) {
        match (message, self.state) {
            (Down::Welcome(welcome), State::Greeting { sent_at }) => self.welcomed(welcome, sent_at, now),
            (Down::Refused(refused), state) => {
                let wait =
                    Duration::from_millis(self.rng.below(u64::try_from(REFUSED_BACKOFF.as_millis()).unwrap_or(0)));
                self.come_back = Some(now + REFUSED_BACKOFF + wait);
                let Refused { reason, text, claim_code } = refused;
                self.actions.push_back(Action::Refused { reason, text, claim_code });
                match (reason, state) {
                    // The collector ends the connection if it does not want it to wait.
                    (RefusedReason::Pending, State::Greeting { .. }) => {
                        self.state = State::Waiting { until: now + WAIT }
                    }
                    _ => self.actions.push_back(Action::Disconnect),
                }
            }
            (Down::Key(KeyNotice::Admitted), State::Waiting { .. }) => {
                self.come_back = Some(now);
                self.actions.push_back(Action::Disconnect);
            }
            (Down::Key(notice), State::Open) => self.actions.push_back(Action::Key(notice)),
            (Down::Orders(update), State::Open) => match self.book.apply(update) {
                Ok(changes) => {
                    self.actions.push_back(Action::Send(Up::OrdersApplied(self.book.revision())));
                    self.actions.push_back(Action::Orders(changes));
                }
                // Asks for the whole set.
                Err(_) => self.actions.push_back(Action::Send(Up::OrdersApplied(None))),
            },
            (Down::Ack(durable), State::Open) => {
                self.spool.acknowledge(&durable);
                self.goodbye();
            }
            (Down::Drain(drain), State::Open) => {
                let wait = u64::from(drain.after_ms) + self.rng.below(u64::from(drain.spread_ms));
                self.come_back = Some(now + Duration::from_millis(wait));
                self.actions.push_back(Action::Disconnect);
            }
            (Down::TimeReply(reply), State::Open) => self.clock_sample(reply, now),
            (Down::SeenAt(address), State::Open) => self.actions.push_back(Action::SeenAt(address.0)),
            (Down::UpdateAnswer(answer), State::Open) => self.actions.push_back(Action::UpdateAnswer(answer)),
            (Down::UpdateChoice(choice), State::Open) => self.actions.push_back(Action::UpdateChoice(choice)),
            (Down::Directory(directory), State::Open) => self.actions.push_back(Action::Directory(directory)),
            // Out of turn: the other side is confused or newer. Nothing of it is acted on.
            _ => {}
        }
    }

    fn welcomed(&mut self, welcome: Welcome, sent_at: Nanos, now: Nanos) {
        if welcome.version != VERSION {
            self.actions.push_back(Action::Disconnect);
            return;
        }
        self.state = State::Open;
        self.failures = 0;
        self.welcomed_once = true;
        self.health_due = Some(now + HEALTH_INTERVAL);
        self.clock_sample(
            TimeReply { request_sent_at: sent_at.0, received_at: welcome.received_at, sent_at: welcome.sent_at },
            now,
        );
        self.actions.push_back(Action::Welcomed {
            probe: welcome.probe,
            boot_started_at: welcome.boot_started_at,
            public_address: welcome.public_address.0,
        });
        if let Some(directory) = welcome.directory {
            self.actions.push_back(Action::Directory(directory));
        }
        // Nothing has such a number; only the end of a boot has. Whoever is about to say goodbye may have said it already.
        let own = welcome.durable.iter().find(|durable| durable.boot == self.spool.boot());
        if self.closing.is_none() && own.is_some_and(|own| own.ranges.contains(Seq(u64::MAX))) {
            self.actions.push_back(Action::BootIsOver);
        }
        self.spool.set_started(welcome.boot_started_at);
        self.spool.on_welcome(&welcome.durable);
        self.goodbye();
    }

    fn clock_sample(&mut self, reply: TimeReply, now: Nanos) {
        let sent = Nanos(reply.request_sent_at);
        if sent > now {
            return;
        }
        // RFC 5905: half of what the exchange took, less what the server held it.
        let round_trip = now.nanos_since(sent).saturating_sub(reply.sent_at.nanos_since(reply.received_at)).max(0);
        let middle = Nanos(sent.0 + now.nanos_since(sent) / 2);
        let remote = UnixNanos(reply.received_at.0 + reply.sent_at.nanos_since(reply.received_at) / 2);
        let error = Duration::from_nanos(u64::try_from(round_trip / 2).unwrap_or(0));
        self.actions.push_back(Action::Clock { local: middle, remote, error });
    }

    /// A run has ended, or did not take place: numbers its report and holds it until it is durable.
    pub fn push_report(&mut self, report: NewReport, now: Nanos) -> Seq {
        self.spool.push(report, now)
    }

    /// No more reports will be pushed; nothing was started since `at`. Once all is durable the machine says goodbye and
    /// gives [`Action::Finished`].
    pub fn close(&mut self, at: UnixNanos) {
        self.closing = Some(at);
        self.spool.close(at);
        self.goodbye();
    }

    fn goodbye(&mut self) {
        let Some(at) = self.closing.filter(|_| self.state == State::Open && !self.said_bye && self.spool.is_settled())
        else {
            return;
        };
        self.said_bye = true;
        self.actions.push_back(Action::Send(Up::Bye(Bye {
            boot: self.spool.boot(),
            last: self.spool.last(),
            at,
            crashed: false,
        })));
        self.actions.push_back(Action::Finished);
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        let gaps = self.spool.poll_gaps();
        if !gaps.is_empty() {
            return Some(Action::Send(Up::Gaps(List::cut(gaps))));
        }
        self.actions.extend(self.spool.poll_byes().into_iter().map(|bye| Action::Send(Up::Bye(bye))));
        self.actions.pop_front()
    }

    /// The next frame for a lane that can take one.
    pub fn poll_frame(&mut self, lane: Lane, now: Nanos) -> Option<Frame> {
        if self.state != State::Open {
            return None;
        }
        self.spool.poll_frame(lane, now, self.closing.is_some())
    }

    /// When [`ProbeSession::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        match self.state {
            State::Away { retry_at } => Some(retry_at),
            State::Connecting => None,
            State::Greeting { sent_at } => Some(sent_at + WELCOME_TIMEOUT),
            State::Waiting { until } => Some(until),
            State::Open => self.spool.poll_timeout().into_iter().chain(self.health_due).min(),
        }
    }

    /// The time is `now`. Frames that became due by it come from [`ProbeSession::poll_frame`].
    pub fn handle_timeout(&mut self, now: Nanos, running: u32) {
        match self.state {
            State::Greeting { sent_at } if now >= sent_at + WELCOME_TIMEOUT => {
                self.actions.push_back(Action::Disconnect)
            }
            State::Waiting { until } if now >= until => self.actions.push_back(Action::Disconnect),
            State::Open if self.health_due.is_some_and(|due| due <= now) => {
                self.health_due = Some(now + HEALTH_INTERVAL);
                let health = Health { spool_depth: self.spool.depth(), running, ..Health::default() };
                self.actions.push_back(Action::Send(Up::Health(health)));
                self.actions.push_back(Action::Send(Up::TimeRequest(TimeRequest { sent_at: now.0 })));
            }
            _ => {}
        }
    }

    /// The probe wants to be known by another key. Said only to a collector that has welcomed it.
    pub fn rotate(&mut self, rotation: Rotation) {
        if self.state == State::Open {
            self.actions.push_back(Action::Send(Up::Rotate(rotation)));
        }
    }

    /// The board's system asks for a piece of a file. Said only to a collector that has welcomed the probe.
    pub fn ask_for_update(&mut self, ask: UpdateAsk) {
        if self.state == State::Open {
            self.actions.push_back(Action::Send(Up::UpdateAsk(ask)));
        }
    }

    /// How the board stands. Said only to a collector that has welcomed the probe.
    pub fn board_changed(&mut self, state: BoardState) {
        if self.state == State::Open {
            self.actions.push_back(Action::Send(Up::Board(state)));
        }
    }

    /// The machine's own addresses have changed.
    pub fn addresses_changed(&mut self, addresses: &[IpAddr], families: &[Family], running: u32) {
        if self.state == State::Open {
            let addresses = Some(List::cut(addresses.iter().copied().map(Ip)));
            let families = List::cut(families.iter().copied());
            let health = Health { spool_depth: self.spool.depth(), running, addresses, families, ..Health::default() };
            self.actions.push_back(Action::Send(Up::Health(health)));
        }
    }

    /// What is wrong has changed, or what the host allows. `conditions` is all that is wrong, and what is over.
    pub fn conditions_changed(&mut self, conditions: Vec<Condition>, host: Option<HostState>, running: u32) {
        if self.state == State::Open {
            let conditions = Some(List::cut(conditions));
            let health = Health { spool_depth: self.spool.depth(), running, conditions, host, ..Health::default() };
            self.actions.push_back(Action::Send(Up::Health(health)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MeasurementId, Revision};
    use crate::order::{Order, OrdersUpdate, When};

    #[test]
    fn orders_that_were_taken_are_not_forgotten_with_the_connection() {
        let now = Nanos(0);
        let mut session = ProbeSession::new(BootId(1), SpoolLimits::default(), Text::cut("t"), &[Kind::Ping], 1, now);
        session.handle_connecting();
        let facts = HelloFacts {
            uptime: Duration::ZERO,
            now: UnixNanos(0),
            clock_synchronised: true,
            addresses: Vec::new(),
            families: Vec::new(),
            token: None,
            directory: 0,
            conditions: Vec::new(),
        };
        session.handle_connected(facts, now);
        let welcome = Welcome {
            version: VERSION,
            probe: ProbeId(1),
            received_at: UnixNanos(0),
            sent_at: UnixNanos(0),
            durable: List::default(),
            public_address: Ip([192, 0, 2, 1].into()),
            directory: None,
            boot_started_at: UnixNanos(0),
        };
        session.handle_message(Down::Welcome(welcome), now);
        while session.poll_action().is_some() {}
        let order = Order {
            measurement: MeasurementId(7),
            kind: Kind::Ping.number(),
            spec: Bytes::default(),
            af: Family::V4,
            target: None,
            addresses: List::default(),
            resolve_on_probe: false,
            when: When::Once { start: None, expires: UnixNanos(9) },
            ordered_at: UnixNanos(0),
        };
        let update =
            OrdersUpdate { base: None, revision: Revision(2), add: List::cut([order]), remove: List::default() };
        session.handle_message(Down::Orders(update), now);
        assert!(matches!(session.poll_action(), Some(Action::Send(Up::OrdersApplied(Some(Revision(2)))))));
        // The answer cannot be sent. The next hello will say revision 2, so nobody sends the order again.
        session.handle_disconnected(now);
        match session.poll_action() {
            Some(Action::Orders(changes)) => assert_eq!(changes.added.len(), 1),
            other => panic!("{other:?}"),
        }
        assert_eq!(session.poll_action(), None);
    }
}
