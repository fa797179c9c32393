//! The board's operating system in an emulated machine that stands in the lab: the card image as it is built, the firmware with
//! Secure Boot and keys of the test, a cable into one of the lab's networks. `sonde-os-boots` has the cases.
//!
//! Nothing here knows how the system works inside. What it sees is what a volunteer, a neighbour and the network's operator see:
//! the console, the card, the frames on the cable, the API.

pub mod card;
pub mod console;
pub mod crash;
pub mod fat;
pub mod guest;
pub mod line;
pub mod machine;
pub mod random;
pub mod release;
pub mod scan;
pub mod seldom;
pub mod traffic;
pub mod uki;
pub mod writes;
