//! `sonde reference`, which runs a reference server or writes its zone, and `sonde admin network reference`, which lists
//! such servers in the network's directory.

use std::fs;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use sonde_protocol::bounded::Text;
use sonde_protocol::directory::Reference as Listed;
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::Family;
use sonde_reference::zone::{NameServer, Zone};
use sonde_reference::{Config, Reference, key};
use tracing::info;

use crate::admin::AdminContext;

/// Options of `sonde reference`.
#[derive(Debug, Clone, Args)]
pub struct ReferenceOptions {
    /// The data directory, for its key; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// An address to answer on; give each, of both families
    #[arg(long, value_name = "ADDR", required = true)]
    pub listen: Vec<IpAddr>,
    /// TCP port of TLS and UDP port of QUIC
    #[arg(long, value_name = "PORT", default_value_t = 443, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// UDP port of the echo
    #[arg(long, value_name = "PORT", default_value_t = 8334, value_parser = clap::value_parser!(u16).range(1..))]
    pub echo_port: u16,
    /// UDP port where nothing listens, and which no packet filter may close
    #[arg(long, value_name = "PORT", default_value_t = 8335, value_parser = clap::value_parser!(u16).range(1..))]
    pub closed_port: u16,
    /// Bytes a second that the echoes may send, all askers together
    #[arg(long, value_name = "BYTES", default_value_t = 6_250_000, value_parser = clap::value_parser!(u64).range(10_000..=1_000_000_000))]
    pub echo_bytes: u64,
    /// Prints the command by which the network's operator lists this server, and ends
    #[arg(long)]
    pub card: bool,
    /// Its name, for the card
    #[arg(long, requires = "card", default_value = "r1")]
    pub name: String,
    /// An IPv6 address of this server behind a link that takes 1280 bytes, for the card
    #[arg(long, requires = "card", value_name = "ADDR")]
    pub narrow: Option<Ipv6Addr>,
    /// The zone that belongs to it, for the card
    #[arg(long, requires = "card", value_name = "NAME")]
    pub zone: Option<String>,
}

/// What else `sonde reference` does.
#[derive(Debug, Clone, Subcommand)]
pub enum ReferenceSubcommand {
    /// Writes the zone that belongs to reference servers, as files for a name server that signs
    Zone(ZoneOptions),
}

/// Options of `sonde reference zone`.
#[derive(Debug, Clone, Args)]
pub struct ZoneOptions {
    /// The zone's name
    #[arg(long, value_name = "NAME")]
    pub origin: String,
    /// A name server of it: the first label of its name, its IPv4 and its IPv6 address
    #[arg(long, value_name = "LABEL=V4,V6", required = true)]
    pub name_server: Vec<ZoneServer>,
    /// An address of a reference server; give all, of both families
    #[arg(long, value_name = "ADDR", required = true)]
    pub reference: Vec<IpAddr>,
    /// The directory to write into; it must be there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// A name server as it is given on the command line.
#[derive(Debug, Clone)]
pub struct ZoneServer(NameServer);

impl FromStr for ZoneServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(label, rest)| Some((label, rest.split_once(',')?)));
        let Some((label, (v4, v6))) = parts else { return Err("LABEL=V4,V6 is expected".into()) };
        let v4: Ipv4Addr = v4.parse().map_err(|_| format!("{v4:?} is no IPv4 address"))?;
        let v6: Ipv6Addr = v6.parse().map_err(|_| format!("{v6:?} is no IPv6 address"))?;
        Ok(Self(NameServer { label: label.into(), v4, v6 }))
    }
}

/// Reference servers of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum ReferenceCommand {
    /// Lists a server, or replaces the one of this name; `sonde reference --card` prints the whole command
    Add {
        /// Its name
        name: String,
        /// Its key
        // One in 64 begins with a hyphen.
        #[arg(long, allow_hyphen_values = true)]
        key: PublicKey,
        /// Its IPv4 address
        #[arg(long)]
        v4: Ipv4Addr,
        /// Its IPv6 address
        #[arg(long)]
        v6: Ipv6Addr,
        /// TCP port of TLS and UDP port of QUIC
        #[arg(long)]
        port: u16,
        /// UDP port of the echo
        #[arg(long)]
        echo_port: Option<u16>,
        /// UDP port where nothing listens
        #[arg(long)]
        closed_port: Option<u16>,
        /// An IPv6 address of it behind a link that takes 1280 bytes
        #[arg(long)]
        narrow: Option<Ipv6Addr>,
        /// The zone that belongs to it
        #[arg(long)]
        zone: Option<String>,
    },
    /// Takes a server off the list
    Remove {
        /// Its name
        name: String,
    },
}

/// Runs a reference server until `stop`.
pub async fn run(options: &ReferenceOptions, stop: impl Future<Output = ()>) -> Result<()> {
    let key = key::open(&options.data).context("the server's key")?;
    let config = Config {
        listen: options.listen.clone(),
        port: options.port,
        echo_port: options.echo_port,
        echo_bytes: options.echo_bytes,
    };
    let server = Reference::start(&config, &key).await?;
    for bound in server.bound() {
        info!(tls = %bound.tls, quic = %bound.quic, echo = %bound.echo, key = %key.public(), "reference server");
    }
    stop.await;
    server.stop().await;
    Ok(())
}

/// The command by which the network's operator lists this server.
pub fn card(options: &ReferenceOptions) -> Result<String> {
    let key = key::open(&options.data).context("the server's key")?.public();
    let of = |af| options.listen.iter().find(|address| Family::of(**address) == af);
    let (Some(v4), Some(v6)) = (of(Family::V4), of(Family::V6)) else {
        bail!("a reference server has an address of each family: --listen twice");
    };
    let mut text = format!(
        "sonde admin --data DIR network reference add {} --key={key} --v4 {v4} --v6 {v6} --port {} --echo-port {} --closed-port {}",
        options.name, options.port, options.echo_port, options.closed_port
    );
    if let Some(narrow) = options.narrow {
        text += &format!(" --narrow {narrow}");
    }
    if let Some(zone) = &options.zone {
        text += &format!(" --zone {zone}");
    }
    Ok(text + "\n")
}

/// Writes the zone's files, and tells what they are.
pub fn write_zone(options: &ZoneOptions) -> Result<String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let zone = Zone {
        origin: options.origin.trim_end_matches('.').to_ascii_lowercase(),
        name_servers: options.name_server.iter().map(|server| server.0.clone()).collect(),
        references: options.reference.clone(),
        // Grows with each writing (RFC 1982: until 2106 without a thought).
        serial: u32::try_from(since.as_secs()).unwrap_or(u32::MAX),
    };
    let mut text = String::new();
    for file in zone.files()? {
        let path = options.out.join(format!("{}.zone", file.origin));
        fs::write(&path, &file.text).with_context(|| format!("cannot write {}", path.display()))?;
        let how = if file.signed { "to be signed" } else { "not to be signed" };
        text += &format!("{} ({how}): {}\n", file.origin, path.display());
    }
    Ok(text)
}

/// One line of `network show`.
pub(crate) fn line(reference: &Listed) -> String {
    let mut text = format!("reference {} {}", reference.name, reference.key);
    for address in Family::BOTH.iter().filter_map(|af| reference.address(*af)) {
        text += &format!(" {address}");
    }
    let ports =
        [("tls", reference.tls), ("quic", reference.quic), ("echo", reference.echo), ("closed", reference.closed)];
    for (what, port) in ports.iter().filter_map(|(what, port)| Some((what, (*port)?))) {
        text += &format!(" {what} {port}");
    }
    if let Some(narrow) = reference.narrow_address() {
        text += &format!(" narrow {narrow}");
    }
    if let Some(zone) = &reference.zone {
        text += &format!(" zone {zone}");
    }
    text + "\n"
}

impl AdminContext {
    pub(crate) fn references(&self, command: &ReferenceCommand) -> Result<String> {
        match command {
            ReferenceCommand::Add { name, key, v4, v6, port, echo_port, closed_port, narrow, zone } => {
                let listed = Listed {
                    name: Text::new(name.as_str()).context("the name is too long")?,
                    key: *key,
                    v4: Some(IpAddr::V4(*v4).into()),
                    v6: Some(IpAddr::V6(*v6).into()),
                    tls: Some(*port),
                    quic: Some(*port),
                    echo: *echo_port,
                    closed: *closed_port,
                    narrow: narrow.map(|narrow| IpAddr::V6(narrow).into()),
                    zone: zone
                        .as_ref()
                        .map(|zone| Text::new(zone.trim_end_matches('.')).context("the zone's name is too long"))
                        .transpose()?,
                };
                let said = line(&listed);
                let is_new = self.network.add_reference(listed)?;
                Ok(format!("{} {said}", if is_new { "listed" } else { "changed" }))
            }
            ReferenceCommand::Remove { name } => {
                self.network.remove_reference(name)?;
                Ok(format!("{name} is no reference any more\n"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_is_a_command_that_lists_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let options = ReferenceOptions {
            data: dir.path().into(),
            listen: vec!["2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap()],
            port: 443,
            echo_port: 8334,
            closed_port: 8335,
            echo_bytes: 10_000,
            card: true,
            name: "r1".into(),
            narrow: Some("2001:db8::2".parse().unwrap()),
            zone: Some("ref.example.net".into()),
        };
        let card = card(&options).unwrap();
        let words: Vec<&str> = card.split_whitespace().skip(4).collect();
        let crate::admin::AdminCommand::Network(crate::admin::NetworkCommand::Reference(ReferenceCommand::Add {
            key,
            v4,
            v6,
            narrow,
            zone,
            ..
        })) = crate::admin::parse(&words).unwrap()
        else {
            panic!("{card}")
        };
        assert_eq!(key, sonde_reference::key::open(dir.path()).unwrap().public());
        assert_eq!([IpAddr::V6(v6), IpAddr::V4(v4)], options.listen[..]);
        assert_eq!((narrow, zone), (options.narrow, options.zone));
    }

    #[test]
    fn a_name_server_is_read_or_refused() {
        assert!("ns1=192.0.2.53,2001:db8::53".parse::<ZoneServer>().is_ok());
        for wrong in ["ns1", "ns1=192.0.2.53", "ns1=2001:db8::53,192.0.2.53", "ns1=,"] {
            assert!(wrong.parse::<ZoneServer>().is_err(), "{wrong}");
        }
    }
}
