//! The sockets of DHCP.
//!
//! DHCPv4 is spoken before there is an address. Sending needs none: a socket that is bound to the interface may send from 0.0.0.0 to
//! everybody. Hearing does: the answer is for an address that is not the board's yet, which the kernel throws away; so answers are
//! read off the interface itself, past the packet filter, by a socket that the kernel lets see datagrams for port 68 alone.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

/// No message of a server is longer; what is longer is cut off and makes no sense.
const BUFFER: usize = 2048;

/// `ETH_P_IP` in the byte order of the network.
const ETHERNET_IPV4: i32 = 0x0800_u16.to_be() as i32;

/// The client's port of DHCPv4, and the server's.
const CLIENT4: u16 = 68;
const SERVER4: u16 = 67;

/// The client's port of DHCPv6, and the server's.
const CLIENT6: u16 = 546;
const SERVER6: u16 = 547;

/// All servers of the link (RFC 8415, 7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Speaks DHCPv4 on one interface.
#[derive(Debug)]
pub struct Dhcp4 {
    sender: UdpSocket,
    ear: AsyncFd<Socket>,
}

impl Dhcp4 {
    /// Opens it, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the system forbids it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(interface: &str, index: u32) -> io::Result<Self> {
        let sender = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        sender.bind_device(Some(interface.as_bytes()))?;
        sender.set_broadcast(true)?;
        sender.set_reuse_address(true)?;
        sender.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT4)).into())?;
        let ear = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking().cloexec(), Some(ETHERNET_IPV4.into()))?;
        ear.attach_filter(&filter(index))?;
        // What came before the filter was there may be anything.
        while (&ear).read(&mut [0; 1]).is_ok() {}
        // Deprecated for types whose descriptor may change, which a `Socket` does not; what replaces it is `unsafe`.
        #[allow(deprecated)]
        let ear = AsyncFd::new(ear)?;
        Ok(Self { sender: UdpSocket::from_std(sender.into())?, ear })
    }

    /// Sends a message to a server, or everybody.
    ///
    /// # Errors
    /// When it cannot be sent now.
    pub fn send(&self, to: Ipv4Addr, bytes: &[u8]) -> io::Result<()> {
        self.sender.try_send_to(bytes, (to, SERVER4).into()).map(drop)
    }

    /// The next message for port 68.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut ready = self.ear.readable().await?;
            let mut buffer = [0; BUFFER];
            match ready.try_io(|ear| ear.get_ref().read(&mut buffer)) {
                Ok(Ok(length)) => {
                    if let Some(message) = buffer.get(..length).and_then(payload) {
                        return Ok(message.to_vec());
                    }
                }
                // The link has gone, which the bell says too.
                Ok(Err(error)) if error.raw_os_error() != Some(libc::ENETDOWN) => return Err(error),
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

/// Lets datagrams for port 68 that came by this interface through, whole and unfragmented: a program for the kernel (bpf(4)).
fn filter(index: u32) -> [SockFilter; 11] {
    // The offset of what the kernel knows of a packet beside its bytes, there the interface (`SKF_AD_OFF`, `SKF_AD_IFINDEX`).
    const INTERFACE: u32 = 0xffff_f000 + 8;
    let [load_word, load_half, load_byte, load_half_indexed, load_header_length] = [0x20, 0x28, 0x30, 0x48, 0xb1];
    let [jump_equal, jump_set, give] = [0x15, 0x45, 0x06];
    [
        SockFilter::new(load_word, 0, 0, INTERFACE),
        SockFilter::new(jump_equal, 0, 8, index),
        SockFilter::new(load_byte, 0, 0, 9),
        SockFilter::new(jump_equal, 0, 6, 17),
        SockFilter::new(load_half, 0, 0, 6),
        SockFilter::new(jump_set, 4, 0, 0x1fff),
        SockFilter::new(load_header_length, 0, 0, 0),
        SockFilter::new(load_half_indexed, 0, 0, 2),
        SockFilter::new(jump_equal, 0, 1, CLIENT4.into()),
        SockFilter::new(give, 0, 0, BUFFER as u32),
        SockFilter::new(give, 0, 0, 0),
    ]
}

/// The datagram in a packet of IPv4 from a server's port. Its checksum is not looked at: a virtual interface may leave it to hardware
/// that is not there, and the frame had its own.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let whole = usize::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
    let datagram = packet.get(header..whole)?;
    let from = u16::from_be_bytes(*datagram.first_chunk()?);
    let length = usize::from(u16::from_be_bytes(*datagram.get(4..)?.first_chunk()?));
    if from == SERVER4 { datagram.get(8..length) } else { None }
}

/// Speaks DHCPv6 on one interface.
#[derive(Debug)]
pub struct Dhcp6 {
    socket: UdpSocket,
    index: u32,
}

impl Dhcp6 {
    /// Opens it, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the system forbids it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(interface: &str, index: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, CLIENT6)).into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, index })
    }

    /// Sends a message to all servers of the link.
    ///
    /// # Errors
    /// When it cannot be sent now: without a link-local address, for example.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let servers = SocketAddrV6::new(SERVERS, SERVER6, 0, self.index);
        self.socket.try_send_to(bytes, servers.into()).map(drop)
    }

    /// The next message of somebody on the link.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut buffer = [0; BUFFER];
            let (length, from) = self.socket.recv_from(&mut buffer).await?;
            let is_near = matches!(from, SocketAddr::V6(from) if from.ip().is_unicast_link_local());
            if is_near && from.port() == SERVER6 {
                return Ok(buffer.get(..length).unwrap_or_default().to_vec());
            }
        }
    }
}
