//! IPv6 reachability as one measurement: what both address families are worth to a probe, and why.
//!
//! [`plan`] says what to try and when; the shell tries it and gives what happens to [`gather`], which makes
//! [`Evidence`](sonde_protocol::result::ipv6::Evidence) of it. From that [`decide`] makes one ruling for each family by a fixed
//! table, and [`hysteresis`] says when it may be believed. Everything here is pure: the same evidence gives the same ruling, also
//! for somebody who reads the result years later.

pub mod answer;
pub mod cost;
pub mod decide;
mod facts;
pub mod gather;
pub mod happy;
pub mod hysteresis;
mod names;
pub mod paths;
pub mod plan;
pub mod search;

#[cfg(test)]
mod table;
#[cfg(test)]
mod whole;
