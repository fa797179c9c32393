//! Does another machine have an IPv4 address already (RFC 5227)? The kernel is told to look for a neighbour of that name. As long as the
//! interface has no IPv4 address of its own, its question by ARP bears none, which is what the RFC calls a probe.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::Handle;
use tokio::time::{Instant, sleep};

use super::kernel::error;

/// How long an answer is waited for. The RFC takes five to seven seconds and three questions, which would be half of a start; a machine
/// on Ethernet answers within milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often the kernel is asked whether it has come.
const LOOK: Duration = Duration::from_millis(50);

/// Asks the link for the address, and waits for an answer.
///
/// # Errors
/// When the kernel refuses.
pub async fn is_taken(handle: &Handle, index: u32, address: Ipv4Addr) -> io::Result<bool> {
    let ask = handle.neighbours().add(index, address.into()).flags(NeighbourFlags::Use).replace();
    ask.execute().await.map_err(error)?;
    let end = Instant::now() + PATIENCE;
    loop {
        let all = handle.neighbours().get().set_address_family(AddressFamily::Inet).execute();
        let all: Vec<NeighbourMessage> = all.try_collect().await.map_err(error)?;
        let found = all.into_iter().find(|one| one.header.ifindex == index && is_of(one, address));
        let answers = found.as_ref().is_some_and(|one| answers(one.header.state));
        if answers || Instant::now() >= end {
            if let Some(found) = found {
                // The address is the board's own from now on, or nobody's business; the entry would be in the way.
                let _ = handle.neighbours().del(found).execute().await;
            }
            return Ok(answers);
        }
        sleep(LOOK).await;
    }
}

fn is_of(message: &NeighbourMessage, address: Ipv4Addr) -> bool {
    message.attributes.iter().any(|attribute| {
        matches!(attribute, NeighbourAttribute::Destination(NeighbourAddress::Inet(known)) if *known == address)
    })
}

/// Has somebody answered?
const fn answers(state: NeighbourState) -> bool {
    matches!(state, NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe)
}
