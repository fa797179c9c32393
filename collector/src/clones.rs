//! Two probes with one key, as a copied card makes them: how they are told from one probe that comes back. Pure.
//!
//! Every start of a probe's process is a new boot, and a boot that a newer one has followed is over: its process is dead.
//! So a boot that comes back after another has taken its place, while that other is still connected, means two machines. Once
//! may be the last word of a dying process that overtook nobody; twice within minutes is no accident. From then on the boot
//! that is served stays, and others are turned away for as long as it is there.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sonde_protocol::ids::{BootId, ProbeId};
use sonde_protocol::time::UnixNanos;

use crate::intake::ConnectionId;

/// Within which time two returns mean two machines. A probe whose connection ends comes back within a minute.
const WINDOW: Duration = Duration::from_secs(600);

/// How many returns there must be.
const RETURNS: usize = 2;

/// How long two machines are remembered after they were last seen.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// How many boots of one probe are remembered as followed by others.
const MAX_FOLLOWED: usize = 16;

/// What is to be done with a boot that says hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is served.
    Serve {
        /// Connections of other boots, which are over or are to say so by coming back.
        supersedes: Vec<ConnectionId>,
        /// There are two machines with this key.
        is_duplicate: bool,
    },
    /// Another machine with this key is served.
    TurnAway,
}

#[derive(Debug)]
struct Known {
    /// The boot that is served.
    serves: BootId,
    live: Vec<(ConnectionId, BootId)>,
    /// Boots that others have followed, the newest last.
    followed: VecDeque<BootId>,
    returns: VecDeque<UnixNanos>,
    /// When a boot last took the place of another that was still connected.
    switched: Option<UnixNanos>,
    /// When two machines were last seen.
    seen: Option<UnixNanos>,
}

/// What is known of all probes.
#[derive(Debug, Default)]
pub struct Clones {
    probes: HashMap<ProbeId, Known>,
}

impl Clones {
    /// A boot of a probe says hello on a connection.
    pub fn arrive(&mut self, probe: ProbeId, connection: ConnectionId, boot: BootId, now: UnixNanos) -> Verdict {
        let known = self.probes.entry(probe).or_insert_with(|| Known {
            serves: boot,
            live: Vec::new(),
            followed: VecDeque::new(),
            returns: VecDeque::new(),
            switched: None,
            seen: None,
        });
        if boot != known.serves {
            let other_is_there = known.live.iter().any(|(_, live)| *live == known.serves);
            if other_is_there && known.followed.contains(&boot) {
                known.returns.push_back(now);
                known.returns.retain(|at| now.since(*at) <= WINDOW);
                if known.returns.len() >= RETURNS {
                    known.seen = Some(now);
                }
                while known.returns.len() > RETURNS {
                    known.returns.pop_front();
                }
            }
            if other_is_there && known.is_duplicate(now) {
                known.seen = Some(now);
                return Verdict::TurnAway;
            }
            known.followed.retain(|one| *one != known.serves && *one != boot);
            known.followed.push_back(known.serves);
            if known.followed.len() > MAX_FOLLOWED {
                known.followed.pop_front();
            }
            if other_is_there {
                known.switched = Some(now);
            }
            known.serves = boot;
        }
        let others = known.live.iter().filter(|(_, live)| *live != boot);
        let supersedes = others.map(|(connection, _)| *connection).collect();
        known.live.push((connection, boot));
        Verdict::Serve { supersedes, is_duplicate: known.is_duplicate(now) }
    }

    /// A connection of a probe has ended.
    pub fn leave(&mut self, probe: ProbeId, connection: ConnectionId, now: UnixNanos) {
        let Some(known) = self.probes.get_mut(&probe) else { return };
        known.live.retain(|(one, _)| *one != connection);
        // What is remembered of probes that are away is what may still be about two machines: both are, for a moment, when one
        // has taken the other's place.
        let may_be_two = known.switched.is_some_and(|at| now.since(at) <= WINDOW) || known.is_duplicate(now);
        if known.live.is_empty() && !may_be_two {
            self.probes.remove(&probe);
        }
    }
}

impl Known {
    fn is_duplicate(&self, now: UnixNanos) -> bool {
        self.seen.is_some_and(|seen| now.since(seen) < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hellos of one probe: a boot each, on a connection with the number of the hello.
    struct Door {
        clones: Clones,
        hellos: u64,
        now: UnixNanos,
    }

    const PROBE: ProbeId = ProbeId(1);

    impl Door {
        fn new() -> Self {
            Self { clones: Clones::default(), hellos: 0, now: UnixNanos::from_secs(1_000_000) }
        }

        fn hello(&mut self, boot: u64, after_secs: u64) -> Verdict {
            self.hellos += 1;
            self.now = self.now + Duration::from_secs(after_secs);
            self.clones.arrive(PROBE, ConnectionId(self.hellos), BootId(boot), self.now)
        }

        fn leaves(&mut self, connection: u64) {
            self.clones.leave(PROBE, ConnectionId(connection), self.now);
        }
    }

    fn serve(supersedes: &[u64], is_duplicate: bool) -> Verdict {
        Verdict::Serve { supersedes: supersedes.iter().copied().map(ConnectionId).collect(), is_duplicate }
    }

    #[test]
    fn a_probe_that_starts_again_and_again_is_one() {
        let mut door = Door::new();
        assert_eq!(door.hello(1, 0), serve(&[], false));
        for boot in 2..100 {
            // The collector does not know yet that the one before has died.
            assert_eq!(door.hello(boot, 1), serve(&[boot - 1], false));
            door.leaves(boot - 1);
        }
    }

    #[test]
    fn a_boot_may_have_many_connections_one_after_the_other_or_two_at_a_time() {
        let mut door = Door::new();
        for connection in 1..50 {
            assert_eq!(door.hello(1, 1), serve(&[], false));
            if connection > 2 {
                door.leaves(connection - 2);
            }
        }
    }

    #[test]
    fn two_machines_are_found_out_and_the_one_that_is_served_stays() {
        let mut door = Door::new();
        assert_eq!(door.hello(1, 0), serve(&[], false));
        assert_eq!(door.hello(2, 100), serve(&[1], false));
        door.leaves(1);
        assert_eq!(door.hello(1, 1), serve(&[2], false), "once may be an accident");
        door.leaves(2);
        assert_eq!(door.hello(2, 1), Verdict::TurnAway);
        assert_eq!(door.hello(2, 30), Verdict::TurnAway);
        // Started again it is no less the second one.
        assert_eq!(door.hello(3, 30), Verdict::TurnAway);
        // The served one may lose its connection and come back.
        assert_eq!(door.hello(1, 60), serve(&[], true));
        // When it is gone the other one is served, and told.
        door.leaves(3);
        door.leaves(7);
        assert_eq!(door.hello(3, 60), serve(&[], true));
        // An hour later nothing is held against it.
        assert_eq!(door.hello(4, 4000), serve(&[8], false));
    }

    #[test]
    fn a_machine_that_takes_a_new_boot_when_its_old_one_is_over_is_found_out_too() {
        let mut door = Door::new();
        door.hello(1, 0);
        door.hello(2, 10);
        door.leaves(1);
        assert_eq!(door.hello(1, 1), serve(&[2], false));
        assert_eq!(door.hello(11, 0), serve(&[2, 3], false), "the first machine begins anew");
        door.leaves(2);
        door.leaves(3);
        assert_eq!(door.hello(2, 1), Verdict::TurnAway);
    }

    #[test]
    fn two_machines_are_found_out_although_both_are_away_in_between() {
        let mut door = Door::new();
        door.hello(1, 0);
        assert_eq!(door.hello(2, 10), serve(&[1], false));
        door.leaves(1);
        assert_eq!(door.hello(1, 0), serve(&[2], false));
        door.leaves(2);
        // It is told that its boot is over, and thinks for a while before it begins another.
        door.leaves(3);
        assert_eq!(door.hello(2, 1), serve(&[], false));
        assert_eq!(door.hello(11, 6), serve(&[4], false));
        door.leaves(4);
        assert_eq!(door.hello(2, 1), Verdict::TurnAway);
    }

    #[test]
    fn two_returns_that_lie_far_apart_or_meet_nobody_mean_nothing() {
        let mut door = Door::new();
        door.hello(1, 0);
        door.hello(2, 10);
        door.hello(1, 10);
        assert_eq!(door.hello(2, 700), serve(&[1, 3], false));
        let mut door = Door::new();
        for n in 0..10 {
            assert_eq!(door.hello(n % 2, 30), serve(&[], false), "two cards of one board in turn");
            door.leaves(n + 1);
        }
    }

    #[test]
    fn nothing_is_remembered_of_probes_that_are_away() {
        let mut door = Door::new();
        door.hello(1, 0);
        door.leaves(1);
        assert!(door.clones.probes.is_empty());
    }
}
