//! Watches what becomes of releases, and stops those that [`roll_out`] says must be stopped: the shell around it. What it
//! knows lies in the catalog, so a restart forgets nothing.
//!
//! Only boards count that somebody stands for: whoever can make up probes could stop any release.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sonde_protocol::board::BoardState;
use sonde_protocol::ids::ProbeId;
use sonde_store::catalog::{Came, lost_before};
use sonde_store::{Catalog, StoreError};
use tracing::{error, warn};

use super::{lock, roll_out};
use crate::ingest::now;

/// How often boards are looked for that have not come back in time.
const EVERY: Duration = Duration::from_secs(60);

/// How many releases are looked at: those with the highest numbers.
pub const WATCHED: u64 = 50;

/// See the module.
pub(crate) struct Watch {
    catalog: Arc<dyn Catalog>,
    /// Those that are stopped, with why.
    stopped: Mutex<HashMap<u64, String>>,
}

impl Watch {
    /// With what the catalog knows.
    pub(crate) async fn open(catalog: Arc<dyn Catalog>) -> Result<Self, StoreError> {
        let known = catalog.roll_outs(lost_before(now()), WATCHED).await?;
        let stopped = known.iter().filter_map(|one| Some((one.release, one.stopped()?.to_owned()))).collect();
        Ok(Self { catalog, stopped: Mutex::new(stopped) })
    }

    /// Why a release is stopped, if it is.
    pub(crate) fn stopped(&self, release: u64) -> Option<String> {
        lock(&self.stopped).get(&release).cloned()
    }

    /// A board has been given the last piece.
    pub(crate) async fn fetched(&self, release: u64, probe: ProbeId) {
        if let Err(error) = self.catalog.release_fetched(release, probe, now()).await {
            warn!(probe_id = %probe, release, %error, "that a board has fetched a release could not be recorded");
        }
    }

    /// A board tells how it stands.
    pub(crate) async fn told(&self, probe: ProbeId, state: &BoardState) -> Result<(), StoreError> {
        for fetched in self.catalog.releases_of(probe).await? {
            // Of what is known only this can change: that it runs after all.
            let is_open = fetched.came.is_none();
            let came = roll_out::came(state, fetched.release);
            let news = came.filter(|came| is_open || (*came == Came::Well && state.running == fetched.release));
            if let Some(came) = news.filter(|_| news != fetched.came) {
                self.catalog.release_came(fetched.release, probe, came).await?;
                self.judge(fetched.release).await?;
            }
        }
        Ok(())
    }

    /// Stops a release if it must be.
    async fn judge(&self, release: u64) -> Result<(), StoreError> {
        if self.stopped(release).is_some() {
            return Ok(());
        }
        let now = now();
        let counts = self.catalog.roll_out(release, lost_before(now)).await?.counts;
        let Some(why) = roll_out::must_stop(&counts) else { return Ok(()) };
        self.catalog.stop_release(release, &why, now).await?;
        error!(release, %why, "the release is stopped: `sonde admin release resume` goes on with it");
        lock(&self.stopped).insert(release, why);
        Ok(())
    }

    /// Goes on with a release. `false`: it is not stopped.
    pub(crate) async fn resume(&self, release: u64) -> Result<bool, StoreError> {
        let resumed = self.catalog.resume_release(release, now()).await?;
        lock(&self.stopped).remove(&release);
        Ok(resumed)
    }

    /// Looks now and then for boards that have not come back, for as long as the collector lives.
    pub(crate) async fn run(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = self.look().await {
                warn!(%error, "how releases do could not be found out");
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        for roll_out in self.catalog.roll_outs(lost_before(now()), WATCHED).await? {
            self.judge(roll_out.release).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::board::{UpdateAttempt, UpdateChoice, UpdateOutcome, UpdateStage};
    use sonde_protocol::bounded::{List, Text};
    use sonde_protocol::key::PublicKey;
    use sonde_protocol::time::UnixNanos;
    use sonde_store::catalog::{Accounts, Admission, Probes, RollOuts};
    use sonde_store::conformance::block_on;
    use sonde_store::sqlite::SqliteCatalog;

    use super::*;

    const RELEASE: u64 = 12;

    fn state(running: u64, stage: UpdateStage, outcome: Option<UpdateOutcome>) -> BoardState {
        let attempt =
            outcome.map(|outcome| UpdateAttempt { release: RELEASE, outcome, words: Text::default(), at: now() });
        BoardState {
            running,
            name: Text::cut("0.4.1"),
            stage,
            release: None,
            words: Text::default(),
            attempts: List::cut(attempt),
            choice: UpdateChoice::Follow,
            checked_at: None,
            log: None,
        }
    }

    /// A catalog with so many probes.
    fn probes(count: u8) -> (Arc<SqliteCatalog>, Vec<ProbeId>) {
        let catalog = Arc::new(SqliteCatalog::open_in_memory().unwrap());
        let owner = block_on(catalog.add_account("ada@example.net", now())).unwrap().unwrap().id;
        let join = |n: u8| {
            block_on(catalog.add_join_token(&[n; 32], owner, now(), now() + Duration::from_secs(60))).unwrap();
            match block_on(catalog.admit(&PublicKey([n; 32]), Some(&[n; 32]), now())).unwrap() {
                Admission::Joined(probe) => probe.id,
                other => panic!("{other:?}"),
            }
        };
        let all = (1..=count).map(join).collect();
        (catalog, all)
    }

    #[test]
    fn a_release_that_two_boards_fall_back_from_is_stopped_until_the_operator_goes_on() {
        let (catalog, probes) = probes(3);
        let open = || block_on(Watch::open(catalog.clone())).unwrap();
        let watch = open();
        let fell_back = state(11, UpdateStage::Waiting, Some(UpdateOutcome::FellBack));
        for probe in &probes {
            block_on(watch.fetched(RELEASE, *probe));
        }
        // It says the same again, and again: that is one board.
        for _ in 0..5 {
            block_on(watch.told(probes[0], &fell_back)).unwrap();
            assert_eq!(watch.stopped(RELEASE), None);
        }
        block_on(watch.told(probes[1], &fell_back)).unwrap();
        let why = "of 2 boards that fetched it 2 came back with another system, and 0 not at all";
        assert_eq!(watch.stopped(RELEASE).as_deref(), Some(why));
        assert_eq!(watch.stopped(RELEASE + 1), None);
        drop(watch);
        let watch = open();
        assert_eq!(watch.stopped(RELEASE).as_deref(), Some(why), "a restart changes nothing");
        assert!(block_on(watch.resume(RELEASE)).unwrap());
        assert!(!block_on(watch.resume(RELEASE)).unwrap());
        block_on(watch.look()).unwrap();
        assert_eq!((watch.stopped(RELEASE), open().stopped(RELEASE)), (None, None), "what was is not counted again");
        // The same boards try it once more, and it works.
        for probe in &probes {
            block_on(watch.fetched(RELEASE, *probe));
            block_on(watch.told(*probe, &state(RELEASE, UpdateStage::Trial, None))).unwrap();
            block_on(watch.told(*probe, &state(RELEASE, UpdateStage::Newest, Some(UpdateOutcome::Kept)))).unwrap();
        }
        let counts = block_on(catalog.roll_out(RELEASE, lost_before(now()))).unwrap().counts;
        assert_eq!((counts.well, counts.badly, counts.lost, counts.out), (3, 0, 0, 0));
    }

    #[test]
    fn boards_that_do_not_come_back_stop_it_too() {
        let (catalog, probes) = probes(3);
        let watch = block_on(Watch::open(catalog.clone())).unwrap();
        let earlier = UnixNanos(lost_before(now()).0 - 1_000_000_000);
        block_on(catalog.release_fetched(RELEASE, probes[0], earlier)).unwrap();
        block_on(watch.fetched(RELEASE, probes[1]));
        block_on(watch.look()).unwrap();
        assert_eq!(watch.stopped(RELEASE), None, "one of them has time left");
        block_on(catalog.release_fetched(RELEASE, probes[2], earlier)).unwrap();
        block_on(watch.look()).unwrap();
        let why = "of 2 boards that fetched it 0 came back with another system, and 2 not at all";
        assert_eq!(watch.stopped(RELEASE).as_deref(), Some(why));
    }
}
