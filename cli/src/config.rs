//! The server's configuration file. Every setting is optional; `docs/sonde-server.toml` documents each with its default.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sonde_api::{
    AccountsConfig, CreditsPolicy, LimitsConfig, MailConfig, MailWay, Policy, QuotasPolicy, TargetsPolicy,
};

/// The HTTP port that the API listens on by default.
pub const API_PORT: u16 = 8080;

/// The UDP port that the collector listens on by default.
pub const COLLECTOR_PORT: u16 = 8333;

/// The least interval of a periodic measurement, in seconds.
pub const MIN_INTERVAL: u32 = 60;

const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[network]`
    pub network: NetworkSection,
    /// `[api]`
    pub api: ApiSection,
    /// `[collector]`
    pub collector: CollectorSection,
    /// `[limits]`
    pub limits: LimitsSection,
    /// `[accounts]`
    pub accounts: AccountsSection,
    /// `[mail]`
    pub mail: MailSection,
    /// `[credits]`
    pub credits: CreditsPolicy,
    /// `[quotas]`
    pub quotas: QuotasPolicy,
    /// `[targets]`
    pub targets: TargetsPolicy,
    /// `[alerts]`
    pub alerts: AlertsSection,
    /// `[builtins]`
    pub builtins: BuiltinsSection,
    /// `[places]`
    pub places: PlacesSection,
    /// `[ipv6]`
    pub ipv6: Ipv6Section,
    /// `[updates]`
    pub updates: UpdatesSection,
}

/// `[network]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSection {
    /// The network's name, for people. It is given when the network is made and does not change later.
    pub name: String,
    /// What becomes of probes that bring no join token.
    pub enrol: Enrol,
}

/// What becomes of probes that bring no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enrol {
    /// They are refused.
    Closed,
    /// They wait until an account claims them.
    Claim,
    /// They are served, two from each network, and count when somebody claims them or the operator vouches for them.
    Open,
}

impl From<Enrol> for sonde_collector::Enrol {
    fn from(enrol: Enrol) -> Self {
        match enrol {
            Enrol::Closed => Self::Closed,
            Enrol::Claim => Self::Claim,
            Enrol::Open => Self::Open,
        }
    }
}

impl Default for NetworkSection {
    fn default() -> Self {
        Self { name: "sonde".into(), enrol: Enrol::Claim }
    }
}

/// `[api]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSection {
    /// Where HTTP is served.
    pub listen: Vec<SocketAddr>,
    /// Where HTTPS is served.
    pub listen_tls: Vec<SocketAddr>,
    /// The certificate chain for HTTPS, PEM; one is made when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PathBuf>,
    /// The address that links in answers begin with; the request's own host when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Special addresses that may be measured all the same: for labs.
    pub allow_targets: Vec<IpNet>,
    /// The least interval of a periodic measurement, in seconds.
    pub min_interval: u32,
}

impl Default for ApiSection {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::new(ANY, API_PORT)],
            listen_tls: Vec::new(),
            certificate: None,
            private_key: None,
            public_url: None,
            allow_targets: Vec::new(),
            min_interval: MIN_INTERVAL,
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Requests in a minute from an IPv4 address or an IPv6 /64; 0 is without limit.
    pub address_per_minute: u32,
    /// Requests in a minute by one account.
    pub account_per_minute: u32,
    /// Requests in a minute that make measurements or change them by `POST`, by one account.
    pub create_per_minute: u32,
    /// Attempts in a minute to log in, from one address and for one mail address.
    pub login_per_minute: u32,
    /// Are loopback addresses counted, too?
    pub loopback: bool,
    /// The proxies whose word on where a request comes from is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// How many live streams there may be at a time; 0 is without limit.
    pub streams: u32,
    /// How many of them from one address.
    pub streams_per_address: u32,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let LimitsConfig {
            address_per_minute,
            account_per_minute,
            create_per_minute,
            login_per_minute,
            loopback,
            trusted_proxies,
            streams,
            streams_per_address,
        } = LimitsConfig::default();
        Self {
            address_per_minute,
            account_per_minute,
            create_per_minute,
            login_per_minute,
            loopback,
            trusted_proxies,
            streams,
            streams_per_address,
        }
    }
}

impl LimitsSection {
    /// As the API wants it.
    pub fn to_api(&self) -> LimitsConfig {
        LimitsConfig {
            address_per_minute: self.address_per_minute,
            account_per_minute: self.account_per_minute,
            create_per_minute: self.create_per_minute,
            login_per_minute: self.login_per_minute,
            loopback: self.loopback,
            trusted_proxies: self.trusted_proxies.clone(),
            streams: self.streams,
            streams_per_address: self.streams_per_address,
        }
    }
}

/// `[accounts]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountsSection {
    /// Who may sign up.
    pub signup: Signup,
    /// How many people one account may invite.
    pub invites_per_account: u32,
    /// The version of the terms that people agree to.
    pub consent_version: String,
}

/// Who may sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signup {
    /// Nobody.
    Closed,
    /// Whom somebody has invited.
    Invite,
    /// Anybody.
    Open,
}

impl Default for AccountsSection {
    fn default() -> Self {
        let AccountsConfig { signup: _, invites_per_account, consent_version } = AccountsConfig::default();
        Self { signup: Signup::Closed, invites_per_account, consent_version }
    }
}

impl AccountsSection {
    /// As the API wants it.
    pub fn to_api(&self) -> AccountsConfig {
        let signup = match self.signup {
            Signup::Closed => sonde_api::Signup::Closed,
            Signup::Invite => sonde_api::Signup::Invite,
            Signup::Open => sonde_api::Signup::Open,
        };
        let (invites_per_account, consent_version) = (self.invites_per_account, self.consent_version.clone());
        AccountsConfig { signup, invites_per_account, consent_version }
    }
}

/// `[mail]`
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailSection {
    /// Whom mail is from; none is sent when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The server that takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<String>,
    /// The directory that it is written to instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
}

impl fmt::Debug for MailSection {
    /// Without the password that may be in `smtp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, smtp, directory } = self;
        let smtp = smtp.as_ref().map(|_| "…");
        let mut debug = f.debug_struct("MailSection");
        debug.field("from", from).field("smtp", &smtp).field("directory", directory).finish()
    }
}

impl MailSection {
    /// As the API wants it; nothing when no mail is to be sent.
    pub fn to_api(&self) -> Result<Option<MailConfig>, ConfigError> {
        let (from, way) = match (&self.from, &self.smtp, &self.directory) {
            (None, None, None) => return Ok(None),
            (Some(from), Some(url), None) => (from, MailWay::Smtp(url.clone())),
            (Some(from), None, Some(path)) => (from, MailWay::Directory(path.clone())),
            _ => return Err(ConfigError::Mail),
        };
        Ok(Some(MailConfig { from: from.clone(), way }))
    }
}

/// `[alerts]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsSection {
    /// Are rules watched and webhooks sent?
    pub enabled: bool,
    /// Roots beside the machine's that receivers' certificates may come from, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<PathBuf>,
    /// Special addresses that webhooks may go to all the same: for labs.
    pub allow: Vec<IpNet>,
}

impl Default for AlertsSection {
    fn default() -> Self {
        Self { enabled: true, roots: None, allow: Vec::new() }
    }
}

/// `[builtins]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuiltinsSection {
    /// The file that says what every probe measures; nothing without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// `[collector]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectorSection {
    /// Where QUIC is served.
    pub listen: Vec<SocketAddr>,
    /// What the directory tells the probes: `host:port`, names or literals. Empty: what was told last, or the addresses
    /// it listens on when the network is made.
    pub addresses: Vec<String>,
    /// What the directory tells the probes of the way over TLS and TCP, which `[api] listen_tls` serves: `host:port`. Absent:
    /// the hosts of the addresses above with the port of the first entry of `listen_tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_addresses: Option<Vec<String>>,
}

impl Default for CollectorSection {
    fn default() -> Self {
        Self { listen: vec![SocketAddr::new(ANY, COLLECTOR_PORT)], addresses: Vec::new(), tls_addresses: None }
    }
}

/// `[places]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacesSection {
    /// Tables of origin ASes: `.mmdb`, or pfx2as as text. The first that knows an address decides.
    pub asn: Vec<PathBuf>,
    /// Tables of countries.
    pub country: Vec<PathBuf>,
    /// Names of ASes: a line each. The first that has one decides.
    pub as_names: Vec<PathBuf>,
}

/// `[ipv6]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ipv6Section {
    /// For how many days each probe's votes are kept; sums of days stay.
    pub votes_days: u32,
}

impl Default for Ipv6Section {
    fn default() -> Self {
        Self { votes_days: 400 }
    }
}

/// `[updates]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpdatesSection {
    /// How many bytes a second all boards together may fetch.
    pub bytes_per_second: u64,
}

impl Default for UpdatesSection {
    fn default() -> Self {
        Self { bytes_per_second: 10_000_000 }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("error in {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, and what is wrong there.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The settings for mail do not go together.
    #[error("`[mail]` needs `from`, and one of `smtp` and `directory`")]
    Mail,
}

impl Config {
    /// Reads a file; the defaults without one.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })
    }

    /// What measurements cost and how much an account may do, as the API wants it.
    pub fn policy(&self) -> Policy {
        Policy { credits: self.credits.clone(), quotas: self.quotas.clone(), targets: self.targets.clone() }
    }

    /// The addresses for the directory of a network that is being made.
    pub fn collector_addresses(&self) -> Vec<String> {
        if !self.collector.addresses.is_empty() {
            return self.collector.addresses.clone();
        }
        // An unspecified address is no address for a probe; it has to be told.
        let specific = self.collector.listen.iter().filter(|address| !address.ip().is_unspecified());
        specific.map(ToString::to_string).collect()
    }

    /// Where the directory tells probes to come by TLS over TCP, for a collector that it lists at `addresses`.
    pub fn tls_addresses<'a>(&self, addresses: impl Iterator<Item = &'a str>) -> Vec<String> {
        let Some(listen) = self.api.listen_tls.first() else { return Vec::new() };
        if let Some(given) = &self.collector.tls_addresses {
            return given.clone();
        }
        let mut list: Vec<String> = Vec::new();
        for (host, _) in addresses.filter_map(|address| address.rsplit_once(':')) {
            let address = format!("{host}:{}", listen.port());
            if !list.contains(&address) {
                list.push(address);
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../docs/sonde-server.toml");

    #[test]
    fn the_sample_file_shows_every_setting_with_its_default() {
        // Every line that is a commented setting, uncommented.
        let setting = |line: &str| {
            line.strip_prefix("#").filter(|rest| rest.contains(" = ") && !rest.starts_with(' ')).map(str::to_owned)
        };
        let text: Vec<String> = SAMPLE.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned())).collect();
        let config: Config = toml::from_str(&text.join("\n")).unwrap();
        let expected = Config {
            api: ApiSection {
                public_url: Some("https://sonde.example.net".into()),
                certificate: Some("/etc/sonde/certificate.pem".into()),
                private_key: Some("/etc/sonde/private-key.pem".into()),
                ..ApiSection::default()
            },
            mail: MailSection {
                from: Some("Sonde <sonde@example.net>".into()),
                smtp: Some("smtps://user:password@mail.example.net:465".into()),
                directory: Some("/var/lib/sonde/mail".into()),
            },
            builtins: BuiltinsSection { file: Some("/etc/sonde/builtins.toml".into()) },
            collector: CollectorSection {
                tls_addresses: Some(vec!["sonde.example.net:443".into()]),
                ..CollectorSection::default()
            },
            alerts: AlertsSection { roots: Some("/etc/sonde/roots.pem".into()), ..AlertsSection::default() },
            ..Config::default()
        };
        assert_eq!(config, expected);
        let shown: toml::Table = toml::from_str(&text.join("\n")).unwrap();
        let all: toml::Table = toml::from_str(&toml::to_string(&expected).unwrap()).unwrap();
        assert_eq!(shown, all, "a setting is missing from the sample, or has another default there");
    }

    #[test]
    fn mail_goes_one_way() {
        let mail = |text: &str| toml::from_str::<Config>(text).unwrap().mail.to_api();
        assert!(mail("").unwrap().is_none());
        assert!(mail("[mail]\nfrom = 'a@b.example'\ndirectory = '/tmp'").unwrap().is_some());
        for bad in ["from = 'a@b.example'", "smtp = 'smtps://host'", "from = ''\nsmtp = ''\ndirectory = ''"] {
            assert!(mail(&format!("[mail]\n{bad}")).is_err(), "{bad}");
        }
        let config = toml::from_str::<Config>("[mail]\nsmtp = 'smtps://user:secret@host'").unwrap();
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn probes_are_told_the_way_over_tls_where_there_is_one() {
        let told = |text: &str| {
            let config: Config = toml::from_str(text).unwrap();
            config.tls_addresses(["c.example:8333", "c.example:443", "[2001:db8::1]:8333"].into_iter())
        };
        assert_eq!(told("[api]\nlisten_tls = ['[::]:8443']"), ["c.example:8443", "[2001:db8::1]:8443"]);
        assert_eq!(told("[api]\nlisten_tls = []\n[collector]\ntls_addresses = ['d.example:443']"), [""; 0]);
        let given = "[api]\nlisten_tls = ['[::]:8443']\n[collector]\ntls_addresses = ";
        assert_eq!(told(&format!("{given}['d.example:443']")), ["d.example:443"]);
        assert_eq!(told(&format!("{given}[]")), [""; 0]);
    }

    #[test]
    fn unknown_settings_are_errors() {
        assert!(toml::from_str::<Config>("[api]\nlisten_on = []").is_err());
    }
}
