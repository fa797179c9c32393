//! What the probe knows of itself: a pause, a limit, a busy line, its disk, its sandbox. Each word is set while it holds and
//! cleared when it does not; and what the host allows is told to the network when it has changed.

use std::path::PathBuf;
use std::time::Duration;

use sonde_protocol::bounded::{List, Text};
use sonde_protocol::condition::Word;
use sonde_protocol::message::{HostPause, HostState};
use sonde_protocol::time::Nanos;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::Agent;
use crate::condition::diagnosis::Found;
use crate::condition::disk::{self, is_of_the_disk};
use crate::net::may_not_ping;
use crate::sandbox::Report;

/// For so long a limit counts as reached after it last kept a measurement from running. Most periodic ones come again sooner.
const LIMIT_STAYS: Duration = Duration::from_secs(600);

/// How often it is tried again what did not work: to write to the disk, to open a socket for pings.
const AGAIN: Duration = Duration::from_secs(30);

/// How often the network is told how much was measured, though nothing else has changed.
const TELL_HOST: Duration = Duration::from_secs(3600);

/// What belongs to it.
pub(super) struct Own {
    state: PathBuf,
    /// When a run was last skipped because of a limit.
    limited: Option<Nanos>,
    looking: Option<JoinHandle<Option<Found>>>,
    /// When the disk is to be looked at.
    disk_due: Option<Nanos>,
    /// When it is to be tried whether pings may be sent.
    ping_due: Option<Nanos>,
    /// When the network is to hear what the host allows.
    host_due: Nanos,
}

impl Own {
    pub(super) fn new(state: PathBuf, now: Nanos) -> Self {
        Self { state, limited: None, looking: None, disk_due: Some(now), ping_due: Some(now), host_due: now }
    }

    /// Completes when the disk was looked at: with what is wrong, or `Err` when the look died. Dropping the future loses nothing.
    pub(super) async fn looked(&mut self) -> Result<Option<Found>, ()> {
        let Some(looking) = &mut self.looking else { return std::future::pending().await };
        let found = looking.await;
        self.looking = None;
        found.map_err(drop)
    }
}

/// What is wrong with the sandbox that the host has asked for.
fn without_walls(report: &Report) -> Option<String> {
    let missing = report.missing();
    (!missing.is_empty()).then(|| missing.join("; "))
}

impl Agent {
    /// What cannot change while the process lives.
    pub(super) fn note_sandbox(&mut self, sandbox: &Report, now: Nanos) {
        self.conditions.note(Word::NoSandbox, without_walls(sandbox), now);
    }

    /// A write to the state directory has failed.
    pub(super) fn look_at_disk(&mut self) {
        let now = self.now();
        self.own.disk_due = Some(self.own.disk_due.map_or(now, |due| due.min(now)));
    }

    /// A run was skipped because of a limit. That of the day's bytes is known for as long as the day lasts; others pass.
    pub(super) fn limited(&mut self, now: Nanos) {
        if !self.caps.day_is_full(now, self.runner.clock.realtime()) {
            self.own.limited = Some(now);
        }
    }

    /// What the host allows has changed.
    pub(super) fn host_changed(&mut self) {
        self.own.host_due = self.now();
        // What was too little may be enough now.
        self.own.limited = None;
    }

    /// When this part wants to be woken.
    pub(super) fn own_due(&self) -> Option<Nanos> {
        let disk = self.own.disk_due.filter(|_| self.own.looking.is_none());
        // What is mentioned already is told in time.
        let told = self.conditions.news_due().is_none() && self.session.is_open();
        let host = told.then_some(self.own.host_due);
        disk.into_iter().chain(host).chain(self.own.ping_due).min()
    }

    /// Sets and clears what holds now, and begins what is due.
    pub(super) fn advance_own(&mut self, now: Nanos) {
        let paused = self.pause_now().map(|until| match until {
            Some(until) => format!("until {}", self.local_time.show(until)),
            None if self.config.limits.pause => "`pause = true` in sonde.toml".into(),
            None => String::new(),
        });
        if paused.is_some() != self.conditions.holds(Word::Paused) {
            self.own.host_due = now;
        }
        self.conditions.note(Word::Paused, paused, now);
        self.conditions.note(Word::QuietLine, self.line.busy(now).map(|busy| busy.to_string()), now);
        let limit = self.limit_reached(now);
        self.conditions.note(Word::LimitReached, limit, now);

        if self.own.ping_due.is_some_and(|due| due <= now) {
            let why = may_not_ping(now);
            self.own.ping_due = why.is_some().then_some(now + AGAIN);
            self.conditions.note(Word::NoPing, why, now);
        }
        let failed = [self.usage.take_failed(), self.record.take_failed()];
        if failed.contains(&true) {
            self.look_at_disk();
        }
        if self.own.looking.is_none() && self.own.disk_due.is_some_and(|due| due <= now) {
            self.own.disk_due = None;
            let state = self.own.state.clone();
            // A card may take seconds for a write.
            self.own.looking = Some(tokio::task::spawn_blocking(move || disk::look(&state)));
        }
        if self.session.is_open() && self.own.host_due <= now {
            self.conditions.mention(now);
        }
    }

    /// The disk was looked at.
    pub(super) fn disk_seen(&mut self, found: Result<Option<Found>, ()>, now: Nanos) {
        let Ok(found) = found else { return };
        let held = self.conditions.held().any(|held| is_of_the_disk(held.word));
        match &found {
            Some(one) if !self.conditions.holds(one.word) => {
                warn!(word = %one.word, detail = one.detail, "{}", one.word.meaning())
            }
            None if held => info!("the state directory can be written again"),
            _ => {}
        }
        if found.is_some() {
            self.own.disk_due = Some(now + AGAIN);
        }
        self.conditions.replace(is_of_the_disk, found.as_slice(), now);
    }

    /// Which limit keeps measurements from running, if one does.
    pub(super) fn limit_reached(&mut self, now: Nanos) -> Option<String> {
        let limits = &self.config.limits;
        if self.caps.day_is_full(now, self.runner.clock.realtime()) {
            return Some(format!("the {} bytes of this day (UTC) are used up", limits.bytes_per_day));
        }
        let recent = self.own.limited.is_some_and(|at| now.since(at) < LIMIT_STAYS);
        recent.then(|| {
            let (packets, runs) = (limits.packets_per_second, limits.concurrent);
            format!("{packets} packets a second and {runs} measurements at once are not enough for all that is due")
        })
    }

    /// What the host allows, as the network hears it, when it is to.
    pub(super) fn host_to_tell(&mut self, now: Nanos) -> Option<HostState> {
        if self.own.host_due > now {
            return None;
        }
        self.own.host_due = now + TELL_HOST;
        let host = self.host_limits();
        let remaining =
            host.paused_until.map(|until| u32::try_from(until.saturating_sub(self.host_second())).unwrap_or(u32::MAX));
        Some(HostState {
            written_today: self.keeping.written_today(&*self.runner.clock),
            measured_today: host.bytes_today,
            pause: host.paused.then_some(HostPause { remaining }),
            packets_per_second: host.packets_per_second,
            bytes_per_day: host.bytes_per_day,
            kinds: List::cut(self.config.limits.kinds.iter().map(|kind| kind.number())),
            hours: List::cut(host.hours.into_iter().map(Text::cut)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_that_the_host_wants_and_the_kernel_has_not_is_said() {
        let off = Report::default();
        assert_eq!(without_walls(&off), None, "the host does not want it");
        let whole = Report { enabled: true, landlock_abi: Some(5), seccomp: true, ..Report::default() };
        assert_eq!(without_walls(&whole), None);
        let open = Report { landlock_abi: None, ..whole };
        assert!(without_walls(&open).is_some_and(|why| why.contains("Landlock")));
    }
}
