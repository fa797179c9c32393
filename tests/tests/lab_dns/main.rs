//! dns over everything that carries it, in the lab with real processes: asked by `POST`, read back from `results/`. The bytes
//! of an answer are those that the server says it sent, and the same over UDP, TCP, TLS, HTTPS and QUIC (ids aside); what is
//! no answer is reported; each failure has its word. Then against servers of other people, knot and unbound.
//!
//! Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

mod carriers;
mod failures;
mod real;
mod strays;
mod unprivileged;

use data_encoding::BASE64;
use serde_json::{Value, json};
use sonde_tests::lab::Family;

/// How a query can be carried: the word for it, the fields of a definition that ask for it, Atlas's `proto`, the port, and
/// how many round trips an answer takes at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Carrier {
    name: &'static str,
    field: (&'static str, &'static str),
    proto: &'static str,
    port: &'static str,
    round_trips: u32,
}

const CARRIERS: [Carrier; 5] = [
    Carrier { name: "udp", field: ("protocol", "UDP"), proto: "UDP", port: "53", round_trips: 1 },
    Carrier { name: "tcp", field: ("protocol", "TCP"), proto: "TCP", port: "53", round_trips: 2 },
    Carrier { name: "tls", field: ("tls", "true"), proto: "TCP", port: "853", round_trips: 3 },
    Carrier { name: "https", field: ("https", "true"), proto: "TCP", port: "443", round_trips: 3 },
    Carrier { name: "quic", field: ("quic", "true"), proto: "UDP", port: "853", round_trips: 2 },
];

impl Carrier {
    fn is_secure(&self) -> bool {
        matches!(self.name, "tls" | "https" | "quic")
    }

    /// Whether it has no id of its own in messages: RFC 8484 and RFC 9250 have 0.
    fn has_no_id(&self) -> bool {
        matches!(self.name, "https" | "quic")
    }
}

fn number(family: Family) -> u8 {
    if family == Family::V4 { 4 } else { 6 }
}

/// A definition that asks for the text at a name, with these fields besides.
fn definition(family: Family, carrier: Carrier, name: &str, fields: &Value) -> Value {
    let mut definition = json!({
        "type": "dns", "af": number(family), "description": "in the lab", "include_qbuf": true,
        "query_class": "IN", "query_type": "TXT", "query_argument": name,
    });
    definition[carrier.field.0] = json!(carrier.field.1);
    for (key, value) in fields.as_object().unwrap() {
        definition[key] = value.clone();
    }
    definition
}

fn bytes(base64: &Value) -> Vec<u8> {
    let text = base64.as_str().unwrap_or_else(|| panic!("{base64} is no text"));
    BASE64.decode(text.as_bytes()).unwrap()
}

/// A message without its id.
fn without_id(message: &[u8]) -> &[u8] {
    &message[2..]
}
