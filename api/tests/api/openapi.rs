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

#[test]
fn every_operation_is_told_of_in_words() {
    for (path, item) in document()["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{path}: no word about it");
        }
    }
}

#[test]
fn pages_of_other_sites_may_ask_with_a_key_and_never_with_a_cookie() {
    let lab = Lab::new();
    let preflight = |path: &str| {
        let head = "Host: x\r\nOrigin: https://other.example\r\nAccess-Control-Request-Method: POST\r\n\
                    Access-Control-Request-Headers: authorization\r\nConnection: close";
        lab.raw(format!("OPTIONS {path} HTTP/1.1\r\n{head}\r\n\r\n").as_bytes()).to_ascii_lowercase()
    };
    for path in ["/api/v2/measurements/", "/api/v2/measurements", "/stream/"] {
        let answer = preflight(path);
        assert!(answer.starts_with("http/1.1 204"), "{answer}");
        assert!(answer.contains("access-control-allow-headers: authorization,"), "{answer}");
        assert!(answer.contains("access-control-allow-origin: *\r\n"), "{answer}");
        assert!(!answer.contains("allow-credentials"), "{answer}");
    }
    assert!(!preflight("/healthz").contains("access-control"), "it is for no page");
    let plain = lab.call("OPTIONS", "/api/v2/measurements/", None, None);
    assert_eq!(plain.status, 405, "no browser asks so");
}
