//! The collector's shell: what `sonde_collector`'s connections, registry and writer do around the machines, in virtual
//! time. The writer is one after the other, as the product's thread is: while a commit takes its time, hand-ins queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sonde_collector::admission::arrive;
use sonde_collector::intake::{ConnectionId, Intake, Receipts};
use sonde_protocol::ids::{ProbeId, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{
    BootRanges, Drain, Frame, Hello, MAX_CONTROL_UP, MAX_FRAME, RefusedReason, Up, from_cbor, to_cbor,
};
use sonde_protocol::net::Uplink;
use sonde_protocol::order::When;
use sonde_protocol::session::CollectorSession;
use sonde_protocol::session::collector::{Admitted, Command, Stored};
use sonde_protocol::time::UnixNanos;
use sonde_protocol::wire::Reader;
use sonde_store::Results;
use sonde_store::catalog::{Admission, NewSession, Orders, Probes};
use sonde_store::conformance::block_on;
use sonde_store::results::{Batch, ResultQuery};

use super::link::Stream;
use super::plan::{MS, S};
use super::world::{Cx, Event};

/// What a connection is told by others.
#[derive(Debug, Clone)]
pub enum ToConnection {
    /// This is durable.
    Durable(Vec<BootRanges>),
    /// The orders have changed.
    Orders,
    /// The collector is about to stop.
    Drain(Drain),
    /// The connection must end.
    Close,
}

/// What a connection has to deal with, in order.
#[derive(Debug)]
enum Input {
    Bytes(Stream, Vec<u8>),
    Told(ToConnection),
    Gone,
}

#[derive(Debug)]
struct Served {
    key: PublicKey,
    session: CollectorSession,
    probe: Option<(ProbeId, SessionId)>,
    control: Reader,
    lanes: [Reader; 2],
    /// Bytes of lanes that nobody reads before the welcome.
    unread: Vec<(usize, Vec<u8>)>,
    /// It waits for the writer's answer to its arrival; everything else has to wait.
    admitting: bool,
    waiting: VecDeque<Input>,
    told_last: i64,
}

#[derive(Debug)]
struct Arrived {
    boot_started_at: UnixNanos,
    durable: Vec<BootRanges>,
}

#[derive(Debug)]
enum ToIngest {
    Arrive(u64, ProbeId, Box<Hello>, UnixNanos),
    Open(u64),
    Take(u64, (ProbeId, SessionId), Stored, UnixNanos),
    Closed(u64, Option<ProbeId>, bool),
}

/// A commit under way.
#[derive(Debug)]
struct Commit {
    batch: Batch,
    receipts: Receipts,
    arrivals: Vec<(u64, Arrived)>,
    fate: Fate,
    /// It was carried out at the beginning of its time already.
    done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    /// Nothing of it is there.
    Failed,
    /// All of it is there, and yet it was reported as failed.
    Misreported,
}

/// One life of the collector's process.
#[derive(Debug)]
pub struct Collector {
    /// Which life.
    pub life: u64,
    /// It is about to stop.
    pub draining: bool,
    served: BTreeMap<u64, Served>,
    registry: BTreeMap<ProbeId, Vec<u64>>,
    /// The writer's side.
    pub intake: Intake,
    queue: VecDeque<ToIngest>,
    open: BTreeSet<u64>,
    commit: Option<Commit>,
    awake: bool,
}

impl Collector {
    /// A collector without connections.
    pub fn new(life: u64) -> Self {
        Self {
            life,
            draining: false,
            served: BTreeMap::new(),
            registry: BTreeMap::new(),
            intake: Intake::default(),
            queue: VecDeque::new(),
            open: BTreeSet::new(),
            commit: None,
            awake: false,
        }
    }

    /// A connection stands.
    pub fn accept(&mut self, link: u64, key: PublicKey) {
        let served = Served {
            key,
            session: CollectorSession::new(),
            probe: None,
            control: Reader::new(MAX_CONTROL_UP),
            lanes: [Reader::new(MAX_FRAME), Reader::new(MAX_FRAME)],
            unread: Vec::new(),
            admitting: false,
            waiting: VecDeque::new(),
            told_last: 0,
        };
        self.served.insert(link, served);
    }

    /// Bytes come.
    pub fn receive(&mut self, cx: &mut Cx, link: u64, stream: Stream, bytes: &[u8]) {
        self.input(cx, link, Input::Bytes(stream, bytes.to_vec()));
    }

    /// The transport says that a link is gone.
    pub fn notices(&mut self, cx: &mut Cx, link: u64) {
        self.input(cx, link, Input::Gone);
    }

    /// Something came through a connection's inbox.
    pub fn told(&mut self, cx: &mut Cx, link: u64, message: ToConnection) {
        self.input(cx, link, Input::Told(message));
    }

    fn input(&mut self, cx: &mut Cx, link: u64, input: Input) {
        let Some(served) = self.served.get_mut(&link) else { return };
        if served.admitting {
            served.waiting.push_back(input);
            return;
        }
        let fine = match input {
            Input::Bytes(Stream::Up, bytes) => served.control(&bytes, cx.collector_wall()),
            Input::Bytes(stream, bytes) => {
                served.unread.push((usize::from(stream == Stream::Backlog), bytes));
                true
            }
            Input::Told(ToConnection::Durable(durable)) => {
                served.session.handle_durable(durable);
                true
            }
            Input::Told(ToConnection::Orders) => {
                self.push_orders(cx, link);
                true
            }
            Input::Told(ToConnection::Drain(drain)) => {
                served.session.drain(drain);
                true
            }
            Input::Told(ToConnection::Close) | Input::Gone => false,
        };
        if !(fine && self.commands(cx, link)) {
            self.leave(cx, link);
        }
    }

    /// Does what the session machine wants. False when the connection ends.
    fn commands(&mut self, cx: &mut Cx, link: u64) -> bool {
        loop {
            let Some(served) = self.served.get_mut(&link) else { return true };
            let Some(command) = served.session.poll_command() else {
                if !served.session.is_open() || served.unread.is_empty() {
                    return true;
                }
                let (lane, bytes) = served.unread.remove(0);
                if !served.frames(lane, &bytes) {
                    return false;
                }
                continue;
            };
            match command {
                Command::Admit(hello) => {
                    if !self.admit(cx, link, hello) {
                        continue;
                    }
                    return true;
                }
                Command::Send(message) => cx.send(link, Stream::Down, &to_cbor(&message)),
                Command::Store(stored) => {
                    let Some(who) = served.probe else { return false };
                    self.ingest(cx, ToIngest::Take(link, who, stored, cx.collector_wall()));
                }
                Command::Orders => self.push_orders(cx, link),
                Command::Health(_) | Command::Rotate(_) | Command::UpdateAsk(_) | Command::Board(_) => {}
                Command::Close => return false,
            }
        }
    }

    /// The first half of an admission; the second follows the writer's answer. False when there is nothing to wait for.
    fn admit(&mut self, cx: &mut Cx, link: u64, hello: Hello) -> bool {
        let now = cx.collector_wall();
        let Some(served) = self.served.get_mut(&link) else { return false };
        let admission = block_on(cx.catalog.admit(&served.key, None, now)).expect("the catalog works");
        let (Admission::Known(probe) | Admission::Joined(probe)) = admission else {
            served.session.refuse(RefusedReason::UnknownKey, "unknown");
            return false;
        };
        let session = NewSession {
            probe: probe.id,
            public_address: "2001:db8::7".parse().expect("an address"),
            addresses: vec![],
            kinds: hello.allowed_kinds(),
            families: hello.families.iter().copied().collect(),
            software: hello.software.to_string(),
            uplink: Uplink::Quic,
            at: now,
        };
        let session = block_on(cx.catalog.open_session(&session)).expect("the catalog works");
        served.probe = Some((probe.id, session));
        served.admitting = true;
        self.registry.entry(probe.id).or_default().push(link);
        self.ingest(cx, ToIngest::Open(link));
        self.ingest(cx, ToIngest::Arrive(link, probe.id, Box::new(hello), now));
        true
    }

    fn arrived(&mut self, cx: &mut Cx, link: u64, arrived: Option<Arrived>) {
        let now = cx.collector_wall();
        let Some(served) = self.served.get_mut(&link) else { return };
        let (Some((probe, _)), true) = (served.probe, std::mem::take(&mut served.admitting)) else { return };
        match arrived {
            None => served.session.refuse(RefusedReason::Busy, "the store is not available"),
            Some(arrived) => {
                settle_delivered(cx, probe);
                let (revision, orders) = block_on(cx.catalog.orders(probe, now)).expect("the catalog works");
                let admitted = Admitted {
                    probe,
                    durable: arrived.durable,
                    boot_started_at: arrived.boot_started_at,
                    public_address: "2001:db8::7".parse().expect("an address"),
                    directory: None,
                    revision,
                    orders,
                };
                served.session.handle_admitted(admitted, now);
            }
        }
        let waiting = std::mem::take(&mut served.waiting);
        if !self.commands(cx, link) {
            return self.leave(cx, link);
        }
        for input in waiting {
            self.input(cx, link, input);
        }
    }

    fn push_orders(&mut self, cx: &Cx, link: u64) {
        let Some(served) = self.served.get_mut(&link) else { return };
        let Some((probe, _)) = served.probe else { return };
        let (revision, orders) = block_on(cx.catalog.orders(probe, cx.collector_wall())).expect("the catalog works");
        served.session.handle_orders(revision, orders);
    }

    /// Orders of these probes have changed.
    pub fn orders_changed(&mut self, cx: &mut Cx, probes: &[ProbeId]) {
        for probe in probes {
            if let Some(&link) = self.registry.get(probe).and_then(|links| links.last()) {
                self.tell(cx, link, ToConnection::Orders);
            }
        }
    }

    fn tell(&mut self, cx: &mut Cx, link: u64, message: ToConnection) {
        let takes = cx.between(0, 20 * MS);
        let Some(served) = self.served.get_mut(&link) else { return };
        served.told_last = served.told_last.max(cx.now + takes);
        cx.schedule_at(served.told_last, Event::Inbox(self.life, link, message));
    }

    fn leave(&mut self, cx: &mut Cx, link: u64) {
        let Some(served) = self.served.remove(&link) else { return };
        cx.note(|| format!("collector ends link {link}"));
        cx.collector_leaves(link, true);
        let mut last = false;
        if let Some((probe, session)) = served.probe {
            if let Some(links) = self.registry.get_mut(&probe) {
                links.retain(|known| *known != link);
                last = links.is_empty();
            }
            if last {
                self.registry.remove(&probe);
            }
            block_on(cx.catalog.close_session(session, cx.collector_wall())).expect("the catalog works");
        }
        self.ingest(cx, ToIngest::Closed(link, served.probe.map(|(probe, _)| probe), last));
    }

    fn ingest(&mut self, cx: &mut Cx, message: ToIngest) {
        self.queue.push_back(message);
        if self.commit.is_none() && !self.awake {
            self.awake = true;
            let takes = cx.between(0, MS);
            cx.schedule(takes, Event::Writer(self.life));
        }
    }

    /// The writer takes what waits, and commits it.
    pub fn write(&mut self, cx: &mut Cx) {
        self.awake = false;
        if self.commit.is_some() {
            return;
        }
        let mut arrivals = Vec::new();
        for _ in 0..cx.plan.batch {
            let Some(message) = self.queue.pop_front() else { break };
            self.handle(cx, message, &mut arrivals);
        }
        if !self.intake.wants_commit() {
            for (link, arrived) in arrivals {
                self.arrived(cx, link, Some(arrived));
            }
            return self.next(cx);
        }
        let (batch, receipts) = self.intake.begin_commit();
        let fate = match cx.mishap(cx.plan.bad_commit) && !batch.is_empty() {
            true if cx.rng.one_in(2) => Fate::Misreported,
            true => Fate::Failed,
            false => Fate::Good,
        };
        let mut commit = Commit { batch, receipts, arrivals, fate, done: false };
        let takes = if commit.batch.is_empty() || cx.healing { 0 } else { cx.between(MS, cx.plan.commit) };
        if cx.rng.one_in(2) {
            commit.carry_out(cx);
        }
        self.commit = Some(commit);
        cx.schedule(takes, Event::Committed(self.life));
    }

    fn handle(&mut self, cx: &mut Cx, message: ToIngest, arrivals: &mut Vec<(u64, Arrived)>) {
        match message {
            ToIngest::Arrive(link, probe, hello, now) => {
                if cx.mishap(cx.plan.bad_read) {
                    cx.truth.count("failed reads");
                    return self.arrived(cx, link, None);
                }
                let mut known = block_on(cx.results.boots(probe)).expect("the store can be read");
                let boots: Vec<_> = known
                    .iter()
                    .map(|record| record.boot)
                    .chain(hello.boots.iter().map(|listed| listed.boot))
                    .collect();
                let mut durable = block_on(cx.results.ranges(probe, &boots)).expect("the store can be read");
                self.intake.refresh(probe, &mut known, &mut durable);
                let arrival = arrive(probe, &hello, &known, &durable, now);
                cx.note(|| format!("arrival on link {link}: {:?} {:?}", arrival.batch.gaps, arrival.batch.boots));
                self.intake.arrive(probe, &known, &durable, arrival.batch);
                let listed = |ranges: &&BootRanges| hello.boots.iter().any(|listed| listed.boot == ranges.boot);
                let durable = durable.iter().filter(listed).cloned().collect();
                arrivals.push((link, Arrived { boot_started_at: arrival.boot_started_at, durable }));
            }
            ToIngest::Open(link) => {
                self.open.insert(link);
            }
            ToIngest::Take(link, who, stored, now) => {
                if !self.intake.take(ConnectionId(link), who, stored, now) {
                    cx.note(|| format!("intake does not know the boot of link {link}"));
                    if self.open.remove(&link) {
                        self.tell(cx, link, ToConnection::Close);
                    }
                }
            }
            ToIngest::Closed(link, probe, last) => {
                self.open.remove(&link);
                if let Some(probe) = probe.filter(|_| last) {
                    self.intake.depart(probe);
                }
            }
        }
    }

    /// The commit's time is over.
    pub fn committed(&mut self, cx: &mut Cx) {
        let Some(mut commit) = self.commit.take() else { return };
        commit.carry_out(cx);
        let Commit { batch, receipts, arrivals, fate, .. } = commit;
        if fate == Fate::Good {
            self.intake.committed(&batch);
            for (link, durable) in receipts.acks {
                if self.open.contains(&link.0) {
                    self.tell(cx, link.0, ToConnection::Durable(durable));
                }
            }
            if !receipts.oneoffs.is_empty() {
                let takes = cx.between(0, 50 * MS);
                cx.schedule(takes, Event::Settle(self.life, receipts.oneoffs));
            }
            for (link, arrived) in arrivals {
                self.arrived(cx, link, Some(arrived));
            }
        } else {
            cx.note(|| format!("a commit fails: {fate:?}"));
            cx.truth.count(if fate == Fate::Failed { "failed commits" } else { "misreported commits" });
            self.intake.failed();
            for (link, _) in arrivals {
                self.arrived(cx, link, None);
            }
            for link in std::mem::take(&mut self.open) {
                self.tell(cx, link, ToConnection::Close);
            }
        }
        self.next(cx);
    }

    fn next(&mut self, cx: &mut Cx) {
        if !self.queue.is_empty() && !self.awake {
            self.awake = true;
            cx.schedule(0, Event::Writer(self.life));
        }
    }

    /// Asks the probes to come back later, and stops soon.
    pub fn drain(&mut self, cx: &mut Cx) {
        self.draining = true;
        let drain = Drain { after_ms: cx.rng.below(3000) as u32, spread_ms: cx.rng.below(10_000) as u32 };
        let links: Vec<u64> = self.registry.values().flatten().copied().collect();
        for link in links {
            self.tell(cx, link, ToConnection::Drain(drain));
        }
        let patience = cx.between(500 * MS, 4 * S);
        cx.schedule(patience, Event::CollectorStops(self.life));
    }

    /// Ends, with everything durable that was handed in.
    pub fn stop(mut self, cx: &mut Cx) {
        for link in self.served.keys().copied().collect::<Vec<_>>() {
            self.leave(cx, link);
        }
        while self.commit.is_some() || !self.queue.is_empty() {
            if self.commit.is_none() {
                self.write(cx);
            }
            self.committed(cx);
        }
        block_on(cx.catalog.close_all_sessions(cx.collector_wall())).expect("the catalog works");
    }

    /// Is gone from one moment to the next. What was being committed is durable or not, as it happened.
    pub fn crash(mut self, cx: &mut Cx) {
        if let Some(commit) = &mut self.commit {
            cx.truth.count(if commit.done { "crashes after a commit" } else { "crashes before a commit" });
        }
        for link in self.served.into_keys() {
            cx.collector_leaves(link, false);
        }
    }

    /// Nothing waits to be written.
    pub fn is_idle(&self) -> bool {
        self.commit.is_none() && self.queue.is_empty()
    }
}

impl Commit {
    fn carry_out(&mut self, cx: &Cx) {
        if !std::mem::replace(&mut self.done, true) && self.fate != Fate::Failed && !self.batch.is_empty() {
            block_on(cx.results.append(&self.batch, cx.collector_wall())).expect("the store works");
        }
    }
}

impl Served {
    fn control(&mut self, bytes: &[u8], now: UnixNanos) -> bool {
        self.control.push(bytes);
        loop {
            match self.control.next_message() {
                Ok(Some(message)) => match from_cbor::<Up>(message) {
                    Ok(Some(up)) => self.session.handle_message(up, now),
                    Ok(None) => {}
                    Err(_) => return false,
                },
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn frames(&mut self, lane: usize, bytes: &[u8]) -> bool {
        let reader = &mut self.lanes[lane];
        reader.push(bytes);
        loop {
            match reader.next_message() {
                Ok(Some(message)) => match from_cbor::<Frame>(message) {
                    Ok(Some(frame)) => self.session.handle_frame(frame),
                    Ok(None) => {}
                    Err(_) => return false,
                },
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// As in the server: one-offs that got their result while nobody could record it.
fn settle_delivered(cx: &Cx, probe: ProbeId) {
    let (_, orders) = block_on(cx.catalog.orders(probe, cx.collector_wall())).expect("the catalog works");
    let mut pairs = Vec::new();
    for order in orders.iter().filter(|order| matches!(order.when, When::Once { .. })) {
        let query = ResultQuery { measurement: order.measurement, from: None, to: None, probes: Some(vec![probe]) };
        let mut page = block_on(cx.results.scan(&query, None, 1)).expect("the store can be read");
        while let (true, Some(next)) = (page.reports.is_empty(), page.next.take()) {
            page = block_on(cx.results.scan(&query, Some(&next), 1)).expect("the store can be read");
        }
        if !page.reports.is_empty() {
            pairs.push((order.measurement, probe));
        }
    }
    if !pairs.is_empty() {
        block_on(cx.catalog.settle_oneoffs(&pairs)).expect("the catalog works");
    }
}
