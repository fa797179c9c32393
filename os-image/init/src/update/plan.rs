//! What to do about updates, and when: pure. Times since the start and what came are arguments; what is to be asked,
//! told and done on the card comes out of [`Plan::poll`], one thing of the card at a time. The steps of one look for updates are in
//! `look`: the files that are signed, the decision, the image piece by piece, and the new system's place on the card.
//!
//! Nothing here trusts the probe or the collector: they can hold updates back, and that is all.

mod ask;
pub(super) mod look;
mod stand;

use std::time::Duration;

use sonde_protocol::board::{BoardState, FromSystem, UpdateChoice, UpdateOutcome, UpdateStage};
use sonde_protocol::bounded::Text;
use sonde_protocol::key::PublicKey;
use sonde_protocol::time::UnixNanos;
use sonde_update::moment::Moment;

use self::ask::Question;
use self::look::Phase;
use self::stand::Stand;
use super::attempts::{Attempts, Other, Running};
use super::moments::Moments;
use super::work::Work;

/// After the collector is reached the first look waits so long, and a drawn share of as much again: boards that came back together do not
/// ask together.
const AFTER_CONNECTING: Duration = Duration::from_secs(10);

/// How often one looks, and the most of a board's own share on top.
const EVERY: Duration = Duration::from_secs(3600);
const SHARE: Duration = Duration::from_secs(600);

/// After something went wrong, doubled each time, and the most of it.
const AGAIN: Duration = Duration::from_secs(60);
const AGAIN_AT_MOST: Duration = EVERY;

/// After an image turned out to be another than announced, or the card did not take it: each try writes all of it.
const COSTLY_AGAIN: Duration = EVERY;

/// A collector that wants to be left alone is obeyed so long at the least, which doubles while nothing else is heard of it, and at the most.
const LATER: Duration = Duration::from_secs(10);
const LATER_AT_MOST: Duration = Duration::from_secs(86_400);
const COSTLY_AT_MOST: Duration = LATER_AT_MOST;

/// For so long a look waits; for longer it ends.
const LATER_WITHIN: Duration = Duration::from_secs(600);

/// What the network says that the owner wants is written down so often at the most: a probe that was taken over must not wear out the card.
const CHOICE_EVERY: Duration = Duration::from_secs(60);

/// After the last piece is on the card the collector is told so before the board starts again.
const LAST_WORDS: Duration = Duration::from_secs(2);

const NO_ROOT: &str = "this image knows no root of updates and never takes one";
const UNKNOWN: &str = "nothing has been looked at yet";
const NO_RELEASES: &str = "the network offers no releases";
const TRIAL: &str = "it is kept once its probe has reached the collector";

/// The board and its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The number of the release that runs.
    pub number: u64,
    /// What people call it.
    pub name: String,
    /// For which machine, in the kernel's word.
    pub architecture: &'static str,
    /// The root of updates that came with it.
    pub root: Option<Vec<u8>>,
    /// When it was built.
    pub built: Moment,
}

/// Whether this system can take updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Ready,
    /// It has not been kept itself yet.
    Trial,
    /// Card or boot loader do not take part, in words.
    Broken(String),
}

/// What is on the card when the system begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How this system stands.
    pub standing: Standing,
    /// What was known of releases.
    pub attempts: Attempts,
    /// What the network said last that the owner wants.
    pub choice: Option<UpdateChoice>,
    /// The other systems.
    pub others: Vec<Other>,
    /// What systems on trial said last.
    pub last_words: Vec<(u64, String)>,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Say this to the probe.
    Say(FromSystem),
    /// Do this on the card, and give the ticket back with what came of it.
    Work(u64, Work),
    /// Start the board again, in order; why.
    Restart(String),
}

/// The plan.
#[derive(Debug)]
pub struct Plan {
    image: Image,
    seed: u64,
    moments: Moments,
    attempts: Attempts,
    /// What stands in `sonde.toml`, which counts most.
    own_choice: Option<UpdateChoice>,
    /// What the network said last.
    choice: Option<UpdateChoice>,
    probe: Option<PublicKey>,
    connected: bool,
    phase: Phase,
    /// Counts the phases: what was begun in an earlier one does not count.
    ticket: u64,
    /// To be done on the card in this phase.
    wanted: Option<Work>,
    /// Something is being done on the card: for a phase, or none.
    busy: Option<Option<u64>>,
    attempts_to_write: bool,
    choice_to_write: bool,
    choice_written: Option<Duration>,
    question: Option<Question>,
    asked: u32,
    /// Looks in a row that came to nothing, and images that were fetched in vain.
    failures: u32,
    costly: u32,
    /// How often in a row the collector has said later.
    laters: u32,
    /// No look before: the collector wants it so, or the card is to be spared.
    held_until: Duration,
    stand: Stand,
    /// What the probe knows.
    told: Option<BoardState>,
}

impl Plan {
    /// Before the card has been looked at. `own_choice` is what the owner says in `sonde.toml`, and then the network's word does not count;
    /// `seed` is drawn.
    pub fn new(image: Image, own_choice: Option<UpdateChoice>, seed: u64) -> Self {
        let stand = match image.root {
            Some(_) => Stand::new(UpdateStage::Unknown, None, UNKNOWN),
            None => Stand::new(UpdateStage::None, None, NO_ROOT),
        };
        Self {
            moments: Moments::new(image.built),
            image,
            seed,
            attempts: Attempts::default(),
            own_choice,
            choice: None,
            probe: None,
            connected: false,
            phase: Phase::Never,
            ticket: 0,
            wanted: None,
            busy: None,
            attempts_to_write: false,
            choice_to_write: false,
            choice_written: None,
            question: None,
            asked: 0,
            failures: 0,
            costly: 0,
            laters: 0,
            held_until: Duration::ZERO,
            stand,
            told: None,
        }
    }

    /// The card has been looked at: what became of releases that were on trial when the power went is known now.
    pub fn begin(&mut self, found: Found, now: Duration) {
        let Found { standing, attempts, choice, others, last_words } = found;
        self.attempts = attempts;
        // What the probe has said meanwhile is newer.
        self.choice = self.choice.or(choice);
        let release = self.image.number;
        let trial = standing == Standing::Trial;
        let running = Running { release, trial, others: &others, last_words: &last_words };
        let at = nanos(self.moments.now(now));
        self.attempts_to_write |= self.attempts.settle(running, at);
        match standing {
            Standing::Trial => {
                self.stand.set(UpdateStage::Trial, Some(release), TRIAL);
                self.phase = Phase::Trial;
            }
            Standing::Broken(words) => self.broken(&words),
            Standing::Ready => self.ready(now),
        }
    }

    /// Card or boot loader turn out not to take part. Nothing is looked for any more.
    pub fn broken(&mut self, words: &str) {
        self.enter(Phase::Never, None);
        match self.image.root {
            Some(_) => self.stand.set(UpdateStage::Broken, None, words),
            None => self.stand.set(UpdateStage::None, None, NO_ROOT),
        }
    }

    fn ready(&mut self, now: Duration) {
        if self.image.root.is_none() {
            self.stand.set(UpdateStage::None, None, NO_ROOT);
            self.phase = Phase::Never;
        } else {
            self.stand.set(UpdateStage::Unknown, None, UNKNOWN);
            self.phase = Phase::Idle { due: self.first_look(now) };
        }
    }

    fn first_look(&self, now: Duration) -> Duration {
        let share = AFTER_CONNECTING.as_secs() * 1000;
        now + AFTER_CONNECTING + Duration::from_millis(self.seed % share)
    }

    /// Another probe, which knows nothing, and of which nothing is known.
    pub fn new_probe(&mut self, now: Duration) {
        self.told = None;
        self.connected(false, now);
    }

    /// The probe says whether the collector can be asked.
    pub fn connected(&mut self, connected: bool, now: Duration) {
        if std::mem::replace(&mut self.connected, connected) == connected {
            return;
        }
        if connected {
            let first = self.first_look(now);
            if let Phase::Idle { due } = &mut self.phase {
                *due = first.max(*due);
            }
        } else {
            // What was asked is not answered any more. The next look goes on where this one was.
            self.end(now);
        }
    }

    /// The collector's time, as the board's clock has accepted it.
    pub fn time(&mut self, time: Moment, now: Duration) {
        self.moments.tell(time, now);
    }

    /// The probe says what the network says that the owner wants.
    pub fn chosen(&mut self, choice: UpdateChoice, now: Duration) {
        if self.choice == Some(choice) {
            return;
        }
        let before = self.in_force();
        self.choice = Some(choice);
        self.choice_to_write = true;
        if self.in_force() != before {
            self.leave(now);
        }
    }

    /// This system has been kept.
    pub fn kept(&mut self, now: Duration) {
        if !matches!(self.phase, Phase::Trial) {
            return;
        }
        self.note(self.image.number, UpdateOutcome::Kept, "", now);
        self.ready(now);
    }

    /// What the owner wants, as it is in force.
    pub fn in_force(&self) -> UpdateChoice {
        self.own_choice.or(self.choice).unwrap_or_default()
    }

    /// How the board stands.
    pub fn state(&self) -> BoardState {
        BoardState {
            running: self.image.number,
            name: Text::cut(self.image.name.as_str()),
            stage: self.stand.stage,
            release: self.stand.release,
            words: self.stand.words.clone(),
            attempts: self.attempts.list(),
            choice: self.in_force(),
            checked_at: self.stand.checked_at,
            log: self.stand.log,
        }
    }

    /// What is to be done now. Call it until there is nothing.
    pub fn poll(&mut self, now: Duration) -> Option<Do> {
        if let Some(news) = self.news() {
            return Some(news);
        }
        match self.phase {
            Phase::Idle { due } if self.connected && due <= now => self.enter(Phase::Load, Some(Work::Load)),
            Phase::Installed { at } if at <= now && self.busy.is_none() => {
                self.phase = Phase::Never;
                return Some(Do::Restart(format!("to try release {}", self.stand.release.unwrap_or_default())));
            }
            _ => {}
        }
        if self.busy.is_none()
            && let Some(work) = self.next_work(now)
        {
            return Some(work);
        }
        // Giving up is news too.
        self.ask(now).map(|ask| Do::Say(FromSystem::Ask(ask))).or_else(|| self.news())
    }

    /// How the board stands, where the probe does not know.
    fn news(&mut self) -> Option<Do> {
        let state = self.state();
        if self.told.as_ref() == Some(&state) {
            return None;
        }
        self.told = Some(state.clone());
        Some(Do::Say(FromSystem::State(state)))
    }

    /// When [`Plan::poll`] has something to do by itself.
    pub fn wake(&self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Idle { due } if self.connected => Some(due),
            Phase::Installed { at } => Some(at),
            _ => None,
        };
        let question = self.question.as_ref().filter(|_| self.connected);
        let question = question.map(Question::due);
        let choice = self.choice_to_write.then(|| self.choice_due());
        [phase, question, choice].into_iter().flatten().min()
    }

    fn next_work(&mut self, now: Duration) -> Option<Do> {
        if let Some(work) = self.wanted.take() {
            self.busy = Some(Some(self.ticket));
            return Some(Do::Work(self.ticket, work));
        }
        if std::mem::take(&mut self.attempts_to_write) {
            self.busy = Some(None);
            return Some(Do::Work(0, Work::Attempts(self.attempts.clone())));
        }
        if self.choice_to_write && self.choice_due() <= now {
            self.choice_to_write = false;
            self.choice_written = Some(now);
            self.busy = Some(None);
            return Some(Do::Work(0, Work::Choice(self.choice.unwrap_or_default())));
        }
        None
    }

    fn choice_due(&self) -> Duration {
        self.choice_written.map_or(Duration::ZERO, |written| written + CHOICE_EVERY)
    }

    /// Begins a phase. What is under way for another counts no more.
    fn enter(&mut self, phase: Phase, work: Option<Work>) {
        self.ticket += 1;
        (self.phase, self.wanted, self.question) = (phase, work, None);
    }

    /// This look has come to nothing.
    fn fails(&mut self, stage: UpdateStage, release: Option<u64>, words: &str, now: Duration) {
        self.stand.set(stage, release, words);
        self.failures = self.failures.saturating_add(1);
        self.enter(Phase::Idle { due: now + doubled(AGAIN, self.failures, AGAIN_AT_MOST) }, None);
    }

    /// Takes note of what became of a release, to be written down and told.
    fn note(&mut self, release: u64, outcome: UpdateOutcome, words: &str, now: Duration) {
        let at = nanos(self.moments.now(now));
        self.attempts_to_write |= self.attempts.note(release, outcome, words, at);
    }

    /// A board's own share of the time between two looks.
    fn share(&self) -> Duration {
        let drawn = self.probe.map_or(self.seed, |probe| {
            probe.0.first_chunk::<8>().map_or(self.seed, |first| u64::from_be_bytes(*first))
        });
        Duration::from_secs(drawn % SHARE.as_secs())
    }
}

/// `first` for the first time, and twice as long for each one more.
fn doubled(first: Duration, times: u32, at_most: Duration) -> Duration {
    first.saturating_mul(1 << times.saturating_sub(1).min(16)).min(at_most)
}

/// Nanoseconds, as messages have them.
fn nanos(moment: Moment) -> UnixNanos {
    UnixNanos(moment.0.saturating_mul(1_000_000_000))
}
