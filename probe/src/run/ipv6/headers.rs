//! Extension headers in a SYN (the method of RFC 7872): one of eight bytes that mean nothing, before a connection that opens
//! without it. Linux wants CAP_NET_RAW for that; without it nothing is told, which is not the same as lost.

use std::net::SocketAddr;

use sonde_engine::Needs;
use sonde_engine::ipv6::gather::Event;
use sonde_engine::ipv6::plan::CONNECT_TIMEOUT;
use sonde_protocol::result::ipv6::HeadersSeen;

use super::tools::{TCP, Tools};
use crate::net::opening::{may_add_headers, open, open_with};

/// Bytes of options in a header of eight.
const OPTIONS: u32 = 6;

/// Tries destination options, then hop-by-hop options.
pub async fn check(tools: &Tools<'_>, dst: SocketAddr) {
    if !may_add_headers() {
        return;
    }
    let limit = || tools.limit(CONNECT_TIMEOUT);
    tools.room(3 * TCP).await;
    // Where not even a plain one opens, headers are not the reason.
    if open(tools.clock(), None, dst, limit()).await.is_err() {
        return;
    }
    let destination = Needs { destination: OPTIONS, ..Needs::default() };
    let opened = open_with(tools.clock(), None, destination, dst, limit()).await.is_ok();
    tools.tell(Event::Headers(HeadersSeen { destination: Some(opened), ..HeadersSeen::default() }));
    let hop_by_hop = Needs { hop_by_hop: OPTIONS, ..Needs::default() };
    let opened = open_with(tools.clock(), None, hop_by_hop, dst, limit()).await.is_ok();
    tools.tell(Event::Headers(HeadersSeen { hop_by_hop: Some(opened), ..HeadersSeen::default() }));
}
