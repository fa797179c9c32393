//! The page itself, from what the agent said. Pure. Whatever came from elsewhere, such as targets, stands in it escaped.

use std::fmt::{self, Write as _};

use super::{Seen, SeenDay};
use crate::activity::bytes_for_people;
use crate::local_time::LocalTime;
use crate::status::{HostLimits, Shown, Status};

/// How it looks.
pub(super) const STYLE: &str = "\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; vertical-align: top; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.condition { border-left: .3rem solid #888; padding: .2rem .8rem; margin: .8rem 0; }
.problem { border-color: #c22; }
.warning { border-color: #d90; }
.condition p { margin: .2rem 0; }
code { font-size: .95em; }
footer { margin-top: 3rem; font-size: .85rem; opacity: .75; }
";

/// Text that means nothing to a browser.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c if c.is_control() => f.write_char('\u{fffd}'),
            c => f.write_char(c),
        })
    }
}

fn e(text: &str) -> Escaped<'_> {
    Escaped(text)
}

/// All of it.
pub(super) fn page(seen: &Seen, local: &LocalTime) -> String {
    let Seen { status, days } = seen;
    let mut text = String::new();
    // Writing into memory cannot fail.
    let _ = write_page(&mut text, status, days, local);
    text
}

fn write_page(out: &mut String, status: &Status, days: &[SeenDay], local: &LocalTime) -> fmt::Result {
    let who = status.probe.map_or_else(|| "A probe".to_owned(), |number| format!("Probe {number}"));
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{who} of {network}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link rel=\"stylesheet\" href=\"/style.css\">\n\
         </head>\n<body>\n<h1>{who} of {network}</h1>\n<p>{line}</p>",
        network = e(&status.network),
        line = e(&status.line()),
    )?;
    writeln!(out, "<h2>What is wrong</h2>")?;
    if status.conditions.is_empty() {
        writeln!(out, "<p>Nothing.</p>")?;
    }
    for condition in &status.conditions {
        write_condition(out, condition, local)?;
    }
    write_limits(out, status, &status.host, local)?;
    writeln!(out, "<h2>What was measured</h2>")?;
    if days.is_empty() {
        writeln!(out, "<p>Nothing today and yesterday.</p>")?;
    }
    for day in days {
        write_day(out, day, local)?;
    }
    writeln!(
        out,
        "<footer><p>Key <code>{key}</code>. The same for programs: <a href=\"/status.json\">status.json</a>. More days: \
         <code>sonde-probe activity --days 30</code>. This page changes nothing and shows itself to this machine alone.</p></footer>\n\
         </body>\n</html>",
        key = e(&status.key),
    )
}

fn write_condition(out: &mut String, one: &Shown, local: &LocalTime) -> fmt::Result {
    let level = match one.level.as_str() {
        level @ ("problem" | "warning") => level,
        _ => "note",
    };
    writeln!(
        out,
        "<div class=\"condition {level}\"><p><strong>{word}</strong> ({level}), since {since}</p>\n<p>{text}</p>\n<p>{advice}</p></div>",
        word = e(&one.word),
        since = e(&local.show(one.since)),
        text = e(&one.text()),
        advice = e(&one.advice),
    )
}

fn write_limits(out: &mut String, status: &Status, host: &HostLimits, local: &LocalTime) -> fmt::Result {
    writeln!(out, "<h2>What you allow, and what of it is used</h2>\n<table>")?;
    let mut row = |name: &str, value: &str| writeln!(out, "<tr><th>{name}</th><td>{}</td></tr>", e(value));
    let list = |items: &[String], none: &str| if items.is_empty() { none.to_owned() } else { items.join(", ") };
    let pause = match (host.paused, host.paused_until) {
        (true, Some(until)) => format!("until {}", local.show(until)),
        (true, None) => "until you resume it".into(),
        (false, _) => "no".into(),
    };
    row("Paused", &pause)?;
    let (used, most) = (bytes_for_people(host.bytes_today), bytes_for_people(host.bytes_per_day));
    row("Bytes today (UTC)", &format!("{used} of {most}"))?;
    row("Packets a second", &format!("{} at most", host.packets_per_second))?;
    row("Kinds", &list(&host.kinds, "none"))?;
    row("Hours", &list(&host.hours, "always"))?;
    row("Line", host.line_busy.as_deref().unwrap_or("free"))?;
    row("Reports waiting", &status.spool.to_string())?;
    row("Written to the disk for them today", &bytes_for_people(status.written_today))?;
    if let Some(why) = &status.spool_trouble {
        row("Reports are in memory alone", why)?;
    }
    row("Sandbox", &status.sandbox.line())?;
    if let Some(problem) = &host.config_problem {
        row("The configuration was not read again", problem)?;
    }
    writeln!(out, "</table>")
}

fn write_day(out: &mut String, day: &SeenDay, local: &LocalTime) -> fmt::Result {
    writeln!(
        out,
        "<h3>{} (UTC)</h3>\n<table><tr><th>Kind</th><th>Target</th><th class=\"number\">Runs</th><th class=\"number\">Packets</th>\
         <th class=\"number\">Bytes</th><th>Last</th></tr>",
        e(&day.day)
    )?;
    for row in &day.rows {
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
            e(&row.kind),
            e(&row.target),
            row.runs,
            row.packets,
            e(&bytes_for_people(row.bytes)),
            e(&local.show(row.last)),
        )?;
    }
    writeln!(out, "</table>")
}
