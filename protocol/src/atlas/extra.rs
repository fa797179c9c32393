//! What Atlas has no word for beside a reply of ping and ntp.

use core::net::IpAddr;

use serde::Serialize;

use super::{Line, UNKNOWN_HOP};
use crate::result::IcmpError;

/// The object `sonde` of a reply. `Time` is in the unit of what stands beside it: milliseconds for ping, seconds for ntp.
#[derive(Serialize)]
pub(super) struct Extra<Time> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

impl<Time> Extra<Time> {
    /// Nothing to say.
    pub fn none() -> Self {
        Self { icmp_type: None, icmp_code: None, from: None, rtt: None, ttl: None, mtu: None }
    }

    /// An ICMP error came instead of an answer.
    pub fn of_error(line: &Line<'_>, error: &IcmpError, time: fn(u64) -> Time) -> Self {
        Self {
            icmp_type: Some(error.kind),
            icmp_code: Some(error.code),
            from: Some(line.on_path(UNKNOWN_HOP, error.from.0)),
            rtt: error.rtt.map(time),
            ttl: error.hop_limit,
            mtu: error.mtu,
        }
    }
}
