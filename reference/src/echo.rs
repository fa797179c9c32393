//! The echo's socket: one address, one port. It decides nothing: how long a reply may be is
//! [`sonde_protocol::reference::echo`]'s, who gets how much is [`Shares`]'.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendto};
use socket2::{Domain, Protocol, Socket, Type};
use sonde_protocol::reference::echo::{MAX, Reply, Request, TooBig};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::{debug, warn};

use crate::asked::Asked;
use crate::server::Common;
use crate::shares::{CELLS, Shares};
use crate::sys;

/// Bytes of the whole packet above the payload, and beside it what each packet costs a network at least.
const OVERHEAD: usize = 48;

/// Replies to one neighbourhood: a full run asks for some 200 kB, and there may be many probes behind one address.
const BYTES_A_SECOND: u64 = 100_000;
/// As much at once.
const BURST: u64 = 4_000_000;

/// Room for the control messages of one datagram.
const CONTROL: usize = 256;

/// Datagrams read in one go, so that other sockets get their turn.
const BATCH: usize = 64;

/// What all echoes of a server share.
pub(crate) struct Memory {
    asked: Asked,
    shares: Shares,
    /// All neighbourhoods together.
    all: Shares,
}

impl Memory {
    /// `bytes_a_second` is for everybody together.
    pub(crate) fn new(bytes_a_second: u64) -> Mutex<Self> {
        let all = Shares::new(1, bytes_a_second, bytes_a_second);
        Mutex::new(Self { asked: Asked::default(), shares: Shares::new(CELLS, BYTES_A_SECOND, BURST), all })
    }
}

/// Opens the socket. Port 0 takes a free one.
pub(crate) fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let fd = socket.as_fd();
    if address.is_ipv4() {
        sys::set(fd, libc::IPPROTO_IP, libc::IP_RECVTTL, 1)?;
        sys::set(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        let _ = sys::set(fd, libc::IPPROTO_IP, libc::IP_RECVFRAGSIZE, 1);
    } else {
        socket.set_only_v6(true)?;
        sys::set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
        sys::set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
        let _ = sys::set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVFRAGSIZE, 1);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Answers until the future is dropped.
pub(crate) async fn serve(socket: Socket, common: Arc<Common>) -> io::Result<()> {
    let v4 = socket.local_addr()?.is_ipv4();
    let mut echo = Echo { socket: UdpSocket::from_std(socket.into())?, v4, common, whole: None };
    loop {
        echo.socket.ready(Interest::READABLE | Interest::ERROR).await?;
        // Tells the runtime that the queues are empty before they are: what comes in between is told again. One by one,
        // because it forgets nothing for the two together.
        for one in [Interest::READABLE, Interest::ERROR] {
            let _ = echo.socket.try_io(one, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        while echo.batch() {
            tokio::task::yield_now().await;
        }
    }
}

struct Echo {
    socket: UdpSocket,
    v4: bool,
    common: Arc<Common>,
    /// Whether replies are sent whole or not at all, as the socket is set now.
    whole: Option<bool>,
}

/// A datagram, or a message of the error queue.
struct Message {
    length: usize,
    peer: SocketAddr,
    hop_limit: Option<u8>,
    fragment: Option<u16>,
    too_big: Option<TooBig>,
}

impl Echo {
    /// Reads both queues for a while. `true`: there may be more.
    fn batch(&mut self) -> bool {
        let mut buffer = [0; MAX + 1];
        let mut more = false;
        for queue in [MsgFlags::MSG_ERRQUEUE, MsgFlags::empty()] {
            let mut left = BATCH;
            while left > 0 {
                left -= 1;
                match self.receive(&mut buffer, queue) {
                    Ok(Some(message)) if queue == MsgFlags::MSG_ERRQUEUE => self.complaint(&message),
                    Ok(Some(message)) => {
                        if let Some(bytes) = buffer.get(..message.length) {
                            self.datagram(&message, bytes);
                        }
                    }
                    Ok(None) => {}
                    Err(Errno::EAGAIN) => break,
                    // An ICMP error that waits for whoever calls next; its message lies in the error queue.
                    Err(error) => debug!(%error, "a socket's pending error"),
                }
            }
            more |= left == 0;
        }
        more
    }

    fn receive_raw(&self, buffer: &mut [u8], flags: MsgFlags) -> Result<Option<Message>, Errno> {
        let mut control = vec![0; CONTROL];
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags | MsgFlags::MSG_DONTWAIT)?;
        let Some(peer) = message.address.as_ref().and_then(socket_addr) else { return Ok(None) };
        let mut read = Message { length: message.bytes, peer, hop_limit: None, fragment: None, too_big: None };
        for item in message.cmsgs()? {
            match item {
                ControlMessageOwned::Ipv4Ttl(value) | ControlMessageOwned::Ipv6HopLimit(value) => {
                    read.hop_limit = u8::try_from(value).ok();
                }
                ControlMessageOwned::Ipv4RecvErr(error, offender) => {
                    let from = offender.map(|from| IpAddr::from(from.sin_addr.s_addr.to_ne_bytes()));
                    read.too_big = complaint(&error, (3, 4), from);
                }
                ControlMessageOwned::Ipv6RecvErr(error, offender) => {
                    let from = offender.map(|from| IpAddr::from(from.sin6_addr.s6_addr));
                    read.too_big = complaint(&error, (2, 0), from);
                }
                ControlMessageOwned::Unknown(other) => {
                    // nix has no name for the greatest piece of a datagram that came in pieces: an int, 0 for one piece.
                    let kind = (other.cmsg_header.cmsg_level, other.cmsg_header.cmsg_type);
                    let size = other.data_bytes.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
                    if kind == (libc::IPPROTO_IP, libc::IP_RECVFRAGSIZE)
                        || kind == (libc::IPPROTO_IPV6, libc::IPV6_RECVFRAGSIZE)
                    {
                        read.fragment = size.and_then(|size| u16::try_from(size).ok()).filter(|size| *size > 0);
                    }
                }
                _ => {}
            }
        }
        Ok(Some(read))
    }

    fn receive(&self, buffer: &mut [u8], queue: MsgFlags) -> Result<Option<Message>, Errno> {
        loop {
            match self.receive_raw(buffer, queue) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.common.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complaint(&self, message: &Message) {
        if let Some(too_big) = message.too_big {
            let now = self.common.seconds();
            self.memory().asked.complain(message.peer, too_big, now);
        }
    }

    fn datagram(&mut self, message: &Message, bytes: &[u8]) {
        let Some(request) = Request::parse(bytes) else { return };
        let (ip, now) = (message.peer.ip(), self.common.nanos());
        let known = request.token.is_some_and(|token| self.common.tokens.knows(&token, ip, self.common.seconds()));
        let size = request.reply_size(bytes.len(), known);
        let too_big = {
            let mut memory = self.memory();
            let cost = (size + OVERHEAD) as u64;
            if !memory.shares.take(ip, cost, now) || !memory.all.take(ip, cost, now) {
                return;
            }
            if known { memory.asked.ask(message.peer, self.common.seconds()) } else { None }
        };
        let reply = Reply {
            id: request.id,
            received: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
            hop_limit: message.hop_limit,
            too_big,
            fragment: message.fragment,
        };
        self.send(message.peer, &reply.to_bytes(size), !request.may_fragment);
    }

    fn send(&mut self, to: SocketAddr, bytes: &[u8], whole: bool) {
        if let Err(error) = self.set_whole(whole) {
            warn!(%error, "a reply's fragmenting cannot be chosen");
            return;
        }
        let fd = self.socket.as_raw_fd();
        // Once more: the first error may be that of an earlier reply, which the kernel tells whoever calls next.
        for _ in 0..2 {
            match sendto(fd, bytes, &SockaddrStorage::from(to), MsgFlags::MSG_DONTWAIT) {
                Ok(_) => return,
                Err(error) => debug!(%to, %error, "a reply could not be sent"),
            }
        }
    }

    /// The kernel has no control message for it in IPv4, so the option is set when it changes. `PROBE`: no path MTU that the
    /// kernel has learned keeps back a reply.
    fn set_whole(&mut self, whole: bool) -> io::Result<()> {
        if self.whole != Some(whole) {
            let (level, name) = if self.v4 {
                (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
            } else {
                (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
            };
            let value = if whole { libc::IP_PMTUDISC_PROBE } else { libc::IP_PMTUDISC_DONT };
            sys::set(self.socket.as_fd(), level, name, value)?;
            self.whole = Some(whole);
        }
        Ok(())
    }
}

/// A router's complaint, if it is one about size: ICMP type and code as given, code of ICMPv6 always 0.
fn complaint(error: &libc::sock_extended_err, kind: (u8, u8), from: Option<IpAddr>) -> Option<TooBig> {
    let by_icmp = [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin);
    let mtu = u16::try_from(error.ee_info).unwrap_or(u16::MAX);
    (by_icmp && (error.ee_type, error.ee_code) == kind && mtu > 0).then_some(TooBig { from: from?, mtu })
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port())))
}
