//! IPv6 reachability as one measurement: what both address families are worth to a probe, and why.
//!
//! [`plan`](self) says what to try; the shell tries it and gives back what happened; from the gathered
//! [`Evidence`](sonde_protocol::result::ipv6::Evidence) [`decide`] makes one ruling for each family by a fixed table, and
//! [`hysteresis`] says when that may be believed. Everything here is pure: the same evidence gives the same verdict, also
//! for somebody who reads the result years later.

pub mod cost;
pub mod decide;
mod facts;
pub mod hysteresis;
mod names;
pub mod paths;

#[cfg(test)]
mod table;
