//! Which server, and with which key: flags first, then the environment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The server that is asked when nobody says which.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

const SERVER_HELP: &str =
    "The server's address, as https://sonde.example.net; else SONDE_SERVER, else http://127.0.0.1:8080";

/// The longest key.
const MAX_KEY: usize = 200;

/// Which server, and with which key.
#[derive(Debug, Clone, Args, Default)]
#[command(next_help_heading = "Server")]
pub struct AccessArgs {
    /// The server's address.
    #[arg(long, value_name = "URL", help = SERVER_HELP)]
    server: Option<String>,
    /// A file with the API key; else SONDE_KEY_FILE, or the key itself in SONDE_KEY
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    key_file: Option<PathBuf>,
    /// The API key itself. Others on this machine see it in the list of processes: prefer the file or SONDE_KEY
    #[arg(long, value_name = "KEY")]
    key: Option<Key>,
    /// Certificates, PEM, that vouch for the server besides this machine's own
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// An API key. It never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// For the one place that sends it.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl std::str::FromStr for Key {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_KEY || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("this is no API key");
        }
        Ok(Self(text.into()))
    }
}

/// A server and the way in.
#[derive(Debug)]
pub struct Access {
    /// `http://host:port`, without a slash at its end.
    pub server: String,
    /// The key, if there is one.
    pub key: Option<Key>,
    /// Whom to believe that the server is who it should be.
    pub tls: TlsConfig,
    /// Does the key go over a network in the clear?
    pub is_in_the_clear: bool,
}

impl AccessArgs {
    /// Finds everything out.
    ///
    /// # Errors
    /// When an address, a key or a file cannot be used.
    pub fn open(&self, environment: impl Fn(&str) -> Option<String>) -> Result<Access> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let given = self.server.clone().or_else(|| set("SONDE_SERVER")).unwrap_or_else(|| DEFAULT_SERVER.into());
        let (server, host) = server(&given)?;
        let key = match (&self.key, &self.key_file) {
            (Some(key), _) => Some(key.clone()),
            (None, Some(file)) => Some(read_key(file)?),
            (None, None) => match (set("SONDE_KEY"), set("SONDE_KEY_FILE")) {
                (Some(key), _) => Some(key.parse().map_err(anyhow::Error::msg).context("SONDE_KEY")?),
                (None, Some(file)) => Some(read_key(Path::new(&file))?),
                (None, None) => None,
            },
        };
        let is_in_the_clear = server.starts_with("http:") && !is_this_machine(&host);
        let tls = if server.starts_with("https:") { tls(self.ca.as_deref())? } else { TlsConfig::default() };
        Ok(Access { is_in_the_clear: is_in_the_clear && key.is_some(), server, key, tls })
    }
}

/// The address in its one form, and the host in it.
fn server(given: &str) -> Result<(String, String)> {
    let form = "a server's address is such as https://sonde.example.net";
    let text = given.trim().trim_end_matches('/');
    // Who copies it out of a script may have the whole base.
    let text = text.strip_suffix("/api/v2").unwrap_or(text);
    let uri: Uri = text.parse().with_context(|| format!("{given:?}: {form}"))?;
    let (Some("http" | "https"), Some(host)) = (uri.scheme_str(), uri.host().filter(|host| !host.is_empty())) else {
        bail!("{given:?}: {form}");
    };
    if !matches!(uri.path(), "" | "/")
        || uri.query().is_some()
        || uri.authority().is_some_and(|a| a.as_str().contains('@'))
    {
        bail!("{given:?}: {form}, without anything behind it");
    }
    Ok((text.to_owned(), host.to_owned()))
}

fn is_this_machine(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || literal.is_ok_and(|address| address.is_loopback())
}

fn read_key(file: &Path) -> Result<Key> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the key in {}", file.display()))?;
    text.parse().map_err(anyhow::Error::msg).with_context(|| file.display().to_string())
}

/// The machine's roots and those of a file; one provider of cryptography, as everywhere.
fn tls(ca: Option<&Path>) -> Result<TlsConfig> {
    let mut roots = rustls_native_certs::load_native_certs().certs;
    if let Some(file) = ca {
        let context = || format!("cannot read certificates from {}", file.display());
        let own: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(file)
            .with_context(context)?
            .collect::<Result<_, _>>()
            .with_context(context)?;
        if own.is_empty() {
            bail!("there is no certificate in {}", file.display());
        }
        roots.extend(own);
    }
    let roots: Vec<Certificate<'static>> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(args: AccessArgs, environment: &[(&str, &str)]) -> Result<Access> {
        args.open(|name| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn flags_before_the_environment_before_the_default() {
        let plain = open(AccessArgs::default(), &[]).unwrap();
        assert_eq!((plain.server.as_str(), plain.key), (DEFAULT_SERVER, None));
        let environment = [("SONDE_SERVER", "http://a.example:8080/"), ("SONDE_KEY", "secret\n")];
        let from_environment = open(AccessArgs::default(), &environment).unwrap();
        assert_eq!(from_environment.server, "http://a.example:8080");
        assert_eq!(from_environment.key.as_ref().map(Key::secret), Some("secret"));
        assert!(from_environment.is_in_the_clear);
        let args = AccessArgs {
            server: Some("http://[::1]:8080/api/v2/".into()),
            key: Some("other".parse().unwrap()),
            ..AccessArgs::default()
        };
        let flags = open(args, &environment).unwrap();
        assert_eq!((flags.server.as_str(), flags.is_in_the_clear), ("http://[::1]:8080", false));
        assert_eq!(flags.key.as_ref().map(Key::secret), Some("other"));
        assert!(!format!("{flags:?}").contains("other"), "a key must not show itself");
    }

    #[test]
    fn a_key_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-a-file\n").unwrap();
        let args = AccessArgs { key_file: Some(file.path().into()), ..AccessArgs::default() };
        assert_eq!(open(args, &[]).unwrap().key.as_ref().map(Key::secret), Some("from-a-file"));
        let named = open(AccessArgs::default(), &[("SONDE_KEY_FILE", file.path().to_str().unwrap())]).unwrap();
        assert_eq!(named.key.as_ref().map(Key::secret), Some("from-a-file"));
        std::fs::write(file.path(), "two\nlines").unwrap();
        assert!(open(AccessArgs { key_file: Some(file.path().into()), ..AccessArgs::default() }, &[]).is_err());
    }

    #[test]
    fn addresses_that_are_none() {
        for given in
            ["sonde.example.net", "ftp://a.example", "http://", "https://a.example/x", "http://u:p@a.example", ""]
        {
            assert!(server(given).is_err(), "{given}");
        }
    }
}
