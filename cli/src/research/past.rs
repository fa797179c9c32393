//! `sonde results`: what a measurement has seen so far, as the same tables; and `sonde stream`: what comes from now on, as
//! JSON.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use super::access::AccessArgs;
use super::clean;
use super::client::{Client, ClientError};
use super::follow::{complaint, message};
use super::people::People;
use super::query::query;
use super::row::Row;
use super::summary::Summary;
use super::table::{self, Table};

/// How long to wait after a broken stream.
const AGAIN: Duration = Duration::from_secs(2);

/// `sonde results`.
#[derive(Debug, Clone, Args)]
pub struct ResultsArgs {
    /// The measurement
    id: u64,
    /// From this time on, Unix seconds or ISO 8601
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Until this time
    #[arg(long, value_name = "TIME")]
    stop: Option<String>,
    /// Only the newest of each probe
    #[arg(long, conflicts_with_all = ["start", "stop"])]
    latest: bool,
    /// Only of these probes, such as 1-5,9
    #[arg(long, value_name = "PROBES")]
    probes: Option<String>,
    /// Prints each result as a line of JSON
    #[arg(long, alias = "txt")]
    json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as help of the whole command")]
    pub access: AccessArgs,
}

impl ResultsArgs {
    /// Prints them. The exit code says whether there were any.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn run(&self, client: &Client) -> Result<ExitCode> {
        let what = if self.latest { "latest" } else { "results" };
        let parameters = query(&[
            ("format", Some("txt".into())),
            ("start", self.start.clone()),
            ("stop", self.stop.clone()),
            ("probe_ids", self.probes.clone()),
        ]);
        let lines = client.lines(&format!("/api/v2/measurements/{}/{what}/?{parameters}", self.id), None)?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.json {
            let mut any = false;
            for line in lines {
                any = true;
                writeln!(out, "{}", clean::json(&line?))?;
            }
            out.flush()?;
            return Ok(if any { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let measurement = client.get(&format!("/api/v2/measurements/{}/?fields=type,af,probes", self.id))?;
        let kind = measurement["type"].as_str().and_then(|name| name.parse().ok());
        let af = measurement["af"].as_u64().and_then(|af| u8::try_from(af).ok());
        let mut people = People::default();
        let probes = measurement["probes"].as_array().into_iter().flatten().filter_map(|probe| probe["id"].as_u64());
        people.meet(client, probes)?;
        let (table, mut summary) = (Table::of_kind(kind, true), Summary::default());
        let widths = table.usual_widths();
        writeln!(out, "{}", table.head(&widths))?;
        for line in lines {
            let Some(mut row) = serde_json::from_str::<Value>(&line?).ok().as_ref().and_then(Row::read) else {
                continue;
            };
            row.af = row.af.or(af);
            summary.add(&row, &people);
            writeln!(out, "{}", table.line(&table::cells(&row, true, &people), &widths))?;
        }
        for line in summary.lines(None) {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        Ok(if summary.results() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// `sonde stream`.
#[derive(Debug, Clone, Args)]
pub struct StreamArgs {
    /// Of this measurement
    #[arg(long, value_name = "ID")]
    msm: Option<u64>,
    /// Of this probe
    #[arg(long, value_name = "ID")]
    prb: Option<u64>,
    /// Of this kind, such as ping
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<String>,
    /// From probes in this prefix
    #[arg(long, value_name = "PREFIX")]
    source_prefix: Option<String>,
    /// To targets in this prefix
    #[arg(long, value_name = "PREFIX")]
    destination_prefix: Option<String>,
    /// Begins with what came before
    #[arg(long)]
    backlog: bool,
    /// Probes that come and go, instead of results
    #[arg(long, conflicts_with_all = ["kind", "backlog", "destination_prefix", "msm"])]
    probestatus: bool,
    /// Ends after so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as help of the whole command")]
    pub access: AccessArgs,
}

impl StreamArgs {
    /// Prints what comes, until Ctrl-C.
    ///
    /// # Errors
    /// When the server does not stream.
    pub fn run(&self, client: &Client) -> Result<()> {
        let stream = if self.probestatus { "probestatus" } else { "result" };
        let parameters = query(&[
            ("streamType", Some(stream.into())),
            ("msm", self.msm.map(|id| id.to_string())),
            ("prb", self.prb.map(|id| id.to_string())),
            ("type", self.kind.clone()),
            ("sourcePrefix", self.source_prefix.clone()),
            ("destinationPrefix", self.destination_prefix.clone()),
            ("sendBacklog", self.backlog.then(|| "true".into())),
        ]);
        let path = format!("/stream/?{parameters}");
        let mut printed = 0;
        let mut is_first = true;
        loop {
            let why = match client.lines(&path, None) {
                Ok(lines) => match self.print(lines, &mut printed)? {
                    Some(why) => why,
                    None => return Ok(()),
                },
                Err(error) if error.is_not_found() => bail!("{} has no streams", client.server()),
                Err(error @ ClientError::Refused(_)) => return Err(error.into()),
                // Later it is a server that starts again.
                Err(error) if is_first => return Err(error.into()),
                Err(error) => error.to_string(),
            };
            is_first = false;
            say(&format!("{why}; trying again. What comes meanwhile is missing here; `sonde results` has it"));
            thread::sleep(AGAIN);
        }
    }

    /// Prints until the stream breaks, and gives why; nothing when there was enough.
    fn print(
        &self,
        lines: impl Iterator<Item = Result<String, ClientError>>,
        printed: &mut u64,
    ) -> Result<Option<String>> {
        for line in lines {
            let line = match line {
                Ok(line) => line,
                Err(error) => return Ok(Some(error.to_string())),
            };
            match message(&line) {
                Some((name, _, text)) if name == "atlas_result" || name == "atlas_probestatus" => {
                    let mut out = io::stdout().lock();
                    writeln!(out, "{}", clean::json(&text))?;
                    out.flush()?;
                    *printed += 1;
                    if self.limit.is_some_and(|limit| *printed >= limit) {
                        return Ok(None);
                    }
                }
                Some((name, payload, _)) if name == "atlas_error" => say(&complaint(&payload)),
                _ => {}
            }
        }
        Ok(Some("the stream has ended".into()))
    }
}

/// For people, beside the output.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", clean::text(text, 400));
}
