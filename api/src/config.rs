//! What can be configured about the API. Reading it from a file is the program's business, not ours.

use ipnet::IpNet;
use sonde_protocol::spec::INTERVAL;

use crate::limits::LimitsConfig;
use crate::policy::Policy;

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
    /// What measurements cost, and how much an account may do.
    pub policy: Policy,
    /// Who may get an account.
    pub accounts: AccountsConfig,
}

/// Who may get an account by themselves (`[accounts]` of the server's file).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountsConfig {
    /// Who may sign up.
    pub signup: Signup,
    /// How many people one account may invite, ever.
    pub invites_per_account: u32,
    /// The version of the terms that people agree to when they sign up.
    pub consent_version: String,
}

/// Who may sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signup {
    /// Nobody: the operator makes accounts.
    Closed,
    /// Whom somebody has invited.
    Invite,
    /// Anybody with a mail address.
    Open,
}

impl Signup {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Signup::Closed => "closed",
            Signup::Invite => "invite",
            Signup::Open => "open",
        }
    }
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self { signup: Signup::Closed, invites_per_account: 5, consent_version: "1".into() }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            allow_targets: Vec::new(),
            min_interval: INTERVAL.min,
            webhook_allow: Vec::new(),
            limits: LimitsConfig::default(),
            accounts: AccountsConfig::default(),
            policy: Policy::free(),
        }
    }
}
