//! What a run of `ipv6` finds out about paths, routers and the machine itself, in the lab against a real `sonde reference`: on a
//! healthy line, on a narrow one that says so, and on one where everything is wrong at once. Only the evidence is looked at;
//! verdicts are for other tests. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};

use sonde_probe::net::clock::{ClockSource, SystemClock};
use sonde_probe::net::{Driver, Options};
use sonde_probe::policy::Policy;
use sonde_probe::resolve::Resolver;
use sonde_probe::run::{Occasion, Request, Runner};
use sonde_probe::wall_clock::WallClock;
use sonde_protocol::bounded::Text;
use sonde_protocol::directory::Reference;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::{Family as Af, Ip, Transport};
use sonde_protocol::result::Outcome;
use sonde_protocol::result::ipv6::{
    AddressClass, Attempt, DnsSaw, Evidence, IcmpSeen, LinkKind, Neighbour, SizeTry, SizesSeen, TroubleKind,
};
use sonde_protocol::spec::{Ipv6Scope, Ipv6Spec, Spec};
use sonde_protocol::time::UnixNanos;
use sonde_tests::lab::{Family, Host, Lab, LabChild, LabOptions, Link, Node, Router};
use sonde_tests::scene::lab;
use sonde_tests::world::{program, wait_for};
use tokio::sync::watch;

/// The one that looks.
const PROBE: Host = Host::Dual;

/// What a narrow link takes.
const NARROW: u32 = 1400;

/// A prefix that nobody routes any more.
const STALE: &str = "2a0e:5a00:dead:1::9";

/// A router that is not there.
const GONE: &str = "fe80::dead";

/// A reference server on the target, and how a directory would list it: with an address behind a link of 1280 bytes.
fn start(lab: &Lab, data: &std::path::Path) -> (LabChild, Reference) {
    let [v4, v6] = Family::ALL.map(|family| Host::Target.address(family).unwrap());
    let narrow = Host::Target.addresses(Family::V6)[1];
    let command = |more: &[&str]| {
        let mut command = lab.host(Host::Target).command(program("sonde").unwrap());
        command.args(["reference", "--data"]).arg(data);
        for address in [v4, v6, narrow] {
            command.args(["--listen", &address.to_string()]);
        }
        command.args(more);
        command
    };
    let card = String::from_utf8(command(&["--card"]).output().unwrap().stdout).unwrap();
    let key: PublicKey = card.split("--key=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    let child = lab.spawn(&mut command(&[])).unwrap();
    let reference = Reference {
        name: Text::cut("target"),
        key,
        v4: Some(Ip(v4)),
        v6: Some(Ip(v6)),
        tls: Some(443),
        quic: Some(443),
        echo: Some(8334),
        closed: Some(8335),
        narrow: Some(Ip(narrow)),
        zone: None,
    };
    let via = Node::Router(Router::R3).address_on(Link::R2R3, Family::V6).unwrap();
    let route = format!("route replace {narrow}/128 via {via} mtu 1280\n");
    lab.router(Router::R2).feed("ip", &["-6", "-batch", "-"], &route).unwrap();
    wait_for("the reference server", || {
        Ok(lab.host(PROBE).run(|| TcpStream::connect(SocketAddr::new(narrow, 443))).ok())
    })
    .unwrap();
    (child, reference)
}

/// A full run on a host, and what it found.
fn look(lab: &Lab, host: Host, reference: &Reference) -> Evidence {
    look_with(lab, host, reference, &[], Ipv6Scope::Full)
}

/// A run on a host with these resolvers, and what it found.
fn look_with(lab: &Lab, host: Host, reference: &Reference, resolvers: &[SocketAddr], scope: Ipv6Scope) -> Evidence {
    let policy = Policy { references: vec![reference.clone()], ..Policy::default() };
    let outcome = lab.host(host).run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let clock: Arc<dyn ClockSource> = Arc::new(SystemClock);
            let driver = Driver::new(Arc::clone(&clock), Options::default()).unwrap();
            let (_keep, policy) = watch::channel(Arc::new(policy));
            let wall = Arc::new(Mutex::new(WallClock::new()));
            let runner = Runner::new(driver, clock, wall, Resolver::of_servers(resolvers), policy);
            let request = Request {
                measurement: MeasurementId(0),
                spec: Spec::Ipv6(Ipv6Spec { scope }),
                af: Af::V6,
                target: None,
                addresses: Vec::new(),
                planned_at: UnixNanos(0),
                interval: None,
                occasion: Occasion::default(),
            };
            runner.run(ProbeId(1), &request).await.outcome
        })
    });
    match outcome {
        Outcome::Ipv6(outcome) => outcome.evidence,
        other => panic!("{other:?}"),
    }
}

fn sizes(evidence: &Evidence, af: Af) -> &SizesSeen {
    evidence.sizes.iter().find(|sizes| sizes.af == af).unwrap()
}

fn icmp(evidence: &Evidence, af: Af) -> IcmpSeen {
    *evidence.icmp.iter().find(|icmp| icmp.af == af).unwrap()
}

/// The longest that passed and the shortest that did not.
fn between(tries: &[SizeTry]) -> (Option<u32>, Option<u32>) {
    let passed = tries.iter().filter(|one| one.passed()).map(|one| one.size).max();
    (passed, tries.iter().filter(|one| !one.passed()).map(|one| one.size).min())
}

fn router(router: Router, link: Link, family: Family) -> IpAddr {
    Node::Router(router).address_on(link, family).unwrap()
}

#[test]
fn a_healthy_line_passes_everything() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let data = tempfile::tempdir().unwrap();
    let (_server, reference) = start(&lab, data.path());
    let seen = look(&lab, PROBE, &reference);

    // The tables say what the lab's table says.
    for family in Family::ALL {
        let own = PROBE.address(family).unwrap();
        let address = seen.addresses.iter().find(|one| one.address.0 == own).unwrap();
        assert!(address.is_usable() && !address.interface.is_empty(), "{address:?}");
        let gateway = lab.path(PROBE, Host::Target, family)[0].address;
        let routes = seen.routes.as_ref().unwrap();
        let route = routes.iter().find(|one| one.gateway == Some(Ip(gateway))).unwrap();
        assert_eq!(route.link, LinkKind::Ether);
        // It answered just now, or lately enough not to be asked again yet.
        let is_there = |state: Neighbour| !state.is_gone() && state != Neighbour::Unknown;
        assert!(route.neighbour.is_some_and(is_there), "{route:?}");
        assert_eq!(route.interface, address.interface);
    }
    assert!(seen.addresses.iter().any(|one| one.class() == AddressClass::LinkLocal));
    assert_eq!(seen.v6_off, Some(false));
    assert!(seen.advert.as_ref().is_some_and(|advert| !advert.seen), "nobody advertises in the lab");
    assert_eq!(seen.stability.map(|stability| (stability.prefixes_64, stability.changes)), Some((1, 0)));

    for af in [Af::V4, Af::V6] {
        for protocol in [Transport::Icmp, Transport::Udp] {
            let echo = seen.echoes.iter().find(|echo| (echo.af, echo.protocol) == (af, protocol)).unwrap();
            assert_eq!((echo.sent, echo.received, echo.trouble), (3, 3, None), "{echo:?}");
        }
        let sizes = sizes(&seen, af);
        for tries in [&sizes.up, &sizes.down] {
            assert_eq!(tries.iter().map(|one| (one.size, one.lost)).collect::<Vec<_>>(), [(1500, 0)], "{sizes:?}");
        }
        assert!(sizes.bulk_up.is_some_and(|one| one.is_done()) && sizes.bulk_down.is_some_and(|one| one.is_done()));
        let icmp = icmp(&seen, af);
        let expected = (Some(true), Some(true), Some(true));
        assert_eq!((icmp.unreachable, icmp.time_exceeded, icmp.echo), expected, "{icmp:?}");
        assert_eq!(icmp.too_big, (af == Af::V6).then_some(true));
    }
    let headers = seen.headers.unwrap();
    assert_eq!((headers.fragment_up, headers.fragment_down), (Some(true), Some(true)));
    assert_eq!((headers.destination, headers.hop_by_hop), (Some(true), Some(true)), "tests run as root");

    let selection = seen.selection.as_ref().unwrap();
    assert_eq!(&*selection.order, [Af::V6, Af::V4]);
    for family in Family::ALL {
        let (dst, own) = (Ip(Host::Target.address(family).unwrap()), PROBE.address(family).map(Ip));
        assert!(selection.sources.iter().any(|one| (one.dst, one.src) == (dst, own)), "{selection:?}");
    }
    let own = Ip(PROBE.address(Family::V6).unwrap());
    assert!(selection.bound.iter().any(|one| one.src == own && one.tcp.is_done()), "{selection:?}");

    let truth: Vec<Option<Ip>> =
        lab.path(PROBE, Host::Target, Family::V4).iter().take(4).map(|hop| Some(Ip(hop.address))).collect();
    let hops: Vec<Option<Ip>> = seen.near_hops.as_ref().unwrap().iter().map(|hop| hop.from).collect();
    assert_eq!(hops, truth);
}

#[test]
fn a_narrow_line_is_measured_and_a_broken_one_is_told_from_it() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let data = tempfile::tempdir().unwrap();
    let (_server, reference) = start(&lab, data.path());
    lab.set_mtu(Link::R1R2, NARROW).unwrap();
    let seen = look(&lab, PROBE, &reference);
    for (af, family) in [(Af::V4, Family::V4), (Af::V6, Family::V6)] {
        let sizes = sizes(&seen, af);
        for (tries, teller) in [(&sizes.up, Router::R1), (&sizes.down, Router::R2)] {
            assert_eq!(between(tries), (Some(NARROW), Some(1420)), "{af:?}: {tries:?}");
            for lost in tries.iter().filter(|one| !one.passed()) {
                let told = lost.too_big.unwrap();
                assert_eq!(told.mtu, Some(NARROW), "{lost:?}");
                let addresses = Node::Router(teller).addresses(family);
                assert!(told.from.is_some_and(|from| addresses.contains(&from.0)), "{lost:?} {addresses:?}");
            }
        }
        assert!(sizes.bulk_up.is_some_and(|one| one.is_done()) && sizes.bulk_down.is_some_and(|one| one.is_done()));
    }

    spoil(&lab);
    let seen = look(&lab, PROBE, &reference);
    for af in [Af::V4, Af::V6] {
        let sizes = sizes(&seen, af);
        for tries in [&sizes.up, &sizes.down] {
            assert_eq!(between(tries), (Some(NARROW), Some(1420)), "{af:?}: {tries:?}");
            let lost = tries.iter().filter(|one| !one.passed());
            assert!(
                lost.clone().all(|one| one.too_big.is_none() && one.sent == 4 && one.controls_lost == 0),
                "{tries:?}"
            );
        }
        for bulk in [sizes.bulk_up, sizes.bulk_down] {
            assert_eq!(bulk, Some(Attempt::Failed(TroubleKind::Timeout.into())), "{af:?}");
        }
        let icmp = icmp(&seen, af);
        let expected = (Some(false), Some(false), Some(true));
        assert_eq!((icmp.unreachable, icmp.time_exceeded, icmp.echo), expected, "{icmp:?}");
        assert_eq!(icmp.too_big, (af == Af::V6).then_some(false));
    }
    let headers = seen.headers.unwrap();
    assert_eq!((headers.fragment_up, headers.fragment_down), (Some(false), Some(false)));
    assert_eq!((headers.destination, headers.hop_by_hop), (Some(false), Some(false)));

    let gone = seen.routes.as_ref().unwrap().iter().find(|route| route.gateway == Some(Ip(GONE.parse().unwrap())));
    assert!(gone.unwrap().neighbour.is_some_and(Neighbour::is_gone), "{gone:?}");
    let bound = &seen.selection.as_ref().unwrap().bound;
    let of = |src: IpAddr| bound.iter().find(|one| one.src == Ip(src)).unwrap().tcp;
    assert!(of(PROBE.address(Family::V6).unwrap()).is_done());
    let trouble = *of(STALE.parse().unwrap()).trouble().unwrap();
    let home = lab.path(PROBE, Host::Target, Family::V6)[0].address;
    assert_eq!((trouble.kind, trouble.icmp_type, trouble.icmp_code), (TroubleKind::Icmp, Some(1), Some(5)));
    assert_eq!(trouble.from, Some(Ip(home)));
    let hops: Vec<Option<Ip>> = seen.near_hops.as_ref().unwrap().iter().map(|hop| hop.from).collect();
    let r1 = router(Router::R1, Link::HomeR1, Family::V4);
    assert_eq!((hops.get(1), hops.get(2)), (Some(&Some(Ip(r1))), Some(&None)), "{hops:?}");
}

/// Everything that can be wrong beside a narrow link.
fn spoil(lab: &Lab) {
    // Black holes both ways. R2 sends no ICMP at all, so hop 3 is silent; neither is told of the narrow link behind it.
    lab.set_mtu_hole(Router::R1, true).unwrap();
    // Kernels have learned from the honest line what passes.
    lab.set_mtu(Link::R1R2, NARROW).unwrap();
    lab.set_silent(Router::R2, true).unwrap();
    // Pieces and extension headers vanish.
    let drop = "table inet picky { chain forward { type filter hook forward priority 0;
        exthdr frag exists drop
        exthdr hbh exists drop
        exthdr dst exists drop
        ip frag-off & 0x3fff != 0 drop
    }
    }";
    lab.router(Router::R1).nft(drop).unwrap();
    let quiet = "table inet quiet { chain output { type filter hook output priority 0;
        icmp type destination-unreachable drop
        icmpv6 type destination-unreachable drop
    }
    }";
    lab.host(Host::Target).nft(quiet).unwrap();
    // An old prefix that the home router refuses, and a second router that is gone.
    let prefix = STALE.replace("1::9", "1::/64");
    let refuse = format!(
        "table inet stale {{ chain forward {{ type filter hook forward priority 0;
            ip6 saddr {prefix} reject with icmpv6 type policy-fail
        }}
        }}"
    );
    lab.router(Router::Home).nft(&refuse).unwrap();
    let path = lab.path(PROBE, Host::Target, Family::V6);
    let back = format!("route add {prefix} dev DEVICE\n");
    on_link(lab, Node::Router(Router::Home), &path, &back);
    let own = format!("addr add {STALE}/64 dev DEVICE nodad\nroute add default via {GONE} dev DEVICE metric 5000\n");
    on_link(lab, Node::Host(PROBE), &path, &own);
}

/// Feeds commands to `ip` in a node, with the name of the device that leads to or from the home network.
fn on_link(lab: &Lab, node: Node, path: &[sonde_tests::lab::HopTruth], batch: &str) {
    let batch = batch.replace("DEVICE", &device(lab, node, path));
    lab.node(node).feed("ip", &["-6", "-batch", "-"], &batch).unwrap();
}

/// The name of that device.
fn device(lab: &Lab, node: Node, path: &[sonde_tests::lab::HopTruth]) -> String {
    let home = path[0].address;
    let output = lab.node(node).command("ip").args(["-6", "-o", "addr", "show"]).output().unwrap();
    let own = lab.node(node).command("ip").args(["-6", "-o", "route", "get", &home.to_string()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = |line: &str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    let with_address = text.lines().find(|line| line.contains(&format!("{home}/"))).map(|line| words(line)[1].clone());
    with_address.unwrap_or_else(|| {
        let route = words(&String::from_utf8(own.stdout).unwrap());
        let place = route.iter().position(|word| word == "dev").unwrap();
        route[place + 1].clone()
    })
}

/// A name server on the home router, at the address that it has on the link alone: it answers everything with "no such name".
fn serve_on_link(lab: &Lab, address: SocketAddrV6) -> std::thread::JoinHandle<()> {
    let socket = lab.router(Router::Home).run(|| UdpSocket::bind(address)).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 1500];
        // One question is enough to be asked; an empty datagram ends it.
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            if length < 12 {
                return;
            }
            // An answer (QR), recursion desired and available, NXDOMAIN; nothing behind the question.
            (bytes[2], bytes[3]) = (0x81, 0x83);
            bytes[6..12].fill(0);
            let question = bytes[12..length].iter().position(|byte| *byte == 0).map_or(length, |end| 12 + end + 5);
            let _ = socket.send_to(&bytes[..question.min(length)], from);
        }
    })
}

#[test]
fn a_resolver_on_the_link_is_asked_by_its_link() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let data = tempfile::tempdir().unwrap();
    let (_server, reference) = start(&lab, data.path());
    let number = |node: Node, device: &str| lab.node(node).run(|| nix::net::if_::if_nametoindex(device).unwrap());
    let lan = device(&lab, Node::Router(Router::Home), &lab.path(PROBE, Host::Target, Family::V6));
    let address: Ipv6Addr = "fe80::53".parse().unwrap();
    let batch = format!("addr add {address}/64 dev {lan} nodad\n");
    lab.router(Router::Home).feed("ip", &["-6", "-batch", "-"], &batch).unwrap();
    let server = serve_on_link(&lab, SocketAddrV6::new(address, 53, 0, number(Node::Router(Router::Home), &lan)));
    let resolver = SocketAddrV6::new(address, 53, 0, number(Node::Host(PROBE), "eth0"));
    let seen = look_with(&lab, PROBE, &reference, &[resolver.into()], Ipv6Scope::Light);
    let asked: Vec<_> = seen.dns.iter().filter(|check| check.server == Ip(address.into())).collect();
    assert!(!asked.is_empty(), "{:?}", seen.dns);
    for check in asked {
        assert!(matches!(&check.saw, DnsSaw::Answer(answer) if answer.rcode == 3), "{check:?}");
    }
    lab.host(PROBE).run(|| UdpSocket::bind("[::]:0").unwrap().send_to(&[], resolver).unwrap());
    server.join().unwrap();
}
