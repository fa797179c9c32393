//! The events, in the order of their times, and the faults.

use std::collections::BTreeMap;
use std::sync::Arc;

use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::Family;
use sonde_protocol::seed::{Rng, mix};
use sonde_protocol::spec::{Kind, Spec};
use sonde_protocol::time::UnixNanos;
use sonde_protocol::wire::framed;
use sonde_store::catalog::{Accounts, Admission, Measurements, NewMeasurement, Orders, Probes};
use sonde_store::conformance::block_on;
use sonde_store::sqlite::{SqliteCatalog, SqliteResults};

use super::collector::{Collector, ToConnection};
use super::disk::Trouble;
use super::hostile::Hostile;
use super::link::{Link, Stream};
use super::plan::{Fault, MS, Plan, S};
use super::probe::ProbeHost;
use super::trace::Trace;
use super::truth::{Ordered, Truth};

/// How long everything may take to come right once nothing goes wrong any more.
const HEALING: i64 = 900 * S;

/// More events than this mean that somebody goes round in circles.
const MAX_EVENTS: u64 = 200_000;

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A probe's process of this life wants to be woken.
    Wake(usize, u64),
    /// A run ends.
    RunEnds(usize, u64, u64),
    /// An attempt to connect ends.
    Connected(usize, u64, u64),
    /// Bytes arrive on a stream; the flag marks the last of a message.
    Arrive(u64, Stream, Vec<u8>, bool),
    /// A probe learns that a link is gone.
    ProbeNotices(u64),
    /// The collector learns it.
    CollectorNotices(u64),
    /// A probe that is being stopped gives up its runs.
    RunsOver(usize, u64),
    /// A probe that is being stopped gives up everything.
    UploadOver(usize, u64),
    /// A probe's process starts.
    ProbeStarts(usize),
    /// The disk of a probe is done with its job.
    DiskDone(usize, u64),
    /// It is well again.
    DiskWell(usize),
    /// The writer of a collector's life looks into its queue.
    Writer(u64),
    /// Its commit ends.
    Committed(u64),
    /// A connection of a collector's life is told something.
    Inbox(u64, u64, ToConnection),
    /// Settled one-offs are recorded.
    Settle(u64, Vec<(MeasurementId, ProbeId)>),
    /// The collector starts.
    CollectorStarts,
    /// A collector that drains ends.
    CollectorStops(u64),
    /// Somebody makes a periodic measurement.
    Order,
    /// Something goes wrong.
    Fault,
    /// The hostile probe does something.
    Hostile,
}

/// What everybody shares: time, chance, links, the store, the truth.
pub struct Cx {
    /// Nanoseconds since the beginning.
    pub now: i64,
    /// The true time of day at the beginning.
    pub epoch: i64,
    /// Chance.
    pub rng: Rng,
    /// What the seed is about.
    pub plan: Plan,
    /// What will happen.
    queue: BTreeMap<(i64, u64), Event>,
    count: u64,
    /// How much has happened.
    pub events: u64,
    /// Every connection there was.
    pub links: BTreeMap<u64, Link>,
    /// What happened last.
    pub trace: Trace,
    /// See [`super::Outcome`].
    pub fingerprint: u64,
    /// What really happened.
    pub truth: Truth,
    /// Who and what.
    pub catalog: SqliteCatalog,
    /// The data. Opened anew with each collector.
    pub results: Arc<SqliteResults>,
    dir: tempfile::TempDir,
    account: AccountId,
    /// Nothing goes wrong any more.
    pub healing: bool,
    /// How far the collector's clock is off.
    pub collector_clock: i64,
}

impl Cx {
    /// Something happens `after` nanoseconds.
    pub fn schedule(&mut self, after: i64, event: Event) {
        self.schedule_at(self.now + after.max(0), event);
    }

    /// Something happens at a time.
    pub fn schedule_at(&mut self, at: i64, event: Event) {
        self.count += 1;
        self.queue.insert((at.max(self.now), self.count), event);
    }

    /// Notes what happens.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        self.trace.note(self.now, text);
    }

    /// The collector's wall clock.
    pub const fn collector_wall(&self) -> UnixNanos {
        UnixNanos(self.epoch + self.now + self.collector_clock)
    }

    /// A time between two, by chance.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        from + self.rng.below((to - from).max(1).cast_unsigned()).cast_signed()
    }

    /// One in `n`, as long as things go wrong.
    pub fn mishap(&mut self, n: u64) -> bool {
        n > 0 && !self.healing && self.rng.one_in(n)
    }

    /// Makes a connection.
    pub fn connect(&mut self, probe: (usize, u64), collector: u64) -> u64 {
        let id = self.links.len() as u64 + 1;
        self.links.insert(id, Link::new(probe, collector));
        id
    }

    /// Sends a message on a stream, in pieces as it comes.
    pub fn send(&mut self, id: u64, stream: Stream, message: &[u8]) {
        let bytes = framed(message);
        self.send_bytes(id, stream, bytes);
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, id: u64, stream: Stream, mut bytes: Vec<u8>) {
        let tail =
            if self.rng.one_in(4) { bytes.split_off(self.rng.below(bytes.len() as u64) as usize) } else { vec![] };
        let Some(link) = self.links.get_mut(&id) else { return };
        link.waiting[stream as usize] += 1;
        let pieces: Vec<Vec<u8>> = [bytes, tail].into_iter().filter(|piece| !piece.is_empty()).collect();
        let last = pieces.len() - 1;
        for (n, piece) in pieces.into_iter().enumerate() {
            let arrival = link.arrival(stream, self.now, &self.plan, &mut self.rng);
            if let Some(at) = arrival {
                self.count += 1;
                self.queue.insert((at, self.count), Event::Arrive(id, stream, piece, n == last));
            }
        }
    }

    /// The probe's side of a link is gone: by a crash, or because it was closed, which the collector usually hears of.
    pub fn probe_leaves(&mut self, id: u64, closed: bool) {
        let heard = if closed && !self.rng.one_in(10) { self.between(MS, 500 * MS) } else { self.between(S, 60 * S) };
        let lost = closed && self.rng.one_in(3);
        let Some(link) = self.links.get_mut(&id) else { return };
        let heard = if link.cut_up { heard.max(5 * S) } else { heard };
        link.cut_down = true;
        link.cut_up = true;
        link.lost_up |= lost;
        self.schedule(heard, Event::CollectorNotices(id));
    }

    /// The collector's side of a link is gone.
    pub fn collector_leaves(&mut self, id: u64, closed: bool) {
        let heard = if closed && !self.rng.one_in(10) { self.between(MS, 500 * MS) } else { self.between(S, 60 * S) };
        let Some(link) = self.links.get_mut(&id) else { return };
        link.cut_up = true;
        // What was said before the end arrives, by and large.
        link.cut_down |= !closed;
        self.schedule(heard, Event::ProbeNotices(id));
    }

    /// Opens the results as a new process does.
    pub fn reopen_results(&mut self) {
        self.results = Arc::new(SqliteResults::open(self.dir.path()).expect("the results open"));
    }
}

/// A small network and its troubles.
pub struct World {
    /// What everybody shares.
    pub cx: Cx,
    /// The probes.
    pub probes: Vec<ProbeHost>,
    /// The collector, while it is up.
    pub collector: Option<Collector>,
    hostile: Hostile,
    lives: u64,
}

impl World {
    /// The world that `seed` makes.
    pub fn new(seed: u64, keep_trace: bool) -> Self {
        let mut rng = Rng::new(mix(seed));
        let plan = Plan::draw(&mut rng);
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory");
        let results = Arc::new(SqliteResults::open(dir.path()).expect("the results open"));
        let catalog = SqliteCatalog::open_in_memory().expect("a catalog in memory");
        // Some seeds pass midnight, where the store begins a new file.
        let into_day = if rng.one_in(4) { 86_400 - rng.below(600) } else { rng.below(80_000) };
        let epoch = (1_795_219_200 + into_day.cast_signed()) * S;
        let start = UnixNanos(epoch);
        let account = block_on(catalog.add_account("ada@example.net", start)).expect("the catalog works");
        let account = account.expect("the address is new").id;
        let hosts = plan.probes + usize::from(plan.hostile);
        let mut probes = Vec::new();
        let mut hostile = Hostile::new(plan.probes);
        for n in 0..hosts {
            let token = [n as u8 + 1; 32];
            let expires = UnixNanos(epoch + 86_400 * S);
            block_on(catalog.add_join_token(&token, account, start, expires)).expect("the catalog works");
            let key = PublicKey([n as u8 + 1; 32]);
            let id = match block_on(catalog.admit(&key, Some(&token), start)).expect("the catalog works") {
                Admission::Joined(probe) => probe.id,
                other => panic!("{other:?}"),
            };
            if n < plan.probes {
                probes.push(ProbeHost::new(n, key, id, &plan, &mut rng));
            } else {
                hostile.id = Some(id);
            }
        }
        let collector_clock = rng.below(plan.clock_error.cast_unsigned()).cast_signed() / 4;
        let mut cx = Cx {
            now: 0,
            epoch,
            rng,
            plan,
            queue: BTreeMap::new(),
            count: 0,
            events: 0,
            links: BTreeMap::new(),
            trace: Trace::new(keep_trace),
            fingerprint: seed,
            truth: Truth::default(),
            catalog,
            results,
            dir,
            account,
            healing: false,
            collector_clock,
        };
        cx.note(|| format!("seed {seed}: epoch {epoch}"));
        let plan = cx.plan.clone();
        cx.note(|| format!("{plan:?}"));
        for n in 0..cx.plan.probes {
            let after = cx.between(0, 5 * S);
            cx.schedule(after, Event::ProbeStarts(n));
        }
        cx.schedule(0, Event::CollectorStarts);
        cx.schedule(S, Event::Fault);
        for _ in 0..2 {
            let after = cx.between(6 * S, 20 * S);
            cx.schedule(after, Event::Order);
        }
        if cx.plan.hostile {
            cx.schedule(2 * S, Event::Hostile);
        }
        Self { cx, probes, collector: None, hostile, lives: 0 }
    }

    /// Plays the seed to its end: trouble, healing, a clean stop of every probe, and one more start that closes the books.
    pub fn play(&mut self) {
        self.until(self.cx.plan.duration, |_| false);
        self.cx.note(|| "---- nothing goes wrong any more ----".into());
        self.cx.healing = true;
        for link in self.cx.links.values_mut() {
            link.stalled = [0; 2];
        }
        for probe in &mut self.probes {
            probe.card.trouble = None;
        }
        self.cx.plan.commit = 5 * MS;
        self.cx.plan.delay = self.cx.plan.delay.min(50 * MS);
        // Until every connection that is dead is known to be.
        let noticed = self.cx.now + 130 * S;
        self.until(noticed, |_| false);
        self.heal("come back", |probe, now| probe.is_at_ease(now));
        for n in 0..self.probes.len() {
            self.probes[n].begin_stop(&mut self.cx, false);
        }
        self.heal("stop", |probe, _| probe.process.is_none());
        let last_words = self.cx.now + 2 * S;
        self.until(last_words, |_| false);
        for n in 0..self.probes.len() {
            self.probes[n].start(&mut self.cx);
        }
        self.heal("start for the last time", |probe, now| probe.is_at_ease(now));
        // Whatever is on its way still, late frames of long ago among it.
        let end = self.cx.now + 120 * S;
        self.until(end, |_| false);
    }

    fn heal(&mut self, what: &str, done: impl Fn(&ProbeHost, i64) -> bool) {
        let end = self.cx.now + HEALING;
        self.until(end, |world| {
            world.collector.is_some() && world.probes.iter().all(|probe| done(probe, world.cx.now))
        });
        let now = self.cx.now;
        let stuck: Vec<usize> = self.probes.iter().filter(|probe| !done(probe, now)).map(|probe| probe.index).collect();
        if !stuck.is_empty() {
            self.cx.truth.failures.insert(format!("probes {stuck:?} did not {what}"));
        }
    }

    /// Goes on until something is so, or to a time.
    fn until(&mut self, end: i64, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let Some(entry) = self.cx.queue.first_entry().filter(|entry| entry.key().0 <= end) else {
                self.cx.now = end;
                break;
            };
            let ((at, count), event) = entry.remove_entry();
            self.cx.events += 1;
            assert!(self.cx.events < MAX_EVENTS, "there is no end to what happens");
            self.cx.now = at;
            self.cx.fingerprint = mix(self.cx.fingerprint ^ mix(at.cast_unsigned()) ^ count);
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        let Self { cx, probes, collector, .. } = self;
        match event {
            Event::Wake(probe, life) => probes[probe].wake(cx, life),
            Event::RunEnds(probe, life, run) => probes[probe].run_ends(cx, life, run),
            Event::Connected(probe, life, attempt) => probes[probe].connected(cx, collector, life, attempt),
            Event::Arrive(link, stream, bytes, last) => self.arrive(link, stream, &bytes, last),
            Event::ProbeNotices(link) => {
                if let Some(probe) = cx.links.get(&link).and_then(|link| probes.get_mut(link.probe.0)) {
                    probe.notices(cx, link);
                }
            }
            Event::CollectorNotices(link) => {
                if let Some(collector) = collector {
                    collector.notices(cx, link);
                }
            }
            Event::RunsOver(probe, life) => probes[probe].runs_over(cx, life),
            Event::UploadOver(probe, life) => probes[probe].upload_over(cx, life),
            Event::ProbeStarts(probe) => probes[probe].start(cx),
            Event::DiskDone(probe, life) => probes[probe].disk_done(cx, life),
            Event::DiskWell(probe) => probes[probe].card.trouble = None,
            Event::Writer(life) => {
                if let Some(collector) = collector.as_mut().filter(|collector| collector.life == life) {
                    collector.write(cx);
                }
            }
            Event::Committed(life) => {
                if let Some(collector) = collector.as_mut().filter(|collector| collector.life == life) {
                    collector.committed(cx);
                }
            }
            Event::Inbox(life, link, message) => {
                if let Some(collector) = collector.as_mut().filter(|collector| collector.life == life) {
                    collector.told(cx, link, message);
                }
            }
            Event::Settle(life, pairs) => {
                if let Some(collector) = collector.as_mut().filter(|collector| collector.life == life) {
                    let changed = block_on(cx.catalog.settle_oneoffs(&pairs)).expect("the catalog works");
                    collector.orders_changed(cx, &changed);
                }
            }
            Event::CollectorStarts => self.start_collector(),
            Event::CollectorStops(life) => {
                if let Some(stopping) = collector.take_if(|collector| collector.life == life) {
                    stopping.stop(cx);
                    let down = cx.between(100 * MS, 5 * S);
                    cx.schedule(down, Event::CollectorStarts);
                }
            }
            Event::Order => self.add(false),
            Event::Fault => {
                if !cx.healing {
                    let next = cx.rng.below((2 * cx.plan.every).cast_unsigned()).cast_signed();
                    cx.schedule(next, Event::Fault);
                    self.fault();
                }
            }
            Event::Hostile => {
                if let (Some(collector), false) = (collector, cx.healing) {
                    self.hostile.act(cx, collector);
                }
                if !cx.healing {
                    let next = cx.between(0, 3 * S);
                    cx.schedule(next, Event::Hostile);
                }
            }
        }
    }

    fn arrive(&mut self, id: u64, stream: Stream, bytes: &[u8], last: bool) {
        let cx = &mut self.cx;
        let Some(link) = cx.links.get_mut(&id) else { return };
        let (probe, life, collector) = (link.probe.0, link.probe.1, link.collector);
        if last {
            link.waiting[stream as usize] -= 1;
        }
        if stream == Stream::Down {
            if let Some(probe) = self.probes.get_mut(probe).filter(|_| !link.cut_down) {
                probe.receive(cx, life, id, bytes);
            }
            return;
        }
        let lost = link.lost_up;
        if let Some(collector) = self.collector.as_mut().filter(|known| !lost && known.life == collector) {
            collector.receive(cx, id, stream, bytes);
        }
        if let Some(probe) = self.probes.get_mut(probe) {
            probe.lane_free(cx, life, id);
        }
    }

    fn start_collector(&mut self) {
        if self.collector.is_some() {
            return;
        }
        self.lives += 1;
        self.cx.note(|| "collector starts".into());
        self.cx.reopen_results();
        block_on(self.cx.catalog.close_all_sessions(self.cx.collector_wall())).expect("the catalog works");
        self.collector = Some(Collector::new(self.lives));
    }

    fn fault(&mut self) {
        let cx = &mut self.cx;
        let fault = cx.plan.faults[cx.rng.below(cx.plan.faults.len() as u64) as usize];
        let probe = cx.rng.below(cx.plan.probes as u64) as usize;
        match fault {
            Fault::Cut => self.cut(probe),
            Fault::Stall => self.stall(probe),
            Fault::ProbeCrash | Fault::PowerCut => {
                let power = fault == Fault::PowerCut;
                if self.probes[probe].crash(cx, power) {
                    cx.truth.count(if power { "power cuts" } else { "probe crashes" });
                    let down = cx.between(50 * MS, 20 * S);
                    cx.schedule(down, Event::ProbeStarts(probe));
                }
            }
            Fault::DiskTrouble => {
                let kinds = [Trouble::Full, Trouble::ReadOnly, Trouble::Unreadable];
                let trouble = kinds[cx.rng.below(3) as usize];
                self.probes[probe].card.trouble = Some(trouble);
                cx.truth.count("troubles of disks");
                cx.note(|| format!("probe {probe}: its disk is {trouble:?}"));
                let lasts = cx.between(S, 200 * S);
                cx.schedule(lasts, Event::DiskWell(probe));
            }
            Fault::Garbage => {
                if self.probes[probe].card.spoil(&mut cx.rng) {
                    cx.truth.spoiled.insert(probe);
                    cx.truth.count("spoiled disks");
                    cx.note(|| format!("probe {probe}: its disk is spoiled"));
                }
            }
            Fault::ProbeStop => {
                if self.probes[probe].begin_stop(cx, true) {
                    cx.truth.count("probe stops");
                }
            }
            Fault::CollectorCrash => {
                if let Some(collector) = self.collector.take() {
                    cx.note(|| "collector is killed".into());
                    cx.truth.count("collector crashes");
                    collector.crash(cx);
                    let down = cx.between(50 * MS, cx.plan.away);
                    cx.schedule(down, Event::CollectorStarts);
                }
            }
            Fault::Drain => {
                if let Some(collector) = self.collector.as_mut().filter(|collector| !collector.draining) {
                    cx.note(|| "collector drains".into());
                    cx.truth.count("drains");
                    collector.drain(cx);
                }
            }
            Fault::ClockStep => {
                let error = cx.plan.clock_error;
                self.probes[probe].kernel_clock = cx.between(-error, error);
                cx.truth.count("clock steps");
                cx.note(|| format!("probe {probe}: its clock is set"));
                self.probes[probe].advance(cx);
            }
            Fault::Stuck => self.probes[probe].stuck = true,
            Fault::Periodic => self.add(false),
            Fault::OneOff => self.add(true),
            Fault::StopMeasurement => self.stop_measurement(),
        }
    }

    fn cut(&mut self, probe: usize) {
        let cx = &mut self.cx;
        let Some(id) = self.probes[probe].link() else { return };
        let way = cx.rng.below(4);
        let (probe_at, collector_at) = (cx.between(100 * MS, 100 * S), cx.between(100 * MS, 100 * S));
        let Some(link) = cx.links.get_mut(&id) else { return };
        // Both ways, one way, or up with what is in flight arriving.
        link.cut_up |= way != 1;
        link.cut_down |= way != 2;
        link.lost_up |= way == 0;
        cx.schedule(probe_at, Event::ProbeNotices(id));
        cx.schedule(collector_at, Event::CollectorNotices(id));
        cx.truth.count("cuts");
        cx.note(|| format!("link {id} of probe {probe} is cut, way {way}"));
    }

    fn stall(&mut self, probe: usize) {
        let cx = &mut self.cx;
        let Some(id) = self.probes[probe].link() else { return };
        let until = cx.now + cx.between(S, 30 * S);
        let way = cx.rng.below(3);
        let Some(link) = cx.links.get_mut(&id) else { return };
        for direction in 0..2 {
            if way != 1 + direction as u64 {
                link.stalled[direction] = until;
            }
        }
        cx.truth.count("stalls");
        let seconds = (until - cx.now) / S;
        cx.note(|| format!("link {id} of probe {probe} stalls for {seconds} s, way {way}"));
    }

    fn add(&mut self, oneoff: bool) {
        let cx = &mut self.cx;
        let now = cx.collector_wall();
        let mut chosen: Vec<usize> =
            (0..self.probes.len()).filter(|&n| self.probes[n].ever_welcomed && !cx.rng.one_in(3)).collect();
        if cx.truth.orders.len() > 40 {
            chosen.clear();
        }
        if chosen.is_empty() {
            return;
        }
        let start_given = cx.rng.one_in(3);
        let start = UnixNanos(now.0 + if start_given { cx.between(-20 * S, 60 * S) } else { 0 });
        let stop = cx.rng.one_in(3).then(|| UnixNanos(start.0.max(now.0) + cx.between(S, 200 * S)));
        let interval = cx.between(2, 60);
        let new = NewMeasurement {
            owner: cx.account,
            spec: Spec::default_of(Kind::Ping),
            af: Family::V6,
            target: Some("2001:db8::1".into()),
            resolved: vec![],
            resolve_on_probe: false,
            is_oneoff: oneoff,
            interval: (!oneoff).then_some(interval as u32),
            spread: (!oneoff).then_some((interval / 2) as u32),
            start,
            start_given,
            stop,
            description: None,
            is_public: true,
            tags: vec![],
            probes_requested: chosen.len() as u32,
            probe_sources: "[]".into(),
            probes: chosen.iter().map(|&n| self.probes[n].id).collect(),
            group: None,
            origin: None,
            top_up: None,
            target_update_hours: None,
        };
        let ids = block_on(cx.catalog.add_measurements(std::slice::from_ref(&new), now)).expect("the catalog works");
        cx.truth.count(if oneoff { "one-offs" } else { "periodic measurements" });
        cx.note(|| format!("measurement {ids:?}, one-off {oneoff}, every {interval} s, probes {:?}", new.probes));
        for &probe in &new.probes {
            let (_, orders) = block_on(cx.catalog.orders(probe, now)).expect("the catalog works");
            for order in orders.into_iter().filter(|order| ids.contains(&order.measurement)) {
                cx.truth.orders.insert((order.measurement, probe), Ordered { order, stopped_at: None });
            }
        }
        if let Some(collector) = &mut self.collector {
            collector.orders_changed(cx, &new.probes);
        }
    }

    fn stop_measurement(&mut self) {
        let cx = &mut self.cx;
        let open: Vec<MeasurementId> = cx
            .truth
            .orders
            .iter()
            .filter(|(_, ordered)| ordered.stopped_at.is_none())
            .map(|((measurement, _), _)| *measurement)
            .collect();
        if open.is_empty() {
            return;
        }
        let measurement = open[cx.rng.below(open.len() as u64) as usize];
        let now = cx.collector_wall();
        let probes = block_on(cx.catalog.stop_measurement(measurement, now)).expect("the catalog works");
        for ((_, _), ordered) in cx.truth.orders.iter_mut().filter(|((id, _), _)| *id == measurement) {
            ordered.stopped_at.get_or_insert(now);
        }
        cx.note(|| format!("measurement {measurement} is stopped"));
        if let Some(collector) = &mut self.collector {
            collector.orders_changed(cx, &probes);
        }
    }
}
