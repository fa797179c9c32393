//! Which fields of an object a client wants: `fields` restricts to the named ones (`id` and `type` always stay),
//! `optional_fields` adds those that are left out as a rule. An optional field can be named in `fields` too.

use serde_json::{Map, Value};

use crate::params::Params;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    only: Option<Vec<String>>,
    more: Vec<String>,
}

impl Selection {
    /// Reads `fields` and `optional_fields`. An empty `fields` leaves `id` and `type`.
    pub fn read(params: &Params) -> Self {
        let names = |list: &str| -> Vec<String> { list.split(',').map(|name| name.trim().to_owned()).collect() };
        Self {
            only: params.given("fields").map(names),
            more: params.given("optional_fields").map(names).unwrap_or_default(),
        }
    }

    /// Is this optional field wanted?
    pub fn wants(&self, optional: &str) -> bool {
        self.more.iter().chain(self.only.iter().flatten()).any(|name| name == optional)
    }

    /// The object with the fields that are wanted.
    pub fn apply(&self, mut object: Map<String, Value>) -> Value {
        if let Some(only) = &self.only {
            let keeps = |name: &str| name == "id" || name == "type" || only.iter().chain(&self.more).any(|n| n == name);
            object.retain(|name, _| keeps(name));
        }
        Value::Object(object)
    }
}
