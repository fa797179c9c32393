//! Where addresses come from, by tables that the operator supplies as files: MaxMind's format (`.mmdb`), or lines of text
//! (CAIDA's pfx2as); and how ASes are called, by lists of names. They are read again when they change; a new file that cannot be used never replaces one that can.
//!
//! The first file that knows an address decides. This module must not know about HTTP, nor where its settings come from.

mod lines;
mod mmdb;
mod names;

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use sonde_protocol::ids::Asn;
use sonde_store::catalog::Origin;
use sonde_store::places::Places;

use lines::Lines;
use mmdb::Mmdb;
use names::Names;

/// The largest file that is read. The whole world by city has some 60 MB.
const MAX_FILE: u64 = 1 << 30;

/// The largest file of names. That of the whole world has some 5 MB.
const MAX_NAMES_FILE: u64 = 64 << 20;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(30);

/// The operator's tables.
pub struct PlaceFiles {
    asn: Vec<PathBuf>,
    country: Vec<PathBuf>,
    names: Vec<PathBuf>,
    current: RwLock<Arc<Tables>>,
    /// The files as they were when they were read last, with or without success.
    seen: Mutex<Vec<Stamp>>,
}

/// What the files say.
#[derive(Default)]
struct Tables {
    asn: Vec<Table<Asn>>,
    country: Vec<Table<Country>>,
    names: Vec<Names>,
}

enum Table<T> {
    Mmdb(Mmdb),
    Lines(Lines<T>),
}

/// Two letters (ISO 3166), upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Country([u8; 2]);

/// What tells one state of a file from another; absent when it could not be looked at.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct PlacesError {
    path: PathBuf,
    why: String,
}

impl PlaceFiles {
    /// Reads the files: tables of ASes, tables of countries, and names of ASes.
    pub fn open(asn: Vec<PathBuf>, country: Vec<PathBuf>, names: Vec<PathBuf>) -> Result<Arc<Self>, PlacesError> {
        let files = Self { asn, country, names, current: RwLock::default(), seen: Mutex::default() };
        let stamps = files.stamps();
        *files.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(files.read()?);
        *files.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamps;
        Ok(Arc::new(files))
    }

    /// Reads them again if one has changed since the last time. `true`: what they say now counts from now on.
    pub fn refresh(&self) -> Result<bool, PlacesError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.stamps();
        if *seen == stamps {
            return Ok(false);
        }
        // Also when it fails: a broken file is told of once.
        *seen = stamps;
        let tables = Arc::new(self.read()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = tables;
        Ok(true)
    }

    /// Looks at the files now and then, until they say something new that counts.
    pub async fn changed(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(POLL).await;
            let files = Arc::clone(self);
            match tokio::task::spawn_blocking(move || files.refresh()).await {
                Ok(Ok(true)) => {
                    tracing::info!("new tables of places are in use");
                    return;
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::error!(%error, "the new table of places cannot be used; the old one stays"),
                Err(error) => tracing::error!(%error, "the tables of places could not be looked at"),
            }
        }
    }

    fn read(&self) -> Result<Tables, PlacesError> {
        Ok(Tables {
            asn: self.asn.iter().map(|path| table(path, asn)).collect::<Result<_, _>>()?,
            country: self.country.iter().map(|path| table(path, Country::read)).collect::<Result<_, _>>()?,
            names: self.names.iter().map(|path| names(path)).collect::<Result<_, _>>()?,
        })
    }

    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |path: &PathBuf| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
        };
        self.asn.iter().chain(&self.country).chain(&self.names).map(stamp).collect()
    }

    fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Places for PlaceFiles {
    fn has_origins(&self) -> bool {
        !self.asn.is_empty()
    }

    fn has_countries(&self) -> bool {
        !self.country.is_empty()
    }

    fn origin(&self, address: IpAddr) -> Option<Origin> {
        let address = address.to_canonical();
        self.tables().asn.iter().find_map(|table| match table {
            Table::Mmdb(mmdb) => mmdb.origin(address),
            Table::Lines(lines) => lines.find(address).map(|(asn, prefix)| Origin { asn, prefix: Some(prefix) }),
        })
    }

    fn country(&self, address: IpAddr) -> Option<String> {
        let address = address.to_canonical();
        let country = self.tables().country.iter().find_map(|table| match table {
            Table::Mmdb(mmdb) => Country::read(&mmdb.country(address)?),
            Table::Lines(lines) => lines.find(address).map(|(country, _)| country),
        });
        country.map(|Country(letters)| letters.into_iter().map(char::from).collect())
    }

    fn network_name(&self, asn: Asn) -> Option<Arc<str>> {
        self.tables().names.iter().find_map(|names| names.find(asn))
    }

    fn names_version(&self) -> u64 {
        self.tables().names.iter().fold(0, |version, names| version.rotate_left(1) ^ names.version())
    }
}

impl Country {
    fn read(text: &str) -> Option<Self> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }
}

/// The AS of a prefix. One that several announce (`64500_64501`), or that was aggregated (`{64500,64501}`), counts as the
/// first one's.
fn asn(text: &str) -> Option<Asn> {
    let first = text.trim_start_matches('{').split(['_', ',', '}']).next()?;
    first.parse().ok().map(Asn)
}

fn names(path: &Path) -> Result<Names, PlacesError> {
    let failed = |why: String| PlacesError { path: path.to_owned(), why };
    let bytes = read_file(path, MAX_NAMES_FILE).map_err(|error| failed(error.to_string()))?;
    // Names from all over the world: one that is badly written makes no file useless.
    Names::read(&String::from_utf8_lossy(&bytes)).map_err(failed)
}

fn table<T>(path: &Path, value: fn(&str) -> Option<T>) -> Result<Table<T>, PlacesError> {
    let failed = |why: String| PlacesError { path: path.to_owned(), why };
    let bytes = read_file(path, MAX_FILE).map_err(|error| failed(error.to_string()))?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mmdb")) {
        return Mmdb::read(bytes).map(Table::Mmdb).map_err(failed);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is neither text nor a .mmdb".to_owned()))?;
    Lines::read(text, value).map(Table::Lines).map_err(failed)
}

fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other("it is too large"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(files: &PlaceFiles, address: &str) -> Option<(u32, String)> {
        files.origin(address.parse().unwrap()).map(|origin| (origin.asn.0, origin.prefix.unwrap()))
    }

    #[test]
    fn files_are_read_again_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (asns, countries) = (dir.path().join("pfx2as.txt"), dir.path().join("countries.mmdb"));
        fs::write(&asns, "20.0.0.0\t8\t64500\n20.1.0.0\t16\t64501_64502\n2a00::\t12\t{64503,64504}\n").unwrap();
        fs::write(&countries, mmdb::tests::countries(&[("20.0.0.0/9", "nl"), ("2a00::/16", "DE")])).unwrap();
        let files = PlaceFiles::open(vec![asns.clone()], vec![countries.clone()], Vec::new()).unwrap();
        assert_eq!(origin(&files, "20.0.0.9"), Some((64_500, "20.0.0.0/8".into())));
        assert_eq!(origin(&files, "20.1.255.9"), Some((64_501, "20.1.0.0/16".into())), "the longest prefix");
        assert_eq!(origin(&files, "::ffff:20.2.0.1"), Some((64_500, "20.0.0.0/8".into())));
        assert_eq!(origin(&files, "2a0f::1"), Some((64_503, "2a00::/12".into())));
        assert_eq!(origin(&files, "21.0.0.1"), None);
        let country = |address: &str| files.country(address.parse().unwrap());
        assert_eq!((country("20.0.0.9").as_deref(), country("20.200.0.1")), (Some("NL"), None));
        assert_eq!(country("2a00:1::1").as_deref(), Some("DE"));
        assert!(!files.refresh().unwrap(), "nothing has changed");

        fs::write(&asns, "20.0.0.0 8 64509\n20.0.0.0 33 1\n").unwrap();
        let error = files.refresh().unwrap_err().to_string();
        assert!(error.ends_with("pfx2as.txt: line 2: a prefix, its length and a value are expected"), "{error}");
        assert_eq!(origin(&files, "20.0.0.9").unwrap().0, 64_500, "the old one stays");
        assert!(!files.refresh().unwrap(), "told once");

        fs::write(&asns, "# a comment\n20.0.0.0 8 64510\n").unwrap();
        assert!(files.refresh().unwrap());
        assert_eq!(origin(&files, "20.1.0.9"), Some((64_510, "20.0.0.0/8".into())));

        fs::remove_file(&asns).unwrap();
        files.refresh().unwrap_err();
        assert_eq!(origin(&files, "20.1.0.9").unwrap().0, 64_510);
        // Half a database.
        let whole = fs::read(&countries).unwrap();
        fs::write(&asns, "20.0.0.0 8 64511\n").unwrap();
        fs::write(&countries, &whole[..whole.len() / 2]).unwrap();
        files.refresh().unwrap_err();
        assert_eq!((origin(&files, "20.1.0.9").unwrap().0, country("20.0.0.9").as_deref()), (64_510, Some("NL")));
    }

    #[test]
    fn the_first_file_that_knows_decides() {
        let dir = tempfile::tempdir().unwrap();
        let (own, world) = (dir.path().join("own.txt"), dir.path().join("world.mmdb"));
        fs::write(&own, "20.7.0.0 16 64500\n").unwrap();
        fs::write(&world, mmdb::tests::asns(&[("20.0.0.0/8", 64_501)])).unwrap();
        let files = PlaceFiles::open(vec![own, world], Vec::new(), Vec::new()).unwrap();
        assert_eq!(origin(&files, "20.7.0.1").unwrap().0, 64_500);
        assert_eq!(origin(&files, "20.8.0.1"), Some((64_501, "20.0.0.0/8".into())));
        assert_eq!(origin(&files, "2a00::1"), None);
        assert!(files.has_origins() && !files.has_countries());
        assert!(PlaceFiles::open(vec![dir.path().join("none")], Vec::new(), Vec::new()).is_err());
    }

    #[test]
    fn names_are_read_again_and_the_first_file_that_has_one_decides() {
        let dir = tempfile::tempdir().unwrap();
        let (own, world) = (dir.path().join("own.txt"), dir.path().join("asn.txt"));
        fs::write(&own, "64500 Ours\n").unwrap();
        fs::write(&world, b"64500 THEIRS, NL\n64501 CAF\xe9, FR\n").unwrap();
        let files = PlaceFiles::open(Vec::new(), Vec::new(), vec![own.clone(), world]).unwrap();
        let name = |asn| files.network_name(Asn(asn)).map(|name| name.to_string());
        assert_eq!((name(64_500).as_deref(), name(64_501).as_deref()), (Some("Ours"), Some("CAF\u{fffd}")));
        assert_eq!(name(64_502), None);
        let version = files.names_version();
        fs::write(&own, "64500 Ours, too\nnonsense\n").unwrap();
        let error = files.refresh().unwrap_err().to_string();
        assert!(error.ends_with("own.txt: line 2: the number of an AS and its name are expected"), "{error}");
        assert_eq!((name(64_500).as_deref(), files.names_version()), (Some("Ours"), version), "the old one stays");
        fs::write(&own, "64500 Renamed, NL\n").unwrap();
        assert!(files.refresh().unwrap());
        assert_eq!(name(64_500).as_deref(), Some("Renamed"));
        assert_ne!(files.names_version(), version);
    }
}
