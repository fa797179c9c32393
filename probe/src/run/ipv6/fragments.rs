//! Packets in pieces to a reference and back: a datagram of 1600 bytes, which no usual link takes whole.

use std::net::SocketAddr;

use sonde_engine::ipv6::gather::Event;
use sonde_engine::ipv6::paths::TRIES;
use sonde_engine::ipv6::plan::PathPlan;
use sonde_protocol::reference::Ask;
use sonde_protocol::result::ipv6::HeadersSeen;

use super::asking::{Asking, Became, Wanted, headers};
use super::tools::Tools;
use crate::net::datagrams::{Datagrams, Fit};

/// Bytes of the payload.
const PAYLOAD: u32 = 1600;

/// Tries both directions, one after the other, and tells each.
pub async fn check(tools: &Tools<'_>, plan: &PathPlan) {
    let dst = SocketAddr::new(plan.dst, plan.port);
    let Ok(socket) = Datagrams::open(dst, Fit::Pieces, None) else { return };
    let mut asking = Asking::new(tools, dst, socket, None);
    let size = PAYLOAD + headers(plan.dst);
    let least = asking.least();
    let small = Wanted { up: least, down: least, in_pieces: false };
    let up = direction(&mut asking, Wanted { up: size, ..small }, small, |became| {
        became.back.as_ref().map(|back| back.reply.fragment.is_some())
    });
    let fragment_up = up.await;
    tools.tell(Event::Headers(HeadersSeen { fragment_up, ..HeadersSeen::default() }));

    let Some((port, key)) = plan.tls else { return };
    let tls = SocketAddr::new(plan.dst, port);
    let Ok(seen) = tools.ask(tls, key, &Ask::default()).await else { return };
    asking.token = Some(seen.token);
    let wanted = Wanted { up: asking.least_for(size), down: size, in_pieces: true };
    let down = direction(&mut asking, wanted, small, |became| {
        // A reply that is shorter than asked for is not the one that was to come in pieces.
        became.back.as_ref().map(|back| back.in_pieces && back.size >= size)
    });
    let fragment_down = down.await;
    tools.tell(Event::Headers(HeadersSeen { fragment_down, ..HeadersSeen::default() }));
}

/// `None`: nothing can be said, because it was not cut, or because not even the small ones pass.
async fn direction(
    asking: &mut Asking<'_>,
    wanted: Wanted,
    small: Wanted,
    came_in_pieces: impl Fn(&Became) -> Option<bool>,
) -> Option<bool> {
    let mut controls = 0;
    for _ in 0..TRIES {
        let became = asking.both(wanted, small, |became| became.back.is_some()).await.ok()?;
        if let Some(in_pieces) = came_in_pieces(&became) {
            return in_pieces.then_some(true);
        }
        controls += u8::from(became.control.is_some());
    }
    verdict(controls)
}

/// Nothing long has come in [`TRIES`] tries, and so many small ones have.
pub(super) const fn verdict(controls: u8) -> Option<bool> {
    if controls * 2 > TRIES { Some(false) } else { None }
}
