//! What people see of the board, and its heartbeat: how each step stands, on the console and by the LED, and the watchdog's food.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::console::{Console, uptime};
use crate::led::{Led, Signal, TICK, is_lit};
use crate::step::{Step, StepName};
use crate::watchdog::{self, Watchdog};

/// What has not changed is said again after this time, while it does not work.
const AGAIN: Duration = Duration::from_secs(60);

/// Whoever has not called [`Board::turned`] for so long hangs, and the watchdog gets no more food.
const TURNS_WITHIN: Duration = Duration::from_secs(60);

/// How the steps stand. Pure: what is to be said is given back.
#[derive(Debug, Default)]
pub struct Steps([Option<Shown>; StepName::ALL.len()]);

#[derive(Debug)]
struct Shown {
    step: Step,
    key: String,
    said: Duration,
}

impl Steps {
    /// A step stands like this now. `key` is what makes it another matter than before: usually its text. Gives what is to be said.
    pub fn tell(&mut self, name: StepName, step: Step, key: &str, now: Duration) -> Option<String> {
        let place = &mut self.0[usize::from(name.number()) - 1];
        let same = place.as_ref().is_some_and(|shown| {
            shown.key == key && std::mem::discriminant(&shown.step) == std::mem::discriminant(&step)
        });
        let said = if same { place.as_ref().map_or(now, |shown| shown.said) } else { now };
        let text = step.text().to_owned();
        *place = Some(Shown { step, key: key.to_owned(), said });
        (!same && !text.is_empty()).then_some(text)
    }

    /// What has been wrong for so long that it is said again.
    pub fn again(&mut self, now: Duration) -> Vec<(StepName, String)> {
        let due = |(name, shown): (&StepName, &mut Option<Shown>)| {
            let shown =
                shown.as_mut().filter(|shown| !shown.step.is_ok() && now.saturating_sub(shown.said) >= AGAIN)?;
            shown.said = now;
            (!shown.step.text().is_empty()).then(|| (*name, shown.step.text().to_owned()))
        };
        StepName::ALL.iter().zip(&mut self.0).filter_map(due).collect()
    }

    /// The first step that does not work, with its words. A board does without a watchdog.
    pub fn first_failure(&self) -> Option<(StepName, &str)> {
        let text = |name: &StepName| match &self.0[usize::from(name.number()) - 1] {
            Some(shown) if shown.step.is_ok() => None,
            Some(shown) => Some((*name, shown.step.text())),
            None => Some((*name, "")),
        };
        StepName::ALL.iter().filter(|name| **name != StepName::Watchdog).find_map(text)
    }

    /// What the LED shows: the first step that does not work, unless the collector is reached all the same.
    pub fn signal(&self) -> Signal {
        let works =
            |name: &StepName| self.0[usize::from(name.number()) - 1].as_ref().is_some_and(|shown| shown.step.is_ok());
        match StepName::ALL.iter().find(|name| !works(name)) {
            Some(name) if !works(&StepName::Collector) => Signal::Blinks(name.number()),
            _ => Signal::Steady,
        }
    }
}

#[derive(Debug)]
struct Inner {
    steps: Steps,
    led: Option<Led>,
    watchdog: Option<Watchdog>,
    turned: Duration,
    /// The probe is well, or away for a reason that is said.
    well: bool,
    tick: u64,
    fed: Duration,
}

/// The board. Clones are the same.
#[derive(Debug, Clone)]
pub struct Board {
    /// Where it speaks.
    pub console: Console,
    inner: Arc<Mutex<Inner>>,
}

impl Board {
    /// With nothing known yet.
    pub fn new(console: Console) -> Self {
        let (steps, turned, fed) = (Steps::default(), uptime(), Duration::ZERO);
        let inner = Inner { steps, led: None, watchdog: None, turned, well: true, tick: 0, fed };
        Self { console, inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step stands like this now. Said if that is new.
    pub fn tell(&self, name: StepName, step: Step) {
        let key = step.text().to_owned();
        self.tell_as(name, step, &key);
    }

    /// The same where the text changes without any news; `key` is the news.
    pub fn tell_as(&self, name: StepName, step: Step, key: &str) {
        let said = self.inner().steps.tell(name, step, key, uptime());
        if let Some(text) = said {
            self.console.say(name.name(), &text);
        }
    }

    /// It works.
    pub fn works(&self, name: StepName, text: impl Into<String>) {
        self.tell(name, Step::Ok(text.into()));
    }

    /// It does not.
    pub fn fails(&self, name: StepName, text: impl Into<String>) {
        self.tell(name, Step::Failed(text.into()));
    }

    /// Looks for what can only be found once its driver is there.
    pub fn find_devices(&self) {
        let mut inner = self.inner();
        if inner.led.is_none() {
            inner.led = Led::find(Path::new("/sys/class/leds"));
        }
        if inner.watchdog.is_none()
            && let Ok(watchdog) = Watchdog::open()
        {
            let words = watchdog.words();
            inner.watchdog = Some(watchdog);
            drop(inner);
            self.works(StepName::Watchdog, words);
        }
    }

    /// Says so if no watchdog has been found until now. One may still come, with a late driver.
    pub fn settle_for_no_watchdog(&self) {
        if self.inner().watchdog.is_none() {
            self.works(
                StepName::Watchdog,
                "none found: if the board hangs, it stays so until somebody takes its power away",
            );
        }
    }

    /// The first step that does not work, in words.
    pub fn first_failure(&self) -> String {
        match self.inner().steps.first_failure() {
            Some((name, "")) => format!("{}: not done", name.name()),
            Some((name, text)) => format!("{}: {text}", name.name()),
            None => "every step works".into(),
        }
    }

    /// The loop has turned; `well` is whether the probe gives no reason to start the board again.
    pub fn turned(&self, well: bool) {
        let mut inner = self.inner();
        (inner.turned, inner.well) = (uptime(), well);
    }

    /// Feeds, blinks and repeats, for ever.
    pub async fn live(self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.beat(uptime());
        }
    }

    fn beat(&self, now: Duration) {
        let mut inner = self.inner();
        inner.tick += 1;
        let lit = is_lit(inner.steps.signal(), inner.tick);
        if let Some(led) = &mut inner.led {
            led.show(lit);
        }
        let alive = inner.well && now.saturating_sub(inner.turned) < TURNS_WITHIN;
        if alive && now.saturating_sub(inner.fed) >= watchdog::EVERY {
            inner.fed = now;
            // A device that takes no food will start the board again, which is all that can be done.
            let _ = inner.watchdog.as_mut().map(Watchdog::feed);
        }
        let again = inner.steps.again(now);
        drop(inner);
        for (name, text) in again {
            self.console.say(name.name(), &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_works_is_said_once_and_what_does_not_again_and_again() {
        let mut steps = Steps::default();
        let tell = |steps: &mut Steps, step, now| steps.tell(StepName::Link, step, "x", now);
        assert_eq!(tell(&mut steps, Step::Failed("no cable".into()), s(1)).as_deref(), Some("no cable"));
        assert_eq!(tell(&mut steps, Step::Failed("no cable".into()), s(2)), None);
        assert!(steps.again(s(60)).is_empty());
        assert_eq!(steps.again(s(61)), [(StepName::Link, "no cable".to_owned())]);
        assert!(steps.again(s(62)).is_empty());
        assert_eq!(tell(&mut steps, Step::Ok("eth0 up".into()), s(70)).as_deref(), Some("eth0 up"));
        assert_eq!(tell(&mut steps, Step::Ok("eth0 up".into()), s(71)), None);
        assert!(steps.again(s(1000)).is_empty());
    }

    #[test]
    fn a_text_that_only_counts_seconds_is_no_news() {
        let mut steps = Steps::default();
        let mut tell =
            |text: &str, key: &str| steps.tell(StepName::Collector, Step::Ok(text.into()), key, s(1)).is_some();
        assert!(tell("connected for 3 s", "connected"));
        assert!(!tell("connected for 4 s", "connected"));
        assert!(tell("connected by TLS for 1 s", "tls"));
    }

    #[test]
    fn the_led_names_the_first_step_that_does_not_work() {
        let mut steps = Steps::default();
        assert_eq!(steps.signal(), Signal::Blinks(1));
        for name in [StepName::Watchdog, StepName::Modules, StepName::Settings] {
            steps.tell(name, Step::Ok("x".into()), "x", s(1));
        }
        assert_eq!(steps.signal(), Signal::Blinks(3), "no card");
        assert_eq!(steps.first_failure(), Some((StepName::Boot, "")), "never told");
        steps.tell(StepName::Boot, Step::Failed("no card".into()), "x", s(1));
        assert_eq!(steps.first_failure(), Some((StepName::Boot, "no card")));
        steps.tell(StepName::Collector, Step::Ok("x".into()), "x", s(1));
        assert_eq!(steps.signal(), Signal::Steady, "it measures");
    }
}
