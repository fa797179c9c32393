//! The page at `/`: which probes there are and what was measured last, as the public sees it. No script, nothing loaded
//! from anywhere.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Measurement, MeasurementFilter, Probe, ProbeFilter, Slice};
use sonde_store::view::Viewer;

use crate::Api;
use crate::error::ApiError;
use crate::probe_object::{self, ProbeObject};
use crate::times::iso;

/// How many probes and measurements are shown.
const SHOWN: u64 = 50;

/// Seconds until the page loads itself again.
const REFRESH: u32 = 15;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--good:#1a7f37;--bad:#b35900}
@media(prefers-color-scheme:dark){:root{--good:#4ac26b;--bad:#e2a04f}}
body{font:16px/1.5 system-ui,sans-serif;max-width:66rem;margin:0 auto;padding:2rem 1rem}
h1{margin:0;font-size:1.6rem}h2{margin:2rem 0 .5rem;font-size:1.1rem}p{margin:.3rem 0}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{font-weight:600;font-size:.85rem}tbody tr:hover{background:var(--soft)}
.up{color:var(--good)}.down{color:var(--bad)}footer{margin-top:2rem;font-size:.9rem}
";

/// What the page may do: show itself, in our own style, and nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = BASE64.encode(ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes()).as_ref());
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// `GET /`.
pub(crate) async fn page(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let first = Slice { offset: 0, limit: SHOWN, descending: false };
    let probes = api.catalog.probes(&ProbeFilter::default(), first).await?;
    let connected = ProbeFilter { connected: Some(true), ..ProbeFilter::default() };
    let connected = api.catalog.probes(&connected, Slice { limit: 0, ..first }).await?.total;
    // What the public sees, whoever is looking: the page takes no key.
    let public = MeasurementFilter { visible_to: Some(None), ..MeasurementFilter::default() };
    let measurements = api.catalog.measurements(&public, Slice { descending: true, ..first }).await?;

    let now = api.clock.now();
    let rows: String = probes.items.iter().map(probe_row).collect();
    let probe_table = table(
        &format!("Probes: {} of {} connected", connected, probes.total),
        &["Probe", "State", "Since", "Country", "IPv4 network", "IPv6 network"],
        &rows,
    );
    let rows: String = measurements.items.iter().map(|measurement| measurement_row(measurement, now)).collect();
    let measurement_table = table(
        &format!("Newest of {} measurements", measurements.total),
        &["Measurement", "Type", "Target", "IP", "State", "Probes", "Made"],
        &rows,
    );
    let html = format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>Sonde</title>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=refresh content={REFRESH}><style>{STYLE}</style></head><body>\
         <header><h1>Sonde</h1><p>A network of small probes that measure the internet from the inside.</p></header>\
         <main>{probe_table}{measurement_table}</main>\
         <footer><p>As JSON: <a href=\"/api/v2/probes/\">probes</a>, <a href=\"/api/v2/measurements/?sort=-id\">measurements</a>. \
         Times are UTC; {} now. The page loads itself again every {REFRESH} seconds.</p></footer></body></html>",
        iso(now)
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, html).into_response())
}

fn table(title: &str, columns: &[&str], rows: &str) -> String {
    let head: String = columns.iter().map(|column| format!("<th scope=col>{column}</th>")).collect();
    let rows = match rows {
        "" => format!("<tr><td colspan={}>None yet.</td></tr>", columns.len()),
        rows => rows.to_owned(),
    };
    format!(
        "<section><h2>{}</h2><div class=wide><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>",
        escape(title)
    )
}

fn probe_row(probe: &Probe) -> String {
    let object = ProbeObject::of(probe, Viewer::Public, UnixNanos(0)).to_map();
    let text = |field: &str| escape(object.get(field).and_then(|value| value.as_str()).unwrap_or("–"));
    let (number, state) = probe_object::state(probe);
    let class = if number == 1 { "up" } else { "down" };
    let since = probe.connection.map_or("–".to_owned(), |connection| iso(connection.since));
    format!(
        "<tr><th scope=row><a href=\"/api/v2/probes/{id}/\">{id}</a></th><td class={class}>{state}</td><td>{since}</td>\
         <td>{}</td><td>{}</td><td>{}</td></tr>",
        text("country_code"),
        text("prefix_v4"),
        text("prefix_v6"),
        id = probe.id,
    )
}

fn measurement_row(measurement: &Measurement, now: UnixNanos) -> String {
    let asked = &measurement.asked;
    let (status, _) = measurement.status(now);
    format!(
        "<tr><th scope=row><a href=\"/api/v2/measurements/{id}/\">{id}</a></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td><a href=\"/api/v2/measurements/{id}/results/\">{} of {}</a></td><td>{}</td></tr>",
        asked.spec.kind(),
        escape(asked.target.as_deref().unwrap_or("own resolvers")),
        asked.af,
        status.name(),
        measurement.participants,
        asked.probes_requested,
        iso(measurement.created_at),
        id = measurement.id,
    )
}

/// Text as it may stand in HTML, in an element or a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '"' | '\'' => {
                // Writing into a string cannot fail.
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        assert_eq!(escape("<b a=\"'&\">"), "&#60;b a=&#34;&#39;&#38;&#34;&#62;");
    }

    #[test]
    fn the_style_cannot_end_its_own_element() {
        assert!(!STYLE.contains('<'));
    }
}
