//! How releases do on the boards that fetched them, and going on with one that was stopped: `sonde admin release status` and `resume`. Unlike
//! the rest of `release` this is the server's knowledge, in its catalog.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use sonde_store::catalog::{RollOut, RollOutCounts, lost_before};
use sonde_update::moment::Moment;

use crate::admin::{AdminContext, Net, now};

/// How many releases are shown: those with the highest numbers.
const SHOWN: u64 = 20;

/// What the server is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RollOutCommand {
    /// How releases do.
    Show,
    /// Go on with this one.
    Resume(u64),
}

impl AdminContext {
    /// Carries out a command about releases on boards.
    pub(crate) async fn roll_outs(&self, command: &RollOutCommand) -> Result<String> {
        match command {
            RollOutCommand::Show => {
                let found = self.catalog.roll_outs(lost_before(now()), SHOWN).await?;
                Ok(found.iter().map(line).collect())
            }
            RollOutCommand::Resume(release) => {
                let resumed = match &self.network {
                    Net::Live(handle) => handle.resume_release(*release).await?,
                    Net::Files(_) => self.catalog.resume_release(*release, now()).await?,
                };
                if !resumed {
                    bail!("release {release} is not stopped");
                }
                Ok(format!("release {release} goes on; boards that fetch it from now on are counted anew\n"))
            }
        }
    }
}

/// How a release does, in a line or two.
fn line(RollOut { release, counts, stop }: &RollOut) -> String {
    let RollOutCounts { well, badly, lost, out } = counts;
    let mut text = format!(
        "release {release} on boards: {well} run it, {badly} came back with another system, {lost} did not come back, \
         {out} have time left\n"
    );
    if let Some(stop) = stop {
        let at = Moment(stop.stopped_at.as_secs());
        text += &match stop.resumed_at {
            None => {
                format!("release {release} is STOPPED since {at}: {}; `release resume {release}` goes on\n", stop.why)
            }
            Some(_) => format!("release {release} was stopped at {at} and went on: {}\n", stop.why),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sonde_collector::Network;
    use sonde_protocol::board::UpdateChoice;
    use sonde_protocol::ids::ProbeId;
    use sonde_store::catalog::{Admission, Boards, Probes, RollOuts};
    use sonde_store::conformance::block_on;
    use sonde_store::sqlite::SqliteCatalog;

    use super::*;
    use crate::admin::{AdminCommand, parse};

    #[test]
    fn the_operator_sees_how_releases_do_and_goes_on_with_one_and_chooses_for_a_board() {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::open_or_create(dir.path(), "test", &["127.0.0.1:1".into()]).unwrap();
        let catalog = Arc::new(SqliteCatalog::open_in_memory().unwrap());
        let context = AdminContext {
            catalog: catalog.clone(),
            network: Net::Files(Box::new(Mutex::new(network))),
            anchors_changed: Arc::default(),
            consent_version: "1".into(),
        };
        let run = |words: &[&str]| block_on(context.execute(&parse(words).unwrap()));
        let ask = |command| block_on(context.execute(&AdminCommand::RollOut(command)));
        run(&["account", "add", "ada@example.net"]).unwrap();
        let file = run(&["probe", "add", "ada@example.net"]).unwrap();
        let token = toml::from_str::<sonde_protocol::directory::NetworkFile>(&file).unwrap().token.unwrap();
        let mut digest = [0; 32];
        digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &token.into_bytes()).as_ref());
        let key = sonde_protocol::key::PublicKey([1; 32]);
        let joined = block_on(catalog.admit(&key, Some(&digest), now())).unwrap();
        assert!(matches!(joined, Admission::Joined(_)), "{joined:?}");
        assert_eq!(ask(RollOutCommand::Show).unwrap(), "");
        assert_eq!(ask(RollOutCommand::Resume(12)).unwrap_err().to_string(), "release 12 is not stopped");
        block_on(catalog.release_fetched(12, ProbeId(1), now())).unwrap();
        block_on(catalog.stop_release(12, "too many are gone", sonde_protocol::time::UnixNanos(0))).unwrap();
        let shown = ask(RollOutCommand::Show).unwrap();
        assert_eq!(
            shown,
            "release 12 on boards: 0 run it, 0 came back with another system, 0 did not come back, 1 have time left\n\
             release 12 is STOPPED since 1970-01-01T00:00:00Z: too many are gone; `release resume 12` goes on\n"
        );
        assert!(ask(RollOutCommand::Resume(12)).unwrap().starts_with("release 12 goes on"));
        assert!(ask(RollOutCommand::Show).unwrap().contains("was stopped at 1970-01-01T00:00:00Z and went on"));

        for (words, expected) in [
            (&["follow"][..], UpdateChoice::Follow),
            (&["delay"], UpdateChoice::Delay(7 * 86_400)),
            (&["delay", "--days", "30"], UpdateChoice::Delay(30 * 86_400)),
            (&["pin", "--release", "202611290220"], UpdateChoice::Pin(202_611_290_220)),
            (&["refuse"], UpdateChoice::Refuse),
        ] {
            run(&[&["probe", "updates", "1"], words].concat()).unwrap();
            assert_eq!(block_on(catalog.boards(&[ProbeId(1)])).unwrap()[0].choice, Some(expected));
        }
        for bad in
            [&["1", "pin"][..], &["1", "follow", "--days", "3"], &["1", "refuse", "--release", "3"], &["9", "follow"]]
        {
            let error = run(&[&["probe", "updates"], bad].concat()).unwrap_err().to_string();
            assert!(error.contains(' '), "{error}");
        }
        for bad in [&["1", "never"][..], &["1", "delay", "--days", "0"], &["1", "delay", "--days", "366"], &["1"]] {
            assert!(parse(&[&["probe", "updates"], bad].concat()).is_err(), "{bad:?}");
        }
    }
}
