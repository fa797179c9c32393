//! What the ICMP, UDP and raw TCP sockets of a probe have in common: sending with a hop limit, kernel stamps both ways, the error
//! queue. Non-blocking; the caller waits for the socket (`POLLIN` and `POLLERR`) and calls [`PacketSocket::receive`].
//!
//! The kernel side is in Documentation/networking/timestamping.rst and ip(7), `IP_RECVERR`. This module does not know
//! jobs or engines' state; a `T` of the caller travels with each packet until its stamp comes.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use socket2::Socket;
use sonde_engine::icmp::Kind::{EchoReply, EchoRequest};
use sonde_engine::{IcmpErrorEvent, Meta, Needs, Transmit, padding};
use sonde_protocol::net::Family;
use sonde_protocol::time::Nanos;

use super::clock::{Placed, StampConverter};
use super::control::{self, Control, socket_addr};
use super::departures::Departures;
use super::tcp_socket::TcpFlow;
use super::{icmp_socket, sys};

/// The largest IP packet, so the buffer that [`PacketSocket::receive`] wants.
pub const SCRATCH: usize = 65_536;

/// Messages read at most in one call from each of the two queues, so that one busy socket does not starve the others.
const BATCH: usize = 256;
/// How often a send or receive is repeated that failed for an ICMP error of an earlier packet.
const REPEATS: usize = 8;
/// Receive buffer in bytes; stamps and ICMP errors are charged to it too.
const RECEIVE_BUFFER: libc::c_int = 1 << 20;
/// Send buffer in bytes, large enough for packets that wait for a neighbour that does not answer.
const SEND_BUFFER: libc::c_int = 1 << 20;

const STAMPING: libc::c_uint = libc::SOF_TIMESTAMPING_TX_SOFTWARE
    | libc::SOF_TIMESTAMPING_RX_SOFTWARE
    | libc::SOF_TIMESTAMPING_SOFTWARE
    | libc::SOF_TIMESTAMPING_OPT_TSONLY;

/// Which protocol the socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unprivileged ICMP: the kernel sets identifier and checksum and filters by identifier.
    IcmpDatagram,
    /// Raw ICMP with an identifier that we chose.
    IcmpRaw(u16),
    /// UDP.
    Udp,
    /// Raw TCP, segments of one flow.
    TcpRaw(TcpFlow),
}

/// What came out of a socket.
#[derive(Debug)]
pub enum Arrival<T> {
    /// The kernel's stamp of a packet that was sent.
    Stamp {
        /// The packet.
        tag: T,
        /// When it left.
        left: Placed,
    },
    /// A datagram.
    Datagram {
        /// What is known of it.
        meta: Meta,
        /// `meta.received_at` is the kernel's.
        kernel: bool,
        /// How wrong `meta.received_at` can be, in nanoseconds.
        error: u64,
        /// For ICMP the message from its type byte on, for UDP the payload, for TCP the segment.
        bytes: Vec<u8>,
    },
    /// An ICMP error about a packet of this socket.
    IcmpError {
        /// The error.
        event: IcmpErrorEvent,
        /// `event.received_at` is the kernel's.
        kernel: bool,
        /// How wrong `event.received_at` can be, in nanoseconds.
        error: u64,
    },
}

/// A packet socket of one family.
#[derive(Debug)]
pub struct PacketSocket<T> {
    socket: Socket,
    family: Family,
    kind: Kind,
    stamping: bool,
    departures: Departures<T>,
    dont_fragment: Option<bool>,
    /// Holds this socket's port.
    _reserved: Option<Socket>,
    /// When both queues were last seen empty.
    drained_at: Nanos,
}

impl<T: Copy> PacketSocket<T> {
    /// Sets `socket` up: non-blocking, stamps, hop limits, ICMP errors. Kernels without stamps, RFC 4884 extensions or the size of pieces do
    /// without; what else fails is an error.
    pub(super) fn new(socket: Socket, family: Family, kind: Kind, now: Nanos) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let fd = socket.as_fd();
        match family {
            Family::V4 => {
                sys::set(fd, libc::IPPROTO_IP, libc::IP_RECVTTL, 1)?;
                sys::set(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
                let _ = sys::set(fd, libc::IPPROTO_IP, sys::IP_RECVERR_RFC4884, 1);
                let _ = sys::set(fd, libc::IPPROTO_IP, libc::IP_RECVFRAGSIZE, 1);
            }
            Family::V6 => {
                sys::set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
                sys::set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
                let _ = sys::set(fd, libc::IPPROTO_IPV6, sys::IPV6_RECVERR_RFC4884, 1);
                let _ = sys::set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVFRAGSIZE, 1);
            }
        }
        // Beyond the system's limit only with CAP_NET_ADMIN; otherwise up to the limit.
        for (force, ask, size) in [
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE_BUFFER),
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_BUFFER),
        ] {
            if sys::set(fd, libc::SOL_SOCKET, force, size).is_err() {
                let _ = sys::set(fd, libc::SOL_SOCKET, ask, size);
            }
        }
        let mut socket = Self {
            socket,
            family,
            kind,
            stamping: false,
            departures: Departures::new(),
            dont_fragment: None,
            _reserved: None,
            drained_at: now,
        };
        socket.restart_keys();
        Ok(socket)
    }

    /// The same, which keeps `reserved` open as long as it is itself.
    pub(super) fn keeping(self, reserved: Socket) -> Self {
        Self { _reserved: Some(reserved), ..self }
    }

    /// The port of a UDP socket.
    pub(super) fn udp_port(&self) -> Option<u16> {
        let address = || self.socket.local_addr().ok()?.as_socket();
        if self.kind == Kind::Udp { address().map(|address| address.port()) } else { None }
    }

    /// Puts IPv6 options headers into every packet from now on, for which the kernel wants CAP_NET_RAW, and lets them leave over the
    /// link that is needed.
    pub(super) fn set_options(&self, needs: Needs) -> io::Result<()> {
        set_options(self.socket.as_fd(), needs)
    }

    /// What it speaks.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the kernel stamps packets of this socket at all.
    pub fn stamping(&self) -> bool {
        self.stamping
    }

    /// Sets the kernel's counter of sends to 0, which switching `OPT_ID` on does.
    ///
    /// Needed after every failed send: whether such a send was counted depends on where in the kernel it failed (a
    /// netfilter drop is counted, a missing route is not) and, for a pending ICMP error, on the kernel's version.
    fn restart_keys(&mut self) {
        let set = |flags| sys::set(self.socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags);
        self.stamping = set(STAMPING).is_ok() && set(STAMPING | libc::SOF_TIMESTAMPING_OPT_ID).is_ok();
        self.departures.restart();
    }

    /// Sends one packet and gives the time right *before* the system call, with what the call took as its error. That is the
    /// time to use when no kernel stamp comes: a delay then makes a round trip longer than it was, where a clock read
    /// afterwards could make it shorter than the path allows.
    pub fn send(&mut self, clock: &StampConverter, transmit: &Transmit, tag: T) -> Result<Placed, Errno> {
        if Family::of(transmit.dst) != self.family {
            return Err(Errno::EAFNOSUPPORT);
        }
        self.set_dont_fragment(transmit.dont_fragment)?;
        let port = match transmit.channel {
            sonde_engine::Channel::Udp { port } => port,
            // A raw socket takes it for the protocol's number.
            sonde_engine::Channel::Icmp | sonde_engine::Channel::Tcp { .. } => 0,
        };
        let dst = SockaddrStorage::from(SocketAddr::new(transmit.dst, port));
        let filled = match self.kind {
            Kind::IcmpRaw(identifier) => {
                Some(icmp_socket::fill(self.family, identifier, &transmit.payload).ok_or(Errno::EINVAL)?)
            }
            Kind::TcpRaw(flow) => Some(flow.fill(transmit.dst, &transmit.payload)),
            Kind::IcmpDatagram | Kind::Udp => None,
        };
        let payload = [IoSlice::new(filled.as_deref().unwrap_or(&transmit.payload))];
        let hop_limit = transmit.hop_limit.map(libc::c_int::from);
        let class = (transmit.traffic_class, libc::c_int::from(transmit.traffic_class));
        let mut control = Vec::with_capacity(2);
        match self.family {
            Family::V4 => {
                control.extend(hop_limit.as_ref().map(ControlMessage::Ipv4Ttl));
                control.extend((class.0 != 0).then_some(ControlMessage::Ipv4Tos(&class.0)));
            }
            Family::V6 => {
                control.extend(hop_limit.as_ref().map(ControlMessage::Ipv6HopLimit));
                control.extend((class.0 != 0).then_some(ControlMessage::Ipv6TClass(&class.1)));
            }
        }
        let fd = self.socket.as_raw_fd();
        let mut repeats = 0;
        clock.look();
        loop {
            let before = clock.now();
            match sendmsg(fd, &payload, &control, MsgFlags::MSG_DONTWAIT, Some(&dst)) {
                Ok(_) => {
                    let took = clock.now().since(before);
                    clock.look();
                    if self.stamping {
                        self.departures.sent(tag, before);
                    }
                    return Ok(Placed { at: before, error: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) });
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    self.restart_keys();
                    repeats += 1;
                    if repeats > REPEATS || !pending(error) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// DF and fragmenting at the source cannot be chosen by control message, so the option is set when it changes. `PROBE`
    /// rather than `DO`: what a path MTU learned by others allows must not decide what a measurement sends.
    fn set_dont_fragment(&mut self, wanted: bool) -> Result<(), Errno> {
        if self.dont_fragment != Some(wanted) {
            let (level, name) = match self.family {
                Family::V4 => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
                Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
            };
            let value = if wanted { libc::IP_PMTUDISC_PROBE } else { libc::IP_PMTUDISC_DONT };
            sys::set(self.socket.as_fd(), level, name, value)
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL)))?;
            self.dont_fragment = Some(wanted);
        }
        Ok(())
    }

    /// Reads what has come, appending to `out`: stamps and ICMP errors first, then datagrams. `scratch` should have
    /// [`SCRATCH`] bytes.
    ///
    /// The datagrams are read first all the same: a packet is stamped before its answer can be there, so whatever answer
    /// has been read, its stamp is in the error queue by then.
    pub fn receive(&mut self, clock: &StampConverter, scratch: &mut [u8], out: &mut Vec<Arrival<T>>) {
        let started = clock.now();
        clock.look();
        let mut datagrams = Vec::new();
        let empty = self.drain(scratch, MsgFlags::empty(), |socket, control, from, bytes| {
            datagrams.extend(socket.datagram(clock, control, from, bytes));
        });
        let queue_empty = self.drain(scratch, MsgFlags::MSG_ERRQUEUE, |socket, control, about, bytes| {
            out.extend(socket.queued(clock, control, about, bytes));
        });
        out.append(&mut datagrams);
        if empty && queue_empty {
            self.drained_at = started;
        }
    }

    /// Reads one of the two queues; `true` when it is empty now.
    fn drain(
        &mut self,
        scratch: &mut [u8],
        flags: MsgFlags,
        mut take: impl FnMut(&mut Self, Control, Option<SocketAddr>, &[u8]),
    ) -> bool {
        let mut repeats = 0;
        for _ in 0..BATCH {
            let mut control_buffer = [0u8; control::SPACE];
            let (length, control, from) = {
                let mut slices = [IoSliceMut::new(scratch)];
                let result = recvmsg::<SockaddrStorage>(
                    self.socket.as_raw_fd(),
                    &mut slices,
                    Some(&mut control_buffer),
                    flags | MsgFlags::MSG_DONTWAIT,
                );
                match result {
                    Ok(message) => (message.bytes, Control::read(&message), message.address.and_then(socket_addr)),
                    Err(Errno::EAGAIN) => return true,
                    Err(Errno::EINTR) => continue,
                    // The error of an earlier packet, told once; the message itself is still there.
                    Err(_) if repeats < REPEATS => {
                        repeats += 1;
                        continue;
                    }
                    Err(_) => return false,
                }
            };
            take(self, control, from, scratch.get(..length).unwrap_or_default());
        }
        false
    }

    /// An ordinary message.
    fn datagram(
        &mut self,
        clock: &StampConverter,
        control: Control,
        from: Option<SocketAddr>,
        bytes: &[u8],
    ) -> Option<Arrival<T>> {
        let from = from?;
        let bytes = match (self.kind, self.family) {
            (Kind::IcmpRaw(_) | Kind::TcpRaw(_), Family::V4) => icmp_socket::without_ip_header(bytes)?,
            _ => bytes,
        };
        // What came before the filters were set is still in the queue.
        let is_ours = match self.kind {
            Kind::IcmpRaw(identifier) => icmp_socket::is_ours(self.family, identifier, EchoReply, bytes),
            Kind::TcpRaw(flow) => flow.is_answer(bytes),
            Kind::IcmpDatagram | Kind::Udp => true,
        };
        is_ours.then_some(())?;
        let (Placed { at: received_at, error }, kernel) = clock.arrival(control.stamp, self.drained_at);
        let meta = Meta {
            received_at,
            from: from.ip(),
            from_port: if self.kind == Kind::Udp { from.port() } else { 0 },
            hop_limit: control.hop_limit,
            fragment: control.fragment,
        };
        Some(Arrival::Datagram { meta, kernel, error, bytes: bytes.to_vec() })
    }

    /// A message of the error queue: a stamp, an ICMP error about a packet to `about`, or something local that the failed
    /// call has told already.
    fn queued(
        &mut self,
        clock: &StampConverter,
        control: Control,
        about: Option<SocketAddr>,
        bytes: &[u8],
    ) -> Option<Arrival<T>> {
        let error = control.error?;
        match error.ee_origin {
            libc::SO_EE_ORIGIN_TIMESTAMPING if error.ee_info == sys::SCM_TSTAMP_SND => {
                let (tag, left) = self.departures.claim(clock, error.ee_data, control.stamp?, clock.now())?;
                Some(Arrival::Stamp { tag, left })
            }
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => {
                // A raw socket is told the errors of everybody's packets.
                let is_ours = match self.kind {
                    Kind::IcmpRaw(identifier) => icmp_socket::is_ours(self.family, identifier, EchoRequest, bytes),
                    Kind::TcpRaw(flow) => flow.is_quoted(bytes),
                    Kind::IcmpDatagram | Kind::Udp => true,
                };
                is_ours.then_some(())?;
                let (Placed { at: received_at, error }, kernel) = clock.arrival(control.stamp, self.drained_at);
                let event = control.icmp_error(self.family, about.map(|about| about.ip()), received_at, bytes)?;
                Some(Arrival::IcmpError { event, kernel, error })
            }
            _ => None,
        }
    }
}

impl<T> AsFd for PacketSocket<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Puts IPv6 options headers into every packet of a socket from now on, and lets them leave over a link of choice.
pub(super) fn set_options(socket: BorrowedFd<'_>, needs: Needs) -> io::Result<()> {
    for (name, size) in [(libc::IPV6_HOPOPTS, needs.hop_by_hop), (libc::IPV6_DSTOPTS, needs.destination)] {
        if size > 0 {
            sys::set_bytes(socket, libc::IPPROTO_IPV6, name, &padding::header(size))?;
        }
    }
    if needs.link > 0 {
        // The kernel wants this one in network byte order.
        sys::set(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_IF, needs.link.to_be())?;
    }
    Ok(())
}

/// Whether a send can have failed for an ICMP error of an earlier packet (the errno values of `icmp_err_convert` and
/// `icmpv6_err_convert`); then it did not try to send, and must be repeated.
fn pending(error: Errno) -> bool {
    matches!(
        error,
        Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::ECONNREFUSED
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EMSGSIZE
            | Errno::EACCES
            | Errno::EPROTO
    )
}
