//! JSON as TUF signs it: read within bounds, and written in the one form over which signatures are made (OLPC's "Canonical JSON").
//!
//! What other parsers might read otherwise is refused, so that no two programs see different things under one signature: numbers
//! that are no integers, and objects with the same member twice.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// How deep lists and objects may be nested. Our files need six; what others put into `custom` may need some more.
pub const MAX_DEPTH: usize = 16;

/// A value of JSON without fractions. Members of an object are sorted by their names' bytes, which is also the order of canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction or exponent.
    Integer(i64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object, in which no member came twice.
    Map(BTreeMap<String, Value>),
}

/// The bytes are not JSON, or none that may be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not JSON that can be signed: {0}")]
pub struct JsonError(String);

/// Reads one value, and nothing after it. How long the bytes may be is the caller's to bound.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Nested(MAX_DEPTH).deserialize(&mut deserializer).map_err(|error| JsonError(error.to_string()))?;
    deserializer.end().map_err(|error| JsonError(error.to_string()))?;
    Ok(value)
}

impl Value {
    /// The bytes over which signatures are made: no spaces, sorted members, and in strings only `"` and `\` escaped.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push(b'[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Map(members) => {
                out.push(b'{');
                for (position, (name, member)) in members.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    write_text(name, out);
                    out.push(b':');
                    member.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// The value as a file that any reader of JSON takes. Unlike the canonical form it escapes control characters, which are
    /// allowed in what is signed but not in JSON.
    pub fn to_file(&self) -> Vec<u8> {
        // A value holds only strings, integers and sorted members: there is nothing that could not be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => items.serialize(serializer),
            Self::Map(members) => members.serialize(serializer),
        }
    }
}

/// Reads a value in which so many more levels may follow.
struct Nested(usize);

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Nested {
    fn inside<E: serde::de::Error>(&self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("lists and objects are nested too deep"))
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without fractions")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Integer).map_err(|_| E::custom("a number is too large"))
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        Err(E::custom("a number is not an integer, or too large"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.inside()?)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(name) = access.next_key::<String>()? {
            let member = access.next_value_seed(self.inside()?)?;
            if members.insert(name, member).is_some() {
                return Err(A::Error::custom("an object has the same member twice"));
            }
        }
        Ok(Value::Map(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_signed_does_not_depend_on_how_it_was_written() {
        let cases = [
            (r#" { "b" : [ 1, -2 ,true,null ], "a":"\u0041\n" } "#, "{\"a\":\"A\n\",\"b\":[1,-2,true,null]}"),
            (r#"{"é":"\"\\\/","e":{}}"#, r#"{"e":{},"é":"\"\\/"}"#),
            // By bytes of UTF-8: U+FF5E before U+1F600, which UTF-16 would turn round.
            ("{\"\u{1F600}\":1,\"\u{FF5E}\":2}", "{\"\u{FF5E}\":2,\"\u{1F600}\":1}"),
            ("[]", "[]"),
        ];
        for (written, signed) in cases {
            assert_eq!(String::from_utf8(parse(written.as_bytes()).unwrap().canonical()).unwrap(), signed);
        }
    }

    #[test]
    fn what_two_programs_could_read_differently_is_refused() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        let cases = [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            "1.0",
            "1e2",
            "-0",
            "9223372036854775808",
            "123456789012345678901234567890",
            r#""\ud800""#,
            "\"\n\"",
            "\"\u{0}\"",
            "{} {}",
            "[1,]",
            "01",
            "NaN",
            "'a'",
            "// comment\n1",
            "\u{feff}1",
            "",
            &deep,
        ];
        for case in cases {
            assert!(parse(case.as_bytes()).is_err(), "{case}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(parse(&deep.as_bytes()[1..deep.len() - 1]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = parse(&bytes) {
                prop_assert_eq!(parse(&value.to_file()), Ok(value));
            }
        }

        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            let value = Value::List(vec![Value::Text(text)]);
            prop_assert_eq!(parse(&value.to_file()), Ok(value));
        }
    }
}
