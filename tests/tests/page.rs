//! The host's page of a real probe in its sandbox: what it shows, that its socket is the only one that listens, and that it is
//! not there unless the host has asked for it.

// What cannot go on here has failed the test.
#![expect(clippy::unwrap_used, reason = "an error must end the test")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};

use serde_json::{Value, json};
use sonde_tests::loopback::Loopback;
use sonde_tests::world::{PATIENCE, wait_for};

/// An address of this test's own.
fn address() -> SocketAddrV4 {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(127, 128 | high & 63, low, 90), 9090)
}

/// What comes back for a request to this host.
fn get(address: SocketAddrV4, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: a browser\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The local addresses of the TCP sockets of a process that listen, as the kernel writes them.
fn listening(process: u32) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let sockets: BTreeSet<String> = links
        .filter_map(|link| fs::read_link(link.ok()?.path()).ok()?.to_str().map(ToOwned::to_owned))
        .filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // 0A is the state of a listening one; the tenth field is the socket's number.
            if fields[3] == "0A" && sockets.contains(fields[9]) {
                found.push(fields[1].to_owned());
            }
        }
    }
    found
}

#[test]
fn the_host_sees_its_probe_in_a_browser_and_nobody_is_let_in_by_another_name() {
    let mut network = Loopback::start(1).unwrap();
    let address = address();
    assert_eq!(listening(network.probes[0].process().unwrap().id()), [""; 0], "off, unless it is asked for");

    let file = network.probes[0].dir().join("sonde.toml");
    let config = fs::read_to_string(&file).unwrap();
    let page = format!("{config}[sandbox]\nenabled = true\n[page]\nlisten = \"{address}\"\n");
    fs::write(&file, page).unwrap();
    network.probes[0].stop().unwrap();
    network.probes[0].restart().unwrap();
    network.probes[0].wait_connected().unwrap();
    network.wait_for_probes().unwrap();
    let [a, b, c, d] = address.ip().octets();
    let local = format!("{d:02X}{c:02X}{b:02X}{a:02X}:{:04X}", address.port());
    assert_eq!(listening(network.probes[0].process().unwrap().id()), [local], "the page's socket, and no other");

    // UDP needs no socket for pings.
    let traceroute = json!([{"type": "traceroute", "af": 4, "target": "127.0.0.1", "protocol": "UDP", "packets": 1}]);
    let id = network.client.measure(&traceroute, &network.everybody(), true).unwrap()[0];
    network.client.wait_results(id, 1).unwrap();
    let page = wait_for("the page to show what was measured", || {
        let page = get(address, "/", &address.to_string());
        Ok((page.contains("<td>traceroute</td><td>127.0.0.1</td>")).then_some(page))
    })
    .unwrap();
    assert!(page.starts_with("HTTP/1.0 200 OK\r\n") && page.contains("default-src 'none'"), "{page}");
    assert!(page.contains(&format!("Probe {}", network.numbers[0])) && !page.contains("<script"), "{page}");

    let answer = get(address, "/status.json", "localhost");
    let seen: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(seen["status"]["state"], "connected", "{seen}");
    assert_eq!(seen["days"][0]["rows"][0]["kind"], "traceroute", "{seen}");
    let refused = get(address, "/status.json", "rebound.example:9090");
    assert!(refused.starts_with("HTTP/1.0 421 ") && !refused.contains("connected"), "{refused}");

    // Somebody else has the port: the probe does without its page.
    network.probes[0].stop().unwrap();
    let _taken = TcpListener::bind(address).unwrap();
    network.probes[0].restart().unwrap();
    network.probes[0].wait_connected().unwrap();
    assert!(network.probes[0].process().unwrap().log().contains("the page cannot be opened"));
}
