//! The whole path in the lab with real processes: enrolled by token, asked by `POST`, read back from `results/`. What the
//! probes say is compared with what the wire, the routers and the DNS server know: no round trip below the wire's own
//! delay of that very packet, every hop, every byte of an answer.
//!
//! How far above the wire's delay the round-trip times are is printed, as a figure; run with `--test-threads=1` for a good
//! one. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

mod failures;
mod once;
mod periodic;
mod truth;

use serde_json::{Value, json};
use sonde_protocol::spec::Kind;
use sonde_tests::lab::{Family, Host};

/// Where the probes are.
const HOSTS: [Host; 4] = [Host::Dual, Host::V4Only, Host::V6Only, Host::Nat];

/// As JSON and Atlas have it.
fn number(family: Family) -> u8 {
    if family == Family::V4 { 4 } else { 6 }
}

/// One of the target's addresses. Measurements whose packets look alike go to different ones, so that each packet on the
/// wire is known to be one measurement's.
fn target(family: Family, which: usize) -> std::net::IpAddr {
    Host::Target.addresses(family)[which]
}

/// A definition with these fields.
fn definition(kind: Kind, family: Family, fields: &Value) -> Value {
    let mut definition = json!({"type": kind.name(), "af": number(family), "description": "in the lab"});
    for (key, value) in fields.as_object().unwrap() {
        definition[key] = value.clone();
    }
    definition
}

/// A dns definition that asks for the text at a name.
fn text_query(family: Family, name: &str, fields: &Value) -> Value {
    let mut definition = definition(Kind::Dns, family, fields);
    for (key, value) in [("query_class", "IN"), ("query_type", "TXT"), ("query_argument", name)] {
        definition[key] = json!(value);
    }
    definition
}
