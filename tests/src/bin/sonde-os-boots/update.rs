//! Updates: a release on its way from the operator's command to a board that keeps it, and everything that may go wrong between. What must be
//! so at the end of each case: the board measures again, with the same key, and the network's record says what happened.

mod bad;
mod cuts;
mod good;
mod untrusted;
mod writes;

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sonde_tests::os::card::{Copy, copy_is_whole};
use sonde_tests::os::guest::{Board, Network};
use sonde_tests::os::line::{HomeLine, Sort};
use sonde_tests::os::release::{Health, Releases};
use sonde_tests::os::seldom::Seldom;
use sonde_tests::scene::say;

pub use bad::{cut_short, hangs, panics, refused, unreachable};
pub use cuts::{cut_fetch, power};
pub use good::good;
pub use untrusted::untrusted;
pub use writes::writes;

use crate::Setting;
use crate::owed::Owed;

/// The number of the release that is on the card.
const OLD: u64 = 100;
/// That of the release that comes.
const NEW: u64 = 200;
/// How long a system that should come up may take: it never matters.
const LONG_TRIAL: u32 = 600;

/// A network that makes releases, and a line for a board.
struct Scene<'a> {
    network: Network<'a>,
    line: HomeLine<'a>,
    releases: Releases,
    /// The system that is on the card.
    old: Vec<u8>,
}

impl<'a> Scene<'a> {
    fn new(setting: &Setting<'a>) -> Result<Self> {
        let network = Network::start(setting.lab, &setting.dir)?;
        let line = HomeLine::open(setting.lab, Sort::Both, &setting.dir)?;
        let releases = Releases::begin(&network, &setting.dir)?;
        let old = setting.parts.forge.make(OLD, Health::Well, Some(releases.root()), LONG_TRIAL)?;
        Ok(Self { network, line, releases, old: fs::read(old)? })
    }

    /// A board that has the old system.
    fn board(&self, setting: &Setting<'_>) -> Result<Board<'_, 'a>> {
        let board = Board::new(&self.network, &self.line, &setting.parts, &setting.dir.join("board"))?;
        board.card.put_kept(OLD, &self.old)?;
        Ok(board)
    }

    /// A board that has the old system, has joined, and has been switched off; and which probe it is. With `--long` it owes results.
    fn joined(&self, setting: &Setting<'_>) -> Result<(Board<'_, 'a>, Joined)> {
        let mut board = self.board(setting)?;
        board.switch_on()?;
        let (probe, _) = board.await_welcome()?;
        let key = await_key(&mut board)?;
        // That takes minutes.
        let owed = if setting.long {
            Some(Owed::to_be(&self.network, &mut board, probe)?)
        } else {
            board.cut_power()?;
            None
        };
        Ok((board, Joined { probe, key, owed }))
    }

    /// What the network's record says of a board's system; nothing yet is null.
    fn record(&self, probe: u64) -> Result<Value> {
        Ok(self.network.owner.get(&format!("/api/v2/probes/{probe}/"))?["board"].clone())
    }

    /// Waits until the record is so.
    fn await_record(
        &self,
        board: &mut Board<'_, '_>,
        probe: u64,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let (mut last, mut seldom) = (Value::Null, Seldom::default());
        let found = board.machine()?.await_that(what, |_| {
            if !seldom.is_due() {
                return Ok(None);
            }
            last = self.record(probe)?;
            Ok(is(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("the record: {last}"))
    }

    /// The board runs this release and says so, is the same probe, has its key, and delivers what it owed.
    fn runs(&self, board: &mut Board<'_, '_>, joined: &Joined, number: u64) -> Result<Value> {
        let (probe, _) = board.await_welcome()?;
        ensure!(probe == joined.probe, "probe {} has become {probe}", joined.probe);
        let record = self.await_record(board, probe, &format!("release {number} in the record"), |record| {
            record["release"] == number
        })?;
        let key = await_key(board)?;
        ensure!(key == joined.key, "its key is another");
        if let Some(owed) = &joined.owed {
            owed.arrives(&self.network, board)?;
        }
        Ok(record)
    }
}

/// A board as the network knows it.
struct Joined {
    probe: u64,
    key: Vec<u8>,
    /// What it had not delivered when it was switched off.
    owed: Option<Owed>,
}

/// Waits for both copies of the key, which are the same, and gives them.
fn await_key(board: &mut Board<'_, '_>) -> Result<Vec<u8>> {
    board.await_card("both copies of the key", |card| {
        let (one, other) = (card.key_copy(Copy::A)?, card.key_copy(Copy::B)?);
        Ok(copy_is_whole(&one) && one == other)
    })?;
    board.card.key_copy(Copy::A)
}

/// What the record says last of a release that was tried.
fn attempt(record: &Value, number: u64) -> Option<&Value> {
    record["attempts"].as_array()?.iter().rev().find(|attempt| attempt["release"] == number)
}

/// Whether it came to this with a release, by the record.
fn came_to(record: &Value, number: u64, outcome: &str) -> bool {
    attempt(record, number).is_some_and(|attempt| attempt["outcome"] == outcome)
}

/// Prints what the record says of a release.
fn say_attempt(what: &str, record: &Value, number: u64) {
    let words = attempt(record, number).map(|attempt| format!("{}: {}", attempt["outcome"], attempt["words"]));
    say(&format!("{what}: the record says {}", words.unwrap_or_else(|| "nothing".to_owned())));
}
