//! The probe's sandbox, from inside and from outside: what somebody could do who has taken an engine's thread over, and that
//! a probe in it measures and tells what is in force. As root, who loses his privileges in it, and as nobody.
//!
//! Needs root to become nobody; the last needs the lab.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::libc;
use nix::unistd::geteuid;
use serde_json::{Value, json};
use sonde_tests::lab::{Family, Host, LabOptions, Namespace};
use sonde_tests::scene::{self, Scene};
use sonde_tests::world::{EMAIL, runnable_copy, wait_for};
use tempfile::TempDir;

/// uid and gid of nobody.
const NOBODY: u32 = 65534;

/// How an attempt has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeeds,
    /// The call fails with this.
    Refused(i32),
    /// The process is killed by SIGSYS.
    Killed,
}

use End::{Killed, Refused, Succeeds};

/// What is tried, how it ends inside, and whether it works outside for root (some of them do nothing good even there).
const ATTEMPTS: &[(&str, End)] = &[
    ("write-in-state", Succeeds),
    ("read /proc/self/net/route", Succeeds),
    ("read /etc/passwd", Refused(libc::EACCES)),
    ("read /etc/shadow", Refused(libc::EACCES)),
    ("read /etc/resolv.conf", Refused(libc::EACCES)),
    ("read /bin/sh", Refused(libc::EACCES)),
    ("read /root", Refused(libc::EACCES)),
    ("read /proc/1/status", Refused(libc::EACCES)),
    ("read /dev/null", Refused(libc::EACCES)),
    ("write /tmp/sonde-hijacked", Refused(libc::EACCES)),
    ("memory-of-itself", Refused(libc::EACCES)),
    ("fork", Refused(libc::EPERM)),
    ("fork-by-clone3", Refused(libc::ENOSYS)),
    ("listen", Refused(libc::EPERM)),
    ("bind-tcp", Refused(libc::EACCES)),
    ("bind-to-connect", Succeeds),
    ("raw-socket", Refused(libc::EPERM)),
    ("packet-socket", Refused(libc::EPERM)),
    ("unix-socket", Refused(libc::EPERM)),
    ("other-netlink", Refused(libc::EPERM)),
    ("map-code", Refused(libc::EPERM)),
    ("make-code", Refused(libc::EPERM)),
    ("hidden-file", Refused(libc::EPERM)),
    ("signal-another", Refused(libc::EPERM)),
    ("change-mode", Refused(libc::EPERM)),
    ("shell", Killed),
    ("run-from-state", Killed),
    ("trace", Killed),
    ("mount", Killed),
    ("become-another", Killed),
    ("new-namespace", Killed),
    ("load-bpf", Killed),
];

/// Programs at a place where nobody may run them, and directories that are his.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn program(&self, name: &str) -> PathBuf {
        let copy = self.folder.path().join(name);
        if copy.exists() { copy } else { runnable_copy(name, self.folder.path()).unwrap() }
    }

    /// A new directory that belongs to this user.
    fn directory(&self, name: &str, user: u32) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(user), Some(user)).unwrap();
        path
    }
}

/// The words that make a command one of nobody's, without any capability.
const AS_NOBODY: [&str; 7] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all",
    "--ambient-caps=-all",
    "--bounding-set=-all",
];

fn attempt(hijacked: &Path, sandbox: &str, state: &Path, what: &str, user: u32) -> End {
    let mut command = if user == NOBODY {
        let (setpriv, words) = AS_NOBODY.split_first().unwrap();
        let mut command = Command::new(setpriv);
        command.args(words).arg(hijacked);
        command
    } else {
        Command::new(hijacked)
    };
    let output = command.arg(sandbox).arg(state).arg(what).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    match (output.status.signal(), said.trim().split_once(' ')) {
        (Some(libc::SIGSYS), _) => Killed,
        (None, Some(("refused", errno))) => Refused(errno.parse().unwrap()),
        (None, None) if said.trim() == "succeeded" => Succeeds,
        _ => panic!("{what}: {output:?}"),
    }
}

#[test]
fn whoever_takes_an_engine_over_gets_no_further() {
    if !geteuid().is_root() {
        return eprintln!("SKIPPED: needs root, to show what root cannot do any more");
    }
    let stage = Stage::new();
    let hijacked = stage.program("lab-hijacked");
    for user in [0, NOBODY] {
        for (number, (what, end)) in ATTEMPTS.iter().enumerate() {
            let state = stage.directory(&format!("{user}-{number}"), user);
            assert_eq!(attempt(&hijacked, "probe", &state, what, user), *end, "{what}, as user {user}");
        }
    }
}

#[test]
fn without_the_sandbox_the_same_attempts_work() {
    if !geteuid().is_root() {
        return eprintln!("SKIPPED: needs root");
    }
    let stage = Stage::new();
    let hijacked = stage.program("lab-hijacked");
    // Not these: they would change more than this process, stop it, or are tried with arguments that mean nothing.
    let left_out = ["mount", "new-namespace", "load-bpf", "become-another", "trace", "write /tmp/sonde-hijacked"];
    for (number, (what, _)) in ATTEMPTS.iter().enumerate().filter(|(_, (what, _))| !left_out.contains(what)) {
        let state = stage.directory(&number.to_string(), 0);
        assert_eq!(attempt(&hijacked, "none", &state, what, 0), Succeeds, "{what}");
    }
}

/// A line of `/proc/net/udp`: the port that a socket of this process has, and how many datagrams the kernel has dropped for it.
fn udp_sockets(process: u32) -> Vec<(Family, u16, u64)> {
    let links = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links: Vec<String> =
        links.filter_map(|link| Some(fs::read_link(link.ok()?.path()).ok()?.to_str()?.to_owned())).collect();
    let mut sockets = Vec::new();
    for (family, table) in [(Family::V4, "udp"), (Family::V6, "udp6")] {
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap();
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            if links.contains(&format!("socket:[{}]", columns[9])) {
                let (_, port) = columns[1].rsplit_once(':').unwrap();
                sockets.push((family, u16::from_str_radix(port, 16).unwrap(), columns[12].parse().unwrap()));
            }
        }
    }
    sockets
}

/// What somebody else sends to the probe's connection is dropped before it reaches the program.
fn hears_no_stranger(probe: u32, host: &Namespace) {
    let before = udp_sockets(probe);
    assert!(!before.is_empty(), "the connection has a socket");
    host.run(|| {
        for (family, port, _) in &before {
            let own = Host::Dual.address(*family).unwrap();
            let stranger = UdpSocket::bind((own, 0)).unwrap();
            for _ in 0..3 {
                stranger.send_to(&[0xc0; 1200], (own, *port)).unwrap();
            }
        }
    });
    let expected: Vec<_> = before.iter().map(|(family, port, drops)| (*family, *port, drops + 3)).collect();
    assert_eq!(udp_sockets(probe), expected);
}

/// A probe alone, started with these words before it, and what it says of itself when it is up; it is ended then. Or, if it does not
/// come up, what it said instead.
fn alone(stage: &Stage, name: &str, before: &[&str], owner: u32, config: &str) -> Result<Value, String> {
    let state = stage.directory(name, owner);
    let file = |what: &str, text: &str| {
        let path = stage.folder.path().join(format!("{name}-{what}"));
        fs::write(&path, text).unwrap();
        path
    };
    let key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let network =
        format!("name = \"x\"\nroots = [\"{key}\"]\n[[collectors]]\nkey = \"{key}\"\naddresses = [\"127.0.0.1:9\"]\n");
    let (network, config) = (file("network.toml", &network), file("sonde.toml", config));
    let mut command = Command::new(before[0]);
    command.args(&before[1..]).arg(stage.program("sonde-probe")).arg("run").arg("--network").arg(network);
    command.arg("--config").arg(config).arg("--state").arg(&state).stdin(Stdio::null());
    let mut probe = command
        .stderr(fs::File::create(stage.folder.path().join(name).with_extension("log")).unwrap())
        .spawn()
        .unwrap();
    let status = wait_for("the probe to be up or to end", || {
        let mut ask = Command::new(stage.program("sonde-probe"));
        let output = ask.args(["status", "--json", "--state"]).arg(&state).output()?;
        let status = serde_json::from_slice::<Value>(&output.stdout).ok();
        Ok(status.map(Some).or_else(|| probe.try_wait().ok().flatten().map(|_| None)))
    });
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(probe.id()).unwrap()),
        nix::sys::signal::SIGTERM,
    );
    let _ = probe.wait();
    let said = fs::read_to_string(stage.folder.path().join(name).with_extension("log")).unwrap();
    status.unwrap().ok_or(said)
}

#[test]
fn what_is_kept_depends_on_the_host_and_on_what_the_machine_allows() {
    if !geteuid().is_root() {
        return eprintln!("SKIPPED: needs root, to show what root keeps");
    }
    let stage = Stage::new();
    let capabilities = |status: &Value| status["sandbox"]["capabilities"].clone();
    // In a network of its own, where the kernel lets nobody open ping sockets.
    let new = ["unshare", "--net"];
    let pings = alone(&stage, "pings", &new, 0, "").unwrap();
    assert_eq!(capabilities(&pings), json!(["CAP_NET_RAW"]), "{pings}");
    let never = alone(&stage, "never", &new, 0, "[sandbox]\nraw = false\n").unwrap();
    assert_eq!(capabilities(&never), json!([]), "{never}");
    let open =
        ["unshare", "--net", "sh", "-c", "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range; exec \"$@\"", "sh"];
    let open = alone(&stage, "open", &open, 0, "").unwrap();
    assert_eq!(capabilities(&open), json!([]), "{open}");

    // Somebody else's state directory: it runs, and says what that costs.
    let foreign = alone(&stage, "foreign", &new, NOBODY, "[sandbox]\nraw = false\n").unwrap();
    assert_eq!(capabilities(&foreign), json!(["CAP_DAC_OVERRIDE"]), "{foreign}");
    let refused = alone(&stage, "refused", &new, NOBODY, "[sandbox]\nrequired = true\n").unwrap_err();
    assert!(refused.contains("required = true") && refused.contains("another user"), "{refused}");
    let required = alone(&stage, "required", &new, 0, "[sandbox]\nrequired = true\n").unwrap();
    assert_eq!(required["sandbox"]["seccomp"], true, "{required}");

    let off = alone(&stage, "off", &new, 0, "[sandbox]\nenabled = false\n").unwrap();
    assert_eq!((&off["sandbox"]["enabled"], &off["sandbox"]["seccomp"]), (&json!(false), &json!(false)), "{off}");
}

#[test]
fn nobody_in_the_sandbox_measures_and_says_what_is_in_force() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let scene = Scene::start(&lab, &[]).unwrap();
    let stage = Stage::new();
    let state = stage.directory("state", NOBODY);
    let network = stage.folder.path().join("network.toml");
    scene.server.network_file(EMAIL, &network).unwrap();
    fs::set_permissions(&network, fs::Permissions::from_mode(0o644)).unwrap();
    let config = stage.folder.path().join("sonde.toml");
    // Nothing has to be asked for.
    fs::write(&config, "").unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let host = lab.host(Host::Dual);
    let (setpriv, words) = AS_NOBODY.split_first().unwrap();
    let mut command = host.command(setpriv);
    command.args(words).arg(stage.program("sonde-probe")).arg("run").arg("--network").arg(&network);
    let mut probe =
        command.arg("--config").arg(&config).arg("--state").arg(&state).stdin(Stdio::null()).spawn().unwrap();

    let status = wait_for("the probe to connect", || {
        let mut ask = Command::new(stage.program("sonde-probe"));
        let output = ask.args(["status", "--json", "--state"]).arg(&state).output()?;
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok((status["state"] == "connected").then_some(status))
    })
    .unwrap();
    let sandbox = &status["sandbox"];
    assert_eq!((&sandbox["enabled"], &sandbox["no_new_privs"]), (&json!(true), &json!(true)), "{status}");
    assert_eq!((&sandbox["seccomp"], &sandbox["capabilities"]), (&json!(true), &json!([])), "{status}");
    assert!(sandbox["landlock_abi"].as_i64().is_some_and(|abi| abi >= 1), "{status}");
    // What the program says is what the kernel says of every thread of it.
    for thread in fs::read_dir(format!("/proc/{}/task", probe.id())).unwrap() {
        let text = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        for line in ["CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(text.contains(line), "no {line} in {text}");
        }
    }

    hears_no_stranger(probe.id(), host);

    let number = status["probe"].as_u64().unwrap();
    let sources = json!([{"type": "probes", "value": number.to_string(), "requested": 1}]);
    for family in Family::ALL {
        let af = if family == Family::V4 { 4 } else { 6 };
        let target = Host::Target.address(family).unwrap().to_string();
        let name = "target.lab.example";
        let definitions = json!([
            {"type": "ping", "af": af, "target": target, "description": "d", "packets": 1},
            // The system's resolvers, read by the process apart.
            {"type": "ping", "af": af, "target": name, "description": "d", "packets": 1, "resolve_on_probe": true},
            {"type": "traceroute", "af": af, "target": target, "description": "d", "protocol": "UDP"},
            {"type": "dns", "af": af, "description": "d", "use_probe_resolver": true, "query_class": "IN",
             "query_type": "A", "query_argument": name},
        ]);
        let ids = scene.owner.measure(&definitions, &sources, true).unwrap();
        for (id, kind) in ids.iter().zip(["ping", "ping by name", "traceroute", "dns"]) {
            let result = scene.owner.wait_results(*id, 1).unwrap().remove(0);
            let worked = match kind {
                "ping" | "ping by name" => result["rcvd"] == 1,
                "traceroute" => {
                    let last = result["result"].as_array().and_then(|hops| hops.last());
                    last.is_some_and(|hop| hop["result"][0]["from"] == result["dst_addr"])
                }
                _ => result["resultset"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| one["result"]["ANCOUNT"] == 1)),
            };
            assert!(worked, "{kind} over IPv{af}: {result}");
        }
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(probe.id()).unwrap()), nix::sys::signal::SIGTERM)
        .unwrap();
    let ended = wait_for("the probe to end", || Ok(probe.try_wait()?)).unwrap();
    assert!(ended.success(), "{ended}");
}
