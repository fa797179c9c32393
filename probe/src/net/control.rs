//! What the kernel says about a message beside its bytes: stamp, hop limit, and in the error queue what happened.

use std::net::{IpAddr, SocketAddr};

use nix::libc;
use nix::sys::socket::{AddressFamily, ControlMessageOwned, RecvMsg, SockaddrLike, SockaddrStorage};
use sonde_engine::{ErrorDetails, IcmpErrorEvent};
use sonde_protocol::net::Family;
use sonde_protocol::time::{Nanos, UnixNanos};

use super::clock::from_parts;
use super::sys;

/// Room for the control messages of one message: stamp 64, hop limit 24, size of pieces 24, error with address 64.
pub(super) const SPACE: usize = 256;

/// The control data of one message.
#[derive(Default)]
pub(super) struct Control {
    /// The kernel's stamp.
    pub stamp: Option<UnixNanos>,
    /// TTL or hop limit on arrival.
    pub hop_limit: Option<u8>,
    /// The greatest of the packets that a message came in, when it came in pieces.
    pub fragment: Option<u32>,
    /// For a message of the error queue what it is about.
    pub error: Option<libc::sock_extended_err>,
    /// For an ICMP error who sent it.
    pub offender: Option<IpAddr>,
}

impl Control {
    /// Reads the control messages; those cut off are as good as absent.
    pub(super) fn read(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Self {
        let mut control = Self::default();
        for item in message.cmsgs().into_iter().flatten() {
            match item {
                ControlMessageOwned::ScmTimestampsns(stamps) => {
                    #[allow(clippy::useless_conversion)] // narrower on some 32-bit targets
                    let stamp = from_parts(stamps.system.tv_sec().into(), stamps.system.tv_nsec().into());
                    control.stamp = (stamp != 0).then_some(UnixNanos(stamp));
                }
                ControlMessageOwned::Ipv4Ttl(ttl) => control.hop_limit = u8::try_from(ttl).ok(),
                ControlMessageOwned::Ipv6HopLimit(limit) => control.hop_limit = u8::try_from(limit).ok(),
                ControlMessageOwned::Ipv4RecvErr(error, offender) => {
                    let known = offender.filter(|address| i32::from(address.sin_family) == libc::AF_INET);
                    let ip = known.map(|address| IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()));
                    (control.error, control.offender) = (Some(error), ip);
                }
                ControlMessageOwned::Ipv6RecvErr(error, offender) => {
                    let known = offender.filter(|address| i32::from(address.sin6_family) == libc::AF_INET6);
                    let ip = known.map(|address| IpAddr::from(address.sin6_addr.s6_addr));
                    (control.error, control.offender) = (Some(error), ip);
                }
                ControlMessageOwned::Unknown(other) => {
                    let header = (other.cmsg_header.cmsg_level, other.cmsg_header.cmsg_type);
                    // nix has no name for it. The kernel gives an int, 0 for what came in one piece.
                    let size = other.data_bytes.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
                    if header == (libc::IPPROTO_IP, libc::IP_RECVFRAGSIZE)
                        || header == (libc::IPPROTO_IPV6, libc::IPV6_RECVFRAGSIZE)
                    {
                        control.fragment = size.and_then(|size| u32::try_from(size).ok()).filter(|size| *size > 0);
                    }
                }
                _ => {}
            }
        }
        control
    }

    /// The ICMP error that this is. `bytes` is what the kernel gives back of the error: our packet from its payload (UDP)
    /// or its ICMP or TCP header on, and what follows it; `quoted_dst` is where that packet was going.
    pub(super) fn icmp_error(
        &self,
        family: Family,
        quoted_dst: Option<IpAddr>,
        received_at: Nanos,
        bytes: &[u8],
    ) -> Option<IcmpErrorEvent> {
        let error = self.error?;
        // The extensions' offset within `bytes`, 0 when there are none (struct sock_ee_data_rfc4884).
        let [low, high, flags, _] = error.ee_data.to_ne_bytes();
        let offset = usize::from(u16::from_ne_bytes([low, high]));
        let valid = offset > 0 && flags & sys::EE_RFC4884_INVALID == 0;
        let (quoted, extensions) = match bytes.split_at_checked(offset) {
            Some((quoted, extensions)) if valid && !extensions.is_empty() => (quoted, Some(extensions.to_vec())),
            _ => (bytes, None),
        };
        let names_mtu = match family {
            Family::V4 => (error.ee_type, error.ee_code) == (3, 4),
            Family::V6 => error.ee_type == 2,
        };
        Some(IcmpErrorEvent {
            received_at,
            from: self.offender?,
            hop_limit: self.hop_limit,
            kind: error.ee_type,
            code: error.ee_code,
            mtu: (names_mtu && error.ee_info > 0).then_some(error.ee_info),
            quoted: quoted.to_vec(),
            extensions,
            details: ErrorDetails { quoted_dst, ..ErrorDetails::default() },
        })
    }
}

/// The address of a message; an IPv4-mapped one does not occur, because the sockets are of one family.
pub(super) fn socket_addr(address: SockaddrStorage) -> Option<SocketAddr> {
    match address.family()? {
        AddressFamily::Inet => address.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port())),
        AddressFamily::Inet6 => address.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port())),
        _ => None,
    }
}
