//! `sonde.toml`, the host's own file, and `network.toml`, the network to join.
//!
//! Everything is optional; every default is a constant here. Unknown keys and values out of range are errors that name the
//! file, the place and what is allowed. `docs/sonde.toml.sample` lists every setting.
//!
//! This module must not know what the settings do, and reads no environment and no flags: `main` puts those on top.

pub mod hours;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sonde_protocol::address::DEFAULT_SITE_PREFIX;
use sonde_protocol::directory::NetworkFile;
use sonde_protocol::spec::Kind;

use self::hours::Window;
use crate::resolve::{MAX_RESOLVERS, NameServer};
use crate::run::KINDS;

/// The greatest size of a file that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// One numeric setting: its key, its default and the inclusive range that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The key in the file.
    pub key: &'static str,
    /// What it is when not given.
    pub default: u64,
    /// The least allowed.
    pub min: u64,
    /// The greatest allowed.
    pub max: u64,
}

/// `policy.site_prefix`: length of the prefix around each own global IPv6 address that counts as the host's network. The
/// default is what a provider commonly gives to a home (RIPE-690); shorter protects more.
pub const SITE_PREFIX: Setting = Setting { key: "site_prefix", default: DEFAULT_SITE_PREFIX as u64, min: 48, max: 64 };

/// `limits.packets_per_second`, over all measurements. The default is at most 0.3 Mbit/s of small packets.
pub const PACKETS_PER_SECOND: Setting = Setting { key: "packets_per_second", default: 200, min: 1, max: 10_000 };

/// `limits.bytes_per_day`, both directions, per UTC day. The default, 1 GiB, is 0.1 Mbit/s around the clock.
pub const BYTES_PER_DAY: Setting = Setting { key: "bytes_per_day", default: 1 << 30, min: 1 << 20, max: 1 << 50 };

/// `limits.concurrent`: measurements under way at once.
pub const CONCURRENT: Setting = Setting { key: "concurrent", default: 64, min: 1, max: 2048 };

/// `limits.target_interval_ms`: least time between the starts of two runs towards one address.
pub const TARGET_INTERVAL_MS: Setting = Setting { key: "target_interval_ms", default: 100, min: 0, max: 3_600_000 };

/// `limits.target_packets_per_second` towards one address.
pub const TARGET_PACKETS_PER_SECOND: Setting =
    Setting { key: "target_packets_per_second", default: 50, min: 1, max: 1000 };

/// `quiet.busy_mbits`: other traffic on the interfaces to the internet from which on the line counts as busy; 0 never. The
/// default is far more than a home's ordinary day.
pub const BUSY_MBITS: Setting = Setting { key: "busy_mbits", default: 100, min: 0, max: 100_000 };

/// `quiet.first_hop_ms`: how much later than at its best the first hop may answer; 0 does not ask it.
pub const FIRST_HOP_MS: Setting = Setting { key: "first_hop_ms", default: 0, min: 0, max: 10_000 };

/// The most spans of hours.
pub const MAX_HOURS: usize = 16;

/// What the host has decided: `sonde.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which addresses may be measured, and who resolves names.
    pub policy: PolicySection,
    /// How much may be measured.
    pub limits: Limits,
    /// When periodic measurements wait for the host's line.
    pub quiet: Quiet,
    /// What is written to the disk.
    pub spool: SpoolSection,
    /// What the program gives up before it starts.
    pub sandbox: SandboxSection,
    /// The page for the host.
    pub page: PageSection,
    /// The network to join; may come from a file of its own instead ([`read_network`]).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "network")]
    pub network: Option<NetworkFile>,
}

/// `[policy]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySection {
    /// Exceptions to the address rules (a lab, the demo). They override no port rule and no limit.
    #[serde(with = "texts")]
    pub allow: Vec<IpNet>,
    /// See [`SITE_PREFIX`].
    #[serde(deserialize_with = "site_prefix")]
    pub site_prefix: u8,
    /// The resolvers to use instead of the system's; none means the system's.
    #[serde(serialize_with = "texts::serialize", deserialize_with = "resolvers")]
    pub resolvers: Vec<NameServer>,
}

impl Default for PolicySection {
    fn default() -> Self {
        Self { allow: Vec::new(), site_prefix: default_of(&SITE_PREFIX), resolvers: Vec::new() }
    }
}

/// `spool.bytes`: how large the file of undelivered reports may become.
pub const SPOOL_BYTES: Setting = Setting { key: "bytes", default: 64 << 20, min: 1 << 20, max: 1 << 30 };

/// `[spool]`: undelivered reports on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolSection {
    /// Keep them there while no collector is reached, and when the probe stops.
    pub enabled: bool,
    /// See [`SPOOL_BYTES`].
    #[serde(deserialize_with = "spool_bytes")]
    pub bytes: u64,
}

impl Default for SpoolSection {
    fn default() -> Self {
        Self { enabled: true, bytes: SPOOL_BYTES.default }
    }
}

/// `[limits]`: what the host's line and the targets are spared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// See [`PACKETS_PER_SECOND`].
    #[serde(deserialize_with = "packets_per_second")]
    pub packets_per_second: u32,
    /// See [`BYTES_PER_DAY`].
    #[serde(deserialize_with = "bytes_per_day")]
    pub bytes_per_day: u64,
    /// See [`CONCURRENT`].
    #[serde(deserialize_with = "concurrent")]
    pub concurrent: u32,
    /// See [`TARGET_INTERVAL_MS`].
    #[serde(deserialize_with = "target_interval_ms")]
    pub target_interval_ms: u32,
    /// See [`TARGET_PACKETS_PER_SECOND`].
    #[serde(deserialize_with = "target_packets_per_second")]
    pub target_packets_per_second: u32,
    /// The kinds that may be measured.
    #[serde(serialize_with = "texts::serialize_kinds", deserialize_with = "kinds")]
    pub kinds: Vec<Kind>,
    /// When measurements may begin, by the machine's local time; none means always.
    #[serde(serialize_with = "texts::serialize", deserialize_with = "windows")]
    pub hours: Vec<Window>,
    /// Nothing is measured, whatever `sonde-probe resume` says.
    pub pause: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packets_per_second: default_of(&PACKETS_PER_SECOND),
            bytes_per_day: BYTES_PER_DAY.default,
            concurrent: default_of(&CONCURRENT),
            target_interval_ms: default_of(&TARGET_INTERVAL_MS),
            target_packets_per_second: default_of(&TARGET_PACKETS_PER_SECOND),
            kinds: KINDS.into(),
            hours: Vec::new(),
            pause: false,
        }
    }
}

/// `[quiet]`: when the line counts as busy, so that periodic measurements wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quiet {
    /// See [`BUSY_MBITS`].
    #[serde(deserialize_with = "busy_mbits")]
    pub busy_mbits: u64,
    /// See [`FIRST_HOP_MS`].
    #[serde(deserialize_with = "first_hop_ms")]
    pub first_hop_ms: u64,
}

impl Default for Quiet {
    fn default() -> Self {
        Self { busy_mbits: BUSY_MBITS.default, first_hop_ms: FIRST_HOP_MS.default }
    }
}

impl Limits {
    /// Least time between the starts of two runs towards one address.
    pub fn target_interval(&self) -> Duration {
        Duration::from_millis(u64::from(self.target_interval_ms))
    }
}

/// `[sandbox]`: see [`crate::sandbox`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxSection {
    /// Whether a running probe closes itself off.
    pub enabled: bool,
    /// Whether it does not run at all where a wall is missing.
    pub required: bool,
    /// Whether it keeps CAP_NET_RAW, if it was given it.
    pub raw: Raw,
}

impl Default for SandboxSection {
    fn default() -> Self {
        Self { enabled: true, required: false, raw: Raw::Pings }
    }
}

/// `sandbox.raw`: when CAP_NET_RAW is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RawText", into = "RawText")]
pub enum Raw {
    /// Where the system lets nobody ping without it.
    #[default]
    Pings,
    /// Always: for traceroute over TCP, IPv6 options headers and the details of ICMP errors.
    Yes,
    /// Never.
    No,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "`raw` is true, false or \"pings\"")]
enum RawText {
    Flag(bool),
    Word(RawWord),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawWord {
    Pings,
}

impl From<RawText> for Raw {
    fn from(text: RawText) -> Self {
        match text {
            RawText::Flag(true) => Self::Yes,
            RawText::Flag(false) => Self::No,
            RawText::Word(RawWord::Pings) => Self::Pings,
        }
    }
}

impl From<Raw> for RawText {
    fn from(raw: Raw) -> Self {
        match raw {
            Raw::Yes => Self::Flag(true),
            Raw::No => Self::Flag(false),
            Raw::Pings => Self::Word(RawWord::Pings),
        }
    }
}

/// `[page]`: see [`crate::page`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageSection {
    /// Where it is, a loopback address and a port; nowhere when absent, which is written as nothing.
    #[serde(serialize_with = "write_listen", deserialize_with = "listen")]
    pub listen: Option<SocketAddr>,
}

fn write_listen<S: serde::Serializer>(listen: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&listen.map(|address| address.to_string()).unwrap_or_default())
}

fn listen<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let given = String::deserialize(deserializer)?;
    if given.is_empty() {
        return Ok(None);
    }
    let address = given.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback() && address.port() != 0);
    address.map(Some).ok_or_else(|| {
        serde::de::Error::custom(format_args!(
            "listen = \"{given}\": allowed is a loopback address with a port, \"127.0.0.1:9090\" or \"[::1]:9090\", or nothing"
        ))
    })
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its text is not what it should be. The cause names line, key and what is allowed.
    #[error("error in {}", path.as_deref().unwrap_or(Path::new("the configuration")).display())]
    Parse {
        /// The file, when it came from one.
        path: Option<PathBuf>,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or has an unknown key or a value that is not allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        parse(&read(path)?, Some(path))
    }

    /// The same, of a file that another process has read.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of_bytes(path: &Path, bytes: io::Result<Vec<u8>>) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.into(), source };
        let bytes = bytes.map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")));
        }
        let text = String::from_utf8(bytes).map_err(|_| failed(io::ErrorKind::InvalidData.into()))?;
        parse(&text, Some(path))
    }

    /// All settings with the values in force, as a file that could be read back; only a join token is not shown.
    pub fn effective(&self) -> String {
        let mut shown = self.clone();
        if let Some(token) = shown.network.as_mut().and_then(|network| network.token.as_mut()) {
            *token = "(not shown)".into();
        }
        toml::to_string(&shown).expect("every setting has a TOML form")
    }
}

impl FromStr for Config {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        parse(text, None)
    }
}

/// Reads `network.toml`.
///
/// # Errors
/// When it cannot be read, is not TOML, has an unknown key, or names no root key or no collector.
pub fn read_network(path: &Path) -> Result<NetworkFile, ConfigError> {
    parse::<CheckedNetwork>(&read(path)?, Some(path)).map(|network| network.0)
}

/// Reads the text of a `network.toml`.
///
/// # Errors
/// As [`read_network`].
pub fn parse_network(text: &str) -> Result<NetworkFile, ConfigError> {
    parse::<CheckedNetwork>(text, None).map(|network| network.0)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.into(), source };
    let mut text = String::new();
    let mut file = File::open(path).map_err(failed)?.take(MAX_FILE + 1);
    let length = file.read_to_string(&mut text).map_err(failed)?;
    if length as u64 > MAX_FILE {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")));
    }
    Ok(text)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, path: Option<&Path>) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|source| ConfigError::Parse { path: path.map(Into::into), source: Box::new(source) })
}

/// A default as the type of its field.
fn default_of<T: TryFrom<u64>>(setting: &Setting) -> T {
    T::try_from(setting.default).unwrap_or_else(|_| unreachable!("a test builds every default"))
}

/// Reads a number within the range of its setting.
fn number<'de, D, T>(setting: &Setting, deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<u64>,
{
    let given = i64::deserialize(deserializer)?;
    u64::try_from(given)
        .ok()
        .filter(|number| (setting.min..=setting.max).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            let Setting { key, min, max, .. } = setting;
            serde::de::Error::custom(format_args!("{key} = {given}: allowed is {min} to {max}"))
        })
}

macro_rules! numbers {
    ($($reader:ident: $type:ty = $setting:ident;)*) => {
        $(fn $reader<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
            number(&$setting, deserializer)
        })*
    };
}

numbers! {
    site_prefix: u8 = SITE_PREFIX;
    packets_per_second: u32 = PACKETS_PER_SECOND;
    bytes_per_day: u64 = BYTES_PER_DAY;
    concurrent: u32 = CONCURRENT;
    spool_bytes: u64 = SPOOL_BYTES;
    target_interval_ms: u32 = TARGET_INTERVAL_MS;
    target_packets_per_second: u32 = TARGET_PACKETS_PER_SECOND;
    busy_mbits: u64 = BUSY_MBITS;
    first_hop_ms: u64 = FIRST_HOP_MS;
}

fn resolvers<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<NameServer>, D::Error> {
    let found: Vec<NameServer> = texts::deserialize(deserializer)?;
    if found.len() > MAX_RESOLVERS {
        return Err(serde::de::Error::custom(format_args!("at most {MAX_RESOLVERS} resolvers")));
    }
    Ok(found)
}

fn kinds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Kind>, D::Error> {
    let mut found: Vec<Kind> = texts::deserialize(deserializer)?;
    found.sort_unstable_by_key(|kind| kind.number());
    found.dedup();
    if found.is_empty() {
        return Err(serde::de::Error::custom("kinds = []: name at least one kind, or set `pause = true`"));
    }
    Ok(found)
}

fn windows<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Window>, D::Error> {
    let found: Vec<Window> = texts::deserialize(deserializer)?;
    if found.len() > MAX_HOURS {
        return Err(serde::de::Error::custom(format_args!("at most {MAX_HOURS} spans of hours")));
    }
    Ok(found)
}

fn network<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<NetworkFile>, D::Error> {
    CheckedNetwork::deserialize(deserializer).map(|network| Some(network.0))
}

/// A network that a probe could join.
#[derive(Deserialize)]
#[serde(try_from = "NetworkFile")]
struct CheckedNetwork(NetworkFile);

impl TryFrom<NetworkFile> for CheckedNetwork {
    type Error = &'static str;
    fn try_from(network: NetworkFile) -> Result<Self, Self::Error> {
        if network.roots.is_empty() {
            return Err("a network has at least one root key (`roots`)");
        }
        if network.collectors.iter().all(|collector| collector.addresses.is_empty()) {
            return Err("a network has at least one collector with an address (`[[collectors]]`)");
        }
        Ok(Self(network))
    }
}

/// A list of things that are written as text.
mod texts {
    use std::fmt::Display;
    use std::str::FromStr;

    use ipnet::IpNet;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use sonde_protocol::spec::Kind;

    use super::hours::Window;
    use crate::resolve::NameServer;
    use crate::run::KINDS;

    /// What may stand in such a list.
    pub(super) trait Entry: Sized {
        /// What is allowed, for whoever wrote something else.
        const ALLOWED: &'static str;
        fn read(text: &str) -> Option<Self>;
    }

    impl Entry for IpNet {
        const ALLOWED: &'static str = "a network such as \"192.0.2.0/24\" or \"2001:db8::/32\"";
        fn read(text: &str) -> Option<Self> {
            text.parse::<IpNet>().map(|net| net.trunc()).ok()
        }
    }

    impl Entry for NameServer {
        const ALLOWED: &'static str = "an IP address such as \"192.0.2.53\", \"2001:db8::53\" or \"fe80::1%eth0\"";
        fn read(text: &str) -> Option<Self> {
            NameServer::from_str(text).ok()
        }
    }

    impl Entry for Kind {
        const ALLOWED: &'static str = "ping, traceroute, dns, sslcert, http, ntp, pathmtu";
        fn read(text: &str) -> Option<Self> {
            KINDS.into_iter().find(|kind| kind.name() == text)
        }
    }

    impl Entry for Window {
        const ALLOWED: &'static str = "a span of the day such as \"22:00-06:00\"";
        fn read(text: &str) -> Option<Self> {
            Window::read(text)
        }
    }

    pub(super) fn serialize_kinds<S: Serializer>(kinds: &[Kind], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(kinds.iter().map(|kind| kind.name()))
    }

    pub(super) fn serialize<T: Display, S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, T: Entry, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
        let read = |text: String| {
            T::read(&text).ok_or_else(|| D::Error::custom(format_args!("\"{text}\": allowed is {}", T::ALLOWED)))
        };
        Vec::<String>::deserialize(deserializer)?.into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../docs/sonde.toml.sample");

    /// The sample with its example of a network switched on: what is commented out has no space behind the `#`.
    fn sample_with_network() -> String {
        let switch_on = |line: &str| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
            _ => line.to_owned(),
        };
        SAMPLE.lines().map(switch_on).collect::<Vec<_>>().join("\n")
    }

    /// Every key of a file, with its section.
    fn keys(text: &str) -> Vec<String> {
        let table: toml::Table = text.parse().unwrap();
        let section = |(name, value): (&String, &toml::Value)| {
            let inner = value.as_table().unwrap().keys();
            inner.map(|key| format!("{name}.{key}")).collect::<Vec<_>>()
        };
        table.iter().flat_map(section).collect()
    }

    fn failure(text: &str) -> String {
        let error = text.parse::<Config>().unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    }

    #[test]
    fn the_sample_says_the_defaults() {
        assert_eq!(SAMPLE.parse::<Config>().unwrap(), Config::default());
        assert_eq!("".parse::<Config>().unwrap(), Config::default());
    }

    #[test]
    fn the_sample_lists_every_key_and_its_example_of_a_network_can_be_used() {
        let text = sample_with_network();
        let config: Config = text.parse().unwrap();
        assert!(config.network.is_some());
        assert_eq!(keys(&text), keys(&config.effective()), "the second is made from the types");
    }

    #[test]
    fn the_effective_configuration_reads_back_without_its_secret() {
        let mut config: Config = sample_with_network().parse().unwrap();
        config.policy.allow = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        config.policy.resolvers = vec!["192.0.2.53".parse().unwrap(), "fe80::1%eth0".parse().unwrap()];
        config.limits.concurrent = 7;
        config.limits.kinds = vec![Kind::Ping, Kind::Dns];
        config.limits.hours = vec![Window::read("22:00-06:00").unwrap(), Window::read("12:00-13:00").unwrap()];
        config.limits.pause = true;
        config.sandbox = SandboxSection { enabled: false, required: true, raw: Raw::Yes };
        config.page.listen = Some("[::1]:9090".parse().unwrap());
        let token = config.network.as_mut().unwrap().token.replace("secret".into());
        assert!(token.is_some(), "the sample shows one");
        let text = config.effective();
        assert!(!text.contains("secret"), "{text}");
        let mut back: Config = text.parse().unwrap();
        back.network.as_mut().unwrap().token = Some("secret".into());
        assert_eq!(back, config);
    }

    #[test]
    fn errors_name_the_place_and_what_is_allowed() {
        for (text, expected) in [
            ("[policy]\nsite_prefix = 70", ["line 2", "site_prefix = 70", "48 to 64"]),
            ("[limits]\nconcurrent = -1", ["line 2", "concurrent = -1", "1 to 2048"]),
            ("[limits]\nbytes_per_day = 99999999999999999", ["line 2", "bytes_per_day", "1048576 to"]),
            ("[limits]\npackets = 3", ["line 2", "`packets`", "`packets_per_second`"]),
            ("[policies]", ["line 1", "`policies`", "`policy`"]),
            ("[policy]\nallow = [\"10.0.0.0/33\"]", ["line 2", "\"10.0.0.0/33\"", "192.0.2.0/24"]),
            ("[policy]\nresolvers = [\"dns.example\"]", ["line 2", "\"dns.example\"", "an IP address"]),
            ("[limits]\nkinds = [\"ping\", \"arp\"]", ["line 2", "\"arp\"", "ping, traceroute"]),
            ("[page]\nlisten = \"0.0.0.0:9090\"", ["line 2", "0.0.0.0:9090", "a loopback address"]),
            ("[page]\nlisten = \"[::ffff:127.0.0.1]:9090\"", ["line 2", "127.0.0.1", "a loopback address"]),
            ("[page]\nlisten = \"127.0.0.1:0\"", ["line 2", "127.0.0.1:0", "with a port"]),
            ("[page]\nlisten = \"localhost:9090\"", ["line 2", "localhost:9090", "a loopback address"]),
            ("[limits]\nkinds = []", ["line 2", "kinds = []", "pause = true"]),
            ("[limits]\nhours = [\"22-6\"]", ["line 2", "\"22-6\"", "\"22:00-06:00\""]),
            ("[sandbox]\nraw = \"ping\"", ["line 2", "raw = \"ping\"", "true, false or \"pings\""]),
            ("[sandbox]\nenabled = 1", ["line 2", "enabled = 1", "boolean"]),
            ("[network]\nname = \"x\"\nroots = []\ncollectors = []", ["line 1", "network", "root key"]),
        ] {
            let message = failure(text);
            for part in expected {
                assert!(message.contains(part), "{part} is not in:\n{message}");
            }
        }
        assert!(
            failure("[policy]\nresolvers = [\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\",\"::1\"]")
                .contains("at most 8")
        );
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sonde.toml");
        let missing = Config::load(&path).unwrap_err();
        assert!(matches!(missing, ConfigError::Read { .. }) && missing.to_string().contains("sonde.toml"));
        std::fs::write(&path, "[policy]\nx = 1").unwrap();
        let wrong = Config::load(&path).unwrap_err();
        assert!(matches!(wrong, ConfigError::Parse { .. }) && wrong.to_string().contains("sonde.toml"));
        std::fs::write(&path, vec![b' '; MAX_FILE as usize + 1]).unwrap();
        assert!(matches!(Config::load(&path), Err(ConfigError::Read { .. })), "too large");
    }

    #[test]
    fn a_network_file_is_the_section_on_its_own() {
        let config: Config = sample_with_network().parse().unwrap();
        let network = config.network.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.toml");
        std::fs::write(&path, toml::to_string(&network).unwrap()).unwrap();
        assert_eq!(read_network(&path).unwrap(), network);
        std::fs::write(&path, "name = \"x\"\nroots = []\ncollectors = []").unwrap();
        assert!(matches!(read_network(&path), Err(ConfigError::Parse { .. })));
    }
}
