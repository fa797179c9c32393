//! The spool's file: its jobs are done on a thread of their own, because a card may take seconds for a write.

use std::future::pending;
use std::path::Path;

use sonde_protocol::spool::Restored;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::Agent;
use crate::config::SpoolSection;
use crate::net::clock::ClockSource;
use crate::spool::{Done, FileDisk, Job, Keeper};

/// The file and whoever decides about it.
pub(super) struct Keeping {
    keeper: Option<Keeper>,
    disk: Option<FileDisk>,
    job: Option<JoinHandle<(FileDisk, Done)>>,
    /// Why there is no file.
    off: Option<String>,
    reported: Option<String>,
}

impl Keeping {
    /// Opens the file and reads what it holds. Whatever is wrong with it, the probe goes on in memory.
    pub(super) fn open(dir: &Path, config: &SpoolSection, clock: &dyn ClockSource) -> (Self, Restored) {
        let mut keeping = Self { keeper: None, disk: None, job: None, off: None, reported: None };
        if !config.enabled {
            keeping.off = Some("the configuration says so".into());
            return (keeping, Restored::default());
        }
        let opened = FileDisk::open(dir, config.bytes)
            .and_then(|(mut disk, most)| Ok((Keeper::open(&mut disk, most, clock.realtime())?, disk)));
        match opened {
            Ok(((keeper, restored), disk)) => {
                keeping.keeper = Some(keeper);
                keeping.disk = Some(disk);
                (keeping, restored)
            }
            Err(error) => {
                warn!(%error, "the spool's file cannot be used: what is not delivered is in memory alone");
                keeping.off = Some(error.to_string());
                (keeping, Restored::default())
            }
        }
    }

    /// Completes when a job is done. Dropping the future loses nothing.
    pub(super) async fn done(&mut self) -> Option<Done> {
        let Some(job) = &mut self.job else { return pending().await };
        let joined = job.await;
        self.job = None;
        let (disk, done) = joined.ok()?;
        self.disk = Some(disk);
        Some(done)
    }

    /// Why reports are in memory alone, when they are.
    pub(super) fn trouble(&self) -> Option<String> {
        self.off.clone().or_else(|| Some(self.keeper.as_ref()?.trouble()?.to_owned()))
    }

    pub(super) fn written_today(&self, clock: &dyn ClockSource) -> u64 {
        self.keeper.as_ref().map_or(0, |keeper| keeper.written_today(clock.realtime()))
    }

    fn begin(&mut self, job: Job) {
        let Some(mut disk) = self.disk.take() else { return };
        self.job = Some(tokio::task::spawn_blocking(move || {
            let done = job.perform(&mut disk);
            (disk, done)
        }));
    }
}

impl Agent {
    /// Begins what is to be done to the spool's file, if it is idle.
    pub(super) fn keep(&mut self, flush: bool) {
        let (now, realtime) = (self.now(), self.runner.clock.realtime());
        let Some(keeper) = self.keeping.keeper.as_mut().filter(|_| self.keeping.disk.is_some()) else { return };
        if let Some(job) = keeper.poll(self.session.spool_mut(), now, realtime, flush) {
            self.keeping.begin(job);
        }
    }

    /// A job is done.
    pub(super) fn kept(&mut self, done: Option<Done>) {
        let (now, realtime) = (self.now(), self.runner.clock.realtime());
        match (done, &mut self.keeping.keeper) {
            (Some(done), Some(keeper)) => keeper.done(self.session.spool_mut(), done, now, realtime),
            // The thread has died with the file. What was on it will be found at the next start.
            _ => {
                self.keeping.keeper = None;
                self.keeping.off = Some("its thread has died".into());
            }
        }
        let trouble = self.keeping.trouble();
        if trouble != self.keeping.reported {
            match &trouble {
                Some(error) => {
                    warn!(%error, "the spool's file cannot be written: what is not delivered is in memory alone");
                    self.look_at_disk();
                }
                None => info!("the spool's file can be written again"),
            }
            self.keeping.reported = trouble;
        }
    }

    /// When the file wants attention.
    pub(super) fn keep_at(&self) -> Option<sonde_protocol::time::Nanos> {
        self.keeping.disk.as_ref()?;
        self.keeping.keeper.as_ref()?.poll_timeout(self.session.spool())
    }

    /// The boot ends: whatever is in memory alone goes to the file, as far as it can be written.
    pub(super) async fn keep_all(&mut self) {
        loop {
            if self.keeping.job.is_some() {
                let done = self.keeping.done().await;
                self.kept(done);
                if self.keeping.trouble().is_some() {
                    break;
                }
            }
            if !self.session.spool().wants_keeping() {
                break;
            }
            self.keep(true);
            if self.keeping.job.is_none() {
                break;
            }
        }
    }
}
