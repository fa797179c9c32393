//! The lab tells the truth: who reaches whom, over which routers, how late, with which losses; and it leaves nothing
//! behind. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sonde_tests::lab::dns::message::write_query;
use sonde_tests::lab::dns::zone::kind;
use sonde_tests::lab::reach::{ping, udp_hop};
use sonde_tests::lab::{
    Direction, DnsServer, Family, Fate, Host, Lab, LabOptions, Link, LinkParams, Namespace, Node, Router,
};

/// Long enough for any answer that will come.
const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough to be sure that none comes, given paths of some milliseconds.
const SILENCE: Duration = Duration::from_millis(300);

/// A lab, unless this machine cannot have one.
fn start(options: LabOptions) -> Option<Lab> {
    if let Err(reason) = Lab::available() {
        // Not by a macro, whose output the test runner keeps to itself.
        writeln!(io::stderr(), "SKIPPED: no lab on this machine: {reason}").expect("standard error is there");
        return None;
    }
    Some(Lab::start(options).expect("the lab starts"))
}

fn v4(host: Host) -> IpAddr {
    host.address(Family::V4).expect("the host has IPv4")
}

fn v6(host: Host) -> IpAddr {
    host.address(Family::V6).expect("the host has IPv6")
}

/// What `look` finds, once it does.
fn eventually<T>(look: impl Fn() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "waited for {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn reaches(lab: &Lab, from: Host, to: IpAddr) -> bool {
    lab.host(from).run(|| ping(to, 1, PATIENCE)).expect("an echo request can be sent").is_some()
}

fn is_silent(lab: &Lab, from: Host, to: IpAddr) -> bool {
    lab.host(from).run(|| ping(to, 1, SILENCE)).expect("an echo request can be sent").is_none()
}

#[test]
fn hosts_reach_what_they_should_and_nothing_else() {
    let Some(lab) = start(LabOptions::default()) else { return };
    for from in [Host::Dual, Host::V4Only, Host::V6Only, Host::Nat, Host::Neighbour, Host::NextDoor] {
        for to in [Host::Server, Host::Target, Host::Dns] {
            for family in Family::ALL.into_iter().filter(|family| from.address(*family).is_some()) {
                for address in to.addresses(family) {
                    assert!(reaches(&lab, from, address), "{from:?} to {to:?} at {address}");
                }
            }
        }
    }
    assert!(reaches(&lab, Host::Dual, v6(Host::Neighbour)));
    assert!(reaches(&lab, Host::Dual, v4(Host::NextDoor)));
    assert!(reaches(&lab, Host::Target, v6(Host::NextDoor)));

    let error = |from, to| lab.host(from).run(|| ping(to, 1, SILENCE)).expect_err("no way").raw_os_error();
    assert_eq!(error(Host::V4Only, v6(Host::Target)), Some(libc::ENETUNREACH));
    assert_eq!(error(Host::V6Only, v4(Host::Target)), Some(libc::ENETUNREACH));
    assert_eq!(error(Host::Nat, v6(Host::Target)), Some(libc::EADDRNOTAVAIL));
    assert!(is_silent(&lab, Host::Target, v4(Host::Nat)));
}

#[test]
fn packets_with_a_small_hop_limit_meet_the_routers_of_the_true_path() {
    let Some(lab) = start(LabOptions::default()) else { return };
    for from in [Host::Dual, Host::V4Only, Host::V6Only, Host::Nat] {
        for (to, family) in
            [Host::Target, Host::Server].into_iter().flat_map(|to| Family::ALL.map(|family| (to, family)))
        {
            let path = lab.path(from, to, family);
            for (hop_limit, hop) in (1..).zip(&path) {
                let dst = to.address(family).expect("there is a path to it");
                let port = 33_434 + u16::from(hop_limit);
                let answer = lab
                    .host(from)
                    .run(|| udp_hop(SocketAddr::new(dst, port), hop_limit, PATIENCE))
                    .expect("a packet can be sent")
                    .unwrap_or_else(|| panic!("{from:?} to {dst}: hop {hop_limit} is silent"));
                assert_eq!(answer.from, hop.address, "{from:?} to {dst}, hop {hop_limit}");
                let is_last = usize::from(hop_limit) == path.len();
                assert_eq!((answer.is_port(), answer.is_hop_limit()), (is_last, !is_last), "{from:?} to {dst}");
            }
        }
    }
    assert_eq!(lab.path(Host::Dual, Host::Target, Family::V6).len(), 5);
}

#[test]
fn a_silent_router_forwards_but_does_not_answer() {
    let Some(lab) = start(LabOptions::default()) else { return };
    for (family, target) in [(Family::V4, v4(Host::Target)), (Family::V6, v6(Host::Target))] {
        let hop = |limit, patience| {
            let to = SocketAddr::new(target, 33_440);
            lab.host(Host::Dual).run(|| udp_hop(to, limit, patience)).expect("a packet can be sent")
        };
        lab.set_silent(Router::R2, true).unwrap();
        assert_eq!(hop(3, SILENCE), None);
        assert!(hop(4, PATIENCE).is_some() && reaches(&lab, Host::Dual, target), "{family:?}");
        lab.set_silent(Router::R2, false).unwrap();
        assert!(hop(3, PATIENCE).is_some(), "{family:?}");
    }
}

#[test]
fn no_round_trip_is_faster_than_the_delays_and_the_log_knows_each() {
    let Some(lab) = start(LabOptions::default()) else { return };
    let mut seq = 0;
    let mut check = |from: Host, to: Host, family: Family| {
        seq += 1;
        let dst = to.address(family).expect("dual stack");
        let reply = lab.host(from).run(|| ping(dst, seq, PATIENCE)).unwrap().expect("a reply");
        let configured = lab.rtt_floor(from, to, family).expect("a path");
        let id = (from != Host::Nat).then_some(reply.id);
        let held = lab.wire_log().unwrap().echo(dst, id, seq).expect("the exchange is in the log");
        assert!(held.rtt_floor() >= configured, "{held:?}, configured {configured:?}");
        assert!(reply.rtt >= held.rtt_floor(), "{reply:?}, {held:?}");
        let links = if to == Host::Target { 4 } else { 3 };
        assert_eq!((held.links_there, held.links_back), (links, links));
        configured
    };
    assert_eq!(check(Host::Dual, Host::Target, Family::V4), Duration::from_millis(20));
    check(Host::Dual, Host::Target, Family::V6);
    check(Host::V6Only, Host::Server, Family::V6);
    check(Host::Nat, Host::Target, Family::V4);

    let slow = LinkParams::delay(Duration::from_millis(40));
    lab.set_link_direction(Link::R2R3, Direction::Backward, slow).unwrap();
    assert_eq!(check(Host::Dual, Host::Target, Family::V4), Duration::from_millis(55));
    let path = lab.path(Host::Dual, Host::Target, Family::V4);
    let last = path.last().expect("a path");
    assert_eq!((last.there, last.back), (Duration::from_millis(10), Duration::from_millis(45)));

    let dst = v4(Host::Target);
    lab.host(Host::Dual).run(|| udp_hop(SocketAddr::new(dst, 33_500), 4, PATIENCE)).unwrap().expect("hop 4");
    let held = lab.wire_log().unwrap().udp_error(dst, 33_500).expect("the exchange is in the log");
    assert!(held.rtt_floor() >= path[3].rtt_floor());

    let stats = lab.wire_stats().unwrap();
    assert!(stats.frames > 0 && stats.failed == 0 && stats.late_max >= stats.late_median, "{stats:?}");
    assert!((0.0..=1.0).contains(&lab.steal().unwrap()));
}

#[test]
fn loss_cuts_one_link_and_repeats_with_its_seed() {
    let Some(lab) = start(LabOptions::default()) else { return };
    let delay = Duration::from_millis(1);
    lab.set_link(Link::R3Target, LinkParams::delay(delay).with_loss(1.0)).unwrap();
    assert!(is_silent(&lab, Host::Dual, v4(Host::Target)));
    assert!(reaches(&lab, Host::Dual, v4(Host::Server)), "another link is not concerned");

    lab.set_link(Link::R3Target, LinkParams::delay(delay).with_loss(0.5)).unwrap();
    let seed = 42;
    let count = 30;
    // What became of each request and each reply on that link; when they came does not matter.
    let fates = || -> Vec<(u16, Direction, bool)> {
        lab.clear_wire_log().unwrap();
        lab.reseed(seed).unwrap();
        for seq in 0..count {
            lab.host(Host::Dual).run(|| ping(v6(Host::Target), seq, Duration::from_millis(30))).unwrap();
        }
        eventually(|| {
            let log = lab.wire_log().unwrap();
            let mut fates: Vec<_> = log
                .matching(|frame| frame.ip.is_some_and(|ip| ip.icmp_seq.is_some()))
                .filter(|record| record.link == Link::R3Target)
                .filter_map(|record| Some((record.summary.ip?.icmp_seq?, record.direction, record.fate == Fate::Sent)))
                .collect();
            fates.sort_unstable();
            let arrived = fates.iter().filter(|(_, direction, sent)| *direction == Direction::Forward && *sent).count();
            (fates.len() == usize::from(count) + arrived).then_some(fates)
        })
    };
    let first = fates();
    for direction in Direction::ALL {
        let sent: BTreeSet<bool> = first.iter().filter(|fate| fate.1 == direction).map(|fate| fate.2).collect();
        assert_eq!(sent.len(), 2, "some are lost and some are not; seed {seed}, {direction:?}");
    }
    assert_eq!(first, fates(), "seed {seed}");

    lab.set_link(Link::R3Target, LinkParams::delay(delay)).unwrap();
    lab.set_link_down(Link::R3Target, true).unwrap();
    assert!(is_silent(&lab, Host::Dual, v4(Host::Target)));
    lab.set_link_down(Link::R3Target, false).unwrap();
    assert!(reaches(&lab, Host::Dual, v4(Host::Target)));
    assert!(lab.set_link(Link::R1R2, LinkParams::delay(delay).with_loss(1.5)).is_err());
}

#[test]
fn frames_are_duplicated_and_reordered_on_request() {
    let Some(lab) = start(LabOptions::default()) else { return };
    let usual = LinkParams::delay(Duration::from_millis(1));
    let target = SocketAddr::new(v4(Host::Target), 4000);
    let receiver = lab.host(Host::Target).run(|| UdpSocket::bind(target)).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let sender = lab.host(Host::Dual).run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    let receive = || {
        let mut byte = [0];
        receiver.recv(&mut byte).expect("a packet arrives");
        byte[0]
    };

    lab.set_link(Link::R2R3, LinkParams { duplicate: 1.0, ..usual }).unwrap();
    sender.send_to(&[7], target).unwrap();
    assert_eq!([receive(), receive()], [7, 7]);

    // Half of them take longer by more than sending all of them takes.
    let extra = Duration::from_millis(300);
    lab.set_link(Link::R2R3, LinkParams { reorder: 0.5, reorder_extra: extra, ..usual }).unwrap();
    let sent: Vec<u8> = (0..30).collect();
    for number in &sent {
        sender.send_to(&[*number], target).unwrap();
    }
    let mut received: Vec<u8> = sent.iter().map(|_| receive()).collect();
    assert_ne!(received, sent);
    received.sort_unstable();
    assert_eq!(received, sent);
}

#[test]
fn nat_hides_the_private_address() {
    let Some(lab) = start(LabOptions::default()) else { return };
    let server = SocketAddr::new(v4(Host::Server), 5000);
    let listener = lab.host(Host::Server).run(|| TcpListener::bind(server)).unwrap();
    let capture = lab.capture(Host::Server).unwrap();
    let client = lab.host(Host::Nat).run(|| TcpStream::connect(server)).unwrap();
    let (_stream, seen_from) = listener.accept().unwrap();
    assert_eq!(client.local_addr().unwrap().ip(), v4(Host::Nat));
    assert_eq!(Some(seen_from.ip()), Host::Nat.public_address(Family::V4));
    assert!(capture.stop().unwrap().iter().all(|packet| packet.summary.src() != Some(v4(Host::Nat))));
}

#[test]
fn a_capture_has_what_was_sent_with_whole_checksums_and_no_giant_frames() {
    let Some(lab) = start(LabOptions::default()) else { return };
    let target = SocketAddr::new(v4(Host::Target), 4000);
    let capture = lab.capture(Host::Dual).unwrap();
    let socket = lab.host(Host::Dual).run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    socket.send_to(b"seen?", target).unwrap();
    assert!(reaches(&lab, Host::Dual, v6(Host::Neighbour)));
    assert!(reaches(&lab, Host::Dual, v4(Host::Neighbour)));
    let packets = capture.stop().unwrap();

    let sent: Vec<_> = packets.iter().filter(|packet| packet.left() && packet.bytes.ends_with(b"seen?")).collect();
    assert_eq!(sent.len(), 1);
    let packet = sent[0];
    let ip = packet.summary.ip.expect("it is IP");
    assert!(packet.left_to(target.ip()) && packet.interface == "eth0" && packet.at > 0);
    assert_eq!((ip.src, ip.src_port), (v4(Host::Dual), Some(socket.local_addr().unwrap().port())));
    assert_eq!((ip.dst_port, ip.hop_limit), (Some(4000), 64));
    assert_eq!(udp_sum(&packet.bytes[14..]), 0xffff, "a checksum left to the hardware");
    // Nobody had told the neighbours of each other before.
    assert!(packets.iter().any(|packet| packet.left() && packet.summary.is_arp()));
    assert!(packets.iter().any(|packet| packet.left() && packet.summary.is_nd()));
    assert!(!packets.iter().any(|packet| packet.summary.is_dns_to(v4(Host::Dns))));

    let server = SocketAddr::new(v6(Host::Server), 5000);
    let listener = lab.host(Host::Server).run(|| TcpListener::bind(server)).unwrap();
    let capture = lab.capture(Host::Dual).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut all).map(|_| all.len())
    });
    let mut stream = lab.host(Host::Dual).run(|| TcpStream::connect(server)).unwrap();
    stream.write_all(&vec![7; 200_000]).unwrap();
    drop(stream);
    assert_eq!(reader.join().unwrap().unwrap(), 200_000);
    let longest = capture.stop().unwrap().iter().map(|packet| packet.bytes.len()).max();
    assert_eq!(longest, Some(1514));
}

/// The ones' complement sum over the pseudo-header and the datagram: 0xffff if the checksum is right.
fn udp_sum(packet: &[u8]) -> u32 {
    let length = packet.len() as u32 - 20;
    let words = packet[12..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum = words.sum::<u32>() + 17 + length;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// Asks the host's own resolver over UDP, as a program would that reads resolv.conf.
fn ask(inside: &Namespace, name: &str, kind: u16, patience: Duration) -> Option<Vec<u8>> {
    let query = write_query(0x1234, name, kind, None).unwrap();
    inside.run(|| {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap();
        let resolver: IpAddr = text.lines().next().unwrap().strip_prefix("nameserver ").unwrap().parse().unwrap();
        let unspecified = if resolver.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(unspecified).unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.send_to(&query, (resolver, 53)).unwrap();
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    })
}

#[test]
fn names_are_answered_as_the_zone_says_and_logged_byte_by_byte() {
    let Some(lab) = start(LabOptions::default()) else { return };
    let IpAddr::V4(target) = v4(Host::Target) else { unreachable!("asked for IPv4") };
    for host in [Host::Dual, Host::V6Only, Host::Nat] {
        let answer = ask(lab.host(host), "target.lab.example", kind::A, PATIENCE).expect("an answer");
        assert!(answer.ends_with(&target.octets()), "{host:?}");
    }
    assert_eq!(lab.dns_log(DnsServer::NatGateway).unwrap().len(), 1);
    assert_eq!(lab.dns_log(DnsServer::Lab).unwrap().len(), 2);

    let dual = lab.host(Host::Dual);
    let capture = lab.capture(Host::Dual).unwrap();
    lab.add_to_zone(DnsServer::Lab, "moving.lab.example A 60 20.30.1.10 then 192.168.0.1\nquiet.lab.example SILENT")
        .unwrap();
    let answers: Vec<_> =
        (0..2).map(|_| ask(dual, "moving.lab.example", kind::A, PATIENCE).expect("an answer")).collect();
    assert!(answers[0].ends_with(&[20, 30, 1, 10]) && answers[1].ends_with(&[192, 168, 0, 1]));
    assert_eq!(ask(dual, "quiet.lab.example", kind::A, SILENCE), None);
    let rcode = |answer: Vec<u8>| answer[3] & 0xf;
    assert_eq!(rcode(ask(dual, "missing.lab.example", kind::A, PATIENCE).expect("an answer")), 3);
    // RFC 7050: no NAT64 here.
    let no_nat64 = ask(dual, "ipv4only.arpa", kind::AAAA, PATIENCE).expect("an answer");
    assert_eq!(no_nat64[6..8], [0, 0]);
    let resolver = v4(Host::Dns);
    assert_eq!(capture.stop().unwrap().iter().filter(|packet| packet.summary.is_dns_to(resolver)).count(), 5);

    let log = lab.dns_log(DnsServer::Lab).unwrap();
    let entry = |name: &str| log.iter().filter(|entry| entry.name == name).collect::<Vec<_>>();
    let moving: Vec<_> = entry("moving.lab.example.").iter().map(|entry| entry.answer.clone().unwrap()).collect();
    assert_eq!(moving, answers);
    assert_eq!(entry("quiet.lab.example.")[0].answer, None);
    assert_eq!(entry("quiet.lab.example.")[0].client.ip(), v4(Host::Dual));
    assert!(lab.set_zone(DnsServer::Lab, "nonsense").is_err());
}

#[test]
fn an_answer_too_large_for_udp_comes_over_tcp() {
    let Some(lab) = start(LabOptions::default()) else { return };
    let text = "x".repeat(250);
    let zone = format!("big.lab.example TXT 60 {}", format!("\"{text}\" ").repeat(4));
    lab.set_zone(DnsServer::Lab, &zone).unwrap();
    let cut = ask(lab.host(Host::Dual), "big.lab.example", kind::TXT, PATIENCE).expect("an answer");
    assert!(cut[2] & 0x02 != 0 && cut.len() < 512);

    let query = write_query(1, "big.lab.example", kind::TXT, None).unwrap();
    let whole = lab.host(Host::V6Only).run(|| -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect((v6(Host::Dns), 53))?;
        stream.write_all(&[&[0, query.len() as u8], &query[..]].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    });
    let whole = whole.unwrap();
    assert!(whole[2] & 0x02 == 0 && whole.len() > 1000);
    let log = lab.dns_log(DnsServer::Lab).unwrap();
    let transports: Vec<_> = log.iter().map(|entry| entry.transport.as_str()).collect();
    assert_eq!(transports, ["udp", "tcp"]);
    assert_eq!(log[1].answer.as_ref(), Some(&whole));
}

#[test]
fn programs_run_inside_and_end_with_the_lab() {
    let Some(lab) = start(LabOptions::default()) else { return };
    let outside = std::fs::read("/etc/resolv.conf").ok();
    let output = lab.host(Host::Nat).command("cat").arg("/etc/resolv.conf").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "nameserver 192.168.7.1\n");
    assert_eq!(std::fs::read("/etc/resolv.conf").ok(), outside);
    let interfaces = lab.host(Host::Dual).command("ls").arg("/sys/class/net").output().unwrap();
    assert_eq!(String::from_utf8(interfaces.stdout).unwrap(), "eth0\nlo\n");

    let first = lab.spawn(lab.host(Host::Dual).command("sleep").arg("1000")).unwrap();
    let first_pid = first.id();
    assert!(is_alive(first_pid));
    drop(first);
    assert!(!is_alive(first_pid));

    // A grandchild that nobody holds ends with the lab.
    let mut shell = lab
        .spawn(lab.host(Host::Dual).command("sh").args(["-c", "sleep 1000 & echo $!"]).stdout(Stdio::piped()))
        .unwrap();
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let grandchild: u32 = line.trim().parse().unwrap();
    shell.wait().unwrap();
    assert!(is_alive(grandchild));
    lab.stop().unwrap();
    assert!(!is_alive(grandchild));
}

/// Not ended; a zombie has.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

#[test]
fn ping_sockets_are_for_everybody_only_if_asked_for() {
    let range = |lab: &Lab| lab.host(Host::Dual).run(|| std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range"));
    let Some(lab) = start(LabOptions { ping_sockets: false, ..LabOptions::default() }) else { return };
    assert_eq!(range(&lab).unwrap(), "1\t0\n");
    drop(lab);
    let Some(lab) = start(LabOptions::default()) else { return };
    assert_eq!(range(&lab).unwrap(), "0\t2147483647\n");
}

/// Everything on the machine that carries a lab's prefix.
fn remains(prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for directory in ["/run/netns", "/etc/netns", "/run/sonde-lab"] {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name == prefix || name.starts_with(&format!("{prefix}-")) {
                found.insert(Path::new(directory).join(name).display().to_string());
            }
        }
    }
    found
}

#[test]
fn two_labs_live_side_by_side_and_leave_nothing() {
    let broken = vec![(Link::R1R2, LinkParams::delay(Duration::ZERO).with_down(true))];
    let Some(first) = start(LabOptions { links: broken, ..LabOptions::default() }) else { return };
    let Some(second) = start(LabOptions::default()) else { return };
    assert!(is_silent(&first, Host::Dual, v4(Host::Target)));
    assert!(reaches(&second, Host::Dual, v4(Host::Target)));
    let (one, two) = (first.prefix().to_owned(), second.prefix().to_owned());
    assert_ne!(one, two);
    assert_eq!(Lab::existing().get(&one).map(Vec::len), Some(Node::all(false).len()));
    first.stop().unwrap();
    assert_eq!(remains(&one), BTreeSet::new());
    assert!(reaches(&second, Host::Dual, v4(Host::Target)));
    drop(second);
    assert_eq!(remains(&two), BTreeSet::new());
}

const OWNER_MARK: &str = "SONDE_LAB_OWNER";

/// Not a test: the process that `the_next_start_removes_what_a_killed_owner_left` kills.
#[test]
#[ignore = "a part of another test"]
fn owner_to_be_killed() {
    if std::env::var_os(OWNER_MARK).is_none() {
        return;
    }
    let lab = Lab::start(LabOptions::default()).expect("the lab starts");
    writeln!(io::stdout(), "\nprefix {}", lab.prefix()).expect("the parent listens");
    let _ = io::stdin().read_line(&mut String::new());
}

#[test]
fn the_next_start_removes_what_a_killed_owner_left() {
    if start(LabOptions::default()).is_none() {
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_to_be_killed", "--ignored", "--nocapture"])
        .env(OWNER_MARK, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let prefix = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("prefix ")?.to_owned()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    let prefix = prefix.expect("the owner's lab had started");
    // Another test's lab may begin at any time and clean up as well, so what is left now is not asserted.
    let lab = Lab::start(LabOptions::default()).expect("the lab starts");
    assert_eq!(remains(&prefix), BTreeSet::new());
    assert!(reaches(&lab, Host::Dual, v6(Host::Target)));
}
