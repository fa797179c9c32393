//! Questions to the kernel's tables over rtnetlink(7): one request, and what it answers.
//!
//! The kernel answers within the call that reads, so nothing here waits. What an answer means is for [`super::tables`] to say.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ALIGNTO, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// The most bytes of one answer: thousands of addresses and links. A router with the whole internet's routes has more, of which
/// the rest is left: default routes come before them.
const MAX_BYTES: usize = 4 << 20;

/// The kernel fills at most 32 KiB of a reader's buffer.
const BUFFER: usize = 32 << 10;

/// The answer to a request for a whole table. Messages that the parser does not know are left out.
///
/// # Errors
/// When the system forbids the socket or the kernel refuses.
pub(super) fn dump(request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    ask(request, NLM_F_REQUEST | NLM_F_DUMP)
}

/// The answer to a question about one thing.
///
/// # Errors
/// When the system forbids the socket, or the kernel's: no route, for example.
pub(super) fn one(request: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
    Ok(ask(request, NLM_F_REQUEST)?.into_iter().next())
}

fn ask(request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let socket = open()?;
    send(socket.as_raw_fd(), &bytes_of(request, flags), MsgFlags::MSG_DONTWAIT)?;
    let (mut found, mut read) = (Vec::new(), 0);
    let mut buffer = vec![0; BUFFER];
    while read < MAX_BYTES {
        let length = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        read += length;
        let Answer { messages, end } = answer(buffer.get(..length).unwrap_or_default());
        found.extend(messages);
        match end {
            Some(0) => break,
            Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
            // One message, and no more.
            None if flags & NLM_F_DUMP == 0 => break,
            None => {}
        }
    }
    Ok(found)
}

fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

fn bytes_of(request: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// What one read gave.
struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    /// The answer has ended: 0, or the number of an error.
    end: Option<i32>,
}

/// Cuts what was read into messages. Pure.
fn answer(mut bytes: &[u8]) -> Answer {
    let mut messages = Vec::new();
    while let Ok(header) = NetlinkBuffer::new_checked(bytes) {
        let length = usize::try_from(header.length()).unwrap_or(usize::MAX);
        let (message, rest) = bytes.split_at(length.min(bytes.len()));
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).map(|message| message.payload) {
            Ok(NetlinkPayload::InnerMessage(inner)) => messages.push(inner),
            Ok(NetlinkPayload::Done(_)) => return Answer { messages, end: Some(0) },
            Ok(NetlinkPayload::Error(error)) => {
                return Answer { messages, end: Some(error.raw_code().saturating_abs()) };
            }
            Ok(_) | Err(_) => {}
        }
        let padding = length.next_multiple_of(NLMSG_ALIGNTO.into()).saturating_sub(length);
        bytes = rest.get(padding..).unwrap_or_default();
    }
    Answer { messages, end: None }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::address::AddressMessage;
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    #[test]
    fn what_was_read_is_cut_into_messages_and_ends_where_the_kernel_says() {
        let address = RouteNetlinkMessage::NewAddress(AddressMessage::default());
        let link = RouteNetlinkMessage::NewLink(LinkMessage::default());
        let mut bytes = [bytes_of(address.clone(), 0), bytes_of(link.clone(), 0)].concat();
        let Answer { messages, end } = answer(&bytes);
        assert_eq!((messages, end), (vec![address.clone(), link], None));
        // NLMSG_DONE, and something behind it.
        bytes.extend([20_u32.to_ne_bytes(), [3, 0, 0, 0], [0; 4], [0; 4], [0; 4]].concat());
        bytes.extend(bytes_of(address, 0));
        let Answer { messages, end } = answer(&bytes);
        assert_eq!((messages.len(), end), (2, Some(0)));
        // Cut off anywhere it ends without harm.
        for length in 0..bytes.len() {
            assert!(answer(&bytes[..length]).messages.len() <= 3);
        }
    }

    #[test]
    fn an_error_is_the_kernels_number() {
        let mut bytes = [36_u32.to_ne_bytes(), [2, 0, 0, 0], [0; 4], [0; 4], (-101_i32).to_ne_bytes()].concat();
        bytes.extend([0; 16]);
        assert_eq!(answer(&bytes).end, Some(101));
    }
}
