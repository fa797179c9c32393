//! Summaries that took long are kept for a while, and only a few are made at a time: who opens the page of a large measurement a
//! hundred times costs one reading of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sonde_protocol::ids::{MeasurementId, ProbeId};
use tokio::sync::Semaphore;

use super::fold::Summary;
use super::window::Window;
use crate::metric::Metric;

/// How many are kept. One of ten thousand probes and five hundred bins has some seven megabytes, most far less.
const KEPT: usize = 12;

/// How many are made at a time. Others wait.
const AT_A_TIME: usize = 2;

/// What took fewer reports than this is made anew each time.
const CHEAP: u64 = 2_000;

/// A summary of so many reports is kept for a minute, one of fewer accordingly shorter.
const A_MINUTES: u64 = 100_000;

/// What a summary is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Which measurement.
    pub measurement: MeasurementId,
    /// Which time.
    pub window: Window,
    /// Which number.
    pub metric: Metric,
    /// Of which probes.
    pub probes: Option<Vec<ProbeId>>,
}

/// Those that are kept.
pub(crate) struct Summaries {
    kept: Mutex<Vec<Entry>>,
    /// Who holds a permit of it may read.
    pub turns: Semaphore,
}

struct Entry {
    subject: Subject,
    /// On the clock that only goes forward.
    until: Duration,
    summary: Arc<Summary>,
}

impl Summaries {
    /// None yet.
    pub fn new() -> Self {
        Self { kept: Mutex::new(Vec::new()), turns: Semaphore::new(AT_A_TIME) }
    }

    /// The one of this subject, if it is kept still; and for how long.
    pub fn find(&self, subject: &Subject, now: Duration) -> Option<(Arc<Summary>, Duration)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|entry| entry.until > now && entry.subject == *subject)?;
        Some((Arc::clone(&found.summary), found.until.saturating_sub(now)))
    }

    /// Keeps a new one if that is worth it; says for how long.
    pub fn keep(&self, subject: Subject, summary: &Arc<Summary>, now: Duration) -> Duration {
        let life = life(summary.reports);
        if life.is_zero() {
            return life;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|entry| entry.until > now && entry.subject != subject);
        if kept.len() >= KEPT {
            // The oldest goes.
            kept.remove(0);
        }
        kept.push(Entry { subject, until: now.saturating_add(life), summary: Arc::clone(summary) });
        life
    }
}

/// For how long a summary of so many reports is kept.
fn life(reports: u64) -> Duration {
    if reports < CHEAP {
        return Duration::ZERO;
    }
    Duration::from_millis((reports.saturating_mul(60_000) / A_MINUTES).min(60_000))
}

#[cfg(test)]
mod tests {
    use super::super::fold::Fold;
    use super::*;

    fn subject(measurement: u64) -> Subject {
        let window = Window::new(0, 10, 1, 10);
        Subject { measurement: MeasurementId(measurement), window, metric: Metric::Rtt, probes: None }
    }

    fn summary(reports: u64) -> Arc<Summary> {
        Arc::new(Summary { reports, ..Fold::new(Window::new(0, 10, 1, 10), Metric::Rtt).finish(&[]) })
    }

    #[test]
    fn what_took_long_is_kept_in_proportion_and_not_beyond() {
        let kept = Summaries::new();
        let at = Duration::from_secs;
        assert_eq!(kept.keep(subject(1), &summary(CHEAP - 1), at(100)), Duration::ZERO);
        assert!(kept.find(&subject(1), at(100)).is_none());
        assert_eq!(kept.keep(subject(1), &summary(50_000), at(100)), at(30));
        assert_eq!(kept.find(&subject(1), at(110)).unwrap().1, at(20));
        assert!(kept.find(&subject(2), at(110)).is_none());
        let other = Subject { probes: Some(vec![ProbeId(1)]), ..subject(1) };
        assert!(kept.find(&other, at(110)).is_none());
        assert!(kept.find(&subject(1), at(130)).is_none());
        for number in 2..40 {
            kept.keep(subject(number), &summary(9_000_000), at(140));
        }
        assert!(kept.find(&subject(39), at(199)).is_some() && kept.find(&subject(2), at(199)).is_none());
        assert_eq!(kept.kept.lock().unwrap().len(), KEPT);
    }
}
