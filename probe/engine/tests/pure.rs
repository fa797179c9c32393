//! Holds the crate to what its first page promises: no I/O, no clock, no randomness. `no_std` keeps the standard library
//! out; what a dependency could bring in is kept out by a list.

/// Every dependency, and why it cannot do I/O.
const ALLOWED: [&str; 2] = [
    // `no_std` without features; a parser of bytes.
    "httparse",
    // `no_std` as it is taken here, without features.
    "sonde-protocol",
];

#[test]
fn the_dependencies_are_those_on_the_list() {
    let manifest: toml::Table = toml::from_str(include_str!("../Cargo.toml")).unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    let names: Vec<&str> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(names, ALLOWED, "a dependency of the engines is a decision: see docs/DECISIONS.md");
    for (name, value) in dependencies {
        let table = value.as_table().unwrap();
        assert!(!table.contains_key("features"), "{name} is taken without features");
    }
    for key in ["build-dependencies", "target", "features"] {
        assert!(!manifest.contains_key(key), "{key}");
    }
}

#[test]
fn the_workspace_gives_them_without_features_too() {
    let manifest: toml::Table = toml::from_str(include_str!("../../../Cargo.toml")).unwrap();
    let dependencies = manifest["workspace"]["dependencies"].as_table().unwrap();
    for name in ALLOWED {
        let dependency = dependencies[name].as_table().unwrap();
        assert_eq!(dependency.get("default-features").and_then(toml::Value::as_bool), Some(false), "{name}");
        assert!(!dependency.contains_key("features"), "{name}");
    }
}

#[test]
fn the_standard_library_is_there_for_tests_only() {
    let source = include_str!("../src/lib.rs");
    assert!(source.lines().any(|line| line == "#![no_std]"));
    let places = source.matches("extern crate std").count();
    assert_eq!((places, source.matches("#[cfg(test)]\nextern crate std;").count()), (1, 1));
}
