//! A line with a router at its other end: two network namespaces, and in the router's dnsmasq, radvd or advertisements made by hand.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, geteuid, gettid};
use socket2::{Domain, Protocol, Socket, Type};
use sonde_os::net::{Condition, Settings, run_at};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Nothing here takes so long on any machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// The user whose packets the filter is about.
pub const USER: u32 = 900;

/// A test on a line of its own. It is left out, aloud, where there can be none.
pub fn on_a_line<F: Future<Output = ()>>(test: impl FnOnce(Router) -> F + Send + 'static) {
    if let Some(reason) = missing() {
        assert!(std::env::var_os("SONDE_LAB_REQUIRED").is_none_or(|value| value != "1"), "no lab: {reason}");
        eprintln!("SKIPPED: {reason}");
        return;
    }
    let result = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        ip("link set lo up");
        let router = Router::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test(router));
    })
    .join();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("this test makes network namespaces and needs root".into());
    }
    let has = |program: &&str| Command::new(program).arg("--version").output().is_err();
    ["ip", "nft", "dnsmasq", "radvd"]
        .iter()
        .find(|program| has(program))
        .map(|program| format!("there is no {program}"))
}

/// Runs `ip` in this thread's namespace.
pub fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("the program exists");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What a program says in this thread's namespace.
pub fn output(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().expect("the program exists");
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

type Task = Box<dyn FnOnce() + Send>;

/// The other end of the cable: `lan0`, with 192.0.2.1/24, 2001:db8::1/64 and fe80::1. The board's end is `eth0`.
pub struct Router {
    tasks: Option<mpsc::Sender<Task>>,
    thread: Option<thread::JoinHandle<()>>,
    pub dir: TempDir,
    servers: Vec<Child>,
}

impl Router {
    fn new() -> Self {
        let (tasks, receiver) = mpsc::channel::<Task>();
        let (ready, started) = mpsc::channel::<Pid>();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            ready.send(gettid()).expect("the test waits");
            receiver.into_iter().for_each(|task| task());
        });
        let tid = started.recv().expect("the router starts");
        let dir = tempfile::tempdir().expect("a directory");
        let router = Self { tasks: Some(tasks), thread: Some(thread), dir, servers: Vec::new() };
        ip(&format!("link add eth0 address 02:00:00:00:00:07 type veth peer name lan0 netns {tid}"));
        router.call(|| {
            for path in ["ipv6/conf/all/forwarding", "ipv4/ip_forward"] {
                fs::write(format!("/proc/sys/net/{path}"), "1").expect("a sysctl of the namespace");
            }
            for command in [
                "link set lo up",
                "link set lan0 addrgenmode none",
                "addr add 192.0.2.1/24 dev lan0",
                "-6 addr add 2001:db8::1/64 dev lan0 nodad",
                "-6 addr add fe80::1/64 dev lan0 nodad",
                "link set lan0 up",
            ] {
                ip(command);
            }
        });
        router
    }

    /// Does something in the router's namespace.
    pub fn call<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (give, take) = mpsc::channel();
        let task = move || drop(give.send(task()));
        self.tasks.as_ref().expect("it lives").send(Box::new(task)).expect("it lives");
        take.recv().expect("the task ends well")
    }

    /// Pulls the cable, or puts it back.
    pub fn cable(&self, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        self.call(move || {
            ip(&format!("link set lan0 {state}"));
            if is_in {
                // They go with the link.
                ip("-6 addr replace 2001:db8::1/64 dev lan0 nodad");
                ip("-6 addr replace fe80::1/64 dev lan0 nodad");
            }
        });
    }

    /// A second port of the board with a cable to a router that says nothing: `eth1` and `lan1`.
    pub fn second_port(&self) {
        let tid = self.call(gettid);
        ip(&format!("link add eth1 address 02:00:00:00:00:08 type veth peer name lan1 netns {tid}"));
        self.call(|| ip("link set lan1 up"));
    }

    /// Starts dnsmasq with these options; its log, line by line.
    pub fn dnsmasq(&mut self, options: &[&str]) -> Log {
        let leases = self.dir.path().join("leases");
        let mut command = Command::new("dnsmasq");
        command.args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file", "--log-dhcp"]);
        command.arg("--interface=lan0").arg("--bind-interfaces").arg(format!("--dhcp-leasefile={}", leases.display()));
        command.args(options).stderr(Stdio::piped());
        self.serve(command)
    }

    /// Starts radvd with this inside of `interface lan0 { … }`.
    pub fn radvd(&mut self, inside: &str) {
        let path = self.dir.path().join("radvd.conf");
        fs::write(&path, format!("interface lan0 {{ AdvSendAdvert on; {inside} }};")).expect("a file");
        let mut command = Command::new("radvd");
        command.args(["--nodaemon", "--logmethod=stderr", "--debug=3", "--config"]).arg(path).stderr(Stdio::piped());
        command.arg("--pidfile").arg(self.dir.path().join("radvd.pid"));
        self.serve(command);
    }

    fn serve(&mut self, mut command: Command) -> Log {
        let mut child = self.call(move || command.spawn().expect("the server starts"));
        let lines = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
        self.servers.push(child);
        let (say, hear) = tokio::sync::mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("{line}");
                let _ = say.send(line);
            }
        });
        Log(hear)
    }

    /// Sends one advertisement with these options, of a router for `lifetime` seconds and with these flags.
    pub fn advertise(&self, flags: u8, lifetime: u16, options: Vec<u8>) {
        let [high, low] = lifetime.to_be_bytes();
        let message = [&[134, 0, 0, 0, 64, flags, high, low, 0, 0, 0, 0, 0, 0, 0, 0][..], &options].concat();
        self.call(move || {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).expect("root may");
            let index = nix::net::if_::if_nametoindex("lan0").expect("it is there");
            socket.set_multicast_hops_v6(255).expect("it may");
            socket
                .bind(&SocketAddrV6::new("fe80::1".parse().expect("an address"), 0, 0, index).into())
                .expect("it is there");
            let everybody = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index);
            socket.send_to(&message, &everybody.into()).expect("the cable is in");
        });
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        self.tasks.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a server says.
pub struct Log(tokio::sync::mpsc::UnboundedReceiver<String>);

impl Log {
    /// Waits for a line with this in it.
    pub async fn until(&mut self, part: &str) -> String {
        let search = async {
            while let Some(line) = self.0.recv().await {
                if line.contains(part) {
                    return line;
                }
            }
            panic!("the server has ended without `{part}`");
        };
        tokio::time::timeout(DEADLINE, search).await.unwrap_or_else(|_| panic!("no line with `{part}`"))
    }
}

/// The board's network, running in this thread's namespace.
pub struct Board {
    condition: watch::Receiver<Condition>,
    resolv_conf: PathBuf,
    task: JoinHandle<()>,
}

impl Board {
    /// Starts it.
    pub fn start(router: &Router, settings: Settings) -> Self {
        let (tell, condition) = watch::channel(Condition::default());
        let resolv_conf = router.dir.path().join("resolv.conf");
        let path = resolv_conf.clone();
        let settings = Settings { site_prefix: 56, ..settings };
        let task = tokio::spawn(async move {
            let Err(error) = run_at(settings, tell, path, USER).await;
            panic!("{error}");
        });
        Self { condition, resolv_conf, task }
    }

    /// Waits until it stands so.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Condition) -> bool) -> Condition {
        let mut condition = self.condition.clone();
        let wait = condition.wait_for(|condition| {
            eprintln!("{condition:?}");
            is_so(condition)
        });
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(found) => found.expect("it runs").clone(),
            Err(_) => {
                let last = self.condition.borrow();
                panic!("never {what}: {last:?}\n{}\n{}", output("ip", "addr"), output("ip", "route"));
            }
        }
    }

    /// The resolvers in its file.
    pub fn resolvers(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.resolv_conf).expect("it is written");
        text.lines().filter_map(|line| line.strip_prefix("nameserver ")).map(Into::into).collect()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until something is so that nobody tells.
pub async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, look).await;
    assert!(waited.is_ok(), "never {what}: {}", output("ip", "addr"));
}

/// Does this step work, with this in its words?
pub fn works(step: &sonde_os::net::Step, part: &str) -> bool {
    step.is_ok() && step.text().contains(part)
}
