//! A UDP socket towards one peer that hears everything about what it sends: the peer's datagrams, the ICMP errors that routers
//! send about its own, and this machine's word that one is too long for its link. What any of that means is not known here.
//!
//! It is connected, so that strangers are not heard, and asks no path MTU of the kernel: what other programs have learned of the
//! path must not decide what is sent.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg, send};
use socket2::{Domain, Protocol, Socket, Type};
use sonde_protocol::reference::echo::MAX;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::control::{Control, SPACE};
use super::sys;

/// How often a send is repeated that failed for an ICMP error of an earlier datagram.
const REPEATS: usize = 4;

/// Messages read at most in one go from each of the two queues.
const BATCH: usize = 32;

/// What becomes of a datagram that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It arrives whole or not at all: "don't fragment", and no packet is kept back for what is known of the path.
    Whole,
    /// This machine cuts it into pieces that fit its link, and routers may cut further where IPv4 lets them.
    Pieces,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A datagram of the peer.
    Datagram {
        /// Its payload.
        bytes: Vec<u8>,
        /// The greatest of the packets that it came in, when it came in pieces.
        fragment: Option<u32>,
    },
    /// An ICMP error about something that was sent.
    Icmp {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
        /// Who sent it, if the kernel tells.
        from: Option<IpAddr>,
        /// What fits, if it says so.
        mtu: Option<u32>,
        /// As much of our payload as came back: often nothing.
        quoted: Vec<u8>,
    },
    /// The own link takes no longer packets than this.
    TooLong {
        /// Bytes of the whole packet.
        mtu: u32,
    },
}

/// The socket.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    heard: VecDeque<Heard>,
}

impl Datagrams {
    /// Opens one towards `peer`, from a port of the system's choice.
    ///
    /// # Errors
    /// The system's: without a route, for example.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(peer: SocketAddr, fit: Fit, hop_limit: Option<u8>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        let fd = socket.as_fd();
        let discover =
            |level, name, whole, pieces| sys::set(fd, level, name, if fit == Fit::Whole { whole } else { pieces });
        if peer.is_ipv4() {
            sys::set(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
            let _ = sys::set(fd, libc::IPPROTO_IP, libc::IP_RECVFRAGSIZE, 1);
            discover(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE, libc::IP_PMTUDISC_DONT)?;
            hop_limit.map_or(Ok(()), |limit| socket.set_ttl_v4(limit.into()))?;
        } else {
            sys::set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
            let _ = sys::set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVFRAGSIZE, 1);
            discover(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE, libc::IPV6_PMTUDISC_DONT)?;
            hop_limit.map_or(Ok(()), |limit| socket.set_unicast_hops_v6(limit.into()))?;
        }
        socket.connect(&peer.into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, heard: VecDeque::new() })
    }

    /// Sends one. That it is too long for the own link, or that an ICMP error came about an earlier one, is heard and no error.
    ///
    /// # Errors
    /// The system's: no route any more, forbidden by a filter of this machine.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut failed = None;
        for _ in 0..REPEATS {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    let before = self.heard.len();
                    self.read();
                    let is_too_long =
                        self.heard.iter().skip(before).any(|heard| matches!(heard, Heard::TooLong { .. }));
                    if error == Errno::EMSGSIZE && is_too_long {
                        return Ok(());
                    }
                    failed = Some(error);
                    // Nothing came that would explain it: it is about this datagram.
                    if self.heard.len() == before {
                        break;
                    }
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// What is heard next. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub async fn next(&mut self) -> io::Result<Heard> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            // Tells the runtime that the queues are empty before they are: what comes in between is told again. One by one,
            // because it forgets nothing for the two together.
            for one in [Interest::READABLE, Interest::ERROR] {
                let _ = self.socket.try_io(one, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }
            self.read();
        }
    }

    /// Reads both queues.
    fn read(&mut self) {
        let mut buffer = [0; MAX + 1];
        for queue in [MsgFlags::MSG_ERRQUEUE, MsgFlags::empty()] {
            for _ in 0..BATCH {
                let mut space = [0_u8; SPACE];
                let (length, control) = {
                    let mut slices = [IoSliceMut::new(&mut buffer)];
                    let flags = queue | MsgFlags::MSG_DONTWAIT;
                    let fd = self.socket.as_raw_fd();
                    match recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut space), flags) {
                        Ok(message) => (message.bytes, Control::read(&message)),
                        Err(Errno::EAGAIN) => break,
                        // The error of an earlier datagram, told once; what it was about lies in the other queue.
                        Err(_) => continue,
                    }
                };
                let bytes = buffer.get(..length).unwrap_or_default();
                self.heard.extend(if queue == MsgFlags::MSG_ERRQUEUE {
                    error(&control, bytes)
                } else {
                    datagram(&control, bytes)
                });
            }
        }
    }
}

fn datagram(control: &Control, bytes: &[u8]) -> Option<Heard> {
    Some(Heard::Datagram { bytes: bytes.to_vec(), fragment: control.fragment })
}

fn error(control: &Control, bytes: &[u8]) -> Option<Heard> {
    let error = control.error?;
    match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => {
            let is_too_big = match error.ee_origin {
                libc::SO_EE_ORIGIN_ICMP => (error.ee_type, error.ee_code) == (3, 4),
                _ => error.ee_type == 2,
            };
            Some(Heard::Icmp {
                kind: error.ee_type,
                code: error.ee_code,
                from: control.offender,
                mtu: (is_too_big && error.ee_info > 0).then_some(error.ee_info),
                quoted: bytes.to_vec(),
            })
        }
        libc::SO_EE_ORIGIN_LOCAL if error.ee_errno == Errno::EMSGSIZE as u32 => {
            Some(Heard::TooLong { mtu: error.ee_info })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_peer_is_heard_and_so_is_that_nobody_is_there() {
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = peer.local_addr().unwrap();
        let mut socket = Datagrams::open(address, Fit::Whole, None).unwrap();
        socket.send(b"hello").unwrap();
        let (_, home) = peer.recv_from(&mut [0; 8]).await.unwrap();
        peer.send_to(b"here", home).await.unwrap();
        assert_eq!(socket.next().await.unwrap(), Heard::Datagram { bytes: b"here".to_vec(), fragment: None });
        drop(peer);
        socket.send(b"anybody?").unwrap();
        let Heard::Icmp { kind, code, from, mtu, quoted } = socket.next().await.unwrap() else { panic!("no error") };
        assert_eq!((kind, code, from, mtu), (3, 3, Some(address.ip()), None));
        assert_eq!(quoted, b"anybody?");
        // The error of the one before does not keep back the next.
        socket.send(b"again").unwrap();
        assert!(matches!(socket.next().await.unwrap(), Heard::Icmp { kind: 3, .. }));
    }

    #[tokio::test]
    async fn a_stranger_is_not_heard() {
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut socket = Datagrams::open(peer.local_addr().unwrap(), Fit::Whole, None).unwrap();
        socket.send(b"hello").unwrap();
        let (_, home) = peer.recv_from(&mut [0; 8]).await.unwrap();
        let _ = stranger.send_to(b"let me in", home).await;
        peer.send_to(b"here", home).await.unwrap();
        assert_eq!(socket.next().await.unwrap(), Heard::Datagram { bytes: b"here".to_vec(), fragment: None });
    }
}
