//! The host's own switches: which kinds, at which hours, and whether at all. Whatever an order says, a run that they forbid
//! does not begin. Pure: what time it is, is an argument.

use serde::{Deserialize, Serialize};
use sonde_protocol::result::SkipReason;
use sonde_protocol::spec::Kind;

use crate::config::Limits;
use crate::config::hours::are_open;

/// The host has paused its probe by a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Until when, in Unix seconds by the machine's clock; until `resume` when absent.
    pub until: Option<u64>,
}

impl Pause {
    /// Does it hold at this Unix second?
    pub fn holds(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What the clock on the wall says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalMoment {
    /// Unix seconds by the machine's own clock: no collector has a say in the host's hours.
    pub unix: u64,
    /// Minutes since local midnight.
    pub minute: u16,
}

/// Why a run of this kind may not begin now, if it may not.
pub fn refused(limits: &Limits, pause: Option<Pause>, kind: Kind, now: LocalMoment) -> Option<SkipReason> {
    if limits.pause || pause.is_some_and(|pause| pause.holds(now.unix)) {
        Some(SkipReason::Paused)
    } else if !limits.kinds.contains(&kind) {
        Some(SkipReason::KindOff)
    } else if !are_open(&limits.hours, now.minute) {
        Some(SkipReason::OutsideHours)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::hours::Window;

    const NOON: LocalMoment = LocalMoment { unix: 1_000, minute: 12 * 60 };

    #[test]
    fn each_switch_stops_what_it_names() {
        let free = Limits::default();
        assert_eq!(refused(&free, None, Kind::Ping, NOON), None);
        let few = Limits { kinds: vec![Kind::Ping], ..Limits::default() };
        assert_eq!(refused(&few, None, Kind::Ping, NOON), None);
        assert_eq!(refused(&few, None, Kind::Dns, NOON), Some(SkipReason::KindOff));
        let nights = Limits { hours: vec![Window::read("22:00-06:00").unwrap()], ..Limits::default() };
        assert_eq!(refused(&nights, None, Kind::Ping, NOON), Some(SkipReason::OutsideHours));
        assert_eq!(refused(&nights, None, Kind::Ping, LocalMoment { minute: 5, ..NOON }), None);
        let off = Limits { pause: true, ..Limits::default() };
        assert_eq!(refused(&off, None, Kind::Ping, NOON), Some(SkipReason::Paused));
    }

    #[test]
    fn a_pause_ends_when_it_says_or_never() {
        let limits = Limits::default();
        let until = |until| Some(Pause { until });
        assert_eq!(refused(&limits, until(Some(1_001)), Kind::Ping, NOON), Some(SkipReason::Paused));
        assert_eq!(refused(&limits, until(Some(1_000)), Kind::Ping, NOON), None);
        assert_eq!(refused(&limits, until(None), Kind::Ping, NOON), Some(SkipReason::Paused));
    }
}
