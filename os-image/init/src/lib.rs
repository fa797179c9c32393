//! The board's first process (PID 1), and with the probe its only one: it loads drivers, finds the card, brings the network up, starts
//! the probe and says on the console what it does. No shell, nothing listens, nothing is read from a keyboard.
//!
//! It must not know how the probe measures or what it says to its collector: it starts a program and hears its one line. Start reading
//! at [`boot`], which is the order of things.

pub mod filter;
pub mod net;
pub mod step;
