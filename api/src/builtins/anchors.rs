//! Built-in measurements towards the anchors: an entry of the file with `anchors = true` stands for one measurement
//! towards each present anchor, under the entry's number plus the anchor's. So an anchor keeps its numbers, whatever else
//! comes and goes.
//!
//! The server looks the anchors' names up and gives the probes addresses. An anchor without an address of the entry's
//! family has no such measurement; while its name cannot be looked up, the one that it has stays as it is.

use std::net::IpAddr;

use serde_json::{Value, json};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::net::Family;
use sonde_protocol::order::MAX_ADDRESSES;
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Anchor, Builtin};

use super::read_one;
use crate::config::ApiConfig;
use crate::error::Problem;

/// How many numbers an entry takes: its own and those behind it.
pub(super) const NUMBERS: u64 = 10_000;

/// Where the host name of the anchor goes in a description.
const NAME: &str = "{anchor}";

/// An anchor to read an entry for, before there are any.
const SOME_NAME: &str = "anchor.example";

/// An entry that stands for a measurement of every anchor.
#[derive(Debug, Clone, PartialEq)]
pub struct TowardsAnchors {
    entry: Value,
    first: MeasurementId,
    family: Family,
    kind: Kind,
}

impl TowardsAnchors {
    /// Reads an entry.
    pub(super) fn read(entry: &Value, config: &ApiConfig, now: UnixNanos) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        for field in ["target", "address"] {
            if entry.get(field).is_some() {
                problems.push(Problem::at(format!("/{field}"), "The anchors are the targets here: leave this out."));
            }
        }
        let like_one = filled_in(entry, entry.get("id").cloned(), SOME_NAME, &[]);
        let builtin = read_one(&like_one, config, &[SOME_NAME.to_owned()], now, &mut problems);
        let Some(builtin) = builtin else { return Err(problems) };
        if builtin.asked.target.is_none() {
            problems.push(Problem::at("/anchors", "This measures no target."));
        }
        if builtin.id.0 + NUMBERS > MeasurementId::FIRST_USER.0 {
            let last = MeasurementId::FIRST_USER.0 - NUMBERS;
            problems.push(Problem::at("/id", format!("It takes {NUMBERS} numbers: its own is at most {last}.")));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (family, kind) = (builtin.asked.af, builtin.asked.spec.kind());
        Ok(Self { entry: entry.clone(), first: builtin.id, family, kind })
    }

    /// The first of its numbers.
    pub(super) const fn first(&self) -> MeasurementId {
        self.first
    }

    /// The number of an anchor's measurement; `None` when there is none left.
    pub(super) fn number(&self, anchor: &Anchor) -> Option<MeasurementId> {
        (anchor.id < NUMBERS).then(|| MeasurementId(self.first.0 + anchor.id))
    }

    /// The family of its measurements.
    pub(super) const fn family(&self) -> Family {
        self.family
    }

    /// The measurement of an anchor at these addresses.
    ///
    /// # Errors
    /// Why it cannot be measured, for the operator.
    pub(super) fn towards(
        &self,
        anchor: &Anchor,
        addresses: &[IpAddr],
        config: &ApiConfig,
        http_hosts: &[String],
        now: UnixNanos,
    ) -> Result<Builtin, String> {
        // Where a host leads that http may ask, probes believe nobody.
        let addresses = if self.kind == Kind::Http { &[] } else { addresses };
        let number = self.number(anchor).map(|id| json!(id));
        let entry = filled_in(&self.entry, number, &anchor.said.hostname, addresses);
        let mut problems = Vec::new();
        match read_one(&entry, config, http_hosts, now, &mut problems) {
            Some(builtin) if problems.is_empty() => Ok(Builtin { not_by: Some(anchor.said.probe), ..builtin }),
            _ => Err(problems.into_iter().map(|problem| problem.detail).collect::<Vec<_>>().join(" ")),
        }
    }
}

/// The entry as it would stand in the file for one target.
fn filled_in(entry: &Value, number: Option<Value>, name: &str, addresses: &[IpAddr]) -> Value {
    let mut entry = entry.clone();
    let Some(fields) = entry.as_object_mut() else { return entry };
    fields.remove("anchors");
    if let Some(number) = number {
        fields.insert("id".into(), number);
    }
    fields.insert("target".into(), name.into());
    fields.remove("address");
    if !addresses.is_empty() {
        fields.insert("address".into(), json!(addresses.iter().take(MAX_ADDRESSES).collect::<Vec<_>>()));
    }
    if let Some(Value::String(description)) = fields.get_mut("description") {
        *description = description.replace(NAME, name);
    }
    entry
}
