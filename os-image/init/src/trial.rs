//! The trial of a system that runs for the first time, from power-on to its end, whatever step the board is at meanwhile: a driver that
//! is missing for the card is a bad system too. The rules are [`crate::slots::trial`]'s; here are the clock and the card.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use crate::board::Board;
use crate::console::uptime;
use crate::release::Release;
use crate::slots::memory::Memory;
use crate::slots::name::TRIES;
use crate::slots::trial::{Facts, Trial as Rules, Verdict};
use crate::slots::{Seen, SlotError, Slots, Tries, firmware};

/// The word on the console.
const TOPIC: &str = "trial";

/// A card that could not be looked at is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// So long the clock stands still while it is looked at.
const LOOK_FOR: Duration = Duration::from_secs(5);

/// How the system that runs stands.
#[derive(Debug, Clone, Default)]
pub enum Standing {
    /// The card has not been looked at yet, or cannot be.
    #[default]
    Unknown,
    /// It has no slot, and none can be written beside it: in words.
    NoSlots(String),
    /// It is on trial.
    OnTrial(Slots, Seen),
    /// It was kept, now or long ago.
    Kept(Slots, Seen),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Told {
    boot: Option<PathBuf>,
    reached: bool,
}

/// The trial. It goes on by itself; this is how it is told and asked.
#[derive(Debug)]
pub struct Trial {
    told: watch::Sender<Told>,
    standing: watch::Receiver<Standing>,
    failed: watch::Receiver<bool>,
}

impl Trial {
    /// Begins. Within a runtime.
    pub fn begin(board: Board, release: Release) -> Self {
        Self::begin_with(board, release, Memory::of_this_board())
    }

    fn begin_with(board: Board, release: Release, memory: Memory) -> Self {
        let (told, hears) = watch::channel(Told::default());
        let (tells, standing) = watch::channel(Standing::default());
        let (fails, failed) = watch::channel(false);
        let rules = Rules::new(release.trial);
        let task = Task {
            board,
            release,
            rules,
            memory,
            told: hears,
            standing: tells,
            looked: None,
            looking: None,
            loader: None,
        };
        tokio::spawn(async move {
            task.live().await;
            let _ = fails.send(true);
        });
        Self { told, standing, failed }
    }

    /// This is the boot partition, and the state is there.
    pub fn found(&self, boot: &Path) {
        self.told.send_modify(|told| told.boot = Some(boot.to_owned()));
    }

    /// Whether the collector is reached.
    pub fn reached(&self, reached: bool) {
        self.told.send_if_modified(|told| std::mem::replace(&mut told.reached, reached) != reached);
    }

    /// How the system stands, now and whenever that changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Waits until the trial has failed: the board is to start again.
    pub async fn failed(&self) {
        let mut failed = self.failed.clone();
        if failed.wait_for(|failed| *failed).await.is_err() {
            // Nobody can say so any more.
            std::future::pending().await
        }
    }
}

struct Task {
    board: Board,
    release: Release,
    rules: Rules,
    memory: Memory,
    told: watch::Receiver<Told>,
    standing: watch::Sender<Standing>,
    looked: Option<Duration>,
    looking: Option<JoinHandle<Result<(Slots, Seen), SlotError>>>,
    /// What the loader says of this start, asked once: it does not change.
    loader: Option<Option<Tries>>,
}

impl Task {
    /// Until the trial has failed.
    async fn live(mut self) {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (told, now) = (self.told.borrow().clone(), uptime());
            self.look(told.boot.as_deref(), now).await;
            let facts = self.facts(told.reached, now).await;
            match self.rules.poll(now, facts) {
                Verdict::Wait => {}
                Verdict::Keep => self.keep().await,
                Verdict::Restart if self.fail().await => return,
                Verdict::Restart => {}
            }
        }
    }

    /// Looks at the card, once if that works. A card that does not answer must not keep the trial from its end.
    async fn look(&mut self, boot: Option<&Path>, now: Duration) {
        let Some(boot) = boot.filter(|_| matches!(*self.standing.borrow(), Standing::Unknown)) else { return };
        if self.looking.is_none() {
            if self.looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK_AGAIN) {
                return;
            }
            let (boot, number) = (boot.to_owned(), self.release.number);
            self.looking = Some(tokio::task::spawn_blocking(move || Slots::look(&boot, number)));
        }
        let Some(looking) = &mut self.looking else { return };
        let Ok(looked) = timeout(LOOK_FOR, looking).await else { return };
        (self.looking, self.looked) = (None, Some(now));
        // Otherwise a mistake in the program: the panic's hook has said so, and starts the board again.
        let Ok(looked) = looked else { return };
        let standing = match looked {
            Ok((slots, seen)) => self.seen(slots, seen),
            // A card may be pulled just now; a name does not change by itself.
            Err(error @ (SlotError::Mount { .. } | SlotError::Card { .. })) => {
                self.say(&error.to_string());
                return;
            }
            Err(error) => {
                self.say(&error.to_string());
                Standing::NoSlots(error.to_string())
            }
        };
        self.standing.send_replace(standing);
    }

    /// Says how it stands.
    fn seen(&self, slots: Slots, seen: Seen) -> Standing {
        let release = &self.release;
        if slots.never_counts() {
            self.say("the boot loader does not count tries: no update is installed on this board");
        } else if seen.uncounted {
            self.say("the boot loader has not counted this try");
        }
        if seen.twice {
            self.say("a power cut has left two names for this system: they are made one when all is well");
        }
        if !seen.trial {
            return Standing::Kept(slots, seen);
        }
        let end = if seen.has_fallback() {
            format!("or the board starts again after {} s", release.trial.as_secs())
        } else {
            "and there is no other to fall back to".to_owned()
        };
        self.say(&format!("{release} is kept once the collector has been reached, {end}"));
        Standing::OnTrial(slots, seen)
    }

    async fn facts(&mut self, reached: bool, now: Duration) -> Facts {
        let standing = self.standing.borrow().clone();
        match standing {
            Standing::Kept(_, seen) => Facts { reached, trial: false, keep: seen.twice, fallback: true },
            Standing::OnTrial(_, seen) => Facts { reached, trial: true, keep: true, fallback: seen.has_fallback() },
            Standing::NoSlots(_) => Facts { reached, trial: false, keep: false, fallback: false },
            Standing::Unknown => {
                // Without its card only the loader can say whether this is a trial. One that has had more tries than a new system gets is
                // started for want of another.
                let number = self.release.number;
                if number > 0 && now >= self.release.trial && self.loader.is_none() {
                    self.loader = Some(blocking(move || firmware::counted().tries_of(number)).await);
                }
                let tries = self.loader.flatten();
                let fallback = tries.is_some_and(|tries| tries.began_with() <= TRIES);
                Facts { reached, trial: tries.is_some(), keep: false, fallback }
            }
        }
    }

    async fn keep(&self) {
        let (Standing::OnTrial(slots, seen) | Standing::Kept(slots, seen)) = self.standing.borrow().clone() else {
            return;
        };
        let kept = blocking({
            let slots = slots.clone();
            move || slots.keep()
        });
        match kept.await {
            Ok(()) => {
                self.say(&format!("{} is kept", self.release));
                self.memory.forget_words();
                let seen = Seen { trial: false, twice: false, uncounted: slots.never_counts(), ..seen };
                self.standing.send_replace(Standing::Kept(slots, seen));
            }
            Err(error) => self.say(&format!("it cannot be kept: {error}")),
        }
    }

    /// Leaves the last words. Gives whether the board is to start again.
    async fn fail(&self) -> bool {
        let standing = self.standing.borrow().clone();
        if let Standing::OnTrial(slots, Seen { uncounted: true, .. }) = standing
            && let Err(error) = blocking(move || slots.give_up()).await
        {
            // It would only be started again.
            self.say(&format!("the trial has failed, and the system before cannot be started: {error}"));
            return false;
        }
        let words = self.board.first_failure();
        self.memory.leave_words(self.release.number, &words);
        self.say(&format!("it has failed within {} s: {words}", self.release.trial.as_secs()));
        true
    }

    fn say(&self, text: &str) {
        self.board.console.say(TOPIC, text);
    }
}

/// Beside the loop: a card may take long.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // A mistake in the program has been said by the panic's hook, which starts the board again.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::console::Console;
    use crate::step::{Step, StepName};

    /// The machine has been on for longer than this trial lasts, and counts no tries.
    fn release() -> Release {
        Release { number: 2, name: "0.2.0".into(), built: Duration::ZERO, trial: Duration::from_nanos(1) }
    }

    #[tokio::test]
    async fn a_trial_that_fails_gives_its_place_back_and_lets_the_board_start_again() {
        let place = tempfile::tempdir().unwrap();
        let (boot, state) = (place.path().join("boot"), place.path().join("state"));
        let folder = boot.join("EFI/Linux");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&state).unwrap();
        for (file, number) in [("sonde_1.efi", 1), ("sonde_2+3.efi", 2)] {
            fs::write(folder.join(file), crate::slots::system_for_tests(number)).unwrap();
        }
        let board = Board::new(Console::start().unwrap());
        board.tell(StepName::Modules, Step::Ok("all".into()));
        board.fails(StepName::Boot, "no driver for the card");
        let trial = Trial::begin_with(board, release(), Memory::at(&state));
        let mut standing = trial.standing();
        trial.found(&boot);
        standing.wait_for(|standing| matches!(standing, Standing::OnTrial(_, seen) if seen.uncounted)).await.unwrap();
        trial.failed().await;
        assert!(folder.join("sonde_2+0-3.efi").exists() && folder.join("sonde_1.efi").exists());
        let words = Memory::at(&state).last_words(2).unwrap();
        assert_eq!(words, "boot: no driver for the card");
    }
}
