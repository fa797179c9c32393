//! The document that describes the API, as whoever generates a client from it reads it.

use serde_json::Value;

use crate::lab::Lab;

fn document() -> Value {
    let lab = Lab::new();
    let reply = lab.get("/api/v2/openapi.json");
    assert_eq!(reply.status, 200);
    reply.json()
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_how_it_refuses() {
    let document = document();
    let mut names = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with("/api/v2/") && path.ends_with('/'), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} twice");
            let answers = operation["responses"].as_object().unwrap();
            assert!(answers.keys().any(|status| status.starts_with('2') || status.starts_with('1')), "{method} {path}");
            for status in ["400", "403", "429"] {
                let schema = &answers[status]["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Error", "{method} {path} {status}");
            }
        }
    }
    assert!(names.contains("post_measurements_ping"), "{names:?}");
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
}
