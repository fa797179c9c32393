//! The server's configuration file. Every setting is optional; `docs/sonde-server.toml` documents each with its default.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sonde_api::LimitsConfig;

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
    /// `[alerts]`
    pub alerts: AlertsSection,
    /// `[builtins]`
    pub builtins: BuiltinsSection,
    /// `[places]`
    pub places: PlacesSection,
}

/// `[network]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSection {
    /// The network's name, for people. It is given when the network is made and does not change later.
    pub name: String,
}

impl Default for NetworkSection {
    fn default() -> Self {
        Self { name: "sonde".into() }
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
    /// Requests in a minute with one key.
    pub key_per_minute: u32,
    /// Requests in a minute that make measurements or change them by `POST`, with one key.
    pub create_per_minute: u32,
    /// Are loopback addresses counted, too?
    pub loopback: bool,
    /// The proxies whose word on where a request comes from is taken.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let LimitsConfig { address_per_minute, key_per_minute, create_per_minute, loopback, trusted_proxies } =
            LimitsConfig::default();
        Self { address_per_minute, key_per_minute, create_per_minute, loopback, trusted_proxies }
    }
}

impl LimitsSection {
    /// As the API wants it.
    pub fn to_api(&self) -> LimitsConfig {
        LimitsConfig {
            address_per_minute: self.address_per_minute,
            key_per_minute: self.key_per_minute,
            create_per_minute: self.create_per_minute,
            loopback: self.loopback,
            trusted_proxies: self.trusted_proxies.clone(),
        }
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
}

impl Default for CollectorSection {
    fn default() -> Self {
        Self { listen: vec![SocketAddr::new(ANY, COLLECTOR_PORT)], addresses: Vec::new() }
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
}

impl Config {
    /// Reads a file; the defaults without one.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })
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
            builtins: BuiltinsSection { file: Some("/etc/sonde/builtins.toml".into()) },
            alerts: AlertsSection { roots: Some("/etc/sonde/roots.pem".into()), ..AlertsSection::default() },
            ..Config::default()
        };
        assert_eq!(config, expected);
        let shown: toml::Table = toml::from_str(&text.join("\n")).unwrap();
        let all: toml::Table = toml::from_str(&toml::to_string(&expected).unwrap()).unwrap();
        assert_eq!(shown, all, "a setting is missing from the sample, or has another default there");
    }

    #[test]
    fn unknown_settings_are_errors() {
        assert!(toml::from_str::<Config>("[api]\nlisten_on = []").is_err());
    }
}
