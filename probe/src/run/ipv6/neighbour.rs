//! Is the router there? One packet makes the kernel look for it on the link; its table of neighbours says what came of that. A
//! router may answer no ping and no datagram, but it must answer neighbour discovery, or nothing reaches it.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use sonde_engine::ipv6::gather::Event;
use sonde_engine::ipv6::plan::NEIGHBOUR_TIMEOUT;
use sonde_protocol::net::{Family, Ip};
use sonde_protocol::result::ipv6::Neighbour;
use tokio::time::sleep;

use super::tools::Tools;
use crate::local::interface_number;
use crate::local::inventory::neighbour;
use crate::net::unspecified;

/// "Discard" (RFC 863): whoever is there throws the packet away, or says that nobody listens.
const DISCARD: u16 = 9;

/// How often the table is looked at. There is no event for every change of it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A solicitation may still be under way when its second is over.
const MARGIN: Duration = Duration::from_millis(200);

/// Sends the packet and tells what the table says then. This is the machine's own router: the policy is not asked.
pub async fn check(tools: &Tools<'_>, gateway: Ip, interface: &str) {
    tools.room(1).await;
    // Where a filter of this machine forbids it, other packets on their way out make the kernel look for the router as well.
    let is_sent = send(gateway.0, interface).is_ok();
    let began = tools.clock().monotonic();
    let limit = tools.limit(NEIGHBOUR_TIMEOUT + MARGIN);
    loop {
        let Ok(state) = neighbour(interface, gateway.0) else { return };
        let is_over = tools.clock().monotonic().since(began) >= limit;
        // That it did not answer may be old, as long as nobody has asked again.
        let is_old = !is_sent && state == Neighbour::Failed;
        if is_over || (is_final(state) && !is_old) {
            // That nobody has looked is no finding.
            if state != Neighbour::Unknown {
                tools.tell(Event::Neighbour(gateway, state));
            }
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Will waiting change nothing?
const fn is_final(state: Neighbour) -> bool {
    matches!(state, Neighbour::Reachable | Neighbour::NoArp | Neighbour::Permanent | Neighbour::Failed)
}

fn send(gateway: IpAddr, interface: &str) -> std::io::Result<()> {
    let dst = match gateway {
        IpAddr::V4(_) => SocketAddr::new(gateway, DISCARD),
        IpAddr::V6(v6) => {
            // A link-local address is one only together with its link.
            let scope = if v6.is_unicast_link_local() { interface_number(interface).unwrap_or(0) } else { 0 };
            SocketAddr::V6(SocketAddrV6::new(v6, DISCARD, 0, scope))
        }
    };
    let socket = UdpSocket::bind(SocketAddr::new(unspecified(Family::of(gateway)), 0))?;
    socket.set_nonblocking(true)?;
    socket.send_to(&[0], dst).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_is_sure_of_is_final() {
        for state in Neighbour::ALL {
            let expected = [2, 32, 64, 128].contains(&state.number());
            assert_eq!(is_final(*state), expected, "{state}");
        }
    }
}
