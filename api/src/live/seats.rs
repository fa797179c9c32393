//! How many streams there may be: in all, from one address, and over answers that never end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::outbox::lock;
use crate::limits::{Caller, LimitsConfig, NETWORK_FACTOR};
use crate::serve::MAX_CONNECTIONS;

/// How many streams there may be as the answer to a plain request. Each holds one of the server's connections, of which
/// some must be left for everything else.
const MAX_ANSWERS: u32 = MAX_CONNECTIONS / 2;

/// The seats there are. A limit of 0 is none.
pub(crate) struct Seats {
    most: u32,
    most_per_address: u32,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    all: u32,
    answers: u32,
    /// By the bucket of an address or network.
    by_caller: HashMap<Vec<u8>, u32>,
}

/// A stream's seat; given back when dropped.
pub(crate) struct Seat {
    caller: Caller,
    is_answer: bool,
    taken: Arc<Mutex<Taken>>,
}

impl Seats {
    /// All free.
    pub fn new(config: &LimitsConfig) -> Self {
        Self { most: config.streams, most_per_address: config.streams_per_address, taken: Arc::default() }
    }

    /// Takes a seat for this caller, unless they are all taken.
    pub fn take(&self, caller: Caller, is_answer: bool) -> Option<Seat> {
        let mut taken = lock(&self.taken);
        let is_full = |taken: u32, most: u32| most != 0 && taken >= most;
        let by = |key: &Option<Vec<u8>>| key.as_ref().and_then(|key| taken.by_caller.get(key)).copied().unwrap_or(0);
        if is_full(taken.all, self.most)
            || (is_answer && is_full(taken.answers, MAX_ANSWERS))
            || is_full(by(&caller.address), self.most_per_address)
            || is_full(by(&caller.network), self.most_per_address.saturating_mul(NETWORK_FACTOR))
        {
            return None;
        }
        taken.all += 1;
        taken.answers += u32::from(is_answer);
        for key in [&caller.address, &caller.network].into_iter().flatten() {
            *taken.by_caller.entry(key.clone()).or_default() += 1;
        }
        drop(taken);
        Some(Seat { caller, is_answer, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all = taken.all.saturating_sub(1);
        taken.answers = taken.answers.saturating_sub(u32::from(self.is_answer));
        for key in [&self.caller.address, &self.caller.network].into_iter().flatten() {
            if let Some(count) = taken.by_caller.get_mut(key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    taken.by_caller.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(streams: u32, streams_per_address: u32) -> Seats {
        Seats::new(&LimitsConfig { streams, streams_per_address, ..LimitsConfig::default() })
    }

    fn caller(address: u8) -> Caller {
        Caller { address: Some(vec![6, address]), network: Some(vec![6]) }
    }

    #[test]
    fn an_address_has_so_many_and_gets_them_back() {
        let seats = seats(0, 2);
        let one = seats.take(caller(1), false).unwrap();
        let _two = seats.take(caller(1), true).unwrap();
        assert!(seats.take(caller(1), false).is_none());
        assert!(seats.take(caller(2), false).is_some());
        drop(one);
        assert!(seats.take(caller(1), false).is_some());
    }

    #[test]
    fn a_network_has_eight_times_as_many() {
        let seats = seats(0, 1);
        let taken: Vec<Seat> = (0..20).filter_map(|address| seats.take(caller(address), false)).collect();
        assert_eq!(taken.len(), 8);
        drop(taken);
        assert!(lock(&seats.taken).by_caller.is_empty());
    }

    #[test]
    fn the_whole_is_bounded_also_for_those_who_are_not_counted() {
        let seats = seats(3, 1);
        let taken: Vec<Seat> = (0..5).filter_map(|_| seats.take(Caller::default(), false)).collect();
        assert_eq!(taken.len(), 3);
    }
}
