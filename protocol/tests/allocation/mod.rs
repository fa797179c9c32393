//! Counts what a thread allocates, so that tests can say how much memory a reader held at most.

#![expect(unsafe_code, reason = "an allocator is asked for memory that way")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes this thread holds more than when counting began, and the most that it ever did.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(change: isize) {
    // A thread that is ending has no counter any more, and nobody reads it.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = now.saturating_add(change);
        held.set((now, most.max(now)));
    });
}

fn size(layout: Layout) -> isize {
    // A layout is never larger than isize::MAX.
    isize::try_from(layout.size()).unwrap_or(isize::MAX)
}

// SAFETY: everything is passed on to the system's allocator as it came; counting touches no memory of the caller, and its
// counter is allocated statically.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: `place` came from `alloc` above, so from the system's allocator, with this layout.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `body` gives, and how many bytes this thread held at most meanwhile, beyond what it held before.
pub fn peak<T>(body: impl FnOnce() -> T) -> (T, usize) {
    HELD.set((0, 0));
    let value = body();
    (value, usize::try_from(HELD.get().1).unwrap_or(0))
}
