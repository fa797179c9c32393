//! Namespaces, a router, and an engine that plays a script and notes everything.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, geteuid, gettid};
use sonde_engine::{Channel, Engine, IcmpErrorEvent, Meta, Needs, Token, Transmit, icmp, tcp};
use sonde_probe::net::clock::{Moment, SystemClock};
use sonde_probe::net::icmp_socket::IcmpMode;
use sonde_probe::net::{Driver, Finished, Job, Options};
use sonde_protocol::net::Family;
use sonde_protocol::result::{Outcome, PingOutcome, StampSource, Why};
use sonde_protocol::time::Nanos;

/// Runs `test` on a thread with a network namespace of its own, loopback up, unprivileged ICMP allowed.
pub fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: this test makes network namespaces and needs root");
        return;
    }
    let result = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        ip("link set lo up");
        allow_unprivileged_icmp(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
    })
    .join();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in this thread's namespace.
pub fn ip(arguments: &str) {
    run("ip", arguments);
}

/// Runs a program in this thread's namespace.
pub fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split(' ')).output().expect("the program exists");
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn until_up(device: &str) {
    let up = || {
        let shown = Command::new("ip").args(["link", "show", device]).output().expect("the program exists");
        String::from_utf8_lossy(&shown.stdout).contains("state UP")
    };
    while !up() {
        thread::yield_now();
    }
}

/// Sets a sysctl of this thread's namespace.
pub fn sysctl(path: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{path}"), value).expect("a sysctl of the namespace");
}

/// The sysctl that rules unprivileged ICMP sockets.
pub fn allow_unprivileged_icmp(allow: bool) {
    sysctl("ipv4/ping_group_range", if allow { "0 2147483647" } else { "1 0" });
}

/// A neighbour namespace that forwards packets. It ends when dropped.
pub struct Router {
    tasks: Option<mpsc::Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<thread::JoinHandle<()>>,
    tid: Pid,
}

impl Router {
    /// 10.0.0.2 and fd00::2 at the other end of a veth pair; behind it, with an MTU of 1280, 10.99.0.0/24 and fd99::/64,
    /// where nobody answers. Default routes lead there.
    pub fn new() -> Self {
        let (tasks, receiver) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (ready, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            ready.send(gettid()).expect("the test waits");
            receiver.into_iter().for_each(|task| task());
        });
        let tid = started.recv().expect("the router starts");
        let router = Self { tasks: Some(tasks), thread: Some(thread), tid };
        ip(&format!("link add up0 type veth peer name down0 netns {}", router.tid));
        router.call(|| {
            for command in [
                "link set lo up",
                "addr add 10.0.0.2/24 dev down0",
                "addr add fd00::2/64 dev down0 nodad",
                "link set down0 up",
                "link add far0 type veth peer name far1",
                "link set far1 up",
                "link set far0 mtu 1280 up",
                "addr add 10.99.0.1/24 dev far0",
                "addr add fd99::1/64 dev far0 nodad",
            ] {
                ip(command);
            }
            for (path, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv6/icmp/ratelimit", "0"),
            ] {
                sysctl(path, value);
            }
            // Kernels since 6.13 limit all errors of a namespace together; before that it was the whole system's.
            for path in ["icmp_msgs_per_sec", "icmp_msgs_burst"] {
                let _ = fs::write(format!("/proc/sys/net/ipv4/{path}"), "100000");
            }
        });
        for command in [
            "addr add 10.0.0.1/24 dev up0",
            "addr add fd00::1/64 dev up0 nodad",
            "link set up0 up",
            "route add default via 10.0.0.2",
            "-6 route add default via fd00::2",
        ] {
            ip(command);
        }
        // Until the kernel has seen the cable, it drops what is sent.
        until_up("up0");
        router.call(|| ["down0", "far0"].into_iter().for_each(until_up));
        router
    }

    /// The router's address towards us.
    pub fn address(family: Family) -> IpAddr {
        address(family, "10.0.0.2", "fd00::2")
    }

    /// An address behind the router.
    pub fn beyond(family: Family) -> IpAddr {
        address(family, "10.99.0.7", "fd99::7")
    }

    /// Does something in the router's namespace, and waits until it is done.
    pub fn call(&self, task: impl FnOnce() + Send + 'static) {
        let (done, wait) = mpsc::channel();
        let task = Box::new(move || {
            task();
            done.send(()).expect("the test waits");
        });
        self.tasks.as_ref().expect("not dropped").send(task).expect("the router runs");
        wait.recv().expect("the router did it");
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn address(family: Family, v4: &str, v6: &str) -> IpAddr {
    match family {
        Family::V4 => v4.parse().expect("an address"),
        Family::V6 => v6.parse().expect("an address"),
    }
}

/// This host.
pub fn localhost(family: Family) -> IpAddr {
    address(family, "127.0.0.1", "::1")
}

/// Both families, by both kinds of ICMP socket.
pub fn icmp_variants() -> Vec<(Family, IcmpMode)> {
    let modes = [IcmpMode::Datagram, IcmpMode::Raw];
    Family::BOTH.into_iter().flat_map(|family| modes.map(|mode| (family, mode))).collect()
}

/// A driver in this thread's namespace.
pub fn driver(options: Options) -> Driver {
    Driver::new(Arc::new(SystemClock), options).expect("a driver")
}

/// An engine that sends what it was told, one packet after the other has had its end (or all at once), and ends when
/// `wanted` things have come back.
pub struct Script {
    queue: VecDeque<Transmit>,
    one_by_one: bool,
    outstanding: usize,
    wanted: usize,
    ends_at: Nanos,
    over: bool,
    needs: Needs,
    pub first_sequence: u16,
    pub started_at: Moment,
    pub sent: BTreeMap<Token, Vec<Nanos>>,
    pub datagrams: Vec<(Meta, Vec<u8>)>,
    pub errors: Vec<IcmpErrorEvent>,
    pub send_errors: Vec<(Token, Why)>,
}

impl Script {
    pub fn new(first_sequence: u16, started_at: Moment, packets: Vec<Transmit>, wanted: usize) -> Self {
        Self {
            queue: packets.into(),
            one_by_one: false,
            outstanding: 0,
            wanted,
            // A test whose packets do not come back fails after this, it does not hang.
            ends_at: started_at.monotonic + Duration::from_secs(20),
            over: false,
            needs: Needs::default(),
            first_sequence,
            started_at,
            sent: BTreeMap::new(),
            datagrams: Vec::new(),
            errors: Vec::new(),
            send_errors: Vec::new(),
        }
    }

    pub fn one_by_one(mut self) -> Self {
        self.one_by_one = true;
        self
    }

    pub fn needing(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// The last stamp of a packet, which is the one that counts.
    pub fn sent_at(&self, token: u32) -> Nanos {
        *self.sent[&Token(token)].last().expect("it was sent")
    }

    fn came_back(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.wanted = self.wanted.saturating_sub(1);
    }
}

impl Engine for Script {
    fn needs(&self) -> Needs {
        self.needs
    }

    fn poll_transmit(&mut self, _: Nanos) -> Option<Transmit> {
        if self.one_by_one && self.outstanding > 0 {
            return None;
        }
        let transmit = self.queue.pop_front()?;
        self.outstanding += 1;
        Some(transmit)
    }

    fn handle_sent(&mut self, token: Token, sent_at: Nanos) {
        self.sent.entry(token).or_default().push(sent_at);
    }

    fn handle_send_error(&mut self, token: Token, _: Nanos, why: Why) {
        self.send_errors.push((token, why));
        self.came_back();
    }

    fn handle_datagram(&mut self, meta: &Meta, bytes: &[u8]) {
        self.datagrams.push((*meta, bytes.to_vec()));
        self.came_back();
    }

    fn handle_icmp_error(&mut self, event: &IcmpErrorEvent) {
        self.errors.push(event.clone());
        self.came_back();
    }

    fn poll_timeout(&self) -> Option<Nanos> {
        Some(self.ends_at)
    }

    fn handle_timeout(&mut self, now: Nanos) {
        self.over |= now >= self.ends_at;
    }

    fn poll_outcome(&mut self) -> Option<Outcome> {
        let ends = self.over || (self.queue.is_empty() && self.wanted == 0);
        ends.then(|| Outcome::Ping(PingOutcome::default()))
    }
}

/// An echo request. The token is its sequence number.
pub fn echo(dst: IpAddr, sequence: u16, payload: &[u8]) -> Transmit {
    Transmit {
        token: Token(sequence.into()),
        dst,
        channel: Channel::Icmp,
        hop_limit: None,
        traffic_class: 0,
        dont_fragment: false,
        payload: icmp::echo_request(Family::of(dst), sequence, payload),
    }
}

/// `count` numbers from `first` on.
pub fn numbers(first: u16, count: u16) -> impl Iterator<Item = u16> {
    (0..count).map(move |index| first + index)
}

/// A UDP datagram.
pub fn datagram(dst: IpAddr, port: u16, token: u32, payload: &[u8]) -> Transmit {
    Transmit { token: Token(token), channel: Channel::Udp { port }, payload: payload.to_vec(), ..echo(dst, 0, &[]) }
}

/// A SYN.
pub fn syn(dst: IpAddr, source_port: Option<u16>, port: u16, sequence: u32, payload: &[u8]) -> Transmit {
    let channel = Channel::Tcp { source_port, port };
    Transmit { token: Token(sequence), channel, payload: tcp::syn(port, sequence, payload), ..echo(dst, 0, &[]) }
}

/// Runs a script of `packets`, which `make` gives for the first sequence number, until as many things have come back.
pub async fn play(
    driver: &Driver,
    family: Family,
    sequences: u16,
    make: impl FnOnce(u16) -> Vec<Transmit> + Send + 'static,
) -> Finished<Script> {
    let make = move |first, moment| {
        let packets = make(first);
        let wanted = packets.len();
        Script::new(first, moment, packets, wanted)
    };
    driver.run(Job { family, sequences, make }).await.expect("the job runs")
}

/// Waits until the kernel stamps arrivals: it begins some time after a socket has asked for it, as ours has.
pub async fn until_stamped(driver: &Driver) {
    for _ in 0..100_000 {
        let dst = localhost(Family::V4);
        let finished = play(driver, Family::V4, 1, move |first| vec![echo(dst, first, b"stamped?")]).await;
        if finished.info.source == StampSource::Kernel {
            return;
        }
    }
    panic!("the kernel does not stamp packets");
}
