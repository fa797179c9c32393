//! Tests across the parts of Sonde, and what they need.

pub mod lab;
