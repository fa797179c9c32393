//! The last things that happened, for people who look for the reason of a failure.

use std::collections::VecDeque;

/// How many lines are kept.
const LINES: usize = 4000;

/// A ring of lines; nothing is written while it is off.
#[derive(Debug)]
pub struct Trace {
    on: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty ring.
    pub const fn new(on: bool) -> Self {
        Self { on, lines: VecDeque::new() }
    }

    /// Notes a line; `text` is not called while the trace is off.
    pub fn note(&mut self, now: i64, text: impl FnOnce() -> String) {
        if !self.on {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:9.3}  {}", now as f64 / 1e9, text()));
    }

    /// What it holds.
    pub fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
