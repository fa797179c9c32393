//! A client and the answers of a server, in virtual time.

use std::net::Ipv6Addr;

use dhcproto::v6::{Decodable, Status, StatusCode};

use super::*;

const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 7];
const SERVER: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50);
const SEED: u64 = 7;

fn secs(seconds: i64) -> Nanos {
    Nanos(seconds * 1_000_000_000)
}

fn client(mode: Mode) -> Client {
    let mut client = Client::new(HARDWARE, SEED);
    client.set_mode(mode, secs(0));
    client
}

fn all(client: &mut Client, now: Nanos) -> Vec<Action> {
    std::iter::from_fn(|| client.poll(now)).take(100).collect()
}

fn sent(client: &mut Client, now: Nanos) -> Message {
    let actions = all(client, now);
    let [Action::Send(bytes)] = actions.as_slice() else { panic!("{actions:?}") };
    Message::from_bytes(bytes).unwrap()
}

fn association(address: Ipv6Addr, [t1, t2, preferred_life, valid_life]: [u32; 4]) -> DhcpOption {
    let one = IAAddr { addr: address, preferred_life, valid_life, opts: DhcpOptions::new() };
    DhcpOption::IANA(IANA { id: 1, t1, t2, opts: [DhcpOption::IAAddr(one)].into_iter().collect() })
}

/// A server's answer with these options beside the names of both.
fn answer(to: &Message, kind: MessageType, options: &[DhcpOption]) -> Vec<u8> {
    let mut message = Message::new_with_id(kind, to.xid());
    message.opts_mut().insert(to.opts().get(OptionCode::ClientId).unwrap().clone());
    message.opts_mut().insert(DhcpOption::ServerId(SERVER.into()));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message.to_vec().unwrap()
}

fn usual() -> DhcpOption {
    association(ADDRESS, [0, 0, 1000, 2000])
}

/// One that has the usual address from the second 2 on.
fn bound() -> Client {
    let mut client = client(Mode::Stateful);
    let solicit = sent(&mut client, secs(0));
    assert_eq!(solicit.msg_type(), MessageType::Solicit);
    client.receive(&answer(&solicit, MessageType::Advertise, &[usual()]), secs(0));
    let request = sent(&mut client, secs(2));
    assert_eq!(request.msg_type(), MessageType::Request);
    assert_eq!(request.opts().get(OptionCode::ServerId), Some(&DhcpOption::ServerId(SERVER.into())));
    let resolver = DhcpOption::DomainNameServers(vec!["2001:db8::53".parse().unwrap()]);
    client.receive(&answer(&request, MessageType::Reply, &[usual(), resolver]), secs(2));
    let actions = all(&mut client, secs(2));
    let [Action::Resolvers(resolvers), Action::Bound(lease)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(resolvers, &["2001:db8::53".parse::<IpAddr>().unwrap()]);
    assert_eq!((lease.address, lease.preferred, lease.valid), (ADDRESS, 1000, 2000));
    client
}

#[test]
fn an_address_is_renewed_rebound_and_lost() {
    let mut client = bound();
    assert_eq!(all(&mut client, secs(501)), []);
    let renew = sent(&mut client, secs(502));
    assert_eq!(renew.msg_type(), MessageType::Renew);
    client.receive(&answer(&renew, MessageType::Reply, &[usual()]), secs(502));
    assert!(matches!(all(&mut client, secs(502)).as_slice(), [_, Action::Bound(lease)] if lease.ends_at == secs(2502)));
    let mut kinds = Vec::new();
    let end = loop {
        let now = client.due();
        match all(&mut client, now).as_slice() {
            [Action::Send(bytes)] => kinds.push(Message::from_bytes(bytes).unwrap().msg_type()),
            [Action::Lost, Action::Send(bytes)] => {
                assert_eq!(Message::from_bytes(bytes).unwrap().msg_type(), MessageType::Solicit);
                break now;
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end, secs(2502));
    let first_rebind = kinds.iter().position(|kind| *kind == MessageType::Rebind).unwrap();
    assert!(kinds.iter().take(first_rebind).all(|kind| *kind == MessageType::Renew), "{kinds:?}");
    assert!(kinds.iter().skip(first_rebind).all(|kind| *kind == MessageType::Rebind), "{kinds:?}");
    assert!((4..20).contains(&kinds.len()), "{kinds:?}");
}

#[test]
fn the_server_that_wants_it_most_is_taken() {
    let mut client = client(Mode::Stateful);
    let solicit = sent(&mut client, secs(0));
    for (name, preference) in [(1, 0), (2, 9), (3, 5)] {
        let mut offer = Message::from_bytes(&answer(&solicit, MessageType::Advertise, &[usual()])).unwrap();
        offer.opts_mut().remove(OptionCode::ServerId);
        offer.opts_mut().insert(DhcpOption::ServerId(vec![name]));
        offer.opts_mut().insert(DhcpOption::Preference(preference));
        client.receive(&offer.to_vec().unwrap(), secs(0));
    }
    assert_eq!(all(&mut client, secs(0)), [], "others have a second");
    let request = sent(&mut client, secs(2));
    assert_eq!(request.opts().get(OptionCode::ServerId), Some(&DhcpOption::ServerId(vec![2])));
}

#[test]
fn resolvers_alone_are_asked_for_where_the_router_says_so() {
    let mut client = client(Mode::Stateless);
    let question = sent(&mut client, secs(0));
    assert_eq!(question.msg_type(), MessageType::InformationRequest);
    assert!(question.opts().get(OptionCode::IANA).is_none());
    let told = ["2001:db8::53", "ff02::1", "::1", "fe80::53"].map(|ip| ip.parse().unwrap());
    let options = [DhcpOption::DomainNameServers(told.into()), DhcpOption::InformationRefreshTime(0)];
    client.receive(&answer(&question, MessageType::Reply, &options), secs(0));
    let expected = ["2001:db8::53", "fe80::53"].map(|ip| ip.parse().unwrap());
    assert_eq!(all(&mut client, secs(0)), [Action::Resolvers(expected.into())]);
    assert_eq!(client.due(), secs(600), "not sooner, whatever it says");
    client.set_mode(Mode::Off, secs(10));
    assert_eq!(all(&mut client, secs(1000)), [Action::Resolvers(Vec::new())]);
}

#[test]
fn what_no_server_in_its_senses_says_is_not_believed() {
    let refusal = |status| DhcpOption::StatusCode(StatusCode { status, msg: String::new() });
    let good = |ip: &str| association(ip.parse().unwrap(), [0, 0, 1000, 2000]);
    let cases: &[(DhcpOption, &str)] = &[
        (good("fe80::1"), "no machine"),
        (good("ff02::1"), "no machine"),
        (good("::1"), "no machine"),
        (good("::ffff:192.0.2.1"), "no machine"),
        (association(ADDRESS, [0, 0, 10, 10]), "less than a minute"),
        (association(ADDRESS, [0, 0, 2000, 1000]), "no machine"),
        (association(ADDRESS, [200, 100, 1000, 2000]), "out of order"),
        (refusal(Status::NoAddrsAvail), "refuses"),
        (DhcpOption::Preference(3), "no address"),
    ];
    for (option, why) in cases {
        let mut client = client(Mode::Stateful);
        let solicit = sent(&mut client, secs(0));
        client.receive(&answer(&solicit, MessageType::Advertise, std::slice::from_ref(option)), secs(0));
        assert_eq!(sent(&mut client, secs(2)).msg_type(), MessageType::Solicit, "{option:?}");
        assert!(client.refused().is_some_and(|text| text.contains(why)), "{option:?}: {:?}", client.refused());
    }
}

#[test]
fn times_of_a_server_cannot_keep_the_board_busy() {
    let mut client = client(Mode::Stateful);
    let solicit = sent(&mut client, secs(0));
    let hasty = association(ADDRESS, [1, 2, 1000, 2000]);
    client.receive(&answer(&solicit, MessageType::Advertise, std::slice::from_ref(&hasty)), secs(0));
    let request = sent(&mut client, secs(2));
    client.receive(&answer(&request, MessageType::Reply, std::slice::from_ref(&hasty)), secs(2));
    all(&mut client, secs(2));
    assert_eq!(client.due(), secs(7));
}

#[test]
fn a_server_that_has_forgotten_is_asked_as_a_new_one() {
    let mut client = bound();
    let renew = sent(&mut client, secs(502));
    let status = DhcpOption::StatusCode(StatusCode { status: Status::NoBinding, msg: String::new() });
    let forgotten = DhcpOption::IANA(IANA { id: 1, t1: 0, t2: 0, opts: [status].into_iter().collect() });
    client.receive(&answer(&renew, MessageType::Reply, &[forgotten]), secs(502));
    let actions = all(&mut client, secs(502));
    let [Action::Lost, Action::Send(bytes)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(Message::from_bytes(bytes).unwrap().msg_type(), MessageType::Request);
}

#[test]
fn garbage_and_answers_to_others_are_nothing() {
    let mut client = client(Mode::Stateful);
    let solicit = sent(&mut client, secs(0));
    let whole = answer(&solicit, MessageType::Advertise, &[usual(), DhcpOption::Preference(255)]);
    for length in 0..whole.len() {
        client.receive(&whole[..length], secs(0));
    }
    for place in 0..whole.len() {
        for bits in [0xff, 0x80, 0x01] {
            let mut broken = whole.clone();
            broken[place] ^= bits;
            let mut other = self::client(Mode::Stateful);
            sent(&mut other, secs(0));
            other.receive(&broken, secs(0));
        }
    }
    let mut nested = Vec::new();
    // Options within options within options: as deep as a datagram goes.
    while nested.len() < 1400 {
        let length = u16::try_from(nested.len() + 12).unwrap();
        nested = [&[0, 3][..], &length.to_be_bytes(), &[0; 12], &nested].concat();
    }
    client.receive(&[&whole[..4], &nested].concat(), secs(0));
    // A status that is shorter than its number, and one that ends where the datagram does.
    for tail in [
        &[0, 13, 0, 0, 0, 0][..],
        &[0, 13, 0, 1, 0, 0],
        &[0, 13, 0, 2],
        &[0, 16, 0, 1, 0, 0, 0, 0],
        &[0, 3, 0, 4, 0, 0, 0, 1],
    ] {
        let mut other = self::client(Mode::Stateful);
        sent(&mut other, secs(0));
        other.receive(&[&whole[..], tail].concat(), secs(0));
    }
    let mut foreign = whole.clone();
    foreign[1] ^= 1;
    let mut other = self::client(Mode::Stateful);
    sent(&mut other, secs(0));
    other.receive(&foreign, secs(0));
    assert_eq!(all(&mut other, secs(0)), [], "another transaction");
    other.receive(&whole, secs(0));
    assert_eq!(sent(&mut other, secs(0)).msg_type(), MessageType::Request, "and so it would have been taken");
}

#[test]
fn no_message_makes_a_lease_that_nobody_could_live_with() {
    let seed = std::env::var("SONDE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    eprintln!("SONDE_SEED={seed}");
    let mut random = Rng::new(seed);
    let mut leases = 0;
    for _ in 0..20_000 {
        let mut client = client(Mode::Stateful);
        let solicit = sent(&mut client, secs(0));
        client.receive(&answer(&solicit, MessageType::Advertise, &[usual()]), secs(0));
        let request = sent(&mut client, secs(2));
        let resolver = DhcpOption::DomainNameServers(vec!["2001:db8::53".parse().unwrap()]);
        let mut bytes = answer(&request, MessageType::Reply, &[usual(), resolver]);
        for _ in 0..=random.below(4) {
            let place = 4 + usize::try_from(random.below(bytes.len() as u64 - 4)).unwrap();
            bytes[place] = u8::try_from(random.below(256)).unwrap();
        }
        client.receive(&bytes, secs(2));
        for action in all(&mut client, secs(2)) {
            if let Action::Bound(lease) = action {
                leases += 1;
                assert!(lease.renew_at >= secs(7) && lease.renew_at <= lease.rebind_at, "{lease:?}");
                assert!(lease.rebind_at <= lease.ends_at && lease.ends_at >= secs(62), "{lease:?}");
                assert!(lease.preferred <= lease.valid && !lease.address.is_multicast(), "{lease:?}");
            }
        }
    }
    assert!(leases > 10, "some of them are good: {leases}");
}
