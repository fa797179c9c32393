//! What the host decides while the probe runs: a pause, another configuration; and how that is told.

use serde_json::{Value, json};
use sonde_protocol::condition::Word;
use sonde_protocol::result::SkipReason;
use tracing::{info, warn};

use super::Agent;
use crate::control::{Asked, Command};
use crate::policy::Pause;
use crate::run::with_causes;
use crate::status::HostLimits;

impl Agent {
    /// Unix seconds by the machine's own clock.
    pub(super) fn host_second(&self) -> u64 {
        u64::try_from(self.runner.clock.realtime().as_secs()).unwrap_or(0)
    }

    pub(super) fn command(&mut self, asked: Asked) {
        let result = match asked.command {
            Command::Pause(pause) => self.pause(Some(pause)),
            Command::Resume if self.config.limits.pause => {
                Err("sonde.toml says `pause = true`: change it there".into())
            }
            Command::Resume => self.pause(None),
            Command::Activity => {
                let _ = asked.answer.send(self.record.answer());
                return;
            }
            Command::Look => {
                let days = self.record.recent(2);
                let _ = asked.answer.send(Ok(json!({"status": self.status(), "days": days})));
                return;
            }
        };
        // Its word comes with the answer.
        let now = self.now();
        self.advance_own(now);
        let result = result.and_then(|()| serde_json::to_value(self.status()).map_err(|error| error.to_string()));
        // Whoever asked may have gone.
        let _ = asked.answer.send(result as Result<Value, String>);
    }

    fn pause(&mut self, pause: Option<Pause>) -> Result<(), String> {
        let kept = self.kept_pause.set(pause);
        self.host_changed();
        if kept.is_err() {
            self.look_at_disk();
        }
        match pause {
            Some(pause) => {
                info!(until = pause.until, "paused by the host");
                // Whoever pauses wants quiet now.
                self.abandon_runs(SkipReason::Paused);
            }
            None => info!("resumed by the host"),
        }
        kept.map_err(|error| {
            format!("it is in force, but a restart will not know: the state cannot be written: {error}")
        })
    }

    /// Reads `sonde.toml` again. What cannot be used changes nothing.
    pub(super) fn reload(&mut self) {
        let Some(file) = &self.config_file else {
            info!("no configuration file to read again");
            return;
        };
        let config = match file.load() {
            Ok(config) => config,
            Err(error) => {
                let why = with_causes(&error);
                warn!(error = %why, "the configuration stays as it was");
                self.config_problem = Some(why);
                return;
            }
        };
        self.config_problem = None;
        let kinds = config.limits.kinds.clone();
        let kinds_changed = kinds != self.config.limits.kinds;
        let was_on = !self.config.limits.pause;
        self.caps.set_limits(config.limits.clone());
        self.runner.driver.set_pace(config.limits.packets_per_second);
        // The resolvers and the network stay those of the start.
        self.config.policy.allow = config.policy.allow;
        self.config.policy.site_prefix = config.policy.site_prefix;
        self.config.limits = config.limits;
        self.config.quiet = config.quiet;
        self.host_changed();
        self.publish_policy();
        info!("the configuration has been read again");
        if self.config.limits.pause && was_on {
            self.abandon_runs(SkipReason::Paused);
        }
        if kinds_changed {
            // Hello tells the kinds.
            self.session.set_kinds(&kinds);
            let now = self.now();
            self.lost("the host has changed the kinds that it allows");
            self.session.retry_now(now);
        }
    }

    /// The pause that holds, if one does, and when it ends; without an end it lasts until the host says otherwise.
    pub(super) fn pause_now(&self) -> Option<Option<u64>> {
        if self.config.limits.pause {
            return Some(None);
        }
        let now = self.host_second();
        self.kept_pause.get().filter(|pause| pause.holds(now)).map(|pause| pause.until)
    }

    /// The host's limits, and what they do just now.
    pub(super) fn host_limits(&self) -> HostLimits {
        let now = self.host_second();
        let limits = &self.config.limits;
        let pause = self.pause_now();
        let reached = self.conditions.held().find(|held| held.word == Word::LimitReached);
        HostLimits {
            paused: pause.is_some(),
            paused_until: pause.flatten(),
            limit_reached: reached.map(|held| held.detail.clone()),
            outside_hours: !crate::config::hours::are_open(&limits.hours, self.local_time.at(now).minute),
            line_busy: self.line.busy(self.now()).map(|busy| busy.to_string()),
            bytes_today: self.bytes_today(now),
            packets_per_second: limits.packets_per_second,
            bytes_per_day: limits.bytes_per_day,
            kinds: limits.kinds.iter().map(|kind| kind.name().to_owned()).collect(),
            hours: limits.hours.iter().map(ToString::to_string).collect(),
            config_problem: self.config_problem.clone(),
        }
    }

    /// Bytes of this UTC day.
    fn bytes_today(&self, now: u64) -> u64 {
        let used = self.caps.day_use();
        let today = i64::try_from(now / 86_400).unwrap_or(0);
        if used.day < today { 0 } else { used.bytes }
    }
}
