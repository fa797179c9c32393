//! Keys that sign releases, as files: Ed25519 in PKCS #8 (RFC 8410), PEM or DER, which nobody else may read. Their secret halves are
//! never printed. Public halves are PEM, of Ed25519 or, for people's hardware tokens, P-256.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use ring::signature::Ed25519KeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use sonde_update::json::Value;
use sonde_update::key::Key;
use sonde_update::sign::public;

use super::folder;

/// The longest key file: in PEM one has 119 bytes.
const MAX_KEY: u64 = 4 * 1024;

/// The most files in a folder of keys.
const MAX_FILES: usize = 64;

/// What stands before the 32 secret bytes in PKCS #8 (RFC 8410, section 7). Without the public half, because older programs read no
/// other.
const SECRET: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What stands before the 32 bytes of a public key (RFC 8410, section 4).
const PUBLIC: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The keys at hand.
#[derive(Debug, Default)]
pub struct Keyring(Vec<Ed25519KeyPair>);

impl Keyring {
    /// All keys in the files of a folder. What is no private key is passed over, but a key that others may read is not.
    pub fn open(folder: &Path) -> Result<Self> {
        let cannot = || format!("cannot read the keys in {}", folder.display());
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            if fs::metadata(entry.path()).is_ok_and(|file| file.is_file() && file.len() <= MAX_KEY) {
                paths.push(entry.path());
            }
            if paths.len() > MAX_FILES {
                bail!("{} has too many files to be a folder of keys", folder.display());
            }
        }
        paths.sort();
        let mut keys = Vec::new();
        for path in paths {
            keys.extend(read_if_key(&path)?);
        }
        Ok(Self(keys))
    }

    /// The keys of a folder that may not be there.
    pub fn open_if_there(folder: &Path) -> Result<Self> {
        if folder.exists() { Self::open(folder) } else { Ok(Self::default()) }
    }

    /// One key.
    pub fn of_file(path: &Path) -> Result<Self> {
        let pair = read_if_key(path)?.with_context(|| {
            format!("{} is no private Ed25519 key in PKCS #8 (`release key FILE` makes one)", path.display())
        })?;
        Ok(Self(vec![pair]))
    }

    /// Another key beside these.
    pub fn add(&mut self, pair: Ed25519KeyPair) {
        self.0.push(pair);
    }

    /// Those of another ring beside these.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// All keys.
    pub fn pairs(&self) -> &[Ed25519KeyPair] {
        &self.0
    }

    /// The secret half of a key, if it is here.
    pub fn of(&self, key: &Key) -> Option<&Ed25519KeyPair> {
        self.0.iter().find(|pair| public(pair) == *key)
    }
}

fn read_if_key(path: &Path) -> Result<Option<Ed25519KeyPair>> {
    let bytes = folder::read(path, MAX_KEY)?.with_context(|| format!("there is no {}", path.display()))?;
    let pem = PrivatePkcs8KeyDer::from_pem_slice(&bytes).ok();
    let der = pem.as_ref().map_or(bytes.as_slice(), |der| der.secret_pkcs8_der());
    let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) else { return Ok(None) };
    let mode = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?.mode();
    if mode & 0o077 != 0 {
        bail!("others can read the key {}: chmod 600 it, or make a new one if they may have", path.display());
    }
    Ok(Some(pair))
}

/// The public half's file.
pub fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Makes a key in a new file, and its public half beside it.
pub fn make(path: &Path) -> Result<Ed25519KeyPair> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let cannot = |_| anyhow::anyhow!("no key can be made of random numbers");
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(cannot)?;
    let secret = pem("PRIVATE KEY", &[&SECRET[..], &seed].concat());
    folder::write_new_secret(path, secret.as_bytes()).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow::anyhow!("{} is there already, and no key is overwritten", path.display()),
        _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
    })?;
    write_public(path, &pair)?;
    Ok(pair)
}

/// The key in a file, or a new one if there is no file.
pub fn make_if_missing(path: &Path) -> Result<Ed25519KeyPair> {
    if !path.exists() {
        return make(path);
    }
    let pair = read_if_key(path)?.with_context(|| format!("{} is no private Ed25519 key", path.display()))?;
    write_public(path, &pair)?;
    Ok(pair)
}

fn write_public(path: &Path, pair: &Ed25519KeyPair) -> Result<()> {
    let path = public_path(path);
    let text = public_pem(&public(pair)).unwrap_or_default();
    folder::write(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// A public key in PEM.
pub fn public_pem(key: &Key) -> Option<String> {
    match key {
        Key::Ed25519(bytes) => Some(pem("PUBLIC KEY", &[&PUBLIC[..], bytes].concat())),
        _ => match key.to_value()? {
            Value::Map(members) => match members.get("keyval") {
                Some(Value::Map(keyval)) => match keyval.get("public") {
                    Some(Value::Text(pem)) => Some(pem.clone()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        },
    }
}

/// Reads somebody's public key, or the public half of a private one.
pub fn read_public(path: &Path) -> Result<Key> {
    if let Some(pair) = read_if_key(path)? {
        return Ok(public(&pair));
    }
    let bytes = folder::read(path, MAX_KEY)?.with_context(|| format!("there is no {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    parse_public(text.trim()).with_context(|| format!("{} is no public key of Ed25519 or P-256 in PEM", path.display()))
}

fn parse_public(pem: &str) -> Option<Key> {
    let inner = pem.strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let base64: String = inner.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    let der = BASE64.decode(base64.as_bytes()).ok()?;
    if let Some(bytes) = der.strip_prefix(&PUBLIC) {
        return Some(Key::Ed25519(bytes.try_into().ok()?));
    }
    let text = |text: &str| Value::Text(text.to_owned());
    let keyval = Value::Map([("public".to_owned(), text(pem))].into());
    let members = [("keytype", text("ecdsa")), ("scheme", text("ecdsa-sha2-nistp256")), ("keyval", keyval)];
    let value = Value::Map(members.map(|(name, value)| (name.to_owned(), value)).into());
    Key::read(&value).ok().map(|(_, key)| key)
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(64) {
        text += &String::from_utf8_lossy(line);
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("targets-1.pem");
        let made = public(&make(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(make(&path).unwrap_err().to_string().contains("no key is overwritten"));
        assert_eq!(public(&make_if_missing(&path).unwrap()), made);
        assert_eq!(read_public(&path).unwrap(), made);
        assert_eq!(read_public(&public_path(&path)).unwrap(), made);
        // The public half and other files in the folder are no keys.
        fs::write(dir.path().join("README"), "keep out of reach").unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        assert_eq!(ring.pairs().len(), 1);
        assert!(ring.of(&made).is_some());
        assert!(Keyring::of_file(&public_path(&path)).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let said = Keyring::open(dir.path()).unwrap_err().to_string();
        assert!(said.contains("others can read the key") && said.contains("targets-1.pem"), "{said}");
    }

    #[test]
    fn keys_of_other_programs_are_read() {
        // RFC 8410, section 10.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let rfc = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        folder::write_new_secret(&path, rfc.as_bytes()).unwrap();
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";
        assert_eq!(read_public(&path).unwrap(), parse_public(public).unwrap());
        assert_eq!(public_pem(&read_public(&path).unwrap()).unwrap().trim(), public);
        // In DER.
        let der = PrivatePkcs8KeyDer::from_pem_slice(rfc.as_bytes()).unwrap();
        let path = dir.path().join("k.der");
        folder::write_new_secret(&path, der.secret_pkcs8_der()).unwrap();
        assert_eq!(read_public(&path).unwrap(), parse_public(public).unwrap());
        assert_eq!(parse_public("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"), None);
    }
}
