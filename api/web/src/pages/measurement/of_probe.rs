//! `/measurements/{id}/probe/{probe}`: exactly what one probe reported, in words and as it is.

use askama::Template;
use axum::extract::Path;
use axum::response::IntoResponse;
use serde_json::Value;

use super::range::{Link, Range};
use super::words;
use crate::ask::{self, Asker};
use crate::charts::number::{count, duration_ms};
use crate::charts::time;
use crate::choices::Choices;
use crate::page::{Base, Page, Problem};

/// How many results the list has; the newest of a time with more.
const SHOWN: usize = 200;

/// How far back when nobody says, in seconds.
const DAY: i64 = 86_400;

/// The longest JSON that is shown; what is longer is a link.
const MAX_RAW: usize = 64 << 10;

#[derive(Template)]
#[template(path = "measurement_probe.html")]
struct OfProbePage {
    base: Base,
    id: u64,
    probe: u64,
    title: String,
    ranges: Vec<Link>,
    total: String,
    left_out: bool,
    rows: Vec<Row>,
    chosen: Option<Chosen>,
    json: String,
}

struct Row {
    at: i64,
    text: String,
    mood: &'static str,
    query: String,
    is_chosen: bool,
}

/// One result, whole.
struct Chosen {
    at: i64,
    text: String,
    mood: &'static str,
    facts: Vec<(&'static str, String)>,
    columns: Vec<&'static str>,
    table: Vec<Vec<String>>,
    raw: Option<String>,
}

/// `GET /measurements/{id}/probe/{probe}`.
pub(crate) async fn page(
    base: Base,
    asker: Asker,
    Path((id, probe)): Path<(String, String)>,
    choices: Choices,
) -> Result<impl IntoResponse, Problem> {
    let measurement = super::find(&asker, &id).await?;
    let id = measurement.id();
    let probe: u64 = probe.parse().map_err(|_| Problem::not_found("There is no probe of that number."))?;
    let over = measurement.over();
    let mut range = Range::read(&choices, over)?;
    let is_chosen_range = range != Range::default();
    if !is_chosen_range && !measurement.is_oneoff() {
        range.start = Some(over.unwrap_or_else(super::range::now).saturating_sub(DAY));
    }
    let mut asked = range.pairs();
    asked.push(("probe_ids", probe.to_string()));
    let path = ask::path(
        &format!("/api/v2/measurements/{id}/results/"),
        asked.iter().map(|(name, value)| (*name, value.as_str())),
    );
    let results = asker.get(&path).await?;
    let mut results: Vec<&Value> = results.as_array().map(|all| all.iter().collect()).unwrap_or_default();
    results.sort_by_key(|result| std::cmp::Reverse(result["timestamp"].as_i64()));
    let total = results.len() as u64;
    results.truncate(SHOWN);
    let wanted = super::range::moment(&choices, "t")?;
    let of = |result: &&&Value| wanted.is_none_or(|wanted| result["timestamp"].as_i64() == Some(wanted));
    let chosen = results.iter().find(of).copied();
    if chosen.is_none() && wanted.is_some() {
        return Err(Problem::not_found("This probe has no result of that moment in the time that is shown."));
    }
    let own = if is_chosen_range { range.own_pairs() } else { Vec::new() };
    let chosen_at = chosen.and_then(|result| result["timestamp"].as_i64());
    let rows = results.iter().map(|result| {
        let said = super::result_row(result);
        let at = [("t", said.at.to_string())];
        let pairs = own.iter().chain(&at).map(|(name, value)| (*name, value.as_str()));
        let query = ask::path("", pairs) + "#result";
        Row { at: said.at, text: said.text, mood: said.mood, query, is_chosen: Some(said.at) == chosen_at }
    });
    let rows: Vec<Row> = rows.collect();
    let base = base
        .titled(format!("Probe {probe} in measurement {id}"))
        .section("/measurements")
        .of(rows.first().map(|row| time::iso(row.at)))
        .styles(&["css/measurement.css"]);
    Ok(Page::public(OfProbePage {
        base,
        id,
        probe,
        title: measurement.title(),
        ranges: range.links(&[], if is_chosen_range || measurement.is_oneoff() { "" } else { "1d" }),
        total: count(total),
        left_out: total > SHOWN as u64,
        rows,
        chosen: chosen.map(whole),
        json: path,
    }))
}

fn whole(result: &Value) -> Chosen {
    let said = words::words(result);
    let (columns, table) = table(result);
    let raw = serde_json::to_string_pretty(result).unwrap_or_default();
    Chosen {
        at: result["timestamp"].as_i64().unwrap_or_default(),
        text: said.text,
        mood: said.mood,
        facts: facts(result),
        columns,
        table,
        raw: (raw.len() <= MAX_RAW).then_some(raw),
    }
}

fn facts(result: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| result[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let own = &result["sonde"];
    let fraction = |value: &Value| {
        value.as_f64().map(|seconds| {
            let whole = seconds.floor();
            let micros = ((seconds - whole) * 1e6).round() as u64;
            format!("{} + {:.3} ms", time::human_unix(whole as i64), micros as f64 / 1e3)
        })
    };
    let rows = [
        ("Began", fraction(&own["started"])),
        ("Was due", fraction(&own["planned"])),
        ("Stored", result["stored_timestamp"].as_i64().map(time::human_unix)),
        ("Target", text("dst_name")),
        ("Address", text("dst_addr")),
        ("Seen from", text("from")),
        ("Sent from", text("src_addr")),
        ("Name looked up in", result["ttr"].as_f64().filter(|ms| *ms >= 0.0).map(duration_ms)),
        ("Stamps by", own["timestamp_source"].as_str().map(str::to_owned)),
        ("Times are right within", own["rtt_error_us"].as_f64().map(|us| duration_ms(us / 1e3))),
        ("Software", text("mver")),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// What a result lists: replies, hops, answers.
fn table(result: &Value) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let time = |value: &Value| value.as_f64().map_or_else(String::new, duration_ms);
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match result["type"].as_str() {
        Some("ping") => {
            let rows = items(&result["result"]).into_iter().zip(1..).map(|(reply, number): (Value, u32)| {
                let own = &reply["sonde"];
                let what = match (&reply["rtt"], reply["error"].as_str(), own["icmp_type"].as_u64()) {
                    (rtt, ..) if rtt.is_number() => time(rtt),
                    (_, Some(error), _) => error.to_owned(),
                    (_, _, Some(kind)) => format!("ICMP {kind}/{}", text(&own["icmp_code"])),
                    _ => "no reply".to_owned(),
                };
                let ttl = [&reply["ttl"], &result["ttl"]].into_iter().find(|ttl| ttl.is_number());
                let ttl = ttl.filter(|_| reply["rtt"].is_number()).map(text).unwrap_or_default();
                let note = if reply["dup"].is_number() { "repeated" } else { "" };
                vec![number.to_string(), what, ttl, text(&own["from"]), note.to_owned()]
            });
            (vec!["Packet", "Round trip", "Hop limit", "From", ""], rows.collect())
        }
        Some("traceroute") => {
            let rows = items(&result["result"]).into_iter().flat_map(|hop| {
                let number = text(&hop["hop"]);
                let replies = items(&hop["result"]);
                replies.into_iter().map(move |reply| {
                    let what = if reply["from"].is_string() { text(&reply["from"]) } else { "*".to_owned() };
                    let note = match (reply["err"].is_null(), reply["late"].is_null()) {
                        (false, _) => format!("unreachable: {}", text(&reply["err"])),
                        (_, false) => "late".to_owned(),
                        _ => String::new(),
                    };
                    vec![number.clone(), what, time(&reply["rtt"]), text(&reply["ttl"]), note]
                })
            });
            (vec!["Hop", "From", "Round trip", "Hop limit", ""], rows.collect())
        }
        Some("dns") => {
            let all = items(&result["resultset"]);
            let all = if all.is_empty() { vec![result.clone()] } else { all };
            let rows = all.into_iter().map(|one| {
                let answers = items(&one["result"]["answers"]);
                let shown: Vec<String> = answers
                    .iter()
                    .map(|answer| {
                        format!("{} {}", text(&answer["TYPE"]), text(answer.get("RDATA").unwrap_or(&answer["SERIAL"])))
                    })
                    .collect();
                let error = one["error"].as_object().and_then(|error| error.iter().next());
                let error = error.map(|(name, value)| format!("{name}: {}", text(value))).unwrap_or_default();
                let size = text(&one["result"]["size"]);
                let count = text(&one["result"]["ANCOUNT"]);
                vec![text(&one["dst_addr"]), time(&one["result"]["rt"]), count, size, shown.join(", ") + &error]
            });
            (vec!["Server", "Response time", "Records", "Bytes", "What"], rows.collect())
        }
        Some("ntp") => {
            let rows = items(&result["result"]).into_iter().map(|reply| {
                let seconds =
                    |value: &Value| value.as_f64().map_or_else(String::new, |seconds| duration_ms(seconds * 1e3));
                let what = reply["error"].as_str().unwrap_or(if reply["x"].is_string() { "no answer" } else { "" });
                vec![seconds(&reply["rtt"]), seconds(&reply["offset"]), what.to_owned()]
            });
            (vec!["Round trip", "Offset", ""], rows.collect())
        }
        Some("pathmtu") => {
            let rows = items(&result["result"]).into_iter().map(|one| {
                let size = text(&one["size"]);
                let what = if one["rtt"].is_number() { time(&one["rtt"]) } else { "no answer".to_owned() };
                let what = if one["error"].is_string() { text(&one["error"]) } else { what };
                vec![text(&one["proto"]), size, text(&one["from"]), what, text(&one["mtu"])]
            });
            (vec!["Protocol", "Bytes", "From", "What came", "MTU named"], rows.collect())
        }
        Some("http") => {
            let rows = items(&result["result"]).into_iter().map(|one| {
                let times = ["ttc", "ttfb", "rt"].map(|name| time(&one[name]));
                let [connect, first, whole] = times;
                vec![text(&one["res"]), connect, first, whole, text(&one["bsize"]), text(&one["err"])]
            });
            (vec!["Status", "Connected", "First byte", "Whole", "Bytes", ""], rows.collect())
        }
        _ => (Vec::new(), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_as_it_is() {
        let ping = json!({"type": "ping", "timestamp": 1_760_000_000, "sent": 2, "rcvd": 1, "ttl": 57, "min": 1.5, "avg": 1.5, "max": 1.5,
            "result": [{"rtt": 1.5}, {"x": "*"}], "sonde": {"started": 1_760_000_000.25, "timestamp_source": "kernel"}});
        let whole = whole(&ping);
        assert_eq!(whole.table, [["1", "1.50 ms", "57", "", ""], ["2", "no reply", "", "", ""]]);
        assert_eq!(whole.facts[0], ("Began", "9 Oct 2025, 08:53 UTC + 250.000 ms".to_owned()));
        assert!(whole.raw.unwrap().contains("\"timestamp_source\": \"kernel\""));
    }

    #[test]
    fn odd_results_are_shown_all_the_same() {
        for kind in ["ping", "traceroute", "dns", "sslcert", "http", "ntp", "pathmtu", "ipv6", "new"] {
            for rest in [json!(null), json!("x"), json!([1, "a", null, {"result": [[1], 2]}])] {
                whole(&json!({"type": kind, "result": rest, "resultset": rest, "timestamp": "x", "sonde": rest}));
            }
        }
        let long = json!({"type": "dns", "result": {"abuf": "A".repeat(MAX_RAW)}});
        assert_eq!(whole(&long).raw, None);
    }
}
