//! A resolver on loopback that says what a test wants, and says what it was asked.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use super::*;

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(60);

/// What the resolver does with a question.
type Answer = Box<dyn Fn(&mut Message, Transport) + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

struct FakeResolver {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, RecordType, Transport)>>>,
    /// Ends with the test.
    _tasks: JoinSet<()>,
}

impl FakeResolver {
    async fn start(answer: impl Fn(&mut Message, Transport) + Send + Sync + 'static) -> Self {
        let answer: Arc<Answer> = Arc::new(Box::new(answer));
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let mut tasks = JoinSet::new();
        let reply = {
            let asked = asked.clone();
            move |query: &[u8], transport| {
                let mut message = Message::from_vec(query).unwrap();
                let question = message.queries.first().unwrap();
                asked.lock().unwrap().push((question.name().to_string(), question.query_type(), transport));
                message = message.into_response();
                answer(&mut message, transport);
                message.to_vec().unwrap()
            }
        };
        let udp_reply = reply.clone();
        tasks.spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                udp.send_to(&udp_reply(&buffer[..length], Transport::Udp), from).await.unwrap();
            }
        });
        tasks.spawn(async move {
            loop {
                let (mut connection, _) = tcp.accept().await.unwrap();
                let length = connection.read_u16().await.unwrap();
                let mut query = vec![0; usize::from(length)];
                connection.read_exact(&mut query).await.unwrap();
                let bytes = reply(&query, Transport::Tcp);
                connection.write_u16(bytes.len() as u16).await.unwrap();
                connection.write_all(&bytes).await.unwrap();
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// One that says which addresses every name has.
    async fn with(addresses: &[&str]) -> Self {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Self::start(move |message, _| addresses.iter().for_each(|address| add(message, *address))).await
    }

    fn resolver(&self) -> Resolver {
        Resolver::of_servers(&[self.address])
    }

    fn asked(&self) -> Vec<(String, RecordType, Transport)> {
        self.asked.lock().unwrap().clone()
    }
}

/// Adds an address to an answer, if the question was for its family.
fn add(message: &mut Message, address: IpAddr) {
    let question = message.queries.first().unwrap().clone();
    let data = match (address, question.query_type()) {
        (IpAddr::V4(v4), RecordType::A) => RData::A(A(v4)),
        (IpAddr::V6(v6), RecordType::AAAA) => RData::AAAA(AAAA(v6)),
        _ => return,
    };
    message.add_answer(Record::from_rdata(question.name().clone(), 3600, data));
}

/// A port where nobody answers, and the socket that keeps it so.
async fn silent() -> (SocketAddr, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    (socket.local_addr().unwrap(), socket)
}

#[tokio::test]
async fn every_call_asks_anew_and_for_the_whole_name() {
    let fake = FakeResolver::with(&["20.0.0.1", "20.0.0.2"]).await;
    let resolver = fake.resolver();
    for _ in 0..2 {
        let (addresses, _) = resolver.addresses("www.example", Family::V4, LONG).await.unwrap();
        assert_eq!(addresses, [IpAddr::V4(Ipv4Addr::new(20, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(20, 0, 0, 2))]);
    }
    let question = ("www.example.".to_owned(), RecordType::A, Transport::Udp);
    assert_eq!(fake.asked(), [question.clone(), question], "no cache, no search list");
}

#[tokio::test]
async fn a_literal_needs_no_resolver() {
    let resolver = Resolver::of_servers(&[]);
    let (addresses, took) = resolver.addresses("2001:db8::1", Family::V6, LONG).await.unwrap();
    assert_eq!((addresses, took), (vec!["2001:db8::1".parse().unwrap()], Duration::ZERO));
    let other = resolver.addresses("192.0.2.1", Family::V6, LONG).await;
    assert!(matches!(other, Err(ResolveError::OtherFamily)));
    let name = resolver.addresses("www.example", Family::V6, LONG).await;
    assert!(matches!(name, Err(ResolveError::NoResolver)));
}

#[tokio::test]
async fn mapped_addresses_are_given_as_they_are_and_their_number_is_bounded() {
    let fake = FakeResolver::with(&["::ffff:10.0.0.1"]).await;
    let (addresses, _) = fake.resolver().addresses("www.example", Family::V6, LONG).await.unwrap();
    assert_eq!(addresses, [IpAddr::V6("::ffff:10.0.0.1".parse().unwrap())]);

    let many: Vec<_> = (0..40).map(|n| format!("20.0.0.{n}")).collect();
    let fake = FakeResolver::with(&many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (addresses, _) = fake.resolver().addresses("www.example", Family::V4, LONG).await.unwrap();
    assert_eq!(addresses.len(), MAX_ADDRESSES);
}

#[tokio::test]
async fn an_alias_is_followed() {
    let fake = FakeResolver::start(|message, _| {
        let question = message.queries.first().unwrap().clone();
        let target = Name::from_ascii("target.example.").unwrap();
        message.add_answer(Record::from_rdata(question.name().clone(), 60, RData::CNAME(CNAME(target.clone()))));
        message.add_answer(Record::from_rdata(target, 60, RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))));
    })
    .await;
    let (addresses, _) = fake.resolver().addresses("alias.example", Family::V6, LONG).await.unwrap();
    assert_eq!(addresses, [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let fake = FakeResolver::start(|message, transport| match transport {
        Transport::Udp => message.metadata.truncation = true,
        Transport::Tcp => add(message, IpAddr::V4(Ipv4Addr::new(20, 0, 0, 1))),
    })
    .await;
    let (addresses, _) = fake.resolver().addresses("www.example", Family::V4, LONG).await.unwrap();
    assert_eq!(addresses, [IpAddr::V4(Ipv4Addr::new(20, 0, 0, 1))]);
    assert_eq!(fake.asked().last().map(|asked| asked.2), Some(Transport::Tcp));
}

#[tokio::test]
async fn failures_say_what_failed() {
    let says = |code| FakeResolver::start(move |message: &mut Message, _| message.metadata.response_code = code);
    let ask = async |fake: &FakeResolver, name| {
        fake.resolver().addresses(name, Family::V6, LONG).await.unwrap_err().to_string()
    };
    assert_eq!(ask(&says(ResponseCode::NXDomain).await, "www.example").await, "no such name");
    assert_eq!(ask(&says(ResponseCode::NoError).await, "www.example").await, "the name has no IPv6 address");
    assert!(ask(&says(ResponseCode::ServFail).await, "www.example").await.starts_with("the resolver answered"));
    let fake = FakeResolver::with(&[]).await;
    for name in ["", ".", "a..b", &"x".repeat(64), &"x.".repeat(200)] {
        assert_eq!(ask(&fake, name).await, "not a host name", "{name:?}");
    }
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_resolver_that_fails_is_followed_by_the_next_and_one_that_says_no_is_not() {
    let good = FakeResolver::with(&["20.0.0.1"]).await;
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let bad = FakeResolver::start(move |message, _| message.metadata.response_code = code).await;
        let resolver = Resolver::of_servers(&[bad.address, good.address]);
        assert!(resolver.addresses("www.example", Family::V4, LONG).await.is_ok(), "{code}");
    }
    let (nobody, _socket) = silent().await;
    let resolver = Resolver::of_servers(&[nobody, good.address]);
    assert!(resolver.addresses("www.example", Family::V4, LONG).await.is_ok(), "silence");

    let no = FakeResolver::start(|message, _| message.metadata.response_code = ResponseCode::NXDomain).await;
    let resolver = Resolver::of_servers(&[no.address, good.address]);
    let answer = resolver.addresses("www.example", Family::V4, LONG).await;
    assert!(matches!(answer, Err(ResolveError::NoSuchName)), "{answer:?}");
}

#[tokio::test]
async fn silence_ends_with_the_time_given() {
    let (nobody, _socket) = silent().await;
    let resolver = Resolver::of_servers(&[nobody]);
    let answer = resolver.addresses("www.example", Family::V4, Duration::from_millis(50)).await;
    assert!(matches!(answer, Err(ResolveError::Timeout)), "{answer:?}");
}

#[tokio::test]
async fn the_list_is_read_again_when_its_file_is_replaced_or_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let resolver = Resolver::of_file(&path);
    assert_eq!(resolver.own_resolvers(), []);
    let missing = resolver.addresses("www.example", Family::V4, LONG).await;
    assert!(matches!(missing, Err(ResolveError::Read { .. })), "{missing:?}");

    std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
    assert_eq!(resolver.own_resolvers(), ["192.0.2.1:53".parse().unwrap()]);
    // A DHCP client writes a new file and puts it in place; same size, maybe the same moment.
    let new = dir.path().join("resolv.conf.new");
    std::fs::write(&new, "nameserver 192.0.2.2\n").unwrap();
    std::fs::rename(&new, &path).unwrap();
    assert_eq!(resolver.own_resolvers(), ["192.0.2.2:53".parse().unwrap()]);
    std::fs::write(&path, "nameserver 192.0.2.3\nnameserver 2001:db8::53\n").unwrap();
    let both = ["192.0.2.3:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()];
    assert_eq!(resolver.own_resolvers(), both);
}

#[tokio::test]
async fn the_hosts_own_list_replaces_the_systems() {
    let config = PolicySection { resolvers: vec!["192.0.2.9".parse().unwrap()], ..PolicySection::default() };
    assert_eq!(Resolver::new(&config).own_resolvers(), ["192.0.2.9:53".parse().unwrap()]);
}

#[tokio::test]
async fn nat64_prefixes_come_from_the_line_and_cannot_make_private_addresses_ordinary() {
    let believed = FakeResolver::with(&["64:ff9b::c000:aa", "64:ff9b:1:fffe::c000:aa", "2a00:1::c000:aa"]).await;
    let found: Vec<_> =
        believed.resolver().nat64_prefixes().await.iter().map(|prefix| prefix.net().to_string()).collect();
    assert_eq!(found, ["64:ff9b::/96", "64:ff9b:1:fffe::/96", "2a00:1::/96"]);
    assert_eq!(believed.asked()[0].0, "ipv4only.arpa.");

    let lies =
        ["fd00::c000:aa", "fe80::c000:aa", "::c000:aa", "::ffff:192.0.0.170", "fc00:1:c000:aa::", "2002:1:c000:aa::"];
    let liar = FakeResolver::with(&lies).await;
    assert_eq!(liar.resolver().nat64_prefixes().await, []);
    let teredo = FakeResolver::with(&["2001:0:c000:aa::", "20.0.0.1"]).await;
    assert_eq!(teredo.resolver().nat64_prefixes().await, []);
    let none = FakeResolver::start(|message, _| message.metadata.response_code = ResponseCode::ServFail).await;
    assert_eq!(none.resolver().nat64_prefixes().await, []);
}

#[test]
fn a_stub_gives_way_to_those_that_it_asks() {
    let own = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    let behind = "# kept by systemd-resolved\nnameserver 192.168.1.1\nnameserver 2a00:1::53\nsearch lan\n";
    let stub = own(&["127.0.0.53:53"]);
    assert_eq!(without_stub(stub.clone(), behind), own(&["192.168.1.1:53", "[2a00:1::53]:53"]));
    assert_eq!(without_stub(stub.clone(), ""), stub, "it asks nobody: then it is what there is");
    assert_eq!(without_stub(stub.clone(), "nameserver 127.0.0.53\n"), stub);
    let mixed = own(&["127.0.0.53:53", "9.9.9.9:53", "192.168.1.1:53"]);
    assert_eq!(without_stub(mixed, behind), own(&["192.168.1.1:53", "[2a00:1::53]:53", "9.9.9.9:53"]));
}

#[test]
fn other_programs_of_this_machine_are_resolvers_of_their_own() {
    for list in ["nameserver 127.0.0.1\n", "nameserver 192.168.1.1\nnameserver ::1\n"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), list).unwrap();
        let resolver = Resolver::of_file(file.path());
        assert_eq!(resolver.behind_stub(), resolver.own_resolvers());
    }
}
