//! One result as a line of a table: Atlas's JSON in, cells out. Everything in a result comes from outside, so every text is
//! made fit for a terminal and every member may be missing or of another type.

use serde_json::Value;
use sonde_protocol::spec::Kind;

use super::clean;

mod dns;
mod ipv6;
mod ntp;
mod path_mtu;
mod ping;
mod traceroute;
mod web;

/// The longest text of a cell.
const MAX_CELL: usize = 60;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// What stands above it.
    pub title: &'static str,
    /// Numbers stand to the right.
    pub is_number: bool,
    /// The width where it cannot be known before.
    pub width: usize,
}

/// A column of text.
pub const fn text(title: &'static str, width: usize) -> Column {
    Column { title, is_number: false, width }
}

/// A column of numbers.
pub const fn number(title: &'static str, width: usize) -> Column {
    Column { title, is_number: true, width }
}

const UNKNOWN: &[Column] = &[text("RESULT", 20)];

/// The columns that results of a kind fill; one for those of another that this program does not know.
pub fn columns(kind: Option<Kind>) -> &'static [Column] {
    match kind {
        Some(Kind::Ping) => ping::COLUMNS,
        Some(Kind::Traceroute) => traceroute::COLUMNS,
        Some(Kind::Dns) => dns::COLUMNS,
        Some(Kind::Sslcert) => web::SSLCERT_COLUMNS,
        Some(Kind::Http) => web::HTTP_COLUMNS,
        Some(Kind::Ntp) => ntp::COLUMNS,
        Some(Kind::PathMtu) => path_mtu::COLUMNS,
        Some(Kind::Ipv6) => ipv6::COLUMNS,
        None => UNKNOWN,
    }
}

/// What one result says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Who measured.
    pub probe: u64,
    /// When, Unix seconds.
    pub timestamp: i64,
    /// The family, if the result has one.
    pub af: Option<u8>,
    /// One for each column of the kind.
    pub cells: Vec<String>,
    /// What was asked: packets, queries, connections.
    pub sent: u64,
    /// How much of it was answered.
    pub received: u64,
    /// The time to the target and back, in milliseconds.
    pub time: Option<f64>,
}

/// What a kind makes of a result.
#[derive(Debug, Clone, PartialEq, Default)]
struct Seen {
    cells: Vec<String>,
    sent: u64,
    received: u64,
    time: Option<f64>,
}

impl Row {
    /// Reads a result. `None`: it is none, because it does not say whose it is.
    pub fn read(result: &Value) -> Option<Self> {
        let probe = result["prb_id"].as_u64()?;
        let kind = result["type"].as_str().and_then(|name| name.parse().ok());
        let seen = match kind {
            Some(Kind::Ping) => ping::read(result),
            Some(Kind::Traceroute) => traceroute::read(result),
            Some(Kind::Dns) => dns::read(result),
            Some(Kind::Sslcert) => web::read_sslcert(result),
            Some(Kind::Http) => web::read_http(result),
            Some(Kind::Ntp) => ntp::read(result),
            Some(Kind::PathMtu) => path_mtu::read(result),
            Some(Kind::Ipv6) => ipv6::read(result),
            None => Seen { cells: vec![string(&result["type"])], ..Seen::default() },
        };
        let Seen { mut cells, sent, received, time } = seen;
        // A run that could not be carried out says why where its outcome would stand.
        if received == 0
            && let (Some(last), Some(why)) = (cells.last_mut(), failure(result))
        {
            *last = why;
        }
        let af = result["af"].as_u64().and_then(|af| u8::try_from(af).ok()).filter(|af| matches!(af, 4 | 6));
        let timestamp = result["timestamp"].as_i64().unwrap_or_default();
        Some(Self { probe, timestamp, af, cells, sent, received, time })
    }
}

/// Why a run could not be carried out, in the result's own words.
fn failure(result: &Value) -> Option<String> {
    let said = match &result["sonde"]["error"] {
        Value::Null => &result["error"],
        said => said,
    };
    Some(string(said)).filter(|why| !why.is_empty())
}

/// A text or number as a cell; empty for anything else.
fn string(value: &Value) -> String {
    match value {
        Value::String(text) => clean::text(text, MAX_CELL),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// Milliseconds as a cell.
fn milliseconds(value: f64) -> String {
    format!("{value:.3}")
}

/// A time that was measured: Atlas writes -1 for none.
fn time(value: &Value) -> Option<f64> {
    value.as_f64().filter(|time| time.is_finite() && *time >= 0.0)
}

/// As a cell, a stroke for none.
fn time_cell(time: Option<f64>) -> String {
    time.map_or_else(|| "–".into(), milliseconds)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_is_a_cell_for_every_column_whatever_comes() {
        for kind in Kind::ALL {
            for odd in [
                json!({"prb_id": 7, "type": kind.name()}),
                json!({"prb_id": 7, "type": kind.name(), "af": "x", "timestamp": [], "result": 5, "resultset": {}}),
                json!({"prb_id": 7, "type": kind.name(), "result": [{}, 5, null, {"result": [[], {"rtt": "x"}]}]}),
                json!({"prb_id": 7, "type": kind.name(), "result": {"rt": {}, "abuf": "!!"}, "resultset": [{}, 5]}),
            ] {
                let row = Row::read(&odd).unwrap();
                assert_eq!(row.cells.len(), columns(Some(kind)).len(), "{odd}");
                assert!(row.received <= row.sent && row.time.is_none(), "{row:?}");
            }
        }
        assert_eq!(Row::read(&json!({"type": "ping"})), None);
        let unknown = Row::read(&json!({"prb_id": 7, "type": "wifi"})).unwrap();
        assert_eq!(unknown.cells, ["wifi"]);
    }

    #[test]
    fn a_run_that_failed_says_why() {
        let failed = json!({"prb_id": 7, "type": "ping", "af": 4, "min": -1, "avg": -1, "max": -1, "sent": 0, "rcvd": 0,
            "result": [{"error": "address not allowed"}], "sonde": {"error": "address\u{1b}[2J not allowed"}});
        let row = Row::read(&failed).unwrap();
        assert_eq!(row.cells.last().map(String::as_str), Some("address\u{fffd}[2J not allowed"));
    }
}
