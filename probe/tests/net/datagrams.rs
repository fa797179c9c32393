//! Datagrams that do not fit the own link: told by the machine itself, or cut into pieces.

use std::net::SocketAddr;

use sonde_probe::net::datagrams::{Datagrams, Fit, Heard};
use sonde_protocol::net::Family;
use tokio::net::UdpSocket;

use super::lab::{in_namespace, ip, localhost};

/// What the loopback takes in these tests, and a payload that is too long for it.
const MTU: u32 = 1400;
const LONG: [u8; 1452] = [7; 1452];

/// Somebody on loopback, and their address.
async fn peer(family: Family) -> (UdpSocket, SocketAddr) {
    let peer = UdpSocket::bind(SocketAddr::new(localhost(family), 0)).await.expect("a socket");
    let address = peer.local_addr().expect("an address");
    (peer, address)
}

#[test]
fn what_the_own_link_does_not_take_is_told_and_not_sent() {
    in_namespace(async || {
        ip(&format!("link set lo mtu {MTU}"));
        for family in Family::BOTH {
            let (peer, address) = peer(family).await;
            let mut socket = Datagrams::open(address, Fit::Whole, None).expect("a socket");
            socket.send(&LONG).expect("no error, but heard");
            assert_eq!(socket.next().await.expect("it can be read"), Heard::TooLong { mtu: MTU }, "{family:?}");
            socket.send(b"short").expect("what fits is sent");
            let mut buffer = [0; 2048];
            assert_eq!(peer.recv(&mut buffer).await.expect("it comes"), 5, "and nothing before it");
        }
    });
}

#[test]
fn pieces_arrive_whole_and_are_known_as_pieces() {
    in_namespace(async || {
        ip(&format!("link set lo mtu {MTU}"));
        for family in Family::BOTH {
            let (peer, address) = peer(family).await;
            let mut socket = Datagrams::open(address, Fit::Pieces, None).expect("a socket");
            socket.send(&LONG).expect("it is cut");
            let mut buffer = [0; 2048];
            let (length, home) = peer.recv_from(&mut buffer).await.expect("it comes");
            assert_eq!(length, LONG.len());
            peer.send_to(&LONG, home).await.expect("back");
            let Heard::Datagram { bytes, fragment } = socket.next().await.expect("it can be read") else {
                panic!("{family:?}: no datagram")
            };
            assert_eq!(bytes, LONG);
            assert!(fragment.is_some_and(|greatest| greatest <= MTU), "{family:?}: {fragment:?}");
        }
    });
}
