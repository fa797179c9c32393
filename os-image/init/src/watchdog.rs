//! The hardware's watchdog: it restarts the board when nobody feeds it. It is fed while the loop turns and the probe is well or
//! kept from running by a reason that is being said.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::time::Duration;

/// How often it is fed: the shortest that boards have is 15 seconds.
pub const EVERY: Duration = Duration::from_secs(3);

const DEVICE: &str = "/dev/watchdog0";
const ABOUT: &str = "/sys/class/watchdog/watchdog0";

/// The open device. It is never closed: that would stop it on some boards.
#[derive(Debug)]
pub struct Watchdog(File);

impl Watchdog {
    /// Opens it, which starts it.
    ///
    /// # Errors
    /// When there is none (its driver is not loaded yet, or the board has none).
    pub fn open() -> io::Result<Self> {
        let device = OpenOptions::new().write(true).open(DEVICE)?;
        // From now on nothing stops it, whoever closes it. Older kernels do not offer that here.
        let _ = fs::write(format!("{ABOUT}/nowayout"), "1");
        Ok(Self(device))
    }

    /// Feeds it.
    ///
    /// # Errors
    /// The device's.
    pub fn feed(&mut self) -> io::Result<()> {
        self.0.write_all(b"1")
    }

    /// What it is and how patient, for the console.
    pub fn words(&self) -> String {
        let read = |name| fs::read_to_string(format!("{ABOUT}/{name}")).map(|text| text.trim().to_owned());
        let name = read("identity").unwrap_or_else(|_| "hardware watchdog".into());
        match read("timeout") {
            Ok(timeout) => format!("{name}, {timeout} s"),
            Err(_) => name,
        }
    }
}
