//! `sonde probes` and `sonde measurements`: what there is, as a table or as JSON.

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::access::AccessArgs;
use super::clean;
use super::client::Client;
use super::query::query;
use super::row::{Column, number, text};
use super::table::Table;

/// How many objects a page has at most.
const PAGE: u64 = 500;

/// The longest text of a cell, and of a single object's line.
const MAX_CELL: usize = 48;
const MAX_LINE: usize = 2000;

const PROBE_COLUMNS: [Column; 7] = [
    number("ID", 6),
    text("CC", 2),
    text("AS (V4)", 8),
    text("AS (V6)", 8),
    text("NETWORK (V4)", 18),
    text("NETWORK (V6)", 22),
    text("STATUS", 12),
];

const MEASUREMENT_COLUMNS: [Column; 8] = [
    number("ID", 8),
    text("TYPE", 10),
    text("AF", 2),
    text("STATUS", 10),
    number("EVERY", 6),
    number("PROBES", 6),
    text("TARGET", 24),
    text("DESCRIPTION", 24),
];

/// `sonde probes`.
#[derive(Debug, Clone, Args)]
pub struct ProbesArgs {
    /// Only this probe, with everything that is known of it
    id: Option<u64>,
    /// In this country, such as DE
    #[arg(long, value_name = "CC")]
    country: Option<String>,
    /// In this AS
    #[arg(long, value_name = "NUMBER")]
    asn: Option<String>,
    /// With this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Connected, disconnected or "never connected"
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Your own
    #[arg(long)]
    mine: bool,
    #[command(flatten)]
    list: ListArgs,
}

/// `sonde measurements`.
#[derive(Debug, Clone, Args)]
pub struct MeasurementsArgs {
    /// Only this measurement, with everything that is known of it
    id: Option<u64>,
    /// Your own
    #[arg(long)]
    mine: bool,
    /// Of this kind, such as ping
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<String>,
    /// In this status, such as ongoing
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// With this target
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// With these words in target or description
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// Over this family, 4 or 6
    #[arg(long, value_name = "FAMILY")]
    af: Option<u8>,
    #[command(flatten)]
    list: ListArgs,
}

/// What both have.
#[derive(Debug, Clone, Args)]
struct ListArgs {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    /// Prints each as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

impl ProbesArgs {
    /// Server and key.
    pub fn access(&self) -> &AccessArgs {
        &self.list.access
    }

    /// Prints them.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn run(&self, client: &Client) -> Result<()> {
        if let Some(id) = self.id {
            return one(&client.get(&format!("/api/v2/probes/{id}/"))?, self.list.json);
        }
        let asn = self.asn.as_ref().map(|asn| asn.to_ascii_uppercase().trim_start_matches("AS").to_owned());
        let tags = (!self.tags.is_empty()).then(|| self.tags.join(","));
        let parameters = [
            ("country_code", self.country.clone()),
            ("asn", asn),
            ("tags", tags),
            ("status_name", self.status.clone()),
        ];
        let path = if self.mine { "/api/v2/probes/my/" } else { "/api/v2/probes/" };
        self.list.run(client, path, &parameters, &Table::new(&PROBE_COLUMNS), probe)
    }
}

impl MeasurementsArgs {
    /// Server and key.
    pub fn access(&self) -> &AccessArgs {
        &self.list.access
    }

    /// Prints them.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn run(&self, client: &Client) -> Result<()> {
        if let Some(id) = self.id {
            return one(&client.get(&format!("/api/v2/measurements/{id}/?optional_fields=probes"))?, self.list.json);
        }
        let parameters = [
            ("mine", self.mine.then(|| "true".to_owned())),
            ("type", self.kind.clone()),
            ("status", self.status.clone()),
            ("target", self.target.clone()),
            ("search", self.search.clone()),
            ("af", self.af.map(|af| af.to_string())),
            // The newest are what one looks for.
            ("sort", Some("-id".into())),
        ];
        self.list.run(client, "/api/v2/measurements/", &parameters, &Table::new(&MEASUREMENT_COLUMNS), measurement)
    }
}

impl ListArgs {
    fn run(
        &self,
        client: &Client,
        path: &str,
        parameters: &[(&str, Option<String>)],
        table: &Table,
        cells: fn(&Value) -> Vec<String>,
    ) -> Result<()> {
        let (mut found, mut total) = (Vec::new(), 0);
        for page in 1.. {
            let size = self.limit.clamp(1, PAGE);
            let more = query(&[("page", Some(page.to_string())), ("page_size", Some(size.to_string()))]);
            let answer = client.get(&format!("{path}?{}&{more}", query(parameters)))?;
            total = answer["count"].as_u64().unwrap_or_default();
            let objects = answer["results"].as_array().cloned().unwrap_or_default();
            let is_last = objects.is_empty() || answer["next"].is_null();
            found.extend(objects);
            if is_last || found.len() as u64 >= self.limit {
                break;
            }
        }
        found.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        let mut out = io::stdout().lock();
        if self.json {
            for object in &found {
                writeln!(out, "{}", clean::json(&object.to_string()))?;
            }
            return Ok(());
        }
        let lines: Vec<Vec<String>> = found.iter().map(cells).collect();
        let widths = table.widths(lines.iter().map(Vec::as_slice));
        writeln!(out, "{}", table.head(&widths))?;
        for line in &lines {
            writeln!(out, "{}", table.line(line, &widths))?;
        }
        if total > found.len() as u64 {
            writeln!(out, "{} of {total}; --limit shows more", found.len())?;
        }
        Ok(())
    }
}

/// A single object: a line for each member.
fn one(object: &Value, wants_json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    match object.as_object().filter(|_| !wants_json) {
        None => writeln!(out, "{}", clean::json(&object.to_string()))?,
        Some(members) => {
            let width = members.keys().map(|name| name.chars().count()).max().unwrap_or_default().min(MAX_CELL);
            for (name, value) in members {
                writeln!(out, "{:<width$}  {}", clean::text(name, MAX_CELL), cell_of(value, MAX_LINE))?;
            }
        }
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    cell_of(value, MAX_CELL)
}

fn cell_of(value: &Value, longest: usize) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => clean::text(text, longest),
        other => clean::text(&other.to_string(), longest),
    }
}

fn probe(probe: &Value) -> Vec<String> {
    let asn = |value: &Value| value.as_u64().map_or_else(|| "–".into(), |asn| format!("AS{asn}"));
    vec![
        cell(&probe["id"]),
        cell(&probe["country_code"]),
        asn(&probe["asn_v4"]),
        asn(&probe["asn_v6"]),
        cell(&probe["prefix_v4"]),
        cell(&probe["prefix_v6"]),
        cell(&probe["status"]["name"]),
    ]
}

fn measurement(measurement: &Value) -> Vec<String> {
    let every = match measurement["interval"].as_u64() {
        Some(seconds) if measurement["is_oneoff"] != true => format!("{seconds}s"),
        _ => "once".into(),
    };
    // dns with the probes' own resolvers has no target; the name is what it is about.
    let target = match &measurement["target"] {
        Value::Null => &measurement["query_argument"],
        target => target,
    };
    vec![
        cell(&measurement["id"]),
        cell(&measurement["type"]),
        measurement["af"].as_u64().map_or_else(|| "–".into(), |af| format!("v{af}")),
        cell(&measurement["status"]["name"]),
        every,
        cell(&measurement["participant_count"]),
        cell(target),
        cell(&measurement["description"]),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_for_every_column() {
        assert_eq!(probe(&json!({})).len(), PROBE_COLUMNS.len());
        assert_eq!(measurement(&json!({})).len(), MEASUREMENT_COLUMNS.len());
        let shown =
            measurement(&json!({"id": 1000001, "type": "ping", "af": 6, "status": {"name": "Ongoing"}, "interval": 60,
            "is_oneoff": false, "participant_count": 5, "target": "a.example", "description": "x\u{1b}[2Jy"}));
        assert_eq!(shown, ["1000001", "ping", "v6", "Ongoing", "60s", "5", "a.example", "x\u{fffd}[2Jy"]);
    }
}
