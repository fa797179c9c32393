//! Tests across the parts of Sonde, and what they need: a virtual internet ([`lab`]) and the real programs in it
//! ([`world`]).

pub mod lab;
pub mod world;
