//! `format[datetime]`: in which form the times of an object are written. Without it each field has the form that Atlas gives
//! it, whole seconds in most places and ISO 8601 in some.

use serde_json::{Map, Value};
use sonde_protocol::time::UnixNanos;

use crate::error::ApiError;
use crate::params::Params;
use crate::times;

/// The form that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datetimes {
    /// Each field as it is.
    Plain,
    /// Whole seconds since 1970.
    Unix,
    /// `2025-09-30T16:41:47Z`.
    Iso,
}

impl Datetimes {
    /// Reads `format[datetime]`.
    pub fn read(params: &Params) -> Result<Self, ApiError> {
        let name = "format[datetime]";
        match params.get(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(Self::Plain),
            Some("unix" | "timestamp") => Ok(Self::Unix),
            Some("iso-8601" | "json") => Ok(Self::Iso),
            Some(_) => Err(ApiError::parameter(name, "Forms are unix, timestamp, iso-8601 and json.")),
        }
    }

    /// Writes the named fields of an object in this form; a name `a.b` is a field of the object `a`.
    pub fn apply(self, object: &mut Map<String, Value>, fields: &[&str]) {
        for field in fields {
            let value = match field.split_once('.') {
                Some((outer, inner)) => object.get_mut(outer).and_then(|outer| outer.get_mut(inner)),
                None => object.get_mut(*field),
            };
            if let Some(value) = value {
                self.convert(value);
            }
        }
    }

    fn convert(self, value: &mut Value) {
        if self == Self::Plain {
            return;
        }
        let seconds = match &*value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => times::from_text(text),
            _ => None,
        };
        let Some(seconds) = seconds else { return };
        *value = match self {
            Self::Iso => Value::from(times::iso(UnixNanos::from_secs(seconds))),
            _ => Value::from(seconds),
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_ways_and_nothing_else() {
        let mut object = json!({"a": 1_760_000_000, "b": null, "c": 5, "s": {"when": 1_760_000_000}});
        let map = object.as_object_mut().unwrap();
        Datetimes::Iso.apply(map, &["a", "b", "missing", "s.when"]);
        let iso = json!({"a": "2025-10-09T08:53:20Z", "b": null, "c": 5, "s": {"when": "2025-10-09T08:53:20Z"}});
        assert_eq!(Value::Object(map.clone()), iso);
        Datetimes::Plain.apply(map, &["a"]);
        assert_eq!(Value::Object(map.clone()), iso);
        Datetimes::Unix.apply(map, &["a", "s.when"]);
        assert_eq!((&map["a"], &map["s"]["when"]), (&json!(1_760_000_000), &json!(1_760_000_000)));
    }
}
