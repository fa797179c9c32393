//! The packet filter in the kernel: what `nft` reads back, and what passes.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use sonde_os::filter::{Rules, apply};

use super::line::{USER, ip, on_a_line, output};

/// The board's end of the line, with addresses.
fn plug_in() {
    ip("addr add 192.0.2.7/24 dev eth0");
    ip("-6 addr add 2001:db8::7/64 dev eth0 nodad");
    ip("-6 addr add fe80::7/64 dev eth0 nodad");
    ip("link set eth0 up");
    while !output("ip", "link show eth0").contains("state UP") {
        std::thread::yield_now();
    }
}

fn rules() -> Rules {
    Rules {
        user: USER,
        resolvers: vec!["192.0.2.1".parse().unwrap(), "fe80::53".parse().unwrap()],
        collectors: vec!["10.0.2.2:8333".parse().unwrap()],
        allow: vec!["10.9.0.0/16".parse().unwrap()],
        routers: vec!["fe80::1".parse().unwrap(), "192.0.2.1".parse().unwrap()],
        neighbours: vec!["2a00:1:2::/64".parse().unwrap()],
    }
}

#[test]
fn nft_reads_back_what_was_written() {
    on_a_line(|_| async {
        apply(&rules()).unwrap();
        let found = output("nft", "--numeric list ruleset");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/network/filter.nft");
        if std::env::var_os("SONDE_BLESS").is_some() {
            std::fs::write(path, &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(path).unwrap());
        // Again, and with others: in the place of the earlier ones, which leave nothing behind.
        apply(&rules()).unwrap();
        assert_eq!(output("nft", "--numeric list ruleset"), found);
        apply(&Rules { user: USER, ..Rules::default() }).unwrap();
        assert!(!output("nft", "list ruleset").contains("8333"));
    });
}

#[test]
fn the_probe_sends_nothing_to_private_networks_but_what_it_needs() {
    on_a_line(|router| async move {
        plug_in();
        ip("route add default via 192.0.2.1");
        ip("-6 route add default via fe80::1 dev eth0");
        apply(&rules()).unwrap();
        // Bash sends a datagram, and its exit says whether the system let it.
        let may = |user: u32, host: &str, port: u16| {
            let script = format!("echo x > /dev/udp/{host}/{port}");
            let mut command = Command::new("bash");
            let output = command.args(["-c", &script]).uid(user).output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() || words.contains("not permitted"), "{host} {port}: {words}");
            output.status.success()
        };
        for (host, port) in [
            ("1.1.1.1", 53),
            ("2a00:9::1", 33434),
            ("192.0.2.1", 53),
            ("192.0.2.1", 853),
            ("192.0.2.1", 9),
            ("10.0.2.2", 8333),
            ("10.9.1.1", 7),
            ("fe80::1%eth0", 9),
        ] {
            assert!(may(USER, host, port), "{host} {port}");
        }
        for (host, port) in [
            ("192.0.2.1", 80),
            ("192.168.1.1", 53),
            ("10.0.2.2", 53),
            ("10.8.0.1", 8333),
            ("127.0.0.1", 53),
            ("fd00::1", 53),
            ("fe80::1%eth0", 53),
            ("2a00:1:2::9", 33434),
        ] {
            assert!(!may(USER, host, port), "{host} {port}");
        }
        assert!(may(0, "192.168.1.1", 53), "others are not meant");
        // What the kernel says by itself is nobody's: it answers who looks for it.
        router.call(|| output("ping", "-c 1 -W 5 fe80::7%lan0"));
    });
}

#[test]
fn a_stranger_finds_nothing_and_hears_nothing() {
    on_a_line(|router| async move {
        plug_in();
        apply(&rules()).unwrap();
        // Something that listens, as nothing on the board does.
        let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
        for port in [8080, 81] {
            let refused = router.call(move || {
                let board: SocketAddr = format!("192.0.2.7:{port}").parse().unwrap();
                TcpStream::connect_timeout(&board, Duration::from_secs(2)).map(drop).unwrap_err().kind()
            });
            assert_eq!(refused, ErrorKind::TimedOut, "{port}: neither accepted nor refused");
        }
        drop(listener);
        for board in ["192.0.2.7", "[2001:db8::7]"] {
            for port in [53, 68, 546, 40_000] {
                router.call(move || {
                    let any = if board.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
                    let socket = UdpSocket::bind(any).unwrap();
                    socket.connect(format!("{board}:{port}")).unwrap();
                    socket.send(b"?").unwrap();
                    // The link keeps the order: what the datagram brought back has come before the echo.
                    output("ping", &format!("-c 1 -W 5 {}", board.trim_matches(['[', ']'])));
                    assert!(socket.take_error().unwrap().is_none(), "{board} {port} says that it is closed");
                });
            }
        }
    });
}

#[test]
fn answers_come_in() {
    on_a_line(|router| async move {
        plug_in();
        apply(&Rules { user: USER, ..Rules::default() }).unwrap();
        let (told, tell) = std::sync::mpsc::channel();
        // Larger than a packet, so that the answer comes in fragments.
        const SIZE: usize = 4000;
        let servers = router.call(|| {
            let udp = [UdpSocket::bind("192.0.2.1:7").unwrap(), UdpSocket::bind("[2001:db8::1]:7").unwrap()];
            let tcp = TcpListener::bind("[2001:db8::1]:7").unwrap();
            (udp, tcp)
        });
        let (udp, tcp) = servers;
        for socket in udp {
            let told = told.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; SIZE];
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                socket.send_to(&buffer[..length], from).unwrap();
                told.send(()).unwrap();
            });
        }
        for server in ["192.0.2.1:7", "[2001:db8::1]:7"] {
            let any = if server.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            socket.connect(server).unwrap();
            socket.send(&[7; SIZE]).unwrap();
            tell.recv().unwrap();
            assert_eq!(socket.recv(&mut [0; SIZE]).unwrap(), SIZE, "{server}");
            // An error is an answer too.
            let closed = UdpSocket::bind(any).unwrap();
            closed.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            closed.connect(server.replace(":7", ":99")).unwrap();
            closed.send(b"?").unwrap();
            assert_eq!(closed.recv(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{server}");
        }
        TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        output("ping", "-c 1 -W 5 2001:db8::1");
    });
}
