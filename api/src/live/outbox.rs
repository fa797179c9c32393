//! What waits for one client: a bounded queue, so that a client that does not read holds back nobody, and is told what it
//! missed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::message::Message;

/// How many messages wait for one client at most.
pub(crate) const MAX_MESSAGES: usize = 4096;

/// How many bytes wait for one client at most.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// How many bytes wait for all clients together at most, as long as each has no more than [`MODEST`].
const MAX_BYTES_OF_ALL: usize = 256 << 20;

/// What may wait for a client even when others have filled what is there for all.
const MODEST: usize = 64 << 10;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What waits for one client.
pub(crate) struct Outbox {
    state: Mutex<State>,
    ready: Notify,
    /// Bytes that wait for all clients. A message that waits for several counts for each, although it is there once.
    of_all: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    missed: Missed,
}

/// What was dropped since the queue was full. Until the client has taken all that is before the gap, everything is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Missed {
    #[default]
    Nothing,
    Some(u64),
    /// Nobody knows how many.
    Unknown,
}

impl Outbox {
    /// Empty; `of_all` is shared by all.
    pub fn new(of_all: Arc<AtomicUsize>) -> Self {
        Self { state: Mutex::default(), ready: Notify::new(), of_all }
    }

    /// Puts a message in, or counts it as missed.
    pub fn push(&self, message: Message) {
        let mut state = lock(&self.state);
        let size = message.text().len();
        let others = self.of_all.load(Ordering::Relaxed);
        let is_full = state.messages.len() >= MAX_MESSAGES
            || state.bytes + size > MAX_BYTES
            || (state.bytes + size > MODEST && others + size > MAX_BYTES_OF_ALL);
        // One message always fits, however large.
        if state.missed == Missed::Nothing && (!is_full || state.messages.is_empty()) {
            state.bytes += size;
            self.of_all.fetch_add(size, Ordering::Relaxed);
            state.messages.push_back(message);
        } else {
            state.missed = state.missed.and(1);
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Notes that so many messages (`None`: nobody knows how many) never came this far.
    pub fn miss(&self, count: Option<u64>) {
        let mut state = lock(&self.state);
        state.missed = count.map_or(Missed::Unknown, |count| state.missed.and(count));
        drop(state);
        self.ready.notify_one();
    }

    /// What comes next, if there is anything.
    pub fn try_next(&self) -> Option<Message> {
        let mut state = lock(&self.state);
        if let Some(message) = state.messages.pop_front() {
            let size = message.text().len();
            state.bytes = state.bytes.saturating_sub(size);
            self.of_all.fetch_sub(size, Ordering::Relaxed);
            return Some(message);
        }
        match std::mem::take(&mut state.missed) {
            Missed::Nothing => None,
            Missed::Some(count) => Some(Message::missed(Some(count))),
            Missed::Unknown => Some(Message::missed(None)),
        }
    }

    /// Waits for what comes next. Dropping the future loses nothing. One task at a time waits here.
    pub async fn next(&self) -> Message {
        loop {
            let ready = self.ready.notified();
            if let Some(message) = self.try_next() {
                return message;
            }
            ready.await;
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.of_all.fetch_sub(lock(&self.state).bytes, Ordering::Relaxed);
    }
}

impl Missed {
    fn and(self, more: u64) -> Self {
        match self {
            _ if more == 0 => self,
            Missed::Nothing => Missed::Some(more),
            Missed::Some(count) => Missed::Some(count + more),
            Missed::Unknown => Missed::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(Arc::default())
    }

    fn text(outbox: &Outbox) -> Option<String> {
        outbox.try_next().map(|message| message.text().to_string())
    }

    #[test]
    fn who_does_not_read_is_told_once_what_is_missing_and_where() {
        let outbox = outbox();
        for number in 0..MAX_MESSAGES + 10 {
            outbox.push(Message::result(&number.to_string(), 0));
        }
        for number in 0..MAX_MESSAGES {
            assert_eq!(text(&outbox), Some(format!("[\"atlas_result\",{number}]")));
            if number == 5 {
                // There is room again, but what comes now must not come before the word of the gap.
                outbox.push(Message::result("-1", 0));
            }
        }
        let told = text(&outbox).unwrap();
        assert!(told.starts_with("[\"atlas_error\",{") && told.contains("\"count\":11,"), "{told}");
        outbox.push(Message::result("7", 0));
        assert_eq!(text(&outbox), Some("[\"atlas_result\",7]".into()));
        assert_eq!(text(&outbox), None);
        outbox.miss(Some(0));
        assert_eq!(text(&outbox), None);
        outbox.miss(None);
        assert!(text(&outbox).unwrap().contains("\"count\":null"));
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let of_all = Arc::new(AtomicUsize::new(0));
        let large = Message::result(&"1".repeat(MAX_BYTES / 2), 0);
        let one = Outbox::new(Arc::clone(&of_all));
        for _ in 0..3 {
            one.push(large.clone());
        }
        assert_eq!(of_all.load(Ordering::Relaxed), large.text().len(), "the second does not fit any more");
        // Others have taken it all: a modest queue is still served.
        of_all.fetch_add(MAX_BYTES_OF_ALL, Ordering::Relaxed);
        let two = Outbox::new(Arc::clone(&of_all));
        let small = Message::result(&"1".repeat(MODEST / 2), 0);
        for _ in 0..3 {
            two.push(small.clone());
        }
        assert!(text(&two).is_some());
        assert!(text(&two).unwrap().contains("\"count\":2"));
        drop((one, two));
        assert_eq!(of_all.load(Ordering::Relaxed), MAX_BYTES_OF_ALL);
    }
}
