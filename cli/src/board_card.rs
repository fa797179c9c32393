//! `sonde.toml` for the card of a board: the network as in `network.toml`, and, as comments, what a volunteer may want to set.
//!
//! The probe's own parser and the board's first process read it; this module only writes.

use anyhow::Result;
use serde::Serialize;
use sonde_protocol::directory::NetworkFile;

/// As the probe's file has it: in a section.
#[derive(Serialize)]
struct Card {
    network: NetworkFile,
}

const HEAD: &str = "\
# All that is to be edited on a board's card. Put this file in place of the sonde.toml on the disk SONDE, then the card into the board.
# A token in it is a one-time word with which the board joins: treat it like a password until then. It is not needed again.

";

/// Nothing of it is in force. A test reads it with the hashes away.
const TAIL: &str = r#"
# What you allow. All settings and what they mean: docs/sonde.toml.sample.
#
#[limits]
#bytes_per_day = 1073741824
#packets_per_second = 200
#hours = ["22:00-06:00"]
#
#[policy]
#allow = []
#
# A fixed address, where the network gives none by itself; what is left out is found automatically. docs/os-image.md says more.
#
#[address]
#interface = "eth0"
#ipv4 = "192.0.2.7/24"
#gateway4 = "192.0.2.1"
#ipv6 = "2001:db8::7/64"
#gateway6 = "2001:db8::1"
#resolvers = ["2001:db8::1"]
"#;

/// The text of the file.
///
/// # Errors
/// Never of a network that exists: a name or key that TOML cannot say.
pub fn write(network: NetworkFile) -> Result<String> {
    Ok(format!("{HEAD}{}{TAIL}", toml::to_string(&Card { network })?))
}

#[cfg(test)]
mod tests {
    use sonde_probe::config::Config;

    use super::*;

    fn network() -> NetworkFile {
        let dir = tempfile::tempdir().unwrap();
        let addresses = ["collector.example.net:8333".into(), "[2001:db8::1]:8333".into()];
        let network = sonde_collector::Network::open_or_create(dir.path(), "test", &addresses).unwrap();
        network.network_file(Some("AAAAAAAAAAAAAAAAAAAAAA".into()))
    }

    #[test]
    fn a_probe_reads_the_network_and_its_own_defaults() {
        let network = network();
        let config: Config = toml::from_str(&write(network.clone()).unwrap()).unwrap();
        assert_eq!(config.network, Some(network));
        assert_eq!(Config { network: None, ..config }, Config::default());
    }

    #[test]
    fn what_is_proposed_in_comments_is_what_programs_understand() {
        let text: String = write(network())
            .unwrap()
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
            .collect();
        let mut table: toml::Table = text.parse().unwrap();
        let address = table.remove("address").unwrap();
        for key in ["interface", "ipv4", "gateway4", "ipv6", "gateway6", "resolvers"] {
            assert!(address.get(key).is_some(), "{key}");
        }
        let config: Config = toml::from_str(&toml::to_string(&table).unwrap()).unwrap();
        assert_eq!(config.limits.hours.len(), 1);
    }
}
