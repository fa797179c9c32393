//! The network's keys and its signed directory, as files in the server's data directory.
//!
//! `root.key` signs the directory and should be moved away from the server once the network is more than a trial;
//! `collector.key` is this collector's own; `quic.key` lets probes recognise a restarted collector. All are 0600 and written
//! whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sonde_protocol::bounded::{List, Text};
use sonde_protocol::directory::{
    Collector, Directory, DirectoryError, Endpoint, MAX_REFERENCES, NetworkFile, Reference, SignedDirectory, same_host,
};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::Family;
use sonde_protocol::tls::{Ring, SecretKey};

const ROOT_KEY: &str = "root.key";
const COLLECTOR_KEY: &str = "collector.key";
const QUIC_KEY: &str = "quic.key";
const DIRECTORY: &str = "directory.cbor";

/// Why the network's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is there and makes no sense.
    #[error("{path}: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The root key is elsewhere, so nothing can be signed here.
    #[error("the root key is not in {0}: bring it back for this, or sign where it is")]
    NoRoot(PathBuf),
    /// A key cannot be made.
    #[error("no key could be made from the system's random numbers")]
    Random,
    /// The change makes no sense.
    #[error("{0}")]
    Refused(&'static str),
    /// The directory is not accepted.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// What QUIC's reset, connection-id and retry-token keys are derived from.
#[derive(Clone)]
pub struct QuicSecret(pub [u8; 32]);

/// The network as this server has it.
pub struct Network {
    dir: PathBuf,
    collector: SecretKey,
    quic: QuicSecret,
    directory: Directory,
    signed: SignedDirectory,
}

impl Network {
    /// Opens the network in `dir`, or makes a new one with this name whose only collector listens on `addresses`.
    /// When it exists and `addresses` are not empty, the directory is signed anew if they differ from what it says.
    pub fn open_or_create(dir: &Path, name: &str, addresses: &[String]) -> Result<Self, NetworkError> {
        if !dir.join(DIRECTORY).exists() {
            Self::create(dir, name, addresses)?;
        }
        let mut network = Self::open(dir)?;
        let listed = network.own().map(|own| own.addresses.iter().map(|a| a.to_string()).collect::<Vec<_>>());
        if !addresses.is_empty() && listed.as_deref() != Some(addresses) {
            let key = network.collector.public();
            let endpoints = endpoints(addresses)?;
            network.sign(|directory| {
                let mut collectors = std::mem::take(&mut directory.collectors).into_vec();
                match collectors.iter_mut().find(|collector| collector.key == key) {
                    Some(own) => own.addresses = endpoints,
                    None => {
                        collectors.insert(0, Collector { key, addresses: endpoints, tls: List::default() });
                    }
                }
                directory.collectors = List::cut(collectors);
            })?;
        }
        Ok(network)
    }

    /// Says where this collector is reached by TLS over TCP. The directory is signed anew if it says something else: `true`.
    pub fn tell_tls(&mut self, addresses: &[String]) -> Result<bool, NetworkError> {
        let endpoints = endpoints(addresses)?;
        if self.own().is_none_or(|own| own.tls == endpoints) {
            return Ok(false);
        }
        let key = self.collector.public();
        self.sign(|directory| {
            let mut collectors = std::mem::take(&mut directory.collectors).into_vec();
            if let Some(own) = collectors.iter_mut().find(|collector| collector.key == key) {
                own.tls = endpoints;
            }
            directory.collectors = List::cut(collectors);
        })?;
        Ok(true)
    }

    fn create(dir: &Path, name: &str, addresses: &[String]) -> Result<(), NetworkError> {
        fs::create_dir_all(dir).map_err(|source| NetworkError::File { path: dir.into(), source })?;
        let root = existing_or_new_key(&dir.join(ROOT_KEY))?;
        let collector = existing_or_new_key(&dir.join(COLLECTOR_KEY))?;
        if !dir.join(QUIC_KEY).exists() {
            let fresh = SecretKey::generate().map_err(|_| NetworkError::Random)?;
            // 32 bytes that only this server knows; a signature by a new key is as good a source as any.
            let bytes = fresh.sign(b"sonde quic secret");
            write_secret(&dir.join(QUIC_KEY), bytes.first_chunk::<32>().unwrap_or(&[0; 32]))?;
        }
        let directory = Directory {
            serial: 1,
            network: Text::cut(name),
            roots: List::cut([root.public()]),
            collectors: List::cut([Collector {
                key: collector.public(),
                addresses: endpoints(addresses)?,
                tls: List::default(),
            }]),
            http_hosts: List::default(),
            references: List::default(),
        };
        write_secret(&dir.join(DIRECTORY), &sign(&directory, &root)?)
    }

    /// Opens the network in `dir`.
    pub fn open(dir: &Path) -> Result<Self, NetworkError> {
        let path = dir.join(DIRECTORY);
        let signed: SignedDirectory = minicbor::decode(&read(&path)?)
            .map_err(|error| NetworkError::Damaged { path: path.clone(), why: error.to_string() })?;
        // Our own file: the root that signed it is one that it names, or it has been tampered with.
        let directory = signed
            .open(&[signed.root], &Ring)
            .map_err(|error| NetworkError::Damaged { path: path.clone(), why: error.to_string() })?;
        if !directory.roots.contains(&signed.root) {
            return Err(NetworkError::Damaged { path, why: "signed by a key that is not among its roots".into() });
        }
        let collector = read_key(&dir.join(COLLECTOR_KEY))?;
        let quic_path = dir.join(QUIC_KEY);
        let quic = <[u8; 32]>::try_from(read(&quic_path)?)
            .map_err(|_| NetworkError::Damaged { path: quic_path, why: "not 32 bytes".into() })?;
        Ok(Self { dir: dir.into(), collector, quic: QuicSecret(quic), directory, signed })
    }

    /// This collector's key.
    pub const fn collector_key(&self) -> &SecretKey {
        &self.collector
    }

    /// What QUIC's own keys are derived from.
    pub const fn quic_secret(&self) -> &QuicSecret {
        &self.quic
    }

    /// The newest directory.
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The newest directory as the root signed it.
    pub const fn signed(&self) -> &SignedDirectory {
        &self.signed
    }

    /// Is the root key on this server?
    pub fn root_is_here(&self) -> bool {
        self.dir.join(ROOT_KEY).exists()
    }

    fn own(&self) -> Option<&Collector> {
        self.directory.collectors.iter().find(|collector| collector.key == self.collector.public())
    }

    /// `network.toml` for a probe.
    pub fn network_file(&self, token: Option<String>) -> NetworkFile {
        NetworkFile {
            name: self.directory.network.to_string(),
            roots: self.directory.roots.iter().copied().collect(),
            token,
            collectors: self.directory.collectors.iter().cloned().collect(),
        }
    }

    /// Changes the directory, gives it the next serial number and signs it.
    pub fn sign(&mut self, change: impl FnOnce(&mut Directory)) -> Result<(), NetworkError> {
        let path = self.dir.join(ROOT_KEY);
        if !path.exists() {
            return Err(NetworkError::NoRoot(self.dir.clone()));
        }
        let root = read_key(&path)?;
        let mut directory = self.directory.clone();
        change(&mut directory);
        directory.serial = self.directory.serial.saturating_add(1);
        if directory.collectors.is_empty() || !directory.roots.contains(&root.public()) {
            return Err(NetworkError::Directory(DirectoryError::Empty));
        }
        let bytes = sign(&directory, &root)?;
        write_secret(&self.dir.join(DIRECTORY), &bytes)?;
        *self = Self::open(&self.dir)?;
        Ok(())
    }

    /// Gives this collector a new key. The old one stays in the directory until it is revoked, so that no probe is left
    /// without a collector that it knows.
    pub fn rotate(&mut self) -> Result<PublicKey, NetworkError> {
        let (addresses, tls) = self.own().map(|own| (own.addresses.clone(), own.tls.clone())).unwrap_or_default();
        let fresh = SecretKey::generate().map_err(|_| NetworkError::Random)?;
        let key = fresh.public();
        // Probes must know the new key before anybody uses it.
        self.sign(|directory| {
            let mut collectors = std::mem::take(&mut directory.collectors).into_vec();
            collectors.insert(0, Collector { key, addresses, tls });
            directory.collectors = List::cut(collectors);
        })?;
        write_secret(&self.dir.join(COLLECTOR_KEY), fresh.to_pkcs8())?;
        *self = Self::open(&self.dir)?;
        Ok(key)
    }

    /// Takes a collector's key out of the directory.
    pub fn revoke(&mut self, key: PublicKey) -> Result<(), NetworkError> {
        if key == self.collector.public() {
            return Err(NetworkError::Refused("this is the collector's present key: rotate first"));
        }
        if !self.directory.collectors.iter().any(|collector| collector.key == key) {
            return Err(NetworkError::Refused("no collector of the directory has this key"));
        }
        self.sign(|directory| {
            let collectors = std::mem::take(&mut directory.collectors);
            directory.collectors = List::cut(collectors.into_iter().filter(|collector| collector.key != key));
        })
    }

    /// Lists a host, by name or literal address, for http measurements. `false`: it is listed already, and nothing changes.
    pub fn allow_http(&mut self, host: &str) -> Result<bool, NetworkError> {
        let host = http_host(host)?;
        if self.directory.http_hosts.iter().any(|known| same_host(known, &host)) {
            return Ok(false);
        }
        let mut hosts = self.directory.http_hosts.clone();
        hosts.push(host).map_err(|_| NetworkError::Refused("the directory has no room for more http hosts"))?;
        self.sign(|directory| directory.http_hosts = hosts)?;
        Ok(true)
    }

    /// Lists a reference server, in the place of the one with its name if there is one. `false`: there was.
    pub fn add_reference(&mut self, reference: Reference) -> Result<bool, NetworkError> {
        check_reference(&reference)?;
        let mut references = self.directory.references.clone().into_vec();
        let known = references.iter_mut().find(|known| known.name == reference.name);
        let is_new = known.is_none();
        match known {
            Some(known) => *known = reference,
            None => references.push(reference),
        }
        let references = List::<_, MAX_REFERENCES>::new(references)
            .ok_or(NetworkError::Refused("the directory has no room for more references"))?;
        self.sign(|directory| directory.references = references)?;
        Ok(is_new)
    }

    /// Takes a reference server off the list.
    pub fn remove_reference(&mut self, name: &str) -> Result<(), NetworkError> {
        if !self.directory.references.iter().any(|known| known.name.as_str() == name) {
            return Err(NetworkError::Refused("the directory lists no reference of this name"));
        }
        self.sign(|directory| {
            let references = std::mem::take(&mut directory.references);
            directory.references = List::cut(references.into_iter().filter(|known| known.name.as_str() != name));
        })
    }

    /// Takes a host off the list for http measurements.
    pub fn forbid_http(&mut self, host: &str) -> Result<(), NetworkError> {
        if !self.directory.http_hosts.iter().any(|known| same_host(known, host)) {
            return Err(NetworkError::Refused("the directory does not list this http host"));
        }
        self.sign(|directory| {
            let hosts = std::mem::take(&mut directory.http_hosts);
            directory.http_hosts = List::cut(hosts.into_iter().filter(|known| !same_host(known, host)));
        })
    }
}

/// What would make a reference useless, or two of them one.
fn check_reference(reference: &Reference) -> Result<(), NetworkError> {
    if reference.name.is_empty()
        || !reference.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        return Err(NetworkError::Refused(
            "the name of a reference has letters, digits, hyphens, dots and underscores",
        ));
    }
    if Family::BOTH.iter().any(|af| reference.address(*af).is_none()) {
        return Err(NetworkError::Refused("a reference has an address of each family"));
    }
    if reference.narrow.is_some() && reference.narrow_address().is_none() {
        return Err(NetworkError::Refused("the address behind the narrow link is one of IPv6"));
    }
    let ports = [reference.tls, reference.quic, reference.echo, reference.closed];
    if reference.tls.is_none() || ports.contains(&Some(0)) {
        return Err(NetworkError::Refused("a reference has a port for TLS, and no port is 0"));
    }
    if reference.closed.is_some_and(|closed| [reference.quic, reference.echo].contains(&Some(closed))) {
        return Err(NetworkError::Refused("something listens on the port where nothing is to listen"));
    }
    if let Some(zone) = &reference.zone {
        http_host(zone)?;
    }
    Ok(())
}

/// A host as the directory lists it: a literal address, or a name in lower case without its final dot.
fn http_host(text: &str) -> Result<Text<255>, NetworkError> {
    let text = text.trim();
    let host = match text.parse::<IpAddr>() {
        Ok(literal) => literal.to_string(),
        Err(_) => text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase(),
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_host = host.parse::<IpAddr>().is_ok() || (host.len() <= 253 && host.split('.').all(is_label));
    match Text::new(host) {
        Some(host) if is_host => Ok(host),
        _ => Err(NetworkError::Refused("this is neither a host name nor an IP address")),
    }
}

fn endpoints(addresses: &[String]) -> Result<List<Endpoint, 16>, NetworkError> {
    let endpoints: Option<Vec<Endpoint>> = addresses.iter().map(Endpoint::new).collect();
    endpoints.and_then(List::new).ok_or(NetworkError::Refused("too many or too long collector addresses"))
}

fn sign(directory: &Directory, root: &SecretKey) -> Result<Vec<u8>, NetworkError> {
    let (to_sign, bytes) = directory.to_sign();
    let signed = SignedDirectory::new(bytes, root.public(), root.sign(&to_sign))
        .ok_or(NetworkError::Refused("the directory is too large"))?;
    Ok(sonde_protocol::message::to_cbor(&signed))
}

fn read(path: &Path) -> Result<Vec<u8>, NetworkError> {
    fs::read(path).map_err(|source| NetworkError::File { path: path.into(), source })
}

fn read_key(path: &Path) -> Result<SecretKey, NetworkError> {
    SecretKey::from_pkcs8(&read(path)?)
        .map_err(|error| NetworkError::Damaged { path: path.into(), why: error.to_string() })
}

fn existing_or_new_key(path: &Path) -> Result<SecretKey, NetworkError> {
    if path.exists() {
        return read_key(path);
    }
    let key = SecretKey::generate().map_err(|_| NetworkError::Random)?;
    write_secret(path, key.to_pkcs8())?;
    Ok(key)
}

/// Replaces a file by a 0600 one with these bytes: whole or not at all, also after a power cut.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), NetworkError> {
    let write = || -> io::Result<()> {
        let fresh = path.with_extension("new");
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| NetworkError::File { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn network() -> (tempfile::TempDir, Network) {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::open_or_create(dir.path(), "test", &["192.0.2.1:8333".into()]).unwrap();
        (dir, network)
    }

    #[test]
    fn a_network_is_made_once_and_its_secrets_are_ours_alone() {
        let (dir, network) = network();
        let again = Network::open_or_create(dir.path(), "other", &[]).unwrap();
        assert_eq!(again.signed(), network.signed());
        for file in [ROOT_KEY, COLLECTOR_KEY, QUIC_KEY] {
            let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn a_changed_address_is_signed_into_a_new_directory() {
        let (dir, network) = network();
        let again = Network::open_or_create(dir.path(), "test", &["192.0.2.2:8333".into()]).unwrap();
        assert_eq!(again.directory().serial, network.directory().serial + 1);
        assert_eq!(again.directory().collectors[0].addresses[0].as_str(), "192.0.2.2:8333");
    }

    #[test]
    fn where_tls_is_served_is_signed_once_and_outlives_a_rotation() {
        let (dir, mut network) = network();
        assert!(network.tell_tls(&["192.0.2.1:443".into()]).unwrap());
        assert!(!network.tell_tls(&["192.0.2.1:443".into()]).unwrap(), "it says so already");
        network.rotate().unwrap();
        let again = Network::open(dir.path()).unwrap();
        assert_eq!(again.directory().serial, 3);
        for collector in &again.directory().collectors {
            assert_eq!(collector.tls.iter().map(|t| t.as_str()).collect::<Vec<_>>(), ["192.0.2.1:443"]);
        }
    }

    #[test]
    fn rotation_and_revocation_are_accepted_by_who_knows_the_root() {
        let (dir, mut network) = network();
        let roots: Vec<_> = network.directory().roots.iter().copied().collect();
        let old = network.collector_key().public();
        let new = network.rotate().unwrap();
        let directory = network.signed().open(&roots, &Ring).unwrap();
        assert_eq!(directory.collectors.iter().map(|c| c.key).collect::<Vec<_>>(), [new, old]);
        assert!(network.revoke(new).is_err(), "the key in use cannot be revoked");
        network.revoke(old).unwrap();
        assert_eq!(network.signed().open(&roots, &Ring).unwrap().collectors.len(), 1);
        fs::remove_file(dir.path().join(ROOT_KEY)).unwrap();
        assert!(matches!(network.rotate(), Err(NetworkError::NoRoot(_))));
    }

    #[test]
    fn http_hosts_are_listed_signed_and_removed() {
        let (dir, mut network) = network();
        assert!(network.allow_http("WWW.Example.net.").unwrap());
        assert!(!network.allow_http("www.example.net").unwrap(), "once is enough");
        assert!(network.allow_http("2001:DB8:0::1").unwrap());
        let listed = |network: &Network| -> Vec<String> {
            network.directory().http_hosts.iter().map(ToString::to_string).collect()
        };
        assert_eq!(listed(&network), ["www.example.net", "2001:db8::1"]);
        assert_eq!(network.directory().serial, 3);
        assert_eq!(listed(&Network::open(dir.path()).unwrap()), listed(&network));
        network.forbid_http("www.example.net.").unwrap();
        assert_eq!(listed(&network), ["2001:db8::1"]);
        assert!(matches!(network.forbid_http("www.example.net"), Err(NetworkError::Refused(_))));
        for bad in ["", "a b", "http://a.example/", "a..b", "a.example:80"] {
            assert!(matches!(network.allow_http(bad), Err(NetworkError::Refused(_))), "{bad}");
        }
    }

    fn reference(name: &str) -> Reference {
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap().into());
        Reference {
            name: Text::cut(name),
            key: PublicKey([7; 32]),
            v4: address("192.0.2.1"),
            v6: address("2001:db8::1"),
            tls: Some(443),
            quic: Some(443),
            echo: Some(8334),
            closed: Some(8335),
            narrow: None,
            zone: None,
        }
    }

    #[test]
    fn references_are_listed_signed_replaced_and_removed() {
        let (dir, mut network) = network();
        assert!(network.add_reference(reference("r1")).unwrap());
        assert!(network.add_reference(reference("r2")).unwrap());
        assert!(!network.add_reference(Reference { tls: Some(8443), ..reference("r1") }).unwrap());
        let listed = |network: &Network| -> Vec<(String, Option<u16>)> {
            network.directory().references.iter().map(|known| (known.name.to_string(), known.tls)).collect()
        };
        assert_eq!(listed(&network), [("r1".to_owned(), Some(8443)), ("r2".to_owned(), Some(443))]);
        assert_eq!(listed(&Network::open(dir.path()).unwrap()), listed(&network));
        network.remove_reference("r1").unwrap();
        assert!(matches!(network.remove_reference("r1"), Err(NetworkError::Refused(_))));
        let wrong: [fn(&mut Reference); 7] = [
            |reference| reference.name = Text::cut("a b"),
            |reference| reference.v6 = None,
            |reference| reference.v6 = reference.v4,
            |reference| reference.narrow = reference.v4,
            |reference| reference.tls = Some(0),
            |reference| reference.closed = reference.echo,
            |reference| reference.zone = Some(Text::cut("a..b")),
        ];
        for (number, wrong) in wrong.into_iter().enumerate() {
            let mut reference = reference("r3");
            wrong(&mut reference);
            assert!(matches!(network.add_reference(reference), Err(NetworkError::Refused(_))), "{number}");
        }
        assert_eq!(listed(&network).len(), 1);
    }

    #[test]
    fn damaged_files_are_named() {
        let (dir, _) = network();
        fs::write(dir.path().join(COLLECTOR_KEY), b"x").unwrap();
        let error = Network::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains(COLLECTOR_KEY), "{error}");
    }
}
