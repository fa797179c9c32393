//! What runs of ipv6 have settled, in `verdict.cbor` of the state directory: after a restart the verdict is not begun anew. A file
//! that cannot be read is as good as none: some runs settle it again.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use minicbor::{Decode, Encode};
use sonde_protocol::message::{from_cbor, to_cbor};
use sonde_protocol::result::ipv6::Memory;
use sonde_protocol::time::UnixNanos;
use tracing::warn;

use crate::identity::write_whole;

/// The greatest size of the file: two families with their reasons.
const MAX_FILE: u64 = 4096;

const NAME: &str = "verdict.cbor";

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Verdict {
    /// What is settled, and what is on trial.
    #[n(0)]
    pub memory: Memory,
    /// When everything was last looked at, by the probe's time of day; absent: never.
    #[n(1)]
    pub full_at: Option<UnixNanos>,
}

impl Verdict {
    /// How long ago everything was looked at. A time in the future is none.
    pub fn since_full(&self, now: UnixNanos) -> Option<Duration> {
        self.full_at.filter(|at| *at <= now).map(|at| now.since(at))
    }
}

/// The file.
#[derive(Debug)]
pub struct KeptVerdict {
    path: PathBuf,
    written: Verdict,
}

impl KeptVerdict {
    /// Reads what the state directory `dir` has.
    pub fn open(dir: &Path) -> Self {
        let path = dir.join(NAME);
        let written = match read(&path) {
            Ok(verdict) => verdict,
            Err(error) => {
                warn!(%error, "what was settled of IPv6 and IPv4 cannot be read: it is settled anew");
                Verdict::default()
            }
        };
        Self { path, written }
    }

    /// What is kept.
    pub const fn get(&self) -> &Verdict {
        &self.written
    }

    /// Keeps it, if it is another. That one more run has said the same is not worth a write to a card.
    ///
    /// # Errors
    /// When it cannot be written. It is tried again with the next change.
    pub fn keep(&mut self, verdict: Verdict) -> io::Result<()> {
        if without_streaks(&verdict) != without_streaks(&self.written) {
            self.written = verdict;
            write_whole(&self.path, &to_cbor(&self.written))?;
        }
        Ok(())
    }
}

fn without_streaks(verdict: &Verdict) -> Verdict {
    let mut verdict = verdict.clone();
    (verdict.memory.v6.streak, verdict.memory.v4.streak) = (0, 0);
    verdict
}

/// What a state directory holds, for whoever only looks; nothing where there is none or it cannot be read.
pub fn kept(dir: &Path) -> Verdict {
    read(&dir.join(NAME)).unwrap_or_default()
}

fn read(path: &Path) -> io::Result<Verdict> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::default()),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the file is damaged");
    from_cbor(&bytes).map_err(|_| damaged())?.ok_or_else(damaged)
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::List;
    use sonde_protocol::result::ipv6::{FamilyState, Settled};

    use super::*;

    #[test]
    fn what_is_settled_comes_back_and_damage_is_a_fresh_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = KeptVerdict::open(dir.path());
        assert_eq!(kept.get(), &Verdict::default());
        let mut verdict = Verdict { full_at: Some(UnixNanos::from_secs(100)), ..Verdict::default() };
        verdict.memory.v6.settled = Some(Settled { state: FamilyState::Native, reasons: List::default() });
        kept.keep(verdict.clone()).unwrap();
        assert_eq!(KeptVerdict::open(dir.path()).get(), &verdict);
        assert_eq!(verdict.since_full(UnixNanos::from_secs(160)), Some(Duration::from_secs(60)));
        assert_eq!(verdict.since_full(UnixNanos::from_secs(99)), None);

        for damaged in [&b"\x01\x02\x03"[..], &[0xff; 5000], b""] {
            std::fs::write(dir.path().join(NAME), damaged).unwrap();
            assert_eq!(KeptVerdict::open(dir.path()).get(), &Verdict::default(), "{damaged:?}");
        }
    }
}
