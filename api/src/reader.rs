//! Reads the fields of a JSON object and writes down everything that is wrong with them, each with its pointer, so that
//! a client learns of all problems at once.
//!
//! Clients send `null` for "the default", numbers as `3`, `3.0` or `"3"`, and keys that we do not know: all of that is fine.

use serde_json::{Map, Value};
use sonde_protocol::bounded::Text;
use sonde_protocol::spec::Limits;
use sonde_protocol::time::UnixNanos;

use crate::error::Problem;
use crate::times;

/// The most tags one thing has.
pub(crate) const MAX_TAGS: usize = 64;

/// An object being read. A field that is missing, `null` or unusable reads as `None`; the last is a problem as well.
pub(crate) struct Reader<'a> {
    object: &'a Map<String, Value>,
    pointer: String,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Begins to read what is at `pointer`; a problem when it is no object.
    pub fn new(value: &'a Value, pointer: String, problems: &'a mut Vec<Problem>) -> Option<Self> {
        match value {
            Value::Object(object) => Some(Self { object, pointer, problems }),
            _ => {
                problems.push(Problem::at(pointer, "An object is expected here."));
                None
            }
        }
    }

    /// Begins to read an object inside this one, at `path` from here.
    pub fn inner<'b>(&'b mut self, value: &'b Value, path: &str) -> Option<Reader<'b>> {
        Reader::new(value, format!("{}/{path}", self.pointer), self.problems)
    }

    /// Where the object is.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Writes down a problem with a field.
    pub fn problem(&mut self, field: &str, detail: impl Into<String>) {
        self.problems.push(Problem::at(format!("{}/{field}", self.pointer), detail));
    }

    /// Writes down that a field is missing.
    pub fn required(&mut self, field: &str) {
        self.problem(field, "This field is required.");
    }

    /// Has anything been wrong with this field?
    pub fn is_bad(&self, field: &str) -> bool {
        let pointer = format!("{}/{field}", self.pointer);
        self.problems.iter().any(|known| known.source == crate::error::Source::Pointer(pointer.clone()))
    }

    /// The value as it stands.
    pub fn value(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// A whole number.
    pub fn integer(&mut self, field: &str) -> Option<i64> {
        let value = self.value(field)?;
        let number = integer(value);
        if number.is_none() {
            self.problem(field, "A valid integer is required.");
        }
        number
    }

    /// A whole number within limits, or their default.
    pub fn number(&mut self, limits: Limits) -> u32 {
        self.number_in(limits).unwrap_or(limits.default)
    }

    /// A whole number within limits.
    pub fn number_in(&mut self, limits: Limits) -> Option<u32> {
        let number = self.integer(limits.name)?;
        let number = u32::try_from(number).ok().filter(|number| (limits.min..=limits.max).contains(number));
        if number.is_none() {
            self.problem(limits.name, format!("Ensure this value is between {} and {}.", limits.min, limits.max));
        }
        number
    }

    /// Yes or no.
    pub fn flag(&mut self, field: &str) -> Option<bool> {
        let flag = match self.value(field)? {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) if number.as_i64() == Some(0) => Some(false),
            Value::Number(number) if number.as_i64() == Some(1) => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        if flag.is_none() {
            self.problem(field, "Must be a valid boolean.");
        }
        flag
    }

    /// Text without control characters, of at most `N` bytes, without the white space around it.
    pub fn text<const N: usize>(&mut self, field: &str) -> Option<Text<N>> {
        let Value::String(text) = self.value(field)? else {
            self.problem(field, "Not a valid string.");
            return None;
        };
        let text = text.trim();
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.problem(field, "Control characters are not allowed.");
            return None;
        }
        let bounded = Text::new(text);
        if bounded.is_none() {
            self.problem(field, format!("Ensure this field has no more than {N} bytes."));
        }
        bounded
    }

    /// One of some words, in any case, as `known` understands them.
    pub fn word<T>(&mut self, field: &str, known: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.value(field)?;
        let found = match value {
            Value::String(text) => known(text.trim()),
            Value::Number(number) => known(&number.to_string()),
            _ => None,
        };
        if found.is_none() {
            self.problem(field, "This is not a valid choice.");
        }
        found
    }

    /// A time.
    pub fn time(&mut self, field: &str) -> Option<UnixNanos> {
        let time = times::read(self.value(field)?);
        if time.is_none() {
            self.problem(field, "Enter a time as unix seconds or ISO 8601.");
        }
        time
    }

    /// A list.
    pub fn list(&mut self, field: &str) -> Option<&'a [Value]> {
        match self.value(field)? {
            Value::Array(items) => Some(items),
            _ => {
                self.problem(field, "Expected a list of items.");
                None
            }
        }
    }

    /// Tag slugs: a list of them, or one text with commas between.
    pub fn slugs(&mut self, field: &str) -> Vec<String> {
        let items: Vec<&str> = match self.value(field) {
            None => return Vec::new(),
            Some(Value::String(csv)) => csv.split(',').map(str::trim).filter(|slug| !slug.is_empty()).collect(),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().unwrap_or("?")).collect(),
            Some(_) => {
                self.problem(field, "Expected a list of items.");
                return Vec::new();
            }
        };
        if items.len() > MAX_TAGS {
            self.problem(field, format!("At most {MAX_TAGS} tags can be named."));
            return Vec::new();
        }
        let mut slugs: Vec<String> = items.iter().map(|slug| slug.to_ascii_lowercase()).collect();
        let is_slug = |slug: &String| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=64).contains(&slug.len()) && slug.bytes().all(fits)
        };
        if !slugs.iter().all(is_slug) {
            self.problem(field, "A tag consists of letters, numbers, underscores and hyphens, at most 64 of them.");
            return Vec::new();
        }
        slugs.sort_unstable();
        slugs.dedup();
        slugs
    }
}

/// A whole number, also written as `3.0` or `"3"`.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            // Beyond 2^53 a float no longer tells neighbours apart; nothing here is that large.
            let float = number.as_f64()?;
            (float.fract() == 0.0 && float.abs() < 9.0e15).then_some(float as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits { name: "packets", default: 3, min: 1, max: 16 };

    fn number(value: Value) -> (u32, Vec<Problem>) {
        let mut problems = Vec::new();
        let object = json!({ "packets": value });
        let number = Reader::new(&object, "/definitions/0".into(), &mut problems).unwrap().number(LIMITS);
        (number, problems)
    }

    #[test]
    fn numbers_as_clients_send_them() {
        for value in [json!(5), json!(5.0), json!("5"), json!(" 5 ")] {
            assert_eq!(number(value.clone()), (5, vec![]), "{value}");
        }
        assert_eq!(number(json!(null)), (3, vec![]));
    }

    #[test]
    fn numbers_that_cannot_be_used_name_their_place() {
        for value in [json!("five"), json!([5]), json!({}), json!(true), json!(5.5), json!(1e30)] {
            let (_, problems) = number(value.clone());
            assert_eq!(problems, [Problem::at("/definitions/0/packets", "A valid integer is required.")], "{value}");
        }
        for value in [json!(0), json!(17), json!(-1), json!(i64::MAX)] {
            let (_, problems) = number(value.clone());
            assert_eq!(
                problems,
                [Problem::at("/definitions/0/packets", "Ensure this value is between 1 and 16.")],
                "{value}"
            );
        }
    }
}
