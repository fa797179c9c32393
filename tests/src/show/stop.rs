//! Whether the show has been asked to end, by Ctrl-C or SIGTERM.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// See the module.
pub(super) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// From now on the signals do not end the process.
    pub(super) fn at_signals() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        let stop = Self(Arc::default());
        let asked = Arc::clone(&stop.0);
        let wait = move || {
            runtime.block_on(sonde_probe::cli::terminated());
            *asked.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            asked.1.notify_all();
        };
        thread::Builder::new().name("signals".into()).spawn(wait).context("start a thread")?;
        Ok(stop)
    }

    pub(super) fn is_asked(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when it is asked.
    pub(super) fn wait(&self) {
        let asked = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_while(asked, |asked| !*asked));
    }

    /// Returns when it is asked or so much time is over.
    pub(super) fn wait_for(&self, time: Duration) {
        let asked = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_timeout_while(asked, time, |asked| !*asked));
    }
}
