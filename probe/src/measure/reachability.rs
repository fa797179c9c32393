//! `sonde-probe measure ipv6`: against which references, and how the verdict is told.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sonde_protocol::bounded::List;
use sonde_protocol::directory::{Collector, Endpoint, Reference};
use sonde_protocol::result::{MeasurementResult, Outcome};
use sonde_protocol::tls::{Ring, SecretKey};

use super::cards;
use crate::config::read_network;
use crate::identity::kept_directory;
use crate::resolve::Resolver;
use crate::run::with_causes;
use crate::uplink::{Addresses, fetch_directory};
use crate::verdict;

/// The greatest file of cards: a line of each of the references that a directory can list.
const MAX_FILE: u64 = 64 * 1024;

/// Where the references come from, and how to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// Files of cards.
    pub cards: Vec<PathBuf>,
    /// The state directory of a probe, for its network's directory.
    pub state: Option<PathBuf>,
    /// A network's file: its collectors give the directory to anybody.
    pub network: Option<PathBuf>,
    /// Tell the result as JSON instead of in words.
    pub json: bool,
}

impl Sources {
    /// The references, of all files and of the directories.
    ///
    /// # Errors
    /// When a file cannot be read or is not understood, when no collector of a network gives its directory, and when there are none.
    pub async fn references(&self, resolver: &Resolver) -> Result<Vec<Reference>, String> {
        let mut all = Vec::new();
        for path in &self.cards {
            let failed = |why: String| format!("{}: {why}", path.display());
            let text = text_of(path).map_err(|error| failed(error.to_string()))?;
            all.extend(cards::read(&text).map_err(failed)?);
        }
        if let Some(state) = &self.state {
            let kept = kept_directory(state).map_err(|error| format!("{}: {error}", state.display()))?;
            let directory = kept.ok_or_else(|| format!("{}: the probe has no directory yet", state.display()))?;
            all.extend(directory.references.iter().cloned());
        }
        if let Some(path) = &self.network {
            all.extend(of_network(path, resolver).await?);
        }
        if all.is_empty() {
            return Err(if self.state.is_some() || self.network.is_some() {
                "the network lists no reference servers: there is nothing to measure against".into()
            } else {
                "measure against which references? give --state DIR of a probe, --network FILE of a network, or --reference \
                 FILE with what `sonde reference --card` prints"
                    .into()
            });
        }
        Ok(all)
    }

    /// The result in words, if that is wanted and there is a verdict.
    pub fn words(&self, result: &MeasurementResult) -> Option<String> {
        match &result.outcome {
            Outcome::Ipv6(seen) if !self.json => Some(verdict::text(seen).trim_end().to_owned()),
            _ => None,
        }
    }
}

/// Those of the newest directory of a network, as its collectors give it to anybody. It is signed by a root key of the file, so it
/// does not matter who hands it out.
async fn of_network(path: &Path, resolver: &Resolver) -> Result<Vec<Reference>, String> {
    let failed = |error: &dyn std::error::Error| format!("{}: {}", path.display(), with_causes(error));
    let network = read_network(path).map_err(|error| failed(&error))?;
    let list = |of: fn(&Collector) -> &List<Endpoint, 16>| -> Vec<String> {
        network.collectors.iter().flat_map(|one| of(one).iter().map(ToString::to_string)).collect()
    };
    let endpoints = [list(|one| &one.addresses), list(|one| &one.tls)];
    let found = Addresses::find(resolver, [&endpoints[0], &endpoints[1]], None, &[]).await;
    let addresses = found.map_err(|error| failed(&error))?;
    // A key of nobody's: who asks is nobody's business.
    let key = SecretKey::generate().map_err(|error| failed(&error))?;
    let signed = fetch_directory(&key, &addresses).await.map_err(|error| failed(&error))?;
    let directory = signed.open(&network.roots, &Ring).map_err(|error| failed(&error))?;
    Ok(directory.references.iter().cloned().collect())
}

fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}
