//! `/api/v2/docs/`: what `/api/v2/openapi.json` says, for people. Written once when the server starts; no script, nothing
//! loaded from anywhere.

use std::fmt::Write as _;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use serde_json::{Map, Value};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:2rem 1rem}
h1{margin:0;font-size:1.6rem}h2{margin:2rem 0 .5rem;font-size:1.1rem}p{margin:.3rem 0}
nav a{margin-right:1rem}details{border-bottom:1px solid var(--line)}summary{padding:.4rem 0;cursor:pointer}
summary:hover{background:var(--soft)}summary b{display:inline-block;width:4.5rem;font-size:.85rem}
details div{padding:0 0 .8rem 4.5rem}code{font-size:.95rem;overflow-wrap:anywhere}.what{opacity:.8}
summary .what{display:block;padding-left:4.5rem}table{border-collapse:collapse;width:100%}caption{text-align:left;font-weight:600;font-size:.85rem;padding-top:.5rem}
th,td{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0;font-weight:400}
@media(max-width:40rem){details div,summary .what{padding-left:0}}
";

/// The page.
#[derive(Debug, Clone)]
pub(crate) struct DocsPage {
    html: String,
    policy: String,
}

impl DocsPage {
    /// Written from an OpenAPI document.
    pub fn new(document: &Value) -> Self {
        let digest = BASE64.encode(ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes()).as_ref());
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self { html: page(document), policy }
    }

    /// As an answer.
    pub fn response(&self) -> Response {
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, self.policy.as_str()),
            (CACHE_CONTROL, "max-age=300"),
        ];
        (headers, self.html.clone()).into_response()
    }
}

fn page(document: &Value) -> String {
    // By subject, in the order of the document.
    let mut subjects: Vec<(&str, String)> = Vec::new();
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(item) {
            let subject = operation["tags"][0].as_str().unwrap_or("other");
            let entry = entry(path, method, operation);
            match subjects.iter_mut().find(|(known, _)| *known == subject) {
                Some((_, entries)) => entries.push_str(&entry),
                None => subjects.push((subject, entry)),
            }
        }
    }
    let (mut nav, mut body) = (String::new(), String::new());
    for (subject, entries) in &subjects {
        let subject = escape(subject);
        // Writing into a string cannot fail.
        let _ = write!(nav, "<a href=\"#{subject}\">{subject}</a>");
        let _ = write!(body, "<section id=\"{subject}\"><h2>{subject}</h2>{entries}</section>");
    }
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>Sonde: the API</title>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head><body>\
         <header><h1>Sonde: the API</h1><p>{}</p><p>For programs: <a href=\"/api/v2/openapi.json\">openapi.json</a>. \
         Every path exists with and without the slash at its end.</p><nav>{nav}</nav></header><main>{body}</main></body></html>",
        text(&document["info"]["description"])
    )
}

fn entry(path: &str, method: &str, operation: &Value) -> String {
    let mut more = String::new();
    let description = text(&operation["description"]);
    if !description.is_empty() {
        let _ = write!(more, "<p>{description}</p>");
    }
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let rows = parameters.iter().map(|parameter| {
        let must = if parameter["required"] == true { ", required" } else { "" };
        let what = format!("{}{must}", kind(&parameter["schema"]));
        row(&parameter["name"], &what, &text(&parameter["description"]))
    });
    more.push_str(&table("Parameters", &rows.collect::<String>()));
    if operation["requestBody"].is_object() {
        more.push_str("<p>The body is JSON.</p>");
    }
    let answers = members(&operation["responses"]);
    let rows = answers.map(|(status, answer)| row(&status.into(), "", &text(&answer["description"])));
    more.push_str(&table("Answers", &rows.collect::<String>()));
    format!(
        "<details><summary><b>{}</b><code>{}</code> <span class=what>{}</span></summary><div>{more}</div></details>",
        escape(&method.to_uppercase()),
        escape(path),
        text(&operation["summary"])
    )
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

/// The type of a parameter, in a word or two.
fn kind(schema: &Value) -> String {
    let words = match &schema["type"] {
        Value::String(word) => vec![word.as_str()],
        Value::Array(words) => words.iter().filter_map(Value::as_str).filter(|word| *word != "null").collect(),
        _ => Vec::new(),
    };
    words.join(" or ")
}

fn row(name: &Value, what: &str, description: &str) -> String {
    format!("<tr><td><code>{}</code></td><td>{}</td><td>{description}</td></tr>", text(name), escape(what))
}

fn table(title: &str, rows: &str) -> String {
    if rows.is_empty() { String::new() } else { format!("<table><caption>{title}</caption>{rows}</table>") }
}

/// Text of the document, with its `code` shown as such.
fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(index, part)| match index % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    });
    parts.collect()
}

/// Text as it may stand in HTML, in an element or a quoted attribute.
fn escape(text: &str) -> String {
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
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        assert_eq!(escape("<b a=\"'&\">"), "&#60;b a=&#34;&#39;&#38;&#34;&#62;");
    }

    #[test]
    fn the_style_cannot_end_its_own_element() {
        assert!(!STYLE.contains('<'));
    }

    #[test]
    fn what_the_document_says_is_text_and_never_markup() {
        let document = json!({"info": {"description": "<i>"}, "paths": {"/x/{id}/": {"get": {
            "tags": ["one"], "summary": "Gives `a<b`.",
            "parameters": [{"name": "id", "required": true, "schema": {"type": "integer"}, "description": "<script>"}],
            "responses": {"200": {"description": "fine"}},
        }}}});
        let html = page(&document);
        assert!(html.contains("<code>a&#60;b</code>") && html.contains("integer, required"), "{html}");
        assert!(!html.contains("<script") && !html.contains("<i>"), "{html}");
    }
}
