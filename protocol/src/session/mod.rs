//! The conversation between probe and collector, both sides as state machines: messages and time go in, messages and
//! commands come out. QUIC is a shell around them, and a simulation is another.

pub mod collector;
pub mod probe;

pub use collector::CollectorSession;
pub use probe::ProbeSession;
