//! A client and the answers of a server, in virtual time.

use std::net::IpAddr;

use dhcproto::v4::{Decodable, Flags, Opcode};
use ipnet::Ipv4Net;

use super::*;

const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 7];
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const SEED: u64 = 7;

fn secs(seconds: i64) -> Nanos {
    Nanos(seconds * 1_000_000_000)
}

/// Everything that is to be done now.
fn all(client: &mut Client, now: Nanos) -> Vec<Action> {
    std::iter::from_fn(|| client.poll(now)).take(100).collect()
}

/// The one message that is to be sent now, and to whom.
fn sent(client: &mut Client, now: Nanos) -> (Ipv4Addr, Message) {
    let actions = all(client, now);
    let [Action::Send(to, bytes)] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(bytes.len() >= LEAST_MESSAGE);
    (*to, Message::from_bytes(bytes).unwrap())
}

fn kind(message: &Message) -> MessageType {
    message.opts().msg_type().unwrap()
}

/// A server's answer with the usual options, the given ones in their place.
fn answer(to: &Message, kind: MessageType, address: Ipv4Addr, options: &[DhcpOption]) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(to.xid(), none, address, none, none, &HARDWARE);
    message.set_opcode(Opcode::BootReply).set_flags(Flags::default());
    let usual = [
        DhcpOption::MessageType(kind),
        DhcpOption::ServerIdentifier(SERVER),
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
        DhcpOption::Router(vec![SERVER]),
        DhcpOption::DomainNameServer(vec![SERVER]),
        DhcpOption::AddressLeaseTime(3600),
    ];
    for option in usual.iter().chain(options) {
        message.opts_mut().insert(option.clone());
    }
    message.to_vec().unwrap()
}

fn ipv6_only(seconds: u32) -> DhcpOption {
    let bytes = [&[IPV6_ONLY, 4][..], &seconds.to_be_bytes()].concat();
    DhcpOption::from_bytes(&bytes).unwrap()
}

/// A client that has asked for the offer of these options at the second 0, and its request.
fn requested(options: &[DhcpOption]) -> (Client, Message) {
    let mut client = Client::new(HARDWARE, SEED, secs(0));
    let (to, discover) = sent(&mut client, secs(0));
    assert_eq!((to, kind(&discover)), (Ipv4Addr::BROADCAST, MessageType::Discover));
    client.receive(&answer(&discover, MessageType::Offer, ADDRESS, options), secs(0));
    let (to, request) = sent(&mut client, secs(0));
    assert_eq!((to, kind(&request)), (Ipv4Addr::BROADCAST, MessageType::Request));
    assert_eq!(request.opts().get(OptionCode::RequestedIpAddress), Some(&DhcpOption::RequestedIpAddress(ADDRESS)));
    assert_eq!(request.opts().get(OptionCode::ServerIdentifier), Some(&DhcpOption::ServerIdentifier(SERVER)));
    (client, request)
}

/// And one that has got it.
fn bound(options: &[DhcpOption]) -> (Client, Lease) {
    let (mut client, request) = requested(options);
    client.receive(&answer(&request, MessageType::Ack, ADDRESS, options), secs(0));
    assert_eq!(all(&mut client, secs(0)), [Action::Check(ADDRESS)]);
    client.checked(false, secs(0));
    let actions = all(&mut client, secs(0));
    let [Action::Bound(lease)] = actions.as_slice() else { panic!("{actions:?}") };
    (client, lease.clone())
}

#[test]
fn a_lease_is_renewed_rebound_and_lost() {
    let (mut client, lease) = bound(&[]);
    assert_eq!(lease.address, "192.0.2.50/24".parse::<Ipv4Net>().unwrap());
    assert_eq!(lease.routes, [(Ipv4Net::default(), Some(SERVER))]);
    assert_eq!(lease.resolvers, [IpAddr::from(SERVER)]);
    assert_eq!((lease.renew_at, lease.rebind_at, lease.ends_at), (secs(1800), secs(3150), secs(3600)));
    assert_eq!(all(&mut client, secs(1799)), []);

    let (to, renewal) = sent(&mut client, secs(1800));
    assert_eq!((to, kind(&renewal), renewal.ciaddr()), (SERVER, MessageType::Request, ADDRESS));
    assert!(renewal.opts().get(OptionCode::RequestedIpAddress).is_none(), "RFC 2131, 4.3.2");
    client.receive(&answer(&renewal, MessageType::Ack, ADDRESS, &[]), secs(1801));
    assert!(matches!(all(&mut client, secs(1801)).as_slice(), [Action::Bound(lease)] if lease.ends_at == secs(5401)));

    // The server is silent: everybody is asked, and in the end the address is given back.
    let mut now = client.due();
    let (mut asked, mut everybody) = (0, 0);
    loop {
        match all(&mut client, now).as_slice() {
            [Action::Send(to, _)] if *to == SERVER => asked += 1,
            [Action::Send(to, _)] if *to == Ipv4Addr::BROADCAST => everybody += 1,
            [Action::Lost, Action::Send(_, bytes)] => {
                assert_eq!(kind(&Message::from_bytes(bytes).unwrap()), MessageType::Discover);
                break;
            }
            other => panic!("{other:?} at {now:?}"),
        }
        now = client.due();
    }
    assert_eq!(now, secs(5401));
    assert!((3..10).contains(&asked) && (2..6).contains(&everybody), "{asked} and {everybody}");
}

#[test]
fn an_address_that_another_machine_has_is_declined() {
    let (mut client, request) = requested(&[]);
    client.receive(&answer(&request, MessageType::Ack, ADDRESS, &[]), secs(1));
    assert_eq!(all(&mut client, secs(1)), [Action::Check(ADDRESS)]);
    assert_eq!(all(&mut client, secs(100)), [], "it waits for whoever looks");
    client.checked(true, secs(2));
    let (to, decline) = sent(&mut client, secs(2));
    assert_eq!(
        (to, kind(&decline), decline.ciaddr()),
        (Ipv4Addr::BROADCAST, MessageType::Decline, Ipv4Addr::UNSPECIFIED)
    );
    assert_eq!(decline.opts().get(OptionCode::RequestedIpAddress), Some(&DhcpOption::RequestedIpAddress(ADDRESS)));
    assert_eq!(decline.opts().get(OptionCode::ServerIdentifier), Some(&DhcpOption::ServerIdentifier(SERVER)));
    assert!(decline.opts().get(OptionCode::ParameterRequestList).is_none(), "RFC 2131, table 5");
    assert!(client.refused().is_some_and(|why| why.contains("another machine")));
    client.checked(false, secs(3));
    assert_eq!(all(&mut client, secs(11)), [], "ten seconds of rest, and no second word counts");
    assert_eq!(kind(&sent(&mut client, secs(12)).1), MessageType::Discover);
}

#[test]
fn what_no_server_in_its_senses_says_is_not_believed() {
    use DhcpOption::{AddressLeaseTime, ServerIdentifier, SubnetMask};
    let mask = |text: &str| SubnetMask(text.parse().unwrap());
    let server = |text: &str| ServerIdentifier(text.parse().unwrap());
    let cases: &[(&str, DhcpOption, &str)] = &[
        ("192.0.2.50", AddressLeaseTime(0), "less than a minute"),
        ("192.0.2.50", mask("255.0.255.0"), "netmask is none"),
        ("192.0.2.50", mask("0.0.0.0"), "no machine"),
        ("192.0.2.0", mask("255.255.255.0"), "no machine"),
        ("192.0.2.255", mask("255.255.255.0"), "no machine"),
        ("0.0.0.0", AddressLeaseTime(600), "no machine"),
        ("127.0.0.1", AddressLeaseTime(600), "no machine"),
        ("224.0.0.1", AddressLeaseTime(600), "no machine"),
        ("192.0.2.50", server("255.255.255.255"), "who it is"),
        ("192.0.2.50", server("0.0.0.0"), "who it is"),
    ];
    for (address, option, why) in cases {
        let mut client = Client::new(HARDWARE, SEED, secs(0));
        let (_, discover) = sent(&mut client, secs(0));
        let offer = answer(&discover, MessageType::Offer, address.parse().unwrap(), std::slice::from_ref(option));
        client.receive(&offer, secs(0));
        assert_eq!(all(&mut client, secs(1)), [], "{address} {option:?}");
        assert!(
            client.refused().is_some_and(|text| text.contains(why)),
            "{address} {option:?}: {:?}",
            client.refused()
        );
    }
}

#[test]
fn a_lease_keeps_of_its_numbers_what_makes_sense() {
    use DhcpOption::{AddressLeaseTime, DomainNameServer, InterfaceMtu, Rebinding, Renewal};
    let times = |options: &[DhcpOption]| {
        let lease = bound(options).1;
        [lease.renew_at, lease.rebind_at, lease.ends_at].map(|at| at.0 / 1_000_000_000)
    };
    assert_eq!(times(&[Renewal(100), Rebinding(200)]), [100, 200, 3600]);
    assert_eq!(times(&[Renewal(200), Rebinding(100)]), [1800, 3150, 3600], "T1 after T2");
    assert_eq!(times(&[Renewal(100), Rebinding(4000)]), [1800, 3150, 3600], "T2 after the end");
    assert_eq!(times(&[Renewal(0), Rebinding(10)]), [5, 10, 3600], "renewed without end");
    assert_eq!(bound(&[AddressLeaseTime(u32::MAX)]).1.ends_at, Nanos(i64::MAX), "for ever");
    for (said, used) in [(1280, Some(1280)), (1492, Some(1492)), (68, None), (1279, None), (65_535, None)] {
        assert_eq!(bound(&[InterfaceMtu(said)]).1.mtu, used, "{said}");
    }
    let told = ["127.0.0.1", "224.0.0.251", "0.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    let resolvers = bound(&[DomainNameServer(told.map(|ip| ip.parse().unwrap()).into())]).1.resolvers;
    assert_eq!(resolvers, ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| ip.parse::<IpAddr>().unwrap()));
}

#[test]
fn option_121_stands_for_the_router() {
    let route = |net: &str, via: &str| (net.parse::<Ipv4Net>().unwrap(), via.parse::<Ipv4Addr>().unwrap());
    let given = vec![
        route("0.0.0.0/0", "192.0.2.9"),
        route("198.51.100.0/24", "0.0.0.0"),
        route("127.0.0.0/8", "192.0.2.9"),
        route("10.0.0.0/8", "224.0.0.1"),
        route("10.1.0.0/16", "192.0.2.50"),
    ];
    let lease = bound(&[DhcpOption::ClasslessStaticRoute(given)]).1;
    let shown: Vec<String> = lease.routes.iter().map(|(net, via)| format!("{net} {via:?}")).collect();
    assert_eq!(shown, ["198.51.100.0/24 None", "0.0.0.0/0 Some(192.0.2.9)"]);
    let many = (0..100).map(|n| route(&format!("10.{n}.0.0/16"), "192.0.2.1")).collect();
    assert_eq!(bound(&[DhcpOption::ClasslessStaticRoute(many)]).1.routes.len(), 16);
}

#[test]
fn ipv4_is_done_without_where_the_network_asks_and_has_nat64() {
    // No NAT64: the option means nothing here.
    let mut client = Client::new(HARDWARE, SEED, secs(0));
    let (_, discover) = sent(&mut client, secs(0));
    let DhcpOption::ParameterRequestList(asked) = discover.opts().get(OptionCode::ParameterRequestList).unwrap() else {
        panic!("{discover:?}")
    };
    assert!(asked.iter().any(|code| u8::from(*code) == 108), "a server tells it only who asks");
    client.receive(&answer(&discover, MessageType::Offer, ADDRESS, &[ipv6_only(1800)]), secs(0));
    assert_eq!(all(&mut client, secs(2)), [], "the router has time to say what it has");
    assert_eq!(kind(&sent(&mut client, secs(3)).1), MessageType::Request);

    // The prefix is advertised while the offer waits.
    let mut client = Client::new(HARDWARE, SEED, secs(0));
    let (_, discover) = sent(&mut client, secs(0));
    client.receive(&answer(&discover, MessageType::Offer, ADDRESS, &[ipv6_only(1800)]), secs(0));
    client.set_nat64(true, secs(1));
    assert_eq!(all(&mut client, secs(1799)), []);
    assert!(client.is_ipv6_only());
    assert_eq!(kind(&sent(&mut client, secs(1801)).1), MessageType::Discover);

    // A short time is made longer, an offer may have no address, and when the prefix goes IPv4 comes back.
    let mut client = Client::new(HARDWARE, SEED, secs(0));
    client.set_nat64(true, secs(0));
    let (_, discover) = sent(&mut client, secs(0));
    client.receive(&answer(&discover, MessageType::Offer, Ipv4Addr::UNSPECIFIED, &[ipv6_only(0)]), secs(0));
    assert_eq!(all(&mut client, secs(299)), []);
    assert!(client.is_ipv6_only());
    client.set_nat64(false, secs(299));
    assert_eq!(kind(&sent(&mut client, secs(299)).1), MessageType::Discover);

    // The prefix comes when there is a lease.
    let (mut client, request) = requested(&[]);
    client.receive(&answer(&request, MessageType::Ack, ADDRESS, &[ipv6_only(600)]), secs(0));
    assert_eq!(all(&mut client, secs(0)), [Action::Check(ADDRESS)]);
    client.checked(false, secs(0));
    assert!(matches!(all(&mut client, secs(0)).as_slice(), [Action::Bound(_)]));
    client.set_nat64(true, secs(10));
    assert_eq!(all(&mut client, secs(10)), [Action::Lost]);
}

#[test]
fn a_refusal_begins_anew_ever_more_slowly() {
    let (mut client, mut request) = requested(&[]);
    let mut now = secs(0);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        client.receive(&answer(&request, MessageType::Nak, Ipv4Addr::UNSPECIFIED, &[]), now);
        pauses.push(client.due().since(now).as_secs());
        now = client.due();
        let (_, discover) = sent(&mut client, now);
        assert_eq!(kind(&discover), MessageType::Discover);
        client.receive(&answer(&discover, MessageType::Offer, ADDRESS, &[]), now);
        request = sent(&mut client, now).1;
    }
    assert_eq!(pauses, [2, 4, 8, 16]);
    // In a renewal it ends the lease.
    let (mut client, _) = bound(&[]);
    let (_, renewal) = sent(&mut client, secs(1800));
    client.receive(&answer(&renewal, MessageType::Nak, Ipv4Addr::UNSPECIFIED, &[]), secs(1800));
    assert_eq!(all(&mut client, secs(1800)), [Action::Lost]);
}

#[test]
fn nobody_but_the_server_that_is_asked_changes_a_lease() {
    let other = [DhcpOption::ServerIdentifier(Ipv4Addr::new(192, 0, 2, 66))];
    let (mut client, request) = requested(&[]);
    for kind in [MessageType::Ack, MessageType::Nak] {
        client.receive(&answer(&request, kind, ADDRESS, &other), secs(0));
        assert_eq!(all(&mut client, secs(0)), [], "{kind:?}");
    }
    client.receive(&answer(&request, MessageType::Ack, Ipv4Addr::new(192, 0, 2, 51), &[]), secs(0));
    assert_eq!(all(&mut client, secs(0)), [], "another address than the one that was asked for");
    // A bound client has asked nothing.
    let (mut client, request) = requested(&[]);
    client.receive(&answer(&request, MessageType::Ack, ADDRESS, &[]), secs(0));
    all(&mut client, secs(0));
    client.checked(false, secs(0));
    all(&mut client, secs(0));
    for kind in [MessageType::Ack, MessageType::Nak] {
        client.receive(&answer(&request, kind, ADDRESS, &[]), secs(10));
        assert_eq!(all(&mut client, secs(10)), [], "{kind:?}");
    }
    // In the time of rebinding everybody is asked.
    sent(&mut client, secs(1800));
    let (_, rebinding) = sent(&mut client, secs(3150));
    client.receive(&answer(&rebinding, MessageType::Ack, ADDRESS, &other), secs(3150));
    assert!(matches!(all(&mut client, secs(3150)).as_slice(), [Action::Bound(lease)] if lease.server != SERVER));
}

#[test]
fn silence_is_asked_ever_more_slowly_and_for_ever() {
    let mut client = Client::new(HARDWARE, SEED, secs(0));
    let (mut now, mut pauses) = (secs(0), Vec::new());
    for _ in 0..8 {
        assert_eq!(kind(&sent(&mut client, now).1), MessageType::Discover);
        pauses.push(client.due().since(now).as_secs());
        now = client.due();
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 64, 64]);
    // A server that offers and then is silent does not stop the search.
    let (mut client, _) = requested(&[]);
    let kinds: Vec<MessageType> = (0..4)
        .map(|_| {
            let now = client.due();
            kind(&sent(&mut client, now).1)
        })
        .collect();
    use MessageType::{Discover, Request};
    assert_eq!(kinds, [Request, Request, Request, Discover]);
}

#[test]
fn garbage_and_answers_to_others_are_nothing() {
    let (mut client, request) = requested(&[]);
    let whole = answer(&request, MessageType::Ack, ADDRESS, &[]);
    for length in 0..whole.len() - 1 {
        let mut client = Client::new(HARDWARE, SEED, secs(0));
        client.receive(&whole[..length], secs(0));
    }
    // Every byte by itself, with the bits that change most.
    for place in 0..whole.len() {
        for bits in [0xff, 0x80, 0x01] {
            let mut broken = whole.clone();
            broken[place] ^= bits;
            requested(&[]).0.receive(&broken, secs(0));
        }
    }
    for (place, what) in [
        (0, "a question"),
        (1, "not Ethernet"),
        (2, "a long hardware address"),
        (4, "another transaction"),
        (28, "another machine"),
    ] {
        let mut other = whole.clone();
        other[place] = 0xff;
        client.receive(&other, secs(0));
        assert_eq!(all(&mut client, secs(0)), [], "{what}");
    }
}

#[test]
fn no_message_makes_a_lease_that_nobody_could_live_with() {
    let seed = std::env::var("SONDE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    eprintln!("SONDE_SEED={seed}");
    let mut random = Rng::new(seed);
    let mut leases = 0;
    let route = |net: &str| (net.parse::<Ipv4Net>().unwrap(), SERVER);
    let classless = DhcpOption::ClasslessStaticRoute(["0.0.0.0/0", "10.0.0.0/8", "192.0.2.128/25"].map(route).into());
    let options = [ipv6_only(600), DhcpOption::InterfaceMtu(1400), DhcpOption::Renewal(60), classless];
    for _ in 0..20_000 {
        let (mut client, request) = requested(&[]);
        let mut bytes = answer(&request, MessageType::Ack, ADDRESS, &options);
        // Behind the header, which says whose message it is: options, their lengths, what is in them.
        for _ in 0..=random.below(4) {
            let place = 240 + usize::try_from(random.below(bytes.len() as u64 - 240)).unwrap();
            bytes[place] = u8::try_from(random.below(256)).unwrap();
        }
        if random.one_in(4) {
            bytes.truncate(240 + usize::try_from(random.below(bytes.len() as u64 - 239)).unwrap());
        }
        client.receive(&bytes, secs(0));
        all(&mut client, secs(0));
        client.checked(false, secs(0));
        for action in all(&mut client, secs(0)) {
            if let Action::Bound(lease) = action {
                leases += 1;
                assert!(lease.renew_at >= secs(5) && lease.renew_at <= lease.rebind_at, "{lease:?}");
                assert!(lease.rebind_at <= lease.ends_at && lease.ends_at >= secs(60), "{lease:?}");
                assert!(!lease.address.addr().is_multicast() && lease.routes.len() <= 16, "{lease:?}");
                assert!(lease.mtu.is_none_or(|mtu| (1280..=1500).contains(&mtu)), "{lease:?}");
            }
        }
    }
    assert!(leases > 10, "some of them are good: {leases}");
}
