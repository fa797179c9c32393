//! What can be configured about the API. Reading it from a file is the program's business, not ours.

use ipnet::IpNet;
use sonde_protocol::spec::INTERVAL;

use crate::limits::LimitsConfig;

/// The configuration of the API (`[api]` of the server's file).
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// What absolute links begin with, such as `https://sonde.example.net`; without it, `http://` and the `Host` that the
    /// client named.
    pub public_url: Option<String>,
    /// Targets that may be measured although they are special-purpose addresses: for labs and the demo.
    pub allow_targets: Vec<IpNet>,
    /// The least interval of a periodic measurement in seconds; 60 as Atlas has it, less for labs and the demo.
    pub min_interval: u32,
    /// Special addresses that webhooks may go to all the same: for labs.
    pub webhook_allow: Vec<IpNet>,
    /// How often may be asked.
    pub limits: LimitsConfig,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            allow_targets: Vec::new(),
            min_interval: INTERVAL.min,
            webhook_allow: Vec::new(),
            limits: LimitsConfig::default(),
        }
    }
}
