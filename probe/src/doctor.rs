//! `sonde-probe doctor`: can this machine measure, and if not, which step fails and what to do.
//!
//! `look` tries things out and writes down what the system said; `judge` makes sentences of that, and is pure. What is wrong
//! with the network is [`crate::condition`]'s to find and name, and what the running probe alone knows it is asked for. Nobody is
//! contacted but the configured resolvers, the collectors of the network that was named, and the targets that were named:
//! the internet is not asked unbidden.

mod judge;
mod look;

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use sonde_protocol::directory::NetworkFile;

use crate::config::Config;

/// What to look at beside the machine itself.
#[derive(Debug, Default)]
pub struct Doctor {
    /// What the host allows, and its resolvers.
    pub config: Config,
    /// The network whose collectors are to be reached.
    pub network: Option<NetworkFile>,
    /// The state directory of a probe: its network's newest directory, and the probe itself if it runs.
    pub state: Option<PathBuf>,
    /// Host names or addresses that should answer a ping.
    pub targets: Vec<String>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// As somebody wants it, or as the line is.
    Note,
    /// Something is missing that one can do without.
    Warning,
    /// Measurements, or the connection to the network, will fail.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What, in a word that does not change.
    pub check: &'static str,
    /// The condition that holds ([`sonde_protocol::condition`]), when it is one that the probe's record in the API names too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word: Option<&'static str>,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do, when there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// There is no problem.
    pub healthy: bool,
    /// In the order in which one would repair them.
    pub findings: Vec<Finding>,
}

impl Findings {
    fn new(findings: Vec<Finding>) -> Self {
        let healthy = findings.iter().all(|finding| finding.level != Level::Problem);
        Self { healthy, findings }
    }

    /// A line for each finding, and below it what to do.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let level = match finding.level {
                Level::Ok => "ok",
                Level::Note => "note",
                Level::Warning => "warning",
                Level::Problem => "problem",
            };
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{level:<9}{}: {}", finding.word.unwrap_or(finding.check), finding.text);
            for line in finding.advice.iter().flat_map(|advice| advice.lines()) {
                let _ = writeln!(text, "           {line}");
            }
        }
        text
    }
}

/// Looks, and says what is to be said.
pub async fn examine(doctor: &Doctor) -> Findings {
    Findings::new(judge::judge(&look::look(doctor).await))
}
