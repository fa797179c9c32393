//! A datagram that is looked at and a small one beside it, to a reference's echo: what of both arrived, and what was said about
//! them. Where the small ones are lost too, it is not the size.

use std::net::{IpAddr, SocketAddr};

use sonde_engine::ipv6::plan::ECHO_TIMEOUT;
use sonde_protocol::net::Ip;
use sonde_protocol::reference::echo::{self, HEADER, Reply, Request, Token};
use sonde_protocol::result::ipv6::TooBig;
use tokio::time::{Instant, timeout_at};

use super::tools::Tools;
use crate::net::datagrams::{Datagrams, Heard};
use crate::run::random;

/// What is asked of the echo. Sizes are those of whole packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Of the request.
    pub(super) up: u32,
    /// Of the reply.
    pub(super) down: u32,
    /// The reply may come in pieces.
    pub(super) in_pieces: bool,
}

/// A datagram that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Back {
    /// What it says.
    pub(super) reply: Reply,
    /// Bytes of its whole packet, before it was cut into pieces.
    pub(super) size: u32,
    /// It came in pieces.
    pub(super) in_pieces: bool,
}

/// What became of both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Became {
    /// Of the one that is looked at.
    pub(super) back: Option<Back>,
    /// Of the small one.
    pub(super) control: Option<Back>,
    /// Somebody told us that ours was too big: a router, or this machine, which is nobody.
    pub(super) too_big: Option<TooBig>,
    /// Somebody told the reference that its was.
    pub(super) complaint: Option<echo::TooBig>,
    /// The own link does not take it.
    pub(super) own_link: bool,
}

/// Somebody to ask.
pub(super) struct Asking<'a> {
    pub(super) tools: &'a Tools<'a>,
    pub(super) socket: Datagrams,
    pub(super) token: Option<Token>,
    /// Bytes of a packet above its payload.
    headers: u32,
}

impl<'a> Asking<'a> {
    pub(super) fn new(tools: &'a Tools<'a>, dst: SocketAddr, socket: Datagrams, token: Option<Token>) -> Self {
        Self { tools, socket, token, headers: headers(dst.ip()) }
    }

    /// The least packet that asks for one of `down` bytes: nobody gets more than three times what he sends.
    pub(super) fn least_for(&self, down: u32) -> u32 {
        down.saturating_sub(self.headers).div_ceil(3).max(least()) + self.headers
    }

    /// The least packet there is.
    pub(super) fn least(&self) -> u32 {
        least() + self.headers
    }

    /// Sends both, the small one last, and listens for a second, or until all is known that `enough` wants.
    ///
    /// # Errors
    /// When the machine has no way to send them.
    pub(super) async fn both(
        &mut self,
        wanted: Wanted,
        control: Wanted,
        enough: impl Fn(&Became) -> bool,
    ) -> std::io::Result<Became> {
        self.tools.room(2).await;
        let ids = [random(), random()];
        for (id, wanted) in ids.into_iter().zip([wanted, control]) {
            let request = Request {
                id,
                want: u16::try_from(wanted.down.saturating_sub(self.headers)).unwrap_or(u16::MAX),
                may_fragment: wanted.in_pieces,
                token: self.token,
            };
            let size = usize::try_from(wanted.up.saturating_sub(self.headers)).unwrap_or(0);
            self.socket.send(&request.to_bytes(size))?;
        }
        let mut became = Became::default();
        let end = Instant::now() + self.tools.limit(ECHO_TIMEOUT);
        while !enough(&became) {
            let Ok(heard) = timeout_at(end, self.socket.next()).await else { break };
            became.hear(heard?, ids, wanted, self.headers);
        }
        Ok(became)
    }
}

/// Bytes of IP and UDP header.
pub(super) const fn headers(dst: IpAddr) -> u32 {
    match dst {
        IpAddr::V4(_) => 28,
        IpAddr::V6(_) => 48,
    }
}

fn least() -> u32 {
    u32::try_from(HEADER).unwrap_or(u32::MAX)
}

impl Became {
    fn hear(&mut self, heard: Heard, [id, control]: [u64; 2], wanted: Wanted, headers: u32) {
        match heard {
            Heard::Datagram { bytes, fragment } => {
                let Some(reply) = Reply::parse(&bytes) else { return };
                let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(headers);
                self.complaint = reply.too_big.or(self.complaint);
                let back = Some(Back { reply, size, in_pieces: fragment.is_some() });
                if reply.id == id {
                    self.back = back;
                } else if reply.id == control {
                    self.control = back;
                }
            }
            // One about the small packet says nothing about the other; neither does one that names more than was sent.
            Heard::Icmp { mtu: Some(mtu), from, quoted, .. } => {
                let about = Request::parse(&quoted).map(|request| request.id);
                if mtu < wanted.up && about.is_none_or(|about| about != control) {
                    self.too_big = Some(TooBig { from: from.map(Ip), mtu: Some(mtu) });
                }
            }
            Heard::TooLong { mtu } => {
                self.own_link = true;
                self.too_big = Some(TooBig { from: None, mtu: Some(mtu) });
            }
            Heard::Icmp { mtu: None, .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted { up: 1500, down: 88, in_pieces: false };

    fn became(heard: impl IntoIterator<Item = Heard>) -> Became {
        let mut became = Became::default();
        heard.into_iter().for_each(|one| became.hear(one, [1, 2], WANTED, 48));
        became
    }

    fn reply(id: u64) -> Heard {
        let reply = Reply { id, received: 1452, hop_limit: None, too_big: None, fragment: None };
        Heard::Datagram { bytes: reply.to_bytes(100), fragment: None }
    }

    fn too_big(mtu: u32, about: Option<u64>) -> Heard {
        let request = |id| Request { id, want: 0, may_fragment: false, token: None }.to_bytes(HEADER);
        Heard::Icmp { kind: 2, code: 0, from: None, mtu: Some(mtu), quoted: about.map(request).unwrap_or_default() }
    }

    #[test]
    fn answers_are_told_apart_and_strangers_are_neither() {
        let seen = became([reply(2), reply(3), Heard::Datagram { bytes: b"garbage".to_vec(), fragment: None }]);
        assert!(seen.back.is_none());
        assert_eq!(seen.control.unwrap().size, 148);
        assert!(became([reply(1)]).back.is_some());
    }

    #[test]
    fn too_big_is_believed_when_it_can_be_about_the_long_one() {
        let mtu = |heard| became([heard]).too_big.and_then(|told| told.mtu);
        assert_eq!(mtu(too_big(1400, Some(1))), Some(1400));
        assert_eq!(mtu(too_big(1400, None)), Some(1400));
        assert_eq!(mtu(too_big(1400, Some(2))), None, "about the small one");
        assert_eq!(mtu(too_big(1500, Some(1))), None, "it fits");
        assert!(became([Heard::TooLong { mtu: 1280 }]).own_link);
    }
}
