//! The board's first process (PID 1), and with the probe its only one: it loads drivers, finds the card, brings the network up, starts
//! the probe and says on the console what it does. No shell, nothing listens, nothing is read from a keyboard.
//!
//! It must not know how the probe measures or what it says to its collector: it starts a program and hears its one line. Start reading
//! at [`boot`], which is the order of things until the probe may be started, then [`run`]. [`step`] has the names of the steps.

pub mod board;
pub mod boot;
pub mod card;
pub mod clock;
pub mod console;
pub mod filter;
pub mod hardening;
pub mod launch;
pub mod led;
pub mod modules;
pub mod mounts;
pub mod net;
pub mod notify;
pub mod power;
pub mod probe;
pub mod release;
pub mod run;
pub mod settings;
pub mod slots;
pub mod state;
pub mod step;
pub mod supervise;
pub mod trial;
pub mod uevent;
pub mod update;
pub mod watchdog;
