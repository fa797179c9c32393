//! A TCP connection that is measured while it opens: from an address of choice, with what the kernel knows of it. The kernel
//! counts the packets that it had to send again and times the handshake by itself; an ICMP error that ends the attempt says
//! who sent it. What any of that means is not known here.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg};
use socket2::{Domain, Protocol, Socket, Type};
use sonde_engine::Needs;
use sonde_protocol::net::Ip;
use sonde_protocol::result::ipv6::{Trouble, TroubleKind};
use sonde_protocol::time::Nanos;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::clock::ClockSource;
use super::control::{Control, SPACE};
use super::socket::set_options;
use super::sys;

/// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6` (linux/errqueue.h): the error came in a packet.
const FROM_ICMP: [u8; 2] = [2, 3];

/// Where `struct tcp_info` (linux/tcp.h) has the smoothed round-trip time in microseconds, and the count of all packets sent again.
const RTT: usize = 68;
const TOTAL_RETRANS: usize = 100;

/// The first fields of `struct tcp_info`, as every kernel has them.
const TCP_INFO_SIZE: usize = 104;

/// Own ports of connections from an address of choice: above those that Linux gives out by itself
/// (`net.ipv4.ip_local_port_range`), and few, so that the sandbox can name them.
pub const FROM_PORTS: Range<u16> = 61_440..61_456;

/// A connection that is open.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub stream: TcpStream,
    /// The own address.
    pub src: Option<IpAddr>,
    /// Nanoseconds from SYN to its answer: the kernel's own measure where nothing was sent again, which no scheduler delays;
    /// else this program's.
    pub took: u64,
    /// SYN packets sent again; absent where the kernel does not tell.
    pub retransmits: Option<u32>,
}

/// One that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOpened {
    /// Why.
    pub trouble: Trouble,
    /// Nanoseconds until that was known.
    pub after: u64,
    /// The own address, if one had been chosen.
    pub src: Option<IpAddr>,
    /// SYN packets sent again.
    pub retransmits: Option<u32>,
}

/// Opens a connection to `dst`, from the address `from` if there is one, within `limit`. Dropping the future gives it up.
///
/// # Errors
/// When it does not open: why, and what was known by then.
pub async fn open(
    clock: &dyn ClockSource,
    from: Option<IpAddr>,
    dst: SocketAddr,
    limit: Duration,
) -> Result<Opened, NotOpened> {
    open_with(clock, from, Needs::default(), dst, limit).await
}

/// The same, with the IPv6 options headers that are needed in each of its packets, which the kernel allows with CAP_NET_RAW.
///
/// # Errors
/// When it does not open: why, and what was known by then.
pub async fn open_with(
    clock: &dyn ClockSource,
    from: Option<IpAddr>,
    needs: Needs,
    dst: SocketAddr,
    limit: Duration,
) -> Result<Opened, NotOpened> {
    let began = clock.monotonic();
    let not_opened = |trouble, socket: Option<&Socket>| NotOpened {
        trouble,
        after: since(clock, began),
        src: socket.and_then(own_address),
        retransmits: socket.and_then(info).map(|info| info.retransmits),
    };
    let (socket, kept) = sockets(from, needs, dst).map_err(|error| not_opened(trouble(&error), None))?;
    let stream = match timeout(limit, socket.connect(dst)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Err(not_opened(icmp_error(&kept).unwrap_or_else(|| trouble(&error)), Some(&kept)));
        }
        Err(_) => return Err(not_opened(TroubleKind::Timeout.into(), Some(&kept))),
    };
    let took = since(clock, began);
    // From here on an ICMP error is a hint to TCP, and must not end what still works.
    let _ = want_errors(&kept, dst, false);
    let info = info(&kept);
    let by_kernel = info.filter(|info| info.retransmits == 0 && info.rtt > 0).map(|info| info.rtt.saturating_mul(1000));
    Ok(Opened {
        src: own_address(&kept),
        stream,
        took: by_kernel.map_or(took, |rtt| rtt.min(took)),
        retransmits: info.map(|info| info.retransmits),
    })
}

fn since(clock: &dyn ClockSource, began: Nanos) -> u64 {
    u64::try_from(clock.monotonic().since(began).as_nanos()).unwrap_or(u64::MAX)
}

/// The socket, and a second handle on it, which outlives a failed attempt.
fn sockets(from: Option<IpAddr>, needs: Needs, dst: SocketAddr) -> io::Result<(TcpSocket, Socket)> {
    let domain = if dst.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    // Old kernels keep no ICMP errors of a connection; then the error number is all there is.
    let _ = want_errors(&socket, dst, true);
    set_options(socket.as_fd(), needs)?;
    if let Some(from) = from {
        bind(&socket, from)?;
    }
    let kept = socket.try_clone()?;
    Ok((TcpSocket::from_std_stream(socket.into()), kept))
}

/// Binds to an address, at one of the ports that are for this: the sandbox lets it have no other.
fn bind(socket: &Socket, from: IpAddr) -> io::Result<()> {
    // A connection that has ended would keep port and target for a minute; ended by a reset it keeps nothing.
    socket.set_linger(Some(Duration::ZERO))?;
    let ports = u64::try_from(FROM_PORTS.len()).unwrap_or(1);
    let first = getrandom::u64().unwrap_or_default() % ports;
    let mut result = Ok(());
    for n in 0..ports {
        let port = FROM_PORTS.start + u16::try_from((first + n) % ports).unwrap_or(0);
        result = socket.bind(&SocketAddr::new(from, port).into());
        if !matches!(&result, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
            break;
        }
    }
    result
}

/// May this process put options headers into the packets of a connection? Sends nothing.
pub fn may_add_headers() -> bool {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP));
    socket.is_ok_and(|socket| set_options(socket.as_fd(), Needs { destination: 1, ..Needs::default() }).is_ok())
}

/// `IP_RECVERR`, `IPV6_RECVERR`: the kernel keeps ICMP errors with their senders.
fn want_errors(socket: &Socket, dst: SocketAddr, want: bool) -> io::Result<()> {
    let (level, name) = match dst {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    sys::set(socket.as_fd(), level, name, libc::c_int::from(want))
}

/// The ICMP error that ended an attempt, if it was one.
fn icmp_error(socket: &Socket) -> Option<Trouble> {
    let mut bytes = [0; 256];
    let mut space = [0; SPACE];
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags).ok()?;
    let control = Control::read(&message);
    let error = control.error.filter(|error| FROM_ICMP.contains(&error.ee_origin))?;
    Some(Trouble {
        kind: TroubleKind::Icmp,
        icmp_type: Some(error.ee_type),
        icmp_code: Some(error.ee_code),
        from: control.offender.map(Ip),
    })
}

/// What the kernel knows of a connection.
#[derive(Debug, Clone, Copy)]
struct TcpInfo {
    /// Microseconds; 0 before the first answer.
    rtt: u64,
    retransmits: u32,
}

fn info(socket: &Socket) -> Option<TcpInfo> {
    let mut bytes = [0; TCP_INFO_SIZE];
    let length = sys::get_bytes(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes).ok()?;
    let field = |at: usize| bytes.get(..length)?.get(at..)?.first_chunk().map(|field| u32::from_ne_bytes(*field));
    Some(TcpInfo { rtt: field(RTT)?.into(), retransmits: field(TOTAL_RETRANS)? })
}

fn own_address(socket: &Socket) -> Option<IpAddr> {
    let own = socket.local_addr().ok()?.as_socket()?.ip();
    (!own.is_unspecified()).then_some(own)
}

/// The word for an error of the system.
pub fn trouble(error: &io::Error) -> Trouble {
    let kind = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => TroubleKind::Refused,
        Some(libc::ECONNRESET | libc::ECONNABORTED | libc::EPIPE) => TroubleKind::Reset,
        Some(libc::ENETUNREACH) => TroubleKind::NoRoute,
        // Without IPv6 there is no socket of it either.
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => TroubleKind::NoAddress,
        Some(libc::ETIMEDOUT) => TroubleKind::Timeout,
        Some(libc::EPERM | libc::EACCES) => TroubleKind::Forbidden,
        Some(_) => TroubleKind::Other,
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => TroubleKind::Reset,
            io::ErrorKind::TimedOut => TroubleKind::Timeout,
            io::ErrorKind::InvalidData => TroubleKind::Malformed,
            _ => TroubleKind::Other,
        },
    };
    kind.into()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;
    use crate::net::clock::SystemClock;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn an_open_connection_tells_its_address_and_that_nothing_was_sent_again() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
        let opened = open(&SystemClock, Some(from), listener.local_addr().unwrap(), LIMIT).await.unwrap();
        assert_eq!((opened.src, opened.retransmits), (Some(from), Some(0)));
        assert!(opened.took > 0);
    }

    #[tokio::test]
    async fn a_closed_port_refuses_and_a_strange_source_is_no_address() {
        let closed = {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            listener.local_addr().unwrap()
        };
        let refused = open(&SystemClock, None, closed, LIMIT).await.unwrap_err();
        assert_eq!(refused.trouble, TroubleKind::Refused.into());
        let strange = open(&SystemClock, Some(Ipv4Addr::new(192, 0, 2, 1).into()), closed, LIMIT).await.unwrap_err();
        assert_eq!(strange.trouble, TroubleKind::NoAddress.into());
    }
}
