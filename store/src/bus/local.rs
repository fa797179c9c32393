//! The bus of a single process: a bounded queue per listener.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;

use super::{Bus, Heard, Listener, Published};

/// How many bytes of events wait for one listener at most. A commit holds a few MB at the very most.
const MAX_BYTES: usize = 64 << 20;

/// What an event counts beside the bytes of its reports.
const OVERHEAD: usize = 128;

/// A bus within this process.
#[derive(Default)]
pub struct LocalBus {
    queues: Mutex<Vec<Weak<Queue>>>,
}

/// What waits for one listener.
#[derive(Default)]
struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    events: VecDeque<Arc<Published>>,
    bytes: usize,
    /// Dropped since the queue was full. Until the listener has taken all that is before them, everything is.
    missed: u64,
    waker: Option<Waker>,
    is_over: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bytes(event: &Published) -> usize {
    match event {
        Published::Reports(reports) => reports.iter().map(|report| report.report.len() + OVERHEAD).sum(),
        Published::Status(_) => OVERHEAD,
    }
}

impl Queue {
    fn push(&self, event: &Arc<Published>, size: usize) {
        let waker = {
            let mut state = lock(&self.0);
            if state.missed > 0 || (state.bytes + size > MAX_BYTES && !state.events.is_empty()) {
                state.missed += 1;
            } else {
                state.bytes += size;
                state.events.push_back(Arc::clone(event));
            }
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Heard>> {
        let mut state = lock(&self.0);
        if let Some(event) = state.events.pop_front() {
            state.bytes = state.bytes.saturating_sub(bytes(&event));
            return Poll::Ready(Some(Heard::Event(event)));
        }
        if state.missed > 0 {
            return Poll::Ready(Some(Heard::Missed(std::mem::take(&mut state.missed))));
        }
        if state.is_over {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Bus for LocalBus {
    fn publish(&self, event: Arc<Published>) {
        let mut queues = lock(&self.queues);
        if queues.is_empty() {
            return;
        }
        let size = bytes(&event);
        queues.retain(|queue| queue.upgrade().inspect(|queue| queue.push(&event, size)).is_some());
    }

    fn subscribe(&self) -> Box<dyn Listener> {
        let queue = Arc::<Queue>::default();
        lock(&self.queues).push(Arc::downgrade(&queue));
        Box::new(LocalListener(queue))
    }
}

impl Drop for LocalBus {
    fn drop(&mut self) {
        for queue in lock(&self.queues).iter().filter_map(Weak::upgrade) {
            let waker = {
                let mut state = lock(&queue.0);
                state.is_over = true;
                state.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

struct LocalListener(Arc<Queue>);

#[async_trait]
impl Listener for LocalListener {
    async fn next(&mut self) -> Option<Heard> {
        poll_fn(|context| self.0.poll(context)).await
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq, SessionId};
    use sonde_protocol::time::UnixNanos;

    use super::*;
    use crate::conformance::{Fixture, block_on, bus_suite};
    use crate::results::StoredReport;

    struct Fresh;

    #[async_trait]
    impl Fixture<dyn Bus> for Fresh {
        async fn open(&self) -> Arc<dyn Bus> {
            Arc::new(LocalBus::default())
        }
    }

    #[test]
    fn keeps_the_promises_of_a_bus() {
        block_on(bus_suite(|| Fresh));
    }

    /// An event as large as `bytes`.
    fn large(seq: u64, bytes: usize) -> Arc<Published> {
        let at = UnixNanos(0);
        let report = StoredReport {
            probe: ProbeId(1),
            session: SessionId(1),
            boot: BootId(1),
            seq: Seq(seq),
            arrived_at: at,
            measurement: MeasurementId(1),
            at,
            report: vec![0; bytes],
        };
        Arc::new(Published::Reports(vec![report]))
    }

    #[test]
    fn who_does_not_keep_up_is_told_once_and_where() {
        let bus = LocalBus::default();
        let mut slow = bus.subscribe();
        let third = MAX_BYTES / 3;
        for seq in 1..=5 {
            bus.publish(large(seq, third));
        }
        bus.publish(large(6, 1));
        let mut heard = Vec::new();
        for _ in 0..3 {
            heard.push(block_on(slow.next()).unwrap());
        }
        assert_eq!(
            heard,
            [Heard::Event(large(1, third)), Heard::Event(large(2, third)), Heard::Missed(4)],
            "nothing after the gap comes before the word of it"
        );
        bus.publish(large(7, 1));
        assert_eq!(block_on(slow.next()), Some(Heard::Event(large(7, 1))));
        bus.publish(large(8, 2 * MAX_BYTES));
        assert_eq!(block_on(slow.next()), Some(Heard::Event(large(8, 2 * MAX_BYTES))), "one event always fits");
    }
}
