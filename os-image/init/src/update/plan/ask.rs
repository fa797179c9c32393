//! The one question that is open, and its answer. It is asked until it is answered, and what was not asked for is nothing.

use std::time::Duration;

use sonde_protocol::board::{UpdateAnswer, UpdateAsk, UpdateFile, UpdateSaid, UpdateStage};

use super::Plan;

/// A question is asked again after this, so often.
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_ASKED: u32 = 20;

/// A question to the collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) ask: UpdateAsk,
    pub(super) asked: Option<Duration>,
    pub(super) times: u32,
    /// Not before the collector wants to be asked.
    pub(super) from: Duration,
}

impl Question {
    /// When it is to be asked, again where nobody has answered.
    pub(super) fn due(&self) -> Duration {
        self.asked.map_or(self.from, |asked| asked + PATIENCE)
    }
}

impl Plan {
    /// The question, if it is time to ask it.
    pub(super) fn ask(&mut self, now: Duration) -> Option<UpdateAsk> {
        if !self.connected {
            return None;
        }
        let question = self.question.as_mut()?;
        if now < question.due() {
            return None;
        }
        if question.times == MAX_ASKED {
            self.fails(UpdateStage::Unknown, None, "the collector does not answer questions about updates", now);
            return None;
        }
        (question.asked, question.times) = (Some(now), question.times + 1);
        Some(question.ask.clone())
    }

    /// Asks anew.
    pub(super) fn want(&mut self, file: UpdateFile, (offset, at_most): (u64, u32)) {
        self.asked = self.asked.wrapping_add(1);
        let ask = UpdateAsk { id: self.asked, file, offset, at_most };
        self.question = Some(Question { ask, asked: None, times: 0, from: Duration::ZERO });
    }

    /// The answer of the collector. One that was not asked for, or no more, is nothing.
    pub fn answered(&mut self, answer: UpdateAnswer, now: Duration) {
        let expected = self.question.as_ref().filter(|question| question.asked.is_some() && self.connected);
        if expected.is_none_or(|question| question.ask.id != answer.id) {
            return;
        }
        let question = self.question.take();
        match answer.said {
            UpdateSaid::Later(later) => self.later(&later, question, now),
            said => {
                self.laters = 0;
                self.said(said, now);
            }
        }
    }
}
