//! What the probe knows of its surroundings, in a network namespace made for each test. Needs root; says so otherwise.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{RData, Record};
use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{geteuid, gettid};
use sonde_probe::local::{AddressWatch, LocalNetwork};
use sonde_probe::resolve::Resolver;
use sonde_protocol::address::Refusal;
use sonde_protocol::net::Family;

/// Runs `test` on a thread in a network namespace of its own, where `v0` and `v1` are the ends of one cable.
fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: making a network namespace needs root");
        return;
    }
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may");
        ip("link set lo up");
        ip("link add v0 type veth peer name v1");
        // No address that comes by itself, and when it likes.
        ip("link set v0 addrgenmode none up");
        ip("link set v1 addrgenmode none up");
        test();
    };
    if let Err(panic) = thread::spawn(inside).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in the namespace of this thread.
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("it is an address")
}

#[test]
fn own_addresses_links_and_routers_are_found() {
    in_a_namespace(|| {
        let empty = LocalNetwork::read().unwrap();
        assert!(!empty.has_route(Family::V4) && !empty.has_route(Family::V6));

        ip("addr add 20.0.0.9/24 dev v0");
        ip("addr add 30.0.0.1 peer 30.0.0.2/32 dev v0");
        ip("-6 addr add 2a00:1:2:300::9/64 dev v0 nodad");
        ip("-6 addr add 2a00:1:3::9/128 dev v0 nodad");
        ip("route add default via 20.0.0.1");
        ip("route add 40.0.0.0/16 dev v0");
        ip("route add 50.0.0.0/16 via 20.0.0.2");
        ip("-6 route add default via fe80::1 dev v0");
        ip("-6 route add 2a00:9::/64 dev v0");

        let local = LocalNetwork::read().unwrap();
        assert!(local.has_route(Family::V4) && local.has_route(Family::V6));
        let own: Vec<_> = local.own().collect();
        for text in ["20.0.0.9", "30.0.0.1", "2a00:1:2:300::9", "2a00:1:3::9", "127.0.0.1", "::1"] {
            assert!(own.contains(&address(text)), "{text} is not in {own:?}");
        }
        let near = local.neighbourhood(&[], &[], 56);
        for text in ["20.0.0.0/24", "30.0.0.2/32", "40.0.0.0/16", "2a00:1:2:300::/64", "2a00:9::/64"] {
            assert!(near.on_link.contains(&text.parse::<IpNet>().unwrap()), "{text} is not in {:?}", near.on_link);
        }
        for (text, expected) in [
            ("20.0.0.9", Err(Refusal::Own)),
            ("20.0.0.1", Err(Refusal::Gateway)),
            ("20.0.0.2", Err(Refusal::Gateway)),
            ("20.0.0.77", Err(Refusal::OnLink)),
            ("30.0.0.2", Err(Refusal::OnLink)),
            ("40.0.7.7", Err(Refusal::OnLink)),
            ("2a00:9::1", Err(Refusal::OnLink)),
            ("2a00:1:2:3ff::1", Err(Refusal::Site)),
            ("50.0.0.1", Ok(())),
            ("2a00:9:0:1::1", Ok(())),
        ] {
            assert_eq!(near.check(address(text), &[]), expected, "{text}");
        }
    });
}

#[test]
fn the_watch_rings_for_addresses_links_and_routes() {
    in_a_namespace(|| {
        ip("addr add 20.0.0.9/24 dev v0");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let mut watch = AddressWatch::new().unwrap();
            for change in [
                "addr add 20.0.1.9/24 dev v0",
                "-6 addr add 2a00:1::9/64 dev v0 nodad",
                "route add 50.0.0.0/16 via 20.0.0.2",
                "-6 route add 2a00:9::/64 dev v0",
                "link set v0 mtu 1400",
                "addr del 20.0.1.9/24 dev v0",
            ] {
                let before = LocalNetwork::read().unwrap();
                ip(change);
                watch.changed().await.unwrap();
                if !change.starts_with("link") {
                    assert_ne!(LocalNetwork::read().unwrap(), before, "{change}");
                }
            }
        });
    });
}

/// Answers one question: 2a00::1.
fn answer_one(socket: &UdpSocket) {
    let mut buffer = [0; 1500];
    let (length, from) = socket.recv_from(&mut buffer).expect("a question");
    let mut message = Message::from_vec(&buffer[..length]).expect("of DNS").into_response();
    let name = message.queries[0].name().clone();
    message.add_answer(Record::from_rdata(name, 60, RData::AAAA("2a00::1".parse().expect("an address"))));
    socket.send_to(&message.to_vec().expect("it fits"), from).expect("the way back");
}

#[test]
fn a_link_local_resolver_is_reached_in_its_zone() {
    in_a_namespace(|| {
        // The resolver is another machine, at the other end of the cable.
        let (say, hear) = mpsc::channel();
        let (plugged_in, cable) = mpsc::channel();
        let router = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may");
            say.send(gettid()).unwrap();
            cable.recv().unwrap();
            ip("-6 addr add fe80::53/64 dev v1 nodad");
            ip("link set v1 up");
            let socket = UdpSocket::bind("[::]:5353").unwrap();
            say.send(gettid()).unwrap();
            answer_one(&socket);
        });
        ip(&format!("link set v1 netns {}", hear.recv().unwrap()));
        // Without the zone the packet would go here.
        ip("link add d0 type veth peer name d1");
        ip("link set d1 addrgenmode none up");
        ip("link set d0 addrgenmode none up");
        ip("-6 addr add fe80::1/64 dev d0 nodad");
        ip("-6 addr add fe80::1/64 dev v0 nodad");
        plugged_in.send(()).unwrap();
        hear.recv().unwrap();

        let zone = if_nametoindex("v0").unwrap();
        let server: SocketAddr = format!("[fe80::53%{zone}]:5353").parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let resolver = Resolver::of_servers(&[server]);
            let answer = resolver.addresses("www.example", Family::V6, Duration::from_secs(60)).await;
            assert_eq!(answer.unwrap().0, [address("2a00::1")]);
        });
        router.join().unwrap();
    });
}
