//! Names to addresses, by the resolvers of the host: those of `/etc/resolv.conf`, or the ones that `sonde.toml` names
//! instead. hickory-resolver does the asking.
//!
//! Every call asks anew: `resolve_on_probe` means before every run. So there is no cache, and neither the hosts file nor the
//! search list is used: a name in a measurement is whole, and what counts is what DNS says. The resolvers are asked at port
//! 53 over UDP, and over TCP when an answer is truncated; one after the other, as the C library does, until one says which
//! addresses there are or that there is none.
//!
//! This module must not know which addresses may be measured. It gives what DNS gives, [`crate::policy`] decides.

mod name_server;
mod scoped;

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use ipnet::Ipv6Net;
use sonde_protocol::address::Nat64Prefix;
use sonde_protocol::net::Family;
use sonde_protocol::order::MAX_ADDRESSES;
use tokio::time::timeout;

use crate::config::PolicySection;
use crate::sandbox::reader::Reader;
pub use name_server::{MAX_RESOLVERS, NameServer, parse_resolv_conf};
use scoped::ScopedRuntime;

/// Where the system keeps its resolvers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where systemd-resolved keeps those that it asks itself (systemd-resolved.service(8)).
pub const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// Where it listens: whoever is named so in the list of resolvers is no resolver, but asks some.
const STUBS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];

/// More of that file is not read.
const MAX_RESOLV_CONF: u64 = 64 * 1024;

/// How long one resolver is waited for before the next is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the question for the NAT64 prefix may take.
const NAT64_LIMIT: Duration = Duration::from_secs(5);

/// The most NAT64 prefixes that are believed.
pub(crate) const MAX_NAT64: usize = 4;

type Hickory = hickory_resolver::Resolver<ScopedRuntime>;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It cannot be a name in DNS.
    #[error("not a host name")]
    NotAName,
    /// It is an address of the other family.
    #[error("not an address of the family asked for")]
    OtherFamily,
    /// The host has no resolver.
    #[error("no resolver is configured")]
    NoResolver,
    /// The list of resolvers could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The name does not exist (NXDOMAIN).
    #[error("no such name")]
    NoSuchName,
    /// The name has no address of this family.
    #[error("the name has no IPv{0} address")]
    NoAddress(Family),
    /// The resolvers answered with an error.
    #[error("the resolver answered {0}")]
    Refused(ResponseCode),
    /// No resolver answered in time.
    #[error("no resolver answered in time")]
    Timeout,
    /// The question could not be asked or the answer not be read.
    #[error("resolver failed: {0}")]
    Failed(NetError),
}

/// Resolves names.
#[derive(Debug)]
pub struct Resolver {
    source: Source,
    current: Mutex<Option<Current>>,
}

/// Where the list of resolvers comes from.
#[derive(Debug)]
enum Source {
    /// It is given.
    Fixed(Vec<NameServer>),
    /// It is in a file, which is read again when it has changed.
    File(PathBuf),
    /// The same, and another process reads it for us; the numbers of that file and of the one behind a stub.
    Read(PathBuf, Arc<Reader>, [u8; 2]),
}

/// What tells one state of a file from another, also when it is replaced by a rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

#[derive(Debug, Clone)]
struct Current {
    /// Of the file the list came from.
    state: Option<FileState>,
    servers: Vec<Server>,
}

/// One resolver. hickory's own choice among several stops at the first that answers with an error.
#[derive(Debug, Clone)]
struct Server {
    address: SocketAddr,
    hickory: Hickory,
}

impl Resolver {
    /// The resolvers that the host's file names, else the system's.
    pub fn new(config: &PolicySection) -> Self {
        if config.resolvers.is_empty() {
            return Self::of_file(RESOLV_CONF);
        }
        Self { source: Source::Fixed(config.resolvers.clone()), current: Mutex::default() }
    }

    /// The resolvers that a file in the format of resolv.conf(5) names.
    pub fn of_file(path: impl Into<PathBuf>) -> Self {
        Self { source: Source::File(path.into()), current: Mutex::default() }
    }

    /// The system's resolvers, read by a process apart: this one may not open the files itself, [`RESOLV_CONF`] and
    /// [`BEHIND_STUB`].
    pub fn of_reader(reader: Arc<Reader>, numbers: [u8; 2]) -> Self {
        Self { source: Source::Read(RESOLV_CONF.into(), reader, numbers), current: Mutex::default() }
    }

    /// Exactly these, also at other ports than 53; for tests and labs.
    pub fn of_servers(servers: &[SocketAddr]) -> Self {
        let servers = servers.iter().copied().map(Server::new).collect();
        Self { source: Source::Fixed(Vec::new()), current: Mutex::new(Some(Current { state: None, servers })) }
    }

    /// The resolvers as configured, in order. They are the only ones that measurements of the probe's own resolvers may ask
    /// ([`crate::policy::check_resolver`]). Empty when there are none or the list cannot be read.
    pub fn own_resolvers(&self) -> Vec<SocketAddr> {
        let current = self.current();
        current.map(|current| current.servers.iter().map(|server| server.address).collect()).unwrap_or_default()
    }

    /// The same; where that is a stub on this machine, those that the stub asks.
    pub fn behind_stub(&self) -> Vec<SocketAddr> {
        let own = self.own_resolvers();
        if !own.iter().any(|one| STUBS.contains(&one.ip())) {
            return own;
        }
        let text = match &self.source {
            Source::Fixed(_) => return own,
            Source::File(_) => read_list(Path::new(BEHIND_STUB)),
            Source::Read(_, reader, [_, number]) => reader.read(*number),
        };
        // Another program at that address keeps no such list.
        text.map(|text| without_stub(own.clone(), &String::from_utf8_lossy(&text))).unwrap_or(own)
    }

    /// The addresses of `name` in one family, in the resolver's order, and how long asking took. At most
    /// [`MAX_ADDRESSES`]; never none. A literal address is itself.
    ///
    /// # Errors
    /// When the name has no address of the family, or nobody told within `limit`.
    pub async fn addresses(
        &self,
        name: &str,
        family: Family,
        limit: Duration,
    ) -> Result<(Vec<IpAddr>, Duration), ResolveError> {
        if let Ok(literal) = name.parse::<IpAddr>() {
            return if Family::of(literal) == family {
                Ok((vec![literal], Duration::ZERO))
            } else {
                Err(ResolveError::OtherFamily)
            };
        }
        let started = Instant::now();
        let addresses = timeout(limit, self.ask(name, family)).await.unwrap_or(Err(ResolveError::Timeout))?;
        Ok((addresses, started.elapsed()))
    }

    /// The NAT64 prefixes of the line, as its resolvers show them (RFC 7050): one question, and none on any failure.
    ///
    /// A prefix makes addresses inside it ordinary. So that a resolver cannot declare the private ones ordinary, only what
    /// RFC 6052 and RFC 8215 set aside for translation and unicast space of providers is believed.
    pub async fn nat64_prefixes(&self) -> Vec<Nat64Prefix> {
        let answers = timeout(NAT64_LIMIT, self.ask("ipv4only.arpa", Family::V6)).await;
        let Ok(Ok(answers)) = answers else { return Vec::new() };
        let v6: Vec<_> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                IpAddr::V6(v6) => Some(v6),
                IpAddr::V4(_) => None,
            })
            .collect();
        let mut found = Nat64Prefix::discover(&v6);
        found.retain(|prefix| may_translate(prefix.net()));
        found.truncate(MAX_NAT64);
        found
    }

    async fn ask(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, ResolveError> {
        let mut name = Name::from_str_relaxed(name).map_err(|_| ResolveError::NotAName)?;
        if name.num_labels() == 0 {
            return Err(ResolveError::NotAName);
        }
        // What a measurement names is whole; the host's search list stays the host's.
        name.set_fqdn(true);
        let mut result = Err(ResolveError::NoResolver);
        for server in self.current()?.servers {
            result = server.ask(&name, family).await;
            if matches!(result, Ok(_) | Err(ResolveError::NoSuchName | ResolveError::NoAddress(_))) {
                break;
            }
        }
        result
    }

    /// The list as it is now, with a resolver over it.
    fn current(&self) -> Result<Current, ResolveError> {
        let mut slot = self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let state = match &self.source {
            Source::Fixed(_) => None,
            Source::File(path) | Source::Read(path, ..) => {
                Some(FileState::of(path).map_err(|source| unreadable(path, source))?)
            }
        };
        let current = match slot.take() {
            Some(current) if current.state == state => current,
            _ => {
                let servers = self.read()?.into_iter().map(Server::new).collect();
                Current { state, servers }
            }
        };
        Ok(slot.insert(current).clone())
    }

    fn read(&self) -> Result<Vec<SocketAddr>, ResolveError> {
        let servers = match &self.source {
            Source::Fixed(servers) => servers.clone(),
            Source::File(path) => {
                let text = read_list(path).map_err(|source| unreadable(path, source))?;
                name_server::parse_resolv_conf(&String::from_utf8_lossy(&text))
            }
            Source::Read(path, reader, [number, _]) => {
                let text = reader.read(*number).map_err(|source| unreadable(path, source))?;
                name_server::parse_resolv_conf(&String::from_utf8_lossy(&text))
            }
        };
        Ok(servers.iter().map(NameServer::socket_address).collect())
    }
}

impl FileState {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

fn read_list(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_RESOLV_CONF).read_to_end(&mut text)?;
    Ok(text)
}

/// The list with what the stub asks in the stub's place.
fn without_stub(own: Vec<SocketAddr>, behind: &str) -> Vec<SocketAddr> {
    let is_stub = |one: &SocketAddr| STUBS.contains(&one.ip());
    let behind = name_server::parse_resolv_conf(behind).into_iter().map(|server| server.socket_address());
    let behind: Vec<SocketAddr> = behind.filter(|one| !is_stub(one)).collect();
    if behind.is_empty() {
        return own;
    }
    let others = own.into_iter().filter(|one| !is_stub(one) && !behind.contains(one)).collect::<Vec<_>>();
    behind.into_iter().chain(others).take(MAX_RESOLVERS).collect()
}

fn unreadable(path: &Path, source: io::Error) -> ResolveError {
    ResolveError::Read { path: path.into(), source }
}

impl Server {
    fn new(address: SocketAddr) -> Self {
        let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
            let mut connection = ConnectionConfig::new(protocol);
            connection.port = address.port();
            connection
        });
        let server = NameServerConfig::new(address.ip(), true, connections.into());
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = Hickory::builder_with_config(config, ScopedRuntime::new(address));
        let options = builder.options_mut();
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        // Within this it repeats a question over UDP by itself.
        options.timeout = PATIENCE;
        options.attempts = 0;
        let hickory = builder.build().expect("only TLS settings can be wrong, and there are none");
        Self { address, hickory }
    }

    async fn ask(&self, name: &Name, family: Family) -> Result<Vec<IpAddr>, ResolveError> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let lookup = self.hickory.lookup(name.clone(), kind).await.map_err(|error| failure(error, family))?;
        let addresses: Vec<_> = lookup
            .answers()
            .iter()
            .filter_map(|record| record.data.ip_addr())
            .filter(|address| Family::of(*address) == family)
            .take(MAX_ADDRESSES)
            .collect();
        if addresses.is_empty() { Err(ResolveError::NoAddress(family)) } else { Ok(addresses) }
    }
}

fn failure(error: NetError, family: Family) -> ResolveError {
    match error {
        NetError::Timeout => ResolveError::Timeout,
        NetError::Dns(DnsError::ResponseCode(code)) => ResolveError::Refused(code),
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => ResolveError::NoSuchName,
            ResponseCode::NoError => ResolveError::NoAddress(family),
            code => ResolveError::Refused(code),
        },
        other => ResolveError::Failed(other),
    }
}

/// Is this space where a translator's prefix may lie? Unicast space outside of the protocols' own (2001::/23, among them
/// Teredo) and 6to4, whose embedded addresses must stay visible; or one of the two that are set aside.
pub(crate) fn may_translate(prefix: Ipv6Net) -> bool {
    let inside = |net: &str| net.parse::<Ipv6Net>().is_ok_and(|net| net.contains(&prefix));
    let set_aside = inside("64:ff9b::/96") || inside("64:ff9b:1::/48");
    let unicast = inside("2000::/3") && !inside("2001::/23") && !inside("2002::/16");
    set_aside || unicast
}

#[cfg(test)]
mod tests;
