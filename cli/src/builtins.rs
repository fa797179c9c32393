//! The operator's file of built-in measurements: read whole, checked whole, and told to the catalog when the server starts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use sonde_api::{ApiConfig, BuiltinFile, read_builtins};
use sonde_protocol::time::UnixNanos;
use sonde_store::Catalog;
use toml::Spanned;
use tracing::info;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    measurement: Vec<Spanned<toml::Table>>,
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it, with lines.
pub fn read(text: &str, config: &ApiConfig, http_hosts: &[String], now: UnixNanos) -> Result<BuiltinFile> {
    let file: File = toml::from_str(text)?;
    let mut entries = Vec::new();
    for entry in &file.measurement {
        entries.push(serde_json::to_value(entry.get_ref())?);
    }
    let problems = match read_builtins(&entries, config, http_hosts, now) {
        Ok(file) => return Ok(file),
        Err(problems) => problems,
    };
    let mut words = String::new();
    for problem in problems {
        let line = file.measurement.get(problem.entry).map_or(0, |entry| line(text, entry.span().start));
        let id = entries.get(problem.entry).and_then(|entry| entry.get("id")).map(|id| format!(", id {id}"));
        let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
        words += &format!("\nline {line}{}: {field}{}", id.unwrap_or_default(), problem.detail);
    }
    bail!("it cannot be used:{words}");
}

/// The number of the line that a byte is in.
fn line(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}

/// Makes the built-in measurements be those of the file; none without one. Gives what it says.
///
/// # Errors
/// When the file cannot be used, or would have an old number measure something else. Nothing has changed then.
pub async fn reconcile(
    path: Option<&PathBuf>,
    catalog: &dyn Catalog,
    config: &ApiConfig,
    http_hosts: &[String],
    now: UnixNanos,
) -> Result<BuiltinFile> {
    let file = match path {
        Some(path) => load(path, config, http_hosts, now)
            .with_context(|| format!("error in the file of built-in measurements, {}", path.display()))?,
        None => BuiltinFile::default(),
    };
    let done = file.reconcile(catalog, config, http_hosts, now).await?;
    if !done.refused.is_empty() {
        let mut words = String::new();
        for (id, what) in &done.refused {
            words += &format!("\nid {id}: another {what} under the same number");
        }
        bail!(
            "built-in measurements measure the same for ever, so that their results mean the same: give what is new \
             another number{words}"
        );
    }
    if path.is_some() || !done.stopped.is_empty() {
        info!(
            measurements = file.builtins.len(),
            towards_each_anchor = file.towards_anchors.len(),
            made = done.made.len(),
            changed = done.changed.len(),
            stopped = done.stopped.len(),
            "built-in measurements"
        );
    }
    Ok(file)
}

fn load(path: &Path, config: &ApiConfig, http_hosts: &[String], now: UnixNanos) -> Result<BuiltinFile> {
    let text = std::fs::read_to_string(path).context("it cannot be read")?;
    read(&text, config, http_hosts, now)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sonde_protocol::net::Family;
    use sonde_protocol::spec::Kind;

    use super::*;

    const SHIPPED: &str = include_str!("../../docs/builtins.toml");

    const NOW: UnixNanos = UnixNanos::from_secs(1_760_000_000);

    fn parse(text: &str) -> Result<BuiltinFile> {
        read(text, &ApiConfig::default(), &[], NOW)
    }

    #[test]
    fn the_file_that_ships_measures_every_root_server_and_anchor_over_both_families() {
        let file = parse(SHIPPED).unwrap();
        assert_eq!(file.towards_anchors.len(), 4);
        let (reachability, all): (Vec<_>, Vec<_>) =
            file.builtins.into_iter().partition(|one| one.asked.spec.kind() == Kind::Ipv6);
        assert_eq!(
            reachability.iter().map(|one| (one.id.0, one.asked.interval)).collect::<Vec<_>>(),
            [(9001, Some(900))]
        );
        let mut targets: BTreeMap<String, Vec<(Kind, Family)>> = BTreeMap::new();
        for one in &all {
            let target = one.asked.target.clone().unwrap();
            assert!(!one.asked.resolved.is_empty() && one.asked.description.is_some(), "{}", one.id);
            targets.entry(target).or_default().push((one.asked.spec.kind(), one.asked.af));
        }
        let letters: Vec<String> = ('a'..='m').map(|letter| format!("{letter}.root-servers.net")).collect();
        assert_eq!(targets.keys().cloned().collect::<Vec<_>>(), letters);
        for (target, ways) in &targets {
            for family in [Family::V4, Family::V6] {
                let count = |kind| ways.iter().filter(|way| **way == (kind, family)).count();
                assert_eq!((count(Kind::Ping), count(Kind::Traceroute), count(Kind::Dns)), (1, 1, 2), "{target}");
            }
        }
        let k = all.iter().find(|one| one.id.0 == 1001).unwrap();
        assert_eq!((k.asked.target.as_deref(), k.asked.interval), (Some("k.root-servers.net"), Some(240)));
        assert_eq!(k.asked.resolved, ["193.0.14.129".parse::<std::net::IpAddr>().unwrap()]);
    }

    #[test]
    fn problems_name_their_lines() {
        let text = "\n[[measurement]]\nid = 1\ntype = \"ping\"\naf = 4\ntarget = \"20.0.0.1\"\n\n[[measurement]]\nid = \
                    2\ntype = \"ping\"\naf = 4\ntarget = \"127.0.0.1\"\nprobe = \"all\"\n";
        let error = parse(text).unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 3, "{error}");
        assert!(lines[1].starts_with("line 8, id 2: ") && lines[2].starts_with("line 8, id 2: "), "{error}");
        assert!(error.contains("target: 127.0.0.0/8 is for") && error.contains("probe: "), "{error}");
        assert!(parse("[measurement]\nid = 1\n").is_err());
        assert!(parse("[[measurements]]\nid = 1\n").is_err());
        assert!(parse("[[measurement]]\nid = 1\nid = 2\n").is_err());
        assert_eq!(parse("").unwrap(), BuiltinFile::default());
    }
}
