//! What the system refuses a kind of measurement, for lack of a capability or by a filter of system calls: logged once for each kind,
//! with what to do. Each result says it too.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::sync::{Mutex, PoisonError};

use sonde_protocol::spec::Kind;
use tracing::warn;

use crate::net::NetError;

/// What to do about raw sockets.
pub(super) const RAW_ADVICE: &str = "give the program CAP_NET_RAW (with the Debian package: examples/raw.conf) and set `raw = true` \
                                     in [sandbox] of sonde.toml, or leave such measurements to other probes";

/// What to do where nothing better is known.
const ADVICE: &str = "`sonde-probe doctor` tells what this system lets the program do";

/// The kinds of which it has been said.
#[derive(Debug, Default)]
pub(super) struct Denied(Mutex<BTreeSet<u8>>);

impl Denied {
    /// Says it, unless it has been said of this kind. Gives whether it was said.
    pub(super) fn note(&self, kind: Kind, why: &str, advice: &str) -> bool {
        let fresh = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.number());
        if fresh {
            warn!(%kind, why, "the system refuses what such measurements need: {advice}");
        }
        fresh
    }
}

/// What to do about an error, if it is a refusal.
pub(super) fn advice(error: &NetError) -> Option<&'static str> {
    match error {
        NetError::Tcp { .. } | NetError::Options(_) if is_refusal(error) => Some(RAW_ADVICE),
        // It says itself what to do.
        NetError::NoIcmp { .. } => Some(ADVICE),
        error if is_refusal(error) => Some(ADVICE),
        _ => None,
    }
}

/// EPERM or EACCES, of the error or of a cause.
fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(one) = next {
        if one.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        next = one.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use nix::libc;
    use sonde_protocol::net::Family;

    use super::*;

    #[test]
    fn each_kind_is_told_once() {
        let denied = Denied::default();
        let note = |kind| denied.note(kind, "no", ADVICE);
        assert!(note(Kind::Ping) && note(Kind::Traceroute));
        assert!(!note(Kind::Ping) && !note(Kind::Traceroute));
    }

    #[test]
    fn what_to_do_depends_on_what_was_refused() {
        let of = |number| io::Error::from_raw_os_error(number);
        for number in [libc::EPERM, libc::EACCES] {
            assert_eq!(advice(&NetError::Tcp { family: Family::V4, source: of(number) }), Some(RAW_ADVICE));
            assert_eq!(advice(&NetError::Options(of(number))), Some(RAW_ADVICE));
            assert_eq!(advice(&NetError::Udp { family: Family::V6, source: of(number) }), Some(ADVICE));
        }
        assert_eq!(advice(&NetError::Tcp { family: Family::V4, source: of(libc::EADDRNOTAVAIL) }), None);
        assert_eq!(advice(&NetError::Busy), None);
    }
}
