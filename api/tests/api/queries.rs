//! The parameters of queries, as the document names them. That a handler reads no other is asserted where it reads
//! (`sonde_api`'s `Params`): here every one is asked once with nothing amiss.

use serde_json::Value;

use crate::views::everywhere::World;

/// Every path that can be read, with its parameters.
fn paths(world: &World) -> Vec<(String, Vec<Value>)> {
    let document = world.as_rita("/api/v2/openapi.json").json();
    let of = |(path, item): (&String, &Value)| {
        let parameters = item.get("get")?["parameters"].as_array().cloned().unwrap_or_default();
        let in_query = parameters.into_iter().filter(|one| one["in"] == "query").collect();
        Some((world.filled(path).pop()?, in_query))
    };
    // Those of accounts are for people who are logged in; they are cut into pages as keys are.
    let paths = document["paths"].as_object().unwrap().iter();
    paths.filter(|(path, _)| !path.starts_with("/api/v2/accounts/")).filter_map(of).collect()
}

/// A value that the schema of a parameter does not allow, if any can be told from it.
fn bad(schema: &Value) -> Option<&'static str> {
    let is_text = schema["type"] == "string";
    (!is_text || schema.get("enum").is_some() || schema.get("pattern").is_some()).then_some("nonsense!")
}

#[test]
fn a_value_that_the_document_does_not_allow_is_refused_by_name() {
    let world = World::new();
    let mut asked = 0;
    for (path, parameters) in paths(&world) {
        for parameter in parameters {
            let Some(value) = bad(&parameter["schema"]) else { continue };
            let name = parameter["name"].as_str().unwrap();
            // A ping is what this is for.
            if path.contains("status-check") {
                continue;
            }
            let url = format!("{path}?{name}={value}");
            assert_eq!(world.as_rita(&url).refused(400, 104), [name], "{url}");
            asked += 1;
        }
    }
    assert!(asked > 100, "{asked}");
}

#[test]
fn every_parameter_is_told_of_in_words() {
    let world = World::new();
    for (path, parameters) in paths(&world) {
        // The page for Prometheus is not even a private measurement's owner's.
        let found = if path.ends_with("/metrics/") && path.contains("measurements") { 404 } else { 200 };
        let status = world.as_rita(&path).status;
        assert!(status == found || status == 400, "{path}: {status}");
        for parameter in parameters {
            let told = parameter["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(told, "{path}: {parameter}");
        }
    }
}
