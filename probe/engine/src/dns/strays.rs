//! What comes in answer to a query and is no answer to it. It is reported and not hidden: whoever sends it may be forging
//! answers, or be a server that answers from another address than it was asked at.
//!
//! Bounded: the first few are kept, the others counted.

use core::net::IpAddr;

use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::net::Ip;
use sonde_protocol::result::{DnsResponse, DnsStray, MAX_STRAYS, StrayKind};

/// How much is kept of a stray datagram, in bytes: the question and the first answers.
pub(super) const DATAGRAM_KEPT: usize = 512;

/// The strays of one exchange.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Strays {
    kept: List<DnsStray, MAX_STRAYS>,
    seen: u32,
    id_mismatches: u32,
}

impl Strays {
    /// Those of an exchange that has ended, for the one that follows it.
    pub(super) fn of(response: &DnsResponse) -> Self {
        Self { kept: response.strays.clone(), seen: response.strays_seen, id_mismatches: response.id_mismatches }
    }

    /// Counts one, `after` so many nanoseconds, and keeps its first `most` bytes while there is room.
    pub(super) fn keep(
        &mut self,
        (from, port): (IpAddr, u16),
        what: StrayKind,
        after: u64,
        message: &[u8],
        most: usize,
        show_message: bool,
    ) {
        self.seen = self.seen.saturating_add(1);
        if what == StrayKind::Id {
            self.id_mismatches = self.id_mismatches.saturating_add(1);
        }
        let head = message.get(..most).unwrap_or(message);
        let stray = DnsStray {
            from: Ip(from),
            port,
            what,
            after,
            size: u32::try_from(message.len()).unwrap_or(u32::MAX),
            message: Bytes::new(head).unwrap_or_default(),
            show_message,
        };
        // When there is no room it is counted only.
        let _ = self.kept.push(stray);
    }

    /// The response with these strays.
    pub(super) fn into_response(self, response: DnsResponse) -> DnsResponse {
        let Self { kept, seen, id_mismatches } = self;
        DnsResponse { strays: kept, strays_seen: seen, id_mismatches, ..response }
    }
}
