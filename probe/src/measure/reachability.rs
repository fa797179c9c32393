//! `sonde-probe measure ipv6`: against which references, and how the verdict is told.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sonde_protocol::directory::Reference;
use sonde_protocol::result::{MeasurementResult, Outcome};

use super::cards;
use crate::identity::kept_directory;
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
    /// Tell the result as JSON instead of in words.
    pub json: bool,
}

impl Sources {
    /// The references, of all files and of the directory.
    ///
    /// # Errors
    /// When a file cannot be read or is not understood, and when there are none.
    pub fn references(&self) -> Result<Vec<Reference>, String> {
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
        if all.is_empty() {
            return Err(match &self.state {
                Some(_) => "the network lists no reference servers: there is nothing to measure against".into(),
                None => "measure against which references? give --state DIR of a probe, or --reference FILE with what \
                         `sonde reference --card` prints"
                    .into(),
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

fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}
