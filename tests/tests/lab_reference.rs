//! `sonde reference` in the lab, as a program: what it says it saw is what the lab knows to be true, and its echo finds out what
//! paths do to datagrams. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use sonde_protocol::key::PublicKey;
use sonde_protocol::reference::echo::{HEADER, MAX, Reply, Request, Token};
use sonde_protocol::reference::{Ask, MAX_MESSAGE, Seen};
use sonde_protocol::tls::reference_client_config;
use sonde_protocol::wire::{Reader, framed};
use sonde_tests::lab::{Family, Host, Lab, LabChild, LabOptions, Link, Node, Router};
use sonde_tests::scene::lab;
use sonde_tests::world::{PATIENCE, program, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const PORT: u16 = 443;
const ECHO_PORT: u16 = 8334;
const CLOSED_PORT: u16 = 8335;

/// The payload of a packet of 1500 bytes.
fn whole(family: Family) -> usize {
    if family == Family::V4 { 1472 } else { 1452 }
}

/// A reference server on the target, and its key.
fn start(lab: &Lab, data: &std::path::Path) -> (LabChild, PublicKey) {
    let listen = Family::ALL.map(|family| Host::Target.address(family).unwrap().to_string());
    let command = |more: &[&str]| {
        let mut command = lab.host(Host::Target).command(program("sonde").unwrap());
        command.args(["reference", "--data"]).arg(data);
        command.args(["--listen", &listen[0], "--listen", &listen[1]]).args(more);
        command
    };
    let card = String::from_utf8(command(&["--card"]).output().unwrap().stdout).unwrap();
    let key = card.split("--key=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    let child = lab.spawn(&mut command(&[])).unwrap();
    (child, key)
}

fn towards(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(Host::Target.address(family).unwrap(), port)
}

/// What the server says it sees of this host.
fn seen(lab: &Lab, from: Host, family: Family, key: PublicKey) -> Result<Seen> {
    let exchange = async {
        let target = towards(family, PORT);
        let connector = TlsConnector::from(Arc::new(reference_client_config(key)?));
        let mut stream = connector.connect(target.ip().into(), TcpStream::connect(target).await?).await?;
        stream.write_all(&framed(&minicbor::to_vec(Ask { want: 8192, ..Ask::default() })?)).await?;
        let mut reader = Reader::new(MAX_MESSAGE);
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = reader.next_message()? {
                let seen = minicbor::decode(message)?;
                let _ = stream.shutdown().await;
                return Ok(seen);
            }
            match stream.read(&mut buffer).await? {
                0 => bail!("no answer"),
                length => reader.push(&buffer[..length]),
            }
        }
    };
    lab.host(from).run(|| tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(exchange))
}

/// Somebody who asks for echoes.
struct Asker {
    socket: UdpSocket,
    token: Token,
}

impl Asker {
    fn new(lab: &Lab, from: Host, family: Family, token: Token) -> Result<Self> {
        let socket = lab.host(from).run(|| -> Result<_> {
            let any: IpAddr = if family == Family::V4 { [0; 4].into() } else { [0_u16; 8].into() };
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(towards(family, ECHO_PORT))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })?;
        Ok(Self { socket, token })
    }

    /// Asks, and then for something small: the path keeps the order, so what has not come before that is lost. Gives both
    /// replies.
    fn ask(&self, size: usize, want: usize, may_fragment: bool) -> Result<(Option<(usize, Reply)>, Reply)> {
        let request = |id, want| Request { id, want, may_fragment, token: Some(self.token) };
        self.socket.send(&request(1, u16::try_from(want)?).to_bytes(size))?;
        self.socket.send(&request(2, 0).to_bytes(HEADER))?;
        let mut found = None;
        loop {
            let mut buffer = [0; MAX + 1];
            let length = self.socket.recv(&mut buffer).context("not even the small reply comes")?;
            match Reply::parse(&buffer[..length]) {
                Some(reply) if reply.id == 2 => return Ok((found, reply)),
                Some(reply) => found = Some((length, reply)),
                None => bail!("this is no reply: {:?}", &buffer[..length]),
            }
        }
    }
}

#[test]
fn it_tells_the_truth_about_what_arrived() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let data = tempfile::tempdir().unwrap();
    let (_server, key) = start(&lab, data.path());
    for (host, families) in [(Host::Dual, &Family::ALL[..]), (Host::Nat, &[Family::V4]), (Host::V6Only, &[Family::V6])]
    {
        for &family in families {
            let seen = wait_for("the reference server", || Ok(seen(&lab, host, family, key).ok())).unwrap();
            let hops = u8::try_from(lab.path(host, Host::Target, family).len()).unwrap();
            // The path's last is the target itself, and systems begin with 64.
            assert_eq!(seen.hop_limit, Some(64 - (hops - 1)), "{} {family:?}", host.name());
            assert_eq!(Some(seen.src.0), host.public_address(family), "{}", host.name());
            assert_eq!(seen.mss, Some(if family == Family::V4 { 1460 } else { 1440 }));
            assert_eq!((seen.padding.len(), seen.headers.len()), (8192, 0));

            let asker = Asker::new(&lab, host, family, seen.token).unwrap();
            let (reply, _) = asker.ask(whole(family), whole(family), false).unwrap();
            let (size, reply) = reply.unwrap();
            assert_eq!((size, usize::from(reply.received)), (whole(family), whole(family)));
            assert_eq!((reply.hop_limit, reply.fragment, reply.too_big), (seen.hop_limit, None, None));
            // Our own kernel cuts it.
            let (reply, _) = asker.ask(MAX, 0, false).unwrap();
            let reply = reply.unwrap().1;
            assert_eq!(usize::from(reply.received), MAX);
            assert!(reply.fragment.is_some_and(|piece| (1000..=1500).contains(&piece)), "{reply:?}");
        }
    }
    // Where nothing listens the kernel says so.
    for family in Family::ALL {
        let error = lab.host(Host::Dual).run(|| {
            let any: IpAddr = if family == Family::V4 { [0; 4].into() } else { [0_u16; 8].into() };
            let socket = UdpSocket::bind((any, 0)).unwrap();
            socket.connect(towards(family, CLOSED_PORT)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send(b"?").unwrap();
            socket.recv(&mut [0; 8]).unwrap_err()
        });
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{family:?}");
    }
}

#[test]
fn what_a_narrow_link_does_to_replies_is_told() {
    let Some(lab) = lab(LabOptions::default()) else { return };
    let data = tempfile::tempdir().unwrap();
    let (_server, key) = start(&lab, data.path());
    let link = Link::R1R2;
    for family in Family::ALL {
        let seen = wait_for("the reference server", || Ok(seen(&lab, Host::Dual, family, key).ok())).unwrap();
        let asker = Asker::new(&lab, Host::Dual, family, seen.token).unwrap();
        lab.set_mtu(link, 1400).unwrap();
        // A third is asked with, so that the way up is no matter.
        let third = whole(family) / 3 + 1;
        let too_big = wait_for("the router's complaint", || {
            let (reply, after) = asker.ask(third, whole(family), false)?;
            assert_eq!(reply, None, "1500 bytes do not fit through 1400");
            Ok(after.too_big)
        })
        .unwrap();
        // R2 is the last that the reply reaches.
        let router = Node::Router(Router::R2).addresses(family);
        assert!(router.contains(&too_big.from), "{} is not one of {router:?}", too_big.from);
        assert_eq!(too_big.mtu, 1400);
        // In pieces it comes through.
        let (reply, _) = asker.ask(third, whole(family), true).unwrap();
        assert_eq!(reply.unwrap().0, whole(family));

        // A hole: the same, and nobody says anything.
        lab.set_mtu_hole(Router::R2, true).unwrap();
        let other = Asker::new(&lab, Host::Dual, family, seen.token).unwrap();
        for _ in 0..3 {
            let (reply, after) = other.ask(third, whole(family), false).unwrap();
            assert_eq!((reply, after.too_big), (None, None));
        }
        let (reply, _) = other.ask(third, whole(family) - 100, false).unwrap();
        assert_eq!(reply.unwrap().0, whole(family) - 100);
        lab.set_mtu_hole(Router::R2, false).unwrap();
        lab.set_mtu(link, 1500).unwrap();
    }
}
