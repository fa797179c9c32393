//! Updates of the board's system: looked for through the probe's connection, verified here, and put onto the card beside the system that
//! runs. `docs/updates.md` says what a board checks.
//!
//! [`plan`] decides (pure), [`work`] does what waits for the card, and [`Updates`] is the loop between them and the probe ([`channel`]). It must
//! not know how a system is tried and kept ([`crate::slots`] and [`crate::run`] do), and nothing here touches the network.

pub mod attempts;
pub mod channel;
pub mod choice;
pub mod keep;
pub mod moments;
pub mod pieces;
pub mod plan;
pub mod work;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sonde_protocol::board::{BoardState, FromSystem, ToSystem};
use sonde_update::metadata::RoleName;
use sonde_update::moment::Moment;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::clock::Unix;
use crate::slots::memory::Memory;
use crate::slots::{Seen, Slots};
use crate::trial::Standing;
use attempts::Other;
use channel::Channel;
use keep::Keep;
use plan::{Do, Found, Plan};
use work::{Card, Done};

/// The root that came with the image.
pub const ROOT: &str = "/etc/sonde/root.json";

/// Timers are not trusted with more.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

const UNCOUNTED: &str = "this board's boot loader does not count tries, so no update is taken";

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// What updates keep; none where nothing outlives a restart, and then no update is taken.
    pub keep: Option<Keep>,
    /// What the system before this one has left.
    pub memory: Memory,
    /// The file with the probe's key.
    pub key: PathBuf,
}

/// The way to the loop. Nothing here waits.
#[derive(Debug)]
pub struct Updates {
    probes: mpsc::UnboundedSender<Channel>,
    time: watch::Sender<Option<(Unix, Duration)>>,
    restarts: mpsc::Receiver<String>,
}

impl Updates {
    /// Starts the loop. `standing` is how this system stands, `uptime` the time since the start, and `say` takes lines for the console.
    /// Within a runtime.
    pub fn start(
        plan: Plan,
        places: Places,
        standing: watch::Receiver<Standing>,
        uptime: fn() -> Duration,
        say: impl Fn(&str) + Send + 'static,
    ) -> Self {
        let (probes, started) = mpsc::unbounded_channel();
        let (time, told) = watch::channel(None);
        // One restart is all there will be.
        let (restart, restarts) = mpsc::channel(1);
        let (channel, card, working) = (None, None, None);
        let shell = Shell { plan, places, card, uptime, channel, working, restart, told: None, say };
        tokio::spawn(shell.live(started, told, standing));
        Self { probes, time, restarts }
    }

    /// A probe has been started with the other end of this.
    pub fn probe(&self, channel: Channel) {
        let _ = self.probes.send(channel);
    }

    /// The collector's time, as the clock has accepted it at `now`.
    pub fn time(&self, time: Unix, now: Duration) {
        self.time.send_replace(Some((time, now)));
    }

    /// Waits until the board is to start again, and gives why.
    pub async fn restart(&mut self) -> String {
        match self.restarts.recv().await {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }
}

/// The root that came with the image, if there is one that could be one.
pub fn root(path: &Path) -> Option<Vec<u8>> {
    let most = RoleName::Root.most_bytes();
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most).then_some(bytes)
}

/// The loop.
struct Shell<Say> {
    plan: Plan,
    places: Places,
    card: Option<Card>,
    uptime: fn() -> Duration,
    channel: Option<Channel>,
    working: Option<(u64, JoinHandle<Done>)>,
    restart: mpsc::Sender<String>,
    /// What was said last of how it stands.
    told: Option<BoardState>,
    say: Say,
}

impl<Say: Fn(&str)> Shell<Say> {
    async fn live(
        mut self,
        mut probes: mpsc::UnboundedReceiver<Channel>,
        mut time: watch::Receiver<Option<(Unix, Duration)>>,
        mut standing: watch::Receiver<Standing>,
    ) {
        standing.mark_changed();
        loop {
            self.act();
            let now = (self.uptime)();
            let wake = self.plan.wake().map_or(LONGEST_SLEEP, |at| at.saturating_sub(now).min(LONGEST_SLEEP));
            tokio::select! {
                said = hear(&mut self.channel) => self.heard(said),
                (ticket, done) = finished(&mut self.working) => {
                    self.working = None;
                    self.plan.done(ticket, done, (self.uptime)());
                }
                channel = probes.recv() => match channel {
                    Some(channel) => {
                        self.channel = Some(channel);
                        self.plan.new_probe((self.uptime)());
                    }
                    None => return,
                },
                Ok(()) = standing.changed() => self.stands(standing.borrow_and_update().clone()),
                Ok(()) = time.changed() => {
                    if let Some((time, at)) = *time.borrow_and_update() {
                        self.plan.time(Moment(time.as_secs().try_into().unwrap_or(i64::MAX)), at);
                    }
                }
                () = sleep(wake) => {}
            }
        }
    }

    /// The card has been looked at, or this system has been kept.
    fn stands(&mut self, standing: Standing) {
        let (slots, seen, is_kept) = match standing {
            Standing::Unknown => return,
            Standing::NoSlots(words) => return self.begin(plan::Standing::Broken(words), &[]),
            Standing::OnTrial(slots, seen) => (slots, seen, false),
            Standing::Kept(slots, seen) => (slots, seen, true),
        };
        if self.card.is_some() {
            if is_kept {
                self.plan.kept((self.uptime)());
                if seen.uncounted {
                    self.plan.broken(UNCOUNTED);
                }
            }
            return;
        }
        let stands = self.judge(&slots, &seen, is_kept);
        let others =
            seen.others.iter().map(|other| Other { release: other.number, tries: other.tries.map(|tries| tries.done) });
        self.begin(stands, &others.collect::<Vec<_>>());
    }

    fn judge(&mut self, slots: &Slots, seen: &Seen, is_kept: bool) -> plan::Standing {
        let Some(keep) = self.places.keep.clone() else {
            let words = "the card's state cannot be written, so no update is taken: put the image on another card";
            return plan::Standing::Broken(words.into());
        };
        self.card = Some(Card::new(keep, slots.clone(), &self.places.key));
        if !is_kept {
            plan::Standing::Trial
        } else if seen.uncounted {
            plan::Standing::Broken(UNCOUNTED.into())
        } else {
            plan::Standing::Ready
        }
    }

    fn begin(&mut self, standing: plan::Standing, others: &[Other]) {
        let keep = self.places.keep.as_ref();
        let said = |other: &Other| Some((other.release, self.places.memory.last_words(other.release)?));
        let found = Found {
            standing,
            attempts: keep.map(Keep::attempts).unwrap_or_default(),
            choice: keep.and_then(Keep::choice),
            others: others.to_vec(),
            last_words: others.iter().filter_map(said).collect(),
        };
        self.plan.begin(found, (self.uptime)());
    }

    fn heard(&mut self, said: ToSystem) {
        let now = (self.uptime)();
        match said {
            ToSystem::Answer(answer) => self.plan.answered(answer, now),
            ToSystem::Connected(connected) => self.plan.connected(connected, now),
            ToSystem::Choice(choice) => self.plan.chosen(choice, now),
        }
    }

    /// Does what is to be done now.
    fn act(&mut self) {
        while let Some(next) = self.plan.poll((self.uptime)()) {
            match next {
                Do::Say(message) => {
                    if let FromSystem::State(state) = &message {
                        self.tell(state);
                    }
                    if let Some(channel) = &mut self.channel {
                        channel.say(message);
                    }
                }
                Do::Work(ticket, work) => {
                    // Without a card nothing is looked for; what could be written down is lost.
                    let Some(card) = self.card.clone() else { continue };
                    self.working = Some((ticket, tokio::task::spawn_blocking(move || card.carry_out(work))));
                }
                Do::Restart(why) => {
                    let _ = self.restart.try_send(why);
                }
            }
        }
    }

    /// For the console, where it is news.
    fn tell(&mut self, state: &BoardState) {
        let old = self.told.replace(state.clone());
        let is_same =
            |old: &BoardState| (old.stage, old.release, &old.words) == (state.stage, state.release, &state.words);
        if !old.as_ref().is_some_and(is_same) {
            let release = state.release.map(|release| format!(" {release}")).unwrap_or_default();
            (self.say)(&format!("{}{release}: {}", state.stage.name(), state.words.as_str()));
        }
        for attempt in &state.attempts {
            if !old.as_ref().is_some_and(|old| old.attempts.contains(attempt)) {
                let words = attempt.words.as_str();
                let words = if words.is_empty() { String::new() } else { format!(": {words}") };
                (self.say)(&format!("release {} {}{words}", attempt.release, attempt.outcome.name()));
            }
        }
    }
}

async fn hear(channel: &mut Option<Channel>) -> ToSystem {
    match channel {
        Some(channel) => channel.hear().await,
        None => std::future::pending().await,
    }
}

async fn finished(working: &mut Option<(u64, JoinHandle<Done>)>) -> (u64, Done) {
    if let Some((ticket, task)) = working
        && let Ok(done) = task.await
    {
        return (*ticket, done);
    }
    // A mistake in the program has been said by the panic's hook, which starts the board again.
    std::future::pending().await
}
