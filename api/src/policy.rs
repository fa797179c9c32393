//! What measurements cost, what probes earn, and how much an account may do: RIPE Atlas's numbers, every one of which the
//! operator can change.
//!
//! Everything here is pure: `price` says what a result costs, `check` what speaks against a request.

use serde::{Deserialize, Serialize};

mod check;
mod price;

pub(crate) use check::{Asked, against, against_targets};
pub(crate) use price::price;

/// Credits (`[credits]` of the server's file).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreditsPolicy {
    /// Is anything charged and earned?
    pub enabled: bool,
    /// What a new account begins with.
    pub starting_credits: u64,
    /// What a probe earns its owner in a connected minute.
    pub income_per_minute: u32,
    /// The same of an anchor.
    pub anchor_income_per_minute: u32,
    /// Results of one's own probes cost nothing.
    pub own_probes_free: bool,
    /// A one-off's result costs this many times as much.
    pub oneoff_factor: u32,
    /// A packet of this many bytes or more counts as several.
    pub packet_bytes: u32,
    /// A packet of ping.
    pub ping_packet: u32,
    /// Traceroute, for each packet that a hop is asked with.
    pub traceroute_packet: u32,
    /// A dns query over UDP.
    pub dns_udp: u32,
    /// A dns query over anything else.
    pub dns_tcp: u32,
    /// Certificates.
    pub sslcert: u32,
    /// An HTTP request.
    pub http: u32,
    /// An NTP exchange.
    pub ntp: u32,
    /// A path MTU.
    pub pathmtu: u32,
    /// A light run of ipv6: some connections and questions to each of the network's references.
    pub ipv6: u32,
    /// A full one, which tries sizes and takes up to a minute.
    pub ipv6_full: u32,
    /// Types of dns records whose answers are large: over UDP they cost more, because they could be turned on somebody.
    pub amplifying_types: Vec<String>,
    /// This many times as much.
    pub amplifying_factor: u32,
    /// Asking over UDP for answers greater than so many bytes counts as several queries.
    pub answer_bytes: u32,
}

impl Default for CreditsPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            starting_credits: 1_000_000,
            income_per_minute: 15,
            anchor_income_per_minute: 150,
            own_probes_free: false,
            oneoff_factor: 2,
            packet_bytes: 1500,
            ping_packet: 1,
            traceroute_packet: 10,
            dns_udp: 10,
            dns_tcp: 20,
            sslcert: 10,
            http: 10,
            ntp: 10,
            pathmtu: 10,
            ipv6: 50,
            ipv6_full: 200,
            amplifying_types: ["ANY", "DNSKEY", "RRSIG", "TXT"].map(str::to_owned).into(),
            amplifying_factor: 2,
            answer_bytes: 1232,
        }
    }
}

/// How much an account may do (`[quotas]`). 0 is without limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotasPolicy {
    /// Is there any limit?
    pub enabled: bool,
    /// Measurements that run at the same time.
    pub concurrent_measurements: u64,
    /// Probes of one measurement.
    pub probes_per_measurement: u64,
    /// Results a day, of all measurements.
    pub results_per_day: u64,
    /// Credits a day, for all measurements.
    pub credits_per_day: u64,
    /// Results a second, of one measurement.
    pub results_per_second: u64,
    /// Periodic measurements of one type to one target.
    pub periodic_alike: u64,
    /// One-offs of one type to one target, at the same time.
    pub oneoff_alike: u64,
}

impl Default for QuotasPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            concurrent_measurements: 100,
            probes_per_measurement: 1000,
            results_per_day: 100_000,
            credits_per_day: 1_000_000,
            results_per_second: 50,
            periodic_alike: 25,
            oneoff_alike: 25,
        }
    }
}

/// What protects those who are measured (`[targets]`), whoever measures them. Targets that `allow_targets` lists are the
/// operator's own and not protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetsPolicy {
    /// Does the network ask in the DNS whether a target wants to be measured?
    pub opt_out: bool,
    /// Packets a second to one address, of all measurements of everybody together; 0 is without limit.
    pub packets_per_second: u32,
    /// The same to a /24 or /48.
    pub network_packets_per_second: u32,
}

impl Default for TargetsPolicy {
    fn default() -> Self {
        Self { opt_out: true, packets_per_second: 1000, network_packets_per_second: 4000 }
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// `[credits]`
    pub credits: CreditsPolicy,
    /// `[quotas]`
    pub quotas: QuotasPolicy,
    /// `[targets]`
    pub targets: TargetsPolicy,
}

impl Policy {
    /// Nothing is charged and nobody has a quota: for labs and the demo. Targets are protected all the same.
    pub fn free() -> Self {
        Self {
            credits: CreditsPolicy { enabled: false, ..CreditsPolicy::default() },
            quotas: QuotasPolicy { enabled: false, ..QuotasPolicy::default() },
            targets: TargetsPolicy::default(),
        }
    }
}
