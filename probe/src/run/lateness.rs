//! How late this program looks at what has happened, for times that it takes itself.
//!
//! A socket becomes readable, and the task that waits for it looks at the clock some time later: its thread has to get a
//! processor (the kernel counts how long it waited for one) and may run other tasks first (the kernel counts how long it ran).
//! So whatever a poll of the task sees happened no longer ago than the thread has been runnable or running since the poll
//! before. What the thread does within a poll counts too: a clock read before a system call is as much too early.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::pin;

use nix::time::{ClockId, clock_gettime};

/// What nobody counts, in nanoseconds: from the driver's taking a packet to the socket's waking the thread, and back on the
/// way out. Twice what was seen at worst on two busy cores.
const KERNEL_PATH: u64 = 50_000;

/// Runs `future` to its end on this thread, and says how wrong a time between two events in it can be, in nanoseconds;
/// `None` where the kernel does not count.
pub async fn watched<F: Future>(future: F) -> (F::Output, Option<u64>) {
    let mut future = pin!(future);
    let mut thread = Thread::current();
    let mut before = thread.as_ref().and_then(Thread::busy);
    let mut worst = Some(0);
    let output = std::future::poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        let now = thread.as_ref().and_then(Thread::busy);
        let since = now.zip(before).map(|(now, before)| now.saturating_sub(before));
        worst = worst.zip(since).map(|(worst, since)| worst.max(since));
        if worst.is_none() {
            thread = None;
        }
        before = now;
        polled
    })
    .await;
    // An interval has two ends.
    (output, worst.map(|worst| worst.saturating_mul(2).saturating_add(KERNEL_PATH)))
}

/// The kernel's account of this thread.
struct Thread(File);

impl Thread {
    /// This thread's. The daemon's runtime has one; on a runtime with more the account would be of another thread.
    fn current() -> Option<Self> {
        File::open("/proc/thread-self/schedstat").ok().map(Self)
    }

    /// How long it has run or waited for a processor, in nanoseconds. The second number of the file is the waiting; the
    /// first, the running, is brought up to date by a tick only, so that is asked of the clock.
    fn busy(&self) -> Option<u64> {
        let mut text = [0; 64];
        let length = self.0.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        let waited: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let ran = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
        #[allow(clippy::useless_conversion)] // narrower on some 32-bit targets
        let (seconds, nanos): (i64, i64) = (ran.tv_sec().into(), ran.tv_nsec().into());
        let ran = u64::try_from(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)).ok()?;
        Some(waited.saturating_add(ran))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_thread_does_meanwhile_counts() {
        let busy = || {
            let thread = Thread::current().expect("this kernel counts");
            let begun = thread.busy().expect("numbers");
            while thread.busy().expect("numbers") < begun + 3_000_000 {}
        };
        let (_, quiet) = watched(tokio::task::yield_now()).await;
        let (_, late) = watched(async {
            tokio::task::yield_now().await;
            busy();
        })
        .await;
        assert!(quiet.is_some_and(|error| error >= KERNEL_PATH));
        assert!(late.is_some_and(|error| error >= 6_000_000), "{late:?}");
    }
}
