//! The API bounds how often one may ask, and waiting here means asking: not at every look.

use std::time::{Duration, Instant};

const BETWEEN: Duration = Duration::from_secs(2);

/// Says when it is time to ask again.
#[derive(Debug, Default)]
pub struct Seldom(Option<Instant>);

impl Seldom {
    /// Whether to ask now.
    pub fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|asked| asked.elapsed() >= BETWEEN);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}
