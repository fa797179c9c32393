//! `/docs/api`: what `/api/v2/openapi.json` says, for people. It is made of the document itself, so it cannot be less true.

use askama::Template;
use axum::response::IntoResponse;
use serde_json::{Map, Value};

use crate::ask::Asker;
use crate::page::{Base, Page, Problem};

#[derive(Template)]
#[template(path = "api-docs.html")]
struct ApiDocs {
    base: Base,
    about: Words,
    here: String,
    subjects: Vec<Subject>,
}

/// Operations that belong together.
struct Subject {
    name: String,
    operations: Vec<Operation>,
}

/// One method of one path.
struct Operation {
    id: String,
    method: String,
    path: String,
    summary: Words,
    more: Words,
    parameters: Vec<Parameter>,
    has_body: bool,
    answers: Vec<(String, Words)>,
}

struct Parameter {
    name: String,
    /// Of what type, and whether it must be there.
    what: String,
    about: Words,
}

/// Text with its parts in `code`: whether a part is code, and the part.
struct Words(Vec<(bool, String)>);

impl Words {
    fn of(value: &Value) -> Self {
        let parts = value.as_str().unwrap_or_default().split('`').enumerate();
        Self(
            parts.map(|(index, part)| (index % 2 == 1, part.to_owned())).filter(|(_, part)| !part.is_empty()).collect(),
        )
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `GET /docs/api`.
pub(super) async fn page(base: Base, asker: Asker) -> Result<impl IntoResponse, Problem> {
    let document = asker.get("/api/v2/openapi.json").await?;
    let base = Base {
        summary: "Every path of the API, its parameters and answers. RIPE Atlas’s API v2, and what this network adds."
            .into(),
        ..base.titled("The API").styles(&["css/docs.css"])
    };
    let about = Words::of(&document["info"]["description"]);
    Ok(Page::public(ApiDocs { base, about, here: asker.here(), subjects: subjects(&document) }))
}

/// By subject, in the order of the document.
fn subjects(document: &Value) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = Vec::new();
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(item) {
            let name = operation["tags"][0].as_str().unwrap_or("other");
            let one = self::operation(path, method, operation);
            match subjects.iter_mut().find(|subject| subject.name == name) {
                Some(subject) => subject.operations.push(one),
                None => subjects.push(Subject { name: name.to_owned(), operations: vec![one] }),
            }
        }
    }
    subjects
}

fn operation(path: &str, method: &str, operation: &Value) -> Operation {
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parameter = |parameter: &Value| {
        let must = if parameter["required"] == true { ", required" } else { "" };
        Parameter {
            name: parameter["name"].as_str().unwrap_or_default().to_owned(),
            what: format!("{}{must}", kind(&parameter["schema"])),
            about: Words::of(&parameter["description"]),
        }
    };
    Operation {
        id: operation["operationId"].as_str().unwrap_or(path).to_owned(),
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: Words::of(&operation["summary"]),
        more: Words::of(&operation["description"]),
        parameters: parameters.iter().map(parameter).collect(),
        has_body: operation["requestBody"].is_object(),
        answers: members(&operation["responses"])
            .map(|(status, answer)| (status.to_owned(), Words::of(&answer["description"])))
            .collect(),
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

/// The type of a parameter, in a word or two; the words it may be, where they are few.
fn kind(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> =
            words.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect();
        return words.join(", ");
    }
    let words = match &schema["type"] {
        Value::String(word) => vec![word.as_str()],
        Value::Array(words) => words.iter().filter_map(Value::as_str).filter(|word| *word != "null").collect(),
        _ => Vec::new(),
    };
    words.join(" or ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_document_in_parts() {
        let document = json!({"paths": {
            "/x/{id}/": {"get": {"tags": ["one"], "operationId": "get_x", "summary": "Gives `a<b`.",
                "parameters": [{"name": "id", "required": true, "schema": {"type": ["integer", "null"]}, "description": "<i>"},
                    {"name": "w", "schema": {"enum": ["a", 4]}}],
                "responses": {"200": {"description": "fine"}}}, "post": {"tags": ["two"], "requestBody": {}}},
            "/y/": {"get": {}},
        }});
        let subjects = subjects(&document);
        let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
        assert_eq!(names, ["one", "two", "other"]);
        let one = &subjects[0].operations[0];
        assert_eq!(one.summary.0, [(false, "Gives ".to_owned()), (true, "a<b".into()), (false, ".".into())]);
        let kinds: Vec<&str> = one.parameters.iter().map(|parameter| parameter.what.as_str()).collect();
        assert_eq!((kinds, one.has_body), (vec!["integer, required", "a, 4"], false));
        assert!(subjects[1].operations[0].has_body && subjects[2].operations[0].more.is_empty());
    }
}
